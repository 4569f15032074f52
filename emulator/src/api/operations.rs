//! Carries a call out.

use jiff::Timestamp;
use secrecy::{ExposeSecret as _, SecretString};
use serde_json::{Value, json};

use super::answer::Answer;
use super::errors::error;
use super::fields::{issued, listed};
use super::listing::{self, ListError};
use super::request::Request;
use crate::behaviour::{Behaviour, Idempotency};
use crate::call::Operation;
use crate::shared::{ChangeError, Shared, State};
use crate::store::Refusal;
use crate::token::{Creator, NewToken, TokenType};

/// An error that is no refusal of the table: status, code, message.
struct Wrong(u16, &'static str, String);

pub(super) fn execute(shared: &Shared, index: u64, request: &Request, behaviour: &Behaviour) -> Answer {
    let answer = match authorize(shared, request) {
        Ok(()) => match request.operation {
            Operation::Create => create(shared, index, request, behaviour),
            Operation::Rotate => rotate(shared, index, request, behaviour),
            Operation::Revoke => revoke(shared, index, request, behaviour),
            Operation::List => list(shared, request, behaviour),
            Operation::Whoami => whoami(shared, request, behaviour),
            Operation::Other => Err(Wrong(404, "no_route", format!("{} isn't here", request.method))),
        },
        Err(wrong) => Err(wrong),
    };
    answer.unwrap_or_else(|Wrong(status, code, message)| error(status, code, &message, behaviour.errors))
}

/// Everything but `whoami` takes the credential alone.
fn authorize(shared: &Shared, request: &Request) -> Result<(), Wrong> {
    let Some(bearer) = &request.bearer else {
        return Err(Wrong(401, "missing_credential", "no bearer token was sent".into()));
    };
    let bearer = bearer.expose_secret();
    let state = shared.lock();
    if state.is_credential(bearer) {
        return Ok(());
    }
    match (state.alive(bearer), request.operation) {
        (Some(_), Operation::Whoami) => Ok(()),
        (Some(_), _) => Err(Wrong(403, "forbidden", "this token may not manage tokens".into())),
        (None, _) => Err(Wrong(401, "invalid_credential", "the bearer token isn't valid".into())),
    }
}

fn create(shared: &Shared, index: u64, request: &Request, behaviour: &Behaviour) -> Result<Answer, Wrong> {
    let new = new_token(request, behaviour.statuses.invalid)?;
    let rules = &behaviour.tokens;
    let beginning = beginning(request, behaviour);
    let key = request.idempotency_key.as_ref().filter(|_| rules.idempotency != Idempotency::Ignored);
    let made = shared.change(|state, now| {
        let known = key.and_then(|key| state.idempotency.get(key));
        if let Some(id) = known {
            return match state.store.by_id(id) {
                Some(token) if rules.idempotency == Idempotency::Replayed => Ok((token.clone(), None)),
                _ => Err(Refusal::DuplicateName),
            };
        }
        let (token, value) = state.store.create(new, rules, beginning, Creator::Credential, now)?;
        if let Some(key) = &request.idempotency_key {
            state.idempotency.insert(key.clone(), token.id.clone());
        }
        committed(state, index, &token.id);
        Ok((token, Some(value)))
    });
    let statuses = &behaviour.statuses;
    let (token, value) = made.map_err(|error| wrong(&error, behaviour, (404, 409)))?;
    Ok(issued(statuses.create, &token, value.as_ref(), behaviour))
}

fn rotate(shared: &Shared, index: u64, request: &Request, behaviour: &Behaviour) -> Result<Answer, Wrong> {
    let statuses = &behaviour.statuses;
    let beginning = beginning(request, behaviour);
    let id = request.id().unwrap_or_default();
    let rotated = shared.change(|state, now| {
        let done = state.store.rotate(id, only(request), &behaviour.tokens, beginning, now)?;
        committed(state, index, &done.0.id);
        Ok(done)
    });
    let gone = (statuses.rotate_unknown, statuses.rotate_dead);
    let (token, value) = rotated.map_err(|error| wrong(&error, behaviour, gone))?;
    Ok(issued(statuses.rotate, &token, Some(&value), behaviour))
}

fn revoke(shared: &Shared, index: u64, request: &Request, behaviour: &Behaviour) -> Result<Answer, Wrong> {
    let statuses = &behaviour.statuses;
    let id = request.id().unwrap_or_default();
    let revoked = shared.change(|state, now| {
        let token = state.store.revoke(id, only(request), now)?;
        committed(state, index, &token.id);
        Ok(token)
    });
    let gone = (statuses.revoke_unknown, statuses.revoke_dead);
    let token = revoked.map_err(|error| wrong(&error, behaviour, gone))?;
    Ok(match statuses.revoke {
        204 => Answer::empty(204),
        status => Answer::json(status, &listed(&token, behaviour)),
    })
}

fn list(shared: &Shared, request: &Request, behaviour: &Behaviour) -> Result<Answer, Wrong> {
    let invalid = behaviour.statuses.invalid;
    let only = match (request.alias, request.parameter(&["type"])) {
        (true, _) => Some(TokenType::Gateway),
        (false, None) => None,
        (false, Some(text)) => Some(
            TokenType::parse(text)
                .ok_or_else(|| Wrong(invalid, "invalid_type", "type is access or gateway".into()))?,
        ),
    };
    let state = shared.lock();
    listing::list(&state.store, only, request, behaviour, Timestamp::now()).map_err(|error| match error {
        ListError::UnknownCursor => Wrong(invalid, "invalid_cursor", "the cursor isn't valid".into()),
        ListError::Lost => Wrong(500, "internal", "the page could not be read".into()),
    })
}

fn whoami(shared: &Shared, request: &Request, behaviour: &Behaviour) -> Result<Answer, Wrong> {
    let statuses = &behaviour.statuses;
    let bearer = request.bearer.as_ref().map(SecretString::expose_secret).unwrap_or_default();
    let state = shared.lock();
    match state.alive(bearer) {
        None => {
            let who = json!({"id": "credential", "name": "credential", "purpose": "integration"});
            Ok(Answer::json(statuses.whoami, &who))
        }
        Some(_) if statuses.whoami_minted >= 400 => {
            let message = "whoami isn't for this kind of token";
            Err(Wrong(statuses.whoami_minted, "forbidden", message.into()))
        }
        Some(token) => Ok(Answer::json(statuses.whoami_minted, &listed(token, behaviour))),
    }
}

/// The alias knows gateway tokens alone.
fn only(request: &Request) -> Option<TokenType> {
    request.alias.then_some(TokenType::Gateway)
}

fn beginning<'a>(request: &Request, behaviour: &'a Behaviour) -> &'a str {
    if request.alias { &behaviour.tokens.alias_value_prefix } else { &behaviour.tokens.value_prefix }
}

fn committed(state: &mut State, index: u64, id: &str) {
    state.calls.update(index, |call| {
        call.committed = true;
        call.token_id = Some(id.into());
    });
}

fn new_token(request: &Request, invalid: u16) -> Result<NewToken, Wrong> {
    let wrong = |code, message: &str| Err(Wrong(invalid, code, message.into()));
    let Some(Value::Object(mut body)) = request.body.clone() else {
        return wrong("invalid_body", "the body is not a JSON object");
    };
    if request.alias {
        body.entry("token_type").or_insert_with(|| json!("gateway"));
    }
    match body.get("token_type").and_then(Value::as_str) {
        Some("gateway") => {}
        Some("access") if !request.alias => {}
        _ => return wrong("invalid_token_type", "token_type is required: access or gateway"),
    }
    if body.get("name").and_then(Value::as_str).is_none_or(str::is_empty) {
        return wrong("invalid_name", "name is required");
    }
    if body.get("bindings").is_some_and(|it| !it.is_null() && !it.is_object()) {
        return wrong("invalid_bindings", "bindings is an object");
    }
    let new: NewToken = match serde_json::from_value(Value::Object(body)) {
        Ok(new) => new,
        Err(_) => return wrong("invalid_body", "a field is of the wrong kind"),
    };
    match new.expires_at {
        Some(end) if end <= Timestamp::now() => wrong("invalid_expires_at", "expires_at is in the past"),
        _ => Ok(new),
    }
}

fn wrong(error: &ChangeError, behaviour: &Behaviour, (unknown, dead): (u16, u16)) -> Wrong {
    let statuses = &behaviour.statuses;
    let (status, code) = match error {
        ChangeError::Refused(Refusal::ExpiryRequired) => (statuses.expiry_required, "expiry_required"),
        ChangeError::Refused(Refusal::DuplicateName) => (statuses.duplicate, "duplicate"),
        ChangeError::Refused(Refusal::Unknown) => (unknown, "not_found"),
        ChangeError::Refused(Refusal::Dead) => (dead, "not_active"),
        ChangeError::Unsaved(_) => (500, "internal"),
    };
    Wrong(status, code, error.to_string())
}
