//! Who asked for a rotation, as the API server's record of field managers tells it.
//!
//! Every manager that has set a field to the value that it has now owns it; the one that wrote last is named. (Format:
//! <https://kubernetes.io/docs/reference/using-api/server-side-apply/#field-management>.)

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ManagedFieldsEntry, ObjectMeta};

use crate::lifecycle::observed::Requesters;
use crate::resources::ROTATE_NOW;

/// Reads who asked.
pub(super) fn requesters(meta: &ObjectMeta) -> Requesters {
    Requesters {
        generation: latest(meta, &["f:spec", "f:rotation", "f:generation"]),
        rotate_now: latest(meta, &["f:metadata", "f:annotations", &format!("f:{ROTATE_NOW}")]),
    }
}

/// The manager that wrote last among those that own a field.
fn latest(meta: &ObjectMeta, path: &[&str]) -> Option<String> {
    let owners = meta.managed_fields.iter().flatten().filter(|entry| owns(entry, path));
    owners.max_by_key(|entry| entry.time.as_ref().map(|time| time.0)).and_then(|entry| entry.manager.clone())
}

fn owns(entry: &ManagedFieldsEntry, path: &[&str]) -> bool {
    let fields = entry.fields_v1.as_ref().map(|fields| &fields.0);
    path.iter().try_fold(fields, |fields, name| fields?.get(name).map(Some)).flatten().is_some()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn meta(entries: &serde_json::Value) -> ObjectMeta {
        serde_json::from_value(json!({ "managedFields": entries })).unwrap()
    }

    fn entry(manager: &str, time: &str, fields: &serde_json::Value) -> serde_json::Value {
        json!({"manager": manager, "operation": "Update", "time": time, "fieldsType": "FieldsV1", "fieldsV1": fields})
    }

    #[test]
    fn the_last_one_that_wrote_the_field_is_named() {
        let generation = json!({"f:spec": {"f:rotation": {".": {}, "f:generation": {}}}});
        let other = json!({"f:spec": {"f:rotation": {".": {}, "f:grace": {}}}});
        let annotation = json!({"f:metadata": {"f:annotations": {"f:keys.keeptrusts.com/rotate-now": {}}}});
        let meta = meta(&json!([
            entry("argocd-controller", "2026-01-01T00:00:00Z", &generation),
            entry("kubectl-edit", "2026-01-03T00:00:00Z", &generation),
            entry("helm", "2026-01-04T00:00:00Z", &other),
            entry("kubectl-annotate", "2026-01-02T00:00:00Z", &annotation),
        ]));
        let asked = requesters(&meta);
        assert_eq!(asked.generation.as_deref(), Some("kubectl-edit"));
        assert_eq!(asked.rotate_now.as_deref(), Some("kubectl-annotate"));
    }

    #[test]
    fn where_nothing_is_recorded_nobody_is_named() {
        assert_eq!(requesters(&ObjectMeta::default()), Requesters::default());
        let empty = meta(&json!([{"manager": "x", "operation": "Update"}]));
        assert_eq!(requesters(&empty), Requesters::default());
    }
}
