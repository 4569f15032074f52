//! Waiting for conditions, never for time.

use std::fmt;
use std::future::Future;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};

/// The first pause between two looks: about the time of one write to the API server.
const FIRST_PAUSE: Duration = Duration::from_millis(10);

/// The longest pause: what a passing test may lose at its end.
const LONGEST_PAUSE: Duration = Duration::from_millis(200);

/// Wrapped around an error, says that looking again is no use.
#[derive(Debug)]
struct Hopeless(anyhow::Error);

impl fmt::Display for Hopeless {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:#}", self.0)
    }
}

impl std::error::Error for Hopeless {}

/// Marks an error so that [`eventually`] gives up at once.
#[must_use]
pub fn hopeless(error: anyhow::Error) -> anyhow::Error {
    anyhow::Error::new(Hopeless(error))
}

/// Looks again and again until `look` succeeds. An error of `look` means "not yet" and says what was seen; the last one is shown
/// when the deadline passes. A look that hangs counts as one that failed.
///
/// ```no_run
/// # use std::time::Duration;
/// # use keeptrusts_harness::{eventually, TestNamespace};
/// # async fn example(namespace: &TestNamespace) -> anyhow::Result<()> {
/// use anyhow::Context as _;
/// use k8s_openapi::api::core::v1::Secret;
/// let value = eventually(Duration::from_secs(10), "the Secret holds a value", async || {
///     let secret = namespace.api::<Secret>().get("checkout-keeptrusts").await?;
///     secret.data.unwrap_or_default().remove("api-key").context("no key api-key")
/// })
/// .await?;
/// # Ok(()) }
/// ```
///
/// # Errors
/// When the deadline passes, or `look` returned a [`hopeless`] error.
pub async fn eventually<T>(
    deadline: Duration,
    what: &str,
    mut look: impl AsyncFnMut() -> Result<T>,
) -> Result<T> {
    let start = Instant::now();
    let mut pause = FIRST_PAUSE;
    let mut last_seen: Option<anyhow::Error> = None;
    loop {
        let left = deadline.saturating_sub(start.elapsed());
        match within(left, look()).await {
            Some(Ok(found)) => return Ok(found),
            Some(Err(error)) if error.is::<Hopeless>() => {
                return Err(error.context(format!("waiting until {what}")));
            }
            Some(Err(error)) => last_seen = Some(error),
            None => {}
        }
        if start.elapsed() + pause > deadline {
            let seen =
                last_seen.map_or_else(|| "nothing: the look itself hung".to_owned(), |e| format!("{e:#}"));
            bail!("not within {deadline:?}: {what}. Last seen: {seen}");
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
}

/// Looks again and again for as long as `period` lasts, and fails as soon as `look` does: for "nothing happens".
///
/// # Errors
/// The first error of `look`.
pub async fn stays(period: Duration, what: &str, mut look: impl AsyncFnMut() -> Result<()>) -> Result<()> {
    let start = Instant::now();
    loop {
        look().await.with_context(|| format!("no longer so after {:?}: {what}", start.elapsed()))?;
        let left = period.saturating_sub(start.elapsed());
        if left.is_zero() {
            return Ok(());
        }
        tokio::time::sleep(left.min(LONGEST_PAUSE)).await;
    }
}

async fn within<T>(limit: Duration, future: impl Future<Output = T>) -> Option<T> {
    tokio::time::timeout(limit, future).await.ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use anyhow::anyhow;

    #[tokio::test]
    async fn returns_what_a_later_look_finds() {
        let mut looks = 0;
        let found = eventually(Duration::from_secs(5), "three looks", async || {
            looks += 1;
            if looks < 3 { Err(anyhow!("look {looks}")) } else { Ok(looks) }
        });
        assert_eq!(found.await.unwrap(), 3);
    }

    #[tokio::test]
    async fn says_what_was_seen_last() {
        let error =
            eventually::<()>(Duration::from_millis(50), "it rains", async || Err(anyhow!("sunshine"))).await;
        let text = error.unwrap_err().to_string();
        assert!(text.contains("it rains") && text.contains("sunshine"), "{text}");
    }

    #[tokio::test]
    async fn a_hopeless_error_ends_the_waiting() {
        let start = Instant::now();
        let result: Result<()> =
            eventually(Duration::from_mins(1), "it answers", async || Err(hopeless(anyhow!("it is dead"))))
                .await;
        assert!(format!("{:#}", result.unwrap_err()).contains("it is dead"));
        assert!(start.elapsed() < Duration::from_secs(5));
    }

    #[tokio::test]
    async fn a_look_that_hangs_ends_with_the_deadline() {
        let result: Result<()> =
            eventually(Duration::from_millis(50), "it answers", async || std::future::pending().await).await;
        assert!(result.unwrap_err().to_string().contains("hung"));
    }
}
