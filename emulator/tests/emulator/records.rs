//! What is recorded of calls, and that no value is in it.

use http::Method;
use keeptrusts_emulator::{Effect, Fault, Operation, Outcome, Stage};
use serde_json::json;

use crate::client::{started, text};

#[tokio::test]
async fn a_create_is_recorded_as_it_was_sent() {
    let (emulator, client) = started().await;
    let sent = json!({
        "name": "edge-prod", "token_type": "gateway", "team_id": "team-edge", "description": "of the edge",
        "bindings": {"gateway_id": "gw-1"}, "expires_at": "2199-12-31T23:59:59Z", "purpose": "gateway_runtime",
    });
    let headers = [("idempotency-key", "operation-7")];
    client.send(Method::POST, "/v1/tokens?trace=1", &headers, Some(sent.clone())).await.unwrap();
    let call = &emulator.calls()[0];
    assert_eq!(
        (call.operation, call.method.as_str(), call.path.as_str()),
        (Operation::Create, "POST", "/v1/tokens?trace=1")
    );
    let body = call.sent.as_ref().unwrap();
    assert_eq!(body.name.as_deref(), Some("edge-prod"));
    assert_eq!(body.token_type.as_deref(), Some("gateway"));
    assert_eq!(body.team_id.as_deref(), Some("team-edge"));
    assert_eq!(body.description.as_deref(), Some("of the edge"));
    assert_eq!(body.gateway_id(), Some("gw-1"));
    assert_eq!(body.expires_at.as_deref(), Some("2199-12-31T23:59:59Z"));
    assert_eq!(body.others, *json!({"purpose": "gateway_runtime"}).as_object().unwrap());
    assert_eq!(json!(body), sent);
    assert_eq!(call.idempotency_key.as_deref(), Some("operation-7"));
    assert_eq!((call.outcome, call.status, call.committed), (Outcome::Answered, Some(201), true));
    assert_eq!(call.token_id.as_deref(), Some(emulator.tokens()[0].id.as_str()));
    assert_eq!(emulator.tokens()[0].gateway_id(), Some("gw-1"));
}

#[tokio::test]
async fn a_call_tells_whether_it_was_committed() {
    let (emulator, client) = started().await;
    let (id, _) = client.created("checkout-api").await;
    for stage in [Stage::Before, Stage::After] {
        emulator.add_fault(Fault::new(Effect::cut(stage)).times(1)).unwrap();
        assert!(client.rotate(&id).await.is_err());
    }
    client.rotate("tok_none").await.unwrap();
    let calls = emulator.calls();
    let facts: Vec<_> = calls.iter().map(|it| (it.committed, it.outcome, it.status)).collect();
    assert_eq!(
        facts,
        [
            (true, Outcome::Answered, Some(201)),
            (false, Outcome::Cut, None),
            (true, Outcome::Cut, None),
            (false, Outcome::Answered, Some(404)),
        ]
    );
    assert_eq!(calls[3].token_id.as_deref(), Some("tok_none"));
}

#[tokio::test]
async fn no_record_holds_a_value_or_a_credential() {
    let (emulator, client) = started().await;
    let (id, first) = client.created("checkout-api").await;
    let second = text(&client.rotate(&id).await.unwrap().json()["token"]);
    let gateway = client.post("/v1/gateway-keys", json!({"name": "edge"})).await.unwrap().json();
    let third = text(&gateway["token"]);
    // A client that puts a value where none belongs.
    client.revoke(&first).await.unwrap();
    client.get(&format!("/v1/tokens?type=access&cursor={first}")).await.unwrap();
    let body = json!({"name": "x", "token_type": "access", "nonsense": {"deep": [first]}});
    client.send(Method::POST, "/v1/tokens", &[("idempotency-key", &first)], Some(body)).await.unwrap();
    client.whoami(&second).await;
    client.post("/admin/check", json!({"value": third})).await.unwrap();
    emulator.add_fault(Fault::new(Effect::cut(Stage::After))).unwrap();
    let _ = client.create("checkout-api").await;

    let mut shown = format!("{:?}{:?}{:?}", emulator.calls(), emulator.tokens(), emulator.faults());
    for path in ["behaviour", "faults", "tokens", "calls", "healthz"] {
        shown.push_str(&client.get(&format!("/admin/{path}")).await.unwrap().text);
    }
    for secret in [&first, &second, &third, &emulator.credential()] {
        assert!(!shown.contains(secret.as_str()));
        assert!(!shown.contains(&secret[..20]));
    }
    assert!(shown.contains(&second[..12]), "the prefix is there to be seen");
}
