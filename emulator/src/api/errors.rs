//! Errors in the envelopes that the API may have (O12).

use http::StatusCode;
use serde_json::json;

use super::answer::Answer;
use crate::behaviour::Envelope;

/// An error of the API's own.
pub(super) fn error(status: u16, kind: &str, message: &str, envelope: Envelope) -> Answer {
    match envelope {
        Envelope::Typed => {
            let document = json!({"error": {"type": family(status), "message": message, "code": kind}});
            Answer::json(status, &document)
        }
        Envelope::ErrorText => Answer::json(status, &json!({"error": message})),
        Envelope::Message => Answer::json(status, &json!({"message": message})),
        Envelope::Detail => Answer::json(status, &json!({"detail": message})),
        Envelope::Plain => Answer::text(status, "text/plain; charset=utf-8", message.into()),
        Envelope::Html => {
            let text = message.replace('&', "&amp;").replace('<', "&lt;");
            let page =
                format!("<!doctype html><html><title>{status}</title><body><h1>{text}</h1></body></html>");
            Answer::text(status, "text/html; charset=utf-8", page)
        }
        Envelope::Empty => Answer::empty(status),
    }
}

/// An error that a fault wants.
pub(super) fn injected(status: u16, message: Option<&str>, envelope: Envelope) -> Answer {
    let reason = StatusCode::from_u16(status).ok().and_then(|it| it.canonical_reason());
    let message = message.or(reason).unwrap_or("refused");
    error(status, "injected", message, envelope)
}

fn family(status: u16) -> &'static str {
    match status {
        401 => "authentication_error",
        403 => "permission_error",
        404 | 410 => "not_found_error",
        409 => "conflict_error",
        429 => "rate_limit_error",
        500.. => "api_error",
        _ => "invalid_request_error",
    }
}
