//! Windows of maintenance: times at which what is due may be done.
//!
//! A window begins when its schedule says so in its time zone. In the hour that clocks skip in spring it begins when they
//! have; in the one that they repeat in autumn it begins once, the first time. A schedule with `*` or a step for minute or hour
//! means hours as they pass, and follows neither. (All of this is what Vixie cron does.) It lasts for its duration as clocks that
//! aren't set measure it.

use croner::Cron;
use croner::parser::{CronParser, Seconds, Year};
use jiff::{SignedDuration, Timestamp, tz::TimeZone};

use crate::resources::WindowSpec;

use super::duration;

/// A year that is followed by a whole cycle of weekdays and leap days: a schedule that has no time in it has none at all.
const SOME_TIME: Timestamp = Timestamp::constant(1_700_000_000, 0);

/// One window.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Window {
    /// It begins when any of these says so.
    schedules: Vec<Cron>,
    zone: TimeZone,
    lasts: SignedDuration,
}

/// All windows of a key. Without any it is always open.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Windows(Vec<Window>);

/// A window can't be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InvalidWindow {
    /// Its field.
    pub field: &'static str,
    /// What is wrong with it, and what would be right.
    pub problem: String,
}

impl Window {
    /// Reads a window.
    ///
    /// # Errors
    /// If its schedule, time zone or duration can't be read, or if it never opens.
    pub fn parse(spec: &WindowSpec) -> Result<Self, InvalidWindow> {
        let invalid = |field, problem| InvalidWindow { field, problem };
        let parser = CronParser::builder().seconds(Seconds::Disallowed).year(Year::Disallowed).build();
        let parse = |schedule: &str| {
            parser.parse(schedule).map_err(|error| {
                let problem = format!(
                    "isn't a schedule of five fields (minute, hour, day of month, month, day of week), such as \
                     `0 2 * * 6`: {error}"
                );
                invalid("schedule", problem)
            })
        };
        let whole = parse(&spec.schedule)?;
        let schedules = match times(&spec.schedule) {
            Some(times) => times.iter().map(|time| parse(time)).collect::<Result<_, _>>()?,
            None => vec![whole],
        };
        let name = spec.time_zone.as_deref().unwrap_or("UTC");
        let zone = TimeZone::get(name).map_err(|_| {
            invalid(
                "timeZone",
                format!("isn't a time zone of the IANA database, such as Europe/Berlin: {name}"),
            )
        })?;
        let lasts = duration::parse(&spec.duration)
            .map_err(|error| invalid("duration", error.to_string()))
            .and_then(|lasts| {
            SignedDuration::try_from(lasts).map_err(|error| invalid("duration", error.to_string()))
        })?;
        let window = Self { schedules, zone, lasts };
        if window.begins(SOME_TIME, true).is_none() {
            return Err(invalid(
                "schedule",
                "names no day that there is: the window would never open".to_owned(),
            ));
        }
        Ok(window)
    }

    /// When it next begins after a time, or at it.
    fn begins(&self, after: Timestamp, inclusive: bool) -> Option<Timestamp> {
        let after = after.to_zoned(self.zone.clone());
        let next = |schedule: &Cron| schedule.find_next_occurrence(&after, inclusive).ok();
        self.schedules.iter().filter_map(next).map(|begins| begins.timestamp()).min()
    }

    fn is_open(&self, at: Timestamp) -> bool {
        let earliest = at.checked_sub(self.lasts).unwrap_or(Timestamp::MIN);
        self.begins(earliest, false).is_some_and(|begins| begins <= at)
    }
}

impl Windows {
    /// Takes windows together.
    #[must_use]
    pub fn new(windows: Vec<Window>) -> Self {
        Self(windows)
    }

    /// Whether what is due may be done at this time.
    #[must_use]
    pub fn is_open(&self, at: Timestamp) -> bool {
        self.0.is_empty() || self.0.iter().any(|window| window.is_open(at))
    }

    /// The first time from `at` on at which it may be done.
    #[must_use]
    pub fn opens(&self, at: Timestamp) -> Timestamp {
        if self.is_open(at) {
            return at;
        }
        // There is a next time: a window that never opens isn't read.
        self.0.iter().filter_map(|window| window.begins(at, false)).min().unwrap_or(Timestamp::MAX)
    }
}

/// A schedule as one for each time of day, if it names such: `croner` heeds clocks that are set where there is one alone.
fn times(schedule: &str) -> Option<Vec<String>> {
    /// More than anybody names by hand.
    const MOST: usize = 64;
    let (minute, rest) = schedule.split_once(' ')?;
    let (hour, days) = rest.split_once(' ')?;
    let (minutes, hours) = (numbers(minute)?, numbers(hour)?);
    let all =
        hours.iter().flat_map(|hour| minutes.iter().map(move |minute| format!("{minute} {hour} {days}")));
    (hours.len() * minutes.len() <= MOST).then(|| all.collect())
}

/// The numbers of a list of numbers and ranges; nothing if there is anything else in it.
fn numbers(field: &str) -> Option<Vec<u8>> {
    let range = |item: &str| {
        let (first, last) = item.split_once('-').unwrap_or((item, item));
        Some(first.parse().ok()?..=last.parse().ok()?)
    };
    let ranges = field.split(',').map(range).collect::<Option<Vec<_>>>()?;
    Some(ranges.into_iter().flatten().collect())
}

#[cfg(test)]
mod tests;
