//! The custom resources `AccessKey` and `GatewayKey`, and nothing else.
//!
//! What the fields mean stands in their doc comments, which are also what `kubectl explain` prints. The rules that
//! the API server can check are CEL rules here; the rules that it can't are checked once, in
//! [`crate::lifecycle::desired`].

#[cfg(test)]
mod compatibility;
mod crds;
mod keys;
#[cfg(test)]
mod round_trips;
mod rules;
mod schema;
mod spec;
mod status;

pub use crds::{crd_files, crds, crds_yaml, write_crds};
pub use keys::{AccessKey, AccessKeySpec, GatewayKey, GatewayKeySpec, Key, KeyKind, SpecParts};
pub use rules::DEFAULT_SECRET_KEY;
pub use schema::{
    LEAST_PERIOD, MAX_GENERATION, MAX_HISTORY, MAX_NAMED_WORKLOADS, MAX_ROTATE_NOW, MAX_SUPERSEDED,
    MAX_TEMPLATE,
};
pub use spec::{
    AdoptSpec, AdoptedValue, DeletionPolicy, DesiredState, ExternalChangePolicy, GatewayTokenSpec,
    RestartPolicy, RolloutTimeoutPolicy, RotationSpec, RotationStrategy, SecretSpec, SecretTemplate,
    TokenSpec, WindowSpec, WorkloadKind, WorkloadRef, WorkloadsSpec,
};
pub use status::{
    HistoryEntry, HistoryEvent, KeyStatus, LastRotation, Operation, OperationKind, OperationReason,
    RolloutStatus, SecretStatus, Superseded, TokenStatus, WorkloadsStatus,
};

/// The API group of both resources; also the domain of labels, annotations and the finalizer.
pub const GROUP: &str = "keys.keeptrusts.com";

/// Annotation of a resource that asks for a rotation at once, whatever its strategy: any new value that isn't empty.
pub const ROTATE_NOW: &str = "keys.keeptrusts.com/rotate-now";

/// Our finalizer: while it is on a resource, its tokens aren't revoked yet.
pub const FINALIZER: &str = "keys.keeptrusts.com/tokens";
