//! What all passes share.

use std::sync::Arc;

use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::clock;
use crate::lifecycle::naming::{Installation, OperationId};
use crate::lifecycle::observed::{ConnectionView, Observed, Timing};
use crate::token_api::{Client, Inventory};

use super::events::Events;
use super::key::{KeyState, Keys};
use super::kubernetes::Kubernetes;

/// What all passes share.
pub(super) struct Context {
    pub(super) kubernetes: Kubernetes,
    pub(super) tokens: Arc<Client>,
    pub(super) inventory: Arc<Inventory>,
    pub(super) events: Events,
    pub(super) installation: Installation,
    pub(super) timing: Timing,
    pub(super) name_limit: usize,
    pub(super) keys: Keys,
    /// Passes under way: neither shutdown nor anything else cancels them.
    pub(super) passes: TaskTracker,
    /// Cancelled when the process is to stop.
    pub(super) stop: CancellationToken,
}

impl Context {
    /// Everything that the next decision about a key may depend on.
    pub(super) fn observe(&self, key: &mut KeyState) -> Observed {
        let now = clock::now();
        let listing = self.inventory.latest(key.identity().kind);
        if let Some(listing) = &listing {
            key.notice_list(listing);
        }
        let view = &key.object.view;
        key.memory.notice(&view.status, view.deleting, now);
        Observed {
            now,
            timing: self.timing,
            owner: key.object.owner.clone(),
            name_limit: self.name_limit,
            resource: view.clone(),
            secret: key.secret.view.clone(),
            listing,
            connection: ConnectionView {
                names_altered: self.inventory.names_altered(),
                clock_skewed: self.tokens.clock_skewed(),
                credential_version: self.tokens.credential_version(),
            },
            memory: key.memory.clone(),
            fresh_id: OperationId::from_random(rand::random()),
            draining: self.stop.is_cancelled(),
        }
    }
}
