//! The clocks of this machine, read for the core, which has none.

use std::time::Duration;

use jiff::Timestamp;
use rustix::time::{ClockId, clock_gettime};

use crate::lifecycle::time::{Monotonic, Now, whole_seconds};

/// Time since boot. It goes on while the machine is suspended (`CLOCK_BOOTTIME`), so that a pause isn't taken for no
/// time at all.
#[must_use]
pub fn monotonic() -> Monotonic {
    let time = clock_gettime(ClockId::Boottime);
    // Since boot, neither part is negative.
    let seconds = u64::try_from(time.tv_sec).unwrap_or_default();
    Monotonic(Duration::new(seconds, u32::try_from(time.tv_nsec).unwrap_or_default()))
}

/// Both clocks.
#[must_use]
pub fn now() -> Now {
    Now { wall: whole_seconds(Timestamp::now()), mono: monotonic() }
}
