//! What was observed: everything that a decision may depend on.

use std::sync::Arc;
use std::time::Duration;

use crate::resources::{DeletionPolicy, DesiredState, KeyStatus, WorkloadsStatus};

use super::desired::{DEFAULT_GRACE, Desired, InvalidSpec};
use super::listing::{Listed, Listing};
use super::memory::Memory;
use super::naming::{OperationId, Owner, UidTag};
use super::rollout::Workloads;
use super::time::{Monotonic, Now};
use super::token::{TokenFacts, TokenId};

/// A resourceVersion. Only equality means anything.
pub type Version = String;

/// How long things take at most. All are durations of the monotonic clock.
#[derive(Clone, Copy, Debug)]
pub struct Timing {
    /// From sending a call to the token API to its last byte: the call's deadline.
    pub call_deadline: Duration,
    /// From a process's first sight of an operation that isn't its own until the operation's call can no longer
    /// arrive. Longer than `send_within` and `call_deadline` together.
    pub recovery_wait: Duration,
    /// How far a list may lag behind (L).
    pub list_lag: Duration,
    /// An operation's call is sent this soon after its intent was recorded, or never.
    pub send_within: Duration,
    /// How long after it was asked for a resource or a Secret counts as read just now: a process may be stopped for any
    /// time between two steps. A call that was sent in this time has arrived, or never will, within `recovery_wait`.
    pub read_stands: Duration,
    /// How long a value in memory is tried to be written.
    pub write_patience: Duration,
}

impl Timing {
    /// Timing that follows from the deadline of a call and the lag of a list.
    #[must_use]
    pub fn new(call_deadline: Duration, list_lag: Duration) -> Self {
        /// "Within seconds" of the intent (design, step 3).
        const SEND_WITHIN: Duration = Duration::from_secs(5);
        /// "For minutes if the API server is down" (design, step 4).
        const WRITE_PATIENCE: Duration = Duration::from_mins(5);
        let send_within = SEND_WITHIN.min(call_deadline);
        Self {
            call_deadline,
            // Half a deadline again: the request may sit in a proxy after its sender has given up.
            recovery_wait: send_within + call_deadline + call_deadline / 2,
            read_stands: send_within + call_deadline / 2,
            list_lag,
            send_within,
            write_patience: WRITE_PATIENCE,
        }
    }
}

/// The resource.
#[derive(Clone, Debug)]
pub struct ResourceView {
    /// Its resourceVersion.
    pub version: Version,
    /// Read from the API server, or answered by it, in this pass and after the Secret, no longer ago than reads stand.
    pub live: bool,
    /// `metadata.generation`.
    pub generation: i64,
    /// Whether it is being deleted.
    pub deleting: bool,
    /// Whether our finalizer is on it.
    pub finalizer: bool,
    /// What its spec asks for.
    pub desired: Result<Desired, InvalidSpec>,
    /// The annotation that asks for a rotation at once, as far as it counts.
    pub rotate_now: Option<String>,
    /// Who asked for a rotation.
    pub requesters: Requesters,
    /// What becomes of token and Secret on deletion; cleanup needs no valid spec.
    pub deletion_policy: DeletionPolicy,
    /// Whether its tokens may live; an emergency needs no valid spec either.
    pub state: DesiredState,
    /// Its status.
    pub status: KeyStatus,
}

/// The field managers that asked for a rotation, as far as managedFields tell.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Requesters {
    /// Who wrote `spec.rotation.generation` last.
    pub generation: Option<String>,
    /// Who wrote the annotation `rotate-now` last.
    pub rotate_now: Option<String>,
}

/// The Secret of the resource's name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SecretView {
    /// Nothing is known of it.
    Unread,
    /// There is none.
    Absent {
        /// Read from the API server in this pass, no longer ago than reads stand.
        live: bool,
    },
    /// It is somebody else's; nothing of it is changed.
    Foreign {
        /// Whose, in words.
        owner: String,
        /// Its version, if nobody at all has marked it as theirs and it was read in this pass with its data: then it
        /// may be adopted, where the spec asks for that.
        unclaimed: Option<Version>,
    },
    /// It is ours.
    Ours(OurSecret),
}

/// A Secret of ours: the commit record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OurSecret {
    /// Its resourceVersion.
    pub version: Version,
    /// Read from the API server in this pass, no longer ago than reads stand.
    pub live: bool,
    /// Whether an ownerReference makes the garbage collector remove it together with the resource.
    pub owned: bool,
    /// What its annotations say.
    pub record: Record,
    /// What its data say.
    pub contents: Contents,
}

/// What the annotations of a Secret of ours say. A claim, not a fact: whoever may edit the Secret can write them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// The token whose value it holds.
    pub token: TokenFacts,
    /// The operation that wrote it.
    pub operation: String,
    /// The rotation generation that the value satisfies.
    pub generation: i64,
    /// The annotation that asked for a rotation at once and that the value satisfies.
    pub rotate_now: Option<String>,
    /// The token whose value it held before this one: pods may have mounted that.
    pub replaced: Option<String>,
    /// The token for which it was last fenced.
    pub fence: Option<String>,
    /// The token with which it was retained, its resource being deleted.
    pub retained: Option<String>,
    /// The uids that the resource has had, as in tags, in the order of its lives.
    pub uids: Vec<UidTag>,
    /// The value was taken out because the resource's state is `Revoked`.
    pub emptied: bool,
}

impl Record {
    /// The lives up to the one with this uid; all of them, if the Secret doesn't know that one yet. What later ones have
    /// isn't an earlier one's.
    #[must_use]
    pub fn lives_until(&self, uid: &UidTag) -> &[UidTag] {
        let last = self.uids.iter().position(|life| life == uid);
        last.map_or(&self.uids, |last| &self.uids[..=last])
    }

    /// Whether a later life than the one with this uid has taken the Secret up, with the value of this token.
    #[must_use]
    pub fn is_taken_up(&self, id: &TokenId, uid: &UidTag) -> bool {
        self.token.id == *id && self.lives_until(uid).len() < self.uids.len()
    }
}

/// What the data of a Secret of ours say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Contents {
    /// Only metadata were read.
    Unread,
    /// The value isn't the one that the operator wrote.
    Changed,
    /// The value is the one that the operator wrote; all else isn't as the spec asks.
    Stale,
    /// Everything is as the spec asks.
    Current,
}

/// What holds for the whole connection to the token API.
#[derive(Clone, Copy, Debug, Default)]
pub struct ConnectionView {
    /// A token was listed under another name than was sent: nothing can be recognised any more.
    pub names_altered: bool,
    /// The API's clock and ours differ by more than five minutes: what is driven by time waits.
    pub clock_skewed: bool,
    /// Rises whenever the operator's own credential changes.
    pub credential_version: u64,
    /// So many of the known tokens vanished from the lists at once that absence proves nothing.
    pub absence_doubted: bool,
}

/// What is so of the token that `spec.adopt` names.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Adoption {
    /// The spec names none.
    #[default]
    None,
    /// No list tells yet; one begun at this time or later will.
    Unlisted(Monotonic),
    /// It may be this resource's: nobody else claims it, and the operator is allowed to.
    Allowed(Sighting),
    /// It may not, for this reason.
    Refused(String),
}

/// A token as the latest list shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sighting {
    /// What the list tells.
    pub facts: TokenFacts,
    /// Listed as living.
    pub alive: bool,
}

impl Sighting {
    fn of(listed: &Listed) -> Self {
        Self { facts: listed.facts.clone(), alive: listed.alive }
    }
}

/// Everything that a decision may depend on.
#[derive(Clone, Debug)]
pub struct Observed {
    /// The time.
    pub now: Now,
    /// How long things take at most.
    pub timing: Timing,
    /// Under which tag the resource's tokens stand.
    pub owner: Owner,
    /// The limit on token names.
    pub name_limit: usize,
    /// How many superseded tokens status has places for.
    pub places: usize,
    /// The resource.
    pub resource: ResourceView,
    /// Its Secret.
    pub secret: SecretView,
    /// Its workloads, if they were read while a rollout is recorded.
    pub workloads: Option<Workloads>,
    /// Who uses its Secret, where the operator looks for that.
    pub users: Option<WorkloadsStatus>,
    /// The latest complete list of tokens of its type.
    pub listing: Option<Arc<Listing>>,
    /// The token that the spec wants to adopt.
    pub adoption: Adoption,
    /// The connection.
    pub connection: ConnectionView,
    /// What this process knows of the key.
    pub memory: Memory,
    /// An operation id that was never used, in case one is needed.
    pub fresh_id: OperationId,
    /// The process is stopping: what is under way is finished, nothing new begins.
    pub draining: bool,
}

impl Observed {
    /// The tokens listed under the resource's tag: under its uid, or under one that it had in an earlier life.
    pub fn listed(&self) -> impl Iterator<Item = &Listed> {
        let former = self.ours().map(|secret| secret.record.lives_until(&self.owner.uid));
        let at_place = self.listing.as_ref().map_or(&[][..], |listing| listing.at(&self.owner.place));
        at_place.iter().filter(move |listed| {
            let uid = &listed.tag.owner.uid;
            *uid == self.owner.uid || former.is_some_and(|former| former.contains(uid))
        })
    }

    /// The listed token with this id, if it stands under the resource's tag or is the one that the resource may adopt.
    /// That makes a fact of what a Secret says.
    #[must_use]
    pub fn listed_as(&self, id: &str) -> Option<Sighting> {
        let ours = self.listed().find(|listed| listed.facts.id.as_str() == id);
        ours.map(Sighting::of).or_else(|| self.adopted(id))
    }

    /// The listed token with this id, if it was made for the resource's place, in whichever of its lives, or is the one
    /// that the resource may adopt. That makes a fact of what status says, which nobody but the operator writes.
    #[must_use]
    pub fn listed_here(&self, id: &str) -> Option<Sighting> {
        let at_place = self.listing.as_ref().map_or(&[][..], |listing| listing.at(&self.owner.place));
        let here = at_place.iter().find(|listed| listed.facts.id.as_str() == id);
        here.map(Sighting::of).or_else(|| self.adopted(id))
    }

    fn adopted(&self, id: &str) -> Option<Sighting> {
        match &self.adoption {
            Adoption::Allowed(adopted) if adopted.facts.id.as_str() == id => Some(adopted.clone()),
            _ => None,
        }
    }

    /// Whether an id that status names is a fact: listed as the resource's, or answered to a call of this process for
    /// this resource. Everything else is a claim.
    #[must_use]
    pub fn verified(&self, id: &str) -> bool {
        self.memory.made.contains(id) || self.listed_here(id).is_some()
    }

    /// How long what is superseded now lives on. A spec that can't be acted on is no reason to cut anybody off.
    #[must_use]
    pub fn grace(&self) -> Duration {
        self.resource.desired.as_ref().map_or(DEFAULT_GRACE, |desired| desired.grace)
    }

    /// The Secret, if it is ours.
    #[must_use]
    pub fn ours(&self) -> Option<&OurSecret> {
        match &self.secret {
            SecretView::Ours(secret) => Some(secret),
            _ => None,
        }
    }
}
