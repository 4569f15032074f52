//! The keys as the people who made them see them: what should be there, and what it is called.

use std::sync::Arc;

use keeptrusts_operator::resources::KeyKind;
use serde_json::{Value, json};
use tokio::sync::Mutex;

use crate::kinds::KINDS;
use crate::plan::{has_workload, keeps_old, namespace_of};
use crate::pods::deployment;
use crate::stage::namespace;

/// One key, through all its lives.
pub(crate) struct Key {
    pub(crate) index: usize,
    pub(crate) kind: KeyKind,
    pub(crate) namespace: String,
    /// Whoever does something to the key holds the lock.
    pub(crate) now: Arc<Mutex<Now>>,
}

/// The key's present life.
#[derive(Debug, Clone, Default)]
pub(crate) struct Now {
    /// How often its name was changed, because a retained Secret has the old one.
    pub(crate) renamed: u32,
    /// The rotation generation last asked for.
    pub(crate) generation: i64,
    /// How often its template or description was edited.
    pub(crate) edits: u32,
}

impl Key {
    pub(crate) fn new(index: usize, namespaces: usize) -> Self {
        Self {
            index,
            kind: KINDS[index % 2],
            namespace: namespace(namespace_of(index, namespaces)),
            now: Arc::default(),
        }
    }

    /// Its name now.
    pub(crate) fn name(&self, now: &Now) -> String {
        match now.renamed {
            0 => format!("key-{}", self.index),
            renamed => format!("key-{}-{renamed}", self.index),
        }
    }

    /// Its Deployment's name, if it has one.
    pub(crate) fn app(&self) -> Option<String> {
        has_workload(self.index).then(|| format!("app-{}", self.index))
    }

    /// Its Deployment, if it has one.
    pub(crate) fn workload(&self, now: &Now) -> Option<Value> {
        let (secret, key) = self.secret(now);
        Some(deployment(&self.app()?, &self.namespace, &secret, key))
    }

    /// Its Secret's name, and the value's key in it.
    fn secret(&self, now: &Now) -> (String, &'static str) {
        let name = self.name(now);
        if self.index.is_multiple_of(3) { (format!("{name}-keeptrusts"), "token") } else { (name, "api-key") }
    }

    /// The resource. Names of resource, Secret and token differ in some, so that swapped names fail.
    pub(crate) fn manifest(&self, now: &Now) -> Value {
        let name = self.name(now);
        let mut spec = json!({"rotation": {"grace": "1s"}});
        if let Some(app) = self.app() {
            spec["rotation"]["strategy"] = json!("Overlap");
            let then = if keeps_old(self.index) { "KeepOld" } else { "RevokeOld" };
            spec["workloads"] = json!({
                "restart": "Listed",
                "refs": [{"kind": "Deployment", "name": app}],
                "rolloutTimeout": "4s",
                "onRolloutTimeout": then,
            });
        }
        if now.generation > 0 {
            spec["rotation"]["generation"] = json!(now.generation);
        }
        if self.index.is_multiple_of(3) {
            let (name, key) = self.secret(now);
            spec["secret"] = json!({"name": name, "key": key});
            spec["token"] = json!({"name": format!("app-{}", self.index), "description": "chaos"});
        }
        if self.index % 4 == 1 {
            spec["secret"]["template"] =
                json!({"labels": {"app": "chaos"}, "data": {"ENV": "x=$(value) of $(name) by $(tokenId)"}});
        }
        if self.kind == KeyKind::Gateway && self.index.is_multiple_of(2) {
            spec["token"]["gatewayId"] = json!("gw-1");
        }
        json!({
            "apiVersion": "keys.keeptrusts.com/v1alpha1",
            "kind": self.kind.kind(),
            "metadata": {"name": name, "namespace": self.namespace},
            "spec": spec,
        })
    }
}
