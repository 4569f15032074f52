//! A key that needs a new value and waits for it: what it has is looked after all the while.

use super::*;
use crate::resources::RotationStrategy;

/// Another generation is asked for, and the key is suspended.
fn suspended() -> Case {
    Case::minted().asked(1).with(|o| o.resource.desired.as_mut().unwrap().suspend = true)
}

/// The spec asks for something that can't be done.
fn spoiled(case: Case) -> Case {
    let invalid = InvalidSpec { field: "rotation.grace".to_owned(), problem: "must be more".to_owned() };
    case.with(|o| (o.resource.desired, o.resource.generation) = (Err(invalid), 2))
}

/// No place is left for the token that a rotation would replace.
fn crowded() -> Case {
    let overlap = RotationSpec {
        generation: Some(1),
        strategy: Some(RotationStrategy::Overlap),
        ..RotationSpec::default()
    };
    (0..MAX_SUPERSEDED).fold(Case::minted().rotating(&overlap), |case, nr| {
        case.superseding(&format!("tok_a{nr}"), 100, 3_600)
    })
}

/// Names can't be trusted to come back as they were sent.
fn altered(case: Case) -> Case {
    case.with(|o| o.connection.names_altered = true)
}

/// The token API refuses what the spec asks for.
fn refused(case: Case) -> Case {
    case.with(|o| {
        let generation = o.resource.generation;
        o.memory.trouble = Some(trouble(Reason::RequestRefused, Retry::OtherThanGeneration(generation)));
    })
}

/// What keeps a key waiting, for as long as nobody does anything about it.
fn hindered() -> [(&'static str, Case); 5] {
    [
        ("RotationPending", suspended()),
        ("InvalidSpec", spoiled(Case::minted())),
        ("SupersededFull", crowded()),
        ("NamesAltered", altered(Case::minted().asked(1))),
        ("RotationPending", refused(Case::minted().asked(1))),
    ]
}

fn read(case: Case, contents: Contents) -> Case {
    case.secret(|secret| (secret.live, secret.contents) = (true, contents))
}

#[test]
fn it_passes_for_ready_only_if_the_secret_has_its_value() {
    for ((reason, case), (_, changed)) in hindered().into_iter().zip(hindered()) {
        assert_eq!(case.step(), Step::ReadSecret, "{reason}");
        let (ready, shown, _) = read(case, Contents::Current).shown();
        assert_eq!((ready, shown.as_str()), (true, reason));
        assert!(!read(changed, Contents::Changed).shown().0, "{reason}");
    }
}

#[test]
fn once_looked_at_the_secret_is_not_read_again() {
    for ((reason, case), (_, again)) in hindered().into_iter().zip(hindered()) {
        let Step::WriteStatus { status, .. } = read(case, Contents::Current).step() else {
            panic!("{reason}")
        };
        let step = again.with(|o| o.resource.status = *status).step();
        assert!(matches!(step, Step::Rest { .. }), "{reason}: {step:?}");
    }
}

#[test]
fn a_list_that_speaks_against_its_value_has_it_tried() {
    for (reason, case) in hindered() {
        let case = case.with(|o| {
            let listed = [(facts("tok_1"), false)];
            o.listing = Some(Arc::new(Listing::new(at(900), &owner().installation, listed)));
        });
        assert_eq!(case.step(), Step::ReadSecret, "{reason}");
        let case = read(case, Contents::Current);
        assert_eq!(case.step(), Step::ProveLife(tried(Some(Suspicion::Dead))), "{reason}");
        let dead = Proof { of: tried(Some(Suspicion::Dead)), life: Life::Dead, at: at(950) };
        let case = case.with(|o| o.memory.proof = Some(dead));
        assert!(!case.shown().0, "{reason}");
    }
}

#[test]
fn a_spec_that_became_right_again_is_held_against_the_secret() {
    let Step::WriteStatus { status, .. } = read(spoiled(Case::minted()), Contents::Current).step() else {
        panic!()
    };
    let case = Case::minted().with(|o| (o.resource.status, o.resource.generation) = (*status, 2));
    assert_eq!(
        case.step(),
        Step::ReadSecret,
        "only the value was judged, not what the spec asks of the Secret"
    );
}

#[test]
fn graces_end_meanwhile() {
    let ids = [("tok_0", true), ("tok_1", true)];
    let due = || Case::minted().superseding("tok_0", 800, 700).listed(&ids, 900);
    let suspend = |o: &mut Observed| o.resource.desired.as_mut().unwrap().suspend = true;
    for case in
        [spoiled(due()), altered(due().asked(1)), refused(due().asked(1)), due().asked(1).with(suspend)]
    {
        let case = case.secret(|secret| {
            (secret.live, secret.contents) = (true, Contents::Current);
            secret.record.fence = Some("tok_0".to_owned());
        });
        let Step::WriteStatus { status, .. } = case.step() else { panic!() };
        let case = case.with(|o| o.resource.status = *status);
        assert_eq!(case.step(), Step::Revoke { id: "tok_0".to_owned() });
    }
}

#[test]
fn a_refusal_of_what_the_spec_asks_for_outlasts_a_revocation() {
    let mut memory = refused(Case::minted().asked(1)).0.memory;
    memory.learn(Outcome::Revoked("tok_0".to_owned()), at(1_000));
    assert!(memory.trouble.is_some());
}

/// A token that nobody names, beside the current one.
const STRAY: [(&str, bool); 2] = [("tok_1", true), ("tok_stray", true)];

/// The superseded tokens once status says what the key waits for.
fn claimed(case: Case) -> Vec<String> {
    let Step::WriteStatus { status, .. } = case.step() else { panic!("{:?}", case.step()) };
    let case = case.with(|o| o.resource.status = *status);
    let Step::WriteStatus { status, .. } = case.step() else { panic!("{:?}", case.step()) };
    status.superseded.into_iter().map(|entry| entry.id).collect()
}

#[test]
fn a_halted_key_claims_what_nobody_names() {
    let of = tried(Some(Suspicion::Dead));
    let case = Case::minted().listed(&STRAY, 990).with(|o| {
        o.resource.desired.as_mut().unwrap().external_change_policy = ExternalChangePolicy::Halt;
        o.memory.proof = Some(Proof { of, life: Life::Dead, at: at(950) });
    });
    let case = case.secret(|secret| {
        (secret.live, secret.contents) = (true, Contents::Current);
        secret.record.fence = Some("tok_stray".to_owned());
    });
    assert_eq!(case.shown(), (false, "RevokedElsewhere".to_owned(), true));
    assert_eq!(claimed(case), ["tok_stray"]);
}

#[test]
fn a_key_without_a_secret_claims_what_nobody_names_and_revokes_nothing() {
    let case = suspended().listed(&STRAY, 990).with(|o| o.secret = SecretView::Absent { live: true });
    assert_eq!(claimed(case), ["tok_stray"]);
    let ids = [("tok_0", true), ("tok_1", true)];
    let case = suspended().superseding("tok_0", 800, 700).listed(&ids, 990);
    let case = case.with(|o| o.secret = SecretView::Absent { live: true });
    let Step::WriteStatus { status, .. } = case.step() else { panic!() };
    let step = case.with(|o| o.resource.status = *status).step();
    assert!(matches!(step, Step::Rest { .. }), "its replacement isn't in a Secret: {step:?}");
}
