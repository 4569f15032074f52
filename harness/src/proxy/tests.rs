//! The mechanics, against a small server of our own.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, Request, StatusCode};
use axum::response::IntoResponse as _;
use axum::routing::{any, get};
use futures::StreamExt as _;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::sync::{Notify, oneshot};

use super::*;
use crate::wait::eventually;

const SOON: Duration = Duration::from_secs(20);

/// How long nothing has to happen for a test to believe that nothing does.
const A_WHILE: Duration = Duration::from_millis(150);

#[derive(Default)]
struct Server {
    hits: AtomicUsize,
    watchers: AtomicUsize,
    next: Notify,
}

/// A server that counts, and a proxy before it.
async fn proxy() -> Result<(Arc<Server>, Proxy)> {
    let server = Arc::new(Server::default());
    let router = axum::Router::new()
        .route("/watch", get(watch))
        .route("/headers", any(headers))
        .fallback(any(count))
        .with_state(Arc::clone(&server));
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let url = format!("http://{}/", listener.local_addr()?);
    tokio::spawn(async move { axum::serve(listener, router).await });
    Ok((server, Proxy::start(Upstream::http(url)).await?))
}

async fn count(State(server): State<Arc<Server>>, request: Request<Body>) -> axum::response::Response {
    let hit = server.hits.fetch_add(1, Ordering::SeqCst) + 1;
    let body = axum::body::to_bytes(request.into_body(), usize::MAX).await.unwrap();
    (StatusCode::CREATED, [("x-hit", hit.to_string())], body).into_response()
}

async fn headers(headers: HeaderMap) -> String {
    let mut lines: Vec<_> =
        headers.iter().map(|(name, value)| format!("{name}: {}", value.to_str().unwrap())).collect();
    lines.sort();
    lines.join("\n")
}

/// A line at once, another one for each notification, and no end.
async fn watch(State(server): State<Arc<Server>>) -> Body {
    struct Watcher(Arc<Server>);
    impl Drop for Watcher {
        fn drop(&mut self) {
            self.0.watchers.fetch_sub(1, Ordering::SeqCst);
        }
    }
    server.watchers.fetch_add(1, Ordering::SeqCst);
    let lines = futures::stream::unfold((Watcher(server), 0), async |(watcher, line)| {
        if line > 0 {
            watcher.0.next.notified().await;
        }
        Some((Ok::<_, std::io::Error>(format!("line {line}\n")), (watcher, line + 1)))
    });
    Body::from_stream(lines)
}

fn client() -> reqwest::Client {
    crate::install_crypto_provider();
    reqwest::Client::builder().no_proxy().tls_certs_only([]).build().unwrap()
}

/// A request on its way; aborting it closes its connection, as the death of its process does.
fn post(proxy: &Proxy, path: &str) -> tokio::task::JoinHandle<Result<(u16, Value)>> {
    let request = client().post(format!("{}{path}", proxy.url())).json(&json!({"name": "checkout"}));
    tokio::spawn(async move {
        let answer = request.send().await?;
        Ok((answer.status().as_u16(), answer.json().await?))
    })
}

fn hits(server: &Server) -> usize {
    server.hits.load(Ordering::SeqCst)
}

#[tokio::test]
async fn status_headers_and_bodies_pass() -> Result<()> {
    let (server, proxy) = proxy().await?;
    let answer = client().put(format!("{}/thing?a=b%20c", proxy.url())).json(&json!({"x": 1})).send().await?;
    assert_eq!(answer.status(), 201);
    assert_eq!(answer.headers()["x-hit"], "1");
    assert_eq!(answer.json::<Value>().await?, json!({"x": 1}));

    let calls = proxy.calls();
    assert_eq!(calls.len(), 1);
    let call = &calls[0];
    assert_eq!((call.method.as_str(), call.path.as_str(), call.query.as_str()), ("PUT", "/thing", "a=b%20c"));
    assert_eq!((call.forwarded, call.server, call.status), (true, Some(201), Some(201)));
    assert!(call.has_query("a", "b c"));
    assert_eq!(call.body, json!({"x": 1}));
    assert_eq!(proxy.count(&Match::method("put").and_not(Match::path("/other"))), 1);
    assert_eq!(hits(&server), 1);
    Ok(())
}

#[tokio::test]
async fn the_callers_own_headers_pass_and_those_of_its_connection_do_not() -> Result<()> {
    let (_, proxy) = proxy().await?;
    let request = client()
        .get(format!("{}/headers", proxy.url()))
        .header("authorization", "Bearer one")
        .header("accept", "application/json;as=Table")
        .header("connection", "keep-alive, x-mine")
        .header("x-mine", "1");
    let seen = request.send().await?.text().await?;
    ensure!(seen.contains("authorization: Bearer one") && seen.contains("as=Table"), "{seen}");
    ensure!(!seen.contains("x-mine") && !seen.contains("connection"), "{seen}");
    ensure!(!seen.contains(proxy.url().trim_start_matches("http://")), "the host is the server's: {seen}");
    Ok(())
}

#[tokio::test]
async fn a_watch_streams_and_ends_with_its_caller() -> Result<()> {
    let (server, proxy) = proxy().await?;
    let mut lines = client().get(format!("{}/watch", proxy.url())).send().await?.bytes_stream();
    assert_eq!(&lines.next().await.unwrap()?[..], b"line 0\n");
    assert!(tokio::time::timeout(A_WHILE, lines.next()).await.is_err(), "nothing was sent");
    server.next.notify_one();
    assert_eq!(&lines.next().await.unwrap()?[..], b"line 1\n");
    drop(lines);
    eventually(SOON, "the watch has ended", async || {
        // The server notices when it writes.
        server.next.notify_one();
        ensure!(server.watchers.load(Ordering::SeqCst) == 0, "it goes on");
        Ok(())
    })
    .await
}

#[tokio::test]
async fn a_request_held_before_is_let_through() -> Result<()> {
    let (server, proxy) = proxy().await?;
    let held = proxy.add(Rule::on(Match::path("/held")).hold_before());
    let request = post(&proxy, "/held");
    let call = held.reached(SOON).await?;
    assert_eq!((call.forwarded, call.server), (false, None));
    tokio::time::sleep(A_WHILE).await;
    assert_eq!(hits(&server), 0);
    assert_eq!(post(&proxy, "/other").await??.0, 201, "others pass");
    held.release();
    assert_eq!(request.await??.0, 201);
    assert_eq!(held.finished(SOON).await?.status, Some(201));
    assert_eq!((hits(&server), held.hits()), (2, 1));
    assert_eq!(post(&proxy, "/held").await??.0, 201, "it was for the first alone");
    Ok(())
}

#[tokio::test]
async fn a_request_arrives_after_its_caller_died() -> Result<()> {
    let (server, proxy) = proxy().await?;
    let held = proxy.add(Rule::on(Match::any()).hold_before());
    let request = post(&proxy, "/held");
    held.reached(SOON).await?;
    request.abort();
    assert!(request.await.is_err());
    // Time for the proxy to see that the connection is closed; the outcome is the same if it doesn't.
    tokio::time::sleep(A_WHILE).await;
    assert_eq!(hits(&server), 0);
    held.release();
    assert_eq!(held.finished(SOON).await?.server, Some(201));
    assert_eq!(hits(&server), 1);
    Ok(())
}

#[tokio::test]
async fn discarded_requests_never_arrive() -> Result<()> {
    let (server, proxy) = proxy().await?;
    let held = proxy.add(Rule::on(Match::any()).hold_before());
    let request = post(&proxy, "/held");
    held.reached(SOON).await?;
    held.discard();
    ensure!(request.await?.is_err(), "it was answered");
    let call = held.finished(SOON).await?;
    assert_eq!((call.forwarded, call.status, hits(&server)), (false, None, 0));
    Ok(())
}

#[tokio::test]
async fn an_answer_is_held() -> Result<()> {
    let (server, proxy) = proxy().await?;
    let held = proxy.add(Rule::on(Match::any()).times(2).hold_after());
    let (first, second) = (post(&proxy, "/one"), post(&proxy, "/two"));
    for _ in 0..2 {
        let call = held.reached(SOON).await?;
        assert_eq!((call.server, call.status), (Some(201), None), "{call}");
    }
    assert_eq!((hits(&server), held.hits()), (2, 2));
    ensure!(!first.is_finished() && !second.is_finished());
    held.release();
    assert_eq!((first.await??.0, second.await??.0), (201, 201));
    Ok(())
}

#[tokio::test]
async fn a_late_request_arrives_after_its_caller_was_told_nothing() -> Result<()> {
    let (server, proxy) = proxy().await?;
    let late = proxy.add(Rule::on(Match::any()).late());
    ensure!(post(&proxy, "/late").await?.is_err(), "it was answered");
    late.reached(SOON).await?;
    assert_eq!(hits(&server), 0);
    assert_eq!(post(&proxy, "/late").await??.0, 201, "the caller tries again");
    late.release();
    assert_eq!(late.finished(SOON).await?.server, Some(201));
    assert_eq!(hits(&server), 2);
    Ok(())
}

#[tokio::test]
async fn rules_for_the_same_requests_are_a_script() -> Result<()> {
    let (server, proxy) = proxy().await?;
    let on = Match::path("/x");
    proxy.add(Rule::on(on.clone()).cut_before());
    proxy.add(Rule::on(on.clone()).cut_after());
    proxy.add(Rule::on(on.clone()).answer(503, json!({"error": "no"})).header("retry-after", "7"));
    proxy.add(Rule::on(on.clone()).answer_after(500, json!({"error": "done"})));
    // The next request is this rule's first.
    let last = proxy.add(Rule::on(on.clone()).nth(2).times(2).conflict());

    ensure!(post(&proxy, "/x").await?.is_err() && hits(&server) == 0, "cut before");
    ensure!(post(&proxy, "/x").await?.is_err() && hits(&server) == 1, "cut after");
    let answer = client().post(format!("{}/x", proxy.url())).send().await?;
    assert_eq!((answer.status().as_u16(), &answer.headers()["retry-after"]), (503, &"7".parse()?));
    assert_eq!((answer.json::<Value>().await?, hits(&server)), (json!({"error": "no"}), 1));
    assert_eq!((post(&proxy, "/x").await??, hits(&server)), ((500, json!({"error": "done"})), 2));
    assert_eq!((post(&proxy, "/x").await??.0, hits(&server)), (201, 3));
    for _ in 0..2 {
        let (status, body) = post(&proxy, "/x").await??;
        assert_eq!((status, &body["reason"], hits(&server)), (409, &json!("Conflict"), 3));
    }
    assert_eq!(post(&proxy, "/x").await??.0, 201);
    assert_eq!((last.hits(), proxy.count(&on)), (2, 8));

    let statuses: Vec<_> = proxy.calls().iter().map(|call| (call.server, call.status)).collect();
    assert_eq!(statuses[1], (Some(201), None));
    assert_eq!(statuses[3], (Some(201), Some(500)));
    Ok(())
}

#[tokio::test]
async fn a_rule_can_take_all_and_be_cleared() -> Result<()> {
    let (_, proxy) = proxy().await?;
    let which = Match::body("for checkout", |body| body["name"] == "checkout");
    let all = proxy.add(Rule::on(which).always().answer(429, json!({})));
    for _ in 0..3 {
        assert_eq!(post(&proxy, "/x").await??.0, 429);
    }
    proxy.clear();
    assert_eq!((post(&proxy, "/x").await??.0, all.hits()), (201, 3));
    Ok(())
}

#[tokio::test]
async fn delays_are_kept_though_the_caller_gives_up() -> Result<()> {
    let (server, proxy) = proxy().await?;
    let delayed = proxy.add(Rule::on(Match::any()).delay_forward(A_WHILE));
    let start = Instant::now();
    let request = post(&proxy, "/x");
    delayed.reached(SOON).await?;
    request.abort();
    delayed.finished(SOON).await?;
    assert_eq!(hits(&server), 1);
    ensure!(start.elapsed() >= A_WHILE);

    proxy.add(Rule::on(Match::any()).delay_answer(A_WHILE));
    let start = Instant::now();
    assert_eq!(post(&proxy, "/x").await??.0, 201);
    ensure!(start.elapsed() >= A_WHILE);
    Ok(())
}

/// No byte of an answer, and the end of the connection.
#[tokio::test]
async fn a_cut_is_the_end_of_the_connection() -> Result<()> {
    let (_, proxy) = proxy().await?;
    for rule in [Rule::on(Match::any()).cut_before(), Rule::on(Match::any()).cut_after()] {
        proxy.add(rule);
        let mut stream = TcpStream::connect(proxy.address).await?;
        stream.write_all(b"POST /x HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\n{}").await?;
        let mut answer = Vec::new();
        let read = tokio::time::timeout(SOON, stream.read_to_end(&mut answer)).await?;
        // A reset is an error here, and as good as an end.
        ensure!(answer.is_empty(), "{}: {read:?}", String::from_utf8_lossy(&answer));
    }
    Ok(())
}

#[tokio::test]
async fn a_server_that_is_down_looks_like_a_cut() -> Result<()> {
    let proxy = Proxy::start(Upstream::http(format!("http://127.0.0.1:{}", free_port()?))).await?;
    ensure!(post(&proxy, "/x").await?.is_err(), "it was answered");
    let call = &proxy.calls()[0];
    assert_eq!((call.forwarded, call.server, call.status), (false, None, None));
    ensure!(call.error.is_some(), "{call}");
    Ok(())
}

#[tokio::test]
async fn an_end_of_the_proxy_is_an_end_of_everything() -> Result<()> {
    let (server, proxy) = proxy().await?;
    let held = proxy.add(Rule::on(Match::any()).hold_before());
    let (address, request) = (proxy.address, post(&proxy, "/x"));
    held.reached(SOON).await?;
    drop(proxy);
    ensure!(tokio::time::timeout(SOON, request).await??.is_err(), "it was answered");
    eventually(SOON, "the port is closed", async || {
        ensure!(TcpStream::connect(address).await.is_err(), "it is open");
        Ok(())
    })
    .await?;
    held.release();
    tokio::time::sleep(A_WHILE).await;
    assert_eq!(hits(&server), 0, "a held request was let through");
    Ok(())
}

#[tokio::test]
async fn what_never_comes_is_told_with_what_came() -> Result<()> {
    let (_, proxy) = proxy().await?;
    let rule = proxy.add(Rule::on(steps::intent("checkout")).hold_before());
    post(&proxy, "/v1/tokens").await??;
    let error = rule.reached(A_WHILE).await.unwrap_err().to_string();
    ensure!(error.contains("the intent of checkout [held before]"), "{error}");
    ensure!(error.contains("0 POST /v1/tokens → 201"), "{error}");
    Ok(())
}

/// One that waits already hears of it, and each call is told once.
#[tokio::test]
async fn waiting_before_and_after_are_alike() -> Result<()> {
    let (_, proxy) = proxy().await?;
    let rule = proxy.add(Rule::on(Match::any()).times(2));
    let (started, waiting) = oneshot::channel();
    let waiter = tokio::spawn({
        let rule = rule.clone();
        async move {
            started.send(()).unwrap();
            rule.reached(SOON).await
        }
    });
    waiting.await?;
    post(&proxy, "/one").await??;
    assert_eq!(waiter.await??.path, "/one");
    post(&proxy, "/two").await??;
    assert_eq!(rule.reached(SOON).await?.path, "/two");
    ensure!(rule.reached(A_WHILE).await.is_err());
    Ok(())
}
