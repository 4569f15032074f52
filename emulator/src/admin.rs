//! The admin endpoints: faults, behaviour, and what was recorded. They show no value and no credential.

use std::sync::Arc;

use axum::Json;
use axum::Router;
use axum::body::Bytes;
use axum::extract::{Path, Query, State as Extract};
use axum::response::{IntoResponse, Response};
use axum::routing::{delete, get, post};
use http::StatusCode;
use secrecy::SecretString;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::behaviour::Behaviour;
use crate::call::{Call, Counts};
use crate::fault::{ActiveFault, Fault};
use crate::registry::Verdict;
use crate::shared::{ChangeError, Shared};
use crate::store::Refusal;
use crate::token::{NewToken, Token};

/// A part of the log of calls.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CallPage {
    /// The calls, oldest first.
    pub calls: Vec<Call>,
    /// The number that the next call will have: what to ask for later.
    pub next: u64,
    /// Counts over everything since the start or the last reset.
    pub counts: Counts,
}

/// How held calls are released.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Release {
    /// Whether they go on. If not they are lost: cut, and not carried out if they haven't been.
    #[serde(default = "yes")]
    pub deliver: bool,
}

/// Whether a value works.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Alive {
    /// Whether it works now.
    pub alive: bool,
    /// The id of its token, alive or not; none for a value that was never issued, or that a rotation replaced.
    pub id: Option<String>,
}

#[derive(Deserialize)]
struct Since {
    since: Option<u64>,
}

/// Another credential to accept.
#[derive(Deserialize)]
struct Credential {
    credential: String,
}

#[derive(Deserialize)]
struct Check {
    value: String,
}

const fn yes() -> bool {
    true
}

/// Something that wasn't done, and why.
struct Refused(StatusCode, String);

impl IntoResponse for Refused {
    fn into_response(self) -> Response {
        let Self(status, message) = self;
        (status, Json(json!({"error": message}))).into_response()
    }
}

impl From<ChangeError> for Refused {
    fn from(error: ChangeError) -> Self {
        let status = match &error {
            ChangeError::Refused(Refusal::Unknown) => StatusCode::NOT_FOUND,
            ChangeError::Refused(Refusal::Dead | Refusal::DuplicateName) => StatusCode::CONFLICT,
            ChangeError::Refused(Refusal::ExpiryRequired) => StatusCode::UNPROCESSABLE_ENTITY,
            ChangeError::Unsaved(_) => StatusCode::INTERNAL_SERVER_ERROR,
        };
        Self(status, error.to_string())
    }
}

type Emulator = Extract<Arc<Shared>>;
type Answer<T> = Result<T, Refused>;

pub(crate) fn router(shared: Arc<Shared>) -> Router {
    Router::new()
        .route("/admin/healthz", get(async || "ok\n"))
        .route("/admin/behaviour", get(behaviour).put(replace_behaviour).patch(change_behaviour))
        .route("/admin/faults", get(faults).post(add_fault).delete(clear_faults))
        .route("/admin/faults/{id}", delete(remove_fault))
        .route("/admin/faults/{id}/release", post(release))
        .route("/admin/tokens", get(tokens).post(create_token))
        .route("/admin/tokens/{id}/revoke", post(revoke_token))
        .route("/admin/tokens/{id}/rotate", post(rotate_token))
        .route("/admin/calls", get(calls))
        .route("/admin/check", post(check))
        .route("/admin/credential", post(replace_credential))
        .route("/admin/reset", post(reset))
        .with_state(shared)
}

/// Reads a body whatever its content type is: `curl -d` says that it sends a form.
fn read<T: DeserializeOwned>(body: &Bytes) -> Answer<T> {
    serde_json::from_slice(body).map_err(|error| invalid(error.to_string()))
}

fn invalid(message: String) -> Refused {
    Refused(StatusCode::UNPROCESSABLE_ENTITY, message)
}

fn no_fault() -> Refused {
    Refused(StatusCode::NOT_FOUND, "no such fault".into())
}

async fn behaviour(Extract(shared): Emulator) -> Json<Behaviour> {
    Json(shared.lock().behaviour.clone())
}

async fn replace_behaviour(Extract(shared): Emulator, body: Bytes) -> Answer<Json<Behaviour>> {
    let behaviour: Behaviour = read(&body)?;
    behaviour.check().map_err(invalid)?;
    shared.lock().behaviour = behaviour.clone();
    Ok(Json(behaviour))
}

async fn change_behaviour(Extract(shared): Emulator, body: Bytes) -> Answer<Json<Behaviour>> {
    let change: Value = read(&body)?;
    let mut state = shared.lock();
    state.behaviour = state.behaviour.changed(&change).map_err(invalid)?;
    Ok(Json(state.behaviour.clone()))
}

async fn faults(Extract(shared): Emulator) -> Json<Vec<ActiveFault>> {
    Json(shared.lock().faults.list())
}

async fn add_fault(Extract(shared): Emulator, body: Bytes) -> Answer<(StatusCode, Json<Value>)> {
    let fault: Fault = read(&body)?;
    fault.check().map_err(|error| invalid(error.to_string()))?;
    let id = shared.lock().faults.add(fault);
    Ok((StatusCode::CREATED, Json(json!({"id": id}))))
}

async fn clear_faults(Extract(shared): Emulator) -> StatusCode {
    shared.lock().faults.clear(Verdict::Deliver);
    StatusCode::NO_CONTENT
}

async fn remove_fault(Extract(shared): Emulator, Path(id): Path<u64>) -> Answer<StatusCode> {
    if shared.lock().faults.remove(id) { Ok(StatusCode::NO_CONTENT) } else { Err(no_fault()) }
}

async fn release(Extract(shared): Emulator, Path(id): Path<u64>, body: Bytes) -> Answer<Json<Value>> {
    let Release { deliver } = if body.is_empty() { Release { deliver: true } } else { read(&body)? };
    let verdict = if deliver { Verdict::Deliver } else { Verdict::Lose };
    let released = shared.lock().faults.release(id, verdict).ok_or_else(no_fault)?;
    Ok(Json(json!({"released": released})))
}

async fn tokens(Extract(shared): Emulator) -> Json<Vec<Token>> {
    Json(shared.lock().store.tokens().cloned().collect())
}

async fn create_token(Extract(shared): Emulator, body: Bytes) -> Answer<(StatusCode, Json<Token>)> {
    let new: NewToken = read(&body)?;
    Ok((StatusCode::CREATED, Json(shared.create_elsewhere(new)?)))
}

async fn revoke_token(Extract(shared): Emulator, Path(id): Path<String>) -> Answer<Json<Token>> {
    Ok(Json(shared.revoke_elsewhere(&id)?))
}

async fn rotate_token(Extract(shared): Emulator, Path(id): Path<String>) -> Answer<Json<Token>> {
    Ok(Json(shared.rotate_elsewhere(&id)?))
}

async fn calls(Extract(shared): Emulator, Query(Since { since }): Query<Since>) -> Json<CallPage> {
    let state = shared.lock();
    let calls = state.calls.since(since.unwrap_or_default());
    Json(CallPage { calls, next: state.calls.next(), counts: state.counts() })
}

async fn check(Extract(shared): Emulator, body: Bytes) -> Answer<Json<Alive>> {
    let Check { value } = read(&body)?;
    let state = shared.lock();
    let id = state.store.by_value(&value).map(|token| token.id.clone());
    Ok(Json(Alive { alive: state.alive(&value).is_some(), id }))
}

async fn replace_credential(Extract(shared): Emulator, body: Bytes) -> Answer<StatusCode> {
    let Credential { credential } = read(&body)?;
    if credential.trim().is_empty() {
        return Err(invalid("an empty credential".into()));
    }
    shared.lock().credential = SecretString::from(credential.trim());
    Ok(StatusCode::NO_CONTENT)
}

async fn reset(Extract(shared): Emulator) -> Answer<StatusCode> {
    shared.reset()?;
    Ok(StatusCode::NO_CONTENT)
}
