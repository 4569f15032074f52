//! Reports tokens whose resource is gone, once each. Nothing is revoked here.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use k8s_openapi::api::core::v1::ObjectReference;
use kube::runtime::events::EventType;

use crate::health::Health;
use crate::lifecycle::listing::Listing;
use crate::lifecycle::orphans::Census;
use crate::lifecycle::time::Monotonic;
use crate::lifecycle::token::TokenId;
use crate::resources::KeyKind;

use super::census::census;
use super::context::Context;

/// The most that are told one by one after one list; the command tells all.
const TOLD: usize = 20;

/// What this process has seen of orphans of one kind.
#[derive(Default)]
struct Watch {
    /// Orphans, and the first list that showed them as such.
    seen: HashMap<TokenId, Monotonic>,
    told: HashSet<TokenId>,
    judged: Option<Monotonic>,
}

/// Looks through every new list until the context's `stop`, once all caches are filled. Only for an operator that
/// watches all keys of all namespaces. Nothing is told by who stands by, for it has no lists. `lease` is what events are about.
pub(super) async fn report(context: Arc<Context>, health: Health, lease: ObjectReference) {
    let mut changes = context.inventory.changes();
    let mut watches = [(KeyKind::Access, Watch::default()), (KeyKind::Gateway, Watch::default())];
    while let Some(Ok(())) = context.stop.run_until_cancelled(changes.changed()).await {
        if !health.is_ready() {
            continue;
        }
        for (kind, watch) in &mut watches {
            look(&context, &lease, *kind, watch);
        }
    }
}

fn look(context: &Context, lease: &ObjectReference, kind: KeyKind, watch: &mut Watch) {
    let Some(listing) = context.inventory.latest(kind).filter(|listing| Some(listing.begun) != watch.judged)
    else {
        return;
    };
    watch.judged = Some(listing.begun);
    // The list is older than the caches; but these may lag behind it all the same, so one sighting isn't enough.
    let census = (!all_have_their_resource(context, kind, &listing)).then(|| take_census(context));
    let mut seen = HashMap::new();
    let (mut sure, mut told) = (0, 0);
    for orphan in census.iter().flat_map(|census| census.orphans(&listing)) {
        let facts = &orphan.token.facts;
        let since = watch.seen.get(&facts.id).copied().unwrap_or(listing.begun);
        seen.insert(facts.id.clone(), since);
        if listing.begun.since(since) < context.timing.list_lag {
            continue;
        }
        sure += 1;
        if !watch.told.insert(facts.id.clone()) {
            continue;
        }
        told += 1;
        if told > TOLD {
            continue;
        }
        let name = facts.name.as_deref().unwrap_or_default();
        let held =
            orphan.secret.map(|secret| format!(" Secret {secret} holds its value.")).unwrap_or_default();
        let note = format!(
            "Token {} ({name}) lives and its {} is gone.{held} `keeptrusts-operator orphans` lists and revokes such \
             tokens.",
            facts.id,
            kind.kind(),
        );
        tracing::warn!(id = %facts.id, token = name, secret = orphan.secret, "a token is an orphan: its resource is gone");
        context.events.about(lease.clone(), EventType::Warning, "Inventory", "Orphan", &note);
    }
    if told > TOLD {
        tracing::warn!(kind = kind.kind(), more = told - TOLD, "further tokens are orphans");
    }
    context.metrics.orphans(kind, sure);
    watch.told.retain(|id| seen.contains_key(id));
    watch.seen = seen;
}

/// Whether all living tokens of a list are of resources that live, which is the rule.
fn all_have_their_resource(context: &Context, kind: KeyKind, listing: &Listing) -> bool {
    let mut theirs = 0;
    context.directory.places(kind, |place, uid| {
        let living = listing.at(place).iter().filter(|listed| listed.alive);
        theirs += living.filter(|listed| listed.tag.owner.uid == *uid).count();
    });
    theirs == listing.all().filter(|listed| listed.alive).count()
}

/// Who accounts for tokens.
fn take_census(context: &Context) -> Census {
    let secrets = context.directory.secrets();
    let metadata = secrets.iter().map(|secret| secret.metadata());
    census(&context.installation, &context.directory.residents(), metadata)
}

/// The Lease that stands for the operator as a whole; events may name it though it isn't there.
pub(super) fn lease(namespace: &str, name: &str) -> ObjectReference {
    ObjectReference {
        api_version: Some("coordination.k8s.io/v1".to_owned()),
        kind: Some("Lease".to_owned()),
        name: Some(name.to_owned()),
        namespace: Some(namespace.to_owned()),
        ..ObjectReference::default()
    }
}
