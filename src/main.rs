//! The operator's command line.

use std::path::PathBuf;

use anyhow::Context;
use clap::{Parser, Subcommand};
use keeptrusts_operator::{reference, resources};

/// Keeps Keeptrusts API tokens in Kubernetes Secrets.
#[derive(Debug, Parser)]
#[command(version, about)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Print the custom resource definitions, for `kubectl apply --server-side -f -`
    Crds {
        /// Write a file for each into this directory instead
        #[arg(long, value_name = "DIRECTORY")]
        output_dir: Option<PathBuf>,
    },
    /// Write the reference of fields and reasons
    #[command(hide = true)]
    Reference {
        /// Where its pages go
        #[arg(long, value_name = "DIRECTORY")]
        output_dir: PathBuf,
    },
}

fn main() -> anyhow::Result<()> {
    match Arguments::parse().command {
        Command::Crds { output_dir: None } => print!("{}", resources::crds_yaml()),
        Command::Crds { output_dir: Some(directory) } => resources::write_crds(&directory)
            .with_context(|| format!("can't write the CRDs into {}", directory.display()))?,
        Command::Reference { output_dir } => reference::write(&output_dir)
            .with_context(|| format!("can't write the reference into {}", output_dir.display()))?,
    }
    Ok(())
}
