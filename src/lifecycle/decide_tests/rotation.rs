//! Rotations: with an overlap, in place, at once.

use super::*;
use crate::lifecycle::desired::Restarts;
use crate::lifecycle::rollout::{Hindrance, Unknown, Workload, Workloads};
use crate::resources::{
    RolloutStatus, RolloutTimeoutPolicy, RotationStrategy, WindowSpec, WorkloadKind, WorkloadRef,
};

impl Case {
    /// `spec.rotation` asks for this generation, with an overlap of a minute.
    fn overlapping(self, generation: i64) -> Self {
        self.rotating(&RotationSpec {
            generation: Some(generation),
            strategy: Some(RotationStrategy::Overlap),
            grace: Some("1m".to_owned()),
            ..RotationSpec::default()
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
        let minted = Case::minted().secret(|secret| secret.contents = Contents::Current);
        (0..tokens).fold(minted, |case, nr| case.superseding(&format!("tok_a{nr}"), 10, 60))
    };
    assert_eq!(full(7).overlapping(1).shown(), (true, "SupersededFull".to_owned(), true));
    let (operation, _) = full(7).asked(1).begun();
    assert_eq!(operation.kind, OperationKind::Rotate);
    // Where no place is left at all, what takes them goes first.
    let Step::WriteStatus { status, .. } = full(8).asked(1).step() else { panic!() };
    assert!(graces(&status).iter().all(|(_, left)| *left == 0));
}

/// `spec.rotation` asks for a rotation every hour, and the value is so many seconds old.
fn scheduled(strategy: RotationStrategy, age: i64, windows: &[(&str, &str)]) -> Case {
    let window = |(schedule, duration): &(&str, &str)| WindowSpec {
        schedule: (*schedule).to_owned(),
        duration: (*duration).to_owned(),
        time_zone: None,
    };
    let rotation = RotationSpec {
        every: Some("1h".to_owned()),
        strategy: Some(strategy),
        grace: Some("1m".to_owned()),
        windows: windows.iter().map(window).collect(),
        ..RotationSpec::default()
    };
    Case::minted().rotating(&rotation).with(|o| {
        o.resource.status.last_rotation.as_mut().unwrap().time =
            to_time(Timestamp::from_second(o.now.wall.as_second() - age).unwrap());
        let desired = o.resource.desired.clone().unwrap();
        super::super::schedule::tell_next(&desired, &o.owner.uid, &mut o.resource.status, o.now.wall);
        o.resource.status.observed_generation = Some(2);
        o.resource.status.conditions[0].observed_generation = Some(2);
    })
}

#[test]
fn a_schedule_rotates_as_its_strategy_says_and_hurries_nothing() {
    use RotationStrategy::{InPlace, Overlap};
    for (strategy, kind) in [(InPlace, OperationKind::Rotate), (Overlap, OperationKind::Create)] {
        let (operation, status) = scheduled(strategy, 3_600, &[]).superseding("tok_0", 10, 60).begun();
        assert_eq!((operation.kind, operation.reason), (kind, OperationReason::Scheduled));
        assert!(!operation.urgent);
        assert_eq!(super::super::status::is_ready(&status), strategy == Overlap);
        let id = if strategy == Overlap { "tok_2" } else { "tok_1" };
        let case = scheduled(strategy, 3_600, &[]).superseding("tok_0", 10, 60).written(operation, id);
        assert!(graces(&case.committed()).iter().all(|(_, left)| *left == 60));
        let next = case.committed().next_rotation.unwrap().0.as_second() - case.0.now.wall.as_second();
        assert!(next > 1_800 && next <= 3_600, "{next}");
    }
}

#[test]
fn a_schedule_is_waited_for_and_so_are_its_windows() {
    let Step::Rest { until: Some(until) } = scheduled(RotationStrategy::Overlap, 0, &[]).step() else {
        panic!()
    };
    assert!(until > at(1_000 + 1_800) && until <= at(1_000 + 3_600), "{until:?}");
    // The case's time is 08:00.
    let closed = scheduled(RotationStrategy::Overlap, 3_600, &[("0 12 * * *", "1h")]);
    assert_eq!(closed.step(), Step::Rest { until: Some(at(1_000 + 4 * 3_600)) });
    assert_eq!(
        closed.0.resource.status.next_rotation.as_ref().map(|next| next.0.to_string()).as_deref(),
        Some("2027-01-15T12:00:00Z")
    );
    let (operation, _) = scheduled(RotationStrategy::Overlap, 3_600, &[("0 7 * * *", "2h")]).begun();
    assert_eq!(operation.reason, OperationReason::Scheduled);
    // What a person asks for waits for no window.
    let raised = closed.with(|o| o.resource.desired.as_mut().unwrap().generation = 1);
    assert_eq!(raised.begun().0.reason, OperationReason::GenerationRaised);
}

#[test]
fn what_is_due_and_held_back_is_overdue_and_the_key_is_ready() {
    let due = || scheduled(RotationStrategy::Overlap, 3_600, &[]);
    let refused = trouble(Reason::ApiUnreachable, Retry::At(at(1_300)));
    let case = due().with(|o| o.memory.trouble = Some(refused));
    assert_eq!(case.shown(), (true, "RotationOverdue".to_owned(), false));
    let Step::WriteStatus { status, .. } = case.step() else { panic!() };
    assert!(status.conditions.iter().all(|c| c.type_ == "Ready"), "nobody needs to wait for it");
    let suspended = due().with(|o| o.resource.desired.as_mut().unwrap().suspend = true);
    assert_eq!(suspended.shown(), (true, "RotationOverdue".to_owned(), false));
    let skewed = due().with(|o| o.connection.clock_skewed = true);
    assert_eq!(skewed.step(), Step::Rest { until: None }, "what is driven by time waits while clocks differ");
}

#[test]
fn a_schedule_does_not_repair_what_is_broken() {
    // What the value's death asks for is done first.
    let dead = scheduled(RotationStrategy::InPlace, 3_600, &[]).listed(&[("tok_1", false)], 900).with(|o| {
        let of = tried(Some(Suspicion::Dead));
        o.memory.proof = Some(Proof { of, life: Life::Dead, at: at(990) });
    });
    assert_eq!(dead.begun().0.reason, OperationReason::RevokedElsewhere);
}

fn checkout() -> WorkloadRef {
    WorkloadRef { kind: WorkloadKind::Deployment, name: "checkout".to_owned() }
}

/// A key whose new value is in the Secret for so many seconds, with a superseded token, and a workload that was looked at just now.
fn rolling(age: i64, restarted: bool, hindrance: Option<Hindrance>) -> Case {
    Case::minted()
        .overlapping(0)
        .superseding("tok_0", 10, 60)
        .listed(&[("tok_0", true), ("tok_1", true)], 900)
        .with(|o| {
            let desired = o.resource.desired.as_mut().unwrap();
            desired.restarts = Restarts::Listed(vec![checkout()]);
            let since = Timestamp::from_second(o.now.wall.as_second() - age).unwrap();
            o.resource.status.rollout =
                Some(RolloutStatus { operation: BROUGHT_BY.to_owned(), since: to_time(since) });
            o.memory.token_seen = Some(first_seen(1_000 - u64::try_from(age).unwrap()));
            o.resource.status.observed_generation = Some(2);
            o.resource.status.conditions[0].observed_generation = Some(2);
            let restarted_for = restarted.then(|| BROUGHT_BY.to_owned());
            o.workloads = Some(Workloads {
                at: at(999),
                seen: Ok(vec![Workload { reference: checkout(), restarted_for, hindrance }]),
            });
        })
}

#[test]
fn workloads_are_restarted_once_and_a_moment_after_the_value_was_written() {
    let restart = Step::Restart { workload: checkout(), operation: BROUGHT_BY.to_owned() };
    assert_eq!(rolling(10, false, None).with(|o| o.workloads = None).step(), Step::ReadWorkloads);
    assert_eq!(rolling(1, false, None).step(), Step::Rest { until: Some(at(1_001)) });
    assert_eq!(rolling(2, false, None).step(), restart);
    // A clock that is set, either way, neither delays it nor hurries it.
    let set = |by: i64| {
        move |o: &mut Observed| {
            o.now.wall = Timestamp::from_second(o.now.wall.as_second() + by).unwrap();
        }
    };
    assert_eq!(rolling(2, false, None).with(set(-3_600)).step(), restart);
    let rolls = Some(Hindrance::UnderWay("1 of 3 pods are new".to_owned()));
    assert_eq!(rolling(10, true, rolls).with(set(3_600)).step(), Step::Rest { until: Some(at(1_002)) });
    let rolls = Some(Hindrance::UnderWay("1 of 3 pods are new".to_owned()));
    assert_eq!(rolling(2, false, rolls.clone()).step(), restart, "another change of it may be under way");
    assert_eq!(rolling(2, true, rolls).step(), Step::Rest { until: Some(at(1_002)) });
    assert_eq!(rolling(2, false, Some(Hindrance::Queued)).step(), Step::Rest { until: Some(at(1_002)) });
    assert!(matches!(rolling(2, false, None).with(|o| o.draining = true).step(), Step::Rest { .. }));
}

#[test]
fn grace_begins_when_all_workloads_run_on_the_new_value() {
    let rolls = Some(Hindrance::UnderWay("1 of 3 pods are new".to_owned()));
    // However long it takes.
    let waits = rolling(800, true, rolls);
    assert_eq!(waits.step(), Step::Rest { until: Some(at(1_002)) });
    let Step::WriteStatus { status, .. } = rolling(800, true, None).step() else { panic!() };
    assert!(status.rollout.is_none());
    assert_eq!(graces(&status), [("tok_0", 60)]);
    assert_eq!(status.superseded[0].since.0, rolling(0, true, None).0.now.wall);
    assert!(super::super::status::is_ready(&status));
}

#[test]
fn a_rollout_comes_to_its_end_though_no_place_is_left_for_what_is_asked_for_meanwhile() {
    let full = |case: Case| {
        (1..7)
            .fold(case, |case, nr| case.superseding(&format!("tok_a{nr}"), 10, 60))
            .with(|o| o.resource.desired.as_mut().unwrap().generation = 1)
    };
    let rolls = Some(Hindrance::UnderWay("1 of 3 pods are new".to_owned()));
    let waits = full(rolling(10, true, rolls));
    assert_eq!(waits.shown(), (true, "SupersededFull".to_owned(), true));
    let Step::WriteStatus { status, .. } = waits.step() else { panic!() };
    let waits = waits.with(|o| o.resource.status = *status);
    assert_eq!(waits.step(), Step::Rest { until: Some(at(1_002)) });
    let Step::WriteStatus { status, .. } = full(rolling(10, true, None)).step() else { panic!() };
    assert!(status.rollout.is_none(), "or no grace ever begins, and no place becomes free");
    assert!(status.superseded.iter().all(|entry| entry.since == to_time(waits.0.now.wall)));
}

#[test]
fn a_rollout_that_hangs_keeps_the_old_token_or_not_as_the_spec_says() {
    let rolls = || Some(Hindrance::UnderWay("1 of 3 pods are new".to_owned()));
    let late = rolling(15 * 60, true, rolls());
    assert_eq!(late.shown(), (true, "RolloutHeldUp".to_owned(), true));
    let Step::WriteStatus { status, .. } = late.step() else { panic!() };
    let ready = &status.conditions[0].message;
    assert_eq!(ready, "Deployment checkout doesn't run on the new value yet: 1 of 3 pods are new.");
    assert!(status.rollout.is_some());
    let revoke = rolling(15 * 60, true, rolls())
        .with(|o| o.resource.desired.as_mut().unwrap().on_rollout_timeout = RolloutTimeoutPolicy::RevokeOld);
    let Step::WriteStatus { status, .. } = revoke.step() else { panic!() };
    assert!(status.rollout.is_none());
    // What is stuck is said at once.
    let stuck = rolling(5, false, Some(Hindrance::Stuck("is paused: resume it".to_owned())));
    assert_eq!(stuck.shown(), (true, "RolloutHeldUp".to_owned(), true));
}

#[test]
fn what_is_revoked_at_once_waits_for_no_rollout() {
    let rolls = Some(Hindrance::UnderWay("1 of 3 pods are new".to_owned()));
    let urgent = rolling(5, true, rolls).with(|o| {
        let now = o.now.wall;
        super::super::status::revoke_at_once(&mut o.resource.status, now);
    });
    assert_eq!(urgent.step(), Step::ReadSecret);
}

#[test]
fn a_first_value_restarts_nothing_and_the_next_one_does() {
    let with_workload = |case: Case| {
        case.with(|o| o.resource.desired.as_mut().unwrap().restarts = Restarts::Listed(vec![checkout()]))
    };
    let (operation, _) = with_workload(Case::new()).begun();
    assert!(with_workload(Case::new()).written(operation, "tok_1").committed().rollout.is_none());
    let (operation, _) = with_workload(Case::minted().asked(1)).begun();
    let id = operation.id.clone();
    let status = with_workload(Case::minted().asked(1)).written(operation, "tok_1").committed();
    assert_eq!(status.rollout.map(|rollout| rollout.operation), Some(id), "in place as well");
}

#[test]
fn workloads_that_are_not_known_yet_are_waited_for() {
    let seen = |seen: Result<Vec<Workload>, Unknown>| {
        rolling(10, true, None).with(|o| {
            o.resource.desired.as_mut().unwrap().restarts = Restarts::Discovered;
            o.workloads = Some(Workloads { at: at(999), seen });
        })
    };
    assert_eq!(seen(Err(Unknown::NotYet)).step(), Step::Rest { until: Some(at(1_002)) });
    assert_eq!(seen(Err(Unknown::NotLookedFor)).shown(), (true, "RolloutHeldUp".to_owned(), true));
    let Step::WriteStatus { status, .. } = seen(Ok(vec![])).step() else { panic!() };
    assert!(status.rollout.is_none(), "nobody uses it");
}

#[test]
fn a_spec_that_became_invalid_amidst_a_rotation_cuts_nobody_off() {
    let (operation, _) = Case::minted().overlapping(1).begun();
    let invalid = Case::minted().overlapping(1).written(operation, "tok_2").with(|o| {
        o.resource.desired =
            Err(InvalidSpec { field: "rotation".to_owned(), problem: "is wrong".to_owned() });
    });
    let status = invalid.committed();
    assert_eq!(graces(&status), [("tok_1", 3_600)]);
    assert!(status.rollout.is_some(), "which workloads run on it is told by the next spec");
}
