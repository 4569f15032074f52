//! All resources and Secrets of ours, as the caches hold them: who claims a token, and whose tokens have nobody left.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use k8s_openapi::api::core::v1::Secret;
use kube::ResourceExt as _;
use kube::api::PartialObjectMeta;
use kube::core::DeserializeGuard;
use kube::runtime::reflector::Store;

use crate::lifecycle::desired;
use crate::resources::{Key, KeyKind, KeyStatus, WorkloadRef};

use super::workloads;

/// A resource as it is looked at here.
#[derive(Clone, Debug)]
pub(crate) struct Resident {
    pub(crate) kind: KeyKind,
    pub(crate) namespace: String,
    pub(crate) name: String,
    pub(crate) uid: String,
    pub(crate) status: KeyStatus,
    /// The token that its spec wants to adopt.
    pub(crate) adopts: Option<String>,
    /// Its rollout, if one is under way.
    pub(crate) rollout: Option<Rollout>,
}

/// A rollout as another key looks at it.
#[derive(Clone, Debug)]
pub(crate) struct Rollout {
    workloads: Vec<WorkloadRef>,
    /// The annotation of its Secret, and the operation that it is to name.
    annotation: (String, String),
}

impl Rollout {
    fn of<K: Key>(key: &K) -> Option<Self> {
        let operation = key.status()?.rollout.as_ref()?.operation.clone();
        let parts = key.parts();
        let name = key.name_any();
        let secret = desired::secret_name(&parts, &name);
        let workloads = parts.workloads.map(|workloads| workloads.refs.clone()).unwrap_or_default();
        Some(Self { workloads, annotation: (workloads::annotation(secret), operation) })
    }
}

impl Resident {
    /// A resource that can't be read lives all the same.
    pub(crate) fn of<K: Key>(key: &DeserializeGuard<K>) -> Self {
        let readable = key.0.as_ref().ok();
        let status = readable.and_then(Key::status);
        let adopt = readable.and_then(|key| key.parts().adopt.cloned());
        Self {
            kind: K::KIND,
            namespace: key.namespace().unwrap_or_default(),
            name: key.name_any(),
            uid: key.uid().unwrap_or_default(),
            status: status.cloned().unwrap_or_default(),
            adopts: adopt.map(|adopt| adopt.token_id),
            rollout: readable.and_then(Rollout::of),
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
        let residents = move || store.state().iter().map(|key| Resident::of(key.as_ref())).collect();
        lock(&self.residents).push(Box::new(residents));
    }

    /// Adds the cache of our Secrets in one scope.
    pub(super) fn add_secrets(&self, store: Secrets) {
        lock(&self.secrets).push(store);
    }

    /// Every resource.
    pub(super) fn residents(&self) -> Vec<Resident> {
        lock(&self.residents).iter().flat_map(|residents| residents()).collect()
    }

    /// What every key of a namespace that is rolling out wants a workload's template to say, by annotation.
    pub(super) fn restarts(&self, namespace: &str, workload: &WorkloadRef) -> BTreeMap<String, String> {
        let residents = self.residents().into_iter().filter(|resident| resident.namespace == namespace);
        let rollouts = residents.filter_map(|resident| resident.rollout);
        rollouts
            .filter(|rollout| rollout.workloads.contains(workload))
            .map(|rollout| rollout.annotation)
            .collect()
    }

    /// The metadata of every Secret of ours.
    pub(super) fn secrets(&self) -> Vec<Arc<PartialObjectMeta<Secret>>> {
        lock(&self.secrets).iter().flat_map(Store::state).collect()
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
