//! The tests' control plane for people: `make cluster` and the demo run it.

use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use clap::{Parser, Subcommand};
use keeptrusts_harness::{ControlPlane, Options, Programs, cache_dir};
use tokio::signal::unix::{SignalKind, signal};

/// Shown below the help.
const PROGRAMS: &str = "The programs are taken from KUBEBUILDER_ASSETS (kube-apiserver, etcd, kubectl), then from the cache folder. \
    Otherwise they are built with Go: once, in about a quarter of an hour on two cores.";

/// A real Kubernetes control plane on this machine, without containers.
#[derive(Parser)]
#[command(name = "keeptrusts-cluster", after_help = PROGRAMS)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Start a control plane and keep it up until Ctrl-C or SIGTERM
    Up {
        /// Install the CRDs of this file or folder; may be repeated
        #[arg(long, value_name = "PATH")]
        crds: Vec<PathBuf>,
        /// Where to leave kubeconfig and bin/ (kubectl and helm)
        #[arg(long, default_value = "target/cluster", value_name = "DIR")]
        dir: PathBuf,
    },
    /// Find or build the programs and print where each is
    Binaries {
        /// Print the cache folder alone, without building anything
        #[arg(long)]
        cache_dir: bool,
    },
}

fn main() -> Result<()> {
    match Cli::parse().command {
        Command::Up { crds, dir } => {
            // Before the runtime: Ctrl-C during a build of minutes then simply ends the program.
            let programs = Programs::get()?;
            let runtime = tokio::runtime::Runtime::new().context("starting the runtime")?;
            runtime.block_on(up(&programs, crds, &dir))
        }
        Command::Binaries { cache_dir: true } => {
            println!("{}", cache_dir()?.display());
            Ok(())
        }
        Command::Binaries { cache_dir: false } => {
            for (name, path) in Programs::get()?.iter() {
                println!("{name}\t{}", path.display());
            }
            Ok(())
        }
    }
}

async fn up(programs: &Programs, crds: Vec<PathBuf>, dir: &Path) -> Result<()> {
    let mut interrupt = signal(SignalKind::interrupt()).context("listening for Ctrl-C")?;
    let mut terminate = signal(SignalKind::terminate()).context("listening for SIGTERM")?;
    let run = async {
        let cluster = ControlPlane::start(Options { crds, ..Options::default() }).await?;
        let left = Left::new(programs, &cluster, dir)?;
        println!("The control plane is up. In another terminal:");
        println!("  export KUBECONFIG={}", left.kubeconfig.display());
        println!("  export PATH={}:$PATH", left.bin.display());
        println!("Its logs are in {}. Ctrl-C stops it.", cluster.dir().display());
        std::future::pending::<Result<()>>().await
    };
    // Whatever has been started is stopped when `run` is dropped.
    tokio::select! {
        result = run => result,
        _ = interrupt.recv() => Ok(()),
        _ = terminate.recv() => Ok(()),
    }
}

/// What a running control plane leaves for its users; the kubeconfig goes with it.
struct Left {
    kubeconfig: PathBuf,
    bin: PathBuf,
}

impl Left {
    fn new(programs: &Programs, cluster: &ControlPlane, dir: &Path) -> Result<Self> {
        std::fs::create_dir_all(dir.join("bin")).with_context(|| format!("making {}", dir.display()))?;
        let dir = dir.canonicalize().with_context(|| format!("finding {}", dir.display()))?;
        let left = Self { kubeconfig: dir.join("kubeconfig"), bin: dir.join("bin") };
        for (name, program) in [("kubectl", &programs.kubectl), ("helm", &programs.helm)] {
            let link = left.bin.join(name);
            std::fs::remove_file(&link).ok();
            symlink(program, &link).with_context(|| format!("linking {}", link.display()))?;
        }
        // Renamed into place: a script that waits for the file never reads half of one.
        let partial = dir.join("kubeconfig.partial");
        std::fs::copy(cluster.kubeconfig(), &partial)
            .with_context(|| format!("writing {}", partial.display()))?;
        std::fs::rename(&partial, &left.kubeconfig).context("moving the kubeconfig into place")?;
        Ok(left)
    }
}

impl Drop for Left {
    fn drop(&mut self) {
        std::fs::remove_file(&self.kubeconfig).ok();
    }
}
