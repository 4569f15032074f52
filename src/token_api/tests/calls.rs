//! Revoking, asking who we are, trying a value; and what all calls have in common.

use std::time::Duration;

use secrecy::SecretString;
use tokio::time::Instant;

use super::server::{CREDENTIAL, Server, VALUE, client, client_with, raw, response, response_with};
use crate::lifecycle::memory::Life;
use crate::lifecycle::token::TokenId;
use crate::token_api::Class;

fn id() -> TokenId {
    TokenId::parse("tok_1").unwrap()
}

#[tokio::test]
async fn o3_and_o11_any_success_and_a_token_that_is_gone_count_as_revoked() {
    let gone = r#"{"error":{"message":"no such token"}}"#;
    for (status, body) in [(200, "{}"), (202, ""), (204, ""), (200, "revoked"), (404, gone), (410, gone)] {
        let server = Server::saying(status, body).await;
        client(&server.url).client.revoke(&id()).await.unwrap();
        assert_eq!(server.lines(), ["DELETE /v1/tokens/tok_1"], "{status} {body}");
    }
}

#[tokio::test]
async fn a_404_in_no_envelope_is_believed_only_from_where_the_api_answers() {
    for (status, body) in [(404, ""), (404, "404 page not found"), (410, "gone")] {
        let server = Server::start(move |_, seen| match seen.path.as_str() {
            "/v1/whoami" => response(200, "{}"),
            _ => response(status, body),
        })
        .await;
        client(&server.url).client.revoke(&id()).await.unwrap();
        // A default back end of an ingress, say.
        let server = Server::saying(status, body).await;
        let error = client(&server.url).client.revoke(&id()).await.unwrap_err();
        assert_eq!(error.class, Class::Unusable, "{error}");
    }
}

#[tokio::test]
async fn a_web_page_or_a_refusal_revokes_nothing() {
    for (status, body, class) in [
        (200, "<html>log in</html>", Class::Unusable),
        (404, "<html>not here</html>", Class::Unusable),
        (302, "", Class::Unusable),
        (409, "{}", Class::Unusable),
        (403, r#"{"message":"no"}"#, Class::Credential),
        (400, r#"{"message":"no"}"#, Class::Request),
        (503, "", Class::Failing),
    ] {
        let server = Server::saying(status, body).await;
        let error = client(&server.url).client.revoke(&id()).await.unwrap_err();
        assert_eq!(error.class, class, "{status} {body}: {error}");
    }
}

#[tokio::test]
async fn whoami_says_whether_the_credential_is_accepted() {
    for (status, body, class) in [
        (200, "{}", None),
        (204, "", None),
        (200, "<html>log in</html>", Some(Class::Unusable)),
        (401, "", Some(Class::Credential)),
        (403, r#"{"detail":"no"}"#, Some(Class::Credential)),
        (500, "", Some(Class::Failing)),
    ] {
        let server = Server::saying(status, body).await;
        let result = client(&server.url).client.whoami().await;
        assert_eq!(result.err().map(|error| error.class), class, "{status} {body}");
        assert_eq!(server.lines(), ["GET /v1/whoami"]);
    }
}

#[tokio::test]
async fn o15_a_value_is_proved_by_what_whoami_says_to_it() {
    for (status, body, life) in [
        (200, "{}", Life::Alive),
        (204, "", Life::Alive),
        (403, r#"{"error":"not for such tokens"}"#, Life::Alive),
        (401, r#"{"error":"unknown token"}"#, Life::Dead),
        (401, "", Life::Dead),
        (401, "<html>log in</html>", Life::Unknown),
        (200, "<html>log in</html>", Life::Unknown),
        (404, r#"{"error":"m"}"#, Life::Unknown),
        (429, r#"{"error":"m"}"#, Life::Unknown),
        (500, r#"{"error":"m"}"#, Life::Unknown),
        (302, "", Life::Unknown),
    ] {
        let own = format!("Bearer {CREDENTIAL}");
        let server = Server::start(move |_, seen| {
            if seen.headers["authorization"] == own.as_str() {
                response(200, "{}")
            } else {
                response(status, body)
            }
        })
        .await;
        assert_eq!(
            client(&server.url).client.prove(&SecretString::from(VALUE)).await,
            life,
            "{status} {body}"
        );
        let seen = server.seen();
        assert_eq!(seen[0].headers["authorization"], format!("Bearer {VALUE}"));
    }
}

#[tokio::test]
async fn a_401_proves_nothing_while_the_operator_itself_is_refused() {
    for (status, life) in [(401, Life::Unknown), (500, Life::Unknown), (403, Life::Dead), (200, Life::Dead)] {
        let own = format!("Bearer {CREDENTIAL}");
        let server = Server::start(move |_, seen| {
            let status = if seen.headers["authorization"] == own.as_str() { status } else { 401 };
            response(status, r#"{"error":"m"}"#)
        })
        .await;
        assert_eq!(client(&server.url).client.prove(&SecretString::from(VALUE)).await, life, "{status}");
    }
}

#[tokio::test]
async fn a_value_that_no_header_can_carry_proves_nothing() {
    let server = Server::saying(200, "{}").await;
    assert_eq!(client(&server.url).client.prove(&SecretString::from("a\nb")).await, Life::Unknown);
    assert!(server.seen().is_empty());
}

#[tokio::test]
async fn an_unreachable_api_proves_nothing() {
    let (listener, url) = raw().await;
    drop(listener);
    let fixture = client(&url);
    assert_eq!(fixture.client.prove(&SecretString::from(VALUE)).await, Life::Unknown);
    assert_eq!(fixture.client.revoke(&id()).await.unwrap_err().class, Class::Unreachable);
}

#[tokio::test]
async fn o13_a_short_pause_is_waited_out_and_a_long_one_is_not() {
    let server = Server::start(|number, _| match number {
        0 => response_with(429, &[("retry-after", "1")], "{}"),
        1 => response(200, "{}"),
        _ => response_with(429, &[("retry-after", "3000")], "{}"),
    })
    .await;
    let fixture = client(&server.url);
    let begun = Instant::now();
    let error = fixture.client.whoami().await.unwrap_err();
    assert_eq!((error.class, error.retry_after), (Class::Throttled, Some(Duration::from_secs(1))));
    fixture.client.whoami().await.unwrap();
    assert!(begun.elapsed() >= Duration::from_secs(1));
    // The cap is five minutes; that is longer than a call may take.
    for _ in 0..2 {
        let error = fixture.client.whoami().await.unwrap_err();
        assert_eq!(error.class, Class::Throttled);
        assert!(error.retry_after.unwrap() <= Duration::from_mins(5));
    }
    assert_eq!(server.seen().len(), 3);
}

#[tokio::test]
async fn a_failing_api_says_when_to_come_back_but_pauses_nobody_else() {
    let server = Server::start(|_, _| response_with(503, &[("retry-after", "60")], "")).await;
    let fixture = client(&server.url);
    for _ in 0..2 {
        let error = fixture.client.whoami().await.unwrap_err();
        assert_eq!((error.class, error.retry_after), (Class::Failing, Some(Duration::from_mins(1))));
    }
    assert_eq!(server.seen().len(), 2);
}

#[tokio::test]
async fn the_clients_own_limit_holds_calls_back() {
    let server = Server::saying(200, "{}").await;
    let fixture = client_with(&server.url, |settings| settings.requests_per_second = 10.try_into().unwrap());
    let begun = Instant::now();
    for _ in 0..15 {
        fixture.client.whoami().await.unwrap();
    }
    // The first at once, the others at ten a second.
    assert!(begun.elapsed() >= Duration::from_millis(1_390), "{:?}", begun.elapsed());
}

#[tokio::test]
async fn the_clocks_are_compared_with_every_answer() {
    let date = |ahead: i64| {
        let time = std::time::SystemTime::now() - Duration::from_hours(1);
        let ahead = u64::try_from(ahead + 3600).unwrap();
        httpdate::fmt_http_date(time + Duration::from_secs(ahead))
    };
    let dates = [date(0), date(600), date(-600), date(-240), date(600)];
    let server = Server::start(move |number, _| {
        let mut headers = vec![("date", dates[number.min(4)].as_str())];
        if number >= 4 {
            headers.push(("age", "600"));
        }
        response_with(if number == 1 { 500 } else { 200 }, &headers, "{}")
    })
    .await;
    let fixture = client(&server.url);
    let mut skewed = Vec::new();
    for _ in 0..5 {
        let _answer = fixture.client.whoami().await;
        skewed.push(fixture.client.clock_skewed());
    }
    assert_eq!(skewed, [false, true, true, false, false]);
}

#[tokio::test]
async fn an_answer_without_end_is_cut_off() {
    let server = Server::start(|_, _| {
        let endless = futures::stream::repeat_with(|| Ok::<_, std::io::Error>(vec![b' '; 64 << 10]));
        axum::response::Response::new(axum::body::Body::from_stream(endless))
    })
    .await;
    let error = client(&server.url).client.whoami().await.unwrap_err();
    assert_eq!(error.class, Class::Unusable);
    assert!(error.message.contains("too long"), "{error}");
}

#[tokio::test]
async fn a_gzip_bomb_counts_as_large_as_it_becomes() {
    // Two stored-nothing, 4 MiB of zeros: made by `head -c 4194304 /dev/zero | gzip -9`.
    let bomb = gzip_of_zeros(4 << 20);
    assert!(bomb.len() < 64 << 10, "{}", bomb.len());
    let server = Server::start(move |_, _| {
        let response = axum::response::Response::builder().header("content-encoding", "gzip");
        response.body(axum::body::Body::from(bomb.clone())).unwrap()
    })
    .await;
    let error = client(&server.url).client.whoami().await.unwrap_err();
    assert_eq!(error.class, Class::Unusable, "{error}");
    assert!(error.message.contains("too long"), "{error}");
}

/// Gzip of zeros.
fn gzip_of_zeros(length: usize) -> Vec<u8> {
    use std::io::Write as _;
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    gzip.write_all(&vec![0; length]).unwrap();
    gzip.finish().unwrap()
}
