//! Faults: an effect, and the calls that it strikes.

use http::HeaderValue;
use serde::{Deserialize, Serialize};

use crate::behaviour::{Behaviour, is_final};
use crate::call::Operation;
use crate::effect::Effect;

/// Something that goes wrong, and for which calls.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fault {
    /// What happens.
    #[serde(flatten)]
    pub effect: Effect,
    /// The operation that it strikes; each, if none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub operation: Option<Operation>,
    /// How many calls it strikes; all until it is cleared, if none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub times: Option<u32>,
    /// Strikes only calls about a token whose name or id contains this.
    #[serde(default, rename = "match", skip_serializing_if = "Option::is_none")]
    pub matching: Option<String>,
}

/// A fault that was added, with what became of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ActiveFault {
    /// Its id.
    pub id: u64,
    /// How many calls it has struck.
    pub used: u32,
    /// How many it may strike yet; without end, if none.
    pub remaining: Option<u32>,
    /// How many calls it holds now.
    pub held: u32,
    /// The fault.
    #[serde(flatten)]
    pub fault: Fault,
}

/// A fault that can't be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("no such fault can be: {0}")]
pub struct InvalidFault(pub(crate) String);

impl Fault {
    /// A fault that strikes every call until it is cleared.
    #[must_use]
    pub const fn new(effect: Effect) -> Self {
        Self { effect, operation: None, times: None, matching: None }
    }

    /// Strikes one operation alone.
    #[must_use]
    pub const fn on(mut self, operation: Operation) -> Self {
        self.operation = Some(operation);
        self
    }

    /// Strikes the next calls alone.
    #[must_use]
    pub const fn times(mut self, times: u32) -> Self {
        self.times = Some(times);
        self
    }

    /// Strikes only calls about a token whose name or id contains this.
    #[must_use]
    pub fn matching(mut self, part: &str) -> Self {
        self.matching = Some(part.into());
        self
    }

    pub(crate) fn check(&self) -> Result<(), InvalidFault> {
        let status = match &self.effect {
            Effect::Status { status, .. } | Effect::Answer { status, .. } | Effect::Huge { status, .. } => {
                Some(*status)
            }
            Effect::Redirect { status, location, .. } => {
                header(location, "location")?;
                Some(*status)
            }
            Effect::Behave { behaviour } => {
                Behaviour::default().changed(behaviour).map_err(InvalidFault)?;
                None
            }
            Effect::Limit { per_second: 0 } => {
                return Err(InvalidFault("a limit lets at least one call through".into()));
            }
            Effect::Limit { .. }
            | Effect::Latency { .. }
            | Effect::Hold { .. }
            | Effect::Cut { .. }
            | Effect::CutBody => None,
        };
        if let Effect::Answer { content_type, .. } = &self.effect {
            header(content_type, "content_type")?;
        }
        match status {
            Some(status) if !is_final(status) => {
                Err(InvalidFault(format!("{status} is not the status of an answer: 200 to 599")))
            }
            _ => Ok(()),
        }
    }

    /// Whether it is meant for a call about a token of these names and ids.
    pub(crate) fn fits(&self, operation: Operation, subjects: &[String]) -> bool {
        self.operation.is_none_or(|it| it == operation)
            && self
                .matching
                .as_ref()
                .is_none_or(|part| subjects.iter().any(|subject| subject.contains(part.as_str())))
    }
}

fn header(text: &str, name: &str) -> Result<(), InvalidFault> {
    match HeaderValue::from_str(text) {
        Ok(_) => Ok(()),
        Err(_) => Err(InvalidFault(format!("{name} is not what a header may hold"))),
    }
}
