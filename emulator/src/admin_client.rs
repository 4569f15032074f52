//! Controls an emulator that runs as a process of its own. Plain HTTP, and a connection for every request.

use axum::body::Bytes;
use http::header::CONTENT_TYPE;
use http::{Method, Request, StatusCode};
use http_body_util::{BodyExt as _, Full};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use crate::admin::{Alive, CallPage, Release};
use crate::behaviour::Behaviour;
use crate::fault::{ActiveFault, Fault};
use crate::token::{NewToken, Token};

/// A client of the admin endpoints.
#[derive(Debug, Clone)]
pub struct AdminClient {
    url: String,
    client: Client<HttpConnector, Full<Bytes>>,
}

/// Why something wasn't done.
#[derive(Debug, thiserror::Error)]
pub enum AdminError {
    /// The URL is none.
    #[error("not a URL")]
    Url(#[from] http::Error),
    /// The emulator isn't there.
    #[error("the emulator doesn't answer")]
    Connect(#[from] hyper_util::client::legacy::Error),
    /// Its answer broke off.
    #[error("the emulator's answer broke off")]
    Body(#[from] hyper::Error),
    /// Its answer isn't what this client knows: another version.
    #[error("the emulator's answer isn't understood")]
    Decode(#[from] serde_json::Error),
    /// It refused.
    #[error("the emulator refused with {0}: {1}")]
    Refused(StatusCode, String),
}

impl AdminClient {
    /// A client of the emulator at a base URL: `http://127.0.0.1:8080`.
    #[must_use]
    pub fn new(url: &str) -> Self {
        let client = Client::builder(TokioExecutor::new()).pool_max_idle_per_host(0).build_http();
        Self { url: url.trim_end_matches('/').into(), client }
    }

    /// Whether it is there.
    ///
    /// # Errors
    /// When it isn't.
    pub async fn health(&self) -> Result<(), AdminError> {
        self.send(Method::GET, "healthz", None).await.map(drop)
    }

    /// The standing behaviour.
    ///
    /// # Errors
    /// As every method: when the emulator isn't there, or refuses.
    pub async fn behaviour(&self) -> Result<Behaviour, AdminError> {
        self.get("behaviour").await
    }

    /// Replaces the standing behaviour.
    ///
    /// # Errors
    /// As [`Self::behaviour`].
    pub async fn set_behaviour(&self, behaviour: &Behaviour) -> Result<(), AdminError> {
        self.send(Method::PUT, "behaviour", Some(json!(behaviour))).await.map(drop)
    }

    /// Changes the standing behaviour by a JSON merge patch.
    ///
    /// # Errors
    /// As [`Self::behaviour`].
    pub async fn change_behaviour(&self, change: Value) -> Result<Behaviour, AdminError> {
        self.call(Method::PATCH, "behaviour", Some(change)).await
    }

    /// Adds a fault and gives its id.
    ///
    /// # Errors
    /// As [`Self::behaviour`].
    pub async fn add_fault(&self, fault: &Fault) -> Result<u64, AdminError> {
        let added: Value = self.call(Method::POST, "faults", Some(json!(fault))).await?;
        Ok(serde_json::from_value(added["id"].clone())?)
    }

    /// The faults that were added and not cleared.
    ///
    /// # Errors
    /// As [`Self::behaviour`].
    pub async fn faults(&self) -> Result<Vec<ActiveFault>, AdminError> {
        self.get("faults").await
    }

    /// Takes a fault away. What it holds is delivered.
    ///
    /// # Errors
    /// As [`Self::behaviour`].
    pub async fn remove_fault(&self, id: u64) -> Result<(), AdminError> {
        self.send(Method::DELETE, &format!("faults/{id}"), None).await.map(drop)
    }

    /// Takes every fault away. What they hold is delivered.
    ///
    /// # Errors
    /// As [`Self::behaviour`].
    pub async fn clear_faults(&self) -> Result<(), AdminError> {
        self.send(Method::DELETE, "faults", None).await.map(drop)
    }

    /// Delivers what a fault holds, and says how many calls that were.
    ///
    /// # Errors
    /// As [`Self::behaviour`].
    pub async fn release(&self, id: u64) -> Result<usize, AdminError> {
        self.end_hold(id, Release { deliver: true }).await
    }

    /// Loses what a fault holds, and says how many calls that were.
    ///
    /// # Errors
    /// As [`Self::behaviour`].
    pub async fn lose(&self, id: u64) -> Result<usize, AdminError> {
        self.end_hold(id, Release { deliver: false }).await
    }

    /// Every token that was ever made, revoked ones too.
    ///
    /// # Errors
    /// As [`Self::behaviour`].
    pub async fn tokens(&self) -> Result<Vec<Token>, AdminError> {
        self.get("tokens").await
    }

    /// Somebody else makes a token.
    ///
    /// # Errors
    /// As [`Self::behaviour`].
    pub async fn create_elsewhere(&self, new: &NewToken) -> Result<Token, AdminError> {
        self.call(Method::POST, "tokens", Some(json!(new))).await
    }

    /// Somebody else revokes a token.
    ///
    /// # Errors
    /// As [`Self::behaviour`].
    pub async fn revoke_elsewhere(&self, id: &str) -> Result<Token, AdminError> {
        self.call(Method::POST, &format!("tokens/{id}/revoke"), None).await
    }

    /// Somebody else rotates a token.
    ///
    /// # Errors
    /// As [`Self::behaviour`].
    pub async fn rotate_elsewhere(&self, id: &str) -> Result<Token, AdminError> {
        self.call(Method::POST, &format!("tokens/{id}/rotate"), None).await
    }

    /// The calls from a number on; 0 is the first.
    ///
    /// # Errors
    /// As [`Self::behaviour`].
    pub async fn calls(&self, since: u64) -> Result<CallPage, AdminError> {
        self.get(&format!("calls?since={since}")).await
    }

    /// Whether a value works.
    ///
    /// # Errors
    /// As [`Self::behaviour`].
    pub async fn check(&self, value: &str) -> Result<Alive, AdminError> {
        self.call(Method::POST, "check", Some(json!({"value": value}))).await
    }

    /// Accepts another credential from now on, and the old one no more.
    ///
    /// # Errors
    /// As [`Self::behaviour`].
    pub async fn replace_credential(&self, credential: &str) -> Result<(), AdminError> {
        self.send(Method::POST, "credential", Some(json!({"credential": credential}))).await.map(drop)
    }

    /// Back to the start, without tokens, calls and faults.
    ///
    /// # Errors
    /// As [`Self::behaviour`].
    pub async fn reset(&self) -> Result<(), AdminError> {
        self.send(Method::POST, "reset", None).await.map(drop)
    }

    async fn end_hold(&self, id: u64, release: Release) -> Result<usize, AdminError> {
        let released: Value =
            self.call(Method::POST, &format!("faults/{id}/release"), Some(json!(release))).await?;
        Ok(serde_json::from_value(released["released"].clone())?)
    }

    async fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, AdminError> {
        self.call(Method::GET, path, None).await
    }

    async fn call<T: DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
        body: Option<Value>,
    ) -> Result<T, AdminError> {
        Ok(serde_json::from_slice(&self.send(method, path, body).await?)?)
    }

    async fn send(&self, method: Method, path: &str, body: Option<Value>) -> Result<Bytes, AdminError> {
        let body = body.map(|it| Bytes::from(it.to_string())).unwrap_or_default();
        let request = Request::builder()
            .method(method)
            .uri(format!("{}/admin/{path}", self.url))
            .header(CONTENT_TYPE, "application/json")
            .body(Full::new(body))?;
        let answer = self.client.request(request).await?;
        let status = answer.status();
        let body = answer.into_body().collect().await?.to_bytes();
        if status.is_success() {
            Ok(body)
        } else {
            Err(AdminError::Refused(status, String::from_utf8_lossy(&body).trim().into()))
        }
    }
}
