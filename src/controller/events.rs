//! Kubernetes events: on transitions only, and never in the way of anything.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use k8s_openapi::api::core::v1::ObjectReference;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::Client;
use kube::runtime::events::{Event, EventType, Recorder, Reporter};
use prometheus_client::metrics::counter::Counter;
use tokio::sync::Notify;

use crate::fair::Lines;
use crate::resources::{GROUP, HistoryEntry, HistoryEvent, KeyStatus, OperationReason, TokenStatus};

use super::kubernetes::FIELD_MANAGER;
use super::secrets::Identity;

/// How many events may wait. What comes on top is dropped, of the namespace with the most of them: they are there for people, and a
/// storm tells nobody more.
const WAITING: usize = 1_024;

/// How long one may take.
const PATIENCE: Duration = Duration::from_secs(5);

/// The longest note that the API server takes.
const MAX_NOTE: usize = 1_024;

/// Where events are handed in.
#[derive(Clone)]
pub(super) struct Events(Arc<Inner>);

struct Inner {
    waiting: Mutex<Lines<(Event, ObjectReference)>>,
    more: Notify,
    dropped: Counter,
}

impl Inner {
    fn waiting(&self) -> MutexGuard<'_, Lines<(Event, ObjectReference)>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Events {
    /// Starts a task that writes events until all handles are dropped; `instance` names this process. Those that are dropped are counted.
    pub(super) fn start(client: Client, instance: String, dropped: Counter) -> Self {
        let events = Self::new(dropped);
        let inner = Arc::downgrade(&events.0);
        let reporter = Reporter { controller: FIELD_MANAGER.to_owned(), instance: Some(instance) };
        tokio::spawn(async move {
            while let Some((event, about)) = next(&inner).await {
                // A recorder of its own for each: one that remembers counts events that differ in their note alone as
                // one, and the note says which token.
                let recorder = Recorder::new(client.clone(), reporter.clone());
                match tokio::time::timeout(PATIENCE, recorder.publish(&event, &about)).await {
                    Ok(Ok(())) => {}
                    Ok(Err(error)) => tracing::debug!(%error, "an event wasn't written"),
                    Err(_) => tracing::debug!("an event wasn't written in time"),
                }
            }
        });
        events
    }

    fn new(dropped: Counter) -> Self {
        Self(Arc::new(Inner { waiting: Mutex::default(), more: Notify::new(), dropped }))
    }

    /// Tells of something that happened, in an event and in the log, where the key's span says of whom.
    pub(super) fn tell(
        &self,
        about: &Identity,
        type_: EventType,
        action: &str,
        reason: &str,
        note: impl Into<String>,
    ) {
        let note: String = note.into();
        match type_ {
            EventType::Normal => tracing::info!(reason, "{note}"),
            EventType::Warning => tracing::warn!(reason, "{note}"),
        }
        let reference = ObjectReference {
            api_version: Some(format!("{GROUP}/v1alpha1")),
            kind: Some(about.kind.kind().to_owned()),
            name: Some(about.name.clone()),
            namespace: Some(about.namespace.clone()),
            uid: Some(about.uid.clone()),
            ..ObjectReference::default()
        };
        self.about(reference, type_, action, reason, &note);
    }

    /// Writes an event about any object.
    pub(super) fn about(
        &self,
        about: ObjectReference,
        type_: EventType,
        action: &str,
        reason: &str,
        note: &str,
    ) {
        let event = Event {
            type_,
            reason: reason.to_owned(),
            note: Some(note.chars().take(MAX_NOTE).collect()),
            action: action.to_owned(),
            secondary: None,
        };
        let namespace = about.namespace.clone().unwrap_or_default();
        if self.0.waiting().join_within(WAITING, &namespace, (event, about)) {
            self.0.dropped.inc();
        }
        self.0.more.notify_one();
    }

    /// Tells of a resource that can't be read.
    pub(super) fn unreadable(&self, about: &Identity, error: &str) {
        let note = format!("The resource can't be read, so nothing is done about it: {error}");
        self.tell(about, EventType::Warning, "Reconcile", "Unreadable", note);
    }

    /// Tells what a status that was just written says anew; of a new value also where people look at the Secret.
    pub(super) fn transition(
        &self,
        about: &Identity,
        secret: Option<&ObjectMeta>,
        old: &KeyStatus,
        new: &KeyStatus,
    ) {
        let operation = |status: &KeyStatus| status.last_rotation.as_ref().map(|last| last.operation.clone());
        if operation(old) != operation(new)
            && let Some((reason, note)) = new_value(old, new)
        {
            self.tell(about, EventType::Normal, "Write", &reason, note.as_str());
            if let Some(meta) = secret {
                let secret = ObjectReference {
                    api_version: Some("v1".to_owned()),
                    kind: Some("Secret".to_owned()),
                    name: meta.name.clone(),
                    namespace: meta.namespace.clone(),
                    uid: meta.uid.clone(),
                    ..ObjectReference::default()
                };
                self.about(secret, EventType::Normal, "Write", &reason, &note);
            }
        }
        let ready = |status: &KeyStatus| {
            status
                .conditions
                .iter()
                .find(|c| c.type_ == "Ready")
                .map(|c| (c.status.clone(), c.reason.clone()))
        };
        let Some(condition) = new.conditions.iter().find(|c| c.type_ == "Ready") else { return };
        if ready(old) == ready(new) {
            return;
        }
        let reason = condition.reason.as_str();
        match reason {
            // An operation that simply goes on says so by its end.
            "Minting" | "Rotating" => return,
            "Ready" => {
                if operation(old) == operation(new) {
                    tracing::info!(reason, "{}", condition.message);
                }
                return;
            }
            _ => {}
        }
        let type_ = if condition.status == "True" { EventType::Normal } else { EventType::Warning };
        self.tell(about, type_, "Reconcile", reason, &condition.message);
    }
}

/// The next event to be written; nothing once nobody can hand one in.
async fn next(inner: &Weak<Inner>) -> Option<(Event, ObjectReference)> {
    loop {
        let inner = inner.upgrade()?;
        let next = inner.waiting().next();
        if next.is_some() {
            return next;
        }
        // It isn't lost if it was handed in since: a notification is kept for whoever comes.
        let more = tokio::time::timeout(PATIENCE, inner.more.notified());
        drop(more.await);
    }
}

/// What a status says of a new value: a reason and a note.
fn new_value(old: &KeyStatus, new: &KeyStatus) -> Option<(String, String)> {
    let (token, secret, last) = (new.token.as_ref()?, new.secret.as_ref()?, new.history.first()?);
    let HistoryEntry { event, reason: why, requested_by, .. } = last;
    let (name, id) = (&secret.name, &token.id);
    let prefix = token.prefix.as_deref().unwrap_or("not told");
    if *event == HistoryEvent::Restored {
        let note =
            format!("Secret {name} holds a value that was proved to live: token {id}, prefix {prefix}.");
        return Some((format!("{event:?}"), note));
    }
    let by = requested_by.as_ref().map(|by| format!(", by {by}")).unwrap_or_default();
    let fate = old.token.as_ref().map(|old| fate(old, new, *why)).unwrap_or_default();
    let note =
        format!("Secret {name} holds a new value: token {id}, prefix {prefix}. Why: {why:?}{by}.{fate}");
    Some((format!("{event:?}"), note))
}

/// What becomes of the value that workloads may have taken from the Secret before.
fn fate(old: &TokenStatus, new: &KeyStatus, why: OperationReason) -> String {
    let dead = matches!(why, OperationReason::RevokedElsewhere | OperationReason::RotatedElsewhere);
    let entry = new.superseded.iter().find(|entry| entry.id == old.id && !dead);
    match entry.filter(|entry| entry.revoke_after.0 > entry.since.0) {
        Some(_) if new.rollout.is_some() => {
            " The old value lives until the workloads of the key run on the new one, and for the grace after that.".to_owned()
        }
        Some(entry) => format!(
            " The old value lives until {}: restart what took it into its environment before then.",
            entry.revoke_after.0
        ),
        None => " The old value is dead: restart what took it into its environment.".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn one_namespaces_flood_drops_its_own_events_and_they_are_counted() {
        let events = Events::new(Counter::default());
        let tell = |namespace: &str, reason: &str| {
            let about =
                ObjectReference { namespace: Some(namespace.to_owned()), ..ObjectReference::default() };
            events.about(about, EventType::Warning, "Reconcile", reason, "a note");
        };
        (0..3 * WAITING).for_each(|_| tell("flood", "Flood"));
        tell("shop", "First");
        tell("shop", "Second");
        assert_eq!(events.0.dropped.get(), 2 * WAITING as u64 + 2);
        let mut reasons = Vec::new();
        for _ in 0..4 {
            reasons.extend(next(&Arc::downgrade(&events.0)).await.map(|(event, _)| event.reason));
        }
        assert_eq!(reasons, ["Flood", "First", "Flood", "Second"]);
    }

    #[tokio::test]
    async fn the_writer_ends_once_nobody_can_hand_in_events() {
        let events = Events::new(Counter::default());
        let inner = Arc::downgrade(&events.0);
        drop(events);
        assert!(next(&inner).await.is_none());
    }
}
