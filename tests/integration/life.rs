//! A key's whole life, without faults.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use k8s_openapi::api::core::v1::{Namespace, Secret};
use keeptrusts_emulator::TokenType;
use keeptrusts_harness::proxy::{kubernetes_status, steps, tokens};
use keeptrusts_harness::suite::Context;
use keeptrusts_harness::{Match, Rule, eventually, stays};
use keeptrusts_operator::resources::{AccessKey, GatewayKey, Key};
use kube::api::{Api, DeleteParams, Patch, PatchParams};
use serde_json::json;

use crate::world::{SOON, Setup, World, condition};

/// Long enough to see that something doesn't happen: a pass takes a tenth of it.
const A_WHILE: Duration = Duration::from_secs(2);

/// The grace of replaced tokens in tests.
const GRACE: &str = "1s";

const KEY: &str = "checkout";
const SECRET: &str = "checkout-keeptrusts";

fn spec() -> serde_json::Value {
    json!({"secret": {"name": SECRET}, "rotation": {"grace": GRACE}})
}

pub(crate) async fn an_access_key_is_minted(cx: Context) -> Result<()> {
    let world = World::start(cx).await?;
    let spec = json!({
        "token": {"name": "checkout-api", "teamId": "team_shop", "description": "Checkout", "expiresAfter": "90d"},
        "secret": {"name": SECRET, "template": {
            "labels": {"team": "shop"},
            "annotations": {"example.com/contact": "shop@example.com"},
            "data": {"OPENAI_API_KEY": "$(value)", "ABOUT": "$(name) in $(namespace): $(prefix) $(tokenId) $$(x)"},
        }},
    });
    world.create::<AccessKey>(KEY, spec).await?;
    let value = world.one_living::<AccessKey>(KEY, SECRET, 1).await?;

    let [token] = &world.emulator.tokens()[..] else { anyhow::bail!("not one token") };
    assert_eq!(token.token_type, TokenType::Access);
    assert_eq!(token.team_id.as_deref(), Some("team_shop"));
    assert_eq!(token.description.as_deref(), Some("Checkout"));
    assert!(token.name.starts_with("checkout-api-kt1-"), "{}", token.name);
    let lives = token.expires_at.context("no expiry")?.as_second() - token.created_at.as_second();
    assert!((lives - 90 * 86_400).abs() < 60, "{lives} s");

    let status = world.at_rest::<AccessKey>(KEY).await?;
    let told = status.token.context("no token")?;
    assert_eq!((told.id.as_str(), told.prefix.as_deref()), (token.id.as_str(), Some(token.prefix.as_str())));
    assert_eq!(status.observed_rotation_generation, Some(0));
    assert!(status.next_rotation.is_some(), "a token that expires is renewed");

    let secret = world.secrets().get(SECRET).await?;
    assert_eq!(secret.metadata.labels.as_ref().and_then(|l| l.get("team")).map(String::as_str), Some("shop"));
    let data = world.data(SECRET).await?;
    assert_eq!(data["OPENAI_API_KEY"], value);
    let about = format!("checkout in {}: {} {} $(x)", world.cx.namespace.name(), token.prefix, token.id);
    assert_eq!(data["ABOUT"], about);
    Ok(())
}

pub(crate) async fn a_gateway_key_is_minted(cx: Context) -> Result<()> {
    let world = World::start(cx).await?;
    let mut spec = spec();
    spec["token"] = json!({"gatewayId": "gw_7"});
    spec["secret"]["template"] = json!({"data": {"KEEPTRUSTS_GATEWAY_ID": "$(gatewayId)"}});
    world.create::<GatewayKey>(KEY, spec).await?;
    world.one_living::<GatewayKey>(KEY, SECRET, 1).await?;
    let [token] = &world.emulator.tokens()[..] else { anyhow::bail!("not one token") };
    assert_eq!(token.token_type, TokenType::Gateway);
    assert_eq!(token.bindings, Some(json!({"gateway_id": "gw_7"})));
    assert!(token.expires_at.is_none(), "nobody asked for an expiry");
    assert_eq!(world.data(SECRET).await?["KEEPTRUSTS_GATEWAY_ID"], "gw_7");
    Ok(())
}

pub(crate) async fn a_raised_generation_rotates_in_place_once(cx: Context) -> Result<()> {
    let world = World::start(cx).await?;
    rotates_in_place::<AccessKey>(&world, "checkout", "checkout-a").await?;
    rotates_in_place::<GatewayKey>(&world, "runtime", "runtime-b").await
}

async fn rotates_in_place<K: Key>(world: &World, name: &str, secret: &str) -> Result<()> {
    let spec = json!({"secret": {"name": secret}});
    world.create::<K>(name, spec).await?;
    let before = world.at_rest::<K>(name).await?;
    let old = world.value(secret).await?;
    world.change::<K>(name, json!({"rotation": {"generation": 5}})).await?;
    let after = world.at_rest::<K>(name).await?;
    let new = world.value(secret).await?;
    assert_ne!(old, new);
    assert!(!world.emulator.is_alive(&old) && world.emulator.is_alive(&new));
    assert_eq!(before.token.map(|token| token.id), after.token.clone().map(|token| token.id), "in place");
    assert_eq!(after.observed_rotation_generation, Some(5));
    let id = after.token.context("no token")?.id;
    let rotations = world.emulator.tokens().iter().find(|token| token.id == id).map(|token| token.rotations);
    assert_eq!(rotations, Some(1), "from 0 to 5 is one rotation");
    Ok(())
}

pub(crate) async fn a_lower_generation_does_nothing_and_says_so(cx: Context) -> Result<()> {
    let world = World::start(cx).await?;
    let mut spec = spec();
    spec["rotation"]["generation"] = json!(7);
    world.create::<AccessKey>(KEY, spec).await?;
    let value = world.one_living::<AccessKey>(KEY, SECRET, 1).await?;
    world.change::<AccessKey>(KEY, json!({"rotation": {"generation": 3}})).await?;
    let status = world.at_rest::<AccessKey>(KEY).await?;
    let message = condition(&status, "Ready").context("no Ready")?.message.clone();
    assert!(message.contains("set it to 8 to rotate"), "{message}");
    world.change::<AccessKey>(KEY, json!({"rotation": {"generation": 7}})).await?;
    let status = world.at_rest::<AccessKey>(KEY).await?;
    assert_eq!(status.observed_rotation_generation, Some(7));
    assert_eq!(
        world.one_living::<AccessKey>(KEY, SECRET, 1).await?,
        value,
        "a revert of a revert costs nothing"
    );
    Ok(())
}

pub(crate) async fn a_new_template_is_rendered_without_a_rotation(cx: Context) -> Result<()> {
    rerendered::<AccessKey>(&World::start(cx).await?).await
}

pub(crate) async fn so_is_that_of_a_gateway_key(cx: Context) -> Result<()> {
    rerendered::<GatewayKey>(&World::start(cx).await?).await
}

async fn rerendered<K: Key>(world: &World) -> Result<()> {
    let mut spec = spec();
    spec["secret"]["template"] = json!({"labels": {"a": "1"}, "data": {"OLD": "$(value)"}});
    world.create::<K>(KEY, spec).await?;
    let value = world.one_living::<K>(KEY, SECRET, 1).await?;
    // What somebody else put into the Secret stays.
    let others = json!({"metadata": {"labels": {"others": "x"}}, "stringData": {"others": "y"}});
    world.secrets().patch(SECRET, &PatchParams::default(), &Patch::Merge(others)).await?;

    let template = json!({"labels": {"a": null, "b": "2"}, "data": {"OLD": null, "NEW": "Bearer $(value)"}});
    world.change::<K>(KEY, json!({"secret": {"template": template}})).await?;
    world.at_rest::<K>(KEY).await?;
    let data = world.data(SECRET).await?;
    assert_eq!(data.keys().collect::<Vec<_>>(), ["NEW", "api-key", "others"]);
    assert_eq!(data["NEW"], format!("Bearer {value}"));
    let labels = world.secrets().get(SECRET).await?.metadata.labels.unwrap_or_default();
    assert_eq!((labels.get("a"), labels["b"].as_str(), labels["others"].as_str()), (None, "2", "x"));
    assert_eq!(world.one_living::<K>(KEY, SECRET, 1).await?, value);
    Ok(())
}

/// The Secrets are watched by our label: one that lost it has vanished for the watch, and not for the operator.
pub(crate) async fn a_label_that_was_stripped_is_put_back(cx: Context) -> Result<()> {
    const LABEL: &str = "keys.keeptrusts.com/uid";
    let world = World::start(cx).await?;
    world.create::<AccessKey>(KEY, spec()).await?;
    let value = world.one_living::<AccessKey>(KEY, SECRET, 1).await?;
    let strip = json!({"metadata": {"labels": {LABEL: null}}});
    world.secrets().patch(SECRET, &PatchParams::default(), &Patch::Merge(strip)).await?;
    eventually(SOON, "the label is back", async || {
        let labels = world.secrets().get(SECRET).await?.metadata.labels.unwrap_or_default();
        ensure!(labels.contains_key(LABEL));
        Ok(())
    })
    .await?;
    assert_eq!(world.one_living::<AccessKey>(KEY, SECRET, 1).await?, value);
    Ok(())
}

pub(crate) async fn a_deleted_secret_is_repaired_while_the_old_value_lives_on(cx: Context) -> Result<()> {
    let world = World::start(cx).await?;
    repaired::<AccessKey>(&world, "checkout", "checkout-a").await?;
    repaired::<GatewayKey>(&world, "runtime", "runtime-b").await
}

async fn repaired<K: Key>(world: &World, name: &str, secret: &str) -> Result<()> {
    world.create::<K>(name, json!({"secret": {"name": secret}, "rotation": {"grace": "3s"}})).await?;
    let old_token = world.at_rest::<K>(name).await?.token.context("no token")?.id;
    let old = world.value(secret).await?;
    world.secrets().delete(secret, &DeleteParams::default()).await?;
    let status = eventually(SOON, "the Secret is there again", async || {
        ensure!(world.secrets().get_opt(secret).await?.is_some());
        world.ready::<K>(name).await
    })
    .await?;
    let new = world.value(secret).await?;
    assert_ne!(old, new);
    assert!(world.emulator.is_alive(&old), "pods may still use the old value");
    assert!(world.emulator.is_alive(&new));
    assert_eq!(status.superseded.iter().map(|entry| &entry.id).collect::<Vec<_>>(), [&old_token]);
    world.at_rest::<K>(name).await?;
    assert!(!world.emulator.is_alive(&old), "its grace is over");
    assert!(world.emulator.is_alive(&new));
    Ok(())
}

/// A watch that can't go on where it was is begun anew by a list, which tells nothing of what went in between. Nothing else does
/// either: the lists of tokens show the key as it was, and it doesn't look at them any more.
pub(crate) async fn a_secret_that_went_while_nobody_watched_is_repaired(cx: Context) -> Result<()> {
    let mut world = World::start(cx).await?;
    world.create::<AccessKey>(KEY, spec()).await?;
    let value = world.one_living::<AccessKey>(KEY, SECRET, 1).await?;
    world.at_rest::<AccessKey>(KEY).await?;
    let watch = || Rule::on(steps::watch().and(Match::path_ends_with("/secrets")));
    // The next process lists the Secrets, and what it is told after that is that it comes too late.
    let first = world.kubernetes.add(watch().hold_before());
    let status = kubernetes_status(410, "Expired", "too old resource version");
    let second = world.kubernetes.add(watch().answer(200, json!({"type": "ERROR", "object": status})));
    world.restart().await?;
    first.reached(SOON).await?;
    let listed = world.tokens.count(&tokens::list());
    eventually(SOON, "the key has looked at later lists", async || {
        ensure!(world.tokens.count(&tokens::list()) >= listed + 6);
        Ok(())
    })
    .await?;
    world.secrets().delete(SECRET, &DeleteParams::default()).await?;
    first.discard();
    second.finished(SOON).await?;
    eventually(SOON, "the Secret is there again", async || world.value(SECRET).await).await?;
    assert_ne!(world.settles::<AccessKey>(KEY, SECRET, 2).await?, value);
    Ok(())
}

pub(crate) async fn an_edited_secret_is_repaired(cx: Context) -> Result<()> {
    unedited::<AccessKey>(&World::start(cx).await?).await
}

pub(crate) async fn so_is_a_gateway_keys_edited_secret(cx: Context) -> Result<()> {
    unedited::<GatewayKey>(&World::start(cx).await?).await
}

async fn unedited<K: Key>(world: &World) -> Result<()> {
    world.create::<K>(KEY, spec()).await?;
    let old = world.one_living::<K>(KEY, SECRET, 1).await?;
    let edit = json!({"stringData": {"api-key": "kt_live_forged"}});
    world.secrets().patch(SECRET, &PatchParams::default(), &Patch::Merge(edit)).await?;
    eventually(SOON, "the Secret holds a value of ours again", async || {
        let value = world.value(SECRET).await?;
        ensure!(world.emulator.is_alive(&value) && value != old);
        Ok(())
    })
    .await?;
    world.one_living::<K>(KEY, SECRET, 2).await?;
    Ok(())
}

pub(crate) async fn a_token_is_renewed_before_it_expires(cx: Context) -> Result<()> {
    renewed::<AccessKey>(&World::start(cx).await?).await
}

pub(crate) async fn so_is_a_gateways_token(cx: Context) -> Result<()> {
    renewed::<GatewayKey>(&World::start(cx).await?).await
}

async fn renewed<K: Key>(world: &World) -> Result<()> {
    let spec = spec();
    // The shortest life that leaves time to see each state: renewal is due after two thirds of it. A spec can't ask for one as
    // short; an API can set it.
    world.emulator.behaviour(|it| it.tokens.default_expiry_seconds = Some(15));
    world.create::<K>(KEY, spec).await?;
    let first = world.at_rest::<K>(KEY).await?;
    let old = world.value(SECRET).await?;
    world
        .until::<K>(KEY, "is renewed", |_, status| {
            status.last_rotation.as_ref().is_some_and(|last| format!("{:?}", last.reason) == "Expiring")
        })
        .await?;
    let new = world.value(SECRET).await?;
    assert_ne!(old, new);
    assert!(world.emulator.is_alive(&new));
    let expiry = first.token.context("no token")?.expires_at.context("no expiry")?;
    let created = world.emulator.tokens().last().context("no token")?.created_at;
    assert!(created < expiry.0, "the new token was made at {created}, after the old one's end {}", expiry.0);
    Ok(())
}

pub(crate) async fn a_suspended_key_waits(cx: Context) -> Result<()> {
    suspended::<AccessKey>(&World::start(cx).await?).await
}

pub(crate) async fn so_does_a_suspended_gateway_key(cx: Context) -> Result<()> {
    suspended::<GatewayKey>(&World::start(cx).await?).await
}

async fn suspended<K: Key>(world: &World) -> Result<()> {
    let mut spec = spec();
    spec["suspend"] = json!(true);
    world.create::<K>(KEY, spec).await?;
    let status = world.reason::<K>(KEY, "Suspended").await?;
    assert!(condition(&status, "Stalled").is_some());
    assert!(world.emulator.tokens().is_empty());
    world.change::<K>(KEY, json!({"suspend": false})).await?;
    let value = world.one_living::<K>(KEY, SECRET, 1).await?;

    world.change::<K>(KEY, json!({"suspend": true, "rotation": {"generation": 1}})).await?;
    world.reason::<K>(KEY, "RotationPending").await?;
    stays(A_WHILE, "nothing is rotated", async || {
        ensure!(world.value(SECRET).await? == value);
        Ok(())
    })
    .await?;
    // Deletion isn't suspended.
    world.delete::<K>(KEY, &DeleteParams::default()).await?;
    assert!(world.living().is_empty());
    Ok(())
}

pub(crate) async fn deletion_revokes_in_the_background(cx: Context) -> Result<()> {
    deleted(&World::start(cx).await?, &DeleteParams::background()).await
}

pub(crate) async fn deletion_revokes_in_the_foreground(cx: Context) -> Result<()> {
    deleted(&World::start(cx).await?, &DeleteParams::foreground()).await
}

async fn deleted(world: &World, params: &DeleteParams) -> Result<()> {
    world.create::<AccessKey>("checkout", json!({})).await?;
    world.create::<GatewayKey>("runtime", json!({})).await?;
    world.at_rest::<AccessKey>("checkout").await?;
    world.at_rest::<GatewayKey>("runtime").await?;
    world.delete::<AccessKey>("checkout", params).await?;
    assert_eq!(world.living().len(), 1, "the other kind's lives on");
    world.delete::<GatewayKey>("runtime", params).await?;
    assert!(world.living().is_empty());
    for secret in ["checkout", "runtime"] {
        eventually(SOON, "the garbage collector removes the Secret", async || {
            ensure!(world.secrets().get_opt(secret).await?.is_none());
            Ok(())
        })
        .await?;
    }
    Ok(())
}

pub(crate) async fn a_retained_token_outlives_its_resource(cx: Context) -> Result<()> {
    let world = World::start(cx).await?;
    let spec = json!({"deletionPolicy": "Retain"});
    world.create::<AccessKey>("checkout", spec.clone()).await?;
    world.create::<GatewayKey>("runtime", spec).await?;
    world.at_rest::<AccessKey>("checkout").await?;
    world.at_rest::<GatewayKey>("runtime").await?;
    let values = [world.value("checkout").await?, world.value("runtime").await?];
    world.delete::<AccessKey>("checkout", &DeleteParams::foreground()).await?;
    world.delete::<GatewayKey>("runtime", &DeleteParams::background()).await?;
    for (secret, value) in ["checkout", "runtime"].into_iter().zip(values) {
        stays(A_WHILE, "the Secret and its value live", async || {
            let found: Secret = world.secrets().get(secret).await?;
            ensure!(found.metadata.owner_references.is_none());
            let annotations = found.metadata.annotations.unwrap_or_default();
            ensure!(annotations.contains_key("keys.keeptrusts.com/retained"), "{annotations:?}");
            ensure!(world.value(secret).await? == value && world.emulator.is_alive(&value));
            Ok(())
        })
        .await?;
    }
    Ok(())
}

pub(crate) async fn a_namespace_takes_its_tokens_with_it(cx: Context) -> Result<()> {
    // The operator's own namespace is another one, and its rights to keys are the cluster's, or it would lose them before its work is
    // done.
    let other = format!("{}-tenant", cx.namespace.name());
    let namespaces: Api<Namespace> = Api::all(cx.client());
    let namespace = serde_json::from_value(json!({"metadata": {"name": other}}))?;
    namespaces.create(&kube::api::PostParams::default(), &namespace).await?;
    let world = Setup::new().values(&json!({"rbac": {"clusterWideKeys": true}})).start_in(cx, &other).await?;
    world.create::<AccessKey>("checkout", json!({})).await?;
    world.create::<GatewayKey>("runtime", json!({})).await?;
    world.at_rest::<AccessKey>("checkout").await?;
    world.at_rest::<GatewayKey>("runtime").await?;
    namespaces.delete(&other, &DeleteParams::default()).await?;
    world.namespace_gone(&other).await?;
    assert!(world.living().is_empty());
    Ok(())
}
