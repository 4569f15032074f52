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
    /// An attempt has an operation id of its own (review, H1d).
    pub(super) attempts_have_ids: bool,
    /// A rotation in place lowers Ready with its intent (review, H6).
    pub(super) rotation_lowers_ready: bool,
    /// Tokens that nobody names are looked for (review, H13).
    pub(super) sweeps: bool,
    /// The sweeper only names a token, on reads made after the list; it never revokes (review, H3a).
    pub(super) sweeper_names: bool,
    /// The sweeper stands still while an operation is recorded (review, H3b).
    pub(super) sweeper_waits: bool,
    /// The Secret is fenced before a token is named or revoked that it never held (review, H3d).
    pub(super) fences: bool,
    /// A lost status is rebuilt once what was under way can no longer arrive (review, H7b).
    pub(super) restore_waits: bool,
    /// A lost status is rebuilt around a value that was proved to live (review, H7a).
    pub(super) restore_proves: bool,
    /// Absence counts in two complete lists, begun late enough and far enough apart (review, H8).
    pub(super) absence_settles: bool,
    /// The value is tried before a suspicion is acted on (review, H9).
    pub(super) proof_of_life: bool,
    /// Grace is the lesser of elapsed wall time and elapsed monotonic time.
    pub(super) grace_by_both_clocks: bool,
    /// What workloads may run on isn't revoked while they roll out.
    pub(super) rollouts_hold: bool,
    /// Deletion waits until a recorded operation's call can no longer arrive (review, H4).
    pub(super) deletion_waits: bool,
    /// Deletion reads the resource before it revokes or retains: another process may have let it go, and another
    /// resource have its place and its Secret.
    pub(super) deletion_looks: bool,
    /// Where no place is left among the superseded tokens, what is due makes room amidst a recovery too, and whatever the
    /// Secret holds.
    pub(super) makes_room: bool,
}

impl Clauses {
    /// The protocol as it is.
    pub(super) const ALL: Self = Self {
        intent_before_call: true,
        version_before_intent: true,
        recovery_creates: true,
        attempts_have_ids: true,
        rotation_lowers_ready: true,
        sweeps: true,
        sweeper_names: true,
        sweeper_waits: true,
        fences: true,
        restore_waits: true,
        restore_proves: true,
        absence_settles: true,
        proof_of_life: true,
        grace_by_both_clocks: true,
        rollouts_hold: true,
        deletion_waits: true,
        deletion_looks: true,
        makes_room: true,
    };
}
