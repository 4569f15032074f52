//! Every shape of an answer that the documentation leaves open.

use http::Method;
use keeptrusts_emulator::{Envelope, IdField, Marker, Place, ValueField};
use serde_json::{Value, json};

use crate::client::{behaving, started, text};

fn at(document: &Value, place: Place) -> &Value {
    match place {
        Place::Top => document,
        Place::Data => &document["data"],
        Place::Token => &document["token"],
    }
}

#[tokio::test]
async fn values_and_ids_are_where_they_are_wanted() {
    let (emulator, client) = started().await;
    let fields = [
        (ValueField::Token, "token"),
        (ValueField::Key, "key"),
        (ValueField::Value, "value"),
        (ValueField::Secret, "secret"),
        (ValueField::ApiKey, "api_key"),
        (ValueField::Plaintext, "plaintext"),
    ];
    assert_eq!(fields.map(|(field, _)| field), ValueField::ALL);
    for (field, name) in fields {
        for value_place in Place::ALL {
            for id_place in Place::ALL {
                for (id_field, id_name) in [(IdField::Id, "id"), (IdField::TokenId, "token_id")] {
                    emulator.behaviour(|it| {
                        it.answers.value_field = field;
                        it.answers.value_place = value_place;
                        it.answers.id_place = id_place;
                        it.answers.id_field = id_field;
                    });
                    let wanted = format!("{name} at {value_place:?}, {id_name} at {id_place:?}");
                    let made = client.create("checkout-api").await.unwrap().json();
                    let value = text(&at(&made, value_place)[name]);
                    assert!(emulator.is_alive(&value), "{wanted}");
                    // `token` at the top can't be a value and an object.
                    let taken = name == "token" && value_place == Place::Top && id_place == Place::Token;
                    let id_place = if taken { Place::Top } else { id_place };
                    let id = text(&at(&made, id_place)[id_name]);
                    let rotated = client.rotate(&id).await.unwrap().json();
                    assert!(emulator.is_alive(&text(&at(&rotated, value_place)[name])), "{wanted}");
                    assert!(!emulator.is_alive(&value), "{wanted}");
                }
            }
        }
    }
}

#[tokio::test]
async fn parts_of_an_answer_may_be_missing() {
    let (emulator, client) = behaving(|it| it.answers.details = false).await;
    let made = client.create("checkout-api").await.unwrap().json();
    assert_eq!(made.as_object().unwrap().keys().collect::<Vec<_>>(), ["id", "token"]);
    emulator.behaviour(|it| it.answers.value = false);
    let made = client.create("checkout-api").await.unwrap();
    assert_eq!((made.status, made.json().as_object().unwrap().len()), (201, 1));
    emulator.behaviour(|it| it.answers.id = false);
    assert_eq!(client.create("checkout-api").await.unwrap().json(), json!({}));
    emulator.behaviour(|it| it.answers.value = true);
    let value = text(&client.create("checkout-api").await.unwrap().json()["token"]);
    assert!(emulator.is_alive(&value));
    assert_eq!(emulator.tokens().len(), 4);
}

#[tokio::test]
async fn statuses_may_be_any() {
    let (emulator, client) = started().await;
    for status in [200, 201, 202, 204] {
        emulator.behaviour(|it| {
            it.statuses.create = status;
            it.statuses.rotate = status;
            it.statuses.revoke = status;
        });
        let made = client.create("checkout-api").await.unwrap();
        let id = emulator.tokens().last().unwrap().id.clone();
        let rotated = client.rotate(&id).await.unwrap();
        let revoked = client.revoke(&id).await.unwrap();
        for reply in [made, rotated, revoked] {
            assert_eq!(reply.status, status);
            assert_eq!(reply.text.is_empty(), status == 204);
        }
    }
}

#[tokio::test]
async fn what_is_gone_may_be_refused_in_several_ways() {
    let (emulator, client) = started().await;
    let (id, _) = client.created("checkout-api").await;
    client.revoke(&id).await.unwrap();
    for status in [404, 409, 410] {
        emulator.behaviour(|it| {
            it.statuses.rotate_unknown = status;
            it.statuses.rotate_dead = status;
            it.statuses.revoke_unknown = status;
            it.statuses.revoke_dead = status;
        });
        for id in [id.as_str(), "tok_none"] {
            assert_eq!(client.rotate(id).await.unwrap().status, status);
            assert_eq!(client.revoke(id).await.unwrap().status, status);
        }
    }
}

#[tokio::test]
async fn whoami_may_not_be_for_minted_keys() {
    let (emulator, client) = started().await;
    let (id, value) = client.created("checkout-api").await;
    for status in [200, 204, 403, 404] {
        emulator.behaviour(|it| it.statuses.whoami_minted = status);
        assert_eq!(client.whoami(&value).await, status);
        assert_eq!(client.whoami(&emulator.credential()).await, 200);
    }
    client.revoke(&id).await.unwrap();
    assert_eq!(client.whoami(&value).await, 401, "dead is dead");
}

#[tokio::test]
async fn errors_come_in_every_envelope() {
    let (emulator, client) = started().await;
    for envelope in Envelope::ALL {
        emulator.behaviour(|it| it.errors = envelope);
        let refused = client.revoke("tok_none").await.unwrap();
        assert_eq!(refused.status, 404);
        let message = "no such token";
        match envelope {
            Envelope::Typed => {
                let error = json!({"type": "not_found_error", "message": message, "code": "not_found"});
                assert_eq!(refused.json(), json!({"error": error}));
            }
            Envelope::ErrorText => assert_eq!(refused.json(), json!({"error": message})),
            Envelope::Message => assert_eq!(refused.json(), json!({"message": message})),
            Envelope::Detail => assert_eq!(refused.json(), json!({"detail": message})),
            Envelope::Plain => assert_eq!(refused.text, message),
            Envelope::Html => assert!(refused.header("content-type").starts_with("text/html")),
            Envelope::Empty => assert_eq!(refused.text, ""),
        }
    }
}

#[tokio::test]
async fn revoked_tokens_are_hidden_or_marked() {
    let (emulator, client) = started().await;
    client.created("alive").await;
    let (id, _) = client.created("dead").await;
    client.revoke(&id).await.unwrap();
    assert_eq!(client.listed().await, ["alive"]);
    emulator.behaviour(|it| it.lists.revoked = true);
    let marks = [
        (Marker::RevokedAt, "revoked_at", Value::Null, None),
        (Marker::Revoked, "revoked", json!(false), Some(json!(true))),
        (Marker::Status, "status", json!("active"), Some(json!("revoked"))),
        (Marker::Active, "active", json!(true), Some(json!(false))),
        (Marker::IsActive, "is_active", json!(true), Some(json!(false))),
    ];
    for (marker, field, alive, dead) in marks {
        emulator.behaviour(|it| it.lists.marker = marker);
        let list = client.list().await.unwrap().json();
        assert_eq!(list["tokens"][0][field], alive, "{marker:?}");
        match dead {
            Some(dead) => assert_eq!(list["tokens"][1][field], dead, "{marker:?}"),
            None => assert_eq!(list["tokens"][1][field], json!(emulator.tokens()[1].revoked_at)),
        }
        let others = Marker::ALL.len() - 1;
        let fields = ["revoked_at", "revoked", "status", "active", "is_active"];
        let missing = fields.iter().filter(|it| list["tokens"][1].get(**it).is_none()).count();
        assert_eq!(missing, others, "{marker:?}");
    }
}

#[tokio::test]
async fn times_may_be_left_out() {
    let (emulator, client) = started().await;
    client.created("checkout-api").await;
    assert!(client.list().await.unwrap().json()["tokens"][0].get("created_at").is_some());
    emulator.behaviour(|it| it.lists.times = false);
    assert!(client.list().await.unwrap().json()["tokens"][0].get("created_at").is_none());
}

#[tokio::test]
async fn a_token_is_told_as_it_was_sent() {
    let (_emulator, client) = started().await;
    let sent = json!({
        "name": "edge-prod", "token_type": "gateway", "team_id": "team-edge", "description": "of the edge",
        "bindings": {"gateway_id": "gw-1"}, "expires_at": "2199-12-31T23:59:59Z",
    });
    let made = client.send(Method::POST, "/v1/tokens", &[], Some(sent.clone())).await.unwrap().json();
    let list = client.get("/v1/tokens?type=gateway").await.unwrap().json();
    for (field, value) in sent.as_object().unwrap() {
        assert_eq!(&made[field], value, "{field}");
        assert_eq!(&list["tokens"][0][field], value, "{field}");
    }
    assert_eq!(made["purpose"], "gateway_runtime");
}
