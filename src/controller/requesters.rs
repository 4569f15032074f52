//! Who asked for a rotation, as the API server's record of field managers tells it.
//!
//! Every manager that has set a field to the value that it has now owns it; the one that wrote last is named. (Format:
//! <https://kubernetes.io/docs/reference/using-api/server-side-apply/#field-management>.)

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use serde::Deserialize;
use serde::de::IgnoredAny;

use crate::lifecycle::observed::Requesters;

/// An entry of managedFields, as far as it is read: that is most of what the API server sends of an object.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct FieldOwner {
    manager: Option<String>,
    time: Option<Time>,
    #[serde(default)]
    fields_v1: Owned,
}

/// The fields of an entry, each there if it is owned.
#[derive(Debug, Default, Deserialize)]
struct Owned {
    #[serde(rename = "f:spec", default)]
    spec: OwnedSpec,
    #[serde(rename = "f:metadata", default)]
    metadata: OwnedMetadata,
}

#[derive(Debug, Default, Deserialize)]
struct OwnedSpec {
    #[serde(rename = "f:rotation", default)]
    rotation: OwnedRotation,
}

#[derive(Debug, Default, Deserialize)]
struct OwnedRotation {
    #[serde(rename = "f:generation")]
    generation: Option<IgnoredAny>,
}

#[derive(Debug, Default, Deserialize)]
struct OwnedMetadata {
    #[serde(rename = "f:annotations", default)]
    annotations: OwnedAnnotations,
}

#[derive(Debug, Default, Deserialize)]
struct OwnedAnnotations {
    #[serde(rename = "f:keys.keeptrusts.com/rotate-now")]
    rotate_now: Option<IgnoredAny>,
}

/// Reads who asked.
pub(super) fn requesters(owners: &[FieldOwner]) -> Requesters {
    Requesters {
        generation: latest(owners, |owned| owned.spec.rotation.generation.is_some()),
        rotate_now: latest(owners, |owned| owned.metadata.annotations.rotate_now.is_some()),
    }
}

/// The manager that wrote last among those that own a field.
fn latest(owners: &[FieldOwner], owns: impl Fn(&Owned) -> bool) -> Option<String> {
    let owners = owners.iter().filter(|owner| owns(&owner.fields_v1));
    owners.max_by_key(|owner| owner.time.as_ref().map(|time| time.0)).and_then(|owner| owner.manager.clone())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::resources::ROTATE_NOW;
    use serde_json::json;

    fn owners(entries: &serde_json::Value) -> Vec<FieldOwner> {
        serde_json::from_value(entries.clone()).unwrap()
    }

    fn entry(manager: &str, time: &str, fields: &serde_json::Value) -> serde_json::Value {
        json!({"manager": manager, "operation": "Update", "time": time, "fieldsType": "FieldsV1", "fieldsV1": fields})
    }

    #[test]
    fn the_last_one_that_wrote_the_field_is_named() {
        let generation = json!({"f:spec": {"f:rotation": {".": {}, "f:generation": {}}}});
        let other = json!({"f:spec": {"f:rotation": {".": {}, "f:grace": {}}, "f:suspend": {}}});
        let annotation = json!({"f:metadata": {"f:annotations": {format!("f:{ROTATE_NOW}"): {}}}});
        let owners = owners(&json!([
            entry("argocd-controller", "2026-01-01T00:00:00Z", &generation),
            entry("kubectl-edit", "2026-01-03T00:00:00Z", &generation),
            entry("helm", "2026-01-04T00:00:00Z", &other),
            entry("kubectl-annotate", "2026-01-02T00:00:00Z", &annotation),
        ]));
        let asked = requesters(&owners);
        assert_eq!(asked.generation.as_deref(), Some("kubectl-edit"));
        assert_eq!(asked.rotate_now.as_deref(), Some("kubectl-annotate"));
    }

    #[test]
    fn where_nothing_is_recorded_nobody_is_named() {
        assert_eq!(requesters(&[]), Requesters::default());
        let empty = owners(&json!([{"manager": "x", "operation": "Update"}]));
        assert_eq!(requesters(&empty), Requesters::default());
    }
}
