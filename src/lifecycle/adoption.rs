//! Adoption: a token that was made elsewhere becomes this resource's, in place of a new one.
//!
//! Whether the token may be taken is decided outside (permission, other resources' claims) and told as
//! [`Adoption`]; here it is decided when, and from where the value comes.

use crate::resources::{AdoptSpec, AdoptedValue, KeyStatus};

use super::absence::{list_at, pending};
use super::decide::{rest, show, write_if_changed};
use super::desired::Desired;
use super::memory::{Life, Proof, ProofOf};
use super::observed::{Adoption, Observed, SecretView, Sighting};
use super::status::{self, Reason, Verdict};
use super::step::Step;
use super::upkeep::{LOOKED_AT_EVERY, look_again};

/// The next step of an adoption; nothing if none is asked for, or if it has come so far that upkeep does the rest.
pub(super) fn decide(observed: &Observed, desired: &Desired) -> Option<Step> {
    let adopt = desired.adopt.as_ref()?;
    let current = &observed.resource.status;
    if is_under_way(desired, current) {
        return match sighting(observed, adopt) {
            Ok(_) => None,
            // Let go of the claim, so that the spec can be corrected.
            Err(Hindrance::For(why)) => {
                let mut status = current.clone();
                status.token = None;
                set(observed, &mut status, &refused(&why));
                Some(write_if_changed(observed, status, rest()))
            }
            Err(Hindrance::Until(step)) => Some(step),
        };
    }
    let over = current.token.is_some() || current.last_rotation.is_some() || observed.ours().is_some();
    if over || desired.suspend {
        return None;
    }
    let seen = match sighting(observed, adopt) {
        Ok(seen) => seen,
        Err(Hindrance::For(why)) => return Some(show(observed, &refused(&why), look_again(observed))),
        Err(Hindrance::Until(step)) => return Some(step),
    };
    match (&observed.secret, adopt.value) {
        (SecretView::Unread | SecretView::Absent { live: false }, _) => Some(Step::ReadSecret),
        (SecretView::Absent { live: true }, AdoptedValue::Rotate) => {
            // The claim stands in status before anything is done with the token, where others see it.
            let mut status = current.clone();
            status.token = Some(status::token(&seen.facts));
            set(observed, &mut status, &under_way("The adopted token is about to be rotated."));
            Some(write_if_changed(observed, status, rest()))
        }
        (SecretView::Absent { live: true }, AdoptedValue::FromSecret) => {
            let why = format!(
                "spec.adopt.value is FromSecret, but there is no Secret {} to take the value from",
                desired.secret_name
            );
            Some(show(observed, &refused(&why), look_again(observed)))
        }
        (SecretView::Foreign { unclaimed: Some(version), .. }, AdoptedValue::FromSecret) => {
            Some(from_secret(observed, desired, seen, version))
        }
        (SecretView::Foreign { .. } | SecretView::Ours(_), _) => None,
    }
}

/// Whether status claims the adopted token and it wasn't rotated yet.
pub(super) fn is_under_way(desired: &Desired, status: &KeyStatus) -> bool {
    let claims = |adopt: &AdoptSpec| {
        adopt.value == AdoptedValue::Rotate
            && status.token.as_ref().is_some_and(|token| token.id == adopt.token_id)
    };
    status.last_rotation.is_none() && desired.adopt.as_ref().is_some_and(claims)
}

/// What keeps a token from being adopted.
enum Hindrance {
    /// A person must act.
    For(String),
    /// A look will tell.
    Until(Step),
}

fn sighting<'a>(observed: &'a Observed, adopt: &AdoptSpec) -> Result<&'a Sighting, Hindrance> {
    match &observed.adoption {
        Adoption::Allowed(seen) if seen.alive => Ok(seen),
        Adoption::Allowed(_) => {
            Err(Hindrance::For(format!("token {} is revoked or has expired", adopt.token_id)))
        }
        Adoption::Refused(why) => Err(Hindrance::For(why.clone())),
        Adoption::None => Err(Hindrance::Until(rest())),
        Adoption::Unlisted(at) => {
            let message =
                pending(observed).map_or("The lists of tokens are awaited.", |p| &p.trouble.message);
            Err(Hindrance::Until(show(observed, &under_way(message), list_at(observed, *at))))
        }
    }
}

/// The Secret holds the value already, as is said: taken over once that value is proved to live.
fn from_secret(observed: &Observed, desired: &Desired, seen: &Sighting, version: &str) -> Step {
    let id = seen.facts.id.as_str();
    // A Secret that is changed is another one to be tried.
    let of = ProofOf { id: id.to_owned(), operation: format!("Secret at {version}"), suspicion: None };
    // One that told nothing is tried again when the Secret is next looked at.
    let tells = |proof: &&Proof| {
        proof.of == of && (proof.life != Life::Unknown || observed.now.mono.since(proof.at) < LOOKED_AT_EVERY)
    };
    let life = observed.memory.proof.as_ref().filter(tells).map(|proof| proof.life);
    let why = match life {
        Some(Life::Alive) if !observed.resource.live => return Step::ReadResource,
        Some(Life::Alive) => {
            return Step::TakeSecret {
                version: version.to_owned(),
                facts: seen.facts.clone(),
                operation: observed.fresh_id.clone(),
            };
        }
        None => {
            return match pending(observed) {
                Some(pending) => {
                    show(observed, &under_way(&pending.trouble.message), Step::Rest { until: pending.until })
                }
                None => Step::ProveLife(of),
            };
        }
        Some(Life::Dead) => "the token API doesn't accept it",
        Some(Life::Unknown) => "it can't be proved to be that token's living value",
    };
    let why = format!(
        "the value under {} in Secret {} is not usable: {why}; put the value of token {id} there, or set \
         spec.adopt.value to Rotate",
        desired.secret_key, desired.secret_name
    );
    show(observed, &refused(&why), look_again(observed))
}

fn set(observed: &Observed, status: &mut KeyStatus, verdict: &Verdict) {
    status::set_conditions(status, verdict, observed.resource.generation, observed.now.wall);
}

fn under_way(message: &str) -> Verdict {
    Verdict::reconciling(false, Reason::AdoptionPending, message)
}

fn refused(why: &str) -> Verdict {
    Verdict::stalled(false, Reason::AdoptionRefused, format!("spec.adopt was refused: {why}."))
}
