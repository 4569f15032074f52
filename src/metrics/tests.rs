//! What a scrape shows of made-up keys.

use std::time::{Duration, Instant};

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, Time};
use serde_json::json;

use super::*;
use crate::lifecycle::time::{Monotonic, Now};
use crate::resources::KeyStatus;

/// What must be in no scrape.
const CANARY: &str = "canary";

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(second).unwrap()
}

fn time(second: i64) -> String {
    at(second).to_string()
}

/// A key that is ready since second 100, whose value was made then, and whose token lives until 900.
fn status(change: &serde_json::Value) -> KeyStatus {
    let mut status = json!({
        "observedGeneration": 1,
        "observedRotationGeneration": 0,
        "token": {"id": CANARY, "name": CANARY, "prefix": CANARY, "expiresAt": time(900)},
        "lastRotation": {"time": time(100), "reason": "Created", "generation": 0, "operation": "first"},
        "nextRotation": time(600),
        "conditions": [condition("Ready", "True", "Ready", 100)],
    });
    json_patch::merge(&mut status, change);
    serde_json::from_value(status).unwrap()
}

fn condition(type_: &str, status: &str, reason: &str, since: i64) -> serde_json::Value {
    json!({"type": type_, "status": status, "reason": reason, "message": CANARY, "lastTransitionTime": time(since)})
}

fn unready(reason: &str, since: i64) -> serde_json::Value {
    let conditions =
        [condition("Ready", "False", reason, since), condition("Reconciling", "True", reason, since)];
    json!({"conditions": conditions})
}

fn meta(name: &str) -> ObjectMeta {
    ObjectMeta {
        name: Some(name.to_owned()),
        namespace: Some("shop".to_owned()),
        creation_timestamp: Some(Time(at(50))),
        ..ObjectMeta::default()
    }
}

/// The scrape of these access keys at second 700.
fn scrape(keys: &[(ObjectMeta, Option<KeyStatus>)], each: bool) -> String {
    let metrics = Metrics::new(&TokenApiMetrics::default(), &KubernetesMetrics::default());
    let keys = keys.to_vec();
    metrics.collect(move |encoder| {
        let mut tally = Tally::new(at(700), each);
        for (meta, status) in &keys {
            let status = status.as_ref();
            tally.add(Glance { kind: KeyKind::Access, meta, status, readable: true });
        }
        tally.encode(encoder)
    });
    metrics.text().unwrap()
}

/// The value of a series, if it is there.
fn value(scrape: &str, series: &str) -> Option<String> {
    let mut lines = scrape.lines().filter_map(|line| line.rsplit_once(' '));
    lines.find(|(found, _)| *found == format!("keeptrusts_{series}")).map(|(_, value)| value.to_owned())
}

fn shows(scrape: &str, expected: &[(&str, Option<i64>)]) {
    for (series, number) in expected {
        assert_eq!(value(scrape, series), number.map(|number| number.to_string()), "{series} in\n{scrape}");
    }
}

#[test]
fn the_oldest_the_next_and_the_most_urgent_are_told_of_each_kind() {
    let overdue = json!({"nextRotation": time(650), "token": {"expiresAt": time(800)}});
    let younger =
        json!({"lastRotation": {"time": time(300)}, "nextRotation": null, "token": {"expiresAt": null}});
    let page = scrape(
        &[
            (meta("a"), Some(status(&json!({})))),
            (meta("b"), Some(status(&overdue))),
            (meta("c"), Some(status(&younger))),
        ],
        false,
    );
    let kind = r#"{kind="AccessKey"}"#;
    shows(
        &page,
        &[
            (&format!("keys{kind}"), Some(3)),
            (r#"keys{kind="GatewayKey"}"#, Some(0)),
            (&format!("keys_oldest_rotation_timestamp_seconds{kind}"), Some(100)),
            (&format!("keys_latest_rotation_timestamp_seconds{kind}"), Some(300)),
            // Of the first alone the next rotation lies ahead: 600 is past.
            (&format!("keys_next_rotation_timestamp_seconds{kind}"), Some(600)),
            (&format!("keys_next_expiry_timestamp_seconds{kind}"), Some(800)),
            (&format!("keys_unrenewed_expiry_timestamp_seconds{kind}"), Some(800)),
            (r#"keys_next_expiry_timestamp_seconds{kind="GatewayKey"}"#, None),
            (&format!("keys_deleting{kind}"), Some(0)),
            (&format!("keys_deleting_since_timestamp_seconds{kind}"), None),
            (r#"keys_conditions{kind="AccessKey",condition="Ready",status="True",reason="Ready"}"#, Some(3)),
        ],
    );
}

#[test]
fn a_token_that_will_be_renewed_in_time_is_not_urgent() {
    let page = scrape(&[(meta("a"), Some(status(&json!({"nextRotation": time(701)}))))], false);
    shows(&page, &[(r#"keys_unrenewed_expiry_timestamp_seconds{kind="AccessKey"}"#, None)]);
}

#[test]
fn what_is_not_ready_is_told_with_its_reason_and_since_when() {
    let mut going = meta("d");
    going.deletion_timestamp = Some(Time(at(400)));
    let page = scrape(
        &[
            (meta("a"), Some(status(&unready("Expired", 300)))),
            (meta("b"), Some(status(&unready("Expired", 200)))),
            (meta("c"), Some(status(&unready("Whatever", 250)))),
            (going, Some(status(&unready("RevocationPending", 10)))),
            (meta("e"), None),
        ],
        false,
    );
    let since = |reason: &str| {
        format!(r#"keys_not_ready_since_timestamp_seconds{{kind="AccessKey",reason="{reason}"}}"#)
    };
    shows(
        &page,
        &[
            (&since("Expired"), Some(200)),
            (&since("Other"), Some(250)),
            (&since("Unseen"), Some(50)),
            (&since("RevocationPending"), None),
            (r#"keys_deleting{kind="AccessKey"}"#, Some(1)),
            (r#"keys_deleting_since_timestamp_seconds{kind="AccessKey"}"#, Some(400)),
            (
                r#"keys_conditions{kind="AccessKey",condition="Reconciling",status="True",reason="Expired"}"#,
                Some(2),
            ),
            (
                r#"keys_conditions{kind="AccessKey",condition="Ready",status="Unknown",reason="Unseen"}"#,
                Some(1),
            ),
        ],
    );
}

#[test]
fn nothing_that_comes_from_outside_is_in_a_scrape_but_the_names_of_keys_if_they_were_asked_for() {
    let mut named = meta(CANARY);
    named.namespace = Some(CANARY.to_owned());
    let odd = json!({"conditions": [
        {"type": CANARY, "status": CANARY, "reason": CANARY, "message": CANARY, "lastTransitionTime": time(1)},
        {"type": "Ready", "status": CANARY, "reason": CANARY, "message": CANARY, "lastTransitionTime": time(1)},
    ]});
    let keys = [(named.clone(), Some(status(&json!({})))), (named, Some(status(&odd)))];
    let page = scrape(&keys, false);
    assert!(page.contains("keeptrusts_keys{kind=\"AccessKey\"} 2"), "{page}");
    assert!(!page.contains(CANARY), "{page}");
    let page = scrape(&[(meta("checkout"), Some(status(&json!({}))))], true);
    let key = r#"{kind="AccessKey",key_namespace="shop",key="checkout"}"#;
    shows(
        &page,
        &[
            (&format!("key_ready{key}"), Some(1)),
            (&format!("key_last_rotation_timestamp_seconds{key}"), Some(100)),
            (&format!("key_next_rotation_timestamp_seconds{key}"), Some(600)),
            (&format!("key_expiry_timestamp_seconds{key}"), Some(900)),
        ],
    );
    assert!(!page.contains(CANARY), "{page}");
}

#[test]
fn ten_thousand_keys_make_no_longer_page_than_one_and_cost_one_pass() {
    let keys: Vec<_> =
        (0..10_000).map(|number| (meta(&number.to_string()), Some(status(&json!({}))))).collect();
    let one = scrape(&keys[..1], false);
    let begun = Instant::now();
    let all = scrape(&keys, false);
    let took = begun.elapsed();
    assert_eq!(all.lines().count(), one.lines().count());
    shows(&all, &[(r#"keys{kind="AccessKey"}"#, Some(10_000))]);
    // Making the keys and counting them takes a fifth of a second of processor time; the bound is for a busy machine.
    assert!(took < Duration::from_secs(10), "{took:?}");
}

/// What the histogram of a name counts, and its sum.
fn durations(metrics: &Metrics, name: &str) -> (String, String) {
    let page = metrics.text().unwrap();
    let of = |part: &str| value(&page, &format!("{name}_seconds_{part}{{kind=\"AccessKey\"}}")).unwrap();
    (of("count"), of("sum"))
}

#[test]
fn times_are_measured_from_creation_raise_and_loss_to_the_value_in_the_secret() {
    let metrics = Metrics::new(&TokenApiMetrics::default(), &KubernetesMetrics::default());
    let mut moments = Moments::default();
    let now =
        |second: i64| Now { wall: at(second), mono: Monotonic(Duration::from_secs(second.unsigned_abs())) };
    let mut write = |old: &KeyStatus, new: &KeyStatus, second| {
        moments.notice(7, old, now(second).mono);
        moments.transition(&metrics.keys, KeyKind::Access, Some(at(50)), (old, new), now(second));
    };
    let empty = KeyStatus::default();
    let minting: KeyStatus = serde_json::from_value(unready("Minting", 90)).unwrap();
    let ready = status(&json!({}));
    write(&empty, &minting, 90);
    write(&minting, &ready, 100);
    let rotating = status(&unready("Rotating", 110));
    write(&ready, &rotating, 110);
    let reason = "GenerationRaised";
    let rotated = status(&json!({
        "observedRotationGeneration": 7,
        "lastRotation": {"time": time(112), "reason": reason, "generation": 7, "operation": "second"},
    }));
    write(&rotating, &rotated, 113);
    // Told once more, it is no other value.
    write(&rotated, &rotated, 120);
    let told = ["key_creation_to_ready", "key_raise_to_ready", "key_without_value"]
        .map(|name| durations(&metrics, name));
    let expected = ["50.0", "3.0", "3.0"].map(|sum| ("1".to_owned(), sum.to_owned()));
    assert_eq!(told, expected);
    let page = metrics.text().unwrap();
    for (reason, number) in [("Created", 1), (reason, 1), ("Scheduled", 0)] {
        let series = format!(r#"values_written_total{{kind="AccessKey",reason="{reason}"}}"#);
        shows(&page, &[(&series, Some(number))]);
    }
}

#[test]
fn another_process_tells_of_a_loss_by_the_status() {
    let metrics = Metrics::new(&TokenApiMetrics::default(), &KubernetesMetrics::default());
    let (lost, ready) = (status(&unready("SecretMissing", 60)), status(&json!({})));
    let now = Now { wall: at(100), mono: Monotonic(Duration::from_secs(5)) };
    Moments::default().transition(&metrics.keys, KeyKind::Access, None, (&lost, &ready), now);
    assert_eq!(durations(&metrics, "key_without_value"), ("1".to_owned(), "40.0".to_owned()));
}

#[test]
fn every_name_follows_the_conventions_and_every_metric_is_explained() {
    for line in page().lines().skip(2) {
        let cells: Vec<&str> = line.split(" | ").collect();
        let [name, type_, _, help] = cells[..] else { panic!("{line}") };
        let name = name.trim_matches(['|', ' ', '`']);
        assert!(name.starts_with("keeptrusts_") || name.starts_with("process_"), "{name}");
        assert!(!type_.is_empty() && type_ != "unknown", "{line}");
        assert!(help.len() > 5 && help.trim_end_matches(" |").ends_with('.'), "{line}");
    }
}
