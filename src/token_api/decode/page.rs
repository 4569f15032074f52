//! A page of a list (O4). Its tokens are handed on one at a time, so that other people's never add up in memory.

use std::fmt;

use http::{HeaderMap, header::LINK};
use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::Value;

use super::token::{Entry, entry, truthy};
use crate::lifecycle::token::TokenId;
use crate::resources::KeyKind;
use crate::token_api::ListedToken;

/// Where the tokens of a page may stand.
const TOKENS: [&str; 4] = ["tokens", "data", "items", "results"];

/// Where the fields of paging may stand, beside the top.
const PAGING: [&str; 4] = ["pagination", "paging", "meta", "links"];

/// How a list goes on after a page.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::token_api) enum Next {
    /// This page is the last.
    End,
    /// With this cursor.
    Cursor(String),
    /// With the query of this link.
    Link(String),
    /// There is more, and no word of how to get it: after the page's last token.
    AfterLast,
}

/// What a page tells beside its tokens.
#[derive(Debug)]
pub(in crate::token_api) struct Page {
    /// Its first and last token.
    pub(in crate::token_api) ends: Option<(TokenId, TokenId)>,
    /// Its entries, tokens or not.
    pub(in crate::token_api) entries: usize,
    /// How the list goes on.
    pub(in crate::token_api) next: Next,
}

/// A page that can't be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::token_api) enum UnreadablePage {
    /// It has none of the shapes that are known.
    Shape,
    /// It has an entry of which nothing can be made.
    Entry,
}

/// Reads a page of a list of tokens of `kind`, handing each token to `each`.
pub(in crate::token_api) fn page(
    body: &[u8],
    headers: &HeaderMap,
    kind: KeyKind,
    each: &mut dyn FnMut(ListedToken),
) -> Result<Page, UnreadablePage> {
    let mut reader = Reader {
        kind,
        each,
        found: false,
        unreadable: false,
        entries: 0,
        ends: None,
        paging: Paging::default(),
    };
    let mut json = serde_json::Deserializer::from_slice(body);
    Document(&mut reader).deserialize(&mut json).map_err(|_| UnreadablePage::Shape)?;
    json.end().map_err(|_| UnreadablePage::Shape)?;
    if reader.unreadable {
        return Err(UnreadablePage::Entry);
    }
    if !reader.found {
        return Err(UnreadablePage::Shape);
    }
    Ok(Page { next: reader.paging.next(next_link(headers)), ends: reader.ends, entries: reader.entries })
}

/// What is gathered while a page is read.
struct Reader<'a> {
    kind: KeyKind,
    each: &'a mut dyn FnMut(ListedToken),
    found: bool,
    unreadable: bool,
    entries: usize,
    ends: Option<(TokenId, TokenId)>,
    paging: Paging,
}

impl Reader<'_> {
    fn take(&mut self, value: &Value) {
        self.entries += 1;
        match entry(value, self.kind) {
            Entry::Token(token) => {
                let id = token.facts.id.clone();
                match &mut self.ends {
                    Some((_, last)) => *last = id,
                    None => self.ends = Some((id.clone(), id)),
                }
                (self.each)(token);
            }
            Entry::Other => (),
            Entry::Unreadable => self.unreadable = true,
        }
    }
}

/// The fields of paging. The outer option says whether a field is there at all.
#[derive(Default)]
struct Paging {
    next_cursor: Option<Value>,
    next: Option<Value>,
    cursor: Option<Value>,
    has_more: Option<bool>,
}

impl Paging {
    fn set(&mut self, field: &str, value: Value) {
        let slot = match field {
            "next_cursor" => &mut self.next_cursor,
            "next" => &mut self.next,
            "cursor" => &mut self.cursor,
            // A page on which two places disagree isn't believed to be the last.
            "has_more" if !value.is_null() => {
                self.has_more = Some(self.has_more == Some(true) || truthy(&value));
                return;
            }
            _ => return,
        };
        // A field that says something isn't undone by one that says nothing.
        if !slot.as_ref().is_some_and(says_something) {
            *slot = Some(value);
        }
    }

    fn next(&self, link: Option<Next>) -> Next {
        if self.has_more == Some(false) {
            return Next::End;
        }
        if let Some(cursor) = self.next_cursor.as_ref().and_then(text) {
            return Next::Cursor(cursor);
        }
        if let Some(next) = self.next.as_ref().and_then(text) {
            return if is_link(&next) { Next::Link(next) } else { Next::Cursor(next) };
        }
        if let Some(link) = link {
            return link;
        }
        // Beside a field that names the next page, `cursor` names this one.
        let explicit = self.next_cursor.is_some() || self.next.is_some();
        let cursor = self.cursor.as_ref().filter(|_| !explicit);
        if let Some(cursor) = cursor.and_then(text) {
            return Next::Cursor(cursor);
        }
        // What says something that isn't understood may say that there is more.
        let unclear = [self.next_cursor.as_ref(), self.next.as_ref(), cursor];
        if self.has_more == Some(true) || unclear.into_iter().flatten().any(says_something) {
            return Next::AfterLast;
        }
        Next::End
    }
}

/// Whether a field of paging holds anything that could name a page.
fn says_something(value: &Value) -> bool {
    match value {
        Value::Array(items) => items.iter().any(says_something),
        Value::Object(fields) => fields.values().any(says_something),
        other => truthy(other),
    }
}

/// A cursor or link as text.
fn text(value: &Value) -> Option<String> {
    match value {
        Value::String(text) if !text.is_empty() => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        Value::Object(object) => {
            ["cursor", "href", "url"].into_iter().find_map(|field| text(object.get(field)?))
        }
        _ => None,
    }
}

/// Base64 has slashes too, so a path alone doesn't make a link.
fn is_link(text: &str) -> bool {
    text.starts_with("https://")
        || text.starts_with("http://")
        || text.starts_with('?')
        || (text.starts_with('/') && text.contains('?'))
}

/// What `Link` headers say of the next page (RFC 8288).
fn next_link(headers: &HeaderMap) -> Option<Next> {
    headers.get_all(LINK).iter().find_map(|value| {
        // Not `to_str`: a page isn't the last because a link on it has a byte that no header should have.
        let text = String::from_utf8_lossy(value.as_bytes());
        match target_of_next(&text) {
            Some(target) if !target.contains(char::REPLACEMENT_CHARACTER) => {
                Some(Next::Link(target.to_owned()))
            }
            Some(_) => Some(Next::AfterLast),
            None => names_next(&text).then_some(Next::AfterLast),
        }
    })
}

/// The target of `<…>; rel="next"`.
fn target_of_next(links: &str) -> Option<&str> {
    let mut rest = links;
    loop {
        let (_, after) = rest.split_once('<')?;
        let (target, after) = after.split_once('>')?;
        // The parameters reach to the next target.
        let parameters = after.split('<').next().unwrap_or_default();
        let next = parameters.split([';', ',']).any(|parameter| {
            parameter.split_once('=').is_some_and(|(name, value)| {
                name.trim().eq_ignore_ascii_case("rel")
                    && value.trim().trim_matches('"').split(' ').any(|rel| rel.eq_ignore_ascii_case("next"))
            })
        });
        if next {
            return Some(target);
        }
        rest = after;
    }
}

/// Whether there is talk of a next page at all, in whatever form.
fn names_next(links: &str) -> bool {
    let plain: String = links.chars().filter(|c| !c.is_whitespace() && *c != '"').collect();
    plain.to_ascii_lowercase().contains("rel=next")
}

/// The top of a page, or an object in which it stands: an array, or an object with the array in it.
struct Document<'r, 'a>(&'r mut Reader<'a>);

impl<'de> DeserializeSeed<'de> for Document<'_, '_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Document<'_, '_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list of tokens")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<(), A::Error> {
        self.0.found = true;
        while let Some(value) = seq.next_element::<Value>()? {
            self.0.take(&value);
        }
        Ok(())
    }

    /// Some languages write an empty list as null.
    fn visit_unit<E>(self) -> Result<(), E> {
        self.0.found = true;
        Ok(())
    }

    // `results` may be a number of results; a page whose only such field is one has no list.
    fn visit_u64<E>(self, _: u64) -> Result<(), E> {
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        while let Some(field) = map.next_key::<String>()? {
            if TOKENS.contains(&field.as_str()) {
                map.next_value_seed(Document(self.0))?;
            } else if PAGING.contains(&field.as_str()) {
                if let Value::Object(fields) = map.next_value()? {
                    for (field, value) in fields {
                        self.0.paging.set(&field, value);
                    }
                }
            } else if field == "error" || field == "errors" {
                // `{"data": null, "error": …}` with a 200 is a failure, not an empty list.
                self.0.unreadable |= !map.next_value::<Value>()?.is_null();
            } else if ["next_cursor", "next", "cursor", "has_more"].contains(&field.as_str()) {
                self.0.paging.set(&field, map.next_value()?);
            } else {
                map.next_value::<IgnoredAny>()?;
            }
        }
        Ok(())
    }
}
