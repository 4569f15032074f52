//! The API server's audit log, followed line by line: every time and every count of a measurement comes from it, the same for the
//! floor and for the operator, and nothing needs to watch along.

use std::borrow::Cow;
use std::fs::File;
use std::io::{BufRead as _, BufReader, Seek as _, SeekFrom};

use anyhow::{Context as _, Result};
use jiff::Timestamp;
use keeptrusts_harness::audit::AuditLog;
use serde::Deserialize;

/// What asks for a token: the operator's resources, and External Secrets'.
const KEYS: [&str; 3] = ["accesskeys", "gatewaykeys", "externalsecrets"];

/// One request that was answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Request {
    pub(crate) user: String,
    /// `get`, `list`, `watch`, `create`, `update`, `patch`, `delete`.
    pub(crate) verb: String,
    /// In plural; for paths that aren't resources, empty.
    pub(crate) resource: String,
    pub(crate) subresource: String,
    pub(crate) namespace: String,
    pub(crate) name: String,
    pub(crate) code: u16,
    pub(crate) dry_run: bool,
    /// When it came in, and when its answer was complete (a watch's: when it began).
    pub(crate) received: Timestamp,
    pub(crate) answered: Timestamp,
}

impl Request {
    /// Whether it was done.
    pub(crate) const fn succeeded(&self) -> bool {
        matches!(self.code, 200..300)
    }

    /// What it is counted as: `create secrets (dry run)`. The two kinds of key are one.
    pub(crate) fn label(&self) -> String {
        let resource = match self.resource.as_str() {
            "accesskeys" | "gatewaykeys" => "keys",
            other => other,
        };
        let sub = if self.subresource.is_empty() { String::new() } else { format!("/{}", self.subresource) };
        let dry = if self.dry_run { " (dry run)" } else { "" };
        format!("{} {resource}{sub}{dry}", self.verb)
    }

    /// Whether it is about a key, but not about its status.
    pub(crate) fn is_of_key(&self) -> bool {
        KEYS.contains(&self.resource.as_str()) && self.subresource.is_empty()
    }

    /// Whether it is about a key's status.
    pub(crate) fn is_of_status(&self) -> bool {
        KEYS.contains(&self.resource.as_str()) && self.subresource == "status"
    }
}

/// Reads the log on from where it was last read to.
pub(crate) struct Trail {
    log: AuditLog,
    reader: BufReader<File>,
    line: Vec<u8>,
}

impl Trail {
    /// With what is answered from now on.
    pub(crate) async fn begin(log: AuditLog) -> Result<Self> {
        let from = log.mark().await?.position();
        let mut file = File::open(log.path()).with_context(|| format!("opening {}", log.path().display()))?;
        file.seek(SeekFrom::Start(from)).context("seeking in the audit log")?;
        Ok(Self { log, reader: BufReader::with_capacity(1 << 18, file), line: vec![] })
    }

    /// Hands over what was written since.
    pub(crate) fn read(&mut self, mut take: impl FnMut(Request)) -> Result<()> {
        loop {
            self.reader.read_until(b'\n', &mut self.line).context("reading the audit log")?;
            if self.line.last() != Some(&b'\n') {
                // The rest of the line is on its way.
                return Ok(());
            }
            if let Some(request) = parse(&self.line)? {
                take(request);
            }
            self.line.clear();
        }
    }

    /// The same, with everything that was answered before this call.
    pub(crate) async fn read_all(&mut self, take: impl FnMut(Request)) -> Result<()> {
        self.log.mark().await?;
        self.read(take)
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Entry<'a> {
    #[serde(borrow)]
    stage: Cow<'a, str>,
    #[serde(borrow)]
    verb: Cow<'a, str>,
    #[serde(borrow, rename = "requestURI")]
    uri: Cow<'a, str>,
    #[serde(borrow)]
    user: User<'a>,
    #[serde(borrow)]
    object_ref: Option<Object<'a>>,
    response_status: Option<Status>,
    request_received_timestamp: Timestamp,
    stage_timestamp: Timestamp,
}

#[derive(Deserialize)]
struct User<'a> {
    #[serde(borrow, default)]
    username: Cow<'a, str>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Object<'a> {
    #[serde(borrow)]
    resource: Cow<'a, str>,
    #[serde(borrow)]
    subresource: Cow<'a, str>,
    #[serde(borrow)]
    namespace: Cow<'a, str>,
    #[serde(borrow)]
    name: Cow<'a, str>,
}

#[derive(Deserialize)]
struct Status {
    #[serde(default)]
    code: u16,
}

fn parse(line: &[u8]) -> Result<Option<Request>> {
    let entry: Entry = serde_json::from_slice(line)
        .with_context(|| format!("not an audit entry: {}", String::from_utf8_lossy(line)))?;
    // A watch has an entry when it starts and one when it ends: one request.
    if (entry.verb == "watch") != (entry.stage == "ResponseStarted") {
        return Ok(None);
    }
    let object = entry.object_ref.unwrap_or_default();
    Ok(Some(Request {
        user: entry.user.username.into_owned(),
        verb: entry.verb.into_owned(),
        resource: object.resource.into_owned(),
        subresource: object.subresource.into_owned(),
        namespace: object.namespace.into_owned(),
        name: object.name.into_owned(),
        code: entry.response_status.map_or(0, |status| status.code),
        dry_run: entry.uri.contains("dryRun="),
        received: entry.request_received_timestamp,
        answered: entry.stage_timestamp,
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_is_read_with_its_times_and_a_watch_counts_once() {
        let line = br#"{"stage":"ResponseComplete","verb":"create","requestURI":"/api/v1/namespaces/shop/secrets?dryRun=All","user":{"username":"op","groups":["a"]},"objectRef":{"resource":"secrets","namespace":"shop","name":"checkout"},"responseStatus":{"metadata":{},"code":201},"requestReceivedTimestamp":"2026-01-01T00:00:02.000001Z","stageTimestamp":"2026-01-01T00:00:02.004000Z"}"#;
        let request = parse(line).unwrap().unwrap();
        assert_eq!(request.label(), "create secrets (dry run)");
        assert!(request.succeeded());
        assert_eq!(request.answered.duration_since(request.received).as_micros(), 3999);
        let status = br#"{"stage":"ResponseComplete","verb":"update","requestURI":"/x","user":{},"objectRef":{"resource":"gatewaykeys","subresource":"status"},"requestReceivedTimestamp":"2026-01-01T00:00:02Z","stageTimestamp":"2026-01-01T00:00:02Z"}"#;
        let status = parse(status).unwrap().unwrap();
        assert_eq!(status.label(), "update keys/status");
        assert!(status.is_of_status() && !status.is_of_key() && !status.succeeded());
        let end = br#"{"stage":"ResponseComplete","verb":"watch","requestURI":"/x","user":{},"requestReceivedTimestamp":"2026-01-01T00:00:02Z","stageTimestamp":"2026-01-01T00:00:02Z"}"#;
        assert_eq!(parse(end).unwrap(), None);
    }
}
