//! The operator on a real control plane while everything around it fails, and whether its promises hold in the end.

mod blows;
mod check;
mod dice;
mod faults;
mod keys;
mod kinds;
mod lease;
mod look;
mod operators;
mod people;
mod plan;
mod pods;
mod record;
mod report;
mod rotations;
mod run;
mod search;
mod settle;
mod snapshot;
mod stage;
mod table;
mod transcript;
mod trial;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use clap::{Args, Parser, Subcommand};
use keeptrusts_harness::install_crypto_provider;
use keeptrusts_operator::lifecycle::duration;

use crate::plan::{Recipe, kinds, plan};

/// Runs the operator on a real control plane while everything around it fails, then checks what it promises.
///
/// Exit status: 0 if every invariant held, 1 if not or if the run couldn't be made.
#[derive(Parser)]
#[command(name = "keeptrusts-chaos", version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Make things go wrong for a while, then check
    Run(Box<RunArguments>),
    /// Print what a seed makes happen, and when
    Plan(PlanArguments),
    /// Write the documentation's pages from the reports beside them
    Table {
        /// The folder of the reports
        #[arg(long, default_value = "docs/proof", value_name = "DIR")]
        proof: PathBuf,
    },
}

#[derive(Args)]
struct PlanArguments {
    /// What the plan is drawn from. Default: a random one, which is printed
    #[arg(long, value_name = "N")]
    seed: Option<u64>,
    /// How long things go wrong, for example 3m
    #[arg(long, default_value = "3m", value_parser = duration::parse, value_name = "DURATION")]
    duration: Duration,
    /// How many keys there are; half of each kind
    #[arg(long, default_value = "12", value_name = "N", value_parser = clap::value_parser!(u16).range(4..))]
    keys: u16,
    /// How many namespaces they are in
    #[arg(long, default_value = "3", value_name = "N", value_parser = clap::value_parser!(u16).range(2..))]
    namespaces: u16,
    /// How many operators run at once
    #[arg(long, default_value = "1", value_name = "N", value_parser = clap::value_parser!(u8).range(1..=2))]
    operators: u8,
    /// Let one of two operators lead, by a Lease with short times, and the other stand by. Default: all act at once
    #[arg(long)]
    leader_election: bool,
}

#[derive(Args)]
struct RunArguments {
    #[command(flatten)]
    plan: PlanArguments,
    /// The operator's program. Default: keeptrusts-operator beside this program
    #[arg(long, value_name = "FILE")]
    operator: Option<PathBuf>,
    /// The repository, where charts/ and crds/ are
    #[arg(long, default_value = ".", value_name = "DIR")]
    root: PathBuf,
    /// Write a report into this folder (docs/proof). Default: none is written
    #[arg(long, value_name = "DIR")]
    output: Option<PathBuf>,
    /// How long to wait for everything to be at rest before the operators are started anew
    #[arg(long, default_value = "30s", value_parser = duration::parse, value_name = "DURATION")]
    patience: Duration,
    /// How long to wait after that
    #[arg(long, default_value = "2m", value_parser = duration::parse, value_name = "DURATION")]
    limit: Duration,
    /// Keep every log even if nothing is wrong
    #[arg(long)]
    keep: bool,
}

impl PlanArguments {
    fn recipe(&self) -> Recipe {
        Recipe {
            // Short enough to be typed.
            seed: self.seed.unwrap_or_else(|| u64::from(rand::random::<u32>())),
            duration: self.duration,
            keys: usize::from(self.keys),
            namespaces: usize::from(self.namespaces),
            operators: usize::from(self.operators),
            leader_election: self.leader_election,
        }
    }
}

fn main() -> ExitCode {
    match dispatch(Cli::parse().command) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("keeptrusts-chaos: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn dispatch(command: Command) -> Result<bool> {
    match command {
        Command::Run(arguments) => run(*arguments),
        Command::Plan(arguments) => {
            print_plan(&arguments.recipe());
            Ok(true)
        }
        Command::Table { proof } => {
            table::write(&proof)?;
            rotations::write(&proof).map(|()| true)
        }
    }
}

fn print_plan(recipe: &Recipe) {
    println!("seed {}", recipe.seed);
    let plan = plan(recipe);
    for timed in &plan {
        println!("{:9.3} s  {:?}", timed.at.as_secs_f32(), timed.action);
    }
    for (kind, times) in kinds(&plan) {
        println!("{times:5} × {kind}");
    }
}

fn run(arguments: RunArguments) -> Result<bool> {
    install_crypto_provider();
    let RunArguments { plan, operator, root, output, patience, limit, keep } = arguments;
    ensure!(root.join("charts").is_dir(), "no charts/ in {}: give --root", root.display());
    let beside = || std::env::current_exe().map(|program| program.with_file_name("keeptrusts-operator"));
    let operator = operator.map_or_else(beside, Ok).context("finding this program")?;
    let operator = operator
        .canonicalize()
        .with_context(|| format!("no operator at {}: build it, or give --operator", operator.display()))?;
    let recipe = plan.recipe();
    ensure!(
        !recipe.leader_election || recipe.operators > 1,
        "--leader-election needs --operators 2: somebody has to stand by"
    );
    println!("seed {}", recipe.seed);
    let trial = trial::Trial { recipe, operator, root, output, patience, limit, keep };
    let runtime = tokio::runtime::Runtime::new().context("starting the runtime")?;
    // Everything but the token API's emulator, which is to answer whatever else goes on, shares this thread.
    tokio::task::LocalSet::new().block_on(&runtime, trial.hold())
}
