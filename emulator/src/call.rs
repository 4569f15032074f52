//! The log of calls: what was asked, what was answered, and which faults had a hand in it. Never a value or a credential.

use std::collections::{BTreeMap, VecDeque};
use std::time::Instant;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// A day of a demo makes fewer calls; without an end, the log would be a leak.
const KEPT: usize = 20_000;

/// What a call is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Operation {
    /// `POST /v1/tokens`.
    Create,
    /// `POST /v1/tokens/{id}/rotate`.
    Rotate,
    /// `DELETE /v1/tokens/{id}`.
    Revoke,
    /// `GET /v1/tokens`.
    List,
    /// `GET /v1/whoami`.
    Whoami,
    /// Something that the API doesn't have.
    Other,
}

impl Operation {
    /// Every operation of the API.
    pub const ALL: [Self; 5] = [Self::Create, Self::Rotate, Self::Revoke, Self::List, Self::Whoami];

    /// Its name, as in JSON.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Create => "create",
            Self::Rotate => "rotate",
            Self::Revoke => "revoke",
            Self::List => "list",
            Self::Whoami => "whoami",
            Self::Other => "other",
        }
    }
}

/// What a create was sent. Fields that the API doesn't know are in `others`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CreateBody {
    /// The name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// The type, as it was sent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token_type: Option<String>,
    /// The team.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub team_id: Option<String>,
    /// The description.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// The bindings.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bindings: Option<Value>,
    /// The expiry, as it was sent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<String>,
    /// Every other field.
    #[serde(flatten)]
    pub others: Map<String, Value>,
}

impl CreateBody {
    /// `bindings.gateway_id`.
    #[must_use]
    pub fn gateway_id(&self) -> Option<&str> {
        self.bindings.as_ref()?.get("gateway_id")?.as_str()
    }
}

/// How a call ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// It hasn't: it's on its way, delayed or held.
    Pending,
    /// An answer was sent, whole.
    Answered,
    /// The connection was closed before the end of an answer.
    Cut,
}

/// A fault that struck a call.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AppliedFault {
    /// The fault's id.
    pub id: u64,
    /// The kind of its effect.
    pub effect: String,
}

/// One call.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Call {
    /// Its number, from 0; it goes on counting after a reset.
    pub index: u64,
    /// When it came in.
    pub at: Timestamp,
    /// What it was for.
    pub operation: Operation,
    /// The HTTP method.
    pub method: String,
    /// Path and query.
    pub path: String,
    /// The id that it was about, or that it made.
    pub token_id: Option<String>,
    /// What a create was sent, if that was readable.
    pub sent: Option<CreateBody>,
    /// The header `Idempotency-Key`.
    pub idempotency_key: Option<String>,
    /// Whether it changed the table of tokens.
    pub committed: bool,
    /// How it ended.
    pub outcome: Outcome,
    /// The status of the answer; none if there was none.
    pub status: Option<u16>,
    /// From its coming in to its end.
    pub duration_milliseconds: Option<u64>,
    /// The faults that struck it.
    pub faults: Vec<AppliedFault>,
    /// Whether the client left before it had an answer.
    pub client_gone: bool,
}

/// How many calls and tokens there were.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counts {
    /// Calls by operation, pending ones too.
    pub calls: BTreeMap<Operation, u64>,
    /// Tokens ever made.
    pub tokens_created: u64,
    /// Tokens whose values work now.
    pub tokens_alive: u64,
}

impl Counts {
    /// The calls of an operation.
    #[must_use]
    pub fn of(&self, operation: Operation) -> u64 {
        self.calls.get(&operation).copied().unwrap_or_default()
    }
}

/// The calls, oldest first.
#[derive(Debug, Default)]
pub(crate) struct CallLog {
    next: u64,
    calls: VecDeque<(Instant, Call)>,
    pub(crate) counts: BTreeMap<Operation, u64>,
}

impl CallLog {
    /// Adds a call that has just come in; its number is set here.
    pub(crate) fn begin(&mut self, mut call: Call) -> u64 {
        call.index = self.next;
        self.next += 1;
        *self.counts.entry(call.operation).or_default() += 1;
        if self.calls.len() == KEPT {
            self.calls.pop_front();
        }
        self.calls.push_back((Instant::now(), call));
        self.next - 1
    }

    /// Changes a call's record, if it is still there.
    pub(crate) fn update(&mut self, index: u64, change: impl FnOnce(&mut Call)) {
        if let Ok(at) = self.calls.binary_search_by_key(&index, |(_, call)| call.index) {
            change(&mut self.calls[at].1);
        }
    }

    /// Ends a call and gives its record.
    pub(crate) fn end(&mut self, index: u64, outcome: Outcome, status: Option<u16>) -> Option<Call> {
        let at = self.calls.binary_search_by_key(&index, |(_, call)| call.index).ok()?;
        let (since, call) = &mut self.calls[at];
        call.outcome = outcome;
        call.status = status;
        call.duration_milliseconds = u64::try_from(since.elapsed().as_millis()).ok();
        Some(call.clone())
    }

    pub(crate) fn since(&self, index: u64) -> Vec<Call> {
        self.calls.iter().map(|(_, call)| call).filter(|call| call.index >= index).cloned().collect()
    }

    pub(crate) const fn next(&self) -> u64 {
        self.next
    }

    /// Forgets the calls, but not how far it counted: one may be on its way.
    pub(crate) fn clear(&mut self) {
        self.calls.clear();
        self.counts.clear();
    }
}
