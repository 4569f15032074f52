//! What the floor sends: as large as what the operator sends, and of the same form. No I/O here.

use jiff::Timestamp;
use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::ObjectReference;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use keeptrusts_operator::resources::{
    FINALIZER, GROUP, HistoryEntry, HistoryEvent, KeyStatus, LastRotation, MAX_HISTORY, Operation,
    OperationKind, OperationReason, SecretStatus, Superseded, TokenStatus,
};
use kube::runtime::events::{Event, EventType};
use serde_json::{Value, json};

use super::Known;
use super::calls::Minted;
use crate::crowd::{Ask, Key};

/// Who writes, for managedFields: as long as the operator's own name, for it is stored with every field.
pub(super) const MANAGER: &str = "keeptrusts-operator";

/// Stands for the value in a dry run, and is as long as the operator's.
const PLACEHOLDER: &str = concat!(
    "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx",
    "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx",
);

/// As long as what the operator derives from its installation, from a place, a uid and an operation.
const INSTALLATION: &str = "sgld2aif";
const PLACE: &str = "x3h2rwzl";
const UID: &str = "r5pk5cad4fx4";
const DIGEST: &str = "v1:2om242j4rhxosa7iqou2fgue2i:dcjtedcggzffivtidgklvrdqubuuozwsiks7wupypseadvwdnzuq";

/// An event, and what it is about.
pub(super) struct Note {
    pub(super) event: Event,
    pub(super) about: ObjectReference,
}

/// An operation's id: random, as the operator's.
pub(super) fn operation_id() -> String {
    const ALPHABET: &[u8; 32] = b"abcdefghijklmnopqrstuvwxyz234567";
    let mut random = rand::random::<u128>();
    (0..16)
        .map(|_| {
            let letter = ALPHABET[usize::try_from(random % 32).unwrap_or_default()];
            random /= 32;
            char::from(letter)
        })
        .collect()
}

/// A token's name with its tag.
pub(super) fn token_name(key: &Key, operation: &str) -> String {
    format!("{}-kt1-{INSTALLATION}{PLACE}{UID}{operation}", key.name)
}

/// The patch that puts or takes the finalizer.
pub(super) fn finalizers(known: &Known, on: bool) -> Value {
    let finalizers: &[&str] = if on { &[FINALIZER] } else { &[] };
    json!({"metadata": {"uid": known.uid, "resourceVersion": known.version, "finalizers": finalizers}})
}

/// A status as it is written.
pub(super) fn status(key: &Key, namespace: &str, known: &Known, status: &KeyStatus) -> Value {
    json!({
        "apiVersion": format!("{GROUP}/v1alpha1"),
        "kind": key.kind.kind(),
        "metadata": {
            "name": key.name,
            "namespace": namespace,
            "uid": known.uid,
            "resourceVersion": known.version,
        },
        "status": status,
    })
}

/// What an operation records before its call.
pub(super) fn operation(key: &Key, known: &Known, ask: Ask) -> Operation {
    let id = operation_id();
    let (kind, token_name, token_id, reason, generation) = match ask {
        Ask::Create | Ask::Delete => {
            (OperationKind::Create, Some(token_name(key, &id)), None, OperationReason::Created, 0)
        }
        Ask::Rotate(generation) => {
            let token = known.status.token.as_ref().map(|token| token.id.clone());
            (OperationKind::Rotate, None, token, OperationReason::GenerationRaised, generation)
        }
        Ask::Replace(generation) => {
            let name = Some(token_name(key, &id));
            (OperationKind::Create, name, None, OperationReason::GenerationRaised, generation)
        }
    };
    Operation {
        id,
        kind,
        token_name,
        token_id,
        reason,
        generation,
        rotate_now: None,
        value_in_doubt: false,
        requested_by: requested_by(reason),
        urgent: kind == OperationKind::Rotate,
    }
}

/// The first field manager of a spec is whoever wrote it: for a client without a name, the API server takes its program's.
fn requested_by(reason: OperationReason) -> Option<String> {
    (reason == OperationReason::GenerationRaised).then(|| "unknown".to_owned())
}

/// The status with the intent of an operation.
pub(super) fn with_intent(known: &Known, operation: &Operation) -> KeyStatus {
    let overlaps = operation.kind == OperationKind::Create && known.status.token.is_some();
    let (ready, reason, message) = match operation.kind {
        OperationKind::Create if overlaps => (
            "True",
            "RotationPending",
            "A new token is being made; the old one lives on for spec.rotation.grace.",
        ),
        OperationKind::Create => ("False", "Minting", "A token is being made."),
        OperationKind::Rotate => ("False", "Rotating", "The token is being rotated in place."),
    };
    let condition = |type_, status| condition(known, type_, status, reason, message);
    KeyStatus {
        operation: Some(operation.clone()),
        conditions: vec![condition("Ready", ready), condition("Reconciling", "True")],
        observed_generation: Some(known.generation),
        ..known.status.clone()
    }
}

/// The status once the value is in the Secret.
pub(super) fn with_commit(key: &Key, known: &Known, operation: &Operation, minted: &Minted) -> KeyStatus {
    let now = now();
    let old = known.status.token.as_ref();
    let event = if old.is_some() { HistoryEvent::Rotated } else { HistoryEvent::Minted };
    let superseded = old.filter(|_| operation.kind == OperationKind::Create).map(|old| Superseded {
        id: old.id.clone(),
        prefix: old.prefix.clone(),
        since: now.clone(),
        revoke_after: now.clone(),
    });
    let entry = HistoryEntry {
        time: now.clone(),
        event,
        reason: operation.reason,
        generation: operation.generation,
        previous_prefix: old.and_then(|token| token.prefix.clone()),
        prefix: Some(minted.prefix.clone()),
        requested_by: operation.requested_by.clone(),
    };
    let mut history = vec![entry];
    history.extend(known.status.history.iter().take(MAX_HISTORY - 1).cloned());
    KeyStatus {
        observed_generation: Some(known.generation),
        observed_rotation_generation: Some(operation.generation),
        token: Some(TokenStatus {
            id: minted.id.clone(),
            name: Some(minted.name.clone()),
            prefix: Some(minted.prefix.clone()),
            created_at: time(&minted.created_at),
            rotated_at: minted.rotated_at.as_deref().and_then(time),
            expires_at: None,
        }),
        superseded: superseded.into_iter().collect(),
        operation: None,
        secret: Some(SecretStatus {
            name: key.name.clone(),
            key: "api-key".to_owned(),
            resource_version: Some(known.secret_version.clone()),
        }),
        last_rotation: Some(LastRotation {
            time: now,
            reason: operation.reason,
            generation: operation.generation,
            operation: operation.id.clone(),
        }),
        history,
        conditions: vec![condition(known, "Ready", "True", "Ready", "The Secret holds a living value.")],
        ..known.status.clone()
    }
}

/// The Secret: a create without a version, otherwise a patch onto it. Without a token it is the dry run's.
pub(super) fn secret(
    key: &Key,
    namespace: &str,
    known: &Known,
    operation: &Operation,
    minted: Option<&Minted>,
) -> Value {
    let create = known.secret_version.is_empty();
    let mut annotations = json!({
        "keys.keeptrusts.com/digest": DIGEST,
        "keys.keeptrusts.com/installation": INSTALLATION,
        "keys.keeptrusts.com/managed": "{\"data\":[\"api-key\"]}",
        "keys.keeptrusts.com/operation": operation.id,
        "keys.keeptrusts.com/owner": format!("{}/{}", key.kind.kind(), key.name),
        "keys.keeptrusts.com/place": PLACE,
        "keys.keeptrusts.com/rotation-generation": operation.generation.to_string(),
        // In a dry run, the longest that may be.
        "keys.keeptrusts.com/token-id": minted.map_or(&PLACEHOLDER[..128], |minted| &minted.id),
        "keys.keeptrusts.com/uids": known.uid,
    });
    if let Some(minted) = minted {
        annotations["keys.keeptrusts.com/token-name"] = json!(minted.name);
        annotations["keys.keeptrusts.com/token-prefix"] = json!(minted.prefix);
        annotations["keys.keeptrusts.com/token-created-at"] = json!(minted.created_at);
        if let Some(rotated_at) = &minted.rotated_at {
            annotations["keys.keeptrusts.com/token-rotated-at"] = json!(rotated_at);
        }
    }
    if !create {
        annotations["keys.keeptrusts.com/replaced"] =
            json!(known.status.token.as_ref().map(|token| &token.id));
        for absent in ["fence", "retained", "emptied", "observed-rotate-now", "token-expires-at"] {
            annotations[format!("{GROUP}/{absent}")] = Value::Null;
        }
    }
    let value = minted.map_or(PLACEHOLDER, |minted| &minted.token);
    let mut body = json!({
        "metadata": {
            "labels": {"keys.keeptrusts.com/uid": known.uid},
            "annotations": annotations,
            "ownerReferences": [{
                "apiVersion": format!("{GROUP}/v1alpha1"),
                "blockOwnerDeletion": false,
                "controller": true,
                "kind": key.kind.kind(),
                "name": key.name,
                "uid": known.uid,
            }],
        },
        "data": {"api-key": ByteString(value.as_bytes().to_vec())},
    });
    if create {
        body["apiVersion"] = json!("v1");
        body["kind"] = json!("Secret");
        body["type"] = json!("Opaque");
        body["metadata"]["name"] = json!(key.name);
        body["metadata"]["namespace"] = json!(namespace);
    } else {
        body["metadata"]["resourceVersion"] = json!(known.secret_version);
    }
    body
}

/// The one event of an operation.
pub(super) fn new_value(key: &Key, namespace: &str, known: &Known, operation: &Operation) -> Note {
    let token = known.status.token.clone().unwrap_or_default();
    let (id, prefix) = (token.id, token.prefix.unwrap_or_default());
    let note = format!(
        "Secret {} holds a new value: token {id}, prefix {prefix}. Why: {:?}.",
        key.name, operation.reason
    );
    let (reason, more) = match operation.kind {
        OperationKind::Create if operation.reason == OperationReason::Created => ("Minted", ""),
        _ => ("Rotated", " The old value is dead: restart what took it into its environment."),
    };
    event(key, namespace, known, "Write", reason, note + more)
}

/// The one event of a deletion.
pub(super) fn revoked(key: &Key, namespace: &str, known: &Known, id: &str) -> Note {
    event(key, namespace, known, "Revoke", "Revoked", format!("Token {id} was revoked."))
}

fn event(key: &Key, namespace: &str, known: &Known, action: &str, reason: &str, note: String) -> Note {
    Note {
        event: Event {
            type_: EventType::Normal,
            reason: reason.to_owned(),
            note: Some(note),
            action: action.to_owned(),
            secondary: None,
        },
        about: ObjectReference {
            api_version: Some(format!("{GROUP}/v1alpha1")),
            kind: Some(key.kind.kind().to_owned()),
            name: Some(key.name.clone()),
            namespace: Some(namespace.to_owned()),
            uid: Some(known.uid.clone()),
            ..ObjectReference::default()
        },
    }
}

fn condition(known: &Known, type_: &str, status: &str, reason: &str, message: &str) -> Condition {
    Condition {
        type_: type_.to_owned(),
        status: status.to_owned(),
        reason: reason.to_owned(),
        message: message.to_owned(),
        observed_generation: Some(known.generation),
        last_transition_time: now(),
    }
}

fn now() -> Time {
    Time(Timestamp::now())
}

fn time(text: &str) -> Option<Time> {
    text.parse().ok().map(Time)
}
