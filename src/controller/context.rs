//! What all passes share.

use std::sync::Arc;

use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::clock;
use crate::health::Health;
use crate::leader::Leadership;
use crate::lifecycle::memory::Memory;
use crate::lifecycle::naming::{Installation, OperationId};
use crate::lifecycle::observed::{ConnectionView, Observed, Timing};
use crate::lifecycle::time::Monotonic;
use crate::metrics::Metrics;
use crate::resources::{DesiredState, MAX_SUPERSEDED, WorkloadsStatus};
use crate::selector::KeySelector;
use crate::token_api::{Client, Inventory};

use super::adoption::Adoptions;
use super::directory::Directory;
use super::events::Events;
use super::key::KeyState;
use super::kubernetes::Kubernetes;
use super::resource::KeyObject;
use super::users::Users;
use super::workloads::Rollouts;

/// What all passes share.
pub(super) struct Context {
    pub(super) kubernetes: Kubernetes,
    pub(super) tokens: Arc<Client>,
    pub(super) inventory: Arc<Inventory>,
    pub(super) events: Events,
    pub(super) installation: Installation,
    pub(super) timing: Timing,
    pub(super) name_limit: usize,
    /// All resources and Secrets of ours, as the caches hold them.
    pub(super) directory: Directory,
    /// Which keys are kept; all, without one.
    pub(super) selector: Option<KeySelector>,
    /// Who may adopt.
    pub(super) adoptions: Adoptions,
    /// Who uses which Secret, if that is looked for.
    pub(super) users: Option<Users>,
    /// Workloads that are being restarted.
    pub(super) rollouts: Rollouts,
    /// Whether this process is the one that acts.
    pub(super) leadership: Leadership,
    /// Told of what is under way.
    pub(super) health: Health,
    /// Passes under way: neither shutdown nor a lost Lease nor anything else cancels them.
    pub(super) passes: TaskTracker,
    pub(super) metrics: Metrics,
    /// Cancelled when the process is to stop.
    pub(super) stop: CancellationToken,
}

impl Context {
    /// Whether this operator keeps the key. Labels may change at any time.
    pub(super) fn keeps(&self, object: &KeyObject) -> bool {
        self.selector.as_ref().is_none_or(|selector| selector.matches(&object.labels))
    }

    /// Who uses the key's Secret. What isn't known yet is as it was.
    fn users(&self, key: &KeyState) -> Option<WorkloadsStatus> {
        let users = self.users.as_ref()?;
        let known = users.status(&key.identity().namespace, &key.object.secret_name);
        known.or_else(|| key.object.view.status.workloads.clone())
    }

    /// Everything that the next decision about a key may depend on. The watch may have told earlier that it is deleted.
    pub(super) fn observe(&self, key: &mut KeyState, ending_since: Option<Monotonic>) -> Observed {
        let now = clock::now();
        let listing = self.inventory.latest(key.identity().kind);
        let new = listing.as_ref().map(|listing| listing.begun).filter(|begun| key.is_new_list(*begun));
        if new.is_some() {
            // A list says what was so when it was begun. One that comes amid a pass may show a token that was made
            // after what this pass read: what is read from now on is later than both.
            key.demote();
        }
        key.age(now.mono, self.timing.read_stands);
        let view = &key.object.view;
        let revoked = (view.state == DesiredState::Revoked).then_some(now.mono);
        let ending = if view.deleting { ending_since.or(Some(now.mono)) } else { revoked };
        key.memory.notice(&view.version, &view.status, ending, now);
        if let Ok(desired) = &view.desired {
            key.moments.notice(desired.generation, &view.status, now.mono);
        }
        let kind = key.identity().kind;
        let mut observed = Observed {
            now,
            timing: self.timing,
            owner: key.object.owner.clone(),
            name_limit: self.name_limit,
            places: MAX_SUPERSEDED,
            resource: view.clone(),
            secret: key.secret.view.clone(),
            workloads: key.workloads.clone(),
            users: self.users(key),
            listing,
            adoption: self.adoption(key),
            connection: ConnectionView {
                names_altered: self.inventory.names_altered(),
                clock_skewed: self.tokens.clock_skewed(),
                credential_version: self.tokens.credential_version(),
                absence_doubted: self.inventory.absence_doubted(kind),
            },
            memory: Memory::default(),
            fresh_id: OperationId::from_random(rand::random()),
            draining: self.stop.is_cancelled(),
        };
        if let Some(begun) = new {
            // A token that may not be adopted, or no longer, isn't this key's; but it isn't gone either.
            let shown = |id: &str| {
                let listed = observed.listed_here(id).map(|listed| listed.alive);
                let wanted = || observed.listing.as_ref()?.wanted(id).filter(|wanted| wanted.alive);
                listed.or_else(|| wanted().map(|wanted| wanted.alive))
            };
            key.notice_list(begun, self.timing.list_lag, shown);
        }
        observed.memory.clone_from(&key.memory);
        observed
    }
}
