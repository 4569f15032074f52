//! Lost status: a resource that came back without its status, or under a new uid, while its Secret stands.
//!
//! What the Secret says is a claim. It is taken up only where the lists show the token as this place's and the value is
//! proved to live; where that can't be proved, a replacement is made.

use std::time::Duration;

use crate::resources::{HistoryEntry, HistoryEvent, LastRotation, OperationReason, RolloutStatus};

use super::absence::{left_alone, list_at};
use super::clauses::Clauses;
use super::decide::{rest, rest_until, show};
use super::desired::Desired;
use super::memory::{Life, ProofOf};
use super::observed::{Contents, Observed, OurSecret};
use super::rollout;
use super::schedule;
use super::status::{self, Reason, Verdict};
use super::step::{Closes, Step};
use super::time::to_time;
use super::upkeep::Need;

/// Whether status doesn't speak of this Secret: it was lost, or it is another life's.
pub(super) fn is_due(observed: &Observed, secret: &OurSecret) -> bool {
    observed.resource.status.token.is_none()
        || !secret.record.uids.contains(&observed.owner.uid)
        || observed.memory.claimed.is_some()
}

/// What has to be done until status speaks of the Secret again.
pub(super) fn decide(observed: &Observed, desired: &Desired, secret: &OurSecret, clauses: Clauses) -> Need {
    if !secret.live || secret.contents == Contents::Unread {
        return Need::Look(Step::ReadSecret);
    }
    if secret.contents == Contents::Changed {
        return Need::Value(OperationReason::StatusLost);
    }
    if status::is_ready(&observed.resource.status) || observed.memory.claimed.is_none() {
        let status = &observed.resource.status;
        let adopting = desired.adopt.as_ref().filter(|_| status.last_rotation.is_none());
        let (reason, checking) = if adopting.is_some_and(|it| it.token_id == secret.record.token.id.as_str())
        {
            (Reason::AdoptionPending, "The Secret is taken over together with the token.")
        } else {
            (Reason::StatusLost, "Status was lost. Whether the Secret's value lives is being checked.")
        };
        let claim = if observed.draining {
            rest()
        } else if !observed.resource.live {
            // The claim puts an ownerReference on: not on what has just been retained (see the rendering).
            Step::ReadResource
        } else {
            Step::ClaimSecret { version: secret.version.clone() }
        };
        return Need::Look(show(observed, &Verdict::reconciling(false, reason, checking), claim));
    }
    // Whatever was under way when status was lost can no longer arrive.
    let claimed = observed.memory.claimed.unwrap_or(observed.now.mono);
    let wait = if clauses.restore_waits { observed.timing.recovery_wait } else { Duration::ZERO };
    let quiet = claimed + wait;
    if observed.now.mono < quiet {
        return Need::Look(rest_until(quiet));
    }
    let id = secret.record.token.id.as_str();
    let begun = observed.listing.as_ref().map(|listing| listing.begun);
    let Some(begun) = begun.filter(|begun| *begun >= quiet) else {
        return Need::Look(held_back(observed, list_at(observed, quiet)));
    };
    // An id never returns from the superseded ones: its revocation may be on its way.
    if observed.resource.status.superseded.iter().any(|entry| entry.id == id) {
        return Need::Value(OperationReason::StatusLost);
    }
    match observed.listed_as(id) {
        Some(listed) if listed.alive => {}
        Some(_) => return Need::Value(OperationReason::StatusLost),
        None => {
            let settled = quiet + observed.timing.list_lag;
            return if begun >= settled {
                Need::Value(OperationReason::StatusLost)
            } else {
                Need::Look(held_back(observed, list_at(observed, settled)))
            };
        }
    }
    if !clauses.restore_proves {
        return Need::Look(rebuild(observed, desired, secret));
    }
    let of = ProofOf { id: id.to_owned(), operation: secret.record.operation.clone(), suspicion: None };
    match &observed.memory.proof {
        Some(proof) if proof.of == of && proof.at >= quiet => match proof.life {
            Life::Alive => Need::Look(rebuild(observed, desired, secret)),
            Life::Dead | Life::Unknown => Need::Value(OperationReason::StatusLost),
        },
        _ => Need::Look(held_back(observed, Step::ProveLife(of))),
    }
}

/// `step`, unless the token API is to be left alone for now; then status says why.
fn held_back(observed: &Observed, step: Step) -> Step {
    let Some((trouble, until)) = left_alone(observed) else {
        return if observed.draining { rest() } else { step };
    };
    let verdict = Verdict::reconciling(false, trouble.reason, trouble.message.clone());
    show(observed, &verdict, rest_until(until))
}

/// Status as the Secret and the list tell it. Every other living token of ours keeps its full grace: pods may be using
/// it.
fn rebuild(observed: &Observed, desired: &Desired, secret: &OurSecret) -> Step {
    let record = &secret.record;
    let now = observed.now.wall;
    let id = record.token.id.as_str();
    let mut status = observed.resource.status.clone();
    let named = status.token.take().filter(|old| old.id != id);
    let listed = observed.listed().filter(|listed| listed.alive);
    let others = named
        .map(|old| (old.id, old.prefix))
        .into_iter()
        .chain(listed.map(|listed| (listed.facts.id.as_string().clone(), listed.facts.prefix.clone())))
        .filter(|(other, _)| other != id && !observed.memory.revoked.contains(other));
    // What finds no room is claimed later, as what nobody names.
    for (other, prefix) in others {
        if status.superseded.len() + 2 < observed.places {
            status::supersede(&mut status, &other, prefix, now, desired.grace);
        }
    }
    let written = record.token.rotated_at.or(record.token.created_at).unwrap_or(now);
    status.token = Some(status::token(&record.token));
    status.observed_rotation_generation =
        Some(record.generation.max(status.observed_rotation_generation.unwrap_or(0)));
    status.observed_rotate_now = record.rotate_now.clone().or(status.observed_rotate_now);
    let adopted = desired.adopt.as_ref().is_some_and(|adopt| adopt.token_id == id);
    let (event, reason) = if adopted {
        (HistoryEvent::Adopted, OperationReason::Adopted)
    } else {
        (HistoryEvent::Restored, OperationReason::StatusLost)
    };
    let prefix = record.token.prefix.as_deref().map(status::shown_prefix);
    let entry = HistoryEntry {
        time: to_time(now),
        event,
        reason,
        generation: record.generation,
        previous_prefix: prefix.clone(),
        prefix,
        requested_by: None,
    };
    status::remember(&mut status, entry);
    status.last_rotation = Some(LastRotation {
        time: to_time(written),
        reason,
        generation: record.generation,
        operation: record.operation.clone(),
    });
    // A rollout may have been under way; where it wasn't, the workloads' templates name the operation.
    let first = record.replaced.is_none() && status.superseded.is_empty();
    let restarts = rollout::is_wanted(desired) && !first;
    status.rollout =
        restarts.then(|| RolloutStatus { operation: record.operation.clone(), since: to_time(now) });
    let current = secret.contents == Contents::Current;
    status::tell_secret(observed, &mut status, current.then_some(secret.version.as_str()));
    schedule::tell_next(desired, &observed.owner.uid, &mut status, now);
    let verdict = status::at_rest(observed, &status);
    status::set_conditions(&mut status, &verdict, observed.resource.generation, now);
    Step::WriteStatus { status: Box::new(status), closes: Closes::Loss }
}
