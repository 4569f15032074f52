//! A table of decisions: for each branch, what was observed and the step that follows.

mod adoption;
mod drift;
mod places;
mod restore;
mod revoked;
mod rotation;
mod waiting;

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;

use super::decide;
use super::desired::{Desired, InvalidSpec};
use super::listing::Listing;
use super::memory::{
    Captured, Flight, Life, Memory, Outcome, Proof, ProofOf, Retry, Stage, Suspicion, TokenSeen, Trouble,
};
use super::naming::{Installation, OperationId, Owner, Place, Tag, UidTag};
use super::observed::{
    Adoption, ConnectionView, Contents, Observed, OurSecret, Record, Requesters, ResourceView, SecretView,
    Sighting, Timing,
};
use super::status::{Reason, Verdict, set_conditions};
use super::step::{Closes, Step};
use super::time::{Monotonic, Now, later, to_time};
use super::token::{TokenFacts, TokenId};
use crate::resources::{
    AdoptSpec, AdoptedValue, DeletionPolicy, DesiredState, ExternalChangePolicy, KeyKind, KeyStatus,
    LastRotation, MAX_SUPERSEDED, Operation, OperationKind, OperationReason, RotationSpec, SecretStatus,
    SpecParts, Superseded, TokenStatus,
};

const BROUGHT_BY: &str = "operation-that-brought-it";

fn owner() -> Owner {
    Owner {
        installation: Installation::new("cluster", "default"),
        place: Place::new(KeyKind::Access, "shop", "checkout"),
        uid: UidTag::new("uid"),
    }
}

fn at(seconds: u64) -> Monotonic {
    Monotonic(Duration::from_secs(seconds))
}

fn name_of(operation: u8) -> String {
    Tag { owner: owner(), operation: OperationId::from_random([operation; 10]) }.name("checkout-api", 63)
}

fn facts(id: &str) -> TokenFacts {
    TokenFacts {
        id: TokenId::parse(id).unwrap(),
        name: Some(name_of(1)),
        prefix: Some("kt_live_p".to_owned()),
        created_at: None,
        rotated_at: None,
        expires_at: None,
    }
}

/// The first sight of the current token.
fn first_seen(seconds: u64) -> TokenSeen {
    TokenSeen { id: "tok_1".to_owned(), operation: BROUGHT_BY.to_owned(), at: at(seconds) }
}

/// The trial of the current token's value.
fn tried(suspicion: Option<Suspicion>) -> ProofOf {
    ProofOf { id: "tok_1".to_owned(), operation: BROUGHT_BY.to_owned(), suspicion }
}

fn trouble(reason: Reason, retry: Retry) -> Trouble {
    Trouble { reason, message: "no".to_owned(), retry }
}

/// A key at second 1000, told in a few words.
struct Case(Observed);

impl Case {
    /// A key that was never seen, its finalizer on.
    fn new() -> Self {
        let parts = SpecParts::default();
        Self(Observed {
            now: Now { wall: Timestamp::from_second(1_800_000_000).unwrap(), mono: at(1_000) },
            timing: Timing::new(Duration::from_secs(10), Duration::from_mins(1)),
            owner: owner(),
            name_limit: 63,
            places: MAX_SUPERSEDED,
            resource: ResourceView {
                version: "10".to_owned(),
                live: true,
                generation: 1,
                deleting: false,
                finalizer: true,
                desired: Desired::parse(&parts, "shop", "checkout"),
                rotate_now: None,
                requesters: Requesters::default(),
                deletion_policy: DeletionPolicy::Revoke,
                state: DesiredState::Active,
                status: KeyStatus { observed_generation: Some(-1), ..KeyStatus::default() },
            },
            secret: SecretView::Absent { live: true },
            workloads: None,
            users: None,
            listing: None,
            adoption: Adoption::None,
            connection: ConnectionView::default(),
            memory: Memory::default(),
            fresh_id: OperationId::from_random([9; 10]),
            draining: false,
        })
    }

    /// A key at rest: minted, its Secret current, everything told.
    fn minted() -> Self {
        let mut case = Self::new();
        let now = case.0.now;
        let status = &mut case.0.resource.status;
        status.observed_rotation_generation = Some(0);
        status.token = Some(TokenStatus {
            id: "tok_1".to_owned(),
            name: Some(name_of(1)),
            prefix: Some("kt_live_p".to_owned()),
            ..TokenStatus::default()
        });
        status.secret = Some(SecretStatus {
            name: "checkout".to_owned(),
            key: "api-key".to_owned(),
            resource_version: Some("5".to_owned()),
        });
        status.last_rotation = Some(LastRotation {
            time: to_time(now.wall),
            reason: OperationReason::Created,
            generation: 0,
            operation: BROUGHT_BY.to_owned(),
        });
        set_conditions(status, &Verdict::ready("The Secret holds a living value."), 1, now.wall);
        case.0.secret = SecretView::Ours(OurSecret {
            version: "5".to_owned(),
            live: false,
            owned: true,
            record: Record {
                token: facts("tok_1"),
                operation: BROUGHT_BY.to_owned(),
                generation: 0,
                rotate_now: None,
                replaced: None,
                fence: None,
                retained: None,
                uids: [owner().uid].into(),
                emptied: false,
            },
            contents: Contents::Unread,
        });
        case.listed(&[("tok_1", true)], 900)
    }

    fn with(mut self, change: impl FnOnce(&mut Observed)) -> Self {
        change(&mut self.0);
        self
    }

    fn secret(self, change: impl FnOnce(&mut OurSecret)) -> Self {
        self.with(|o| match &mut o.secret {
            SecretView::Ours(secret) => change(secret),
            other => panic!("no Secret of ours: {other:?}"),
        })
    }

    /// A list begun at `begun` shows these ids under our tag.
    fn listed(self, ids: &[(&str, bool)], begun: u64) -> Self {
        let tokens: Vec<_> = ids.iter().map(|(id, alive)| (facts(id), *alive)).collect();
        self.with(|o| {
            o.listing = Some(Arc::new(Listing::new(at(begun), &owner().installation, tokens)));
        })
    }

    fn asked(self, generation: i64) -> Self {
        self.rotating(&RotationSpec { generation: Some(generation), ..RotationSpec::default() })
    }

    fn rotating(self, rotation: &RotationSpec) -> Self {
        self.with(|o| {
            let parts = SpecParts { rotation: Some(rotation), ..SpecParts::default() };
            o.resource.desired = Desired::parse(&parts, "shop", "checkout");
            o.resource.generation = 2;
        })
    }

    fn preflighted(self) -> Self {
        self.with(|o| o.memory.preflight = Some(Captured::default()))
    }

    fn superseding(self, id: &str, since: i64, grace: u64) -> Self {
        self.with(|o| {
            let since = Timestamp::from_second(o.now.wall.as_second() - since).unwrap();
            o.resource.status.superseded.push(Superseded {
                id: id.to_owned(),
                prefix: None,
                since: to_time(since),
                revoke_after: to_time(later(since, Duration::from_secs(grace))),
            });
            o.memory.superseded_seen.insert(id.to_owned(), at(100));
            o.memory.graces_seen.insert(id.to_owned(), (since, at(100)));
        })
    }

    fn operating(self, kind: OperationKind) -> Self {
        self.with(|o| {
            o.resource.status.operation = Some(Operation {
                id: "recorded".to_owned(),
                kind,
                token_name: (kind == OperationKind::Create).then(|| name_of(2)),
                token_id: (kind == OperationKind::Rotate).then(|| "tok_1".to_owned()),
                reason: OperationReason::GenerationRaised,
                generation: 1,
                rotate_now: None,
                value_in_doubt: false,
                urgent: false,
                requested_by: None,
            });
            o.memory.operation_seen = Some(("recorded".to_owned(), at(900)));
        })
    }

    fn deleting(self) -> Self {
        self.with(|o| {
            o.resource.deleting = true;
            o.memory.ending_seen = Some(at(950));
        })
    }

    fn step(&self) -> Step {
        decide(&self.0)
    }

    /// The step, and the reason and message of `Ready` if it writes a status.
    fn shown(&self) -> (bool, String, bool) {
        let Step::WriteStatus { status, .. } = self.step() else {
            panic!("no status is written: {:?}", self.step())
        };
        let ready = status.conditions.iter().find(|c| c.type_ == "Ready").unwrap();
        let stalled = status.conditions.iter().any(|c| c.type_ == "Stalled");
        (ready.status == "True", ready.reason.clone(), stalled)
    }
}

#[test]
fn a_new_key_gets_its_finalizer_first() {
    assert_eq!(Case::new().with(|o| o.resource.finalizer = false).step(), Step::AddFinalizer);
}

#[test]
fn a_key_whose_finalizer_was_wiped_gets_it_back_before_anything_else() {
    let case = Case::minted().asked(1).with(|o| o.resource.finalizer = false);
    assert_eq!(case.step(), Step::AddFinalizer);
}

#[test]
fn a_stopping_process_begins_nothing() {
    let draining = |o: &mut Observed| o.draining = true;
    for case in [Case::new(), Case::minted().asked(1), Case::new().with(|o| o.resource.finalizer = false)] {
        assert_eq!(case.with(draining).step(), Step::Rest { until: None });
    }
}

#[test]
fn a_mint_is_tried_dry_before_its_intent_is_recorded() {
    assert_eq!(Case::new().step(), Step::Preflight);
    let Step::Record { operation, status } = Case::new().preflighted().step() else { panic!() };
    assert_eq!((operation.kind, operation.reason), (OperationKind::Create, OperationReason::Created));
    assert_eq!(operation.token_name.as_deref().and_then(Tag::of_name).map(|tag| tag.owner), Some(owner()));
    assert_eq!(status.operation, Some(operation));
}

#[test]
fn a_key_at_rest_needs_nothing() {
    assert_eq!(Case::minted().step(), Step::Rest { until: None });
}

#[test]
fn a_raised_generation_rotates_a_token_that_is_listed_as_ours() {
    let case = Case::minted().asked(5);
    assert_eq!(case.step(), Step::Preflight);
    let Step::Record { operation, status } = case.preflighted().step() else { panic!() };
    assert_eq!(operation.token_id.as_deref(), Some("tok_1"));
    assert_eq!((operation.kind, operation.generation), (OperationKind::Rotate, 5));
    assert!(!super::status::is_ready(&status), "an intent to rotate lowers Ready");
}

#[test]
fn a_token_that_no_list_shows_under_our_tag_is_never_rotated() {
    let case = Case::minted().asked(1).listed(&[], 990).with(|o| {
        o.memory.token_seen = Some(first_seen(100));
    });
    let Step::Record { operation, .. } = case.preflighted().step() else { panic!() };
    assert_eq!(operation.kind, OperationKind::Create);
}

#[test]
fn a_token_that_is_too_new_for_the_list_waits_for_the_next_one() {
    let seen = |o: &mut Observed| o.memory.token_seen = Some(first_seen(980));
    let case = Case::minted().asked(1).listed(&[], 900).with(seen);
    assert_eq!(case.step(), Step::FreshList { begun_after: at(980) });
    let case = Case::minted().asked(1).listed(&[], 990).with(seen);
    assert_eq!(case.step(), Step::Rest { until: Some(at(1_040)) });
}

#[test]
fn a_token_that_this_process_made_needs_no_list() {
    let case = Case::minted().asked(1).listed(&[], 900).preflighted().with(|o| {
        o.memory.made.insert("tok_1".to_owned());
    });
    let Step::Record { operation, .. } = case.step() else { panic!() };
    assert_eq!(operation.kind, OperationKind::Rotate);
}

#[test]
fn a_lower_generation_does_nothing_and_the_message_says_which_comes_next() {
    let case = Case::minted().asked(1).with(|o| o.resource.status.observed_rotation_generation = Some(3));
    let case = case.secret(|secret| {
        secret.live = true;
        secret.contents = Contents::Current;
    });
    let Step::WriteStatus { status, closes: Closes::Nothing } = case.step() else { panic!() };
    let ready = status.conditions.iter().find(|c| c.type_ == "Ready").unwrap();
    assert_eq!(ready.status, "True");
    assert!(ready.message.contains("set it to 4 to rotate"), "{}", ready.message);
}

#[test]
fn a_secret_of_another_version_is_looked_at_before_anything_is_said() {
    assert_eq!(Case::minted().secret(|secret| secret.version = "6".to_owned()).step(), Step::ReadSecret);
}

#[test]
fn a_secret_that_a_cache_lacks_is_looked_for() {
    assert_eq!(
        Case::minted().with(|o| o.secret = SecretView::Absent { live: false }).step(),
        Step::ReadSecret
    );
}

#[test]
fn a_secret_that_must_be_replaced_gets_a_new_token() {
    type Change = fn(&mut Observed);
    let changes: [(&str, OperationReason, Change); 3] = [
        ("gone", OperationReason::SecretMissing, |o| o.secret = SecretView::Absent { live: true }),
        ("edited", OperationReason::SecretChanged, |o| {
            let SecretView::Ours(secret) = &mut o.secret else { panic!() };
            (secret.version, secret.live, secret.contents) = ("6".to_owned(), true, Contents::Changed);
        }),
        ("names another token", OperationReason::SecretChanged, |o| {
            let SecretView::Ours(secret) = &mut o.secret else { panic!() };
            (secret.live, secret.contents) = (true, Contents::Current);
            secret.record.token = facts("tok_2");
        }),
    ];
    for (what, reason, change) in changes {
        let case = Case::minted().with(change);
        assert_eq!(case.step(), Step::Preflight, "{what}");
        let Step::Record { operation, .. } = case.preflighted().step() else { panic!("{what}") };
        assert_eq!((operation.kind, operation.reason), (OperationKind::Create, reason), "{what}");
    }
}

#[test]
fn a_template_that_changed_is_rendered_and_nothing_is_rotated() {
    let case = Case::minted().secret(|secret| (secret.live, secret.contents) = (true, Contents::Stale));
    assert_eq!(case.step(), Step::RenderSecret { version: "5".to_owned() });
    // What chaos found: rendered on what a cache said, a Secret that had just been retained got its owner back, and went.
    assert_eq!(case.with(|o| o.resource.live = false).step(), Step::ReadResource);
}

#[test]
fn a_foreign_secret_stalls_the_key_and_no_token_is_made() {
    let foreign =
        |o: &mut Observed| o.secret = SecretView::Foreign { owner: "somebody".to_owned(), unclaimed: None };
    assert_eq!(Case::new().with(foreign).shown(), (false, "SecretConflict".to_owned(), true));
}

#[test]
fn a_spec_that_can_not_be_acted_on_stalls_the_key() {
    let invalid = InvalidSpec { field: "rotation.grace".to_owned(), problem: "must be more".to_owned() };
    let case = Case::new().with(|o| o.resource.desired = Err(invalid));
    assert_eq!(case.shown(), (false, "InvalidSpec".to_owned(), true));
}

#[test]
fn a_token_in_the_last_third_of_its_life_is_replaced_by_a_new_one() {
    let expiring = |left: i64| {
        Case::minted().with(move |o| {
            let now = o.now.wall.as_second();
            let time = |second| Some(to_time(Timestamp::from_second(second).unwrap()));
            let token = o.resource.status.token.as_mut().unwrap();
            (token.created_at, token.expires_at) = (time(now - 300 + left), time(now + left));
            o.resource.status.last_rotation.as_mut().unwrap().time = time(now - 300 + left).unwrap();
            o.resource.status.next_rotation = time(now + left - 100);
        })
    };
    assert_eq!(expiring(101).step(), Step::Rest { until: Some(at(1_001)) });
    let Step::Record { operation, .. } = expiring(100).preflighted().step() else { panic!() };
    assert_eq!((operation.kind, operation.reason), (OperationKind::Create, OperationReason::Expiring));
    let skewed = expiring(100).with(|o| o.connection.clock_skewed = true);
    assert!(!matches!(skewed.step(), Step::Preflight), "what is driven by time waits while clocks differ");
}

#[test]
fn a_suspended_key_starts_nothing() {
    let suspend = |o: &mut Observed| o.resource.desired.as_mut().unwrap().suspend = true;
    assert_eq!(Case::new().with(suspend).shown(), (false, "Suspended".to_owned(), true));
    let raised = Case::minted().asked(1).secret(|secret| secret.contents = Contents::Current);
    assert_eq!(raised.with(suspend).shown(), (true, "RotationPending".to_owned(), false));
    assert_eq!(Case::minted().with(suspend).step(), Step::Rest { until: None });
}

#[test]
fn trouble_is_shown_by_keys_that_need_something_and_by_no_others() {
    let refused = trouble(Reason::CredentialRefused, Retry::AtOrCredentialAfter(at(1_300), 1));
    let case = |case: Case, version: u64| {
        let refused = refused.clone();
        case.with(move |o| {
            o.memory.trouble = Some(refused);
            o.connection.credential_version = version;
        })
    };
    assert_eq!(case(Case::new(), 1).shown(), (false, "CredentialRefused".to_owned(), false));
    assert_eq!(case(Case::minted(), 1).step(), Step::Rest { until: None });
    let raised = Case::minted().asked(1).secret(|secret| secret.contents = Contents::Current);
    assert_eq!(case(raised, 1).shown(), (true, "RotationPending".to_owned(), false));
    assert_eq!(case(Case::new(), 2).step(), Step::Preflight, "a new credential is tried at once");
}

#[test]
fn a_refused_request_waits_for_another_spec() {
    let refused = trouble(Reason::RequestRefused, Retry::OtherThanGeneration(1));
    let case = |generation| {
        let refused = refused.clone();
        Case::new().with(move |o| {
            o.memory.trouble = Some(refused);
            o.resource.generation = generation;
        })
    };
    assert_eq!(case(1).shown(), (false, "RequestRefused".to_owned(), true));
    assert_eq!(case(2).step(), Step::Preflight);
}

#[test]
fn altered_names_stop_minting() {
    let case = Case::new().with(|o| o.connection.names_altered = true);
    assert_eq!(case.shown(), (false, "NamesAltered".to_owned(), true));
}

#[test]
fn a_superseded_token_is_revoked_after_its_grace_upon_live_reads() {
    let ids = [("tok_0", true), ("tok_1", true)];
    let waiting = Case::minted().superseding("tok_0", 100, 3_600).listed(&ids, 900);
    assert_eq!(waiting.step(), Step::Rest { until: Some(at(4_500)) });
    let due = || Case::minted().superseding("tok_0", 800, 700).listed(&ids, 900);
    assert_eq!(due().step(), Step::ReadSecret);
    let read = |secret: &mut OurSecret| (secret.live, secret.contents) = (true, Contents::Current);
    assert_eq!(
        due().secret(read).step(),
        Step::FenceSecret { version: "5".to_owned(), id: "tok_0".to_owned() }
    );
    let fenced = |secret: &mut OurSecret| secret.record.fence = Some("tok_0".to_owned());
    let held_before = |secret: &mut OurSecret| secret.record.replaced = Some("tok_0".to_owned());
    for safe in [fenced, held_before] {
        let case = || due().secret(read).secret(safe);
        assert_eq!(case().with(|o| o.resource.live = false).step(), Step::ReadResource);
        assert_eq!(case().step(), Step::Revoke { id: "tok_0".to_owned() });
    }
}

#[test]
fn grace_counts_from_this_process_first_sight_too() {
    let case = Case::minted().superseding("tok_0", 800, 700).with(|o| {
        o.memory.graces_seen.get_mut("tok_0").unwrap().1 = at(990);
    });
    assert_eq!(case.step(), Step::Rest { until: Some(at(1_690)) });
}

#[test]
fn a_superseded_id_that_is_not_listed_as_ours_is_never_revoked() {
    let case = Case::minted().superseding("tok_somebody", 800, 700);
    let case = case.secret(|secret| (secret.live, secret.contents) = (true, Contents::Current));
    assert!(matches!(case.step(), Step::FreshList { .. } | Step::Rest { .. }), "{:?}", case.step());
}

#[test]
fn one_that_has_yet_to_be_found_holds_up_nobody() {
    let case = Case::minted().superseding("tok_a", 800, 700).superseding("tok_b", 800, 700);
    let case = case.listed(&[("tok_b", true), ("tok_1", true)], 990).secret(|secret| {
        (secret.live, secret.contents) = (true, Contents::Current);
        secret.record.fence = Some("tok_b".to_owned());
    });
    assert_eq!(case.step(), Step::Revoke { id: "tok_b".to_owned() });
}

#[test]
fn a_token_of_ours_that_nobody_names_is_fenced_off_and_then_claimed() {
    let case = Case::minted().listed(&[("tok_1", true), ("tok_stray", true)], 990);
    assert_eq!(case.step(), Step::ReadSecret);
    let read = |secret: &mut OurSecret| (secret.live, secret.contents) = (true, Contents::Current);
    let case = case.secret(read);
    assert_eq!(case.step(), Step::FenceSecret { version: "5".to_owned(), id: "tok_stray".to_owned() });
    let case = case.secret(|secret| secret.record.fence = Some("tok_stray".to_owned()));
    let Step::WriteStatus { status, .. } = case.step() else { panic!() };
    assert_eq!(status.superseded.len(), 1);
    assert_eq!(status.superseded[0].id, "tok_stray");
}

#[test]
fn recovery_waits_from_its_first_sight_of_the_operation() {
    let case = Case::minted().operating(OperationKind::Create).secret(|secret| {
        (secret.live, secret.contents) = (true, Contents::Current);
    });
    let case = case.with(|o| o.memory.operation_seen = Some(("recorded".to_owned(), at(990))));
    assert_eq!(case.step(), Step::Rest { until: Some(at(1_010)) });
}

#[test]
fn recovery_replaces_the_operation_and_supersedes_what_its_call_made() {
    let mut left = facts("tok_left");
    left.name = Some(name_of(2));
    let listing = Listing::new(at(990), &owner().installation, [(facts("tok_1"), true), (left, true)]);
    let case = Case::minted().operating(OperationKind::Create).preflighted().with(|o| {
        o.secret = SecretView::Absent { live: true };
        o.listing = Some(Arc::new(listing));
    });
    let Step::Record { operation, status } = case.step() else { panic!("{:?}", case.step()) };
    assert_eq!(operation.kind, OperationKind::Create);
    assert_ne!(operation.id, "recorded");
    assert_eq!(status.superseded.iter().map(|entry| entry.id.as_str()).collect::<Vec<_>>(), ["tok_left"]);
}

#[test]
fn recovery_never_rotates() {
    let case = Case::minted().operating(OperationKind::Rotate).preflighted().listed(&[("tok_1", true)], 990);
    let case = case.secret(|secret| (secret.live, secret.contents) = (true, Contents::Current));
    let Step::Record { operation, .. } = case.step() else { panic!("{:?}", case.step()) };
    assert_eq!((operation.kind, operation.value_in_doubt), (OperationKind::Create, true));
}

#[test]
fn a_secret_that_carries_the_operation_is_its_commit_if_the_list_agrees() {
    let case =
        Case::minted().operating(OperationKind::Rotate).listed(&[("tok_1", true)], 990).secret(|secret| {
            (secret.live, secret.contents) = (true, Contents::Current);
            secret.record.operation = "recorded".to_owned();
        });
    assert!(matches!(case.step(), Step::WriteStatus { closes: Closes::Commit { repair: false }, .. }));
}

#[test]
fn a_forged_record_is_not_a_commit() {
    let case = Case::minted().operating(OperationKind::Rotate).preflighted().listed(&[("tok_1", true)], 990);
    let case = case.with(|o| o.now.mono = at(2_000)).listed(&[("tok_1", true)], 1_990).secret(|secret| {
        (secret.live, secret.contents) = (true, Contents::Current);
        secret.record.operation = "recorded".to_owned();
        secret.record.token = facts("tok_foreign");
    });
    assert!(matches!(case.step(), Step::Record { .. }), "{:?}", case.step());
}

#[test]
fn a_refused_call_closes_its_operation_at_once() {
    let case = Case::minted().operating(OperationKind::Rotate).with(|o| {
        o.memory.harmless = Some("recorded".to_owned());
        o.memory.trouble = Some(trouble(Reason::Throttled, Retry::At(at(1_030))));
    });
    let Step::WriteStatus { status, closes: Closes::Harmless } = case.step() else { panic!() };
    assert_eq!(status.operation, None);
    assert_eq!(case.shown(), (true, "RotationPending".to_owned(), false));
}

#[test]
fn deletion_revokes_what_is_named_and_listed_and_then_lets_go() {
    let ids = [("tok_1", true), ("tok_stray", true)];
    let case = Case::minted().deleting().listed(&ids, 960);
    assert_eq!(case.step(), Step::Revoke { id: "tok_1".to_owned() });
    let case = case.with(|o| {
        o.memory.revoked.insert("tok_1".to_owned());
    });
    assert_eq!(case.step(), Step::Revoke { id: "tok_stray".to_owned() });
    let case = case.with(|o| {
        o.memory.revoked.insert("tok_stray".to_owned());
    });
    assert_eq!(case.step(), Step::RemoveFinalizer);
}

#[test]
fn deletion_asks_for_a_list_of_its_own() {
    let case = Case::minted().deleting().listed(&[("tok_1", true)], 900);
    assert_eq!(case.step(), Step::FreshList { begun_after: at(950) });
}

#[test]
fn deletion_waits_for_an_operation_and_says_so() {
    let case = Case::minted().operating(OperationKind::Create).deleting().with(|o| {
        o.memory.operation_seen = Some(("recorded".to_owned(), at(990)));
    });
    assert_eq!(case.shown(), (false, "RevocationPending".to_owned(), false));
}

#[test]
fn deletion_with_retain_keeps_the_token_and_marks_its_secret() {
    let retain = |o: &mut Observed| o.resource.deletion_policy = DeletionPolicy::Retain;
    let case = Case::minted().deleting().with(retain).listed(&[("tok_1", true)], 960);
    assert_eq!(case.step(), Step::ReadSecret);
    let case = case.secret(|secret| (secret.live, secret.contents) = (true, Contents::Current));
    assert_eq!(case.step(), Step::RetainSecret { version: "5".to_owned(), id: "tok_1".to_owned() });
    // What chaos found: a mark alone doesn't keep the garbage collector away.
    let case = case.secret(|secret| secret.record.retained = Some("tok_1".to_owned()));
    assert_eq!(case.step(), Step::RetainSecret { version: "5".to_owned(), id: "tok_1".to_owned() });
    assert_eq!(case.secret(|secret| secret.owned = false).step(), Step::RemoveFinalizer);
}

#[test]
fn deletion_of_a_token_that_no_list_shows_tries_the_value_before_it_lets_go() {
    let case = Case::minted().deleting().listed(&[], 960);
    assert_eq!(case.step(), Step::ReadSecret);
    let case = case.secret(|secret| (secret.live, secret.contents) = (true, Contents::Current));
    assert_eq!(case.step(), Step::ProveLife(tried(None)));
    let proved =
        |life| move |o: &mut Observed| o.memory.proof = Some(Proof { of: tried(None), life, at: at(950) });
    let dead = || Case::minted().deleting().listed(&[], 960).with(proved(Life::Dead));
    // A value that was rotated elsewhere is dead too, and its token lives: a list that may lag doesn't tell.
    assert!(dead().step() != Step::RemoveFinalizer);
    let settled = dead().with(|o| {
        o.memory.absent_since.insert("tok_1".to_owned(), at(960));
    });
    assert_eq!(settled.step(), Step::RemoveFinalizer);
    let alive = Case::minted().deleting().listed(&[], 940).with(proved(Life::Alive));
    let alive = alive.with(|o| o.memory.ending_seen = Some(at(930)));
    assert_eq!(alive.shown(), (false, "RevocationPending".to_owned(), false));
    assert_eq!(alive.listed(&[], 960).step(), Step::ReadSecret, "it is tried again with each list");
}

#[test]
fn deletion_reads_the_resource_before_it_revokes() {
    let case = || Case::minted().deleting().listed(&[("tok_1", true)], 960);
    assert_eq!(case().step(), Step::Revoke { id: "tok_1".to_owned() });
    assert_eq!(case().with(|o| o.resource.live = false).step(), Step::ReadResource);
}

/// What chaos found: a process was stopped amid a deletion, and by the time that it went on another resource of the same
/// name had its Secret.
#[test]
fn deletion_leaves_alone_what_a_later_life_has() {
    let later = Owner { uid: UidTag::new("later"), ..owner() };
    let tag = Tag { owner: later.clone(), operation: OperationId::from_random([2; 10]) };
    let case = Case::minted().deleting().secret(|secret| {
        secret.record.uids = vec![UidTag::new("former"), owner().uid, later.uid.clone()];
        secret.record.token.id = TokenId::parse("tok_2").unwrap();
    });
    let listed = |case: Case| {
        case.with(|o| {
            let tokens = [
                (facts("tok_1"), false),
                (TokenFacts { name: Some(tag.name("x", 63)), ..facts("tok_2") }, true),
            ];
            o.listing = Some(Arc::new(Listing::new(at(960), &owner().installation, tokens)));
        })
    };
    assert_eq!(listed(case).step(), Step::RemoveFinalizer);
}

#[test]
fn what_was_created_for_a_resource_that_is_gone_is_given_back_unless_its_next_life_has_it() {
    let abandoned = Case::minted().operating(OperationKind::Create).with(|o| {
        let operation = o.resource.status.operation.clone().unwrap();
        let (captured, started) = (Captured::default(), at(990));
        o.memory.flight =
            Some(Flight { operation, captured, started, stage: Stage::Abandoned(facts("tok_1")) });
    });
    assert_eq!(abandoned.step(), Step::ReadSecret);
    let read = abandoned.secret(|secret| secret.live = true);
    assert_eq!(read.step(), Step::RevokeCreated { id: "tok_1".to_owned() });
    assert_eq!(read.secret(|secret| secret.record.uids.push(UidTag::new("later"))).step(), Step::Drop);
}

/// What chaos found: a key was let go on the word of an empty list, and what its last call had made was an orphan.
#[test]
fn deletion_believes_no_list_that_lacks_what_lives_while_an_outcome_is_unknown() {
    let case = |doubted: bool| {
        let case = Case::minted().operating(OperationKind::Create).deleting();
        case.listed(&[("tok_1", false)], 995).with(move |o| {
            o.connection.absence_doubted = doubted;
            o.memory.operation_seen = Some(("recorded".to_owned(), at(900)));
            o.memory.ending_seen = Some(at(990));
        })
    };
    assert_eq!(case(false).step(), Step::RemoveFinalizer);
    assert_eq!(case(true).shown(), (false, "RevocationPending".to_owned(), false));
    let early = case(false).listed(&[("tok_1", false)], 985);
    assert!(
        matches!(early.step(), Step::FreshList { .. }),
        "a list from before the deletion: {:?}",
        early.step()
    );
}

#[test]
fn deletion_that_fails_says_why_and_goes_on() {
    let case = Case::minted().deleting().with(|o| {
        o.memory.trouble = Some(trouble(Reason::ApiUnreachable, Retry::At(at(1_030))));
    });
    assert_eq!(case.shown(), (false, "RevocationPending".to_owned(), false));
}
