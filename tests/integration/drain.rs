//! `keeptrusts-operator drain`: every key goes, and it is said what became of its token.

use std::process::Stdio;

use anyhow::{Context as _, Result, ensure};
use keeptrusts_harness::suite::Context;
use keeptrusts_operator::resources::{AccessKey, GatewayKey};
use serde_json::{Value, json};
use tokio::process::Command;

use crate::world::World;

const SECRET: &str = "checkout-keeptrusts";

/// What the command printed.
struct Drained {
    success: bool,
    rows: Vec<Value>,
    error: String,
}

async fn drain(world: &World, arguments: &[&str]) -> Result<Drained> {
    let output = Command::new(env!("CARGO_BIN_EXE_keeptrusts-operator"))
        .args(["drain", "--output", "json", "--namespace", world.cx.namespace.name()])
        .args(arguments)
        .env("KUBECONFIG", world.cx.cluster.kubeconfig())
        .stdin(Stdio::null())
        .output()
        .await?;
    let error = String::from_utf8_lossy(&output.stderr).into_owned();
    let printed = Some(output.stdout).filter(|stdout| !stdout.is_empty());
    let rows =
        printed.map(|stdout| serde_json::from_slice(&stdout)).transpose().with_context(|| error.clone())?;
    let rows = rows.unwrap_or_default();
    Ok(Drained { success: output.status.success(), rows, error })
}

/// A key of either kind.
async fn make(world: &World) -> Result<()> {
    world.create::<AccessKey>("checkout", json!({"secret": {"name": SECRET}})).await?;
    // What the key says itself doesn't count.
    world.create::<GatewayKey>("edge", json!({"deletionPolicy": "Retain"})).await?;
    world.at_rest::<AccessKey>("checkout").await?;
    world.at_rest::<GatewayKey>("edge").await?;
    Ok(())
}

fn outcomes(rows: &[Value]) -> Vec<(&str, &str)> {
    let mut outcomes: Vec<_> = rows
        .iter()
        .map(|row| (row["name"].as_str().unwrap_or_default(), row["outcome"].as_str().unwrap_or_default()))
        .collect();
    outcomes.sort_unstable();
    outcomes
}

pub(crate) async fn tokens_are_retained_with_their_secrets(cx: Context) -> Result<()> {
    let world = World::start(cx).await?;
    make(&world).await?;
    let values = [world.value(SECRET).await?, world.value("edge").await?];
    let drained = drain(&world, &["--tokens", "retain", "--yes"]).await?;
    ensure!(drained.success, "{}", drained.error);
    assert_eq!(outcomes(&drained.rows), [("checkout", "retained"), ("edge", "retained")]);
    world.gone::<AccessKey>("checkout").await?;
    assert_eq!([world.value(SECRET).await?, world.value("edge").await?], values);
    ensure!(values.iter().all(|value| world.emulator.is_alive(value)));
    let again = drain(&world, &["--tokens", "retain", "--yes"]).await?;
    ensure!(again.success && again.rows.is_empty(), "{}", again.error);
    Ok(())
}

pub(crate) async fn tokens_are_revoked_whatever_the_keys_say(cx: Context) -> Result<()> {
    let world = World::start(cx).await?;
    make(&world).await?;
    let unasked = drain(&world, &["--tokens", "revoke"]).await?;
    ensure!(!unasked.success && unasked.error.contains("add --yes"), "{}", unasked.error);
    assert_eq!(world.living().len(), 2, "nobody agreed");
    let drained = drain(&world, &["--tokens", "revoke", "--yes"]).await?;
    ensure!(drained.success, "{}", drained.error);
    assert_eq!(outcomes(&drained.rows), [("checkout", "revoked"), ("edge", "revoked")]);
    ensure!(world.living().is_empty());
    Ok(())
}

pub(crate) async fn an_operator_that_is_away_is_said_and_waited_for(cx: Context) -> Result<()> {
    let mut world = World::start(cx).await?;
    make(&world).await?;
    world.operator.kill()?;
    let drained = drain(&world, &["--tokens", "revoke", "--yes", "--timeout", "1s"]).await?;
    ensure!(!drained.success && drained.error.contains("the operator does the work"), "{}", drained.error);
    assert_eq!(outcomes(&drained.rows), [("checkout", "waiting"), ("edge", "waiting")]);
    assert_eq!(world.living().len(), 2);
    world.restart().await?;
    let drained = drain(&world, &["--tokens", "revoke", "--yes"]).await?;
    ensure!(drained.success, "{}", drained.error);
    ensure!(world.living().is_empty());
    Ok(())
}
