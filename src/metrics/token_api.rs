//! Calls to the token API, and how the operator's own credential fares.

use std::sync::atomic::AtomicU64;
use std::time::Duration;

use http::{Method, StatusCode};
use jiff::Timestamp;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Registry, Unit};

use super::labels::{STATUSES, Unlabelled, status};

/// From a quick answer to the longest that a call may take by default.
const BUCKETS: [f64; 12] = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0];

/// What a call is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Route {
    /// `POST /v1/tokens`.
    Create,
    /// `POST /v1/tokens/{id}/rotate`.
    Rotate,
    /// `DELETE /v1/tokens/{id}`.
    Revoke,
    /// A page of `GET /v1/tokens`.
    List,
    /// `GET /v1/whoami` with the operator's own credential.
    Whoami,
    /// `GET /v1/whoami` with a value out of a Secret.
    Proof,
}

impl Route {
    const ALL: [Self; 6] = [Self::Create, Self::Rotate, Self::Revoke, Self::List, Self::Whoami, Self::Proof];

    /// The route of a call. `own` says whether it bears the operator's own credential.
    pub(crate) fn of(method: &Method, path: &str, own: bool) -> Self {
        match (method, path.rsplit('/').next()) {
            (&Method::POST, Some("rotate")) => Self::Rotate,
            (&Method::POST, _) => Self::Create,
            (&Method::DELETE, _) => Self::Revoke,
            _ if !own => Self::Proof,
            (_, Some("whoami")) => Self::Whoami,
            _ => Self::List,
        }
    }

    const fn label(self) -> &'static str {
        match self {
            Self::Create => "create",
            Self::Rotate => "rotate",
            Self::Revoke => "revoke",
            Self::List => "list",
            Self::Whoami => "whoami",
            Self::Proof => "proof",
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct CallLabels {
    route: &'static str,
    status: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RouteLabels {
    route: &'static str,
}

type Seconds = Counter<f64, AtomicU64>;

/// What is counted of one connection.
#[derive(Clone, Debug)]
pub struct TokenApiMetrics {
    requests: Family<CallLabels, Counter>,
    duration: Family<RouteLabels, Histogram, fn() -> Histogram>,
    waited: Seconds,
    paused: Seconds,
    refused: Gauge,
    /// Nothing until the API has told it.
    expiry: Family<Unlabelled, Gauge>,
}

impl Default for TokenApiMetrics {
    fn default() -> Self {
        let new = Self {
            requests: Family::default(),
            duration: Family::new_with_constructor(|| Histogram::new(BUCKETS)),
            waited: Seconds::default(),
            paused: Seconds::default(),
            refused: Gauge::default(),
            expiry: Family::default(),
        };
        // From the start, for what appears with a one was never seen to rise.
        for route in Route::ALL.map(Route::label) {
            drop(new.duration.get_or_create(&RouteLabels { route }));
            for status in STATUSES {
                drop(new.requests.get_or_create(&CallLabels { route, status }));
            }
        }
        new
    }
}

impl TokenApiMetrics {
    pub(super) fn register(&self, registry: &mut Registry) {
        let Self { requests, duration, waited, paused, refused, expiry } = self;
        registry.register(
            "token_api_requests",
            "Calls to the token API, by what they are for and the status of the answer (none: there was none)",
            requests.clone(),
        );
        registry.register_with_unit(
            "token_api_request_duration",
            "How long calls to the token API took",
            Unit::Seconds,
            duration.clone(),
        );
        registry.register_with_unit(
            "token_api_wait",
            "How long calls waited for their place under the operator's own limit (--api-requests-per-second)",
            Unit::Seconds,
            waited.clone(),
        );
        registry.register_with_unit(
            "token_api_pause",
            "How long the token API told the operator to pause (429)",
            Unit::Seconds,
            paused.clone(),
        );
        registry.register(
            "token_api_credential_refused",
            "1 if the token API refused the operator's own credential, or what it may do, when it last answered (401, 403)",
            refused.clone(),
        );
        registry.register_with_unit(
            "token_api_credential_expiry_timestamp",
            "When the operator's own credential expires, where the token API tells",
            Unit::Seconds,
            expiry.clone(),
        );
    }

    /// A call was made. `own` says whether it bore the operator's own credential.
    pub(crate) fn called(&self, route: Route, own: bool, answer: Option<StatusCode>, took: Duration) {
        let route = route.label();
        self.requests.get_or_create(&CallLabels { route, status: status(answer) }).inc();
        self.duration.get_or_create(&RouteLabels { route }).observe(took.as_secs_f64());
        match answer {
            Some(StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN) if own => drop(self.refused.set(1)),
            Some(status) if own && status.is_success() => drop(self.refused.set(0)),
            _ => {}
        }
    }

    /// Another credential is in force: what is known of the one before doesn't count.
    pub(crate) fn new_credential(&self) {
        self.refused.set(0);
        self.expiry.clear();
    }

    /// The API told when the operator's own credential expires.
    pub(crate) fn credential_expires(&self, at: Timestamp) {
        self.expiry.get_or_create(&[]).set(at.as_second());
    }

    /// A call waited for its place.
    pub(crate) fn waited(&self, time: Duration) {
        self.waited.inc_by(time.as_secs_f64());
    }

    /// The API imposed a pause, or made one longer by `time`.
    pub(crate) fn paused(&self, time: Duration) {
        self.paused.inc_by(time.as_secs_f64());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_call_of_the_client_has_its_route() {
        for (method, path, own, route) in [
            (Method::POST, "/v1/tokens", true, Route::Create),
            (Method::POST, "/base/v1/tokens/tok_1/rotate", true, Route::Rotate),
            (Method::DELETE, "/v1/tokens/rotate", true, Route::Revoke),
            (Method::GET, "/v1/tokens", true, Route::List),
            (Method::GET, "/v1/whoami", true, Route::Whoami),
            (Method::GET, "/v1/whoami", false, Route::Proof),
        ] {
            assert_eq!(Route::of(&method, path, own), route, "{method} {path}");
        }
    }

    #[test]
    fn a_refusal_counts_until_a_call_succeeds_and_one_of_a_secrets_value_does_not_count() {
        let metrics = TokenApiMetrics::default();
        let call = |own, status| {
            let route = if own { Route::List } else { Route::Proof };
            metrics.called(route, own, StatusCode::from_u16(status).ok(), Duration::ZERO);
            metrics.refused.get()
        };
        let seen = [(false, 401), (true, 401), (true, 503), (false, 200), (true, 200), (true, 403)]
            .map(|(own, status)| call(own, status));
        assert_eq!(seen, [0, 1, 1, 1, 0, 1]);
        metrics.new_credential();
        assert_eq!(metrics.refused.get(), 0);
    }
}
