//! The protocol's clauses that the model leaves out, one at a time, to show that it would notice.
//!
//! Outside tests there is only [`Clauses::ALL`].

/// Which clauses hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(clippy::struct_excessive_bools, reason = "independent switches, each left out alone")]
pub(super) struct Clauses {
    /// The intent is recorded before the call (step 2 before step 3).
    pub(super) intent_before_call: bool,
    /// The Secret is written with the version read before the intent, and on a conflict the resource is read after the
    /// Secret (review, H2).
    pub(super) version_before_intent: bool,
    /// Recovery makes a new token under a new operation and never rotates (review, H1).
    pub(super) recovery_creates: bool,
    /// Deletion waits until a recorded operation's call can no longer arrive (review, H4).
    pub(super) deletion_waits: bool,
}

impl Clauses {
    /// The protocol as it is.
    pub(super) const ALL: Self = Self {
        intent_before_call: true,
        version_before_intent: true,
        recovery_creates: true,
        deletion_waits: true,
    };
}
