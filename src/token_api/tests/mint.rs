//! Creating and rotating: what is sent, what is made of the answer, and what is certain.

use http::Method;
use secrecy::ExposeSecret;
use serde_json::{Value, json};

use super::server::{CREDENTIAL, Server, VALUE, client, client_with, response, response_with};
use crate::lifecycle::token::TokenId;
use crate::resources::KeyKind;
use crate::token_api::{Class, CreateRequest, MintError, Minted};

/// The least that makes a token.
pub(super) const fn request() -> CreateRequest<'static> {
    CreateRequest {
        operation: "operation-1",
        kind: KeyKind::Access,
        name: "checkout-api",
        team_id: None,
        description: None,
        gateway_id: None,
        expires_at: None,
    }
}

async fn create(server: &Server, request: &CreateRequest<'_>) -> Result<Minted, MintError> {
    let fixture = client(&server.url);
    let permit = fixture.client.permit().await.unwrap();
    fixture.client.create(permit, request).await
}

async fn rotate(server: &Server, name: Option<&str>) -> Result<Minted, MintError> {
    let fixture = client(&server.url);
    let permit = fixture.client.permit().await.unwrap();
    let id = TokenId::parse("tok_old").unwrap();
    fixture.client.rotate(permit, KeyKind::Access, &id, name, "operation-2").await
}

fn minted_body() -> String {
    json!({"id": "tok_1", "token": VALUE, "prefix": "kt_live_va", "created_at": "2026-11-24T12:00:00Z"})
        .to_string()
}

#[tokio::test]
async fn a_create_sends_name_and_type_and_what_was_asked_for() {
    let server = Server::saying(201, &minted_body()).await;
    create(&server, &request()).await.unwrap();
    let full = CreateRequest {
        kind: KeyKind::Gateway,
        team_id: Some("team_1"),
        description: Some("Checkout"),
        gateway_id: Some("gw_1"),
        expires_at: Some("2026-12-31T23:59:59.5Z".parse().unwrap()),
        ..request()
    };
    create(&server, &full).await.unwrap();
    let seen = server.seen();
    let bodies: Vec<Value> = seen.iter().map(|seen| serde_json::from_str(&seen.body).unwrap()).collect();
    assert_eq!(bodies[0], json!({"name": "checkout-api", "token_type": "access"}));
    assert_eq!(
        bodies[1],
        json!({
            "name": "checkout-api", "token_type": "gateway", "team_id": "team_1", "description": "Checkout",
            "expires_at": "2026-12-31T23:59:59Z", "bindings": {"gateway_id": "gw_1"},
        })
    );
    for seen in seen {
        assert_eq!((seen.method, seen.path.as_str()), (Method::POST, "/v1/tokens"));
        assert_eq!(seen.headers["authorization"], format!("Bearer {CREDENTIAL}"));
        assert_eq!(seen.headers["idempotency-key"], "operation-1");
        assert_eq!(seen.headers["content-type"], "application/json");
        assert_eq!(seen.headers["user-agent"], concat!("keeptrusts-operator/", env!("CARGO_PKG_VERSION")));
    }
}

#[tokio::test]
async fn a_base_url_may_have_a_path() {
    let server = Server::saying(201, &minted_body()).await;
    for base in ["", "/", "/base", "/base/"] {
        let fixture = client(&format!("{}{base}", server.url));
        let permit = fixture.client.permit().await.unwrap();
        fixture.client.create(permit, &request()).await.unwrap();
    }
    let paths: Vec<String> = server.seen().into_iter().map(|seen| seen.path).collect();
    assert_eq!(paths, ["/v1/tokens", "/v1/tokens", "/base/v1/tokens", "/base/v1/tokens"]);
}

#[tokio::test]
async fn o3_any_success_with_a_value_mints() {
    for status in [200, 201, 202, 203] {
        let server = Server::saying(status, &minted_body()).await;
        let Minted { facts, value } = create(&server, &request()).await.unwrap();
        assert_eq!(value.expose_secret(), VALUE);
        assert_eq!((facts.id.as_str(), facts.name.as_deref()), ("tok_1", Some("checkout-api")));
        assert_eq!(facts.prefix.as_deref(), Some("kt_live_va"));
        assert_eq!(facts.created_at, Some("2026-11-24T12:00:00Z".parse().unwrap()));
        assert_eq!(server.lines(), ["POST /v1/tokens"]);
    }
}

#[tokio::test]
async fn o14_the_name_that_the_api_tells_goes_before_the_one_that_was_sent() {
    let server = Server::saying(200, r#"{"id":"tok_1","name":"Checkout","value":"v"}"#).await;
    assert_eq!(create(&server, &request()).await.unwrap().facts.name.as_deref(), Some("Checkout"));
    assert_eq!(rotate(&server, Some("old")).await.unwrap().facts.name.as_deref(), Some("Checkout"));
}

#[tokio::test]
async fn o7_a_rotation_takes_the_id_of_the_answer_else_keeps_the_old_one() {
    for (body, id, name) in [
        (r#"{"token":"v"}"#, "tok_old", Some("given")),
        (r#"{"id":"tok_new","token":"v"}"#, "tok_new", Some("given")),
        (r#"{"data":{"token_id":7,"name":"told","value":"v"}}"#, "7", Some("told")),
    ] {
        let server = Server::saying(200, body).await;
        let minted = rotate(&server, Some("given")).await.unwrap();
        assert_eq!((minted.facts.id.as_str(), minted.facts.name.as_deref()), (id, name), "{body}");
        let seen = &server.seen()[0];
        assert_eq!(seen.line(), "POST /v1/tokens/tok_old/rotate");
        assert_eq!(seen.headers["idempotency-key"], "operation-2");
        assert_eq!(seen.body, "{}");
    }
}

#[tokio::test]
async fn only_five_answers_in_the_apis_own_envelope_are_definite() {
    let envelope = r#"{"error":{"type":"t","message":"because","code":"c"}}"#;
    for status in [300, 302, 400, 401, 403, 404, 405, 408, 409, 410, 422, 425, 429, 499, 500, 502, 503, 504] {
        for body in [envelope, "because", "<html>because</html>", ""] {
            let definite = body == envelope && [400, 401, 403, 422, 429].contains(&status);
            let server = Server::saying(status, body).await;
            for error in
                [create(&server, &request()).await.unwrap_err(), rotate(&server, None).await.unwrap_err()]
            {
                assert_eq!(matches!(error, MintError::Refused(_)), definite, "{status} {body}: {error:?}");
                if body == envelope {
                    assert!(error.to_string().contains("because"), "{error}");
                }
            }
            assert_eq!(server.seen().len(), 2, "{status} {body}");
        }
    }
}

#[tokio::test]
async fn a_policy_that_demands_mfa_is_shown_as_it_is() {
    let body = r#"{"error":{"message":"This operation requires MFA: complete a challenge in the console"}}"#;
    let error = create(&Server::saying(403, body).await, &request()).await.unwrap_err();
    let MintError::Refused(error) = error else { panic!("{error:?}") };
    assert_eq!(error.class, Class::Credential);
    assert_eq!(
        error.message,
        "403 Forbidden: This operation requires MFA: complete a challenge in the console"
    );
}

#[tokio::test]
async fn a_redirect_is_not_followed() {
    let server = Server::start(|_, _| response_with(307, &[("location", "/elsewhere")], "")).await;
    let error = create(&server, &request()).await.unwrap_err();
    assert!(matches!(&error, MintError::Unknown(error) if error.class == Class::Unusable), "{error:?}");
    assert_eq!(server.lines(), ["POST /v1/tokens"]);
}

#[tokio::test]
async fn a_success_that_cannot_be_read_is_unknown() {
    for (status, body) in [(200, ""), (204, ""), (200, "<html>"), (200, "[]"), (201, "{"), (200, "created")] {
        let server = Server::saying(status, body).await;
        for error in
            [create(&server, &request()).await.unwrap_err(), rotate(&server, None).await.unwrap_err()]
        {
            assert!(
                matches!(&error, MintError::Unknown(error) if error.class == Class::Unusable),
                "{error:?}"
            );
        }
        assert_eq!(server.seen().len(), 2);
    }
}

#[tokio::test]
async fn o1_a_token_that_was_made_without_a_value_is_revoked_and_the_outcome_is_unknown() {
    for value in [json!(null), json!(""), json!(17)] {
        let body = json!({"id": "tok_1", "token": value}).to_string();
        let server = Server::saying(200, &body).await;
        let error = create(&server, &request()).await.unwrap_err();
        assert!(matches!(&error, MintError::Unknown(error) if error.class == Class::Unusable), "{error:?}");
        assert_eq!(server.lines(), ["POST /v1/tokens", "DELETE /v1/tokens/tok_1"]);

        let server = Server::saying(200, &body).await;
        let error = rotate(&server, None).await.unwrap_err();
        assert!(matches!(&error, MintError::Unknown(error) if error.class == Class::Unusable), "{error:?}");
        assert_eq!(server.lines(), ["POST /v1/tokens/tok_old/rotate"]);
    }
}

/// A server that tells the value alone, and whose lists lag behind by `lag` lists.
async fn without_id(lag: usize, list: Value) -> Server {
    let list = list.to_string();
    Server::start(move |number, seen| match seen.method {
        Method::POST => response(201, &json!({"token": VALUE}).to_string()),
        _ if number <= lag => response(200, "[]"),
        _ => response(200, &list),
    })
    .await
}

#[tokio::test]
async fn o2_a_value_without_an_id_is_found_by_its_name_once_the_lists_show_it() {
    let list = json!([
        {"id": "tok_0", "name": "checkout-api", "revoked": true},
        {"id": "tok_1", "name": "checkout-api", "prefix": "kt_live_va"},
        {"id": "tok_1", "name": "checkout-api", "prefix": "kt_live_va"},
        {"id": "tok_2", "name": "checkout-api-2"},
    ]);
    let server = without_id(1, list).await;
    let minted = create(&server, &request()).await.unwrap();
    assert_eq!((minted.facts.id.as_str(), minted.value.expose_secret()), ("tok_1", VALUE));
    assert_eq!(minted.facts.prefix.as_deref(), Some("kt_live_va"));
    assert_eq!(
        server.lines(),
        ["POST /v1/tokens", "GET /v1/tokens?type=access", "GET /v1/tokens?type=access"]
    );
}

#[tokio::test]
async fn o8_a_value_without_an_id_whose_name_stands_twice_is_unknown() {
    let list = json!([{"id": "tok_1", "name": "checkout-api"}, {"id": "tok_2", "name": "checkout-api"}]);
    let server = without_id(0, list).await;
    assert!(matches!(create(&server, &request()).await, Err(MintError::Unknown(_))));
}

#[tokio::test]
async fn o2_a_value_whose_id_is_never_found_is_unknown() {
    let server = without_id(0, json!([])).await;
    let fixture =
        client_with(&server.url, |settings| settings.call_deadline = std::time::Duration::from_secs(3));
    let permit = fixture.client.permit().await.unwrap();
    let error = fixture.client.create(permit, &request()).await.unwrap_err();
    assert!(matches!(&error, MintError::Unknown(error) if error.class == Class::Unusable), "{error:?}");
}

#[tokio::test]
async fn a_permit_does_not_outlive_a_pause_and_nothing_is_sent_in_one() {
    let server =
        Server::start(|_, _| response_with(429, &[("retry-after", "60")], r#"{"message":"slow"}"#)).await;
    let fixture = client(&server.url);
    let (first, second) = (fixture.client.permit().await.unwrap(), fixture.client.permit().await.unwrap());
    for permit in [first, second] {
        let error = fixture.client.create(permit, &request()).await.unwrap_err();
        let MintError::Refused(error) = error else { panic!("{error:?}") };
        assert_eq!(error.class, Class::Throttled);
        assert!(error.retry_after.unwrap().as_secs() >= 50, "{error:?}");
    }
    let error = fixture.client.permit().await.unwrap_err();
    assert_eq!(error.class, Class::Throttled);
    let error = fixture.client.whoami().await.unwrap_err();
    assert_eq!(error.class, Class::Throttled);
    assert_eq!(server.seen().len(), 1);
}
