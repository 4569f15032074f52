//! Workloads that are restarted after a rotation, and what waits for them.

use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use jiff::Timestamp;
use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::api::apps::v1::{DaemonSet, Deployment, StatefulSet};
use keeptrusts_harness::suite::Context;
use keeptrusts_harness::{Kubelet, eventually, stays};
use keeptrusts_operator::resources::{AccessKey, GatewayKey, Key, KeyStatus};
use kube::Resource;
use kube::api::{Patch, PatchParams, PostParams};
use serde_json::{Value, json};

use crate::world::{SOON, Setup, World, condition, ready_since};

pub(super) const KEY: &str = "checkout";
pub(super) const SECRET: &str = "checkout-keeptrusts";

/// A world whose operator may restart workloads, and what runs their pods.
async fn start(cx: Context) -> Result<(World, Kubelet)> {
    let world = Setup::new().values(&json!({"restartWorkloads": true})).start(cx).await?;
    let kubelet = Kubelet::start(world.cx.client(), world.cx.namespace.name()).await?;
    Ok((world, kubelet))
}

/// A workload's manifest: pods that take the value into their environment.
fn manifest(kind: &str, name: &str) -> Value {
    let from = json!({"secretKeyRef": {"name": SECRET, "key": "api-key"}});
    let mut spec = json!({
        "selector": {"matchLabels": {"app": name}},
        "template": {
            "metadata": {"labels": {"app": name}},
            "spec": {"containers": [
                {"name": "app", "image": "app", "env": [{"name": "API_KEY", "valueFrom": from}]},
            ]},
        },
    });
    match kind {
        "StatefulSet" => {
            spec["replicas"] = json!(2);
            spec["serviceName"] = json!(name);
        }
        "Deployment" => spec["replicas"] = json!(2),
        _ => {}
    }
    json!({"apiVersion": "apps/v1", "kind": kind, "metadata": {"name": name}, "spec": spec})
}

pub(super) async fn make<W>(world: &World, kind: &str, name: &str) -> Result<W>
where
    W: Resource<Scope = NamespaceResourceScope, DynamicType = ()>
        + Clone
        + std::fmt::Debug
        + serde::Serialize
        + serde::de::DeserializeOwned,
{
    let workload = serde_json::from_value(manifest(kind, name))?;
    Ok(world.cx.namespace.api().create(&PostParams::default(), &workload).await?)
}

/// A key whose rotations overlap and restart these workloads.
async fn key<K: Key>(world: &World, name: &str, secret: &str, workloads: &Value) -> Result<KeyStatus> {
    let spec = json!({
        "secret": {"name": secret},
        "rotation": {"strategy": "Overlap", "grace": "1s"},
        "workloads": workloads,
    });
    world.create::<K>(name, spec).await?;
    world.at_rest::<K>(name).await
}

pub(super) fn listed(refs: &[(&str, &str)]) -> Value {
    let refs: Vec<_> = refs.iter().map(|(kind, name)| json!({"kind": kind, "name": name})).collect();
    json!({"restart": "Listed", "refs": refs})
}

/// How often a workload's spec was changed.
async fn changes<W>(world: &World, name: &str) -> Result<i64>
where
    W: Resource<Scope = NamespaceResourceScope, DynamicType = ()>
        + Clone
        + std::fmt::Debug
        + serde::de::DeserializeOwned,
{
    let workload: W = world.cx.namespace.api().get(name).await?;
    Ok(workload.meta().generation.context("no generation")? - 1)
}

/// What a key says of its rollout while a person must see to it.
async fn held_up<K: Key>(world: &World, name: &str, told: &str) -> Result<()> {
    let says = |_: &K, status: &KeyStatus| {
        let ready = condition(status, "Ready");
        let stalled = condition(status, "Stalled").is_some();
        stalled
            && ready.is_some_and(|ready| {
                ready.status == "True" && ready.reason == "RolloutHeldUp" && ready.message.contains(told)
            })
    };
    world.until::<K>(name, &format!("says {told}"), says).await?;
    Ok(())
}

/// Rolled out after a change that `before` didn't know.
pub(super) async fn rolled_out(world: &World, name: &str, before: i64) -> Result<Deployment> {
    eventually(SOON, &format!("{name} is rolled out"), async || {
        let deployment: Deployment = world.cx.namespace.api().get(name).await?;
        let generation = deployment.metadata.generation.unwrap_or_default();
        let status = deployment.status.clone().unwrap_or_default();
        ensure!(generation > before && status.observed_generation == Some(generation), "{generation}");
        ensure!(
            status.updated_replicas == Some(2)
                && status.available_replicas == Some(2)
                && status.replicas == Some(2),
            "{status:?}"
        );
        Ok(deployment)
    })
    .await
}

pub(crate) async fn the_old_value_lives_until_its_workload_runs_on_the_new_one(cx: Context) -> Result<()> {
    let (world, kubelet) = start(cx).await?;
    make::<Deployment>(&world, "Deployment", "checkout").await?;
    rolled_out(&world, "checkout", 0).await?;
    let before = key::<AccessKey>(&world, KEY, SECRET, &listed(&[("Deployment", "checkout")])).await?;
    let old = world.value(SECRET).await?;
    assert_eq!(changes::<Deployment>(&world, "checkout").await?, 0, "a first value restarts nothing");
    let template = json!({"secret": {"template": {"data": {"MORE": "x"}}}});
    world.change::<AccessKey>(KEY, template).await?;
    world.at_rest::<AccessKey>(KEY).await?;
    assert_eq!(changes::<Deployment>(&world, "checkout").await?, 0, "nor does another template");

    kubelet.hold(true);
    let rotated = world.raise::<AccessKey>(KEY, 1).await?;
    let operation = rotated.rollout.context("no rollout")?.operation;
    let new = world.value(SECRET).await?;
    let note = world.event(KEY, "Restarted").await?;
    ensure!(note.contains("Deployment checkout"), "{note}");
    stays(Duration::from_secs(5), "the old value lives, grace or not", async || {
        ensure!(world.emulator.is_alive(&old) && world.emulator.is_alive(&new) && old != new);
        let status = world.keys::<AccessKey>().get(KEY).await?.status.context("no status")?;
        ensure!(status.rollout.is_some() && condition(&status, "Stalled").is_none(), "{status:?}");
        Ok(())
    })
    .await?;
    kubelet.hold(false);
    let released = Timestamp::now();
    let after = world.at_rest::<AccessKey>(KEY).await?;
    let revoked =
        world.emulator.tokens().into_iter().find_map(|token| token.revoked_at).context("it lives")?;
    ensure!(revoked > released, "{revoked} is before {released}");
    ensure!(after.rollout.is_none());
    let deployment = rolled_out(&world, "checkout", 1).await?;
    let template = deployment.spec.and_then(|spec| spec.template.metadata).context("no template")?;
    let annotations = template.annotations.unwrap_or_default();
    assert_eq!(annotations.get("secret.keys.keeptrusts.com/checkout-keeptrusts"), Some(&operation));
    assert_eq!(changes::<Deployment>(&world, "checkout").await?, 1, "once");
    assert_eq!(ready_since(&before)?, ready_since(&after)?, "it was ready all the time");
    Ok(())
}

pub(crate) async fn workloads_of_every_kind_are_restarted_once(cx: Context) -> Result<()> {
    let (world, _kubelet) = start(cx).await?;
    make::<Deployment>(&world, "Deployment", "a").await?;
    make::<StatefulSet>(&world, "StatefulSet", "b").await?;
    make::<DaemonSet>(&world, "DaemonSet", "c").await?;
    let all = listed(&[("Deployment", "a"), ("StatefulSet", "b"), ("DaemonSet", "c")]);
    key::<GatewayKey>(&world, KEY, SECRET, &all).await?;
    for generation in 1..3 {
        world.raise::<GatewayKey>(KEY, generation).await?;
        let status = world.at_rest::<GatewayKey>(KEY).await?;
        ensure!(status.rollout.is_none(), "{status:?}");
        assert_eq!(changes::<Deployment>(&world, "a").await?, generation);
        assert_eq!(changes::<StatefulSet>(&world, "b").await?, generation);
        assert_eq!(changes::<DaemonSet>(&world, "c").await?, generation);
    }
    Ok(())
}

pub(crate) async fn keys_that_change_together_restart_a_workload_once(cx: Context) -> Result<()> {
    let (world, _kubelet) = start(cx).await?;
    make::<Deployment>(&world, "Deployment", "checkout").await?;
    let workloads = listed(&[("Deployment", "checkout")]);
    key::<AccessKey>(&world, "one", "one", &workloads).await?;
    key::<GatewayKey>(&world, "two", "two", &workloads).await?;
    world.change::<AccessKey>("one", json!({"rotation": {"generation": 1}})).await?;
    world.change::<GatewayKey>("two", json!({"rotation": {"generation": 1}})).await?;
    let over = |status: &KeyStatus| {
        status.observed_rotation_generation == Some(1)
            && status.rollout.is_none()
            && status.superseded.is_empty()
    };
    world.until::<AccessKey>("one", "is done", |_, status| over(status)).await?;
    world.until::<GatewayKey>("two", "is done", |_, status| over(status)).await?;
    assert_eq!(changes::<Deployment>(&world, "checkout").await?, 1);
    Ok(())
}

pub(crate) async fn a_kill_amidst_a_rollout_restarts_nothing_twice(cx: Context) -> Result<()> {
    let (mut world, kubelet) = start(cx).await?;
    make::<Deployment>(&world, "Deployment", "checkout").await?;
    key::<AccessKey>(&world, KEY, SECRET, &listed(&[("Deployment", "checkout")])).await?;
    let old = world.value(SECRET).await?;
    kubelet.hold(true);
    world.raise::<AccessKey>(KEY, 1).await?;
    world.restart().await?;
    eventually(SOON, "it is restarted", async || {
        ensure!(changes::<Deployment>(&world, "checkout").await? == 1);
        Ok(())
    })
    .await?;
    world.restart().await?;
    world.lists(1).await?;
    ensure!(world.emulator.is_alive(&old), "a pod runs on it");
    kubelet.hold(false);
    world.at_rest::<AccessKey>(KEY).await?;
    assert_eq!(changes::<Deployment>(&world, "checkout").await?, 1);
    ensure!(!world.emulator.is_alive(&old));
    Ok(())
}

pub(crate) async fn what_cannot_roll_out_is_said_and_the_old_value_kept(cx: Context) -> Result<()> {
    let (world, kubelet) = start(cx).await?;
    make::<Deployment>(&world, "Deployment", "checkout").await?;
    rolled_out(&world, "checkout", 0).await?;
    let mut workloads = listed(&[("Deployment", "checkout")]);
    workloads["rolloutTimeout"] = json!("4s");
    key::<AccessKey>(&world, KEY, SECRET, &workloads).await?;
    let old = world.value(SECRET).await?;

    // It hangs.
    kubelet.hold(true);
    world.raise::<AccessKey>(KEY, 1).await?;
    held_up::<AccessKey>(&world, KEY, "Deployment checkout doesn't run on the new value yet").await?;
    ensure!(world.emulator.is_alive(&old), "KeepOld");
    kubelet.hold(false);
    rolled_out(&world, "checkout", 1).await?;
    // A person who has seen to it says so by any change; otherwise it is looked at once a minute.
    world.change::<AccessKey>(KEY, json!({"workloads": {"onRolloutTimeout": "RevokeOld"}})).await?;
    world.at_rest::<AccessKey>(KEY).await?;
    ensure!(!world.emulator.is_alive(&old));

    // With RevokeOld the old value dies though pods may run on it.
    let second = world.value(SECRET).await?;
    kubelet.hold(true);
    world.raise::<AccessKey>(KEY, 2).await?;
    world.at_rest::<AccessKey>(KEY).await?;
    ensure!(!world.emulator.is_alive(&second));
    kubelet.hold(false);

    // One that is paused isn't forced.
    rolled_out(&world, "checkout", 2).await?;
    let pause = |paused: bool| json!({"spec": {"paused": paused}});
    let deployments = world.cx.namespace.api::<Deployment>();
    deployments.patch("checkout", &PatchParams::default(), &Patch::Merge(pause(true))).await?;
    let third = world.value(SECRET).await?;
    world.change::<AccessKey>(KEY, json!({"workloads": {"onRolloutTimeout": "KeepOld"}})).await?;
    world.raise::<AccessKey>(KEY, 3).await?;
    held_up::<AccessKey>(&world, KEY, "Deployment checkout is paused: resume it").await?;
    ensure!(world.emulator.is_alive(&third));
    assert_eq!(changes::<Deployment>(&world, "checkout").await?, 3, "two restarts, and the pause");
    deployments.patch("checkout", &PatchParams::default(), &Patch::Merge(pause(false))).await?;

    // One that isn't there, and none at all.
    world.change::<AccessKey>(KEY, json!({"workloads": listed(&[("StatefulSet", "nowhere")])})).await?;
    held_up::<AccessKey>(&world, KEY, "StatefulSet nowhere isn't there: correct spec.workloads.refs").await?;
    world.change::<AccessKey>(KEY, json!({"workloads": null})).await?;
    world.at_rest::<AccessKey>(KEY).await?;
    ensure!(!world.emulator.is_alive(&third));
    Ok(())
}

pub(crate) async fn without_the_right_nothing_is_touched_and_the_chart_is_named(cx: Context) -> Result<()> {
    let world = World::start(cx).await?;
    make::<Deployment>(&world, "Deployment", "checkout").await?;
    key::<AccessKey>(&world, KEY, SECRET, &listed(&[("Deployment", "checkout")])).await?;
    let old = world.value(SECRET).await?;
    world.raise::<AccessKey>(KEY, 1).await?;
    held_up::<AccessKey>(&world, KEY, "the chart's value restartWorkloads gives the right").await?;
    ensure!(world.emulator.is_alive(&old));
    assert_eq!(changes::<Deployment>(&world, "checkout").await?, 0);
    Ok(())
}

/// The original manifest, applied again as GitOps tools do it, undoes nothing and starts no second rollout.
pub(crate) async fn gitops_tools_do_not_undo_a_restart(cx: Context) -> Result<()> {
    let (world, _kubelet) = start(cx).await?;
    let kubectl = world.cx.cluster.kubectl();
    let namespace = world.cx.namespace.name().to_owned();
    let apply = async |name: &str, server_side: bool| {
        let path = world.cx.dir.join(format!("{name}.json"));
        std::fs::write(&path, manifest("Deployment", name).to_string())?;
        let path = path.to_str().context("a path that isn't text")?;
        let mut arguments = vec!["apply", "-n", namespace.as_str(), "-f", path];
        if server_side {
            arguments.push("--server-side");
        }
        kubectl.run(&arguments).await
    };
    for (name, server_side) in [("client", false), ("server", true)] {
        apply(name, server_side).await?;
    }
    key::<AccessKey>(&world, KEY, SECRET, &listed(&[("Deployment", "client"), ("Deployment", "server")]))
        .await?;
    world.raise::<AccessKey>(KEY, 1).await?;
    world.at_rest::<AccessKey>(KEY).await?;
    for (name, server_side) in [("client", false), ("server", true)] {
        apply(name, server_side).await?;
        let deployment: Deployment = world.cx.namespace.api().get(name).await?;
        let template = deployment.spec.and_then(|spec| spec.template.metadata).context("no template")?;
        let restarted = template.annotations.unwrap_or_default();
        if restarted.keys().all(|annotation| !annotation.starts_with("secret.keys.keeptrusts.com/")) {
            bail!("{name}: {restarted:?}");
        }
        assert_eq!(changes::<Deployment>(&world, name).await?, 1, "{name}");
    }
    Ok(())
}

pub(crate) async fn what_uses_the_secret_is_found_and_restarted(cx: Context) -> Result<()> {
    let values = json!({"restartWorkloads": true, "discoverWorkloads": true});
    let world = Setup::new().values(&values).start(cx).await?;
    let _kubelet = Kubelet::start(world.cx.client(), world.cx.namespace.name()).await?;
    make::<Deployment>(&world, "Deployment", "a").await?;
    make::<StatefulSet>(&world, "StatefulSet", "b").await?;
    key::<AccessKey>(&world, KEY, SECRET, &json!({"restart": "Discovered"})).await?;
    // One more, made later; and one that uses another Secret.
    make::<DaemonSet>(&world, "DaemonSet", "c").await?;
    let mut other = manifest("Deployment", "other");
    other["spec"]["template"]["spec"]["containers"][0]["env"][0]["valueFrom"]["secretKeyRef"]["name"] =
        json!("another");
    let other: Deployment = serde_json::from_value(other)?;
    world.cx.namespace.api().create(&PostParams::default(), &other).await?;
    let users = |_: &AccessKey, status: &KeyStatus| {
        status.workloads.as_ref().is_some_and(|users| {
            users.count == 3 && users.names == ["Deployment a", "StatefulSet b", "DaemonSet c"]
        })
    };
    world.until::<AccessKey>(KEY, "names its users", users).await?;
    world.raise::<AccessKey>(KEY, 1).await?;
    world.at_rest::<AccessKey>(KEY).await?;
    assert_eq!(changes::<Deployment>(&world, "a").await?, 1);
    assert_eq!(changes::<StatefulSet>(&world, "b").await?, 1);
    assert_eq!(changes::<DaemonSet>(&world, "c").await?, 1);
    assert_eq!(changes::<Deployment>(&world, "other").await?, 0);
    Ok(())
}
