//! What commands print, for people or for scripts, and what they ask.

use std::io::{self, IsTerminal as _, Write};

use anyhow::{Result, bail};
use clap::ValueEnum;
use serde::Serialize;

/// How something is printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Output {
    /// Lines for people.
    Text,
    /// A JSON array.
    Json,
}

/// Prints rows as JSON, or as `text` does it.
///
/// # Errors
/// If it can't be written.
pub(crate) fn output<T: Serialize>(
    output: Output,
    rows: &[T],
    text: impl FnOnce(&mut io::StdoutLock<'_>) -> io::Result<()>,
) -> Result<()> {
    let mut out = io::stdout().lock();
    match output {
        Output::Json => {
            serde_json::to_writer_pretty(&mut out, rows)?;
            writeln!(out)?;
        }
        Output::Text => text(&mut out)?,
    }
    Ok(())
}

/// Prints a head and lines, each column as wide as its longest cell.
///
/// # Errors
/// If it can't be written.
pub(crate) fn print<const N: usize>(
    out: &mut impl Write,
    head: [&str; N],
    lines: impl Iterator<Item = [String; N]>,
) -> io::Result<()> {
    let lines: Vec<_> = std::iter::once(head.map(ToOwned::to_owned)).chain(lines).collect();
    let widths: [usize; N] = std::array::from_fn(|column| {
        lines.iter().map(|line| line[column].chars().count()).max().unwrap_or(0)
    });
    for line in lines {
        let cells = line.iter().zip(widths).map(|(cell, width)| format!("{cell:width$}"));
        writeln!(out, "{}", cells.collect::<Vec<_>>().join("  ").trim_end())?;
    }
    Ok(())
}

/// Asks whether to go on with something that can't be undone; the answer must be `yes`.
///
/// # Errors
/// If it isn't, or there is nobody to ask.
pub(crate) fn confirm(question: &str) -> Result<()> {
    if !io::stdin().is_terminal() {
        bail!("there is nobody to ask: add --yes to do it without a question");
    }
    let mut out = io::stderr();
    write!(out, "{question} Type yes: ")?;
    out.flush()?;
    let mut answer = String::new();
    io::stdin().read_line(&mut answer)?;
    if answer.trim() != "yes" {
        bail!("nothing was done");
    }
    Ok(())
}
