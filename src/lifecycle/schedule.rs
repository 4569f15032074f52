//! When a value is replaced though nobody asks: on a schedule, and before its token expires.

use std::time::Duration;

use jiff::Timestamp;
use sha2::{Digest, Sha256};

use crate::resources::{KeyStatus, OperationReason};

use super::desired::Desired;
use super::naming::UidTag;
use super::time::{elapsed, to_time};
use super::windows::Windows;

/// However short an expiry the API sets, tokens aren't made faster than this.
const LEAST: i64 = 10;

/// However near an expiry is, a token API that fails isn't called more often than this.
const HASTE: Duration = Duration::from_secs(10);

/// The next replacement.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Next {
    /// When it may begin: when it is due, or when a window opens then.
    pub at: Timestamp,
    /// Why.
    pub reason: OperationReason,
}

/// The next replacement that time brings by itself, seen from `now`.
#[must_use]
pub fn next(desired: &Desired, uid: &UidTag, status: &KeyStatus, now: Timestamp) -> Option<Next> {
    let renewal = renewal(status, desired.renew_before).map(|renewal| Next {
        // Without a window until then it is done outside one: a token that expires is an outage.
        at: held_back(&desired.windows, renewal.due, now).min(renewal.limit),
        reason: OperationReason::Expiring,
    });
    let every = desired.every.zip(status.last_rotation.as_ref()).map(|(every, last)| Next {
        at: held_back(&desired.windows, due(last.time.0, every, uid), now),
        reason: OperationReason::Scheduled,
    });
    let lives = status.token.is_some();
    // Of two that are due, a renewal does what a rotation would do, and more.
    renewal.into_iter().chain(every.filter(|_| lives)).min_by_key(|next| next.at.max(now))
}

/// When what is due at `due` may begin. While it may and wasn't begun yet, that is when it was due.
fn held_back(windows: &Windows, due: Timestamp, now: Timestamp) -> Timestamp {
    if due <= now && windows.is_open(now) { due } else { windows.opens(due.max(now)) }
}

/// When a value that was written at `last` is due to be replaced: between half of `every` and all of it later, at a moment that
/// follows from the uid. From then on each `every`. So keys that were made together are spread over half of it, and no value is
/// older than `every`.
fn due(last: Timestamp, every: Duration, uid: &UidTag) -> Timestamp {
    let every = seconds(every);
    let grid = (every / 2).max(1);
    let limit = last.as_second().saturating_add(every);
    let phase = phase(uid, grid);
    let due = limit - (limit - phase).rem_euclid(grid);
    Timestamp::from_second(due).unwrap_or(Timestamp::MAX)
}

/// Where on a grid of so many seconds the moments of a resource are.
fn phase(uid: &UidTag, grid: i64) -> i64 {
    let hash = Sha256::digest(uid.as_str());
    let number = hash.iter().take(7).fold(0, |number, byte| number << 8 | i64::from(*byte));
    number % grid
}

/// When a token is renewed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Renewal {
    /// When that is due.
    due: Timestamp,
    /// From when on no window is waited for.
    limit: Timestamp,
}

/// When the current token is to be renewed: so long before it expires, or at the last third of its life. A life whose beginning the
/// API doesn't tell began when the value was written.
fn renewal(status: &KeyStatus, before: Option<Duration>) -> Option<Renewal> {
    let token = status.token.as_ref()?;
    let end = token.expires_at.as_ref()?.0.as_second();
    let told = token.created_at.iter().chain(&token.rotated_at).map(|time| time.0.as_second()).max();
    let written = status.last_rotation.as_ref().map(|last| last.time.0.as_second());
    let start = told.or(written)?.min(end);
    let life = end - start;
    // A life that the API made shorter than was asked for isn't spent on renewals alone.
    let before = before.map_or(life / 3, |before| seconds(before).min(life - life / 10));
    let not_before = |at: i64| {
        let at = written.map_or(at, |written| at.max(written + LEAST));
        Timestamp::from_second(at).ok()
    };
    Some(Renewal { due: not_before(end - before)?, limit: not_before(end - before / 3)? })
}

/// How long to wait at most before another attempt at anything, while a token's life runs out: a tenth of what is left of it, and no
/// less than [`HASTE`].
#[must_use]
pub fn patience(status: &KeyStatus, now: Timestamp) -> Option<Duration> {
    let end = status.token.as_ref()?.expires_at.as_ref()?.0;
    Some((elapsed(now, end) / 10).max(HASTE))
}

/// The status with what is next in it. What is suspended has no date.
pub fn tell_next(desired: &Desired, uid: &UidTag, status: &mut KeyStatus, now: Timestamp) {
    let next = next(desired, uid, status, now).filter(|_| !desired.suspend);
    status.next_rotation = next.map(|next| to_time(next.at));
}

/// [`Duration`] as the schedule counts it.
fn seconds(duration: Duration) -> i64 {
    i64::try_from(duration.as_secs()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests;
