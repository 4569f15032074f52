//! Has passes made over the keys of one kind, in one scope, whenever something happens to them.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use futures::future::{BoxFuture, OptionFuture};
use futures::stream::FuturesUnordered;
use futures::{FutureExt as _, Stream, StreamExt as _};
use kube::Resource as _;
use kube::runtime::reflector::store::Writer;
use kube::runtime::watcher;

use crate::clock;
use crate::lifecycle::listing::Listing;
use crate::metrics::QueueMetrics;
use crate::resources::Key;
use crate::token_api::CallError;

use super::cached::CachedKey;
use super::driver::{Driver, look_at};
use super::queue::{End, Lane, Name, Queue};

/// What happens to keys, beside what the watch of them tells.
pub(super) enum Event {
    /// Something happened to a Secret that says it is this resource's. It may lie: more than a look doesn't follow from it.
    Touched(Name),
    /// Some of those were lost: the next list looks at every key.
    Missed,
    /// There is a new list of tokens.
    Listed(Arc<Listing>),
    /// Something concerns every key: another credential, the beginning of leadership.
    All,
}

/// The passes over the keys of one kind in one scope.
pub(super) struct Control<K: Key> {
    driver: Arc<Driver<K>>,
    cache: Writer<CachedKey<K>>,
    queue: Queue,
    metrics: QueueMetrics,
    running: FuturesUnordered<BoxFuture<'static, (Name, End)>>,
    /// The list for those who wait for one, while it is asked for.
    asked: Option<BoxFuture<'static, Result<Arc<Listing>, CallError>>>,
    /// Who waited for one that can't be had, and why.
    failed: HashMap<Name, CallError>,
    /// The uids that the watch has shown since it began to fill the cache.
    there: HashSet<String>,
    /// Of these, the keys that aren't as they were before.
    news: Vec<(Name, Lane)>,
}

impl<K: Key> Control<K> {
    /// As many passes at once in each lane. `cache` is what `driver` reads.
    pub(super) fn new(driver: Arc<Driver<K>>, cache: Writer<CachedKey<K>>, concurrency: u16) -> Self {
        Self {
            metrics: driver.context.metrics.passes.queue(K::KIND),
            driver,
            cache,
            queue: Queue::new(concurrency),
            running: FuturesUnordered::new(),
            asked: None,
            failed: HashMap::new(),
            there: HashSet::new(),
            news: Vec::new(),
        }
    }

    /// Runs until the context's `stop`; then waits for the passes under way. None begins before `secrets_filled` has ended with
    /// true: without the Secrets at hand, every key would look for its own. `synced` is told when both caches are filled.
    pub(super) async fn run(
        mut self,
        watch: impl Stream<Item = watcher::Result<watcher::Event<CachedKey<K>>>>,
        events: impl Stream<Item = Event>,
        secrets_filled: impl Future<Output = bool>,
        synced: impl FnOnce(),
    ) {
        let stop = self.driver.context.stop.clone();
        let mut stopped = std::pin::pin!(stop.cancelled());
        let (mut watch, mut events) = (std::pin::pin!(watch), std::pin::pin!(events));
        let mut secrets_filled = std::pin::pin!(secrets_filled.fuse());
        let (mut ready, mut filled, mut synced) = (false, false, Some(synced));
        loop {
            tokio::select! {
                () = &mut stopped => break,
                Some(event) = watch.next() => match event {
                    Ok(event) => {
                        filled |= matches!(event, watcher::Event::InitDone);
                        self.follow(&event);
                    }
                    Err(error) => {
                        tracing::warn!(%error, kind = K::KIND.kind(), "the watch failed; it is begun again");
                        self.driver.context.health.doubt();
                    }
                },
                filled = &mut secrets_filled => ready = filled,
                Some(event) = events.next() => self.notice(event),
                Some((name, end)) = self.running.next() => self.queue.ended(name, end),
                Some(()) = self.queue.elapse() => (),
                Some(answer) = OptionFuture::from(self.asked.as_mut()) => self.answered(answer),
            }
            if let Some(synced) = synced.take_if(|_| ready && filled) {
                synced();
            }
            self.ask();
            if ready {
                self.begin();
            }
            self.metrics.has(self.queue.waiting());
        }
        drop(self.metrics);
        while self.running.next().await.is_some() {}
    }

    /// Passes begin while there are places.
    fn begin(&mut self) {
        while let Some((name, since)) = self.queue.begin() {
            self.metrics.waited(since.elapsed());
            let (driver, failed) = (Arc::clone(&self.driver), self.failed.remove(&name));
            let pass = async move {
                let end = look_at(driver, &name, failed).await;
                (name, end)
            };
            self.running.push(pass.boxed());
        }
    }

    /// A pass over the key is due, if this process acts: who stands by looks on, and whoever begins to lead looks at all.
    fn due(&mut self, name: &Name, lane: Lane) {
        if self.driver.context.leadership.is_held() {
            self.queue.due(name, lane);
        }
    }

    /// What the watch tells.
    fn follow(&mut self, event: &watcher::Event<CachedKey<K>>) {
        // Against what the cache holds before.
        let news = match event {
            watcher::Event::Apply(object) | watcher::Event::InitApply(object) => self.news(object),
            _ => None,
        };
        self.cache.apply_watcher_event(event);
        match event {
            watcher::Event::Init => {
                self.there.clear();
                self.news.clear();
            }
            watcher::Event::InitApply(object) => {
                self.news.extend(news);
                self.there.insert(uid(object).to_owned());
            }
            watcher::Event::InitDone => {
                // What went while nobody watched is told of by nothing else.
                self.driver.keys.retain(&std::mem::take(&mut self.there));
                for (name, lane) in std::mem::take(&mut self.news) {
                    self.due(&name, lane);
                }
            }
            watcher::Event::Apply(object) => {
                self.driver.rest(uid(object));
                if let Some((name, lane)) = news {
                    self.due(&name, lane);
                }
            }
            watcher::Event::Delete(object) => {
                let name = Name::of(object.meta());
                self.driver.keys.forget(uid(object));
                self.queue.forget(&name);
                self.failed.remove(&name);
            }
        }
    }

    /// Takes note of a resource that the watch shows; says which it is, if a pass over it is worth while.
    fn news(&self, object: &CachedKey<K>) -> Option<(Name, Lane)> {
        if object.meta().deletion_timestamp.is_some() {
            self.driver.keys.ends(uid(object), clock::monotonic());
        }
        let name = Name::of(object.meta());
        let before = self.driver.cached(&name);
        before.is_none_or(|before| before.matters != object.matters).then_some((name, object.lane))
    }

    fn notice(&mut self, event: Event) {
        match event {
            Event::Touched(name) => {
                if let Some(object) = self.driver.cached(&name) {
                    self.due(&name, object.lane);
                }
            }
            Event::Missed => self.driver.keys.unsettle(),
            Event::Listed(listing) => {
                for (name, lane) in self.concerned(&listing) {
                    self.due(&name, lane);
                }
            }
            Event::All => {
                for object in self.driver.resources.state() {
                    self.due(&Name::of(object.meta()), object.lane);
                }
            }
        }
    }

    /// The keys to which a list may be news. Who waits for a later one is looked at upon that.
    fn concerned(&self, listing: &Listing) -> Vec<(Name, Lane)> {
        let keys = &self.driver.keys;
        keys.notice_clocks(clock::now());
        let concerned = |object: &CachedKey<K>| {
            let version = object.meta().resource_version.as_deref().unwrap_or_default();
            let shown = listing.digest(&object.place);
            let name = keys.is_concerned(uid(object), version, shown).then(|| Name::of(object.meta()))?;
            (!self.queue.awaits_later(&name, listing.begun)).then_some((name, object.lane))
        };
        self.driver.resources.state().iter().filter_map(|object| concerned(object)).collect()
    }

    /// Asks for a list, if somebody waits for one and none is asked for.
    fn ask(&mut self) {
        if self.asked.is_none()
            && let Some(begun_after) = self.queue.awaited()
        {
            let inventory = Arc::clone(&self.driver.context.inventory);
            self.asked = Some(async move { inventory.fresh(K::KIND, begun_after).await }.boxed());
        }
    }

    /// Those who waited for the list go on; where it can't be had, each of them hears why.
    fn answered(&mut self, answer: Result<Arc<Listing>, CallError>) {
        self.asked = None;
        match answer {
            Ok(listing) => {
                self.queue.listed(listing.begun);
            }
            Err(error) => {
                let waiting = self.queue.awaited().map(|begun| self.queue.listed(begun));
                self.failed.extend(waiting.into_iter().flatten().map(|name| (name, error.clone())));
            }
        }
    }
}

fn uid<K: Key>(object: &CachedKey<K>) -> &str {
    object.meta().uid.as_deref().unwrap_or_default()
}
