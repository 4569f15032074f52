//! An answer until it is sent. It may hold a value, so it can't be printed.

use std::io;
use std::time::Duration;

use axum::body::{Body, Bytes};
use futures::stream::{self, StreamExt as _};
use http::header::{CONTENT_LENGTH, CONTENT_TYPE};
use http::{HeaderMap, HeaderName, HeaderValue, Response, StatusCode};
use serde_json::Value;

/// Long enough for the first half of a cut body to leave before the connection does.
const BEFORE_CUT: Duration = Duration::from_millis(30);

/// The pieces that a huge body is sent in.
const PIECE: usize = 64 * 1024;

/// What a huge body has around its filling, so that it is JSON.
const FRAME: (&str, &str) = ("{\"filling\":\"", "\"}");

pub(super) struct Answer {
    status: u16,
    headers: HeaderMap,
    body: Content,
}

enum Content {
    Whole(String),
    /// The text's first half is sent, as if all of it were to follow.
    Half(String),
    Huge(u64),
}

impl Answer {
    pub(super) fn text(status: u16, content_type: &str, body: String) -> Self {
        let answer = Self { status, headers: HeaderMap::new(), body: Content::Whole(body) };
        answer.header("content-type", content_type)
    }

    pub(super) fn json(status: u16, document: &Value) -> Self {
        Self::text(status, "application/json", document.to_string())
    }

    pub(super) fn empty(status: u16) -> Self {
        Self { status, headers: HeaderMap::new(), body: Content::Whole(String::new()) }
    }

    pub(super) fn huge(status: u16, bytes: u64) -> Self {
        Self { body: Content::Huge(bytes), ..Self::text(status, "application/json", String::new()) }
    }

    /// The same answer, whose connection ends in the middle of its body.
    pub(super) fn halved(mut self) -> Self {
        if let Content::Whole(body) = self.body {
            self.body = Content::Half(body);
        }
        self
    }

    /// What can't be a header was refused with the fault that brought it.
    pub(super) fn header(mut self, name: &'static str, value: &str) -> Self {
        if let Ok(value) = HeaderValue::from_str(value) {
            self.headers.insert(HeaderName::from_static(name), value);
        }
        self
    }

    pub(super) const fn status(&self) -> u16 {
        self.status
    }

    pub(super) const fn is_whole(&self) -> bool {
        !matches!(self.body, Content::Half(_))
    }

    pub(super) fn into_response(self) -> Response<Body> {
        let Self { status, mut headers, body } = self;
        let status = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let body = match body {
            Content::Whole(_) if status == StatusCode::NO_CONTENT => {
                headers.remove(CONTENT_TYPE);
                Body::empty()
            }
            Content::Whole(text) => Body::from(text),
            Content::Half(text) => {
                headers.insert(CONTENT_LENGTH, HeaderValue::from(text.len()));
                half(text)
            }
            Content::Huge(bytes) => huge(bytes),
        };
        let mut response = Response::new(body);
        *response.status_mut() = status;
        *response.headers_mut() = headers;
        response
    }
}

fn half(text: String) -> Body {
    let mut bytes = text.into_bytes();
    bytes.truncate(bytes.len() / 2);
    let first = stream::once(async { Ok(Bytes::from(bytes)) });
    let end = stream::once(async {
        tokio::time::sleep(BEFORE_CUT).await;
        Err(io::Error::other("cut by a fault"))
    });
    Body::from_stream(first.chain(end))
}

fn huge(bytes: u64) -> Body {
    let (head, tail) = FRAME;
    let filling = bytes.saturating_sub(u64::try_from(head.len() + tail.len()).unwrap_or_default());
    let piece = Bytes::from(vec![b'x'; PIECE]);
    let pieces = stream::unfold(filling, move |left| {
        let now = PIECE.min(usize::try_from(left).unwrap_or(usize::MAX));
        let piece = piece.slice(..now);
        async move { (now > 0).then(|| (piece, left - u64::try_from(now).unwrap_or(left))) }
    });
    let all = stream::iter([Bytes::from(head)]).chain(pieces).chain(stream::iter([Bytes::from(tail)]));
    Body::from_stream(all.map(Ok::<_, io::Error>))
}
