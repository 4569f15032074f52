//! What `/readyz` tells beyond what decides: who leads, and how the token API and the credential do.

use std::sync::Arc;

use crate::health::Health;
use crate::leader::Leadership;
use crate::resources::KeyKind;
use crate::token_api::{Class, Inventory};

use super::context::Context;

const KINDS: [KeyKind; 2] = [KeyKind::Access, KeyKind::Gateway];

/// Has it told.
pub(super) fn tell(health: &Health, context: &Context) {
    let leadership = context.leadership.clone();
    health.tell("leader", move || leader(&leadership).to_owned());
    for (name, words) in [("token-api", token_api as fn(Seen) -> String), ("credential", credential)] {
        let (leadership, inventory) = (context.leadership.clone(), Arc::clone(&context.inventory));
        health.tell(name, move || words(Seen::of(&leadership, &inventory)));
    }
}

fn leader(leadership: &Leadership) -> &'static str {
    if leadership.is_held() { "leads" } else { "stands by" }
}

/// What the last lists say of the token API.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Seen {
    /// Who stands by makes no calls.
    StandsBy,
    NotYet,
    Answers,
    Fails(Class),
}

impl Seen {
    fn of(leadership: &Leadership, inventory: &Inventory) -> Self {
        if !leadership.is_held() {
            return Self::StandsBy;
        }
        match KINDS.into_iter().find_map(|kind| inventory.failing(kind)) {
            Some(class) => Self::Fails(class),
            None if KINDS.into_iter().all(|kind| inventory.latest(kind).is_some()) => Self::Answers,
            None => Self::NotYet,
        }
    }
}

/// No text of the token API: whoever reaches the port reads this.
fn token_api(seen: Seen) -> String {
    match seen {
        Seen::StandsBy => "not called by who stands by",
        Seen::NotYet => "not called yet",
        Seen::Answers => "answers",
        Seen::Fails(Class::Unreachable) => "can't be reached",
        Seen::Fails(Class::Failing) => "fails (5xx)",
        Seen::Fails(Class::Throttled) => "throttles (429)",
        Seen::Fails(Class::Credential) => "answers, and refuses the credential",
        Seen::Fails(Class::Request | Class::Gone | Class::Unusable) => {
            "answers with nothing that can be used; is --api-url right?"
        }
    }
    .to_owned()
}

fn credential(seen: Seen) -> String {
    match seen {
        Seen::Answers => "accepted",
        Seen::Fails(Class::Credential) => "refused; see --api-token-file",
        Seen::StandsBy | Seen::NotYet | Seen::Fails(_) => "not known",
    }
    .to_owned()
}
