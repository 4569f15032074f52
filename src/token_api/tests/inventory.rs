//! The inventory: complete lists, shared.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use super::server::{Fixture, Server, client, response};
use crate::clock::monotonic;
use crate::lifecycle::naming::{Installation, OperationId, Owner, Place, Tag, UidTag};
use crate::lifecycle::time::Monotonic;
use crate::lifecycle::token::TokenId;
use crate::resources::KeyKind;
use crate::token_api::{Class, Inventory};

const PERIOD: Duration = Duration::from_hours(1);

fn tag(installation: &str) -> Tag {
    Tag {
        owner: Owner {
            installation: Installation::new("cluster", installation),
            place: Place::new(KeyKind::Access, "shop", "checkout"),
            uid: UidTag::new("5b9c7f6e"),
        },
        operation: OperationId::from_random([3; 10]),
    }
}

fn inventory(fixture: &Fixture, period: Duration) -> Arc<Inventory> {
    Arc::new(Inventory::new(Arc::clone(&fixture.client), Installation::new("cluster", "default"), period))
}

fn token(id: &str, name: &str) -> Value {
    json!({"id": id, "name": name})
}

#[tokio::test]
async fn only_what_is_ours_is_kept() {
    let ours = tag("default").name("checkout", 63);
    let body = json!([
        token("tok_1", &ours),
        token("tok_2", &tag("other").name("checkout", 63)),
        token("tok_3", "somebody's"),
        {"id": "tok_1", "name": ours, "revoked": true},
    ]);
    let server = Server::saying(200, &body.to_string()).await;
    let fixture = client(&server.url);
    let inventory = inventory(&fixture, PERIOD);
    assert!(inventory.latest(KeyKind::Access).is_none());
    let before = monotonic();
    let listing = inventory.fresh(KeyKind::Access, before).await.unwrap();
    assert!(listing.begun >= before && listing.shows_any());
    let shown: Vec<_> = listing
        .at(&tag("default").owner.place)
        .iter()
        .map(|listed| (listed.facts.id.as_str(), listed.alive))
        .collect();
    assert_eq!(shown, [("tok_1", false)]);
    assert!(listing.all().all(|listed| listed.tag.owner != tag("other").owner));
    assert!(inventory.latest(KeyKind::Gateway).is_none());
    assert_eq!(*inventory.changes().borrow(), 1);
}

#[tokio::test]
async fn a_list_that_is_new_enough_is_not_asked_for_again() {
    let server = Server::saying(200, "[]").await;
    let fixture = client(&server.url);
    let inventory = inventory(&fixture, PERIOD);
    let first = inventory.fresh(KeyKind::Access, monotonic()).await.unwrap();
    let same = inventory.fresh(KeyKind::Access, first.begun).await.unwrap();
    assert!(Arc::ptr_eq(&first, &same));
    let later = inventory.fresh(KeyKind::Access, first.begun + Duration::from_nanos(1)).await.unwrap();
    assert!(later.begun > first.begun);
    assert_eq!(server.seen().len(), 2);
}

#[tokio::test]
async fn many_who_ask_at_once_share_one_list_or_one_failure() {
    for (status, ok) in [(200, true), (500, false)] {
        let server = Server::start(move |_, _| {
            // As long as the askers need to queue up.
            std::thread::sleep(Duration::from_millis(100));
            response(status, "[]")
        })
        .await;
        let fixture = client(&server.url);
        let inventory = inventory(&fixture, PERIOD);
        let begun_after = monotonic();
        let asked = (0..50).map(|_| inventory.fresh(KeyKind::Access, begun_after));
        let answers = futures::future::join_all(asked).await;
        assert!(answers.iter().all(|answer| answer.is_ok() == ok));
        // One for the first, and at most one more for those who came while it was under way.
        assert!(server.seen().len() <= 2, "{status}: {}", server.seen().len());
        // A failure isn't kept for those who ask later.
        assert_eq!(inventory.fresh(KeyKind::Access, monotonic()).await.is_ok(), ok);
    }
}

#[tokio::test]
async fn a_list_that_was_cut_short_never_becomes_a_listing() {
    let server = Server::start(|number, _| match number {
        0 => response(200, r#"{"tokens":[],"next_cursor":"c"}"#),
        _ => response(400, "{}"),
    })
    .await;
    let fixture = client(&server.url);
    let inventory = inventory(&fixture, PERIOD);
    assert_eq!(
        inventory.fresh(KeyKind::Access, Monotonic::default()).await.unwrap_err().class,
        Class::Unusable
    );
    assert!(inventory.latest(KeyKind::Access).is_none());
    assert_eq!(*inventory.changes().borrow(), 0);
}

#[tokio::test]
async fn a_name_that_the_api_altered_is_noticed_for_good() {
    let sent = tag("default").name("checkout", 63);
    for (listed, altered) in [
        (token("tok_1", &sent), false),
        (token("tok_1", &sent.to_uppercase()), true),
        (json!({"id": "tok_1"}), true),
        (token("tok_2", "somebody's"), false),
    ] {
        let body = json!([listed]).to_string();
        let server =
            Server::start(move |number, _| response(200, if number == 0 { &body } else { "[]" })).await;
        let fixture = client(&server.url);
        let inventory = inventory(&fixture, PERIOD);
        inventory.expect_name(&TokenId::parse("tok_1").unwrap(), &sent);
        for _ in 0..2 {
            inventory.fresh(KeyKind::Access, monotonic()).await.unwrap();
            assert_eq!(inventory.names_altered(), altered, "{listed}");
        }
    }
}

#[tokio::test]
async fn it_lists_both_types_at_once_and_then_rests() {
    let server = Server::saying(200, "[]").await;
    let fixture = client(&server.url);
    let inventory = inventory(&fixture, PERIOD);
    let mut changes = inventory.changes();
    let stop = CancellationToken::new();
    let run = tokio::spawn({
        let (inventory, stop) = (Arc::clone(&inventory), stop.clone());
        async move { inventory.run(stop).await }
    });
    changes.wait_for(|number| *number == 2).await.unwrap();
    assert!(inventory.latest(KeyKind::Access).is_some() && inventory.latest(KeyKind::Gateway).is_some());
    stop.cancel();
    run.await.unwrap();
    let mut lines = server.lines();
    lines.sort();
    assert_eq!(lines, ["GET /v1/tokens?type=access", "GET /v1/tokens?type=gateway"]);
}

#[tokio::test]
async fn it_lists_again_each_period_and_after_a_failure() {
    let failing = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&failing);
    let server = Server::start(move |_, _| {
        if count.fetch_add(1, Ordering::SeqCst) < 4 { response(500, "") } else { response(200, "[]") }
    })
    .await;
    let fixture = client(&server.url);
    let inventory = inventory(&fixture, Duration::from_millis(20));
    let mut changes = inventory.changes();
    let stop = CancellationToken::new();
    let _stopped = stop.clone().drop_guard();
    tokio::spawn(async move { inventory.run(stop).await });
    changes.wait_for(|number| *number >= 6).await.unwrap();
}

#[tokio::test]
async fn a_refused_credential_is_tried_again_as_soon_as_it_changes() {
    let good = Arc::new(AtomicBool::new(false));
    let accept = Arc::clone(&good);
    let refused = Arc::new(tokio::sync::Semaphore::new(0));
    let told = Arc::clone(&refused);
    let server = Server::start(move |_, _| {
        if accept.load(Ordering::SeqCst) {
            return response(200, "[]");
        }
        told.add_permits(1);
        response(401, "{}")
    })
    .await;
    let fixture = client(&server.url);
    // A period of an hour: without the change nothing would be tried in time.
    let inventory = inventory(&fixture, PERIOD);
    let mut changes = inventory.changes();
    let stop = CancellationToken::new();
    let _stopped = stop.clone().drop_guard();
    tokio::spawn(async move { inventory.run(stop).await });
    refused.acquire_many(2).await.unwrap().forget();
    good.store(true, Ordering::SeqCst);
    std::fs::write(fixture.folder.path().join("token"), "another").unwrap();
    assert!(fixture.client.connection.reload_credential().unwrap());
    changes.wait_for(|number| *number == 2).await.unwrap();
}

#[tokio::test]
async fn what_nobody_wants_any_more_is_forgotten_and_too_much_is_not_looked_for() {
    let server = Server::saying(200, "[]").await;
    let fixture = client(&server.url);
    let inventory = inventory(&fixture, PERIOD);
    let id = |nr: usize| TokenId::parse(&format!("tok_{nr}")).unwrap();
    assert!(!inventory.wants_any());
    let since = inventory.want(&id(0));
    assert_eq!(inventory.want(&id(0)), since, "whoever asks again waits no longer");
    for nr in 1..20_000 {
        inventory.want(&id(nr));
    }
    let later = monotonic();
    inventory.keep_wanted(&["tok_0".to_owned(), "tok_19999".to_owned()].into(), later);
    assert!(inventory.want(&id(0)) == since && inventory.want(&id(1)) >= later);
    inventory.keep_wanted(&[].into(), later);
    assert!(inventory.wants_any(), "asked for since");
    inventory.keep_wanted(&[].into(), monotonic());
    assert!(!inventory.wants_any());
}
