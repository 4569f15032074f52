//! `/metrics`, on an address of its own: a network policy can then let Prometheus reach it and nobody else.

use std::net::SocketAddr;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use axum::Router;
use axum::body::Bytes;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use axum::routing::get;
use tokio::net::TcpListener;
use tokio::sync::Mutex;
use tokio::task::{JoinHandle, spawn_blocking};
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

use super::Metrics;
use crate::serving;

/// What `OpenMetrics` is called.
const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Between two pages passes so many times as long as the first one took, and no longer than that.
const PAUSE: u32 = 9;
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

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
        let pages = Pages::of(self.clone());
        let routes = Router::new().route("/metrics", get(async move || answer(pages.page().await)));
        Ok(serving::serve(listener, routes, stop))
    }
}

fn answer(page: Option<Bytes>) -> Response {
    match page {
        Some(page) => ([(header::CONTENT_TYPE, CONTENT_TYPE)], page).into_response(),
        None => (StatusCode::INTERNAL_SERVER_ERROR, "the metrics can't be written down\n").into_response(),
    }
}

/// The pages of metrics. A page reads every key, and any peer that reaches the port may ask for one. So one page is written at a time, for
/// all requests that came before it was begun, and writing pages takes a bounded share of the time.
#[derive(Clone)]
struct Pages {
    metrics: Metrics,
    last: Arc<Mutex<Option<Page>>>,
}

/// The last page.
struct Page {
    begun: Instant,
    ended: Instant,
    /// Nothing if it couldn't be written down.
    text: Option<Bytes>,
}

impl Page {
    /// How long the next one has to wait.
    fn pause(&self, now: Instant) -> Duration {
        let pause = self.ended.duration_since(self.begun).saturating_mul(PAUSE).min(LONGEST_PAUSE);
        (self.ended + pause).saturating_duration_since(now)
    }
}

impl Pages {
    fn of(metrics: Metrics) -> Self {
        Self { metrics, last: Arc::default() }
    }

    /// A page that was begun after this call.
    async fn page(&self) -> Option<Bytes> {
        let asked = Instant::now();
        let mut last = Arc::clone(&self.last).lock_owned().await;
        if let Some(page) = last.as_ref().filter(|page| page.begun >= asked) {
            return page.text.clone();
        }
        if let Some(page) = &*last {
            sleep(page.pause(Instant::now())).await;
        }
        let metrics = self.metrics.clone();
        // Where whoever asked goes away the page is written all the same, and nobody begins another one meanwhile.
        let written = spawn_blocking(move || {
            let begun = Instant::now();
            let text = metrics.text().ok().map(Bytes::from);
            *last = Some(Page { begun, ended: Instant::now(), text: text.clone() });
            text
        });
        written.await.ok().flatten()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use futures::future::join_all;

    use super::*;
    use crate::metrics::{KubernetesMetrics, TokenApiMetrics};

    #[tokio::test]
    async fn a_flood_of_scrapes_is_answered_one_page_at_a_time() {
        let metrics = Metrics::new(&TokenApiMetrics::default(), &KubernetesMetrics::default());
        let (written, at_once) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        let (pages, running) = (Arc::clone(&written), at_once);
        metrics.collect(move |_| {
            assert_eq!(running.fetch_add(1, Ordering::SeqCst), 0, "one at a time");
            std::thread::sleep(Duration::from_millis(20));
            pages.fetch_add(1, Ordering::SeqCst);
            running.fetch_sub(1, Ordering::SeqCst);
            Ok(())
        });
        let pages = Pages::of(metrics);
        assert!(join_all((0..100).map(|_| pages.page())).await.iter().all(Option::is_some));
        assert!(written.load(Ordering::SeqCst) <= 2, "all who ask at once share a page");
        let begun = Instant::now();
        let page = Page { begun, ended: begun + Duration::from_millis(20), text: None };
        let left = |after| page.pause(page.ended + Duration::from_millis(after)).as_millis();
        assert!((150..=180).contains(&left(20)) && left(200) == 0, "and pages take a tenth of the time");
        // Whoever asks and goes away begins no second page.
        for _ in 0..50 {
            let _ = tokio::time::timeout(Duration::from_millis(1), pages.page()).await;
        }
        assert!(written.load(Ordering::SeqCst) <= 4, "{written:?}");
    }

    #[test]
    fn metrics_have_an_address_or_are_off() {
        assert_eq!("off".parse(), Ok(MetricsAddress(None)));
        assert_eq!("[::]:8080".parse(), Ok(MetricsAddress(Some("[::]:8080".parse().unwrap()))));
        assert!("8080".parse::<MetricsAddress>().unwrap_err().contains("0.0.0.0:8080, or off"));
    }
}
