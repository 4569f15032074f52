//! `keeptrusts-operator drain`: every key goes, and it is said what became of its token.

use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use k8s_openapi::api::core::v1::Namespace;
use keeptrusts_harness::Rule;
use keeptrusts_harness::proxy::tokens;
use keeptrusts_harness::suite::Context;
use keeptrusts_operator::lifecycle::naming::{Installation, OperationId, Owner, Place, Tag, UidTag};
use keeptrusts_operator::resources::{AccessKey, DeletionPolicy, GatewayKey, KeyKind};
use kube::api::{Api, DeleteParams, Patch, PatchParams, PostParams};
use serde_json::{Value, json};
use tokio::process::Command;

use crate::world::{SOON, World};

const SECRET: &str = "checkout-keeptrusts";

/// What the command printed.
struct Drained {
    success: bool,
    code: Option<i32>,
    rows: Vec<Value>,
    error: String,
}

async fn drain(world: &World, arguments: &[&str]) -> Result<Drained> {
    let output = Command::new(env!("CARGO_BIN_EXE_keeptrusts-operator"))
        .args(["drain", "--output", "json", "--namespace", world.cx.namespace.name()])
        .args(arguments)
        .env("KUBECONFIG", world.cx.cluster.kubeconfig())
        .env("KEEPTRUSTS_INSTANCE", world.cx.namespace.name())
        .stdin(Stdio::null())
        .output()
        .await?;
    let error = String::from_utf8_lossy(&output.stderr).into_owned();
    let printed = Some(output.stdout).filter(|stdout| !stdout.is_empty());
    let rows =
        printed.map(|stdout| serde_json::from_slice(&stdout)).transpose().with_context(|| error.clone())?;
    let rows = rows.unwrap_or_default();
    Ok(Drained { success: output.status.success(), code: output.status.code(), rows, error })
}

/// A key of either kind.
async fn make(world: &World) -> Result<()> {
    world.create::<AccessKey>("checkout", json!({"secret": {"name": SECRET}})).await?;
    // What the key says itself doesn't count.
    world.create::<GatewayKey>("edge", json!({"deletionPolicy": "Retain"})).await?;
    world.at_rest::<AccessKey>("checkout").await?;
    world.at_rest::<GatewayKey>("edge").await?;
    Ok(())
}

fn outcomes(rows: &[Value]) -> Vec<(&str, &str)> {
    let mut outcomes: Vec<_> = rows
        .iter()
        .map(|row| (row["name"].as_str().unwrap_or_default(), row["outcome"].as_str().unwrap_or_default()))
        .collect();
    outcomes.sort_unstable();
    outcomes
}

pub(crate) async fn tokens_are_retained_with_their_secrets(cx: Context) -> Result<()> {
    let world = World::start(cx).await?;
    make(&world).await?;
    let values = [world.value(SECRET).await?, world.value("edge").await?];
    let drained = drain(&world, &["--tokens", "retain", "--yes"]).await?;
    ensure!(drained.success, "{}", drained.error);
    assert_eq!(outcomes(&drained.rows), [("checkout", "retained"), ("edge", "retained")]);
    world.gone::<AccessKey>("checkout").await?;
    assert_eq!([world.value(SECRET).await?, world.value("edge").await?], values);
    ensure!(values.iter().all(|value| world.emulator.is_alive(value)));
    let again = drain(&world, &["--tokens", "retain", "--yes"]).await?;
    ensure!(again.success && again.rows.is_empty(), "{}", again.error);
    Ok(())
}

pub(crate) async fn tokens_are_revoked_whatever_the_keys_say(cx: Context) -> Result<()> {
    let world = World::start(cx).await?;
    make(&world).await?;
    let unasked = drain(&world, &["--tokens", "revoke"]).await?;
    ensure!(!unasked.success && unasked.error.contains("add --yes"), "{}", unasked.error);
    assert_eq!(world.living().len(), 2, "nobody agreed");
    let drained = drain(&world, &["--tokens", "revoke", "--yes"]).await?;
    ensure!(drained.success, "{}", drained.error);
    assert_eq!(outcomes(&drained.rows), [("checkout", "revoked"), ("edge", "revoked")]);
    ensure!(world.living().is_empty());
    Ok(())
}

pub(crate) async fn an_operator_that_is_away_is_said_and_waited_for(cx: Context) -> Result<()> {
    let mut world = World::start(cx).await?;
    make(&world).await?;
    world.operator.kill()?;
    let drained = drain(&world, &["--tokens", "revoke", "--yes", "--timeout", "1s"]).await?;
    ensure!(!drained.success && drained.error.contains("the operator does the work"), "{}", drained.error);
    assert_eq!(outcomes(&drained.rows), [("checkout", "waiting"), ("edge", "waiting")]);
    assert_eq!((drained.code, world.living().len()), (Some(3), 2));
    world.restart().await?;
    let drained = drain(&world, &["--tokens", "revoke", "--yes"]).await?;
    ensure!(drained.success, "{}", drained.error);
    ensure!(world.living().is_empty());
    Ok(())
}

/// A key of another instance, as that has left it, beside this one's. A key without a token belongs to whom its namespace is given to.
pub(crate) async fn keys_of_another_instance_are_left_alone(cx: Context) -> Result<()> {
    let world = World::start(cx).await?;
    make(&world).await?;
    // In a namespace that no operator watches.
    let other = format!("{}-other", world.cx.namespace.name());
    let namespaces: Api<Namespace> = Api::all(world.cx.client());
    let namespace = serde_json::from_value(json!({"metadata": {"name": other}}))?;
    namespaces.create(&PostParams::default(), &namespace).await?;
    let theirs: Api<AccessKey> = Api::namespaced(world.cx.client(), &other);
    let key = serde_json::from_value(
        json!({"metadata": {"name": "theirs"}, "spec": {"deletionPolicy": "Retain"}}),
    )?;
    theirs.create(&PostParams::default(), &key).await?;
    let owner = Owner {
        installation: Installation::new("7d3c1b0a-5a2e-4f0e-9c3e-0a1b2c3d4e5f", "other"),
        place: Place::new(KeyKind::Access, &other, "theirs"),
        uid: UidTag::new("uid"),
    };
    let name = Tag { owner, operation: OperationId::from_random([3; 10]) }.name("theirs", 63);
    let status = json!({"status": {"token": {"id": "tok_theirs", "name": name}}});
    theirs.patch_status("theirs", &PatchParams::default(), &Patch::Merge(status)).await?;
    let key = serde_json::from_value(json!({"metadata": {"name": "new"}, "spec": {}}))?;
    theirs.create(&PostParams::default(), &key).await?;

    let drained = drain(&world, &["--tokens", "revoke", "--yes", "--namespace", &other]).await?;
    ensure!(drained.success && drained.error.contains("1 key of another installation"), "{}", drained.error);
    let expected = [("checkout", "revoked"), ("edge", "revoked"), ("new", "noToken")];
    assert_eq!(outcomes(&drained.rows), expected);
    let left = theirs.get("theirs").await?;
    ensure!(
        left.metadata.deletion_timestamp.is_none()
            && left.spec.deletion_policy == Some(DeletionPolicy::Retain)
    );
    namespaces.delete(&other, &DeleteParams::default()).await?;
    Ok(())
}

pub(crate) async fn a_selector_narrows_it(cx: Context) -> Result<()> {
    let world = World::start(cx).await?;
    make(&world).await?;
    let labels = Patch::Merge(json!({"metadata": {"labels": {"team": "shop"}}}));
    world.keys::<AccessKey>().patch("checkout", &PatchParams::default(), &labels).await?;
    let selector = ["--watch-label-selector", "team in (shop,billing)"];
    let drained = drain(&world, &[&["--tokens", "revoke", "--yes"], &selector[..]].concat()).await?;
    ensure!(drained.success, "{}", drained.error);
    assert_eq!(outcomes(&drained.rows), [("checkout", "revoked")]);
    world.at_rest::<GatewayKey>("edge").await?;
    assert_eq!(world.living().len(), 1);
    Ok(())
}

/// What Git says is put back while another key is waited for: it was reported as gone, and is there again with an active token.
pub(crate) async fn a_key_that_is_created_again_is_named(cx: Context) -> Result<()> {
    let world = World::start(cx).await?;
    make(&world).await?;
    let slow = world.tokens_of("edge").first().context("no token")?.id.clone();
    let down = world.tokens.add(Rule::on(tokens::revoke_of(&slow)).always().answer(503, json!({})));
    let draining = drain(&world, &["--tokens", "revoke", "--yes"]);
    let applying = async {
        down.reached(SOON).await?;
        world.gone::<AccessKey>("checkout").await?;
        // Long enough for a look at the keys, which then are all but one.
        tokio::time::sleep(Duration::from_secs(3)).await;
        world.create::<AccessKey>("checkout", json!({"secret": {"name": SECRET}})).await?;
        world.at_rest::<AccessKey>("checkout").await?;
        world.tokens.clear();
        anyhow::Ok(())
    };
    let (drained, applied) = tokio::join!(draining, applying);
    applied?;
    let drained = drained?;
    assert_eq!(outcomes(&drained.rows), [("checkout", "madeAgain"), ("edge", "revoked")]);
    let named = format!("AccessKey {}/checkout was created again while drain ran", world.cx.namespace.name());
    ensure!(
        drained.code == Some(4) && drained.error.contains(&named),
        "{:?} {}",
        drained.code,
        drained.error
    );
    assert_eq!(world.living().len(), 1, "its token is active, and the command doesn't say otherwise");
    Ok(())
}
