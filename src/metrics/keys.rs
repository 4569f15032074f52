//! What happens to keys: operations, new values, and how long things took.

use std::fmt;

use jiff::Timestamp;
use prometheus_client::encoding::{EncodeLabelSet, EncodeLabelValue, LabelValueEncoder};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Registry, Unit};
use serde::{Deserialize, Serialize};

use super::labels::{KINDS, OfKind};
use crate::lifecycle::status::is_ready;
use crate::lifecycle::time::{Monotonic, Now, elapsed};
use crate::resources::{HistoryEvent, KeyKind, KeyStatus, OperationReason};

/// From an API that answers at once to an hour of outage.
const BUCKETS: [f64; 13] = [0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 900.0, 1800.0, 3600.0];

/// A call that changes a token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Operation {
    /// A token is made.
    Create,
    /// A token is given a new value.
    Rotate,
    /// A token is revoked.
    Revoke,
}

/// How such a call ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ended {
    /// It was done.
    Done,
    /// It certainly changed nothing.
    Refused,
    /// Nobody knows.
    Unknown,
}

impl Operation {
    const ALL: [Self; 3] = [Self::Create, Self::Rotate, Self::Revoke];

    const fn label(self) -> &'static str {
        match self {
            Self::Create => "create",
            Self::Rotate => "rotate",
            Self::Revoke => "revoke",
        }
    }
}

impl Ended {
    const ALL: [Self; 3] = [Self::Done, Self::Refused, Self::Unknown];

    const fn label(self) -> &'static str {
        match self {
            Self::Done => "done",
            Self::Refused => "refused",
            Self::Unknown => "unknown",
        }
    }
}

/// Why a value was made, as the history spells it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Why(OperationReason);

impl EncodeLabelValue for Why {
    fn encode(&self, encoder: &mut LabelValueEncoder) -> fmt::Result {
        fmt::Write::write_fmt(encoder, format_args!("{:?}", self.0))
    }
}

/// Every reason.
const REASONS: [OperationReason; 12] = [
    OperationReason::Created,
    OperationReason::GenerationRaised,
    OperationReason::RotateNow,
    OperationReason::Scheduled,
    OperationReason::Expiring,
    OperationReason::StatusLost,
    OperationReason::SecretMissing,
    OperationReason::SecretChanged,
    OperationReason::RevokedElsewhere,
    OperationReason::RotatedElsewhere,
    OperationReason::Activated,
    OperationReason::Adopted,
];

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OperationLabels {
    kind: &'static str,
    operation: &'static str,
    outcome: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ValueLabels {
    kind: &'static str,
    reason: Why,
}

type Durations = Family<OfKind, Histogram, fn() -> Histogram>;

/// What is counted of keys when something happens to them.
#[derive(Clone, Debug)]
pub struct KeyMetrics {
    operations: Family<OperationLabels, Counter>,
    values: Family<ValueLabels, Counter>,
    contradicted: Family<OfKind, Counter>,
    creation_to_ready: Durations,
    raise_to_ready: Durations,
    without_value: Durations,
}

impl Default for KeyMetrics {
    fn default() -> Self {
        let durations = || Durations::new_with_constructor(|| Histogram::new(BUCKETS));
        let new = Self {
            operations: Family::default(),
            values: Family::default(),
            contradicted: Family::default(),
            creation_to_ready: durations(),
            raise_to_ready: durations(),
            without_value: durations(),
        };
        // From the start, for what appears with a one was never seen to rise.
        for key in KINDS {
            let kind = key.kind();
            for (operation, outcome) in Operation::ALL.into_iter().flat_map(|o| Ended::ALL.map(|e| (o, e))) {
                let (operation, outcome) = (operation.label(), outcome.label());
                drop(new.operations.get_or_create(&OperationLabels { kind, operation, outcome }));
            }
            for reason in REASONS.map(Why) {
                drop(new.values.get_or_create(&ValueLabels { kind, reason }));
            }
            drop(new.contradicted.get_or_create(&key.into()));
            for durations in [&new.creation_to_ready, &new.raise_to_ready, &new.without_value] {
                drop(durations.get_or_create(&key.into()));
            }
        }
        new
    }
}

impl KeyMetrics {
    pub(super) fn register(&self, registry: &mut Registry) {
        let Self { operations, values, contradicted, creation_to_ready, raise_to_ready, without_value } =
            self;
        registry.register(
            "operations",
            "Calls that make, rotate or revoke a token, by how they ended (done, refused: certainly nothing changed, \
             unknown)",
            operations.clone(),
        );
        registry.register("values_written", "New values that Secrets received, by why", values.clone());
        registry.register(
            "inventory_contradicted",
            "How often a list of tokens lacked a token, or showed it as revoked, whose value the token API accepts",
            contradicted.clone(),
        );
        for (name, help, durations) in [
            (
                "key_creation_to_ready",
                "From the creation of a key to its first value in the Secret, to the second",
                creation_to_ready,
            ),
            (
                "key_raise_to_ready",
                "From the first sight of a raised spec.rotation.generation to the new value in the Secret",
                raise_to_ready,
            ),
            (
                "key_without_value",
                "How long keys that had a value were without a valid one, measured when they have one again; as long as \
                 that isn't so, see keeptrusts_keys_not_ready_since_timestamp_seconds",
                without_value,
            ),
        ] {
            registry.register_with_unit(name, help, Unit::Seconds, durations.clone());
        }
    }

    /// A call that changes a token ended.
    pub(crate) fn ended(&self, kind: KeyKind, operation: Operation, ended: Ended) {
        let labels =
            OperationLabels { kind: kind.kind(), operation: operation.label(), outcome: ended.label() };
        self.operations.get_or_create(&labels).inc();
    }

    /// A list was wrong about a token that lives.
    pub(crate) fn contradicted(&self, kind: KeyKind) {
        self.contradicted.get_or_create(&kind.into()).inc();
    }
}

/// What this process remembers of a key to tell how long something took.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(crate) struct Moments {
    /// A raised generation and when it was first seen.
    raised: Option<(i64, Monotonic)>,
    /// Since when the key has had no valid value.
    down: Option<Monotonic>,
}

impl Moments {
    /// Looks at a key whose spec asks for `generation`.
    pub(crate) fn notice(&mut self, generation: i64, status: &KeyStatus, now: Monotonic) {
        let observed = status.observed_rotation_generation.unwrap_or_default();
        // The first value isn't a rotation.
        if generation > observed && status.last_rotation.is_some() && self.raised.is_none() {
            self.raised = Some((generation, now));
        }
    }

    /// A status was written. `created` is when the key was.
    pub(crate) fn transition(
        &mut self,
        metrics: &KeyMetrics,
        kind: KeyKind,
        created: Option<Timestamp>,
        (old, new): (&KeyStatus, &KeyStatus),
        now: Now,
    ) {
        let operation = |status: &KeyStatus| status.last_rotation.as_ref().map(|last| last.operation.clone());
        let restored = new.history.first().is_some_and(|entry| entry.event == HistoryEvent::Restored);
        let changed = operation(old) != operation(new) && !restored;
        if let Some(last) = new.last_rotation.as_ref().filter(|_| changed) {
            let labels = ValueLabels { kind: kind.kind(), reason: Why(last.reason) };
            metrics.values.get_or_create(&labels).inc();
        }
        if !is_ready(new) {
            // One that never had a value, or gave it up, misses none.
            match &new.token {
                Some(_) if is_ready(old) => self.down = Some(now.mono),
                Some(_) => {}
                None => self.down = None,
            }
            return;
        }
        if changed
            && old.last_rotation.is_none()
            && let Some(created) = created
        {
            let took = elapsed(created, now.wall).as_secs_f64();
            metrics.creation_to_ready.get_or_create(&kind.into()).observe(took);
        }
        let observed = new.observed_rotation_generation.unwrap_or_default();
        if let Some((_, since)) = self.raised.take_if(|(generation, _)| *generation <= observed) {
            let took = now.mono.since(since).as_secs_f64();
            metrics.raise_to_ready.get_or_create(&kind.into()).observe(took);
        }
        // Before a restart of this process the status alone knows since when.
        let had = old.token.is_some() && old.last_rotation.is_some();
        let told = (had && !is_ready(old)).then(|| {
            let ready = old.conditions.iter().find(|condition| condition.type_ == "Ready");
            ready.map(|ready| elapsed(ready.last_transition_time.0, now.wall))
        });
        let down = self.down.take().map(|since| now.mono.since(since)).or(told.flatten());
        if let Some(down) = down {
            metrics.without_value.get_or_create(&kind.into()).observe(down.as_secs_f64());
        }
    }
}
