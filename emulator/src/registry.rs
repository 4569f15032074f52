//! The faults that are set, and which of them strike a call.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use serde_json::Value;
use tokio::sync::oneshot;

use crate::call::{AppliedFault, Operation};
use crate::effect::{Effect, RetryAfter, Stage};
use crate::fault::{ActiveFault, Fault};

/// What a limit counts within.
const WINDOW: Duration = Duration::from_secs(1);

/// What becomes of a held call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// It goes on.
    Deliver,
    /// It is lost: its connection is cut, and it is not carried out if it hasn't been.
    Lose,
}

/// What is in store for one call.
#[derive(Debug, Default)]
pub(crate) struct Plan {
    pub(crate) before: Delay,
    pub(crate) after: Delay,
    pub(crate) changes: Vec<Value>,
    /// The effect that takes the answer's place.
    pub(crate) instead: Option<Effect>,
    pub(crate) applied: Vec<AppliedFault>,
}

/// How long a call waits at a stage.
#[derive(Debug, Default)]
pub(crate) struct Delay {
    pub(crate) latency: Duration,
    pub(crate) holds: Vec<oneshot::Receiver<Verdict>>,
}

#[derive(Debug)]
struct Entry {
    id: u64,
    fault: Fault,
    used: u32,
    /// When the calls of the last second came that a limit let through, oldest first.
    let_through: VecDeque<Instant>,
    held: Vec<oneshot::Sender<Verdict>>,
}

impl Entry {
    fn remaining(&self) -> Option<u32> {
        self.fault.times.map(|times| times.saturating_sub(self.used))
    }

    /// Whether a limit of so many calls a second lets one more through.
    fn lets_through(&mut self, per_second: u32) -> bool {
        let now = Instant::now();
        while self.let_through.front().is_some_and(|at| now.duration_since(*at) >= WINDOW) {
            self.let_through.pop_front();
        }
        let free = self.let_through.len() < usize::try_from(per_second).unwrap_or(usize::MAX);
        if free {
            self.let_through.push_back(now);
        }
        free
    }

    fn release(&mut self, verdict: Verdict) -> usize {
        // A call whose wait has ended otherwise (the emulator stops) isn't there any more.
        self.held.drain(..).filter_map(|call| call.send(verdict).ok()).count()
    }
}

/// The faults, oldest first.
#[derive(Debug, Default)]
pub(crate) struct Registry {
    last: u64,
    entries: Vec<Entry>,
}

impl Registry {
    pub(crate) fn add(&mut self, fault: Fault) -> u64 {
        self.last += 1;
        self.entries.push(Entry {
            id: self.last,
            fault,
            used: 0,
            let_through: VecDeque::new(),
            held: vec![],
        });
        self.last
    }

    pub(crate) fn list(&self) -> Vec<ActiveFault> {
        self.entries
            .iter()
            .map(|entry| ActiveFault {
                id: entry.id,
                used: entry.used,
                remaining: entry.remaining(),
                held: u32::try_from(entry.held.iter().filter(|it| !it.is_closed()).count())
                    .unwrap_or(u32::MAX),
                fault: entry.fault.clone(),
            })
            .collect()
    }

    /// Lets go of the calls that a fault holds; says how many they were. The fault stays.
    pub(crate) fn release(&mut self, id: u64, verdict: Verdict) -> Option<usize> {
        self.entries.iter_mut().find(|entry| entry.id == id).map(|entry| entry.release(verdict))
    }

    /// Takes a fault away. What it holds is delivered: without it, nobody could do that later.
    pub(crate) fn remove(&mut self, id: u64) -> bool {
        let Some(at) = self.entries.iter().position(|entry| entry.id == id) else { return false };
        self.entries.remove(at).release(Verdict::Deliver);
        true
    }

    /// Takes every fault away.
    pub(crate) fn clear(&mut self, verdict: Verdict) {
        for mut entry in self.entries.drain(..) {
            entry.release(verdict);
        }
    }

    /// Decides what happens to a call, and counts it. Latency, holds and changed behaviour add up; of the effects that take the
    /// answer's place the oldest decides, and the others are saved for later calls.
    pub(crate) fn plan(&mut self, operation: Operation, subjects: &[String]) -> Plan {
        let mut plan = Plan::default();
        for entry in &mut self.entries {
            let effect = &entry.fault.effect;
            if entry.remaining() == Some(0)
                || !entry.fault.fits(operation, subjects)
                || (effect.replaces_answer() && plan.instead.is_some())
            {
                continue;
            }
            if let Effect::Limit { per_second } = *effect
                && entry.lets_through(per_second)
            {
                continue;
            }
            let effect = &entry.fault.effect;
            let delay = match effect.stage() {
                Stage::Before => &mut plan.before,
                Stage::After => &mut plan.after,
            };
            match effect {
                Effect::Latency { milliseconds, .. } => delay.latency += Duration::from_millis(*milliseconds),
                Effect::Hold { .. } => {
                    let (release, held) = oneshot::channel();
                    entry.held.retain(|it| !it.is_closed());
                    entry.held.push(release);
                    delay.holds.push(held);
                }
                Effect::Behave { behaviour } => plan.changes.push(behaviour.clone()),
                Effect::Limit { .. } => plan.instead = Some(Effect::throttle(RetryAfter::Seconds(1))),
                Effect::Status { .. }
                | Effect::Cut { .. }
                | Effect::CutBody
                | Effect::Answer { .. }
                | Effect::Redirect { .. }
                | Effect::Huge { .. } => plan.instead = Some(effect.clone()),
            }
            entry.used += 1;
            plan.applied.push(AppliedFault { id: entry.id, effect: entry.fault.effect.kind().into() });
        }
        plan
    }
}
