//! Calls to the API server: a layer around the client, which sees them all.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use http::{Method, Request, Response, StatusCode, Uri};
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Registry, Unit};
use tower::{Layer, Service};

use super::labels::status;

/// From a read out of the API server's cache to the longest that a call may take.
const BUCKETS: [f64; 10] = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0, 15.0];

/// The resources that the operator has to do with.
const RESOURCES: [&str; 11] = [
    "accesskeys",
    "gatewaykeys",
    "secrets",
    "events",
    "leases",
    "namespaces",
    "deployments",
    "statefulsets",
    "daemonsets",
    "pods",
    "customresourcedefinitions",
];

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct CallLabels {
    verb: &'static str,
    resource: &'static str,
    status: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct VerbLabels {
    verb: &'static str,
}

/// What is counted of calls to the API server.
#[derive(Clone, Debug)]
pub struct KubernetesMetrics {
    requests: Family<CallLabels, Counter>,
    duration: Family<VerbLabels, Histogram, fn() -> Histogram>,
}

impl Default for KubernetesMetrics {
    fn default() -> Self {
        Self {
            requests: Family::default(),
            duration: Family::new_with_constructor(|| Histogram::new(BUCKETS)),
        }
    }
}

impl KubernetesMetrics {
    pub(super) fn register(&self, registry: &mut Registry) {
        registry.register(
            "kubernetes_requests",
            "Calls to the API server, by verb, resource and the status of the answer (none: there was none)",
            self.requests.clone(),
        );
        registry.register_with_unit(
            "kubernetes_request_duration",
            "How long the API server took to begin its answer, by verb; for a watch that is its begin",
            Unit::Seconds,
            self.duration.clone(),
        );
    }

    /// Counts a call.
    pub(super) fn called(
        &self,
        verb: &'static str,
        resource: &'static str,
        answer: Option<StatusCode>,
        took: Duration,
    ) {
        self.requests.get_or_create(&CallLabels { verb, resource, status: status(answer) }).inc();
        self.duration.get_or_create(&VerbLabels { verb }).observe(took.as_secs_f64());
    }
}

/// Verb and resource of a call, as RBAC knows them.
fn verb_and_resource(method: &Method, uri: &Uri) -> (&'static str, &'static str) {
    let mut segments = uri.path().split('/').filter(|segment| !segment.is_empty());
    // /api/VERSION/… or /apis/GROUP/VERSION/…
    let skipped = if segments.next() == Some("apis") { 2 } else { 1 };
    let mut segments: Vec<&str> = segments.skip(skipped).collect();
    if segments.first() == Some(&"namespaces") && segments.len() > 2 {
        segments.drain(..2);
    }
    let first = segments.first().copied().unwrap_or_default();
    let resource = RESOURCES.into_iter().find(|resource| *resource == first).unwrap_or("other");
    let watches = || uri.query().is_some_and(|query| query.split('&').any(|pair| pair == "watch=true"));
    let verb = match *method {
        Method::GET if watches() => "watch",
        Method::GET if segments.len() > 1 => "get",
        Method::GET => "list",
        Method::POST => "create",
        Method::PUT => "update",
        Method::PATCH => "patch",
        Method::DELETE => "delete",
        _ => "other",
    };
    (verb, resource)
}

impl<S> Layer<S> for KubernetesMetrics {
    type Service = Metered<S>;

    fn layer(&self, inner: S) -> Metered<S> {
        Metered { inner, metrics: self.clone() }
    }
}

/// A client's stack whose calls are counted.
#[derive(Clone, Debug)]
pub struct Metered<S> {
    inner: S,
    metrics: KubernetesMetrics,
}

impl<S, B, R> Service<Request<B>> for Metered<S>
where
    S: Service<Request<B>, Response = Response<R>>,
    S::Future: Send + 'static,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = Pin<Box<dyn Future<Output = Result<S::Response, S::Error>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let (verb, resource) = verb_and_resource(request.method(), request.uri());
        let metrics = self.metrics.clone();
        let begun = Instant::now();
        let answer = self.inner.call(request);
        Box::pin(async move {
            let answer = answer.await;
            let status = answer.as_ref().ok().map(Response::status);
            metrics.called(verb, resource, status, begun.elapsed());
            answer
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calls_are_told_apart_as_rbac_does() {
        let keys = "/apis/keys.keeptrusts.com/v1alpha1";
        for (method, path, expected) in [
            (Method::GET, format!("{keys}/accesskeys?limit=500"), ("list", "accesskeys")),
            (
                Method::GET,
                format!("{keys}/accesskeys?watch=true&timeoutSeconds=290"),
                ("watch", "accesskeys"),
            ),
            (Method::GET, format!("{keys}/namespaces/shop/gatewaykeys"), ("list", "gatewaykeys")),
            (Method::GET, format!("{keys}/namespaces/shop/gatewaykeys/runtime"), ("get", "gatewaykeys")),
            (
                Method::PUT,
                format!("{keys}/namespaces/shop/accesskeys/checkout/status"),
                ("update", "accesskeys"),
            ),
            (Method::PATCH, "/api/v1/namespaces/shop/secrets/checkout".to_owned(), ("patch", "secrets")),
            (Method::POST, "/api/v1/namespaces/shop/secrets".to_owned(), ("create", "secrets")),
            (Method::GET, "/api/v1/namespaces/kube-system".to_owned(), ("get", "namespaces")),
            (Method::GET, "/version".to_owned(), ("list", "other")),
        ] {
            assert_eq!(verb_and_resource(&method, &path.parse().unwrap()), expected, "{method} {path}");
        }
    }
}
