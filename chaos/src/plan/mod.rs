//! The plan: from a seed to what happens when. A pure function; no clock, no other chance than the seed's.
//!
//! Six tracks run beside each other, each with dice of its own: the operators, the control plane, pods, single calls of the token API, its
//! lists, and people; with leader election a seventh one, the operators' ways to the API server. Within a track of processes nothing overlaps: a frozen process can't be killed by accident.

mod action;
mod tracks;

use std::collections::BTreeMap;
use std::time::Duration;

pub(crate) use self::action::{Act, Action, Block, Mishap, Moment, Oddity, Trouble, WINDOW};

/// What a plan is made from.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Recipe {
    /// The seed.
    pub(crate) seed: u64,
    /// How long things go wrong.
    pub(crate) duration: Duration,
    /// How many keys there are.
    pub(crate) keys: usize,
    /// How many namespaces they are in.
    pub(crate) namespaces: usize,
    /// How many operators run.
    pub(crate) operators: usize,
    /// Whether one of them leads, and the others stand by.
    pub(crate) leader_election: bool,
}

/// An action and when it begins, from the start.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Timed {
    /// When.
    pub(crate) at: Duration,
    /// What.
    pub(crate) action: Action,
}

/// The actions of a seed, in the order of their times.
pub(crate) fn plan(recipe: &Recipe) -> Vec<Timed> {
    let mut all = Vec::new();
    for operator in 0..recipe.operators {
        tracks::operator(recipe, operator, &mut all);
    }
    tracks::control_plane(recipe, &mut all);
    tracks::pods(recipe, &mut all);
    tracks::calls(recipe, &mut all);
    tracks::lists(recipe, &mut all);
    tracks::people(recipe, &mut all);
    if recipe.leader_election {
        for operator in 0..recipe.operators {
            tracks::way(recipe, operator, &mut all);
        }
    }
    all.sort_by_key(|timed| timed.at);
    all
}

/// How many actions of each kind a plan has.
pub(crate) fn kinds(plan: &[Timed]) -> BTreeMap<String, usize> {
    let mut kinds = BTreeMap::new();
    for timed in plan {
        *kinds.entry(timed.action.kind()).or_default() += 1;
    }
    kinds
}

/// In which namespace a key is.
pub(crate) const fn namespace_of(key: usize, namespaces: usize) -> usize {
    // Pairs, so that both kinds are in each.
    key / 2 % namespaces
}

/// Whether keys of a namespace are deleted with `Retain`. The others are deleted with their namespace, and a retained Secret that goes
/// with its namespace would leave a token that nobody names, through nobody's fault but the person's.
pub(crate) const fn retains(namespace: usize) -> bool {
    namespace.is_multiple_of(2)
}

/// Whether a key's rotations overlap, and a Deployment uses it and is restarted: half of the keys, of both kinds.
pub(crate) const fn has_workload(key: usize) -> bool {
    key % 4 >= 2
}

/// Whether what a pod of the key's Deployment runs on is kept for as long as a rollout takes: all of them but a few.
pub(crate) const fn keeps_old(key: usize) -> bool {
    has_workload(key) && !matches!(key % 12, 6 | 7)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    const RECIPE: Recipe = Recipe {
        seed: 1,
        duration: Duration::from_mins(2),
        keys: 12,
        namespaces: 3,
        operators: 2,
        leader_election: false,
    };

    const ELECTED: Recipe = Recipe { leader_election: true, duration: Duration::from_mins(4), ..RECIPE };

    #[test]
    fn the_same_seed_gives_the_same_plan_and_another_one_another() {
        assert_eq!(plan(&RECIPE), plan(&RECIPE));
        assert_ne!(plan(&RECIPE), plan(&Recipe { seed: 2, ..RECIPE }));
    }

    #[test]
    fn every_kind_of_action_is_in_every_plan_of_two_minutes() {
        for seed in 0..50 {
            let kinds = kinds(&plan(&Recipe { seed, ..RECIPE }));
            assert_eq!(kinds.keys().map(String::as_str).collect::<Vec<_>>(), EVERY, "seed {seed}");
        }
    }

    #[test]
    fn with_leader_election_the_ways_to_the_api_server_are_blocked_too_in_every_plan_of_four_minutes() {
        let every: BTreeSet<String> = EVERY.into_iter().chain(BLOCKS).map(str::to_owned).collect();
        for seed in 0..50 {
            let kinds: BTreeSet<String> = kinds(&plan(&Recipe { seed, ..ELECTED })).into_keys().collect();
            assert_eq!(kinds, every, "seed {seed}");
        }
    }

    const BLOCKS: [&str; 5] =
        ["Lease: answer cut", "Lease: conflict", "Lease: cut", "Lease: late", "operator cut off"];

    const EVERY: [&str; 54] = [
        "API server restarted",
        "Secret annotated",
        "Secret deleted",
        "Secret's label stripped",
        "Secret's value edited",
        "description edited",
        "etcd frozen",
        "expiring for a while",
        "fault: answer cut",
        "fault: answer held",
        "fault: answer held, lost",
        "fault: cut",
        "fault: cut after",
        "fault: failed",
        "fault: failed after",
        "fault: held, carried out late",
        "fault: held, lost",
        "fault: huge",
        "fault: new id on rotation",
        "fault: no id told",
        "fault: no value told",
        "fault: nonsense",
        "fault: proxy's page",
        "fault: proxy's page after",
        "fault: redirect",
        "fault: refused",
        "fault: slow",
        "fault: slow answer",
        "fault: terse answer",
        "fault: throttled",
        "key deleted",
        "key deleted in the foreground",
        "key deleted, retained",
        "lists: empty",
        "lists: half a page",
        "lists: old",
        "lists: paged",
        "lists: promised page missing",
        "lists: same page for ever",
        "lists: short",
        "lists: show revoked",
        "namespace deleted",
        "operator frozen",
        "operator killed",
        "pods held up",
        "rotation asked for",
        "rotation at once asked for",
        "rotations in a hurry",
        "scheduled for a while",
        "status wiped",
        "template edited",
        "token revoked in the console",
        "token rotated in the console",
        "workload paused for a while",
    ];

    #[test]
    fn what_begins_ends_before_the_plan_does() {
        for timed in plan(&ELECTED) {
            let lasts = match timed.action {
                Action::KillOperator { moment, down: lasts, .. }
                | Action::FreezeOperator { moment, lasts, .. }
                | Action::RestartApiServer { moment, down: lasts, .. } => moment.latest() + lasts,
                Action::FreezeEtcd { lasts }
                | Action::HoldPods { lasts }
                | Action::Lists { lasts, .. }
                | Action::Block { lasts, .. } => lasts,
                _ => Duration::ZERO,
            };
            assert!(timed.at + lasts <= ELECTED.duration, "{timed:?}");
        }
    }

    #[test]
    fn only_keys_of_some_namespaces_are_retained_and_only_the_others_go_with_theirs() {
        for timed in plan(&RECIPE) {
            match timed.action {
                Action::Person { key, act: Act::Retain } => assert!(retains(namespace_of(key, 3))),
                Action::DeleteNamespace { namespace } => assert!(!retains(namespace)),
                _ => {}
            }
        }
    }
}
