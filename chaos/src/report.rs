//! What a run proves, as JSON: what was done, what was found.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::Result;
use keeptrusts_harness::reports;
use serde::{Deserialize, Serialize};

/// One run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct Report {
    /// The commit of the repository; with `-dirty`, if files had been changed.
    pub(crate) commit: String,
    /// What makes the same plan again.
    pub(crate) seed: u64,
    /// When it began.
    pub(crate) started: String,
    /// How long things went wrong.
    pub(crate) seconds: u64,
    /// From the end of the faults until everything was at rest.
    pub(crate) settled_in_seconds: u64,
    pub(crate) keys: usize,
    pub(crate) operators: usize,
    /// Whether one of them led and the others stood by; in older reports none did.
    #[serde(default)]
    pub(crate) leader_election: bool,
    /// How often an operator began to lead.
    #[serde(default)]
    pub(crate) terms: usize,
    /// Kills and freezes of the operator that led.
    #[serde(default)]
    pub(crate) leaders_struck: u64,
    /// Requests of operators to the API server that were blocked, by kind.
    #[serde(default)]
    pub(crate) requests_blocked: BTreeMap<String, u64>,
    /// Operators killed.
    pub(crate) kills: u64,
    /// Operators frozen.
    pub(crate) freezes: u64,
    /// The API server killed or stopped.
    pub(crate) api_server_restarts: u64,
    pub(crate) etcd_freezes: u64,
    /// Operators that ended without being killed, and were started again.
    pub(crate) ended_by_themselves: u64,
    /// Every action by kind.
    pub(crate) actions: BTreeMap<String, u64>,
    /// Actions that couldn't be done, mostly because what they were about wasn't there.
    pub(crate) skipped: BTreeMap<String, u64>,
    /// Calls of the token API that a fault struck, by kind.
    pub(crate) calls_struck: BTreeMap<String, u64>,
    /// Calls of the token API: all, and those that changed its table.
    pub(crate) lists: u64,
    pub(crate) creates: usize,
    pub(crate) mints: usize,
    pub(crate) rotations: usize,
    pub(crate) revocations: usize,
    /// Creates and rotations whose sender couldn't know what they did.
    pub(crate) unknown_outcomes: usize,
    /// What else demands a token: new keys, and what people did.
    pub(crate) demands: BTreeMap<String, u64>,
    /// Tokens that all of that accounts for, at most.
    pub(crate) mints_accounted_for: u64,
    /// Times that all keys were looked at while things went wrong, and ready keys found with a living value.
    pub(crate) looks: u64,
    pub(crate) found_alive: usize,
    /// Revocations before which the Secret was looked at, and others.
    pub(crate) revocations_looked_at: u64,
    pub(crate) revocations_not_looked_at: u64,
    /// Pods that took a value when they started; older reports have none.
    #[serde(default)]
    pub(crate) pods_started: u64,
    /// Values that were looked for everywhere.
    pub(crate) values_searched: usize,
    /// Keys at rest before the operators were started anew.
    pub(crate) settled_without_restart: usize,
    /// I1: living tokens that nobody names.
    pub(crate) leaks: usize,
    /// Of deleted resources, made by calls that came after all waits: admitted, and not among the leaks.
    pub(crate) late_orphans: usize,
    /// I2: ready keys without the living value of their token.
    pub(crate) lost_values: usize,
    /// I4: places other than a Secret's data where a value stands.
    pub(crate) exposed: usize,
    /// I5: tokens and Secrets of others that were changed.
    pub(crate) foreign_changed: usize,
    /// I6: what went on though nothing was to be done.
    pub(crate) restless: usize,
    /// I7: keys that never came to rest.
    pub(crate) not_settled: usize,
    /// I2, I3 and everything else that was seen to fail on the way.
    pub(crate) violations: usize,
}

impl Report {
    /// Whether every invariant held.
    pub(crate) fn passed(&self) -> bool {
        self.leaks
            + self.lost_values
            + self.exposed
            + self.foreign_changed
            + self.restless
            + self.not_settled
            + self.violations
            == 0
            && !self.mints_exceeded()
    }

    /// I8: clearly more tokens were made than anything accounts for.
    pub(crate) fn mints_exceeded(&self) -> bool {
        u64::try_from(self.mints).unwrap_or(u64::MAX) > self.mints_accounted_for
    }

    /// Writes it into a folder.
    pub(crate) fn write(&self, dir: &Path) -> Result<PathBuf> {
        reports::write(dir, &format!("{}-{}", self.started.get(..10).unwrap_or_default(), self.seed), self)
    }
}
