//! The state of all keys, counted at scrape from what the caches hold: nothing here can be out of step with it, and an
//! idle operator does nothing for it.

use std::collections::BTreeMap;
use std::fmt;

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, ObjectMeta, Time};
use prometheus_client::encoding::{DescriptorEncoder, EncodeLabelSet, EncodeMetric as _};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::Unit;

use super::labels::{KINDS, OfKind};
use crate::lifecycle::status::Reason;
use crate::resources::{KeyKind, KeyStatus};

/// A key as a cache holds it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Glance<'a> {
    pub(crate) kind: KeyKind,
    pub(crate) meta: &'a ObjectMeta,
    /// Nothing if the object can't be read, or has none.
    pub(crate) status: Option<&'a KeyStatus>,
    pub(crate) readable: bool,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, EncodeLabelSet)]
struct ConditionLabels {
    kind: &'static str,
    condition: &'static str,
    status: &'static str,
    reason: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, EncodeLabelSet)]
struct ReasonLabels {
    kind: &'static str,
    reason: &'static str,
}

/// Only where series of every key were asked for.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, EncodeLabelSet)]
struct KeyLabels {
    kind: &'static str,
    /// Not `namespace`: that is the operator's own, as Prometheus labels what it scrapes.
    key_namespace: String,
    key: String,
}

type Sheet<L> = BTreeMap<L, i64>;

/// What a reason is told as that isn't one of ours: somebody else wrote the status.
const OTHER: &str = "Other";

/// The operator hasn't said anything about the key yet.
const UNSEEN: &str = "Unseen";

/// The object can't be read.
const UNREADABLE: &str = "Unreadable";

/// Everything that is counted.
#[derive(Debug)]
pub(crate) struct Tally {
    now: Timestamp,
    keys: Sheet<OfKind>,
    conditions: Sheet<ConditionLabels>,
    not_ready_since: Sheet<ReasonLabels>,
    deleting: Sheet<OfKind>,
    deleting_since: Sheet<OfKind>,
    oldest_rotation: Sheet<OfKind>,
    latest_rotation: Sheet<OfKind>,
    next_rotation: Sheet<OfKind>,
    next_expiry: Sheet<OfKind>,
    unrenewed_expiry: Sheet<OfKind>,
    superseded: Sheet<OfKind>,
    operations: Sheet<OfKind>,
    rollouts: Sheet<OfKind>,
    each: Option<Each>,
}

/// Series of every key.
#[derive(Debug, Default)]
struct Each {
    ready: Sheet<KeyLabels>,
    rotation: Sheet<KeyLabels>,
    next_rotation: Sheet<KeyLabels>,
    expiry: Sheet<KeyLabels>,
}

impl Tally {
    /// Begins at `now`. With `each`, there are series of every key.
    pub(crate) fn new(now: Timestamp, each: bool) -> Self {
        // A kind without keys has none, which is something else than nothing known.
        let none = || KINDS.map(|kind| (kind.into(), 0)).into();
        Self {
            now,
            keys: none(),
            conditions: Sheet::new(),
            not_ready_since: Sheet::new(),
            deleting: none(),
            deleting_since: Sheet::new(),
            oldest_rotation: Sheet::new(),
            latest_rotation: Sheet::new(),
            next_rotation: Sheet::new(),
            next_expiry: Sheet::new(),
            unrenewed_expiry: Sheet::new(),
            superseded: none(),
            operations: none(),
            rollouts: none(),
            each: each.then(Each::default),
        }
    }

    /// Counts a key.
    pub(crate) fn add(&mut self, key: Glance<'_>) {
        let Glance { kind, meta, status, readable } = key;
        let of = OfKind::from(kind);
        add(&mut self.keys, of, 1);
        if let Some(since) = &meta.deletion_timestamp {
            add(&mut self.deleting, of, 1);
            earliest(&mut self.deleting_since, of, since.0);
        }
        let conditions = status.map(|status| status.conditions.as_slice()).unwrap_or_default();
        let ready = self.judge(kind, meta, conditions, readable);
        let Some(status) = status else { return };
        add(&mut self.superseded, of, i64::try_from(status.superseded.len()).unwrap_or(i64::MAX));
        add(&mut self.operations, of, i64::from(status.operation.is_some()));
        add(&mut self.rollouts, of, i64::from(status.rollout.is_some()));
        let rotation = status.last_rotation.as_ref().map(|last| last.time.0);
        let next = status.next_rotation.as_ref().map(|next| next.0);
        let expiry = status.token.as_ref().and_then(|token| token.expires_at.as_ref()).map(|at| at.0);
        // A key that has given up its value, or is about to, has nothing that could age.
        if status.token.is_some() && meta.deletion_timestamp.is_none() {
            if let Some(rotation) = rotation {
                earliest(&mut self.oldest_rotation, of, rotation);
                latest(&mut self.latest_rotation, of, rotation);
            }
            if let Some(next) = next {
                earliest(&mut self.next_rotation, of, next);
            }
            if let Some(expiry) = expiry {
                earliest(&mut self.next_expiry, of, expiry);
                if next.is_none_or(|next| next <= self.now) {
                    earliest(&mut self.unrenewed_expiry, of, expiry);
                }
            }
        }
        if let Some(each) = &mut self.each {
            let labels = KeyLabels {
                kind: kind.kind(),
                key_namespace: meta.namespace.clone().unwrap_or_default(),
                key: meta.name.clone().unwrap_or_default(),
            };
            for (sheet, time) in
                [(&mut each.rotation, rotation), (&mut each.next_rotation, next), (&mut each.expiry, expiry)]
            {
                if let Some(time) = time {
                    sheet.insert(labels.clone(), time.as_second());
                }
            }
            each.ready.insert(labels, i64::from(ready));
        }
    }

    /// Counts a key's conditions, and says whether it is ready.
    fn judge(&mut self, kind: KeyKind, meta: &ObjectMeta, conditions: &[Condition], readable: bool) -> bool {
        let kind = kind.kind();
        let mut ready = None;
        for Condition { type_, status, reason, last_transition_time, .. } in conditions {
            // Others may have conditions of their own.
            let Some(condition) = ["Ready", "Reconciling", "Stalled"].into_iter().find(|own| own == type_)
            else {
                continue;
            };
            let status = ["True", "False"].into_iter().find(|own| own == status).unwrap_or("Unknown");
            let reason = Reason::ALL.iter().map(|own| own.as_str()).find(|own| own == reason);
            let reason = reason.unwrap_or(OTHER);
            add(&mut self.conditions, ConditionLabels { kind, condition, status, reason }, 1);
            if condition == "Ready" {
                ready = Some((status == "True", reason, Some(last_transition_time)));
            }
        }
        let (ready, reason, since) = ready.unwrap_or_else(|| {
            let reason = if readable { UNSEEN } else { UNREADABLE };
            let labels = ConditionLabels { kind, condition: "Ready", status: "Unknown", reason };
            add(&mut self.conditions, labels, 1);
            (false, reason, meta.creation_timestamp.as_ref())
        });
        if let Some(Time(since)) = since.filter(|_| !ready && meta.deletion_timestamp.is_none()) {
            earliest(&mut self.not_ready_since, ReasonLabels { kind, reason }, *since);
        }
        ready
    }

    /// Writes everything down.
    pub(crate) fn encode(&self, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let seconds = Some(Unit::Seconds);
        let mut of_kind =
            |name, help, unit: &Option<Unit>, sheet| write(encoder, name, help, unit.as_ref(), sheet);
        of_kind("keys", "Keys.", &None, &self.keys)?;
        of_kind("keys_deleting", "Keys that are being deleted.", &None, &self.deleting)?;
        of_kind(
            "keys_deleting_since_timestamp",
            "When the deletion of the key was asked for that has been waiting for the longest time.",
            &seconds,
            &self.deleting_since,
        )?;
        of_kind(
            "keys_oldest_rotation_timestamp",
            "When the value was made that is the oldest of all.",
            &seconds,
            &self.oldest_rotation,
        )?;
        of_kind(
            "keys_latest_rotation_timestamp",
            "When the value was made that is the newest of all.",
            &seconds,
            &self.latest_rotation,
        )?;
        of_kind(
            "keys_next_rotation_timestamp",
            "When the next value is due, by schedule or before an expiry; in the past, if one is overdue.",
            &seconds,
            &self.next_rotation,
        )?;
        of_kind("keys_next_expiry_timestamp", "When the next token expires.", &seconds, &self.next_expiry)?;
        of_kind(
            "keys_unrenewed_expiry_timestamp",
            "When the next token expires of those whose renewal is overdue, or that nobody will renew.",
            &seconds,
            &self.unrenewed_expiry,
        )?;
        of_kind(
            "superseded_tokens",
            "Tokens that were replaced and are still to be revoked.",
            &None,
            &self.superseded,
        )?;
        of_kind(
            "operations_recorded",
            "Keys with an operation at the token API whose outcome isn't recorded yet.",
            &None,
            &self.operations,
        )?;
        of_kind("rollouts", "Keys whose workloads are being restarted.", &None, &self.rollouts)?;
        write(
            encoder,
            "keys_conditions",
            "Keys by what their conditions say (Ready, Reconciling, Stalled). Besides the reasons of docs/reasons.md: \
             Unseen (the operator hasn't said anything yet), Unreadable (the object can't be read), Other.",
            None,
            &self.conditions,
        )?;
        write(
            encoder,
            "keys_not_ready_since_timestamp",
            "Since when the key isn't Ready that hasn't been for the longest time, by reason; keys that are being \
             deleted apart.",
            seconds.as_ref(),
            &self.not_ready_since,
        )?;
        let Some(Each { ready, rotation, next_rotation, expiry }) = &self.each else { return Ok(()) };
        write(encoder, "key_ready", "1 if the key is Ready (--metrics-per-key).", None, ready)?;
        for (name, help, sheet) in [
            ("key_last_rotation_timestamp", "When the key's value was made (--metrics-per-key).", rotation),
            (
                "key_next_rotation_timestamp",
                "When the key's next value is due (--metrics-per-key).",
                next_rotation,
            ),
            ("key_expiry_timestamp", "When the key's token expires (--metrics-per-key).", expiry),
        ] {
            write(encoder, name, help, seconds.as_ref(), sheet)?;
        }
        Ok(())
    }
}

fn add<L: Ord>(sheet: &mut Sheet<L>, labels: L, number: i64) {
    *sheet.entry(labels).or_default() += number;
}

fn earliest<L: Ord>(sheet: &mut Sheet<L>, labels: L, time: Timestamp) {
    let time = time.as_second();
    sheet.entry(labels).and_modify(|earliest| *earliest = time.min(*earliest)).or_insert(time);
}

fn latest<L: Ord>(sheet: &mut Sheet<L>, labels: L, time: Timestamp) {
    let time = time.as_second();
    sheet.entry(labels).and_modify(|latest| *latest = time.max(*latest)).or_insert(time);
}

/// Writes one metric down; one without series isn't there at all.
pub(super) fn write<L: EncodeLabelSet>(
    encoder: &mut DescriptorEncoder<'_>,
    name: &str,
    help: &str,
    unit: Option<&Unit>,
    sheet: &Sheet<L>,
) -> fmt::Result {
    if sheet.is_empty() {
        return Ok(());
    }
    let mut metric = encoder.encode_descriptor(name, help, unit, MetricType::Gauge)?;
    for (labels, value) in sheet {
        ConstGauge::new(*value).encode(metric.encode_family(labels)?)?;
    }
    Ok(())
}
