//! One token: as the answer to a create or rotate shows it, and as a list does.

use jiff::Timestamp;
use secrecy::SecretString;
use serde_json::{Map, Value};
use zeroize::Zeroize;

use crate::lifecycle::time::whole_seconds;
use crate::lifecycle::token::{TokenFacts, TokenId};
use crate::resources::KeyKind;
use crate::token_api::ListedToken;
use crate::token_api::scrub::looks_like_value;

/// Where a value may stand (O1).
const VALUE_FIELDS: [&str; 6] = ["token", "key", "value", "secret", "api_key", "plaintext"];

/// Where an id may stand (O2).
const ID_FIELDS: [&str; 2] = ["id", "token_id"];

/// Where the API's own prefix may stand.
const PREFIX_FIELDS: [&str; 3] = ["prefix", "token_prefix", "key_prefix"];

/// In which objects of an answer all of these may stand, beside its top.
const INNER: [&str; 2] = ["data", "token"];

/// The longest name that is taken: eight times the usual limit. A tag stands at a name's end, so a longer name is left
/// out rather than cut.
const MAX_NAME: usize = 512;

/// The longest prefix that is shown, in characters.
const MAX_PREFIX: usize = 128;

/// A text that begins like a value and is longer than this is a value, or most of one. The consoles of such APIs show
/// about a dozen characters.
const MAX_VALUE_LIKE_PREFIX: usize = 32;

/// What an answer to a create or rotate tells. Everything may be missing.
#[derive(Debug, Default)]
pub(in crate::token_api) struct Answer {
    pub(in crate::token_api) id: Option<TokenId>,
    pub(in crate::token_api) value: Option<SecretString>,
    pub(in crate::token_api) name: Option<String>,
    pub(in crate::token_api) prefix: Option<String>,
    pub(in crate::token_api) created_at: Option<Timestamp>,
    pub(in crate::token_api) rotated_at: Option<Timestamp>,
    pub(in crate::token_api) expires_at: Option<Timestamp>,
}

impl Answer {
    /// What is told, about the token with `id`.
    pub(in crate::token_api) fn facts(self, id: TokenId) -> TokenFacts {
        let Self { id: _, value: _, name, prefix, created_at, rotated_at, expires_at } = self;
        TokenFacts { id, name, prefix, created_at, rotated_at, expires_at }
    }
}

/// A JSON document whose texts are wiped from memory when it is dropped.
struct Wiped(Value);

impl Drop for Wiped {
    fn drop(&mut self) {
        wipe(&mut self.0);
    }
}

fn wipe(value: &mut Value) {
    match value {
        Value::String(text) => text.zeroize(),
        Value::Array(items) => items.iter_mut().for_each(wipe),
        Value::Object(object) => object.values_mut().for_each(wipe),
        Value::Null | Value::Bool(_) | Value::Number(_) => (),
    }
}

/// Reads the answer to a create or rotate; nothing if it isn't a JSON object.
pub(in crate::token_api) fn answer(body: &[u8]) -> Option<Answer> {
    let document = Wiped(serde_json::from_slice(body).ok()?);
    let places = Places::of(document.0.as_object()?);
    let value = places.value();
    Some(Answer {
        id: places.id(value),
        name: places.name(value),
        prefix: places.prefix(value),
        created_at: places.time("created_at"),
        rotated_at: places.time("rotated_at"),
        expires_at: places.time("expires_at"),
        value: value.map(SecretString::from),
    })
}

/// What can be said of an entry of a list.
pub(super) enum Entry {
    /// A token.
    Token(ListedToken),
    /// A token of the other type, or one that can be nobody's that matters here.
    Other,
    /// It can't be told what this is, so the list can't prove anything.
    Unreadable,
}

/// Reads an entry of a list of tokens of `kind`.
pub(super) fn entry(entry: &Value, kind: KeyKind) -> Entry {
    let Some(object) = entry.as_object() else { return Entry::Unreadable };
    let places = Places::of(object);
    let other = kind.other();
    // An API that doesn't know the filter shows both types.
    let types = ["token_type", "type"];
    if types.into_iter().any(|field| places.text(field) == Some(other.token_type())) {
        return Entry::Other;
    }
    let name = places.name(None);
    let Some(id) = places.id(None) else {
        // Without an id nothing can be done with a token. Ours bear a tag; other people's don't matter.
        let ours = name.as_deref().is_none_or(|name| crate::lifecycle::naming::Tag::of_name(name).is_some());
        return if ours { Entry::Unreadable } else { Entry::Other };
    };
    Entry::Token(ListedToken {
        facts: TokenFacts {
            id,
            name,
            prefix: places.prefix(None),
            created_at: places.time("created_at"),
            rotated_at: places.time("rotated_at"),
            expires_at: places.time("expires_at"),
        },
        alive: places.alive(),
    })
}

/// The objects in which fields are looked for, the outermost first.
struct Places<'a>(Vec<&'a Map<String, Value>>);

impl<'a> Places<'a> {
    fn of(top: &'a Map<String, Value>) -> Self {
        let inner = |object: &'a Map<String, Value>| {
            INNER.into_iter().filter_map(|field| object.get(field)?.as_object()).collect::<Vec<_>>()
        };
        let mut places = vec![top];
        for object in inner(top) {
            places.push(object);
            places.extend(inner(object));
        }
        Self(places)
    }

    /// What stands under `field`, where it stands and isn't null.
    fn all(&self, field: &str) -> impl Iterator<Item = &'a Value> {
        self.0.iter().filter_map(move |place| place.get(field)).filter(|value| !value.is_null())
    }

    fn text(&self, field: &str) -> Option<&'a str> {
        self.all(field).filter_map(Value::as_str).find(|text| !text.trim().is_empty())
    }

    /// The value. What begins like one goes first: a field such as `key` may hold a short name instead.
    fn value(&self) -> Option<&'a str> {
        let candidates: Vec<&str> = self
            .0
            .iter()
            .flat_map(|place| VALUE_FIELDS.into_iter().filter_map(|field| place.get(field)?.as_str()))
            .filter(|text| !text.trim().is_empty())
            .collect();
        let told = |text: &str| {
            let same = |value: &Value| match value {
                Value::String(told) => told == text,
                Value::Number(told) => told.to_string() == text,
                _ => false,
            };
            ID_FIELDS.into_iter().chain(["name"]).any(|field| self.all(field).any(same))
        };
        let likely = candidates.iter().find(|text| looks_like_value(text));
        likely.or_else(|| candidates.iter().find(|text| !told(text))).copied()
    }

    /// The id. One that looks like a value, or holds it, isn't taken: ids are shown to everybody.
    fn id(&self, value: Option<&str>) -> Option<TokenId> {
        let parse = |text: &str| {
            let leaks = looks_like_value(text) || value.is_some_and(|value| text.contains(value));
            TokenId::parse(text).ok().filter(|_| !leaks)
        };
        self.0.iter().flat_map(|place| ID_FIELDS.into_iter().filter_map(|field| place.get(field))).find_map(
            |id| match id {
                Value::String(text) => parse(text),
                Value::Number(number) if number.is_u64() || number.is_i64() => parse(&number.to_string()),
                _ => None,
            },
        )
    }

    /// The name; left out if it is too long, or holds the value.
    fn name(&self, value: Option<&str>) -> Option<String> {
        let name = self.text("name")?;
        let leaks = looks_like_value(name) || value.is_some_and(|value| name.contains(value));
        (name.len() <= MAX_NAME && !leaks).then(|| name.to_owned())
    }

    /// The API's own prefix; left out if it gives the value away.
    fn prefix(&self, value: Option<&str>) -> Option<String> {
        let prefix = PREFIX_FIELDS.into_iter().find_map(|field| self.text(field))?;
        if value.is_some_and(|value| gives_away(prefix, value))
            || (looks_like_value(prefix) && prefix.len() > MAX_VALUE_LIKE_PREFIX)
        {
            return None;
        }
        Some(prefix.chars().take(MAX_PREFIX).collect())
    }

    fn time(&self, field: &str) -> Option<Timestamp> {
        self.all(field).find_map(|value| time(value.as_str()?))
    }

    /// Whether the token lives, as far as is told (O5). A word that isn't known doesn't make it dead: whatever lives is
    /// revoked in the end, and whatever is dead is tried before it is believed.
    fn alive(&self) -> bool {
        let revoked_at = self.all("revoked_at").any(|value| match value {
            Value::String(text) => !text.trim().is_empty() && !is_zero_time(text),
            other => truthy(other),
        });
        let revoked = self.all("revoked").any(truthy);
        let status = self.text("status").is_some_and(|status| {
            ["revoked", "expired", "inactive", "disabled", "deactivated", "deleted"]
                .iter()
                .any(|dead| status.trim().eq_ignore_ascii_case(dead))
        });
        let inactive =
            ["active", "is_active"].into_iter().any(|field| self.all(field).any(|value| !truthy(value)));
        !(revoked_at || revoked || status || inactive)
    }
}

/// Whether a prefix shows the whole value, or most of it.
pub(in crate::token_api) fn gives_away(prefix: &str, value: &str) -> bool {
    prefix.contains(value) || (value.starts_with(prefix) && prefix.len() * 2 > value.len())
}

/// Whether a field says yes, in one of the ways in which languages write that.
pub(super) fn truthy(value: &Value) -> bool {
    match value {
        Value::Null => false,
        Value::Bool(truth) => *truth,
        Value::Number(number) => number.as_f64() != Some(0.0),
        Value::String(text) => !["", "false", "0", "no"].contains(&text.trim().to_ascii_lowercase().as_str()),
        Value::Array(_) | Value::Object(_) => true,
    }
}

/// A time in whole seconds: what is stored has no finer ones, and the two are compared.
fn time(text: &str) -> Option<Timestamp> {
    let time: Timestamp = text.trim().parse().ok()?;
    (!is_zero(time)).then(|| whole_seconds(time))
}

fn is_zero_time(text: &str) -> bool {
    text.trim().parse().is_ok_and(is_zero)
}

/// Some languages write "no time" as the first second of the first year.
fn is_zero(time: Timestamp) -> bool {
    time <= Timestamp::UNIX_EPOCH
}
