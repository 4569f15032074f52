//! The API server's audit log: what was asked of it, by whom.
//!
//! Every request is there with its bodies, but those of Secrets and tokens, which are recorded without.

use std::collections::BTreeMap;
use std::fmt;
use std::io::{Read as _, Seek as _, SeekFrom};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::{Context as _, Result};
use k8s_openapi::api::core::v1::ConfigMap;
use kube::{Api, Client};
use serde::Deserialize;
use serde_json::Value;

use crate::wait::eventually;

/// Entries are written in the background of a request, within milliseconds.
const SETTLE: Duration = Duration::from_secs(10);

static BARRIERS: AtomicU64 = AtomicU64::new(0);

/// Reads the audit log of one control plane.
#[derive(Clone)]
pub struct AuditLog {
    path: PathBuf,
    client: Client,
}

/// A point in the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Mark(u64);

impl Mark {
    /// The beginning of the log.
    pub const START: Self = Self(0);

    /// How far from the log's beginning, in bytes. A line begins there.
    #[must_use]
    pub const fn position(self) -> u64 {
        self.0
    }
}

/// One request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    /// Who asked; a `ServiceAccount` is `system:serviceaccount:NAMESPACE:NAME`.
    pub user: String,
    /// `get`, `list`, `watch`, `create`, `update`, `patch`, `delete`, `deletecollection`.
    pub verb: String,
    /// The API group; empty for the core group and for paths that aren't resources.
    pub group: String,
    /// The resource in plural, with its subresource: `accesskeys/status`. For other paths, the path.
    pub resource: String,
    /// The namespace, or nothing.
    pub namespace: String,
    /// The object's name, or nothing.
    pub name: String,
    /// The HTTP status of the reply.
    pub code: u16,
    /// What the client calls itself.
    pub user_agent: String,
    /// Path and query.
    pub uri: String,
    /// When the request came in, as RFC 3339 with microseconds, so that text order is time order.
    pub received: String,
    /// The entry whole, with `requestObject` and `responseObject` where the policy records them.
    pub entry: Value,
}

/// Requests in the order in which they were answered, with filters that read as a sentence.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Requests(pub Vec<Request>);

impl AuditLog {
    pub(crate) fn new(path: PathBuf, client: Client) -> Self {
        Self { path, client }
    }

    /// The file, with one JSON object a line.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The log's end, after everything that was answered before this call.
    ///
    /// # Errors
    /// When the API server doesn't answer.
    pub async fn mark(&self) -> Result<Mark> {
        // An entry may be written after its reply was sent. A request of our own, found in the log, shows how far the log is.
        let marker =
            format!("audit-marker-{}-{}", std::process::id(), BARRIERS.fetch_add(1, Ordering::Relaxed));
        let start = self.length()?;
        let config_maps: Api<ConfigMap> = Api::namespaced(self.client.clone(), "default");
        config_maps.get_opt(&marker).await.context("marking the audit log")?;
        eventually(SETTLE, "the audit log holds our marker", async || {
            let text = self.read(start)?;
            let end = end_of_line_with(&marker, &text).context("no whole line with the marker yet")?;
            Ok(Mark(start + u64::try_from(end)?))
        })
        .await
    }

    /// The requests answered between `mark` and now, without those of the marks themselves.
    ///
    /// # Errors
    /// When the API server doesn't answer, or the log can't be read.
    pub async fn since(&self, mark: Mark) -> Result<Requests> {
        let Mark(end) = self.mark().await?;
        let text = self.read(mark.0)?;
        let length = usize::try_from(end.saturating_sub(mark.0))?;
        parse(text.get(..length).unwrap_or(&text))
    }

    /// All requests until now that are in the log already; for an API server that is down.
    ///
    /// # Errors
    /// When the log can't be read.
    pub fn written(&self) -> Result<Requests> {
        parse(&self.read(0)?)
    }

    fn length(&self) -> Result<u64> {
        Ok(std::fs::metadata(&self.path).with_context(|| format!("reading {}", self.path.display()))?.len())
    }

    fn read(&self, from: u64) -> Result<String> {
        let mut file =
            std::fs::File::open(&self.path).with_context(|| format!("opening {}", self.path.display()))?;
        file.seek(SeekFrom::Start(from)).context("seeking in the audit log")?;
        let mut text = String::new();
        file.read_to_string(&mut text).context("reading the audit log")?;
        Ok(text)
    }
}

impl Requests {
    /// Those of one user.
    #[must_use]
    pub fn by(self, user: &str) -> Self {
        self.only(|request| request.user == user)
    }

    /// Those of a `ServiceAccount`.
    #[must_use]
    pub fn by_service_account(self, namespace: &str, name: &str) -> Self {
        self.by(&service_account(namespace, name))
    }

    /// Those with one of these verbs.
    #[must_use]
    pub fn verbs(self, verbs: &[&str]) -> Self {
        self.only(|request| verbs.contains(&request.verb.as_str()))
    }

    /// Those that change something.
    #[must_use]
    pub fn writes(self) -> Self {
        self.verbs(&["create", "update", "patch", "delete", "deletecollection"])
    }

    /// Those without these verbs.
    #[must_use]
    pub fn without(self, verbs: &[&str]) -> Self {
        self.only(|request| !verbs.contains(&request.verb.as_str()))
    }

    /// What was done to single objects: neither lists nor watches, which run on whatever happens.
    #[must_use]
    pub fn single(self) -> Self {
        self.without(&["list", "watch"])
    }

    /// Those for a kind with its subresources: `accesskeys` stands for `accesskeys/status` too.
    #[must_use]
    pub fn of_kind(self, resource: &str) -> Self {
        self.only(|request| request.resource.split('/').next() == Some(resource))
    }

    /// Those for a resource, say `secrets` or `accesskeys/status`.
    #[must_use]
    pub fn of(self, resource: &str) -> Self {
        self.only(|request| request.resource == resource)
    }

    /// Those in a namespace.
    #[must_use]
    pub fn within(self, namespace: &str) -> Self {
        self.only(|request| request.namespace == namespace)
    }

    /// Those that came in at or after a time, given as RFC 3339 in UTC.
    #[must_use]
    pub fn from_time(self, time: &str) -> Self {
        self.only(|request| request.received.as_str() >= time)
    }

    /// Those that fulfil a condition.
    #[must_use]
    pub fn only(mut self, condition: impl FnMut(&Request) -> bool) -> Self {
        self.0.retain(condition);
        self
    }

    /// How many there are of each verb and resource: `{"create secrets": 1}`.
    #[must_use]
    pub fn counts(&self) -> BTreeMap<String, usize> {
        let mut counts = BTreeMap::new();
        for request in &self.0 {
            *counts.entry(format!("{} {}", request.verb, request.resource)).or_default() += 1;
        }
        counts
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The requests whose entry (path, bodies, anything) contains a text, as one looks for a leaked value.
    #[must_use]
    pub fn containing(self, text: &str) -> Self {
        // As the log spells it, with JSON's escapes.
        let escaped = Value::from(text).to_string();
        let escaped = escaped.trim_matches('"').to_owned();
        self.only(|request| request.entry.to_string().contains(&escaped))
    }
}

impl fmt::Display for Requests {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for Request { user, verb, resource, namespace, name, code, .. } in &self.0 {
            writeln!(f, "{code} {verb} {resource} {namespace}/{name} by {user}")?;
        }
        Ok(())
    }
}

/// The parts of an entry that a [`Request`] is made of.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Entry {
    stage: String,
    verb: String,
    #[serde(rename = "requestURI")]
    request_uri: String,
    user: User,
    #[serde(default)]
    user_agent: String,
    object_ref: Option<ObjectRef>,
    response_status: Option<ResponseStatus>,
    #[serde(default)]
    request_received_timestamp: String,
}

#[derive(Deserialize)]
struct User {
    #[serde(default)]
    username: String,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct ObjectRef {
    resource: String,
    subresource: String,
    namespace: String,
    name: String,
    api_group: String,
}

#[derive(Deserialize)]
struct ResponseStatus {
    #[serde(default)]
    code: u16,
}

fn parse(text: &str) -> Result<Requests> {
    let mut requests = Vec::new();
    for line in text.lines() {
        let value: Value =
            serde_json::from_str(line).with_context(|| format!("not an audit entry: {line}"))?;
        let entry = Entry::deserialize(&value).with_context(|| format!("not an audit entry: {line}"))?;
        // A watch has an entry when it starts and one when it ends: one request.
        let counted = (entry.verb == "watch") == (entry.stage == "ResponseStarted");
        let target = entry.object_ref.unwrap_or_default();
        if !counted || target.name.starts_with("audit-marker-") {
            continue;
        }
        let resource = match (target.resource, target.subresource) {
            (resource, _) if resource.is_empty() => {
                entry.request_uri.split('?').next().unwrap_or_default().to_owned()
            }
            (resource, sub) if sub.is_empty() => resource,
            (resource, sub) => format!("{resource}/{sub}"),
        };
        requests.push(Request {
            user: entry.user.username,
            verb: entry.verb,
            group: target.api_group,
            resource,
            namespace: target.namespace,
            name: target.name,
            code: entry.response_status.map_or(0, |status| status.code),
            user_agent: entry.user_agent,
            uri: entry.request_uri,
            received: entry.request_received_timestamp,
            entry: value,
        });
    }
    Ok(Requests(requests))
}

/// Where the line after the one with `marker` begins, once that is whole.
fn end_of_line_with(marker: &str, text: &str) -> Option<usize> {
    let found = text.find(marker)?;
    Some(found + text[found..].find('\n')? + 1)
}

/// A `ServiceAccount`, as the log names it.
#[must_use]
pub fn service_account(namespace: &str, name: &str) -> String {
    format!("system:serviceaccount:{namespace}:{name}")
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOG: &str = concat!(
        r#"{"stage":"ResponseComplete","verb":"create","requestURI":"/api/v1/namespaces/shop/secrets","user":{"username":"system:serviceaccount:kt:op"},"objectRef":{"resource":"secrets","namespace":"shop","name":"checkout"},"responseStatus":{"code":201},"requestReceivedTimestamp":"2026-01-01T00:00:02.000000Z"}"#,
        "\n",
        r#"{"stage":"ResponseStarted","verb":"watch","requestURI":"/apis/x/v1/accesskeys?watch=1","user":{"username":"a"},"objectRef":{"resource":"accesskeys","apiGroup":"x"},"responseStatus":{"code":200}}"#,
        "\n",
        r#"{"stage":"ResponseComplete","verb":"watch","requestURI":"/apis/x/v1/accesskeys?watch=1","user":{"username":"a"},"objectRef":{"resource":"accesskeys","apiGroup":"x"},"responseStatus":{"code":200}}"#,
        "\n",
        r#"{"stage":"ResponseComplete","verb":"patch","requestURI":"/x","user":{"username":"a"},"objectRef":{"resource":"accesskeys","subresource":"status"},"responseObject":{"message":"a \"b\""}}"#,
        "\n",
        r#"{"stage":"ResponseComplete","verb":"get","requestURI":"/metrics?x=1","user":{"username":"a"}}"#,
        "\n",
    );

    #[test]
    fn a_mark_is_where_a_line_begins_though_the_log_was_looked_at_within_one() {
        let text = "half of a line\nthe marker\nhalf";
        assert_eq!(end_of_line_with("marker", text).map(|end| &text[end..]), Some("half"));
        for text in ["", "half of a line\nthe marker", "half of a line\n"] {
            assert_eq!(end_of_line_with("marker", text), None, "{text:?}");
        }
    }

    #[test]
    fn a_watch_counts_once_and_paths_are_named() {
        let counts = parse(LOG).unwrap().counts();
        let counted: Vec<_> = counts.iter().map(|(what, count)| format!("{count} {what}")).collect();
        assert_eq!(
            counted,
            ["1 create secrets", "1 get /metrics", "1 patch accesskeys/status", "1 watch accesskeys"]
        );
    }

    #[test]
    fn filters_narrow_down() {
        let all = parse(LOG).unwrap();
        assert_eq!(all.clone().by_service_account("kt", "op").writes().of("secrets").within("shop").len(), 1);
        assert_eq!(all.clone().from_time("2026-01-01T00:00:02").len(), 1);
        assert_eq!(all.clone().from_time("2026-01-01T00:00:03").len(), 0);
        assert_eq!(all.clone().containing("a \"b\"").len(), 1);
        assert_eq!(all.clone().of_kind("accesskeys").len(), 2);
        assert_eq!(
            all.of_kind("accesskeys").single().counts(),
            [("patch accesskeys/status".to_owned(), 1)].into()
        );
    }
}
