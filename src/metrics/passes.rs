//! Passes over keys: how many, how long, and how many wait for their turn.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Registry, Unit};

use super::labels::{KINDS, OfKind};
use crate::resources::KeyKind;

/// From a pass that finds nothing to do to one that waits for a pause of the token API.
const BUCKETS: [f64; 11] = [0.0001, 0.001, 0.01, 0.05, 0.1, 0.5, 1.0, 5.0, 30.0, 60.0, 300.0];

/// How a pass ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum PassEnd {
    /// Nothing is to be done until something changes.
    Rest,
    /// The key is looked at again after a time.
    Later,
    /// It panicked.
    Panic,
    /// The object can't be read.
    Unreadable,
}

impl PassEnd {
    const ALL: [Self; 4] = [Self::Rest, Self::Later, Self::Panic, Self::Unreadable];

    const fn label(self) -> &'static str {
        match self {
            Self::Rest => "rest",
            Self::Later => "later",
            Self::Panic => "panic",
            Self::Unreadable => "unreadable",
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct PassLabels {
    kind: &'static str,
    outcome: &'static str,
}

type Durations = Family<OfKind, Histogram, fn() -> Histogram>;

/// Namespace and name.
type Waiting = HashMap<(String, String), Instant>;

/// What is counted of passes.
#[derive(Clone, Debug)]
pub struct PassMetrics {
    passes: Family<PassLabels, Counter>,
    duration: Durations,
    running: Family<OfKind, Gauge>,
    waited: Durations,
    queue: Family<OfKind, Gauge>,
    /// The keys that something happened to, and since when a pass is due.
    waiting: Arc<[Mutex<Waiting>; KINDS.len()]>,
}

impl Default for PassMetrics {
    fn default() -> Self {
        let durations = || Durations::new_with_constructor(|| Histogram::new(BUCKETS));
        let new = Self {
            passes: Family::default(),
            duration: durations(),
            running: Family::default(),
            waited: durations(),
            queue: Family::default(),
            waiting: Arc::default(),
        };
        for kind in KINDS {
            for outcome in PassEnd::ALL.map(PassEnd::label) {
                drop(new.passes.get_or_create(&PassLabels { kind: kind.kind(), outcome }));
            }
            for durations in [&new.duration, &new.waited] {
                drop(durations.get_or_create(&kind.into()));
            }
            for gauge in [&new.running, &new.queue] {
                drop(gauge.get_or_create(&kind.into()));
            }
        }
        new
    }
}

impl PassMetrics {
    pub(super) fn register(&self, registry: &mut Registry) {
        let Self { passes, duration, running, waited, queue, waiting: _ } = self;
        registry.register(
            "reconciles",
            "Passes over keys, by how they ended (rest: nothing is to be done until something changes; later: the key is \
             looked at again after a time)",
            passes.clone(),
        );
        registry.register_with_unit(
            "reconcile_duration",
            "How long passes took, their calls included",
            Unit::Seconds,
            duration.clone(),
        );
        registry.register(
            "reconciles_running",
            "Passes under way; at most --concurrency of each kind, and as many again of keys that are new or end",
            running.clone(),
        );
        registry.register(
            "reconcile_queue_length",
            "Keys that something happened to and whose pass hasn't begun",
            queue.clone(),
        );
        registry.register_with_unit(
            "reconcile_queue_wait",
            "From what happened to a key until its pass began",
            Unit::Seconds,
            waited.clone(),
        );
    }

    fn waiting(&self, kind: KeyKind) -> MutexGuard<'_, Waiting> {
        self.waiting[usize::from(kind == KeyKind::Gateway)].lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn count(&self, kind: KeyKind, waiting: &Waiting) {
        self.queue.get_or_create(&kind.into()).set(i64::try_from(waiting.len()).unwrap_or(i64::MAX));
    }

    /// Something happened to these keys: a pass over each is due.
    pub(crate) fn due(&self, kind: KeyKind, keys: impl IntoIterator<Item = (String, String)>) {
        let now = Instant::now();
        let mut waiting = self.waiting(kind);
        for key in keys {
            waiting.entry(key).or_insert(now);
        }
        self.count(kind, &waiting);
    }

    /// No pass comes any more: the key is gone.
    pub(crate) fn gone(&self, kind: KeyKind, namespace: &str, name: &str) -> Option<Instant> {
        let mut waiting = self.waiting(kind);
        let since = waiting.remove(&(namespace.to_owned(), name.to_owned()));
        self.count(kind, &waiting);
        since
    }

    /// A pass begins.
    pub(crate) fn begin(&self, kind: KeyKind, namespace: &str, name: &str) -> Pass<'_> {
        // Passes that time alone brings didn't wait.
        if let Some(since) = self.gone(kind, namespace, name) {
            self.waited.get_or_create(&kind.into()).observe(since.elapsed().as_secs_f64());
        }
        self.running.get_or_create(&kind.into()).inc();
        Pass { metrics: self, kind, begun: Instant::now() }
    }
}

/// A pass under way.
#[derive(Debug)]
pub(crate) struct Pass<'a> {
    metrics: &'a PassMetrics,
    kind: KeyKind,
    begun: Instant,
}

impl Pass<'_> {
    /// It has ended.
    pub(crate) fn end(self, end: PassEnd) {
        let labels = PassLabels { kind: self.kind.kind(), outcome: end.label() };
        self.metrics.passes.get_or_create(&labels).inc();
        let took = self.begun.elapsed().as_secs_f64();
        self.metrics.duration.get_or_create(&self.kind.into()).observe(took);
    }
}

impl Drop for Pass<'_> {
    fn drop(&mut self) {
        self.metrics.running.get_or_create(&self.kind.into()).dec();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(name: &str) -> (String, String) {
        ("shop".to_owned(), name.to_owned())
    }

    #[test]
    fn a_key_waits_once_until_its_pass_begins_or_it_is_gone() {
        let metrics = PassMetrics::default();
        let kind = KeyKind::Gateway;
        let numbers = || {
            let of = OfKind::from(kind);
            (metrics.queue.get_or_create(&of).get(), metrics.running.get_or_create(&of).get())
        };
        metrics.due(kind, [key("a"), key("b")]);
        metrics.due(kind, [key("a")]);
        assert_eq!(numbers(), (2, 0));
        let pass = metrics.begin(kind, "shop", "a");
        assert_eq!(numbers(), (1, 1));
        metrics.due(kind, [key("a")]);
        assert_eq!(numbers(), (2, 1));
        pass.end(PassEnd::Rest);
        metrics.gone(kind, "shop", "a");
        metrics.gone(kind, "shop", "b");
        assert_eq!(numbers(), (0, 0));
        drop(metrics.begin(kind, "shop", "c"));
        assert_eq!(numbers(), (0, 0));
    }
}
