//! How a call can fail, in words and classes that are safe to show anywhere.

use std::time::Duration;

/// What went wrong with a call, as far as it matters for what comes next.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Class {
    /// No answer: not connected, not in time, or cut short.
    Unreachable,
    /// 5xx.
    Failing,
    /// 429, or a call that wasn't made because of an earlier one.
    Throttled,
    /// 401, 403: the operator's own credential or its permissions.
    Credential,
    /// 400, 422: the request is wrong.
    Request,
    /// 404, 410.
    Gone,
    /// An answer that nothing can be made of: a success that can't be decoded or lacks the value, a redirect, a 4xx
    /// that isn't the API's own, anything else.
    Unusable,
}

/// A call failed. Its text holds neither a value nor the credential.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct CallError {
    /// What went wrong.
    pub class: Class,
    /// What to show: scrubbed, short.
    pub message: String,
    /// How long the API asks us to wait.
    pub retry_after: Option<Duration>,
}

impl CallError {
    /// An error that asks for no particular wait. `message` must be scrubbed.
    pub(super) fn new(class: Class, message: impl Into<String>) -> Self {
        Self { class, message: message.into(), retry_after: None }
    }
}

/// A call that makes a value failed. What matters most is whether anything may have changed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MintError {
    /// Definitely nothing changed.
    #[error("{0}")]
    Refused(CallError),
    /// Nobody knows whether anything changed.
    #[error("{0}")]
    Unknown(CallError),
}

impl MintError {
    /// What went wrong.
    #[must_use]
    pub const fn error(&self) -> &CallError {
        match self {
            Self::Refused(error) | Self::Unknown(error) => error,
        }
    }
}
