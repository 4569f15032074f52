use std::collections::BTreeMap;

use jiff::SignedDuration;

use super::*;
use crate::lifecycle::time::to_time;
use crate::resources::{
    LastRotation, RotationSpec, RotationStrategy, SpecParts, TokenSpec, TokenStatus, WindowSpec,
};

const DAY: i64 = 86_400;

fn time(text: &str) -> Timestamp {
    text.parse().unwrap()
}

fn after(time: Timestamp, seconds: i64) -> Timestamp {
    Timestamp::from_second(time.as_second() + seconds).unwrap()
}

fn desired(rotation: RotationSpec) -> Desired {
    let rotation = RotationSpec { strategy: Some(RotationStrategy::Overlap), ..rotation };
    let token = TokenSpec { expires_after: Some("90d".to_owned()), ..TokenSpec::default() };
    let parts = SpecParts { token: Some(&token), rotation: Some(&rotation), ..SpecParts::default() };
    Desired::parse(&parts, "shop", "checkout").unwrap()
}

fn every(every: &str) -> Desired {
    desired(RotationSpec { every: Some(every.to_owned()), ..RotationSpec::default() })
}

/// A key whose value was written at `last`, and whose token expires so many seconds later.
fn written(last: Timestamp, life: Option<i64>) -> KeyStatus {
    KeyStatus {
        token: Some(TokenStatus {
            created_at: Some(to_time(last)),
            expires_at: life.map(|life| to_time(after(last, life))),
            ..TokenStatus::default()
        }),
        last_rotation: Some(LastRotation {
            time: to_time(last),
            reason: OperationReason::Created,
            generation: 0,
            operation: String::new(),
        }),
        ..KeyStatus::default()
    }
}

#[test]
fn a_value_is_replaced_in_the_second_half_of_the_period_and_each_period_from_then_on() {
    let desired = every("90d");
    let made = time("2026-01-01T00:00:00Z");
    for uid in 0..200 {
        let uid = UidTag::new(&uid.to_string());
        let first = next(&desired, &uid, &written(made, None), made).unwrap();
        assert_eq!(first.reason, OperationReason::Scheduled);
        let age = first.at.as_second() - made.as_second();
        assert!(age > 45 * DAY && age <= 90 * DAY, "{age}");
        let second = next(&desired, &uid, &written(first.at, None), first.at).unwrap();
        assert_eq!(second.at.as_second() - first.at.as_second(), 90 * DAY);
        // A rotation between them moves the next one by less than half a period.
        let between = after(first.at, 10 * DAY);
        let third = next(&desired, &uid, &written(between, None), between).unwrap();
        let age = third.at.as_second() - between.as_second();
        assert!(age > 45 * DAY && age <= 90 * DAY, "{age}");
    }
}

/// Five years of a thousand keys that were made in one minute, with an operator that looks once an hour, is down for days now and then,
/// and whose clock is set by hours.
#[test]
fn a_thousand_keys_are_spread_and_none_is_missed() {
    const KEYS: usize = 1_000;
    const YEARS: i64 = 5;
    let desired = every("90d");
    let made = time("2026-01-01T12:00:00Z");
    let uids: Vec<_> = (0..KEYS).map(|nr| UidTag::new(&format!("uid-{nr}"))).collect();
    let mut last = vec![made; KEYS];
    let mut due: Vec<_> =
        uids.iter().map(|uid| next(&desired, uid, &written(made, None), made).unwrap().at).collect();
    let mut rotations = vec![0; KEYS];
    let mut by_day: BTreeMap<i64, usize> = BTreeMap::new();
    let down = |hour: i64| hour % 4_000 < 50;
    for hour in 0..YEARS * 365 * 24 {
        // The clock is wrong for a while each year.
        let step = match hour % 8_760 {
            100..200 => 3,
            3_000..3_100 => -5,
            _ => 0,
        };
        if down(hour) {
            continue;
        }
        let now = after(made, (hour + step) * 3_600);
        for key in 0..KEYS {
            if due[key] > now {
                continue;
            }
            let age = now.as_second() - last[key].as_second();
            assert!(age <= 90 * DAY + 60 * 3_600, "a value was {} days old", age / DAY);
            last[key] = now;
            rotations[key] += 1;
            // A restart forgets nothing: all of this follows from what is stored.
            due[key] = next(&desired, &uids[key], &written(now, None), now).unwrap().at;
            *by_day.entry(now.as_second() / DAY).or_default() += 1;
        }
    }
    let periods = i32::try_from(YEARS * 365 / 90).unwrap();
    assert!(rotations.iter().all(|made| (periods..=periods + 1).contains(made)), "{rotations:?}");
    // All of them in half of the days: 22 a day, but for what an outage of two days held back.
    let worst = by_day.values().max().unwrap();
    assert!(*worst <= 5 * KEYS / 45, "{worst} in a day");
    let busy = by_day.values().filter(|rotations| **rotations > 2 * KEYS / 45).count();
    assert!(busy <= by_day.len() / 20, "{busy} of {} days have twice as many as others", by_day.len());
}

#[test]
fn what_is_due_waits_for_a_window_and_an_expiry_not_for_ever() {
    let window = |schedule: &str, duration: &str| {
        let window =
            WindowSpec { schedule: schedule.to_owned(), duration: duration.to_owned(), time_zone: None };
        desired(RotationSpec {
            renew_before: Some("30d".to_owned()),
            windows: vec![window],
            ..RotationSpec::default()
        })
    };
    let uid = UidTag::new("uid");
    let made = time("2026-01-01T00:00:00Z");
    let status = written(made, Some(90 * DAY));
    let at = |desired: &Desired, now: Timestamp| next(desired, &uid, &status, now).unwrap().at;
    // Due on 2 March, a Monday.
    let saturdays = window("0 2 * * 6", "4h");
    assert_eq!(at(&saturdays, made), time("2026-03-07T02:00:00Z"));
    assert_eq!(at(&saturdays, time("2026-03-03T00:00:00Z")), time("2026-03-07T02:00:00Z"));
    let open = time("2026-03-07T03:00:00Z");
    assert!(at(&saturdays, open) <= open, "now");
    assert_eq!(
        at(&saturdays, time("2026-03-07T06:00:00Z")),
        time("2026-03-14T02:00:00Z"),
        "that one was missed"
    );
    // A third of the 30 days before it expires no window is waited for.
    let christmas = window("0 0 24 12 *", "4h");
    assert_eq!(at(&christmas, made), time("2026-03-22T00:00:00Z"));
}

#[test]
fn an_expiry_is_renewed_in_the_last_third_or_as_long_before_as_is_said() {
    let made = time("2026-01-01T00:00:00Z");
    let uid = UidTag::new("uid");
    let day = |rotation: RotationSpec, life: i64| {
        let next = next(&desired(rotation), &uid, &written(made, Some(life)), made).unwrap();
        assert_eq!(next.reason, OperationReason::Expiring);
        next.at.duration_since(made)
    };
    let days = |days: i64| SignedDuration::from_secs(days * DAY);
    let before = |text: &str| RotationSpec { renew_before: Some(text.to_owned()), ..RotationSpec::default() };
    assert_eq!(day(RotationSpec::default(), 90 * DAY), days(60));
    assert_eq!(day(before("10d"), 90 * DAY), days(80));
    assert_eq!(day(before("80d"), 90 * DAY), days(10));
    // The API made the life shorter than was asked for.
    assert_eq!(day(before("80d"), 30 * DAY), days(3));
    assert_eq!(day(before("80d"), 12), SignedDuration::from_secs(10), "not faster than this");
}

#[test]
fn of_a_schedule_and_an_expiry_the_first_counts() {
    let made = time("2026-01-01T00:00:00Z");
    let uid = UidTag::new("uid");
    let scheduled = next(&every("20d"), &uid, &written(made, Some(90 * DAY)), made).unwrap();
    assert_eq!(scheduled.reason, OperationReason::Scheduled);
    let late = after(made, 80 * DAY);
    let both = next(&every("20d"), &uid, &written(made, Some(90 * DAY)), late).unwrap();
    assert_eq!(both.reason, OperationReason::Expiring, "it does what the other would, and more");
    assert_eq!(next(&every("20d"), &uid, &KeyStatus::default(), made), None, "there is no value yet");
}

#[test]
fn attempts_come_closer_as_the_expiry_does() {
    let made = time("2026-01-01T00:00:00Z");
    let status = written(made, Some(1_000));
    let left = |seconds: i64| patience(&status, after(made, 1_000 - seconds)).unwrap().as_secs();
    assert_eq!([left(1_000), left(200), left(100), left(5), left(-5)], [100, 20, 10, 10, 10]);
    assert_eq!(patience(&written(made, None), made), None);
}
