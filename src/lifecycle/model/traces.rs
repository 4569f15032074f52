//! The traces that the protocol's review found, replayed step by step: the shipped `decide` closes each, and a protocol
//! without the clause in question fails on it. Beside them are traces that the random exploration found.

use crate::lifecycle::clauses::Clauses;

use super::outside::Outside;
use super::process::{Fault, Protocol};
use super::random::{Event, Run};
use super::world::Lists;

/// Plays a trace to its end.
fn play(clauses: Clauses, events: &[Event]) -> Result<(), String> {
    Run::new(Protocol::with(clauses)).play(events)
}

fn holds(events: &[Event]) {
    if let Err(failure) = play(Clauses::ALL, events) {
        panic!("{failure}");
    }
}

fn fails_without(clauses: Clauses, events: &[Event], invariant: &str) {
    let failure = play(clauses, events).expect_err("the trace must break the protocol without this clause");
    assert!(failure.starts_with(invariant), "{failure}");
}

/// Steps of a first mint: finalizer, dry run, intent, call.
const TO_THE_ANSWER: usize = 4;

#[test]
fn h1_recovery_that_rotates_leaves_a_dead_value() {
    // One process has a value in memory and can't write it; another recovers, and its rotation lands after that write.
    let trace = [
        Event::Run(0, TO_THE_ANSWER),
        Event::Run(1, 2),
        Event::Tick(21),
        Event::Run(1, 4),
        Event::Run(0, 2),
        Event::Run(1, 1),
    ];
    holds(&trace);
    let without = Clauses { recovery_creates: false, attempts_have_ids: false, ..Clauses::ALL };
    fails_without(without, &trace, "I2");
}

#[test]
fn h2_a_version_read_just_before_the_write_fences_nothing() {
    // The second process has taken over and written its own value; the first reads the new version and overwrites it.
    let trace = [
        Event::Run(0, TO_THE_ANSWER),
        Event::Run(1, 2),
        Event::Tick(21),
        Event::Run(1, 7),
        Event::Run(0, 3),
        Event::Run(1, 1),
    ];
    holds(&trace);
    // Status then names one token and the Secret another. That is noticed, at the price of one more token.
    fails_without(Clauses { version_before_intent: false, ..Clauses::ALL }, &trace, "I8");
}

#[test]
fn h4_a_deletion_that_does_not_wait_leaks_what_arrives_late() {
    let trace = [
        Event::Run(0, TO_THE_ANSWER - 1),
        Event::Fault(0, Fault::CrashAfter),
        Event::Outside(Outside::Delete),
        Event::Run(1, 5),
        Event::Tick(10),
    ];
    holds(&trace);
    fails_without(Clauses { deletion_waits: false, ..Clauses::ALL }, &trace, "I1");
}

#[test]
fn a_call_before_its_intent_leaks_when_the_process_dies() {
    let trace = [
        Event::Run(0, TO_THE_ANSWER),
        Event::Fault(0, Fault::CrashBefore),
        Event::Outside(Outside::Delete),
        Event::Run(1, 5),
        Event::Tick(10),
    ];
    holds(&trace);
    let without = Clauses { intent_before_call: false, ..Clauses::ALL };
    let leak = [
        Event::Run(0, TO_THE_ANSWER),
        Event::Fault(0, Fault::CrashBefore),
        Event::Outside(Outside::DeleteSecret),
    ];
    assert!(play(without, &trace).is_err() || play(without, &leak).is_err());
}

#[test]
fn h10a_a_secret_deleted_between_write_and_commit_keeps_its_token_for_a_grace() {
    holds(&[
        Event::Run(1, 5),
        Event::Fault(1, Fault::CrashAfter),
        Event::Outside(Outside::DeleteSecret),
        Event::Run(0, 1),
    ]);
}

#[test]
fn h10b_a_slow_first_write_after_the_secret_was_deleted_heals() {
    holds(&[
        Event::Run(1, TO_THE_ANSWER),
        Event::Outside(Outside::RaiseGeneration),
        Event::Tick(1),
        Event::Fault(1, Fault::LostAnswer),
        Event::Run(0, 8),
        Event::Outside(Outside::DeleteSecret),
        Event::Run(1, 1),
    ]);
}

#[test]
fn a_rotation_of_unknown_outcome_keeps_its_doubt_when_the_recovery_is_refused() {
    // Found by the exploration: the rotation landed, its answer was lost, and the new token that recovery asks for is
    // refused. The key must not pass for ready with the dead value.
    holds(&[
        Event::Run(0, 6),
        Event::Outside(Outside::RaiseGeneration),
        Event::Run(0, 3),
        Event::Fault(0, Fault::LostAnswer),
        Event::Tick(21),
        Event::Run(0, 5),
        Event::Fault(0, Fault::Refused),
        Event::Run(0, 4),
    ]);
}

#[test]
fn state_revoked_lowers_ready_before_it_revokes() {
    // Found by the exploration: the process died after the revocation, and the state was Active again before any list
    // showed it: Ready stood over a dead value.
    holds(&[
        Event::Run(0, 8),
        Event::Outside(Outside::StateRevoked),
        Event::Run(0, 3),
        Event::Fault(0, Fault::CrashBefore),
        Event::Outside(Outside::StateActive),
        Event::Run(0, 8),
    ]);
}

#[test]
fn a_value_that_could_not_be_tried_does_not_raise_ready() {
    // Found by the exploration: an inconclusive answer counted as a proof of life.
    holds(&[
        Event::Run(0, 8),
        Event::Outside(Outside::StateRevoked),
        Event::Run(0, 3),
        Event::Fault(0, Fault::CrashBefore),
        Event::Outside(Outside::StateActive),
        Event::Run(0, 1),
        Event::Fault(0, Fault::LostAnswer),
        Event::Run(0, 3),
    ]);
}

#[test]
fn a_deletion_waits_for_what_a_wiped_status_knew() {
    // Found by the exploration: the condition that says so ended the wait.
    holds(&[
        Event::Run(0, 3),
        Event::Fault(0, Fault::Late),
        Event::Outside(Outside::WipeStatus),
        Event::Outside(Outside::Delete),
        Event::Run(0, 8),
        Event::Tick(10),
    ]);
}

#[test]
fn two_processes_that_restore_a_lost_status_do_not_undo_each_other() {
    // Found by the exploration: whoever had claimed the Secret began again when the other one had rebuilt status.
    holds(&[
        Event::Run(0, 8),
        Event::Outside(Outside::WipeStatus),
        Event::Run(0, 3),
        Event::Run(1, 3),
        Event::Tick(20),
        Event::Run(0, 8),
        Event::Run(1, 8),
    ]);
}

#[test]
fn who_restores_waits_again_once_the_other_one_has_rotated_upon_a_status_that_is_lost_again() {
    // Found by the random exploration, among a million schedules: the wait had begun with the first loss, and the call of a rotation
    // that was recorded since, and lost, came after it.
    holds(&[
        Event::Run(0, 5),
        Event::Outside(Outside::WipeStatus),
        Event::Run(0, 5),
        Event::Run(0, 1),
        Event::Outside(Outside::RaiseGeneration),
        Event::Run(1, 3),
        Event::Tick(21),
        Event::Run(1, 7),
        Event::Outside(Outside::RaiseGeneration),
        Event::Outside(Outside::WipeStatus),
        Event::Run(0, 5),
        Event::Run(0, 1),
    ]);
}

#[test]
fn a_slow_process_does_not_claim_what_was_retained() {
    // Found by the exploration: it read the Secret again, but not the resource, which was gone by then; its claim took
    // the mark off that keeps the Secret.
    holds(&[
        Event::Run(0, 8),
        Event::Outside(Outside::WipeStatus),
        Event::Run(1, 2),
        Event::Outside(Outside::DeleteRetaining),
        Event::Run(0, 1),
        Event::Tick(40),
        Event::Run(0, 1),
        Event::Tick(1),
        Event::Run(0, 8),
        Event::Run(1, 8),
    ]);
}

#[test]
fn a_proof_of_life_does_not_outlive_its_token() {
    // Found by the random exploration: the value was proved while status was rebuilt, its token revoked because the
    // state was Revoked for a moment, and status was then rebuilt upon the old proof.
    holds(&[
        Event::Run(0, 8),
        Event::Outside(Outside::WipeStatus),
        Event::Run(0, 4),
        Event::Tick(21),
        Event::Run(0, 3),
        Event::Outside(Outside::StateRevoked),
        Event::Run(0, 4),
        Event::Outside(Outside::StateActive),
        Event::Run(0, 3),
    ]);
}

#[test]
fn a_proof_of_life_does_not_outlive_a_revocation_by_another_process() {
    // Found by the random exploration, among 400,000 schedules: one process had proved the value while the state was
    // Revoked for a moment, the other one revoked its token then, and the first said Ready upon its proof.
    holds(&[
        Event::Lists(Lists::Empty),
        Event::Run(0, 7),
        Event::Outside(Outside::DeleteSecret),
        Event::Run(1, 6),
        Event::Outside(Outside::StateRevoked),
        Event::Run(0, 8),
        Event::Run(1, 5),
        Event::Outside(Outside::StateActive),
        Event::Run(0, 3),
    ]);
}
