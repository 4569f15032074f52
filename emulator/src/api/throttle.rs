//! The header `Retry-After` in its two forms.

use std::time::{Duration, SystemTime};

use crate::effect::RetryAfter;

/// A date that can't be told apart from never; beyond the year 9999 there is no HTTP date.
const LONGEST: u64 = 100 * 365 * 24 * 60 * 60;

pub(super) fn header(retry_after: RetryAfter) -> String {
    match retry_after {
        RetryAfter::Seconds(seconds) => seconds.to_string(),
        RetryAfter::Date(seconds) => {
            httpdate::fmt_http_date(SystemTime::now() + Duration::from_secs(seconds.min(LONGEST)))
        }
    }
}
