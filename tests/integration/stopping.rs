//! SIGTERM: what is under way is finished, nothing new is begun.

use anyhow::{Result, ensure};
use keeptrusts_harness::proxy::{steps, tokens};
use keeptrusts_harness::suite::Context;
use keeptrusts_harness::{Rule, eventually, http_get};
use keeptrusts_operator::resources::{AccessKey, Key as _};
use serde_json::json;

use crate::world::{SOON, World};

pub(crate) async fn a_value_on_its_way_still_reaches_the_secret(cx: Context) -> Result<()> {
    let mut world = World::start(cx).await?;
    let call = world.tokens.add(Rule::on(tokens::create()).hold_after());
    world.create::<AccessKey>("checkout", json!({})).await?;
    call.reached(SOON).await?;
    let address = world.operator.address("health")?;
    world.operator.ask_to_end()?;
    eventually(SOON, "the operator has heard it", async || {
        ensure!(http_get(address, "/healthz").await.is_err());
        Ok(())
    })
    .await?;
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
