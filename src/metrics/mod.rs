//! Metrics, in the text format of `OpenMetrics`. What is the case is collected at scrape from the caches; what happens is
//! counted where it happens. Nothing here decides, waits or writes to a server.

mod inventory;
mod keys;
mod kubernetes;
mod labels;
mod passes;
mod process;
mod reference;
#[cfg(test)]
mod rules;
mod serve;
mod tally;
#[cfg(test)]
mod tests;
mod token_api;

use std::fmt;
use std::sync::{Arc, PoisonError, RwLock};

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, text};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::Registry;

use crate::resources::KeyKind;

pub(crate) use self::inventory::InventoryState;
pub use self::keys::KeyMetrics;
pub(crate) use self::keys::{Ended, Moments, Operation};
pub use self::kubernetes::{KubernetesMetrics, Metered};
pub use self::passes::PassMetrics;
pub(crate) use self::passes::{PassEnd, QueueMetrics};
pub(crate) use self::reference::page;
pub use self::serve::MetricsAddress;
pub(crate) use self::tally::{Glance, Tally};
pub(crate) use self::token_api::Route;
pub use self::token_api::TokenApiMetrics;

use self::labels::OfKind;
use self::process::ProcessCollector;

/// What all names begin with, those of the process apart, which are everybody's.
const PREFIX: &str = "keeptrusts";

/// All metrics of this process. Handles share what is counted.
#[derive(Clone, Debug)]
pub struct Metrics {
    /// Of what happens to keys.
    pub(crate) keys: KeyMetrics,
    /// Of passes.
    pub(crate) passes: PassMetrics,
    orphans: Family<OfKind, Gauge>,
    leader: Gauge,
    events_dropped: Counter,
    registry: Arc<RwLock<Registry>>,
}

impl Metrics {
    /// Metrics that tell, besides their own, of calls to the token API and to the API server.
    #[must_use]
    pub fn new(tokens: &TokenApiMetrics, kubernetes: &KubernetesMetrics) -> Self {
        let (keys, passes) = (KeyMetrics::default(), PassMetrics::default());
        let (orphans, leader) = (Family::<OfKind, Gauge>::default(), Gauge::default());
        let events_dropped = Counter::default();
        let mut registry = Registry::default();
        registry.register_collector(Box::new(ProcessCollector::default()));
        let ours = registry.sub_registry_with_prefix(PREFIX);
        ours.register("build", "Which operator this is", Info::new([("version", env!("CARGO_PKG_VERSION"))]));
        ours.register(
            "leader",
            "1 if this process works on keys; 0 while it stands by, for another one does",
            leader.clone(),
        );
        ours.register(
            "orphan_tokens",
            "Living tokens whose resource is gone, as `keeptrusts-operator orphans list` shows them; only where all \
             namespaces are watched",
            orphans.clone(),
        );
        ours.register(
            "events_dropped",
            "Kubernetes events that weren't written, for too many waited: those of the namespace with the most of them",
            events_dropped.clone(),
        );
        keys.register(ours);
        passes.register(ours);
        tokens.register(ours);
        kubernetes.register(ours);
        Self { keys, passes, orphans, leader, events_dropped, registry: Arc::new(RwLock::new(registry)) }
    }

    /// Whether this process works on keys, or stands by.
    pub fn leading(&self, leads: bool) {
        self.leader.set(i64::from(leads));
    }

    /// Counts events that are dropped.
    pub(crate) fn events_dropped(&self) -> Counter {
        self.events_dropped.clone()
    }

    /// So many tokens of a kind have lost their resource.
    pub(crate) fn orphans(&self, kind: KeyKind, number: usize) {
        self.orphans.get_or_create(&kind.into()).set(i64::try_from(number).unwrap_or(i64::MAX));
    }

    /// From now on this is asked at every scrape, too.
    pub(crate) fn collect(
        &self,
        source: impl Fn(&mut DescriptorEncoder<'_>) -> fmt::Result + Send + Sync + 'static,
    ) {
        let mut registry = self.registry.write().unwrap_or_else(PoisonError::into_inner);
        registry.sub_registry_with_prefix(PREFIX).register_collector(Box::new(Source(source)));
    }

    /// Everything in the text format of `OpenMetrics`.
    ///
    /// # Errors
    /// If something can't be written down.
    pub fn text(&self) -> Result<String, fmt::Error> {
        let mut page = String::new();
        text::encode(&mut page, &self.registry.read().unwrap_or_else(PoisonError::into_inner))?;
        Ok(page)
    }
}

/// What is collected at scrape.
struct Source<F>(F);

impl<F> fmt::Debug for Source<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Source")
    }
}

impl<F> Collector for Source<F>
where
    F: Fn(&mut DescriptorEncoder<'_>) -> fmt::Result + Send + Sync + 'static,
{
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        self.0(&mut encoder)
    }
}
