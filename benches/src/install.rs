//! From `helm install` to the first key that is Ready, in a cluster that has nothing of the operator's.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use k8s_openapi::api::core::v1::{Namespace, Secret};
use keeptrusts_harness::{Chart, ChartOptions, ControlPlane, eventually};
use keeptrusts_operator::resources::{AccessKey, AccessKeySpec};
use kube::api::{Api, PostParams};
use serde_json::json;

use crate::fleet::Fleet;
use crate::report::Install;
use crate::stage::{SYSTEM, Stage};
use crate::statistics::Spread;

const RELEASE: &str = "keeptrusts-operator";

/// How long the first key may take.
const PATIENCE: Duration = Duration::from_mins(1);

pub(crate) async fn run(stage: &Stage) -> Result<Install> {
    let (mut helm_seconds, mut seconds) = (Vec::new(), Vec::new());
    for round in 1..=stage.setup.rounds {
        let what = format!("round {round} of {}", stage.setup.rounds);
        let (helm, all) = install(stage).await.with_context(|| what.clone())?;
        println!("  {what}: {all:.1} s, of which helm took {helm:.1} s");
        helm_seconds.push(helm);
        seconds.push(all);
    }
    Ok(Install { seconds: Spread::of(seconds), helm_seconds: Spread::of(helm_seconds) })
}

/// How long helm took, and how long it was until a key was Ready.
async fn install(stage: &Stage) -> Result<(f64, f64)> {
    stage.tokens.admin.reset().await?;
    let cluster = ControlPlane::start(keeptrusts_harness::Options::default().lean_audit()).await?;
    let client = cluster.client_at(cluster.url()).await?;
    // What the README's commands make before that: the namespace, and the Secret with the operator's own token.
    let namespace: Namespace = serde_json::from_value(json!({"metadata": {"name": SYSTEM}}))?;
    Api::all(client.clone()).create(&PostParams::default(), &namespace).await?;
    let credential: Secret = serde_json::from_value(
        json!({"metadata": {"name": "credential"}, "stringData": {"token": stage.tokens.credential()}}),
    )?;
    Api::namespaced(client.clone(), SYSTEM).create(&PostParams::default(), &credential).await?;
    let values = json!({"api": {"url": stage.tokens.url(), "credential": {"secretName": "credential"}}});
    let dir = stage.setup.root.join("charts/keeptrusts-operator");
    let path = dir.to_str().context("a chart's path that isn't text")?;
    let options = ChartOptions::new(&dir, RELEASE, SYSTEM).values(values.clone());
    // What kubelet reads of the API server, beforehand.
    let chart = Chart::render(&cluster.helm(), &options).await?;

    let begun = Instant::now();
    let line = ["install", RELEASE, path, "--namespace", SYSTEM, "--values", "-"];
    cluster.helm().run_with_input(&line, &values.to_string()).await?;
    let helm = begun.elapsed();
    let keys: Api<AccessKey> = Api::namespaced(client, "default");
    keys.create(&PostParams::default(), &AccessKey::new("first", AccessKeySpec::default())).await?;
    let fleet = Fleet::begin(&cluster, &stage.setup, &chart).await?;
    eventually(PATIENCE, "the first key is Ready", async || {
        let status = keys.get("first").await?.status.unwrap_or_default();
        let ready = status.conditions.iter().find(|condition| condition.type_ == "Ready");
        anyhow::ensure!(ready.is_some_and(|ready| ready.status == "True"), "{status:?}");
        Ok(())
    })
    .await?;
    let all = begun.elapsed();
    fleet.stop().await?;
    Ok((helm.as_secs_f64(), all.as_secs_f64()))
}
