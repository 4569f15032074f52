//! Lists: to the very end, or not at all.

use std::fmt::Write as _;

use serde_json::json;

use super::server::{Seen, Server, client, raw, read_request, response, response_with, serve_raw};
use crate::resources::KeyKind;
use crate::token_api::{CallError, Class};

async fn list(url: &str) -> Result<Vec<String>, CallError> {
    let mut ids = Vec::new();
    client(url)
        .client
        .list(KeyKind::Gateway, |token| ids.push(token.facts.id.to_string()))
        .await
        .map(|()| ids)
}

fn tokens(ids: &[&str]) -> serde_json::Value {
    ids.iter().map(|id| json!({"id": id, "name": "somebody's"})).collect()
}

/// The value of a query parameter.
fn parameter(seen: &Seen, name: &str) -> Option<String> {
    url::form_urlencoded::parse(seen.query.as_bytes())
        .find(|(key, _)| key == name)
        .map(|(_, value)| value.into())
}

#[tokio::test]
async fn o4_cursors_are_followed_to_the_end() {
    for (field, nested) in [("next_cursor", false), ("cursor", false), ("next", false), ("next_cursor", true)]
    {
        let server = Server::start(move |_, seen| {
            let (ids, next) = match parameter(seen, "cursor").as_deref() {
                None => (["tok_1", "tok_2"].as_slice(), Some("a&b=/+")),
                Some("a&b=/+") => (&[] as &[&str], Some("c")),
                Some("c") => (&["tok_3"] as &[&str], None),
                other => panic!("{other:?}"),
            };
            let mut body = json!({"tokens": tokens(ids)});
            if nested {
                body["pagination"] = json!({ field: next });
            } else {
                body[field] = json!(next);
            }
            response(200, &body.to_string())
        })
        .await;
        assert_eq!(list(&server.url).await.unwrap(), ["tok_1", "tok_2", "tok_3"], "{field} {nested}");
        assert!(server.seen().iter().all(|seen| parameter(seen, "type").as_deref() == Some("gateway")));
        assert_eq!(server.seen().len(), 3);
    }
}

#[tokio::test]
async fn o4_links_are_followed_but_only_on_our_own_connection() {
    for (host, header) in
        [("https://evil.example", true), ("", true), ("http://10.0.0.1", false), ("", false)]
    {
        let server = Server::start(move |_, seen| {
            let last = parameter(seen, "page").as_deref() == Some("2");
            let link = format!("{host}/v1/tokens?page=2#top");
            match (last, header) {
                (true, _) => response(200, &tokens(&["tok_2"]).to_string()),
                (false, true) => {
                    let link = format!("<{link}>; rel=\"next\"");
                    response_with(200, &[("link", &link)], &tokens(&["tok_1"]).to_string())
                }
                (false, false) => {
                    response(200, &json!({"data": tokens(&["tok_1"]), "next": link}).to_string())
                }
            }
        })
        .await;
        assert_eq!(list(&server.url).await.unwrap(), ["tok_1", "tok_2"], "{host}");
        assert_eq!(server.lines(), ["GET /v1/tokens?type=gateway", "GET /v1/tokens?page=2&type=gateway"]);
    }
}

#[tokio::test]
async fn o4_more_without_a_cursor_is_asked_for_by_the_last_token() {
    let server = Server::start(|_, seen| match parameter(seen, "starting_after").as_deref() {
        None => response(200, &json!({"data": tokens(&["tok_1", "tok_2"]), "has_more": true}).to_string()),
        Some("tok_2") => response(200, &json!({"data": tokens(&["tok_3"]), "has_more": false}).to_string()),
        other => panic!("{other:?}"),
    })
    .await;
    assert_eq!(list(&server.url).await.unwrap(), ["tok_1", "tok_2", "tok_3"]);
}

#[tokio::test]
async fn o4_a_list_that_goes_round_in_a_circle_or_says_not_how_it_goes_on_is_an_error() {
    let same = json!({"tokens": tokens(&["tok_1"]), "next_cursor": "same"});
    let ignored = json!({"tokens": tokens(&["tok_1"]), "has_more": true});
    let lost = json!({"tokens": [], "has_more": true});
    let bare = json!({"tokens": [], "next": "https://x.example/v1/tokens"});
    for body in [same, ignored, lost, bare] {
        let server = Server::saying(200, &body.to_string()).await;
        let error = list(&server.url).await.unwrap_err();
        assert_eq!(error.class, Class::Unusable, "{body}");
        assert!(server.seen().len() <= 3, "{body}");
    }
}

#[tokio::test]
async fn a_list_without_end_is_an_error() {
    // New cursors and new tokens for ever, as many on a page as fit: the cap on entries ends it.
    let server = Server::start(|number, _| {
        let mut body = String::from("{\"tokens\":[");
        for token in 0..120_000 {
            let comma = if token == 0 { "" } else { "," };
            write!(body, "{comma}{{\"id\":\"{number}-{token}\",\"name\":\"x\"}}").unwrap();
        }
        write!(body, "],\"next_cursor\":\"{number}\"}}").unwrap();
        response(200, &body)
    })
    .await;
    let fixture = client(&server.url);
    let error = fixture.client.list(KeyKind::Access, |_| ()).await.unwrap_err();
    assert!(error.message.contains("too long"), "{error}");
    assert_eq!(server.seen().len(), 9);
}

#[tokio::test]
async fn a_list_that_breaks_off_is_an_error() {
    for body in
        [r#"[{"id":"tok_1","name":"x"},"#, r#"{"tokens":[{"id":"tok_1","name":"x"}"#, "", "{}", "<html>"]
    {
        let server = Server::saying(200, body).await;
        assert_eq!(list(&server.url).await.unwrap_err().class, Class::Unusable, "{body}");
    }
    let (listener, url) = raw().await;
    let _server = serve_raw(listener, |_, mut stream| async move {
        use tokio::io::AsyncWriteExt;
        read_request(&mut stream).await.unwrap();
        // A whole document, but less than was announced: more may have followed.
        stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\n[]").await.unwrap();
        stream.shutdown().await.unwrap();
    });
    assert_eq!(list(&url).await.unwrap_err().class, Class::Unreachable);
}

#[tokio::test]
async fn a_later_page_that_fails_is_asked_for_again_and_the_first_is_not() {
    let server = Server::start(|number, _| match number {
        0 => response(200, &json!({"tokens": tokens(&["tok_1"]), "next_cursor": "c"}).to_string()),
        1 => response(502, ""),
        2 => response_with(429, &[("retry-after", "1")], ""),
        _ => response(200, &tokens(&["tok_2"]).to_string()),
    })
    .await;
    assert_eq!(list(&server.url).await.unwrap(), ["tok_1", "tok_2"]);
    assert_eq!(server.seen().len(), 4);

    let server = Server::saying(502, "").await;
    assert_eq!(list(&server.url).await.unwrap_err().class, Class::Failing);
    assert_eq!(server.seen().len(), 1);
}

#[tokio::test]
async fn a_refused_list_has_its_class() {
    for (status, class) in
        [(401, Class::Credential), (404, Class::Gone), (400, Class::Request), (302, Class::Unusable)]
    {
        let server = Server::saying(status, r#"{"message":"m"}"#).await;
        assert_eq!(list(&server.url).await.unwrap_err().class, class, "{status}");
    }
}
