//! What the token API's documentation leaves open: a key lives its whole life whichever way it turns out to be.

use anyhow::{Context as _, Result, ensure};
use keeptrusts_harness::eventually;
use keeptrusts_harness::suite::Context;
use keeptrusts_operator::resources::{AccessKey, Key as _};
use kube::api::DeleteParams;
use serde_json::{Value, json};

use crate::world::{SOON, World};

/// Each is a change of the emulator's behaviour; the codes are those of its list of open questions.
fn shapes() -> Vec<(&'static str, Value)> {
    vec![
        (
            "o1-data",
            json!({"answers": {"value_field": "plaintext", "value_place": "data", "id_place": "data"}}),
        ),
        (
            "o1-token",
            json!({"answers": {"value_field": "api_key", "value_place": "token", "id_place": "token"}}),
        ),
        ("o2-no-id", json!({"answers": {"id": false, "details": false}})),
        ("o3-codes", json!({"statuses": {"create": 200, "rotate": 201, "revoke": 200, "list": 203}})),
        ("o4-array", json!({"lists": {"shape": "array", "paging": "link", "page_size": 2}})),
        ("o4-pages", json!({"lists": {"shape": "results", "paging": "pagination_next", "page_size": 1}})),
        ("o4-more", json!({"lists": {"shape": "items", "paging": "has_more", "page_size": 2}})),
        ("o5-shown", json!({"lists": {"revoked": true, "marker": "is_active"}})),
        ("o5-status", json!({"lists": {"revoked": true, "marker": "status"}})),
        ("o6-lag", json!({"lists": {"lag_milliseconds": 800}})),
        ("o7-new-id", json!({"tokens": {"id_on_rotate": "new"}})),
        ("o8-unique", json!({"tokens": {"unique_names": true}})),
        ("o9-conflict", json!({"tokens": {"idempotency": "conflict"}})),
        ("o11-dead", json!({"statuses": {"revoke_unknown": 410, "revoke_dead": 410}})),
        ("o16-dropped", json!({"tokens": {"default_expiry_seconds": 86400, "expiry_on_rotate": "dropped"}})),
        ("o18-no-times", json!({"lists": {"times": false}, "answers": {"details": false}})),
    ]
}

pub(crate) async fn every_open_answer_works(cx: Context) -> Result<()> {
    let world = World::start(cx).await?;
    let usual = keeptrusts_emulator::Behaviour::default();
    for (name, change) in shapes() {
        let behaviour = usual.changed(&change).map_err(anyhow::Error::msg)?;
        world.emulator.behaviour(|current| *current = behaviour);
        life(&world, name).await.with_context(|| format!("{name}: {change}"))?;
    }
    Ok(())
}

async fn life(world: &World, name: &str) -> Result<()> {
    world.create::<AccessKey>(name, json!({"rotation": {"grace": "1s"}})).await?;
    world.at_rest::<AccessKey>(name).await?;
    let minted = world.value(name).await?;
    world.change::<AccessKey>(name, json!({"rotation": {"generation": 1}})).await?;
    world.at_rest::<AccessKey>(name).await?;
    let rotated = world.value(name).await?;
    ensure!(!world.emulator.is_alive(&minted) && world.emulator.is_alive(&rotated), "it wasn't rotated");
    world.secrets().delete(name, &DeleteParams::default()).await?;
    eventually(SOON, "the Secret is repaired", async || {
        let key = world.keys::<AccessKey>().get(name).await?;
        ensure!(key.status().is_some_and(|status| status.superseded.is_empty()));
        let value = world.value(name).await?;
        ensure!(value != rotated && world.emulator.is_alive(&value));
        ensure!(!world.emulator.is_alive(&rotated), "the replaced token lives");
        Ok(())
    })
    .await?;
    world.delete::<AccessKey>(name, &DeleteParams::default()).await?;
    ensure!(world.living().is_empty(), "{:?} live on", world.living());
    Ok(())
}
