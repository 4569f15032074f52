//! After the faults: waits until everything is at rest, and says what isn't.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use keeptrusts_emulator::Token;
use keeptrusts_operator::resources::{KeyKind, KeyStatus, ROTATE_NOW};
use kube::ResourceExt as _;
use kube::api::DynamicObject;

use crate::check;
use crate::kinds::{is_true, status};
use crate::lease;
use crate::look::{notice, remember_values};
use crate::snapshot::{Keys, Secrets, calls, place};
use crate::stage::{REST, Stage};

/// Between two looks.
const LOOK: Duration = Duration::from_millis(500);

/// How everything came to rest.
pub(crate) struct Settled {
    /// How long it took.
    pub(crate) took: Duration,
    /// Keys that were at rest before the operators were started anew.
    pub(crate) before_restart: usize,
    /// What isn't at rest, each with a word about it.
    pub(crate) unsettled: Vec<String>,
    /// What the API server had at the end.
    pub(crate) keys: Keys,
    pub(crate) secrets: Secrets,
}

/// Waits until everything is at rest, and has been for a while: `patience` with the operators as they are, `limit` after they were
/// started anew. What people have begun goes on meanwhile: a key that they hold isn't at rest.
pub(crate) async fn settle(stage: &Stage, patience: Duration, limit: Duration) -> Result<Settled> {
    let start = Instant::now();
    for process in &stage.operators {
        process.revive().await?;
    }
    let mut rest = wait(stage, patience).await?;
    let before_restart = stage.keys.len() - rest.keys_unsettled;
    if !rest.is_over() {
        for what in &rest.unsettled {
            stage.transcript.note(&format!("not at rest before the operators are started anew: {what}"));
        }
        // The garbage collector takes a key that was deleted and made again while it couldn't watch for the same one, and leaves the first
        // one's Secret for ever; in a cluster it ends when it loses its lease to such a time, and sees everything anew.
        stage.cluster.stop_controller_manager().await?;
        stage.cluster.start_controller_manager().await?;
        for process in &stage.operators {
            process.start().await?;
        }
        rest = wait(stage, limit).await?;
    }
    let Rest { unsettled, keys, secrets, .. } = rest;
    Ok(Settled { took: start.elapsed(), before_restart, unsettled, keys, secrets })
}

/// What isn't at rest.
struct Rest {
    keys_unsettled: usize,
    /// Each with a word about it.
    unsettled: Vec<String>,
    orphans: Vec<Token>,
    /// The process that leads, where one does.
    leader: Option<String>,
    /// How often the token API had been called, but for lists.
    calls: u64,
    keys: Keys,
    secrets: Secrets,
}

impl Rest {
    fn is_over(&self) -> bool {
        self.unsettled.is_empty() && self.orphans.is_empty()
    }

    /// Whether nothing happened from this look to a later one.
    fn lasts(&self, later: &Self) -> bool {
        self.calls == later.calls
            && self.leader == later.leader
            && self.keys.changed(&later.keys).is_empty()
            && self.secrets.changed(&later.secrets).is_empty()
    }
}

/// Waits until everything is at rest and stays so: of what was done a moment ago, a status says nothing yet.
async fn wait(stage: &Stage, limit: Duration) -> Result<Rest> {
    let start = Instant::now();
    let mut resting: Option<(Instant, Rest)> = None;
    loop {
        let look = tokio::time::timeout(limit, look(stage)).await;
        let late = start.elapsed() > limit;
        match look.context("the API server doesn't answer").and_then(|rest| rest) {
            Ok(rest) if rest.is_over() => {
                let since = match resting {
                    Some((since, before)) if before.lasts(&rest) => since,
                    _ => Instant::now(),
                };
                // What is at rest and doesn't stay so is what the check for I6 finds.
                if since.elapsed() > REST || start.elapsed() > limit + REST {
                    return Ok(rest);
                }
                resting = Some((since, rest));
            }
            Ok(rest) if late => return Ok(rest),
            Err(error) if late => return Err(error),
            Ok(_) | Err(_) => resting = None,
        }
        tokio::time::sleep(LOOK).await;
    }
}

async fn look(stage: &Stage) -> Result<Rest> {
    let calls = calls(stage);
    let keys = Keys::read(stage).await?;
    let secrets = Secrets::read(stage).await?;
    notice(stage, &keys);
    remember_values(stage, &keys, &secrets);
    stage.record().read_calls(&stage.emulator);
    let mut unsettled = Vec::new();
    for (kind, key) in &keys.all {
        let status = status(key);
        if let Some(why) = unrest(key, &status) {
            let told = serde_json::to_string(&key.data["status"]).unwrap_or_default();
            unsettled.push(format!("{}: {why}: {told}", place(*kind, key)));
        }
    }
    for key in &stage.keys {
        let Ok(now) = key.now.try_lock() else {
            unsettled.push(format!("{} of {} is in somebody's hands", key.kind.kind(), key.namespace));
            continue;
        };
        let name = key.name(&now);
        let is_it = |(kind, object): &(KeyKind, DynamicObject)| {
            *kind == key.kind
                && object.metadata.name.as_ref() == Some(&name)
                && object.metadata.namespace.as_ref() == Some(&key.namespace)
        };
        if !keys.all.iter().any(is_it) {
            unsettled.push(format!("{} {}/{name} isn't there", key.kind.kind(), key.namespace));
        }
    }
    let keys_unsettled = unsettled.len().min(stage.keys.len());
    let leader = lease::leader(stage).await?;
    // Where nobody acts, nothing happens; that is no rest.
    if lease::is_elected(stage) && leader.is_none() {
        unsettled.push("nobody leads".into());
    }
    let orphans = check::orphans(stage, &keys, &secrets)
        .into_iter()
        .filter(|orphan| !check::is_admitted(stage, orphan))
        .collect();
    Ok(Rest { keys_unsettled, unsettled, orphans, leader, calls, keys, secrets })
}

/// Why a key isn't at rest.
fn unrest(key: &DynamicObject, status: &KeyStatus) -> Option<String> {
    let asked = key.data["spec"]["rotation"]["generation"].as_i64().unwrap_or_default();
    if key.metadata.deletion_timestamp.is_some() {
        return Some("it is being deleted".into());
    }
    if !is_true(status, "Ready") {
        return Some("it isn't ready".into());
    }
    if is_true(status, "Reconciling") || is_true(status, "Stalled") {
        return Some("something is still to be done".into());
    }
    if status.observed_generation != key.metadata.generation {
        return Some("its spec wasn't observed".into());
    }
    if status.observed_rotation_generation.unwrap_or_default() < asked {
        return Some("the rotation that was asked for wasn't made".into());
    }
    let at_once = key.annotations().get(ROTATE_NOW);
    if at_once.is_some() && status.observed_rotate_now.as_ref() != at_once {
        return Some("the rotation at once that was asked for wasn't made".into());
    }
    if status.operation.is_some() {
        return Some("an operation is recorded".into());
    }
    if status.rollout.is_some() {
        return Some("a rollout is under way".into());
    }
    // Nobody leaves a key so.
    if status.token.as_ref().is_some_and(|token| token.expires_at.is_some()) {
        return Some("its token is still to be renewed".into());
    }
    (!status.superseded.is_empty()).then(|| "a token is still to be revoked".into())
}
