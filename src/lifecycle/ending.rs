//! The end of every token of a resource: what deletion and `state: Revoked` have in common.

use std::collections::BTreeSet;

use super::absence::{absent_twice, list_at, next_look, proved_dead};
use super::decide::{rest, retains, show};
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
            // An empty list may be another organization's; but who sets Retain lets go of what can't be told.
            None if proved_dead(observed, &id) => {}
            None if absent_twice(observed, &id) && (listing.shows_any() || retains(observed)) => {}
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

/// A token that status names isn't listed as ours. That proves nothing by itself: the Secret's own value is tried, and
/// lists are waited for. If neither tells, the resource stays as it is and says why.
fn prove_gone(observed: &Observed, id: &str, held: Held) -> Step {
    let names = observed.ours().filter(|secret| secret.record.token.id.as_str() == id);
    let tried = |operation: &str| {
        let proof = observed.memory.proof.as_ref();
        proof.is_some_and(|proof| proof.of.id == id && proof.of.operation == operation)
    };
    match (&observed.secret, names) {
        (SecretView::Unread, _) => return Step::ReadSecret,
        (_, Some(secret)) if !tried(&secret.record.operation) && !secret.record.emptied => {
            match secret.contents {
                Contents::Unread => return Step::ReadSecret,
                Contents::Changed => {}
                Contents::Stale | Contents::Current => {
                    return Step::ProveLife(super::memory::ProofOf {
                        id: id.to_owned(),
                        operation: secret.record.operation.clone(),
                        suspicion: None,
                    });
                }
            }
        }
        _ => {}
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
    let next = next_look(observed, id).map_or(rest(), |at| list_at(observed, at));
    show(observed, &verdict, next)
}
