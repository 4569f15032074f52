//! Servers for tests: one that answers by a function, and one that is raw TCP.

use std::num::NonZeroU32;
use std::sync::{Arc, Mutex, Once};
use std::time::Duration;

use axum::body::Body;
use axum::extract::Request;
use axum::response::Response;
use http::{HeaderMap, Method, StatusCode};
use tempfile::TempDir;
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::net::{TcpListener, TcpStream};

use crate::token_api::{Client, Settings};

/// The operator's own credential in tests.
pub(super) const CREDENTIAL: &str = "kt_live_operators_own_canary";

/// A value that must never be seen.
pub(super) const VALUE: &str = "kt_live_value_canary_0123456789abcdef";

/// A request as it arrived.
#[derive(Clone, Debug)]
pub(super) struct Seen {
    pub(super) method: Method,
    pub(super) path: String,
    pub(super) query: String,
    pub(super) headers: HeaderMap,
    pub(super) body: String,
}

impl Seen {
    pub(super) fn line(&self) -> String {
        let query = if self.query.is_empty() { String::new() } else { format!("?{}", self.query) };
        format!("{} {}{query}", self.method, self.path)
    }
}

/// A server that answers by a function, which is told the number of the request.
pub(super) struct Server {
    pub(super) url: String,
    seen: Arc<Mutex<Vec<Seen>>>,
    _task: tokio_util::task::AbortOnDropHandle<()>,
}

impl Server {
    pub(super) async fn start(
        answer: impl Fn(usize, &Seen) -> Response + Clone + Send + Sync + 'static,
    ) -> Self {
        let seen: Arc<Mutex<Vec<Seen>>> = Arc::default();
        let log = Arc::clone(&seen);
        let app = axum::Router::new().fallback(move |request: Request| {
            let (log, answer) = (Arc::clone(&log), answer.clone());
            async move {
                let (parts, body) = request.into_parts();
                let body = axum::body::to_bytes(body, 1 << 20).await.unwrap();
                let request = Seen {
                    method: parts.method,
                    path: parts.uri.path().to_owned(),
                    query: parts.uri.query().unwrap_or_default().to_owned(),
                    headers: parts.headers,
                    body: String::from_utf8(body.to_vec()).unwrap(),
                };
                let number = {
                    let mut log = log.lock().unwrap();
                    log.push(request.clone());
                    log.len() - 1
                };
                answer(number, &request)
            }
        });
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let task = tokio::spawn(async move { axum::serve(listener, app).await.unwrap() });
        Self { url, seen, _task: tokio_util::task::AbortOnDropHandle::new(task) }
    }

    /// A server that says the same to everything.
    pub(super) async fn saying(status: u16, body: &str) -> Self {
        let body = body.to_owned();
        Self::start(move |_, _| response(status, &body)).await
    }

    pub(super) fn seen(&self) -> Vec<Seen> {
        self.seen.lock().unwrap().clone()
    }

    pub(super) fn lines(&self) -> Vec<String> {
        self.seen().iter().map(Seen::line).collect()
    }
}

pub(super) fn response(status: u16, body: &str) -> Response {
    response_with(status, &[], body)
}

pub(super) fn response_with(status: u16, headers: &[(&str, &str)], body: &str) -> Response {
    let mut response = Response::builder().status(StatusCode::from_u16(status).unwrap());
    for (name, value) in headers {
        response = response.header(*name, *value);
    }
    response.body(Body::from(body.to_owned())).unwrap()
}

/// A client, and the folder of its files.
pub(super) struct Fixture {
    pub(super) client: Arc<Client>,
    pub(super) folder: TempDir,
}

/// Settings for a server, with a credential in `folder`.
pub(super) fn settings(url: &str, folder: &TempDir) -> Settings {
    static PROVIDER: Once = Once::new();
    PROVIDER.call_once(|| {
        let _installed = rustls::crypto::ring::default_provider().install_default();
    });
    let token_file = folder.path().join("token");
    std::fs::write(&token_file, format!("{CREDENTIAL}\n")).unwrap();
    Settings {
        url: url.parse().unwrap(),
        token_file,
        ca_file: None,
        allow_http: false,
        // Long enough for a busy machine; tests of deadlines set their own.
        call_deadline: Duration::from_secs(20),
        requests_per_second: NonZeroU32::new(1000).unwrap(),
        list_lag: Duration::from_millis(100),
    }
}

pub(super) fn client(url: &str) -> Fixture {
    client_with(url, |_| ())
}

pub(super) fn client_with(url: &str, change: impl FnOnce(&mut Settings)) -> Fixture {
    let folder = tempfile::tempdir().unwrap();
    let mut settings = settings(url, &folder);
    change(&mut settings);
    Fixture { client: Arc::new(Client::new(&settings).unwrap()), folder }
}

/// A raw listener, for servers that misbehave.
pub(super) async fn raw() -> (TcpListener, String) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    (listener, url)
}

/// Reads one whole request; nothing if the connection ends before.
pub(super) async fn read_request(stream: &mut (impl AsyncRead + Unpin)) -> Option<String> {
    let mut text = Vec::new();
    let mut byte = [0_u8; 1];
    while !text.ends_with(b"\r\n\r\n") {
        if stream.read(&mut byte).await.unwrap_or(0) == 0 {
            return None;
        }
        text.push(byte[0]);
    }
    let head = String::from_utf8(text).unwrap();
    let length = head
        .lines()
        .filter_map(|line| line.split_once(": "))
        .find(|(name, _)| name.eq_ignore_ascii_case("content-length"))
        .map_or(0, |(_, length)| length.parse().unwrap());
    let mut body = vec![0; length];
    stream.read_exact(&mut body).await.ok()?;
    Some(head + std::str::from_utf8(&body).unwrap())
}

/// Accepts connections and serves each with `serve`, which is told the connection's number, until dropped.
pub(super) fn serve_raw<F>(
    listener: TcpListener,
    serve: impl Fn(usize, TcpStream) -> F + Send + 'static,
) -> tokio_util::task::AbortOnDropHandle<()>
where
    F: Future<Output = ()> + Send + 'static,
{
    tokio_util::task::AbortOnDropHandle::new(tokio::spawn(async move {
        for number in 0.. {
            let (stream, _) = listener.accept().await.unwrap();
            tokio::spawn(serve(number, stream));
        }
    }))
}
