//! Deletion: everything that status names and everything listed under our tag is revoked, then the finalizer goes. With
//! `Retain` the committed token and its Secret stay. Nothing is dropped silently.

use super::clauses::Clauses;
use super::decide::{rest, rest_until, retains, show};

use super::observed::{Contents, Observed, SecretView};
use super::recovery::{claims_commit, is_committed, quiet_from};
use super::status::Verdict;
use super::step::Step;
use super::time::Monotonic;
use super::upkeep::{Pending, absent_twice, list_at, pending, proved_dead};

pub(super) fn decide(observed: &Observed, clauses: Clauses) -> Step {
    if !observed.resource.finalizer {
        return rest();
    }
    // Trouble without an end is a refusal of the spec, which has nothing to do with deletion.
    if let Some(Pending { trouble, until: Some(until) }) = pending(observed) {
        return show(observed, &Verdict::revocation_pending(&trouble.message), rest_until(until));
    }
    let status = &observed.resource.status;
    let seen = observed.memory.deletion_seen.unwrap_or(observed.now.mono);
    let begin = match &status.operation {
        Some(operation)
            if clauses.deletion_waits && observed.memory.harmless.as_ref() != Some(&operation.id) =>
        {
            // The call can no longer arrive, and no list lags so far behind that it lacks what the call made.
            quiet_from(observed, operation) + observed.timing.list_lag
        }
        _ => seen,
    };
    if observed.now.mono < begin {
        let waits = "An operation is under way whose outcome isn't known; it is waited for before anything is revoked.";
        return show(observed, &Verdict::revocation_pending(waits), rest_until(begin));
    }
    let Some(listing) = observed.listing.as_ref().filter(|listing| listing.begun >= begin) else {
        return list_at(observed, begin);
    };
    let keep = match kept(observed, begin) {
        Ok(keep) => keep,
        Err(step) => return step,
    };
    let mut unproved = None;
    for id in ours(observed).filter(|id| Some(id) != keep.as_ref() && !observed.memory.revoked.contains(id)) {
        match observed.listed_as(&id) {
            Some(listed) if !listed.alive => {}
            Some(_) => return Step::Revoke { id },
            None if observed.memory.made.contains(&id) => return Step::Revoke { id },
            // An empty list may be another organization's; but who sets Retain lets go of what can't be told.
            None if proved_dead(observed, &id) => {}
            None if absent_twice(observed, &id) && (listing.shows_any() || retains(observed)) => {}
            None => unproved = Some(id),
        }
    }
    if let Some(id) = unproved {
        return prove_gone(observed, &id, listing.begun);
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

/// The token that outlives the resource: with `Retain`, the one whose value the Secret holds.
fn kept(observed: &Observed, quiet: Monotonic) -> Result<Option<String>, Step> {
    if !retains(observed) {
        return Ok(None);
    }
    let status = &observed.resource.status;
    let current = status.token.as_ref().map(|token| token.id.clone());
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

/// Everything that may be ours: what status names, and what is listed under our tag.
fn ours(observed: &Observed) -> impl Iterator<Item = String> {
    let status = &observed.resource.status;
    let rotated = status.operation.as_ref().and_then(|operation| operation.token_id.as_ref());
    let named = status
        .token
        .iter()
        .map(|token| &token.id)
        .chain(status.superseded.iter().map(|entry| &entry.id))
        .chain(rotated);
    let listed =
        observed.listed().iter().filter(|listed| listed.alive).map(|listed| listed.facts.id.as_string());
    let all: std::collections::BTreeSet<String> = named.chain(listed).cloned().collect();
    all.into_iter()
}

/// A token that status names isn't listed under our tag. That proves nothing by itself: the Secret's own value is
/// tried, and lists are waited for. If neither tells, the resource stays and says why.
fn prove_gone(observed: &Observed, id: &str, begun: Monotonic) -> Step {
    let tried = matches!(&observed.memory.proof, Some((proved, _)) if proved == id);
    if !tried {
        match &observed.secret {
            SecretView::Unread => return Step::ReadSecret,
            SecretView::Ours(secret) if secret.record.token.id.as_str() == id => {
                return match secret.contents {
                    Contents::Unread => Step::ReadSecret,
                    Contents::Changed => wait(observed, id, begun),
                    Contents::Stale | Contents::Current => Step::ProveLife { id: id.to_owned() },
                };
            }
            _ => {}
        }
    }
    wait(observed, id, begun)
}

fn wait(observed: &Observed, id: &str, begun: Monotonic) -> Step {
    let lag = observed.timing.list_lag;
    let seen = observed.memory.superseded_seen.get(id).or(observed.memory.deletion_seen.as_ref()).copied();
    let first = observed.memory.absent_since.get(id).copied().unwrap_or(begun);
    let settled = first.max(seen.unwrap_or(begun) + lag) + lag;
    let verdict = Verdict::revocation_pending(format!(
        "Token {id} isn't listed under this resource's name, so it isn't known whether it lives, and nothing is called \
         with an id that may be somebody else's. Revoke it in the console if it is there, then set \
         spec.deletionPolicy to Retain to let the resource go."
    ));
    let next = if begun >= settled { rest() } else { list_at(observed, settled) };
    show(observed, &verdict, next)
}
