//! The client's own limit on calls, and the pause that a 429 imposes on the whole connection.

use std::num::NonZeroU32;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use governor::{DefaultDirectRateLimiter, Quota, RateLimiter};
use http::{HeaderMap, HeaderValue, header};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};
use tokio::time::{Instant, sleep, timeout};

use super::error::{CallError, Class};
use super::turns::Turns;
use crate::metrics::TokenApiMetrics;

/// The longest pause that an answer can impose: a slip of the API must not silence the operator for a day.
const MAX_PAUSE: Duration = Duration::from_mins(5);

/// The pause after a 429 that doesn't say how long, to which up to a half is added at random.
const DEFAULT_PAUSE: Duration = Duration::from_secs(10);

/// An API may count calls over any second.
const WINDOW: Duration = Duration::from_secs(1);

/// Whatever takes an API longer to answer, it has counted by then.
const COUNTED_WITHIN: Duration = Duration::from_millis(50);

/// A place under the rate limit, for one call. One that isn't used is free again at once.
#[derive(Debug)]
#[must_use = "a permit is for one call"]
pub struct Permit {
    /// Nothing only if places were no longer given out.
    place: Option<OwnedSemaphorePermit>,
}

/// A call that is being sent, until it was answered.
#[must_use = "dropped when the call was answered"]
pub(super) struct Sending {
    _unanswered: oneshot::Sender<()>,
}

impl Permit {
    /// The call is sent now. Its place is free a second after the API has counted it.
    pub(super) fn send(self) -> Sending {
        let (unanswered, answered) = oneshot::channel();
        tokio::spawn(async move {
            let _ = timeout(COUNTED_WITHIN, answered).await;
            sleep(WINDOW).await;
            drop(self.place);
        });
        Sending { _unanswered: unanswered }
    }
}

/// The limits of one connection.
#[derive(Debug)]
pub(super) struct Limits {
    limiter: DefaultDirectRateLimiter,
    /// As many as calls in a second: some time passes between permit and call, here more and there less, and no second may have one
    /// too many.
    places: Arc<Semaphore>,
    /// Whose turn it is to wait for the next place.
    turns: Turns,
    paused_until: Mutex<Option<Instant>>,
    metrics: TokenApiMetrics,
}

impl Limits {
    pub(super) fn new(requests_per_second: NonZeroU32, metrics: TokenApiMetrics) -> Self {
        // Evenly, without a burst: an API that allows so many in a second refuses a burst on top of them.
        let evenly = Quota::per_second(requests_per_second).allow_burst(NonZeroU32::MIN);
        Self {
            limiter: RateLimiter::direct(evenly),
            places: Arc::new(Semaphore::new(
                usize::try_from(requests_per_second.get()).unwrap_or(usize::MAX),
            )),
            turns: Turns::default(),
            paused_until: Mutex::new(None),
            metrics,
        }
    }

    /// Pauses the connection; a longer pause isn't cut by a shorter one.
    pub(super) fn pause(&self, pause: Duration) {
        let now = Instant::now();
        let until = now + pause.min(MAX_PAUSE);
        let mut paused = self.paused_until.lock().unwrap_or_else(PoisonError::into_inner);
        let before = paused.map_or(now, |before| before.max(now));
        self.metrics.paused(until.saturating_duration_since(before));
        *paused = (*paused).max(Some(until));
    }

    /// Fails if the connection is paused.
    pub(super) fn check(&self) -> Result<(), CallError> {
        let paused = *self.paused_until.lock().unwrap_or_else(PoisonError::into_inner);
        let left = paused.map(|until| until.saturating_duration_since(Instant::now()));
        match left.filter(|left| !left.is_zero()) {
            None => Ok(()),
            Some(left) => Err(CallError {
                class: Class::Throttled,
                // No times in messages: they are compared.
                message: "the token API asked for a pause; no call is made until it is over".to_owned(),
                retry_after: Some(left),
            }),
        }
    }

    /// Waits for a place; fails if the connection is paused, before or after the wait.
    pub(super) async fn permit(&self) -> Result<Permit, CallError> {
        self.check()?;
        let asked = Instant::now();
        let turn = self.turns.turn().await;
        let place = Arc::clone(&self.places).acquire_owned().await.ok();
        self.limiter.until_ready().await;
        drop(turn);
        self.metrics.waited(asked.elapsed());
        self.check()?;
        Ok(Permit { place })
    }

    /// Waits for a place, and for the end of pauses that are no longer than `patience`.
    pub(super) async fn patient_permit(&self, patience: Duration) -> Result<Permit, CallError> {
        loop {
            match self.permit().await {
                Err(CallError { retry_after: Some(left), .. }) if left <= patience => {
                    sleep(left).await;
                }
                other => return other,
            }
        }
    }
}

/// How long a 429 pauses the connection.
pub(super) fn pause_of(headers: &HeaderMap) -> Duration {
    retry_after(headers).unwrap_or_else(|| {
        let extra = rand::random_range(0.0..0.5);
        DEFAULT_PAUSE.mul_f64(1.0 + extra)
    })
}

/// `Retry-After`, as seconds or as an HTTP date, up to a cap. A date is measured from the answer's own `Date`: the two
/// come from one clock.
pub(super) fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let text = headers.get(header::RETRY_AFTER)?.to_str().ok()?.trim();
    let wait = if let Ok(seconds) = text.parse::<u64>() {
        Duration::from_secs(seconds)
    } else if !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit()) {
        MAX_PAUSE
    } else {
        let until = httpdate::parse_http_date(text).ok()?;
        let now = headers.get(header::DATE).and_then(date).unwrap_or_else(std::time::SystemTime::now);
        until.duration_since(now).unwrap_or_default()
    };
    Some(wait.min(MAX_PAUSE))
}

/// An HTTP date.
pub(super) fn date(value: &HeaderValue) -> Option<std::time::SystemTime> {
    httpdate::parse_http_date(value.to_str().ok()?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(retry_after: &str) -> HeaderMap {
        let mut headers = HeaderMap::new();
        headers.insert(header::RETRY_AFTER, retry_after.parse().unwrap());
        headers.insert(header::DATE, "Tue, 24 Nov 2026 12:00:00 GMT".parse().unwrap());
        headers
    }

    #[test]
    fn retry_after_is_read_as_seconds_or_date_and_capped() {
        for (text, seconds) in [
            ("7", Some(7)),
            (" 7 ", Some(7)),
            ("0", Some(0)),
            ("86400", Some(300)),
            ("99999999999999999999999", Some(300)),
            ("Tue, 24 Nov 2026 12:00:30 GMT", Some(30)),
            ("Tue, 24 Nov 2026 11:00:00 GMT", Some(0)),
            ("Wed, 25 Nov 2026 12:00:00 GMT", Some(300)),
            ("soon", None),
            ("-1", None),
            ("", None),
        ] {
            assert_eq!(retry_after(&headers(text)), seconds.map(Duration::from_secs), "{text:?}");
        }
    }

    #[test]
    fn a_429_without_a_word_pauses_for_ten_seconds_and_a_random_bit() {
        for _ in 0..100 {
            let pause = pause_of(&HeaderMap::new());
            assert!((10.0..15.0).contains(&pause.as_secs_f64()), "{pause:?}");
        }
    }

    /// The limiter that spaces calls has another clock: with so many a second it never waits.
    #[tokio::test(start_paused = true)]
    async fn no_second_has_a_call_too_many_whenever_calls_are_sent_and_counted() {
        for (before_call, answer, free) in [(0, 10, 1_010), (300, 20, 1_320), (0, 5_000, 1_050)] {
            let limits = Limits::new(NonZeroU32::new(1_000_000_000).unwrap(), TokenApiMetrics::default());
            let rest = limits.places.clone().acquire_many_owned(999_999_999).await.unwrap();
            let begun = Instant::now();
            let permit = limits.permit().await.unwrap();
            sleep(Duration::from_millis(before_call)).await;
            let sending = permit.send();
            tokio::spawn(async move {
                sleep(Duration::from_millis(answer)).await;
                drop(sending);
            });
            let unused = limits.permit().await.unwrap();
            assert_eq!(begun.elapsed().as_millis(), free, "{before_call} {answer}");
            drop(unused);
            let _permit = limits.permit().await.unwrap();
            assert_eq!(begun.elapsed().as_millis(), free, "one that isn't used is free at once");
            drop(rest);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_permit_fails_at_once_while_paused_and_a_short_pause_can_be_waited_out() {
        let metrics = TokenApiMetrics::default();
        let limits = Limits::new(NonZeroU32::new(100).unwrap(), metrics);
        limits.pause(Duration::from_secs(20));
        limits.pause(Duration::from_secs(2));
        let error = limits.permit().await.unwrap_err();
        assert_eq!((error.class, error.retry_after), (Class::Throttled, Some(Duration::from_secs(20))));
        let begun = Instant::now();
        let error = limits.patient_permit(Duration::from_secs(19)).await.unwrap_err();
        assert_eq!(error.class, Class::Throttled);
        assert_eq!(begun.elapsed(), Duration::ZERO);
        let _permit = limits.patient_permit(Duration::from_secs(20)).await.unwrap();
        assert_eq!(begun.elapsed(), Duration::from_secs(20));
    }
}
