//! The executor performs the steps that the core decides, one at a time. It is the only writer.
//!
//! It keeps nothing back and adds nothing: what a step's outcome means is the core's to say. A failure of the API server
//! itself ends the pass, unless an operation is in flight: then the step is tried again while patience lasts, for the
//! value exists nowhere else.

use std::fmt::Display;
use std::time::Duration;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::runtime::events::EventType;
use secrecy::SecretString;

use crate::clock;
use crate::lifecycle::desired::{Desired, Restarts};
use crate::lifecycle::memory::{Captured, Life, Outcome, ProofOf, Rendered, Suspicion, Trouble};
use crate::lifecycle::naming::OperationId;
use crate::lifecycle::observed::{Contents, SecretView};
use crate::lifecycle::rollout::{Hindrance, Unknown, Workloads};
use crate::lifecycle::status::MAX_PREFIX;
use crate::lifecycle::step::{Call, Closes, Step};
use crate::lifecycle::time::Monotonic;
use crate::lifecycle::token::{InvalidTokenId, TokenFacts, TokenId};
use crate::metrics::{Ended, Operation as Counted};
use crate::resources::{DeletionPolicy, KeyStatus, Operation, OperationKind, OperationReason, WorkloadRef};
use crate::token_api::{CallError, Class, CreateRequest, MintError, Minted, Permit};
use crate::traces;

use super::context::Context;
use super::key::KeyState;
use super::kubernetes::ApiError;
use super::resource::KeyObject;
use super::secrets::{self, Commit};
use super::trouble::{self, Asked};
use super::workloads;

/// Longest wait between two attempts at writing what only this process holds.
const RETRY_AT_MOST: Duration = Duration::from_secs(10);

/// Stands for the value in a dry run; as long as values may be.
const PLACEHOLDER_LENGTH: usize = 256;

/// How a pass goes on after a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Flow {
    /// With the next step.
    Next,
    /// Not at all for now; it is looked at again after this time.
    Later(Duration),
    /// Not at all before there is a list of tokens that was begun at this time or later.
    List(Monotonic),
    /// Not at all: the resource is gone.
    Gone,
}

/// Performs steps on one key.
pub(super) struct Executor<'a> {
    pub(super) context: &'a Context,
    pub(super) key: &'a mut KeyState,
}

impl Executor<'_> {
    /// Performs one step.
    pub(super) async fn perform(&mut self, step: Step) -> Flow {
        match step {
            Step::Rest { until } => Flow::Later(rest(until)),
            Step::AddFinalizer => self.set_finalizer(true).await,
            Step::RemoveFinalizer => self.set_finalizer(false).await,
            Step::ReadSecret => self.read_secret().await,
            Step::ReadResource => self.read_resource().await,
            Step::FreshList { begun_after } => self.fresh_list(begun_after),
            Step::Preflight => self.preflight().await,
            Step::Record { operation, status } => self.record(operation, &status).await,
            Step::Call(call) => self.call(call).await,
            Step::LetGo => self.finish(Outcome::NotSent),
            Step::WriteSecret { onto, facts, operation } => {
                self.write_secret(&onto, &facts, &operation).await
            }
            Step::WriteStatus { status, closes } => self.write_status(&status, closes).await,
            Step::RenderSecret { .. } => self.render_secret().await,
            Step::FenceSecret { version, id } => self.annotate_secret(&secrets::fence(&version, &id)).await,
            Step::RetainSecret { id, .. } => self.retain_secret(&id).await,
            Step::ClaimSecret { .. } => self.claim_secret().await,
            Step::EmptySecret { .. } => self.empty_secret().await,
            Step::TakeSecret { facts, operation, .. } => self.take_secret(&facts, &operation).await,
            Step::ReadWorkloads => self.read_workloads().await,
            Step::Restart { workload, operation } => self.restart_workload(&workload, &operation).await,
            Step::ProveLife(of) => self.prove_life(of).await,
            Step::Revoke { id } => self.revoke(id).await,
            Step::RevokeCreated { id } => self.revoke_created(&id).await,
            Step::Drop => self.finish(Outcome::Dropped),
        }
    }

    fn learn(&mut self, outcome: Outcome) -> Flow {
        self.key.memory.learn(outcome, clock::monotonic());
        Flow::Next
    }

    /// What is known of the Secret turned out to be old.
    fn look_again(&mut self) -> Flow {
        self.key.forget_secret();
        Flow::Next
    }

    /// The operation is over for this process.
    fn finish(&mut self, outcome: Outcome) -> Flow {
        if let Some(flight) = &self.key.memory.flight {
            traces::ended(self.key.identity(), flight, &outcome);
        }
        self.key.let_go();
        self.learn(outcome)
    }

    /// What a failed call to the token API means for the key.
    fn trouble(&mut self, error: &CallError, asked: Asked) -> Trouble {
        trouble::of_call(error, asked, self.key, self.context.tokens.credential_version())
    }

    /// A call to the token API failed that is no part of an operation.
    pub(super) fn failed(&mut self, error: &CallError) -> Flow {
        let trouble = self.trouble(error, Asked::Again);
        self.learn(Outcome::Failed(trouble))
    }

    /// The API server refuses what is asked about the Secret, and says why.
    fn refused(&mut self, message: String) -> Flow {
        let trouble = trouble::of_secret(message, self.key);
        self.learn(Outcome::Failed(trouble))
    }

    /// A call failed that may simply be made again. During an operation it is, while patience lasts.
    async fn missed(&mut self, error: &(dyn Display + Sync)) -> Flow {
        let wait = self.key.next_wait();
        let Some(flight) = &self.key.memory.flight else {
            tracing::warn!(%error, "a call failed");
            return Flow::Later(wait);
        };
        if clock::monotonic().since(flight.started) > self.context.timing.write_patience {
            tracing::error!(%error, "an operation was given up: its outcome is recovered");
            return self.finish(Outcome::Dropped);
        }
        tracing::warn!(%error, "a call failed; it is made again");
        tokio::time::sleep(wait.min(RETRY_AT_MOST)).await;
        Flow::Next
    }

    /// Somebody else acted: everything is read again.
    async fn overtaken(&mut self) -> Flow {
        self.key.forget_secret();
        self.read_resource().await
    }

    async fn read_resource(&mut self) -> Flow {
        match self.context.kubernetes.read(self.key.identity()).await {
            Ok(Some(object)) => {
                self.key.renew(object);
                self.learn(Outcome::ResourceRead)
            }
            Ok(None) => self.gone(),
            Err(error) => self.missed(&error).await,
        }
    }

    /// The resource is gone, in spite of the finalizer. What this process created for it is given back.
    fn gone(&mut self) -> Flow {
        let holds = self.key.memory.flight.as_ref().is_some_and(|flight| flight.stage.facts().is_some());
        if holds { self.learn(Outcome::Abandoned) } else { Flow::Gone }
    }

    async fn set_finalizer(&mut self, on: bool) -> Flow {
        match self.context.kubernetes.set_finalizer(&self.key.object, on).await {
            Ok(object) => {
                if !on {
                    self.tell_what_stays();
                }
                // The API server removes it with its last finalizer.
                if object.view.deleting && object.finalizers.is_empty() {
                    return Flow::Gone;
                }
                self.key.renew(object);
                Flow::Next
            }
            Err(ApiError::NotFound) => Flow::Gone,
            Err(ApiError::Conflict) => self.overtaken().await,
            Err(error) => self.missed(&error).await,
        }
    }

    /// The resource goes and its policy is `Retain`: says what becomes of token and Secret.
    fn tell_what_stays(&self) {
        let view = &self.key.object.view;
        if view.deletion_policy != DeletionPolicy::Retain {
            return;
        }
        let (name, token) = (&self.key.object.secret_name, view.status.token.as_ref().map(|token| &token.id));
        let note = match (&self.key.secret.view, token) {
            (SecretView::Ours(secret), _) if secret.record.retained.is_some() => {
                let id = secret.record.retained.as_deref().unwrap_or_default();
                format!("Secret {name} stays, with the value of token {id}, which lives on.")
            }
            (_, Some(id)) => format!(
                "There is no Secret {name} of this resource to stay; token {id} may live on, and is reported as an \
                 orphan if it does."
            ),
            (_, None) => format!("There is no token and no Secret {name} of this resource to stay."),
        };
        self.context.events.tell(self.key.identity(), EventType::Normal, "Delete", "Retained", note);
    }

    async fn read_secret(&mut self) -> Flow {
        let asked = clock::monotonic();
        let namespace = &self.key.identity().namespace;
        match self.context.kubernetes.read_secret(namespace, &self.key.object.secret_name).await {
            Ok(secret) => {
                self.key.read_secret(secret, asked);
                self.learn(Outcome::SecretRead)
            }
            Err(ApiError::Refused(message)) if !self.key.in_flight() => {
                let flow = self.refused(message);
                // Deletion shows why it waits; elsewhere the next step would only be to read it again.
                if self.key.object.view.deleting { flow } else { Flow::Later(self.key.next_wait()) }
            }
            Err(error) => self.missed(&error).await,
        }
    }

    /// Whoever waits for a list doesn't wait in here: many do, and a new one starts a pass over each.
    fn fresh_list(&mut self, begun_after: Monotonic) -> Flow {
        if self.context.inventory.since(self.key.identity().kind, begun_after).is_none() {
            return Flow::List(begun_after);
        }
        // A list says what was so when it was begun: what is read from now on is later. What it shows is noted with the
        // next observation.
        self.key.demote();
        Flow::Next
    }

    /// Step 1: the final Secret as a dry run.
    async fn preflight(&mut self) -> Flow {
        let Some(desired) = self.key.object.desired() else {
            return self.missed(&"the spec can't be acted on").await;
        };
        let captured = captured(&self.key.secret.view);
        let facts = TokenFacts {
            id: TokenId::longest(),
            name: None,
            prefix: Some("p".repeat(MAX_PREFIX)),
            created_at: None,
            rotated_at: None,
            expires_at: None,
        };
        let operation =
            self.uncalled(&OperationId::from_random(rand::random()), OperationReason::Created, desired);
        let value = SecretString::from("x".repeat(PLACEHOLDER_LENGTH));
        match self.write(desired, &captured, &facts, &operation, &value, true).await {
            Ok(_) => self.learn(Outcome::Preflighted(captured)),
            Err(ApiError::Conflict | ApiError::AlreadyExists) => self.look_again(),
            Err(ApiError::NotFound) if captured.version.is_some() => self.look_again(),
            Err(error @ (ApiError::NotFound | ApiError::Refused(_))) => self.refused(error.to_string()),
            Err(error @ ApiError::Unavailable(_)) => self.missed(&error).await,
        }
    }

    /// Writes the Secret that `desired` asks for around `value`, onto what was captured.
    async fn write(
        &self,
        desired: &Desired,
        onto: &Captured,
        facts: &TokenFacts,
        operation: &Operation,
        value: &SecretString,
        dry_run: bool,
    ) -> Result<ObjectMeta, ApiError> {
        let identity = self.key.identity();
        let commit = Commit { identity, desired, facts, operation, value, salt: rand::random() };
        let previous = self.key.secret.meta.as_ref().filter(|_| onto.version.is_some());
        let body = commit.body(onto, previous);
        let kubernetes = &self.context.kubernetes;
        if onto.version.is_some() {
            kubernetes.patch_secret(&identity.namespace, &desired.secret_name, &body, dry_run).await
        } else {
            kubernetes.create_secret(&identity.namespace, &body, dry_run).await
        }
    }

    /// Step 2: the intent. A place under the rate limit is taken first, so that nothing waits between it and the call.
    async fn record(&mut self, operation: Operation, status: &KeyStatus) -> Flow {
        let permit = match self.context.tokens.permit().await {
            Ok(permit) => permit,
            Err(error) => return self.failed(&error),
        };
        let sent = clock::monotonic();
        match self.context.kubernetes.write_status(&self.key.object, status).await {
            Ok(object) => {
                self.status_stands(object, status);
                self.key.permit = Some(permit);
                self.key.recorded = self.key.object.desired().cloned();
                self.learn(Outcome::Recorded { operation, sent })
            }
            Err(error) => {
                // Nobody knows whether it stands: either way no call follows.
                self.learn(Outcome::NotRecorded(operation));
                match error {
                    ApiError::Conflict => self.overtaken().await,
                    ApiError::NotFound => Flow::Gone,
                    error => self.missed(&error).await,
                }
            }
        }
    }

    /// Step 3: the one call of the operation's life.
    async fn call(&mut self, call: Call) -> Flow {
        let (Some(permit), Some(flight)) = (self.key.permit.take(), &self.key.memory.flight) else {
            return self.finish(Outcome::NotSent);
        };
        let operation = flight.operation.id.clone();
        let (asked, counted, sent_name) = match &call {
            Call::Create { name, .. } => (Asked::Create, Counted::Create, Some(name.clone())),
            Call::Rotate { .. } => (Asked::Rotate, Counted::Rotate, None),
        };
        let answer = self.mint(permit, call, &operation).await;
        let ended = match &answer {
            Ok(_) => Ended::Done,
            Err(MintError::Refused(_)) => Ended::Refused,
            Err(MintError::Unknown(_)) => Ended::Unknown,
        };
        self.context.metrics.keys.ended(self.key.identity().kind, counted, ended);
        match answer {
            Ok(Minted { facts, value }) => {
                if let Some(name) = sent_name {
                    self.context.inventory.expect_name(&facts.id, &name);
                }
                self.key.value = Some(value);
                self.learn(Outcome::Answered(facts))
            }
            Err(MintError::Refused(error)) => {
                let trouble = self.trouble(&error, asked);
                self.finish(Outcome::Refused(trouble))
            }
            Err(MintError::Unknown(error)) => {
                tracing::warn!(error = error.message, "the outcome of a call isn't known");
                let trouble = self.trouble(&error, asked);
                self.finish(Outcome::Unknown(trouble))
            }
        }
    }

    async fn mint(&self, permit: Permit, call: Call, operation: &str) -> Result<Minted, MintError> {
        let tokens = &self.context.tokens;
        let kind = self.key.identity().kind;
        match call {
            Call::Create { name, expires_at } => {
                let desired = self.key.recorded.as_ref();
                let request = CreateRequest {
                    operation,
                    kind,
                    name: &name,
                    team_id: desired.and_then(|desired| desired.team_id.as_deref()),
                    description: desired.and_then(|desired| desired.description.as_deref()),
                    gateway_id: desired.and_then(|desired| desired.gateway_id.as_deref()),
                    expires_at,
                };
                tokens.create(permit, &request).await
            }
            Call::Rotate { id } => {
                let token = self.key.object.view.status.token.as_ref();
                let name = token.and_then(|token| token.name.as_deref());
                // Verified ids were parsed before.
                let id = TokenId::parse(&id).map_err(|error| MintError::Refused(bad_id(error)))?;
                tokens.rotate(permit, kind, &id, name, operation).await
            }
        }
    }

    /// Step 4: the value into the Secret.
    async fn write_secret(&mut self, onto: &Captured, facts: &TokenFacts, operation: &Operation) -> Flow {
        // A spec that became unusable since the intent doesn't lose the value.
        let desired = self.key.object.desired().or(self.key.recorded.as_ref());
        let (Some(desired), Some(value)) = (desired, &self.key.value) else {
            return self.finish(Outcome::Dropped);
        };
        let generation = self.key.object.view.generation;
        let asked = clock::monotonic();
        match self.write(desired, onto, facts, operation, value, false).await {
            Ok(meta) => {
                let version = meta.resource_version.clone().unwrap_or_default();
                self.key.wrote_secret(meta, Contents::Current, asked);
                self.learn(Outcome::SecretWritten(Rendered { version, generation }))
            }
            Err(ApiError::Conflict | ApiError::AlreadyExists) => self.learn(Outcome::SecretConflict),
            Err(error @ (ApiError::NotFound | ApiError::Refused(_))) => {
                // Its namespace may be going, and the resource with it: both are read again.
                let flow = self.missed(&error).await;
                if self.key.in_flight() { self.learn(Outcome::SecretConflict) } else { flow }
            }
            Err(error @ ApiError::Unavailable(_)) => self.missed(&error).await,
        }
    }

    /// The API server took a status.
    fn status_stands(&mut self, object: KeyObject, status: &KeyStatus) {
        let old = self.key.object.view.status.clone();
        self.key.renew(object);
        let (kind, created) = (self.key.identity().kind, self.key.object.created);
        let keys = &self.context.metrics.keys;
        self.key.moments.transition(keys, kind, created, (&old, status), clock::now());
        let secret = self.key.secret.meta.as_ref();
        self.context.events.transition(self.key.identity(), secret, &old, status);
    }

    /// Step 5, and every other status.
    async fn write_status(&mut self, status: &KeyStatus, closes: Closes) -> Flow {
        match self.context.kubernetes.write_status(&self.key.object, status).await {
            Ok(object) => {
                self.status_stands(object, status);
                match closes {
                    Closes::Commit { repair } => {
                        self.key.succeeded();
                        self.finish(Outcome::Committed { repair })
                    }
                    Closes::Loss => self.learn(Outcome::Rebuilt),
                    Closes::Nothing | Closes::Harmless => Flow::Next,
                }
            }
            Err(ApiError::Conflict) if self.key.in_flight() => self.read_resource().await,
            Err(ApiError::Conflict) => self.overtaken().await,
            Err(ApiError::NotFound) => self.gone(),
            Err(error) => self.missed(&error).await,
        }
    }

    /// The Secret anew, around the value that was just read from it.
    async fn render_secret(&mut self) -> Flow {
        let body = match (&self.key.secret.data, &self.key.secret.view, self.key.object.desired()) {
            (Some(data), SecretView::Ours(ours), Some(desired)) => {
                secrets::rerender(data, self.key.identity(), desired, &ours.record)
            }
            _ => None,
        };
        let Some(body) = body else {
            return self.look_again();
        };
        self.patch_secret(&body, Contents::Current).await
    }

    async fn retain_secret(&mut self, id: &str) -> Flow {
        let Some(meta) = &self.key.secret.meta else {
            return self.look_again();
        };
        let body = secrets::retain(meta, self.key.identity(), id);
        self.annotate_secret(&body).await
    }

    /// A patch that leaves the contents as they are.
    async fn annotate_secret(&mut self, body: &serde_json::Value) -> Flow {
        let contents = match &self.key.secret.view {
            SecretView::Ours(ours) => ours.contents,
            _ => Contents::Unread,
        };
        self.patch_secret(body, contents).await
    }

    async fn patch_secret(&mut self, body: &serde_json::Value, contents: Contents) -> Flow {
        let namespace = &self.key.identity().namespace;
        let name = &self.key.object.secret_name;
        let asked = clock::monotonic();
        match self.context.kubernetes.patch_secret(namespace, name, body, false).await {
            Ok(meta) => {
                self.key.wrote_secret(meta, contents, asked);
                Flow::Next
            }
            Err(ApiError::Conflict | ApiError::NotFound | ApiError::AlreadyExists) => self.look_again(),
            Err(ApiError::Refused(message)) => self.refused(message),
            Err(error) => self.missed(&error).await,
        }
    }

    /// The Secret of a resource whose status was lost becomes this life's.
    async fn claim_secret(&mut self) -> Flow {
        let Some(meta) = &self.key.secret.meta else {
            return self.look_again();
        };
        let claim = OperationId::from_random(rand::random());
        let policy = self.key.object.view.deletion_policy;
        let body = secrets::claim(meta, self.key.identity(), policy, claim.as_str());
        match self.annotate_secret(&body).await {
            Flow::Next if self.key.secret.meta.is_some() => self.learn(Outcome::Claimed),
            flow => flow,
        }
    }

    async fn empty_secret(&mut self) -> Flow {
        let Some(meta) = &self.key.secret.meta else {
            return self.look_again();
        };
        let body = secrets::empty(meta, &self.key.object.secret_key);
        self.patch_secret(&body, Contents::Unread).await
    }

    /// An operation that no call is made for: it says what the record in the Secret is to say.
    fn uncalled(&self, id: &OperationId, reason: OperationReason, desired: &Desired) -> Operation {
        Operation {
            id: id.as_str().to_owned(),
            kind: OperationKind::Create,
            token_name: None,
            token_id: None,
            reason,
            generation: desired.generation,
            rotate_now: self.key.object.view.rotate_now.clone(),
            value_in_doubt: false,
            urgent: false,
            requested_by: None,
        }
    }

    /// The record of an adopted token, around the value that the Secret holds.
    async fn take_secret(&mut self, facts: &TokenFacts, operation: &OperationId) -> Flow {
        let held = self.key.secret.data.as_ref();
        let value = held.and_then(|secret| secrets::value(secret, &self.key.object.secret_key));
        let (Some(desired), Some(value)) = (self.key.object.desired(), value) else {
            return self.look_again();
        };
        let operation = self.uncalled(operation, OperationReason::Adopted, desired);
        let version = self.key.secret.meta.as_ref().and_then(|meta| meta.resource_version.clone());
        let onto = Captured { version, names: None };
        let identity = self.key.identity();
        let commit =
            Commit { identity, desired, facts, operation: &operation, value: &value, salt: rand::random() };
        let body = commit.body(&onto, self.key.secret.meta.as_ref());
        self.patch_secret(&body, Contents::Current).await
    }

    async fn read_workloads(&mut self) -> Flow {
        let at = clock::monotonic();
        let namespace = self.key.identity().namespace.clone();
        let restarts = self.key.object.desired().map_or(Restarts::None, |desired| desired.restarts.clone());
        let refs = match (restarts, &self.context.users) {
            (Restarts::None, _) => Ok(Vec::new()),
            (Restarts::Listed(refs), _) => Ok(refs),
            (Restarts::Discovered, Some(users)) => {
                users.of(&namespace, &self.key.object.secret_name).ok_or(Unknown::NotYet)
            }
            (Restarts::Discovered, None) => Err(Unknown::NotLookedFor),
        };
        let refs = match refs {
            Ok(refs) => refs,
            Err(unknown) => {
                self.key.workloads = Some(Workloads { at, seen: Err(unknown) });
                return Flow::Next;
            }
        };
        let mut seen = Vec::new();
        for reference in &refs {
            let answer = self.context.kubernetes.read_workload(&namespace, reference).await;
            match workloads::observe(reference, &self.key.object.secret_name, answer) {
                Ok(workload) => {
                    self.context.rollouts.notice(&namespace, &workload, at);
                    seen.push(workload);
                }
                Err(error) => return self.missed(&error).await,
            }
        }
        self.key.workloads = Some(Workloads { at, seen: Ok(seen) });
        Flow::Next
    }

    /// Restarts a workload for this key, and for every other one that waits for the same.
    async fn restart_workload(&mut self, workload: &WorkloadRef, operation: &str) -> Flow {
        let namespace = self.key.identity().namespace.clone();
        if !self.context.rollouts.begin(&namespace, workload, clock::monotonic()) {
            return self.hinder(workload, &Hindrance::Queued);
        }
        let uses = |secret: &str| {
            let users = self.context.users.as_ref().and_then(|users| users.of(&namespace, secret));
            users.is_some_and(|users| users.contains(workload))
        };
        let mut operations = self.context.directory.restarts(&namespace, workload, uses);
        operations.insert(workloads::annotation(&self.key.object.secret_name), operation.to_owned());
        let body = workloads::restart(&operations);
        let note = match self.context.kubernetes.patch_workload(&namespace, workload, &body).await {
            Ok(()) => format!("{workload} is restarted, to run on the new value."),
            Err(ApiError::Refused(why)) => {
                let why =
                    format!("can't be restarted (the chart's value restartWorkloads gives the right): {why}");
                return self.hinder(workload, &Hindrance::Stuck(why));
            }
            Err(ApiError::NotFound) => return self.read_workloads().await,
            Err(error) => return self.missed(&error).await,
        };
        self.context.events.tell(self.key.identity(), EventType::Normal, "Restart", "Restarted", note);
        self.read_workloads().await
    }

    /// A workload isn't restarted for now, until it is looked at once more.
    fn hinder(&mut self, workload: &WorkloadRef, hindrance: &Hindrance) -> Flow {
        let seen = self.key.workloads.iter_mut().flat_map(|workloads| workloads.seen.iter_mut().flatten());
        for hindered in seen.filter(|seen| seen.reference == *workload) {
            hindered.hindrance = Some(hindrance.clone());
        }
        Flow::Next
    }

    async fn prove_life(&mut self, of: ProofOf) -> Flow {
        let data = self.key.secret.data.as_ref();
        let value = data.and_then(|secret| secrets::value(secret, &self.key.object.secret_key));
        let life = match value {
            // A value that was put there by people must be the adopted token's.
            Some(value)
                if matches!(self.key.secret.view, SecretView::Foreign { .. })
                    && !self.context.is_value_of(self.key, &value) =>
            {
                Life::Unknown
            }
            Some(value) => self.context.tokens.prove(&value).await,
            None => Life::Unknown,
        };
        if let Some(suspicion) = &of.suspicion {
            let id = &of.id;
            tracing::warn!(id, ?suspicion, ?life, "a token is under suspicion");
            // What was altered and lives is believed from now on.
            if life == Life::Alive && !matches!(suspicion, Suspicion::Altered { .. }) {
                let note = format!(
                    "The list of tokens isn't believed: it lacks token {id} or shows it as revoked, but the token \
                     API accepts the Secret's value."
                );
                let about = self.key.identity();
                self.context.metrics.keys.contradicted(about.kind);
                self.context.events.tell(about, EventType::Warning, "Reconcile", "ListNotBelieved", note);
            }
        }
        if life == Life::Dead
            && let Ok(id) = TokenId::parse(&of.id)
        {
            self.context.inventory.excuse(self.key.identity().kind, &id);
        }
        self.learn(Outcome::Proved(of, life))
    }

    /// Step 6, and the revocations of a deletion.
    async fn revoke(&mut self, id: String) -> Flow {
        match self.revoked(&id).await {
            Ok(()) => {
                self.key.succeeded();
                let note = format!("Token {id} was revoked.");
                self.context.events.tell(self.key.identity(), EventType::Normal, "Revoke", "Revoked", note);
                self.learn(Outcome::Revoked(id))
            }
            Err(error) => self.failed(&error),
        }
    }

    /// What this process created for a resource that is going is revoked while the id is known.
    async fn revoke_created(&mut self, id: &str) -> Flow {
        match self.revoked(id).await {
            Ok(()) => self.finish(Outcome::Dropped),
            Err(error) => self.missed(&format!("token {id} can't be revoked: {}", error.message)).await,
        }
    }

    async fn revoked(&self, id: &str) -> Result<(), CallError> {
        let id = TokenId::parse(id).map_err(bad_id)?;
        let kind = self.key.identity().kind;
        let answer = self.context.tokens.revoke(&id).await;
        let ended = match &answer {
            Ok(()) => Ended::Done,
            Err(CallError { class: Class::Credential | Class::Request | Class::Throttled, .. }) => {
                Ended::Refused
            }
            Err(_) => Ended::Unknown,
        };
        self.context.metrics.keys.ended(kind, Counted::Revoke, ended);
        answer?;
        self.context.inventory.excuse(kind, &id);
        Ok(())
    }
}

/// How long to rest. Without a time, until something changes: the caller knows what that means.
fn rest(until: Option<Monotonic>) -> Duration {
    until.map_or(Duration::MAX, |until| until.since(clock::monotonic()))
}

/// The Secret that a dry run is made on.
fn captured(secret: &SecretView) -> Captured {
    match secret {
        SecretView::Ours(ours) => Captured {
            version: Some(ours.version.clone()),
            names: Some(ours.record.token.id.as_string().clone()),
        },
        _ => Captured::default(),
    }
}

/// A text that isn't an id: nothing is called with it.
fn bad_id(error: InvalidTokenId) -> CallError {
    CallError { class: Class::Unusable, message: error.to_string(), retry_after: None }
}
