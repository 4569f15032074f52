//! What is explored: each configuration with its bounds, complete within them.

use crate::resources::{AdoptedValue, ExternalChangePolicy, MAX_SUPERSEDED, RotationStrategy};

use super::explore::{Report, explore, settled};
use super::outside::Outside;
use super::process::{Process, Protocol};
use super::state::{Action, Budget, Kind, State};
use super::world::{FEWEST_PLACES, Lists, Workload, World};

/// Bounds of an exploration.
#[derive(Clone, Copy, Debug)]
#[expect(clippy::struct_excessive_bools, reason = "independent facts, each either so or not")]
pub(super) struct Configuration {
    pub name: &'static str,
    /// How many operators there are.
    pub operators: usize,
    /// The key is ready at the start; otherwise it is new.
    pub ready: bool,
    /// What has happened before.
    pub before: &'static [Action],
    /// How often each may happen.
    pub kinds: &'static [(Kind, u8)],
    /// How many of them may happen in all.
    pub total: u8,
    /// Calls may arrive after any time.
    pub loose: bool,
    /// A rotation gives its token a new id (O7).
    pub new_id: bool,
    /// Lists don't show revoked tokens (O5).
    pub hides_revoked: bool,
    pub adopt: Option<AdoptedValue>,
    pub changes: ExternalChangePolicy,
    pub strategy: RotationStrategy,
    /// It is rotated on a schedule.
    pub scheduled: bool,
    /// A workload runs on the Secret, and is restarted.
    pub workload: bool,
    /// How many superseded tokens status has places for.
    pub places: usize,
}

impl Configuration {
    pub(super) const BASE: Self = Self {
        name: "base",
        operators: 1,
        ready: false,
        before: &[],
        kinds: &[],
        total: 0,
        loose: false,
        new_id: false,
        hides_revoked: false,
        adopt: None,
        changes: ExternalChangePolicy::Replace,
        strategy: RotationStrategy::InPlace,
        scheduled: false,
        workload: false,
        places: MAX_SUPERSEDED,
    };

    pub(super) fn start(&self, protocol: &Protocol) -> State {
        let mut world = World::new();
        world.new_id_on_rotate = self.new_id;
        world.hides_revoked = self.hides_revoked;
        world.loose = self.loose;
        world.places = self.places;
        world.timing.write_patience = std::time::Duration::from_mins(1);
        if let Some(value) = self.adopt {
            world = world.adopting(value);
        }
        world.edit(|resource| {
            resource.changes = self.changes;
            resource.strategy = self.strategy;
            resource.scheduled = self.scheduled;
        });
        world.workload = self.workload.then(Workload::default);
        let state = State {
            world,
            processes: vec![Process::default(); self.operators],
            budget: Budget::new(self.kinds, self.total),
        };
        let mut state = if self.ready { settled(state, protocol) } else { state };
        if let Some(workload) = &mut state.world.workload {
            workload.runs_on.clone_from(&state.world.in_use);
        }
        for action in self.before {
            state.happen(*action, protocol);
        }
        state
    }

    /// Explores at most `most` states.
    pub(super) fn explore(&self, protocol: &Protocol, most: usize) -> Report {
        let report = explore(&self.start(protocol), protocol, most);
        let Report { states, depth, time, longest, complete, .. } = &report;
        let end = if *complete { "complete" } else { "not complete" };
        println!(
            "{}: {} operators, at most {} of {:?}: {states} states, depth {depth}, at rest within {longest} steps, \
             {} s, {end}",
            self.name,
            self.operators,
            self.total,
            self.kinds,
            time.as_secs(),
        );
        report
    }
}

const RAISE: Kind = Kind::Outside(Outside::RaiseGeneration);
const DELETE: Kind = Kind::Outside(Outside::Delete);
const RETAIN: Kind = Kind::Outside(Outside::DeleteRetaining);
const DELETE_SECRET: Kind = Kind::Outside(Outside::DeleteSecret);
const EDIT_SECRET: Kind = Kind::Outside(Outside::EditSecret);
const WIPE: Kind = Kind::Outside(Outside::WipeStatus);
const NEW_UID: Kind = Kind::Outside(Outside::NewUid);
const AGAIN: Kind = Kind::Outside(Outside::MakeAgain);
const AGAIN_AT_ONCE: Kind = Kind::Outside(Outside::MakeAgainAtOnce);
const SUSPEND: Kind = Kind::Outside(Outside::ToggleSuspend);
const SPOIL: Kind = Kind::Outside(Outside::ToggleValid);
const REVOKE_OLDEST: Kind = Kind::Outside(Outside::RevokeOldest);
const REVOKE_NEWEST: Kind = Kind::Outside(Outside::RevokeNewest);
const ROTATE: Kind = Kind::Outside(Outside::RotateElsewhere);
const REVOKED: Kind = Kind::Outside(Outside::StateRevoked);
const ACTIVE: Kind = Kind::Outside(Outside::StateActive);
const STRATEGY: Kind = Kind::Outside(Outside::ToggleStrategy);
const ROTATE_NOW: Kind = Kind::Outside(Outside::RotateNow);
const COME_DUE: Kind = Kind::Outside(Outside::ComeDue);
const EXPIRES: Kind = Kind::Outside(Outside::SetToExpire);
const EXPIRE: Kind = Kind::Outside(Outside::Expire);
const HANG: Kind = Kind::Outside(Outside::PodsHang);
const FORWARD: Kind = Kind::Outside(Outside::ClockForward);

const NEW: Configuration = Configuration::BASE;
const READY: Configuration = Configuration { ready: true, ..NEW };
const TWO: Configuration = Configuration { operators: 2, ..NEW };
const TWO_READY: Configuration = Configuration { operators: 2, ..READY };
const OVERLAP: Configuration = Configuration { strategy: RotationStrategy::Overlap, ..READY };
const CRAMPED: Configuration = Configuration { places: FEWEST_PLACES, ..READY };
const TWO_OVERLAP: Configuration = Configuration { operators: 2, ..OVERLAP };

/// Lists showed nothing for a while, and then a rotation is asked for: as the token isn't listed, another one is made.
pub(super) const UNLISTED_AND_RAISED: &[Action] = &[
    Action::Lists(Lists::Empty),
    Action::Tick,
    Action::Lists(Lists::True),
    Action::Outside(Outside::RaiseGeneration),
];

/// The protocol as it ships keeps its invariants within a configuration, all of which is explored.
fn holds(configuration: Configuration) {
    let report = configuration.explore(&Protocol::SHIPPED, 20_000_000);
    if let Some(violation) = report.violation {
        let (what, length) = (violation.what, violation.length);
        panic!("{}: {what} after {length} actions\n{}", configuration.name, violation.trace);
    }
    assert!(report.complete, "{} is too wide to be explored here", configuration.name);
}

/// Declares configurations: each a test with so many events in all in `make test`, and with so many in `make explore`.
macro_rules! configurations {
    ($($name:ident: $bounds:expr, $short:literal, $wide:literal, $kinds:expr;)*) => {
        mod short {
            $(#[test]
            fn $name() {
                use super::*;
                holds(Configuration { name: stringify!($name), kinds: &$kinds, total: $short, ..$bounds });
            })*
        }

        mod wide {
            $(#[test]
            #[ignore = "takes minutes: make explore"]
            fn $name() {
                use super::*;
                holds(Configuration { name: stringify!($name), kinds: &$kinds, total: $wide, ..$bounds });
            })*
        }
    };
}

configurations! {
    one_operator_each_fault: NEW, 3, 5, [
        (Kind::Crash, 1), (Kind::Lost, 1), (Kind::Late, 1), (Kind::Vanished, 1), (Kind::Refused, 1), (Kind::Lag, 1),
        (RAISE, 2), (DELETE, 1)
    ];
    two_operators_and_a_crash: TWO, 2, 3, [(Kind::Crash, 1), (Kind::Late, 1), (Kind::Lost, 1)];
    two_operators_delete: TWO, 1, 3, [(Kind::Crash, 1), (DELETE, 1), (Kind::Late, 1)];
    two_operators_one_of_them_slow: TWO, 1, 2, [(Kind::Pause, 1), (Kind::Late, 1), (DELETE, 1)];
    two_operators_rotate: TWO_READY, 2, 3, [(RAISE, 1), (Kind::Pause, 1), (Kind::Lost, 1)];
    calls_arrive_after_any_time: Configuration { loose: true, ..NEW }, 3, 4, [
        (Kind::Late, 1), (Kind::Crash, 1), (Kind::Lost, 1), (RAISE, 2)
    ];
    rotations_give_new_ids: Configuration { new_id: true, ..READY }, 3, 5, [
        (RAISE, 2), (Kind::Crash, 1), (Kind::Late, 1), (Kind::Lost, 1), (Kind::Lag, 1), (DELETE, 1)
    ];
    status_is_lost_amidst_a_mint: NEW, 3, 4, [
        (WIPE, 1), (DELETE, 1), (Kind::Late, 1), (Kind::Crash, 1), (Kind::Lost, 1)
    ];
    status_or_secret_is_lost: READY, 3, 4, [
        (WIPE, 1), (Kind::Crash, 1), (RAISE, 1), (DELETE_SECRET, 1), (EDIT_SECRET, 1), (Kind::Late, 1)
    ];
    status_is_lost_with_two_operators: TWO_READY, 2, 3, [(WIPE, 1), (RAISE, 1), (Kind::Pause, 1)];
    it_comes_back_under_a_new_uid: READY, 3, 5, [
        (NEW_UID, 1), (Kind::Crash, 1), (RAISE, 1), (DELETE, 1), (Kind::Late, 1), (DELETE_SECRET, 1)
    ];
    it_is_made_again_in_its_place: READY, 3, 5, [
        (DELETE, 1), (AGAIN, 1), (AGAIN_AT_ONCE, 1), (RETAIN, 1), (Kind::Crash, 1), (Kind::Late, 1), (RAISE, 1)
    ];
    it_is_made_again_while_an_operator_sleeps: TWO_READY, 3, 4, [
        (DELETE, 1), (RETAIN, 1), (AGAIN_AT_ONCE, 1), (Kind::Pause, 1)
    ];
    a_new_token_is_made_though_the_old_one_lives: Configuration { before: UNLISTED_AND_RAISED, ..TWO_READY }, 2, 3, [
        (Kind::Pause, 1), (Kind::Refused, 1), (SUSPEND, 1)
    ];
    caches_are_stale: READY, 3, 4, [
        (Kind::Stale, 1), (Kind::List, 1), (Kind::Crash, 1), (RAISE, 1), (DELETE_SECRET, 1), (DELETE, 1), (WIPE, 1)
    ];
    caches_of_two_operators_are_stale: TWO_READY, 1, 2, [
        (Kind::Stale, 1), (Kind::List, 1), (RAISE, 1), (DELETE_SECRET, 1), (DELETE, 1)
    ];
    revoked_or_rotated_elsewhere: Configuration { hides_revoked: true, ..READY }, 3, 4, [
        (REVOKE_OLDEST, 1), (REVOKE_NEWEST, 1), (ROTATE, 1), (Kind::Deceit, 1), (RAISE, 1), (Kind::Lost, 1)
    ];
    revoked_elsewhere_and_halted:
        Configuration { changes: ExternalChangePolicy::Halt, ..READY }, 3, 4, [
        (REVOKE_OLDEST, 1), (ROTATE, 1), (Kind::Deceit, 1), (RAISE, 1), (Kind::Crash, 1), (DELETE, 1)
    ];
    halted_and_a_call_arrives_late:
        Configuration { changes: ExternalChangePolicy::Halt, loose: true, ..OVERLAP }, 3, 5, [
        (REVOKE_OLDEST, 1), (ROTATE, 1), (RAISE, 2), (DELETE_SECRET, 1), (Kind::Crash, 1), (Kind::Late, 1), (Kind::Lost, 1)
    ];
    suspended_and_a_call_arrives_late: Configuration { loose: true, ..OVERLAP }, 3, 5, [
        (SUSPEND, 2), (RAISE, 1), (REVOKE_OLDEST, 1), (DELETE_SECRET, 1), (EDIT_SECRET, 1), (Kind::Crash, 1), (Kind::Late, 1)
    ];
    the_spec_is_refused: OVERLAP, 3, 5, [
        (Kind::RefusedForGood, 1), (RAISE, 2), (REVOKE_OLDEST, 1), (ROTATE, 1), (EDIT_SECRET, 1), (Kind::Crash, 1),
        (Kind::Late, 1)
    ];
    the_spec_is_invalid_for_a_while: OVERLAP, 3, 5, [
        (SPOIL, 2), (RAISE, 1), (REVOKE_OLDEST, 1), (ROTATE, 1), (DELETE_SECRET, 1), (EDIT_SECRET, 1), (WIPE, 1),
        (Kind::Crash, 1), (Kind::Late, 1)
    ];
    the_state_is_revoked: READY, 3, 5, [
        (REVOKED, 1), (ACTIVE, 1), (Kind::Crash, 1), (Kind::Late, 1), (RAISE, 1), (Kind::Lost, 1)
    ];
    the_state_is_revoked_amidst_a_mint: NEW, 3, 4, [
        (REVOKED, 1), (ACTIVE, 1), (Kind::Crash, 1), (Kind::Late, 1), (Kind::Lost, 1)
    ];
    deletion_retains: READY, 4, 6, [
        (RETAIN, 1), (Kind::Crash, 1), (RAISE, 1), (Kind::Late, 1), (Kind::Lost, 1), (EDIT_SECRET, 1)
    ];
    the_clock_is_set_forward: READY, 3, 5, [
        (FORWARD, 1), (Kind::List, 1), (EDIT_SECRET, 1), (Kind::Crash, 1), (RAISE, 1)
    ];
    rotations_overlap: OVERLAP, 3, 4, [
        (RAISE, 2), (Kind::Crash, 1), (Kind::Late, 1), (Kind::Lost, 1), (Kind::Lag, 1), (DELETE, 1), (WIPE, 1)
    ];
    rotations_of_two_operators_overlap: TWO_OVERLAP, 2, 3, [(RAISE, 2), (Kind::Pause, 1), (Kind::Lost, 1)];
    the_strategy_changes: OVERLAP, 4, 5, [
        (RAISE, 2), (STRATEGY, 1), (Kind::Crash, 1), (Kind::Late, 1), (REVOKE_NEWEST, 1), (DELETE_SECRET, 1)
    ];
    rotated_at_once_amidst_an_overlap: OVERLAP, 4, 5, [
        (RAISE, 1), (ROTATE_NOW, 1), (Kind::Crash, 1), (Kind::Late, 1), (Kind::Lost, 1), (WIPE, 1), (NEW_UID, 1)
    ];
    a_schedule_overlaps: Configuration { scheduled: true, ..OVERLAP }, 3, 4, [
        (COME_DUE, 2), (RAISE, 1), (Kind::Crash, 1), (Kind::Late, 1), (Kind::Lost, 1), (DELETE, 1), (WIPE, 1)
    ];
    a_schedule_rotates_in_place: Configuration { scheduled: true, ..READY }, 3, 4, [
        (COME_DUE, 2), (RAISE, 1), (Kind::Crash, 1), (Kind::Late, 1), (Kind::Lost, 1), (Kind::Refused, 1)
    ];
    an_expiry_is_set_unasked: READY, 3, 4, [
        (EXPIRES, 2), (EXPIRE, 1), (RAISE, 1), (Kind::Crash, 1), (Kind::Late, 1), (Kind::Lost, 1), (WIPE, 1)
    ];
    workloads_are_restarted: Configuration { workload: true, ..OVERLAP }, 3, 4, [
        (RAISE, 2), (ROTATE_NOW, 1), (HANG, 1), (Kind::Crash, 1), (Kind::Late, 1), (Kind::Lost, 1), (WIPE, 1),
        (DELETE_SECRET, 1)
    ];
    workloads_are_restarted_by_two_operators: Configuration { workload: true, ..TWO_OVERLAP }, 1, 2, [
        (RAISE, 2), (Kind::Pause, 1), (Kind::Crash, 1)
    ];
    workloads_are_restarted_after_a_rotation_in_place: Configuration { workload: true, ..READY }, 3, 4, [
        (RAISE, 2), (STRATEGY, 1), (Kind::Crash, 1), (Kind::Late, 1), (Kind::Lost, 1)
    ];
    workloads_run_while_the_state_is_revoked: Configuration { workload: true, ..OVERLAP }, 3, 4, [
        (REVOKED, 1), (ACTIVE, 1), (RAISE, 1), (HANG, 1), (Kind::Crash, 1), (Kind::Late, 1)
    ];
    workloads_run_on_what_expires: Configuration { workload: true, ..OVERLAP }, 3, 4, [
        (EXPIRES, 1), (EXPIRE, 1), (RAISE, 1), (HANG, 1), (Kind::Crash, 1), (Kind::Late, 1)
    ];
    workloads_run_on_an_adopted_token: Configuration {
        workload: true, adopt: Some(AdoptedValue::FromSecret), strategy: RotationStrategy::Overlap, ..NEW
    }, 3, 4, [
        (RAISE, 1), (HANG, 1), (Kind::Crash, 1), (Kind::Late, 1), (Kind::Lost, 1)
    ];
    places_run_out_amidst_recoveries: CRAMPED, 4, 6, [(RAISE, 2), (Kind::Lost, 4), (Kind::Late, 1)];
    places_run_out_and_the_secret_is_lost: Configuration { strategy: RotationStrategy::Overlap, ..CRAMPED }, 4, 5, [
        (RAISE, 3), (Kind::Lost, 2), (DELETE_SECRET, 1), (EDIT_SECRET, 1), (Kind::Crash, 1)
    ];
    places_run_out_amidst_a_rollout: Configuration { strategy: RotationStrategy::Overlap, workload: true, ..CRAMPED },
        3, 5, [(RAISE, 3), (Kind::Lost, 2), (STRATEGY, 1), (HANG, 1), (DELETE_SECRET, 1)];
    places_of_two_operators_run_out: Configuration { operators: 2, ..CRAMPED }, 2, 3, [
        (RAISE, 2), (Kind::Lost, 2), (DELETE_SECRET, 1), (Kind::Pause, 1)
    ];
    adoption_rotates: Configuration { adopt: Some(AdoptedValue::Rotate), ..NEW }, 3, 5, [
        (Kind::Crash, 1), (Kind::Late, 1), (Kind::Lost, 1), (DELETE, 1), (Kind::Refused, 1)
    ];
    adoption_takes_the_secret: Configuration { adopt: Some(AdoptedValue::FromSecret), ..NEW }, 3, 4, [
        (Kind::Crash, 1), (Kind::Late, 1), (Kind::Lost, 1), (DELETE, 1), (RAISE, 1), (REVOKE_OLDEST, 1)
    ];
}

/// Reads `Crash=1,Lost=1,Delete=1` as budgets.
fn budgets(text: &str) -> &'static [(Kind, u8)] {
    const FAULTS: [Kind; 11] = [
        Kind::Crash,
        Kind::Lost,
        Kind::Late,
        Kind::Vanished,
        Kind::Refused,
        Kind::RefusedForGood,
        Kind::Pause,
        Kind::Lag,
        Kind::Deceit,
        Kind::Stale,
        Kind::List,
    ];
    let kind = |name: &str| {
        let outside = Outside::ALL.iter().map(|outside| Kind::Outside(*outside));
        let mut all = FAULTS.into_iter().chain(outside);
        all.find(|kind| match kind {
            Kind::Outside(outside) => format!("{outside:?}") == name,
            kind => format!("{kind:?}") == name,
        })
    };
    let read = |entry: &str| {
        let (name, number) = entry.split_once('=').unwrap_or((entry, "1"));
        (kind(name).unwrap_or_else(|| panic!("no such fault: {name}")), number.parse().expect("a number"))
    };
    text.split(',').filter(|entry| !entry.is_empty()).map(read).collect::<Vec<_>>().leak()
}

/// A configuration of one's own: `MODEL="operators=2 total=3 ready Crash=1,Lost=1,Delete=1 without=sweeps"`.
#[test]
fn a_configuration_of_ones_own() {
    let Ok(text) = std::env::var("MODEL") else { return };
    let mut configuration = Configuration { name: "from MODEL", ..Configuration::BASE };
    let mut protocol = Protocol::SHIPPED;
    let mut most = 3_000_000;
    for word in text.split_whitespace() {
        match word.split_once('=') {
            Some(("operators", number)) => configuration.operators = number.parse().expect("a number"),
            Some(("total", number)) => configuration.total = number.parse().expect("a number"),
            Some(("most", number)) => most = number.parse().expect("a number"),
            Some(("without", clause)) => protocol = protocol.without(clause),
            None if word == "ready" => configuration.ready = true,
            None if word == "loose" => configuration.loose = true,
            None if word == "O7" => configuration.new_id = true,
            None if word == "O5" => configuration.hides_revoked = true,
            None if word == "scheduled" => configuration.scheduled = true,
            None if word == "workload" => configuration.workload = true,
            None if word == "overlap" => configuration.strategy = RotationStrategy::Overlap,
            None if word == "halt" => configuration.changes = ExternalChangePolicy::Halt,
            None if word == "adopt" => configuration.adopt = Some(AdoptedValue::Rotate),
            None if word == "take" => configuration.adopt = Some(AdoptedValue::FromSecret),
            _ => configuration.kinds = budgets(word),
        }
    }
    let report = configuration.explore(&protocol, most);
    if let Some(violation) = report.violation {
        panic!("{} after {} actions\n{}", violation.what, violation.length, violation.trace);
    }
}
