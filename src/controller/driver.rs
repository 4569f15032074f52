//! The driver of both kinds: observe, decide, perform, until there is nothing to do.

use std::sync::Arc;
use std::time::Duration;

use kube::Resource as _;
use kube::core::error_boundary::InvalidObject;
use kube::runtime::reflector::{ObjectRef, Store};
use tracing::{Instrument as _, Span};

use crate::lifecycle::decide;
use crate::lifecycle::observed::Observed;
use crate::lifecycle::settled;
use crate::lifecycle::step::Step;
use crate::metrics::PassEnd;
use crate::resources::Key;
use crate::token_api::{CallError, on_behalf_of};
use crate::traces;

use super::cached::{CachedKey, CachedSecret};
use super::context::Context;
use super::executor::{Executor, Flow};
use super::key::KeyState;
use super::keys::{Keys, Settled};
use super::queue::{End, Name};
use super::resource::KeyObject;
use super::secrets::Identity;

/// What the watch of one kind in one scope works with.
pub(super) struct Driver<K: Key> {
    pub(super) context: Arc<Context>,
    /// The resources.
    pub(super) resources: Store<CachedKey<K>>,
    /// Our Secrets, metadata only.
    pub(super) secrets: Store<CachedSecret>,
    pub(super) keys: Keys,
}

/// A whole life takes a quarter of these steps; a pass that needs more goes round in circles.
const MOST_STEPS: usize = 100;

/// After such a pass, or one that panicked.
const RETRY: Duration = Duration::from_mins(1);

impl<K: Key> Driver<K> {
    /// The resource as the cache holds it.
    pub(super) fn cached(&self, name: &Name) -> Option<Arc<CachedKey<K>>> {
        self.resources.get(&ObjectRef::new(&name.name).within(&name.namespace))
    }

    /// Whether the caches hold what is known of a key, so that nothing is lost with it.
    fn holds(&self, key: &KeyState) -> bool {
        let Identity { namespace, name, .. } = key.identity();
        let resource = self.resources.get(&ObjectRef::new(name).within(namespace));
        let secret = self.secrets.get(&ObjectRef::new(&key.object.secret_name).within(namespace));
        key.is_cached(resource.as_ref().map(|it| it.meta()), secret.as_ref().map(|it| it.meta()))
    }

    /// The caches are newer, or work on a key has ended: what they hold needn't be kept twice.
    pub(super) fn rest(&self, uid: &str) {
        self.keys.rest(uid, |key| self.holds(key));
    }
}

/// One pass over a key, in a task of its own: whatever becomes of the watch, a pass that has begun is finished. `failed` says
/// why the list can't be had that the key waited for.
pub(super) async fn look_at<K: Key>(driver: Arc<Driver<K>>, name: &Name, failed: Option<CallError>) -> End {
    let context = Arc::clone(&driver.context);
    // Much may have happened while it stood in line: the resource may be gone, or the Lease.
    let object = driver.cached(name).filter(|_| context.leadership.is_held());
    let object =
        object.filter(|object| !driver.keys.is_buried(object.meta().uid.as_deref().unwrap_or_default()));
    let Some(object) = object else { return End::Rest };
    let counted = context.metrics.passes.begin(K::KIND);
    let span = Identity::of(K::KIND, object.meta(), &context.installation).span(None);
    let pass = on_behalf_of(&name.namespace, pass(driver, object, failed));
    let pass = context.passes.spawn(pass.instrument(span.clone()));
    let (end, outcome) = pass.await.unwrap_or_else(|error| {
        // The panic has been logged where it happened; its payload isn't repeated.
        span.in_scope(|| tracing::error!(panicked = error.is_panic(), "a pass ended before its time"));
        (End::Later(RETRY), PassEnd::Panic)
    });
    counted.end(outcome);
    end
}

/// One pass, of whatever can be read.
async fn pass<K: Key>(
    driver: Arc<Driver<K>>,
    object: Arc<CachedKey<K>>,
    failed: Option<CallError>,
) -> (End, PassEnd) {
    let Context { installation, kubernetes, .. } = &*driver.context;
    let cached = match KeyObject::read(&object, installation, kubernetes.specs(), None) {
        Ok(cached) => cached,
        Err(invalid) => {
            unreadable(&driver, &invalid);
            return (End::Rest, PassEnd::Unreadable);
        }
    };
    let uid = cached.identity.uid.clone();
    let end = steps(&driver, cached, failed).await;
    driver.rest(&uid);
    (end, if end == End::Rest { PassEnd::Rest } else { PassEnd::Later })
}

/// One object that can't be read harms no other; it is reported once.
fn unreadable<K: Key>(driver: &Driver<K>, invalid: &InvalidObject) {
    let Driver { context, keys, .. } = driver;
    let InvalidObject { error, metadata } = invalid;
    if keys.is_news(metadata) {
        let identity = Identity::of(K::KIND, metadata, &context.installation);
        context.events.unreadable(&identity, error);
    }
}

/// Steps until there is nothing to do; then says what will bring something.
async fn steps<K: Key>(driver: &Driver<K>, cached: KeyObject, failed: Option<CallError>) -> End {
    let Driver { context, secrets, keys, .. } = driver;
    let reference = ObjectRef::new(&cached.secret_name).within(&cached.identity.namespace);
    let secret = secrets.get(&reference);
    let key = keys.of(&cached);
    let mut key: tokio::sync::MutexGuard<'_, KeyState> = key.lock().await;
    key.begin(cached, secret.map(|secret| secret.metadata()));
    if let Some(error) = failed {
        Executor { context, key: &mut key }.failed(&error);
    }
    let adopts = key.object.desired().is_some_and(|desired| desired.adopt.is_some());
    if adopts && key.object.view.status.last_rotation.is_none() {
        context.tokens.find_own().await;
    }
    for _ in 0..MOST_STEPS {
        // It may be another operator's since it was read. What is in flight is finished all the same.
        if !context.keeps(&key.object) && !key.in_flight() {
            keys.forget(&key.identity().uid);
            return End::Rest;
        }
        let since = keys.ending_since(&key.identity().uid);
        let observed = context.observe(&mut key, since);
        let step = decide(&observed);
        if matches!(step, Step::Rest { .. }) && settled::is_settled(&observed) {
            settle(driver, &key, &observed);
        }
        let operation = step.operation().or_else(|| key.operation());
        let span = key.identity().span(operation);
        span.in_scope(|| tracing::debug!(step = step.name(), "next"));
        let _under_way = context.health.work().begin(key.memory.flight.as_ref().map(|flight| flight.started));
        let traced = match step {
            Step::Rest { .. } => Span::none(),
            _ => traces::of_step(key.identity(), &key.object.view.status, &step, operation),
        };
        let mut executor = Executor { context, key: &mut key };
        match executor.perform(step).instrument(traced).instrument(span).await {
            Flow::Next => {}
            Flow::Later(Duration::MAX) => return End::Rest,
            Flow::Later(wait) => return End::Later(wait),
            Flow::List(begun) => return End::List(begun),
            Flow::Gone => {
                keys.bury(&key.identity().uid);
                return End::Rest;
            }
        }
    }
    tracing::error!("a pass goes round in circles; it is tried again in {} s", RETRY.as_secs());
    End::Later(RETRY)
}

/// The key waits for something to happen: little is kept of it, where the caches hold the rest.
fn settle<K: Key>(driver: &Driver<K>, key: &KeyState, observed: &Observed) {
    if driver.holds(key) {
        let (version, shown) = (observed.resource.version.clone(), settled::shown(observed));
        driver.keys.settle(&key.identity().uid, Settled { version, shown }, key.memory.remains());
    }
}
