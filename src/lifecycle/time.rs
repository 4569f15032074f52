//! Points in time as the core sees them. The core has no clock: it is told.

use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use serde::{Deserialize, Serialize};

/// A point on this machine's monotonic clock, as time since boot. It goes on while the machine is suspended
/// (`CLOCK_BOOTTIME`), and means nothing to another process.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Monotonic(pub Duration);

impl Monotonic {
    /// Time from `earlier` to `self`; zero if `earlier` is the later one.
    #[must_use]
    pub fn since(self, earlier: Self) -> Duration {
        self.0.saturating_sub(earlier.0)
    }
}

impl std::ops::Add<Duration> for Monotonic {
    type Output = Self;

    fn add(self, rhs: Duration) -> Self {
        Self(self.0.saturating_add(rhs))
    }
}

/// Both clocks, read together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Now {
    /// Wall clock, in whole seconds: Kubernetes keeps no finer time, and a finer one would never equal what is stored.
    pub wall: Timestamp,
    /// Monotonic clock.
    pub mono: Monotonic,
}

impl Now {
    /// How far the wall clock is ahead of the monotonic one, in seconds. It changes only where the wall clock is set.
    #[must_use]
    pub fn ahead(self) -> i64 {
        self.wall.as_second().saturating_sub_unsigned(self.mono.0.as_secs())
    }
}

/// A wall-clock time as Kubernetes stores it: in whole seconds.
#[must_use]
pub fn whole_seconds(time: Timestamp) -> Timestamp {
    Timestamp::from_second(time.as_second()).unwrap_or(time)
}

/// `time` as a field of an object.
#[must_use]
pub fn to_time(time: Timestamp) -> Time {
    Time(whole_seconds(time))
}

/// `time` later by `by`; the end of time if that overflows.
#[must_use]
pub fn later(time: Timestamp, by: Duration) -> Timestamp {
    i64::try_from(by.as_secs())
        .ok()
        .and_then(|seconds| Timestamp::from_second(time.as_second().checked_add(seconds)?).ok())
        .unwrap_or(Timestamp::MAX)
}

/// Wall-clock time from `from` to `to`; zero if `to` is the earlier one.
#[must_use]
pub fn elapsed(from: Timestamp, to: Timestamp) -> Duration {
    u64::try_from(to.as_second().saturating_sub(from.as_second())).map_or(Duration::ZERO, Duration::from_secs)
}
