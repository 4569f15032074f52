//! The keys that this process knows, of one kind in one scope.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

use crate::lifecycle::memory::{Memory, Remains};
use crate::lifecycle::observed::Version;
use crate::lifecycle::time::{Monotonic, Now};
use crate::resources::KeyStatus;

use super::key::{KeyState, Resting};
use super::packed::Packed;
use super::resource::KeyObject;

/// What this process knows of a key.
enum Known {
    /// Whoever holds the lock is the only one that acts on the key.
    Active(Arc<tokio::sync::Mutex<KeyState>>),
    /// Nobody works on it, and the caches hold the rest.
    Resting(Packed),
    /// It waits for something to happen, and takes little room.
    Settled {
        upon: Settled,
        remains: Remains,
        /// It is to look at the next list, whatever that shows.
        shaken: bool,
    },
}

/// What a key came to rest upon that need not look at lists which show the same of it.
pub(super) struct Settled {
    /// The resource's version.
    pub(super) version: Version,
    /// A digest of what the list shows of it.
    pub(super) shown: u64,
}

/// A resource that is being deleted.
enum Ending {
    /// The watch said so then.
    Since(Monotonic),
    /// Nothing of it is left to do, whatever a cache that lags may hold.
    Over,
}

/// The keys that this process knows, by uid.
#[derive(Default)]
pub(super) struct Keys {
    known: Mutex<HashMap<String, Known>>,
    ending: Mutex<HashMap<String, Ending>>,
    /// Versions of resources that can't be read, by uid.
    unreadable: Mutex<HashMap<String, String>>,
    /// How far the wall clock was ahead of the other one when it was last looked at, in seconds.
    ahead: Mutex<Option<i64>>,
}

/// What a wall clock that was not set may be off in a while, in seconds.
const DRIFT: u64 = 2;

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Keys {
    /// The key of this resource. It isn't settled until it has come to rest again.
    pub(super) fn of(&self, object: &KeyObject) -> Arc<tokio::sync::Mutex<KeyState>> {
        let mut known = lock(&self.known);
        let resting = match known.remove(&object.identity.uid) {
            Some(Known::Active(state)) => {
                known.insert(object.identity.uid.clone(), Known::Active(Arc::clone(&state)));
                return state;
            }
            // It was packed from the like; nothing is lost by beginning anew that isn't lost by a restart.
            Some(Known::Resting(packed)) => {
                packed.read().unwrap_or_else(|_| Resting::knowing(Memory::default()))
            }
            Some(Known::Settled { upon, remains, .. }) if upon.version == object.view.version => {
                Resting::knowing(Memory::recall(remains, &object.view.status))
            }
            // What it was settled upon is no more: all there is is seen for the first time.
            Some(Known::Settled { remains, .. }) => {
                Resting::knowing(Memory::recall(remains, &KeyStatus::default()))
            }
            None => Resting::knowing(Memory::default()),
        };
        let state = Arc::new(tokio::sync::Mutex::new(KeyState::resume(object.clone(), resting)));
        known.insert(object.identity.uid.clone(), Known::Active(Arc::clone(&state)));
        state
    }

    /// Lets go of what the caches hold of a key, if `are_cached` says that they do and nobody works on it.
    pub(super) fn rest(&self, uid: &str, are_cached: impl FnOnce(&KeyState) -> bool) {
        let mut known = lock(&self.known);
        let Some(key) = known.get_mut(uid) else { return };
        // Whoever works on it, or is about to, holds it too.
        if let Known::Active(state) = key
            && let Some(state) = Arc::get_mut(state).map(tokio::sync::Mutex::get_mut)
            && state.is_idle()
            && are_cached(state)
            && let Ok(packed) = Packed::of(&state.rest())
        {
            *key = Known::Resting(packed);
        }
    }

    /// A key has come to rest for good, upon what the caches hold as well.
    pub(super) fn settle(&self, uid: &str, settled: Settled, remains: Remains) {
        if let Some(key) = lock(&self.known).get_mut(uid) {
            *key = Known::Settled { upon: settled, remains, shaken: false };
        }
    }

    /// Whether a list that shows this is news to the key, or its resource isn't of the version that it came to rest upon.
    pub(super) fn is_concerned(&self, uid: &str, version: &str, shown: u64) -> bool {
        let is_so = |upon: &Settled| upon.version == version && upon.shown == shown;
        !matches!(lock(&self.known).get(uid), Some(Known::Settled { upon, shaken: false, .. }) if is_so(upon))
    }

    /// Keys that are settled wait for their time by the monotonic clock: where the wall clock was set, all look at it anew.
    pub(super) fn notice_clocks(&self, now: Now) {
        let ahead = now.ahead();
        let before = lock(&self.ahead).replace(ahead);
        if before.is_some_and(|before| before.abs_diff(ahead) > DRIFT) {
            self.unsettle();
        }
    }

    /// Something may have happened to any key.
    pub(super) fn unsettle(&self) {
        for key in lock(&self.known).values_mut() {
            if let Known::Settled { shaken, .. } = key {
                *shaken = true;
            }
        }
    }

    /// The watch says that a resource is being deleted.
    pub(super) fn ends(&self, uid: &str, now: Monotonic) {
        lock(&self.ending).entry(uid.to_owned()).or_insert(Ending::Since(now));
    }

    /// Since when this process has known that a resource is being deleted.
    pub(super) fn ending_since(&self, uid: &str) -> Option<Monotonic> {
        match lock(&self.ending).get(uid)? {
            Ending::Since(then) => Some(*then),
            Ending::Over => None,
        }
    }

    /// Nothing is left to do for a resource. The cache may hold it for a while yet.
    pub(super) fn bury(&self, uid: &str) {
        lock(&self.ending).insert(uid.to_owned(), Ending::Over);
        lock(&self.known).remove(uid);
    }

    /// Whether nothing is left to do for a resource.
    pub(super) fn is_buried(&self, uid: &str) -> bool {
        matches!(lock(&self.ending).get(uid), Some(Ending::Over))
    }

    /// Forgets a key whose resource is gone. A pass that is at work on it keeps what it holds to its end.
    pub(super) fn forget(&self, uid: &str) {
        lock(&self.known).remove(uid);
        lock(&self.ending).remove(uid);
        lock(&self.unreadable).remove(uid);
    }

    /// Forgets all keys but those that are there.
    pub(super) fn retain(&self, there: &HashSet<String>) {
        lock(&self.known).retain(|uid, _| there.contains(uid));
        lock(&self.ending).retain(|uid, _| there.contains(uid));
        lock(&self.unreadable).retain(|uid, _| there.contains(uid));
    }

    /// Whether it is news that this version of a resource can't be read.
    pub(super) fn is_news(&self, meta: &ObjectMeta) -> bool {
        let (uid, version) = (meta.uid.clone(), meta.resource_version.clone());
        let version = version.unwrap_or_default();
        lock(&self.unreadable).insert(uid.unwrap_or_default(), version.clone()) != Some(version)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};
    use std::time::Duration;

    use jiff::Timestamp;
    use serde_json::json;

    use super::super::cached::CachedKey;
    use super::super::specs::Specs;
    use super::*;
    use crate::lifecycle::memory::{Life, Proof, ProofOf, Repairs, Retry, Suspicion, TokenSeen, Trouble};
    use crate::lifecycle::naming::Installation;
    use crate::lifecycle::status::Reason;
    use crate::resources::AccessKey;

    fn key() -> KeyObject {
        let key = json!({"metadata": {"name": "checkout"}, "spec": {}});
        let cached: CachedKey<AccessKey> = serde_json::from_value(key).unwrap();
        KeyObject::read(&cached, &installation(), &Specs::default(), None).unwrap()
    }

    fn at(mono: u64, wall: i64) -> Now {
        Now { wall: Timestamp::from_second(wall).unwrap(), mono: Monotonic(Duration::from_secs(mono)) }
    }

    #[test]
    fn what_is_over_stays_over_until_the_cache_has_let_go_of_it() {
        let keys = Keys::default();
        keys.ends("a", at(1, 1).mono);
        keys.ends("a", at(2, 2).mono);
        assert_eq!(keys.ending_since("a"), Some(at(1, 1).mono));
        keys.bury("a");
        keys.ends("a", at(3, 3).mono);
        assert!(keys.is_buried("a"));
        keys.retain(&HashSet::from(["a".to_owned()]));
        assert!(keys.is_buried("a"));
        keys.retain(&HashSet::new());
        assert!(!keys.is_buried("a"));
    }

    #[test]
    fn a_wall_clock_that_is_set_and_not_one_that_goes_on_makes_all_look_again() {
        let settled = || Settled { version: "7".to_owned(), shown: 1 };
        let keys = Keys::default();
        let object = || key();
        drop(keys.of(&object()));
        for (now, concerned) in [(at(10, 1_000), false), (at(400, 1_391), false), (at(500, 5_000), true)] {
            keys.settle("", settled(), Memory::default().remains());
            keys.notice_clocks(now);
            assert_eq!(keys.is_concerned("", "7", 1), concerned, "{now:?}");
        }
    }

    #[tokio::test]
    async fn a_key_that_rests_forgets_nothing_and_one_that_is_worked_on_does_not_rest() {
        let keys = Keys::default();
        let mut object = key();
        object.view.rotate_now = Some("Monday".to_owned());
        let state = keys.of(&object);
        state.lock().await.begin(object.clone(), None);
        state.lock().await.memory.made.insert("tok_1".to_owned());
        state.lock().await.memory.trouble = Some(Trouble {
            reason: Reason::ApiUnreachable,
            message: String::new(),
            retry: Retry::OtherThanGeneration(1),
        });
        keys.rest("", |_| true);
        assert!(Arc::ptr_eq(&state, &keys.of(&object)), "it is worked on");
        drop(state);
        keys.rest("", |_| false);
        assert!(matches!(lock(&keys.known).get(""), Some(Known::Active(_))), "the caches are older");
        keys.rest("", |_| true);
        assert!(matches!(lock(&keys.known).get(""), Some(Known::Resting(_))));
        for (asked, trouble) in [("Monday", true), ("Tuesday", false)] {
            object.view.rotate_now = Some(asked.to_owned());
            {
                let state = keys.of(&object);
                let mut state = state.lock().await;
                state.begin(object.clone(), None);
                assert!(state.memory.made.contains("tok_1"));
                assert_eq!(state.memory.trouble.is_some(), trouble, "whoever asks once more is heard");
            }
            keys.rest("", |_| true);
        }
    }

    #[test]
    fn what_a_key_rests_with_comes_back_whole() {
        let at = Monotonic(Duration::new(7, 250_000_001));
        let ids = || BTreeSet::from(["tok_1".to_owned(), "tok_2".to_owned()]);
        let times = || BTreeMap::from([("tok_1".to_owned(), at)]);
        let suspicion = Suspicion::Altered {
            prefix: Some("kt_live_a".to_owned()),
            rotated_at: Some("2026-01-01T00:00:00.5Z".parse().unwrap()),
        };
        let of = ProofOf { id: "tok_1".to_owned(), operation: "o".to_owned(), suspicion: Some(suspicion) };
        let memory = Memory {
            flight: None,
            preflight: None,
            operation_seen: Some(("o".to_owned(), at)),
            harmless: Some("o".to_owned()),
            superseded_seen: times(),
            graces_seen: BTreeMap::from([("tok_1".to_owned(), (Timestamp::UNIX_EPOCH, at))]),
            superseded_left: Some(at),
            token_seen: Some(TokenSeen { id: "tok_1".to_owned(), operation: "o".to_owned(), at }),
            ending_seen: Some(at),
            landed: Some(at),
            claimed: Some(at),
            seen_version: Some("12".to_owned()),
            made: ids(),
            revoked: ids(),
            absent_since: times(),
            shown: ids(),
            proof: Some(Proof { of, life: Life::Unknown, at }),
            trouble: Some(Trouble {
                reason: Reason::Throttled,
                message: "slow down".to_owned(),
                retry: Retry::AtOrCredentialAfter(at, 3),
            }),
            repairs: Repairs::default(),
        };
        let packed = Packed::of(&Resting::knowing(memory.clone())).unwrap();
        let back = KeyState::resume(key(), packed.read().unwrap()).memory;
        assert_eq!(format!("{back:?}"), format!("{memory:?}"));
    }

    #[test]
    fn a_list_is_news_to_who_is_at_work_and_to_whom_it_shows_another_thing() {
        let settled = Settled { version: "7".to_owned(), shown: 1 };
        let keys = Keys::default();
        let object = key();
        assert!(keys.is_concerned("", "7", 1), "nobody has looked yet");
        drop(keys.of(&object));
        keys.settle("", settled, Memory::default().remains());
        assert!(!keys.is_concerned("", "7", 1));
        assert!(keys.is_concerned("", "8", 1), "somebody wrote it");
        assert!(keys.is_concerned("", "7", 2), "the list shows something else");
        drop(keys.of(&object));
        assert!(keys.is_concerned("", "7", 1), "a pass is under way");
    }

    fn installation() -> Installation {
        Installation::new("9e1f0c1e-0000-4000-8000-000000000000", "default")
    }
}
