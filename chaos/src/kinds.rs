//! The two kinds as the API server sees them, so that one piece of code deals with both.

use k8s_openapi::api::core::v1::Secret;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use keeptrusts_operator::resources::{AccessKey, GatewayKey, KeyKind, KeyStatus};
use kube::api::{Api, ApiResource, DynamicObject};
use kube::{Client, ResourceExt as _};

/// Both kinds.
pub(crate) const KINDS: [KeyKind; 2] = [KeyKind::Access, KeyKind::Gateway];

/// How the operator marks a Secret that outlives its resource.
pub(crate) const RETAINED: &str = "keys.keeptrusts.com/retained";

/// Which token's value a Secret says that it holds.
pub(crate) const TOKEN_ID: &str = "keys.keeptrusts.com/token-id";

/// Where the API server has a kind.
pub(crate) fn resource(kind: KeyKind) -> ApiResource {
    match kind {
        KeyKind::Access => ApiResource::erase::<AccessKey>(&()),
        KeyKind::Gateway => ApiResource::erase::<GatewayKey>(&()),
    }
}

/// The keys of a kind in a namespace, or in all.
pub(crate) fn keys(client: &Client, kind: KeyKind, namespace: Option<&str>) -> Api<DynamicObject> {
    match namespace {
        Some(namespace) => Api::namespaced_with(client.clone(), namespace, &resource(kind)),
        None => Api::all_with(client.clone(), &resource(kind)),
    }
}

/// A key's status; an empty one if it has none that can be read.
pub(crate) fn status(key: &DynamicObject) -> KeyStatus {
    serde_json::from_value(key.data["status"].clone()).unwrap_or_default()
}

/// A condition.
pub(crate) fn condition<'a>(status: &'a KeyStatus, type_: &str) -> Option<&'a Condition> {
    status.conditions.iter().find(|condition| condition.type_ == type_)
}

/// Whether a condition is true.
pub(crate) fn is_true(status: &KeyStatus, type_: &str) -> bool {
    condition(status, type_).is_some_and(|condition| condition.status == "True")
}

/// The name of a key's Secret.
pub(crate) fn secret_name(key: &DynamicObject) -> String {
    key.data["spec"]["secret"]["name"].as_str().map_or_else(|| key.name_any(), str::to_owned)
}

/// The data key of a key's value.
pub(crate) fn secret_key(key: &DynamicObject) -> &str {
    key.data["spec"]["secret"]["key"].as_str().unwrap_or("api-key")
}

/// The text at a data key of a Secret.
pub(crate) fn value(secret: &Secret, key: &str) -> Option<String> {
    let bytes = secret.data.as_ref()?.get(key)?;
    String::from_utf8(bytes.0.clone()).ok()
}

/// An annotation.
pub(crate) fn annotation<'a>(secret: &'a Secret, name: &str) -> Option<&'a str> {
    secret.metadata.annotations.as_ref()?.get(name).map(String::as_str)
}
