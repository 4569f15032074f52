//! `state: Revoked`: every token of the resource dies at once, our data leave the Secret, the resource stays.

use crate::resources::KeyStatus;

use super::absence::{left_alone, list_at};
use super::decide::{rest, rest_until, show, write_if_changed};
use super::ending::{all_dead, ours};
use super::observed::{Observed, SecretView};
use super::status::{self, Reason, Verdict};
use super::step::Step;

/// What is shown while tokens still live.
pub(super) fn revoking(message: &str) -> Verdict {
    Verdict::reconciling(false, Reason::Revoking, message)
}

/// No operation is recorded, and no token of the resource is to live.
pub(super) fn decide(observed: &Observed) -> Step {
    let emptied = match &observed.secret {
        SecretView::Ours(secret) => secret.record.emptied,
        SecretView::Absent { .. } | SecretView::Foreign { .. } => true,
        SecretView::Unread => return Step::ReadSecret,
    };
    let status = &observed.resource.status;
    let shown = status.conditions.iter().any(|condition| condition.reason == Reason::Revoked.as_str());
    if shown && emptied && unnamed(status) && ours(observed).next().is_none() {
        return write_if_changed(observed, revoked(observed), rest());
    }
    if observed.draining {
        return rest();
    }
    // Nothing that can't be undone is done on what a cache says.
    if !observed.resource.live {
        return Step::ReadResource;
    }
    // Ready goes first: the state may be Active again before a list shows what was revoked.
    if status::is_ready(status) {
        return show(observed, &revoking("The tokens are being revoked."), rest());
    }
    if let Some((trouble, until)) = left_alone(observed) {
        return show(observed, &revoking(&trouble.message), rest_until(until));
    }
    // What is known to be ours dies before any list is asked for.
    let mut alive = ours(observed).filter(|id| !observed.memory.revoked.contains(id));
    if let Some(id) = alive.find(|id| observed.listed_here(id).is_some_and(|listed| listed.alive)) {
        return Step::Revoke { id };
    }
    let begin = observed.memory.ending_seen.unwrap_or(observed.now.mono);
    if observed.listing.as_ref().is_none_or(|listing| listing.begun < begin) {
        return show(observed, &revoking("The tokens are being revoked."), list_at(observed, begin));
    }
    if let Err(step) = all_dead(observed, begin, None, revoking) {
        return step;
    }
    // Before the value goes, which could prove it once more: status names nothing that is dead.
    if !unnamed(status) {
        let verdict = revoking("The tokens are revoked; the value is being taken out of the Secret.");
        return write_if_changed(observed, without_tokens(observed, &verdict), rest());
    }
    match &observed.secret {
        SecretView::Absent { live: false } => Step::ReadSecret,
        SecretView::Ours(secret) if !secret.record.emptied => {
            Step::EmptySecret { version: secret.version.clone() }
        }
        _ => write_if_changed(observed, revoked(observed), rest()),
    }
}

/// Whether status names no token.
fn unnamed(status: &KeyStatus) -> bool {
    status.token.is_none() && status.superseded.is_empty()
}

/// Status once everything is dead and the value is gone.
fn revoked(observed: &Observed) -> KeyStatus {
    without_tokens(observed, &Verdict::stalled(false, Reason::Revoked, Reason::Revoked.meaning()))
}

fn without_tokens(observed: &Observed, verdict: &Verdict) -> KeyStatus {
    let mut status = observed.resource.status.clone();
    status.token = None;
    status.superseded.clear();
    status.rollout = None;
    status.next_rotation = None;
    status::set_conditions(&mut status, verdict, observed.resource.generation, observed.now.wall);
    status
}
