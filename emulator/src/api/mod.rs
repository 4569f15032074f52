//! The API: from a request to its answer, with the faults that strike on the way.

mod answer;
mod errors;
mod fields;
mod listing;
mod operations;
mod request;
mod throttle;

use std::convert::Infallible;
use std::sync::Arc;

use axum::body::Body;
use http::Response;
use http_body_util::{BodyExt as _, Limited};
use hyper::body::Incoming;
use jiff::Timestamp;

use self::answer::Answer;
use self::request::Request;
use crate::behaviour::Behaviour;
use crate::call::{Call, Outcome};
use crate::effect::{Effect, Stage};
use crate::registry::{Delay, Plan, Verdict};
use crate::scrub;
use crate::shared::Shared;

/// More than any request of the API needs.
const LARGEST_BODY: usize = 1024 * 1024;

/// The connection is to be closed without an answer.
#[derive(Debug, thiserror::Error)]
#[error("the connection is cut by a fault, or because the emulator stops")]
pub(crate) struct Cut;

impl From<Infallible> for Cut {
    fn from(never: Infallible) -> Self {
        match never {}
    }
}

/// Answers a request under `/v1`, or any other path but the admin endpoints'.
pub(crate) async fn handle(
    shared: Arc<Shared>,
    request: http::Request<Incoming>,
) -> Result<Response<Body>, Cut> {
    let (parts, body) = request.into_parts();
    let body = Limited::new(body, LARGEST_BODY).collect().await.map_err(|_| Cut)?.to_bytes();
    let request = Request::new(&parts, &body);
    let (index, plan) = begin(&shared, &request);
    let mut watch = Departure { shared: &shared, index, waiting: true };
    // The call goes on when the client leaves and this future is dropped: like a server that doesn't notice.
    let answer = tokio::spawn(run(Arc::clone(&shared), index, request, plan)).await;
    watch.waiting = false;
    match answer {
        Ok(Some(answer)) => Ok(answer.into_response()),
        Ok(None) | Err(_) => Err(Cut),
    }
}

/// Notes when a client leaves before its answer.
struct Departure<'a> {
    shared: &'a Shared,
    index: u64,
    waiting: bool,
}

impl Drop for Departure<'_> {
    fn drop(&mut self) {
        if self.waiting {
            self.shared.lock().calls.update(self.index, |call| call.client_gone = true);
        }
    }
}

/// Records that a call has come in, and decides what will happen to it.
fn begin(shared: &Shared, request: &Request) -> (u64, Plan) {
    let mut state = shared.lock();
    let subjects = request.subjects(&state);
    let plan = state.faults.plan(request.operation, &subjects);
    let index = state.calls.begin(Call {
        index: 0,
        at: Timestamp::now(),
        operation: request.operation,
        method: request.method.to_string(),
        path: scrub::text(&request.path_and_query),
        token_id: request.id().map(scrub::text),
        sent: request.sent(),
        idempotency_key: request.idempotency_key.as_deref().map(scrub::text),
        committed: false,
        outcome: Outcome::Pending,
        status: None,
        duration_milliseconds: None,
        faults: plan.applied.clone(),
        client_gone: false,
    });
    (index, plan)
}

async fn run(shared: Arc<Shared>, index: u64, request: Request, plan: Plan) -> Option<Answer> {
    let answer = through_faults(&shared, index, &request, plan).await;
    let (outcome, status) = match &answer {
        Some(answer) if answer.is_whole() => (Outcome::Answered, Some(answer.status())),
        Some(answer) => (Outcome::Cut, Some(answer.status())),
        None => (Outcome::Cut, None),
    };
    // Recorded before it is sent: whoever has the answer finds the call in the log.
    let ended = shared.lock().calls.end(index, outcome, status);
    if let Some(call) = ended {
        log(&call);
    }
    answer
}

async fn through_faults(shared: &Shared, index: u64, request: &Request, plan: Plan) -> Option<Answer> {
    let Plan { before, after, changes, instead, applied: _ } = plan;
    wait(shared, before).await?;
    let behaviour = changed(shared, &changes);
    let answer = match instead {
        Some(effect) if effect.stage() == Stage::Before => replaced(&effect, &behaviour, None),
        effect => {
            let answer = operations::execute(shared, index, request, &behaviour);
            match effect {
                Some(effect) => replaced(&effect, &behaviour, Some(answer)),
                None => Some(answer),
            }
        }
    };
    wait(shared, after).await?;
    answer
}

/// Waits as long as the faults want; nothing if the call is lost.
async fn wait(shared: &Shared, delay: Delay) -> Option<()> {
    let waited = async {
        if !delay.latency.is_zero() {
            tokio::time::sleep(delay.latency).await;
        }
        for hold in delay.holds {
            if hold.await != Ok(Verdict::Deliver) {
                return None;
            }
        }
        Some(())
    };
    tokio::select! {
        biased;
        () = shared.stopping.cancelled() => None,
        waited = waited => waited,
    }
}

fn changed(shared: &Shared, changes: &[serde_json::Value]) -> Behaviour {
    let standing = shared.lock().behaviour.clone();
    changes.iter().fold(standing, |behaviour, change| {
        // Each was tried on its own when it was added. Together they may still not fit: then it has no effect.
        behaviour.changed(change).unwrap_or(behaviour)
    })
}

/// The answer in the real one's place; none for a cut connection.
fn replaced(effect: &Effect, behaviour: &Behaviour, real: Option<Answer>) -> Option<Answer> {
    match effect {
        Effect::Status { status, message, envelope, retry_after, .. } => {
            let envelope = envelope.unwrap_or(behaviour.errors);
            let answer = errors::injected(*status, message.as_deref(), envelope);
            Some(match retry_after {
                Some(retry_after) => answer.header("retry-after", &throttle::header(*retry_after)),
                None => answer,
            })
        }
        Effect::Answer { status, content_type, body, .. } => {
            Some(Answer::text(*status, content_type, body.clone()))
        }
        Effect::Redirect { location, status, .. } => {
            Some(Answer::text(*status, "text/plain", String::new()).header("location", location))
        }
        Effect::Huge { bytes, status, .. } => Some(Answer::huge(*status, *bytes)),
        Effect::CutBody => real.map(Answer::halved),
        Effect::Cut { .. } => None,
        Effect::Latency { .. } | Effect::Hold { .. } | Effect::Limit { .. } | Effect::Behave { .. } => real,
    }
}

fn log(call: &Call) {
    let faults: Vec<String> =
        call.faults.iter().map(|fault| format!("{}#{}", fault.effect, fault.id)).collect();
    let status = call.status.map_or_else(|| "cut".to_owned(), |status| status.to_string());
    tracing::info!(
        operation = call.operation.name(),
        method = call.method,
        path = call.path,
        status,
        milliseconds = call.duration_milliseconds.unwrap_or_default(),
        faults = faults.join(","),
        client_gone = call.client_gone,
        "call"
    );
}
