//! Reports of runs, as JSON files beside each other, of which pages of the documentation are generated.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use serde::Serialize;
use serde::de::DeserializeOwned;

/// Writes a report under a name without its extension, into a folder that is made if there is none.
///
/// # Errors
/// When it can't be written.
pub fn write(dir: &Path, name: &str, report: &impl Serialize) -> Result<PathBuf> {
    std::fs::create_dir_all(dir).with_context(|| format!("making {}", dir.display()))?;
    let path = dir.join(format!("{name}.json"));
    let text = serde_json::to_string_pretty(report).context("writing JSON")? + "\n";
    std::fs::write(&path, text).with_context(|| format!("writing {}", path.display()))?;
    Ok(path)
}

/// The reports in a folder, by the names of their files.
///
/// # Errors
/// When one can't be read, or isn't such a report.
pub fn read_all<T: DeserializeOwned>(dir: &Path) -> Result<Vec<T>> {
    let mut paths = Vec::new();
    for entry in std::fs::read_dir(dir).with_context(|| format!("listing {}", dir.display()))? {
        let path = entry?.path();
        if path.extension().is_some_and(|end| end == "json") {
            paths.push(path);
        }
    }
    paths.sort();
    let read = |path: &PathBuf| {
        let text = std::fs::read_to_string(path).with_context(|| format!("reading {}", path.display()))?;
        serde_json::from_str(&text).with_context(|| format!("in {}", path.display()))
    };
    paths.iter().map(read).collect()
}
