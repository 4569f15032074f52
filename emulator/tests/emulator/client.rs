//! A client that hides nothing: no retries, no redirects, a connection for every call.

use std::time::Duration;

use axum::body::Bytes;
use http::{HeaderMap, Method, Request};
use http_body_util::{BodyExt as _, Full};
use hyper_util::client::legacy::Client as Http;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use keeptrusts_emulator::{Behaviour, Emulator, Options};
use serde_json::{Value, json};

/// Far more than any call here takes, on a busy machine too.
const PATIENCE: Duration = Duration::from_secs(20);

pub(crate) struct Client {
    pub(crate) url: String,
    bearer: String,
    http: Http<HttpConnector, Full<Bytes>>,
}

#[derive(Debug)]
pub(crate) struct Reply {
    pub(crate) status: u16,
    pub(crate) headers: HeaderMap,
    pub(crate) text: String,
}

/// No answer, or half of one.
#[derive(Debug)]
pub(crate) struct Broken;

impl Reply {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap()
    }

    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |it| it.to_str().unwrap())
    }
}

/// An emulator and a client that has its credential.
pub(crate) async fn started() -> (Emulator, Client) {
    let emulator = Emulator::start(Options::default()).await.unwrap();
    let client = Client::new(&emulator.url(), &emulator.credential());
    (emulator, client)
}

/// The same, with a changed behaviour.
pub(crate) async fn behaving(change: impl FnOnce(&mut Behaviour)) -> (Emulator, Client) {
    let (emulator, client) = started().await;
    emulator.behaviour(change);
    (emulator, client)
}

impl Client {
    pub(crate) fn new(url: &str, bearer: &str) -> Self {
        let http = Http::builder(TokioExecutor::new())
            .pool_max_idle_per_host(0)
            .retry_canceled_requests(false)
            .build_http();
        Self { url: url.into(), bearer: bearer.into(), http }
    }

    /// The same client with another bearer token.
    pub(crate) fn bearing(&self, bearer: &str) -> Self {
        Self { url: self.url.clone(), bearer: bearer.into(), http: self.http.clone() }
    }

    pub(crate) async fn send(
        &self,
        method: Method,
        path: &str,
        headers: &[(&str, &str)],
        body: Option<Value>,
    ) -> Result<Reply, Broken> {
        let body = body.map(|it| Bytes::from(it.to_string())).unwrap_or_default();
        let mut request = Request::builder().method(method).uri(format!("{}{path}", self.url));
        if !self.bearer.is_empty() {
            request = request.header("authorization", format!("Bearer {}", self.bearer));
        }
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let request = request.body(Full::new(body)).unwrap();
        let call = async {
            let answer = self.http.request(request).await.map_err(|_| Broken)?;
            let (parts, body) = answer.into_parts();
            let text = body.collect().await.map_err(|_| Broken)?.to_bytes();
            Ok(Reply {
                status: parts.status.as_u16(),
                headers: parts.headers,
                text: String::from_utf8(text.to_vec()).unwrap(),
            })
        };
        tokio::time::timeout(PATIENCE, call).await.expect("an answer, or a cut connection, in time")
    }

    pub(crate) async fn get(&self, path: &str) -> Result<Reply, Broken> {
        self.send(Method::GET, path, &[], None).await
    }

    pub(crate) async fn post(&self, path: &str, body: Value) -> Result<Reply, Broken> {
        self.send(Method::POST, path, &[], Some(body)).await
    }

    /// Creates an Access Key.
    pub(crate) async fn create(&self, name: &str) -> Result<Reply, Broken> {
        self.post("/v1/tokens", json!({"name": name, "token_type": "access"})).await
    }

    /// Creates an Access Key where nothing goes wrong; gives its id and its value.
    pub(crate) async fn created(&self, name: &str) -> (String, String) {
        let made = self.create(name).await.unwrap().json();
        (text(&made["id"]), text(&made["token"]))
    }

    pub(crate) async fn rotate(&self, id: &str) -> Result<Reply, Broken> {
        self.send(Method::POST, &format!("/v1/tokens/{id}/rotate"), &[], None).await
    }

    pub(crate) async fn revoke(&self, id: &str) -> Result<Reply, Broken> {
        self.send(Method::DELETE, &format!("/v1/tokens/{id}"), &[], None).await
    }

    pub(crate) async fn list(&self) -> Result<Reply, Broken> {
        self.get("/v1/tokens?type=access").await
    }

    /// The names in a list of the default shape.
    pub(crate) async fn listed(&self) -> Vec<String> {
        names(&self.list().await.unwrap().json()["tokens"])
    }

    /// What `whoami` says of a value.
    pub(crate) async fn whoami(&self, value: &str) -> u16 {
        self.bearing(value).get("/v1/whoami").await.unwrap().status
    }
}

pub(crate) fn names(tokens: &Value) -> Vec<String> {
    tokens.as_array().unwrap().iter().map(|token| text(&token["name"])).collect()
}

pub(crate) fn text(value: &Value) -> String {
    value.as_str().unwrap().to_owned()
}
