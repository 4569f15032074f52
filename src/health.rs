//! `/healthz` and `/readyz`, for kubelet.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use anyhow::Context as _;
use axum::Router;
use axum::http::StatusCode;
use axum::routing::get;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

/// Whether the operator is ready: once every cache is filled. The token API's state has no part in it, for a restart
/// cures nothing there.
#[derive(Clone, Debug)]
pub struct Health(Arc<AtomicUsize>);

impl Default for Health {
    fn default() -> Self {
        // One that never syncs, until it is known how many do.
        Self(Arc::new(AtomicUsize::new(1)))
    }
}

impl Health {
    /// So many watches have to sync.
    pub fn expect(&self, watches: usize) {
        self.0.store(watches, Ordering::Release);
    }

    /// One of them has.
    pub fn synced(&self) {
        self.0.fetch_sub(1, Ordering::AcqRel);
    }

    /// Whether all have.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        self.0.load(Ordering::Acquire) == 0
    }

    fn ready(&self) -> (StatusCode, &'static str) {
        if self.is_ready() {
            (StatusCode::OK, "ok\n")
        } else {
            (StatusCode::SERVICE_UNAVAILABLE, "the caches aren't filled yet\n")
        }
    }

    /// Answers on `address` until `stop`.
    ///
    /// # Errors
    /// If it can't listen there.
    pub async fn serve(self, address: SocketAddr, stop: CancellationToken) -> anyhow::Result<JoinHandle<()>> {
        let listener = TcpListener::bind(address)
            .await
            .with_context(|| format!("can't listen on --health-address {address}"))?;
        let routes = Router::new()
            .route("/healthz", get(|| async { "ok\n" }))
            .route("/readyz", get(move || async move { self.ready() }));
        Ok(tokio::spawn(async move {
            let served = axum::serve(listener, routes).with_graceful_shutdown(stop.cancelled_owned());
            if let Err(error) = served.await {
                tracing::error!(%error, "the health endpoint ended");
            }
        }))
    }
}
