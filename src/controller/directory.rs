//! All resources and Secrets of ours, as the caches hold them: who claims a token, and whose tokens have nobody left.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use k8s_openapi::api::core::v1::Secret;
use kube::api::PartialObjectMeta;
use kube::core::DeserializeGuard;
use kube::runtime::reflector::Store;
use kube::{Resource as _, ResourceExt as _};

use crate::lifecycle::desired::{self, Restarts};
use crate::metrics::Glance;
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
type Rollouts = Box<dyn Fn(&str) -> Vec<Rollout> + Send + Sync>;
type Glances = Box<dyn Fn(&mut dyn FnMut(Glance<'_>)) + Send + Sync>;
type Secrets = Store<PartialObjectMeta<Secret>>;

/// The caches.
#[derive(Default)]
pub(super) struct Directory {
    residents: Mutex<Vec<Residents>>,
    /// Of each cache, what is rolling out in a namespace.
    rollouts: Mutex<Vec<Rollouts>>,
    glances: Mutex<Vec<Glances>>,
    secrets: Mutex<Vec<Secrets>>,
}

impl Directory {
    /// Adds the cache of one kind, in one scope. Call it before anything looks.
    pub(super) fn add_keys<K: Key>(&self, store: Store<DeserializeGuard<K>>) {
        let keys = store.clone();
        let rollouts = move |namespace: &str| {
            let here = keys.state().into_iter().filter(|key| key.namespace().as_deref() == Some(namespace));
            here.filter_map(|key| Rollout::of(key.0.as_ref().ok()?)).collect()
        };
        lock(&self.rollouts).push(Box::new(rollouts));
        let keys = store.clone();
        let glances = move |look: &mut dyn FnMut(Glance<'_>)| {
            for key in keys.state() {
                let readable = key.0.as_ref().ok();
                let status = readable.and_then(Key::status);
                look(Glance { kind: K::KIND, meta: key.meta(), status, readable: readable.is_some() });
            }
        };
        lock(&self.glances).push(Box::new(glances));
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

    /// Looks at every resource, where it is.
    pub(super) fn glance(&self, mut look: impl FnMut(Glance<'_>)) {
        for glances in &*lock(&self.glances) {
            glances(&mut look);
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
        let rollouts = lock(&self.rollouts);
        rollouts
            .iter()
            .flat_map(|rollouts| rollouts(namespace))
            .filter(|rollout| match &rollout.restarts {
                Restarts::None => false,
                Restarts::Listed(refs) => refs.contains(workload),
                Restarts::Discovered => uses(&rollout.secret),
            })
            .map(|rollout| (workloads::annotation(&rollout.secret), rollout.operation))
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
