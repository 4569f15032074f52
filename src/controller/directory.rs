//! All resources and Secrets of ours, as the caches hold them: who claims a token, and whose tokens have nobody left.

use std::collections::{BTreeMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::runtime::reflector::Store;
use kube::{Resource as _, ResourceExt as _};

use crate::lifecycle::desired::{self, Restarts};
use crate::lifecycle::naming::{Place, UidTag};
use crate::metrics::Glance;
use crate::resources::{Key, KeyKind, WorkloadRef};

use super::cached::{CachedKey, CachedSecret};
use super::workloads;

/// A resource as it is looked at here.
#[derive(Clone, Debug)]
pub(crate) struct Resident {
    pub(crate) kind: KeyKind,
    pub(crate) namespace: String,
    pub(crate) name: String,
    pub(crate) uid: String,
    /// The tokens that its status names.
    pub(crate) tokens: Vec<String>,
    /// The token that a recorded operation is about.
    operates_on: Option<String>,
    /// The token that its spec wants to adopt.
    pub(super) adopts: Option<String>,
}

impl Resident {
    /// What a resource says, if it can be read: one that can't lives all the same.
    pub(crate) fn of<K: Key>(meta: &ObjectMeta, key: Option<&K>) -> Self {
        let status = key.and_then(Key::status);
        let token = status.and_then(|status| status.token.as_ref()).map(|token| &token.id);
        let superseded = status.into_iter().flat_map(|status| &status.superseded).map(|entry| &entry.id);
        Self {
            kind: K::KIND,
            namespace: meta.namespace.clone().unwrap_or_default(),
            name: meta.name.clone().unwrap_or_default(),
            uid: meta.uid.clone().unwrap_or_default(),
            tokens: token.into_iter().chain(superseded).cloned().collect(),
            operates_on: status.and_then(|status| status.operation.as_ref()?.token_id.clone()),
            adopts: key.and_then(|key| Some(key.parts().adopt?.token_id.clone())),
        }
    }

    /// Whether its status names the token.
    pub(super) fn names(&self, id: &str) -> bool {
        self.tokens.iter().any(|token| token == id) || self.operates_on.as_deref() == Some(id)
    }
}

/// A rollout that is under way, as another key looks at it.
struct Rollout {
    restarts: Restarts,
    secret: String,
    operation: String,
}

impl Rollout {
    fn of<K: Key>(key: &K) -> Option<Self> {
        let operation = key.status()?.rollout.as_ref()?.operation.clone();
        let parts = key.parts();
        let secret = desired::secret_name(&parts, &key.name_any()).to_owned();
        Some(Self { restarts: Restarts::of(&parts), secret, operation })
    }
}

/// The resources of one kind, in one scope.
trait Keys: Send + Sync {
    /// Each one: which it is, and what of it can be read.
    fn glance(&self, look: &mut dyn FnMut(Glance<'_>));

    /// The place of each one of a kind, and its uid.
    fn places(&self, kind: KeyKind, look: &mut dyn FnMut(&Place, &UidTag));

    /// Each one that holds this text; all, if it is empty.
    fn residents(&self, text: &str) -> Vec<Resident>;

    /// What is rolling out in a namespace.
    fn rollouts(&self, namespace: &str) -> Vec<Rollout>;
}

impl<K: Key> Keys for Store<CachedKey<K>> {
    fn glance(&self, look: &mut dyn FnMut(Glance<'_>)) {
        for key in self.state() {
            let (meta, read) = (key.meta(), key.unpack().ok());
            let (status, readable) = (read.as_ref().and_then(Key::status), read.is_some());
            look(Glance { kind: K::KIND, meta, status, readable });
        }
    }

    fn places(&self, kind: KeyKind, look: &mut dyn FnMut(&Place, &UidTag)) {
        if kind != K::KIND {
            return;
        }
        for key in self.state() {
            look(&key.place, &key.uid);
        }
    }

    fn residents(&self, text: &str) -> Vec<Resident> {
        let holding = self.state().into_iter().filter(|key| key.holds(text));
        holding.map(|key| Resident::of(key.meta(), key.unpack().ok().as_ref())).collect()
    }

    fn rollouts(&self, namespace: &str) -> Vec<Rollout> {
        let here = |key: &Arc<CachedKey<K>>| key.meta().namespace.as_deref() == Some(namespace);
        let rolling = self.state().into_iter().filter(|key| here(key) && key.holds("\"rollout\""));
        rolling.filter_map(|key| Rollout::of(&key.unpack().ok()?)).collect()
    }
}

/// The caches.
#[derive(Default)]
pub(super) struct Directory {
    keys: Mutex<Vec<Arc<dyn Keys>>>,
    secrets: Mutex<Vec<Store<CachedSecret>>>,
}

impl Directory {
    /// Adds the cache of one kind, in one scope. Call it before anything looks.
    pub(super) fn add_keys<K: Key>(&self, store: Store<CachedKey<K>>) {
        lock(&self.keys).push(Arc::new(store));
    }

    /// The caches of resources. Whoever unpacks what they hold does it without the lock.
    fn keys(&self) -> Vec<Arc<dyn Keys>> {
        lock(&self.keys).clone()
    }

    /// Adds the cache of our Secrets in one scope.
    pub(super) fn add_secrets(&self, store: Store<CachedSecret>) {
        lock(&self.secrets).push(store);
    }

    /// Every resource.
    pub(super) fn residents(&self) -> Vec<Resident> {
        self.residents_that_hold("")
    }

    /// Every resource that may speak of this token.
    pub(super) fn residents_that_hold(&self, id: &str) -> Vec<Resident> {
        self.keys().iter().flat_map(|keys| keys.residents(id)).collect()
    }

    /// The tokens that were made elsewhere and that keys adopt or have adopted: the ids in their specs and statuses.
    pub(super) fn wanted(&self) -> HashSet<String> {
        let adopting = self.residents_that_hold("\"adopt\"").into_iter().filter(|key| key.adopts.is_some());
        adopting.flat_map(|key| key.adopts.into_iter().chain(key.tokens).chain(key.operates_on)).collect()
    }

    /// Where resources of a kind live, and under which uid.
    pub(super) fn places(&self, kind: KeyKind, mut look: impl FnMut(&Place, &UidTag)) {
        for keys in self.keys() {
            keys.places(kind, &mut look);
        }
    }

    /// Looks at every resource, one after the other.
    pub(super) fn glance(&self, mut look: impl FnMut(Glance<'_>)) {
        for keys in self.keys() {
            keys.glance(&mut look);
        }
    }

    /// What every key of a namespace that is rolling out wants a workload's template to say, by annotation. `uses` tells of a
    /// Secret whether the workload uses it.
    pub(super) fn restarts(
        &self,
        namespace: &str,
        workload: &WorkloadRef,
        uses: impl Fn(&str) -> bool,
    ) -> BTreeMap<String, String> {
        self.keys()
            .iter()
            .flat_map(|keys| keys.rollouts(namespace))
            .filter(|rollout| match &rollout.restarts {
                Restarts::None => false,
                Restarts::Listed(refs) => refs.contains(workload),
                Restarts::Discovered => uses(&rollout.secret),
            })
            .map(|rollout| (workloads::annotation(&rollout.secret), rollout.operation))
            .collect()
    }

    /// Every Secret of ours.
    pub(super) fn secrets(&self) -> Vec<Arc<CachedSecret>> {
        let secrets = lock(&self.secrets).clone();
        secrets.iter().flat_map(Store::state).collect()
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use kube::runtime::reflector;
    use kube::runtime::watcher::Event;
    use serde_json::json;

    use super::*;
    use crate::resources::AccessKey;

    #[test]
    fn who_looks_holds_no_lock_that_another_one_needs() {
        let directory = Directory::default();
        let (store, mut cache) = reflector::store::<CachedKey<AccessKey>>();
        let key = json!({"metadata": {"name": "checkout", "namespace": "shop", "uid": "a"}, "spec": {}});
        cache.apply_watcher_event(&Event::Apply(serde_json::from_value(key).unwrap()));
        directory.add_keys(store);
        let mut looked = 0;
        directory.glance(|_| {
            assert!(directory.keys.try_lock().is_ok(), "a reconcile waits for a scrape");
            assert_eq!(directory.residents().len(), 1);
            looked += 1;
        });
        directory.places(KeyKind::Access, |_, _| assert!(directory.keys.try_lock().is_ok()));
        assert_eq!(looked, 1);
    }

    #[test]
    fn what_keys_adopt_is_wanted_as_long_as_they_do() {
        let directory = Directory::default();
        let (store, mut cache) = reflector::store::<CachedKey<AccessKey>>();
        directory.add_keys(store);
        let key = |spec: serde_json::Value| -> CachedKey<AccessKey> {
            let status = json!({"token": {"id": "tok_2"}});
            let meta = json!({"name": "checkout", "namespace": "shop", "uid": "a"});
            serde_json::from_value(json!({"metadata": meta, "spec": spec, "status": status})).unwrap()
        };
        let adopting =
            key(json!({"adopt": {"tokenId": "tok_1", "value": "Rotate"}, "deletionPolicy": "Revoke"}));
        let (settled, plain) = (adopting.clone(), key(json!({"token": {"description": "\"adopt\""}})));
        for (event, wanted) in [
            (Event::Apply(adopting), &["tok_1", "tok_2"][..]),
            (Event::Apply(plain), &[]),
            (Event::Apply(settled.clone()), &["tok_1", "tok_2"]),
            (Event::Delete(settled), &[]),
        ] {
            cache.apply_watcher_event(&event);
            assert_eq!(directory.wanted(), wanted.iter().map(|id| (*id).to_owned()).collect());
        }
    }

    #[test]
    fn of_a_resource_that_can_not_be_read_no_status_is_seen() {
        let (store, mut cache) = reflector::store::<CachedKey<AccessKey>>();
        for (name, rotation) in [("broken", json!("weekly")), ("whole", json!({"generation": 2}))] {
            let key = json!({
                "metadata": {"name": name, "namespace": "shop", "uid": name},
                "spec": {"rotation": rotation},
                "status": {"observedGeneration": 3},
            });
            cache.apply_watcher_event(&Event::Apply(serde_json::from_value(key).unwrap()));
        }
        let mut seen = BTreeMap::new();
        store.glance(&mut |Glance { meta, status, readable, .. }| {
            let generation = status.and_then(|status| status.observed_generation);
            seen.insert(meta.name.clone().unwrap(), (readable, generation));
        });
        let expected = [("broken", (false, None)), ("whole", (true, Some(3)))];
        assert_eq!(seen, BTreeMap::from(expected.map(|(name, it)| (name.to_owned(), it))));
    }
}
