//! The admin endpoints, by their client: what a test controls in another process.

use keeptrusts_emulator::{
    AdminClient, AdminError, Behaviour, Creator, Effect, Emulator, Fault, NewToken, Operation, Options,
    Stage, TokenType,
};
use serde_json::json;

use crate::client::{Client, started, text};

async fn administered() -> (Emulator, Client, AdminClient) {
    let (emulator, client) = started().await;
    let admin = AdminClient::new(&emulator.url());
    admin.health().await.unwrap();
    (emulator, client, admin)
}

#[tokio::test]
async fn the_behaviour_is_read_replaced_and_changed() {
    let (emulator, client, admin) = administered().await;
    assert_eq!(admin.behaviour().await.unwrap(), Behaviour::default());
    let changed = admin.change_behaviour(json!({"statuses": {"create": 200}})).await.unwrap();
    assert_eq!(changed.statuses.create, 200);
    assert_eq!(client.create("checkout-api").await.unwrap().status, 200);
    let mut other = Behaviour::default();
    other.lists.page_size = Some(7);
    admin.set_behaviour(&other).await.unwrap();
    assert_eq!(admin.behaviour().await.unwrap(), other);
    emulator.behaviour(|it| assert_eq!(*it, other));
    let refused = admin.change_behaviour(json!({"statuses": {"create": 42}})).await;
    assert!(matches!(refused, Err(AdminError::Refused(status, _)) if status == 422));
    assert_eq!(admin.behaviour().await.unwrap(), other, "a refused change changes nothing");
}

#[tokio::test]
async fn faults_are_added_listed_and_taken_away() {
    let (_emulator, client, admin) = administered().await;
    let fault =
        Fault::new(Effect::status(503, Stage::After)).on(Operation::Create).times(3).matching("checkout");
    let id = admin.add_fault(&fault).await.unwrap();
    assert_eq!(client.create("checkout-api").await.unwrap().status, 503);
    let faults = admin.faults().await.unwrap();
    assert_eq!((faults[0].id, faults[0].used, faults[0].remaining), (id, 1, Some(2)));
    assert_eq!(faults[0].fault, fault);
    admin.remove_fault(id).await.unwrap();
    assert!(matches!(admin.remove_fault(id).await, Err(AdminError::Refused(status, _)) if status == 404));
    admin.add_fault(&fault).await.unwrap();
    admin.clear_faults().await.unwrap();
    assert_eq!(admin.faults().await.unwrap(), []);
}

#[tokio::test]
async fn held_calls_are_released_or_lost() {
    let (emulator, client, admin) = administered().await;
    let id = admin.add_fault(&Fault::new(Effect::hold(Stage::Before)).on(Operation::List)).await.unwrap();
    for deliver in [true, false] {
        let client = client.bearing(&emulator.credential());
        let call = tokio::spawn(async move { client.list().await.ok().map(|it| it.status) });
        while admin.faults().await.unwrap()[0].held == 0 {}
        let done = if deliver { admin.release(id).await } else { admin.lose(id).await };
        assert_eq!(done.unwrap(), 1);
        assert_eq!(call.await.unwrap(), deliver.then_some(200));
    }
    assert!(matches!(admin.release(99).await, Err(AdminError::Refused(status, _)) if status == 404));
}

#[tokio::test]
async fn somebody_else_makes_rotates_and_revokes() {
    let (emulator, client, admin) = administered().await;
    let (id, value) = client.created("checkout-api").await;
    assert_eq!(admin.check(&value).await.unwrap().id, Some(id.clone()));
    let rotated = admin.rotate_elsewhere(&id).await.unwrap();
    assert_eq!((rotated.id.as_str(), rotated.rotations), (id.as_str(), 1));
    assert_eq!(client.whoami(&value).await, 401);
    assert!(!admin.check(&value).await.unwrap().alive);
    let revoked = admin.revoke_elsewhere(&id).await.unwrap();
    assert!(revoked.revoked_at.is_some());
    assert!(
        matches!(admin.revoke_elsewhere(&id).await, Err(AdminError::Refused(status, _)) if status == 409)
    );
    assert!(
        matches!(admin.rotate_elsewhere("x").await, Err(AdminError::Refused(status, _)) if status == 404)
    );
    let made = admin.create_elsewhere(&NewToken::new("theirs", TokenType::Access)).await.unwrap();
    assert_eq!(made.created_by, Creator::SomebodyElse);
    assert_eq!(client.listed().await, ["theirs"]);
    assert_eq!(admin.tokens().await.unwrap(), emulator.tokens());
    let calls = admin.calls(0).await.unwrap();
    assert_eq!(calls.counts.of(Operation::Create), 1, "what somebody else does is no call of ours");
}

#[tokio::test]
async fn calls_are_counted_and_read_from_a_number_on() {
    let (emulator, client, admin) = administered().await;
    let (id, _) = client.created("checkout-api").await;
    client.created("search-api").await;
    let page = admin.calls(0).await.unwrap();
    assert_eq!((page.calls.len(), page.next), (2, 2));
    client.revoke(&id).await.unwrap();
    let later = admin.calls(page.next).await.unwrap();
    assert_eq!(later.calls.len(), 1);
    assert_eq!(later.calls[0].operation, Operation::Revoke);
    assert_eq!((later.counts.tokens_created, later.counts.tokens_alive), (2, 1));
    assert_eq!(later.counts.of(Operation::Create), 2);
    assert_eq!(later.counts, emulator.counts());
}

#[tokio::test]
async fn the_credential_can_be_replaced() {
    let (emulator, client, admin) = administered().await;
    let old = emulator.credential();
    admin.replace_credential("kt_live_another").await.unwrap();
    assert_eq!((client.whoami(&old).await, client.whoami("kt_live_another").await), (401, 200));
    assert!(admin.replace_credential(" ").await.is_err());
    assert_eq!(client.whoami("kt_live_another").await, 200);
}

#[tokio::test]
async fn a_reset_goes_back_to_the_start() {
    let (emulator, client, admin) = administered().await;
    let credential = emulator.credential();
    let (_, value) = client.created("checkout-api").await;
    admin.replace_credential("kt_live_another").await.unwrap();
    admin.change_behaviour(json!({"errors": "plain"})).await.unwrap();
    admin.add_fault(&Fault::new(Effect::cut(Stage::Before))).await.unwrap();
    admin.reset().await.unwrap();
    assert_eq!(emulator.credential(), credential);
    assert_eq!(admin.behaviour().await.unwrap(), Behaviour::default());
    assert_eq!((admin.tokens().await.unwrap().len(), admin.faults().await.unwrap().len()), (0, 0));
    assert_eq!(admin.calls(0).await.unwrap().calls, []);
    assert_eq!(client.whoami(&value).await, 401);
    assert_eq!(client.whoami(&credential).await, 200);
}

#[tokio::test]
async fn the_admin_endpoints_can_be_switched_off() {
    let emulator = Emulator::start(Options { admin: false, ..Options::default() }).await.unwrap();
    let client = Client::new(&emulator.url(), &emulator.credential());
    assert_eq!(client.get("/admin/tokens").await.unwrap().status, 404);
    assert_eq!(client.create("checkout-api").await.unwrap().status, 201);
}

#[tokio::test]
async fn curl_may_call_a_body_a_form() {
    let (emulator, client, _) = administered().await;
    let form = [("content-type", "application/x-www-form-urlencoded")];
    let fault = json!({"effect": "cut"});
    let added = client.send(http::Method::POST, "/admin/faults", &form, Some(fault)).await.unwrap();
    assert_eq!((added.status, added.json()), (201, json!({"id": 1})));
    emulator.clear_faults();
    let token = json!({"name": "checkout-api", "token_type": "access"});
    let made = client.send(http::Method::POST, "/v1/tokens", &form, Some(token)).await.unwrap();
    assert!(emulator.is_alive(&text(&made.json()["token"])));
}
