//! Deletion under fire: whatever is broken, nothing that lives is dropped silently, and what is mended goes on by itself.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use k8s_openapi::api::core::v1::{Namespace, Secret};
use keeptrusts_emulator::ListDefect;
use keeptrusts_harness::proxy::{steps, tokens};
use keeptrusts_harness::suite::Context;
use keeptrusts_harness::{Match, Rule, eventually, stays};
use keeptrusts_operator::resources::{AccessKey, GatewayKey, Key, KeyStatus};
use kube::api::{Api, DeleteParams, Patch, PatchParams, PostParams};
use serde_json::{Value, json};

use crate::world::{NAMESPACE, SOON, Setup, World, condition};

const KEY: &str = "checkout";
const SECRET: &str = "checkout-keeptrusts";

/// Three periods of the lists.
const A_WHILE: Duration = Duration::from_secs(7);

fn spec() -> Value {
    json!({"secret": {"name": SECRET}, "rotation": {"grace": "1h"}})
}

fn down(world: &World) {
    world.tokens.add(Rule::on(Match::any()).always().answer(503, json!({"error": "down for maintenance"})));
}

async fn ask<K: Key>(world: &World, key: &str) -> Result<()> {
    world.keys::<K>().delete(key, &DeleteParams::default()).await?;
    Ok(())
}

/// Waits until the deletion says why it waits, in words that contain `why`.
async fn held<K: Key>(world: &World, key: &str, why: &str) -> Result<KeyStatus> {
    let says = |_: &K, status: &KeyStatus| {
        condition(status, "Ready").is_some_and(|it| {
            it.status == "False" && it.reason == "RevocationPending" && it.message.contains(why)
        })
    };
    Ok(world.until::<K>(key, "says why it can't go", says).await?.1)
}

async fn stays_held<K: Key>(world: &World, key: &str) -> Result<()> {
    stays(Duration::from_secs(3), "it isn't let go", async || {
        ensure!(world.keys::<K>().get_opt(key).await?.is_some());
        Ok(())
    })
    .await
}

/// With a superseded token, which goes too.
pub(crate) async fn an_api_that_is_down_is_waited_for(cx: Context) -> Result<()> {
    let mut world = World::start(cx).await?;
    world.create::<AccessKey>(KEY, spec()).await?;
    world.at_rest::<AccessKey>(KEY).await?;
    world.secrets().delete(SECRET, &DeleteParams::default()).await?;
    world.until::<AccessKey>(KEY, "has superseded a token", |_, it| it.superseded.len() == 1).await?;
    down(&world);
    ask::<AccessKey>(&world, KEY).await?;
    held::<AccessKey>(&world, KEY, "down for maintenance").await?;
    world.event(KEY, "RevocationPending").await?;
    world.restart().await?;
    stays_held::<AccessKey>(&world, KEY).await?;
    assert_eq!(world.living().len(), 2);
    world.tokens.clear();
    world.gone::<AccessKey>(KEY).await?;
    assert!(world.living().is_empty());
    Ok(())
}

pub(crate) async fn a_refused_credential_is_waited_for(cx: Context) -> Result<()> {
    let world = World::start(cx).await?;
    world.create::<GatewayKey>(KEY, spec()).await?;
    world.at_rest::<GatewayKey>(KEY).await?;
    world.emulator.replace_credential("kt_live_another");
    ask::<GatewayKey>(&world, KEY).await?;
    held::<GatewayKey>(&world, KEY, "401").await?;
    stays_held::<GatewayKey>(&world, KEY).await?;
    assert_eq!(world.living().len(), 1);
    let patch = Patch::Merge(json!({"stringData": {"token": "kt_live_another"}}));
    let secrets: Api<Secret> = world.cx.namespace.api();
    secrets.patch("credential", &PatchParams::default(), &patch).await?;
    world.operator.sync_mounts(&world.cx.cluster).await?;
    // At once, not when the next attempt would have been due.
    world.gone::<GatewayKey>(KEY).await?;
    assert!(world.living().is_empty());
    Ok(())
}

pub(crate) async fn an_operator_that_is_away_is_waited_for(cx: Context) -> Result<()> {
    let mut world = World::start(cx).await?;
    world.create::<AccessKey>(KEY, spec()).await?;
    world.create::<GatewayKey>("runtime", json!({})).await?;
    world.at_rest::<AccessKey>(KEY).await?;
    world.at_rest::<GatewayKey>("runtime").await?;
    world.operator.terminate(SOON).await?;
    ask::<AccessKey>(&world, KEY).await?;
    ask::<GatewayKey>(&world, "runtime").await?;
    assert_eq!(world.living().len(), 2);
    world.restart().await?;
    world.gone::<AccessKey>(KEY).await?;
    world.gone::<GatewayKey>("runtime").await?;
    assert!(world.living().is_empty());
    Ok(())
}

/// A namespace with several keys goes while the API is down.
pub(crate) async fn a_namespace_waits_with_everything_in_it(cx: Context) -> Result<()> {
    const KEYS: [&str; 4] = ["a", "b", "c", "d"];
    let other = format!("{}-tenant", cx.namespace.name());
    let namespaces: Api<Namespace> = Api::all(cx.client());
    let namespace = serde_json::from_value(json!({"metadata": {"name": other}}))?;
    namespaces.create(&PostParams::default(), &namespace).await?;
    let world = Setup::new().values(&json!({"rbac": {"clusterWideKeys": true}})).start_in(cx, &other).await?;
    for key in KEYS {
        world.create::<AccessKey>(key, json!({})).await?;
        world.create::<GatewayKey>(key, json!({"secret": {"name": format!("{key}-gateway")}})).await?;
    }
    for key in KEYS {
        world.at_rest::<AccessKey>(key).await?;
        world.at_rest::<GatewayKey>(key).await?;
    }
    down(&world);
    namespaces.delete(&other, &DeleteParams::default()).await?;
    eventually(NAMESPACE, "the keys are being deleted", async || {
        let access = world.keys::<AccessKey>().list(&kube::api::ListParams::default()).await?;
        let gateway = world.keys::<GatewayKey>().list(&kube::api::ListParams::default()).await?;
        ensure!(access.iter().all(|key| key.metadata.deletion_timestamp.is_some()));
        ensure!(gateway.iter().all(|key| key.metadata.deletion_timestamp.is_some()));
        Ok(())
    })
    .await?;
    for key in KEYS {
        held::<AccessKey>(&world, key, "down for maintenance").await?;
        held::<GatewayKey>(&world, key, "down for maintenance").await?;
    }
    // Their Secrets went before them; what they held is still known.
    eventually(NAMESPACE, "the Secrets are gone", async || {
        ensure!(world.secrets().list(&kube::api::ListParams::default()).await?.items.is_empty());
        Ok(())
    })
    .await?;
    assert_eq!(world.living().len(), 2 * KEYS.len());
    world.tokens.clear();
    world.namespace_gone(&other).await?;
    assert!(world.living().is_empty());
    assert_eq!(world.emulator.tokens().len(), 2 * KEYS.len());
    Ok(())
}

/// Twice, in both ways, while a rotation is under way; with the operator that began it, and without.
pub(crate) async fn two_deletions_race_a_rotation(cx: Context) -> Result<()> {
    let mut world = World::start(cx).await?;
    for (key, killed) in [("lives", false), ("dies", true)] {
        world.create::<AccessKey>(key, json!({})).await?;
        world.at_rest::<AccessKey>(key).await?;
        let call = world.tokens.add(Rule::on(tokens::rotate()).hold_before());
        world.change::<AccessKey>(key, json!({"rotation": {"generation": 1}})).await?;
        call.reached(SOON).await?;
        world.keys::<AccessKey>().delete(key, &DeleteParams::background()).await?;
        world.keys::<AccessKey>().delete(key, &DeleteParams::foreground()).await?;
        if killed {
            world.restart().await?;
        }
        call.release();
        world.gone::<AccessKey>(key).await?;
        assert!(world.living().is_empty(), "{:?}", world.living());
        assert_eq!(world.tokens_of(key).len(), 1);
    }
    Ok(())
}

/// A mint is under way when its resource goes, by the hands of two operators.
pub(crate) async fn a_deletion_races_a_mint(cx: Context) -> Result<()> {
    let world = World::start(cx).await?;
    let mut second = world.another_operator().await?;
    for (key, stage) in [("before", true), ("after", false)] {
        let rule = Rule::on(tokens::create());
        let call = world.tokens.add(if stage { rule.hold_before() } else { rule.hold_after() });
        world.create::<GatewayKey>(key, json!({})).await?;
        call.reached(SOON).await?;
        ask::<GatewayKey>(&world, key).await?;
        call.release();
        world.gone::<GatewayKey>(key).await?;
        eventually(SOON, "nothing lives", async || {
            ensure!(world.living().is_empty(), "{:?}", world.living());
            Ok(())
        })
        .await?;
    }
    second.terminate(SOON).await?;
    Ok(())
}

/// The API is gone for good: who sets Retain lets go, and is told what stays behind.
pub(crate) async fn retain_lets_go_though_the_api_is_down(cx: Context) -> Result<()> {
    let mut world = World::start(cx).await?;
    for restarted in [false, true] {
        world.create::<AccessKey>(KEY, spec()).await?;
        let id = world.at_rest::<AccessKey>(KEY).await?.token.context("no token")?.id;
        let value = world.value(SECRET).await?;
        down(&world);
        ask::<AccessKey>(&world, KEY).await?;
        held::<AccessKey>(&world, KEY, "down for maintenance").await?;
        if restarted {
            world.restart().await?;
            stays_held::<AccessKey>(&world, KEY).await?;
        }
        world.change::<AccessKey>(KEY, json!({"deletionPolicy": "Retain"})).await?;
        world.gone::<AccessKey>(KEY).await?;
        let told = world.event(KEY, "Retained").await?;
        assert!(told.contains(SECRET) && told.contains(&id), "{told}");
        stays(A_WHILE, "Secret and value stay", async || {
            ensure!(world.value(SECRET).await? == value && world.emulator.is_alive(&value));
            Ok(())
        })
        .await?;
        world.tokens.clear();
        world.secrets().delete(SECRET, &DeleteParams::default()).await?;
        let events: Api<k8s_openapi::api::core::v1::Event> = world.cx.namespace.api();
        events.delete_collection(&DeleteParams::default(), &kube::api::ListParams::default()).await?;
    }
    Ok(())
}

/// What was superseded is still to be revoked: that isn't dropped silently either.
pub(crate) async fn retain_revokes_what_was_superseded(cx: Context) -> Result<()> {
    let world = World::start(cx).await?;
    world.create::<AccessKey>(KEY, spec()).await?;
    let old = world.at_rest::<AccessKey>(KEY).await?.token.context("no token")?.id;
    world.secrets().delete(SECRET, &DeleteParams::default()).await?;
    world.until::<AccessKey>(KEY, "has superseded a token", |_, it| it.superseded.len() == 1).await?;
    let value = world.value(SECRET).await?;
    down(&world);
    ask::<AccessKey>(&world, KEY).await?;
    held::<AccessKey>(&world, KEY, "down for maintenance").await?;
    world.change::<AccessKey>(KEY, json!({"deletionPolicy": "Retain"})).await?;
    held::<AccessKey>(&world, KEY, &old).await.context("it names what would be left behind")?;
    stays_held::<AccessKey>(&world, KEY).await?;
    world.tokens.clear();
    world.gone::<AccessKey>(KEY).await?;
    let told = world.event(KEY, "Retained").await?;
    assert!(told.contains(SECRET), "{told}");
    assert!(world.emulator.is_alive(&value));
    assert_eq!(world.living().len(), 1);
    assert_eq!(world.value(SECRET).await?, value);
    Ok(())
}

/// And where the Secret is gone already, as after a deletion in the foreground, it is said that nothing has the value any more. A person
/// takes it away here: of a Secret that is as new as this one, the garbage collector may not know yet when the key is deleted.
pub(crate) async fn retain_says_that_the_secret_is_gone(cx: Context) -> Result<()> {
    let world = World::start(cx).await?;
    world.create::<GatewayKey>(KEY, spec()).await?;
    let id = world.at_rest::<GatewayKey>(KEY).await?.token.context("no token")?.id;
    down(&world);
    ask::<GatewayKey>(&world, KEY).await?;
    held::<GatewayKey>(&world, KEY, "down for maintenance").await?;
    world.secrets().delete(SECRET, &DeleteParams::default()).await?;
    world.change::<GatewayKey>(KEY, json!({"deletionPolicy": "Retain"})).await?;
    world.gone::<GatewayKey>(KEY).await?;
    let told = world.event(KEY, "Retained").await?;
    assert!(told.contains(&id) && told.contains("There is no Secret"), "{told}");
    Ok(())
}

/// The list lacks what status names, and shows others' tokens: absent twice, it is gone. Where the list shows nobody's,
/// it isn't known, and the key waits for a person.
pub(crate) async fn an_empty_list_lets_nothing_go(cx: Context) -> Result<()> {
    let mut world = World::start(cx).await?;
    world.create::<AccessKey>(KEY, spec()).await?;
    world.at_rest::<AccessKey>(KEY).await?;
    let value = world.value(SECRET).await?;
    world.restart().await?;
    world.emulator.behaviour(|it| {
        it.lists.defect = ListDefect::Empty;
        it.statuses.whoami_minted = 404;
    });
    ask::<AccessKey>(&world, KEY).await?;
    held::<AccessKey>(&world, KEY, "isn't listed").await?;
    stays(A_WHILE, "it isn't let go", async || {
        ensure!(world.keys::<AccessKey>().get_opt(KEY).await?.is_some() && world.emulator.is_alive(&value));
        Ok(())
    })
    .await?;
    world.emulator.behaviour(|it| it.lists.defect = ListDefect::None);
    world.gone::<AccessKey>(KEY).await?;
    assert!(world.living().is_empty());
    assert_eq!(world.kubernetes.count(&steps::finalizer_removal(KEY)), 1);
    Ok(())
}

/// A list that is cut short shows others' tokens and lacks what lives: the value itself says so.
pub(crate) async fn a_list_that_is_cut_short_lets_nothing_go(cx: Context) -> Result<()> {
    let mut world = World::start(cx).await?;
    world.create::<AccessKey>("older", json!({})).await?;
    world.at_rest::<AccessKey>("older").await?;
    world.create::<AccessKey>(KEY, spec()).await?;
    world.at_rest::<AccessKey>(KEY).await?;
    let value = world.value(SECRET).await?;
    world.emulator.behaviour(|it| {
        it.lists.defect = ListDefect::Short;
        it.lists.defect_after = 1;
    });
    world.restart().await?;
    ask::<AccessKey>(&world, KEY).await?;
    held::<AccessKey>(&world, KEY, "isn't listed").await?;
    stays(A_WHILE, "it isn't let go", async || {
        ensure!(world.keys::<AccessKey>().get_opt(KEY).await?.is_some() && world.emulator.is_alive(&value));
        Ok(())
    })
    .await?;
    // A person does what the message says.
    let id = world.id_of::<AccessKey>(KEY).await?;
    world.emulator.revoke_elsewhere(&id)?;
    world.gone::<AccessKey>(KEY).await?;
    assert_eq!(world.living().len(), 1);
    Ok(())
}

/// What can't be acted on can be ended: neither deletion nor `state: Revoked` needs a valid spec. The CRDs refuse such
/// specs; those of an older version may not have.
pub(crate) async fn an_invalid_spec_is_in_nobodys_way(cx: Context) -> Result<()> {
    let world = World::start(crate::refusals::with_lax_crds(cx).await?).await?;
    let invalid = json!({"rotation": {"grace": "soon"}});
    for key in [KEY, "search"] {
        world.create::<AccessKey>(key, json!({})).await?;
        world.at_rest::<AccessKey>(key).await?;
        world.change::<AccessKey>(key, invalid.clone()).await?;
        world.reason::<AccessKey>(key, "InvalidSpec").await?;
    }
    world.change::<AccessKey>(KEY, json!({"state": "Revoked"})).await?;
    world.reason::<AccessKey>(KEY, "Revoked").await?;
    assert_eq!(world.living().len(), 1);
    assert!(world.data(KEY).await?.is_empty());
    world.delete::<AccessKey>("search", &DeleteParams::default()).await?;
    assert!(world.living().is_empty());
    world.delete::<AccessKey>(KEY, &DeleteParams::default()).await
}
