//! Passes over keys: how many, how long, and how many wait for their turn.

use std::time::{Duration, Instant};

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
    /// The key is looked at again after a time, or upon a list of tokens.
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

/// What is counted of passes.
#[derive(Clone, Debug)]
pub struct PassMetrics {
    passes: Family<PassLabels, Counter>,
    duration: Durations,
    running: Family<OfKind, Gauge>,
    waited: Durations,
    queue: Family<OfKind, Gauge>,
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
        let Self { passes, duration, running, waited, queue } = self;
        registry.register(
            "reconciles",
            "Passes over keys, by how they ended (rest: nothing is to be done until something changes; later: the key is \
             looked at again after a time, or upon a new list of tokens)",
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
        registry.register("reconcile_queue_length", "Keys whose pass is due and hasn't begun", queue.clone());
        registry.register_with_unit(
            "reconcile_queue_wait",
            "From when a pass over a key was due until it began",
            Unit::Seconds,
            waited.clone(),
        );
    }

    /// The queue of one kind in one scope.
    pub(crate) fn queue(&self, kind: KeyKind) -> QueueMetrics {
        let of = OfKind::from(kind);
        QueueMetrics {
            length: self.queue.get_or_create(&of).clone(),
            waited: self.waited.get_or_create(&of).clone(),
            known: 0,
        }
    }

    /// A pass begins.
    pub(crate) fn begin(&self, kind: KeyKind) -> Pass<'_> {
        self.running.get_or_create(&kind.into()).inc();
        Pass { metrics: self, kind, begun: Instant::now() }
    }
}

/// What is counted of one queue; others of the kind add to it.
#[derive(Debug)]
pub(crate) struct QueueMetrics {
    length: Gauge,
    waited: Histogram,
    known: i64,
}

impl QueueMetrics {
    /// So many keys wait in it.
    pub(crate) fn has(&mut self, waiting: usize) {
        let waiting = i64::try_from(waiting).unwrap_or(i64::MAX);
        self.length.inc_by(waiting - self.known);
        self.known = waiting;
    }

    /// A key's pass begins after so long.
    pub(crate) fn waited(&self, time: Duration) {
        self.waited.observe(time.as_secs_f64());
    }
}

impl Drop for QueueMetrics {
    fn drop(&mut self) {
        self.has(0);
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

    #[test]
    fn queues_of_a_kind_are_counted_together_while_they_last() {
        let metrics = PassMetrics::default();
        let kind = KeyKind::Gateway;
        let length = || metrics.queue.get_or_create(&kind.into()).get();
        let (mut one, mut another) = (metrics.queue(kind), metrics.queue(kind));
        one.has(3);
        another.has(4);
        one.has(1);
        assert_eq!(length(), 5);
        drop(another);
        assert_eq!(length(), 1);
    }

    #[test]
    fn passes_under_way_are_counted_however_they_end() {
        let metrics = PassMetrics::default();
        let kind = KeyKind::Access;
        let running = || metrics.running.get_or_create(&kind.into()).get();
        let passes = [metrics.begin(kind), metrics.begin(kind)];
        assert_eq!(running(), 2);
        let [ended, dropped] = passes;
        ended.end(PassEnd::Rest);
        drop(dropped);
        assert_eq!(running(), 0);
    }
}
