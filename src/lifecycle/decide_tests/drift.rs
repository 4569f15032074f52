//! The value in the Secret may have died elsewhere.

use super::*;

/// A key at rest whose token was first seen at second 100, with this list begun at second 900.
fn seen(ids: &[(&str, bool)]) -> Case {
    Case::minted().with(|o| o.memory.token_seen = Some(first_seen(100))).listed(ids, 900)
}

/// Two lists lack the token that had to show it.
fn absent() -> Case {
    seen(&[]).with(|o| {
        o.memory.absent_since.insert("tok_1".to_owned(), at(800));
        o.memory.shown.insert("tok_1".to_owned());
    })
}

/// The list shows another prefix than was committed.
fn altered() -> Case {
    let mut other = facts("tok_1");
    other.prefix = Some("kt_live_q".to_owned());
    seen(&[]).with(|o| {
        o.listing = Some(Arc::new(Listing::new(at(900), &owner().installation, [(other, true)])));
    })
}

fn read(case: Case) -> Case {
    case.secret(|secret| (secret.live, secret.contents) = (true, Contents::Current))
}

fn proved(case: Case, suspicion: Option<Suspicion>, life: Life) -> Case {
    case.with(|o| o.memory.proof = Some(Proof { of: tried(suspicion), life, at: at(950) }))
}

fn altered_so() -> Suspicion {
    Suspicion::Altered { prefix: Some("kt_live_q".to_owned()), rotated_at: None }
}

#[test]
fn a_suspicion_has_the_value_tried_before_anything_else() {
    for (case, suspicion) in [
        (seen(&[("tok_1", false)]), Suspicion::Dead),
        (absent(), Suspicion::Absent),
        (altered(), altered_so()),
    ] {
        assert_eq!(case.step(), Step::ReadSecret, "{suspicion:?}");
        assert_eq!(read(case).step(), Step::ProveLife(tried(Some(suspicion))));
    }
}

#[test]
fn nothing_is_suspected_too_soon() {
    let new = |o: &mut Observed| o.memory.token_seen = Some(first_seen(880));
    assert_eq!(
        altered().with(new).step(),
        Step::Rest { until: None },
        "a list that may lag behind the commit"
    );
    let once = |o: &mut Observed| o.memory.absent_since = [("tok_1".to_owned(), at(880))].into();
    assert_eq!(absent().with(once).step(), Step::Rest { until: None }, "two lists less than a lag apart");
    let never = |o: &mut Observed| o.memory.absent_since.clear();
    assert_eq!(absent().with(never).step(), Step::Rest { until: None }, "one list alone");
}

#[test]
fn what_the_value_says_counts_more_than_what_lists_say() {
    type Make = fn() -> Case;
    let cases: [(Make, Suspicion, OperationReason); 3] = [
        (|| seen(&[("tok_1", false)]), Suspicion::Dead, OperationReason::RevokedElsewhere),
        (absent, Suspicion::Absent, OperationReason::RevokedElsewhere),
        (altered, altered_so(), OperationReason::RotatedElsewhere),
    ];
    for (make, suspicion, reason) in cases {
        let with = |life| proved(read(make()), Some(suspicion.clone()), life);
        let Step::Record { operation, .. } = with(Life::Dead).preflighted().step() else {
            panic!("{suspicion:?}")
        };
        assert_eq!((operation.kind, operation.reason), (OperationKind::Create, reason));
        let alive = with(Life::Alive).step();
        let minted = matches!(alive, Step::Preflight | Step::Record { .. });
        assert!(!minted, "{suspicion:?}: {alive:?}");
    }
}

#[test]
fn an_inconclusive_proof_leaves_it_to_the_lists() {
    for (case, suspicion) in [(seen(&[("tok_1", false)]), Suspicion::Dead), (altered(), altered_so())] {
        let case = proved(read(case), Some(suspicion), Life::Unknown);
        assert_eq!(case.step(), Step::Preflight);
    }
    let absent = || proved(read(absent()), Some(Suspicion::Absent), Life::Unknown);
    assert_eq!(absent().step(), Step::Preflight);
    let never_shown = |o: &mut Observed| o.memory.shown.clear();
    assert_eq!(absent().with(never_shown).step(), Step::Rest { until: None });
    let doubted = |o: &mut Observed| o.connection.absence_doubted = true;
    assert_eq!(absent().with(doubted).step(), Step::Rest { until: None });
}

#[test]
fn lists_that_are_whole_again_end_a_suspicion() {
    let case = proved(read(seen(&[("tok_1", true)])), Some(Suspicion::Absent), Life::Unknown);
    assert_eq!(case.step(), Step::Rest { until: None });
}

#[test]
fn a_list_that_was_wrong_about_a_living_token_is_learned_from() {
    let case = proved(read(altered()), Some(altered_so()), Life::Alive);
    let Step::WriteStatus { status, .. } = case.step() else { panic!("{:?}", case.step()) };
    assert_eq!(status.token.unwrap().prefix.as_deref(), Some("kt_live_q"));
}

#[test]
fn a_proof_of_another_value_proves_nothing() {
    let case = read(seen(&[("tok_1", false)])).with(|o| {
        let of = ProofOf { operation: "an earlier one".to_owned(), ..tried(Some(Suspicion::Dead)) };
        o.memory.proof = Some(Proof { of, life: Life::Alive, at: at(950) });
    });
    assert_eq!(case.step(), Step::ProveLife(tried(Some(Suspicion::Dead))));
}

#[test]
fn a_proof_of_life_does_not_stand_for_ever() {
    let case = proved(read(seen(&[("tok_1", false)])), Some(Suspicion::Dead), Life::Alive);
    assert_eq!(case.step(), Step::Rest { until: None });
    let later = |o: &mut Observed| o.now.mono = at(950 + 3_600);
    assert_eq!(case.with(later).step(), Step::ProveLife(tried(Some(Suspicion::Dead))));
}

#[test]
fn halt_waits_for_a_person() {
    let halt = |o: &mut Observed| {
        o.resource.desired.as_mut().unwrap().external_change_policy = ExternalChangePolicy::Halt;
    };
    let case = || proved(read(seen(&[("tok_1", false)])), Some(Suspicion::Dead), Life::Dead).with(halt);
    assert_eq!(case().shown(), (false, "RevokedElsewhere".to_owned(), true));
    let raised = case().asked(1).with(halt);
    assert_eq!(raised.step(), Step::Preflight);
    let Step::Record { operation, .. } = raised.preflighted().step() else { panic!() };
    assert_eq!(operation.kind, OperationKind::Create, "a dead token can't be rotated");
}

#[test]
fn ready_comes_back_by_a_proof_alone() {
    let lowered = |o: &mut Observed| {
        let verdict = Verdict::reconciling(false, Reason::CredentialRefused, "no");
        set_conditions(&mut o.resource.status, &verdict, 1, o.now.wall);
    };
    let case = || read(seen(&[("tok_1", true)])).with(lowered);
    assert_eq!(case().step(), Step::ProveLife(tried(None)));
    assert_eq!(proved(case(), None, Life::Alive).shown(), (true, "Ready".to_owned(), false));
    assert_eq!(proved(case(), None, Life::Dead).step(), Step::Preflight);
    let unreachable = |o: &mut Observed| {
        o.memory.trouble = Some(trouble(Reason::ApiUnreachable, Retry::At(at(1_100))));
    };
    assert_eq!(case().with(unreachable).step(), Step::Rest { until: Some(at(1_100)) });
}
