//! Traces: each step of a key as a span, those of one operation in one trace, by OTLP over HTTP.
//!
//! A trace's id is made of its operation's, so that an operation is one trace whichever processes have a hand in it. What takes over
//! from an operation whose outcome isn't known links to that one's trace, and so does the revocation of what one superseded. No span holds a value: all that is told of a step stands
//! in [`of_step`]; beside that there are the spans that kube has for calls to the API server, and our own log lines.
//!
//! Without the feature `traces` there is nothing behind these names.

#[cfg(feature = "traces")]
mod otlp;

use tracing::{Span, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::registry::LookupSpan;

use crate::config::RunArguments;
use crate::controller::secrets::Identity;
use crate::lifecycle::memory::{Flight, Outcome};
use crate::lifecycle::step::Step;
use crate::resources::KeyStatus;

/// The target of these spans, which logs leave out.
pub(crate) const TARGET: &str = concat!(env!("CARGO_CRATE_NAME"), "::traces");

/// What sends traces, if they are to go anywhere.
pub struct Traces {
    #[cfg(feature = "traces")]
    exporter: Option<otlp::Exporter>,
}

impl Traces {
    /// Starts sending in the background, to where the flag says.
    ///
    /// # Errors
    /// If no HTTP client can be made.
    #[cfg(feature = "traces")]
    pub fn start(arguments: &RunArguments) -> anyhow::Result<Self> {
        let endpoint = arguments.traces_endpoint.as_ref();
        let exporter = endpoint.map(|url| otlp::Exporter::start(url, &arguments.pod_name)).transpose()?;
        Ok(Self { exporter })
    }

    /// Nothing is sent: it was built without.
    ///
    /// # Errors
    /// None.
    #[cfg(not(feature = "traces"))]
    pub fn start(_: &RunArguments) -> anyhow::Result<Self> {
        Ok(Self {})
    }

    /// What takes spans and lines beside the log.
    #[must_use]
    pub fn layer<S: Subscriber + for<'a> LookupSpan<'a>>(&self) -> Option<impl Layer<S> + use<S>> {
        #[cfg(feature = "traces")]
        return self.exporter.as_ref().map(otlp::Exporter::layer);
        #[cfg(not(feature = "traces"))]
        return None::<tracing_subscriber::layer::Identity>;
    }

    /// Sends what is left.
    pub fn stop(&self) {
        #[cfg(feature = "traces")]
        self.exporter.iter().for_each(otlp::Exporter::stop);
    }
}

/// The span of a step that a key with this status takes in the course of `operation`, if there is one.
pub(crate) fn of_step(key: &Identity, status: &KeyStatus, step: &Step, operation: Option<&str>) -> Span {
    let span = tracing::info_span!(
        target: TARGET,
        parent: None,
        "step",
        otel.name = step.name(),
        k8s.namespace.name = key.namespace,
        keeptrusts.kind = key.kind.kind(),
        keeptrusts.name = key.name,
        keeptrusts.uid = key.uid,
        keeptrusts.operation = operation,
    );
    #[cfg(feature = "traces")]
    otlp::join(&span, operation, follows(status, step));
    #[cfg(not(feature = "traces"))]
    let _ = status;
    span
}

/// The operation that a step comes after: one that is taken over, or the one that superseded what is revoked.
#[cfg(feature = "traces")]
fn follows<'a>(status: &'a KeyStatus, step: &Step) -> Option<&'a str> {
    match step {
        Step::Record { operation, .. } => {
            status.operation.as_ref().map(|recorded| recorded.id.as_str()).filter(|id| *id != operation.id)
        }
        Step::Revoke { .. } => status.last_rotation.as_ref().map(|last| last.operation.as_str()),
        _ => None,
    }
}

/// An operation is over for this process: the span of all of it, around those of its steps.
pub(crate) fn ended(key: &Identity, flight: &Flight, outcome: &Outcome) {
    #[cfg(feature = "traces")]
    otlp::ended(key, flight, outcome);
    #[cfg(not(feature = "traces"))]
    let _ = (key, flight, outcome);
}
