//! What sends them.

use std::cell::Cell;
use std::time::{Duration, SystemTime};

use anyhow::Context as _;
use opentelemetry::trace::{
    SpanBuilder, SpanContext, SpanId, Status, TraceContextExt as _, TraceFlags, TraceId, TraceState,
    Tracer as _, TracerProvider as _,
};
use opentelemetry::{Context, KeyValue};
use opentelemetry_otlp::{Protocol, SpanExporter, WithExportConfig as _};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::{IdGenerator, RandomIdGenerator, SdkTracerProvider};
use sha2::{Digest as _, Sha256};
use tracing::level_filters::LevelFilter;
use tracing::{Level, Metadata, Span, Subscriber};
use tracing_opentelemetry::OpenTelemetrySpanExt as _;
use tracing_subscriber::Layer;
use tracing_subscriber::filter::DynFilterFn;
use tracing_subscriber::layer;
use tracing_subscriber::registry::LookupSpan;
use url::Url;

use crate::clock;
use crate::controller::secrets::Identity;
use crate::lifecycle::memory::{Flight, Outcome};
use crate::resources::OperationKind;

use super::TARGET;

/// Where kube's spans of calls come from.
const CALLS: &str = "kube_client";

/// How long the last spans may take when the operator stops.
const FLUSH: Duration = Duration::from_secs(3);

/// Sends spans in the background until it is shut down.
pub(super) struct Exporter(SdkTracerProvider);

impl Exporter {
    /// Starts sending spans to this URL. The variables of OpenTelemetry's SDK (`OTEL_SERVICE_NAME`, `OTEL_RESOURCE_ATTRIBUTES`,
    /// `OTEL_EXPORTER_OTLP_HEADERS`, `OTEL_TRACES_SAMPLER`, …) say the rest.
    ///
    /// # Errors
    /// If no HTTP client can be made.
    pub(super) fn start(endpoint: &Url, pod_name: &str) -> anyhow::Result<Self> {
        let exporter = SpanExporter::builder()
            .with_http()
            .with_protocol(Protocol::HttpBinary)
            .with_endpoint(endpoint.as_str())
            .build()
            .context("can't send traces")?;
        let mut resource = Resource::builder()
            .with_attribute(KeyValue::new("service.version", env!("CARGO_PKG_VERSION")))
            .with_attribute(KeyValue::new("service.instance.id", pod_name.to_owned()));
        if std::env::var_os("OTEL_SERVICE_NAME").is_none() {
            resource = resource.with_service_name(env!("CARGO_PKG_NAME"));
        }
        let provider = SdkTracerProvider::builder()
            .with_batch_exporter(exporter)
            .with_id_generator(Ids::default())
            .with_resource(resource.build())
            .build();
        opentelemetry::global::set_tracer_provider(provider.clone());
        Ok(Self(provider))
    }

    /// Sends what is left, within [`FLUSH`].
    pub(super) fn stop(&self) {
        if let Err(error) = self.0.shutdown_with_timeout(FLUSH) {
            tracing::warn!(%error, "the last spans couldn't be sent");
        }
    }

    /// What takes the spans of steps, and within them those of calls and our log lines.
    pub(super) fn layer<S: Subscriber + for<'a> LookupSpan<'a>>(&self) -> impl Layer<S> + use<S> {
        let wanted = |it: &Metadata<'_>, context: &layer::Context<'_, S>| {
            let ours = it.target().starts_with(env!("CARGO_CRATE_NAME"));
            let within = ours && it.is_event() && *it.level() <= Level::INFO
                || it.is_span() && it.target().starts_with(CALLS);
            it.target() == TARGET || within && context.lookup_current().is_some()
        };
        tracing_opentelemetry::layer()
            .with_tracer(self.0.tracer(env!("CARGO_PKG_NAME")))
            .with_location(false)
            .with_threads(false)
            .with_tracked_inactivity(false)
            .with_filter(DynFilterFn::new(wanted).with_max_level_hint(LevelFilter::DEBUG))
    }
}

/// Makes a step's span one of its operation's trace.
pub(super) fn join(span: &Span, operation: Option<&str>, follows: Option<&str>) {
    if span.is_disabled() {
        return;
    }
    if let Some(operation) = operation {
        let parent = Context::new().with_remote_span_context(whole(operation));
        // Fails only where no layer takes the span.
        let _ = span.set_parent(parent);
    }
    if let Some(before) = follows {
        span.add_link(whole(before));
    }
}

/// The span of the whole operation, which its steps have for their parent.
pub(super) fn ended(key: &Identity, flight: &Flight, outcome: &Outcome) {
    let operation = &flight.operation;
    let (status, outcome) = match outcome {
        Outcome::Committed { .. } => (Status::Ok, "committed"),
        Outcome::Refused(_) => (Status::error("the token API refused it"), "refused"),
        Outcome::NotSent => (Status::error("there was no time for the call"), "not sent"),
        Outcome::Unknown(_) => (Status::error("the call's outcome isn't known"), "unknown"),
        _ => (Status::error("it was let go"), "let go"),
    };
    let end = SystemTime::now();
    let took = clock::monotonic().since(flight.started);
    let name = match operation.kind {
        OperationKind::Create => "Create",
        OperationKind::Rotate => "Rotate",
    };
    let mut attributes = vec![
        KeyValue::new("k8s.namespace.name", key.namespace.clone()),
        KeyValue::new("keeptrusts.kind", key.kind.kind()),
        KeyValue::new("keeptrusts.name", key.name.clone()),
        KeyValue::new("keeptrusts.uid", key.uid.clone()),
        KeyValue::new("keeptrusts.operation", operation.id.clone()),
        KeyValue::new("keeptrusts.reason", format!("{:?}", operation.reason)),
        KeyValue::new("keeptrusts.generation", operation.generation),
        KeyValue::new("keeptrusts.outcome", outcome),
    ];
    attributes.extend(operation.token_id.clone().map(|id| KeyValue::new("keeptrusts.token", id)));
    let builder = SpanBuilder::from_name(name)
        .with_start_time(end.checked_sub(took).unwrap_or(end))
        .with_attributes(attributes);
    let tracer = opentelemetry::global::tracer(env!("CARGO_PKG_NAME"));
    GIVEN.set(Some(ids(&operation.id)));
    let mut span = tracer.build_with_context(builder, &Context::new());
    GIVEN.set(None);
    opentelemetry::trace::Span::set_status(&mut span, status);
    opentelemetry::trace::Span::end_with_timestamp(&mut span, end);
}

/// An operation's trace, and the span of the whole of it.
fn ids(operation: &str) -> (TraceId, SpanId) {
    let hash: [u8; 32] = Sha256::digest(operation).into();
    let (mut trace, mut span) = ([0; 16], [0; 8]);
    trace.copy_from_slice(&hash[..16]);
    span.copy_from_slice(&hash[16..24]);
    (TraceId::from_bytes(trace), SpanId::from_bytes(span))
}

fn whole(operation: &str) -> SpanContext {
    let (trace, span) = ids(operation);
    SpanContext::new(trace, span, TraceFlags::SAMPLED, true, TraceState::NONE)
}

thread_local! {
    /// The ids of the span that this thread begins.
    static GIVEN: Cell<Option<(TraceId, SpanId)>> = const { Cell::new(None) };
}

/// Random ids, but those of the spans of whole operations.
#[derive(Debug, Default)]
struct Ids(RandomIdGenerator);

impl IdGenerator for Ids {
    fn new_trace_id(&self) -> TraceId {
        GIVEN.get().map_or_else(|| self.0.new_trace_id(), |(trace, _)| trace)
    }

    fn new_span_id(&self) -> SpanId {
        GIVEN.get().map_or_else(|| self.0.new_span_id(), |(_, span)| span)
    }
}
