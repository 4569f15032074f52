//! `state: Revoked`.

use super::*;

fn revoked(case: Case) -> Case {
    case.with(|o| {
        o.resource.state = DesiredState::Revoked;
        o.memory.ending_seen = Some(at(850));
    })
}

#[test]
fn every_token_dies_at_once_whatever_else_is_wrong() {
    let mut case = revoked(Case::minted().superseding("tok_0", 10, 30))
        .listed(&[("tok_0", true), ("tok_1", true), ("tok_2", true)], 900);
    case.0.resource.desired =
        Err(InvalidSpec { field: "rotation".to_owned(), problem: "is wrong".to_owned() });
    // Ready goes first.
    let Step::WriteStatus { status, .. } = case.step() else { panic!("{:?}", case.step()) };
    assert!(status.conditions.iter().any(|c| c.type_ == "Ready" && c.status == "False"));
    case.0.resource.status = *status;
    for id in ["tok_0", "tok_1", "tok_2"] {
        assert_eq!(case.step(), Step::Revoke { id: id.to_owned() });
        case.0.memory.revoked.insert(id.to_owned());
    }
    let Step::WriteStatus { status, .. } = case.step() else { panic!("{:?}", case.step()) };
    assert!(status.token.is_none() && status.superseded.is_empty());
    case.0.resource.status = *status;
    assert_eq!(case.step(), Step::EmptySecret { version: "5".to_owned() });
    let mut case = case.secret(|secret| secret.record.emptied = true);
    assert_eq!(case.shown(), (false, "Revoked".to_owned(), true));
    let Step::WriteStatus { status, .. } = case.step() else { panic!() };
    case.0.resource.status = *status;
    assert_eq!(case.step(), Step::Rest { until: None });
}

#[test]
fn it_is_not_done_on_what_a_cache_says() {
    assert_eq!(revoked(Case::minted()).with(|o| o.resource.live = false).step(), Step::ReadResource);
}

#[test]
fn what_no_list_shows_is_waited_for_and_named() {
    let mut case =
        revoked(Case::minted()).listed(&[], 900).with(|o| o.secret = SecretView::Absent { live: true });
    let Step::WriteStatus { status, .. } = case.step() else { panic!("{:?}", case.step()) };
    case.0.resource.status = *status;
    let Step::WriteStatus { status, .. } = case.step() else { panic!("{:?}", case.step()) };
    assert!(status.token.is_some(), "it isn't forgotten");
    assert!(status.conditions.iter().any(|c| c.reason == "Revoking" && c.message.contains("tok_1")));
}

#[test]
fn an_operation_that_was_recorded_gets_no_successor() {
    let case = revoked(Case::minted().operating(OperationKind::Create))
        .secret(|secret| (secret.live, secret.contents) = (true, Contents::Current))
        .listed(&[("tok_1", true)], 999)
        .with(|o| o.memory.operation_seen = Some(("recorded".to_owned(), at(900))));
    let Step::WriteStatus { status, closes: Closes::Harmless } = case.step() else {
        panic!("{:?}", case.step())
    };
    assert!(status.operation.is_none());
}

#[test]
fn active_again_mints() {
    let case =
        Case::minted().secret(|secret| secret.record.emptied = true).with(|o| o.resource.status.token = None);
    let Step::Record { operation, .. } = case.preflighted().step() else { panic!() };
    assert_eq!((operation.kind, operation.reason), (OperationKind::Create, OperationReason::Activated));
}
