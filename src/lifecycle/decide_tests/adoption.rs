//! `spec.adopt`.

use super::*;

/// A new key that is to adopt `tok_theirs`, whose list is as `adoption` says.
fn adopting(value: AdoptedValue, adoption: Adoption) -> Case {
    Case::new().listed(&[], 900).with(|o| {
        let adopt = AdoptSpec { token_id: "tok_theirs".to_owned(), value };
        o.resource.desired.as_mut().unwrap().adopt = Some(adopt);
        o.adoption = adoption;
    })
}

fn allowed(alive: bool) -> Adoption {
    let facts = TokenFacts::named(TokenId::parse("tok_theirs").unwrap(), "by hand".to_owned());
    Adoption::Allowed(Sighting { facts, alive })
}

fn unclaimed(case: Case) -> Case {
    case.with(|o| {
        let unclaimed = Some("7".to_owned());
        o.secret = SecretView::Foreign { owner: "somebody".to_owned(), unclaimed };
    })
}

#[test]
fn rotate_claims_in_status_and_rotates_then() {
    let mut case = adopting(AdoptedValue::Rotate, allowed(true));
    let Step::WriteStatus { status, .. } = case.step() else { panic!("{:?}", case.step()) };
    assert_eq!(status.token.as_ref().unwrap().id, "tok_theirs");
    assert!(status.conditions.iter().any(|c| c.type_ == "Ready" && c.status == "False"));
    case.0.resource.status = *status;
    assert_eq!(case.step(), Step::Preflight);
    let Step::Record { operation, status } = case.preflighted().step() else { panic!() };
    assert_eq!((operation.kind, operation.token_id.as_deref()), (OperationKind::Rotate, Some("tok_theirs")));
    assert_eq!(operation.reason, OperationReason::Adopted);
    assert!(status.conditions.iter().any(|c| c.type_ == "Ready" && c.status == "False"));
}

#[test]
fn a_claim_is_let_go_if_the_token_turns_out_not_to_be_free() {
    let mut case = adopting(AdoptedValue::Rotate, allowed(true));
    let Step::WriteStatus { status, .. } = case.step() else { panic!() };
    case.0.resource.status = *status;
    for adoption in
        [Adoption::Refused("token tok_theirs is claimed by AccessKey shop/other".to_owned()), allowed(false)]
    {
        case.0.adoption = adoption;
        let Step::WriteStatus { status, .. } = case.step() else { panic!("{:?}", case.step()) };
        assert!(status.token.is_none());
        assert_eq!(case.shown(), (false, "AdoptionRefused".to_owned(), true));
    }
}

#[test]
fn a_refusal_says_why_and_makes_nothing() {
    for adoption in [Adoption::Refused("no".to_owned()), allowed(false)] {
        for value in [AdoptedValue::Rotate, AdoptedValue::FromSecret] {
            assert_eq!(
                adopting(value, adoption.clone()).shown(),
                (false, "AdoptionRefused".to_owned(), true)
            );
        }
    }
    let no_secret = adopting(AdoptedValue::FromSecret, allowed(true));
    assert_eq!(no_secret.shown(), (false, "AdoptionRefused".to_owned(), true));
}

#[test]
fn from_secret_needs_a_proof_of_the_value() {
    let case = || unclaimed(adopting(AdoptedValue::FromSecret, allowed(true)));
    let Step::ProveLife(of) = case().step() else { panic!("{:?}", case().step()) };
    let proved = |life| {
        let of = of.clone();
        case().with(move |o| o.memory.proof = Some(Proof { of, life, at: at(950) }))
    };
    assert!(matches!(proved(Life::Alive).step(), Step::TakeSecret { version, .. } if version == "7"));
    for life in [Life::Dead, Life::Unknown] {
        assert_eq!(proved(life).shown(), (false, "AdoptionRefused".to_owned(), true));
    }
    let changed = proved(Life::Dead).with(|o| {
        o.secret = SecretView::Foreign { owner: "somebody".to_owned(), unclaimed: Some("8".to_owned()) };
    });
    assert!(matches!(changed.step(), Step::ProveLife(_)), "another Secret is tried anew");
}

#[test]
fn a_secret_that_somebody_marked_is_never_taken() {
    for value in [AdoptedValue::Rotate, AdoptedValue::FromSecret] {
        let case = adopting(value, allowed(true)).with(|o| {
            o.secret = SecretView::Foreign { owner: "Deployment web".to_owned(), unclaimed: None };
        });
        assert_eq!(case.shown(), (false, "SecretConflict".to_owned(), true));
    }
}

#[test]
fn adoption_is_for_the_first_value_alone() {
    let case = Case::minted().with(|o| {
        let adopt = AdoptSpec { token_id: "tok_theirs".to_owned(), value: AdoptedValue::Rotate };
        o.resource.desired.as_mut().unwrap().adopt = Some(adopt);
        o.adoption = allowed(true);
    });
    assert_eq!(case.step(), Step::Rest { until: None });
}
