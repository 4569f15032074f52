//! The operator's command line.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context;
use clap::{Parser, Subcommand};
use keeptrusts_operator::config::RunArguments;
use keeptrusts_operator::drain::{self, DrainArguments};
use keeptrusts_operator::orphans::{self, OrphansCommand};
use keeptrusts_operator::traces::Traces;
use keeptrusts_operator::{controller, reference, resources, telemetry};
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

/// Keeps Keeptrusts API tokens in Kubernetes Secrets.
#[derive(Debug, Parser)]
#[command(version, about)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the operator until SIGTERM or Ctrl-C; then what is under way is finished first
    Run(#[command(flatten)] Box<RunArguments>),
    /// List or revoke living tokens whose resource is gone
    #[command(subcommand)]
    Orphans(OrphansCommand),
    /// Delete keys and retain or revoke their tokens, before an uninstallation
    #[command(after_help = drain::EXIT_CODES)]
    Drain(DrainArguments),
    /// Print the custom resource definitions, for `kubectl apply --server-side -f -`
    Crds {
        /// Write a file for each into this directory instead
        #[arg(long, value_name = "DIRECTORY")]
        output_dir: Option<PathBuf>,
    },
    /// Write the reference of fields, reasons and flags
    #[command(hide = true)]
    Reference {
        /// Where its pages go
        #[arg(long, value_name = "DIRECTORY")]
        output_dir: PathBuf,
    },
}

fn main() -> anyhow::Result<ExitCode> {
    match Arguments::parse().command {
        Command::Run(arguments) => run(*arguments)?,
        Command::Orphans(command) => start()?.block_on(orphans::run(command))?,
        Command::Drain(arguments) => return start()?.block_on(drain::run(arguments)),
        Command::Crds { output_dir: None } => print!("{}", resources::crds_yaml()),
        Command::Crds { output_dir: Some(directory) } => resources::write_crds(&directory)
            .with_context(|| format!("can't write the CRDs into {}", directory.display()))?,
        Command::Reference { output_dir } => reference::write(&output_dir)
            .with_context(|| format!("can't write the reference into {}", output_dir.display()))?,
    }
    Ok(ExitCode::SUCCESS)
}

fn run(arguments: RunArguments) -> anyhow::Result<()> {
    let runtime = start()?;
    let traces = Traces::start(&arguments)?;
    let level = telemetry::start(&arguments.log, traces.layer())?;
    let ended = runtime.block_on(async {
        let stop = CancellationToken::new();
        tokio::spawn(level.follow(stop.clone()));
        let mut terminate = signal(SignalKind::terminate()).context("can't listen for SIGTERM")?;
        let mut interrupt = signal(SignalKind::interrupt()).context("can't listen for Ctrl-C")?;
        tokio::spawn({
            let stop = stop.clone();
            async move {
                tokio::select! {
                    _ = terminate.recv() => {}
                    _ = interrupt.recv() => {}
                }
                tracing::info!("asked to stop");
                stop.cancel();
            }
        });
        // On one of the threads that work: most of what it begins is carried on there, without waking another.
        tokio::spawn(controller::run(arguments, stop)).await.context("the operator ended before its time")?
    });
    traces.stop();
    ended
}

/// What everything that makes calls needs.
fn start() -> anyhow::Result<tokio::runtime::Runtime> {
    // Fails if another provider was chosen before, and nothing comes before this.
    let _ = rustls::crypto::ring::default_provider().install_default();
    tokio::runtime::Runtime::new().context("can't start the runtime")
}
