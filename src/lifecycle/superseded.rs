//! Step 6: superseded tokens are revoked once their grace is over, and what lives under the key's tag without a name joins
//! them.

use crate::resources::Superseded;

use super::absence::{gone, left_alone, look_for};
use super::clauses::Clauses;
use super::decide::{rest, rest_until, write_if_changed};
use super::listing::Listed;
use super::observed::{Contents, Observed, OurSecret, SecretView};
use super::rollout;
use super::schedule;
use super::status;
use super::step::Step;
use super::time::{Monotonic, elapsed};

/// Step 6, and the claiming of tokens that nobody names.
pub(super) fn tidy(observed: &Observed, clauses: Clauses) -> Step {
    let rests = Step::Rest { until: timer(observed, clauses) };
    if observed.draining {
        return rest();
    }
    if let Some(step) = revoke_due(observed, clauses, Proviso::Current) {
        return step;
    }
    let status = &observed.resource.status;
    // A status that was lost is rebuilt first; and a new token needs the places that are left.
    let may_claim = status.token.is_some() && status.superseded.len() + 2 <= observed.places;
    let Some(id) = stray(observed).filter(|_| clauses.sweeps && may_claim) else { return rests };
    if let Some(step) = held_off(observed, clauses) {
        return step;
    }
    if !clauses.sweeper_names {
        return Step::Revoke { id };
    }
    let secret = match &observed.secret {
        SecretView::Ours(secret) if secret.live => Some(secret),
        SecretView::Absent { live: true } => None,
        SecretView::Foreign { .. } => return rests,
        SecretView::Ours(_) | SecretView::Unread | SecretView::Absent { live: false } => {
            return Step::ReadSecret;
        }
    };
    if !observed.resource.live {
        return Step::ReadResource;
    }
    if let Some(fence) = secret.and_then(|secret| fence(secret, &id)).filter(|_| clauses.fences) {
        return fence;
    }
    let mut claimed = status.clone();
    let prefix = observed.listed_here(&id).and_then(|listed| listed.facts.prefix);
    status::supersede(&mut claimed, &id, prefix, observed.now.wall, observed.grace());
    write_if_changed(observed, claimed, rest())
}

/// What the Secret must hold before a superseded token is revoked.
#[derive(Clone, Copy)]
pub(super) enum Proviso {
    /// The current token's value: whoever runs on the superseded one could have had that.
    Current,
    /// Anything but the superseded one's value: without a place it would never hold a living one again.
    NotItself,
}

/// Step 6: a superseded token whose grace is over is revoked. Nothing if there is none.
pub(super) fn revoke_due(observed: &Observed, clauses: Clauses, proviso: Proviso) -> Option<Step> {
    let status = &observed.resource.status;
    // Done already, by this process: only status doesn't say so yet.
    if status.superseded.iter().any(|entry| gone(observed, &entry.id)) {
        let mut status = status.clone();
        status.superseded.retain(|entry| !gone(observed, &entry.id));
        return Some(write_if_changed(observed, status, rest()));
    }
    let is_due =
        |entry: &Superseded| due_at(observed, entry, clauses).is_some_and(|at| at <= observed.now.mono);
    if !status.superseded.iter().any(is_due) {
        return None;
    }
    if let Some(step) = held_off(observed, clauses) {
        return Some(step);
    }
    let (secret, replaced) = match (current_secret(observed), proviso, &observed.secret) {
        (Ok(secret), ..) => (Some(secret), true),
        (Err(None), Proviso::NotItself, SecretView::Absent { .. }) => (None, false),
        (Err(None), Proviso::NotItself, SecretView::Ours(secret)) => (Some(secret), false),
        (Err(step), ..) => return step,
    };
    let named = |id: &str| secret.is_some_and(|secret| secret.record.token.id.as_str() == id);
    let others = || status.superseded.iter().filter(|entry| !named(&entry.id));
    // What the Secret held before the last commit has been replaced in it. One of those superseded since may be what it
    // held last, if nothing tells any more: only what was made after that one goes before it.
    let committed = status.last_rotation.as_ref().map(|last| last.time.0);
    let was_replaced = |entry: &Superseded| committed.is_some_and(|committed| entry.since.0 <= committed);
    let is_newest = |entry: &Superseded| others().next_back().is_some_and(|last| last.id == entry.id);
    let may_go = |entry: &&Superseded| is_due(entry) && (replaced || was_replaced(entry) || is_newest(entry));
    let mut revocable = others().filter(may_go).map(|entry| &entry.id).peekable();
    let first = *revocable.peek()?;
    // One that has yet to be looked for doesn't hold up those that have been found.
    let id = revocable.find(|id| observed.verified(id)).unwrap_or(first);
    if let Some(fence) = secret.and_then(|secret| fence(secret, id)).filter(|_| clauses.fences) {
        return Some(if observed.verified(id) { fence } else { look_for(observed, id) });
    }
    if !observed.resource.live {
        return Some(Step::ReadResource);
    }
    Some(if observed.verified(id) { Step::Revoke { id: id.clone() } } else { look_for(observed, id) })
}

/// What is waited for while the token API is to be left alone.
fn held_off(observed: &Observed, clauses: Clauses) -> Option<Step> {
    let (_, until) = left_alone(observed)?;
    let timer = timer(observed, clauses);
    Some(rest_until(timer.map_or(until, |timer| timer.min(until))))
}

/// The Secret, read live, if it holds the current token's value; otherwise what is to be read first, if anything.
/// Nothing that can't be undone is done on what a cache says: first the Secret, then the resource.
fn current_secret(observed: &Observed) -> Result<&OurSecret, Option<Step>> {
    let secret = match &observed.secret {
        SecretView::Ours(secret) if secret.live => secret,
        SecretView::Ours(_) | SecretView::Unread | SecretView::Absent { live: false } => {
            return Err(Some(Step::ReadSecret));
        }
        SecretView::Absent { live: true } | SecretView::Foreign { .. } => return Err(None),
    };
    let token = observed.resource.status.token.as_ref();
    let names_current = token.is_some_and(|token| token.id == secret.record.token.id.as_str());
    if names_current && secret.contents != Contents::Changed { Ok(secret) } else { Err(None) }
}

/// A slow process may still hold a value that it made, and be about to write it over the one in use: it can't once the
/// Secret has another version. What the Secret held before was written, and can't be written once more.
fn fence(secret: &OurSecret, id: &str) -> Option<Step> {
    let record = &secret.record;
    let fenced = [record.fence.as_deref(), record.replaced.as_deref()].contains(&Some(id));
    (!fenced).then(|| Step::FenceSecret { version: secret.version.clone(), id: id.to_owned() })
}

/// A token under our tag that lives and that nobody names: a call that arrived late made it, or a list lagged when its
/// operation was recovered.
fn stray(observed: &Observed) -> Option<String> {
    let status = &observed.resource.status;
    // Another process revoked what this one's list still shows. Naming it again would go back and forth between them
    // until the next list.
    let left = observed.memory.superseded_left.map(|left| left + observed.timing.list_lag);
    if observed.listing.as_ref().is_some_and(|listing| left.is_some_and(|left| listing.begun < left)) {
        return None;
    }
    let unnamed = |id: &str| {
        status.token.as_ref().is_none_or(|token| token.id != id)
            && status.superseded.iter().all(|entry| entry.id != id)
            && !observed.memory.revoked.contains(id)
            && observed.ours().is_none_or(|secret| secret.record.token.id.as_str() != id)
    };
    // A rotation may have given the current token a new id without telling it (O7): the name stays. No two operations
    // make the same name.
    let current = status.token.as_ref();
    let current_shown =
        current.is_none_or(|token| observed.listed_here(&token.id).is_some_and(|it| it.alive));
    let may_be_current =
        |listed: &Listed| !current_shown && current.is_some_and(|token| token.name == listed.facts.name);
    let strays = observed.listed().filter(|listed| listed.alive && !may_be_current(listed));
    strays.map(|listed| listed.facts.id.as_string()).filter(|id| unnamed(id)).min().cloned()
}

/// What the sweeper must not do: it revokes while an operation is recorded, though it spares what that made.
pub(super) fn sweep_amidst(observed: &Observed) -> Option<Step> {
    let operation = observed.resource.status.operation.as_ref()?;
    let id = stray(observed)?;
    let listed = observed.listed_here(&id)?;
    (listed.facts.name != operation.token_name).then_some(Step::Revoke { id })
}

/// When a superseded token's grace is over: the lesser of elapsed wall time and elapsed monotonic time counts. Nothing
/// while the clocks can't be trusted.
fn due_at(observed: &Observed, entry: &Superseded, clauses: Clauses) -> Option<Monotonic> {
    if clauses.rollouts_hold && rollout::is_held(&observed.resource.status, entry) {
        return None;
    }
    let grace = elapsed(entry.since.0, entry.revoke_after.0);
    let seen = observed.memory.graces_seen.get(&entry.id).map_or(observed.now.mono, |(_, seen)| *seen);
    if grace.is_zero() {
        return Some(seen);
    }
    if observed.connection.clock_skewed {
        return None;
    }
    let wall = grace.saturating_sub(elapsed(entry.since.0, observed.now.wall));
    if !clauses.grace_by_both_clocks {
        return Some(observed.now.mono + wall);
    }
    Some((seen + grace).max(observed.now.mono + wall))
}

/// When time alone will bring something to do.
pub(super) fn timer(observed: &Observed, clauses: Clauses) -> Option<Monotonic> {
    let status = &observed.resource.status;
    let desired = observed.resource.desired.as_ref().ok();
    let next =
        desired.and_then(|desired| schedule::next(desired, &observed.owner.uid, status, observed.now.wall));
    let next = next.map(|next| observed.now.mono + elapsed(observed.now.wall, next.at));
    let revocations = status.superseded.iter().filter_map(|entry| due_at(observed, entry, clauses));
    let later = |at: &Monotonic| *at > observed.now.mono;
    revocations.chain(next).filter(later).min()
}
