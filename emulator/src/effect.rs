//! What a fault does to a call.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::behaviour::Envelope;

/// What a fault does. Latency, holding and changed behaviour add up; of the other kinds the oldest that fits decides.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "effect", rename_all = "snake_case")]
pub enum Effect {
    /// The call takes longer.
    Latency {
        /// By how much.
        milliseconds: u64,
        /// Before or after it is carried out.
        #[serde(default)]
        stage: Stage,
    },
    /// The client gets nothing until the fault is released. Held before its execution, the call is carried out on release, even
    /// when the client has gone; held after, it is carried out at once.
    Hold {
        /// Before or after it is carried out.
        #[serde(default)]
        stage: Stage,
    },
    /// An error, in an envelope.
    Status {
        /// The status, 200 to 599.
        status: u16,
        /// Before or after it is carried out.
        #[serde(default)]
        stage: Stage,
        /// What the error says; something that fits the status, if nothing.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        message: Option<String>,
        /// The envelope; that of the behaviour, if none.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        envelope: Option<Envelope>,
        /// The header `Retry-After`.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        retry_after: Option<RetryAfter>,
    },
    /// The connection is closed without an answer.
    Cut {
        /// Before or after it is carried out.
        #[serde(default)]
        stage: Stage,
    },
    /// The call is carried out, and the connection is closed in the middle of the answer's body.
    CutBody,
    /// Another answer than the API's, whatever it is: a page of HTML, nonsense with a 2xx.
    Answer {
        /// The status, 200 to 599.
        #[serde(default = "ok")]
        status: u16,
        /// Before or after it is carried out.
        #[serde(default)]
        stage: Stage,
        /// The header `Content-Type`.
        #[serde(default = "json")]
        content_type: String,
        /// The body.
        #[serde(default)]
        body: String,
    },
    /// A redirect.
    Redirect {
        /// The header `Location`.
        location: String,
        /// The status.
        #[serde(default = "temporary_redirect")]
        status: u16,
        /// Before or after it is carried out.
        #[serde(default)]
        stage: Stage,
    },
    /// A body that is valid JSON, and huge.
    Huge {
        /// Its size.
        bytes: u64,
        /// The status, 200 to 599.
        #[serde(default = "ok")]
        status: u16,
        /// Before or after it is carried out.
        #[serde(default)]
        stage: Stage,
    },
    /// The API's limit: no more than so many calls are let through in any second. Those beyond it are answered with 429 and a
    /// `Retry-After` of a second, and it is they who are struck.
    Limit {
        /// How many.
        per_second: u32,
    },
    /// The call meets another behaviour: a JSON merge patch of it.
    Behave {
        /// The patch.
        behaviour: Value,
    },
}

/// Before or after a call is carried out.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Stage {
    /// Before: nothing was done. A call that is answered here never reaches the API.
    #[default]
    Before,
    /// After: what was asked has been done.
    After,
}

/// The header `Retry-After`, in seconds from now.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RetryAfter {
    /// Written as a number of seconds.
    Seconds(u64),
    /// Written as an HTTP date.
    Date(u64),
}

const fn ok() -> u16 {
    200
}

const fn temporary_redirect() -> u16 {
    307
}

fn json() -> String {
    "application/json".into()
}

impl Effect {
    /// Latency before the call is carried out.
    #[must_use]
    pub fn latency(by: Duration) -> Self {
        let milliseconds = u64::try_from(by.as_millis()).unwrap_or(u64::MAX);
        Self::Latency { milliseconds, stage: Stage::Before }
    }

    /// Holds the call until it is released.
    #[must_use]
    pub const fn hold(stage: Stage) -> Self {
        Self::Hold { stage }
    }

    /// An error with a status.
    #[must_use]
    pub const fn status(status: u16, stage: Stage) -> Self {
        Self::Status { status, stage, message: None, envelope: None, retry_after: None }
    }

    /// 429 with a `Retry-After`.
    #[must_use]
    pub const fn throttle(retry_after: RetryAfter) -> Self {
        Self::Status {
            status: 429,
            stage: Stage::Before,
            message: None,
            envelope: None,
            retry_after: Some(retry_after),
        }
    }

    /// Closes the connection without an answer.
    #[must_use]
    pub const fn cut(stage: Stage) -> Self {
        Self::Cut { stage }
    }

    /// Carries the call out, and answers with a 2xx and this body.
    #[must_use]
    pub fn answer(content_type: &str, body: &str) -> Self {
        Self::Answer {
            status: ok(),
            stage: Stage::After,
            content_type: content_type.into(),
            body: body.into(),
        }
    }

    /// The call meets another behaviour: `json!({"answers": {"value": false}})`.
    #[must_use]
    pub const fn behave(behaviour: Value) -> Self {
        Self::Behave { behaviour }
    }

    /// The name of its kind, as in JSON.
    #[must_use]
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::Latency { .. } => "latency",
            Self::Hold { .. } => "hold",
            Self::Status { .. } => "status",
            Self::Cut { .. } => "cut",
            Self::CutBody => "cut_body",
            Self::Answer { .. } => "answer",
            Self::Redirect { .. } => "redirect",
            Self::Huge { .. } => "huge",
            Self::Limit { .. } => "limit",
            Self::Behave { .. } => "behave",
        }
    }

    /// When it happens; changed behaviour is there all along.
    pub(crate) const fn stage(&self) -> Stage {
        match self {
            Self::Latency { stage, .. }
            | Self::Hold { stage }
            | Self::Status { stage, .. }
            | Self::Cut { stage }
            | Self::Answer { stage, .. }
            | Self::Redirect { stage, .. }
            | Self::Huge { stage, .. } => *stage,
            Self::CutBody => Stage::After,
            Self::Limit { .. } | Self::Behave { .. } => Stage::Before,
        }
    }

    /// Whether it takes the place of the API's answer.
    pub(crate) const fn replaces_answer(&self) -> bool {
        !matches!(self, Self::Latency { .. } | Self::Hold { .. } | Self::Behave { .. })
    }
}
