//! The protocol without one of its clauses is refuted: the exploration would notice. Each test prints its shortest trace
//! (`cargo test -- --nocapture refutations`). The names are those of the protocol's review.
//!
//! Holes that can't be shown, because what ships doesn't reach them even without the clause in question:
//! - **H3c** (a sweeper over a lost status): upkeep takes up the Secret before it sweeps.
//! - **H10a** (recovery rotates what pods have mounted): the same clause as H1, and a rotation isn't a revocation.
//! - **H10b** (a first write that nothing fences, after the Secret was deleted): it happens in what ships too, and heals.

use super::configurations::{Configuration, UNLISTED_AND_RAISED};
use super::outside::Outside;
use super::process::Protocol;
use super::state::Kind;
use super::world::FEWEST_PLACES;
use crate::resources::RotationStrategy;

const RAISE: Kind = Kind::Outside(Outside::RaiseGeneration);
const DELETE: Kind = Kind::Outside(Outside::Delete);
const RETAIN: Kind = Kind::Outside(Outside::DeleteRetaining);
const AGAIN: Kind = Kind::Outside(Outside::MakeAgain);
const SUSPEND: Kind = Kind::Outside(Outside::ToggleSuspend);
const DELETE_SECRET: Kind = Kind::Outside(Outside::DeleteSecret);
const EDIT_SECRET: Kind = Kind::Outside(Outside::EditSecret);
const ANNOTATE_SECRET: Kind = Kind::Outside(Outside::AnnotateSecret);
const WIPE: Kind = Kind::Outside(Outside::WipeStatus);

const NEW: Configuration = Configuration::BASE;
const READY: Configuration = Configuration { ready: true, ..NEW };
const CRAMPED: Configuration = Configuration { places: FEWEST_PLACES, ..READY };
const TWO: Configuration = Configuration { operators: 2, ..NEW };
const TWO_READY: Configuration = Configuration { operators: 2, ..READY };

/// The exploration finds what breaks without these clauses, within so many events.
fn refuted(
    hole: &'static str,
    clauses: &[&str],
    bounds: Configuration,
    total: u8,
    kinds: &'static [(Kind, u8)],
) {
    let configuration = Configuration { name: hole, kinds, total, ..bounds };
    let protocol = clauses.iter().fold(Protocol::SHIPPED, |protocol, clause| protocol.without(clause));
    let report = configuration.explore(&protocol, 3_000_000);
    let Some(violation) = report.violation else {
        panic!("{hole}: without {clauses:?} nothing is found");
    };
    println!(
        "without {clauses:?}: {} after {} actions\n{}",
        violation.what, violation.length, violation.trace
    );
    // What ships holds within the same bounds, as far as they are explored here.
    let shipped = configuration.explore(&Protocol::SHIPPED, 20_000);
    if let Some(violation) = shipped.violation {
        panic!("{hole}, as it ships: {}\n{}", violation.what, violation.trace);
    }
}

macro_rules! refutations {
    ($($name:ident: $hole:literal, $clauses:expr, $bounds:expr, $total:literal, $kinds:expr;)*) => {
        $(#[test]
        fn $name() {
            refuted($hole, &$clauses, $bounds, $total, &$kinds);
        })*
    };
}

refutations! {
    a_call_before_its_intent: "intent", ["intent_before_call"], NEW, 1, [(Kind::Crash, 1)];
    h1a_recovery_rotates_under_the_same_id: "H1a", ["recovery_creates", "attempts_have_ids"], TWO, 1,
        [(Kind::Pause, 1)];
    h1b_recovery_rotates_under_a_new_id: "H1b", ["recovery_creates"], Configuration { loose: true, ..READY }, 2,
        [(Kind::Late, 1), (RAISE, 1)];
    h2a_a_version_read_just_before_the_write: "H2a", ["version_before_intent"], TWO, 1, [(Kind::Pause, 1)];
    h2b_the_resource_is_reread_before_the_secret: "H2b", ["secret_first"], TWO_READY, 3,
        [(RAISE, 1), (ANNOTATE_SECRET, 1), (Kind::Pause, 1)];
    h3a_a_sweeper_that_revokes_by_its_cache: "H3a", ["sweeper_names"], TWO_READY, 3,
        [(DELETE_SECRET, 1), (Kind::Stale, 1), (Kind::List, 1)];
    h3b_a_sweeper_amidst_an_operation: "H3b", ["sweeper_waits"], TWO, 3,
        [(Kind::Pause, 1), (Kind::Deceit, 1), (Kind::List, 1)];
    h3d_nothing_fences_a_slow_process: "H3d", ["fences"],
        Configuration { before: UNLISTED_AND_RAISED, ..TWO_READY }, 3,
        [(Kind::Pause, 1), (Kind::Refused, 1), (SUSPEND, 1)];
    h4a_deletion_does_not_wait: "H4a", ["deletion_waits"], NEW, 2, [(Kind::Crash, 1), (DELETE, 1)];
    deletion_by_a_cache: "deletion", ["deletion_looks"], TWO_READY, 4,
        [(DELETE, 1), (RETAIN, 1), (AGAIN, 1), (Kind::Pause, 1)];
    h5a_a_status_write_that_is_not_fenced: "H5a", ["status_fenced"], TWO, 1, [(Kind::Pause, 1)];
    h6a_a_rotation_that_keeps_ready: "H6a", ["rotation_lowers_ready"], READY, 1, [(RAISE, 1)];
    h7a_a_rebuild_without_proof: "H7a", ["restore_proves"], READY, 3,
        [(RAISE, 1), (Kind::Lost, 1), (WIPE, 1)];
    h7b_a_rebuild_that_does_not_wait: "H7b", ["restore_waits"], READY, 3,
        [(RAISE, 1), (Kind::Late, 1), (WIPE, 1)];
    h8_absence_in_the_next_list: "H8", ["absence_settles", "proof_of_life"], NEW, 2,
        [(Kind::List, 1), (Kind::Lag, 1)];
    h9a_an_empty_list_is_believed: "H9a", ["proof_of_life"], READY, 1, [(Kind::Deceit, 1)];
    h11a_derived_ids: "H11a", ["random_ids"], TWO, 2, [(Kind::Pause, 1), (WIPE, 1)];
    h13_no_sweeper: "H13", ["sweeps"], Configuration { loose: true, ..NEW }, 1, [(Kind::Late, 1)];
    grace_by_the_wall_clock_alone: "grace", ["grace_by_both_clocks"], READY, 3,
        [(EDIT_SECRET, 1), (Kind::Outside(Outside::ClockForward), 1), (Kind::List, 1)];
    a_rollout_that_nobody_waits_for: "rollout", ["rollouts_hold"],
        Configuration { workload: true, strategy: RotationStrategy::Overlap, ..READY }, 2,
        [(RAISE, 1), (Kind::Outside(Outside::PodsHang), 1)];
    no_room_amidst_a_recovery: "room", ["makes_room"], CRAMPED, 5, [(RAISE, 1), (Kind::Lost, 4)];
    no_room_without_a_secret: "room", ["makes_room"],
        Configuration { strategy: RotationStrategy::Overlap, ..CRAMPED }, 3, [(RAISE, 2), (DELETE_SECRET, 1)];
    a_list_that_is_newer_than_what_was_read: "lists", ["lists_come_first"], TWO_READY, 4,
        [(Kind::Outside(Outside::StateRevoked), 1), (Kind::Outside(Outside::StateActive), 1), (Kind::Pause, 1), (Kind::List, 1)];
}
