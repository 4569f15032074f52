//! The program around the library.

mod cli;

use std::io::{self, IsTerminal as _, Write as _};

use anyhow::{Context as _, Result};
use clap::Parser as _;
use keeptrusts_emulator::Emulator;
use tokio::signal::unix::{SignalKind, signal};
use tracing_subscriber::EnvFilter;

use crate::cli::Cli;

#[tokio::main]
async fn main() -> Result<()> {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info"));
    // Colours are for eyes; in a file they hide words from a search.
    let colours = io::stderr().is_terminal();
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(io::stderr).with_ansi(colours).init();
    let options = Cli::parse().options()?;
    let generated = options.credential.is_none();
    // Before the address is told: whoever reads it may send the signal at once.
    let mut terminate = signal(SignalKind::terminate()).context("waiting for SIGTERM")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("waiting for Ctrl-C")?;
    let emulator = Emulator::start(options).await?;
    announce(&emulator, generated).context("writing to standard output")?;
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    emulator.stop().await;
    Ok(())
}

fn announce(emulator: &Emulator, generated: bool) -> io::Result<()> {
    let mut out = io::stdout().lock();
    writeln!(out, "listening on {}", emulator.url())?;
    if generated {
        writeln!(out, "credential {}", emulator.credential())?;
    }
    out.flush()
}
