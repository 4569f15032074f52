//! What one process knows of one key beside what is stored: first sights, the operation that it carries out, the
//! outcomes of its own calls. All of it may be lost at any time.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use crate::resources::{KeyStatus, Operation};

use super::observed::Version;
use super::status::Reason;
use super::time::{Monotonic, Now};
use super::token::TokenFacts;

/// What this process knows of a key.
#[derive(Clone, Debug, Default)]
pub struct Memory {
    /// The operation that this process carries out.
    pub flight: Option<Flight>,
    /// What the dry run of this pass told.
    pub preflight: Option<Captured>,
    /// The operation that stands in status, and when this process first saw it there.
    pub operation_seen: Option<(String, Monotonic)>,
    /// An operation of this process that certainly changed nothing at the token API.
    pub harmless: Option<String>,
    /// Superseded tokens, each with the time at which this process first saw it so.
    pub superseded_seen: BTreeMap<String, Monotonic>,
    /// The current token, and when this process first saw it so.
    pub token_seen: Option<(String, Monotonic)>,
    /// When this process first saw that the resource is being deleted.
    pub deletion_seen: Option<Monotonic>,
    /// Ids that the token API answered to calls of this process for this resource.
    pub made: BTreeSet<String>,
    /// Ids that this process revoked.
    pub revoked: BTreeSet<String>,
    /// For ids that a complete list lacked: when the first such list was begun.
    pub absent_since: BTreeMap<String, Monotonic>,
    /// Whether the Secret's own value was accepted by the token API; for the id that the Secret names.
    pub proof: Option<(String, Life)>,
    /// Why the last attempt failed.
    pub trouble: Option<Trouble>,
    /// Repairs of the Secret by this process.
    pub repairs: Repairs,
}

/// Whether a value is accepted by the token API.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Life {
    /// It is.
    Alive,
    /// It is not: 401.
    Dead,
    /// The answer says nothing.
    Unknown,
}

/// The Secret as it was before an operation's intent, or as it was re-read before the resource: what a value is
/// written onto.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Captured {
    /// Its version; absent if there is no Secret.
    pub version: Option<Version>,
    /// The token that it names.
    pub names: Option<String>,
}

/// An operation that this process carries out, and how far it is.
#[derive(Clone, Debug, PartialEq)]
pub struct Flight {
    /// The operation as it was recorded.
    pub operation: Operation,
    /// The Secret as it was before the intent.
    pub captured: Captured,
    /// When the intent was sent to the API server.
    pub started: Monotonic,
    /// How far it is.
    pub stage: Stage,
}

/// How far an operation is.
#[derive(Clone, Debug, PartialEq)]
pub enum Stage {
    /// The intent is recorded; the call isn't sent.
    Recorded,
    /// The token API answered; the value is in memory.
    Answered(TokenFacts),
    /// The Secret refused the value because it had changed; it must be read again.
    Conflicted(TokenFacts),
    /// The Secret was read again; now the resource must be.
    SecretReread(TokenFacts),
    /// Both were read again, in this order.
    Reread(TokenFacts),
    /// The value is in the Secret, which has this version now.
    Written(TokenFacts, Rendered),
    /// The operation isn't ours any more and its resource is going: what it created is to be revoked.
    Abandoned(TokenFacts),
}

/// The Secret as this process wrote it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rendered {
    /// Its version.
    pub version: Version,
    /// The `metadata.generation` of the spec that it was rendered from.
    pub generation: i64,
}

/// Why the last attempt failed, and when another one is due.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trouble {
    /// The reason to show.
    pub reason: Reason,
    /// The message to show; scrubbed.
    pub message: String,
    /// When to try again.
    pub retry: Retry,
}

/// When another attempt is due.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Retry {
    /// At this time.
    At(Monotonic),
    /// At this time, or as soon as the operator's credential is a later one than this.
    AtOrCredentialAfter(Monotonic, u64),
    /// When the resource's generation is another than this.
    OtherThanGeneration(i64),
}

/// Repairs of the Secret: something that deletes it again and again must not mint without bound (review, \[11\]).
#[derive(Clone, Copy, Debug, Default)]
pub struct Repairs {
    count: u32,
    not_before: Option<Monotonic>,
    last: Option<Monotonic>,
}

impl Repairs {
    const FIRST: Duration = Duration::from_mins(1);
    const MOST: Duration = Duration::from_hours(1);

    /// When the next repair may begin.
    #[must_use]
    pub fn not_before(&self) -> Option<Monotonic> {
        self.not_before
    }

    fn made(&mut self, now: Monotonic) {
        // After a quiet stretch of twice the longest wait the count begins anew.
        if self.last.is_some_and(|last| now.since(last) > Self::MOST * 2) {
            self.count = 0;
        }
        let wait = Self::FIRST.saturating_mul(1 << self.count.min(6)).min(Self::MOST);
        self.count = self.count.saturating_add(1);
        self.last = Some(now);
        self.not_before = Some(now + wait);
    }
}

/// How a step ended, as far as memory is concerned.
#[derive(Clone, Debug)]
pub enum Outcome {
    /// The dry run was accepted.
    Preflighted(Captured),
    /// The intent is recorded. `sent` is when it was sent.
    Recorded {
        /// The operation.
        operation: Operation,
        /// When the intent was sent.
        sent: Monotonic,
    },
    /// The intent wasn't recorded, or nobody knows; in either case no call follows.
    NotRecorded(Operation),
    /// The token API answered with a value.
    Answered(TokenFacts),
    /// The call certainly changed nothing.
    Refused(Trouble),
    /// The call wasn't sent at all, for lack of time.
    NotSent,
    /// Nobody knows whether the call changed anything.
    Unknown(Trouble),
    /// The value is in the Secret.
    SecretWritten(Rendered),
    /// The Secret had changed in between.
    SecretConflict,
    /// The Secret was read.
    SecretRead,
    /// The resource was read.
    ResourceRead,
    /// Status was written and the operation closed.
    Committed {
        /// Whether the operation repaired the Secret.
        repair: bool,
    },
    /// What the flight held was let go.
    Dropped,
    /// The operation isn't ours any more and its resource is going or gone.
    Abandoned,
    /// A token was revoked, or is gone already.
    Revoked(String),
    /// The value of the Secret was tried.
    Proved(String, Life),
    /// Something failed that isn't part of an operation's call.
    Failed(Trouble),
}

impl Memory {
    /// Takes note of what stands in status: first sights, by this process, at `now`.
    pub fn notice(&mut self, status: &KeyStatus, deleting: bool, now: Now) {
        let seen = |old: &Option<(String, Monotonic)>, id: Option<&str>| {
            let id = id?;
            Some(match old {
                Some((seen, at)) if seen == id => (id.to_owned(), *at),
                _ => (id.to_owned(), now.mono),
            })
        };
        self.operation_seen = seen(&self.operation_seen, status.operation.as_ref().map(|op| op.id.as_str()));
        self.token_seen = seen(&self.token_seen, status.token.as_ref().map(|token| token.id.as_str()));
        self.superseded_seen.retain(|id, _| status.superseded.iter().any(|entry| entry.id == *id));
        for entry in &status.superseded {
            self.superseded_seen.entry(entry.id.clone()).or_insert(now.mono);
        }
        if deleting && self.deletion_seen.is_none() {
            self.deletion_seen = Some(now.mono);
            // What held a new value back is no reason to put off a revocation.
            self.trouble = None;
        }
        if let Some(harmless) = &self.harmless
            && self.flight.is_none()
            && status.operation.as_ref().is_some_and(|op| op.id != *harmless)
        {
            self.harmless = None;
        }
    }

    /// Takes note that a complete list, begun at `begun`, lacks or shows an id.
    pub fn notice_list(&mut self, begun: Monotonic, claimed: &[String], shown: impl Fn(&str) -> bool) {
        self.absent_since.retain(|id, _| claimed.contains(id) && !shown(id));
        for id in claimed.iter().filter(|id| !shown(id)) {
            self.absent_since.entry(id.clone()).or_insert(begun);
        }
    }

    /// Takes note of how a step ended.
    pub fn learn(&mut self, outcome: Outcome, now: Monotonic) {
        match outcome {
            Outcome::Preflighted(captured) => self.preflight = Some(captured),
            Outcome::Recorded { operation, sent } => {
                let captured = self.preflight.take().unwrap_or_default();
                self.flight = Some(Flight { operation, captured, started: sent, stage: Stage::Recorded });
            }
            Outcome::NotRecorded(operation) => {
                self.preflight = None;
                self.harmless = Some(operation.id);
            }
            Outcome::Answered(facts) => {
                self.made.insert(facts.id.as_str().to_owned());
                self.stage(Stage::Answered(facts));
            }
            Outcome::Refused(trouble) => {
                self.trouble = Some(trouble);
                self.harmless = self.flight.take().map(|flight| flight.operation.id);
            }
            Outcome::NotSent => self.harmless = self.flight.take().map(|flight| flight.operation.id),
            Outcome::Unknown(trouble) => {
                self.trouble = Some(trouble);
                self.flight = None;
            }
            Outcome::SecretWritten(rendered) => self.advance(|facts| Stage::Written(facts, rendered)),
            Outcome::SecretConflict => self.advance(Stage::Conflicted),
            Outcome::SecretRead => {
                if matches!(self.flight.as_ref().map(|flight| &flight.stage), Some(Stage::Conflicted(_))) {
                    self.advance(Stage::SecretReread);
                }
            }
            Outcome::ResourceRead => {
                if matches!(self.flight.as_ref().map(|flight| &flight.stage), Some(Stage::SecretReread(_))) {
                    self.advance(Stage::Reread);
                }
            }
            Outcome::Committed { repair } => {
                if repair {
                    self.repairs.made(now);
                }
                self.flight = None;
                self.trouble = None;
            }
            Outcome::Dropped => self.flight = None,
            Outcome::Abandoned => self.advance(Stage::Abandoned),
            Outcome::Revoked(id) => {
                self.trouble = None;
                self.revoked.insert(id);
            }
            Outcome::Proved(id, life) => self.proof = Some((id, life)),
            Outcome::Failed(trouble) => self.trouble = Some(trouble),
        }
    }

    fn stage(&mut self, stage: Stage) {
        if let Some(flight) = &mut self.flight {
            flight.stage = stage;
        }
    }

    fn advance(&mut self, next: impl FnOnce(TokenFacts) -> Stage) {
        let facts = self.flight.as_ref().and_then(|flight| flight.stage.facts().cloned());
        if let Some(facts) = facts {
            self.stage(next(facts));
        }
    }
}

impl Stage {
    /// What the token API answered, once it has.
    #[must_use]
    pub fn facts(&self) -> Option<&TokenFacts> {
        match self {
            Self::Recorded => None,
            Self::Answered(facts)
            | Self::Conflicted(facts)
            | Self::SecretReread(facts)
            | Self::Reread(facts)
            | Self::Written(facts, _)
            | Self::Abandoned(facts) => Some(facts),
        }
    }
}
