//! The cache of our Secrets' metadata. Tells whose Secret isn't as it was.

use std::collections::HashSet;
use std::sync::Arc;

use kube::ResourceExt as _;
use kube::runtime::reflector::store::Writer;
use kube::runtime::reflector::{ObjectRef, Store};
use kube::runtime::watcher::Event;

use super::cached::CachedSecret;
use super::queue::Name;
use super::secrets;

/// The resource that a Secret says it belongs to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Owner {
    pub(super) kind: String,
    pub(super) name: Name,
}

impl Owner {
    fn of(secret: &CachedSecret) -> Option<Self> {
        let meta = secret.metadata();
        let (kind, name) = secrets::owner_of(&meta)?;
        Some(Self { kind: kind.to_owned(), name: Name { name: name.to_owned(), ..Name::of(&meta) } })
    }
}

/// Our Secrets.
#[derive(Default)]
pub(super) struct SecretCache {
    writer: Writer<CachedSecret>,
    /// Whether it was filled once. Until then there is nobody who would have to be told.
    filled: bool,
}

impl SecretCache {
    /// What is read.
    pub(super) fn store(&self) -> Store<CachedSecret> {
        self.writer.as_reader()
    }

    /// Takes note of what the watch tells. Says whose Secret isn't as it was: one that changed or went while nobody watched
    /// is told of by nothing else.
    pub(super) fn follow(&mut self, event: &Event<CachedSecret>) -> Vec<Owner> {
        let before = matches!(event, Event::InitDone).then(|| self.store().state());
        self.writer.apply_watcher_event(event);
        match event {
            Event::Init | Event::InitApply(_) => vec![],
            Event::InitDone => {
                let was_filled = std::mem::replace(&mut self.filled, true);
                before.filter(|_| was_filled).map_or_else(Vec::new, |before| self.touched(&before))
            }
            Event::Apply(secret) | Event::Delete(secret) => Owner::of(secret).into_iter().collect(),
        }
    }

    /// Whose Secret isn't as it was before.
    fn touched(&self, before: &[Arc<CachedSecret>]) -> Vec<Owner> {
        let which = |secret: &Arc<CachedSecret>| ObjectRef::from_obj(&**secret);
        let version = |secret: &Arc<CachedSecret>| (which(secret), secret.resource_version());
        let (now, old) = (self.store(), before.iter().map(version).collect::<HashSet<_>>());
        let changed = now.state().into_iter().filter(|secret| !old.contains(&version(secret)));
        let gone = before.iter().filter(|secret| now.get(&which(secret)).is_none()).cloned();
        changed.chain(gone).filter_map(|secret| Owner::of(&secret)).collect()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn secret(name: &str, version: &str) -> CachedSecret {
        serde_json::from_value(json!({
            "metadata": {
                "name": name,
                "namespace": "shop",
                "resourceVersion": version,
                "annotations": {"keys.keeptrusts.com/owner": format!("AccessKey/of-{name}")},
            },
        }))
        .unwrap()
    }

    /// Whose Secrets a list touches that shows these.
    fn list(cache: &mut SecretCache, secrets: &[(&str, &str)]) -> Vec<String> {
        assert_eq!(cache.follow(&Event::Init), []);
        for (name, version) in secrets {
            assert_eq!(cache.follow(&Event::InitApply(secret(name, version))), []);
        }
        let mut touched: Vec<_> =
            cache.follow(&Event::InitDone).into_iter().map(|owner| owner.name.name).collect();
        touched.sort();
        touched
    }

    #[test]
    fn the_first_list_is_news_to_nobody_and_a_later_one_to_whose_secret_changed_or_went() {
        let mut cache = SecretCache::default();
        assert!(list(&mut cache, &[("a", "1"), ("b", "2"), ("c", "3")]).is_empty());
        assert_eq!(list(&mut cache, &[("a", "1"), ("b", "4"), ("d", "5")]), ["of-b", "of-c", "of-d"]);
        assert_eq!(list(&mut cache, &[("a", "1"), ("b", "4"), ("d", "5")]), [""; 0]);
        assert_eq!(cache.store().len(), 3);
    }

    #[test]
    fn what_the_watch_tells_is_news_to_the_owner() {
        let mut cache = SecretCache::default();
        list(&mut cache, &[("a", "1")]);
        let owner = Owner {
            kind: "AccessKey".to_owned(),
            name: Name { namespace: "shop".to_owned(), name: "of-a".to_owned() },
        };
        assert_eq!(cache.follow(&Event::Apply(secret("a", "2"))), std::slice::from_ref(&owner));
        assert_eq!(cache.follow(&Event::Delete(secret("a", "2"))), [owner]);
        assert!(cache.store().is_empty());
    }
}
