//! `state: Revoked`: every token of the resource dead at once, our data out of the Secret, the resource still there.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use keeptrusts_emulator::{Effect, Fault, Operation, Stage};
use keeptrusts_harness::proxy::tokens;
use keeptrusts_harness::suite::Context;
use keeptrusts_harness::{Match, Rule, eventually, stays};
use keeptrusts_operator::resources::{AccessKey, GatewayKey, Key, KeyStatus};
use kube::api::{DeleteParams, Patch, PatchParams};
use serde_json::{Value, json};

use crate::world::{SOON, Setup, World, condition};

const KEY: &str = "checkout";
const SECRET: &str = "checkout-keeptrusts";

/// Three periods of the lists.
const A_WHILE: Duration = Duration::from_secs(7);

fn spec() -> Value {
    json!({"secret": {"name": SECRET, "template": {"data": {"OPENAI_API_KEY": "$(value)"}}}})
}

/// Waits until it is said that everything is revoked, and checks it: nothing of the key lives, nothing is named, and our
/// data are out of the Secret.
async fn all_dead<K: Key>(world: &World) -> Result<KeyStatus> {
    let status = world.reason::<K>(KEY, "Revoked").await?;
    ensure!(condition(&status, "Stalled").is_some(), "{status:?}");
    ensure!(
        status.token.is_none() && status.superseded.is_empty() && status.operation.is_none(),
        "{status:?}"
    );
    let living: Vec<_> =
        world.tokens_of(KEY).into_iter().filter(|token| token.revoked_at.is_none()).collect();
    ensure!(living.is_empty(), "{living:?} live");
    if world.secrets().get_opt(SECRET).await?.is_some() {
        let data = world.data(SECRET).await?;
        ensure!(!data.contains_key("api-key") && !data.contains_key("OPENAI_API_KEY"), "{:?}", data.keys());
    }
    Ok(status)
}

async fn revoke<K: Key>(world: &World) -> Result<()> {
    world.change::<K>(KEY, json!({"state": "Revoked"})).await?;
    Ok(())
}

async fn activate<K: Key>(world: &World, made: usize) -> Result<String> {
    world.change::<K>(KEY, json!({"state": "Active"})).await?;
    world.settles::<K>(KEY, SECRET, made).await
}

pub(crate) async fn every_token_dies_and_the_resource_stays(cx: Context) -> Result<()> {
    there_and_back::<AccessKey>(&World::start(cx).await?).await
}

pub(crate) async fn so_does_a_gateways(cx: Context) -> Result<()> {
    there_and_back::<GatewayKey>(&World::start(cx).await?).await
}

async fn there_and_back<K: Key>(world: &World) -> Result<()> {
    world.create::<K>(KEY, spec()).await?;
    world.at_rest::<K>(KEY).await?;
    world.change::<K>(KEY, json!({"rotation": {"generation": 2}})).await?;
    world.until::<K>(KEY, "is rotated", |_, it| it.observed_rotation_generation == Some(2)).await?;
    let old = world.settles::<K>(KEY, SECRET, 1).await?;
    let others = Patch::Merge(json!({"stringData": {"others": "x"}}));
    world.secrets().patch(SECRET, &PatchParams::default(), &others).await?;
    revoke::<K>(world).await?;
    all_dead::<K>(world).await?;
    assert_eq!(
        world.data(SECRET).await?.keys().collect::<Vec<_>>(),
        ["others"],
        "what others put there stays"
    );
    stays(A_WHILE, "it stays so, and nothing is made", async || {
        all_dead::<K>(world).await?;
        ensure!(world.tokens_of(KEY).len() == 1);
        Ok(())
    })
    .await?;
    let new = activate::<K>(world, 2).await?;
    assert_ne!(new, old);
    let data = world.data(SECRET).await?;
    assert_eq!((&data["OPENAI_API_KEY"], data["others"].as_str()), (&new, "x"));
    let status = world.at_rest::<K>(KEY).await?;
    assert_eq!(status.observed_rotation_generation, Some(2), "the mark survives");
    world.delete::<K>(KEY, &DeleteParams::default()).await?;
    assert!(world.living().is_empty());
    Ok(())
}

/// Grace is for those who may go on using a token; here nobody may.
pub(crate) async fn so_do_the_superseded_ones(cx: Context) -> Result<()> {
    let world = World::start(cx).await?;
    let mut spec = spec();
    spec["rotation"] = json!({"grace": "1d"});
    world.create::<AccessKey>(KEY, spec).await?;
    world.at_rest::<AccessKey>(KEY).await?;
    world.secrets().delete(SECRET, &DeleteParams::default()).await?;
    world.until::<AccessKey>(KEY, "has superseded a token", |_, it| it.superseded.len() == 1).await?;
    assert_eq!(world.living().len(), 2);
    revoke::<AccessKey>(&world).await?;
    all_dead::<AccessKey>(&world).await?;
    activate::<AccessKey>(&world, 3).await?;
    Ok(())
}

/// The call is under way: its token comes to the Secret, and dies at once.
pub(crate) async fn so_does_what_is_on_its_way(cx: Context) -> Result<()> {
    let world = World::start(cx).await?;
    for (key, stage) in [("first", Stage::Before), ("second", Stage::After)] {
        let fault = Fault::new(Effect::Hold { stage }).on(Operation::Create).times(1).matching(key);
        let hold = world.emulator.add_fault(fault)?;
        world.create::<AccessKey>(key, json!({})).await?;
        eventually(SOON, "the call is held", async || {
            ensure!(world.emulator.held(hold) == 1);
            Ok(())
        })
        .await?;
        world.change::<AccessKey>(key, json!({"state": "Revoked"})).await?;
        world.emulator.release(hold);
        world.reason::<AccessKey>(key, "Revoked").await?;
        assert!(world.living().is_empty(), "{:?}", world.living());
        world.change::<AccessKey>(key, json!({"state": "Active"})).await?;
        world.settles::<AccessKey>(key, key, 2).await?;
        world.delete::<AccessKey>(key, &DeleteParams::default()).await?;
    }
    Ok(())
}

/// The operator is killed with its call under way, and the call arrives when everything passes for revoked.
pub(crate) async fn so_does_what_arrives_late(cx: Context) -> Result<()> {
    let mut world = World::start(cx).await?;
    let call = world.tokens.add(Rule::on(tokens::create()).hold_before());
    world.create::<GatewayKey>(KEY, spec()).await?;
    call.reached(SOON).await?;
    world.operator.kill()?;
    revoke::<GatewayKey>(&world).await?;
    world.restart().await?;
    all_dead::<GatewayKey>(&world).await?;
    call.release();
    call.finished(SOON).await?;
    eventually(SOON, "it was made, and is dead", async || {
        ensure!(world.tokens_of(KEY).len() == 1);
        all_dead::<GatewayKey>(&world).await
    })
    .await?;
    activate::<GatewayKey>(&world, 2).await?;
    Ok(())
}

/// The same with a rotation.
pub(crate) async fn so_does_what_is_rotated_late(cx: Context) -> Result<()> {
    let mut world = World::start(cx).await?;
    world.create::<AccessKey>(KEY, spec()).await?;
    world.at_rest::<AccessKey>(KEY).await?;
    let call = world.tokens.add(Rule::on(tokens::rotate()).hold_before());
    world.change::<AccessKey>(KEY, json!({"rotation": {"generation": 1}})).await?;
    call.reached(SOON).await?;
    world.operator.kill()?;
    revoke::<AccessKey>(&world).await?;
    world.restart().await?;
    call.release();
    all_dead::<AccessKey>(&world).await?;
    activate::<AccessKey>(&world, 2).await?;
    Ok(())
}

pub(crate) async fn neither_suspend_nor_halt_is_in_its_way(cx: Context) -> Result<()> {
    let world = World::start(cx).await?;
    let mut spec = spec();
    spec["suspend"] = json!(true);
    spec["externalChangePolicy"] = json!("Halt");
    world.create::<AccessKey>(KEY, spec).await?;
    world.reason::<AccessKey>(KEY, "Suspended").await?;
    world.change::<AccessKey>(KEY, json!({"suspend": false})).await?;
    world.at_rest::<AccessKey>(KEY).await?;
    world.change::<AccessKey>(KEY, json!({"suspend": true})).await?;
    revoke::<AccessKey>(&world).await?;
    all_dead::<AccessKey>(&world).await?;
    // Nothing is made as long as it is suspended.
    world.change::<AccessKey>(KEY, json!({"state": "Active"})).await?;
    world.reason::<AccessKey>(KEY, "Suspended").await?;
    assert_eq!(world.tokens_of(KEY).len(), 1);
    world.change::<AccessKey>(KEY, json!({"suspend": false})).await?;
    world.settles::<AccessKey>(KEY, SECRET, 2).await?;
    Ok(())
}

pub(crate) async fn a_resource_that_begins_so_has_no_token(cx: Context) -> Result<()> {
    let world = World::start(cx).await?;
    let mut spec = spec();
    spec["state"] = json!("Revoked");
    world.create::<AccessKey>(KEY, spec).await?;
    all_dead::<AccessKey>(&world).await?;
    stays(A_WHILE, "nothing is made", async || {
        ensure!(world.emulator.tokens().is_empty() && world.secrets().get_opt(SECRET).await?.is_none());
        Ok(())
    })
    .await?;
    activate::<AccessKey>(&world, 1).await?;
    Ok(())
}

/// Without a Secret there is nothing to empty.
pub(crate) async fn a_secret_that_is_gone_is_not_missed(cx: Context) -> Result<()> {
    let world = World::start(cx).await?;
    world.create::<GatewayKey>(KEY, spec()).await?;
    world.at_rest::<GatewayKey>(KEY).await?;
    revoke::<GatewayKey>(&world).await?;
    all_dead::<GatewayKey>(&world).await?;
    world.secrets().delete(SECRET, &DeleteParams::default()).await?;
    world.lists(2).await?;
    all_dead::<GatewayKey>(&world).await?;
    assert_eq!(world.tokens_of(KEY).len(), 1);
    activate::<GatewayKey>(&world, 2).await?;
    Ok(())
}

/// The API is down, the operator is killed: it says that tokens still live, and goes on as soon as it can.
pub(crate) async fn an_api_that_is_down_is_waited_for(cx: Context) -> Result<()> {
    let mut world = World::start(cx).await?;
    world.create::<AccessKey>(KEY, spec()).await?;
    world.at_rest::<AccessKey>(KEY).await?;
    let value = world.value(SECRET).await?;
    world.tokens.add(Rule::on(Match::any()).always().answer(503, json!({"error": "down"})));
    revoke::<AccessKey>(&world).await?;
    let status = world
        .until::<AccessKey>(KEY, "says what holds it up", |_, status| {
            condition(status, "Ready").is_some_and(|it| it.reason == "Revoking" && it.message.contains("503"))
        })
        .await?
        .1;
    assert!(condition(&status, "Reconciling").is_some());
    world.restart().await?;
    stays(Duration::from_secs(3), "nothing passes for revoked", async || {
        let status = world.keys::<AccessKey>().get(KEY).await?.status.unwrap_or_default();
        ensure!(condition(&status, "Ready").is_some_and(|it| it.reason == "Revoking"), "{status:?}");
        ensure!(world.emulator.is_alive(&value));
        Ok(())
    })
    .await?;
    world.tokens.clear();
    all_dead::<AccessKey>(&world).await?;
    Ok(())
}

/// Killed between the revocation and the emptying.
pub(crate) async fn a_restart_finishes_it(cx: Context) -> Result<()> {
    let mut world = World::start(cx).await?;
    world.create::<AccessKey>(KEY, spec()).await?;
    world.at_rest::<AccessKey>(KEY).await?;
    let call = world.tokens.add(Rule::on(tokens::revoke()).hold_after());
    revoke::<AccessKey>(&world).await?;
    call.reached(SOON).await?;
    world.restart().await?;
    call.discard();
    all_dead::<AccessKey>(&world).await?;
    // And back, in the hands of a process that knows nothing of it.
    world.restart().await?;
    activate::<AccessKey>(&world, 2).await?;
    Ok(())
}

/// The mark of an emptied Secret is an annotation: whoever may edit the Secret can forge it, and gets nothing by it.
pub(crate) async fn a_forged_mark_makes_no_token(cx: Context) -> Result<()> {
    let world = Setup::new().start(cx).await?;
    world.create::<AccessKey>(KEY, spec()).await?;
    world.at_rest::<AccessKey>(KEY).await?;
    let value = world.value(SECRET).await?;
    let forged = Patch::Merge(json!({"metadata": {"annotations": {"keys.keeptrusts.com/emptied": "true"}}}));
    world.secrets().patch(SECRET, &PatchParams::default(), &forged).await?;
    world.lists(2).await?;
    assert_eq!(world.settles::<AccessKey>(KEY, SECRET, 1).await?, value);
    revoke::<AccessKey>(&world).await?;
    all_dead::<AccessKey>(&world).await.context("it doesn't keep the value in the Secret either")?;
    Ok(())
}
