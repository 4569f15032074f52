//! A resource came back without its status, or under a new uid.

use super::*;

/// Status is gone; the Secret was read.
fn lost() -> Case {
    Case::minted()
        .with(|o| o.resource.status = KeyStatus { observed_generation: Some(-1), ..KeyStatus::default() })
        .secret(|secret| {
            (secret.live, secret.contents) = (true, Contents::Current);
            secret.record.generation = 4;
        })
}

/// [`lost`], the Secret claimed long ago, and a list begun after all waits.
fn claimed() -> Case {
    lost().with(|o| {
        o.memory.claimed = Some(at(500));
        let verdict = Verdict::reconciling(false, Reason::StatusLost, "lost");
        set_conditions(&mut o.resource.status, &verdict, 1, o.now.wall);
    })
}

fn proved(case: Case, life: Life) -> Case {
    case.with(|o| o.memory.proof = Some(Proof { of: tried(None), life, at: at(950) }))
}

#[test]
fn it_is_said_and_the_secret_is_claimed_before_anything_is_believed() {
    let mut case = lost();
    let Step::WriteStatus { status, .. } = case.step() else { panic!("{:?}", case.step()) };
    assert!(status.conditions.iter().any(|c| c.type_ == "Ready" && c.reason == "StatusLost"));
    case.0.resource.status = *status;
    assert_eq!(case.step(), Step::ClaimSecret { version: "5".to_owned() });
}

#[test]
fn what_was_under_way_is_waited_for() {
    let just = claimed().with(|o| o.memory.claimed = Some(at(990)));
    assert_eq!(just.step(), Step::Rest { until: Some(at(990) + just.0.timing.recovery_wait) });
    let old_list = claimed().listed(&[("tok_1", true)], 510);
    assert!(matches!(old_list.step(), Step::FreshList { .. }));
}

#[test]
fn a_living_value_is_taken_up_and_everything_else_keeps_its_grace() {
    assert_eq!(claimed().step(), Step::ProveLife(tried(None)));
    let case =
        proved(claimed().listed(&[("tok_1", true), ("tok_2", true), ("tok_3", false)], 900), Life::Alive);
    let Step::WriteStatus { status, closes: Closes::Loss } = case.step() else { panic!("{:?}", case.step()) };
    assert_eq!(status.token.as_ref().unwrap().id, "tok_1");
    assert_eq!(status.observed_rotation_generation, Some(4), "a raised generation isn't acted on twice");
    assert_eq!(status.last_rotation.as_ref().unwrap().operation, BROUGHT_BY);
    let ids: Vec<_> = status.superseded.iter().map(|entry| entry.id.as_str()).collect();
    assert_eq!(ids, ["tok_2"]);
    let grace = status.superseded[0].revoke_after.0.duration_since(status.superseded[0].since.0);
    assert_eq!(grace.as_secs(), 3_600);
}

#[test]
fn what_cannot_be_proved_is_replaced() {
    let cases = vec![
        ("dead", proved(claimed(), Life::Dead)),
        ("inconclusive", proved(claimed(), Life::Unknown)),
        ("revoked", claimed().listed(&[("tok_1", false)], 900)),
        ("unlisted", claimed().listed(&[], 900)),
        ("changed", claimed().secret(|secret| secret.contents = Contents::Changed)),
        ("superseded", claimed().superseding("tok_1", 10, 30)),
    ];
    for (what, case) in cases {
        let Step::Record { operation, .. } = case.preflighted().step() else { panic!("{what}") };
        assert_eq!(
            (operation.kind, operation.reason),
            (OperationKind::Create, OperationReason::StatusLost),
            "{what}"
        );
        assert_eq!(operation.generation, 4, "{what}: the mark never falls");
    }
}

#[test]
fn a_proof_from_before_the_waits_does_not_count() {
    let early = claimed().with(|o| {
        o.memory.proof = Some(Proof { of: tried(None), life: Life::Alive, at: at(501) });
    });
    assert_eq!(early.step(), Step::ProveLife(tried(None)));
}

#[test]
fn a_new_uid_is_a_loss_even_if_status_came_along() {
    let former = |secret: &mut OurSecret| {
        secret.record.uids = [UidTag::new("former")].into();
        (secret.live, secret.contents) = (true, Contents::Stale);
    };
    let case = Case::minted().secret(former);
    assert_eq!(case.shown(), (false, "StatusLost".to_owned(), false));
}

#[test]
fn an_emptied_secret_is_no_loss() {
    let case = lost().secret(|secret| secret.record.emptied = true);
    let Step::Record { operation, .. } = case.preflighted().step() else { panic!() };
    assert_eq!(operation.reason, OperationReason::Activated);
}
