//! Traces, as a collector of OTLP receives them.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::routing::post;
use keeptrusts_harness::Rule;
use keeptrusts_harness::proxy::tokens;
use keeptrusts_harness::suite::Context;
use keeptrusts_operator::resources::AccessKey;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::KeyValue;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::trace::v1::Span;
use prost::Message as _;
use serde_json::json;
use tokio::net::TcpListener;

use crate::world::{SOON, Setup};

const KEY: &str = "checkout";

/// What a collector received.
#[derive(Clone, Default)]
struct Collector(Arc<Mutex<Vec<Bytes>>>);

impl Collector {
    async fn start() -> Result<(Self, SocketAddr)> {
        let collector = Self::default();
        let receive = async |State(to): State<Self>, body: Bytes| {
            to.0.lock().unwrap_or_else(PoisonError::into_inner).push(body);
        };
        let routes = Router::new().route("/v1/traces", post(receive)).with_state(collector.clone());
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        tokio::spawn(async move { axum::serve(listener, routes).await });
        Ok((collector, address))
    }

    fn bodies(&self) -> Vec<Bytes> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn requests(&self) -> Result<Vec<ExportTraceServiceRequest>> {
        let decode = |body| ExportTraceServiceRequest::decode(body).context("no OTLP");
        self.bodies().into_iter().map(decode).collect()
    }

    fn spans(&self) -> Result<Vec<Span>> {
        let resources = self.requests()?.into_iter().flat_map(|request| request.resource_spans);
        Ok(resources.flat_map(|resource| resource.scope_spans).flat_map(|scope| scope.spans).collect())
    }
}

fn attribute<'a>(attributes: &'a [KeyValue], key: &str) -> Option<&'a str> {
    let value = attributes.iter().find(|it| it.key == key)?.value.as_ref()?;
    match value.value.as_ref()? {
        Value::StringValue(text) => Some(text),
        _ => None,
    }
}

fn named<'a>(spans: &[&'a Span], name: &str) -> Result<&'a Span> {
    let mut found = spans.iter().filter(|span| span.name == name);
    let one = found.next().with_context(|| format!("no span {name}"))?;
    ensure!(found.next().is_none(), "two spans {name}");
    Ok(one)
}

pub(crate) async fn an_operation_is_one_trace_and_who_takes_over_links_to_it(cx: Context) -> Result<()> {
    let (collector, address) = Collector::start().await?;
    let traces = json!({"traces": {"endpoint": format!("http://{address}/v1/traces")}});
    let mut world = Setup::new().values(&traces).start(cx).await?;
    world.create::<AccessKey>(KEY, json!({"rotation": {"grace": "1s"}})).await?;
    world.at_rest::<AccessKey>(KEY).await?;
    let mut values = vec![world.emulator.credential(), world.value(KEY).await?];
    // The answer to a rotation is lost, and a new token is made in its stead.
    world.tokens.add(Rule::on(tokens::rotate()).cut_after());
    let status = world.raise::<AccessKey>(KEY, 1).await?;
    values.push(world.value(KEY).await?);
    let operation = status.last_rotation.context("no rotation")?.operation;
    world.operator.ask_to_end()?;
    let ended = world.operator.wait(SOON).await?;
    ensure!(ended.success(), "{ended}");

    // It has sent all of it before its end.
    let spans = collector.spans()?;
    let is_whole =
        |span: &&Span| span.parent_span_id.is_empty() && ["Create", "Rotate"].contains(&span.name.as_str());
    let wholes: Vec<_> = spans.iter().filter(is_whole).collect();
    let told = |span: &Span, key: &str| attribute(&span.attributes, key).unwrap_or_default().to_owned();
    let outcomes: Vec<_> =
        wholes.iter().map(|it| (it.name.as_str(), told(it, "keeptrusts.outcome"))).collect();
    let expected = [("Create", "committed"), ("Rotate", "unknown"), ("Create", "committed")];
    ensure!(outcomes == expected.map(|(name, outcome)| (name, outcome.to_owned())), "{outcomes:?}");
    let (lost, recovery) = (wholes[1], wholes[2]);
    ensure!(told(recovery, "keeptrusts.operation") == operation);

    let within: Vec<_> = spans.iter().filter(|span| span.trace_id == recovery.trace_id).collect();
    for step in ["record the intent", "create a token", "write the Secret"] {
        let span = named(&within, step)?;
        ensure!(span.parent_span_id == recovery.span_id, "{span:?}");
        let starts = recovery.start_time_unix_nano <= span.start_time_unix_nano;
        ensure!(starts || step == "record the intent", "{span:?} {recovery:?}");
        ensure!(span.end_time_unix_nano <= recovery.end_time_unix_nano, "{span:?} {recovery:?}");
        let whose = ["keeptrusts.kind", "keeptrusts.name", "k8s.namespace.name"].map(|key| told(span, key));
        ensure!(whose == ["AccessKey", KEY, world.cx.namespace.name()], "{span:?}");
    }
    let record = named(&within, "record the intent")?;
    ensure!(record.links.iter().any(|link| link.trace_id == lost.trace_id), "{record:?}");
    // The call to the API server is seen within the step that makes it.
    let write = named(&within, "write the Secret")?;
    let call = spans.iter().find(|span| span.parent_span_id == write.span_id).context("no call")?;
    ensure!(call.trace_id == recovery.trace_id, "{call:?}");
    // What warned in the log stands in the span, too.
    let of_lost = spans.iter().filter(|span| span.trace_id == lost.trace_id);
    let warned = |span: &Span| span.events.iter().any(|it| it.name == "the outcome of a call isn't known");
    ensure!(of_lost.filter(|span| warned(span)).count() == 1);
    // Nothing but steps begins a trace: no watch, no renewal of the Lease.
    let stray = spans.iter().filter(|span| span.parent_span_id.is_empty());
    let stray: Vec<_> = stray.filter(|span| told(span, "keeptrusts.name") != KEY).collect();
    ensure!(stray.is_empty(), "{stray:?}");

    let request = collector.requests()?.into_iter().next().context("nothing was sent")?;
    let resource =
        request.resource_spans.into_iter().next().and_then(|it| it.resource).context("no resource")?;
    ensure!(attribute(&resource.attributes, "service.name") == Some("keeptrusts-operator"));
    for (number, value) in values.iter().enumerate() {
        for body in collector.bodies() {
            let told = body.windows(value.len()).any(|part| part == value.as_bytes());
            ensure!(!told, "value {number} is in a trace");
        }
    }
    Ok(())
}

pub(crate) async fn nobody_waits_for_a_collector_that_is_away(cx: Context) -> Result<()> {
    // It accepts connections and never answers.
    let deaf = TcpListener::bind("127.0.0.1:0").await?;
    let traces = json!({"traces": {"endpoint": format!("http://{}/v1/traces", deaf.local_addr()?)}});
    let mut world = Setup::new().values(&traces).start(cx).await?;
    world.create::<AccessKey>(KEY, json!({})).await?;
    world.at_rest::<AccessKey>(KEY).await?;
    world.operator.ask_to_end()?;
    let ended = world.operator.wait(Duration::from_secs(10)).await?;
    ensure!(ended.success(), "{ended}");
    Ok(())
}
