//! Adoption: a token that was made by hand becomes a resource's, by rotation or together with the Secret that holds its
//! value already; and everything for which it is refused.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use k8s_openapi::api::core::v1::{Namespace, Secret};
use keeptrusts_emulator::{NewToken, TokenType};
use keeptrusts_harness::proxy::tokens;
use keeptrusts_harness::suite::Context;
use keeptrusts_harness::{Rule, eventually, stays};
use keeptrusts_operator::resources::{AccessKey, GatewayKey, Key, KeyKind};
use kube::api::{Api, DeleteParams, Patch, PatchParams, PostParams};
use serde_json::{Value, json};

use crate::world::{SOON, Setup, World, condition};

const KEY: &str = "checkout";
const SECRET: &str = "checkout-keeptrusts";

/// Three periods of the lists.
const A_WHILE: Duration = Duration::from_secs(7);

/// A world whose keys may adopt.
async fn permitted(cx: Context) -> Result<World> {
    let namespace = cx.namespace.name().to_owned();
    Setup::new().values(&json!({"adoptNamespaces": [namespace]})).start(cx).await
}

fn adopting(id: &str, value: &str, policy: &str) -> Value {
    json!({
        "secret": {"name": SECRET},
        "rotation": {"grace": "1s"},
        "deletionPolicy": policy,
        "adopt": {"tokenId": id, "value": value},
    })
}

/// Somebody makes a token in the console.
fn by_hand(world: &World, kind: TokenType) -> Result<String> {
    Ok(world.emulator.create_elsewhere(NewToken::new("by-hand", kind))?.id)
}

/// Somebody makes a token with the API, and keeps its value: id and value.
async fn by_script(world: &World, kind: TokenType) -> Result<(String, String)> {
    let answer: Value = reqwest::Client::new()
        .post(format!("{}/v1/tokens", world.emulator.url()))
        .bearer_auth(world.emulator.credential())
        .json(&json!({"name": "by-script", "token_type": kind.name()}))
        .send()
        .await?
        .error_for_status()?
        .json()
        .await?;
    let text = |field: &str| answer[field].as_str().map(str::to_owned).context("it isn't told");
    Ok((text("id")?, text("token")?))
}

async fn put_secret(world: &World, value: &str) -> Result<()> {
    let secret: Secret = serde_json::from_value(json!({
        "metadata": {"name": SECRET, "labels": {"made-by": "hand"}},
        "stringData": {"api-key": value, "others": "x"},
    }))?;
    world.secrets().create(&PostParams::default(), &secret).await?;
    Ok(())
}

fn type_of<K: Key>() -> TokenType {
    match K::KIND {
        KeyKind::Access => TokenType::Access,
        KeyKind::Gateway => TokenType::Gateway,
    }
}

/// Waits until adoption is refused, and gives the message; nothing was changed by then.
async fn refused<K: Key>(world: &World, key: &str) -> Result<String> {
    let status = world.reason::<K>(key, "AdoptionRefused").await?;
    ensure!(status.token.is_none() && status.operation.is_none(), "{status:?}");
    Ok(condition(&status, "Stalled").context("not stalled")?.message.clone())
}

pub(crate) async fn a_token_is_taken_over_by_rotating_it(cx: Context) -> Result<()> {
    by_rotation::<AccessKey>(&permitted(cx).await?).await
}

pub(crate) async fn so_is_a_gateways(cx: Context) -> Result<()> {
    by_rotation::<GatewayKey>(&permitted(cx).await?).await
}

async fn by_rotation<K: Key>(world: &World) -> Result<()> {
    let id = by_hand(world, type_of::<K>())?;
    world.create::<K>(KEY, adopting(&id, "Rotate", "Revoke")).await?;
    let value = world.one_living::<K>(KEY, SECRET, 1).await?;
    let rotations = || world.emulator.tokens()[0].rotations;
    assert_eq!((world.id_of::<K>(KEY).await?, rotations()), (id.clone(), 1));
    world.event(KEY, "Adopted").await?;

    // From now on it is like any other: rotated in place,
    world.change::<K>(KEY, json!({"rotation": {"generation": 1}})).await?;
    world.until::<K>(KEY, "is rotated", |_, status| status.observed_rotation_generation == Some(1)).await?;
    let rotated = world.one_living::<K>(KEY, SECRET, 1).await?;
    assert_ne!(rotated, value);
    assert_eq!(rotations(), 2);
    // replaced when its Secret is gone, and revoked then,
    world.secrets().delete(SECRET, &DeleteParams::default()).await?;
    let replaced =
        eventually(SOON, "the Secret is repaired", async || world.one_living::<K>(KEY, SECRET, 2).await)
            .await?;
    assert_ne!(replaced, rotated);
    // and its spec settled.
    let other = world.change::<K>(KEY, json!({"adopt": {"tokenId": "tok_other"}})).await;
    let error = other.err().context("adopt was changed")?.to_string();
    assert!(error.contains("adopt can't be changed once the resource has a token"), "{error}");
    world.delete::<K>(KEY, &DeleteParams::default()).await?;
    assert!(world.living().is_empty());
    Ok(())
}

pub(crate) async fn an_adopted_token_dies_with_its_resource(cx: Context) -> Result<()> {
    let world = permitted(cx).await?;
    let id = by_hand(&world, TokenType::Access)?;
    world.create::<AccessKey>(KEY, adopting(&id, "Rotate", "Revoke")).await?;
    world.one_living::<AccessKey>(KEY, SECRET, 1).await?;
    world.delete::<AccessKey>(KEY, &DeleteParams::default()).await?;
    assert!(world.living().is_empty());
    Ok(())
}

pub(crate) async fn a_token_is_taken_over_with_its_secret(cx: Context) -> Result<()> {
    by_secret::<AccessKey>(&permitted(cx).await?).await
}

pub(crate) async fn so_is_a_gateways_with_its_secret(cx: Context) -> Result<()> {
    by_secret::<GatewayKey>(&permitted(cx).await?).await
}

async fn by_secret<K: Key>(world: &World) -> Result<()> {
    let (id, value) = by_script(world, type_of::<K>()).await?;
    put_secret(world, &value).await?;
    let mut spec = adopting(&id, "FromSecret", "Retain");
    spec["secret"]["template"] = json!({"data": {"OPENAI_API_KEY": "$(value)"}});
    world.create::<K>(KEY, spec).await?;
    assert_eq!(world.one_living::<K>(KEY, SECRET, 1).await?, value);
    let status = world.at_rest::<K>(KEY).await?;
    assert_eq!(status.token.map(|token| token.id), Some(id));
    assert_eq!(world.tokens.count(&tokens::write()), 0, "nothing was made, rotated or revoked");
    let data = world.data(SECRET).await?;
    assert_eq!((&data["OPENAI_API_KEY"], data["others"].as_str()), (&value, "x"));
    world.event(KEY, "Adopted").await?;
    // It can be rotated like any other, and outlives its resource as was said.
    world.change::<K>(KEY, json!({"rotation": {"generation": 1}})).await?;
    world.until::<K>(KEY, "is rotated", |_, status| status.observed_rotation_generation == Some(1)).await?;
    let rotated = world.one_living::<K>(KEY, SECRET, 1).await?;
    assert_ne!(rotated, value);
    world.delete::<K>(KEY, &DeleteParams::default()).await?;
    assert!(world.emulator.is_alive(&rotated));
    assert_eq!(world.value(SECRET).await?, rotated);
    Ok(())
}

pub(crate) async fn a_secret_whose_value_is_not_the_tokens_is_refused(cx: Context) -> Result<()> {
    let world = permitted(cx).await?;
    let (id, value) = by_script(&world, TokenType::Access).await?;
    let (_, others) = by_script(&world, TokenType::Access).await?;
    world.create::<AccessKey>(KEY, adopting(&id, "FromSecret", "Revoke")).await?;
    let message = refused::<AccessKey>(&world, KEY).await?;
    assert!(message.contains(&format!("there is no Secret {SECRET}")), "{message}");

    // A value that begins like the token's, and isn't it.
    let (head, _) = value.split_at(value.len() - 1);
    put_secret(&world, &format!("{head}{}", if value.ends_with('x') { 'y' } else { 'x' })).await?;
    let says = async |text: &str| {
        world
            .until::<AccessKey>(KEY, text, |_, status| {
                condition(status, "Stalled").is_some_and(|it| it.message.contains(text))
            })
            .await
    };
    says("the token API doesn't accept it").await?;
    // Another token's living value proves nothing of this one.
    let put = async |value: &str| {
        let patch = Patch::Merge(json!({"stringData": {"api-key": value}}));
        world.secrets().patch(SECRET, &PatchParams::default(), &patch).await
    };
    put(&others).await?;
    says("it can't be proved to be that token's living value").await?;
    let untouched = put(&others).await?.metadata;
    assert!(untouched.owner_references.is_none() && untouched.annotations.is_none(), "{untouched:?}");
    put(&value).await?;
    let status = world.at_rest::<AccessKey>(KEY).await?;
    assert_eq!(status.token.map(|token| token.id), Some(id));
    assert_eq!(world.value(SECRET).await?, value);
    assert_eq!(world.living().len(), 2);
    Ok(())
}

/// Where `whoami` says nothing, no value can be proved, and it is said so.
pub(crate) async fn a_value_that_cannot_be_proved_is_not_adopted(cx: Context) -> Result<()> {
    let namespace = cx.namespace.name().to_owned();
    let setup = Setup::new().values(&json!({"adoptNamespaces": [namespace]}));
    let world = setup.behaviour(|it| it.statuses.whoami_minted = 404).start(cx).await?;
    let (id, value) = by_script(&world, TokenType::Access).await?;
    put_secret(&world, &value).await?;
    world.create::<AccessKey>(KEY, adopting(&id, "FromSecret", "Revoke")).await?;
    let message = refused::<AccessKey>(&world, KEY).await?;
    assert!(message.contains("set spec.adopt.value to Rotate"), "{message}");
    assert!(world.emulator.is_alive(&value));
    Ok(())
}

pub(crate) async fn nobody_adopts_unless_the_operator_is_allowed_to(cx: Context) -> Result<()> {
    let world = World::start(cx).await?;
    not_allowed(&world).await
}

pub(crate) async fn nor_in_a_namespace_that_is_not_named(cx: Context) -> Result<()> {
    let world = Setup::new().values(&json!({"adoptNamespaces": ["another"]})).start(cx).await?;
    not_allowed(&world).await
}

async fn not_allowed(world: &World) -> Result<()> {
    let id = by_hand(world, TokenType::Access)?;
    world.create::<AccessKey>(KEY, adopting(&id, "Rotate", "Revoke")).await?;
    let message = refused::<AccessKey>(world, KEY).await?;
    for part in ["isn't allowed to adopt", world.cx.namespace.name(), "adoptNamespaces"] {
        assert!(message.contains(part), "{message}");
    }
    stays(A_WHILE, "nothing is done", async || {
        ensure!(world.emulator.tokens()[0].rotations == 0 && world.emulator.tokens().len() == 1);
        ensure!(world.secrets().get_opt(SECRET).await?.is_none());
        Ok(())
    })
    .await?;
    // The way out: without it, a new token.
    world.change::<AccessKey>(KEY, json!({"adopt": null})).await?;
    let status = world.at_rest::<AccessKey>(KEY).await?;
    assert_ne!(status.token.map(|token| token.id), Some(id));
    assert_eq!(world.living().len(), 2);
    Ok(())
}

pub(crate) async fn a_star_stands_for_every_namespace(cx: Context) -> Result<()> {
    let world = Setup::new().values(&json!({"adoptNamespaces": ["*"]})).start(cx).await?;
    let id = by_hand(&world, TokenType::Gateway)?;
    world.create::<GatewayKey>(KEY, adopting(&id, "Rotate", "Revoke")).await?;
    world.one_living::<GatewayKey>(KEY, SECRET, 1).await?;
    Ok(())
}

pub(crate) async fn what_is_anothers_is_refused(cx: Context) -> Result<()> {
    let world = permitted(cx).await?;
    // Made by the operator for another resource: it bears that one's tag.
    world.create::<AccessKey>("owner", json!({})).await?;
    world.at_rest::<AccessKey>("owner").await?;
    let tagged = world.id_of::<AccessKey>("owner").await?;
    // Adopted by another resource; and superseded there since.
    let claimed = by_hand(&world, TokenType::Access)?;
    let mut spec = adopting(&claimed, "Rotate", "Revoke");
    spec["secret"] = json!({});
    spec["rotation"] = json!({"grace": "1h"});
    world.create::<AccessKey>("adopter", spec).await?;
    world.at_rest::<AccessKey>("adopter").await?;
    let refusal = async |key: &'static str, id: &str| {
        let mut spec = adopting(id, "Rotate", "Revoke");
        spec["secret"] = json!({});
        world.create::<AccessKey>(key, spec).await?;
        refused::<AccessKey>(&world, key).await
    };
    let message = refusal("of-a-tag", &tagged).await?;
    assert!(message.contains(&tagged) && message.contains("bears the tag of another resource"), "{message}");
    let message = refusal("of-a-claim", &claimed).await?;
    let claim = format!("is claimed by AccessKey {}/adopter", world.cx.namespace.name());
    assert!(message.contains(&claim), "{message}");
    world.secrets().delete("adopter", &DeleteParams::default()).await?;
    world
        .until::<AccessKey>("adopter", "has superseded it", |_, status| {
            status.superseded.iter().any(|entry| entry.id == claimed)
        })
        .await?;
    let message = refusal("of-a-past", &claimed).await?;
    assert!(message.contains(&claim), "{message}");
    // Nothing was done to either.
    let rotations = |id: &str| {
        let token = world.emulator.tokens().into_iter().find(|token| token.id == id);
        token.filter(|token| token.revoked_at.is_none()).map(|token| token.rotations)
    };
    assert_eq!((rotations(&tagged), rotations(&claimed)), (Some(0), Some(1)));
    for key in ["of-a-tag", "of-a-claim", "of-a-past"] {
        world.delete::<AccessKey>(key, &DeleteParams::default()).await?;
    }
    assert_eq!((rotations(&tagged), rotations(&claimed)), (Some(0), Some(1)), "nor by a deletion");
    Ok(())
}

pub(crate) async fn of_two_that_want_the_same_token_one_gets_it(cx: Context) -> Result<()> {
    let world = permitted(cx).await?;
    let id = by_hand(&world, TokenType::Access)?;
    let held = world.tokens.add(Rule::on(tokens::rotate()).hold_before());
    let mut spec = adopting(&id, "Rotate", "Revoke");
    spec["secret"] = json!({});
    world.create::<AccessKey>("first", spec.clone()).await?;
    world.create::<AccessKey>("second", spec).await?;
    held.reached(SOON).await?;
    held.release();
    let winner = eventually(SOON, "one has it, and the other is refused", async || {
        let mut reasons = Vec::new();
        for key in ["first", "second"] {
            let status = world.keys::<AccessKey>().get(key).await?.status.unwrap_or_default();
            reasons.push(condition(&status, "Ready").context("no Ready")?.reason.clone());
        }
        match [reasons[0].as_str(), reasons[1].as_str()] {
            ["Ready", "AdoptionRefused"] => Ok("first"),
            ["AdoptionRefused", "Ready"] => Ok("second"),
            _ => anyhow::bail!("{reasons:?}"),
        }
    })
    .await?;
    world.one_living::<AccessKey>(winner, winner, 1).await?;
    assert_eq!(world.emulator.tokens()[0].rotations, 1);
    Ok(())
}

pub(crate) async fn the_other_type_a_dead_one_and_an_unknown_one_are_refused(cx: Context) -> Result<()> {
    let world = permitted(cx).await?;
    let gateway = by_hand(&world, TokenType::Gateway)?;
    world.create::<AccessKey>("other-type", adopting(&gateway, "Rotate", "Revoke")).await?;
    let message = refused::<AccessKey>(&world, "other-type").await?;
    assert!(message.contains("is of the type that GatewayKey is for"), "{message}");

    let dead = by_hand(&world, TokenType::Access)?;
    world.emulator.revoke_elsewhere(&dead)?;
    world.create::<AccessKey>("unlisted", adopting(&dead, "Rotate", "Revoke")).await?;
    let message = refused::<AccessKey>(&world, "unlisted").await?;
    assert!(message.contains("isn't listed"), "{message}");
    world.emulator.behaviour(|it| it.lists.revoked = true);
    world
        .until::<AccessKey>("unlisted", "is told that it is revoked", |_, status| {
            condition(status, "Stalled").is_some_and(|it| it.message.contains("is revoked or has expired"))
        })
        .await?;

    // A wrong id can be corrected.
    let right = by_hand(&world, TokenType::Access)?;
    world.change::<AccessKey>("unlisted", json!({"adopt": {"tokenId": right}})).await?;
    let status = world.at_rest::<AccessKey>("unlisted").await?;
    assert_eq!(status.token.map(|token| token.id), Some(right));
    assert_eq!(world.living().len(), 2);
    Ok(())
}

/// By its id, which `whoami` tells; and where that tells nothing, by the characters that lists show of its value.
pub(crate) async fn the_operators_own_token_is_refused(cx: Context) -> Result<()> {
    let world = permitted(cx).await?;
    let (id, value) = by_script(&world, TokenType::Access).await?;
    world.emulator.replace_credential(&value);
    let patch = Patch::Merge(json!({"stringData": {"token": value}}));
    let secrets: Api<Secret> = world.cx.namespace.api();
    secrets.patch("credential", &PatchParams::default(), &patch).await?;
    world.operator.sync_mounts(&world.cx.cluster).await?;
    eventually(SOON, "the operator has the new credential", async || {
        ensure!(world.operator.log()?.contains("the credential changed"));
        Ok(())
    })
    .await?;
    world.create::<AccessKey>(KEY, adopting(&id, "Rotate", "Revoke")).await?;
    let message = refused::<AccessKey>(&world, KEY).await?;
    assert!(message.contains("is the operator's own credential"), "{message}");
    stays(A_WHILE, "it isn't rotated", async || {
        ensure!(world.emulator.is_alive(&value));
        Ok(())
    })
    .await
}

/// Its outcome is never learned: recovery makes a new token, and the one that was to be adopted goes.
pub(crate) async fn a_kill_in_the_middle_of_an_adoption(cx: Context) -> Result<()> {
    let mut world = permitted(cx).await?;
    let id = by_hand(&world, TokenType::Access)?;
    let call = world.tokens.add(Rule::on(tokens::rotate()).hold_before());
    world.create::<AccessKey>(KEY, adopting(&id, "Rotate", "Revoke")).await?;
    call.reached(SOON).await?;
    world.operator.kill()?;
    world.restart().await?;
    call.release();
    eventually(SOON, "one token lives, and its value is in the Secret", async || {
        world.one_living::<AccessKey>(KEY, SECRET, 2).await
    })
    .await?;
    Ok(())
}

/// What was adopted while it was allowed isn't forgotten when it no longer is: nothing is called with the id any more,
/// and nothing of it is dropped silently.
pub(crate) async fn a_permission_that_is_withdrawn(cx: Context) -> Result<()> {
    let world = permitted(cx).await?;
    let id = by_hand(&world, TokenType::Access)?;
    world.create::<AccessKey>(KEY, adopting(&id, "Rotate", "Revoke")).await?;
    let value = world.one_living::<AccessKey>(KEY, SECRET, 1).await?;
    let World { cx, chart: _, kubernetes, emulator, tokens, operator, values, .. } = world;
    drop(operator);
    let mut values = values;
    values["adoptNamespaces"] = json!([]);
    let name = cx.namespace.name().to_owned();
    let options = keeptrusts_harness::ChartOptions::new(crate::world::CHART, &name, &name).values(values);
    let chart = keeptrusts_harness::Chart::render(&cx.cluster.helm(), &options).await?;
    chart.apply(&cx.cluster).await?;
    let _operator = crate::world::start_operator(&cx, &chart, &kubernetes).await?;
    let keys: Api<AccessKey> = cx.namespace.api();
    stays(A_WHILE, "the key is as it was", async || {
        let status = keys.get(KEY).await?.status.unwrap_or_default();
        ensure!(crate::world::ready(&status) == Some("Ready"), "{status:?}");
        ensure!(emulator.is_alive(&value) && emulator.tokens().len() == 1);
        Ok(())
    })
    .await?;
    keys.delete(KEY, &DeleteParams::default()).await?;
    eventually(SOON, "the deletion says which token it can't revoke", async || {
        let status = keys.get(KEY).await?.status.unwrap_or_default();
        let ready = condition(&status, "Ready").context("no Ready")?;
        ensure!(ready.reason == "RevocationPending" && ready.message.contains(&id), "{ready:?}");
        Ok(())
    })
    .await?;
    stays(A_WHILE, "it isn't let go", async || {
        ensure!(keys.get_opt(KEY).await?.is_some());
        Ok(())
    })
    .await?;
    // A person sees to it.
    emulator.revoke_elsewhere(&id)?;
    eventually(SOON, "the resource is gone", async || {
        ensure!(keys.get_opt(KEY).await?.is_none());
        Ok(())
    })
    .await?;
    drop(tokens);
    Ok(())
}

/// Whoever asked for a wrong id first doesn't keep it from others once that is corrected.
pub(crate) async fn a_corrected_id_is_free_for_others(cx: Context) -> Result<()> {
    let world = permitted(cx).await?;
    let wrong = by_hand(&world, TokenType::Access)?;
    let right = by_hand(&world, TokenType::Access)?;
    let mut spec = adopting(&wrong, "FromSecret", "Revoke");
    spec["secret"] = json!({});
    world.create::<AccessKey>("hasty", spec.clone()).await?;
    refused::<AccessKey>(&world, "hasty").await?;
    spec["adopt"]["value"] = json!("Rotate");
    world.create::<AccessKey>("second", spec).await?;
    let message = refused::<AccessKey>(&world, "second").await?;
    assert!(message.contains("asked first"), "{message}");
    let corrected = json!({"adopt": {"tokenId": right, "value": "Rotate"}});
    world.change::<AccessKey>("hasty", corrected).await?;
    let names = async |key: &'static str, id: &String| {
        let named = |_: &AccessKey, status: &keeptrusts_operator::resources::KeyStatus| {
            crate::world::ready(status).is_some() && status.token.as_ref().is_some_and(|it| it.id == *id)
        };
        world.until::<AccessKey>(key, "has its token", named).await
    };
    names("hasty", &right).await?;
    names("second", &wrong).await?;
    assert_eq!(world.emulator.tokens().len(), 2);
    Ok(())
}

/// An API that gives a token a new id with each rotation: it is the adopted one all the same.
pub(crate) async fn an_adopted_token_whose_id_changes(cx: Context) -> Result<()> {
    let namespace = cx.namespace.name().to_owned();
    let setup = Setup::new().values(&json!({"adoptNamespaces": [namespace]}));
    let new_ids = |it: &mut keeptrusts_emulator::Behaviour| {
        it.tokens.id_on_rotate = keeptrusts_emulator::IdOnRotate::New;
    };
    let mut world = setup.behaviour(new_ids).start(cx).await?;
    let id = by_hand(&world, TokenType::Access)?;
    world.create::<AccessKey>(KEY, adopting(&id, "Rotate", "Revoke")).await?;
    let value = world.one_living::<AccessKey>(KEY, SECRET, 1).await?;
    assert_ne!(world.id_of::<AccessKey>(KEY).await?, id);
    // What this operator was answered itself it would know without a list.
    world.restart().await?;
    world.lists(2).await?;
    assert_eq!(world.one_living::<AccessKey>(KEY, SECRET, 1).await?, value);
    assert_eq!(
        world.tokens.count(&tokens::whoami()),
        1,
        "nothing is suspected; the operator asked for its own id"
    );
    world.change::<AccessKey>(KEY, json!({"rotation": {"generation": 1}})).await?;
    world
        .until::<AccessKey>(KEY, "is rotated", |_, status| status.observed_rotation_generation == Some(1))
        .await?;
    world.one_living::<AccessKey>(KEY, SECRET, 1).await.context("rotated in place")?;
    world.restart().await?;
    world.secrets().delete(SECRET, &DeleteParams::default()).await?;
    eventually(SOON, "the Secret is repaired, and the adopted token revoked", async || {
        world.one_living::<AccessKey>(KEY, SECRET, 2).await
    })
    .await?;
    world.delete::<AccessKey>(KEY, &DeleteParams::default()).await?;
    assert!(world.living().is_empty());
    Ok(())
}

/// Two namespaces, one of which may.
pub(crate) async fn permission_is_by_namespace(cx: Context) -> Result<()> {
    let other = format!("{}-other", cx.namespace.name());
    let namespaces: Api<Namespace> = Api::all(cx.client());
    let namespace = serde_json::from_value(json!({"metadata": {"name": other}}))?;
    namespaces.create(&PostParams::default(), &namespace).await?;
    let name = cx.namespace.name().to_owned();
    let values = json!({"watchNamespaces": [name, other], "adoptNamespaces": [other]});
    let world = Setup::new().values(&values).start(cx).await?;
    let id = by_hand(&world, TokenType::Access)?;
    world.create::<AccessKey>(KEY, adopting(&id, "Rotate", "Revoke")).await?;
    refused::<AccessKey>(&world, KEY).await?;
    let keys: Api<AccessKey> = Api::namespaced(world.cx.client(), &other);
    let key = json!({
        "apiVersion": "keys.keeptrusts.com/v1alpha1", "kind": "AccessKey",
        "metadata": {"name": KEY}, "spec": adopting(&id, "Rotate", "Revoke"),
    });
    keys.create(&PostParams::default(), &serde_json::from_value(key)?).await?;
    eventually(SOON, "it is adopted where that is allowed", async || {
        let status = keys.get(KEY).await?.status.unwrap_or_default();
        ensure!(crate::world::ready(&status) == Some("Ready"), "{status:?}");
        ensure!(status.token.is_some_and(|token| token.id == id));
        Ok(())
    })
    .await?;
    keys.delete(KEY, &DeleteParams::default()).await?;
    eventually(SOON, "it is gone", async || {
        ensure!(keys.get_opt(KEY).await?.is_none() && world.living().is_empty());
        Ok(())
    })
    .await?;
    namespaces.delete(&other, &DeleteParams::default()).await?;
    Ok(())
}
