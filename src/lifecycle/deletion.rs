//! Deletion: everything that status names and everything listed under our tag is revoked, then the finalizer goes. With
//! `Retain` the committed token and its Secret stay. Nothing is dropped silently.

use crate::resources::KeyStatus;

use super::absence::{left_alone, list_at};
use super::clauses::Clauses;
use super::decide::{rest, rest_until, retains, show};
use super::ending::{all_dead, ours};
use super::memory::Trouble;
use super::observed::{Contents, Observed, SecretView};
use super::recovery::{claims_commit, is_committed, quiet_from};
use super::status::{Reason, Verdict};
use super::step::Step;
use super::time::Monotonic;

/// What stands in status while no list can show what an unknown call made.
const DISBELIEVED: &str = "The outcome of a call isn't known, and the list of tokens, which would tell, lacks so many at \
                           once that it isn't believed; it is waited for.";

pub(super) fn decide(observed: &Observed, clauses: Clauses) -> Step {
    if !observed.resource.finalizer {
        return rest();
    }
    if let Some((trouble, until)) = left_alone(observed) {
        return held_up(observed, trouble, until, clauses);
    }
    let status = &observed.resource.status;
    let seen = observed.memory.ending_seen.unwrap_or(observed.now.mono);
    let quiet = match &status.operation {
        _ if !clauses.deletion_waits => None,
        Some(operation) if observed.memory.harmless.as_ref() != Some(&operation.id) => {
            Some(quiet_from(observed, operation))
        }
        // Nothing tells of a call that may be on its way, but there may be one: status was wiped, and nothing was brought
        // to an end since.
        _ if is_blank(status) => Some(seen + observed.timing.recovery_wait),
        _ => None,
    };
    // From then on the call can no longer arrive, and no list lags so far behind that it lacks what the call made.
    let begin = quiet.map_or(seen, |quiet| seen.max(quiet + observed.timing.list_lag));
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
    match all_dead(observed, begin, keep.as_deref(), Verdict::revocation_pending) {
        // What a call made of which nothing is known is shown by a list alone, and not by one that lacks what lives.
        Ok(()) if quiet.is_some() && observed.connection.absence_doubted => {
            show(observed, &Verdict::revocation_pending(DISBELIEVED), rest())
        }
        Ok(()) => let_go(observed, keep.as_deref(), clauses),
        Err(step) => having_looked(observed, step, clauses),
    }
}

/// Nothing that can't be undone is done on what a cache says: another process may have let the resource go long since,
/// and the Secret may be that of the one that was made in its place.
fn having_looked(observed: &Observed, step: Step, clauses: Clauses) -> Step {
    match step {
        Step::Revoke { .. } | Step::RetainSecret { .. }
            if clauses.deletion_looks && !observed.resource.live =>
        {
            Step::ReadResource
        }
        step => step,
    }
}

/// The token API, or the API server about the Secret, is in the way. Who sets `Retain` doesn't need the token API as long
/// as nothing else is known that has to be revoked; what isn't known is reported as an orphan once lists come again.
fn held_up(observed: &Observed, trouble: &Trouble, until: Monotonic, clauses: Clauses) -> Step {
    let status = &observed.resource.status;
    let mut message = trouble.message.clone();
    if retains(observed)
        && trouble.reason != Reason::SecretRefused
        && status.operation.is_none()
        && let Some(token) = &status.token
    {
        let others: Vec<String> = ours(observed).filter(|id| *id != token.id).collect();
        if others.is_empty() {
            return let_go(observed, Some(&token.id), clauses);
        }
        message =
            format!("Still to be revoked, with deletionPolicy Retain too: {}. {message}", others.join(", "));
    }
    show(observed, &Verdict::revocation_pending(&message), rest_until(until))
}

/// Everything is dead that has to be: the Secret is marked where it stays, and the finalizer goes.
fn let_go(observed: &Observed, keep: Option<&str>, clauses: Clauses) -> Step {
    if let Some(id) = keep {
        match &observed.secret {
            SecretView::Unread | SecretView::Absent { live: false } => return Step::ReadSecret,
            SecretView::Ours(secret) if !secret.live => return Step::ReadSecret,
            SecretView::Ours(secret) if secret.owned || secret.record.retained.as_deref() != Some(id) => {
                let retain = Step::RetainSecret { version: secret.version.clone(), id: id.to_owned() };
                return having_looked(observed, retain, clauses);
            }
            _ => {}
        }
    }
    Step::RemoveFinalizer
}

/// Whether status speaks of no token, and of none that there was. Conditions tell nothing: they are written anew, by
/// this very wait among others.
fn is_blank(status: &KeyStatus) -> bool {
    status.token.is_none() && status.last_rotation.is_none()
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
