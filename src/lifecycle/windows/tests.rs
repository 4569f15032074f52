use jiff::civil::{Date, DateTime, Time, date};
use jiff::tz::AmbiguousOffset;
use std::cell::Cell;

use proptest::prelude::*;
use regex::Regex;

use super::*;

thread_local! {
    /// How many days and times of day were looked at.
    pub(super) static LOOKS: Cell<u64> = const { Cell::new(0) };
}

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

/// A window's schedule as the CRD admits it: what every rule of a form `self.matches('…')` or `!self.matches('…')` says of it.
fn admitted() -> (Regex, Vec<Regex>) {
    let crd = serde_json::to_value(crate::resources::crds()).unwrap();
    let mut schema = &crd[0]["spec"]["versions"][0]["schema"]["openAPIV3Schema"];
    for part in ["spec", "rotation", "windows"] {
        schema = &schema["properties"][part];
    }
    let rules = &schema["items"]["properties"]["schedule"]["x-kubernetes-validations"];
    let texts = rules.as_array().unwrap().iter().map(|rule| rule["rule"].as_str().unwrap());
    let (mut form, mut refused) = (None, Vec::new());
    for text in texts {
        let pattern =
            |prefix| text.strip_prefix(prefix)?.strip_suffix("')").map(|it| Regex::new(it).unwrap());
        match (pattern("self.matches('"), pattern("!self.matches('")) {
            (Some(pattern), _) => form = Some(pattern),
            (_, Some(pattern)) => refused.push(pattern),
            _ => {}
        }
    }
    (form.unwrap(), refused)
}

/// Items of a field: single numbers, ranges and steps.
fn items(numbers: std::ops::RangeInclusive<u8>) -> impl Strategy<Value = String> {
    let number = prop::sample::select(numbers.collect::<Vec<_>>());
    let range = (number.clone(), number.clone()).prop_map(|(a, b)| format!("{}-{}", a.min(b), a.max(b)));
    let item = prop_oneof![
        6 => number.prop_map(|number| number.to_string()),
        2 => range.clone(),
        2 => (range, 1_u8..=99).prop_map(|(range, step)| format!("{range}/{step}")),
        1 => (1_u8..=99).prop_map(|step| format!("*/{step}")),
    ];
    let list = prop::collection::vec(item, 1..4).prop_map(|items| items.join(","));
    prop_oneof![1 => Just("*".to_owned()), 9 => list]
}

fn schedules() -> impl Strategy<Value = String> {
    // Most are drawn to the days that few months have.
    let days = prop_oneof![items(1..=31), items(29..=31), items(30..=31), items(31..=31)];
    let months = prop_oneof![items(1..=12), items(2..=4), items(2..=2)];
    let weekdays = prop_oneof![3 => Just("*".to_owned()), 1 => items(0..=7)];
    let all = (items(0..=59), items(0..=23), days, months, weekdays);
    all.prop_map(|(minute, hour, day, month, weekday)| format!("{minute} {hour} {day} {month} {weekday}"))
}

/// A year and a bit of days, one of the months to be passed over, and three days' times: more isn't looked at.
const MOST_LOOKS: u64 = 2_000;

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    /// The CRD's rules and the core's table come from two pens: they must say the same.
    #[test]
    fn what_is_admitted_opens_and_what_never_opens_is_refused(
        schedule in schedules(),
        zone in prop::sample::select(ZONES.to_vec()),
        at in 1_700_000_000_i64..5_000_000_000,
    ) {
        thread_local!(static ADMITTED: (Regex, Vec<Regex>) = admitted());
        let (well_formed, refused) = ADMITTED.with(|(form, refused)| {
            (form.is_match(&schedule), refused.iter().any(|rule| rule.is_match(&schedule)))
        });
        prop_assert!(well_formed, "{schedule}");
        let at = Timestamp::from_second(at).unwrap();
        LOOKS.set(0);
        let parsed = window(&schedule, "1s", zone);
        prop_assert_eq!(parsed.is_err(), refused, "{}: {:?}", schedule, parsed);
        if let Ok(window) = parsed {
            let windows = Windows::new(vec![window]);
            let opens = windows.opens(at);
            prop_assert!(opens < Timestamp::MAX && windows.is_open(opens), "{} opens at {}", schedule, opens);
        }
        prop_assert!(LOOKS.get() <= MOST_LOOKS, "{schedule} takes {} looks", LOOKS.get());
    }
}

/// What `croner` takes years, or millennia, to find, and as many times as a key can have.
#[test]
fn the_most_expensive_windows_of_forty_keys_cost_little() {
    let minutes = "0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17,18,19,20,21,22,23,24,25,26,27";
    for schedule in [
        "0-7 0-7 29 2 *".to_owned(),
        "* * 29 2 *".to_owned(),
        "*/59 */23 29 2 *".to_owned(),
        "0-59 0-23 31 1-12/2 *".to_owned(),
        "59 23 31 12 *".to_owned(),
        format!("{minutes} 0,1,2,3,4,5,6,7,8,9,10,11,12 29 2 *"),
        // Clocks in Berlin skip this in some years.
        "*/30 2 31 3 *".to_owned(),
    ] {
        for zone in ZONES {
            let windows = Windows::new(vec![window(&schedule, "1s", zone).unwrap(); 8]);
            LOOKS.set(0);
            // The day after a leap day that is followed by none for eight years; all keys of forty look at the same.
            assert!(windows.opens(time("2096-03-01T12:00:00Z")) < Timestamp::MAX);
            let looks = 40 * LOOKS.get();
            assert!(looks <= 40 * 8 * MOST_LOOKS, "{schedule} in {zone} takes {looks}");
        }
    }
}

#[test]
fn days_that_no_month_has_are_refused_unless_a_day_of_the_week_is_named_too() {
    for (schedule, opens) in [
        ("0 0 30 2 *", false),
        ("0-7 0-7 30,31 2 *", false),
        ("0 0 30-31/1 FEB-MAR/2 *", false),
        ("0 0 31 2-11/9 *", false),
        ("0 0 31 2,4,6,9,11 *", false),
        ("0 0 29 2 *", true),
        ("0 0 29-31/2 2 *", true),
        ("0 0 30 2,4 *", true),
        ("0 0 31 4-5 *", true),
        ("0 0 31 */2 *", true),
        ("0 0 30,31 2 1", true),
        ("0 0 30,31 2 0-7", true),
        ("0 0 30,*/9 2 *", true),
    ] {
        assert_eq!(window(schedule, "1h", "UTC").is_ok(), opens, "{schedule}");
        let refused = admitted().1.iter().any(|rule| rule.is_match(schedule));
        assert_eq!(refused, !opens, "{schedule} at admission");
    }
}

#[test]
fn what_croner_knows_beyond_the_five_fields_is_refused() {
    for schedule in ["@daily", "0 0 L * *", "0 0 15W * *", "0 0 * * 5#2", "0 0 * * 5L", "0 0 1 * +1"] {
        let error = window(schedule, "1h", "UTC").expect_err(schedule);
        assert!(
            error.problem.starts_with("isn't a schedule of five fields"),
            "{schedule}: {}",
            error.problem
        );
    }
}

/// Two days after the last leap day before a century without one.
#[test]
fn a_leap_day_is_found_over_eight_years() {
    let windows = Windows::new(vec![window("0 3 29 2 *", "1h", "UTC").unwrap()]);
    assert_eq!(windows.opens(time("2096-03-02T00:00:00Z")), time("2104-02-29T03:00:00Z"));
}
