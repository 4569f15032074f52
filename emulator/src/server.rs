//! Listens, and closes connections where a fault wants that.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::response::IntoResponse as _;
use http::{Request, Response, StatusCode};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tower::ServiceExt as _;

use crate::api::{self, Cut};
use crate::shared::Shared;

/// Calls that wait are cut when the emulator stops, so only bodies on their way are left.
const GRACE: Duration = Duration::from_secs(3);

/// A listener that can't accept (too many open files) is tried again, but not in a tight loop.
const PAUSE: Duration = Duration::from_millis(50);

#[derive(Clone)]
pub(crate) struct Service {
    pub(crate) shared: Arc<Shared>,
    /// The admin endpoints, if they are on.
    pub(crate) admin: Option<Router>,
}

/// Serves until the emulator stops.
pub(crate) async fn serve(listener: TcpListener, service: Service) {
    let mut connections = JoinSet::new();
    let stopping = service.shared.stopping.clone();
    loop {
        tokio::select! {
            () = stopping.cancelled() => break,
            accepted = listener.accept() => match accepted {
                Ok((stream, peer)) => {
                    connections.spawn(connection(stream, peer, service.clone()));
                }
                Err(error) => {
                    tracing::warn!(%error, "no connection can be accepted");
                    tokio::time::sleep(PAUSE).await;
                }
            },
            // Ended ones are taken out; what a test left open must not pile up.
            Some(_) = connections.join_next() => {}
        }
    }
    drop(listener);
    let all = async { while connections.join_next().await.is_some() {} };
    // Whoever is left then is dropped with the set.
    let _ = tokio::time::timeout(GRACE, all).await;
}

async fn connection(stream: TcpStream, peer: SocketAddr, service: Service) {
    // Answers are small and a client waits for each.
    let _ = stream.set_nodelay(true);
    let stopping = service.shared.stopping.clone();
    let answer = service_fn(move |request| answer(service.clone(), peer, request));
    let connection =
        http1::Builder::new().timer(TokioTimer::new()).serve_connection(TokioIo::new(stream), answer);
    tokio::pin!(connection);
    // An error is a client that left, or a cut that a fault wanted: both are in the log of calls.
    let _ = tokio::select! {
        ended = connection.as_mut() => ended,
        () = stopping.cancelled() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
}

/// Hyper closes the connection without a word when this is an error.
async fn answer(
    service: Service,
    peer: SocketAddr,
    request: Request<Incoming>,
) -> Result<Response<Body>, Cut> {
    let Service { shared, admin } = service;
    let path = request.uri().path();
    if path != "/admin" && !path.starts_with("/admin/") {
        return api::handle(shared, request).await;
    }
    match admin {
        Some(admin) if is_here(peer.ip()) => Ok(admin.oneshot(request.map(Body::new)).await?),
        Some(_) => {
            Ok((StatusCode::FORBIDDEN, "the admin endpoints are for this machine alone\n").into_response())
        }
        None => Ok((StatusCode::NOT_FOUND, "the admin endpoints are switched off\n").into_response()),
    }
}

/// Whether a caller is on this machine.
fn is_here(caller: IpAddr) -> bool {
    caller.to_canonical().is_loopback()
}

#[cfg(test)]
mod tests {
    #[test]
    fn only_callers_on_this_machine_are_here() {
        for (caller, here) in [
            ("127.0.0.1", true),
            ("127.8.8.8", true),
            ("::1", true),
            ("::ffff:127.0.0.1", true),
            ("10.0.0.1", false),
            ("::ffff:10.0.0.1", false),
            ("fe80::1", false),
        ] {
            assert_eq!(super::is_here(caller.parse().unwrap()), here, "{caller}");
        }
    }
}
