//! The steps: each is one act, and every one may be the last that this process takes.

use jiff::Timestamp;

use crate::resources::{KeyStatus, Operation, WorkloadRef};

use super::memory::{Captured, ProofOf};
use super::naming::OperationId;
use super::observed::Version;
use super::time::Monotonic;
use super::token::TokenFacts;

/// What is to be done next.
#[derive(Clone, Debug, PartialEq)]
pub enum Step {
    /// Nothing, until something changes or this time has come.
    Rest {
        /// When to look again.
        until: Option<Monotonic>,
    },
    /// Put the finalizer on. The reply is a live read of the resource.
    AddFinalizer,
    /// Read the Secret from the API server, with its data.
    ReadSecret,
    /// Read the resource from the API server.
    ReadResource,
    /// Get a complete list that is begun after this time.
    FreshList {
        /// When it may begin at the earliest.
        begun_after: Monotonic,
    },
    /// Write the final Secret as a server-side dry run, and remember its version.
    Preflight,
    /// Record the intent, by compare-and-swap on the resource's version.
    Record {
        /// The operation.
        operation: Operation,
        /// The status that holds it.
        status: Box<KeyStatus>,
    },
    /// Call the token API for the flight's operation.
    Call(Call),
    /// The operation's time to call is over: it is let go without a call.
    LetGo,
    /// Write the value and its record into the Secret.
    WriteSecret {
        /// The Secret as it must be.
        onto: Captured,
        /// What the record says.
        facts: TokenFacts,
        /// The operation whose value it is.
        operation: Operation,
    },
    /// Write status, by compare-and-swap on the resource's version.
    WriteStatus {
        /// The new status.
        status: Box<KeyStatus>,
        /// What is recorded by it.
        closes: Closes,
    },
    /// Write the Secret anew around the value that it holds.
    RenderSecret {
        /// The version that the Secret must have.
        version: Version,
    },
    /// Write the Secret's metadata once, so that a process that holds an older value fails to write it.
    FenceSecret {
        /// The version that the Secret must have.
        version: Version,
        /// The token for which.
        id: String,
    },
    /// Mark the Secret as this resource's, whose status was lost or which has a new uid. A process that holds a value
    /// fails to write it from now on.
    ClaimSecret {
        /// The version that the Secret must have.
        version: Version,
    },
    /// Take the operator's data keys out of the Secret.
    EmptySecret {
        /// The version that the Secret must have.
        version: Version,
    },
    /// Write the record of an adopted token into the Secret that holds its value already.
    TakeSecret {
        /// The version that the Secret must have.
        version: Version,
        /// What the record says of the token.
        facts: TokenFacts,
        /// The operation's id that the record names.
        operation: OperationId,
    },
    /// Read the workloads that the spec names.
    ReadWorkloads,
    /// Restart a workload: its pods' template is to name the operation.
    Restart {
        /// Which.
        workload: WorkloadRef,
        /// The operation that brought the value that it is to run on.
        operation: String,
    },
    /// Try the Secret's own value at the token API.
    ProveLife(ProofOf),
    /// Revoke a token.
    Revoke {
        /// Its id, verified.
        id: String,
    },
    /// Revoke what this process created for an operation whose resource is going, and let the value go.
    RevokeCreated {
        /// The token.
        id: String,
    },
    /// Let the value go: another process has taken the operation over.
    Drop,
    /// Mark the Secret as retained and take the ownerReference off.
    RetainSecret {
        /// The version that the Secret must have.
        version: Version,
        /// The token that stays with it. The mark names it, whatever the rest of the record says.
        id: String,
    },
    /// Take the finalizer off, by compare-and-swap on the resource's version.
    RemoveFinalizer,
}

impl Step {
    /// The id of the operation that it names.
    #[must_use]
    pub fn operation(&self) -> Option<&str> {
        match self {
            Self::Record { operation, .. } | Self::WriteSecret { operation, .. } => Some(&operation.id),
            Self::TakeSecret { operation, .. } => Some(operation.as_str()),
            Self::Restart { operation, .. } => Some(operation),
            _ => None,
        }
    }

    /// What it is called in logs.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Rest { .. } => "rest",
            Self::AddFinalizer => "add the finalizer",
            Self::ReadSecret => "read the Secret",
            Self::ReadResource => "read the resource",
            Self::FreshList { .. } => "list tokens",
            Self::Preflight => "dry run of the Secret",
            Self::Record { .. } => "record the intent",
            Self::Call(Call::Create { .. }) => "create a token",
            Self::Call(Call::Rotate { .. }) => "rotate the token",
            Self::LetGo => "let the operation go",
            Self::WriteSecret { .. } => "write the Secret",
            Self::WriteStatus { .. } => "write status",
            Self::RenderSecret { .. } => "render the Secret",
            Self::FenceSecret { .. } => "fence the Secret",
            Self::ClaimSecret { .. } => "claim the Secret",
            Self::EmptySecret { .. } => "empty the Secret",
            Self::TakeSecret { .. } => "take the Secret over",
            Self::ReadWorkloads => "read the workloads",
            Self::Restart { .. } => "restart a workload",
            Self::ProveLife(_) => "try the value",
            Self::Revoke { .. } => "revoke a token",
            Self::RevokeCreated { .. } => "revoke what was created",
            Self::Drop => "drop the value",
            Self::RetainSecret { .. } => "retain the Secret",
            Self::RemoveFinalizer => "remove the finalizer",
        }
    }
}

/// A call to the token API that isn't repeatable.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Call {
    /// Make a token.
    Create {
        /// Its name.
        name: String,
        /// When it is to expire.
        expires_at: Option<Timestamp>,
    },
    /// Rotate a token.
    Rotate {
        /// Its id, verified.
        id: String,
    },
}

/// What a status write closes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Closes {
    /// Nothing: it shows what is so.
    Nothing,
    /// An operation, by its commit.
    Commit {
        /// Whether it repaired the Secret.
        repair: bool,
    },
    /// An operation that changed nothing at the token API, or nothing that isn't named.
    Harmless,
    /// The loss of a status.
    Loss,
}
