//! Drift: whether the value in the Secret still lives, though nobody here touched it.
//!
//! Lists raise suspicion; the Secret's own value, tried at the token API, decides (review, H9). Nothing is made because
//! a list says something that the value contradicts.

use std::time::Duration;

use crate::resources::{OperationReason, TokenStatus};

use super::absence::{absent_twice, left_alone, list_at};
use super::clauses::Clauses;
use super::decide::{rest, rest_until};
use super::memory::{Life, Proof, ProofOf, Suspicion};
use super::observed::{Contents, Observed, OurSecret, Sighting};
use super::status;
use super::step::Step;
use super::time::{to_time, whole_seconds};

/// How long a proof of life stands against the same suspicion: a list that is wrong for good costs one call an hour.
const PROOF_STANDS: Duration = Duration::from_hours(1);

/// What is to be thought of the token whose value the Secret holds.
pub(super) enum Finding {
    /// It lives, as far as can be told.
    Lives,
    /// Something has to be looked at first.
    Look(Step),
    /// Its value is dead; a new one is needed for this reason.
    Lost(OperationReason),
}

/// Judges the current token. `secret` holds its value.
pub(super) fn examine(
    observed: &Observed,
    token: &TokenStatus,
    secret: &OurSecret,
    clauses: Clauses,
) -> Finding {
    if let Some(reason) = lost(observed, token) {
        return Finding::Lost(reason);
    }
    let mut suspicion = suspicion(observed, token);
    if !clauses.absence_settles && observed.listing.is_some() && observed.listed_here(&token.id).is_none() {
        suspicion = Some(Suspicion::Absent);
    }
    if !clauses.proof_of_life && suspicion.is_some() {
        return Finding::Lost(OperationReason::RevokedElsewhere);
    }
    // Ready is raised by a commit or by a proof, by nothing else: what lowered it may have been forgotten.
    let raises = !status::is_ready(&observed.resource.status);
    if suspicion.is_none() && !raises {
        return Finding::Lives;
    }
    let of = ProofOf { id: token.id.clone(), operation: secret.record.operation.clone(), suspicion };
    if let Some(proof) = standing(observed, &of) {
        return if raises && proof.life != Life::Alive { unproved(observed, proof) } else { Finding::Lives };
    }
    if let Some((_, until)) = left_alone(observed) {
        return if raises { Finding::Look(rest_until(until)) } else { Finding::Lives };
    }
    if observed.draining {
        return if raises { Finding::Look(rest()) } else { Finding::Lives };
    }
    Finding::Look(match secret.contents {
        Contents::Unread => Step::ReadSecret,
        Contents::Changed | Contents::Stale | Contents::Current => Step::ProveLife(of),
    })
}

/// Whether the current token's value is known to be dead, and why. What this process found out counts, and what lists
/// say where the value can't be tried.
pub(super) fn lost(observed: &Observed, token: &TokenStatus) -> Option<OperationReason> {
    let brought_by = observed.resource.status.last_rotation.as_ref().map(|last| last.operation.as_str());
    let proof = observed.memory.proof.as_ref()?;
    if proof.of.id != token.id || Some(proof.of.operation.as_str()) != brought_by {
        return None;
    }
    let reason = |suspicion: &Option<Suspicion>| match suspicion {
        Some(Suspicion::Altered { .. }) => OperationReason::RotatedElsewhere,
        Some(Suspicion::Dead | Suspicion::Absent) | None => OperationReason::RevokedElsewhere,
    };
    let now = suspicion(observed, token);
    match proof.life {
        Life::Dead => Some(reason(&now.or_else(|| proof.of.suspicion.clone()))),
        Life::Alive => None,
        Life::Unknown if now != proof.of.suspicion => None,
        Life::Unknown => match &now {
            Some(Suspicion::Dead | Suspicion::Altered { .. }) => Some(reason(&now)),
            // Absence alone never condemns a token that no list has shown, nor any while many vanish at once.
            Some(Suspicion::Absent)
                if observed.memory.shown.contains(&token.id) && !observed.connection.absence_doubted =>
            {
                Some(reason(&now))
            }
            Some(Suspicion::Absent) | None => None,
        },
    }
}

/// The value could not be tried, and Ready is False. A list that is begun late enough and shows the token as it was
/// committed raises it just as well; otherwise the value is tried again in a while.
fn unproved(observed: &Observed, proof: &Proof) -> Finding {
    let late = proof.at + observed.timing.list_lag;
    if proof.of.suspicion.is_some() {
        return Finding::Look(Step::Rest { until: Some(proof.at + PROOF_STANDS) });
    }
    let tells = observed.listing.as_ref().is_some_and(|listing| listing.begun >= late);
    match tells {
        true if observed.listed_here(&proof.of.id).is_some() => Finding::Lives,
        true => Finding::Look(Step::Rest { until: Some(proof.at + PROOF_STANDS) }),
        false => Finding::Look(list_at(observed, late)),
    }
}

/// What the latest lists say against the current token.
pub(super) fn suspicion(observed: &Observed, token: &TokenStatus) -> Option<Suspicion> {
    let Some(listed) = observed.listed_here(&token.id) else {
        return absent_twice(observed, &token.id).then_some(Suspicion::Absent);
    };
    if !listed.alive {
        return Some(Suspicion::Dead);
    }
    let seen = observed.memory.token_seen.as_ref()?;
    let late = observed.listing.as_ref()?.begun > seen.at + observed.timing.list_lag;
    (late && altered(token, &listed)).then_some(Suspicion::Altered {
        prefix: listed.facts.prefix,
        rotated_at: listed.facts.rotated_at.map(whole_seconds),
    })
}

/// Whether a list shows another prefix or time of rotation than was committed. What one of them doesn't tell is no
/// difference; but a token that is listed as rotated where nothing of the kind was committed was rotated since.
fn altered(token: &TokenStatus, listed: &Sighting) -> bool {
    let prefix = token.prefix.is_some()
        && listed.facts.prefix.is_some()
        && token.prefix != listed.facts.prefix.as_deref().map(status::shown_prefix);
    let rotated =
        listed.facts.rotated_at.is_some() && token.rotated_at != listed.facts.rotated_at.map(to_time);
    prefix || rotated
}

/// The proof that still stands for what is asked. One that was had under another suspicion says nothing of this one.
fn standing<'a>(observed: &'a Observed, of: &ProofOf) -> Option<&'a Proof> {
    let proof = observed.memory.proof.as_ref()?;
    (proof.of == *of && observed.now.mono.since(proof.at) < PROOF_STANDS).then_some(proof)
}

/// What a list shows of the current token counts as committed once its value was proved to live in spite of it.
pub(super) fn believe(observed: &Observed, token: &mut TokenStatus) {
    let Some(Proof { of, life: Life::Alive, .. }) = &observed.memory.proof else { return };
    if let Some(Suspicion::Altered { prefix, rotated_at }) = &of.suspicion
        && of.id == token.id
    {
        token.prefix = prefix.as_deref().map(status::shown_prefix).or_else(|| token.prefix.take());
        token.rotated_at = rotated_at.map(to_time).or_else(|| token.rotated_at.take());
    }
}
