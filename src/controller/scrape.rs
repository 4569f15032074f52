//! What is collected at scrape: the state of keys and lists, one pass over the caches.

use std::fmt;
use std::sync::{Arc, Weak};
use std::time::Duration;

use prometheus_client::encoding::DescriptorEncoder;

use crate::clock;
use crate::metrics::{InventoryState, Metrics, Tally};
use crate::resources::KeyKind;

use super::context::Context;

/// From now on every scrape tells of keys and lists. With `per_key` there are series of every key.
pub(super) fn add_to(metrics: &Metrics, context: &Arc<Context>, per_key: bool, period: Duration) {
    // Weak, for the context holds the metrics.
    let context = Arc::downgrade(context);
    metrics.collect(move |encoder| collect(&context, per_key, period, encoder));
}

fn collect(
    context: &Weak<Context>,
    per_key: bool,
    period: Duration,
    encoder: &mut DescriptorEncoder<'_>,
) -> fmt::Result {
    let Some(context) = context.upgrade() else { return Ok(()) };
    let now = clock::now();
    let mut tally = Tally::new(now.wall, per_key);
    context.directory.glance(|key| tally.add(key));
    tally.encode(encoder)?;
    let (inventory, skewed) = (&context.inventory, context.tokens.clock_skewed());
    let mut state = InventoryState::new(period, inventory.names_altered(), skewed);
    for kind in [KeyKind::Access, KeyKind::Gateway] {
        if let Some(listing) = inventory.latest(kind) {
            state.add(kind, now.mono.since(listing.begun), listing.all().map(|listed| listed.alive));
        }
        state.doubt(kind, inventory.absence_doubted(kind));
    }
    state.encode(encoder)
}
