//! The status of a key: a projection that can be rebuilt. It holds no value and no digest of one.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::schema;

/// What the operator knows of a key.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct KeyStatus {
    /// `metadata.generation` that this status speaks of; -1 before the operator has seen the resource.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = -1))]
    pub observed_generation: Option<i64>,
    /// Highest `spec.rotation.generation` that has been acted on. It never falls.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = schema::MAX_GENERATION))]
    pub observed_rotation_generation: Option<i64>,
    /// Value of the annotation `keys.keeptrusts.com/rotate-now` that was acted on last, up to 128 characters of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = schema::MAX_ROTATE_NOW))]
    pub observed_rotate_now: Option<String>,
    /// The token whose value the Secret holds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token: Option<TokenStatus>,
    /// Tokens that were replaced and are still to be revoked.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(
        length(max = schema::MAX_SUPERSEDED),
        extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["id"])
    )]
    pub superseded: Vec<Superseded>,
    /// The operation under way. Internal: it is the record that makes a crash safe.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub operation: Option<Operation>,
    /// The Secret as it was last written and checked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret: Option<SecretStatus>,
    /// When the Secret last received a new value, and why.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_rotation: Option<LastRotation>,
    /// The workloads of the namespace whose pods refer to the Secret. Absent where the operator doesn't look for any
    /// (`--discover-workloads`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub workloads: Option<WorkloadsStatus>,
    /// The restart of workloads that is under way, so that they run on the value that the Secret has.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rollout: Option<RolloutStatus>,
    /// The last changes of the value, ten at most, the latest first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = schema::MAX_HISTORY))]
    pub history: Vec<HistoryEntry>,
    /// When the value will next be replaced unless somebody asks for it sooner: on its schedule or before its token
    /// expires, and in a window. Absent: never, or not while `spec.suspend` is true.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_rotation: Option<Time>,
    /// `Ready`, `Reconciling` and `Stalled`, as kstatus reads them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "schema::conditions")]
    pub conditions: Vec<Condition>,
}

/// A token as the token API told of it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct TokenStatus {
    /// The token API's id.
    #[schemars(length(max = 128))]
    pub id: String,
    /// Full name of the token in the console.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 512))]
    pub name: Option<String>,
    /// First characters of the value, as the token API shows them. Absent where it shows none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 128))]
    pub prefix: Option<String>,
    /// When the token was made.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub created_at: Option<Time>,
    /// When the token was last rotated in place.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rotated_at: Option<Time>,
    /// When the token expires. Absent: never.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<Time>,
}

/// A token that another one replaced.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Superseded {
    /// The token API's id.
    #[schemars(length(max = 128))]
    pub id: String,
    /// First characters of its value, as the token API shows them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 128))]
    pub prefix: Option<String>,
    /// When it was superseded.
    pub since: Time,
    /// It is revoked at this time or as soon as possible after it.
    pub revoke_after: Time,
}

/// An operation at the token API whose outcome isn't recorded yet.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Operation {
    /// Random, never used twice.
    #[schemars(length(max = 128))]
    pub id: String,
    /// What is asked of the token API.
    pub kind: OperationKind,
    /// Name of the token that a Create makes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 512))]
    pub token_name: Option<String>,
    /// Id of the token that a Rotate rotates.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 128))]
    pub token_id: Option<String>,
    /// Why.
    pub reason: OperationReason,
    /// `spec.rotation.generation` that this operation satisfies.
    #[schemars(range(min = 0, max = schema::MAX_GENERATION))]
    pub generation: i64,
    /// Value of the annotation `keys.keeptrusts.com/rotate-now` that this operation satisfies.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = schema::MAX_ROTATE_NOW))]
    pub rotate_now: Option<String>,
    /// The value in the Secret may be dead: an operation before this one was a rotation whose outcome isn't known.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub value_in_doubt: bool,
    /// Field manager that asked for it, where the resource's managedFields tell.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 128))]
    pub requested_by: Option<String>,
    /// A person asked for it without an overlap: what it replaces, and what was superseded before, is revoked at once.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub urgent: bool,
}

/// What an operation asks of the token API.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
pub enum OperationKind {
    /// A new token.
    Create,
    /// A new value for a token that lives; the old value dies at once.
    Rotate,
}

/// Why a new value is needed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
pub enum OperationReason {
    /// The resource had no token yet.
    Created,
    /// `spec.rotation.generation` was raised.
    GenerationRaised,
    /// The annotation `keys.keeptrusts.com/rotate-now` had a new value.
    RotateNow,
    /// `spec.rotation.every` had passed.
    Scheduled,
    /// The token was about to expire.
    Expiring,
    /// The Secret was missing.
    SecretMissing,
    /// The Secret no longer held the value that the operator wrote.
    SecretChanged,
    /// The status had lost its token.
    StatusLost,
    /// Somebody else revoked the token, or had it expire.
    RevokedElsewhere,
    /// Somebody else rotated the token: the Secret's value was dead.
    RotatedElsewhere,
    /// `spec.state` became `Active` again.
    Activated,
    /// The token was made elsewhere and taken over.
    Adopted,
}

/// The Secret that holds the value.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct SecretStatus {
    /// Its name.
    #[schemars(length(max = 253))]
    pub name: String,
    /// The data key of the value.
    #[schemars(length(max = 253))]
    pub key: String,
    /// Its resourceVersion when it was last written or checked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 128))]
    pub resource_version: Option<String>,
}

/// The last change of the value.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct LastRotation {
    /// When the operator recorded it.
    pub time: Time,
    /// Why it was made.
    pub reason: OperationReason,
    /// `spec.rotation.generation` that it satisfied.
    #[schemars(range(min = 0, max = schema::MAX_GENERATION))]
    pub generation: i64,
    /// The operation that brought the value. Internal: the Secret must name the same one.
    #[schemars(length(max = 128))]
    pub operation: String,
}

/// Who uses the Secret.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct WorkloadsStatus {
    /// How many workloads do.
    #[schemars(range(min = 0))]
    pub count: i32,
    /// Kind and name of the first ten.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = schema::MAX_NAMED_WORKLOADS), inner(length(max = 270)))]
    pub names: Vec<String>,
}

/// A restart of workloads. Until all of them run on the new value, what they ran on before isn't revoked.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RolloutStatus {
    /// The operation that brought the value. Internal: the annotation of their pods' templates names it.
    #[schemars(length(max = 128))]
    pub operation: String,
    /// When the Secret had the value.
    pub since: Time,
}

/// A change of the value.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct HistoryEntry {
    /// When the operator recorded it.
    pub time: Time,
    /// What happened.
    pub event: HistoryEvent,
    /// Why.
    pub reason: OperationReason,
    /// `spec.rotation.generation` that it satisfied.
    #[schemars(range(min = 0, max = schema::MAX_GENERATION))]
    pub generation: i64,
    /// First characters of the value before, as the token API shows them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 128))]
    pub previous_prefix: Option<String>,
    /// First characters of the value since, as the token API shows them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 128))]
    pub prefix: Option<String>,
    /// Field manager that asked for it, where the resource's managedFields tell.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 128))]
    pub requested_by: Option<String>,
}

/// What became of a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
pub enum HistoryEvent {
    /// The first one was made.
    Minted,
    /// It was rotated, as the spec or an annotation asked.
    Rotated,
    /// It was replaced, because the old one was lost, dead, or about to die.
    Replaced,
    /// A token made elsewhere was taken over.
    Adopted,
    /// Status was lost, and the Secret's value was proved to live.
    Restored,
}
