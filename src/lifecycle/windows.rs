//! Windows of maintenance: times at which what is due may be done.
//!
//! A window begins when its schedule says so in its time zone. In the hour that clocks skip in spring it begins when they
//! have; in the one that they repeat in autumn it begins once, the first time. A schedule with `*` or a step for minute or hour
//! means hours as they pass, and follows neither. (All of this is what Vixie cron does.) It lasts for its duration as clocks that
//! aren't set measure it.
//!
//! `croner` reads a schedule and doesn't search it: its search has no bound that a tenant's spec couldn't reach. A search here
//! looks at a few hundred days and times, whatever the schedule may be.

use croner::parser::{CronParser, Seconds, Year};
use jiff::civil::{Date, DateTime};
use jiff::tz::AmbiguousOffset;
use jiff::{SignedDuration, Timestamp, ToSpan as _, tz::TimeZone};

use crate::resources::WindowSpec;

use super::duration;

/// The most days that each month has.
const DAYS: [i8; 12] = [31, 29, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];

/// How many years ahead a search looks: eight, which is the longest time between two leap days, and as many again for a time that
/// clocks skip on one of them.
const YEARS: i32 = 16;

/// No zone repeats or skips more than this when its clocks are set.
const SET_AT_MOST: SignedDuration = SignedDuration::from_hours(3);

/// Some of the numbers from 0 to 63.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Numbers(u64);

impl Numbers {
    fn of(numbers: &[u16]) -> Self {
        Self(numbers.iter().filter(|number| **number < 64).fold(0, |set, number| set | 1 << number))
    }

    fn has(self, number: i8) -> bool {
        (0..64).contains(&number) && self.0 & 1 << number != 0
    }

    /// All of them, in their order.
    fn iter(self) -> impl Iterator<Item = i8> {
        (0..64).filter(move |number| self.has(*number))
    }
}

/// Times that come again and again.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Schedule {
    minutes: Numbers,
    hours: Numbers,
    /// Days of the month; nothing for `*`.
    days: Option<Numbers>,
    months: Numbers,
    /// Days of the week from Sunday on; nothing for `*`.
    weekdays: Option<Numbers>,
    /// Hours are meant as they pass, not as clocks show them.
    passing: bool,
}

/// One window.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Window {
    schedule: Schedule,
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

impl Schedule {
    /// Reads the five fields of cron.
    ///
    /// # Errors
    /// With what is wrong, if they aren't five, or name no day.
    fn parse(text: &str) -> Result<Self, String> {
        let malformed = |why: &str| {
            format!(
                "isn't a schedule of five fields (minute, hour, day of month, month, day of week), such as \
                 `0 2 * * 6`: {why}"
            )
        };
        let fields: Vec<_> = text.split_ascii_whitespace().collect();
        let [minute, hour, ..] = fields[..] else { return Err(malformed("it has too few fields")) };
        let parser = CronParser::builder().seconds(Seconds::Disallowed).year(Year::Disallowed).build();
        let cron = parser.parse(text).map_err(|error| malformed(&error.to_string()))?;
        let pattern = &cron.pattern;
        let modified = pattern.days.has_modifiers() || pattern.days_of_week.has_modifiers();
        if fields.len() != 5 || modified || pattern.matches_dom_and_dow() {
            return Err(malformed("L, W, #, + and nicknames aren't known here"));
        }
        let set = |numbers: Vec<u16>| Numbers::of(&numbers);
        let schedule = Self {
            minutes: set(pattern.minutes.values()),
            hours: set(pattern.hours.values()),
            days: (!pattern.is_dom_wildcard()).then(|| set(pattern.days.values())),
            months: set(pattern.months.values()),
            weekdays: (!pattern.is_dow_wildcard()).then(|| set(pattern.days_of_week.values())),
            passing: [minute, hour].iter().any(|field| field.contains(['*', '/'])),
        };
        schedule.names_a_day().then_some(schedule).ok_or_else(|| {
            "names no day that there is, so the window never opens: choose a day of the month that one of its months has, or a day \
             of the week"
                .to_owned()
        })
    }

    /// Whether there is such a day. Each day of the week comes in every month.
    fn names_a_day(&self) -> bool {
        let (Some(days), None) = (self.days, self.weekdays) else { return true };
        (1..).zip(DAYS).any(|(month, last)| self.months.has(month) && (1..=last).any(|day| days.has(day)))
    }

    /// The first of its days from this one on, and before the end of the search.
    fn day_from(&self, mut day: Date, end: Date) -> Option<Date> {
        while day < end {
            count();
            if !self.months.has(day.month()) {
                day = day.last_of_month().tomorrow().ok()?;
            } else if self.has_day(day) {
                return Some(day);
            } else {
                day = day.tomorrow().ok()?;
            }
        }
        None
    }

    /// Whether a day of one of its months is one of its days. Where both days are given, either will do.
    fn has_day(&self, day: Date) -> bool {
        let of_month = self.days.map(|days| days.has(day.day()));
        let of_week = self.weekdays.map(|days| days.has(day.weekday().to_sunday_zero_offset()));
        of_month.or(of_week).is_none_or(|_| of_month == Some(true) || of_week == Some(true))
    }

    /// The first of its times in a zone after another time, or at it.
    fn next(&self, zone: &TimeZone, after: Timestamp, inclusive: bool) -> Option<Timestamp> {
        let is_next = |at: Timestamp| if inclusive { at >= after } else { at > after };
        // What clocks skip at the end of a day begins on the next one.
        let today = zone.to_datetime(after).date();
        let mut day = today.yesterday().unwrap_or(today);
        let end = today.checked_add(YEARS.years()).unwrap_or(Date::MAX);
        loop {
            day = self.day_from(day, end)?;
            if let Some(begins) = self.on(day, zone, is_next) {
                return Some(begins);
            }
            day = day.tomorrow().ok()?;
        }
    }

    /// The first of a day's times that is next.
    fn on(&self, day: Date, zone: &TimeZone, is_next: impl Fn(Timestamp) -> bool) -> Option<Timestamp> {
        let mut first: Option<Timestamp> = None;
        for hour in self.hours.iter() {
            // No time of this hour or a later one is earlier than this.
            let earliest = earliest(zone, day.at(hour, 0, 0, 0))?;
            if first.is_some_and(|first| earliest >= first) {
                break;
            }
            let latest = earliest.checked_add(SignedDuration::from_hours(1) + SET_AT_MOST);
            if latest.is_ok_and(|latest| !is_next(latest)) {
                continue;
            }
            for minute in self.minutes.iter() {
                let times = self.times(zone, day.at(hour, minute, 0, 0));
                first = times.into_iter().flatten().filter(|at| is_next(*at)).chain(first).min();
            }
        }
        first
    }

    /// When clocks show a time of day that the schedule names: once, or twice or not at all where they are set.
    fn times(&self, zone: &TimeZone, shown: DateTime) -> [Option<Timestamp>; 2] {
        count();
        match zone.to_ambiguous_timestamp(shown).offset() {
            AmbiguousOffset::Unambiguous { offset } => [offset.to_timestamp(shown).ok(), None],
            AmbiguousOffset::Fold { before, after } => {
                let again = Some(after).filter(|_| self.passing);
                [before.to_timestamp(shown).ok(), again.and_then(|after| after.to_timestamp(shown).ok())]
            }
            AmbiguousOffset::Gap { .. } if self.passing => [None, None],
            AmbiguousOffset::Gap { after, .. } => {
                let set = |before| zone.following(before).next().map(|set| set.timestamp());
                [after.to_timestamp(shown).ok().and_then(set), None]
            }
        }
    }
}

/// When clocks show a time of day, or a little before that where they are set.
fn earliest(zone: &TimeZone, shown: DateTime) -> Option<Timestamp> {
    count();
    let offset = match zone.to_ambiguous_timestamp(shown).offset() {
        AmbiguousOffset::Unambiguous { offset } => offset,
        AmbiguousOffset::Fold { before, .. } => before,
        AmbiguousOffset::Gap { after, .. } => after,
    };
    offset.to_timestamp(shown).ok()
}

/// Counts what a search looks at, in tests.
fn count() {
    #[cfg(test)]
    tests::LOOKS.with(|looks| looks.set(looks.get() + 1));
}

impl Window {
    /// Reads a window.
    ///
    /// # Errors
    /// If its schedule, time zone or duration can't be read, or if it never opens.
    pub fn parse(spec: &WindowSpec) -> Result<Self, InvalidWindow> {
        let invalid = |field, problem| InvalidWindow { field, problem };
        let schedule = Schedule::parse(&spec.schedule).map_err(|problem| invalid("schedule", problem))?;
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
        Ok(Self { schedule, zone, lasts })
    }

    /// When it next begins after a time, or at it.
    fn begins(&self, after: Timestamp, inclusive: bool) -> Option<Timestamp> {
        self.schedule.next(&self.zone, after, inclusive)
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
        // There is a next time: a window without one isn't read.
        self.0.iter().filter_map(|window| window.begins(at, false)).min().unwrap_or(Timestamp::MAX)
    }
}

#[cfg(test)]
mod tests;
