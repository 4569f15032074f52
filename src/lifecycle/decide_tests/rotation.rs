//! Rotations: with an overlap, in place, at once.

use super::*;
use crate::resources::RotationStrategy;

impl Case {
    /// `spec.rotation` asks for this generation, with an overlap of a minute.
    fn overlapping(self, generation: i64) -> Self {
        self.rotating(&RotationSpec {
            generation: Some(generation),
            strategy: Some(RotationStrategy::Overlap),
            grace: Some("1m".to_owned()),
        })
    }

    fn rotate_now(self, asked: &str) -> Self {
        self.with(|o| o.resource.rotate_now = Some(asked.to_owned()))
    }

    /// The operation that is about to be recorded, and the status that holds it.
    fn begun(self) -> (Operation, KeyStatus) {
        let case = self.preflighted();
        let Step::Record { operation, status } = case.step() else { panic!("{:?}", case.step()) };
        (operation, *status)
    }

    /// This process has written `id`, which a recorded operation brought, into the Secret.
    fn written(self, operation: Operation, id: &str) -> Self {
        let rendered = super::super::memory::Rendered { version: "6".to_owned(), generation: 2 };
        self.with(|o| {
            o.resource.status.operation = Some(operation.clone());
            o.memory.flight = Some(Flight {
                operation,
                captured: Captured::default(),
                started: o.now.mono,
                stage: Stage::Written(facts(id), rendered),
            });
        })
    }

    /// The status that commits it.
    fn committed(&self) -> KeyStatus {
        let Step::WriteStatus { status, closes: Closes::Commit { .. } } = self.step() else {
            panic!("{:?}", self.step())
        };
        *status
    }
}

/// How long each superseded token lives on.
fn graces(status: &KeyStatus) -> Vec<(&str, i64)> {
    let left = |entry: &Superseded| entry.revoke_after.0.as_second() - entry.since.0.as_second();
    status.superseded.iter().map(|entry| (entry.id.as_str(), left(entry))).collect()
}

#[test]
fn an_overlap_makes_a_new_token_and_the_key_stays_ready() {
    let (operation, status) = Case::minted().overlapping(1).begun();
    assert_eq!(
        (operation.kind, operation.reason),
        (OperationKind::Create, OperationReason::GenerationRaised)
    );
    assert!(!operation.urgent && !operation.value_in_doubt);
    let ready = status.conditions.iter().find(|c| c.type_ == "Ready").unwrap();
    assert_eq!((ready.status.as_str(), ready.reason.as_str()), ("True", "RotationPending"));
    let status = Case::minted().overlapping(1).written(operation, "tok_2").committed();
    assert_eq!(status.token.as_ref().map(|token| token.id.as_str()), Some("tok_2"));
    assert_eq!(graces(&status), [("tok_1", 60)]);
    assert!(super::super::status::is_ready(&status));
}

#[test]
fn a_second_rotation_amidst_an_overlap_supersedes_the_first_ones_token() {
    let case = || Case::minted().superseding("tok_0", 10, 60).overlapping(1);
    let (operation, _) = case().begun();
    let status = case().written(operation, "tok_2").committed();
    assert_eq!(graces(&status), [("tok_0", 60), ("tok_1", 60)]);
}

#[test]
fn what_was_raised_in_place_ends_every_overlap() {
    let case = || Case::minted().superseding("tok_0", 10, 60).asked(1);
    let (operation, _) = case().begun();
    assert_eq!((operation.kind, operation.urgent), (OperationKind::Rotate, true));
    let status = case().written(operation, "tok_1").committed();
    assert_eq!(graces(&status), [("tok_0", 0)]);
}

#[test]
fn a_rotation_at_once_ignores_the_strategy_and_is_made_once() {
    let case = || Case::minted().superseding("tok_0", 10, 60).overlapping(0).rotate_now("Tuesday");
    let (operation, status) = case().begun();
    assert_eq!((operation.kind, operation.reason), (OperationKind::Rotate, OperationReason::RotateNow));
    assert_eq!((operation.urgent, operation.rotate_now.as_deref()), (true, Some("Tuesday")));
    assert!(!super::super::status::is_ready(&status), "the old value may be dead from now on");
    let status = case().written(operation, "tok_1").committed();
    assert_eq!(status.observed_rotate_now.as_deref(), Some("Tuesday"));
    assert_eq!(graces(&status), [("tok_0", 0)]);
    // What was handled stays handled, also while another one is asked for by generation.
    let handled = |o: &mut Observed| o.resource.status.observed_rotate_now = Some("Tuesday".to_owned());
    let case = Case::minted().rotate_now("Tuesday").with(handled);
    assert_eq!(case.step(), Step::Rest { until: None });
    let (operation, _) = Case::minted().overlapping(1).rotate_now("Tuesday").with(handled).begun();
    assert_eq!((operation.urgent, operation.rotate_now.as_deref()), (false, Some("Tuesday")));
    // Without the annotation nothing is asked for, and what was handled isn't forgotten.
    let (operation, _) = Case::minted().overlapping(1).with(handled).begun();
    assert_eq!(operation.rotate_now.as_deref(), Some("Tuesday"));
}

#[test]
fn a_first_mint_observes_what_is_asked_for_and_hurries_nothing() {
    let (operation, _) = Case::new().asked(3).rotate_now("Tuesday").begun();
    assert_eq!((operation.reason, operation.urgent), (OperationReason::Created, false));
    assert_eq!((operation.generation, operation.rotate_now.as_deref()), (3, Some("Tuesday")));
}

#[test]
fn where_status_was_lost_the_secret_tells_which_rotation_at_once_was_made() {
    let lost = |asked: &str| {
        Case::minted()
            .rotate_now(asked)
            .secret(|secret| {
                secret.record.rotate_now = Some("Tuesday".to_owned());
                (secret.live, secret.contents) = (true, Contents::Current);
            })
            .with(|o| {
                o.resource.status = KeyStatus { observed_generation: Some(-1), ..KeyStatus::default() };
                o.memory.claimed = Some(at(900));
                let of = tried(None);
                o.memory.proof = Some(Proof { of, life: Life::Alive, at: at(980) });
            })
            .listed(&[("tok_1", true)], 970)
    };
    let Step::WriteStatus { status, closes: Closes::Loss } = lost("Tuesday").step() else {
        panic!("{:?}", lost("Tuesday").step())
    };
    assert_eq!(status.observed_rotate_now.as_deref(), Some("Tuesday"));
    assert!(status.conditions.iter().all(|c| c.type_ != "Reconciling"));
    let Step::WriteStatus { status, .. } = lost("Wednesday").step() else { panic!() };
    let ready = status.conditions.iter().find(|c| c.type_ == "Ready").unwrap();
    assert_eq!((ready.status.as_str(), ready.reason.as_str()), ("True", "RotationPending"));
}

#[test]
fn an_emergency_is_not_held_up_by_revocations_that_fail() {
    let full = |tokens: i64| {
        (0..tokens).fold(Case::minted(), |case, nr| case.superseding(&format!("tok_a{nr}"), 10, 60))
    };
    assert_eq!(full(7).overlapping(1).shown(), (true, "SupersededFull".to_owned(), true));
    let (operation, _) = full(7).asked(1).begun();
    assert_eq!(operation.kind, OperationKind::Rotate);
    // Where no place is left at all, what takes them goes first.
    let Step::WriteStatus { status, .. } = full(8).asked(1).step() else { panic!() };
    assert!(graces(&status).iter().all(|(_, left)| *left == 0));
}
