//! The HTTP server of both ports. Any peer that reaches a port can send requests, so a peer's share of memory and connections is bounded:
//! one request per connection, within a time limit, with few headers and a body that isn't read.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use axum::Router;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{AbortHandle, JoinHandle, JoinSet};
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

/// Most connections of one port. Kubelet needs one, a few Prometheus servers one each. At 8 KiB each these are 256 KiB.
const CONNECTIONS: usize = 32;

/// How long the head of a request may take.
const HEAD: Duration = Duration::from_secs(5);

/// How long a connection may take in all: a page of metrics may be long, and the way to Prometheus slow.
const ALL: Duration = Duration::from_secs(30);

/// Most bytes of a request's head, and as many of a body that are received though nobody reads them. hyper takes no less.
const BUFFER: usize = 8 << 10;

/// Most headers of a request.
const HEADERS: usize = 32;

/// How long to wait after a connection couldn't be accepted: for want of file descriptors, say.
const PAUSE: Duration = Duration::from_millis(100);

/// How long what is being answered may take when the server stops.
const LAST: Duration = Duration::from_secs(2);

/// The connections that are open, in the order in which they came.
#[derive(Default)]
struct Open(Vec<(IpAddr, AbortHandle)>);

impl Open {
    /// Makes room for one more: at the limit, closes the oldest connection of the peer that has the most. So a peer with one connection
    /// gets an answer however many another peer holds.
    fn make_room(&mut self) {
        self.0.retain(|(_, connection)| !connection.is_finished());
        while self.0.len() >= CONNECTIONS {
            let peers: Vec<_> = self.0.iter().map(|(peer, _)| *peer).collect();
            self.0.remove(victim(&peers)).1.abort();
        }
    }
}

/// Index of the connection to close, among the connections of these peers, oldest first.
fn victim(peers: &[IpAddr]) -> usize {
    let mut held: HashMap<IpAddr, usize> = HashMap::new();
    for peer in peers {
        *held.entry(*peer).or_default() += 1;
    }
    let most = held.values().copied().max().unwrap_or_default();
    peers.iter().position(|peer| held[peer] == most).unwrap_or_default()
}

/// Answers requests until `stop`; then finishes those under way, within a moment.
pub(crate) fn serve(listener: TcpListener, routes: Router, stop: CancellationToken) -> JoinHandle<()> {
    tokio::spawn(async move {
        let (mut open, mut connections) = (Open::default(), JoinSet::new());
        loop {
            let accepted = tokio::select! {
                accepted = listener.accept() => accepted,
                Some(_) = connections.join_next() => continue,
                () = stop.cancelled() => break,
            };
            let Ok((stream, peer)) = accepted else {
                sleep(PAUSE).await;
                continue;
            };
            open.make_room();
            let connection = connections.spawn(answer(stream, routes.clone()));
            open.0.push((canonical(peer), connection));
        }
        drop(listener);
        let _ = timeout(LAST, async { while connections.join_next().await.is_some() {} }).await;
    })
}

/// An IPv4 address that an IPv6 socket shows as one of its own is the same peer.
fn canonical(peer: SocketAddr) -> IpAddr {
    peer.ip().to_canonical()
}

/// Answers one request. Errors of a connection are the peer's and aren't logged.
async fn answer(stream: TcpStream, routes: Router) {
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD)
        .keep_alive(false)
        .max_buf_size(BUFFER)
        .max_headers(HEADERS)
        .serve_connection(TokioIo::new(stream), TowerToHyperService::new(routes));
    let _ = timeout(ALL, connection).await;
}

#[cfg(test)]
mod tests {
    use axum::routing::get;
    use futures::StreamExt as _;
    use futures::future::join_all;
    use futures::stream::FuturesUnordered;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    use super::*;

    fn peer(last: u8) -> IpAddr {
        [10, 0, 0, last].into()
    }

    #[test]
    fn whoever_holds_most_loses_the_oldest() {
        for (peers, goes) in [
            (&[1, 2, 2, 2][..], 1),
            (&[2, 1, 2, 3][..], 0),
            (&[1, 2, 3][..], 0),
            (&[3, 1, 1, 2, 2][..], 1),
            (&[7][..], 0),
        ] {
            let peers: Vec<_> = peers.iter().copied().map(peer).collect();
            assert_eq!(victim(&peers), goes, "{peers:?}");
        }
    }

    async fn started() -> (SocketAddr, CancellationToken, JoinHandle<()>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (address, stop) = (listener.local_addr().unwrap(), CancellationToken::new());
        let routes = Router::new().route("/livez", get(async || "ok\n"));
        (address, stop.clone(), serve(listener, routes, stop))
    }

    /// Sends this, and reads to the end.
    async fn exchange(address: SocketAddr, request: &str) -> String {
        let mut stream = TcpStream::connect(address).await.unwrap();
        // The server may answer, and close, before it has read all.
        let _ = stream.write_all(request.as_bytes()).await;
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer).await;
        String::from_utf8(answer).unwrap()
    }

    #[tokio::test]
    async fn five_hundred_half_open_requests_keep_nobody_from_being_heard_and_most_are_closed() {
        let (address, ..) = started().await;
        let mut half_open = join_all((0..500).map(async |_| {
            let mut stream = TcpStream::connect(address).await.unwrap();
            let _ = stream.write_all(b"GET /livez HTTP/1.1\r\nHost: a\r\nX: ").await;
            stream
        }))
        .await;
        // Both waits end before the heads that are awaited are late.
        let closing = half_open.iter_mut().map(tokio::io::AsyncReadExt::read_u8);
        let mut closing = std::pin::pin!(closing.collect::<FuturesUnordered<_>>());
        let mut closed = async |most: usize| {
            let closed = timeout(HEAD / 4, closing.as_mut().take(most).count()).await;
            assert_eq!(closed.ok(), Some(most), "connections are closed");
        };
        // Until all have been accepted: at most so many are open.
        closed(500 - CONNECTIONS).await;
        assert!(exchange(address, "GET /livez HTTP/1.1\r\nHost: a\r\n\r\n").await.ends_with("\r\n\r\nok\n"));
        // One more was let in.
        closed(1).await;
    }

    #[tokio::test]
    async fn a_request_has_a_small_head_and_a_connection_one_request() {
        let (address, ..) = started().await;
        for (request, status) in [
            (format!("GET /livez HTTP/1.1\r\nHost: a\r\nX: {}\r\n\r\n", "x".repeat(BUFFER)), "431"),
            (format!("GET /{} HTTP/1.1\r\nHost: a\r\n\r\n", "x".repeat(BUFFER)), "4"),
            (format!("GET /livez HTTP/1.1\r\nHost: a\r\n{}\r\n", "X: x\r\n".repeat(HEADERS)), "431"),
            (
                format!(
                    "GET /livez HTTP/1.1\r\nHost: a\r\nContent-Length: 999999999\r\n\r\n{}",
                    "x".repeat(BUFFER)
                ),
                "200",
            ),
            ("GET /livez HTTP/1.1\r\nHost: a\r\n\r\n".repeat(2), "200"),
        ] {
            let answer = exchange(address, &request).await;
            assert!(answer.starts_with(&format!("HTTP/1.1 {status}")), "{request:.60}: {answer}");
            assert!(answer.matches("HTTP/1.1").count() == 1, "{answer}");
        }
    }

    #[tokio::test]
    async fn it_stops_though_connections_are_open() {
        let (address, stop, server) = started().await;
        let _half_open = TcpStream::connect(address).await.unwrap();
        stop.cancel();
        server.await.unwrap();
        assert!(TcpStream::connect(address).await.is_err());
    }
}
