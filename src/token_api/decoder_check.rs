//! What must hold of every answer, whatever it is made of: the check of the fuzz target `decoder`. It stands here because
//! nothing outside may use the decoder.
//!
//! The input is written like an answer: a line with the status, lines with headers, an empty line, the body.

use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header::LINK};
use secrecy::{ExposeSecret, SecretString};
use serde_json::Value;
use zeroize::Zeroizing;

use super::call::{Reply, failure};
use super::client::ListedToken;
use super::decode::{Answer, Next, Page, Told, answer, page};
use super::error::Class;
use super::scrub::looks_like_value;
use crate::lifecycle::naming::Tag;
use crate::lifecycle::token::TokenId;
use crate::resources::KeyKind;

/// The operator's own credential in messages. It isn't of a form by which it could be known.
const CREDENTIAL: &str = "own~canary^of.the*operator";

/// The fields in which a value, paging and tokens may stand, as the documentation of the API leaves them open.
const VALUES: [&str; 6] = ["token", "key", "value", "secret", "api_key", "plaintext"];
const LISTS: [&str; 4] = ["tokens", "data", "items", "results"];
const PAGINGS: [&str; 4] = ["pagination", "paging", "meta", "links"];

/// Checks one answer: panics if something that must hold doesn't.
pub(crate) fn decoder_check(input: &[u8]) {
    let reply = reply(input);
    check_answer(&reply.body);
    for kind in [KeyKind::Access, KeyKind::Gateway] {
        check_page(&reply, kind);
    }
    check_failure(&reply);
}

/// Reads an input. One without an empty line is a body alone.
fn reply(input: &[u8]) -> Reply {
    let cut = input.windows(2).position(|pair| pair == b"\n\n");
    let (head, body) = cut.map_or((&b""[..], input), |cut| (&input[..cut], &input[cut + 2..]));
    let mut lines = head.split(|byte| *byte == b'\n');
    let status = lines.next().and_then(|line| StatusCode::from_bytes(line).ok()).unwrap_or(StatusCode::OK);
    let mut headers = HeaderMap::new();
    for line in lines {
        let Some(colon) = line.iter().position(|byte| *byte == b':') else { continue };
        let name = HeaderName::from_bytes(&line[..colon]);
        let value = HeaderValue::from_bytes(line[colon + 1..].trim_ascii());
        if let (Ok(name), Ok(value)) = (name, value) {
            headers.append(name, value);
        }
    }
    Reply { status, headers, body: Zeroizing::new(body.to_vec()) }
}

/// The answer to a create or rotate.
fn check_answer(body: &[u8]) {
    let document = serde_json::from_slice::<Value>(body).ok().filter(Value::is_object);
    let read = answer(body);
    assert_eq!(read.is_some(), document.is_some(), "an object, and nothing else, is an answer");
    let (Some(mut read), Some(document)) = (read, document) else { return };

    let mut told = Vec::new();
    let mut documented = Vec::new();
    for place in [&document, &document["data"], &document["token"]] {
        documented.extend(VALUES.iter().filter_map(|field| place[field].as_str()));
    }
    texts_under(&document, &VALUES, &mut told);
    let Some(value) = read.value.take() else {
        assert!(!documented.into_iter().any(looks_like_value), "a value is overlooked");
        return check_facts(read, None);
    };
    let value = value.expose_secret();
    assert!(!value.trim().is_empty(), "an empty value");
    assert!(told.contains(&value), "a value out of nowhere");

    let shown = [value, "another"].map(|value| {
        read.value = Some(SecretString::from(value));
        format!("{read:?}")
    });
    assert_eq!(shown[0], shown[1], "a value is shown");
    check_facts(read, Some(value));
}

/// What an answer tells beside the value: it is written into statuses, annotations and logs.
fn check_facts(read: Answer, value: Option<&str>) {
    let Some(id) = read.id.clone() else { return };
    let facts = read.facts(id);
    check_id(&facts.id);
    for text in [Some(facts.id.as_str()), facts.name.as_deref(), facts.prefix.as_deref()] {
        let leaks = text.zip(value).is_some_and(|(text, value)| text.contains(value));
        assert!(!leaks, "the value is told by {text:?}");
    }
    let half = facts
        .prefix
        .zip(value)
        .is_some_and(|(prefix, value)| value.starts_with(&prefix) && prefix.len() > value.len() / 2);
    assert!(!half, "the prefix is most of the value");
    assert!(facts.name.is_none_or(|name| name.len() <= 512 && !looks_like_value(&name)));
    for time in [facts.created_at, facts.rotated_at, facts.expires_at].into_iter().flatten() {
        assert_eq!(time.subsec_nanosecond(), 0, "Kubernetes keeps whole seconds");
        assert_eq!(time.to_string().parse().ok(), Some(time), "a time is read back");
    }
}

fn check_id(id: &TokenId) {
    assert_eq!(TokenId::parse(id.as_str()).as_ref(), Ok(id));
    assert!(!looks_like_value(id.as_str()), "an id that is a value");
}

/// A page of a list.
fn check_page(reply: &Reply, kind: KeyKind) {
    let mut tokens: Vec<ListedToken> = Vec::new();
    let read = page(&reply.body, &reply.headers, kind, &mut |token| tokens.push(token));
    for token in &tokens {
        check_id(&token.facts.id);
        assert!(token.facts.name.as_deref().is_none_or(|name| !looks_like_value(name)));
        let prefix = token.facts.prefix.as_deref().unwrap_or_default();
        assert!(prefix.chars().count() <= 128 && !(looks_like_value(prefix) && prefix.len() > 32));
    }
    let Ok(Page { ends, entries, next }) = read else { return };
    assert!(tokens.len() <= entries);
    let ids = tokens.first().zip(tokens.last()).map(|(a, b)| (a.facts.id.clone(), b.facts.id.clone()));
    assert_eq!(ends, ids, "the first and the last token");

    // What a page says beside its tokens and its paging may be anything, even what isn't quite JSON.
    let Ok(document) = serde_json::from_slice::<Value>(&reply.body) else { return };
    let mut paging = Paging::default();
    let mut listed = Vec::new();
    gather(&document, &mut paging, &mut listed);
    for entry in listed {
        check_entry(entry, kind, &tokens);
    }
    if next == Next::End {
        assert!(!paging.says_more(&reply.headers), "a page that isn't the last is taken for it");
    }
}

/// An entry of a page that was read: whatever bears a tag of ours is handed on.
fn check_entry(entry: &Value, kind: KeyKind, tokens: &[ListedToken]) {
    assert!(entry.is_object(), "nobody knows what {entry} is");
    let mut types = Vec::new();
    texts_under(entry, &["token_type", "type"], &mut types);
    let other =
        types.iter().any(|type_| ["access", "gateway"].contains(type_) && *type_ != kind.token_type());
    let name = entry["name"].as_str().filter(|name| name.len() <= 512 && !looks_like_value(name));
    if let Some(name) = name.filter(|name| !other && Tag::of_name(name).is_some()) {
        let handed_on = tokens.iter().any(|token| token.facts.name.as_deref() == Some(name));
        assert!(handed_on, "{name:?} is passed over");
    }
}

/// What a page says of those that follow.
#[derive(Default)]
struct Paging {
    /// There is more; or there isn't.
    has_more: Option<bool>,
    /// A field for the next page is there; it says something.
    next: Option<bool>,
    cursor: bool,
}

impl Paging {
    fn look(&mut self, place: &Value) {
        let says = |field: &str| says_something(&place[field]);
        if !place["has_more"].is_null() {
            self.has_more = Some(says("has_more") || self.has_more == Some(true));
        }
        for field in ["next", "next_cursor"].into_iter().filter(|field| place.get(field).is_some()) {
            self.next = Some(says(field) || self.next == Some(true));
        }
        self.cursor |= says("cursor");
    }

    fn says_more(&self, headers: &HeaderMap) -> bool {
        let linked = headers.get_all(LINK).iter().any(|link| {
            let link = String::from_utf8_lossy(link.as_bytes()).to_ascii_lowercase();
            link.contains("rel=next") || link.contains("rel=\"next\"")
        });
        self.has_more.unwrap_or_else(|| linked || self.next.unwrap_or(self.cursor))
    }
}

/// Whether a field of paging holds something.
fn says_something(value: &Value) -> bool {
    match value {
        Value::Null => false,
        Value::Bool(said) => *said,
        Value::Number(number) => number.as_f64() != Some(0.0),
        Value::String(text) => !["", "false", "0", "no"].contains(&text.trim().to_ascii_lowercase().as_str()),
        Value::Array(items) => items.iter().any(says_something),
        Value::Object(fields) => fields.values().any(says_something),
    }
}

/// The paging and the entries of a page, wherever they may stand.
fn gather<'a>(place: &'a Value, paging: &mut Paging, listed: &mut Vec<&'a Value>) {
    if let Value::Array(entries) = place {
        listed.extend(entries);
        return;
    }
    paging.look(place);
    for inner in PAGINGS.iter().map(|field| &place[field]).filter(|inner| inner.is_object()) {
        paging.look(inner);
    }
    for inner in LISTS.iter().filter_map(|field| place.get(field)) {
        gather(inner, paging, listed);
    }
}

/// Every text that stands under one of the fields, at any depth.
fn texts_under<'a>(value: &'a Value, fields: &[&str], texts: &mut Vec<&'a str>) {
    match value {
        Value::Array(items) => items.iter().for_each(|item| texts_under(item, fields, texts)),
        Value::Object(object) => {
            for (name, value) in object {
                if fields.contains(&name.as_str()) {
                    texts.extend(value.as_str());
                }
                texts_under(value, fields, texts);
            }
        }
        _ => (),
    }
}

/// An answer that isn't a success.
fn check_failure(reply: &Reply) {
    let failure = failure(reply, &[CREDENTIAL]);
    let status = reply.status.as_u16();
    let told = Told::of(&reply.body);
    assert_eq!(failure.by_api, matches!(told, Told::Envelope(_)));
    if failure.definite {
        assert!(failure.by_api, "somebody else's word for what happened");
        assert!([400, 401, 403, 422, 429].contains(&status), "{status} says nothing of what happened");
    }
    assert!(failure.error.class != Class::Request || failure.definite);
    assert!(failure.error.retry_after.is_none_or(|wait| wait.as_secs() <= 300), "a pause without end");

    let shown = format!("{failure:?}");
    assert!(!shown.contains(CREDENTIAL), "the credential is shown: {shown}");
    for mark in ["kt_live_", "kt_gk_"] {
        assert!(!shown.to_ascii_lowercase().contains(mark), "a value is shown: {shown}");
    }
    let message = failure.error.to_string();
    assert!(message.chars().count() <= 256 && !message.chars().any(char::is_control), "{message:?}");
}
