//! Which keys are to be looked at, and in which order: the namespace with the fewest passes under way comes first, of several the one
//! whose turn it is, and within one the first come is the first served. So a namespace with a thousand keys that are due delays
//! another one's by a pass. New keys and those that end have a lane of their own: they don't stand behind a wave of rotations.
//!
//! Nobody looks at a key twice at once. What happens to it while a pass is under way has it looked at once more.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::time::{Duration, Instant};

use futures::StreamExt as _;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use tokio_util::time::{DelayQueue, delay_queue};

use crate::lifecycle::time::Monotonic;

/// Which lane a key takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Lane {
    /// Somebody waits for it: it has no value yet, or is to have none any more.
    Urgent,
    /// Everything else.
    Ordinary,
}

/// Which key it is among those of its kind.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Name {
    pub(super) namespace: String,
    pub(super) name: String,
}

impl Name {
    /// That of the object that these are the metadata of.
    pub(super) fn of(meta: &ObjectMeta) -> Self {
        let ObjectMeta { namespace, name, .. } = meta;
        Self { namespace: namespace.clone().unwrap_or_default(), name: name.clone().unwrap_or_default() }
    }
}

/// How the pass over a key ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    /// Nothing is to be done until something happens.
    Rest,
    /// It is looked at again after this time.
    Later(Duration),
    /// It is looked at again upon a list of tokens that was begun at this time or later.
    List(Monotonic),
}

/// Where a key stands.
enum State {
    /// A pass is due, since then. The number is its place in line.
    Queued(Lane, Instant, u64),
    /// A pass is under way; something has happened since it began.
    Running(Lane, Option<(Lane, Instant)>),
    /// Time brings the next pass.
    Later(Lane, delay_queue::Key),
    /// A list does.
    Listed(Lane, Monotonic),
}

/// Longest time that is waited at once; after that the key is looked at, and waits on.
const LONGEST: Duration = Duration::from_hours(24);

/// One lane: who waits in it, and who is looked at.
#[derive(Default)]
struct Line {
    /// Who waits, by namespace, in the order in which they came.
    waiting: HashMap<String, BTreeMap<u64, Name>>,
    /// The namespaces in which somebody waits, in the order of their turns.
    turns: VecDeque<String>,
    /// How many passes are under way, in all and by namespace.
    running: u16,
    running_in: HashMap<String, u16>,
}

impl Line {
    fn join(&mut self, number: u64, key: &Name) {
        if !self.waiting.contains_key(&key.namespace) {
            self.turns.push_back(key.namespace.clone());
        }
        self.waiting.entry(key.namespace.clone()).or_default().insert(number, key.clone());
    }

    fn leave(&mut self, number: u64, key: &Name) {
        let Some(keys) = self.waiting.get_mut(&key.namespace) else { return };
        keys.remove(&number);
        if keys.is_empty() {
            self.waiting.remove(&key.namespace);
            self.turns.retain(|namespace| *namespace != key.namespace);
        }
    }

    /// The key whose pass begins now, with so many places. While keys of several namespaces wait, none of these has more than its part.
    fn begin(&mut self, places: u16) -> Option<Name> {
        if self.running >= places {
            return None;
        }
        let part = if self.turns.len() > 1 { part_of(places) } else { places };
        let running = |namespace: &String| self.running_in.get(namespace).copied().unwrap_or_default();
        let turns = self.turns.iter().map(running).enumerate();
        // Who has least comes first; of several the one whose turn it is.
        let (turn, _) = turns.filter(|(_, running)| *running < part).min_by_key(|(_, running)| *running)?;
        let namespace = self.turns.remove(turn)?;
        let keys = self.waiting.get_mut(&namespace)?;
        let (_, key) = keys.pop_first()?;
        if keys.is_empty() {
            self.waiting.remove(&namespace);
        } else {
            self.turns.push_back(namespace.clone());
        }
        self.running += 1;
        *self.running_in.entry(namespace).or_default() += 1;
        Some(key)
    }

    fn ended(&mut self, key: &Name) {
        self.running -= 1;
        if let Some(running) = self.running_in.get_mut(&key.namespace) {
            *running -= 1;
            if *running == 0 {
                self.running_in.remove(&key.namespace);
            }
        }
    }
}

/// Most of so many places that one namespace has while another one waits.
const fn part_of(places: u16) -> u16 {
    places - places / 4
}

/// The keys of one kind in one scope that a pass is due for, now or later, or under way.
pub(super) struct Queue {
    keys: HashMap<Name, State>,
    lanes: [Line; 2],
    /// How many have stood in line.
    numbers: u64,
    later: DelayQueue<Name>,
    places: u16,
    waiting: usize,
    /// When a list must have been begun that serves all who wait for one, or did.
    awaited: Option<Monotonic>,
}

impl Queue {
    /// As many places in each lane.
    pub(super) fn new(places: u16) -> Self {
        Self {
            keys: HashMap::new(),
            lanes: <[Line; 2]>::default(),
            numbers: 0,
            later: DelayQueue::new(),
            places,
            waiting: 0,
            awaited: None,
        }
    }

    /// Something happened to a key.
    pub(super) fn due(&mut self, key: &Name, lane: Lane) {
        let now = Instant::now();
        let since = match self.keys.get_mut(key) {
            Some(State::Running(_, again)) => {
                let since = again.map_or(now, |(_, since)| since);
                *again = Some((lane, since));
                return;
            }
            Some(State::Queued(queued, ..)) if *queued == lane => return,
            Some(State::Queued(queued, since, number)) => {
                let (queued, since, number) = (*queued, *since, *number);
                self.lanes[queued as usize].leave(number, key);
                self.waiting -= 1;
                since
            }
            Some(State::Later(_, timer)) => {
                self.later.remove(timer);
                now
            }
            Some(State::Listed(..)) | None => now,
        };
        self.queue(key.clone(), lane, since);
    }

    fn queue(&mut self, key: Name, lane: Lane, since: Instant) {
        self.numbers += 1;
        self.lanes[lane as usize].join(self.numbers, &key);
        self.keys.insert(key, State::Queued(lane, since, self.numbers));
        self.waiting += 1;
    }

    /// The next key whose pass can begin, and since when it has been due.
    pub(super) fn begin(&mut self) -> Option<(Name, Instant)> {
        for lane in [Lane::Urgent, Lane::Ordinary] {
            if let Some(key) = self.lanes[lane as usize].begin(self.places) {
                self.waiting -= 1;
                let before = self.keys.insert(key.clone(), State::Running(lane, None));
                let since = match before {
                    Some(State::Queued(_, since, _)) => since,
                    _ => Instant::now(),
                };
                return Some((key, since));
            }
        }
        None
    }

    /// The pass over a key has ended.
    pub(super) fn ended(&mut self, key: Name, end: End) {
        let Some(State::Running(lane, again)) = self.keys.remove(&key) else { return };
        self.lanes[lane as usize].ended(&key);
        match (again, end) {
            (Some((lane, since)), _) => self.queue(key, lane, since),
            (None, End::Rest) => {}
            (None, End::Later(wait)) => {
                let timer = self.later.insert(key.clone(), wait.min(LONGEST));
                self.keys.insert(key, State::Later(lane, timer));
            }
            (None, End::List(begun)) => {
                self.awaited = self.awaited.max(Some(begun));
                self.keys.insert(key, State::Listed(lane, begun));
            }
        }
    }

    /// A key is gone. A pass that is under way comes to its end.
    pub(super) fn forget(&mut self, key: &Name) {
        match self.keys.get_mut(key) {
            Some(State::Running(_, again)) => *again = None,
            Some(State::Later(_, timer)) => {
                self.later.remove(timer);
                self.keys.remove(key);
            }
            Some(State::Queued(lane, _, number)) => {
                let (lane, number) = (*lane, *number);
                self.lanes[lane as usize].leave(number, key);
                self.waiting -= 1;
                self.keys.remove(key);
            }
            Some(State::Listed(..)) => {
                self.keys.remove(key);
            }
            None => {}
        }
    }

    /// Waits until time makes a key due; nothing, if none waits for it. Safe to be cancelled.
    pub(super) async fn elapse(&mut self) -> Option<()> {
        let key = self.later.next().await?.into_inner();
        if let Some(State::Later(lane, _)) = self.keys.get(&key) {
            let lane = *lane;
            self.queue(key, lane, Instant::now());
        }
        Some(())
    }

    /// When a list must have been begun that serves all who wait for one. Those who wait no longer, because something happened
    /// to them, count until the next list.
    pub(super) fn awaited(&self) -> Option<Monotonic> {
        self.awaited
    }

    /// Whether the key waits for a list that was begun later than this.
    pub(super) fn awaits_later(&self, key: &Name, begun: Monotonic) -> bool {
        matches!(self.keys.get(key), Some(State::Listed(_, awaited)) if *awaited > begun)
    }

    /// A list that was begun then is there, or failed: those who waited for it are due. Says which.
    pub(super) fn listed(&mut self, begun: Monotonic) -> Vec<Name> {
        let waited = |(key, state): (&Name, &State)| match state {
            State::Listed(lane, awaited) if *awaited <= begun => Some((key.clone(), *lane)),
            _ => None,
        };
        let waiting: Vec<_> = self.keys.iter().filter_map(waited).collect();
        let now = Instant::now();
        for (key, lane) in &waiting {
            self.queue(key.clone(), *lane, now);
        }
        let later = self.keys.values().filter_map(|state| match state {
            State::Listed(_, awaited) => Some(*awaited),
            _ => None,
        });
        self.awaited = later.max();
        waiting.into_iter().map(|(key, _)| key).collect()
    }

    /// How many wait for their turn.
    pub(super) fn waiting(&self) -> usize {
        self.waiting
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(name: &str) -> Name {
        Name { namespace: "shop".to_owned(), name: name.to_owned() }
    }

    fn at(seconds: u64) -> Monotonic {
        Monotonic(Duration::from_secs(seconds))
    }

    /// Begins what can begin.
    fn begun(queue: &mut Queue) -> Vec<String> {
        std::iter::from_fn(|| queue.begin()).map(|(key, _)| key.name).collect()
    }

    #[tokio::test]
    async fn first_come_first_served_and_the_lanes_do_not_wait_for_each_other() {
        let mut queue = Queue::new(2);
        for key in ["a", "b", "c", "a"] {
            queue.due(&name(key), Lane::Ordinary);
        }
        assert_eq!((begun(&mut queue), queue.waiting()), (vec!["a".to_owned(), "b".to_owned()], 1));
        queue.due(&name("d"), Lane::Urgent);
        assert_eq!(begun(&mut queue), ["d"]);
        queue.ended(name("b"), End::Rest);
        assert_eq!((begun(&mut queue), queue.waiting()), (vec!["c".to_owned()], 0));
    }

    /// Keys as `namespace/name`.
    fn of(key: &str) -> Name {
        let (namespace, name) = key.split_once('/').unwrap();
        Name { namespace: namespace.to_owned(), name: name.to_owned() }
    }

    /// Begins what can begin.
    fn begun_in(queue: &mut Queue) -> Vec<String> {
        std::iter::from_fn(|| queue.begin())
            .map(|(key, _)| format!("{}/{}", key.namespace, key.name))
            .collect()
    }

    /// Who waits, and who begins with so many places while nothing ends.
    #[tokio::test]
    async fn namespaces_take_turns_and_none_has_all_places_while_another_waits() {
        for (waiting, places, begin) in [
            (&["a/1", "a/2", "a/3", "b/1", "c/1"][..], 4, &["a/1", "b/1", "c/1", "a/2"][..]),
            (&["a/1", "a/2", "a/3", "a/4", "a/5"], 4, &["a/1", "a/2", "a/3", "a/4"]),
            (&["a/1", "a/2", "a/3", "b/1", "b/2", "b/3"], 8, &["a/1", "b/1", "a/2", "b/2", "a/3", "b/3"]),
            (&["b/2", "a/1", "b/1"], 1, &["b/2"]),
        ] {
            let mut queue = Queue::new(places);
            for key in waiting {
                queue.due(&of(key), Lane::Ordinary);
            }
            assert_eq!(begun_in(&mut queue), begin, "{waiting:?}");
        }
    }

    #[tokio::test]
    async fn who_comes_while_another_namespace_has_all_places_gets_the_first_that_is_free() {
        let mut queue = Queue::new(4);
        (1..=1_000).for_each(|nr| queue.due(&of(&format!("a/{nr}")), Lane::Ordinary));
        assert_eq!(begun_in(&mut queue), ["a/1", "a/2", "a/3", "a/4"]);
        queue.due(&of("b/1"), Lane::Ordinary);
        queue.ended(of("a/1"), End::Rest);
        assert_eq!(begun_in(&mut queue), ["b/1"]);
        queue.due(&of("b/2"), Lane::Ordinary);
        queue.ended(of("a/2"), End::Rest);
        assert_eq!(begun_in(&mut queue), ["b/2"], "who has less comes first");
        queue.ended(of("b/1"), End::Rest);
        queue.ended(of("b/2"), End::Rest);
        assert_eq!(begun_in(&mut queue), ["a/5", "a/6"], "nobody else waits");
        assert_eq!(queue.waiting(), 1_000 - 6);
    }

    #[tokio::test]
    async fn who_changes_lanes_or_goes_leaves_nothing_behind() {
        let mut queue = Queue::new(1);
        for _ in 0..1_000 {
            queue.due(&of("a/1"), Lane::Ordinary);
            queue.due(&of("a/1"), Lane::Urgent);
            queue.forget(&of("a/1"));
        }
        assert!(queue.lanes.iter().all(|line| line.waiting.is_empty() && line.turns.is_empty()));
        assert_eq!((begun_in(&mut queue).len(), queue.waiting()), (0, 0));
    }

    #[tokio::test]
    async fn what_happens_during_a_pass_brings_one_more() {
        let mut queue = Queue::new(1);
        queue.due(&name("a"), Lane::Ordinary);
        assert_eq!(begun(&mut queue), ["a"]);
        queue.due(&name("a"), Lane::Ordinary);
        queue.due(&name("a"), Lane::Urgent);
        assert!(begun(&mut queue).is_empty(), "nobody looks at a key twice at once");
        queue.ended(name("a"), End::Later(Duration::from_hours(1)));
        assert_eq!(begun(&mut queue), ["a"]);
        queue.ended(name("a"), End::Rest);
        assert!(begun(&mut queue).is_empty());
    }

    #[tokio::test]
    async fn who_changes_lanes_stands_in_the_new_one_alone() {
        let mut queue = Queue::new(1);
        queue.due(&name("a"), Lane::Ordinary);
        assert_eq!(begun(&mut queue), ["a"]);
        queue.due(&name("b"), Lane::Ordinary);
        queue.due(&name("b"), Lane::Urgent);
        assert_eq!((begun(&mut queue), queue.waiting()), (vec!["b".to_owned()], 0));
        queue.ended(name("b"), End::Rest);
        queue.ended(name("a"), End::Rest);
        assert!(begun(&mut queue).is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn time_brings_a_pass_and_whatever_happens_sooner_brings_it_sooner() {
        let mut queue = Queue::new(1);
        for key in ["a", "b"] {
            queue.due(&name(key), Lane::Ordinary);
            assert_eq!(begun(&mut queue), [key]);
            queue.ended(name(key), End::Later(Duration::from_mins(1)));
        }
        queue.due(&name("a"), Lane::Ordinary);
        assert_eq!(begun(&mut queue), ["a"]);
        queue.ended(name("a"), End::Rest);
        assert_eq!(queue.elapse().await, Some(()));
        assert_eq!(begun(&mut queue), ["b"]);
        queue.ended(name("b"), End::Rest);
        assert_eq!(queue.elapse().await, None);
    }

    #[tokio::test]
    async fn a_list_serves_those_who_asked_before_it_was_begun() {
        let mut queue = Queue::new(3);
        for (key, begun_after) in [("a", 10), ("b", 20)] {
            queue.due(&name(key), Lane::Ordinary);
            assert_eq!(begun(&mut queue), [key]);
            queue.ended(name(key), End::List(at(begun_after)));
        }
        assert_eq!(queue.awaited(), Some(at(20)));
        assert!(queue.awaits_later(&name("b"), at(15)) && !queue.awaits_later(&name("a"), at(15)));
        assert_eq!(queue.listed(at(15)), [name("a")]);
        assert_eq!(begun(&mut queue), ["a"]);
        assert_eq!((queue.listed(at(20)), queue.awaited()), (vec![name("b")], None));
    }

    #[tokio::test]
    async fn what_is_gone_is_not_looked_at() {
        let mut queue = Queue::new(1);
        queue.due(&name("a"), Lane::Ordinary);
        queue.due(&name("b"), Lane::Ordinary);
        queue.forget(&name("a"));
        assert_eq!((begun(&mut queue), queue.waiting()), (vec!["b".to_owned()], 0));
        queue.due(&name("b"), Lane::Ordinary);
        queue.forget(&name("b"));
        queue.ended(name("b"), End::Rest);
        assert!(begun(&mut queue).is_empty());
    }
}
