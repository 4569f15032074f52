//! Whether a key that rests need look at a new list of tokens at all.
//!
//! Of thousands of keys nearly all are settled nearly always: a list that shows the same of a key as the one before is no news to it.
//! The model checks that what is told here is so: a settled key has no step to take for such a list.

use crate::resources::DesiredState;

use super::drift;
use super::observed::Observed;
use super::status;

/// Whether a key that rests has nothing to do before its time comes, or its resource, its Secret or what lists show of its
/// place changes, or the wall clock is set.
#[must_use]
pub fn is_settled(observed: &Observed) -> bool {
    let Observed { resource, memory, connection, listing: Some(listing), .. } = observed else {
        return false;
    };
    let status = &resource.status;
    let (Some(token), Ok(desired)) = (&status.token, &resource.desired) else { return false };
    let of_resource = !resource.deleting
        && resource.state == DesiredState::Active
        && desired.adopt.is_none()
        && status::is_ready(status)
        && status.operation.is_none()
        && status.superseded.is_empty()
        && status.rollout.is_none();
    let of_memory = memory.flight.is_none()
        && memory.trouble.is_none()
        && memory.claimed.is_none()
        && memory.absent_since.is_empty();
    let of_connection = !connection.names_altered && !connection.absence_doubted && !connection.clock_skewed;
    // Lists that come later may say something against a token that this one is too early to judge.
    let late =
        memory.token_seen.as_ref().is_some_and(|seen| listing.begun > seen.at + observed.timing.list_lag);
    let alone = listing
        .at(&observed.owner.place)
        .iter()
        .all(|listed| !listed.alive || listed.facts.id.as_str() == token.id);
    let shown = observed.listed_here(&token.id).is_some_and(|listed| listed.alive);
    of_resource
        && of_memory
        && of_connection
        && late
        && alone
        && shown
        && drift::suspicion(observed, token).is_none()
}

/// A digest of what the latest list shows of the key.
#[must_use]
pub fn shown(observed: &Observed) -> u64 {
    observed.listing.as_ref().map_or(0, |listing| listing.digest(&observed.owner.place))
}
