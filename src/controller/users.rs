//! Who uses a Secret: an index of the workloads whose pods refer to one.
//!
//! Only references are kept, not the workloads.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Mutex, MutexGuard, PoisonError};

use futures::{StreamExt as _, future};
use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::api::apps::v1::{DaemonSet, Deployment, StatefulSet};
use k8s_openapi::api::core::v1::{EnvFromSource, EnvVar, PodSpec, Volume};
use kube::api::Api;
use kube::runtime::{WatchStreamExt as _, watcher};
use kube::{Client, Resource, ResourceExt as _};
use serde::de::DeserializeOwned;
use tokio_util::sync::CancellationToken;

use crate::resources::{MAX_NAMED_WORKLOADS, WorkloadKind, WorkloadRef, WorkloadsStatus};

use super::watches::PAGE;

/// Most references to Secrets that are looked at in a workload, and the longest name that a Secret can have.
const MAX_REFERENCES: usize = 1_024;
const MAX_NAME: usize = 253;

/// A workload by its namespace.
type Place = (String, WorkloadRef);

/// The index.
#[derive(Default)]
pub(super) struct Users {
    inner: Mutex<Inner>,
}

#[derive(Default)]
struct Inner {
    /// The Secrets that a workload's pods refer to.
    secrets: HashMap<Place, BTreeSet<String>>,
    /// The workloads that use a Secret, by namespace and Secret.
    users: BTreeMap<(String, String), BTreeSet<WorkloadRef>>,
    /// First lists that are complete, of each kind in each scope.
    complete: usize,
    /// And those that there are to be.
    wanted: usize,
}

impl Users {
    /// For so many namespaces, or one scope that is all of them.
    pub(super) fn in_scopes(scopes: usize) -> Self {
        let inner = Inner { wanted: scopes * 3, ..Inner::default() };
        Self { inner: Mutex::new(inner) }
    }

    /// Who uses a Secret; nothing while that isn't known.
    pub(super) fn of(&self, namespace: &str, secret: &str) -> Option<Vec<WorkloadRef>> {
        let inner = self.lock();
        let users = inner.users.get(&(namespace.to_owned(), secret.to_owned()));
        (inner.complete == inner.wanted).then(|| users.into_iter().flatten().cloned().collect())
    }

    /// The same, for a status.
    pub(super) fn status(&self, namespace: &str, secret: &str) -> Option<WorkloadsStatus> {
        let users = self.of(namespace, secret)?;
        Some(WorkloadsStatus {
            count: i32::try_from(users.len()).unwrap_or(i32::MAX),
            names: users.iter().take(MAX_NAMED_WORKLOADS).map(ToString::to_string).collect(),
        })
    }

    /// Watches the workloads of one namespace, or all, until `stop`.
    pub(super) async fn watch(&self, client: &Client, namespace: Option<&str>, stop: &CancellationToken) {
        let scope = Scope { users: self, client, namespace, stop };
        let deployments = scope.watch(WorkloadKind::Deployment, |it: &Deployment| {
            it.spec.as_ref().and_then(|spec| spec.template.spec.as_ref())
        });
        let stateful_sets = scope.watch(WorkloadKind::StatefulSet, |it: &StatefulSet| {
            it.spec.as_ref().and_then(|spec| spec.template.spec.as_ref())
        });
        let daemon_sets = scope.watch(WorkloadKind::DaemonSet, |it: &DaemonSet| {
            it.spec.as_ref().and_then(|spec| spec.template.spec.as_ref())
        });
        future::join3(deployments, stateful_sets, daemon_sets).await;
    }

    /// A workload's pods refer to these Secrets, and to no others.
    fn put(&self, workload: Place, secrets: BTreeSet<String>) {
        let mut inner = self.lock();
        let before = inner.secrets.remove(&workload).unwrap_or_default();
        for secret in before.difference(&secrets) {
            let place = (workload.0.clone(), secret.clone());
            let users = inner.users.entry(place.clone()).or_default();
            users.remove(&workload.1);
            if users.is_empty() {
                inner.users.remove(&place);
            }
        }
        for secret in &secrets {
            let users = inner.users.entry((workload.0.clone(), secret.clone())).or_default();
            users.insert(workload.1.clone());
        }
        if !secrets.is_empty() {
            inner.secrets.insert(workload, secrets);
        }
    }

    /// Of a kind there are these, in what is watched, and no others.
    fn keep(&self, kind: WorkloadKind, namespace: Option<&str>, listed: &BTreeSet<Place>) {
        let watched = |(place, workload): &&Place| {
            workload.kind == kind && namespace.is_none_or(|namespace| namespace == place)
        };
        let gone: Vec<_> = {
            let inner = self.lock();
            inner.secrets.keys().filter(watched).filter(|it| !listed.contains(*it)).cloned().collect()
        };
        for workload in gone {
            self.put(workload, BTreeSet::new());
        }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What is watched.
struct Scope<'a> {
    users: &'a Users,
    client: &'a Client,
    namespace: Option<&'a str>,
    stop: &'a CancellationToken,
}

impl Scope<'_> {
    async fn watch<W>(&self, kind: WorkloadKind, pods: fn(&W) -> Option<&PodSpec>)
    where
        W: Resource<Scope = NamespaceResourceScope, DynamicType = ()>
            + Clone
            + std::fmt::Debug
            + DeserializeOwned
            + Send
            + 'static,
    {
        let api: Api<W> = match self.namespace {
            Some(namespace) => Api::namespaced(self.client.clone(), namespace),
            None => Api::all(self.client.clone()),
        };
        let place = |workload: &W| {
            (workload.namespace().unwrap_or_default(), WorkloadRef { kind, name: workload.name_any() })
        };
        let put = |workload: &W| {
            let secrets = pods(workload).map(secrets_of).unwrap_or_default();
            self.users.put(place(workload), secrets);
        };
        let stream = watcher(api, watcher::Config::default().page_size(PAGE)).default_backoff();
        let mut stream = std::pin::pin!(stream.take_until(self.stop.cancelled()));
        // What a list shows while it isn't complete: what it lacks in the end is gone.
        let mut listed = BTreeSet::new();
        let mut first = true;
        while let Some(event) = stream.next().await {
            match event {
                Ok(watcher::Event::Apply(workload)) => put(&workload),
                Ok(watcher::Event::Delete(workload)) => self.users.put(place(&workload), BTreeSet::new()),
                Ok(watcher::Event::Init) => listed.clear(),
                Ok(watcher::Event::InitApply(workload)) => {
                    listed.insert(place(&workload));
                    put(&workload);
                }
                Ok(watcher::Event::InitDone) => {
                    self.users.keep(kind, self.namespace, &listed);
                    listed.clear();
                    if std::mem::take(&mut first) {
                        self.users.lock().complete += 1;
                    }
                }
                Err(error) => {
                    tracing::warn!(%error, kind = kind.plural(), "the watch failed; it is begun again");
                }
            }
        }
    }
}

/// The Secrets that pods refer to: by `envFrom`, `env`, or a volume, projected ones too.
fn secrets_of(pods: &PodSpec) -> BTreeSet<String> {
    let PodSpec { containers, init_containers, volumes, .. } = pods;
    let containers = containers.iter().chain(init_containers.iter().flatten());
    let environment = containers.flat_map(|container| {
        let all = container.env_from.iter().flatten().filter_map(of_all);
        all.chain(container.env.iter().flatten().filter_map(of_one))
    });
    let all = environment.chain(volumes.iter().flatten().flat_map(of_volume));
    all.filter(|name| name.len() <= MAX_NAME).take(MAX_REFERENCES).collect()
}

fn of_all(source: &EnvFromSource) -> Option<String> {
    Some(source.secret_ref.as_ref()?.name.clone())
}

fn of_one(variable: &EnvVar) -> Option<String> {
    Some(variable.value_from.as_ref()?.secret_key_ref.as_ref()?.name.clone())
}

fn of_volume(volume: &Volume) -> Vec<String> {
    let secret = volume.secret.as_ref().and_then(|secret| secret.secret_name.clone());
    let projected = volume.projected.iter().flat_map(|projected| projected.sources.iter().flatten());
    let projected = projected.filter_map(|source| Some(source.secret.as_ref()?.name.clone()));
    secret.into_iter().chain(projected).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn workload(name: &str) -> WorkloadRef {
        WorkloadRef { kind: WorkloadKind::Deployment, name: name.to_owned() }
    }

    fn place(name: &str) -> Place {
        ("shop".to_owned(), workload(name))
    }

    fn set(names: &[&str]) -> BTreeSet<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    #[test]
    fn every_way_to_refer_to_a_secret_is_found() {
        let key =
            |name: &str| json!({"name": "X", "valueFrom": {"secretKeyRef": {"name": name, "key": "k"}}});
        let pods: PodSpec = serde_json::from_value(json!({
            "initContainers": [{"name": "init", "env": [key("a")]}],
            "containers": [
                {"name": "one", "envFrom": [{"secretRef": {"name": "b"}}, {"configMapRef": {"name": "not"}}]},
                {"name": "two", "env": [key("c"), {"name": "Y", "value": "not"}]},
            ],
            "volumes": [
                {"name": "v", "secret": {"secretName": "d"}},
                {"name": "w", "projected": {"sources": [{"secret": {"name": "e"}}, {"configMap": {"name": "not"}}]}},
                {"name": "x", "emptyDir": {}},
            ],
        }))
        .unwrap();
        assert_eq!(secrets_of(&pods), set(&["a", "b", "c", "d", "e"]));
    }

    #[test]
    fn the_index_follows_what_changes() {
        let users = Users::default();
        users.put(place("one"), set(&["a", "b"]));
        users.put(place("two"), set(&["b"]));
        assert_eq!(users.of("shop", "b"), Some(vec![workload("one"), workload("two")]));
        assert_eq!(users.of("elsewhere", "b"), Some(vec![]));
        users.put(place("one"), set(&["a"]));
        assert_eq!(users.of("shop", "b"), Some(vec![workload("two")]));
        users.keep(WorkloadKind::Deployment, None, &BTreeSet::from([place("one")]));
        assert_eq!(users.of("shop", "b"), Some(vec![]));
        users.keep(WorkloadKind::StatefulSet, None, &BTreeSet::new());
        users.keep(WorkloadKind::Deployment, Some("elsewhere"), &BTreeSet::new());
        assert_eq!(users.of("shop", "a"), Some(vec![workload("one")]), "of another kind, of another place");
        users.put(place("one"), BTreeSet::new());
        assert!(users.lock().users.is_empty() && users.lock().secrets.is_empty());
    }

    #[test]
    fn a_status_counts_all_and_names_ten() {
        let users = Users::in_scopes(1);
        for nr in 10..30 {
            users.put(place(&format!("w{nr}")), set(&["a"]));
        }
        assert_eq!(users.status("shop", "a"), None, "not before all lists are complete");
        users.lock().complete = 3;
        let status = users.status("shop", "a").unwrap();
        assert_eq!((status.count, status.names.len()), (20, 10));
        assert_eq!(status.names[0], "Deployment w10");
    }
}
