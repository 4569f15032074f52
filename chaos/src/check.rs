//! The invariants at rest, checked against the token API's own table, the Secrets, and every log.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use anyhow::{Context as _, Result, ensure};
use jiff::SignedDuration;
use k8s_openapi::api::core::v1::Secret;
use keeptrusts_emulator::{Call, Creator, Operation, Token};
use keeptrusts_operator::lifecycle::naming::{Tag, UidTag};
use kube::ResourceExt as _;
use kube::api::Api;

use crate::kinds::{RETAINED, annotation, is_true, secret_key, status, value};
use crate::people::FORGED;
use crate::record::{Life, effects};
use crate::search::Search;
use crate::settle::Settled;
use crate::snapshot::{Keys, Secrets, calls, place};
use crate::stage::{REST, Stage};

/// A call that is carried out so much later than it came in has outlived every wait of a recovery and a deletion: its deadline and half
/// of it again, the time within which it must be sent, and the lag of lists (`Timing` in the operator's `lifecycle/observed.rs`).
const OUTLIVED: SignedDuration = SignedDuration::from_millis(3_500);

/// What was found.
#[derive(Debug, Default)]
pub(crate) struct Findings {
    /// I1: tokens that live and that nobody names.
    pub(crate) leaks: Vec<String>,
    /// Those among them whose call came after everything was over, which the documentation admits.
    pub(crate) late: Vec<String>,
    /// I2: keys that are ready and whose Secret doesn't hold the living value of their token.
    pub(crate) lost: Vec<String>,
    /// I4: where a value stands but in a Secret's data.
    pub(crate) exposed: Vec<String>,
    /// I5: what wasn't ours and was changed.
    pub(crate) foreign: Vec<String>,
    /// I6: what went on though nothing was to be done.
    pub(crate) restless: Vec<String>,
}

/// Checks everything that can be checked at rest.
pub(crate) async fn check(stage: &Stage, settled: &Settled) -> Result<Findings> {
    let mut findings = Findings { lost: lost(stage, settled), ..Findings::default() };
    for orphan in orphans(stage, &settled.keys, &settled.secrets) {
        let history = history(stage, &orphan);
        if is_admitted(stage, &orphan) {
            findings.late.push(history);
        } else {
            findings.leaks.push(history);
        }
    }
    findings.restless = restless(stage, settled).await?;
    findings.foreign = foreign(stage).await?;
    findings.exposed = exposed(stage).await?;
    Ok(findings)
}

/// I1: the living tokens of this installation that no resource and no retained Secret names.
pub(crate) fn orphans(stage: &Stage, keys: &Keys, secrets: &Secrets) -> Vec<Token> {
    let mut named = BTreeSet::new();
    for (_, key) in &keys.all {
        let status = status(key);
        named.extend(status.token.map(|token| token.id));
        named.extend(status.superseded.into_iter().map(|entry| entry.id));
    }
    named.extend(secrets.0.iter().filter_map(|secret| annotation(secret, RETAINED)).map(str::to_owned));
    let ours = |token: &Token| {
        Tag::of_name(&token.name).is_some_and(|tag| tag.owner.installation == stage.installation)
            && token.created_by == Creator::Credential
    };
    stage
        .emulator
        .tokens()
        .into_iter()
        .filter(|token| token.is_alive() && ours(token) && !named.contains(&token.id))
        .collect()
}

/// Whether the documentation admits an orphan: its resource is gone, and the call that made it arrived after all waits.
pub(crate) fn is_admitted(stage: &Stage, orphan: &Token) -> bool {
    let Some(life) = life(stage, orphan) else { return false };
    let Some(gone) = life.gone else { return false };
    let late = calls_about(stage, orphan).iter().any(|call| {
        call.operation == Operation::Create && orphan.created_at.duration_since(call.at) > OUTLIVED
    });
    // A look takes its time: gone is when a resource was found to be gone, seen is when it was last there.
    orphan.created_at >= gone || (late && orphan.created_at >= life.seen)
}

fn life(stage: &Stage, token: &Token) -> Option<Life> {
    let tag = Tag::of_name(&token.name)?;
    let record = stage.record();
    record.resources.iter().find(|(uid, _)| UidTag::new(uid) == tag.owner.uid).map(|(_, life)| life.clone())
}

fn calls_about(stage: &Stage, token: &Token) -> Vec<Call> {
    let is_about = |call: &&Call| {
        call.sent.as_ref().is_some_and(|sent| sent.name.as_deref() == Some(&token.name))
            || call.token_id.as_ref().is_some_and(|id| *id == token.id || token.former_ids.contains(id))
    };
    stage.record().calls.values().filter(is_about).cloned().collect()
}

/// What a person needs to judge a token that nobody names.
fn history(stage: &Stage, token: &Token) -> String {
    let mut text = format!("{} ({}), made {}", token.id, token.name, token.created_at);
    // Writing to a string can't fail.
    let _ = match life(stage, token) {
        Some(Life { place, seen, gone: Some(gone) }) => {
            write!(text, ", of {place}, which was last seen {seen} and found to be gone {gone}")
        }
        Some(Life { place, .. }) => write!(text, ", of {place}, which is there"),
        None => write!(text, ", of a resource that no look has seen"),
    };
    for call in calls_about(stage, token) {
        let _ = write!(
            text,
            "\n    {} {} {}: {:?}, status {:?}, committed {}, client gone {}, after {:?} ms, faults [{}]",
            call.at,
            call.method,
            call.path,
            call.outcome,
            call.status,
            call.committed,
            call.client_gone,
            call.duration_milliseconds,
            effects(&call.faults),
        );
    }
    text
}

/// I2: every key that is ready has a Secret with the living value of the token that its status names.
fn lost(stage: &Stage, settled: &Settled) -> Vec<String> {
    let tokens = stage.emulator.tokens();
    let mut lost = Vec::new();
    for (kind, key) in &settled.keys.all {
        let status = status(key);
        if !is_true(&status, "Ready") {
            continue;
        }
        let found = settled.secrets.of(key).and_then(|secret| value(secret, secret_key(key)));
        let named = status.token.and_then(|named| tokens.iter().find(|token| token.id == named.id));
        let why = match (&found, named) {
            (None, _) => "has no Secret with a value",
            (Some(value), _) if value.starts_with(FORGED) => "has a Secret with a value written by hand",
            (_, None) => "names no token that there is",
            (Some(value), _) if !stage.emulator.is_alive(value) => "has a Secret with a dead value",
            (Some(value), Some(token)) if !value.starts_with(&token.prefix) => {
                "has a Secret with the value of another token than it names"
            }
            _ => continue,
        };
        lost.push(format!("{} is ready and {why}", place(*kind, key)));
    }
    lost
}

/// I6: for a while nothing is written, and nothing is called but lists.
async fn restless(stage: &Stage, settled: &Settled) -> Result<Vec<String>> {
    let before = calls(stage);
    tokio::time::sleep(REST).await;
    let more = calls(stage) - before;
    let (keys, secrets) = (Keys::read(stage).await?, Secrets::read(stage).await?);
    let called = (more > 0).then(|| format!("{more} calls of the token API"));
    Ok(called
        .into_iter()
        .chain(settled.keys.changed(&keys))
        .chain(settled.secrets.changed(&secrets))
        .collect())
}

/// I5: tokens and Secrets of others are as they were.
async fn foreign(stage: &Stage) -> Result<Vec<String>> {
    let mut changed = Vec::new();
    let tokens = stage.emulator.tokens();
    for before in &stage.foreign.tokens {
        let now = tokens.iter().find(|token| token.id == before.id);
        if now != Some(before) {
            changed.push(format!("token {} ({}) was changed: {now:?}", before.id, before.name));
        }
    }
    for before in &stage.foreign.secrets {
        let (namespace, name) = (before.namespace().unwrap_or_default(), before.name_any());
        let api: Api<Secret> = Api::namespaced(stage.client.clone(), &namespace);
        let now = api.get_opt(&name).await.context("reading a foreign Secret")?;
        let version = now.and_then(|now| now.metadata.resource_version);
        if version != before.metadata.resource_version {
            changed.push(format!("Secret {namespace}/{name} was changed"));
        }
    }
    Ok(changed)
}

/// I4: no value stands anywhere but in a Secret's data.
async fn exposed(stage: &Stage) -> Result<Vec<String>> {
    let mut texts = Vec::new();
    for (number, process) in stage.operators.iter().enumerate() {
        texts.push((format!("the log of operator {number}"), process.log().await?));
    }
    let own = std::fs::read_to_string(stage.dir.join("chaos.log")).context("reading the own log")?;
    texts.push(("this program's own log".into(), own));
    let audit = std::fs::read(stage.cluster.audit().path()).context("reading the audit log")?;
    texts.push(("the audit log".into(), String::from_utf8_lossy(&audit).into_owned()));
    let objects = stage
        .cluster
        .kubectl()
        .run(&["get", OBJECTS, "--all-namespaces", "--output=json", "--show-managed-fields"])
        .await?;
    // A log that couldn't be read would pass for a clean one.
    ensure!(objects.contains("AccessKey"), "no keys were found");
    texts.push(("an object".into(), objects));
    let metadata: Vec<_> = Secrets::read(stage).await?.0.into_iter().map(|secret| secret.metadata).collect();
    texts.push(("a Secret's metadata".into(), serde_json::to_string(&metadata)?));
    let search = Search::new(&stage.record().values)?;
    let found = texts.iter().flat_map(|(place, text)| {
        search.values(text).into_iter().map(move |what| format!("{place}: {what}"))
    });
    Ok(found.collect())
}

/// Everything that the operator writes, or that speaks of it.
const OBJECTS: &str = "accesskeys,gatewaykeys,events,events.events.k8s.io,configmaps,leases,namespaces";
