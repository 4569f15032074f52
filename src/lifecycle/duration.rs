//! Durations of a spec: Go's grammar of whole numbers and units, with days and weeks (`90d`, `1h30m`, `12w`).
//!
//! Months and years, fractions and signs aren't durations here: a month has no fixed length, and a key's life needs no
//! finer grain than a second. `humantime` and `jiff` accept all of these, which is why they aren't used.

use std::time::Duration;

/// The text isn't a duration.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("must be whole numbers with the units s, m, h, d or w, and more than zero: 90d, 12w, 1h30m")]
pub struct InvalidDuration;

/// Reads a duration.
///
/// # Errors
/// If `text` isn't of the grammar, is zero, or is longer than can be counted.
pub fn parse(text: &str) -> Result<Duration, InvalidDuration> {
    let mut rest = text;
    let mut total: u64 = 0;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit()).ok_or(InvalidDuration)?;
        let (number, tail) = rest.split_at(digits);
        let number: u64 = number.parse().map_err(|_| InvalidDuration)?;
        let unit = match tail.as_bytes().first() {
            Some(b's') => 1,
            Some(b'm') => 60,
            Some(b'h') => 3_600,
            Some(b'd') => 86_400,
            Some(b'w') => 604_800,
            _ => return Err(InvalidDuration),
        };
        total = number.checked_mul(unit).and_then(|part| total.checked_add(part)).ok_or(InvalidDuration)?;
        rest = &tail[1..];
    }
    if total == 0 { Err(InvalidDuration) } else { Ok(Duration::from_secs(total)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_of_the_grammar_are_read() {
        for (text, seconds) in [
            ("1s", 1),
            ("90d", 90 * 86_400),
            ("12w", 12 * 604_800),
            ("1h30m", 5_400),
            ("0h5m", 300),
            ("1d1d", 172_800),
        ] {
            assert_eq!(parse(text), Ok(Duration::from_secs(seconds)), "{text}");
        }
    }

    #[test]
    fn everything_else_is_refused() {
        for text in [
            "",
            "0s",
            "0h0m",
            "5",
            "h",
            "1.5h",
            "-1h",
            "+1h",
            "1 h",
            "1M",
            "1mo",
            "1y",
            "1ms",
            "99999999999999999999s",
            "18446744073709551615w",
            "1h ",
            "１h",
        ] {
            assert_eq!(parse(text), Err(InvalidDuration), "{text:?}");
        }
    }
}
