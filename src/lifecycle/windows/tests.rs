use jiff::civil::{Date, DateTime, Time, date};
use jiff::tz::AmbiguousOffset;

use super::*;

fn window(schedule: &str, duration: &str, zone: &str) -> Result<Window, InvalidWindow> {
    Window::parse(&WindowSpec {
        schedule: schedule.to_owned(),
        duration: duration.to_owned(),
        time_zone: Some(zone.to_owned()),
    })
}

fn time(text: &str) -> Timestamp {
    text.parse().unwrap()
}

/// Zones whose clocks are set at other dates and hours, by an hour and by half of one, or not at all.
const ZONES: [&str; 6] = [
    "Europe/Berlin",
    "America/New_York",
    "Australia/Lord_Howe",
    "America/Santiago",
    "Asia/Kolkata",
    "Africa/Cairo",
];

/// What a schedule says, by hand: the days, and the hours and minutes.
type ByHand = (fn(Date) -> bool, &'static [(i8, i8)]);
const SCHEDULES: [(&str, ByHand); 6] = [
    ("0 2 * * 6", (|day| day.weekday().to_sunday_zero_offset() == 6, &[(2, 0)])),
    ("30 2 * * *", (|_| true, &[(2, 30)])),
    (
        "15 0,1,23 * * MON-FRI",
        (|day| (1..=5).contains(&day.weekday().to_sunday_zero_offset()), &[(0, 15), (1, 15), (23, 15)]),
    ),
    ("0 3 29 2 *", (|day| day.month() == 2 && day.day() == 29, &[(3, 0)])),
    ("45 1 1-7 3,10 *", (|day| [3, 10].contains(&day.month()) && day.day() <= 7, &[(1, 45)])),
    // Where both days are given, either will do.
    ("0 0 13 * 5", (|day| day.day() == 13 || day.weekday().to_sunday_zero_offset() == 5, &[(0, 0)])),
];

/// When clocks first show a time of day, or the first that comes after it if they skip it.
fn first(zone: &TimeZone, at: DateTime) -> Timestamp {
    let ambiguous = zone.to_ambiguous_zoned(at);
    match ambiguous.offset() {
        AmbiguousOffset::Unambiguous { offset } => offset.to_timestamp(at).unwrap(),
        AmbiguousOffset::Fold { before, .. } => before.to_timestamp(at).unwrap(),
        AmbiguousOffset::Gap { after, .. } => {
            // The clocks were set between an hour before and this time.
            let late = after.to_timestamp(at).unwrap();
            zone.following(late).next().map(|set| set.timestamp()).unwrap()
        }
    }
}

#[test]
fn windows_open_when_a_calendar_says_so_over_ten_years_in_six_zones() {
    let (begin, end) = (date(2024, 1, 1), date(2034, 1, 1));
    for name in ZONES {
        let zone = TimeZone::get(name).unwrap();
        for (schedule, (days, times)) in SCHEDULES {
            let window = window(schedule, "90m", name).unwrap();
            let mut expected = Vec::new();
            let mut day = begin;
            while day < end {
                if days(day) {
                    let at =
                        |(hour, minute): &(i8, i8)| day.to_datetime(Time::constant(*hour, *minute, 0, 0));
                    expected.extend(times.iter().map(|time| first(&zone, at(time))));
                }
                day = day.tomorrow().unwrap();
            }
            expected.sort_unstable();
            // Of two times one of which is skipped, both may begin at once.
            expected.dedup();
            let mut at = first(&zone, begin.to_datetime(Time::midnight()));
            let until = first(&zone, end.to_datetime(Time::midnight()));
            let mut found = Vec::new();
            while let Some(begins) = window.begins(at, found.is_empty()).filter(|begins| *begins < until) {
                found.push(begins);
                at = begins;
            }
            assert_eq!(found.len(), expected.len(), "{schedule} in {name}");
            for (found, expected) in found.iter().zip(&expected) {
                assert_eq!(found, expected, "{schedule} in {name}");
            }
            // Open from the beginning to just before the end, and closed around it but where another one begins.
            for begins in &expected {
                let second = |after: i64| begins.checked_add(SignedDuration::from_secs(after)).unwrap();
                let inside = |at: Timestamp| {
                    let last = expected.partition_point(|begins| *begins <= at).checked_sub(1);
                    last.is_some_and(|last| at.duration_since(expected[last]) < window.lasts)
                };
                for at in [-1, 0, 1, 5_399, 5_400, 5_401].map(second) {
                    assert_eq!(window.is_open(at), inside(at), "{schedule} in {name} at {at}");
                }
            }
        }
    }
}

#[test]
fn clocks_that_are_set_neither_lose_a_window_nor_repeat_it() {
    let nights = Windows::new(vec![window("30 2 * * *", "1h", "Europe/Berlin").unwrap()]);
    // Half past two doesn't exist on this day: it opens at three.
    assert_eq!(nights.opens(time("2026-03-29T00:00:00Z")), time("2026-03-29T01:00:00Z"));
    // It comes twice on this day, and the window opens the first time.
    assert_eq!(nights.opens(time("2026-10-24T12:00:00Z")), time("2026-10-25T00:30:00Z"));
    assert!(!nights.is_open(time("2026-10-25T01:30:00Z")));
    assert_eq!(nights.opens(time("2026-10-25T01:30:00Z")), time("2026-10-26T01:30:00Z"));
}

#[test]
fn without_windows_it_is_always_open_and_of_several_one_suffices() {
    let now = time("2026-01-01T12:34:56Z");
    assert_eq!(Windows::default().opens(now), now);
    let two = ["0 6 * * *", "0 22 * * *"].map(|schedule| window(schedule, "1h", "UTC").unwrap());
    let two = Windows::new(two.to_vec());
    assert_eq!(two.opens(now), time("2026-01-01T22:00:00Z"));
    assert_eq!(two.opens(time("2026-01-01T22:59:59Z")), time("2026-01-01T22:59:59Z"));
    assert_eq!(two.opens(time("2026-01-01T23:00:00Z")), time("2026-01-02T06:00:00Z"));
}

#[test]
fn what_cannot_be_read_names_its_field() {
    for (schedule, duration, zone, field) in [
        ("0 2 * *", "1h", "UTC", "schedule"),
        ("0 0 2 * * *", "1h", "UTC", "schedule"),
        ("61 2 * * *", "1h", "UTC", "schedule"),
        ("0 5-1 * * *", "1h", "UTC", "schedule"),
        ("0 0 31 2 *", "1h", "UTC", "schedule"),
        ("0 0 31 4,6,9,11 *", "1h", "UTC", "schedule"),
        ("0 2 * * 6", "-1h", "UTC", "duration"),
        ("0 2 * * 6", "0s", "UTC", "duration"),
        ("0 2 * * 6", "1h", "Europe/Atlantis", "timeZone"),
    ] {
        let error = window(schedule, duration, zone).expect_err(schedule);
        assert_eq!(error.field, field, "{schedule} {duration} {zone}: {}", error.problem);
    }
}
