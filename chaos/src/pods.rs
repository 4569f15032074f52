//! Workloads of some keys, and the pods that take a key's value when they start and keep it until they end.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::Result;
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{Pod, Secret};
use keeptrusts_harness::Kubelet;
use kube::api::Api;
use kube::{Client, ResourceExt as _};
use serde_json::{Value, json};

use crate::kinds::value;

/// How often a pod looks whether its Secret is there.
const LOOK: Duration = Duration::from_millis(100);

/// The pods' label that says whose they are.
const APP: &str = "app";

/// What a pod runs on.
#[derive(Debug, Clone)]
pub(crate) struct Running {
    pub(crate) namespace: String,
    pub(crate) pod: String,
    /// The name of its Deployment.
    pub(crate) app: String,
    pub(crate) value: String,
}

/// What all pods run on.
#[derive(Debug, Clone, Default)]
struct Values(Arc<Mutex<Taken>>);

#[derive(Debug, Default)]
struct Taken {
    /// By the pods' uids.
    running: BTreeMap<String, Running>,
    /// How often a pod has taken a value.
    times: u64,
}

impl Values {
    fn with<T>(&self, look: impl FnOnce(&mut Taken) -> T) -> T {
        look(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// Runs the pods of all namespaces.
pub(crate) struct Pods {
    values: Values,
    kubelets: Vec<Kubelet>,
}

impl Pods {
    /// Begins.
    ///
    /// # Errors
    /// If the node can't be made.
    pub(crate) async fn run(client: &Client, namespaces: impl Iterator<Item = String>) -> Result<Self> {
        let values = Values::default();
        let mut kubelets = Vec::new();
        for namespace in namespaces {
            let (client, values) = (client.clone(), values.clone());
            let container = Box::new({
                let client = client.clone();
                move |pod: &Pod| tokio::spawn(contain(client.clone(), values.clone(), pod.clone()))
            });
            kubelets.push(Kubelet::running(client, &namespace, container).await?);
        }
        Ok(Self { values, kubelets })
    }

    /// From now on new pods don't become ready, or do again.
    pub(crate) fn hold(&self, held: bool) {
        self.kubelets.iter().for_each(|kubelet| kubelet.hold(held));
    }

    /// What runs now.
    pub(crate) fn running(&self) -> Vec<Running> {
        self.values.with(|taken| taken.running.values().cloned().collect())
    }

    /// How often a pod has taken a value.
    pub(crate) fn started(&self) -> u64 {
        self.values.with(|taken| taken.times)
    }
}

/// The Deployment of a key, whose pods take the value from this Secret.
pub(crate) fn deployment(name: &str, namespace: &str, secret: &str, key: &str) -> Value {
    let from = json!({"secretKeyRef": {"name": secret, "key": key}});
    let container = json!({"name": "app", "image": "app", "env": [{"name": "API_KEY", "valueFrom": from}]});
    json!({
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": name, "namespace": namespace},
        "spec": {
            "replicas": 2,
            "selector": {"matchLabels": {APP: name}},
            "template": {"metadata": {"labels": {APP: name}}, "spec": {"containers": [container]}},
        },
    })
}

/// The API of a namespace's Deployments.
pub(crate) fn deployments(client: &Client, namespace: &str) -> Api<Deployment> {
    Api::namespaced(client.clone(), namespace)
}

/// A container: waits for its Secret, takes the value, and runs until it is aborted.
async fn contain(client: Client, values: Values, pod: Pod) {
    /// Gone when the container is, however that ends.
    struct Ends(Values, String);
    impl Drop for Ends {
        fn drop(&mut self) {
            self.0.with(|taken| taken.running.remove(&self.1));
        }
    }
    let Some((name, key)) = source(&pod) else { return };
    let namespace = pod.namespace().unwrap_or_default();
    let secrets: Api<Secret> = Api::namespaced(client, &namespace);
    let value = loop {
        match secrets.get_opt(&name).await.ok().flatten().and_then(|secret| value(&secret, &key)) {
            Some(value) => break value,
            None => tokio::time::sleep(LOOK).await,
        }
    };
    let uid = pod.uid().unwrap_or_default();
    let app = pod.labels().get(APP).cloned().unwrap_or_default();
    let _ends = Ends(values.clone(), uid.clone());
    let running = Running { namespace, pod: pod.name_any(), app, value };
    values.with(|taken| {
        taken.times += 1;
        taken.running.insert(uid, running);
    });
    std::future::pending::<()>().await;
}

/// The Secret and its key that a pod takes the value from.
fn source(pod: &Pod) -> Option<(String, String)> {
    let from = pod.spec.as_ref()?.containers.first()?.env.as_ref()?.first()?.value_from.as_ref()?;
    let from = from.secret_key_ref.as_ref()?;
    Some((from.name.clone(), from.key.clone()))
}
