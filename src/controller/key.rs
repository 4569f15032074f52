//! What this process holds of each key: memory, the newest views, and, during an operation, the value.

use std::time::Duration;

use backon::{BackoffBuilder, ExponentialBuilder};
use k8s_openapi::api::core::v1::Secret;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use secrecy::SecretString;
use serde::{Deserialize, Serialize};

use crate::clock;
use crate::lifecycle::desired::Desired;
use crate::lifecycle::memory::Memory;
use crate::lifecycle::observed::{Contents, SecretView};
use crate::lifecycle::rollout::Workloads;
use crate::lifecycle::schedule;
use crate::lifecycle::time::Monotonic;
use crate::metrics::Moments;
use crate::token_api::Permit;

use super::resource::KeyObject;
use super::secrets::{self, Identity};

/// How long a cache may lack a Secret that this process has just written before the Secret is looked at again.
const CACHE_LAG: Duration = Duration::from_secs(10);

/// The longest wait between attempts at something that keeps failing.
const LONGEST_WAIT: Duration = Duration::from_mins(5);

/// How long to wait after so many failures in a row before the next attempt: one second, doubled to five minutes, with
/// jitter, so that keys which failed together don't try again together.
fn wait_after(failures: usize) -> Duration {
    let waits = ExponentialBuilder::new()
        .with_min_delay(Duration::from_secs(1))
        .with_max_delay(LONGEST_WAIT)
        .with_factor(2.0)
        .with_jitter()
        .without_max_times();
    waits.build().nth(failures).unwrap_or(LONGEST_WAIT)
}

/// The Secret as it was last seen. No `Debug`: that of a Secret shows its data.
pub(super) struct SecretSeen {
    pub(super) view: SecretView,
    /// Its metadata, of the view's version.
    pub(super) meta: Option<ObjectMeta>,
    /// With its data, if it was read in this pass.
    pub(super) data: Option<Secret>,
    /// Until when a cache that lacks it may simply lag.
    ahead_until: Option<Monotonic>,
    /// When the API server was asked for it, if it was in this pass.
    asked: Option<Monotonic>,
}

impl SecretSeen {
    const UNREAD: Self =
        Self { view: SecretView::Unread, meta: None, data: None, ahead_until: None, asked: None };

    /// It doesn't count as read just now any more.
    fn demote(&mut self) {
        self.data = None;
        self.asked = None;
        match &mut self.view {
            SecretView::Absent { live } => *live = false,
            SecretView::Ours(ours) => {
                ours.live = false;
                ours.contents = Contents::Unread;
            }
            SecretView::Foreign { .. } | SecretView::Unread => {}
        }
    }

    fn version(&self) -> Option<&str> {
        self.meta.as_ref()?.resource_version.as_deref()
    }
}

/// One key in the hands of the pass that works on it.
pub(super) struct KeyState {
    pub(super) memory: Memory,
    pub(super) object: KeyObject,
    pub(super) secret: SecretSeen,
    /// The value, from the token API's answer until it is in the Secret.
    pub(super) value: Option<SecretString>,
    /// A place under the rate limit, from before the intent until the call.
    pub(super) permit: Option<Permit>,
    /// The workloads as they were last read.
    pub(super) workloads: Option<Workloads>,
    /// What the spec asked for when the intent was recorded.
    pub(super) recorded: Option<Desired>,
    /// What is remembered for metrics alone.
    pub(super) moments: Moments,
    /// Failed attempts in a row.
    failures: usize,
    listing: Option<Monotonic>,
}

/// What is kept of a key while nobody works on it and the caches hold the rest.
#[derive(Serialize, Deserialize)]
pub(super) struct Resting {
    memory: Memory,
    workloads: Option<Workloads>,
    moments: Moments,
    failures: usize,
    listing: Option<Monotonic>,
    rotate_now: Option<String>,
}

impl Resting {
    /// A key of which this is known and nothing else.
    pub(super) fn knowing(memory: Memory) -> Self {
        let moments = Moments::default();
        Self { memory, workloads: None, moments, failures: 0, listing: None, rotate_now: None }
    }
}

impl KeyState {
    /// Work on a key begins, whose resource is this.
    pub(super) fn resume(mut object: KeyObject, resting: Resting) -> Self {
        let Resting { memory, workloads, moments, failures, listing, rotate_now } = resting;
        object.view.rotate_now = rotate_now;
        Self {
            memory,
            object,
            secret: SecretSeen::UNREAD,
            value: None,
            permit: None,
            workloads,
            recorded: None,
            moments,
            failures,
            listing,
        }
    }

    /// Lets go of everything that the caches hold too. It is resumed before anything else is done with it.
    pub(super) fn rest(&mut self) -> Resting {
        Resting {
            memory: std::mem::take(&mut self.memory),
            workloads: self.workloads.take(),
            moments: std::mem::take(&mut self.moments),
            failures: self.failures,
            listing: self.listing,
            rotate_now: self.object.view.rotate_now.take(),
        }
    }

    /// Whether nothing is under way that its memory alone doesn't tell.
    pub(super) fn is_idle(&self) -> bool {
        !self.in_flight() && self.value.is_none() && self.permit.is_none() && self.recorded.is_none()
    }

    /// Whether the caches hold what this process knows, so that nothing is lost with it.
    pub(super) fn is_cached(&self, resource: Option<&ObjectMeta>, secret: Option<&ObjectMeta>) -> bool {
        let version = |meta: Option<&ObjectMeta>| meta?.resource_version.clone();
        version(resource).as_ref() == Some(&self.object.view.version)
            && version(secret).as_deref() == self.secret.version()
    }

    /// Begins a pass with what the caches hold, unless this process knows better from replies to its own calls.
    pub(super) fn begin(&mut self, cached: KeyObject, secret: Option<ObjectMeta>) {
        self.memory.preflight = None;
        if !is_older(&cached.view.version, &self.object.view.version) {
            if cached.view.rotate_now != self.object.view.rotate_now {
                // Somebody asks once more: what was refused is tried again.
                self.memory.trouble = None;
            }
            self.object = cached;
        }
        self.demote();
        let Some(meta) = secret else {
            let lags = self.secret.ahead_until.is_some_and(|until| clock::monotonic() < until);
            if !lags {
                self.secret = SecretSeen { view: SecretView::Absent { live: false }, ..SecretSeen::UNREAD };
            }
            return;
        };
        let version = meta.resource_version.as_deref().unwrap_or_default();
        if self.secret.version().is_some_and(|own| is_older(version, own)) {
            return;
        }
        self.secret = SecretSeen {
            view: secrets::observe_metadata(Some(&meta), &self.object.identity, false),
            meta: Some(meta),
            ..SecretSeen::UNREAD
        };
    }

    /// What was read so far doesn't count as read just now any more.
    pub(super) fn demote(&mut self) {
        self.object.view.live = false;
        self.secret.demote();
    }

    /// What was read longer ago than reads stand doesn't count as read just now any more.
    pub(super) fn age(&mut self, now: Monotonic, stands: Duration) {
        let old = |asked: Option<Monotonic>| asked.is_some_and(|asked| now.since(asked) > stands);
        if old(self.object.asked) {
            self.object.view.live = false;
        }
        if old(self.secret.asked) {
            self.secret.demote();
        }
    }

    /// The API server answered with the resource.
    pub(super) fn renew(&mut self, object: KeyObject) {
        // Of another spec than the Secret's contents were judged by.
        if object.view.generation != self.object.view.generation
            && let SecretView::Ours(ours) = &mut self.secret.view
        {
            ours.contents = Contents::Unread;
        }
        self.object = object;
    }

    /// The Secret was read with its data, being asked for at `asked`, and the resource is older than that now.
    pub(super) fn read_secret(&mut self, secret: Option<Secret>, asked: Monotonic) {
        self.object.view.live = false;
        let KeyObject { identity, secret_key, view, .. } = &self.object;
        self.secret = SecretSeen {
            view: secrets::observe(secret.as_ref(), identity, secret_key, view.desired.as_ref().ok()),
            meta: secret.as_ref().map(|secret| secret.metadata.clone()),
            data: secret,
            ahead_until: None,
            asked: Some(asked),
        };
    }

    /// This process wrote the Secret by a call made at `asked`; its contents are these now.
    pub(super) fn wrote_secret(&mut self, meta: ObjectMeta, contents: Contents, asked: Monotonic) {
        let mut view = secrets::observe_metadata(Some(&meta), &self.object.identity, true);
        if let SecretView::Ours(ours) = &mut view {
            ours.contents = contents;
        }
        let ahead_until = Some(clock::monotonic() + CACHE_LAG);
        let data = self.secret.data.take();
        self.secret = SecretSeen { view, meta: Some(meta), data, ahead_until, asked: Some(asked) };
    }

    /// What is known of the Secret turned out to be old.
    pub(super) fn forget_secret(&mut self) {
        self.memory.preflight = None;
        self.secret = SecretSeen::UNREAD;
    }

    /// Whether a list is one that wasn't taken note of yet.
    pub(super) fn is_new_list(&self, begun: Monotonic) -> bool {
        self.listing.is_none_or(|noticed| noticed < begun)
    }

    /// Takes note of the latest list. `shown` says whether it shows an id as this key's, and whether as alive.
    pub(super) fn notice_list(
        &mut self,
        begun: Monotonic,
        lag: Duration,
        shown: impl Fn(&str) -> Option<bool>,
    ) {
        self.listing = Some(begun);
        let status = &self.object.view.status;
        self.memory.notice_list(begun, status, lag, |id| shown(id).is_some());
        if let Some(token) = status.token.as_ref().filter(|token| shown(&token.id) == Some(true)) {
            self.memory.notice_life(&token.id);
        }
    }

    /// How long to wait before the next attempt.
    pub(super) fn next_wait(&mut self) -> Duration {
        let wait = wait_after(self.failures);
        self.failures = self.failures.saturating_add(1);
        schedule::patience(&self.object.view.status, clock::now().wall).map_or(wait, |most| wait.min(most))
    }

    /// Something worked: the next failure is a first one.
    pub(super) fn succeeded(&mut self) {
        self.failures = 0;
    }

    /// Whether this process carries out an operation.
    pub(super) fn in_flight(&self) -> bool {
        self.memory.flight.is_some()
    }

    /// The id of the operation that this process carries out, or else of the one that is recorded.
    pub(super) fn operation(&self) -> Option<&str> {
        let recorded = || self.object.view.status.operation.as_ref().map(|operation| operation.id.as_str());
        self.memory.flight.as_ref().map(|flight| flight.operation.id.as_str()).or_else(recorded)
    }

    /// Nothing of the operation is held any more.
    pub(super) fn let_go(&mut self) {
        self.value = None;
        self.permit = None;
        self.recorded = None;
    }

    /// Which resource it is.
    pub(super) fn identity(&self) -> &Identity {
        &self.object.identity
    }
}

/// Whether `a` is an older version than `b`. The API server writes versions as decimal numbers that rise (comparable
/// by contract since Kubernetes 1.35, in fact before); what isn't a number isn't older than anything.
fn is_older(a: &str, b: &str) -> bool {
    let number = |text: &str| text.parse::<u128>().ok();
    matches!((number(a), number(b)), (Some(a), Some(b)) if a < b)
}

#[cfg(test)]
mod tests {
    use super::is_older;

    #[test]
    fn versions_are_compared_as_numbers_and_what_is_none_is_never_older() {
        for (a, b, older) in
            [("9", "10", true), ("10", "9", false), ("7", "7", false), ("x", "7", false), ("7", "", false)]
        {
            assert_eq!(is_older(a, b), older, "{a} {b}");
        }
    }
}
