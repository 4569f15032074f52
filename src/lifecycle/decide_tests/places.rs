//! No place is left among the superseded tokens: what is due makes room, whatever the Secret holds.

use super::*;

/// So many superseded tokens, of which the first two are due, all listed beside the current one.
fn crowded(case: Case, tokens: usize) -> Case {
    let ids: Vec<_> = (0..tokens).map(|nr| format!("tok_a{nr}")).collect();
    let listed: Vec<_> = ids.iter().map(|id| (id.as_str(), true)).chain([("tok_1", true)]).collect();
    let crowd = |case: Case, (nr, id): (usize, &String)| {
        let grace = if nr < 2 { 60 } else { 3_600 };
        case.superseding(id, 100, grace)
    };
    ids.iter().enumerate().fold(case.listed(&listed, 990), crowd)
}

/// What follows once status says that no place is left.
fn once_shown(case: Case) -> (Case, Step) {
    assert_eq!(case.shown(), (false, "SupersededFull".to_owned(), true));
    let Step::WriteStatus { status, .. } = case.step() else { panic!() };
    let case = case.with(|o| o.resource.status = *status);
    let step = case.step();
    (case, step)
}

fn revokes(id: &str) -> Step {
    Step::Revoke { id: id.to_owned() }
}

fn live(secret: &mut OurSecret) {
    secret.live = true;
    secret.contents = Contents::Current;
}

#[test]
fn a_recovery_that_doubts_the_value_goes_on_once_there_is_a_place() {
    let case = crowded(Case::minted(), MAX_SUPERSEDED).operating(OperationKind::Rotate).secret(live);
    let (case, step) = once_shown(case);
    assert_eq!(step, Step::FenceSecret { version: "5".to_owned(), id: "tok_a0".to_owned() });
    let case = case.secret(|secret| secret.record.fence = Some("tok_a0".to_owned()));
    assert_eq!(case.step(), revokes("tok_a0"));
    let case = case.with(|o| {
        o.memory.revoked.insert("tok_a0".to_owned());
    });
    let Step::WriteStatus { status, .. } = case.step() else { panic!() };
    assert_eq!((status.superseded.len(), status.operation.is_some()), (MAX_SUPERSEDED - 1, true));
    let Step::Record { operation, .. } = case.with(|o| o.resource.status = *status).preflighted().step()
    else {
        panic!()
    };
    assert_eq!((operation.kind, operation.value_in_doubt), (OperationKind::Create, true));
}

#[test]
fn a_recovery_waits_for_the_first_grace_that_ends() {
    let case = crowded(Case::minted(), MAX_SUPERSEDED).operating(OperationKind::Rotate).secret(live);
    let case = case.with(|o| {
        for entry in &mut o.resource.status.superseded {
            entry.revoke_after = to_time(later(entry.since.0, Duration::from_mins(2)));
        }
    });
    assert_eq!(once_shown(case).1, Step::Rest { until: Some(at(1_020)) });
}

#[test]
fn a_secret_that_is_lost_gets_its_value_once_there_is_a_place() {
    let (_, step) = once_shown(
        crowded(Case::minted(), MAX_SUPERSEDED).with(|o| o.secret = SecretView::Absent { live: true }),
    );
    assert_eq!(step, revokes("tok_a0"));
}

#[test]
fn what_the_secret_names_never_makes_room() {
    let case = crowded(Case::minted(), MAX_SUPERSEDED).secret(|secret| {
        live(secret);
        secret.record.token = facts("tok_a0");
        secret.record.fence = Some("tok_a1".to_owned());
    });
    assert_eq!(once_shown(case).1, revokes("tok_a1"));
}

#[test]
fn with_places_to_spare_a_secret_that_names_another_token_holds_every_revocation() {
    let (kept, secret) = (MAX_SUPERSEDED - 2, |secret: &mut OurSecret| {
        live(secret);
        secret.contents = Contents::Changed;
    });
    let case = crowded(Case::minted(), kept).secret(secret).with(|o| {
        let desired = o.resource.desired.as_mut().unwrap();
        desired.suspend = true;
    });
    let Step::WriteStatus { status, .. } = case.step() else { panic!() };
    let step = case.with(|o| o.resource.status = *status).step();
    assert!(matches!(step, Step::Rest { .. }), "{step:?}");
}

#[test]
fn an_emergency_amidst_a_recovery_ends_every_grace() {
    let case = crowded(Case::minted(), MAX_SUPERSEDED).operating(OperationKind::Rotate).secret(live);
    let case = case.with(|o| o.resource.rotate_now = Some("Tuesday".to_owned()));
    let Step::WriteStatus { status, .. } = case.step() else { panic!() };
    assert!(status.superseded.iter().all(|entry| entry.revoke_after <= to_time(case.0.now.wall)));
}

#[test]
fn without_a_secret_the_newest_goes_before_what_it_may_have_held() {
    let gone = |o: &mut Observed| o.secret = SecretView::Absent { live: true };
    let case = crowded(Case::minted(), MAX_SUPERSEDED).with(gone).with(|o| {
        let committed = o.now.wall.as_second() - 500;
        o.resource.status.last_rotation.as_mut().unwrap().time =
            to_time(Timestamp::from_second(committed).unwrap());
    });
    let newest = format!("tok_a{}", MAX_SUPERSEDED - 1);
    let (case, step) = once_shown(case);
    assert!(matches!(step, Step::Rest { until: Some(_) }), "the newest has grace: {step:?}");
    let case = case.with(|o| {
        let newest = o.resource.status.superseded.last_mut().unwrap();
        newest.revoke_after = to_time(later(newest.since.0, Duration::from_mins(1)));
    });
    assert_eq!(case.step(), revokes(&newest));
}
