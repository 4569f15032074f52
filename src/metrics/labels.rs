//! Labels. Their values are texts of this program's own, known when it is compiled: nothing that comes from outside, be it
//! a token's id or a value, can become one.

use http::StatusCode;
use prometheus_client::encoding::EncodeLabelSet;

use crate::resources::KeyKind;

/// Both kinds.
pub(super) const KINDS: [KeyKind; 2] = [KeyKind::Access, KeyKind::Gateway];

/// By kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, EncodeLabelSet)]
pub(super) struct OfKind {
    kind: &'static str,
}

impl From<KeyKind> for OfKind {
    fn from(kind: KeyKind) -> Self {
        Self { kind: kind.kind() }
    }
}

/// By nothing.
pub(super) type Unlabelled = [(&'static str, &'static str); 0];

/// What the status of an answer is told as: its class, or itself where that says more.
pub(super) const STATUSES: [&str; 9] = ["2xx", "3xx", "401", "403", "409", "429", "4xx", "5xx", "none"];

/// The status of an answer as one of [`STATUSES`].
pub(super) const fn status(answer: Option<StatusCode>) -> &'static str {
    let Some(status) = answer else { return "none" };
    match status.as_u16() {
        200..300 => "2xx",
        401 => "401",
        403 => "403",
        409 => "409",
        429 => "429",
        400..500 => "4xx",
        500.. => "5xx",
        // Neither server answers with 1xx, but a proxy may.
        _ => "3xx",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_answer_has_one_of_the_statuses() {
        for code in 100..1000 {
            let status = status(Some(StatusCode::from_u16(code).unwrap()));
            assert!(STATUSES.contains(&status), "{code}: {status}");
        }
        assert_eq!(status(Some(StatusCode::NOT_FOUND)), "4xx");
        assert_eq!(status(None), "none");
    }
}
