//! What is noted while everything goes wrong: how often what happened, which resources there were and when they went, the values that
//! Secrets held, the calls of the token API.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use keeptrusts_emulator::{AppliedFault, Call, Emulator, Operation, Outcome};

/// Everything that is noted.
#[derive(Debug, Default)]
pub(crate) struct Record {
    /// Actions that were done, by kind.
    pub(crate) done: BTreeMap<String, u64>,
    /// Actions whose target wasn't there, or that the API server didn't let through in time, by kind.
    pub(crate) skipped: BTreeMap<String, u64>,
    /// Calls that a fault struck, by the fault's kind.
    pub(crate) struck: BTreeMap<String, u64>,
    /// Requests of operators to the API server that were blocked, by the block's kind.
    pub(crate) blocked: BTreeMap<String, u64>,
    /// How often an operator began to lead.
    pub(crate) terms: usize,
    /// Blows that fell on the operator that led.
    pub(crate) leaders_struck: u64,
    /// What must account for every token made: new keys, and what people did that demands a new token.
    pub(crate) reasons: BTreeMap<&'static str, u64>,
    /// Resources by uid.
    pub(crate) resources: BTreeMap<String, Life>,
    /// Values that Secrets held.
    pub(crate) values: BTreeSet<String>,
    /// Calls but lists, by number.
    pub(crate) calls: BTreeMap<u64, Call>,
    /// Lists.
    pub(crate) lists: u64,
    next_call: u64,
    /// Tokens that people changed in the console.
    pub(crate) outside: BTreeSet<String>,
    /// What must never be, as it was seen.
    pub(crate) violations: Vec<String>,
    /// How often all keys were looked at while things went wrong.
    pub(crate) looks: u64,
    /// Keys that were ready, with a living value, when they were last looked at.
    pub(crate) ready: usize,
    /// Keys that were found ready, and their Secret's value alive, in those looks.
    pub(crate) found_alive: usize,
    /// Revocations before which the Secret was looked at.
    pub(crate) gated: u64,
    /// Revocations that couldn't be looked at, because the API server was away.
    pub(crate) ungated: u64,
}

/// A resource's life.
#[derive(Debug, Clone)]
pub(crate) struct Life {
    /// Kind, namespace and name.
    pub(crate) place: String,
    /// When it was last seen.
    pub(crate) seen: Timestamp,
    /// When a look that began after that didn't find it any more.
    pub(crate) gone: Option<Timestamp>,
}

impl Record {
    /// Counts an action.
    pub(crate) fn did(&mut self, kind: String) {
        *self.done.entry(kind).or_default() += 1;
    }

    /// Counts an action that wasn't possible.
    pub(crate) fn skipped(&mut self, kind: String) {
        *self.skipped.entry(kind).or_default() += 1;
    }

    /// Notes something that demands a new token.
    pub(crate) fn reason(&mut self, reason: &'static str) {
        *self.reasons.entry(reason).or_default() += 1;
    }

    /// Notes something that must never be, once.
    pub(crate) fn violated(&mut self, what: String) {
        if !self.violations.contains(&what) {
            self.violations.push(what);
        }
    }

    /// Copies the calls that are new, or weren't over the last time: the emulator forgets old ones.
    pub(crate) fn read_calls(&mut self, emulator: &Emulator) {
        let calls = emulator.calls();
        let unfinished: Vec<u64> = self
            .calls
            .values()
            .filter(|call| call.outcome == Outcome::Pending)
            .map(|call| call.index)
            .collect();
        for call in calls {
            let new = call.index >= self.next_call;
            self.next_call = self.next_call.max(call.index + 1);
            if new && call.operation == Operation::List {
                self.lists += 1;
            }
            let struck_list = !call.faults.is_empty() || call.operation != Operation::List;
            if struck_list && (new || unfinished.contains(&call.index)) {
                self.calls.insert(call.index, call);
            }
        }
    }

    /// Calls of an operation, and how many of them changed the table.
    pub(crate) fn counted(&self, operation: Operation) -> (usize, usize) {
        let calls = self.calls.values().filter(|call| call.operation == operation);
        let committed = calls.clone().filter(|call| call.committed).count();
        (calls.count(), committed)
    }

    /// Calls that make a value, whose sender couldn't know what they did. `gate` is a fault of this program's own, that changes nothing.
    pub(crate) fn unknown_outcomes(&self) -> usize {
        let minting = |call: &&Call| matches!(call.operation, Operation::Create | Operation::Rotate);
        self.calls
            .values()
            .filter(minting)
            .filter(|call| call.client_gone || call.outcome != Outcome::Answered || !call.faults.is_empty())
            .count()
    }
}

/// The kinds of the faults that struck a call.
pub(crate) fn effects(faults: &[AppliedFault]) -> String {
    faults.iter().map(|fault| fault.effect.as_str()).collect::<Vec<_>>().join("+")
}
