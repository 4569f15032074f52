//! What is counted of calls.

use secrecy::SecretString;
use serde_json::json;

use super::server::{CREDENTIAL, Fixture, Server, VALUE, client, response, response_with};
use crate::clock::monotonic;
use crate::lifecycle::naming::Installation;
use crate::lifecycle::token::TokenId;
use crate::metrics::{KubernetesMetrics, Metrics};
use crate::resources::KeyKind;
use crate::token_api::Inventory;

/// The value of a series; nothing if it isn't there.
fn told(fixture: &Fixture, series: &str) -> Option<f64> {
    let page = Metrics::new(fixture.client.metrics(), &KubernetesMetrics::default()).text().unwrap();
    for secret in [CREDENTIAL, VALUE, "tok_"] {
        assert!(!page.contains(secret), "{secret} is in the metrics");
    }
    let series = format!("keeptrusts_token_api_{series}");
    // One without labels may have empty braces.
    page.lines().find_map(|line| {
        let rest = line.strip_prefix(&series)?;
        rest.strip_prefix("{}").unwrap_or(rest).strip_prefix(' ')?.parse().ok()
    })
}

fn requests(fixture: &Fixture, route: &str, status: &str) -> Option<f64> {
    told(fixture, &format!(r#"requests_total{{route="{route}",status="{status}"}}"#))
}

#[tokio::test]
async fn calls_are_counted_by_what_they_are_for_and_what_came_of_them() {
    let server = Server::start(|number, seen| match (number, seen.path.as_str()) {
        (0, _) => response(401, r#"{"message":"no"}"#),
        (_, "/v1/whoami") => response(200, "{}"),
        _ => response_with(429, &[("retry-after", "7")], "{}"),
    })
    .await;
    let fixture = client(&server.url);
    let api = &fixture.client;
    api.whoami().await.unwrap_err();
    assert_eq!(told(&fixture, "credential_refused"), Some(1.0));
    api.prove(&SecretString::from(VALUE)).await;
    assert_eq!(told(&fixture, "credential_refused"), Some(1.0), "that was another's value");
    api.whoami().await.unwrap();
    assert_eq!(told(&fixture, "credential_refused"), Some(0.0));
    api.revoke(&TokenId::parse("tok_1").unwrap()).await.unwrap_err();
    let counted = [
        requests(&fixture, "whoami", "401"),
        requests(&fixture, "whoami", "2xx"),
        requests(&fixture, "proof", "2xx"),
        requests(&fixture, "revoke", "429"),
        requests(&fixture, "create", "2xx"),
        told(&fixture, r#"request_duration_seconds_count{route="whoami"}"#),
    ];
    assert_eq!(counted, [1.0, 1.0, 1.0, 1.0, 0.0, 2.0].map(Some));
    let paused = told(&fixture, "pause_seconds_total").unwrap();
    assert!((6.9..7.1).contains(&paused), "{paused}");
}

#[tokio::test]
async fn no_answer_is_counted_as_none() {
    let (listener, url) = super::server::raw().await;
    drop(listener);
    let fixture = client(&url);
    fixture.client.whoami().await.unwrap_err();
    assert_eq!(requests(&fixture, "whoami", "none"), Some(1.0));
}

#[tokio::test]
async fn the_expiry_of_the_operators_own_credential_is_told_where_a_list_tells_it() {
    let body = json!([
        {"id": "tok_2", "name": "another", "prefix": "kt_live_another…", "expires_at": "2030-01-01T00:00:00Z"},
        {"id": "tok_1", "name": "operator", "prefix": "kt_live_operat…", "expires_at": "1970-01-01T00:16:40Z"},
    ]);
    let server = Server::saying(200, &body.to_string()).await;
    let fixture = client(&server.url);
    assert_eq!(told(&fixture, "credential_expiry_timestamp_seconds"), None);
    let period = std::time::Duration::from_hours(1);
    let inventory = Inventory::new(fixture.client.clone(), Installation::new("cluster", "default"), period);
    inventory.fresh(KeyKind::Access, monotonic()).await.unwrap();
    assert_eq!(told(&fixture, "credential_expiry_timestamp_seconds"), Some(1000.0));
    // Of another credential it isn't known.
    std::fs::write(fixture.folder.path().join("token"), "kt_live_another_one_of_the_operators").unwrap();
    assert!(fixture.client.connection.reload_credential().unwrap());
    assert_eq!(told(&fixture, "credential_expiry_timestamp_seconds"), None);
}
