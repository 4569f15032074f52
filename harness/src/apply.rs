//! Server-side apply of manifests, in an order that works.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition as Crd;
use kube::Client;
use kube::api::{Api, DynamicObject, Patch, PatchParams};
use kube::core::GroupVersionKind;
use kube::discovery::{Scope, pinned_kind};
use serde::Deserialize as _;
use serde_json::Value;

use crate::wait::eventually;

/// The name under which the harness owns fields.
const MANAGER: &str = "keeptrusts-harness";

/// A CRD is served within a second or so; the API server needs a moment to publish its schema.
const ESTABLISHED: Duration = Duration::from_secs(30);

/// What must be there before the rest, because the rest is refused or useless without.
const FIRST: [&str; 6] =
    ["CustomResourceDefinition", "Namespace", "ServiceAccount", "ClusterRole", "Role", "ConfigMap"];

/// An object that was applied, and where.
#[derive(Debug, Clone)]
pub(crate) struct Applied {
    pub(crate) kind: String,
    pub(crate) name: String,
    pub(crate) namespaced: bool,
    api: Api<DynamicObject>,
}

impl Applied {
    pub(crate) async fn delete(&self) -> Result<()> {
        match self.api.delete(&self.name, &kube::api::DeleteParams::background()).await {
            Ok(_) => Ok(()),
            Err(kube::Error::Api(status)) if status.is_not_found() => Ok(()),
            Err(error) => Err(error).with_context(|| format!("deleting {} {}", self.kind, self.name)),
        }
    }
}

/// Reads every YAML document of a text; empty ones are left out.
pub(crate) fn documents(yaml: &str) -> Result<Vec<Value>> {
    let mut documents = Vec::new();
    for document in serde_yaml::Deserializer::from_str(yaml) {
        let mut value = Value::deserialize(document).context("parsing YAML")?;
        octal_modes(&mut value);
        if !value.is_null() {
            documents.push(value);
        }
    }
    Ok(documents)
}

/// `defaultMode: 0440` is a number for Kubernetes, which reads YAML 1.1, and a string for our parser, which reads YAML 1.2.
fn octal_modes(value: &mut Value) {
    match value {
        Value::Array(items) => items.iter_mut().for_each(octal_modes),
        Value::Object(fields) => {
            for (name, field) in fields {
                let octal = field.as_str().filter(|text| text.starts_with('0'));
                match octal.and_then(|text| i64::from_str_radix(text, 8).ok()) {
                    Some(mode) if name == "defaultMode" || name == "mode" => *field = mode.into(),
                    _ => octal_modes(field),
                }
            }
        }
        _ => {}
    }
}

/// Applies objects; those without a namespace go into `namespace`, if their kind has one. A field that the API server doesn't know
/// is an error, as is a kind that it doesn't serve.
pub(crate) async fn objects(client: &Client, namespace: &str, objects: &[Value]) -> Result<Vec<Applied>> {
    let mut ordered: Vec<&Value> = objects.iter().collect();
    ordered.sort_by_key(|object| {
        let kind = object["kind"].as_str().unwrap_or_default();
        FIRST.iter().position(|first| *first == kind).unwrap_or(FIRST.len())
    });
    let mut applied = Vec::new();
    for object in ordered {
        applied.push(one(client, namespace, object).await?);
    }
    Ok(applied)
}

async fn one(client: &Client, namespace: &str, object: &Value) -> Result<Applied> {
    let text = |value: &Value| value.as_str().map(str::to_owned);
    let kind = text(&object["kind"]).context("an object without kind")?;
    let name = text(&object["metadata"]["name"]).with_context(|| format!("a {kind} without name"))?;
    let api_version =
        text(&object["apiVersion"]).with_context(|| format!("{kind} {name} without apiVersion"))?;
    let (group, version) = api_version.split_once('/').unwrap_or(("", &api_version));
    let gvk = GroupVersionKind::gvk(group, version, &kind);
    let (resource, capabilities) = pinned_kind(client, &gvk)
        .await
        .with_context(|| format!("the API server doesn't serve {kind} {name}"))?;
    let namespaced = capabilities.scope == Scope::Namespaced;
    let api: Api<DynamicObject> = if namespaced {
        let own = object["metadata"]["namespace"].as_str().unwrap_or(namespace);
        Api::namespaced_with(client.clone(), own, &resource)
    } else {
        Api::all_with(client.clone(), &resource)
    };
    let params = PatchParams::apply(MANAGER).force().validation_strict();
    api.patch(&name, &params, &Patch::Apply(object))
        .await
        .with_context(|| format!("applying {kind} {name}"))?;
    if kind == "CustomResourceDefinition" {
        established(client, &name).await?;
    }
    Ok(Applied { kind, name, namespaced, api })
}

/// Installs the CRDs of a file, or of the YAML files of a folder, and waits until they are served.
pub(crate) async fn crds(client: &Client, path: &Path) -> Result<Vec<String>> {
    let mut files = vec![path.to_owned()];
    if path.is_dir() {
        files = std::fs::read_dir(path)
            .with_context(|| format!("listing {}", path.display()))?
            .map(|entry| Ok(entry?.path()))
            .collect::<Result<_>>()?;
        files.retain(|file| file.extension().is_some_and(|end| end == "yaml" || end == "yml"));
        files.sort();
    }
    let mut names = Vec::new();
    for file in files {
        let yaml = std::fs::read_to_string(&file).with_context(|| format!("reading {}", file.display()))?;
        for object in documents(&yaml).with_context(|| format!("in {}", file.display()))? {
            if object["kind"] != "CustomResourceDefinition" {
                bail!("{} holds a {}, not a CRD", file.display(), object["kind"]);
            }
            names.push(one(client, "default", &object).await?.name);
        }
    }
    Ok(names)
}

async fn established(client: &Client, name: &str) -> Result<()> {
    let api: Api<Crd> = Api::all(client.clone());
    eventually(ESTABLISHED, "the CRD is established", async || {
        let crd = api.get(name).await?;
        let conditions = crd.status.and_then(|status| status.conditions).unwrap_or_default();
        let established =
            conditions.iter().any(|condition| condition.type_ == "Established" && condition.status == "True");
        if established { Ok(()) } else { bail!("conditions of {name}: {conditions:?}") }
    })
    .await
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn documents_are_read_as_kubernetes_reads_them() {
        let yaml = "---\n# nothing\n---\nkind: A\nitems: [{mode: 0400}]\ndefaultMode: 0440\nzip: '0440'\n---\nkind: B\n";
        let expected = [
            json!({"kind": "A", "items": [{"mode": 0o400}], "defaultMode": 0o440, "zip": "0440"}),
            json!({"kind": "B"}),
        ];
        assert_eq!(documents(yaml).unwrap(), expected);
    }
}
