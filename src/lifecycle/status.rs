//! Status as a projection: which conditions hold, and what status becomes at each step of an operation.

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use serde::{Deserialize, Serialize};

use crate::resources::{
    HistoryEntry, HistoryEvent, KeyStatus, LastRotation, MAX_HISTORY, Operation, OperationKind,
    OperationReason, RolloutStatus, RotationStrategy, SecretStatus, Superseded, TokenStatus,
};

use super::observed::{Contents, Observed};
use super::rollout;
use super::schedule;
use super::time::{later, to_time};
use super::token::TokenFacts;

/// The longest name and prefix of a token that a status takes, in characters.
const MAX_NAME: usize = 512;
pub(crate) const MAX_PREFIX: usize = 128;

/// The longest message of a condition.
const MAX_MESSAGE: usize = 1_024;

/// Declares the reasons, once: the type, its spelling, what it means and the cure.
macro_rules! reasons {
    ($($(#[$doc:meta])* $name:ident: $meaning:literal, $cure:literal;)*) => {
        /// Why `Ready` is what it is: a closed list.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
        pub enum Reason {
            $(#[doc = $meaning] $name,)*
        }

        impl Reason {
            /// Every reason.
            pub const ALL: &[Self] = &[$(Self::$name,)*];

            /// As it stands in a condition.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$name => stringify!($name),)* }
            }

            /// What it means.
            #[must_use]
            pub const fn meaning(self) -> &'static str {
                match self { $(Self::$name => $meaning,)* }
            }

            /// What a person does about it.
            #[must_use]
            pub const fn cure(self) -> &'static str {
                match self { $(Self::$name => $cure,)* }
            }
        }
    };
}

reasons! {
    Ready: "The Secret holds the value of a living token.", "Nothing is to be done.";
    Minting: "A token is being made.", "Wait.";
    Rotating: "The token is being rotated in place: its old value is dead, or may be, and the new one isn't in the Secret yet.", "Wait.";
    RotationPending: "The rotation that was asked for isn't done yet; the old value lives.", "Wait; the message tells what holds it back.";
    RotationOverdue: "A rotation is due by schedule, or a renewal before the token expires, and something holds it back; the old value lives.", "Wait, or see to what the message tells.";
    RolloutHeldUp: "The Secret holds a new living value, and a workload doesn't run on it. What it ran on before lives on until it does.", "See to the workload that the message names; then nothing more is to be done. With onRolloutTimeout: RevokeOld the old value's grace begins at the timeout.";
    Suspended: "spec.suspend is true and the key has no living value.", "Set spec.suspend to false.";
    InvalidSpec: "The spec asks for something that can't be done; the message names the field.", "Change that field.";
    SecretConflict: "A Secret of the name exists and isn't this resource's. It was left alone and no token was made.", "Make a new resource with another spec.secret.name, or remove the Secret if nobody needs it.";
    SecretRefused: "The API server refuses the Secret: its namespace is going, a quota is used up, or an admission policy says no. No token was made.", "Read the message; free quota or change what the policy objects to.";
    SecretMissing: "The Secret is gone; a replacement token is due.", "Wait, and find out who deletes the Secret if it happens again: repairs are spaced further and further apart.";
    SecretChanged: "The Secret doesn't hold the value that the operator wrote; a replacement token is due.", "Wait, and find out who changes the Secret if it happens again.";
    Expired: "The token has expired; a replacement is due.", "Wait; the message tells what holds it back.";
    StatusLost: "The resource's status was lost, or it came back under a new uid. Whether the Secret's value lives is being checked; where that can't be proved, a replacement token is made.", "Wait.";
    RevokedElsewhere: "The token was revoked or expired elsewhere: the Secret's value is dead.", "Wait for the replacement, and find out who revoked it. With externalChangePolicy Halt: raise spec.rotation.generation to get a new token.";
    RotatedElsewhere: "The token was rotated elsewhere: the Secret's value is dead.", "Wait for the replacement, and find out who rotated it. With externalChangePolicy Halt: raise spec.rotation.generation to get a new token.";
    Revoking: "spec.state is Revoked; the tokens are being revoked.", "Wait; the message tells what holds it back.";
    Revoked: "spec.state is Revoked: no token of this resource lives and the Secret holds no value.", "Set spec.state to Active for a new token.";
    AdoptionPending: "The token that spec.adopt names is being taken over.", "Wait; the message tells what holds it back.";
    AdoptionRefused: "The token that spec.adopt names can't be taken over; the message tells why. Nothing was changed.", "Correct spec.adopt, or take it out to have a new token made.";
    OutcomeUnknown: "The token API's answer to the last call was lost. Once the call can no longer arrive, a new token is made and whatever the lost call made is revoked.", "Wait.";
    CredentialRefused: "The token API refuses the operator's own credential, or what it may do.", "Give the operator a credential that may manage tokens; it is read again as soon as its file changes.";
    RequestRefused: "The token API refuses the request; the message tells why.", "Change the field that the message is about.";
    Throttled: "The token API asks the operator to slow down.", "Wait.";
    ApiUnreachable: "The token API can't be reached or fails.", "Wait, or see to the token API.";
    AnswerUnusable: "The token API answered with something that the operator can't use: no value, or no answer of its own. What the answer may have made is revoked once another token has taken its place.", "Check that --api-url is the token API and that no proxy answers in its stead; the operator tries again after half an hour, or as soon as it is restarted.";
    NamesAltered: "The token API listed a token under another name than was sent. Tokens can't be recognised by their names any more, so none is made.", "Set a limit on names that the API keeps (--max-token-name-length).";
    SupersededFull: "Too many superseded tokens await their revocation; no further token is made.", "See why they can't be revoked: the message tells.";
    RevocationPending: "The resource is being deleted and its tokens can't be revoked yet.", "Wait, or see to what the message tells. To let go without revoking, set spec.deletionPolicy to Retain.";
}

/// One row of the table of states.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verdict {
    /// The status of `Ready`.
    pub ready: bool,
    /// Its reason.
    pub reason: Reason,
    /// Its message: no times, no counters, or status would be written for ever.
    pub message: String,
    /// Whether `Reconciling` is there.
    pub reconciling: bool,
    /// Whether `Stalled` is there: a person must act.
    pub stalled: bool,
}

impl Verdict {
    /// At rest.
    #[must_use]
    pub fn ready(message: impl Into<String>) -> Self {
        Self {
            ready: true,
            reason: Reason::Ready,
            message: message.into(),
            reconciling: false,
            stalled: false,
        }
    }

    /// Something is under way or will be tried again.
    #[must_use]
    pub fn reconciling(ready: bool, reason: Reason, message: impl Into<String>) -> Self {
        Self { ready, reason, message: message.into(), reconciling: true, stalled: false }
    }

    /// A person must act.
    #[must_use]
    pub fn stalled(ready: bool, reason: Reason, message: impl Into<String>) -> Self {
        Self { ready, reason, message: message.into(), reconciling: false, stalled: true }
    }

    /// Deletion is held up. kstatus reads a resource that is being deleted as terminating, whatever stands here.
    #[must_use]
    pub fn revocation_pending(message: &str) -> Self {
        Self {
            ready: false,
            reason: Reason::RevocationPending,
            message: message.to_owned(),
            reconciling: false,
            stalled: false,
        }
    }
}

/// Whether `Ready` is true in a status.
#[must_use]
pub fn is_ready(status: &KeyStatus) -> bool {
    status.conditions.iter().any(|condition| condition.type_ == "Ready" && condition.status == "True")
}

/// Puts the conditions of `verdict` into `status`. A condition's transition time changes with its status alone.
pub fn set_conditions(status: &mut KeyStatus, verdict: &Verdict, generation: i64, now: Timestamp) {
    let Verdict { ready, reason, message, reconciling, stalled } = verdict;
    let message = clip(message, MAX_MESSAGE);
    let wanted = [
        ("Ready", Some(*ready)),
        ("Reconciling", reconciling.then_some(true)),
        ("Stalled", stalled.then_some(true)),
    ];
    let old = std::mem::take(&mut status.conditions);
    for (type_, value) in wanted {
        let Some(value) = value else { continue };
        let value = if value { "True" } else { "False" };
        let since = old
            .iter()
            .find(|condition| condition.type_ == type_ && condition.status == value)
            .map_or_else(|| to_time(now), |condition| condition.last_transition_time.clone());
        status.conditions.push(Condition {
            type_: type_.to_owned(),
            status: value.to_owned(),
            reason: reason.as_str().to_owned(),
            message: message.clone(),
            observed_generation: Some(generation),
            last_transition_time: since,
        });
    }
    // Conditions that others may have put there stay.
    status
        .conditions
        .extend(old.into_iter().filter(|c| !["Ready", "Reconciling", "Stalled"].contains(&c.type_.as_str())));
    status.observed_generation = Some(generation);
}

/// Whether status says what a call was told, by the token API or about the Secret.
#[must_use]
pub fn tells_of_trouble(status: &KeyStatus) -> bool {
    const TROUBLE: [Reason; 6] = [
        Reason::ApiUnreachable,
        Reason::Throttled,
        Reason::CredentialRefused,
        Reason::RequestRefused,
        Reason::AnswerUnusable,
        Reason::SecretRefused,
    ];
    TROUBLE.into_iter().any(|reason| tells(status, reason))
}

/// Whether the condition Ready gives this reason.
#[must_use]
pub fn tells(status: &KeyStatus, reason: Reason) -> bool {
    let ready = status.conditions.iter().find(|condition| condition.type_ == "Ready");
    ready.is_some_and(|ready| ready.reason == reason.as_str())
}

/// Notes which version of the current token's Secret is as the spec asks, where its data was read.
pub fn note_secret(observed: &Observed, status: &mut KeyStatus) {
    let read = observed.ours().filter(|secret| secret.contents == Contents::Current);
    if let Some(secret) = read.filter(|_| status.token.is_some()) {
        tell_secret(observed, status, Some(&secret.version));
    }
}

/// Tells where the value is, as the spec says or said last, and which version of that is as the spec asks.
pub fn tell_secret(observed: &Observed, status: &mut KeyStatus, version: Option<&str>) {
    let resource_version = version.map(ToOwned::to_owned);
    if let Ok(desired) = &observed.resource.desired {
        let (name, key) = (desired.secret_name.clone(), desired.secret_key.clone());
        status.secret = Some(SecretStatus { name, key, resource_version });
    } else if let Some(told) = &mut status.secret {
        told.resource_version = resource_version;
    }
}

/// Adds a token to those that are to be revoked, unless it is there already.
pub fn supersede(
    status: &mut KeyStatus,
    id: &str,
    prefix: Option<String>,
    now: Timestamp,
    grace: std::time::Duration,
) {
    if status.superseded.iter().all(|entry| entry.id != id) {
        status.superseded.push(Superseded {
            id: id.to_owned(),
            prefix: prefix.map(|prefix| shown_prefix(&prefix)),
            since: to_time(now),
            revoke_after: to_time(later(now, grace)),
        });
    }
}

/// Every superseded token is to be revoked without grace.
pub fn revoke_at_once(status: &mut KeyStatus, now: Timestamp) {
    for entry in status.superseded.iter_mut().filter(|entry| entry.revoke_after.0 > entry.since.0) {
        entry.since = to_time(now);
        entry.revoke_after = to_time(now);
    }
}

/// Status with the intent of an operation.
#[must_use]
pub fn with_intent(observed: &Observed, operation: &Operation, mut status: KeyStatus) -> KeyStatus {
    let verdict = match operation.kind {
        OperationKind::Rotate => {
            Verdict::reconciling(false, Reason::Rotating, "The token is being rotated in place.")
        }
        OperationKind::Create => creating(observed, operation),
    };
    status.operation = Some(operation.clone());
    set_conditions(&mut status, &verdict, observed.resource.generation, observed.now.wall);
    status
}

/// The row of the table that holds while a token is made for `reason`.
fn creating(observed: &Observed, operation: &Operation) -> Verdict {
    let reason = operation.reason;
    let lives = is_ready(&observed.resource.status) && !operation.value_in_doubt;
    match reason {
        OperationReason::Created | OperationReason::Activated => {
            Verdict::reconciling(false, Reason::Minting, "A token is being made.")
        }
        OperationReason::SecretMissing => Verdict::reconciling(
            false,
            Reason::SecretMissing,
            "The Secret is gone; a replacement token is being made.",
        ),
        OperationReason::SecretChanged => Verdict::reconciling(
            false,
            Reason::SecretChanged,
            "The Secret was changed by somebody else; a replacement token is being made.",
        ),
        OperationReason::RevokedElsewhere => Verdict::reconciling(
            false,
            Reason::RevokedElsewhere,
            "The token was revoked or expired elsewhere; a replacement is being made.",
        ),
        OperationReason::RotatedElsewhere => Verdict::reconciling(
            false,
            Reason::RotatedElsewhere,
            "The token was rotated elsewhere; a replacement is being made.",
        ),
        OperationReason::Adopted => Verdict::reconciling(
            false,
            Reason::AdoptionPending,
            "A new token is being made in place of the adopted one.",
        ),
        OperationReason::StatusLost => Verdict::reconciling(
            false,
            Reason::StatusLost,
            "Status was lost; a replacement token is being made.",
        ),
        OperationReason::Expiring if !expired(observed) => {
            Verdict::ready("The token is about to expire and is being replaced.")
        }
        OperationReason::Scheduled if lives => {
            Verdict::ready("A rotation is due by schedule; a new token is being made.")
        }
        OperationReason::Expiring => Verdict::reconciling(
            false,
            Reason::Expired,
            "The token has expired; a replacement is being made.",
        ),
        OperationReason::GenerationRaised | OperationReason::RotateNow if lives => Verdict::reconciling(
            true,
            Reason::RotationPending,
            if overlaps(observed) && reason == OperationReason::GenerationRaised {
                "A new token is being made; the old one lives on for spec.rotation.grace."
            } else {
                "The token can't be rotated in place; a new one is being made."
            },
        ),
        OperationReason::GenerationRaised | OperationReason::RotateNow | OperationReason::Scheduled => {
            Verdict::reconciling(
                false,
                Reason::Rotating,
                "A new token is being made in place of the one that was rotated.",
            )
        }
    }
}

/// What the token API tells must fit into a status whatever it is: a status that is refused would be noticed only
/// after a token was made.
fn clip(text: &str, length: usize) -> String {
    text.chars().take(length).collect()
}

/// A token as a status holds it.
#[must_use]
pub fn token(facts: &TokenFacts) -> TokenStatus {
    TokenStatus {
        id: facts.id.as_str().to_owned(),
        name: facts.name.as_deref().map(|name| clip(name, MAX_NAME)),
        prefix: facts.prefix.as_deref().map(shown_prefix),
        created_at: facts.created_at.map(to_time),
        rotated_at: facts.rotated_at.map(to_time),
        expires_at: facts.expires_at.map(to_time),
    }
}

/// A prefix as a status holds it.
#[must_use]
pub fn shown_prefix(prefix: &str) -> String {
    clip(prefix, MAX_PREFIX)
}

fn overlaps(observed: &Observed) -> bool {
    observed.resource.desired.as_ref().is_ok_and(|desired| desired.strategy == RotationStrategy::Overlap)
}

/// Whether the current token's life is over.
#[must_use]
pub fn expired(observed: &Observed) -> bool {
    let expiry = observed.resource.status.token.as_ref().and_then(|token| token.expires_at.as_ref());
    expiry.is_some_and(|expiry| expiry.0 <= observed.now.wall)
}

/// Status once the Secret holds the value of `facts`: the operation is closed and a token that was replaced joins the
/// superseded ones. `checked` is the Secret's version if it is known to be as the spec asks.
#[must_use]
pub fn with_commit(
    observed: &Observed,
    operation: &Operation,
    facts: &TokenFacts,
    checked: Option<&str>,
) -> KeyStatus {
    let mut status = observed.resource.status.clone();
    let now = observed.now.wall;
    let grace = observed.grace();
    let had = observed.resource.status.token.as_ref();
    let entry = HistoryEntry {
        time: to_time(now),
        event: event(operation.reason),
        reason: operation.reason,
        generation: operation.generation,
        previous_prefix: had.and_then(|old| old.prefix.clone()),
        prefix: facts.prefix.as_deref().map(shown_prefix),
        requested_by: operation.requested_by.clone(),
    };
    remember(&mut status, entry);
    if let Some(old) = had.filter(|old| old.id != facts.id.as_str()) {
        supersede(&mut status, &old.id, old.prefix.clone(), now, grace);
    }
    // What recovery superseded since the last commit, or what a slow process put into the Secret after it was
    // superseded, may have been mounted by pods until just now: its grace begins now.
    let replaced = observed.ours().filter(|secret| secret.record.operation == operation.id);
    let replaced = replaced.and_then(|secret| secret.record.replaced.as_deref());
    // A first value restarts nothing.
    let first = had.is_none() && replaced.is_none();
    let restarts = !first && observed.resource.desired.as_ref().map_or(true, rollout::is_wanted);
    status.rollout = restarts.then(|| RolloutStatus { operation: operation.id.clone(), since: to_time(now) });
    // A token that was adopted from its Secret and replaced before status named it: no tag makes it ours.
    let adopted = observed.resource.desired.as_ref().ok().and_then(|desired| desired.adopt.as_ref());
    if let Some(id) = replaced.filter(|id| adopted.is_some_and(|adopt| adopt.token_id == *id))
        && id != facts.id.as_str()
    {
        supersede(&mut status, id, None, now, grace);
    }
    let committed = status.last_rotation.as_ref().map(|last| last.time.0);
    let mounted = |entry: &Superseded| {
        let recent = committed.is_none_or(|committed| entry.since.0 > committed);
        Some(entry.id.as_str()) == replaced || recent && entry.revoke_after.0 > entry.since.0
    };
    for entry in status.superseded.iter_mut().filter(|entry| mounted(entry)) {
        entry.since = to_time(now);
        entry.revoke_after = to_time(later(now, grace).max(entry.revoke_after.0));
    }
    if operation.urgent {
        revoke_at_once(&mut status, now);
    }
    // A token never returns from the superseded ones: its own id can't be among them.
    status.token = Some(token(facts));
    status.operation = None;
    status.observed_rotation_generation =
        Some(operation.generation.max(status.observed_rotation_generation.unwrap_or(0)));
    status.observed_rotate_now = operation.rotate_now.clone().or(status.observed_rotate_now);
    status.last_rotation = Some(LastRotation {
        time: to_time(now),
        reason: operation.reason,
        generation: operation.generation,
        operation: operation.id.clone(),
    });
    tell_secret(observed, &mut status, checked);
    status.next_rotation = None;
    if let Ok(desired) = &observed.resource.desired {
        schedule::tell_next(desired, &observed.owner.uid, &mut status, now);
    }
    let verdict = at_rest(observed, &status);
    set_conditions(&mut status, &verdict, observed.resource.generation, now);
    status
}

/// What an operation for this reason does to the value.
#[must_use]
pub fn event(reason: OperationReason) -> HistoryEvent {
    match reason {
        OperationReason::Created => HistoryEvent::Minted,
        OperationReason::GenerationRaised | OperationReason::RotateNow | OperationReason::Scheduled => {
            HistoryEvent::Rotated
        }
        OperationReason::Adopted => HistoryEvent::Adopted,
        OperationReason::Expiring
        | OperationReason::SecretMissing
        | OperationReason::SecretChanged
        | OperationReason::StatusLost
        | OperationReason::RevokedElsewhere
        | OperationReason::RotatedElsewhere
        | OperationReason::Activated => HistoryEvent::Replaced,
    }
}

/// Puts a change of the value into the history.
pub fn remember(status: &mut KeyStatus, entry: HistoryEntry) {
    status.history.insert(0, entry);
    status.history.truncate(MAX_HISTORY);
}

/// The row of the table when nothing is asked. Also says that a lower generation does nothing, and which comes next.
#[must_use]
pub fn at_rest(observed: &Observed, status: &KeyStatus) -> Verdict {
    let seen = status.observed_rotation_generation.unwrap_or(0);
    match &observed.resource.desired {
        Ok(_)
            if observed.resource.rotate_now.is_some()
                && observed.resource.rotate_now != status.observed_rotate_now =>
        {
            Verdict::reconciling(true, Reason::RotationPending, "The rotation that was asked for is due.")
        }
        Ok(desired) if desired.generation < seen => Verdict::ready(format!(
            "The Secret holds a living value. spec.rotation.generation is {}, but {seen} was acted on already: set it \
             to {} to rotate.",
            desired.generation,
            seen.saturating_add(1),
        )),
        Ok(desired) if desired.generation > seen => {
            Verdict::reconciling(true, Reason::RotationPending, "The rotation that was asked for is due.")
        }
        _ => Verdict::ready("The Secret holds a living value."),
    }
}
