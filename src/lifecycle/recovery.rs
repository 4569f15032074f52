//! Recovery: an operation is recorded that this process didn't start, or whose outcome it doesn't know.
//!
//! It never rotates and never adopts by name. Unless the Secret carries the operation's id, the operation is replaced
//! by a new `Create`: a call that arrives late can then only find, or make, a token that is on its way out.

use crate::resources::{DesiredState, KeyStatus, Operation, OperationKind};

use super::absence::list_at;
use super::clauses::Clauses;
use super::decide::{create, is_repair, rest, rest_until, show};
use super::listing::Listed;
use super::observed::{Contents, Observed, OurSecret, SecretView, Sighting};
use super::status::{self, Reason, Verdict};
use super::step::{Closes, Step};
use super::time::Monotonic;
use super::{revocation, upkeep};

pub(super) fn decide(observed: &Observed, operation: &Operation, clauses: Clauses) -> Step {
    let harmless = observed.memory.harmless.as_ref() == Some(&operation.id);
    if harmless && !operation.value_in_doubt {
        return close_harmless(observed, operation);
    }
    let secret = match &observed.secret {
        SecretView::Ours(secret) if !secret.live || secret.contents == Contents::Unread => {
            return Step::ReadSecret;
        }
        SecretView::Unread | SecretView::Absent { live: false } => return Step::ReadSecret,
        SecretView::Ours(secret) => Some(secret),
        SecretView::Absent { live: true } | SecretView::Foreign { .. } => None,
    };
    // A refused operation needs no wait; but where an earlier one may have killed the value, closing it would let the
    // key pass for ready.
    let quiet = if harmless { Monotonic::default() } else { quiet_from(observed, operation) };
    if let Some(secret) = secret.filter(|secret| claims_commit(secret, operation)) {
        match is_committed(observed, operation, secret, quiet) {
            Some(true) => return commit(observed, operation, secret),
            None => return await_list(observed, quiet),
            Some(false) => {}
        }
    }
    if observed.now.mono < quiet {
        return show_unknown(observed, operation, rest_until(quiet));
    }
    if observed.listing.as_ref().is_none_or(|listing| listing.begun < quiet) {
        return await_list(observed, quiet);
    }
    if observed.draining {
        return rest();
    }
    if !clauses.recovery_creates {
        let made = left_behind(observed, operation).next().map(|token| token.facts.id.as_string().clone());
        if let Some(id) = made.or_else(|| operation.token_id.clone()) {
            return relaunch(observed, operation, id, clauses);
        }
    }
    let mut status = observed.resource.status.clone();
    // Its value may have been in the Secret, and be mounted, if the Secret was deleted between steps 4 and 5 (review,
    // H10a).
    let grace = observed.grace();
    for token in left_behind(observed, operation) {
        let facts = &token.facts;
        status::supersede(&mut status, facts.id.as_str(), facts.prefix.clone(), observed.now.wall, grace);
    }
    if observed.resource.state == DesiredState::Revoked {
        // No successor: what finds no room here is listed under our tag, and is revoked like the rest.
        status.superseded.truncate(observed.places);
        return close(observed, status, &revocation::revoking("The tokens are being revoked."));
    }
    // Room must be left for the token that the new one replaces.
    let full = status.superseded.len() >= observed.places;
    let in_doubt = operation.value_in_doubt || operation.kind == OperationKind::Rotate;
    if full && !in_doubt {
        return close_full(observed);
    }
    if let Some(step) = upkeep::doubt(observed, clauses) {
        return step;
    }
    if let Some((verdict, until)) = upkeep::hindrance(observed, operation.reason) {
        return upkeep::wait(observed, &verdict, Step::Rest { until });
    }
    // The operation must stand until another one replaces it: its call may still change the token in use.
    if full {
        return upkeep::make_room(observed, clauses);
    }
    if observed.memory.preflight.is_none() {
        return Step::Preflight;
    }
    let rotated = operation.kind == OperationKind::Rotate && !harmless;
    let created = create(observed, operation.reason);
    let next = Operation {
        value_in_doubt: operation.value_in_doubt || rotated,
        urgent: operation.urgent || created.urgent,
        requested_by: operation.requested_by.clone(),
        ..created
    };
    let mut status = status::with_intent(observed, &next, status);
    // What was known of the old value still holds: a rotation whose outcome is unknown may have killed it.
    if !status::is_ready(&observed.resource.status) && status::is_ready(&status) {
        let verdict = unknown(operation);
        status::set_conditions(&mut status, &verdict, observed.resource.generation, observed.now.wall);
    }
    Step::Record { operation: next, status: Box::new(status) }
}

/// From when on the operation's call can no longer arrive, as far as this process can tell by its own clock.
pub(super) fn quiet_from(observed: &Observed, operation: &Operation) -> Monotonic {
    let seen = match &observed.memory.operation_seen {
        Some((id, at)) if *id == operation.id => *at,
        _ => observed.now.mono,
    };
    seen + observed.timing.recovery_wait
}

/// The tokens that the operation's call made, as far as they are listed. A rotation that gave its token a new id left
/// it under the token's name.
fn left_behind<'a>(observed: &'a Observed, operation: &'a Operation) -> impl Iterator<Item = &'a Listed> {
    let current = observed.resource.status.token.as_ref();
    let name = match operation.kind {
        OperationKind::Create => operation.token_name.as_deref(),
        OperationKind::Rotate => current.and_then(|token| token.name.as_deref()),
    };
    observed.listed().filter(move |listed| {
        listed.alive
            && name.is_some()
            && listed.facts.name.as_deref() == name
            && current.is_none_or(|token| token.id != listed.facts.id.as_str())
            && !observed.memory.revoked.contains(listed.facts.id.as_str())
    })
}

/// The Secret says that it holds what the operation brought.
pub(super) fn claims_commit(secret: &OurSecret, operation: &Operation) -> bool {
    secret.record.operation == operation.id && secret.contents != Contents::Changed
}

/// Whether what the Secret says is so; nothing while the lists don't tell yet. An annotation is a claim: the id must be
/// listed under our tag, and under the name that the operation gave it.
pub(super) fn is_committed(
    observed: &Observed,
    operation: &Operation,
    secret: &OurSecret,
    quiet: Monotonic,
) -> Option<bool> {
    let id = secret.record.token.id.as_str();
    if observed.memory.made.contains(id) {
        return Some(true);
    }
    let listed = observed.listed_as(id);
    let current = observed.resource.status.token.as_ref();
    let fits = |listed: &Sighting| match operation.kind {
        OperationKind::Create => listed.facts.name == operation.token_name,
        // The id may have changed with the rotation, the name has not.
        OperationKind::Rotate => current.is_some_and(|token| {
            Some(&token.id) == operation.token_id.as_ref()
                && (token.id == listed.facts.id.as_str() || token.name == listed.facts.name)
        }),
    };
    if let Some(listed) = listed {
        return Some(fits(&listed) && listed.alive);
    }
    // Lists may lag: only one that is late enough says that the id isn't there.
    let settled = quiet + observed.timing.list_lag;
    observed.listing.as_ref().is_some_and(|listing| listing.begun >= settled).then_some(false)
}

/// Step 5, from what the Secret records.
fn commit(observed: &Observed, operation: &Operation, secret: &OurSecret) -> Step {
    let checked = (secret.contents == Contents::Current).then_some(secret.version.as_str());
    Step::WriteStatus {
        status: Box::new(status::with_commit(observed, operation, &secret.record.token, checked)),
        closes: Closes::Commit { repair: is_repair(operation.reason) },
    }
}

/// A list is needed. Before `quiet` any new one may show the id; after it, one that was begun later.
fn await_list(observed: &Observed, quiet: Monotonic) -> Step {
    let settled = quiet + observed.timing.list_lag;
    let begun = observed.listing.as_ref().map(|listing| listing.begun);
    let next = match begun {
        None => observed.now.mono,
        Some(begun) if begun < quiet => quiet,
        Some(_) => settled,
    };
    list_at(observed, next)
}

fn close_harmless(observed: &Observed, operation: &Operation) -> Step {
    let mut status = observed.resource.status.clone();
    status.operation = None;
    let verdict = upkeep::verdict_without_operation(observed, &status, operation.reason);
    close(observed, status, &verdict)
}

/// The operation is closed without a successor, so that what awaits revocation can go. What its call made is listed
/// under our tag and is claimed once there is room.
fn close_full(observed: &Observed) -> Step {
    close(observed, observed.resource.status.clone(), &upkeep::full(observed, false))
}

fn close(observed: &Observed, mut status: KeyStatus, verdict: &Verdict) -> Step {
    status.operation = None;
    status::set_conditions(&mut status, verdict, observed.resource.generation, observed.now.wall);
    Step::WriteStatus { status: Box::new(status), closes: Closes::Harmless }
}

fn unknown(operation: &Operation) -> Verdict {
    let what = match operation.kind {
        OperationKind::Create => "making a token",
        OperationKind::Rotate => "rotating the token",
    };
    Verdict::reconciling(
        false,
        Reason::OutcomeUnknown,
        format!("The outcome of {what} isn't known; a new token is made once the call can no longer arrive."),
    )
}

/// Says that the outcome is unknown, where no living value is in the Secret. A process that was told why the call failed
/// knows more: its word stands, for the two would go on correcting each other.
fn show_unknown(observed: &Observed, operation: &Operation, otherwise: Step) -> Step {
    let status = &observed.resource.status;
    if status::is_ready(status) || status::tells_of_trouble(status) {
        return otherwise;
    }
    show(observed, &unknown(operation), otherwise)
}

/// What recovery must not do: it rotates what the lost call made, or rotates once more.
fn relaunch(observed: &Observed, operation: &Operation, id: String, clauses: Clauses) -> Step {
    if observed.memory.preflight.is_none() {
        return Step::Preflight;
    }
    let mut again =
        Operation { kind: OperationKind::Rotate, token_name: None, token_id: Some(id), ..operation.clone() };
    if clauses.attempts_have_ids {
        observed.fresh_id.as_str().clone_into(&mut again.id);
    }
    let mut status = observed.resource.status.clone();
    status.operation = Some(again.clone());
    Step::Record { status: Box::new(status), operation: again }
}
