//! The watches that start passes: the resources of both kinds, our Secrets, new lists of tokens, a new credential, and the
//! beginning of leadership.
//!
//! A status that changes starts nothing: it is our own in the end. What is found of others' doings there is found by the
//! passes that every new list starts.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;

use futures::{Stream, StreamExt as _, TryStreamExt as _, future, stream};
use k8s_openapi::api::core::v1::Secret;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::api::{Api, PartialObjectMeta};
use kube::core::DeserializeGuard;
use kube::runtime::reflector::{self, ObjectRef, Store};
use kube::runtime::{Controller, PredicateConfig, WatchStreamExt as _, controller, watcher};
use kube::{Client, Resource};
use tokio::sync::broadcast;
use tokio_stream::wrappers::{BroadcastStream, WatchStream};
use tokio_util::sync::CancellationToken;

use crate::resources::{AccessKey, GatewayKey, Key, KeyKind, ROTATE_NOW};

use super::context::Context;
use super::driver::{Driver, reconcile};
use super::secrets::{self, UID_LABEL};

/// How many Secret events may wait for a slow controller; what is lost on top is made good by the next list.
const SECRET_EVENTS: usize = 4_096;

/// How many passes of a kind run at once.
pub(super) type Concurrency = u16;

/// Watches one namespace, or all, until the context's `stop`; then waits for the passes under way. `synced` is told when
/// all caches are filled.
pub(super) async fn run(
    client: Client,
    namespace: Option<String>,
    context: Arc<Context>,
    concurrency: Concurrency,
    synced: impl FnOnce(),
) {
    let secrets: Api<PartialObjectMeta<Secret>> = api(&client, namespace.as_deref());
    let (store, writer) = reflector::store();
    let (events, _) = broadcast::channel(SECRET_EVENTS);
    let (access, gateway) = (events.subscribe(), events.subscribe());
    let watching = watch_secrets(secrets, writer, events, context.stop.clone());
    let driver = Arc::new(Driver { context, secrets: store.clone() });
    let controllers = async {
        // Without the Secrets at hand, every key would look for its own.
        if store.wait_until_ready().await.is_err() {
            return;
        }
        let access = control::<AccessKey>(&client, namespace.as_deref(), &driver, concurrency, access);
        let gateway = control::<GatewayKey>(&client, namespace.as_deref(), &driver, concurrency, gateway);
        driver.context.directory.add_secrets(store.clone());
        driver.context.directory.add_keys(access.0.clone());
        driver.context.directory.add_keys(gateway.0.clone());
        let ready = async {
            if future::try_join(access.0.wait_until_ready(), gateway.0.wait_until_ready()).await.is_ok() {
                synced();
            }
        };
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
    secrets: Api<PartialObjectMeta<Secret>>,
    writer: reflector::store::Writer<PartialObjectMeta<Secret>>,
    events: broadcast::Sender<Arc<PartialObjectMeta<Secret>>>,
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

/// The cache of a kind, and what runs it.
fn control<K: Key>(
    client: &Client,
    namespace: Option<&str>,
    driver: &Arc<Driver>,
    concurrency: Concurrency,
    secrets: broadcast::Receiver<Arc<PartialObjectMeta<Secret>>>,
) -> (Store<DeserializeGuard<K>>, impl Future<Output = ()>) {
    let context = &driver.context;
    let keys: Api<DeserializeGuard<K>> = api(client, namespace);
    let bereaved = Arc::clone(context);
    let (store, writer) = reflector::store();
    let [changed, touched, listed] = std::array::from_fn(|_| context.metrics.passes.clone());
    let config = watcher::Config::default();
    let config = match &context.selector {
        Some(selector) => config.labels(&selector.to_string()),
        None => config,
    };
    let stream = watcher(keys, config)
        .default_backoff()
        .inspect_ok(move |event| {
            if let watcher::Event::Delete(object) = event {
                let meta = object.meta();
                bereaved.keys.forget(meta.uid.as_deref().unwrap_or_default());
                let (namespace, name) = place(meta);
                bereaved.metrics.passes.gone(K::KIND, &namespace, &name);
            }
        })
        .reflect(writer)
        .applied_objects()
        .predicate_filter(
            |object: &DeserializeGuard<K>| Some(what_matters(object)),
            PredicateConfig::default(),
        )
        .inspect_ok(move |object| changed.due(K::KIND, [place(object.meta())]));
    let secrets = BroadcastStream::new(secrets)
        .filter_map(|secret| future::ready(secret.ok().and_then(|secret| owner_ref::<K>(&secret))))
        .inspect(move |key| {
            touched.due(K::KIND, [(key.namespace.clone().unwrap_or_default(), key.name.clone())]);
        });
    let credential = WatchStream::from_changes(context.tokens.credential_changes()).map(|_| ());
    let leads = WatchStream::from_changes(context.leadership.changes())
        .filter_map(|held| future::ready(held.then_some(())));
    let cached = store.clone();
    let all = stream::select(stream::select(new_lists(context, K::KIND), credential), leads)
        .inspect(move |()| listed.due(K::KIND, cached.state().iter().map(|key| place(key.meta()))));
    let controller = Controller::for_stream(stream, store.clone())
        .with_config(controller::Config::default().concurrency(concurrency))
        .reconcile_on(secrets)
        .reconcile_all_on(all)
        .graceful_shutdown_on(context.stop.clone().cancelled_owned());
    let passes = context.metrics.passes.clone();
    let run = controller.run(reconcile::<K>, |_, never, _| match *never {}, Arc::clone(driver)).for_each(
        move |ended| {
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
        },
    );
    (store, run)
}

/// Namespace and name.
fn place(meta: &ObjectMeta) -> (String, String) {
    (meta.namespace.clone().unwrap_or_default(), meta.name.clone().unwrap_or_default())
}

/// Every new list of the kind's tokens.
fn new_lists(context: &Arc<Context>, kind: KeyKind) -> impl Stream<Item = ()> + Send + 'static {
    let context = Arc::clone(context);
    let changes = WatchStream::from_changes(context.inventory.changes());
    let begun = move || context.inventory.latest(kind).map(|listing| listing.begun);
    let mut last = begun();
    changes.filter_map(move |_| {
        let newest = begun();
        let new = newest != last;
        last = newest;
        future::ready(new.then_some(()))
    })
}

/// The resource that a Secret says it belongs to. It may lie: more than a look doesn't follow from it.
fn owner_ref<K: Key>(secret: &PartialObjectMeta<Secret>) -> Option<ObjectRef<DeserializeGuard<K>>> {
    let (kind, name) = secrets::owner_of(&secret.metadata)?;
    let namespace = secret.metadata.namespace.as_deref()?;
    (kind == K::KIND.kind()).then(|| ObjectRef::new(name).within(namespace))
}

/// What of a resource makes a pass worth while. Not its status: that is our own.
fn what_matters<K: Key>(object: &DeserializeGuard<K>) -> u64 {
    let meta = object.meta();
    let mut hash = DefaultHasher::new();
    let rotate_now = meta.annotations.as_ref().and_then(|annotations| annotations.get(ROTATE_NOW));
    (&meta.uid, meta.generation, meta.deletion_timestamp.is_some(), &meta.finalizers, rotate_now)
        .hash(&mut hash);
    hash.finish()
}
