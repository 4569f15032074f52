//! What one process knows of one key beside what is stored: first sights, the operation that it carries out, the
//! outcomes of its own calls. All of it may be lost at any time.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::resources::{KeyStatus, Operation};

use super::observed::Version;
use super::status::{self, Reason};
use super::time::{Monotonic, Now};
use super::token::TokenFacts;

/// What this process knows of a key. It is serialised to take little room between two passes, and is never stored.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Memory {
    /// The operation that this process carries out.
    #[serde(skip)]
    pub flight: Option<Flight>,
    /// What the dry run of this pass told.
    #[serde(skip)]
    pub preflight: Option<Captured>,
    /// The operation that stands in status, and when this process first saw it there.
    pub operation_seen: Option<(String, Monotonic)>,
    /// An operation of this process that certainly changed nothing at the token API.
    pub harmless: Option<String>,
    /// Superseded tokens, each with the time at which this process first saw it so.
    pub superseded_seen: BTreeMap<String, Monotonic>,
    /// Superseded tokens, each with the time from which its grace counts, and when this process first saw that: a commit or
    /// the end of a rollout lets it begin anew.
    pub graces_seen: BTreeMap<String, (Timestamp, Monotonic)>,
    /// When this process last saw that a token had left the superseded ones: somebody revoked it, and a list begun before
    /// that still shows it.
    pub superseded_left: Option<Monotonic>,
    /// The current token as one operation brought it, and when this process first saw it so.
    pub token_seen: Option<TokenSeen>,
    /// When this process first saw that the resource is being deleted, or that its state is `Revoked`; but no sooner than the
    /// end of its own last operation.
    pub ending_seen: Option<Monotonic>,
    /// When the last operation of this process was over for it.
    pub landed: Option<Monotonic>,
    /// When this process claimed the Secret of a resource whose status was lost, so that whoever still holds a value
    /// fails to write it. It counts anew when somebody has written the resource since.
    pub claimed: Option<Monotonic>,
    /// The resource's version when this process last looked.
    pub seen_version: Option<Version>,
    /// Ids that the token API answered to calls of this process for this resource.
    pub made: BTreeSet<String>,
    /// Ids that this process revoked.
    pub revoked: BTreeSet<String>,
    /// For ids that a complete list lacked which was late enough to show them: when the first such list was begun.
    pub absent_since: BTreeMap<String, Monotonic>,
    /// Ids that a complete list has shown to this process.
    pub shown: BTreeSet<String>,
    /// Whether the Secret's own value was accepted by the token API.
    pub proof: Option<Proof>,
    /// Why the last attempt failed.
    pub trouble: Option<Trouble>,
    /// Repairs of the Secret by this process.
    pub repairs: Repairs,
}

/// What is kept of the memory of a key that is settled: the rest tells nothing that the next pass doesn't see.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Remains {
    token_seen: Option<Monotonic>,
    repairs: Repairs,
}

/// The first sight of a token, as one operation brought it: a rotation in place keeps the id.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TokenSeen {
    /// Its id.
    pub id: String,
    /// The operation that brought its value.
    pub operation: String,
    /// When.
    pub at: Monotonic,
}

impl TokenSeen {
    /// The token of this status, seen at this time.
    fn of(status: &KeyStatus, at: Monotonic) -> Option<Self> {
        let operation = status.last_rotation.as_ref().map_or_else(String::new, |last| last.operation.clone());
        status.token.as_ref().map(|token| Self { id: token.id.clone(), operation, at })
    }
}

/// What was proved about the value in the Secret.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Proof {
    /// What was tried, and why.
    pub of: ProofOf,
    /// How the token API answered.
    pub life: Life,
    /// When.
    pub at: Monotonic,
}

/// Which value is tried, and what gave rise to it.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct ProofOf {
    /// The token that the Secret names.
    pub id: String,
    /// The operation that wrote the value.
    pub operation: String,
    /// What a list says against it.
    pub suspicion: Option<Suspicion>,
}

/// Why a token isn't believed to live with the value that was committed.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Suspicion {
    /// It is listed as revoked or expired.
    Dead,
    /// Two complete lists lack it.
    Absent,
    /// It is listed with another prefix or time of rotation than was committed.
    Altered {
        /// The prefix that the list shows.
        prefix: Option<String>,
        /// The time of rotation that the list shows.
        rotated_at: Option<Timestamp>,
    },
}

/// Whether a value is accepted by the token API.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
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
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Trouble {
    /// The reason to show.
    pub reason: Reason,
    /// The message to show; scrubbed.
    pub message: String,
    /// When to try again.
    pub retry: Retry,
}

impl Trouble {
    /// Whether only another spec ends it.
    #[must_use]
    pub const fn is_final(&self) -> bool {
        matches!(self.retry, Retry::OtherThanGeneration(_))
    }
}

/// When another attempt is due.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Retry {
    /// At this time.
    At(Monotonic),
    /// At this time, or as soon as the operator's credential is a later one than this.
    AtOrCredentialAfter(Monotonic, u64),
    /// When the resource's generation is another than this.
    OtherThanGeneration(i64),
}

/// Repairs of the Secret: something that deletes it again and again must not mint without bound (review, \[11\]).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
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

    /// How many there were of late: after a quiet stretch of twice the longest wait the count begins anew.
    #[must_use]
    pub fn count(&self, now: Monotonic) -> u32 {
        if self.last.is_some_and(|last| now.since(last) > Self::MOST * 2) { 0 } else { self.count }
    }

    fn made(&mut self, now: Monotonic) {
        self.count = self.count(now);
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
    Proved(ProofOf, Life),
    /// The Secret of a resource whose status was lost is claimed.
    Claimed,
    /// The status that was lost is written anew.
    Rebuilt,
    /// Something failed that isn't part of an operation's call.
    Failed(Trouble),
}

impl Memory {
    /// What is kept while the key is settled.
    #[must_use]
    pub fn remains(&self) -> Remains {
        Remains { token_seen: self.token_seen.as_ref().map(|seen| seen.at), repairs: self.repairs }
    }

    /// The memory of a key that was settled upon this status, and whose token lists show.
    #[must_use]
    pub fn recall(remains: Remains, status: &KeyStatus) -> Self {
        let token_seen = remains.token_seen.zip(TokenSeen::of(status, Monotonic::default()));
        Self {
            shown: status.token.iter().map(|token| token.id.clone()).collect(),
            token_seen: token_seen.map(|(at, seen)| TokenSeen { at, ..seen }),
            repairs: remains.repairs,
            ..Self::default()
        }
    }

    /// Takes note of what stands in status: first sights, by this process, at `now`. `ending` says since
    /// when this process knows that the resource is being deleted or is to have no living token.
    pub fn notice(&mut self, version: &Version, status: &KeyStatus, ending: Option<Monotonic>, now: Now) {
        let operation = status.operation.as_ref().map(|operation| operation.id.clone());
        if self.operation_seen.as_ref().map(|(seen, _)| seen) != operation.as_ref() {
            self.operation_seen = operation.map(|operation| (operation, now.mono));
        }
        let token = TokenSeen::of(status, now.mono);
        let same = |a: &TokenSeen, b: &TokenSeen| a.id == b.id && a.operation == b.operation;
        match (&self.token_seen, token) {
            (Some(seen), Some(token)) if same(seen, &token) => {}
            (_, token) => {
                // What lists lacked before says nothing of the token as it is now.
                if let Some(token) = &token {
                    self.absent_since.remove(&token.id);
                }
                self.token_seen = token;
            }
        }
        let seen = self.superseded_seen.len();
        self.superseded_seen.retain(|id, _| status.superseded.iter().any(|entry| entry.id == *id));
        self.graces_seen.retain(|id, _| self.superseded_seen.contains_key(id));
        if self.superseded_seen.len() < seen {
            self.superseded_left = Some(now.mono);
        }
        for entry in &status.superseded {
            self.superseded_seen.entry(entry.id.clone()).or_insert(now.mono);
            let grace = self.graces_seen.entry(entry.id.clone()).or_insert((entry.since.0, now.mono));
            if grace.0 != entry.since.0 {
                *grace = (entry.since.0, now.mono);
            }
        }
        if status::is_ready(status) {
            // Whoever claimed the Secret as well has rebuilt status: once is enough.
            self.claimed = None;
        }
        if self.seen_version.as_ref() != Some(version) {
            // It may have been rebuilt, rotated upon, and lost once more: that call may be on its way.
            self.claimed = self.claimed.map(|_| now.mono);
            self.seen_version = Some(version.clone());
            if ending.is_none() && !status::is_ready(status) {
                // Only what was proved since may raise Ready: the state may have been Revoked for a moment, and another
                // process have acted on that.
                self.forget_life();
            }
        }
        if ending.is_none() {
            self.ending_seen = None;
        } else if self.ending_seen.is_none() {
            // What lived until now is about to be revoked, by this process or another.
            self.forget_life();
            self.ending_seen = ending.max(self.landed);
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

    /// What was tried is to be tried again, unless it was found dead.
    fn forget_life(&mut self) {
        self.proof = self.proof.take().filter(|proof| proof.life == Life::Dead);
    }

    /// Takes note of what a complete list, begun at `begun`, shows and lacks of the tokens that status names. Lists lag
    /// by `lag`: one begun sooner after a token's first sight proves nothing by lacking it.
    pub fn notice_list(
        &mut self,
        begun: Monotonic,
        status: &KeyStatus,
        lag: Duration,
        shown: impl Fn(&str) -> bool,
    ) {
        let token = status.token.iter().map(|token| &token.id);
        let claimed: Vec<_> = token.chain(status.superseded.iter().map(|entry| &entry.id)).collect();
        self.absent_since.retain(|id, _| claimed.contains(&id) && !shown(id));
        self.shown.retain(|id| claimed.contains(&id));
        for id in claimed {
            if shown(id) {
                self.shown.insert(id.clone());
            } else if self.first_sight(id).is_some_and(|seen| begun >= seen + lag) {
                self.absent_since.entry(id.clone()).or_insert(begun);
            }
        }
    }

    /// A complete list shows the token alive: a suspicion that its value stood against is over, and the next one is
    /// looked into anew. What was found dead stays dead.
    pub fn notice_life(&mut self, id: &str) {
        let over = |proof: &Proof| {
            proof.of.id == id
                && proof.life != Life::Dead
                && matches!(proof.of.suspicion, Some(Suspicion::Dead | Suspicion::Absent))
        };
        if self.proof.as_ref().is_some_and(over) {
            self.proof = None;
        }
    }

    /// When this process first saw that status names the token.
    #[must_use]
    pub fn first_sight(&self, id: &str) -> Option<Monotonic> {
        let current = self.token_seen.as_ref().filter(|seen| seen.id == id);
        self.superseded_seen.get(id).copied().or(current.map(|seen| seen.at))
    }

    /// Takes note of how a step ended.
    pub fn learn(&mut self, outcome: Outcome, now: Monotonic) {
        let flew = self.flight.is_some();
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
                self.claimed = None;
            }
            Outcome::Dropped => self.flight = None,
            Outcome::Abandoned => self.advance(Stage::Abandoned),
            Outcome::Revoked(id) => {
                // A refusal of what the spec asks for stands.
                self.trouble.take_if(|trouble| !trouble.is_final());
                self.proof = self.proof.take().filter(|proof| proof.of.id != id || proof.life == Life::Dead);
                self.revoked.insert(id);
            }
            Outcome::Proved(of, life) => self.proof = Some(Proof { of, life, at: now }),
            Outcome::Claimed => self.claimed = Some(now),
            Outcome::Rebuilt => self.claimed = None,
            Outcome::Failed(trouble) => self.trouble = Some(trouble),
        }
        if flew && self.flight.is_none() {
            self.landed = Some(now);
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
