//! The watches that start passes: the resources of both kinds, our Secrets, new lists of tokens, a new credential, and the
//! beginning of leadership.
//!
//! A status that changes starts nothing: it is our own in the end. What is found of others' doings there is found by the
//! passes that every new list starts.

use std::collections::HashSet;
use std::sync::Arc;

use futures::{Stream, StreamExt as _, TryStreamExt as _, future, stream};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::api::Api;
use kube::runtime::reflector::{self, ObjectRef, Store};
use kube::runtime::{Controller, PredicateConfig, WatchStreamExt as _, controller, watcher};
use kube::{Client, Resource};
use tokio::sync::broadcast;
use tokio_stream::wrappers::{BroadcastStream, WatchStream};
use tokio_util::sync::CancellationToken;

use crate::clock;
use crate::lifecycle::listing::Listing;
use crate::lifecycle::naming::Place;
use crate::resources::{AccessKey, GatewayKey, Key, KeyKind};

use super::cached::{CachedKey, CachedSecret};
use super::context::Context;
use super::driver::{Driver, reconcile};
use super::gate::Gate;
use super::keys::{Keys, Settled};
use super::secrets::{self, UID_LABEL};

/// How many Secret events may wait for a slow controller; what is lost on top is made good by the next list.
const SECRET_EVENTS: usize = 4_096;

/// How many passes of a kind run at once.
pub(super) type Concurrency = u16;

/// So many times as many may wait at the gate, or for a list. The library polls each of them whenever anything happens, so not all do.
const AT_THE_GATE: Concurrency = 4;

/// Watches one namespace, or all, until the context's `stop`; then waits for the passes under way. `synced` is told when
/// all caches are filled.
pub(super) async fn run(
    client: Client,
    namespace: Option<String>,
    context: Arc<Context>,
    concurrency: Concurrency,
    synced: impl FnOnce(),
) {
    let secrets: Api<CachedSecret> = api(&client, namespace.as_deref());
    let (store, writer) = reflector::store();
    let (events, _) = broadcast::channel(SECRET_EVENTS);
    let (access, gateway) = (events.subscribe(), events.subscribe());
    let watching = watch_secrets(secrets, writer, events, context.stop.clone());
    let controllers = async {
        // Without the Secrets at hand, every key would look for its own.
        if store.wait_until_ready().await.is_err() {
            return;
        }
        let directory = &context.directory;
        let (namespace, of) = (namespace.as_deref(), |events| Secrets { store: store.clone(), events });
        let access = control::<AccessKey>(&client, namespace, &context, concurrency, of(access));
        let gateway = control::<GatewayKey>(&client, namespace, &context, concurrency, of(gateway));
        directory.add_secrets(store.clone());
        directory.add_keys(access.0.clone());
        directory.add_keys(gateway.0.clone());
        let ready = async {
            if future::try_join(access.0.wait_until_ready(), gateway.0.wait_until_ready()).await.is_ok() {
                synced();
            }
        };
        // In one task: of several that wait until a cache is filled, the library wakes the last one alone.
        future::join3(access.1, gateway.1, ready).await;
    };
    future::join(watching, controllers).await;
}

fn api<K>(client: &Client, namespace: Option<&str>) -> Api<K>
where
    K: Resource<DynamicType = (), Scope = k8s_openapi::NamespaceResourceScope>,
{
    match namespace {
        Some(namespace) => Api::namespaced(client.clone(), namespace),
        None => Api::all(client.clone()),
    }
}

/// Keeps the metadata of our Secrets, and passes on what happens to them.
async fn watch_secrets(
    secrets: Api<CachedSecret>,
    writer: reflector::store::Writer<CachedSecret>,
    events: broadcast::Sender<Arc<CachedSecret>>,
    stop: CancellationToken,
) {
    let ours = watcher::Config::default().labels(UID_LABEL);
    let stream = watcher(secrets, ours).default_backoff().reflect(writer).touched_objects();
    let mut stream = std::pin::pin!(stream.take_until(stop.cancelled_owned()));
    while let Some(secret) = stream.next().await {
        match secret {
            // Nobody listens before the controllers run, and then the first pass looks at the cache.
            Ok(secret) => drop(events.send(Arc::new(secret))),
            Err(error) => tracing::warn!(%error, "the watch of Secrets failed; it is begun again"),
        }
    }
}

/// Our Secrets, and what happens to them.
struct Secrets {
    store: Store<CachedSecret>,
    events: broadcast::Receiver<Arc<CachedSecret>>,
}

/// The cache of a kind, and what runs it.
fn control<K: Key>(
    client: &Client,
    namespace: Option<&str>,
    context: &Arc<Context>,
    concurrency: Concurrency,
    secrets: Secrets,
) -> (Store<CachedKey<K>>, impl Future<Output = ()> + use<K>) {
    let keys: Api<CachedKey<K>> = api(client, namespace);
    let (store, writer) = reflector::store();
    let driver = Arc::new(Driver {
        context: Arc::clone(context),
        resources: store.clone(),
        secrets: secrets.store,
        keys: Keys::default(),
        gate: Gate::new(concurrency),
    });
    let [changed, touched, listed, all_touched] = std::array::from_fn(|_| context.metrics.passes.clone());
    let config = watcher::Config::default();
    let config = match &context.selector {
        Some(selector) => config.labels(&selector.to_string()),
        None => config,
    };
    let stream = watcher(keys, config)
        .default_backoff()
        .inspect_ok({
            let (driver, mut there) = (Arc::clone(&driver), HashSet::new());
            move |event| follow(&driver, &mut there, event)
        })
        .reflect(writer)
        .applied_objects()
        .predicate_filter(|object: &CachedKey<K>| Some(object.matters), PredicateConfig::default())
        .inspect_ok(move |object| changed.due(K::KIND, [place(object.meta())]));
    let unheard = Arc::clone(&driver);
    let secrets = BroadcastStream::new(secrets.events)
        .filter_map(move |secret| {
            if secret.is_err() {
                // Some were lost: the next list looks at every key.
                unheard.keys.unsettle();
            }
            future::ready(secret.ok().and_then(|secret| owner_ref::<K>(&secret)))
        })
        .inspect(move |key| touched.due(K::KIND, [place_of(key)]));
    let credential = WatchStream::from_changes(context.tokens.credential_changes()).map(|_| ());
    let leads = WatchStream::from_changes(context.leadership.changes())
        .filter_map(|held| future::ready(held.then_some(())));
    let cached = store.clone();
    let all = stream::select(credential, leads)
        .inspect(move |()| all_touched.due(K::KIND, cached.state().iter().map(|key| place(key.meta()))));
    let looking = Arc::clone(&driver);
    let concerned = new_lists(context, K::KIND)
        .flat_map(move |listing| stream::iter(concerned(&looking, &listing)))
        .inspect(move |key| listed.due(K::KIND, [place_of(key)]));
    let controller = Controller::for_stream(stream, store.clone())
        .with_config(controller::Config::default().concurrency(concurrency.saturating_mul(AT_THE_GATE)))
        .reconcile_on(secrets)
        .reconcile_on(concerned)
        .reconcile_all_on(all)
        .graceful_shutdown_on(context.stop.clone().cancelled_owned());
    let passes = context.metrics.passes.clone();
    let run = controller.run(reconcile::<K>, |_, never, _| match *never {}, driver).for_each(move |ended| {
        match ended {
            Ok(_) => {}
            // A pass that was asked for when its resource had just gone.
            Err(controller::Error::ObjectNotFound(key)) => {
                passes.gone(K::KIND, key.namespace.as_deref().unwrap_or_default(), &key.name);
            }
            Err(error) => {
                tracing::warn!(%error, kind = K::KIND.kind(), "the watch failed; it is begun again");
            }
        }
        future::ready(())
    });
    (store, run)
}

/// Namespace and name.
fn place(meta: &ObjectMeta) -> (String, String) {
    (meta.namespace.clone().unwrap_or_default(), meta.name.clone().unwrap_or_default())
}

/// The same of a reference.
fn place_of<K: Key>(key: &ObjectRef<CachedKey<K>>) -> (String, String) {
    (key.namespace.clone().unwrap_or_default(), key.name.clone())
}

/// What the watch of resources tells beside what its cache holds.
fn follow<K: Key>(driver: &Driver<K>, there: &mut HashSet<String>, event: &watcher::Event<CachedKey<K>>) {
    let uid = |object: &CachedKey<K>| object.meta().uid.clone().unwrap_or_default();
    match event {
        watcher::Event::Init => there.clear(),
        watcher::Event::Apply(object) | watcher::Event::InitApply(object) => {
            if object.meta().deletion_timestamp.is_some() {
                driver.keys.ends(&uid(object), clock::monotonic());
            }
            if matches!(event, watcher::Event::InitApply(_)) {
                there.insert(uid(object));
            }
        }
        // What went while nobody watched is told of by nothing else.
        watcher::Event::InitDone => driver.keys.retain(&std::mem::take(there)),
        watcher::Event::Delete(object) => {
            driver.keys.forget(&uid(object));
            let (namespace, name) = place(object.meta());
            driver.context.metrics.passes.gone(K::KIND, &namespace, &name);
        }
    }
}

/// Every new list of the kind's tokens.
fn new_lists(
    context: &Arc<Context>,
    kind: KeyKind,
) -> impl Stream<Item = Arc<Listing>> + Send + 'static + use<> {
    let context = Arc::clone(context);
    let changes = WatchStream::from_changes(context.inventory.changes());
    let begun = |listing: &Option<Arc<Listing>>| listing.as_ref().map(|listing| listing.begun);
    let mut last = begun(&context.inventory.latest(kind));
    changes.filter_map(move |_| {
        let newest = context.inventory.latest(kind);
        let new = begun(&newest) != last;
        last = begun(&newest);
        future::ready(newest.filter(|_| new))
    })
}

/// The keys to which a list may be news.
fn concerned<K: Key>(driver: &Driver<K>, listing: &Listing) -> Vec<ObjectRef<CachedKey<K>>> {
    driver.keys.notice_clocks(clock::now());
    let keys = driver.resources.state().into_iter().filter(|key| {
        let meta = key.meta();
        let (namespace, name) = place(meta);
        let shown = listing.digest(&Place::new(K::KIND, &namespace, &name));
        let version = meta.resource_version.clone().unwrap_or_default();
        driver.keys.is_concerned(meta.uid.as_deref().unwrap_or_default(), &Settled { version, shown })
    });
    keys.map(|key| ObjectRef::from_obj(&*key)).collect()
}

/// The resource that a Secret says it belongs to. It may lie: more than a look doesn't follow from it.
fn owner_ref<K: Key>(secret: &CachedSecret) -> Option<ObjectRef<CachedKey<K>>> {
    let meta = secret.metadata();
    let (kind, name) = secrets::owner_of(&meta)?;
    let namespace = meta.namespace.as_deref()?;
    (kind == K::KIND.kind()).then(|| ObjectRef::new(name).within(namespace))
}
