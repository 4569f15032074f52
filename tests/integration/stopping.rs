//! SIGTERM: what is under way is finished, nothing new is begun.

use anyhow::{Result, ensure};
use keeptrusts_harness::proxy::{steps, tokens};
use keeptrusts_harness::suite::Context;
use keeptrusts_harness::{Rule, eventually};
use keeptrusts_operator::resources::{AccessKey, Key as _};
use serde_json::json;

use crate::world::{SOON, World};

pub(crate) async fn a_value_on_its_way_still_reaches_the_secret(cx: Context) -> Result<()> {
    let mut world = World::start(cx).await?;
    let call = world.tokens.add(Rule::on(tokens::create()).hold_after());
    world.create::<AccessKey>("checkout", json!({})).await?;
    call.reached(SOON).await?;
    world.operator.ask_to_end()?;
    eventually(SOON, "the operator has heard it", async || {
        let (status, body) = world.operator.get("health", "/readyz").await?;
        ensure!(status == 503 && body.contains("[-] stop:"), "{status} {body}");
        Ok(())
    })
    .await?;
    // Who holds a value isn't killed for it.
    let (status, body) = world.operator.get("health", "/livez").await?;
    ensure!(status == 200 && body.contains("1 of them of operations"), "{status} {body}");
    // One more key is too late.
    world.create::<AccessKey>("late", json!({})).await?;
    call.release();
    let status = world.operator.wait(SOON).await?;
    ensure!(status.success(), "{status}");
    let key = world.keys::<AccessKey>().get("checkout").await?;
    let told = key.status().cloned().unwrap_or_default();
    ensure!(told.operation.is_none() && told.token.is_some(), "{told:?}");
    ensure!(world.emulator.is_alive(&world.value("checkout").await?));
    ensure!(world.kubernetes.count(&steps::resource_write("late")) == 0, "something new was begun");
    ensure!(world.emulator.tokens().len() == 1);
    Ok(())
}
