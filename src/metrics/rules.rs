//! The chart's alerts and its dashboard against the metrics that there are, and against the runbooks. That their queries
//! work is tried by a real Prometheus (`tests/integration/metrics.rs`).

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use serde_json::Value;

use super::page;

fn read(path: &str) -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(path)).unwrap()
}

fn alerts() -> Vec<Value> {
    let file: Value = serde_yaml::from_str(&read("charts/keeptrusts-operator/files/alerts.yaml")).unwrap();
    let groups = file["groups"].as_array().unwrap().iter();
    groups.flat_map(|group| group["rules"].as_array().unwrap().clone()).collect()
}

fn dashboard() -> Value {
    serde_json::from_str(&read("charts/keeptrusts-operator/files/dashboard.json")).unwrap()
}

fn queries() -> Vec<String> {
    let panels = dashboard()["panels"].as_array().unwrap().clone();
    let targets =
        panels.into_iter().flat_map(|panel| panel["targets"].as_array().cloned().unwrap_or_default());
    let of_panels = targets.map(|target| target["expr"].as_str().unwrap().to_owned());
    of_panels.chain(alerts().iter().map(|alert| alert["expr"].as_str().unwrap().to_owned())).collect()
}

/// The names that the reference has, as series have them.
fn series() -> BTreeSet<String> {
    let mut series = BTreeSet::new();
    for line in page().lines().skip(2) {
        let cells: Vec<&str> = line.split(" | ").collect();
        let name = cells[0].trim_matches(['|', ' ', '`']);
        if cells[1] == "histogram" {
            series.extend(["bucket", "sum", "count"].map(|part| format!("{name}_{part}")));
        } else {
            series.insert(name.to_owned());
        }
    }
    series
}

#[test]
fn every_query_asks_for_what_there_is() {
    let series = series();
    for query in queries() {
        let words = query.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
        let names: Vec<_> =
            words.filter(|word| word.starts_with("keeptrusts_") || word.starts_with("process_")).collect();
        assert!(!names.is_empty(), "{query}");
        for name in names {
            assert!(series.contains(name), "{name} in {query}");
        }
    }
}

#[test]
fn every_alert_says_what_it_means_and_what_to_do_and_has_a_runbook_and_a_test() {
    let runbooks = read("docs/alerts.md");
    let tests = read("tests/alerts/alerts.test.yaml");
    let mut names = BTreeSet::new();
    for alert in alerts() {
        let name = alert["alert"].as_str().unwrap();
        for annotation in ["summary", "description", "action"] {
            assert!(alert["annotations"][annotation].as_str().is_some_and(|text| text.len() > 20), "{name}");
        }
        assert!(["warning", "critical"].contains(&alert["labels"]["severity"].as_str().unwrap()), "{name}");
        assert!(alert["for"].is_string(), "{name}");
        assert!(runbooks.contains(&format!("\n## {name}\n")), "docs/alerts.md has no section {name}");
        assert!(tests.contains(&format!("alertname: {name}\n")), "{name} is never seen to fire");
        assert!(names.insert(name.to_owned()), "{name} is there twice");
    }
    let sections: BTreeSet<_> =
        runbooks.lines().filter_map(|line| line.strip_prefix("## ")).map(ToOwned::to_owned).collect();
    assert_eq!(sections, names, "docs/alerts.md has the alerts and nothing else");
}

#[test]
fn the_panels_of_the_dashboard_do_not_overlap() {
    let mut taken = BTreeSet::new();
    let mut ids = BTreeSet::new();
    for panel in dashboard()["panels"].as_array().unwrap() {
        let at = |side: &str| panel["gridPos"][side].as_u64().unwrap();
        let title = panel["title"].as_str().unwrap();
        assert!(ids.insert(panel["id"].as_u64().unwrap()), "{title}");
        assert!(at("x") + at("w") <= 24, "{title}");
        for (x, y) in
            (at("x")..at("x") + at("w")).flat_map(|x| (at("y")..at("y") + at("h")).map(move |y| (x, y)))
        {
            assert!(taken.insert((x, y)), "{title} lies over another panel");
        }
    }
}
