//! Deletion: everything that status names and everything listed under our tag is revoked, then the finalizer goes. With
//! `Retain` the committed token and its Secret stay. Nothing is dropped silently.

use crate::resources::KeyStatus;

use super::absence::{Pending, list_at, pending};
use super::clauses::Clauses;
use super::decide::{rest, rest_until, retains, show};
use super::ending::all_dead;
use super::observed::{Contents, Observed, SecretView};
use super::recovery::{claims_commit, is_committed, quiet_from};
use super::status::Verdict;
use super::step::Step;
use super::time::Monotonic;

pub(super) fn decide(observed: &Observed, clauses: Clauses) -> Step {
    if !observed.resource.finalizer {
        return rest();
    }
    // Trouble without an end is a refusal of the spec, which has nothing to do with deletion.
    if let Some(Pending { trouble, until: Some(until) }) = pending(observed) {
        return show(observed, &Verdict::revocation_pending(&trouble.message), rest_until(until));
    }
    let status = &observed.resource.status;
    let seen = observed.memory.ending_seen.unwrap_or(observed.now.mono);
    let begin = match &status.operation {
        Some(operation)
            if clauses.deletion_waits && observed.memory.harmless.as_ref() != Some(&operation.id) =>
        {
            // The call can no longer arrive, and no list lags so far behind that it lacks what the call made.
            quiet_from(observed, operation) + observed.timing.list_lag
        }
        // No operation is recorded, but there may have been one: status was wiped, and nothing was written since.
        None if clauses.deletion_waits && is_blank(status) => {
            seen + observed.timing.recovery_wait + observed.timing.list_lag
        }
        _ => seen,
    };
    if observed.now.mono < begin {
        let waits = "An operation is under way whose outcome isn't known; it is waited for before anything is revoked.";
        return show(observed, &Verdict::revocation_pending(waits), rest_until(begin));
    }
    if observed.listing.as_ref().is_none_or(|listing| listing.begun < begin) {
        return list_at(observed, begin);
    }
    let keep = match kept(observed, begin) {
        Ok(keep) => keep,
        Err(step) => return step,
    };
    if let Err(step) = all_dead(observed, begin, keep.as_deref(), Verdict::revocation_pending) {
        return step;
    }
    if let Some(id) = keep {
        match &observed.secret {
            SecretView::Unread | SecretView::Absent { live: false } => return Step::ReadSecret,
            SecretView::Ours(secret) if !secret.live => return Step::ReadSecret,
            SecretView::Ours(secret) if secret.record.retained.as_ref() != Some(&id) => {
                return Step::RetainSecret { version: secret.version.clone(), id };
            }
            _ => {}
        }
    }
    Step::RemoveFinalizer
}

/// Whether status speaks of no token and of no operation. Conditions tell nothing: they are written anew, by this very
/// wait among others.
fn is_blank(status: &KeyStatus) -> bool {
    status.token.is_none() && status.operation.is_none() && status.last_rotation.is_none()
}

/// The token that outlives the resource: with `Retain`, the one whose value the Secret holds.
fn kept(observed: &Observed, quiet: Monotonic) -> Result<Option<String>, Step> {
    if !retains(observed) {
        return Ok(None);
    }
    let status = &observed.resource.status;
    let current = status.token.as_ref().map(|token| token.id.clone());
    // Where status was lost, what the Secret names stays if the list shows it as this place's.
    let recorded = observed.ours().map(|secret| secret.record.token.id.as_string());
    let recorded = recorded.filter(|id| observed.listed_as(id).is_some_and(|listed| listed.alive));
    let current = current.or_else(|| recorded.cloned());
    let Some(operation) = &status.operation else {
        return Ok(current);
    };
    match &observed.secret {
        SecretView::Unread => Err(Step::ReadSecret),
        SecretView::Ours(secret) if !secret.live || secret.contents == Contents::Unread => {
            Err(Step::ReadSecret)
        }
        SecretView::Ours(secret)
            if claims_commit(secret, operation)
                && is_committed(observed, operation, secret, quiet) == Some(true) =>
        {
            Ok(Some(secret.record.token.id.as_str().to_owned()))
        }
        _ => Ok(current),
    }
}
