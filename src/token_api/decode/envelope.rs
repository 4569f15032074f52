//! What an answer that isn't a success says (O12).

use serde_json::{Map, Value};

/// What the body of an answer says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::token_api) enum Told {
    /// The API's own error envelope, with its message; unscrubbed.
    Envelope(String),
    /// Some text; unscrubbed.
    Text(String),
    /// A web page: from a proxy, a captive portal, a load balancer. Not from the API.
    Page,
    /// Nothing.
    Nothing,
}

/// How much of a body is looked at for a text.
const MAX_TEXT: usize = 64 << 10;

impl Told {
    /// Reads a body.
    pub(in crate::token_api) fn of(body: &[u8]) -> Self {
        let body = body.trim_ascii();
        if body.is_empty() {
            return Self::Nothing;
        }
        if body.starts_with(b"<") {
            return Self::Page;
        }
        // It isn't an error, as far as can be told, so it might hold anything: it isn't shown.
        let unknown = || Self::Text("JSON of a form that isn't known".to_owned());
        match serde_json::from_slice(body) {
            Ok(Value::Object(object)) => message(&object).map_or_else(unknown, Self::Envelope),
            Ok(Value::String(text)) => Self::Text(text),
            Ok(_) => unknown(),
            Err(_) => Self::Text(String::from_utf8_lossy(body.get(..MAX_TEXT).unwrap_or(body)).into_owned()),
        }
    }

    /// The text to show, unscrubbed.
    pub(in crate::token_api) fn text(&self) -> &str {
        match self {
            Self::Envelope(text) | Self::Text(text) => text,
            Self::Page => "a web page, so something between here and the API answered",
            Self::Nothing => "no further word",
        }
    }
}

/// The message of an object, if it is an envelope.
fn message(object: &Map<String, Value>) -> Option<String> {
    match object.get("error") {
        Some(Value::String(text)) => {
            // OAuth's form: a code in `error`, the sentence beside it.
            let sentence = string(object, "message").or_else(|| string(object, "error_description"));
            return Some(sentence.unwrap_or(text).to_owned());
        }
        Some(Value::Object(error)) => {
            let told =
                ["message", "detail", "code", "type"].into_iter().find_map(|field| string(error, field));
            return Some(told.unwrap_or("no message").to_owned());
        }
        _ => (),
    }
    if let Some(text) = string(object, "message") {
        return Some(text.to_owned());
    }
    match object.get("detail") {
        Some(Value::String(text)) => Some(text.clone()),
        // One entry for each field that was refused.
        Some(Value::Array(entries)) => {
            let told: Vec<&str> = entries
                .iter()
                .filter_map(|entry| entry.as_str().or_else(|| entry.get("msg")?.as_str()))
                .collect();
            Some(if told.is_empty() { "no message".to_owned() } else { told.join("; ") })
        }
        _ => None,
    }
}

fn string<'a>(object: &'a Map<String, Value>, field: &str) -> Option<&'a str> {
    object.get(field)?.as_str().filter(|text| !text.trim().is_empty())
}
