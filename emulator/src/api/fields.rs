//! Tokens as JSON, in every shape that the API may have (O1, O2, O5).

use secrecy::{ExposeSecret as _, SecretString};
use serde_json::{Map, Value, json};

use super::answer::Answer;
use crate::behaviour::{Answers, Behaviour, Lists, Marker, Place};
use crate::token::Token;

/// The answer that shows a value, once.
pub(super) fn issued(
    status: u16,
    token: &Token,
    value: Option<&SecretString>,
    behaviour: &Behaviour,
) -> Answer {
    let Behaviour { answers, lists, .. } = behaviour;
    let mut document = Map::new();
    let mut told = if answers.details { details(token, lists) } else { Map::new() };
    if answers.id {
        told.insert(answers.id_field.name().into(), json!(token.id));
    }
    place(&mut document, id_place(answers)).extend(told);
    if let Some(value) = value.filter(|_| answers.value) {
        let field = answers.value_field.name();
        place(&mut document, answers.value_place).insert(field.into(), json!(value.expose_secret()));
    }
    Answer::json(status, &Value::Object(document))
}

/// A token in a list, or in an answer that shows no value.
pub(super) fn listed(token: &Token, behaviour: &Behaviour) -> Value {
    let mut fields = details(token, &behaviour.lists);
    fields.insert(behaviour.answers.id_field.name().into(), json!(token.id));
    Value::Object(fields)
}

/// Two things can't both be called `token` at the top: a value there drives the object with the id away.
fn id_place(answers: &Answers) -> Place {
    let taken = answers.value && answers.value_place == Place::Top;
    let name = answers.value_field.name();
    match answers.id_place {
        Place::Token if taken && name == "token" => Place::Top,
        place => place,
    }
}

fn place(document: &mut Map<String, Value>, place: Place) -> &mut Map<String, Value> {
    let name = match place {
        Place::Top => return document,
        Place::Data => "data",
        Place::Token => "token",
    };
    let inner = document.entry(name).or_insert_with(|| Value::Object(Map::new()));
    if !inner.is_object() {
        *inner = Value::Object(Map::new());
    }
    match inner {
        Value::Object(fields) => fields,
        _ => unreachable!("it was made an object two lines above"),
    }
}

fn details(token: &Token, lists: &Lists) -> Map<String, Value> {
    let mut fields = Map::new();
    let mut add = |name: &str, value: Value| fields.insert(name.into(), value);
    add("name", json!(token.name));
    add("token_type", json!(token.token_type));
    add("prefix", json!(token.prefix));
    add("purpose", json!(token.purpose));
    add("expires_at", json!(token.expires_at));
    if let Some(team) = &token.team_id {
        add("team_id", json!(team));
    }
    if let Some(description) = &token.description {
        add("description", json!(description));
    }
    if let Some(bindings) = &token.bindings {
        add("bindings", bindings.clone());
    }
    if lists.times {
        add("created_at", json!(token.created_at));
        add("created_by", json!(token.created_by));
        add("rotated_at", json!(token.rotated_at));
    }
    let revoked = token.revoked_at.is_some();
    match lists.marker {
        Marker::RevokedAt => add("revoked_at", json!(token.revoked_at)),
        Marker::Revoked => add("revoked", json!(revoked)),
        Marker::Status => add("status", json!(if revoked { "revoked" } else { "active" })),
        Marker::Active => add("active", json!(!revoked)),
        Marker::IsActive => add("is_active", json!(!revoked)),
        Marker::None => None,
    };
    fields
}
