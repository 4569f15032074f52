//! Upkeep: no operation is recorded and nothing is being deleted. Is a new value needed? May anything be revoked
//! ([`tidy`])? Does status say what is so? At rest the answer is no three times, from caches alone.

use std::time::Duration;

use crate::resources::{
    DesiredState, ExternalChangePolicy, KeyStatus, Operation, OperationKind, OperationReason,
    RotationStrategy,
};

use super::absence::{Pending, list_at, pending};
use super::clauses::Clauses;
use super::decide::{
    asks_at_once, create, failed, is_urgent, rest, rest_until, rotate, show, waiting, write_if_changed,
};
use super::desired::{Desired, InvalidSpec};
use super::drift::{self, Finding};
use super::observed::{Contents, Observed, OurSecret, SecretView};
use super::rollout::{self, Rollout};
use super::schedule;
use super::status::{self, Reason, Verdict};
use super::step::{Closes, Step};
use super::superseded::{Proviso, revoke_due, tidy, timer};
use super::time::{Monotonic, to_time};
use super::{adoption, restore, revocation};

/// The verdict while too many tokens await revocation.
pub(super) fn full(observed: &Observed, ready: bool) -> Verdict {
    let message = if observed.resource.status.rollout.is_some() {
        "As many superseded tokens await revocation as may, and workloads may run on them until their rollout ends; no \
         further token is made. If it can't end, set the annotation keys.keeptrusts.com/rotate-now: a rotation at once \
         revokes them."
    } else {
        "As many superseded tokens await revocation as may; no further token is made until one is gone."
    };
    Verdict::stalled(ready, Reason::SupersededFull, message)
}

/// What upkeep finds lacking.
pub(super) enum Need {
    /// Nothing.
    Nothing,
    /// A new value, for this reason.
    Value(OperationReason),
    /// A new value, for this reason; but a person is to say so first.
    Person(OperationReason),
    /// A look, before anything can be said.
    Look(Step),
}

pub(super) fn decide(observed: &Observed, clauses: Clauses) -> Step {
    if observed.resource.state == DesiredState::Revoked {
        return revocation::decide(observed);
    }
    let desired = match &observed.resource.desired {
        Ok(desired) => desired,
        Err(invalid) => {
            return doubt(observed, clauses).unwrap_or_else(|| {
                wait(observed, &invalid_spec(observed, invalid), tidy(observed, clauses))
            });
        }
    };
    if let Some(step) = adoption::decide(observed, desired) {
        return step;
    }
    if let SecretView::Foreign { owner, .. } = &observed.secret {
        return show(observed, &conflict(desired, owner), look_again(observed));
    }
    // Before anything else: it takes a moment, and what holds a new value back is no reason for workloads to stay behind.
    let waits = match advance(observed, desired) {
        Ok(waits) => waits,
        Err(step) => return step,
    };
    let step = match need(observed, desired, clauses) {
        Need::Look(step) => step,
        Need::Value(reason) => obtain(observed, desired, reason, clauses),
        Need::Person(reason) => show(observed, &halted(reason), tidy(observed, clauses)),
        Need::Nothing => maintain(observed, desired, waits.as_ref(), clauses),
    };
    no_longer_than(step, waits.as_ref())
}

/// No place is left among the superseded tokens, and a new value can't be asked for without one, though an operation is
/// recorded whose outcome nobody knows: tokens whose grace is over go, or there would never be a place.
pub(super) fn make_room(observed: &Observed, clauses: Clauses) -> Step {
    let desired = observed.resource.desired.as_ref();
    let waits = match desired.map_or(Ok(None), |desired| advance(observed, desired)) {
        Ok(waits) => waits,
        Err(step) => return step,
    };
    let step = without_a_place(observed, &full(observed, false), is_urgent(observed), clauses);
    no_longer_than(step, waits.as_ref())
}

/// Says that there is no place, and makes one. An emergency ends every grace.
fn without_a_place(observed: &Observed, verdict: &Verdict, urgent: bool, clauses: Clauses) -> Step {
    let mut status = observed.resource.status.clone();
    if urgent {
        status::revoke_at_once(&mut status, observed.now.wall);
    }
    if passes_unread(observed) {
        return write_if_changed(observed, status, Step::ReadSecret);
    }
    status::note_secret(observed, &mut status);
    status::set_conditions(&mut status, verdict, observed.resource.generation, observed.now.wall);
    let proviso = if clauses.makes_room { Proviso::NotItself } else { Proviso::Current };
    let may = !observed.draining && (clauses.makes_room || observed.resource.status.operation.is_none());
    let due = revoke_due(observed, clauses, proviso).filter(|_| may);
    let makes_room = due.unwrap_or_else(|| Step::Rest { until: timer(observed, clauses) });
    write_if_changed(observed, status, makes_room)
}

/// How long a rollout that is under way takes at least, and what a person must do for it.
struct Waits {
    until: Monotonic,
    held_up: Option<Verdict>,
}

/// Carries a rollout on: the step that it needs now, or what it waits for.
fn advance(observed: &Observed, desired: &Desired) -> Result<Option<Waits>, Step> {
    match rollout::examine(observed, desired) {
        Rollout::None => Ok(None),
        Rollout::Waits(until, held_up) => Ok(Some(Waits { until, held_up })),
        Rollout::Act(_) if observed.draining => Ok(None),
        Rollout::Act(step) => Err(step),
        Rollout::Complete => {
            let mut status = observed.resource.status.clone();
            rollout::complete(observed, desired, &mut status);
            Err(Step::WriteStatus { status: Box::new(status), closes: Closes::Nothing })
        }
    }
}

fn invalid_spec(observed: &Observed, invalid: &InvalidSpec) -> Verdict {
    Verdict::stalled(holds_living_value(observed), Reason::InvalidSpec, invalid.to_string())
}

/// A foreign Secret isn't watched (only ours are, by their label): it is looked at so often.
pub(super) const LOOKED_AT_EVERY: Duration = Duration::from_mins(1);

/// Whether a foreign Secret is gone or was changed is looked at now and then.
pub(super) fn look_again(observed: &Observed) -> Step {
    rest_until(next_look(observed))
}

fn next_look(observed: &Observed) -> Monotonic {
    observed.now.mono + LOOKED_AT_EVERY
}

pub(super) fn conflict(desired: &Desired, owner: &str) -> Verdict {
    Verdict::stalled(
        false,
        Reason::SecretConflict,
        format!(
            "Secret {} exists and belongs to {owner}. It was left alone and no token was made: make a resource with \
             another spec.secret.name, or remove that Secret.",
            desired.secret_name
        ),
    )
}

/// Whether a new value is needed. What a cache says is looked at again before it counts.
fn need(observed: &Observed, desired: &Desired, clauses: Clauses) -> Need {
    let current = &observed.resource.status;
    let raised = desired.generation > current.observed_rotation_generation.unwrap_or(0);
    match &observed.secret {
        SecretView::Ours(secret) if secret.record.emptied && current.token.is_none() => {
            return Need::Value(OperationReason::Activated);
        }
        SecretView::Ours(secret) if restore::is_due(observed, secret) => {
            return restore::decide(observed, desired, secret, clauses);
        }
        _ => {}
    }
    let Some(token) = &current.token else {
        return match &observed.secret {
            SecretView::Unread => Need::Look(Step::ReadSecret),
            _ => Need::Value(OperationReason::Created),
        };
    };
    let adopting = adoption::is_under_way(desired, current);
    let secret = match &observed.secret {
        SecretView::Unread | SecretView::Absent { live: false } => return Need::Look(Step::ReadSecret),
        SecretView::Foreign { .. } => return Need::Nothing,
        // Whatever the Secret holds now is replaced; the dry run reads it live.
        SecretView::Absent { live: true } | SecretView::Ours(_) if adopting => {
            return Need::Value(OperationReason::Adopted);
        }
        SecretView::Absent { live: true } | SecretView::Ours(_) if asks_at_once(observed) => {
            return Need::Value(OperationReason::RotateNow);
        }
        SecretView::Absent { live: true } | SecretView::Ours(_) if raised => {
            return Need::Value(OperationReason::GenerationRaised);
        }
        SecretView::Absent { live: true } => return Need::Value(OperationReason::SecretMissing),
        SecretView::Ours(secret) => secret,
    };
    match secret.contents {
        Contents::Unread if !is_checked(observed, secret) => return Need::Look(Step::ReadSecret),
        Contents::Changed => return Need::Value(OperationReason::SecretChanged),
        Contents::Unread | Contents::Current | Contents::Stale => {}
    }
    let brought_by = current.last_rotation.as_ref().map(|last| last.operation.as_str());
    if secret.record.token.id.as_str() != token.id || Some(secret.record.operation.as_str()) != brought_by {
        // A slow process wrote what has been superseded since (after the Secret was deleted nothing fences its first
        // write; review, H10b), or somebody edited the record.
        return if secret.live {
            Need::Value(OperationReason::SecretChanged)
        } else {
            Need::Look(Step::ReadSecret)
        };
    }
    let next = schedule::next(desired, &observed.owner.uid, current, observed.now.wall);
    let due = |reason| next.is_some_and(|next| next.reason == reason && next.at <= observed.now.wall);
    if due(OperationReason::Expiring) && (!observed.connection.clock_skewed || status::expired(observed)) {
        return Need::Value(OperationReason::Expiring);
    }
    match drift::examine(observed, token, secret, clauses) {
        Finding::Lives => {}
        Finding::Look(step) => return Need::Look(step),
        Finding::Lost(reason) => {
            return match desired.external_change_policy {
                ExternalChangePolicy::Replace => Need::Value(reason),
                ExternalChangePolicy::Halt => Need::Person(reason),
            };
        }
    }
    if secret.contents == Contents::Stale && !observed.draining {
        return Need::Look(match pending(observed) {
            // The Secret could not be written as the spec asks; its value lives on.
            Some(Pending { trouble, until }) => {
                let verdict = Verdict::reconciling(true, trouble.reason, trouble.message.clone());
                show(observed, &verdict, Step::Rest { until })
            }
            // A cache may not know that the resource is going: an ownerReference that another process has taken off a
            // retained Secret would come back, and the garbage collector would remove the only copy of a living value.
            None if !observed.resource.live => Step::ReadResource,
            None => Step::RenderSecret { version: secret.version.clone() },
        });
    }
    if due(OperationReason::Scheduled) && !observed.connection.clock_skewed {
        return Need::Value(OperationReason::Scheduled);
    }
    Need::Nothing
}

/// Whether the Secret is known, without its data, to be as the spec asks; while that can't be acted on, to be as the
/// operator wrote it.
fn is_checked(observed: &Observed, secret: &OurSecret) -> bool {
    let status = &observed.resource.status;
    let checked = status.secret.as_ref().and_then(|checked| checked.resource_version.as_ref());
    let judged = observed.resource.desired.is_err() || !status::tells(status, Reason::InvalidSpec);
    let same = status.observed_generation == Some(observed.resource.generation);
    checked == Some(&secret.version) && same && judged
}

/// A look at the value of a key that passes for ready and needs another one: what brings that may be held back for weeks,
/// and somebody revoke the token meanwhile.
pub(super) fn doubt(observed: &Observed, clauses: Clauses) -> Option<Step> {
    let status = &observed.resource.status;
    let token = status.token.as_ref().filter(|_| status::is_ready(status))?;
    let secret = observed.ours().filter(|secret| secret.record.token.id.as_str() == token.id)?;
    if secret.contents == Contents::Changed {
        return None;
    }
    match drift::examine(observed, token, secret, clauses) {
        Finding::Look(step) => Some(step),
        Finding::Lives | Finding::Lost(_) => None,
    }
}

/// Says why the key waits.
pub(super) fn wait(observed: &Observed, verdict: &Verdict, otherwise: Step) -> Step {
    if passes_unread(observed) { Step::ReadSecret } else { show(observed, verdict, otherwise) }
}

/// Whether the key passes for ready though its Secret wasn't looked at since somebody changed it: that won't do for one that
/// waits.
fn passes_unread(observed: &Observed) -> bool {
    let unread = match &observed.secret {
        SecretView::Unread | SecretView::Absent { live: false } => true,
        SecretView::Ours(secret) => secret.contents == Contents::Unread && !is_checked(observed, secret),
        SecretView::Absent { live: true } | SecretView::Foreign { .. } => false,
    };
    unread && status::is_ready(&observed.resource.status)
}

/// Begins an operation, or says what holds it back.
fn obtain(observed: &Observed, desired: &Desired, reason: OperationReason, clauses: Clauses) -> Step {
    if let Some(step) = doubt(observed, clauses) {
        return step;
    }
    if desired.suspend {
        return wait(observed, &suspended(observed, reason), tidy(observed, clauses));
    }
    if let Some((verdict, until)) = hindrance(observed, reason) {
        return wait(observed, &verdict, no_later_than(tidy(observed, clauses), until));
    }
    if observed.draining {
        return rest();
    }
    if super::decide::is_repair(reason)
        && let Some(due) = observed.memory.repairs.not_before().filter(|due| *due > observed.now.mono)
    {
        let reason = lacking(reason);
        let verdict = Verdict::reconciling(
            false,
            reason,
            format!("{} Repairs are spaced further and further apart.", reason.meaning()),
        );
        return show(observed, &verdict, rest_until(due));
    }
    let mut operation = match operation(observed, desired, reason) {
        Ok(operation) => operation,
        Err(step) => return step,
    };
    if !has_place(observed, &operation) {
        let verdict = full(observed, holds_living_value(observed));
        return without_a_place(observed, &verdict, operation.urgent, clauses);
    }
    // A key doesn't become ready because its operation was refused: why it isn't may have been forgotten by then.
    operation.value_in_doubt = match reason {
        OperationReason::RevokedElsewhere | OperationReason::RotatedElsewhere => true,
        OperationReason::Adopted => false,
        _ => {
            let status = &observed.resource.status;
            let lost = |token| drift::lost(observed, token).is_some();
            status.token.as_ref().is_some_and(|token| !status::is_ready(status) || lost(token))
        }
    };
    if observed.memory.preflight.is_none() {
        return Step::Preflight;
    }
    let mut status = status::with_intent(observed, &operation, observed.resource.status.clone());
    if !clauses.intent_before_call {
        status.operation = None;
    }
    if !clauses.rotation_lowers_ready {
        status.conditions.clone_from(&observed.resource.status.conditions);
    }
    Step::Record { operation, status: Box::new(status) }
}

/// Whether few enough tokens await revocation for an operation to begin.
fn has_place(observed: &Observed, operation: &Operation) -> bool {
    // The token that is replaced needs a place, and one more must stay free for a recovery. What is rotated in place
    // needs none, and an emergency isn't held up by revocations that fail.
    let places = if operation.urgent && operation.kind == OperationKind::Rotate { 1 } else { 2 };
    observed.resource.status.superseded.len() + places <= observed.places
}

/// Which operation brings a new value. A token is rotated only if it is known to be ours.
fn operation(observed: &Observed, desired: &Desired, reason: OperationReason) -> Result<Operation, Step> {
    let rotates = match reason {
        OperationReason::GenerationRaised | OperationReason::Scheduled => {
            desired.strategy == RotationStrategy::InPlace
        }
        OperationReason::RotateNow | OperationReason::Adopted => true,
        _ => false,
    };
    let Some(token) = observed.resource.status.token.as_ref().filter(|_| rotates) else {
        return Ok(create(observed, reason));
    };
    match observed.listed_here(&token.id) {
        Some(listed) if listed.facts.name != token.name => Err(show(
            observed,
            &Verdict::stalled(
                holds_living_value(observed),
                Reason::NamesAltered,
                Reason::NamesAltered.meaning(),
            ),
            rest(),
        )),
        Some(listed) if !listed.alive => Ok(create(observed, reason)),
        Some(_) => Ok(rotate(observed, &token.id, reason)),
        // Known to be dead: there is nothing to rotate.
        None if drift::lost(observed, token).is_some() => Ok(create(observed, reason)),
        None if observed.memory.made.contains(&token.id) => Ok(rotate(observed, &token.id, reason)),
        None => {
            // Not listed under our tag. If it may only be too new, a later list will tell; otherwise a new token is
            // made, and nothing is called with an id that isn't known to be ours.
            let seen = observed.memory.first_sight(&token.id).unwrap_or(observed.now.mono);
            let settled = seen + observed.timing.list_lag;
            match &observed.listing {
                Some(listing) if listing.begun >= settled => Ok(create(observed, reason)),
                Some(listing) if listing.begun >= seen => Err(list_at(observed, settled)),
                _ => Err(list_at(observed, seen)),
            }
        }
    }
}

/// What keeps any operation from beginning, and until when at most: a spec that can't be acted on, a foreign Secret, altered
/// names, trouble that isn't over.
pub(super) fn hindrance(
    observed: &Observed,
    wanted: OperationReason,
) -> Option<(Verdict, Option<Monotonic>)> {
    let desired = match &observed.resource.desired {
        Ok(desired) => desired,
        Err(invalid) => return Some((invalid_spec(observed, invalid), None)),
    };
    if let SecretView::Foreign { owner, .. } = &observed.secret {
        return Some((conflict(desired, owner), Some(next_look(observed))));
    }
    if observed.connection.names_altered {
        let verdict = Verdict::stalled(
            holds_living_value(observed),
            Reason::NamesAltered,
            Reason::NamesAltered.meaning(),
        );
        return Some((verdict, None));
    }
    let Pending { trouble, until } = pending(observed)?;
    Some((failed(trouble, wanted, holds_living_value(observed)), until))
}

/// Whether the Secret holds a value that lives, as far as is known.
fn holds_living_value(observed: &Observed) -> bool {
    let status = &observed.resource.status;
    let doubt = match &status.operation {
        // A rotation that is recorded, or whose outcome was never learned, may have killed the value.
        Some(operation) => operation.value_in_doubt || operation.kind == OperationKind::Rotate,
        // What lowered Ready may have been forgotten: a commit or a proof raises it again, not that something is waited
        // for.
        None => !status::is_ready(status),
    };
    !doubt && holds_current_value(observed)
}

/// The same, if the operation that is recorded did nothing to the value.
fn holds_current_value(observed: &Observed) -> bool {
    let Some(token) = &observed.resource.status.token else { return false };
    let held = observed.ours().is_some_and(|secret| {
        token.id == secret.record.token.id.as_str() && secret.contents != Contents::Changed
    });
    held && !status::expired(observed) && drift::lost(observed, token).is_none()
}

fn lacking(reason: OperationReason) -> Reason {
    match reason {
        OperationReason::Created | OperationReason::Activated => Reason::Minting,
        OperationReason::GenerationRaised | OperationReason::RotateNow => Reason::RotationPending,
        OperationReason::Scheduled => Reason::RotationOverdue,
        OperationReason::Expiring => Reason::Expired,
        OperationReason::SecretMissing => Reason::SecretMissing,
        OperationReason::SecretChanged => Reason::SecretChanged,
        OperationReason::StatusLost => Reason::StatusLost,
        OperationReason::RevokedElsewhere => Reason::RevokedElsewhere,
        OperationReason::RotatedElsewhere => Reason::RotatedElsewhere,
        OperationReason::Adopted => Reason::AdoptionPending,
    }
}

/// The row of the table while a person has to say that a new value is wanted.
fn halted(reason: OperationReason) -> Verdict {
    let reason = lacking(reason);
    Verdict::stalled(
        false,
        reason,
        format!(
            "{} externalChangePolicy is Halt: raise spec.rotation.generation to get a new token.",
            reason.meaning()
        ),
    )
}

fn suspended(observed: &Observed, wanted: OperationReason) -> Verdict {
    if holds_living_value(observed) {
        let message = "spec.suspend is true: the rotation that is due waits until it is false.";
        Verdict { reconciling: false, ..waiting(wanted, message) }
    } else {
        Verdict::stalled(false, Reason::Suspended, Reason::Suspended.meaning())
    }
}

/// The row of the table once an operation was closed that changed nothing.
pub(super) fn verdict_without_operation(
    observed: &Observed,
    status: &KeyStatus,
    wanted: OperationReason,
) -> Verdict {
    let living = holds_current_value(observed);
    match &observed.memory.trouble {
        Some(trouble) => failed(trouble, wanted, living),
        None if living => status::at_rest(observed, status),
        None => Verdict::reconciling(false, Reason::Minting, "A token is being made."),
    }
}

/// No new value is needed: revoke what is due, claim what nobody names, say what is so.
fn maintain(observed: &Observed, desired: &Desired, waits: Option<&Waits>, clauses: Clauses) -> Step {
    let mut status = observed.resource.status.clone();
    status::note_secret(observed, &mut status);
    status.workloads.clone_from(&observed.users);
    believe_expiry(observed, &mut status);
    if let Some(token) = &mut status.token {
        drift::believe(observed, token);
    }
    schedule::tell_next(desired, &observed.owner.uid, &mut status, observed.now.wall);
    let held_up = waits.and_then(|waits| waits.held_up.clone());
    let verdict = held_up.unwrap_or_else(|| status::at_rest(observed, &status));
    status::set_conditions(&mut status, &verdict, observed.resource.generation, observed.now.wall);
    write_if_changed(observed, status, tidy(observed, clauses))
}

/// The step, but no rest that is longer than a rollout takes.
fn no_longer_than(step: Step, waits: Option<&Waits>) -> Step {
    no_later_than(step, waits.map(|waits| waits.until))
}

/// The step, but no rest that is longer than until then.
fn no_later_than(step: Step, until: Option<Monotonic>) -> Step {
    match (step, until) {
        (Step::Rest { until: at }, Some(until)) => rest_until(at.map_or(until, |at| at.min(until))),
        (step, _) => step,
    }
}

/// An expiry that a list tells counts, once the list is late enough not to speak of the time before the last write.
fn believe_expiry(observed: &Observed, status: &mut KeyStatus) {
    let (Some(token), Some(seen), Some(listing)) =
        (&mut status.token, &observed.memory.token_seen, &observed.listing)
    else {
        return;
    };
    if listing.begun < seen.at + observed.timing.list_lag {
        return;
    }
    if let Some(told) = observed.listed_here(&token.id).and_then(|listed| listed.facts.expires_at) {
        token.expires_at = Some(to_time(told));
    }
}
