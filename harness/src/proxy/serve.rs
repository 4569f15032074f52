//! The way of a request through the proxy.
//!
//! The exchange with the server is a task of its own: a caller that dies, or is cut off, doesn't take its request with it.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context as _, Result};
use http::header::{
    CONNECTION, CONTENT_LENGTH, CONTENT_TYPE, EXPECT, HOST, TE, TRAILER, TRANSFER_ENCODING, UPGRADE,
};
use http::request::Parts;
use http::{HeaderMap, HeaderName, Response};
use http_body_util::BodyExt as _;
use hyper::body::{Bytes, Incoming};
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use reqwest::Body;
use serde_json::Value;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;

use super::Upstream;
use super::call::Log;
use super::rule::{Active, Fault, Verdict};

/// An address that refuses connections does so at once; this is for one that swallows them.
const CONNECT: Duration = Duration::from_secs(10);

/// Headers that belong to one connection, beside those that `Connection` names.
const HOP_BY_HOP: [HeaderName; 7] = [
    CONNECTION,
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-connection"),
    TE,
    TRAILER,
    TRANSFER_ENCODING,
    UPGRADE,
];

/// The end of a connection without an answer.
#[derive(Debug)]
struct Cut;

impl fmt::Display for Cut {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("cut")
    }
}

impl std::error::Error for Cut {}

/// What the tasks of a proxy share.
pub(super) struct State {
    base: String,
    client: reqwest::Client,
    pub(super) log: Arc<Log>,
    pub(super) rules: Mutex<Vec<Arc<Active>>>,
    pub(super) stop: CancellationToken,
}

impl State {
    pub(super) fn new(upstream: &Upstream) -> Result<Self> {
        crate::install_crypto_provider();
        let mut certificates = Vec::new();
        if let Some(pem) = &upstream.certificate {
            certificates =
                reqwest::Certificate::from_pem_bundle(pem).context("reading the server's certificate")?;
        }
        let client = reqwest::Client::builder()
            .tls_certs_only(certificates)
            .http1_only()
            // A connection for each call: no call can fail because the server closed one that was idle.
            .pool_max_idle_per_host(0)
            .connect_timeout(CONNECT)
            .redirect(reqwest::redirect::Policy::none())
            .retry(reqwest::retry::never())
            .no_gzip()
            .no_proxy()
            .build()
            .context("making the proxy's client")?;
        Ok(Self {
            base: upstream.url.trim_end_matches('/').to_owned(),
            client,
            log: Arc::default(),
            rules: Mutex::default(),
            stop: CancellationToken::new(),
        })
    }

    /// The rule that takes a request: the first that will.
    fn rule_for(&self, call: &super::Call) -> Option<Arc<Active>> {
        let rules = self.rules.lock().unwrap_or_else(PoisonError::into_inner);
        rules.iter().find(|active| active.takes(call)).cloned()
    }
}

/// Accepts connections until the proxy stops.
pub(super) async fn accept(state: Arc<State>, listener: TcpListener) {
    let stop = state.stop.clone();
    let accepting = async {
        loop {
            match listener.accept().await {
                Ok((stream, _)) => drop(tokio::spawn(connection(Arc::clone(&state), stream))),
                // Out of file descriptors, say; callers see it as a server that doesn't answer.
                Err(_) => tokio::time::sleep(Duration::from_millis(50)).await,
            }
        }
    };
    // The loop has no other end.
    let _: Option<()> = stop.run_until_cancelled(accepting).await;
}

async fn connection(state: Arc<State>, stream: TcpStream) {
    let stop = state.stop.clone();
    // Small answers shouldn't wait for the acknowledgement of the last one.
    let _ = stream.set_nodelay(true);
    let service = service_fn(|request| exchange(Arc::clone(&state), request));
    let serving = hyper::server::conn::http1::Builder::new()
        // Idle callers are kept: closing would race with their next request.
        .header_read_timeout(None)
        .serve_connection(TokioIo::new(stream), service);
    // An error is a caller that is gone, or one that was cut off. Dropping the connection closes it.
    let _ = stop.run_until_cancelled(serving).await;
}

async fn exchange(state: Arc<State>, request: http::Request<Incoming>) -> Result<Response<Body>, Cut> {
    let (parts, body) = request.into_parts();
    let body = body.collect().await.map_err(|_| Cut)?.to_bytes();
    let call = state.log.begin(&parts, &body);
    let rule = state.rule_for(&call);
    let (caller, answer) = oneshot::channel();
    let errand = Errand { state: Arc::clone(&state), index: call.index, parts, body };
    tokio::spawn(async move {
        let stop = state.stop.clone();
        stop.run_until_cancelled(errand.run(rule, caller)).await;
    });
    // The sender is dropped without an answer to cut the connection.
    answer.await.map_err(|_| Cut)
}

type Caller = oneshot::Sender<Response<Body>>;

/// One request on its way.
struct Errand {
    state: Arc<State>,
    index: usize,
    parts: Parts,
    body: Bytes,
}

impl Errand {
    async fn run(self, rule: Option<Arc<Active>>, caller: Caller) {
        let Some(active) = rule else {
            let answer = self.forward().await;
            return self.send_back(caller, answer);
        };
        let fault = &active.rule.fault;
        self.note(|call| call.fault = Some(fault.name()));
        let caught = || active.reached(self.state.log.call(self.index));
        match fault {
            Fault::Observe => {
                let answer = self.forward().await;
                self.send_back(caller, answer);
                caught();
            }
            Fault::HoldBefore => {
                caught();
                if active.verdict().await == Verdict::Release {
                    let answer = self.forward().await;
                    self.send_back(caller, answer);
                }
            }
            Fault::HoldAfter => {
                let answer = self.forward().await;
                caught();
                if active.verdict().await == Verdict::Release {
                    self.send_back(caller, answer);
                }
            }
            Fault::Late => {
                drop(caller);
                caught();
                if active.verdict().await == Verdict::Release {
                    self.forward().await;
                }
            }
            Fault::CutBefore => {
                drop(caller);
                caught();
            }
            Fault::CutAfter => {
                self.forward().await;
                drop(caller);
                caught();
            }
            Fault::DelayForward(delay) => {
                caught();
                tokio::time::sleep(*delay).await;
                let answer = self.forward().await;
                self.send_back(caller, answer);
            }
            Fault::DelayAnswer(delay) => {
                let answer = self.forward().await;
                caught();
                tokio::time::sleep(*delay).await;
                self.send_back(caller, answer);
            }
            Fault::Answer(status, body) => {
                self.make_up(caller, &active, *status, body);
                caught();
            }
            Fault::AnswerAfter(status, body) => {
                self.forward().await;
                self.make_up(caller, &active, *status, body);
                caught();
            }
        }
        active.finished(self.state.log.call(self.index));
    }

    /// Asks the server. Nothing, if it didn't answer.
    async fn forward(&self) -> Option<Response<Body>> {
        let Parts { method, uri, headers, .. } = &self.parts;
        let target = uri.path_and_query().map_or("/", |target| target.as_str());
        let mut headers = without_hop_by_hop(headers);
        // The client sets the first two for the server, and the body is here already.
        for name in [HOST, CONTENT_LENGTH, EXPECT] {
            headers.remove(name);
        }
        self.note(|call| call.forwarded = true);
        let request = self.state.client.request(method.clone(), format!("{}{target}", self.state.base));
        match request.headers(headers).body(self.body.clone()).send().await {
            Ok(answer) => {
                let mut answer: Response<Body> = answer.into();
                *answer.headers_mut() = without_hop_by_hop(answer.headers());
                self.note(|call| call.server = Some(answer.status().as_u16()));
                Some(answer)
            }
            Err(error) => {
                self.note(|call| {
                    call.forwarded = !error.is_connect();
                    call.error = Some(format!("{:#}", anyhow::Error::from(error)));
                });
                None
            }
        }
    }

    /// Hands the answer to the caller's connection. Without an answer the connection is cut.
    fn send_back(&self, caller: Caller, answer: Option<Response<Body>>) {
        let Some(answer) = answer else { return };
        let status = answer.status().as_u16();
        // First, so that a caller that has its answer finds it in the list of calls.
        self.note(|call| call.status = Some(status));
        if caller.send(answer).is_err() {
            self.note(|call| call.status = None);
        }
    }

    fn make_up(&self, caller: Caller, active: &Active, status: u16, body: &Value) {
        let mut answer = Response::builder().status(status).header(CONTENT_TYPE, "application/json");
        for (name, value) in &active.rule.headers {
            answer = answer.header(name, value);
        }
        match answer.body(Body::from(body.to_string())) {
            Ok(answer) => self.send_back(caller, Some(answer)),
            Err(error) => self.note(|call| call.error = Some(format!("the rule's answer: {error}"))),
        }
    }

    fn note(&self, change: impl FnOnce(&mut super::Call)) {
        self.state.log.note(self.index, change);
    }
}

fn without_hop_by_hop(headers: &HeaderMap) -> HeaderMap {
    let mut kept = headers.clone();
    let named = headers.get_all(CONNECTION).iter().filter_map(|value| value.to_str().ok());
    for name in named.flat_map(|names| names.split(',')) {
        kept.remove(name.trim());
    }
    for name in HOP_BY_HOP {
        kept.remove(name);
    }
    kept
}
