//! What the documentation says.

use http::Method;
use jiff::{SignedDuration, Timestamp};
use keeptrusts_emulator::{ExpiryOnRotate, IdOnRotate, Idempotency, Names, TokenType};
use serde_json::json;

use crate::client::{behaving, names, started, text};

#[tokio::test]
async fn a_created_token_shows_its_value_once() {
    let (emulator, client) = started().await;
    let made = client.create("checkout-api").await.unwrap();
    assert_eq!(made.status, 201);
    let made = made.json();
    let value = text(&made["token"]);
    assert_eq!(value.len(), "kt_live_".len() + 40);
    assert!(value.starts_with("kt_live_"));
    assert_eq!(made["prefix"], value[..12]);
    assert_eq!(client.whoami(&value).await, 200);
    assert!(emulator.is_alive(&value));
    let list = client.list().await.unwrap();
    assert!(!list.text.contains(&value));
    assert_eq!(list.json()["tokens"][0]["id"], made["id"]);
    assert_eq!(list.json()["tokens"][0]["prefix"], value[..12]);
}

#[tokio::test]
async fn a_rotation_kills_the_old_value_at_once() {
    let (emulator, client) = started().await;
    let (id, old) = client.created("checkout-api").await;
    let rotated = client.rotate(&id).await.unwrap();
    assert_eq!(rotated.status, 200);
    let new = text(&rotated.json()["token"]);
    assert_eq!(rotated.json()["id"], id);
    assert_eq!((client.whoami(&old).await, client.whoami(&new).await), (401, 200));
    let token = &emulator.tokens()[0];
    assert_eq!(token.rotations, 1);
    assert!(token.rotated_at.is_some());
}

#[tokio::test]
async fn a_revoked_value_is_dead() {
    let (emulator, client) = started().await;
    let (id, value) = client.created("checkout-api").await;
    let revoked = client.revoke(&id).await.unwrap();
    assert_eq!((revoked.status, revoked.text.as_str()), (204, ""));
    assert_eq!(client.whoami(&value).await, 401);
    assert!(emulator.tokens()[0].revoked_at.is_some());
    assert_eq!(client.revoke(&id).await.unwrap().status, 404);
    assert_eq!(client.rotate(&id).await.unwrap().status, 409);
}

#[tokio::test]
async fn unknown_ids_are_refused() {
    let (_emulator, client) = started().await;
    assert_eq!(client.revoke("tok_none").await.unwrap().status, 404);
    assert_eq!(client.rotate("tok_none").await.unwrap().status, 404);
}

#[tokio::test]
async fn only_the_credential_manages_tokens() {
    let (emulator, client) = started().await;
    let (id, value) = client.created("checkout-api").await;
    for (bearer, expected) in [("", 401), ("wrong", 401), (value.as_str(), 403)] {
        let other = client.bearing(bearer);
        assert_eq!(other.create("other").await.unwrap().status, expected, "create");
        assert_eq!(other.list().await.unwrap().status, expected, "list");
        assert_eq!(other.rotate(&id).await.unwrap().status, expected, "rotate");
        assert_eq!(other.revoke(&id).await.unwrap().status, expected, "revoke");
    }
    assert_eq!(emulator.tokens().len(), 1);
    assert!(emulator.is_alive(&value));
}

#[tokio::test]
async fn whoami_knows_the_credential() {
    let (emulator, client) = started().await;
    assert_eq!(client.whoami(&emulator.credential()).await, 200);
    assert_eq!(client.whoami("").await, 401);
    assert_eq!(client.whoami("kt_live_wrong").await, 401);
}

#[tokio::test]
async fn requests_that_are_wrong_are_refused() {
    let (emulator, client) = started().await;
    for body in [
        json!({"name": "checkout-api"}),
        json!({"name": "checkout-api", "token_type": "runtime"}),
        json!({"name": "checkout-api", "type": "access"}),
        json!({"token_type": "access"}),
        json!({"name": "", "token_type": "access"}),
        json!({"name": 5, "token_type": "access"}),
        json!({"name": "checkout-api", "token_type": "access", "team_id": 5}),
        json!({"name": "checkout-api", "token_type": "access", "bindings": "gateway"}),
        json!({"name": "checkout-api", "token_type": "access", "expires_at": "tomorrow"}),
        json!({"name": "checkout-api", "token_type": "access", "expires_at": "2020-01-01T00:00:00Z"}),
        json!(["checkout-api"]),
    ] {
        let refused = client.post("/v1/tokens", body.clone()).await.unwrap();
        assert_eq!(refused.status, 422, "{body}");
        assert!(!text(&refused.json()["error"]["message"]).is_empty(), "{body}");
    }
    assert_eq!(client.get("/v1/tokens?type=runtime").await.unwrap().status, 422);
    assert_eq!(client.get("/v1/tokens?cursor=nonsense").await.unwrap().status, 422);
    assert_eq!(client.get("/v1/tokens/tok_1").await.unwrap().status, 404, "there is no such endpoint");
    assert!(emulator.tokens().is_empty());
}

#[tokio::test]
async fn lists_are_of_one_type() {
    let (_emulator, client) = started().await;
    client.created("checkout-api").await;
    client.post("/v1/tokens", json!({"name": "edge", "token_type": "gateway"})).await.unwrap();
    for (path, expected) in [
        ("/v1/tokens?type=access", vec!["checkout-api"]),
        ("/v1/tokens?type=gateway", vec!["edge"]),
        ("/v1/tokens", vec!["checkout-api", "edge"]),
        ("/v1/gateway-keys", vec!["edge"]),
    ] {
        assert_eq!(names(&client.get(path).await.unwrap().json()["tokens"]), expected, "{path}");
    }
}

#[tokio::test]
async fn the_alias_knows_gateway_tokens_alone() {
    let (emulator, client) = started().await;
    let made = client.post("/v1/gateway-keys", json!({"name": "edge"})).await.unwrap();
    assert_eq!(made.status, 201);
    let value = text(&made.json()["token"]);
    let id = text(&made.json()["id"]);
    assert!(value.starts_with("kt_gk_"));
    assert_eq!(made.json()["prefix"], value[..12]);
    assert_eq!(emulator.tokens()[0].token_type, TokenType::Gateway);
    let (access, _) = client.created("checkout-api").await;
    let call = async |method, path: String| client.send(method, &path, &[], None).await.unwrap();
    let rotate = async |id: &str| call(Method::POST, format!("/v1/gateway-keys/{id}/rotate")).await;
    assert_eq!(rotate(&access).await.status, 404);
    let rotated = rotate(&id).await;
    assert!(text(&rotated.json()["token"]).starts_with("kt_gk_"));
    let delete = async |id: &str| call(Method::DELETE, format!("/v1/gateway-keys/{id}")).await;
    assert_eq!(delete(&access).await.status, 404);
    assert_eq!(delete(&id).await.status, 204);
    let wrong = json!({"name": "edge", "token_type": "access"});
    assert_eq!(client.post("/v1/gateway-keys", wrong).await.unwrap().status, 422);
}

#[tokio::test]
async fn an_expired_token_is_dead_and_still_listed() {
    let (emulator, client) = started().await;
    let soon = Timestamp::now() + SignedDuration::from_secs(2);
    let body = json!({"name": "checkout-api", "token_type": "access", "expires_at": soon});
    let made = client.post("/v1/tokens", body).await.unwrap().json();
    let value = text(&made["token"]);
    assert!(emulator.is_alive(&value));
    emulator.until(|it| !it.is_alive(&value)).await;
    assert_eq!(client.whoami(&value).await, 401);
    let list = client.list().await.unwrap().json();
    assert_eq!(list["tokens"][0]["expires_at"], json!(soon));
    assert_eq!(client.rotate(&text(&made["id"])).await.unwrap().status, 409);
    assert_eq!(client.revoke(&text(&made["id"])).await.unwrap().status, 204);
}

#[tokio::test]
async fn an_expiry_can_be_enforced() {
    for status in [422, 400] {
        let (_emulator, client) = behaving(|it| {
            it.tokens.expiry_required = true;
            it.statuses.expiry_required = status;
        })
        .await;
        let refused = client.create("checkout-api").await.unwrap();
        assert_eq!(refused.status, status);
        assert!(text(&refused.json()["error"]["message"]).contains("expires_at"));
        let body =
            json!({"name": "checkout-api", "token_type": "access", "expires_at": "2199-12-31T23:59:59Z"});
        let made = client.post("/v1/tokens", body).await.unwrap();
        assert_eq!((made.status, &made.json()["expires_at"]), (201, &json!("2199-12-31T23:59:59Z")));
    }
}

#[tokio::test]
async fn an_expiry_can_be_set_unasked() {
    let (emulator, client) = behaving(|it| it.tokens.default_expiry_seconds = Some(3600)).await;
    client.created("checkout-api").await;
    let token = &emulator.tokens()[0];
    assert_eq!(token.expires_at.unwrap() - token.created_at, jiff::Span::new().seconds(3600).fieldwise());
}

#[tokio::test]
async fn a_rotation_keeps_moves_or_drops_the_expiry() {
    for rule in [ExpiryOnRotate::Kept, ExpiryOnRotate::Moved, ExpiryOnRotate::Dropped] {
        let (emulator, client) = behaving(|it| {
            it.tokens.default_expiry_seconds = Some(3600);
            it.tokens.expiry_on_rotate = rule;
        })
        .await;
        let (id, _) = client.created("checkout-api").await;
        let before = emulator.tokens()[0].expires_at;
        let rotated = client.rotate(&id).await.unwrap().json();
        let token = &emulator.tokens()[0];
        assert_eq!(rotated["expires_at"], json!(token.expires_at));
        match rule {
            ExpiryOnRotate::Kept => assert_eq!(token.expires_at, before),
            ExpiryOnRotate::Dropped => assert_eq!(token.expires_at, None),
            ExpiryOnRotate::Moved => {
                let life = token.expires_at.unwrap().duration_since(token.rotated_at.unwrap());
                assert_eq!(life, SignedDuration::from_secs(3600));
            }
        }
    }
}

#[tokio::test]
async fn a_rotation_may_change_the_id() {
    let (emulator, client) = behaving(|it| it.tokens.id_on_rotate = IdOnRotate::New).await;
    let (old, _) = client.created("checkout-api").await;
    let rotated = client.rotate(&old).await.unwrap().json();
    let new = text(&rotated["id"]);
    assert_ne!(new, old);
    assert_eq!(emulator.tokens()[0].former_ids, std::slice::from_ref(&old));
    assert_eq!(client.list().await.unwrap().json()["tokens"][0]["id"], new);
    assert_eq!(client.revoke(&old).await.unwrap().status, 404);
    assert_eq!(client.revoke(&new).await.unwrap().status, 204);
}

#[tokio::test]
async fn names_may_be_altered() {
    for (names, expected) in [
        (Names::AsSent, "Checkout-Api"),
        (Names::Upper, "CHECKOUT-API"),
        (Names::Lower, "checkout-api"),
        (Names::Truncated, "Check"),
    ] {
        let (_emulator, client) = behaving(|it| {
            it.tokens.names = names;
            it.tokens.names_length = 5;
        })
        .await;
        let made = client.create("Checkout-Api").await.unwrap().json();
        assert_eq!(made["name"], expected);
        assert_eq!(client.listed().await, [expected]);
    }
}

#[tokio::test]
async fn names_may_be_unique() {
    let (_emulator, client) = behaving(|it| it.tokens.unique_names = true).await;
    let (id, _) = client.created("checkout-api").await;
    assert_eq!(client.create("checkout-api").await.unwrap().status, 409);
    client.revoke(&id).await.unwrap();
    assert_eq!(client.create("checkout-api").await.unwrap().status, 201, "the name is free again");
}

#[tokio::test]
async fn an_idempotency_key_may_count() {
    for (rule, status, tokens) in
        [(Idempotency::Ignored, 201, 2), (Idempotency::Replayed, 201, 1), (Idempotency::Conflict, 409, 1)]
    {
        let (emulator, client) = behaving(|it| it.tokens.idempotency = rule).await;
        let body = json!({"name": "checkout-api", "token_type": "access"});
        let create =
            || client.send(Method::POST, "/v1/tokens", &[("idempotency-key", "op-1")], Some(body.clone()));
        let first = create().await.unwrap().json();
        let second = create().await.unwrap();
        assert_eq!(second.status, status, "{rule:?}");
        assert_eq!(emulator.tokens().len(), tokens, "{rule:?}");
        if rule == Idempotency::Replayed {
            assert_eq!(second.json()["id"], first["id"]);
            assert_eq!(second.json().get("token"), None, "a value is shown once");
        }
    }
}
