//! No layer sends a POST twice; and only what was never sent counts as that.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::io::AsyncWriteExt;
use tokio::sync::Notify;

use super::mint::request;
use super::server::{Fixture, client, client_with, raw, read_request, serve_raw};
use crate::lifecycle::token::TokenId;
use crate::resources::KeyKind;
use crate::token_api::{Class, MintError};

async fn create(fixture: &Fixture) -> MintError {
    let permit = fixture.client.permit().await.unwrap();
    fixture.client.create(permit, &request()).await.unwrap_err()
}

#[tokio::test]
async fn a_connection_cut_after_the_request_is_unknown_and_nothing_is_sent_again() {
    // Nothing at all, half a head, half a body, and a success that breaks off.
    for cut in [
        "",
        "HTTP/1.1 20",
        "HTTP/1.1 201 Created\r\ncontent-length: 100\r\n\r\n{\"id\":",
        "HTTP/1.1 400 Bad Request\r\ncontent-length: 100\r\n\r\n{\"message\":\"no\"}",
        "HTTP/1.1 201 Created\r\ntransfer-encoding: chunked\r\n\r\n5\r\n{\"id\"\r\n",
        "no HTTP at all",
    ] {
        let (listener, url) = raw().await;
        let requests = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&requests);
        let _server = serve_raw(listener, move |_, mut stream| {
            let count = Arc::clone(&count);
            async move {
                while read_request(&mut stream).await.is_some() {
                    count.fetch_add(1, Ordering::SeqCst);
                    let _sent = stream.write_all(cut.as_bytes()).await;
                    let _closed = stream.shutdown().await;
                }
            }
        });
        let fixture = client(&url);
        let error = create(&fixture).await;
        assert!(
            matches!(&error, MintError::Unknown(error) if error.class == Class::Unreachable),
            "{cut}: {error:?}"
        );
        let permit = fixture.client.permit().await.unwrap();
        let id = TokenId::parse("tok_1").unwrap();
        let error = fixture.client.rotate(permit, KeyKind::Access, &id, None, "op").await.unwrap_err();
        assert!(
            matches!(&error, MintError::Unknown(error) if error.class == Class::Unreachable),
            "{cut}: {error:?}"
        );
        assert_eq!(requests.load(Ordering::SeqCst), 2, "{cut}");
    }
}

#[tokio::test]
async fn a_connection_reset_before_a_byte_of_the_request_was_read_is_unknown() {
    let (listener, url) = raw().await;
    let connections = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&connections);
    let _server = serve_raw(listener, move |_, stream| {
        count.fetch_add(1, Ordering::SeqCst);
        // With unread data a close becomes a reset.
        async move {
            stream.readable().await.unwrap();
            stream.set_zero_linger().unwrap();
            drop(stream);
        }
    });
    let error = create(&client(&url)).await;
    assert!(matches!(error, MintError::Unknown(_)), "{error:?}");
    assert_eq!(connections.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn a_post_never_uses_a_kept_connection_so_an_idle_one_that_died_does_it_no_harm() {
    let (listener, url) = raw().await;
    let seen: Arc<Mutex<Vec<(usize, String)>>> = Arc::default();
    let closed = Arc::new(Notify::new());
    let (log, close) = (Arc::clone(&seen), Arc::clone(&closed));
    let _server = serve_raw(listener, move |number, mut stream| {
        let (log, close) = (Arc::clone(&log), Arc::clone(&close));
        async move {
            while let Some(text) = read_request(&mut stream).await {
                let line = text.lines().next().unwrap().to_owned();
                let post = line.starts_with("POST");
                log.lock().unwrap().push((number, line));
                let body = if post { r#"{"id":"tok_1","token":"kt_live_x"}"# } else { "[]" };
                let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n", body.len());
                stream.write_all((head + body).as_bytes()).await.unwrap();
                if !post {
                    // Kept alive by the letter, and closed all the same.
                    stream.shutdown().await.unwrap();
                    close.notify_one();
                }
            }
        }
    });
    let fixture = client(&url);
    for _ in 0..2 {
        fixture.client.list(KeyKind::Access, |_| ()).await.unwrap();
        closed.notified().await;
        let permit = fixture.client.permit().await.unwrap();
        fixture.client.create(permit, &request()).await.unwrap();
    }
    let seen = seen.lock().unwrap().clone();
    let posts: Vec<usize> =
        seen.iter().filter(|(_, line)| line.starts_with("POST")).map(|(number, _)| *number).collect();
    assert_eq!(posts.len(), 2, "{seen:?}");
    for number in posts {
        assert_eq!(seen.iter().filter(|(other, _)| *other == number).count(), 1, "{seen:?}");
    }
}

#[tokio::test]
async fn a_refused_connection_is_definite() {
    let (listener, url) = raw().await;
    drop(listener);
    let error = create(&client(&url)).await;
    assert!(matches!(&error, MintError::Refused(error) if error.class == Class::Unreachable), "{error:?}");
}

#[tokio::test]
async fn a_failed_tls_handshake_is_definite() {
    let (listener, url) = raw().await;
    let _server = serve_raw(listener, |_, mut stream| async move {
        stream.write_all(b"this isn't TLS").await.unwrap();
        stream.shutdown().await.unwrap();
    });
    let error = create(&client(&url.replace("http://", "https://"))).await;
    assert!(matches!(&error, MintError::Refused(error) if error.class == Class::Unreachable), "{error:?}");
}

#[tokio::test]
async fn no_answer_within_the_deadline_is_unknown() {
    for begin in ["", "HTTP/1.1 201 Created\r\ncontent-length: 100\r\n\r\n{"] {
        let (listener, url) = raw().await;
        let _server = serve_raw(listener, move |_, mut stream| async move {
            read_request(&mut stream).await.unwrap();
            stream.write_all(begin.as_bytes()).await.unwrap();
            std::future::pending::<()>().await;
        });
        let fixture = client_with(&url, |settings| settings.call_deadline = Duration::from_millis(300));
        let error = create(&fixture).await;
        assert!(
            matches!(&error, MintError::Unknown(error) if error.class == Class::Unreachable),
            "{error:?}"
        );
        assert!(error.to_string().contains("in time"), "{error}");
    }
}
