//! What lists that lack a token prove, and what this process knows to be dead.
//!
//! Lists lag, and one that lacks what lives may be another organization's: absence counts only in two complete lists
//! that were begun late enough, and as far apart as lists lag (review, H8).

use super::decide::{rest, rest_until};
use super::memory::{Life, Retry, Trouble};
use super::observed::Observed;
use super::step::Step;
use super::time::Monotonic;

/// Whether two complete lists lack `id` that had to show it.
pub(super) fn absent_twice(observed: &Observed, id: &str) -> bool {
    next_look(observed, id).is_none()
}

/// When the next list has to begin that may prove the absence of `id`; nothing if it is proved.
pub(super) fn next_look(observed: &Observed, id: &str) -> Option<Monotonic> {
    let lag = observed.timing.list_lag;
    let Some(first) = observed.memory.absent_since.get(id) else {
        let seen = observed.memory.first_sight(id).or(observed.memory.ending_seen);
        return Some(seen.unwrap_or(observed.now.mono) + lag);
    };
    let settled = *first + lag;
    let proved = observed.listing.as_ref().is_some_and(|listing| listing.begun >= settled);
    (!proved).then_some(settled)
}

/// A list that is begun at `at` or later: now, or once the time has come. Trouble with lists is waited out. If the latest
/// list is such a one, it has told nothing, and the next periodic one is waited for.
pub(super) fn list_at(observed: &Observed, at: Monotonic) -> Step {
    if observed.listing.as_ref().is_some_and(|listing| listing.begun >= at) {
        return rest();
    }
    match left_alone(observed) {
        Some((_, until)) => rest_until(until),
        None if at > observed.now.mono => rest_until(at),
        None => Step::FreshList { begun_after: at },
    }
}

/// The id isn't listed as ours: nothing is called with it. Another list may show it, or show that it is gone.
pub(super) fn look_for(observed: &Observed, id: &str) -> Step {
    // Lists that lack it and don't show the current token either prove nothing: wait for the periodic ones.
    next_look(observed, id).map_or(rest(), |at| list_at(observed, at))
}

/// Whether a superseded token is certainly dead: this process revoked it, it is listed so, or lists lack it of which
/// the last one shows the current token of this very resource.
pub(super) fn gone(observed: &Observed, id: &str) -> bool {
    if observed.memory.revoked.contains(id) {
        return true;
    }
    if let Some(listed) = observed.listed_here(id) {
        return !listed.alive;
    }
    let current = observed.resource.status.token.as_ref();
    let shows_current =
        current.and_then(|token| observed.listed_here(&token.id)).is_some_and(|listed| listed.alive);
    shows_current && absent_twice(observed, id)
}

/// Whether the value of the Secret that names `id` was found dead.
pub(super) fn proved_dead(observed: &Observed, id: &str) -> bool {
    let holds = |operation: &str| observed.ours().is_none_or(|secret| secret.record.operation == operation);
    observed
        .memory
        .proof
        .as_ref()
        .is_some_and(|proof| proof.of.id == id && holds(&proof.of.operation) && proof.life == Life::Dead)
}

/// Trouble that still forbids another attempt.
pub(super) struct Pending<'a> {
    pub(super) trouble: &'a Trouble,
    /// Until when; without it a person must act.
    pub(super) until: Option<Monotonic>,
}

/// The trouble that still forbids another attempt, if there is any.
pub(super) fn pending(observed: &Observed) -> Option<Pending<'_>> {
    let trouble = observed.memory.trouble.as_ref()?;
    let early = |at: Monotonic| at > observed.now.mono;
    let (holds, until) = match trouble.retry {
        Retry::At(at) => (early(at), Some(at)),
        Retry::AtOrCredentialAfter(at, version) => {
            (early(at) && observed.connection.credential_version <= version, Some(at))
        }
        Retry::OtherThanGeneration(generation) => (generation == observed.resource.generation, None),
    };
    holds.then_some(Pending { trouble, until })
}

/// Trouble for which the token API is to be left alone, and until when. Trouble without an end is a refusal of what the spec
/// asks for: it has nothing to do with any other call.
pub(super) fn left_alone(observed: &Observed) -> Option<(&Trouble, Monotonic)> {
    let Pending { trouble, until } = pending(observed)?;
    Some((trouble, until?))
}
