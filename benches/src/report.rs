//! What a run measured, as JSON.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use serde::{Deserialize, Serialize};

use crate::fleet::Uses;
use crate::machine::Machine;
use crate::statistics::Spread;

/// One run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct Report {
    /// The commit of the repository; with `-dirty`, if files had been changed.
    pub(crate) commit: String,
    /// When it began.
    pub(crate) started: String,
    pub(crate) machine: Machine,
    /// Whether the programs are optimised. Nothing else is worth a look.
    pub(crate) optimised: bool,
    /// What `kube-apiserver --version` and the others say.
    pub(crate) versions: BTreeMap<String, String>,
    pub(crate) rounds: usize,
    /// All keys at once, by how many there are.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) waves: Vec<Size>,
    /// One key after the other.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) alone: Option<Alone>,
}

/// The waves with so many keys.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct Size {
    pub(crate) keys: usize,
    pub(crate) waves: Vec<Wave>,
    /// What a key and its Secret have as JSON: the floor writes what the operator does.
    pub(crate) bytes_per_key: Sides<usize>,
    /// What the replicas use before there is a key.
    pub(crate) empty: Vec<Uses>,
    /// What they use when nothing has happened to the keys for a while.
    pub(crate) resting: Vec<Uses>,
}

/// Of the floor and of the operator.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct Sides<T> {
    pub(crate) floor: T,
    pub(crate) operator: T,
}

/// One kind of wave over all rounds.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct Wave {
    /// `mint`, `rotate in place`, `delete` …
    pub(crate) name: String,
    /// The operator's keys a second by the floor's of the same round.
    pub(crate) ratio: Spread,
    pub(crate) floor: Side,
    pub(crate) operator: Side,
    /// What the replicas used: the processor in the wave, the most memory, and the sockets at its end.
    pub(crate) uses: Vec<Uses>,
}

/// What a wave took on one side, over all rounds.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct Side {
    /// From the first key that was asked to the last that was done.
    pub(crate) seconds: Spread,
    pub(crate) keys_per_second: Spread,
    /// From asking the first key until one was done.
    pub(crate) first_seconds: Spread,
    /// From asking a key until it was done.
    pub(crate) p50_seconds: Spread,
    pub(crate) p99_seconds: Spread,
    /// Processor time of the API server, etcd and the controller manager in the wave.
    pub(crate) control_plane_cpu_seconds: Spread,
    /// Processor time of the benchmark: it asks, and on its side it is the floor.
    pub(crate) benchmark_cpu_seconds: Spread,
    /// Calls to the API server in the wave, for each key: the middle of the rounds.
    pub(crate) calls_per_key: BTreeMap<String, f64>,
    /// Of them, those that the API server refused.
    pub(crate) failed_calls_per_key: f64,
    /// Calls to the token API, for each key.
    pub(crate) token_calls_per_key: BTreeMap<String, f64>,
}

/// One key after the other, each begun when the last one is ready.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct Alone {
    pub(crate) keys: usize,
    /// The operator's time by the floor's, of the medians.
    pub(crate) ratio: Spread,
    /// Median of the keys, in seconds, over the rounds.
    pub(crate) floor_seconds: Spread,
    pub(crate) operator_seconds: Spread,
}

impl Report {
    /// Writes it into a folder.
    pub(crate) fn write(&self, dir: &Path) -> Result<PathBuf> {
        std::fs::create_dir_all(dir).with_context(|| format!("making {}", dir.display()))?;
        let name: String = self.started.chars().take(16).map(|c| if c == ':' { '-' } else { c }).collect();
        let path = dir.join(format!("{name}.json"));
        let text = serde_json::to_string_pretty(self).context("writing JSON")? + "\n";
        std::fs::write(&path, text).with_context(|| format!("writing {}", path.display()))?;
        Ok(path)
    }
}

/// The reports in a folder, oldest first.
pub(crate) fn read_all(dir: &Path) -> Result<Vec<Report>> {
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
