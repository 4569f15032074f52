//! All resources and Secrets of ours, as the caches hold them: who claims a token, and whose tokens have nobody left.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use k8s_openapi::api::core::v1::Secret;
use kube::ResourceExt as _;
use kube::api::PartialObjectMeta;
use kube::core::DeserializeGuard;
use kube::runtime::reflector::Store;

use crate::resources::{Key, KeyKind, KeyStatus};

/// A resource as it is looked at here.
#[derive(Clone, Debug)]
pub(super) struct Resident {
    pub(super) kind: KeyKind,
    pub(super) namespace: String,
    pub(super) name: String,
    pub(super) uid: String,
    pub(super) status: KeyStatus,
    /// The token that its spec wants to adopt.
    pub(super) adopts: Option<String>,
}

impl Resident {
    fn of<K: Key>(key: &K) -> Self {
        Self {
            kind: K::KIND,
            namespace: key.namespace().unwrap_or_default(),
            name: key.name_any(),
            uid: key.uid().unwrap_or_default(),
            status: key.status().cloned().unwrap_or_default(),
            adopts: key.parts().adopt.map(|adopt| adopt.token_id.clone()),
        }
    }

    /// Whether its status names the token.
    pub(super) fn names(&self, id: &str) -> bool {
        let operation = self.status.operation.as_ref().and_then(|operation| operation.token_id.as_deref());
        self.status.token.as_ref().is_some_and(|token| token.id == id)
            || self.status.superseded.iter().any(|entry| entry.id == id)
            || operation == Some(id)
    }
}

type Residents = Box<dyn Fn() -> Vec<Resident> + Send + Sync>;
type Secrets = Store<PartialObjectMeta<Secret>>;

/// The caches.
#[derive(Default)]
pub(super) struct Directory {
    residents: Mutex<Vec<Residents>>,
    secrets: Mutex<Vec<Secrets>>,
}

impl Directory {
    /// Adds the cache of one kind, in one scope. Call it before anything looks.
    pub(super) fn add_keys<K: Key>(&self, store: Store<DeserializeGuard<K>>) {
        let residents =
            move || store.state().iter().filter_map(|key| key.0.as_ref().ok().map(Resident::of)).collect();
        lock(&self.residents).push(Box::new(residents));
    }

    /// Adds the cache of our Secrets in one scope.
    pub(super) fn add_secrets(&self, store: Secrets) {
        lock(&self.secrets).push(store);
    }

    /// Every resource. One that can't be read isn't among them.
    pub(super) fn residents(&self) -> Vec<Resident> {
        lock(&self.residents).iter().flat_map(|residents| residents()).collect()
    }

    /// The metadata of every Secret of ours.
    pub(super) fn secrets(&self) -> Vec<Arc<PartialObjectMeta<Secret>>> {
        lock(&self.secrets).iter().flat_map(Store::state).collect()
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
