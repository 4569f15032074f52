//! What a run measured, as JSON.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::Result;
use keeptrusts_harness::reports;
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
    /// From the installation to the first key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) install: Option<Install>,
    /// All keys at once, by how many there are.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) waves: Vec<Size>,
    /// One key after the other.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) alone: Option<Alone>,
    /// Keys that are as they should be, by how many there are.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) rest: Vec<Rest>,
    /// A cluster full of Secrets that aren't the operator's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) foreign: Option<Foreign>,
    /// A token API that is slow.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) slow: Option<Slow>,
    /// A token API that allows so many calls a second.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) limited: Option<Limited>,
    /// External Secrets Operator.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) peer: Option<Peer>,
}

/// External Secrets Operator minted as many tokens.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct Peer {
    pub(crate) keys: usize,
    /// How many it worked on at once.
    pub(crate) concurrent: usize,
    /// The wave; it stands in the place of the operator there, and is what is called the leader.
    pub(crate) mint: Wave,
}

/// The chart is installed, and a key is created at once.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct Install {
    /// From the begin of `helm install` until the key is Ready. No image is pulled.
    pub(crate) seconds: Spread,
    /// What helm itself took of them.
    pub(crate) helm_seconds: Spread,
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
    /// The same, each side's time by that which the machine took for the same work in it: its pace changes from minute to minute.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) paced_ratio: Option<Spread>,
    /// The floor's processor time, everything that ran included, by the operator's: the same ratio where the machine has other work.
    pub(crate) processor_ratio: Spread,
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
    /// Processor time that one piece of work takes, always the same, in a thread beside the wave.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) pace_milliseconds: Option<Spread>,
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

/// So many keys that are as they should be.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct Rest {
    pub(crate) keys: usize,
    /// Lists of both kinds and of the Secrets' metadata, at once, page by page.
    pub(crate) bare_lists_seconds: Spread,
    pub(crate) restart: Restart,
    pub(crate) relist: Relist,
    pub(crate) idle: Idle,
}

/// Restarts of one replica.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct Restart {
    /// From the start of the process until every key was looked at and none waits.
    pub(crate) seconds: Spread,
    /// That time by the bare lists' of the same round.
    pub(crate) ratio: Spread,
    /// Writes to the API server, without those of the Lease: the most of the rounds.
    pub(crate) writes: usize,
    /// Calls to the API server, without those for the Lease, of the last round.
    pub(crate) calls: BTreeMap<String, usize>,
    /// Calls to the token API, of the last round.
    pub(crate) token_calls: BTreeMap<String, u64>,
    pub(crate) peak_mib: Spread,
    /// Some seconds later.
    pub(crate) resident_mib: Spread,
    pub(crate) cpu_seconds: Spread,
}

/// Lists made anew because the API server was restarted.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct Relist {
    /// From the first page that was asked for to the end of the last, of the longest of the three lists.
    pub(crate) seconds: Spread,
    /// That time by the bare lists' of the same round.
    pub(crate) ratio: Spread,
    pub(crate) writes: usize,
    pub(crate) leader_peak_mib: Spread,
    pub(crate) leader_cpu_seconds: Spread,
}

/// Two replicas that have nothing to do.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct Idle {
    /// How long they were watched, each time.
    pub(crate) seconds: f64,
    /// Writes to the API server, without those of the Lease.
    pub(crate) writes: usize,
    /// Calls to the API server, without those for the Lease, with the default settings.
    pub(crate) calls: BTreeMap<String, usize>,
    /// Calls to the token API, with an hour's lists in that time.
    pub(crate) token_calls: BTreeMap<String, u64>,
    /// Of a core, between two lists of the tokens.
    pub(crate) leader_percent: f64,
    pub(crate) standby_percent: f64,
    /// What the leader takes for a list of each kind, and a look at every key after it.
    pub(crate) seconds_for_each_list: f64,
    /// Of a core over an hour with the default settings, computed from the two.
    pub(crate) leader_percent_of_an_hour: f64,
}

/// A restart with few keys, without the Secrets of others and with them.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct Foreign {
    pub(crate) keys: usize,
    pub(crate) secrets: usize,
    pub(crate) without: Restart,
    pub(crate) with: Restart,
}

/// Mints while every call to the token API takes long.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct Slow {
    pub(crate) keys: usize,
    pub(crate) latency_milliseconds: u64,
    pub(crate) ratio: Spread,
    pub(crate) floor_keys_per_second: Spread,
    pub(crate) operator_keys_per_second: Spread,
}

/// Mints and rotations under a limit of the token API.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct Limited {
    pub(crate) keys: usize,
    pub(crate) calls_per_second: u32,
    pub(crate) mint_keys_per_second: Spread,
    pub(crate) share_of_limit: Spread,
    /// Calls that were answered with 429.
    pub(crate) refused_calls: Spread,
    /// All keys are rotated …
    pub(crate) rotation_seconds: Spread,
    /// … and while they are, two are created,
    pub(crate) new_key_seconds: Spread,
    /// and two deleted.
    pub(crate) deletion_seconds: Spread,
}

impl Report {
    /// The day when it began.
    pub(crate) fn date(&self) -> &str {
        self.started.get(..10).unwrap_or_default()
    }

    /// The beginning of the commit's name.
    pub(crate) fn short_commit(&self) -> &str {
        self.commit.get(..10).unwrap_or(&self.commit)
    }

    /// Writes it into a folder.
    pub(crate) fn write(&self, dir: &Path) -> Result<PathBuf> {
        let name: String = self.started.chars().take(16).map(|c| if c == ':' { '-' } else { c }).collect();
        reports::write(dir, &name, self)
    }
}
