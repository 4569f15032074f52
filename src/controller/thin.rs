//! What the caches leave out of the objects that they hold: it is most of what the API server sends, and nobody here reads it.

use k8s_openapi::api::core::v1::Secret;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::Resource as _;
use kube::api::PartialObjectMeta;
use kube::core::DeserializeGuard;

use crate::resources::{Key, ROTATE_NOW};

/// The whole resource once more, as kubectl applied it.
const LAST_APPLIED: &str = "kubectl.kubernetes.io/last-applied-configuration";

/// A resource without what isn't read of it. Who owns its fields is kept while somebody asks for a rotation.
pub(super) fn key<K: Key>(object: &mut DeserializeGuard<K>) {
    if !object.0.as_ref().is_ok_and(is_asked) {
        object.meta_mut().managed_fields = None;
    }
    leave_out(object.meta_mut());
}

/// Likewise a Secret.
pub(super) fn secret(secret: &mut PartialObjectMeta<Secret>) {
    secret.metadata.managed_fields = None;
    leave_out(&mut secret.metadata);
}

fn leave_out(meta: &mut ObjectMeta) {
    if let Some(annotations) = &mut meta.annotations {
        annotations.remove(LAST_APPLIED);
    }
}

/// Whether a value is asked for that status doesn't tell of yet.
fn is_asked<K: Key>(key: &K) -> bool {
    let Some(status) = key.status() else { return true };
    let generation = key.parts().rotation.and_then(|rotation| rotation.generation);
    let at_once = key.meta().annotations.as_ref().and_then(|annotations| annotations.get(ROTATE_NOW));
    generation > status.observed_rotation_generation || at_once != status.observed_rotate_now.as_ref()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::resources::AccessKey;

    fn cached(generation: i64, observed: i64) -> AccessKey {
        let mut object: DeserializeGuard<AccessKey> = serde_json::from_value(json!({
            "apiVersion": "keys.keeptrusts.com/v1alpha1",
            "kind": "AccessKey",
            "metadata": {
                "name": "checkout",
                "annotations": {LAST_APPLIED: "{}", "team": "shop"},
                "managedFields": [{"manager": "kubectl", "operation": "Apply", "fieldsV1": {"f:spec": {}}}],
            },
            "spec": {"rotation": {"generation": generation}},
            "status": {"observedRotationGeneration": observed},
        }))
        .unwrap();
        key(&mut object);
        object.0.unwrap()
    }

    #[test]
    fn who_asks_is_kept_until_it_was_acted_on() {
        assert!(cached(2, 1).metadata.managed_fields.is_some());
        assert!(cached(2, 2).metadata.managed_fields.is_none());
    }

    #[test]
    fn what_was_applied_is_not_kept_twice() {
        let annotations = cached(1, 1).metadata.annotations.unwrap();
        assert_eq!(annotations.keys().collect::<Vec<_>>(), ["team"]);
    }
}
