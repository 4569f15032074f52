//! What starts passes: the watches of both kinds of resources and of our Secrets, new lists of tokens, a new credential, and
//! the beginning of leadership.
//!
//! A status that changes starts nothing: it is our own in the end. What is found of others' doings there is found by the
//! passes that every new list starts.

use std::sync::Arc;

use futures::future::{BoxFuture, Shared};
use futures::{FutureExt as _, Stream, StreamExt as _, future, stream};
use kube::api::Api;
use kube::runtime::reflector::{self, Store};
use kube::runtime::{WatchStreamExt as _, watcher};
use kube::{Client, Resource};
use tokio::sync::broadcast;
use tokio_stream::wrappers::{BroadcastStream, WatchStream};

use crate::lifecycle::listing::Listing;
use crate::resources::{AccessKey, GatewayKey, Key, KeyKind};

use super::cached::{CachedKey, CachedSecret};
use super::context::Context;
use super::control::{Control, Event};
use super::driver::Driver;
use super::keys::Keys;
use super::secret_cache::{Owner, SecretCache};
use super::secrets::UID_LABEL;

/// How many Secret events may wait for a slow controller; what is lost on top is made good by the next list.
const SECRET_EVENTS: usize = 4_096;

/// How many objects a page of a list has. The largest have one and a half megabytes, and a page is held at once: six lists of such pages
/// take 150 MB less than the chart's limit.
pub(super) const PAGE: u32 = 25;

/// How many passes of a kind run at once.
pub(super) type Concurrency = u16;

/// Watches one namespace, or all, until the context's `stop`; then waits for the passes under way. `synced` is told of each
/// kind when its cache is filled.
pub(super) async fn run(
    client: Client,
    namespace: Option<String>,
    context: Arc<Context>,
    concurrency: Concurrency,
    synced: impl Fn(),
) {
    let secrets: Api<CachedSecret> = api(&client, namespace.as_deref());
    let cache = SecretCache::default();
    let store = cache.store();
    let (events, _) = broadcast::channel(SECRET_EVENTS);
    let (access, gateway) = (events.subscribe(), events.subscribe());
    let watching = watch_secrets(secrets, cache, events, &context);
    context.directory.add_secrets(store.clone());
    let filled = store.clone();
    let filled = async move { filled.wait_until_ready().await.is_ok() }.boxed().shared();
    let (namespace, of) =
        (namespace.as_deref(), |events| Secrets { store: store.clone(), filled: filled.clone(), events });
    let access = control::<AccessKey>(&client, namespace, &context, concurrency, of(access), &synced);
    let gateway = control::<GatewayKey>(&client, namespace, &context, concurrency, of(gateway), &synced);
    future::join3(watching, access, gateway).await;
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
    mut cache: SecretCache,
    events: broadcast::Sender<Owner>,
    context: &Context,
) {
    let Context { stop, health, .. } = context;
    let ours = watcher::Config::default().page_size(PAGE).labels(UID_LABEL);
    let stream = watcher(secrets, ours).default_backoff();
    let mut stream = std::pin::pin!(stream.take_until(stop.cancelled()));
    while let Some(event) = stream.next().await {
        match event {
            // Those who listen outlive this.
            Ok(event) => cache.follow(&event).into_iter().for_each(|owner| drop(events.send(owner))),
            Err(error) => {
                tracing::warn!(%error, "the watch of Secrets failed; it is begun again");
                health.doubt();
            }
        }
    }
}

/// Our Secrets, and what happens to them.
struct Secrets {
    store: Store<CachedSecret>,
    /// Ends once they are all there; false if they never will be.
    filled: Shared<BoxFuture<'static, bool>>,
    events: broadcast::Receiver<Owner>,
}

/// What has passes made over the keys of one kind.
fn control<K: Key>(
    client: &Client,
    namespace: Option<&str>,
    context: &Arc<Context>,
    concurrency: Concurrency,
    secrets: Secrets,
    synced: impl FnOnce(),
) -> impl Future<Output = ()> {
    let keys: Api<CachedKey<K>> = api(client, namespace);
    let (store, writer) = reflector::store();
    context.directory.add_keys(store.clone());
    let driver = Driver {
        context: Arc::clone(context),
        resources: store,
        secrets: secrets.store,
        keys: Keys::default(),
    };
    let config = watcher::Config::default().page_size(PAGE);
    let config = match &context.selector {
        Some(selector) => config.labels(&selector.to_string()),
        None => config,
    };
    let watch = watcher(keys, config).default_backoff();
    let touched = BroadcastStream::new(secrets.events).filter_map(|owner| {
        future::ready(match owner {
            Ok(Owner { kind, name }) => (kind == K::KIND.kind()).then_some(Event::Touched(name)),
            Err(_) => Some(Event::Missed),
        })
    });
    let credential = WatchStream::from_changes(context.tokens.credential_changes()).map(|_| Event::All);
    let leads = WatchStream::from_changes(context.leadership.changes())
        .filter_map(|held| future::ready(held.then_some(Event::All)));
    let listed = new_lists(context, K::KIND).map(Event::Listed);
    let events = stream::select(stream::select(touched, listed), stream::select(credential, leads));
    Control::new(Arc::new(driver), writer, concurrency).run(watch, events, secrets.filled, synced)
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
