//! The end of every token of a resource: what deletion and `state: Revoked` have in common.

use std::collections::BTreeSet;

use super::absence::{absent_twice, list_at, look_for, proved_dead};
use super::decide::{retains, show};
use super::memory::{Life, ProofOf};
use super::observed::{Contents, Observed, SecretView};
use super::status::Verdict;
use super::step::Step;
use super::time::Monotonic;

/// What is shown while tokens can't be revoked, with a message.
pub(super) type Held = for<'a> fn(&'a str) -> Verdict;

/// Goes on once everything is dead that may be the resource's, but for `keep`; before that, with a step towards it.
/// Only lists begun at `begin` or later prove anything.
pub(super) fn all_dead(
    observed: &Observed,
    begin: Monotonic,
    keep: Option<&str>,
    held: Held,
) -> Result<(), Step> {
    let Some(listing) = observed.listing.as_ref().filter(|listing| listing.begun >= begin) else {
        return Err(list_at(observed, begin));
    };
    let mut unproved = None;
    for id in ours(observed).filter(|id| Some(id.as_str()) != keep && !observed.memory.revoked.contains(id)) {
        match observed.listed_here(&id) {
            Some(listed) if !listed.alive => {}
            Some(_) => return Err(Step::Revoke { id }),
            None if observed.memory.made.contains(&id) => return Err(Step::Revoke { id }),
            // The value is dead: revoked, or rotated elsewhere. A list that is late enough to show the token tells which.
            None if proved_dead(observed, &id) && observed.memory.absent_since.contains_key(&id) => {}
            // Who sets Retain lets go of what can't be told.
            None if absent_twice(observed, &id) && retains(observed) => {}
            // An empty list may be another organization's, and one that lacks what lives is wrong.
            None if absent_twice(observed, &id)
                && listing.shows_any()
                && !observed.connection.absence_doubted
                && try_value(observed, &id).is_none()
                && !proved_alive(observed, &id) => {}
            None => unproved = Some(id),
        }
    }
    unproved.map_or(Ok(()), |id| Err(prove_gone(observed, &id, held)))
}

/// Everything that may be the resource's: what status and Secret name, and what is listed under its tag.
pub(super) fn ours(observed: &Observed) -> impl Iterator<Item = String> {
    let status = &observed.resource.status;
    let rotated = status.operation.as_ref().and_then(|operation| operation.token_id.clone());
    // The Secret's word alone is nobody's status: only what the lists confirm counts.
    let held = observed.ours().map(|secret| secret.record.token.id.as_string().clone());
    // An adopted token that was replaced before status named it has no tag either.
    let replaced = observed.ours().and_then(|secret| secret.record.replaced.clone());
    let named = status
        .token
        .iter()
        .map(|token| token.id.clone())
        .chain(status.superseded.iter().map(|entry| entry.id.clone()))
        .chain(rotated)
        .chain(held.into_iter().chain(replaced).filter(|id| observed.listed_as(id).is_some()));
    let listed = observed.listed().filter(|listed| listed.alive);
    let all: BTreeSet<String> =
        named.chain(listed.map(|listed| listed.facts.id.as_string().clone())).collect();
    all.into_iter()
}

/// The Secret's own value, where it is still to be tried: once for each list, for somebody may have revoked it since.
fn try_value(observed: &Observed, id: &str) -> Option<Step> {
    let begun = observed.listing.as_ref().map(|listing| listing.begun);
    let secret = match &observed.secret {
        SecretView::Unread => return Some(Step::ReadSecret),
        SecretView::Ours(secret) if secret.record.token.id.as_str() == id => secret,
        _ => return None,
    };
    let operation = &secret.record.operation;
    let tried = observed.memory.proof.as_ref().is_some_and(|proof| {
        let same = proof.of.id == id && proof.of.operation == *operation;
        same && (proof.life == Life::Dead || begun.is_none_or(|begun| proof.at >= begun))
    });
    if tried || secret.record.emptied {
        return None;
    }
    match secret.contents {
        Contents::Unread => Some(Step::ReadSecret),
        Contents::Changed => None,
        Contents::Stale | Contents::Current => Some(Step::ProveLife(ProofOf {
            id: id.to_owned(),
            operation: operation.clone(),
            suspicion: None,
        })),
    }
}

fn proved_alive(observed: &Observed, id: &str) -> bool {
    observed.memory.proof.as_ref().is_some_and(|proof| proof.of.id == id && proof.life == Life::Alive)
}

/// A token that status names isn't listed as ours. That proves nothing by itself: the Secret's own value is tried, and
/// lists are waited for. If neither tells, the resource stays as it is and says why.
fn prove_gone(observed: &Observed, id: &str, held: Held) -> Step {
    if let Some(step) = try_value(observed, id) {
        return step;
    }
    let way_out = if observed.resource.deleting {
        ", then set spec.deletionPolicy to Retain to let the resource go"
    } else {
        ""
    };
    let verdict = held(&format!(
        "Token {id} isn't listed under this resource's name, so it isn't known whether it lives, and nothing is called \
         with an id that may be somebody else's. Revoke it in the console if it is there{way_out}."
    ));
    show(observed, &verdict, look_for(observed, id))
}
