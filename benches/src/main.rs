//! What the operator costs and how fast it is, against the bare calls that its protocol needs.

mod alone;
mod bounded;
mod crowd;
mod fleet;
mod floor;
mod foreign;
mod install;
mod machine;
mod pace;
mod peer;
mod report;
mod rest;
mod restart;
mod round;
mod setup;
mod stage;
mod statistics;
mod table;
mod token_api;
mod trail;
mod usage;
mod wave;
mod waves;

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use clap::{Args, Parser, Subcommand, ValueEnum};
use jiff::{Timestamp, Unit};
use keeptrusts_harness::{commit, install_crypto_provider};
use keeptrusts_operator::lifecycle::duration;

use crate::machine::Machine;
use crate::report::Report;
use crate::setup::Setup;
use crate::stage::Stage;

/// Measures the operator on a real control plane, in turn with the bare calls that its protocol needs.
///
/// Nothing passes or fails by its time. Exit status: 0 if everything was measured, 1 if keys weren't Ready, a call was made in vain or the
/// run couldn't be made.
#[derive(Parser)]
#[command(name = "keeptrusts-benches", version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Measure, and write a report
    Run(Box<RunArguments>),
    /// Write the documentation's page from the reports beside it
    Table {
        /// The folder of the reports
        #[arg(long, default_value = "docs/benchmarks", value_name = "DIR")]
        reports: PathBuf,
    },
}

/// What is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Scenario {
    /// The chart is installed and a key created
    Install,
    /// All keys at once are minted, rotated and deleted
    Waves,
    /// One key after the other is minted
    Alone,
    /// A restart, a relist and an hour in which nothing is to be done
    Rest,
    /// Restarts in a cluster full of Secrets of others
    Foreign,
    /// A token API that takes 200 ms for each call
    Slow,
    /// A token API that allows 20 calls a second
    Limited,
    /// External Secrets Operator mints as many; needs --peer and --peer-crds
    Peer,
}

/// So many keys are minted where each call is slow, where calls are few, and by somebody else.
const SLOW: usize = 1_000;
const LIMITED: usize = 300;
const PEER: usize = 1_000;

#[derive(Args)]
struct RunArguments {
    /// How many keys there are, one size after the other
    #[arg(long, value_delimiter = ',', default_values_t = [100, 1_000, 10_000], value_name = "N")]
    keys: Vec<usize>,
    /// How often everything is measured, by the floor and the operator in turn
    #[arg(long, default_value = "3", value_name = "N", value_parser = clap::value_parser!(u8).range(1..))]
    rounds: u8,
    /// What is measured. Default: everything, `peer` only if --peer is given
    #[arg(long, value_enum, value_delimiter = ',', value_name = "SCENARIO")]
    scenario: Vec<Scenario>,
    /// The operator's program. Default: keeptrusts-operator beside this program
    #[arg(long, value_name = "FILE")]
    operator: Option<PathBuf>,
    /// The emulator's program. Default: keeptrusts-emulator beside this program
    #[arg(long, value_name = "FILE")]
    emulator: Option<PathBuf>,
    /// External Secrets Operator's program, to measure it beside the operator. Default: it isn't measured
    #[arg(long, value_name = "FILE", requires = "peer_crds")]
    peer: Option<PathBuf>,
    /// The file of its CRDs, `deploy/crds/bundle.yaml` in its repository
    #[arg(long, value_name = "FILE", requires = "peer")]
    peer_crds: Option<PathBuf>,
    /// The repository, where charts/ and crds/ are
    #[arg(long, default_value = ".", value_name = "DIR")]
    root: PathBuf,
    /// Where logs go
    #[arg(long, default_value = "target/bench", value_name = "DIR")]
    logs: PathBuf,
    /// Write a report into this folder (docs/benchmarks). Default: none is written
    #[arg(long, value_name = "DIR")]
    output: Option<PathBuf>,
    /// How long the operator is left alone before its memory is taken
    #[arg(long, default_value = "5s", value_parser = duration::parse, value_name = "DURATION")]
    settle: Duration,
    /// How long the operator is watched while it has nothing to do: stands for an hour
    #[arg(long, default_value = "2m", value_parser = duration::parse, value_name = "DURATION")]
    idle: Duration,
    /// How many Secrets of others there are
    #[arg(long, default_value = "30000", value_name = "N")]
    foreign: usize,
    /// How long no key may be done before the run is given up
    #[arg(long, default_value = "1m", value_parser = duration::parse, value_name = "DURATION")]
    patience: Duration,
}

fn main() -> ExitCode {
    let done = match Cli::parse().command {
        Command::Run(arguments) => run(*arguments),
        Command::Table { reports } => table::write(&reports),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("keeptrusts-benches: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: RunArguments) -> Result<()> {
    install_crypto_provider();
    let RunArguments {
        keys,
        rounds,
        mut scenario,
        operator,
        emulator,
        peer,
        peer_crds,
        root,
        logs,
        output,
        settle,
        idle,
        foreign,
        patience,
    } = arguments;
    ensure!(root.join("charts").is_dir(), "no charts/ in {}: give --root", root.display());
    ensure!(keys.iter().all(|keys| *keys >= 2), "a size is at least two keys, one of each kind");
    let peer = match (peer, peer_crds) {
        (Some(program), Some(crds)) => {
            let found = |path: PathBuf| path.canonicalize().with_context(|| format!("no {}", path.display()));
            Some(setup::Peer { program: found(program)?, crds: found(crds)? })
        }
        _ => None,
    };
    if scenario.is_empty() {
        let all = Scenario::value_variants().iter().copied();
        scenario.extend(all.filter(|scenario| *scenario != Scenario::Peer || peer.is_some()));
    }
    ensure!(
        peer.is_some() || !scenario.contains(&Scenario::Peer),
        "--scenario peer needs External Secrets Operator: give --peer and --peer-crds"
    );
    std::fs::create_dir_all(&logs).with_context(|| format!("making {}", logs.display()))?;
    let setup = Setup {
        operator: program(operator, "keeptrusts-operator")?,
        emulator: program(emulator, "keeptrusts-emulator")?,
        peer,
        dir: logs.canonicalize().context("finding the folder of the logs")?,
        rounds: usize::from(rounds),
        root,
        keys,
        settle,
        idle,
        foreign,
        patience,
    };
    let optimised = !cfg!(debug_assertions);
    if !optimised {
        println!("These programs aren't optimised: what follows shows that it works, and nothing else.");
    }
    let runtime = tokio::runtime::Runtime::new().context("starting the runtime")?;
    runtime.block_on(measure(&setup, &scenario, optimised, output.as_deref()))
}

async fn measure(
    setup: &Setup,
    scenarios: &[Scenario],
    optimised: bool,
    output: Option<&Path>,
) -> Result<()> {
    let started = Timestamp::now().round(Unit::Second).context("reading the clock")?;
    let stage = Stage::set(setup).await?;
    let mut report = Report {
        commit: commit(&setup.root),
        started: started.to_string(),
        machine: Machine::here()?,
        optimised,
        versions: machine::versions(&stage)?,
        rounds: setup.rounds,
        install: None,
        waves: vec![],
        alone: None,
        rest: vec![],
        foreign: None,
        slow: None,
        limited: None,
        peer: None,
    };
    println!("Warming up");
    waves::warm_up(&stage).await.context("warming up")?;
    for scenario in scenarios {
        let begun = Instant::now();
        println!("{scenario:?}");
        Box::pin(scenario.measure(&stage, &mut report)).await.with_context(|| format!("{scenario:?}"))?;
        println!("  took {} s", begun.elapsed().as_secs());
        // What is there isn't lost if something goes wrong later.
        if let Some(output) = output {
            println!("  written: {}", report.write(output)?.display());
        }
    }
    Ok(())
}

impl Scenario {
    async fn measure(self, stage: &Stage, report: &mut Report) -> Result<()> {
        let Setup { keys: sizes, foreign, .. } = &stage.setup;
        let least = sizes.iter().copied().min().unwrap_or_default();
        let most = sizes.iter().copied().max().unwrap_or_default();
        match self {
            Self::Install => report.install = Some(install::run(stage).await?),
            Self::Waves => {
                for keys in sizes {
                    report.waves.push(waves::run(stage, *keys).await?);
                }
            }
            Self::Alone => report.alone = Some(alone::run(stage).await?),
            Self::Rest => {
                for keys in sizes {
                    report.rest.push(Box::pin(rest::run(stage, *keys)).await?);
                }
            }
            Self::Foreign => report.foreign = Some(foreign::run(stage, least, *foreign).await?),
            Self::Slow => report.slow = Some(bounded::slow(stage, SLOW.min(most)).await?),
            Self::Limited => report.limited = Some(bounded::limited(stage, LIMITED.min(most)).await?),
            Self::Peer => {
                if let Some(given) = &stage.setup.peer {
                    report.peer = Some(peer::run(stage, given, PEER.min(most)).await?);
                }
            }
        }
        Ok(())
    }
}

fn program(given: Option<PathBuf>, name: &str) -> Result<PathBuf> {
    let path = given.map_or_else(|| beside_this_program(name), Ok)?;
    path.canonicalize()
        .with_context(|| format!("no {name} at {}: build it, or say where it is", path.display()))
}

fn beside_this_program(name: &str) -> Result<PathBuf> {
    Ok(std::env::current_exe().context("finding this program")?.with_file_name(Path::new(name)))
}
