//! Rollouts: workloads are restarted when the Secret has a new value, and what they ran on before lives until all of them run on
//! the new one.
//!
//! The restart is an annotation of their pods' template, one for each Secret, that names the operation: patched once, however
//! often the process that does it dies. Whether they run on the new value is observed, never assumed.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::resources::{KeyStatus, RolloutTimeoutPolicy, Superseded, WorkloadRef};

use super::desired::{Desired, Restarts};
use super::observed::Observed;
use super::status::{Reason, Verdict};
use super::step::Step;
use super::time::{Monotonic, elapsed, later, to_time};

/// How often workloads are looked at while they roll out, and while a person has to see to them.
const LOOK: Duration = Duration::from_secs(3);
const LOOK_AT_STUCK: Duration = Duration::from_mins(1);

/// How long a rollout waits for others before anything is done: keys that change together restart their workloads once.
const TOGETHER: Duration = Duration::from_secs(2);

/// The workloads as they were read.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Workloads {
    /// When.
    pub at: Monotonic,
    /// Each of those that the spec means.
    pub seen: Result<Vec<Workload>, Unknown>,
}

/// Why it isn't known which workloads use the Secret.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Unknown {
    /// The process has just begun to look for them.
    NotYet,
    /// The operator wasn't told to look for them.
    NotLookedFor,
}

/// A workload as it was read.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Workload {
    /// Which.
    pub reference: WorkloadRef,
    /// The operation that its pods' template names for our Secret.
    pub restarted_for: Option<String>,
    /// What keeps it from running on its template; nothing if all its pods do.
    pub hindrance: Option<Hindrance>,
}

/// What keeps a workload from running on its template.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Hindrance {
    /// It is under way; in words, how far.
    UnderWay(String),
    /// It isn't restarted yet, because enough others are.
    Queued,
    /// It won't go on by itself, and isn't restarted; in words, why and what to do.
    Stuck(String),
}

/// How a rollout stands.
pub(super) enum Rollout {
    /// There is none.
    None,
    /// Every workload runs on the value, or isn't waited for any longer.
    Complete,
    /// Something is to be done for it.
    Act(Step),
    /// It takes its time until then. Where a person must act, that is said.
    Waits(Monotonic, Option<Verdict>),
}

/// Whether a value that is committed in place of another one restarts workloads.
pub(super) fn is_wanted(desired: &Desired) -> bool {
    desired.restarts != Restarts::None
}

/// How the rollout that status records stands.
pub(super) fn examine(observed: &Observed, desired: &Desired) -> Rollout {
    let Some(rollout) = &observed.resource.status.rollout else { return Rollout::None };
    if !is_wanted(desired) {
        return Rollout::Complete;
    }
    let now = observed.now;
    // The lesser of both clocks, as for grace: this process's sight of it begins with the token's.
    let sight = observed.memory.token_seen.as_ref().filter(|seen| seen.operation == rollout.operation);
    let seen_for = sight.map_or(Duration::ZERO, |seen| now.mono.since(seen.at));
    let age = seen_for.min(elapsed(rollout.since.0, now.wall));
    let late = age >= desired.rollout_timeout && !observed.connection.clock_skewed;
    // Whoever uses the Secret may not be known before, either.
    if let Some(moment) = TOGETHER.checked_sub(seen_for).filter(|moment| !moment.is_zero()) {
        return Rollout::Waits(now.mono + moment, None);
    }
    let is_stuck = |workload: &Workload| matches!(workload.hindrance, Some(Hindrance::Stuck(_)));
    let again = |workloads: &Workloads| {
        let stuck = workloads.seen.iter().flatten().any(is_stuck);
        workloads.at + if late || stuck { LOOK_AT_STUCK } else { LOOK }
    };
    let current = |workloads: &&Workloads| {
        let seen = workloads.seen.iter().flatten().map(|seen| &seen.reference);
        let meant = match &desired.restarts {
            Restarts::Listed(refs) => seen.eq(refs),
            Restarts::Discovered | Restarts::None => true,
        };
        meant && now.mono < again(workloads)
    };
    let Some(workloads) = observed.workloads.as_ref().filter(current) else {
        return Rollout::Act(Step::ReadWorkloads);
    };
    let seen = match &workloads.seen {
        Ok(seen) => seen,
        Err(Unknown::NotYet) => return Rollout::Waits(again(workloads), None),
        Err(Unknown::NotLookedFor) => {
            let verdict = held_up(
                "spec.workloads.restart is Discovered, and this operator doesn't look for workloads: set the chart's value \
                 discoverWorkloads, or name them with Listed.",
            );
            return Rollout::Waits(again(workloads), Some(verdict));
        }
    };
    let runs = |workload: &Workload| {
        workload.restarted_for.as_ref() == Some(&rollout.operation) && workload.hindrance.is_none()
    };
    let Some(first) = seen.iter().find(|workload| !runs(workload)) else { return Rollout::Complete };
    let restartable = |workload: &&Workload| {
        workload.restarted_for.as_ref() != Some(&rollout.operation)
            && !matches!(workload.hindrance, Some(Hindrance::Stuck(_) | Hindrance::Queued))
    };
    if late && desired.on_rollout_timeout == RolloutTimeoutPolicy::RevokeOld {
        return Rollout::Complete;
    }
    if let Some(workload) = seen.iter().find(restartable) {
        return Rollout::Act(Step::Restart {
            workload: workload.reference.clone(),
            operation: rollout.operation.clone(),
        });
    }
    let stuck = seen.iter().find_map(|workload| match &workload.hindrance {
        Some(Hindrance::Stuck(why)) => Some((workload, why)),
        _ => None,
    });
    let verdict = match (stuck, &first.hindrance) {
        (Some((workload, why)), _) => Some(held_up(&format!("{} {why}", workload.reference))),
        (None, Some(Hindrance::UnderWay(how))) if late => {
            Some(held_up(&format!("{} doesn't run on the new value yet: {how}.", first.reference)))
        }
        (None, Some(Hindrance::Queued)) if late => Some(held_up(&format!(
            "{} isn't restarted yet: other rollouts take their time.",
            first.reference
        ))),
        _ => None,
    };
    Rollout::Waits(again(workloads), verdict)
}

fn held_up(message: &str) -> Verdict {
    Verdict::stalled(true, Reason::RolloutHeldUp, message)
}

/// Status once a rollout is over: the grace of what it waited for begins now.
pub(super) fn complete(observed: &Observed, desired: &Desired, status: &mut KeyStatus) {
    if status.rollout.take().is_none() {
        return;
    }
    let now = observed.now.wall;
    for entry in status.superseded.iter_mut().filter(|entry| waits(entry)) {
        entry.since = to_time(now);
        entry.revoke_after = to_time(later(now, desired.grace).max(entry.revoke_after.0));
    }
}

/// Whether a superseded token waits for workloads that may run on it. What is to die at once doesn't.
fn waits(entry: &Superseded) -> bool {
    entry.revoke_after.0 > entry.since.0
}

/// Whether a superseded token is kept because a rollout is under way.
pub(super) fn is_held(status: &KeyStatus, entry: &Superseded) -> bool {
    status.rollout.is_some() && waits(entry)
}
