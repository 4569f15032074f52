//! A proxy between the operator and one of its servers that holds, loses, delays and makes up what passes.
//!
//! ```no_run
//! # use std::time::Duration;
//! # use keeptrusts_harness::{ControlPlane, Operator, Proxy, Rule, Upstream};
//! # async fn example(cluster: &ControlPlane, operator: &mut Operator) -> anyhow::Result<()> {
//! # const SOON: Duration = Duration::from_secs(20);
//! use keeptrusts_harness::proxy::{steps, tokens};
//!
//! let api = Proxy::start(Upstream::kubernetes(cluster)).await?;
//! // … the operator is started with `Launch::api_server(api.url())` …
//! let write = api.add(Rule::on(steps::secret_write("checkout-keeptrusts")).hold_before());
//! write.reached(SOON).await?;
//! operator.kill()?;
//! operator.restart()?;
//! // The dead operator's write arrives when the new one is at work.
//! write.release();
//! assert_eq!(write.finished(SOON).await?.server, Some(409));
//!
//! let emulator = Proxy::start(Upstream::http("http://127.0.0.1:8080")).await?;
//! emulator.add(Rule::on(tokens::create()).cut_after());
//! emulator.add(Rule::on(tokens::rotate()).nth(2).answer(500, serde_json::json!({"error": "no"})));
//! assert_eq!(emulator.count(&tokens::create()), 1);
//! # Ok(()) }
//! ```
//!
//! A server that can't be reached looks to the caller like a cut connection. For one that refuses connections, stop the proxy.

mod call;
mod matching;
mod rule;
mod serve;
pub mod steps;
#[cfg(test)]
mod tests;
pub mod tokens;

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, PoisonError};

use anyhow::{Context as _, Result};
use tokio::net::TcpListener;
use tokio_util::sync::DropGuard;

pub use self::call::Call;
pub use self::matching::Match;
use self::rule::Active;
pub use self::rule::{Rule, RuleHandle, kubernetes_status};
use self::serve::State;
use crate::ControlPlane;
use crate::net::free_port;

/// A free port can be taken by somebody else before it is bound; that this happens ten times in a row is out of the question.
const ATTEMPTS: usize = 10;

/// The server behind a proxy.
#[derive(Debug, Clone)]
pub struct Upstream {
    url: String,
    certificate: Option<Vec<u8>>,
}

impl Upstream {
    /// The API server of a control plane. Callers are known by the `Authorization` that they send.
    #[must_use]
    pub fn kubernetes(cluster: &ControlPlane) -> Self {
        Self { url: cluster.url().to_owned(), certificate: Some(cluster.certificate().to_owned()) }
    }

    /// A server that speaks plain HTTP, say the token API's emulator. Paths of requests come after the URL's own.
    pub fn http(url: impl Into<String>) -> Self {
        Self { url: url.into(), certificate: None }
    }
}

/// A running proxy, on the runtime that started it. Dropping it closes its port and every connection; what is held is discarded.
pub struct Proxy {
    address: SocketAddr,
    state: Arc<State>,
    _stop: DropGuard,
}

impl Proxy {
    /// Starts a proxy on a free port of the loopback interface. Without rules it passes everything on.
    ///
    /// # Errors
    /// When no port is free, or the upstream's certificate can't be read.
    pub async fn start(upstream: Upstream) -> Result<Self> {
        let state = Arc::new(State::new(&upstream)?);
        let listener = listen().await?;
        let address = listener.local_addr().context("asking for the proxy's port")?;
        let stop = state.stop.clone().drop_guard();
        tokio::spawn(serve::accept(Arc::clone(&state), listener));
        Ok(Self { address, state, _stop: stop })
    }

    /// Where it listens.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Every request so far, in the order of arrival, with what has become of it until now.
    #[must_use]
    pub fn calls(&self) -> Vec<Call> {
        self.state.log.all()
    }

    /// The requests so far that match.
    #[must_use]
    pub fn matching(&self, which: &Match) -> Vec<Call> {
        self.calls().into_iter().filter(|call| which.matches(call)).collect()
    }

    /// How many requests so far match.
    #[must_use]
    pub fn count(&self, which: &Match) -> usize {
        self.matching(which).len()
    }

    /// Adds a rule, behind those that are there. It is for requests that arrive from now on.
    #[expect(clippy::must_use_candidate, reason = "a cut or an answer needs no handle")]
    pub fn add(&self, rule: Rule) -> RuleHandle {
        let active = Arc::new(Active::new(rule));
        self.rules().push(Arc::clone(&active));
        RuleHandle { active, log: Arc::clone(&self.state.log) }
    }

    /// Takes all rules away. What they hold stays held until their handles let it go, or the proxy stops.
    pub fn clear(&self) {
        self.rules().clear();
    }

    fn rules(&self) -> std::sync::MutexGuard<'_, Vec<Arc<Active>>> {
        self.state.rules.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn listen() -> Result<TcpListener> {
    let mut last = None;
    for _ in 0..ATTEMPTS {
        match TcpListener::bind((Ipv4Addr::LOCALHOST, free_port()?)).await {
            Ok(listener) => return Ok(listener),
            Err(error) => last = Some(error),
        }
    }
    Err(last.map_or_else(|| anyhow::anyhow!("no attempt"), Into::into))
        .context("opening a port for the proxy")
}
