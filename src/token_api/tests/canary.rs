//! Neither a value nor the credential is ever seen: not in a `Debug`, a text or a log at any level.

use std::io::Write;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use secrecy::SecretString;
use serde_json::json;
use tracing_subscriber::fmt::MakeWriter;

use super::mint::request;
use super::server::{CREDENTIAL, Server, VALUE, client_with, response};
use crate::lifecycle::naming::Installation;
use crate::lifecycle::token::TokenId;
use crate::resources::KeyKind;
use crate::token_api::Inventory;

/// Everything that was written.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl MakeWriter<'_> for Log {
    type Writer = Self;

    fn make_writer(&self) -> Self {
        self.clone()
    }
}

/// What the server says, with the canaries wherever a server could put them.
fn answers() -> Vec<(u16, String)> {
    let spread = format!("value {VALUE} and Bearer {CREDENTIAL} and {CREDENTIAL}");
    vec![
        (201, json!({"id": "tok_1", "name": VALUE, "prefix": VALUE, "token": VALUE}).to_string()),
        (201, json!({"id": VALUE, "token": VALUE}).to_string()),
        (200, json!([{"id": "tok_1", "name": VALUE, "prefix": VALUE, "token": VALUE}]).to_string()),
        (200, json!([{"id": VALUE, "name": VALUE}]).to_string()),
        (200, spread.clone()),
        (200, format!("<html>{spread}")),
        (302, spread.clone()),
        (400, json!({"error": {"message": spread}}).to_string()),
        (401, json!({"error": spread}).to_string()),
        (403, json!({"detail": [{"msg": spread}]}).to_string()),
        (404, spread.clone()),
        (409, json!({"token": VALUE}).to_string()),
        (500, spread),
    ]
}

#[tokio::test]
async fn nothing_that_can_be_seen_holds_a_value_or_the_credential() {
    let log = Log::default();
    let subscriber =
        tracing_subscriber::fmt().with_max_level(tracing::Level::TRACE).with_writer(log.clone()).finish();
    // One thread runs everything, the connections' tasks too.
    let _subscribed = tracing::subscriber::set_default(subscriber);
    let mut seen: Vec<String> = Vec::new();
    for (status, body) in answers() {
        let server = Server::start(move |_, _| response(status, &body)).await;
        // A value without an id is looked for in lists for as long as this.
        let fixture = client_with(&server.url, |settings| settings.call_deadline = Duration::from_secs(2));
        let client = &fixture.client;
        let id = TokenId::parse("tok_1").unwrap();
        let permit = client.permit().await.unwrap();
        let created = client.create(permit, &request()).await;
        let permit = client.permit().await.unwrap();
        let rotated = client.rotate(permit, KeyKind::Access, &id, None, "operation-2").await;
        let mut listed = Vec::new();
        let list = client.list(KeyKind::Access, |token| listed.push(token)).await;
        let inventory =
            Inventory::new(Arc::clone(client), Installation::new("c", "i"), Duration::from_mins(5));
        let fresh = inventory.fresh(KeyKind::Access, crate::clock::monotonic()).await;
        let life = client.prove(&SecretString::from(VALUE)).await;
        let revoked = client.revoke(&id).await;
        for error in [created.as_ref().err(), rotated.as_ref().err()].into_iter().flatten() {
            seen.push(error.to_string());
        }
        for error in [list.as_ref().err(), revoked.as_ref().err(), fresh.as_ref().err()].into_iter().flatten()
        {
            seen.push(error.to_string());
        }
        seen.push(format!("{client:?} {inventory:?} {life:?} {created:?} {rotated:?} {listed:?}"));
        seen.push(format!("{list:?} {revoked:?} {fresh:?} {:?}", client.connection.settings()));
    }
    let logged = String::from_utf8_lossy(&log.0.lock().unwrap()).into_owned();
    assert!(logged.contains("called the token API") && logged.contains("hyper"), "the log was caught");
    assert!(seen.iter().any(|text| text.contains("[redacted]")), "{seen:?}");
    for canary in [VALUE, CREDENTIAL, "value_canary", "own_canary"] {
        for line in seen.iter().map(String::as_str).chain(logged.lines()) {
            assert!(!line.contains(canary), "{line}");
        }
    }
}
