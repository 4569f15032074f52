//! One exchange over HTTP: a deadline, a bound on the answer, and words for every way in which it can break.

use std::error::Error as _;
use std::time::Duration;

use http::{HeaderMap, StatusCode};
use zeroize::{Zeroize, Zeroizing};

use super::decode::Told;
use super::error::{CallError, Class};
use super::limits::{pause_of, retry_after};
use super::scrub::scrub;

/// An answer, read to its end. It may hold a value: no `Debug`, and its body is wiped.
pub(super) struct Reply {
    pub(super) status: StatusCode,
    pub(super) headers: HeaderMap,
    pub(super) body: Zeroizing<Vec<u8>>,
}

/// A call that didn't succeed, and what is known about it.
#[derive(Clone, Debug)]
pub(super) struct Failure {
    /// The status of the answer, if there was one.
    pub(super) status: Option<StatusCode>,
    /// The API itself answered, in its own envelope.
    pub(super) by_api: bool,
    /// Definitely nothing was changed by this call (design, section 2).
    pub(super) definite: bool,
    /// What to show.
    pub(super) error: CallError,
}

impl Failure {
    /// A call that was never sent.
    pub(super) fn unsent(error: CallError) -> Self {
        Self { status: None, by_api: false, definite: true, error }
    }

    /// A call that was sent, and whose answer can't be had or used.
    pub(super) fn lost(class: Class, message: impl Into<String>) -> Self {
        Self { status: None, by_api: false, definite: false, error: CallError::new(class, message) }
    }
}

/// Sends a request and reads its answer to the end, all within `deadline`. `host` is named in messages.
pub(super) async fn exchange(
    request: reqwest::RequestBuilder,
    deadline: Duration,
    max_body: usize,
    host: &str,
) -> Result<Reply, Failure> {
    // The timer covers everything: reqwest's own would leave out the time between the chunks of a body.
    match tokio::time::timeout(deadline, converse(request, max_body, host)).await {
        Ok(result) => result,
        Err(_) => Err(Failure::lost(Class::Unreachable, format!("{host} didn't answer in time"))),
    }
}

async fn converse(request: reqwest::RequestBuilder, max_body: usize, host: &str) -> Result<Reply, Failure> {
    let mut response = request.send().await.map_err(|error| broken(error, host))?;
    let (status, headers) = (response.status(), response.headers().clone());
    let mut body = Zeroizing::new(Vec::new());
    while let Some(chunk) = response.chunk().await.map_err(|error| broken(error, host))? {
        // Chunks are counted after decompression, so a small bomb is caught as well.
        if body.len() + chunk.len() > max_body {
            return Err(Failure::lost(Class::Unusable, format!("the answer of {host} is too long")));
        }
        append(&mut body, &chunk);
        if let Ok(mut chunk) = chunk.try_into_mut() {
            chunk.zeroize();
        }
    }
    Ok(Reply { status, headers, body })
}

/// Appends without leaving a copy behind, as a vector that grows by itself would.
fn append(body: &mut Zeroizing<Vec<u8>>, chunk: &[u8]) {
    if body.capacity() - body.len() < chunk.len() {
        let mut larger = Zeroizing::new(Vec::with_capacity((body.len() + chunk.len()).saturating_mul(2)));
        larger.extend_from_slice(body);
        *body = larger;
    }
    body.extend_from_slice(chunk);
}

/// Says how an exchange broke, and whether that was before the request was sent.
fn broken(error: reqwest::Error, host: &str) -> Failure {
    // A connection is made anew for every call that makes a value, and the request is sent on it only when it stands, so
    // this class of error can't come from the middle of a request: hyper gives it to the connector alone.
    let unsent = error.is_connect() || error.is_builder();
    let what = if error.is_connect() {
        format!("can't connect to {host}")
    } else {
        format!("the call to {host} broke")
    };
    let error = error.without_url();
    let mut cause = error.source();
    while let Some(deeper) = cause.and_then(std::error::Error::source) {
        cause = Some(deeper);
    }
    let cause = cause.map_or_else(|| error.to_string(), ToString::to_string);
    let message = scrub(&format!("{what}: {cause}"), &[]);
    Failure {
        status: None,
        by_api: false,
        definite: unsent,
        error: CallError::new(Class::Unreachable, message),
    }
}

/// Puts an answer that isn't a success into its class.
pub(super) fn failure(reply: &Reply, secrets: &[&str]) -> Failure {
    let told = Told::of(&reply.body);
    let by_api = matches!(told, Told::Envelope(_));
    let status = reply.status;
    let class = match status.as_u16() {
        429 => Class::Throttled,
        500..=599 => Class::Failing,
        _ if told == Told::Page => Class::Unusable,
        401 | 403 => Class::Credential,
        404 | 410 => Class::Gone,
        400 | 422 if by_api => Class::Request,
        _ => Class::Unusable,
    };
    let definite = by_api && matches!(status.as_u16(), 400 | 401 | 403 | 422 | 429);
    let message = scrub(&format!("{status}: {}", told.text()), secrets);
    let retry_after = match class {
        Class::Throttled => Some(pause_of(&reply.headers)),
        Class::Failing => retry_after(&reply.headers),
        _ => None,
    };
    Failure { status: Some(status), by_api, definite, error: CallError { class, message, retry_after } }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reply(status: u16, body: &str) -> Reply {
        let body = Zeroizing::new(body.as_bytes().to_vec());
        Reply { status: StatusCode::from_u16(status).unwrap(), headers: HeaderMap::new(), body }
    }

    #[test]
    fn every_answer_has_its_class_and_only_five_in_the_apis_own_envelope_are_definite() {
        let envelope = r#"{"error":{"type":"t","message":"m","code":"c"}}"#;
        for (status, body, class, definite) in [
            (400, envelope, Class::Request, true),
            (422, r#"{"detail":[{"msg":"m"}]}"#, Class::Request, true),
            (401, r#"{"message":"m"}"#, Class::Credential, true),
            (403, r#"{"error":"m"}"#, Class::Credential, true),
            (429, envelope, Class::Throttled, true),
            (400, "bad", Class::Unusable, false),
            (422, "{}", Class::Unusable, false),
            (401, "", Class::Credential, false),
            (403, "denied", Class::Credential, false),
            (403, "<html>", Class::Unusable, false),
            (429, "<html>", Class::Throttled, false),
            (404, envelope, Class::Gone, false),
            (410, envelope, Class::Gone, false),
            (404, "<html>", Class::Unusable, false),
            (408, envelope, Class::Unusable, false),
            (409, envelope, Class::Unusable, false),
            (425, envelope, Class::Unusable, false),
            (499, envelope, Class::Unusable, false),
            (500, envelope, Class::Failing, false),
            (503, "<html>", Class::Failing, false),
            (302, "", Class::Unusable, false),
        ] {
            let failure = failure(&reply(status, body), &[]);
            assert_eq!((failure.error.class, failure.definite), (class, definite), "{status} {body}");
        }
    }

    #[test]
    fn a_body_grows_without_losing_a_byte() {
        let mut body = Zeroizing::new(Vec::new());
        let bytes: Vec<u8> = (0..=255).cycle().take(10_000).collect();
        for chunk in bytes.chunks(37) {
            append(&mut body, chunk);
        }
        assert_eq!(*body, bytes);
    }
}
