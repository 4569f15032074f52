//! What somebody else does to a token: it is noticed, believed only where the value itself doesn't contradict it, and
//! answered once.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use k8s_openapi::api::core::v1::Secret;
use keeptrusts_emulator::ListDefect;
use keeptrusts_harness::proxy::tokens;
use keeptrusts_harness::suite::Context;
use keeptrusts_harness::{Rule, eventually, stays};
use keeptrusts_operator::resources::{AccessKey, GatewayKey, Key};
use kube::api::{Api, Patch, PatchParams};
use serde_json::{Value, json};

use crate::world::{SOON, Setup, World, condition, ready};

const KEY: &str = "checkout";
const SECRET: &str = "checkout-keeptrusts";

/// Three periods of the lists: in one of them whatever is to happen would have happened.
const A_WHILE: Duration = Duration::from_secs(7);

fn spec() -> Value {
    json!({"secret": {"name": SECRET}, "rotation": {"grace": "1s"}})
}

fn halting() -> Value {
    let mut spec = spec();
    spec["externalChangePolicy"] = json!("Halt");
    spec
}

/// What `whoami` says to everybody when it says nothing.
fn no_whoami(world: &World) {
    world.tokens.add(Rule::on(tokens::whoami()).always().answer(404, json!({"error": "no such route"})));
}

async fn minted<K: Key>(world: &World, key: &str, spec: Value) -> Result<(String, String)> {
    world.create::<K>(key, spec).await?;
    let status = world.at_rest::<K>(key).await?;
    let secret = status.secret.context("no Secret")?.name;
    Ok((status.token.context("no token")?.id, world.value(&secret).await?))
}

/// That nothing is made of a suspicion: the key stays ready with its one token.
async fn nothing_happens<K: Key>(world: &World, key: &str, secret: &str, value: &str) -> Result<()> {
    stays(A_WHILE, "the key is ready and no token is made", async || {
        let found = world.keys::<K>().get(key).await?;
        let status = found.status().cloned().unwrap_or_default();
        ensure!(ready(&status) == Some("Ready"), "{status:?}");
        ensure!(world.value(secret).await? == value);
        ensure!(world.tokens_of(key).len() == 1);
        Ok(())
    })
    .await
}

/// Lists don't show revoked tokens, unless told otherwise: it is absent from them.
pub(crate) async fn a_token_that_was_revoked_elsewhere_is_replaced(cx: Context) -> Result<()> {
    let world = World::start(cx).await?;
    let (id, old) = minted::<AccessKey>(&world, KEY, spec()).await?;
    let (_, other) = minted::<AccessKey>(&world, "search", json!({})).await?;
    world.emulator.revoke_elsewhere(&id)?;
    let new = world.settles::<AccessKey>(KEY, SECRET, 2).await?;
    assert_ne!(old, new);
    let told = world.event(KEY, "RevokedElsewhere").await?;
    assert!(told.contains("revoked or expired elsewhere"), "{told}");
    assert_eq!(world.settles::<AccessKey>("search", "search", 1).await?, other);
    Ok(())
}

pub(crate) async fn so_is_a_gateways_token_that_lists_show_as_revoked(cx: Context) -> Result<()> {
    let world = Setup::new().behaviour(|it| it.lists.revoked = true).start(cx).await?;
    let (id, old) = minted::<GatewayKey>(&world, KEY, spec()).await?;
    world.emulator.revoke_elsewhere(&id)?;
    let new = world.settles::<GatewayKey>(KEY, SECRET, 2).await?;
    assert_ne!(old, new);
    world.event(KEY, "RevokedElsewhere").await?;
    Ok(())
}

pub(crate) async fn a_token_that_was_rotated_elsewhere_is_replaced(cx: Context) -> Result<()> {
    rotated::<AccessKey>(&World::start(cx).await?).await
}

/// A list that tells no times shows another prefix all the same.
pub(crate) async fn so_is_a_gateways_token_by_its_prefix_alone(cx: Context) -> Result<()> {
    let world = Setup::new().behaviour(|it| it.lists.times = false).start(cx).await?;
    rotated::<GatewayKey>(&world).await
}

async fn rotated<K: Key>(world: &World) -> Result<()> {
    let (id, old) = minted::<K>(world, KEY, spec()).await?;
    world.emulator.rotate_elsewhere(&id)?;
    assert!(!world.emulator.is_alive(&old));
    world.settles::<K>(KEY, SECRET, 2).await?;
    let told = world.event(KEY, "RotatedElsewhere").await?;
    assert!(told.contains("rotated elsewhere"), "{told}");
    Ok(())
}

/// While the operator was away.
pub(crate) async fn a_token_that_has_expired_is_replaced(cx: Context) -> Result<()> {
    let mut world = Setup::new().behaviour(|it| it.tokens.default_expiry_seconds = Some(8)).start(cx).await?;
    let (_, old) = minted::<AccessKey>(&world, KEY, spec()).await?;
    world.operator.kill()?;
    eventually(SOON, "the token has expired", async || {
        ensure!(!world.emulator.is_alive(&old));
        Ok(())
    })
    .await?;
    world.emulator.behaviour(|it| it.tokens.default_expiry_seconds = None);
    world.restart().await?;
    world.settles::<AccessKey>(KEY, SECRET, 2).await?;
    Ok(())
}

pub(crate) async fn a_list_that_lacks_what_lives_is_not_believed(cx: Context) -> Result<()> {
    let world = World::start(cx).await?;
    let (id, value) = minted::<AccessKey>(&world, KEY, spec()).await?;
    world.emulator.behaviour(|it| it.lists.defect = ListDefect::Empty);
    let told = world.event(KEY, "ListNotBelieved").await?;
    assert!(told.contains(&id), "{told}");
    nothing_happens::<AccessKey>(&world, KEY, SECRET, &value).await?;
    // By itself.
    world.emulator.behaviour(|it| it.lists.defect = ListDefect::None);
    world.lists(2).await?;
    assert_eq!(world.settles::<AccessKey>(KEY, SECRET, 1).await?, value);
    // And it isn't dulled: what really happens is still noticed.
    world.emulator.revoke_elsewhere(&id)?;
    world.settles::<AccessKey>(KEY, SECRET, 2).await?;
    Ok(())
}

/// A list that says of a living token that it is dead.
pub(crate) async fn a_list_that_lies_is_contradicted_by_the_value(cx: Context) -> Result<()> {
    let world = World::start(cx).await?;
    let (_, value) = minted::<GatewayKey>(&world, KEY, spec()).await?;
    let token = world.tokens_of(KEY).remove(0);
    let lie = json!({"tokens": [{
        "id": token.id, "name": token.name, "token_type": "gateway", "prefix": token.prefix,
        "created_at": token.created_at, "revoked_at": "2026-01-01T00:00:00Z",
    }]});
    world.tokens.add(Rule::on(tokens::list_of("gateway")).always().answer(200, lie));
    world.event(KEY, "ListNotBelieved").await?;
    nothing_happens::<GatewayKey>(&world, KEY, SECRET, &value).await?;
    world.tokens.clear();
    world.lists(1).await?;
    assert_eq!(world.settles::<GatewayKey>(KEY, SECRET, 1).await?, value);
    Ok(())
}

pub(crate) async fn absence_and_a_whoami_that_says_nothing_condemn_nobody(cx: Context) -> Result<()> {
    let mut world = World::start(cx).await?;
    let (_, value) = minted::<AccessKey>(&world, KEY, spec()).await?;
    for status in [404, 500] {
        world.emulator.behaviour(|it| {
            it.statuses.whoami_minted = status;
            it.lists.defect = ListDefect::Empty;
        });
        // They vanished all at once.
        nothing_happens::<AccessKey>(&world, KEY, SECRET, &value).await.context("all at once")?;
        // No list has shown it to this process.
        world.restart().await?;
        world.lists(1).await?;
        nothing_happens::<AccessKey>(&world, KEY, SECRET, &value).await.context("never shown")?;
        world.emulator.behaviour(|it| it.lists.defect = ListDefect::None);
        world.lists(2).await?;
        assert_eq!(world.settles::<AccessKey>(KEY, SECRET, 1).await?, value);
    }
    Ok(())
}

/// The credential is replaced by one of another organization, whose list shows nothing of ours.
pub(crate) async fn another_organizations_list_condemns_nobody(cx: Context) -> Result<()> {
    let mut world = Setup::new().behaviour(|it| it.statuses.whoami_minted = 404).start(cx).await?;
    let (_, value) = minted::<AccessKey>(&world, KEY, spec()).await?;
    let theirs = json!({"tokens": [
        {"id": "tok_theirs", "name": "payroll", "token_type": "access", "created_at": "2026-01-01T00:00:00Z"},
    ]});
    world.tokens.add(Rule::on(tokens::list()).always().answer(200, theirs));
    world.emulator.replace_credential("kt_live_of_another_organization");
    let patch = Patch::Merge(json!({"stringData": {"token": "kt_live_of_another_organization"}}));
    let secrets: Api<Secret> = world.cx.namespace.api();
    secrets.patch("credential", &PatchParams::default(), &patch).await?;
    world.operator.sync_mounts(&world.cx.cluster).await?;
    nothing_happens::<AccessKey>(&world, KEY, SECRET, &value).await?;
    world.restart().await?;
    world.lists(1).await?;
    nothing_happens::<AccessKey>(&world, KEY, SECRET, &value).await.context("after a restart")?;
    world.tokens.clear();
    world.lists(1).await?;
    assert_eq!(world.settles::<AccessKey>(KEY, SECRET, 1).await?, value);
    Ok(())
}

/// An API, or a proxy before it, that refuses everybody says nothing about one value.
pub(crate) async fn a_401_to_everybody_condemns_nobody(cx: Context) -> Result<()> {
    let world = World::start(cx).await?;
    let (_, value) = minted::<AccessKey>(&world, KEY, spec()).await?;
    let refused = json!({"error": {"type": "auth", "message": "no", "code": "unauthorized"}});
    world.tokens.add(Rule::on(tokens::whoami()).always().answer(401, refused));
    world.emulator.behaviour(|it| it.lists.defect = ListDefect::Empty);
    nothing_happens::<AccessKey>(&world, KEY, SECRET, &value).await
}

/// Listed as revoked, which no list says by mistake: then a `whoami` that says nothing doesn't save it.
pub(crate) async fn what_is_listed_as_revoked_needs_no_whoami(cx: Context) -> Result<()> {
    let world = Setup::new().behaviour(|it| it.lists.revoked = true).start(cx).await?;
    let (id, _) = minted::<AccessKey>(&world, KEY, spec()).await?;
    no_whoami(&world);
    world.emulator.revoke_elsewhere(&id)?;
    world.settles::<AccessKey>(KEY, SECRET, 2).await?;
    Ok(())
}

/// One of many vanishes, which lists have shown before: that is how most APIs tell of a revocation.
pub(crate) async fn one_of_many_that_vanishes_needs_no_whoami(cx: Context) -> Result<()> {
    let world = World::start(cx).await?;
    let (id, _) = minted::<AccessKey>(&world, KEY, spec()).await?;
    let others = ["a", "b", "c", "d", "e"];
    for other in others {
        world.create::<AccessKey>(other, json!({})).await?;
    }
    for other in others {
        world.at_rest::<AccessKey>(other).await?;
    }
    world.lists(1).await?;
    no_whoami(&world);
    world.emulator.revoke_elsewhere(&id)?;
    world.settles::<AccessKey>(KEY, SECRET, 2).await?;
    for other in others {
        world.settles::<AccessKey>(other, other, 1).await?;
    }
    Ok(())
}

pub(crate) async fn halt_waits_for_a_person(cx: Context) -> Result<()> {
    let world = World::start(cx).await?;
    halted::<AccessKey>(&world, "RevokedElsewhere", |id| world.emulator.revoke_elsewhere(id).map(drop)).await
}

pub(crate) async fn so_it_does_where_the_token_was_rotated(cx: Context) -> Result<()> {
    let world = World::start(cx).await?;
    halted::<GatewayKey>(&world, "RotatedElsewhere", |id| world.emulator.rotate_elsewhere(id).map(drop)).await
}

async fn halted<K: Key>(
    world: &World,
    reason: &str,
    done: impl Fn(&str) -> Result<(), keeptrusts_emulator::ChangeError>,
) -> Result<()> {
    let (id, old) = minted::<K>(world, KEY, halting()).await?;
    done(&id)?;
    let status = world.reason::<K>(KEY, reason).await?;
    let stalled = condition(&status, "Stalled").context("not stalled")?;
    assert!(stalled.message.contains("raise spec.rotation.generation"), "{}", stalled.message);
    stays(A_WHILE, "nothing is made, and nothing passes for ready", async || {
        let key = world.keys::<K>().get(KEY).await?;
        let status = key.status().cloned().unwrap_or_default();
        ensure!(condition(&status, "Ready").is_some_and(|it| it.status == "False" && it.reason == reason));
        ensure!(world.tokens_of(KEY).len() == 1);
        Ok(())
    })
    .await?;
    // What turns up under its name while it waits for a person is still its own to revoke.
    let uid = world.keys::<K>().get(KEY).await?.meta().uid.clone().context("no uid")?;
    let late = world.late_token(K::KIND, KEY, &uid).await?;
    eventually(SOON, "the token that nobody asked for any more is revoked", async || {
        let all = world.tokens_of(KEY);
        ensure!(all.iter().any(|token| token.id == late.id && token.revoked_at.is_some()), "{all:?}");
        Ok(())
    })
    .await?;
    world.change::<K>(KEY, json!({"rotation": {"generation": 1}})).await?;
    eventually(SOON, "there is a living value", async || {
        let value = world.value(SECRET).await?;
        ensure!(value != old && world.emulator.is_alive(&value));
        let status = world.ready::<K>(KEY).await?;
        ensure!(status.observed_rotation_generation == Some(1));
        Ok(())
    })
    .await?;
    let made = world.tokens_of(KEY).iter().filter(|token| token.id != late.id).count();
    assert!(made <= 2, "{made}");
    world.settles::<K>(KEY, SECRET, made + 1).await?;
    Ok(())
}

/// A rotation that is asked for may wait for as long as somebody likes; the value that it is to replace may die meanwhile.
pub(crate) async fn what_waits_does_not_pass_for_ready_over_a_dead_value(cx: Context) -> Result<()> {
    let world = World::start(cx).await?;
    let (id, _) = minted::<AccessKey>(&world, KEY, spec()).await?;
    world.change::<AccessKey>(KEY, json!({"suspend": true, "rotation": {"generation": 1}})).await?;
    let waiting = world.reason::<AccessKey>(KEY, "RotationPending").await?;
    ensure!(condition(&waiting, "Ready").is_some_and(|it| it.status == "True"), "{waiting:?}");
    world.emulator.revoke_elsewhere(&id)?;
    let waiting = world.reason::<AccessKey>(KEY, "Suspended").await?;
    ensure!(condition(&waiting, "Ready").is_some_and(|it| it.status == "False"), "{waiting:?}");
    assert_eq!(world.tokens_of(KEY).len(), 1, "it is suspended");
    world.change::<AccessKey>(KEY, json!({"suspend": false})).await?;
    world.settles::<AccessKey>(KEY, SECRET, 2).await?;
    assert_eq!(world.at_rest::<AccessKey>(KEY).await?.observed_rotation_generation, Some(1));
    Ok(())
}

/// Somebody revokes a token, and somebody else raises the generation before any list has told of it.
pub(crate) async fn a_rotation_that_finds_its_token_dead_makes_another(cx: Context) -> Result<()> {
    let world = World::start(cx).await?;
    for (key, unknown) in [("conflict", 409), ("gone", 404)] {
        world.emulator.behaviour(|it| it.statuses.rotate_dead = unknown);
        let (id, _) = minted::<AccessKey>(&world, key, json!({"rotation": {"grace": "1s"}})).await?;
        world.emulator.revoke_elsewhere(&id)?;
        world.change::<AccessKey>(key, json!({"rotation": {"generation": 1}})).await?;
        world.settles::<AccessKey>(key, key, 2).await.with_context(|| format!("{unknown}"))?;
        assert_eq!(world.at_rest::<AccessKey>(key).await?.observed_rotation_generation, Some(1));
    }
    Ok(())
}

/// What an operator that was killed knew of a dead value, the next one finds out again before it says anything.
pub(crate) async fn a_restart_raises_nobody_from_the_dead(cx: Context) -> Result<()> {
    let mut world = Setup::new().behaviour(|it| it.lists.revoked = true).start(cx).await?;
    let (revoked, _) = minted::<AccessKey>(&world, KEY, halting()).await?;
    let (rotated, _) =
        minted::<GatewayKey>(&world, "runtime", json!({"externalChangePolicy": "Halt"})).await?;
    world.emulator.revoke_elsewhere(&revoked)?;
    world.emulator.rotate_elsewhere(&rotated)?;
    world.reason::<AccessKey>(KEY, "RevokedElsewhere").await?;
    world.reason::<GatewayKey>("runtime", "RotatedElsewhere").await?;
    for silent in [false, true] {
        if silent {
            no_whoami(&world);
        }
        world.operator.restart()?;
        stays(A_WHILE, "neither passes for ready", async || {
            let access = world.keys::<AccessKey>().get(KEY).await?;
            let gateway = world.keys::<GatewayKey>().get("runtime").await?;
            for status in [access.status(), gateway.status()].into_iter().flatten() {
                ensure!(ready(status).is_none(), "whoami is silent: {silent}: {status:?}");
            }
            Ok(())
        })
        .await?;
    }
    assert_eq!(world.emulator.tokens().len(), 2);
    Ok(())
}

/// Killed between the suspicion and the replacement.
pub(crate) async fn a_restart_finishes_a_replacement(cx: Context) -> Result<()> {
    let mut world = World::start(cx).await?;
    let (id, _) = minted::<AccessKey>(&world, KEY, spec()).await?;
    let call = world.tokens.add(Rule::on(tokens::create()).hold_before());
    world.emulator.revoke_elsewhere(&id)?;
    call.reached(SOON).await?;
    world.operator.kill()?;
    call.discard();
    let status = world.keys::<AccessKey>().get(KEY).await?.status.unwrap_or_default();
    assert!(ready(&status).is_none(), "{status:?}");
    world.restart().await?;
    world.settles::<AccessKey>(KEY, SECRET, 2).await?;
    Ok(())
}

/// Whatever is stripped from the Secret is put back, around the same value.
pub(crate) async fn what_is_stripped_from_the_secret_is_put_back(cx: Context) -> Result<()> {
    let world = World::start(cx).await?;
    let mut spec = spec();
    spec["secret"]["template"] = json!({
        "labels": {"team": "shop"},
        "annotations": {"example.com/contact": "shop@example.com"},
        "data": {"OPENAI_API_KEY": "$(value)"},
    });
    let (_, value) = minted::<GatewayKey>(&world, KEY, spec).await?;
    let strip = json!({
        "metadata": {
            "labels": null, "ownerReferences": null, "annotations": {"example.com/contact": null},
        },
        "data": {"OPENAI_API_KEY": null},
    });
    world.secrets().patch(SECRET, &PatchParams::default(), &Patch::Merge(strip)).await?;
    eventually(SOON, "all of it is back", async || {
        let Secret { metadata, .. } = world.secrets().get(SECRET).await?;
        let labels = metadata.labels.unwrap_or_default();
        ensure!(labels.get("team").is_some_and(|team| team == "shop"), "{labels:?}");
        ensure!(labels.contains_key("keys.keeptrusts.com/uid"), "{labels:?}");
        ensure!(metadata.annotations.unwrap_or_default().contains_key("example.com/contact"));
        ensure!(metadata.owner_references.is_some_and(|owners| owners.len() == 1));
        ensure!(world.data(SECRET).await?.get("OPENAI_API_KEY") == Some(&value));
        Ok(())
    })
    .await?;
    assert_eq!(world.settles::<GatewayKey>(KEY, SECRET, 1).await?, value);
    Ok(())
}
