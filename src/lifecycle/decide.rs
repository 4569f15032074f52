//! `decide`: from everything that was observed to the next step.
//!
//! Read with the design's section 2; each branch carries out one of its clauses. The order is: finish what this process
//! has under way, then deletion, then recovery of what another process left, then upkeep.

use crate::resources::{DeletionPolicy, Operation, OperationKind, OperationReason, RotationStrategy};

use super::clauses::Clauses;
use super::memory::{Captured, Flight, Stage, Trouble};
use super::naming::Tag;
use super::observed::{Observed, OurSecret, SecretView};
use super::status::{self, Reason, Verdict};
use super::step::{Call, Closes, Step};
use super::time::{Monotonic, later};
use super::token::TokenFacts;
use super::{deletion, recovery, superseded, upkeep};

/// The next step of a key.
#[must_use]
pub fn decide(observed: &Observed) -> Step {
    decide_under(observed, Clauses::ALL)
}

/// The next step under some of the clauses.
pub(super) fn decide_under(observed: &Observed, clauses: Clauses) -> Step {
    if let Some(flight) = &observed.memory.flight {
        return fly(observed, flight, clauses);
    }
    if observed.resource.deleting {
        return deletion::decide(observed, clauses);
    }
    if !observed.resource.finalizer {
        return if observed.draining { rest() } else { Step::AddFinalizer };
    }
    if !clauses.sweeper_waits
        && let Some(step) = superseded::sweep_amidst(observed)
    {
        return step;
    }
    match &observed.resource.status.operation {
        Some(operation) => recovery::decide(observed, operation, clauses),
        None => upkeep::decide(observed, clauses),
    }
}

/// Nothing to do until something changes.
pub(super) const fn rest() -> Step {
    Step::Rest { until: None }
}

/// Nothing to do until `until`.
pub(super) const fn rest_until(until: Monotonic) -> Step {
    Step::Rest { until: Some(until) }
}

/// Steps 3 to 5: an operation that this process carries out. Neither shutdown nor deletion cancels it.
fn fly(observed: &Observed, flight: &Flight, clauses: Clauses) -> Step {
    let operation = &flight.operation;
    let recorded = observed.resource.status.operation.as_ref();
    let still_ours = recorded.is_some_and(|recorded| recorded.id == operation.id);
    let going = observed.resource.deleting;
    match &flight.stage {
        Stage::Recorded => {
            if observed.now.mono.since(flight.started) > observed.timing.send_within {
                return Step::LetGo;
            }
            Step::Call(call(observed, operation))
        }
        Stage::Answered(_) if !clauses.intent_before_call && !still_ours => {
            let status = status::with_intent(observed, operation, observed.resource.status.clone());
            Step::Record { operation: operation.clone(), status: Box::new(status) }
        }
        Stage::Answered(facts) if !clauses.version_before_intent => match &observed.secret {
            SecretView::Absent { live: true } => write(Captured::default(), facts, operation),
            SecretView::Ours(secret) if secret.live => write(captured(secret), facts, operation),
            _ => Step::ReadSecret,
        },
        Stage::Answered(facts) => {
            if observed.now.mono.since(flight.started) > observed.timing.write_patience {
                return Step::Drop;
            }
            write(flight.captured.clone(), facts, operation)
        }
        Stage::Conflicted(_) => Step::ReadSecret,
        Stage::SecretReread(_) => Step::ReadResource,
        Stage::Reread(facts) | Stage::Written(facts, _) if going && still_ours => {
            give_back(operation, facts.id.as_str())
        }
        Stage::Reread(_) | Stage::Written(..) if !still_ours => Step::Drop,
        Stage::Reread(facts) => match &observed.secret {
            SecretView::Absent { .. } => write(Captured::default(), facts, operation),
            SecretView::Ours(secret) => write(captured(secret), facts, operation),
            SecretView::Foreign { .. } | SecretView::Unread => Step::Drop,
        },
        Stage::Written(facts, rendered) => {
            // The spec may have been edited since: then the Secret is looked at again after the commit.
            let checked = rendered.generation == observed.resource.generation;
            let version = checked.then_some(rendered.version.as_str());
            Step::WriteStatus {
                status: Box::new(status::with_commit(observed, operation, facts, version)),
                closes: Closes::Commit { repair: is_repair(operation.reason) },
            }
        }
        Stage::Abandoned(facts) => match &observed.secret {
            SecretView::Unread | SecretView::Absent { live: false } => Step::ReadSecret,
            SecretView::Ours(secret) if !secret.live => Step::ReadSecret,
            // Another life of the resource took the Secret up: the value is its.
            SecretView::Ours(secret) if secret.record.is_taken_up(&facts.id, &observed.owner.uid) => {
                Step::Drop
            }
            _ => give_back(operation, facts.id.as_str()),
        },
    }
}

fn write(onto: Captured, facts: &TokenFacts, operation: &Operation) -> Step {
    Step::WriteSecret { onto, facts: facts.clone(), operation: operation.clone() }
}

/// The Secret as it was just read.
fn captured(secret: &OurSecret) -> Captured {
    Captured {
        version: Some(secret.version.clone()),
        names: Some(secret.record.token.id.as_string().clone()),
    }
}

/// What this process created is revoked; what it rotated is the resource's token, which deletion sees to.
fn give_back(operation: &Operation, id: &str) -> Step {
    match operation.kind {
        OperationKind::Create => Step::RevokeCreated { id: id.to_owned() },
        OperationKind::Rotate => Step::Drop,
    }
}

/// Whether an operation for this reason repairs what somebody else did: such must not mint without bound.
pub(super) fn is_repair(reason: OperationReason) -> bool {
    matches!(
        reason,
        OperationReason::SecretMissing
            | OperationReason::SecretChanged
            | OperationReason::StatusLost
            | OperationReason::RevokedElsewhere
            | OperationReason::RotatedElsewhere
    )
}

/// The call of an operation.
fn call(observed: &Observed, operation: &Operation) -> Call {
    if let (OperationKind::Rotate, Some(id)) = (operation.kind, &operation.token_id) {
        return Call::Rotate { id: id.clone() };
    }
    let life = observed.resource.desired.as_ref().ok().and_then(|desired| desired.expires_after);
    Call::Create {
        name: operation.token_name.clone().unwrap_or_default(),
        expires_at: life.map(|life| later(observed.now.wall, life)),
    }
}

/// An operation that makes a new token.
pub(super) fn create(observed: &Observed, reason: OperationReason) -> Operation {
    let desired = observed.resource.desired.as_ref();
    let head = desired.map_or("", |desired| desired.head.as_str());
    let tag = Tag { owner: observed.owner.clone(), operation: observed.fresh_id.clone() };
    let name = tag.name(head, observed.name_limit);
    Operation { token_name: Some(name), ..begun(observed, OperationKind::Create, reason) }
}

/// An operation that rotates the token `id`.
pub(super) fn rotate(observed: &Observed, id: &str, reason: OperationReason) -> Operation {
    Operation { token_id: Some(id.to_owned()), ..begun(observed, OperationKind::Rotate, reason) }
}

/// An operation that is begun now, but for its token.
fn begun(observed: &Observed, kind: OperationKind, reason: OperationReason) -> Operation {
    Operation {
        id: observed.fresh_id.as_str().to_owned(),
        kind,
        token_name: None,
        token_id: None,
        reason,
        generation: next_generation(observed),
        rotate_now: observed.resource.rotate_now.clone().or_else(|| seen_rotate_now(observed).cloned()),
        value_in_doubt: false,
        urgent: is_urgent(observed),
        requested_by: requested_by(observed, reason),
    }
}

/// Who asked for an operation with this reason.
fn requested_by(observed: &Observed, reason: OperationReason) -> Option<String> {
    match reason {
        OperationReason::GenerationRaised => observed.resource.requesters.generation.clone(),
        OperationReason::RotateNow => observed.resource.requesters.rotate_now.clone(),
        _ => None,
    }
}

/// Whether a person asked for a rotation without an overlap: the old value may be in the wrong hands.
pub(super) fn is_urgent(observed: &Observed) -> bool {
    let Ok(desired) = &observed.resource.desired else { return false };
    // The first mint observes what the spec says.
    let first = observed.resource.status.token.is_none() && observed.ours().is_none();
    let raised = desired.generation > seen_generation(observed);
    !first && (asks_at_once(observed) || raised && desired.strategy == RotationStrategy::InPlace)
}

/// Whether the annotation asks for a rotation that wasn't made yet.
pub(super) fn asks_at_once(observed: &Observed) -> bool {
    observed.resource.rotate_now.as_ref().is_some_and(|asked| Some(asked) != seen_rotate_now(observed))
}

/// The generation that an operation begun now satisfies: what the spec says, but the mark never falls.
fn next_generation(observed: &Observed) -> i64 {
    let asked = observed.resource.desired.as_ref().map_or(0, |desired| desired.generation);
    asked.max(seen_generation(observed))
}

/// The annotation that was acted on last. Where status was lost, the Secret still tells.
fn seen_rotate_now(observed: &Observed) -> Option<&String> {
    let status = &observed.resource.status;
    if status.observed_rotation_generation.is_some() {
        return status.observed_rotate_now.as_ref();
    }
    observed.ours()?.record.rotate_now.as_ref()
}

/// The generation that was acted on last. Where status was lost, the Secret still tells.
fn seen_generation(observed: &Observed) -> i64 {
    let recorded = observed.ours().map_or(0, |secret| secret.record.generation);
    observed.resource.status.observed_rotation_generation.unwrap_or(recorded)
}

/// Shows `verdict`; once it is shown, `otherwise`. Status is written only when it differs.
pub(super) fn show(observed: &Observed, verdict: &Verdict, otherwise: Step) -> Step {
    let mut status = observed.resource.status.clone();
    status::note_secret(observed, &mut status);
    status::set_conditions(&mut status, verdict, observed.resource.generation, observed.now.wall);
    write_if_changed(observed, status, otherwise)
}

/// Writes `status` if it differs from what is stored; otherwise `otherwise`.
pub(super) fn write_if_changed(
    observed: &Observed,
    status: crate::resources::KeyStatus,
    otherwise: Step,
) -> Step {
    if status == observed.resource.status {
        otherwise
    } else {
        Step::WriteStatus { status: Box::new(status), closes: Closes::Nothing }
    }
}

/// Whether tokens and Secret outlive the resource.
pub(super) fn retains(observed: &Observed) -> bool {
    observed.resource.deletion_policy == DeletionPolicy::Retain
}

/// The verdict while trouble holds back an operation that is wanted for `wanted`. `ready` says that there is a living value.
pub(super) fn failed(trouble: &Trouble, wanted: OperationReason, ready: bool) -> Verdict {
    let message = trouble.message.as_str();
    match (ready, trouble.is_final()) {
        (false, false) => Verdict::reconciling(false, trouble.reason, message),
        (false, true) => Verdict::stalled(false, trouble.reason, message),
        (true, false) => waiting(wanted, message),
        (true, true) => Verdict::stalled(true, waiting(wanted, message).reason, message),
    }
}

/// The verdict while an operation that is wanted for `wanted` waits, and there is a living value. Nobody waits for what time brings.
pub(super) fn waiting(wanted: OperationReason, message: &str) -> Verdict {
    match wanted {
        OperationReason::Scheduled | OperationReason::Expiring => {
            Verdict { reason: Reason::RotationOverdue, ..Verdict::ready(message) }
        }
        _ => Verdict::reconciling(true, Reason::RotationPending, message),
    }
}
