//! Scheduler and kubelet in one: pods are bound to a node that does nothing, and report that they are ready.
//!
//! What rolls a workload out is the real controller; this is all that it waits for. Where a test gives a task for each pod, that begins
//! before the pod is ready and has ended before the pod is gone, as a container does.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Context as _, Result};
use k8s_openapi::api::core::v1::{Node, Pod};
use kube::api::{Api, DeleteParams, ListParams, Patch, PatchParams, PostParams};
use kube::{Client, ResourceExt as _};
use serde_json::json;
use tokio::task::JoinHandle;

/// How often pods are looked at.
const LOOK: Duration = Duration::from_millis(100);

/// The node.
const NODE: &str = "harness";

/// Starts what runs in a pod.
pub type Container = Box<dyn Fn(&Pod) -> JoinHandle<()> + Send>;

/// Runs the pods of one namespace until it is dropped.
pub struct Kubelet {
    held: Arc<AtomicBool>,
    task: JoinHandle<()>,
}

impl Kubelet {
    /// Makes the node, if it isn't there, and begins. Nothing runs in the pods.
    ///
    /// # Errors
    /// If the node can't be made.
    pub async fn start(client: Client, namespace: &str) -> Result<Self> {
        Self::running(client, namespace, Box::new(|_| tokio::spawn(async {}))).await
    }

    /// The same, with a task for each pod.
    ///
    /// # Errors
    /// If the node can't be made.
    pub async fn running(client: Client, namespace: &str, container: Container) -> Result<Self> {
        let node: Node = serde_json::from_value(json!({"metadata": {"name": NODE}}))?;
        match Api::<Node>::all(client.clone()).create(&PostParams::default(), &node).await {
            Ok(_) => {}
            Err(kube::Error::Api(status)) if status.code == 409 => {}
            Err(error) => return Err(error).context("making a node"),
        }
        let held = Arc::new(AtomicBool::new(false));
        let mut pods = Pods { api: Api::namespaced(client, namespace), container, running: HashMap::new() };
        let holds = Arc::clone(&held);
        let task = tokio::spawn(async move {
            loop {
                // What fails now is tried again with the next look.
                let _ = pods.look(holds.load(Ordering::Relaxed)).await;
                tokio::time::sleep(LOOK).await;
            }
        });
        Ok(Self { held, task })
    }

    /// From now on new pods don't become ready, or do again.
    pub fn hold(&self, held: bool) {
        self.held.store(held, Ordering::Relaxed);
    }
}

impl Drop for Kubelet {
    fn drop(&mut self) {
        self.task.abort();
    }
}

struct Pods {
    api: Api<Pod>,
    container: Container,
    /// What runs, by the pod's uid.
    running: HashMap<String, JoinHandle<()>>,
}

impl Drop for Pods {
    fn drop(&mut self) {
        self.running.values().for_each(JoinHandle::abort);
    }
}

impl Pods {
    async fn look(&mut self, held: bool) -> kube::Result<()> {
        let pods = self.api.list(&ListParams::default()).await?.items;
        // One that was deleted by force.
        self.running.retain(|uid, container| {
            let is_there = pods.iter().any(|pod| pod.metadata.uid.as_ref() == Some(uid));
            if !is_there {
                container.abort();
            }
            is_there
        });
        for pod in pods {
            let (name, uid) = (pod.name_any(), pod.uid().unwrap_or_default());
            if pod.metadata.deletion_timestamp.is_some() {
                if let Some(container) = self.running.remove(&uid) {
                    container.abort();
                    // It has ended either way.
                    let _ = container.await;
                }
                self.api.delete(&name, &DeleteParams::default().grace_period(0)).await?;
                continue;
            }
            if pod.spec.as_ref().is_none_or(|spec| spec.node_name.is_none()) {
                let binding = json!({
                    "apiVersion": "v1",
                    "kind": "Binding",
                    "metadata": {"name": name},
                    "target": {"apiVersion": "v1", "kind": "Node", "name": NODE},
                });
                let _: serde_json::Value =
                    self.api.create_subresource("binding", &name, &PostParams::default(), &binding).await?;
            }
            self.running.entry(uid).or_insert_with(|| (self.container)(&pod));
            if !held && !is_ready(&pod) {
                let now = jiff::Timestamp::now().to_string();
                let status = json!({"status": {
                    "phase": "Running",
                    "conditions": [{"type": "Ready", "status": "True", "lastTransitionTime": now}],
                }});
                self.api.patch_status(&name, &PatchParams::default(), &Patch::Merge(status)).await?;
            }
        }
        Ok(())
    }
}

fn is_ready(pod: &Pod) -> bool {
    let conditions = pod.status.as_ref().and_then(|status| status.conditions.as_ref());
    conditions.is_some_and(|all| all.iter().any(|it| it.type_ == "Ready" && it.status == "True"))
}
