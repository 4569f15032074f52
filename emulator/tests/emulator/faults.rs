//! Each fault, and the calls that it strikes.

use std::time::{Duration, Instant, SystemTime};

use http::Method;
use keeptrusts_emulator::{Effect, Emulator, Envelope, Fault, Operation, Outcome, RetryAfter, Stage};
use serde_json::json;

use crate::client::{Client, started, text};
use crate::state::from_file;

fn once(effect: Effect) -> Fault {
    Fault::new(effect).times(1)
}

/// How many tokens a struck create makes, and its status (none if there was no answer).
async fn struck_create(effect: Effect) -> (usize, Option<u16>) {
    let (emulator, client) = started().await;
    emulator.add_fault(once(effect).on(Operation::Create)).unwrap();
    let status = client.create("checkout-api").await.ok().map(|reply| reply.status);
    let made = emulator.tokens().len();
    assert_eq!(client.create("checkout-api").await.unwrap().status, 201, "once is once");
    (made, status)
}

#[tokio::test]
async fn a_fault_is_before_or_after_the_commit() {
    let answer = |stage| Effect::Answer {
        status: 200,
        stage,
        content_type: "text/html".into(),
        body: "<h1>Welcome".into(),
    };
    let redirect = |stage| Effect::Redirect { location: "http://127.0.0.1:9/".into(), status: 307, stage };
    let huge = |stage| Effect::Huge { bytes: 300_000, status: 200, stage };
    for (stage, made) in [(Stage::Before, 0), (Stage::After, 1)] {
        for status in [400, 401, 403, 408, 409, 425, 429, 499, 500, 502, 503, 504] {
            assert_eq!(struck_create(Effect::status(status, stage)).await, (made, Some(status)));
        }
        assert_eq!(struck_create(Effect::cut(stage)).await, (made, None));
        assert_eq!(struck_create(answer(stage)).await, (made, Some(200)));
        assert_eq!(struck_create(redirect(stage)).await, (made, Some(307)));
        assert_eq!(struck_create(huge(stage)).await, (made, Some(200)));
    }
    assert_eq!(struck_create(Effect::CutBody).await, (1, None));
    assert_eq!(struck_create(Effect::answer("application/json", "[]")).await, (1, Some(200)));
}

#[tokio::test]
async fn every_operation_can_be_struck_and_only_that() {
    for operation in Operation::ALL {
        let (emulator, client) = started().await;
        let (id, _) = client.created("checkout-api").await;
        emulator.add_fault(Fault::new(Effect::status(503, Stage::Before)).on(operation)).unwrap();
        let replies = [
            (Operation::Create, client.create("other").await),
            (Operation::List, client.list().await),
            (Operation::Whoami, client.get("/v1/whoami").await),
            (Operation::Rotate, client.rotate(&id).await),
            (Operation::Revoke, client.revoke(&id).await),
        ];
        for (struck, reply) in replies {
            assert_eq!(reply.unwrap().status == 503, struck == operation, "{operation:?}: {struck:?}");
        }
    }
}

#[tokio::test]
async fn a_fault_lasts_for_some_calls_or_until_it_is_cleared() {
    let (emulator, client) = started().await;
    let status = async || client.list().await.unwrap().status;
    emulator.add_fault(Fault::new(Effect::status(500, Stage::Before)).times(2)).unwrap();
    assert_eq!([status().await, status().await, status().await], [500, 500, 200]);
    assert_eq!((emulator.faults()[0].used, emulator.faults()[0].remaining), (2, Some(0)));
    let id = emulator.add_fault(Fault::new(Effect::status(502, Stage::Before))).unwrap();
    assert_eq!([status().await, status().await, status().await], [502, 502, 502]);
    assert!(emulator.remove_fault(id));
    assert!(!emulator.remove_fault(id));
    assert_eq!(status().await, 200);
    emulator.add_fault(Fault::new(Effect::status(504, Stage::Before))).unwrap();
    emulator.clear_faults();
    assert_eq!(status().await, 200);
    assert!(emulator.faults().is_empty());
}

#[tokio::test]
async fn a_fault_can_be_meant_for_one_token() {
    let (emulator, client) = started().await;
    let (checkout, value) = client.created("checkout-api").await;
    let (search, other) = client.created("search-api").await;
    let fault = |part: &str| Fault::new(Effect::status(503, Stage::Before)).matching(part);
    emulator.add_fault(fault("checkout")).unwrap();
    assert_eq!(client.create("checkout-b").await.unwrap().status, 503);
    assert_eq!(client.create("search-b").await.unwrap().status, 201);
    assert_eq!(client.rotate(&checkout).await.unwrap().status, 503);
    assert_eq!(client.revoke(&checkout).await.unwrap().status, 503);
    assert_eq!(client.rotate(&search).await.unwrap().status, 200);
    assert_eq!((client.whoami(&value).await, client.whoami(&other).await), (503, 401));
    assert_eq!(client.list().await.unwrap().status, 200, "a list is about no token");
    emulator.clear_faults();
    emulator.add_fault(fault(&search)).unwrap();
    assert_eq!(client.revoke(&checkout).await.unwrap().status, 204);
    assert_eq!(client.revoke(&search).await.unwrap().status, 503);
}

#[tokio::test]
async fn the_oldest_answer_wins_and_the_others_wait() {
    let (emulator, client) = started().await;
    for status in [500, 502] {
        emulator.add_fault(once(Effect::status(status, Stage::Before))).unwrap();
    }
    let mut seen = vec![];
    for _ in 0..3 {
        seen.push(client.list().await.unwrap().status);
    }
    assert_eq!(seen, [500, 502, 200]);
}

#[tokio::test]
async fn throttling_says_when_to_come_back() {
    let (emulator, client) = started().await;
    emulator.add_fault(once(Effect::throttle(RetryAfter::Seconds(7)))).unwrap();
    emulator.add_fault(once(Effect::throttle(RetryAfter::Date(60)))).unwrap();
    let seconds = client.list().await.unwrap();
    assert_eq!((seconds.status, seconds.header("retry-after")), (429, "7"));
    let date = client.list().await.unwrap();
    let until = httpdate::parse_http_date(date.header("retry-after")).unwrap();
    let left = until.duration_since(SystemTime::now()).unwrap();
    assert!((Duration::from_secs(40)..=Duration::from_mins(1)).contains(&left), "{left:?}");
}

#[tokio::test]
async fn a_limit_lets_so_many_calls_through_in_any_second() {
    let (emulator, client) = started().await;
    assert!(emulator.add_fault(Fault::new(Effect::Limit { per_second: 0 })).is_err());
    let id = emulator.add_fault(Fault::new(Effect::Limit { per_second: 3 }).on(Operation::Create)).unwrap();
    let start = Instant::now();
    let mut through = Vec::new();
    while through.len() < 4 {
        let reply = client.create("checkout-api").await.unwrap();
        match reply.status {
            201 => through.push(start.elapsed()),
            429 => assert_eq!(reply.header("retry-after"), "1"),
            other => panic!("{other}"),
        }
        assert_eq!(client.list().await.unwrap().status, 200, "another operation");
    }
    assert!(through[3] >= Duration::from_secs(1), "{through:?}");
    assert_eq!(emulator.tokens().len(), 4);
    let struck = emulator.faults().iter().find(|fault| fault.id == id).unwrap().used;
    let refused = emulator.calls().iter().filter(|call| call.status == Some(429)).count();
    assert_eq!(usize::try_from(struck).unwrap(), refused);
    assert!(refused > 0);
}

#[tokio::test]
async fn latency_adds_up() {
    let (emulator, client) = started().await;
    emulator.add_fault(Fault::new(Effect::latency(Duration::from_millis(150)))).unwrap();
    let after = Effect::Latency { milliseconds: 150, stage: Stage::After };
    emulator.add_fault(Fault::new(after)).unwrap();
    let start = Instant::now();
    assert_eq!(client.list().await.unwrap().status, 200);
    assert!(start.elapsed() >= Duration::from_millis(300));
    let call = &emulator.calls()[0];
    assert!(call.duration_milliseconds.unwrap() >= 300);
    assert_eq!(call.faults.iter().map(|it| it.effect.as_str()).collect::<Vec<_>>(), ["latency", "latency"]);
}

/// Starts a call that a fault will hold, and waits until it is held.
async fn held_create(
    emulator: &Emulator,
    client: Client,
    stage: Stage,
) -> (u64, tokio::task::JoinHandle<Option<u16>>) {
    let id = emulator.add_fault(once(Effect::hold(stage)).on(Operation::Create)).unwrap();
    let call = tokio::spawn(async move { client.create("checkout-api").await.ok().map(|it| it.status) });
    emulator.until(|it| it.held(id) == 1).await;
    (id, call)
}

#[tokio::test]
async fn a_held_call_is_carried_out_when_it_is_released() {
    let (emulator, client) = started().await;
    let (id, call) = held_create(&emulator, client, Stage::Before).await;
    tokio::time::sleep(Duration::from_millis(50)).await;
    assert!(!call.is_finished());
    assert!(emulator.tokens().is_empty());
    assert_eq!(emulator.calls()[0].outcome, Outcome::Pending);
    assert_eq!(emulator.release(id), 1);
    assert_eq!(call.await.unwrap(), Some(201));
    assert_eq!((emulator.tokens().len(), emulator.held(id)), (1, 0));
}

#[tokio::test]
async fn a_held_call_is_carried_out_though_its_client_has_gone() {
    let (emulator, client) = started().await;
    let (id, call) = held_create(&emulator, client, Stage::Before).await;
    call.abort();
    emulator.until(|it| it.calls()[0].client_gone).await;
    assert!(emulator.tokens().is_empty());
    assert_eq!(emulator.release(id), 1);
    emulator.until(|it| it.tokens().len() == 1).await;
    assert!(emulator.calls()[0].committed);
}

#[tokio::test]
async fn a_call_held_after_its_commit_has_been_carried_out() {
    let (emulator, client) = started().await;
    let (id, call) = held_create(&emulator, client, Stage::After).await;
    emulator.until(|it| it.tokens().len() == 1).await;
    assert!(!call.is_finished());
    emulator.release(id);
    assert_eq!(call.await.unwrap(), Some(201));
}

#[tokio::test]
async fn a_held_call_may_be_lost() {
    let (emulator, client) = started().await;
    let (id, call) = held_create(&emulator, client, Stage::Before).await;
    assert_eq!(emulator.lose(id), 1);
    assert_eq!(call.await.unwrap(), None);
    assert!(emulator.tokens().is_empty());
    assert_eq!(emulator.calls()[0].outcome, Outcome::Cut);
}

#[tokio::test]
async fn a_cleared_fault_delivers_what_it_holds() {
    let (emulator, client) = started().await;
    let (_, call) = held_create(&emulator, client, Stage::Before).await;
    emulator.clear_faults();
    assert_eq!(call.await.unwrap(), Some(201));
}

#[tokio::test]
async fn what_is_held_when_it_stops_is_not_carried_out() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("state.json");
    let (emulator, client) = from_file(&file).await;
    let (_, call) = held_create(&emulator, client, Stage::Before).await;
    emulator.stop().await;
    assert_eq!(call.await.unwrap(), None);
    let (emulator, _) = from_file(&file).await;
    assert!(emulator.tokens().is_empty());
}

#[tokio::test]
async fn a_behaviour_can_change_for_single_calls() {
    let (emulator, client) = started().await;
    let without_value = Effect::behave(json!({"answers": {"value": false}}));
    emulator.add_fault(once(without_value).on(Operation::Create)).unwrap();
    let first = client.create("checkout-api").await.unwrap();
    assert_eq!((first.status, first.json().get("token")), (201, None));
    assert!(client.create("checkout-api").await.unwrap().json().get("token").is_some());
    emulator
        .add_fault(once(Effect::behave(json!({"lists": {"defect": "empty"}}))).on(Operation::List))
        .unwrap();
    assert_eq!(client.listed().await.len(), 0);
    assert_eq!(client.listed().await.len(), 2);
}

#[tokio::test]
async fn an_injected_error_has_its_own_message_and_envelope() {
    let (emulator, client) = started().await;
    let effect = Effect::Status {
        status: 403,
        stage: Stage::Before,
        message: Some("this operation requires MFA".into()),
        envelope: Some(Envelope::Detail),
        retry_after: None,
    };
    emulator.add_fault(once(effect)).unwrap();
    let refused = client.create("checkout-api").await.unwrap();
    assert_eq!((refused.status, refused.json()), (403, json!({"detail": "this operation requires MFA"})));
}

#[tokio::test]
async fn answers_may_be_redirects_nonsense_or_huge() {
    let (emulator, client) = started().await;
    let location = "https://login.example.com/";
    let redirect = Effect::Redirect { location: location.into(), status: 302, stage: Stage::Before };
    emulator.add_fault(once(redirect)).unwrap();
    let reply = client.list().await.unwrap();
    assert_eq!((reply.status, reply.header("location")), (302, location));
    emulator.add_fault(once(Effect::answer("text/html", "<h1>Welcome"))).unwrap();
    let reply = client.list().await.unwrap();
    assert_eq!((reply.header("content-type"), reply.text.as_str()), ("text/html", "<h1>Welcome"));
    for bytes in [0, 100, 65_536, 1_000_000] {
        let huge = Effect::Huge { bytes, status: 200, stage: Stage::After };
        emulator.add_fault(once(huge)).unwrap();
        let reply = client.list().await.unwrap();
        assert!(reply.json().is_object());
        assert_eq!(reply.text.len(), usize::try_from(bytes).unwrap().max(14));
    }
}

#[tokio::test]
async fn a_cut_body_begins_and_does_not_end() {
    let (emulator, client) = started().await;
    emulator.add_fault(once(Effect::CutBody).on(Operation::List)).unwrap();
    assert!(client.list().await.is_err());
    let call = &emulator.calls()[0];
    assert_eq!((call.outcome, call.status), (Outcome::Cut, Some(200)));
}

#[tokio::test]
async fn faults_that_make_no_sense_are_refused() {
    let (emulator, client) = started().await;
    for effect in [
        Effect::status(99, Stage::Before),
        Effect::status(600, Stage::Before),
        Effect::behave(json!({"lists": {"shape": "tree"}})),
        Effect::answer("text/plain\n", ""),
        Effect::Redirect { location: "\n".into(), status: 307, stage: Stage::Before },
    ] {
        assert!(emulator.add_fault(Fault::new(effect.clone())).is_err(), "{effect:?}");
        let refused = client.send(Method::POST, "/admin/faults", &[], Some(json!(Fault::new(effect)))).await;
        assert_eq!(refused.unwrap().status, 422);
    }
    let unknown = client.post("/admin/faults", json!({"effect": "earthquake"})).await.unwrap();
    assert_eq!(unknown.status, 422);
    assert!(text(&unknown.json()["error"]).contains("earthquake"));
}
