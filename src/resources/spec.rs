//! The parts of a key's spec. Both kinds share them, but for the gateway's id.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::schema;

/// What is sent to the token API when a token is made. The API can't change a token afterwards.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct TokenSpec {
    /// Head of the token's name in the Keeptrusts console; the operator appends a tag of its own.
    /// Default: the resource's name. Can't be changed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 63))]
    pub name: Option<String>,
    /// Team that the token belongs to. Default: none. Can't be changed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 128))]
    pub team_id: Option<String>,
    /// Description shown in the console. Default: none. A change counts for the next token.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 512))]
    pub description: Option<String>,
    /// How long a token lives, for example `90d`, `12w` or `1h30m`; at least `10m`. It is replaced in the last third of its life.
    /// Default: it doesn't expire. A change counts for the next token.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::period")]
    pub expires_after: Option<String>,
}

/// What is sent to the token API when a gateway's token is made.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct GatewayTokenSpec {
    /// What both kinds of token have.
    #[serde(flatten)]
    pub common: TokenSpec,
    /// Id of the hosted gateway whose runtime uses this token. Default: none. Can't be changed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 128))]
    pub gateway_id: Option<String>,
}

/// The Secret that receives the value. Its type is always Opaque.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct SecretSpec {
    /// Name of the Secret, in the resource's namespace. Default: the resource's name. Can't be changed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::secret_name")]
    pub name: Option<String>,
    /// Data key that holds the value. Default: `api-key`. Can't be changed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::data_key")]
    pub key: Option<String>,
    /// What else the Secret holds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub template: Option<SecretTemplate>,
}

/// Labels, annotations and data that are put on the Secret beside the value. A change is written at once and never
/// rotates the token.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct SecretTemplate {
    /// Labels of the Secret. Those under `keeptrusts.com/` are the operator's own and refused. `$(name)`, `$(namespace)` and
    /// `$(gatewayId)` are filled in; the text must then be a label's value. Default: none.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(schema_with = "schema::labels")]
    pub labels: BTreeMap<String, String>,
    /// Annotations of the Secret. Those under `keeptrusts.com/` are the operator's own and refused. `$(name)`, `$(namespace)`,
    /// `$(prefix)`, `$(tokenId)` and `$(gatewayId)` are filled in; `$$(` stands for a literal `$(`. All values together have at most
    /// 65,536 characters and 256 placeholders. Default: none.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(schema_with = "schema::annotations")]
    pub annotations: BTreeMap<String, String>,
    /// Further data keys. Literal text, but for `$(value)`, `$(name)`, `$(namespace)`, `$(prefix)`, `$(tokenId)` and
    /// `$(gatewayId)`; `$$(` stands for a literal `$(`.
    /// `$(gatewayId)` needs `token.gatewayId`. All values together have at most 65,536 characters and 256 placeholders.
    /// Default: none.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(schema_with = "schema::data")]
    pub data: BTreeMap<String, String>,
}

/// When and how the token is rotated.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RotationSpec {
    /// Raise it to rotate now, once. A lower number does nothing. Default: 0.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = schema::MAX_GENERATION))]
    pub generation: Option<i64>,
    /// Rotate on a schedule, for example `90d` or `12w`; at least `10m`. No value gets older than this, but for what windows hold
    /// back. Keys that were made together are spread over the second half of it. Needs `strategy`. Default: no schedule.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::period")]
    pub every: Option<String>,
    /// How long before a token expires it is replaced by a new one, for example `30d`. Default: the last third of its
    /// life.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::duration")]
    pub renew_before: Option<String>,
    /// When what `every` and an expiry ask for may be done; a raised `generation` waits for no window. An expiry waits until a
    /// third of `renewBefore` is left. Default: at any time.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = schema::MAX_WINDOWS))]
    pub windows: Vec<WindowSpec>,
    /// How a rotation is done. `InPlace`: the token API's own rotation; the old value dies at once, and so does every
    /// token superseded before, if `generation` asked for it. `Overlap`: a new token takes the old one's place in the
    /// Secret, and the old one lives on for `grace`. Default: `InPlace`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub strategy: Option<RotationStrategy>,
    /// How long a token that was replaced by another one lives on, for example `30m`: in an `Overlap` rotation, before an
    /// expiry, after a repair of the Secret. `InPlace` rotations have none: there the old value dies at once.
    /// Default: `1h`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::duration")]
    pub grace: Option<String>,
}

/// A time at which what is due may be done, again and again.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct WindowSpec {
    /// When it opens: minute, hour, day of month, month and day of week, as cron reads them. `0 2 * * 6` is Saturday at two
    /// o'clock. Where both days are given, either will do. A window that never opens is refused, such as one on the 30th of February.
    #[schemars(schema_with = "schema::cron")]
    pub schedule: String,
    /// How long it stays open, for example `4h`.
    #[schemars(schema_with = "schema::duration")]
    pub duration: String,
    /// IANA name of the time zone that the schedule is meant in, for example `Europe/Berlin`. Default: `UTC`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::time_zone")]
    pub time_zone: Option<String>,
}

/// How a rotation is done. `InPlace`: the token API's own rotation, after which the old value is dead at once.
/// `Overlap`: a new token, and the old one lives on for a while. Default: `InPlace`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum RotationStrategy {
    /// The token API's own rotation: the old value dies at once.
    #[default]
    InPlace,
    /// A new token takes the old one's place, and the old one lives on for `grace`.
    Overlap,
}

/// Workloads that use the Secret, and what a new value does to them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct WorkloadsSpec {
    /// Whether workloads are restarted when the Secret has a new value, and which: those that `refs` names (`Listed`), or
    /// those in the namespace whose pods refer to the Secret by `envFrom`, `env` or a volume (`Discovered`, which the
    /// operator must be allowed: `--discover-workloads`). A first value and a new template restart nothing. Default: `Never`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub restart: Option<RestartPolicy>,
    /// Which, with `restart: Listed`. Default: none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(
        length(max = schema::MAX_WORKLOADS),
        extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["kind", "name"])
    )]
    pub refs: Vec<WorkloadRef>,
    /// How long all of them may take to run on the new value, counted from the time that the Secret has it. Default: `15m`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::duration")]
    pub rollout_timeout: Option<String>,
    /// What becomes of an `Overlap`'s old token after that. `KeepOld`: it lives on until they do. `RevokeOld`: its grace
    /// begins. Default: `KeepOld`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub on_rollout_timeout: Option<RolloutTimeoutPolicy>,
}

/// Whether workloads are restarted when the Secret has a new value. Default: `Never`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
pub enum RestartPolicy {
    /// None is.
    #[default]
    Never,
    /// Those that `refs` names are.
    Listed,
    /// Those in the namespace whose pods refer to the Secret are: by `envFrom`, `env` or a volume.
    Discovered,
}

/// A workload in the resource's namespace.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct WorkloadRef {
    /// Its kind, of the API group `apps`.
    pub kind: WorkloadKind,
    /// Its name.
    #[schemars(length(min = 1, max = 253))]
    pub name: String,
}

/// A kind of workload whose pods are replaced when its template changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
pub enum WorkloadKind {
    /// A Deployment.
    Deployment,
    /// A `StatefulSet`.
    StatefulSet,
    /// A `DaemonSet`.
    DaemonSet,
}

impl WorkloadKind {
    /// The plural, as it stands in paths.
    #[must_use]
    pub const fn plural(self) -> &'static str {
        match self {
            Self::Deployment => "deployments",
            Self::StatefulSet => "statefulsets",
            Self::DaemonSet => "daemonsets",
        }
    }
}

impl std::fmt::Display for WorkloadRef {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:?} {}", self.kind, self.name)
    }
}

/// What becomes of a superseded token while workloads don't run on the new value in time. Default: `KeepOld`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
pub enum RolloutTimeoutPolicy {
    /// It lives on until they do.
    #[default]
    KeepOld,
    /// Its grace begins.
    RevokeOld,
}

/// What becomes of the token and the Secret when the resource is deleted. `Revoke`: every token is revoked and the
/// Secret is removed. `Retain`: the token and its Secret stay as they are. Default: `Revoke`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
pub enum DeletionPolicy {
    /// Every token is revoked and the Secret is removed.
    #[default]
    Revoke,
    /// The token and its Secret stay as they are.
    Retain,
}

/// Whether the resource has a living token. `Revoked`: every token is revoked at once and the value leaves the Secret;
/// the resource stays. Default: `Active`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
pub enum DesiredState {
    /// There is a living token, and the Secret holds its value.
    #[default]
    Active,
    /// No token of the resource lives, and the Secret holds no value.
    Revoked,
}

/// What follows when somebody else revoked, rotated or expired the token. `Replace`: a new token is made. `Halt`:
/// nothing is made until `rotation.generation` is raised. Default: `Replace`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
pub enum ExternalChangePolicy {
    /// A new token takes its place.
    #[default]
    Replace,
    /// Nothing is made until a person raises `rotation.generation`.
    Halt,
}

/// A token that was made elsewhere and that this resource takes over, in place of making one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct AdoptSpec {
    /// The token API's id of the token.
    #[schemars(schema_with = "schema::token_id")]
    pub token_id: String,
    /// Where the value comes from. `Rotate`: the token is rotated, and its old value dies at once. `FromSecret`: the
    /// Secret holds it already, under `secret.key`.
    pub value: AdoptedValue,
}

/// Where the value of an adopted token comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
pub enum AdoptedValue {
    /// The token is rotated, and its old value dies at once.
    Rotate,
    /// The Secret holds it already.
    FromSecret,
}
