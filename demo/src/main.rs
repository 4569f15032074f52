//! The life of two keys on a real Kubernetes API server, narrated and checked: what `make demo` runs.

mod cleanup;
mod command_line;
mod ending;
mod failure;
mod finale;
mod folder;
mod install;
mod key;
mod narrator;
mod replicas;
mod report;
mod rotation;
mod signals;
mod stage;
mod story;
mod token_api;
mod tools;

use std::ffi::OsString;
use std::io::IsTerminal as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Instant;

use anyhow::{Context as _, Result, bail};
use clap::Parser;
use keeptrusts_harness::{Programs, install_crypto_provider};

use crate::folder::Folder;
use crate::narrator::complain;
use crate::signals::Signals;
use crate::stage::Stage;
use crate::tools::Clients;

/// Shown below the help.
const MORE: &str = "Run it in the repository's root, where charts/ and examples/ are; `make demo` builds what it needs. \
    On a terminal everything stays up at the end until Ctrl-C; otherwise (</dev/null too) the demo ends. Its exit status is 0 if every \
    check was passed, 1 if one wasn't, 130 after Ctrl-C before the end.";

/// The exit status after Ctrl-C, as shells have it.
const INTERRUPTED: u8 = 130;

/// The life of two API tokens on a real Kubernetes API server, narrated and checked.
///
/// Starts etcd, kube-apiserver and kube-controller-manager, an emulator of the token API, and the operator as its Helm chart says;
/// then mints, rotates, kills the leading replica, repairs and revokes, with the commands that you would type. Without containers. The Kubernetes programs
/// are built with Go by the first run.
#[derive(Parser)]
#[command(name = "keeptrusts-demo", version, after_help = MORE)]
struct Cli {
    /// The operator's program. Default: keeptrusts-operator beside this program
    #[arg(long, value_name = "FILE")]
    operator: Option<PathBuf>,
    /// Use the cluster of this kubeconfig's current context in the place of a control plane of the demo's own. Everything is made
    /// in namespaces with unique names, and removed at the end
    #[arg(long, env = "DEMO_KUBECONFIG", value_name = "FILE")]
    kubeconfig: Option<OsString>,
    /// Where the demo keeps its files while it runs, and its logs after a failure
    #[arg(long, default_value = "target/demo", value_name = "DIR")]
    dir: PathBuf,
}

/// How the demo went.
enum Outcome {
    Passed,
    Interrupted,
    Failed(anyhow::Error),
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    match run(cli) {
        Ok(code) => code,
        Err(error) => {
            complain(&format!("keeptrusts-demo: {error:#}"));
            ExitCode::FAILURE
        }
    }
}

fn run(cli: Cli) -> Result<ExitCode> {
    install_crypto_provider();
    let Cli { operator, kubeconfig, dir } = cli;
    if !Path::new(install::CHART).is_dir() {
        bail!("{} isn't here: run the demo in the repository's root", install::CHART);
    }
    let binary = operator.map_or_else(beside_this_program, Ok)?;
    let binary = binary
        .canonicalize()
        .with_context(|| format!("no operator at {}: build it, or give --operator", binary.display()))?;
    // `DEMO_KUBECONFIG=` means none.
    let kubeconfig = kubeconfig.filter(|file| !file.is_empty()).map(PathBuf::from);
    let kubeconfig = kubeconfig
        .map(|file| file.canonicalize().with_context(|| format!("no kubeconfig at {}", file.display())))
        .transpose()?;
    // Before signals are listened to: Ctrl-C during a build of minutes then simply ends the program.
    let clients = if kubeconfig.is_some() {
        Clients::of_the_reader()?
    } else {
        let programs = Programs::get()?;
        Clients { kubectl: programs.kubectl, helm: programs.helm }
    };
    let stage = Stage::new(clients, kubeconfig, binary, Folder::take(&dir)?);
    let runtime = tokio::runtime::Runtime::new().context("starting the runtime")?;
    runtime.block_on(play(stage))
}

fn beside_this_program() -> Result<PathBuf> {
    let program = std::env::current_exe().context("finding this program")?;
    Ok(program.with_file_name("keeptrusts-operator"))
}

async fn play(mut stage: Stage) -> Result<ExitCode> {
    let mut signals = Signals::listen()?;
    let mut told = false;
    let outcome = tokio::select! {
        result = perform(&mut stage, &mut told) => result.map_or_else(Outcome::Failed, |()| Outcome::Passed),
        () = signals.next() => Outcome::Interrupted,
    };
    let stopped = matches!(outcome, Outcome::Interrupted);
    // Ctrl-C is how a reader leaves after the end.
    let outcome = if told && matches!(outcome, Outcome::Interrupted) { Outcome::Passed } else { outcome };
    let ending = async {
        if let Outcome::Failed(error) = &outcome {
            report::failed(&mut stage, error).await;
        }
        cleanup::clean_up(&mut stage).await
    };
    let cleaned = tokio::select! {
        cleaned = ending => cleaned.map_err(Some),
        () = impatience(&mut signals) => Err(None),
    };
    match &cleaned {
        Err(Some(error)) => complain(&format!("\nThe cleaning up failed:\n{error:#}")),
        Err(None) => complain(&format!("\nThe cleaning up was broken off. {}", cleanup::may_be_left(&stage))),
        Ok(()) if stopped => {
            stage.narrator.part("Everything is stopped, and nothing is left.")?;
        }
        Ok(()) => {}
    }
    Ok(match (outcome, cleaned) {
        (Outcome::Passed, Ok(())) => ExitCode::SUCCESS,
        (Outcome::Interrupted, Ok(())) => ExitCode::from(INTERRUPTED),
        (Outcome::Failed(_), _) | (_, Err(_)) => ExitCode::FAILURE,
    })
}

/// The whole demo. `told` becomes true when nothing is left to be told.
async fn perform(stage: &mut Stage, told: &mut bool) -> Result<()> {
    let start = Instant::now();
    stage.narrator.title("The life of two Keeptrusts API tokens, on a real Kubernetes API server")?;
    stage.narrator.tell(
        "A line with $ is a command as you would type it, and what came back is below it. kubectl, helm and keeptrusts-operator were run \
         with exactly these words; cat, curl and jq stand for what the demo does itself. A line with ok is a check. If \
         anything isn't as it says, the demo ends and tells what it saw instead.",
    )?;
    install::set_up(stage).await?;
    story::tell(stage).await?;
    let seconds = start.elapsed().as_secs_f32();
    let checks = stage.narrator.checks();
    stage.narrator.part(&format!("All {checks} checks ok, in {seconds:.0} s"))?;
    *told = true;
    // `make test` runs the demo with nobody at its input, whatever its output is.
    if std::io::stdin().is_terminal() && std::io::stdout().is_terminal() {
        finale::invite(stage)?;
        return Err(finale::stay(stage).await);
    }
    Ok(())
}

/// Ctrl-C during the cleaning up is answered once, and obeyed the second time.
async fn impatience(signals: &mut Signals) {
    signals.next().await;
    complain("Still cleaning up. Ctrl-C once more leaves the rest behind.");
    signals.next().await;
}
