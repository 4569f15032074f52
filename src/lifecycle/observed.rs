//! What was observed: everything that a decision may depend on.

use std::sync::Arc;
use std::time::Duration;

use crate::resources::{DeletionPolicy, KeyStatus};

use super::desired::{Desired, InvalidSpec};
use super::listing::{Listed, Listing};
use super::memory::Memory;
use super::naming::{OperationId, Owner};
use super::time::Now;

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
    /// Read from the API server, or answered by it, in this pass and after the Secret.
    pub live: bool,
    /// `metadata.generation`.
    pub generation: i64,
    /// Whether it is being deleted.
    pub deleting: bool,
    /// Whether our finalizer is on it.
    pub finalizer: bool,
    /// What its spec asks for.
    pub desired: Result<Desired, InvalidSpec>,
    /// What becomes of token and Secret on deletion; cleanup needs no valid spec.
    pub deletion_policy: DeletionPolicy,
    /// Its status.
    pub status: KeyStatus,
}

/// The Secret of the resource's name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SecretView {
    /// Nothing is known of it.
    Unread,
    /// There is none.
    Absent {
        /// Read from the API server in this pass.
        live: bool,
    },
    /// It is somebody else's; nothing of it is changed.
    Foreign {
        /// Whose, in words.
        owner: String,
    },
    /// It is ours.
    Ours(OurSecret),
}

/// A Secret of ours: the commit record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OurSecret {
    /// Its resourceVersion.
    pub version: Version,
    /// Read from the API server in this pass.
    pub live: bool,
    /// What its annotations say.
    pub record: Record,
    /// What its data say.
    pub contents: Contents,
}

/// What the annotations of a Secret of ours say. A claim, not a fact: whoever may edit the Secret can write them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// The token whose value it holds.
    pub token: super::token::TokenFacts,
    /// The operation that wrote it.
    pub operation: String,
    /// The rotation generation that the value satisfies.
    pub generation: i64,
    /// The token whose value it held before this one: pods may have mounted that.
    pub replaced: Option<String>,
    /// The token for which it was last fenced.
    pub fence: Option<String>,
    /// The token with which it was retained, its resource being deleted.
    pub retained: Option<String>,
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
    /// The resource.
    pub resource: ResourceView,
    /// Its Secret.
    pub secret: SecretView,
    /// The latest complete list of tokens of its type.
    pub listing: Option<Arc<Listing>>,
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
    /// The tokens listed under the resource's tag.
    #[must_use]
    pub fn listed(&self) -> &[Listed] {
        self.listing.as_ref().map_or(&[], |listing| listing.of(&self.owner))
    }

    /// The listed token with this id, if it stands under the resource's tag.
    #[must_use]
    pub fn listed_as(&self, id: &str) -> Option<&Listed> {
        self.listed().iter().find(|listed| listed.facts.id.as_str() == id)
    }

    /// Whether the id is a fact: listed under the resource's tag, or answered to a call of this process for this
    /// resource. Everything else is a claim.
    #[must_use]
    pub fn verified(&self, id: &str) -> bool {
        self.memory.made.contains(id) || self.listed_as(id).is_some()
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
