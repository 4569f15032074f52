//! What a proxy remembers of each request: never a header, never an answer's body, never a Secret's data.

use std::fmt;
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use http::request::Parts;
use serde_json::Value;

/// Stands where a Secret's data were.
const HIDDEN: &str = "(hidden)";

/// kubectl keeps what was applied in an annotation, a Secret's data too.
const LAST_APPLIED: &str = "kubectl.kubernetes.io/last-applied-configuration";

/// One request that came to a proxy.
#[derive(Debug, Clone, PartialEq)]
pub struct Call {
    /// Its number, counted from 0 in the order of arrival.
    pub index: usize,
    /// The method in capitals.
    pub method: String,
    /// The path.
    pub path: String,
    /// What follows the question mark, or nothing.
    pub query: String,
    /// The form of answer that was asked for (`Accept`), or nothing.
    pub accept: String,
    /// The body as JSON, or null. Of a Secret's data it has the keys and not the values.
    pub body: Value,
    /// When it had arrived with its body.
    pub started: Instant,
    /// Whether it was passed on to the server.
    pub forwarded: bool,
    /// The status that the server answered with, once it has.
    pub server: Option<u16>,
    /// The status that was sent back; none if the connection was cut, or was seen to be closed. Whether the caller lived to read it is
    /// not known: the death of a caller is seen a moment later.
    pub status: Option<u16>,
    /// What a rule did to it.
    pub fault: Option<&'static str>,
    /// Why the server couldn't be reached.
    pub error: Option<String>,
}

impl Call {
    fn new(index: usize, parts: &Parts, body: &[u8]) -> Self {
        let path = parts.uri.path().to_owned();
        let mut body = serde_json::from_slice(body).unwrap_or_default();
        if path.split('/').any(|segment| segment == "secrets") {
            hide(&mut body);
        }
        Self {
            index,
            method: parts.method.as_str().to_owned(),
            path,
            query: parts.uri.query().unwrap_or_default().to_owned(),
            accept: parts
                .headers
                .get(http::header::ACCEPT)
                .and_then(|accept| accept.to_str().ok())
                .unwrap_or_default()
                .to_owned(),
            body,
            started: Instant::now(),
            forwarded: false,
            server: None,
            status: None,
            fault: None,
            error: None,
        }
    }

    /// The parts of the path.
    pub(super) fn segments(&self) -> Vec<&str> {
        self.path.split('/').filter(|segment| !segment.is_empty()).collect()
    }

    /// Whether the query sets a parameter to a value.
    #[must_use]
    pub fn has_query(&self, name: &str, value: &str) -> bool {
        url::form_urlencoded::parse(self.query.as_bytes()).any(|(key, found)| key == name && found == value)
    }
}

impl fmt::Display for Call {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { index, method, path, query, server, status, fault, error, .. } = self;
        write!(f, "{index} {method} {path}")?;
        if !query.is_empty() {
            write!(f, "?{query}")?;
        }
        match status {
            Some(status) => write!(f, " → {status}")?,
            None => write!(f, " → no answer")?,
        }
        if let Some(fault) = fault {
            write!(f, " [{fault}]")?;
        }
        if let Some(server) = server.filter(|_| server != status) {
            write!(f, " (the server: {server})")?;
        }
        error.as_ref().map_or(Ok(()), |error| write!(f, " ({error})"))
    }
}

/// Takes the values out of a Secret, or of a patch of one.
fn hide(body: &mut Value) {
    if let Value::Array(operations) = body {
        for value in operations.iter_mut().filter_map(|operation| operation.get_mut("value")) {
            *value = HIDDEN.into();
        }
        return;
    }
    for data in ["data", "stringData"] {
        for value in
            body.get_mut(data).and_then(Value::as_object_mut).into_iter().flat_map(|map| map.values_mut())
        {
            // A null in a merge patch takes a key away, and a test may want to see that.
            if !value.is_null() {
                *value = HIDDEN.into();
            }
        }
    }
    let annotations = body.pointer_mut("/metadata/annotations").and_then(Value::as_object_mut);
    if let Some(applied) = annotations.and_then(|annotations| annotations.get_mut(LAST_APPLIED)) {
        *applied = HIDDEN.into();
    }
}

/// The calls of a proxy.
#[derive(Debug, Default)]
pub(super) struct Log(Mutex<Vec<Call>>);

impl Log {
    pub(super) fn begin(&self, parts: &Parts, body: &[u8]) -> Call {
        let mut calls = self.lock();
        let call = Call::new(calls.len(), parts, body);
        calls.push(call.clone());
        call
    }

    pub(super) fn note(&self, index: usize, change: impl FnOnce(&mut Call)) {
        if let Some(call) = self.lock().get_mut(index) {
            change(call);
        }
    }

    /// A call as it is now.
    pub(super) fn call(&self, index: usize) -> Option<Call> {
        self.lock().get(index).cloned()
    }

    pub(super) fn all(&self) -> Vec<Call> {
        self.lock().clone()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<Call>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn recorded(path: &str, body: &Value) -> Value {
        let (parts, ()) = http::Request::patch(path).body(()).unwrap().into_parts();
        Log::default().begin(&parts, body.to_string().as_bytes()).body
    }

    #[test]
    fn of_a_secret_only_the_names_of_its_keys_are_kept() {
        let body = json!({
            "metadata": {"annotations": {LAST_APPLIED: "kt_live_1", "other": "seen"}},
            "data": {"api-key": "a3RfbGl2ZV8x", "gone": null},
            "stringData": {"api-key": "kt_live_1"},
        });
        let kept = recorded("/api/v1/namespaces/shop/secrets/checkout", &body);
        assert!(!kept.to_string().contains("kt_live_1") && !kept.to_string().contains("a3Rf"), "{kept}");
        assert_eq!(kept["data"], json!({"api-key": HIDDEN, "gone": null}));
        assert_eq!(kept["metadata"]["annotations"]["other"], "seen");

        let patch = json!([{"op": "add", "path": "/data/api-key", "value": "a3RfbGl2ZV8x"}]);
        let kept = recorded("/api/v1/namespaces/shop/secrets/checkout", &patch);
        assert_eq!(kept[0]["value"], HIDDEN);
    }

    #[test]
    fn other_bodies_are_kept_whole() {
        let body = json!({"data": {"key": "value"}});
        assert_eq!(recorded("/api/v1/namespaces/shop/configmaps/settings", &body), body);
        assert_eq!(recorded("/v1/tokens", &Value::Null), Value::Null);
    }
}
