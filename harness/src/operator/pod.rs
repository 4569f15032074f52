//! What a pod of the Deployment would be: its container, its environment, its fields.

use std::collections::BTreeMap;

use anyhow::{Context as _, Result, bail};
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{Container, EnvVar, PodSpec, ServiceAccount};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use kube::Api;
use serde::Deserialize as _;
use serde_json::Value;

use super::mapping::expand;
use super::mounts::{config_map, secret};
use crate::Cluster;

/// Where pods find the API server's token.
const TOKEN_DIR: &str = "/var/run/secrets/kubernetes.io/serviceaccount";

/// The pod's facts that the downward API tells.
#[derive(Debug, Clone)]
pub(super) struct PodFacts {
    pub(super) name: String,
    pub(super) namespace: String,
    pub(super) service_account: String,
    pub(super) labels: BTreeMap<String, String>,
    pub(super) annotations: BTreeMap<String, String>,
}

impl PodFacts {
    /// What a `fieldRef` gives.
    pub(super) fn field(&self, path: &str) -> Result<String> {
        let keyed = |map: &BTreeMap<String, String>, rest: &str| {
            map.get(rest.trim_end_matches("']")).cloned().unwrap_or_default()
        };
        Ok(match path {
            "metadata.name" => self.name.clone(),
            "metadata.namespace" => self.namespace.clone(),
            "metadata.uid" => "00000000-0000-4000-8000-000000000000".into(),
            "spec.serviceAccountName" => self.service_account.clone(),
            "spec.nodeName" => "harness".into(),
            "status.podIP" | "status.podIPs" | "status.hostIP" | "status.hostIPs" => "127.0.0.1".into(),
            _ => {
                match (path.strip_prefix("metadata.labels['"), path.strip_prefix("metadata.annotations['")) {
                    (Some(key), _) => keyed(&self.labels, key),
                    (_, Some(key)) => keyed(&self.annotations, key),
                    _ => bail!("the harness doesn't know the field {path}"),
                }
            }
        })
    }
}

/// The parts of a Deployment that starting it needs.
#[derive(Debug, Clone)]
pub(super) struct PodTemplate {
    pub(super) facts: PodFacts,
    pub(super) spec: PodSpec,
    pub(super) container: Container,
}

impl PodTemplate {
    /// Reads a rendered Deployment. Something that would start in a cluster but that the harness can't start is an error.
    pub(super) fn read(
        deployment: &Value,
        namespace: &str,
        container: Option<&str>,
        pod: impl FnOnce(&str) -> String,
    ) -> Result<Self> {
        let deployment = Deployment::deserialize(deployment).context("not a Deployment")?;
        let name = deployment.metadata.name.context("a Deployment without name")?;
        let template = deployment.spec.context("a Deployment without spec")?.template;
        let meta = template.metadata.unwrap_or_default();
        let spec = template.spec.context("a Deployment whose pods have no spec")?;
        if spec.init_containers.as_ref().is_some_and(|list| !list.is_empty()) {
            bail!("Deployment {name} has init containers, which the harness doesn't run");
        }
        let container = match (container, spec.containers.as_slice()) {
            (None, [only]) => only.clone(),
            (None, several) => {
                bail!("Deployment {name} has {} containers: say which one to start", several.len())
            }
            (Some(wanted), list) => list
                .iter()
                .find(|container| container.name == wanted)
                .with_context(|| format!("Deployment {name} has no container {wanted}"))?
                .clone(),
        };
        let facts = PodFacts {
            name: pod(&name),
            namespace: deployment.metadata.namespace.unwrap_or_else(|| namespace.to_owned()),
            service_account: spec.service_account_name.clone().unwrap_or_else(|| "default".to_owned()),
            labels: meta.labels.unwrap_or_default(),
            annotations: meta.annotations.unwrap_or_default(),
        };
        Ok(Self { facts, spec, container })
    }

    /// Without a token in its pod the operator couldn't talk to the API server, whatever kubeconfig the harness gives it.
    pub(super) async fn ensure_token(&self, cluster: &Cluster) -> Result<()> {
        let PodFacts { namespace, service_account, .. } = &self.facts;
        let api: Api<ServiceAccount> = Api::namespaced(cluster.client(), namespace);
        let account = api
            .get(service_account)
            .await
            .with_context(|| format!("the Deployment's ServiceAccount {namespace}/{service_account}"))?;
        let of_pod = self.spec.automount_service_account_token;
        if of_pod.or(account.automount_service_account_token).unwrap_or(true) {
            return Ok(());
        }
        let projects = |volume: &str| {
            let volumes = self.spec.volumes.iter().flatten().filter(|candidate| candidate.name == volume);
            let sources =
                volumes.filter_map(|found| found.projected.as_ref()).flat_map(|projected| &projected.sources);
            sources.flatten().any(|source| source.service_account_token.is_some())
        };
        let mounts = self.container.volume_mounts.iter().flatten();
        if mounts
            .clone()
            .any(|mount| mount.mount_path.trim_end_matches('/') == TOKEN_DIR && projects(&mount.name))
        {
            return Ok(());
        }
        bail!(
            "automountServiceAccountToken is off and no token is projected to {TOKEN_DIR}: the pod would have none"
        )
    }

    /// The container's environment before anything is mapped to the host.
    pub(super) async fn environment(&self, cluster: &Cluster) -> Result<BTreeMap<String, String>> {
        let mut variables = BTreeMap::new();
        for source in self.container.env_from.iter().flatten() {
            let data = match (&source.secret_ref, &source.config_map_ref) {
                (Some(from), _) => secret(cluster, &self.facts, &from.name, from.optional).await?,
                (_, Some(from)) => config_map(cluster, &self.facts, &from.name, from.optional).await?,
                _ => bail!("the harness doesn't know a source of envFrom"),
            };
            let prefix = source.prefix.as_deref().unwrap_or_default();
            for (key, value) in data {
                variables.insert(format!("{prefix}{key}"), text(value)?);
            }
        }
        for variable in self.container.env.iter().flatten() {
            let value = self.value(cluster, variable, &variables).await;
            if let Some(value) = value.with_context(|| format!("variable {}", variable.name))? {
                variables.insert(variable.name.clone(), value);
            }
        }
        Ok(variables)
    }

    async fn value(
        &self,
        cluster: &Cluster,
        variable: &EnvVar,
        earlier: &BTreeMap<String, String>,
    ) -> Result<Option<String>> {
        let Some(source) = &variable.value_from else {
            return Ok(Some(expand(variable.value.as_deref().unwrap_or_default(), earlier)));
        };
        let (mut data, key, optional) = if let Some(from) = &source.secret_key_ref {
            (secret(cluster, &self.facts, &from.name, from.optional).await?, &from.key, from.optional)
        } else if let Some(from) = &source.config_map_key_ref {
            (config_map(cluster, &self.facts, &from.name, from.optional).await?, &from.key, from.optional)
        } else if let Some(field) = &source.field_ref {
            return self.facts.field(&field.field_path).map(Some);
        } else {
            bail!("the harness doesn't know where its value comes from");
        };
        match data.remove(key) {
            Some(value) => text(value).map(Some),
            None if optional == Some(true) => Ok(None),
            None => bail!("no key {key}: the pod wouldn't start"),
        }
    }

    /// A port by number or by the name that the container gives it.
    pub(super) fn port(&self, port: &IntOrString) -> Result<u16> {
        let number = match port {
            IntOrString::Int(number) => *number,
            IntOrString::String(name) => {
                let mut ports = self.container.ports.iter().flatten();
                ports
                    .find(|candidate| candidate.name.as_deref() == Some(name))
                    .with_context(|| format!("the container has no port {name}"))?
                    .container_port
            }
        };
        u16::try_from(number).with_context(|| format!("not a port: {number}"))
    }
}

fn text(value: Vec<u8>) -> Result<String> {
    String::from_utf8(value).context("a variable's value that isn't text")
}
