//! Whether a token that was made elsewhere may be adopted: a privilege, and never at another resource's cost.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, PoisonError};

use secrecy::{ExposeSecret as _, SecretString};

use crate::clock;
use crate::lifecycle::naming::Tag;
use crate::lifecycle::observed::{Adoption, Sighting};
use crate::lifecycle::time::Monotonic;
use crate::lifecycle::token::TokenId;
use crate::token_api::begins_with;

use super::context::Context;
use super::key::KeyState;
use super::secrets::Identity;

/// Stands for every namespace.
const ANYWHERE: &str = "*";

/// Who may adopt, and who is about to.
#[derive(Debug, Default)]
pub(super) struct Adoptions {
    namespaces: Vec<String>,
    /// The resource, by uid, that asked for an id first. Two that ask at once must not both get it.
    reserved: Mutex<HashMap<String, String>>,
}

impl Adoptions {
    /// Resources of these namespaces may adopt; `*` stands for all.
    pub(super) fn allowed_in(namespaces: Vec<String>) -> Self {
        Self { namespaces, reserved: Mutex::default() }
    }

    fn allows(&self, namespace: &str) -> bool {
        self.namespaces.iter().any(|allowed| allowed == ANYWHERE || allowed == namespace)
    }

    /// Forgets the ids that nobody wants to adopt any more.
    fn keep(&self, ids: &HashSet<String>) {
        self.reserved.lock().unwrap_or_else(PoisonError::into_inner).retain(|id, _| ids.contains(id));
    }

    /// Whether the id is `uid`'s to adopt: nobody who still wants it asked for it before.
    fn reserve(&self, id: &str, uid: &str, wants: impl Fn(&str) -> bool) -> bool {
        let mut reserved = self.reserved.lock().unwrap_or_else(PoisonError::into_inner);
        let first = reserved.entry(id.to_owned()).or_insert_with(|| uid.to_owned());
        if first != uid && !wants(first) {
            uid.clone_into(first);
        }
        first == uid
    }
}

/// Lets go of what no key wants any more, upon every new list, until the context's `stop`.
pub(super) async fn forget_unwanted(context: Arc<Context>) {
    let mut changes = context.inventory.changes();
    while let Some(Ok(())) = context.stop.run_until_cancelled(changes.changed()).await {
        // Before the keys are asked: who wants something from then on isn't forgotten.
        let now = clock::monotonic();
        if context.inventory.wants_any() && context.health.is_ready() {
            let ids = context.directory.wanted();
            context.adoptions.keep(&ids);
            context.inventory.keep_wanted(&ids, now);
        }
    }
}

impl Context {
    /// What is so of the token that the key's spec wants to adopt.
    pub(super) fn adoption(&self, key: &KeyState) -> Adoption {
        let adopt = key.object.desired().and_then(|desired| desired.adopt.as_ref());
        let Some(adopt) = adopt else { return Adoption::None };
        let id = self.id_since_adoption(key, &adopt.token_id);
        let id = id.as_str();
        let identity = key.identity();
        let Ok(parsed) = TokenId::parse(id) else {
            return Adoption::Refused(format!("{id:?} is no token's id; copy it from the console"));
        };
        // Without permission too, if something was adopted when there was one: it must not pass for gone.
        let is_allowed = self.adoptions.allows(&identity.namespace);
        let has_adopted = key.object.view.status.last_rotation.is_some();
        let since = if is_allowed || has_adopted { Some(self.inventory.want(&parsed)) } else { None };
        let Some(since) = since.filter(|_| is_allowed) else {
            return Adoption::Refused(format!(
                "the operator isn't allowed to adopt tokens for namespace {}; whoever runs it allows that by \
                 --adopt-namespace (adoptNamespaces in the chart)",
                identity.namespace
            ));
        };
        let Some(listing) = self.inventory.latest(identity.kind).filter(|listing| listing.begun >= since)
        else {
            return Adoption::Unlisted(since);
        };
        let Some(token) = listing.wanted(id) else {
            return self.unlisted(identity, id, listing.begun, since);
        };
        if let Some(why) = self.claimed(key, id, token.tag.as_ref()) {
            return Adoption::Refused(why);
        }
        if self.tokens.is_own(&token.facts) {
            return Adoption::Refused(format!("token {id} is the operator's own credential"));
        }
        Adoption::Allowed(Sighting { facts: token.facts.clone(), alive: token.alive })
    }

    /// The id that the adopted token has now: a rotation may have given it another one (O7). Of those that status names it
    /// is the one without a tag; what this resource made bears its own.
    fn id_since_adoption(&self, key: &KeyState, adopted: &str) -> String {
        let status = &key.object.view.status;
        if status.last_rotation.is_none() {
            return adopted.to_owned();
        }
        let listing = self.inventory.latest(key.identity().kind);
        let untagged = |id: &&String| {
            let Ok(parsed) = TokenId::parse(id) else { return false };
            self.inventory.want(&parsed);
            listing.as_ref().and_then(|listing| listing.wanted(id)).is_some_and(|seen| seen.tag.is_none())
        };
        let named = status.token.iter().map(|token| &token.id);
        let mut named = named.chain(status.superseded.iter().map(|entry| &entry.id));
        named.find(untagged).map_or(adopted, |id| id.as_str()).to_owned()
    }

    /// The id isn't listed as one of the kind's tokens. Lists may lag; and it may be of the other type.
    fn unlisted(&self, identity: &Identity, id: &str, begun: Monotonic, since: Monotonic) -> Adoption {
        let other = identity.kind.other();
        let kind = identity.kind.kind();
        let others = self.inventory.latest(other);
        if others.as_ref().is_some_and(|listing| listing.wanted(id).is_some()) {
            let other = other.kind();
            return Adoption::Refused(format!(
                "token {id} is of the type that {other} is for, and this is a {kind}: make a {other} for it"
            ));
        }
        let settled = since + self.timing.list_lag;
        if begun < settled || others.is_none_or(|listing| listing.begun < settled) {
            return Adoption::Unlisted(settled);
        }
        Adoption::Refused(format!(
            "token {id} isn't listed among the tokens that {kind} is for; copy the id, not the name, from the console"
        ))
    }

    /// Whose the token is, if it isn't free for this resource.
    fn claimed(&self, key: &KeyState, id: &str, tag: Option<&Tag>) -> Option<String> {
        let identity = key.identity();
        let own = &key.object.owner;
        if tag.is_some_and(|tag| tag.owner.installation != own.installation || tag.owner.place != own.place) {
            return Some(format!("token {id} bears the tag of another resource in its name"));
        }
        let residents = self.directory.residents_that_hold(id);
        let others = residents.iter().filter(|resident| resident.uid != identity.uid);
        if let Some(other) = others.clone().find(|resident| resident.names(id)) {
            let (kind, namespace, name) = (other.kind.kind(), &other.namespace, &other.name);
            return Some(format!("token {id} is claimed by {kind} {namespace}/{name}"));
        }
        let wants =
            |uid: &str| others.clone().any(|other| other.uid == uid && other.adopts.as_deref() == Some(id));
        let free = self.adoptions.reserve(id, &identity.uid, wants);
        (!free).then(|| format!("another resource wants to adopt token {id}, and asked first"))
    }

    /// Whether a value that people put into a Secret may be the adopted token's, as far as the list tells.
    pub(super) fn is_value_of(&self, key: &KeyState, value: &SecretString) -> bool {
        let Adoption::Allowed(seen) = self.adoption(key) else { return false };
        let shown = seen.facts.prefix.as_deref();
        shown.and_then(|shown| begins_with(value.expose_secret(), shown)).unwrap_or(true)
    }
}
