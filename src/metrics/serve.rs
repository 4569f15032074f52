//! `/metrics`, on an address of its own: a network policy can then let Prometheus reach it and nobody else.

use std::net::SocketAddr;
use std::str::FromStr;

use anyhow::Context as _;
use axum::Router;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use axum::routing::get;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::Metrics;

/// What `OpenMetrics` is called.
const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// What turns metrics off in the place of an address.
const OFF: &str = "off";

/// Where metrics are served, if they are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MetricsAddress(pub Option<SocketAddr>);

impl FromStr for MetricsAddress {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text == OFF {
            return Ok(Self(None));
        }
        let address =
            text.parse().map_err(|_| format!("must be an address such as 0.0.0.0:8080, or {OFF}"))?;
        Ok(Self(Some(address)))
    }
}

impl Metrics {
    /// Answers on `address` until `stop`.
    ///
    /// # Errors
    /// If it can't listen there.
    pub async fn serve(
        &self,
        MetricsAddress(address): MetricsAddress,
        stop: CancellationToken,
    ) -> anyhow::Result<JoinHandle<()>> {
        let Some(address) = address else { return Ok(tokio::spawn(async {})) };
        let listener = TcpListener::bind(address)
            .await
            .with_context(|| format!("can't listen on --metrics-address {address}"))?;
        let metrics = self.clone();
        let routes = Router::new().route("/metrics", get(async move || metrics.answer()));
        Ok(tokio::spawn(async move {
            let served = axum::serve(listener, routes).with_graceful_shutdown(stop.cancelled_owned());
            if let Err(error) = served.await {
                tracing::error!(%error, "the metrics endpoint ended");
            }
        }))
    }

    fn answer(&self) -> Response {
        match self.text() {
            Ok(text) => ([(header::CONTENT_TYPE, CONTENT_TYPE)], text).into_response(),
            Err(_) => {
                (StatusCode::INTERNAL_SERVER_ERROR, "the metrics can't be written down\n").into_response()
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn metrics_have_an_address_or_are_off() {
        assert_eq!("off".parse(), Ok(MetricsAddress(None)));
        assert_eq!("[::]:8080".parse(), Ok(MetricsAddress(Some("[::]:8080".parse().unwrap()))));
        assert!("8080".parse::<MetricsAddress>().unwrap_err().contains("0.0.0.0:8080, or off"));
    }
}
