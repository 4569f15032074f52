//! Looks at all keys again and again while everything goes wrong: a key that says that it is ready holds a living value (I2), and no
//! token is revoked while a Secret still holds its value, or a pod that is waited for runs on it (I3).
//!
//! Nothing here depends on how fast anybody is. The keys are read, then the Secrets, then the token API is asked, then Secrets and keys
//! are read again: what has the same version before and after was so in between.

use std::time::Duration;

use anyhow::Result;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::Pod;
use keeptrusts_emulator::{Effect, Fault, Operation, Outcome, Stage as At, Token};
use kube::ResourceExt as _;
use kube::api::Api;
use tokio_util::sync::CancellationToken;

use crate::kinds::{TOKEN_ID, annotation, is_true, secret_key, status, value};
use crate::people::FORGED;
use crate::pods::Running;
use crate::record::Life;
use crate::snapshot::{Keys, Secrets, place};
use crate::stage::Stage;

/// Between two looks.
const PERIOD: Duration = Duration::from_millis(700);

/// One look; the API server may be away.
const PATIENCE: Duration = Duration::from_secs(4);

/// How often it is asked whether a revocation waits.
const GATE_PERIOD: Duration = Duration::from_millis(10);

/// How long a revocation waits for a look: less than half of what its caller waits for it.
const GATE_PATIENCE: Duration = Duration::from_millis(400);

/// Looks until `stop`.
pub(crate) async fn at_keys(stage: &Stage, stop: &CancellationToken) {
    while stop.run_until_cancelled(tokio::time::sleep(PERIOD)).await.is_some() {
        stage.record().read_calls(&stage.emulator);
        // The API server is away now and then.
        let _ = tokio::time::timeout(PATIENCE, look(stage)).await;
    }
}

async fn look(stage: &Stage) -> Result<()> {
    let keys = Keys::read(stage).await?;
    notice(stage, &keys);
    let secrets = Secrets::read(stage).await?;
    remember_values(stage, &keys, &secrets);
    let mut alive = 0;
    let mut dead = Vec::new();
    for (kind, key) in &keys.all {
        let status = status(key);
        // What is being deleted loses its token, and nothing else is said of it.
        let stays = key.metadata.deletion_timestamp.is_none() && is_true(&status, "Ready");
        let Some(secret) = secrets.of(key).filter(|_| stays) else { continue };
        let Some(value) = value(secret, secret_key(key)) else { continue };
        let token = status.token.map(|token| token.id).unwrap_or_default();
        // What the clock has killed is noticed by an operator that runs.
        let expired = || stage.emulator.tokens().iter().any(|it| it.id == token && has_expired(it));
        if value.starts_with(FORGED) || stage.record().outside.contains(&token) || expired() {
            continue;
        }
        if stage.emulator.is_alive(&value) {
            alive += 1;
        } else {
            dead.push((*kind, key, secret, token));
        }
    }
    if !dead.is_empty() {
        let (secrets, keys) = (Secrets::read(stage).await?, Keys::read(stage).await?);
        dead.retain(|(_, key, secret, _)| secrets.unchanged(secret) && keys.unchanged(key));
    }
    let mut record = stage.record();
    record.looks += 1;
    record.found_alive += alive;
    record.ready = alive;
    for (kind, key, secret, token) in dead {
        let version = secret.metadata.resource_version.as_deref().unwrap_or_default();
        record.violated(format!(
            "I2: {} said that it was ready at version {}, and its Secret (version {version}) held the dead value of {token}",
            place(kind, key),
            key.metadata.resource_version.as_deref().unwrap_or_default(),
        ));
    }
    Ok(())
}

fn has_expired(token: &Token) -> bool {
    token.expires_at.is_some_and(|end| end <= Timestamp::now())
}

/// Takes note of which resources there are, and which there aren't any more.
pub(crate) fn notice(stage: &Stage, keys: &Keys) {
    let mut record = stage.record();
    let mut found = Vec::new();
    for (kind, key) in &keys.all {
        let uid = key.metadata.uid.clone().unwrap_or_default();
        found.push(uid.clone());
        let life = record.resources.entry(uid).or_insert_with(|| Life {
            place: place(*kind, key),
            seen: keys.begun,
            gone: None,
        });
        life.seen = keys.begun;
    }
    for (uid, life) in &mut record.resources {
        if life.gone.is_none() && life.seen < keys.begun && !found.contains(uid) {
            life.gone = Some(Timestamp::now());
        }
    }
}

/// Takes note of the values that Secrets hold: they are looked for elsewhere.
pub(crate) fn remember_values(stage: &Stage, keys: &Keys, secrets: &Secrets) {
    let mut record = stage.record();
    for (_, key) in &keys.all {
        let value = secrets.of(key).and_then(|secret| value(secret, secret_key(key)));
        record.values.extend(value.filter(|value| !value.starts_with(FORGED)));
    }
}

/// The fault that holds every revocation.
pub(crate) fn gate(stage: &Stage) -> Result<u64> {
    Ok(stage.emulator.add_fault(Fault::new(Effect::hold(At::Before)).on(Operation::Revoke))?)
}

/// Lets every revocation that `gate` holds go on, once the Secrets were looked at.
pub(crate) async fn before_revocations(stage: &Stage, gate: u64, stop: &CancellationToken) {
    while stop.run_until_cancelled(tokio::time::sleep(GATE_PERIOD)).await.is_some() {
        if stage.emulator.held(gate) == 0 {
            continue;
        }
        let held: Vec<String> = stage
            .emulator
            .calls()
            .into_iter()
            .filter(|call| call.operation == Operation::Revoke && call.outcome == Outcome::Pending)
            .filter_map(|call| call.token_id)
            .collect();
        let looked = tokio::time::timeout(GATE_PATIENCE, in_use(stage, &held)).await;
        let released = stage.emulator.release(gate);
        let mut record = stage.record();
        match looked {
            Ok(Ok(in_use)) => {
                let looked = held.len().min(released);
                record.gated += u64::try_from(looked).unwrap_or_default();
                record.ungated += u64::try_from(released - looked).unwrap_or_default();
                for what in in_use {
                    record.violated(what);
                }
            }
            Ok(Err(_)) | Err(_) => record.ungated += u64::try_from(released).unwrap_or_default(),
        }
    }
    stage.emulator.remove_fault(gate);
}

/// Which of some tokens a Secret holds whose resource isn't being deleted. The Secrets are read first: a resource that isn't being
/// deleted afterwards wasn't when they were. Of a call whose caller has gone, what it was to revoke may be dead since.
async fn in_use(stage: &Stage, tokens: &[String]) -> Result<Vec<String>> {
    let running = stage.pods.running();
    let secrets = Secrets::read(stage).await?;
    let keys = Keys::read(stage).await?;
    let living = keys.all.iter().filter(|(_, key)| key.metadata.deletion_timestamp.is_none());
    let mut found: Vec<String> = living
        .filter_map(|(kind, key)| {
            let held = secrets.of(key).and_then(|secret| annotation(secret, TOKEN_ID))?;
            let uid = key.metadata.uid.as_deref()?;
            let ours = secrets
                .of(key)
                .and_then(|secret| annotation(secret, UIDS))
                .is_some_and(|uids| uids.contains(uid));
            let lives = || stage.emulator.tokens().iter().any(|token| token.id == held && token.is_alive());
            (ours && tokens.iter().any(|token| token == held) && lives()).then(|| {
                format!("I3: {held} was to be revoked while the Secret of {} held it", place(*kind, key))
            })
        })
        .collect();
    found.extend(runs_on(stage, tokens, running, &keys).await?);
    Ok(found)
}

/// Which of some tokens a pod runs on that its key waits for. Of one that is on its way out it is only said that it is.
async fn runs_on(
    stage: &Stage,
    tokens: &[String],
    running: Vec<Running>,
    keys: &Keys,
) -> Result<Vec<String>> {
    let all = stage.emulator.tokens();
    let dying: Vec<&Token> = all.iter().filter(|it| it.is_alive() && tokens.contains(&it.id)).collect();
    let mut found = Vec::new();
    for pod in running {
        let Some(token) = dying.iter().find(|token| pod.value.starts_with(&token.prefix)) else { continue };
        // A value that was rotated since is dead, whatever becomes of its token.
        if !stage.emulator.is_alive(&pod.value) || !is_kept(&pod, keys) {
            continue;
        }
        let api: Api<Pod> = Api::namespaced(stage.client.clone(), &pod.namespace);
        let is_there = |pod: &Pod| pod.metadata.deletion_timestamp.is_none();
        if api.get_opt(&pod.pod).await?.as_ref().is_some_and(is_there) {
            let Running { namespace, pod, .. } = pod;
            found.push(format!("I3: {} was to be revoked while pod {namespace}/{pod} ran on it", token.id));
        }
    }
    Ok(found)
}

/// Whether a key names the pod's Deployment and keeps what it runs on.
fn is_kept(pod: &Running, keys: &Keys) -> bool {
    keys.all.iter().any(|(_, key)| {
        let workloads = &key.data["spec"]["workloads"];
        key.namespace().as_ref() == Some(&pod.namespace)
            && key.metadata.deletion_timestamp.is_none()
            && workloads["refs"][0]["name"] == pod.app.as_str()
            && workloads["onRolloutTimeout"] == "KeepOld"
    })
}

/// The resources that a Secret belongs to.
const UIDS: &str = "keys.keeptrusts.com/uids";
