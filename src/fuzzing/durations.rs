//! Durations of a spec. The input is the duration.

use std::time::Duration;

use jiff::Timestamp;

use crate::lifecycle::duration::parse;
use crate::lifecycle::time::later;

/// Units in seconds, and the most digits that the rule of the CRDs admits before each.
const UNITS: [(char, u128, usize); 5] =
    [('s', 1, 9), ('m', 60, 8), ('h', 3_600, 7), ('d', 86_400, 5), ('w', 604_800, 4)];

/// The longest text that the CRDs admit.
const MAX_LENGTH: usize = 32;

/// Five thousand years: the promise of the CRDs' rule.
const MAX_SECONDS: u64 = 5_000 * 366 * 86_400;

/// Checks one text.
///
/// # Panics
/// If something that must hold doesn't.
pub fn check(input: &[u8]) {
    let text = String::from_utf8_lossy(input);
    let read = parse(&text).ok();
    let parts = parts(&text);
    assert_eq!(read, parts.as_deref().and_then(sum), "{text:?} and its parts differ");
    let Some(duration) = read else { return };
    assert!(!duration.is_zero() && duration.subsec_nanos() == 0, "{text:?} is {duration:?}");
    assert_eq!(parse(&format!("{}s", duration.as_secs())), Ok(duration), "{text:?} in seconds");
    let in_bounds = |&(digits, unit): &(&str, char)| {
        UNITS.iter().any(|(name, _, most)| *name == unit && digits.len() <= *most)
    };
    if text.len() <= MAX_LENGTH && parts.iter().flatten().all(in_bounds) {
        assert!(duration.as_secs() <= MAX_SECONDS, "the CRDs admit {text:?}");
        let expires = later(Timestamp::UNIX_EPOCH, duration);
        assert!(expires < Timestamp::MAX, "{text:?} ends at the end of time");
    }
}

/// The text as numbers with their units; nothing if it isn't made of them.
fn parts(text: &str) -> Option<Vec<(&str, char)>> {
    let mut parts = Vec::new();
    for part in text.split_inclusive(|c: char| !c.is_ascii_digit()) {
        let unit = part.chars().next_back()?;
        let digits = part.strip_suffix(unit)?;
        if digits.is_empty() || !UNITS.iter().any(|(name, ..)| *name == unit) {
            return None;
        }
        parts.push((digits, unit));
    }
    Some(parts)
}

/// The sum of all parts, if it can be counted and isn't zero.
fn sum(parts: &[(&str, char)]) -> Option<Duration> {
    let mut total: u128 = 0;
    for (digits, unit) in parts {
        let (_, seconds, _) = UNITS.iter().find(|(name, ..)| name == unit)?;
        let mut number: u128 = 0;
        for digit in digits.chars() {
            // Far above what can be counted it stays where it is.
            number = (number * 10 + u128::from(digit.to_digit(10)?)).min(u128::from(u64::MAX) + 1);
        }
        total = (total + number * seconds).min(u128::from(u64::MAX) + 1);
    }
    u64::try_from(total).ok().filter(|total| *total > 0).map(Duration::from_secs)
}
