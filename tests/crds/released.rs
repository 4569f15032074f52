//! Objects of every release on today's CRDs: accepted, and read back as they were.

use std::path::Path;

use kube::Client;
use kube::api::{Api, DynamicObject, PostParams};
use serde::Deserialize as _;
use serde_json::Value;

use super::{Kind, Outcome, remove, text};

/// Creates the objects of all releases, gives them their status, and reads them back.
pub(super) async fn run(client: &Client, namespace: &str) -> Vec<Outcome> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/crds/released");
    let mut outcomes = Vec::new();
    for release in std::fs::read_dir(folder).expect("the releases") {
        let release = release.expect("a folder");
        let objects = std::fs::read_to_string(release.path().join("objects.yaml")).expect("its objects");
        for document in serde_yaml::Deserializer::from_str(&objects) {
            let object = Value::deserialize(document).expect("an object");
            let name =
                format!("{}: {} {}", release.path().display(), object["kind"], object["metadata"]["name"]);
            outcomes.push((name, keep(client, namespace, object).await));
        }
    }
    outcomes
}

async fn keep(client: &Client, namespace: &str, object: Value) -> Result<(), String> {
    let kind = if object["kind"] == "AccessKey" { Kind::AccessKey } else { Kind::GatewayKey };
    let api: Api<DynamicObject> = Api::namespaced_with(client.clone(), namespace, &kind.resource());
    let name = object["metadata"]["name"].as_str().unwrap_or_default().to_owned();
    let mut new: DynamicObject = serde_json::from_value(object.clone()).map_err(text)?;
    let created = api.create(&PostParams::default(), &new).await.map_err(text)?;
    if !object["status"].is_null() {
        new.metadata.resource_version = created.metadata.resource_version;
        api.replace_status(&name, &PostParams::default(), &new).await.map_err(text)?;
    }
    let kept = api.get(&name).await.map_err(text)?;
    remove(&api, &name).await?;
    for part in ["spec", "status"] {
        if !object[part].is_null() && kept.data[part] != object[part] {
            return Err(format!("its {part} became {}", kept.data[part]));
        }
    }
    Ok(())
}
