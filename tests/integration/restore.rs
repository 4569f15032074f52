//! A resource that comes back without its status, or under a new uid: its Secret is taken up where its value is proved to
//! live, replaced where it isn't, and left alone where it is another installation's.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use k8s_openapi::api::core::v1::Secret;
use keeptrusts_harness::proxy::{steps, tokens};
use keeptrusts_harness::suite::Context;
use keeptrusts_harness::{Chart, ChartOptions, Match, Rule, TestNamespace, eventually, stays};
use keeptrusts_operator::resources::{AccessKey, GatewayKey, Key, KeyStatus, OperationReason};
use kube::api::{Api, DeleteParams, Patch, PatchParams, PostParams};
use serde_json::{Value, json};

use crate::world::{CHART, SOON, Setup, World, condition, ready};

const KEY: &str = "checkout";
const SECRET: &str = "checkout-keeptrusts";

/// Three periods of the lists.
const A_WHILE: Duration = Duration::from_secs(7);

fn spec() -> Value {
    json!({"secret": {"name": SECRET}, "rotation": {"generation": 3, "grace": "1s"}})
}

/// A key that was rotated once since it was made: its value.
async fn rotated<K: Key>(world: &World) -> Result<String> {
    world.create::<K>(KEY, spec()).await?;
    world.at_rest::<K>(KEY).await?;
    world.change::<K>(KEY, json!({"rotation": {"generation": 4}})).await?;
    world.settles::<K>(KEY, SECRET, 1).await
}

/// An administrator, or a backup tool, writes an empty status.
async fn wipe<K: Key>(world: &World) -> Result<()> {
    // The operator may have written in between.
    eventually(SOON, "the status is wiped", async || {
        let mut key = serde_json::to_value(world.keys::<K>().get(KEY).await?)?;
        key["status"] = json!({});
        let key: K = serde_json::from_value(key)?;
        world.keys::<K>().replace_status(KEY, &PostParams::default(), &key).await?;
        Ok(())
    })
    .await
}

/// Waits until the operator has noticed a lost status, and then until it is mended.
async fn mended<K: Key>(world: &World, made: usize) -> Result<String> {
    world.reason::<K>(KEY, "StatusLost").await?;
    world.settles::<K>(KEY, SECRET, made).await
}

/// A copy as a backup tool keeps it.
async fn copy(world: &World) -> Result<Secret> {
    let mut secret = world.secrets().get(SECRET).await?;
    secret.metadata.resource_version = None;
    secret.metadata.uid = None;
    secret.metadata.creation_timestamp = None;
    secret.metadata.managed_fields = None;
    Ok(secret)
}

async fn put_back(world: &World, copy: &Secret) -> Result<()> {
    world.secrets().create(&PostParams::default(), copy).await?;
    Ok(())
}

/// Takes a resource away without its operator, as the loss of a namespace or of etcd does, and its Secret with it.
async fn lose<K: Key>(world: &mut World) -> Result<()> {
    world.operator.kill()?;
    let free = Patch::Merge(json!({"metadata": {"finalizers": null}}));
    world.keys::<K>().patch(KEY, &PatchParams::default(), &free).await?;
    world.keys::<K>().delete(KEY, &DeleteParams::background()).await?;
    world.gone::<K>(KEY).await?;
    eventually(SOON, "the garbage collector has removed the Secret", async || {
        ensure!(world.secrets().get_opt(SECRET).await?.is_none());
        Ok(())
    })
    .await
}

pub(crate) async fn a_wiped_status_is_rebuilt(cx: Context) -> Result<()> {
    rebuilt::<AccessKey>(&World::start(cx).await?).await
}

pub(crate) async fn so_is_that_of_a_gateway_key(cx: Context) -> Result<()> {
    rebuilt::<GatewayKey>(&World::start(cx).await?).await
}

async fn rebuilt<K: Key>(world: &World) -> Result<()> {
    let value = rotated::<K>(world).await?;
    let before = world.at_rest::<K>(KEY).await?;
    let writes = world.tokens.count(&tokens::write());
    wipe::<K>(world).await?;
    assert_eq!(mended::<K>(world, 1).await?, value);
    let after = world.at_rest::<K>(KEY).await?;
    assert_eq!(after.observed_rotation_generation, Some(4), "the mark survives");
    assert_eq!(after.token, before.token);
    assert_eq!(world.tokens.count(&tokens::write()), writes, "only lists and whoami are asked");
    // The next generation is the next one.
    world.change::<K>(KEY, json!({"rotation": {"generation": 5}})).await?;
    world.until::<K>(KEY, "is rotated", |_, status| status.observed_rotation_generation == Some(5)).await?;
    assert_ne!(world.settles::<K>(KEY, SECRET, 1).await?, value);
    world.delete::<K>(KEY, &DeleteParams::default()).await?;
    assert!(world.living().is_empty());
    Ok(())
}

pub(crate) async fn a_new_uid_takes_up_its_secret(cx: Context) -> Result<()> {
    taken_up::<AccessKey>(World::start(cx).await?).await
}

pub(crate) async fn so_does_a_gateway_keys(cx: Context) -> Result<()> {
    taken_up::<GatewayKey>(World::start(cx).await?).await
}

/// The Secret is restored before the resource, without its ownerReferences, as `--cascade=orphan` leaves it.
async fn taken_up<K: Key>(mut world: World) -> Result<()> {
    let value = rotated::<K>(&world).await?;
    let token = world.id_of::<K>(KEY).await?;
    let mut copy = copy(&world).await?;
    copy.metadata.owner_references = None;
    lose::<K>(&mut world).await?;
    put_back(&world, &copy).await?;
    // From Git, which knows the generation of the day before.
    let created = world.create::<K>(KEY, spec()).await?;
    world.restart().await?;
    assert_eq!(mended::<K>(&world, 1).await?, value);
    let status = world.at_rest::<K>(KEY).await?;
    assert_eq!(status.observed_rotation_generation, Some(4));
    assert_eq!(status.token.map(|token| token.id), Some(token));
    let owners = world.secrets().get(SECRET).await?.metadata.owner_references.unwrap_or_default();
    let uid = created.meta().uid.clone().unwrap_or_default();
    assert_eq!(owners.iter().map(|owner| &owner.uid).collect::<Vec<_>>(), [&uid]);
    // What was made for the former uid is this one's.
    world.delete::<K>(KEY, &DeleteParams::default()).await?;
    assert!(world.living().is_empty());
    Ok(())
}

/// The ownerReference of the restored Secret is to a uid that is gone: the garbage collector may be faster than the
/// operator, and then there is a new token. Either way the key has a Secret that stays.
pub(crate) async fn an_owner_reference_to_a_former_uid_does_no_harm(cx: Context) -> Result<()> {
    let mut world = World::start(cx).await?;
    rotated::<AccessKey>(&world).await?;
    let copy = copy(&world).await?;
    lose::<AccessKey>(&mut world).await?;
    world.create::<AccessKey>(KEY, spec()).await?;
    put_back(&world, &copy).await?;
    world.restart().await?;
    let has_value = async || {
        let value = world.value(SECRET).await?;
        ensure!(world.emulator.is_alive(&value), "the Secret's value is dead");
        let status = world.at_rest::<AccessKey>(KEY).await?;
        ensure!(status.token.is_some());
        Ok(())
    };
    eventually(SOON, "the Secret holds a living value", has_value).await?;
    stays(A_WHILE, "and stays", async || {
        ensure!(world.emulator.is_alive(&world.value(SECRET).await?));
        Ok(())
    })
    .await?;
    assert!(world.tokens_of(KEY).len() <= 2, "{:?}", world.tokens_of(KEY));
    Ok(())
}

/// The whole of a snapshot comes back: the resource without status, and the Secret of two rotations ago.
pub(crate) async fn an_old_secret_of_a_lost_resource_is_replaced(cx: Context) -> Result<()> {
    let mut world = World::start(cx).await?;
    world.create::<AccessKey>(KEY, spec()).await?;
    let oldest = world.settles::<AccessKey>(KEY, SECRET, 1).await?;
    let mut copy = copy(&world).await?;
    copy.metadata.owner_references = None;
    for generation in [4, 5] {
        world.change::<AccessKey>(KEY, json!({"rotation": {"generation": generation}})).await?;
        world
            .until::<AccessKey>(KEY, "is rotated", |_, it| {
                it.observed_rotation_generation == Some(generation)
            })
            .await?;
    }
    lose::<AccessKey>(&mut world).await?;
    put_back(&world, &copy).await?;
    world.create::<AccessKey>(KEY, spec()).await?;
    world.restart().await?;
    // One value died by rotations, and its token is replaced: the token of the former life dies too.
    let value = mended::<AccessKey>(&world, 2).await?;
    assert_ne!(value, oldest);
    Ok(())
}

/// Somebody restores the Secret alone, from before two rotations.
pub(crate) async fn an_old_secret_of_a_living_resource_is_replaced(cx: Context) -> Result<()> {
    let world = World::start(cx).await?;
    world.create::<GatewayKey>(KEY, spec()).await?;
    let oldest = world.settles::<GatewayKey>(KEY, SECRET, 1).await?;
    let copy = copy(&world).await?;
    for generation in [4, 5] {
        world.change::<GatewayKey>(KEY, json!({"rotation": {"generation": generation}})).await?;
        world
            .until::<GatewayKey>(KEY, "is rotated", |_, it| {
                it.observed_rotation_generation == Some(generation)
            })
            .await?;
    }
    world.at_rest::<GatewayKey>(KEY).await?;
    world.secrets().replace(SECRET, &PostParams::default(), &copy).await?;
    // What the condition says passes in a moment; the history keeps it.
    let replaced = |_: &GatewayKey, status: &KeyStatus| {
        status.last_rotation.as_ref().is_some_and(|last| last.reason == OperationReason::SecretChanged)
    };
    world.until::<GatewayKey>(KEY, "has another token", replaced).await?;
    let value = world.settles::<GatewayKey>(KEY, SECRET, 2).await?;
    assert_ne!(value, oldest);
    let status = world.at_rest::<GatewayKey>(KEY).await?;
    assert_eq!(status.observed_rotation_generation, Some(5));
    Ok(())
}

pub(crate) async fn a_value_that_cannot_be_proved_is_replaced(cx: Context) -> Result<()> {
    let world = Setup::new().behaviour(|it| it.statuses.whoami_minted = 404).start(cx).await?;
    let value = rotated::<AccessKey>(&world).await?;
    wipe::<AccessKey>(&world).await?;
    assert_ne!(mended::<AccessKey>(&world, 2).await?, value);
    let status = world.at_rest::<AccessKey>(KEY).await?;
    assert_eq!(status.observed_rotation_generation, Some(4));
    let told = world.event(KEY, "StatusLost").await?;
    assert!(told.contains("status was lost") || told.contains("Status was lost"), "{told}");
    Ok(())
}

/// Dead while the operator was away, and the status lost on top.
pub(crate) async fn a_dead_value_is_replaced(cx: Context) -> Result<()> {
    let mut world = World::start(cx).await?;
    let value = rotated::<AccessKey>(&world).await?;
    let id = world.id_of::<AccessKey>(KEY).await?;
    world.operator.kill()?;
    world.emulator.revoke_elsewhere(&id)?;
    wipe::<AccessKey>(&world).await?;
    world.restart().await?;
    assert_ne!(mended::<AccessKey>(&world, 2).await?, value);
    Ok(())
}

pub(crate) async fn a_restart_in_the_middle_raises_nothing(cx: Context) -> Result<()> {
    let mut world = World::start(cx).await?;
    let value = rotated::<AccessKey>(&world).await?;
    let proof = world.tokens.add(Rule::on(tokens::whoami()).hold_before());
    wipe::<AccessKey>(&world).await?;
    proof.reached(SOON).await?;
    world.operator.kill()?;
    proof.discard();
    let again = world.tokens.add(Rule::on(tokens::whoami()).hold_before());
    world.restart().await?;
    again.reached(SOON).await?;
    let status = world.keys::<AccessKey>().get(KEY).await?.status.unwrap_or_default();
    assert!(ready(&status).is_none(), "{status:?}");
    again.release();
    assert_eq!(world.settles::<AccessKey>(KEY, SECRET, 1).await?, value);
    Ok(())
}

/// The operation that was recorded is gone with the status; what its call made, or rotated, is the resource's all the
/// same.
pub(crate) async fn a_status_that_is_wiped_in_flight(cx: Context) -> Result<()> {
    let world = World::start(cx).await?;
    let mint = world.tokens.add(Rule::on(tokens::create()).hold_after());
    world.create::<AccessKey>(KEY, spec()).await?;
    mint.reached(SOON).await?;
    wipe::<AccessKey>(&world).await?;
    mint.release();
    world.settles::<AccessKey>(KEY, SECRET, 1).await.context("a mint")?;

    let rotation = world.tokens.add(Rule::on(tokens::rotate()).hold_before());
    world.change::<AccessKey>(KEY, json!({"rotation": {"generation": 4}})).await?;
    rotation.reached(SOON).await?;
    wipe::<AccessKey>(&world).await?;
    rotation.release();
    eventually(SOON, "one token lives, and its value is in the Secret", async || {
        let made = world.tokens_of(KEY).len();
        ensure!(made <= 2, "{made} were made");
        world.settles::<AccessKey>(KEY, SECRET, made).await
    })
    .await
    .context("a rotation")?;
    Ok(())
}

/// A second operator with another instance, beside the world's own: for keys in `namespace`.
async fn another_installation(
    world: &World,
    namespace: &TestNamespace,
    watched: &str,
) -> Result<keeptrusts_harness::Operator> {
    let name = namespace.name();
    let credential: Secret = serde_json::from_value(
        json!({"metadata": {"name": "credential"}, "stringData": {"token": world.emulator.credential()}}),
    )?;
    namespace.api().create(&PostParams::default(), &credential).await?;
    let mut values = world.values.clone();
    json_patch::merge(&mut values, &json!({"instance": "clone", "watchNamespaces": [watched]}));
    let chart =
        Chart::render(&world.cx.cluster.helm(), &ChartOptions::new(CHART, name, name).values(values)).await?;
    chart.apply(&world.cx.cluster).await?;
    crate::world::start_operator(&world.cx, &chart, &world.kubernetes).await
}

/// A cluster that was cloned from a backup: the same resources and Secrets, another installation. It must not touch the
/// original's tokens.
pub(crate) async fn a_clone_leaves_the_originals_tokens_alone(cx: Context) -> Result<()> {
    let mut world = World::start(cx).await?;
    let value = rotated::<AccessKey>(&world).await?;
    let original = world.secrets().get(SECRET).await?;
    world.operator.kill()?;
    let untouched = async || {
        let secret = world.secrets().get(SECRET).await?;
        ensure!(secret.metadata.resource_version == original.metadata.resource_version, "it was written");
        ensure!(world.emulator.is_alive(&value), "the value is dead");
        ensure!(world.emulator.tokens().len() == 1, "{:?}", world.emulator.tokens());
        Ok(())
    };
    let id = world.id_of::<AccessKey>(KEY).await?;
    let about_it = Match::new("for the token", move |call| call.path.contains(&id));
    let calls = world.tokens.count(&about_it);
    let elsewhere = TestNamespace::create(world.cx.client(), "clone").await?;
    let mut clone = another_installation(&world, &elsewhere, world.cx.namespace.name()).await?;
    // With the status of the original, and without.
    for wiped in [false, true] {
        if wiped {
            wipe::<AccessKey>(&world).await?;
        }
        let status = world.reason::<AccessKey>(KEY, "SecretConflict").await?;
        let message = &condition(&status, "Stalled").context("not stalled")?.message;
        assert!(message.contains("another installation"), "{message}");
        stays(A_WHILE, "nothing is done", untouched).await.with_context(|| format!("wiped: {wiped}"))?;
    }
    // Deleted at the clone, it doesn't take the original's token along; the Secret goes by its ownerReference, as any.
    world.keys::<AccessKey>().delete(KEY, &DeleteParams::default()).await?;
    world.gone::<AccessKey>(KEY).await?;
    assert!(world.emulator.is_alive(&value));
    assert_eq!(world.tokens.count(&about_it), calls);
    clone.terminate(SOON).await?;
    drop(elsewhere.delete().await);
    Ok(())
}

/// Both at work in one cluster, each in a namespace of its own; somebody copies a Secret from one to the other.
pub(crate) async fn a_secret_of_another_installation_is_left_alone(cx: Context) -> Result<()> {
    let world = World::start(cx).await?;
    let value = rotated::<GatewayKey>(&world).await?;
    let elsewhere = TestNamespace::create(world.cx.client(), "clone").await?;
    let copied = {
        let mut copy = copy(&world).await?;
        copy.metadata.namespace = None;
        copy.metadata.owner_references = None;
        let api: Api<Secret> = elsewhere.api();
        api.create(&PostParams::default(), &copy).await?
    };
    let mut clone = another_installation(&world, &elsewhere, elsewhere.name()).await?;
    let keys: Api<GatewayKey> = elsewhere.api();
    let key = json!({
        "apiVersion": "keys.keeptrusts.com/v1alpha1", "kind": "GatewayKey",
        "metadata": {"name": KEY}, "spec": spec(),
    });
    keys.create(&PostParams::default(), &serde_json::from_value(key)?).await?;
    eventually(SOON, "the copy isn't taken up", async || {
        let status = keys.get(KEY).await?.status.unwrap_or_default();
        let ready = condition(&status, "Ready").context("no Ready")?;
        ensure!(ready.reason == "SecretConflict", "{ready:?}");
        Ok(())
    })
    .await?;
    stays(A_WHILE, "both are as they were", async || {
        let secrets: Api<Secret> = elsewhere.api();
        let now = secrets.get(SECRET).await?;
        ensure!(now.metadata.resource_version == copied.metadata.resource_version);
        let original = world.keys::<GatewayKey>().get(KEY).await?;
        ensure!(original.status().and_then(ready) == Some("Ready"));
        ensure!(world.emulator.tokens().len() == 1);
        Ok(())
    })
    .await?;
    keys.delete(KEY, &DeleteParams::default()).await?;
    eventually(SOON, "the clone's resource is gone", async || {
        ensure!(keys.get_opt(KEY).await?.is_none());
        Ok(())
    })
    .await?;
    assert_eq!(world.settles::<GatewayKey>(KEY, SECRET, 1).await?, value);
    assert_eq!(world.kubernetes.count(&steps::intent(KEY)), 2, "the original's mint and its rotation");
    clone.terminate(SOON).await?;
    drop(elsewhere.delete().await);
    Ok(())
}
