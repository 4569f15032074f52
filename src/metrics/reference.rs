//! The page of the reference about metrics, read from what the registry itself says of them.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::time::Duration;

use http::StatusCode;
use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, ObjectMeta, Time};

use super::{Glance, InventoryState, KubernetesMetrics, Metrics, Route, Tally, TokenApiMetrics};
use crate::resources::{KeyKind, KeyStatus, LastRotation, OperationReason, TokenStatus};

/// What the text says of one metric.
#[derive(Default)]
struct Entry {
    type_: String,
    help: String,
    labels: BTreeSet<String>,
}

/// A table of all metrics.
pub(crate) fn page() -> String {
    let mut page = String::from("| metric | type | labels | meaning |\n| --- | --- | --- | --- |\n");
    for (name, Entry { type_, help, labels }) in entries(&everything().text().unwrap_or_default()) {
        let suffix = if type_ == "counter" {
            "_total"
        } else if type_ == "info" {
            "_info"
        } else {
            ""
        };
        let labels: Vec<_> = labels.iter().map(|label| format!("`{label}`")).collect();
        // Writing to a String can't fail.
        let _ = writeln!(page, "| `{name}{suffix}` | {type_} | {} | {help} |", labels.join(", "));
    }
    page
}

/// Every metric with a series at least.
fn everything() -> Metrics {
    let tokens = TokenApiMetrics::default();
    tokens.called(Route::Whoami, true, Some(StatusCode::OK), Duration::ZERO);
    tokens.credential_expires(Timestamp::UNIX_EPOCH);
    let kubernetes = KubernetesMetrics::default();
    kubernetes.called("get", "namespaces", Some(StatusCode::OK), Duration::ZERO);
    let metrics = Metrics::new(&tokens, &kubernetes);
    metrics.orphans(KeyKind::Access, 0);
    metrics.collect(|encoder| {
        let at = Some(Time(Timestamp::UNIX_EPOCH));
        let mut tally = Tally::new(Timestamp::UNIX_EPOCH, true);
        let ready = Condition {
            type_: "Ready".to_owned(),
            status: "False".to_owned(),
            reason: "Expired".to_owned(),
            last_transition_time: Time(Timestamp::UNIX_EPOCH),
            message: String::new(),
            observed_generation: None,
        };
        let status = KeyStatus {
            token: Some(TokenStatus { expires_at: at.clone(), ..TokenStatus::default() }),
            last_rotation: Some(LastRotation {
                time: Time(Timestamp::UNIX_EPOCH),
                reason: OperationReason::Created,
                generation: 0,
                operation: String::new(),
            }),
            next_rotation: at.clone(),
            conditions: vec![ready],
            ..KeyStatus::default()
        };
        for deletion_timestamp in [None, at] {
            let meta = ObjectMeta { deletion_timestamp, ..ObjectMeta::default() };
            tally.add(Glance { kind: KeyKind::Access, meta: &meta, status: Some(&status), readable: true });
        }
        tally.encode(encoder)?;
        let mut inventory = InventoryState::new(Duration::ZERO, false, false);
        inventory.add(KeyKind::Access, Duration::ZERO, std::iter::empty());
        inventory.doubt(KeyKind::Access, false);
        inventory.encode(encoder)
    });
    metrics
}

/// Reads the text format, as far as it names things.
fn entries(text: &str) -> BTreeMap<String, Entry> {
    let mut entries: BTreeMap<String, Entry> = BTreeMap::new();
    let mut current = String::new();
    for line in text.lines() {
        if let Some(rest) = line.strip_prefix("# HELP ") {
            let (name, help) = rest.split_once(' ').unwrap_or((rest, ""));
            name.clone_into(&mut current);
            help.clone_into(&mut entries.entry(current.clone()).or_default().help);
        } else if let Some((name, type_)) = line.strip_prefix("# TYPE ").and_then(|rest| rest.split_once(' '))
        {
            type_.clone_into(&mut entries.entry(name.to_owned()).or_default().type_);
        } else if let (Some((_, labels)), false) = (line.split_once('{'), line.starts_with('#')) {
            let names = labels.split("=\"").filter_map(|before| before.rsplit(['"', ',']).next());
            let names = names.filter(|name| !name.is_empty() && *name != "le" && !name.contains('}'));
            entries.entry(current.clone()).or_default().labels.extend(names.map(ToOwned::to_owned));
        }
    }
    entries
}
