//! A request, read as far as every call needs it.

use axum::body::Bytes;
use http::header::{AUTHORIZATION, HOST};
use http::request::Parts;
use http::{HeaderName, Method};
use secrecy::{ExposeSecret as _, SecretString};
use serde_json::Value;

use crate::call::{CreateBody, Operation};
use crate::scrub;
use crate::shared::State;

/// Where tokens are.
const TOKENS: &str = "/v1/tokens";

/// The older alias, which knows gateway tokens alone.
const ALIAS: &str = "/v1/gateway-keys";

pub(super) struct Request {
    pub(super) operation: Operation,
    /// Whether it came by the alias.
    pub(super) alias: bool,
    pub(super) method: Method,
    pub(super) path: String,
    pub(super) path_and_query: String,
    /// The server as the client calls it, for links.
    pub(super) host: String,
    pub(super) bearer: Option<SecretString>,
    pub(super) idempotency_key: Option<String>,
    /// The body, if it is JSON.
    pub(super) body: Option<Value>,
    query: Vec<(String, String)>,
    id: Option<String>,
}

impl Request {
    pub(super) fn new(parts: &Parts, body: &Bytes) -> Self {
        let header = |name: HeaderName| parts.headers.get(name).and_then(|it| it.to_str().ok());
        let path = parts.uri.path();
        let (operation, alias, id) = route(&parts.method, path);
        let query = parts.uri.query().unwrap_or_default();
        Self {
            operation,
            alias,
            method: parts.method.clone(),
            path: path.into(),
            path_and_query: parts.uri.path_and_query().map_or_else(|| path.into(), ToString::to_string),
            host: header(HOST).unwrap_or("localhost").into(),
            bearer: header(AUTHORIZATION).and_then(bearer),
            idempotency_key: header(HeaderName::from_static("idempotency-key")).map(Into::into),
            body: serde_json::from_slice(body).ok(),
            query: url::form_urlencoded::parse(query.as_bytes()).into_owned().collect(),
            id,
        }
    }

    /// The id in the path.
    pub(super) fn id(&self) -> Option<&str> {
        self.id.as_deref()
    }

    /// A parameter of the query, by the first of some names.
    pub(super) fn parameter(&self, names: &[&str]) -> Option<&str> {
        self.query.iter().find(|(name, _)| names.contains(&name.as_str())).map(|(_, value)| value.as_str())
    }

    /// What a create was sent, fit for the log.
    pub(super) fn sent(&self) -> Option<CreateBody> {
        let mut body = self.body.clone().filter(|_| self.operation == Operation::Create)?;
        scrub::json(&mut body);
        serde_json::from_value(body).ok()
    }

    /// The names and ids that it is about.
    pub(super) fn subjects(&self, state: &State) -> Vec<String> {
        let token = match (&self.id, &self.bearer) {
            (Some(id), _) => state.store.by_id(id),
            (None, Some(value)) if self.operation == Operation::Whoami => {
                state.store.by_value(value.expose_secret())
            }
            _ => None,
        };
        let mut subjects: Vec<String> = self.id.iter().cloned().collect();
        if let Some(token) = token {
            subjects.extend([token.id.clone(), token.name.clone()]);
        }
        if self.operation == Operation::Create {
            let name = self.body.as_ref().and_then(|body| body["name"].as_str());
            subjects.extend(name.map(Into::into));
        }
        subjects
    }
}

fn route(method: &Method, path: &str) -> (Operation, bool, Option<String>) {
    if path == "/v1/whoami" && method == Method::GET {
        return (Operation::Whoami, false, None);
    }
    let (alias, rest) = match (path.strip_prefix(TOKENS), path.strip_prefix(ALIAS)) {
        (Some(rest), _) => (false, rest),
        (None, Some(rest)) => (true, rest),
        (None, None) => return (Operation::Other, false, None),
    };
    let parts: Vec<&str> = rest.split('/').collect();
    let (operation, id) = match (method.as_str(), parts.as_slice()) {
        ("POST", [""]) => (Operation::Create, None),
        ("GET", [""]) => (Operation::List, None),
        ("DELETE", ["", id]) if !id.is_empty() => (Operation::Revoke, Some(*id)),
        ("POST", ["", id, "rotate"]) if !id.is_empty() => (Operation::Rotate, Some(*id)),
        _ => (Operation::Other, None),
    };
    (operation, alias, id.map(Into::into))
}

fn bearer(header: &str) -> Option<SecretString> {
    let (scheme, value) = header.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| SecretString::from(value.trim()))
}
