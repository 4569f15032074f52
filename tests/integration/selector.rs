//! An operator that keeps the keys with a label, and no others.

use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use k8s_openapi::api::events::v1::Event;
use keeptrusts_emulator::{NewToken, Operation, TokenType};
use keeptrusts_harness::proxy::{steps, tokens};
use keeptrusts_harness::suite::Context;
use keeptrusts_harness::{ControlPlane, Options, Rule, TestNamespace, stays};
use keeptrusts_operator::resources::{AccessKey, FINALIZER, GatewayKey};
use kube::api::{Api, DeleteParams, ListParams, Patch, PatchParams, PostParams};
use serde_json::{Value, json};
use tokio::process::Command;

use crate::world::{SOON, Setup, World};

const KEY: &str = "checkout";

/// Long enough to see that something doesn't happen: two periods of the lists.
const A_WHILE: Duration = Duration::from_secs(4);

async fn start(cx: Context) -> Result<World> {
    Setup::new().values(&json!({"watchLabelSelector": "team in (shop,billing)"})).start(cx).await
}

impl World {
    /// Creates a key with these labels.
    async fn labelled(&self, name: &str, labels: Value, spec: Value) -> Result<()> {
        let key = serde_json::from_value(json!({
            "apiVersion": "keys.keeptrusts.com/v1alpha1",
            "kind": "AccessKey",
            "metadata": {"name": name, "labels": labels},
            "spec": spec,
        }))?;
        self.keys::<AccessKey>().create(&PostParams::default(), &key).await?;
        Ok(())
    }

    async fn label(&self, name: &str, team: Option<&str>) -> Result<()> {
        let patch = Patch::Merge(json!({"metadata": {"labels": {"team": team}}}));
        self.keys::<AccessKey>().patch(name, &PatchParams::default(), &patch).await?;
        Ok(())
    }
}

pub(crate) async fn keys_without_the_label_are_left_alone(cx: Context) -> Result<()> {
    let world = start(cx).await?;
    world.labelled("other", json!({"team": "search"}), json!({})).await?;
    world.create::<GatewayKey>("unlabelled", json!({})).await?;
    world.labelled(KEY, json!({"team": "shop"}), json!({})).await?;
    world.settles::<AccessKey>(KEY, KEY, 1).await?;
    stays(A_WHILE, "the others are as they were made", async || {
        let other = world.keys::<AccessKey>().get("other").await?;
        let unlabelled = world.keys::<GatewayKey>().get("unlabelled").await?;
        ensure!(other.metadata.finalizers.is_none() && unlabelled.metadata.finalizers.is_none());
        ensure!(world.emulator.tokens().len() == 1);
        Ok(())
    })
    .await?;
    // It joins by its label.
    world.label("other", Some("billing")).await?;
    world.settles::<AccessKey>("other", "other", 1).await?;
    Ok(())
}

pub(crate) async fn a_key_that_loses_its_label_is_left_as_it_is(cx: Context) -> Result<()> {
    let world = start(cx).await?;
    world.labelled(KEY, json!({"team": "shop"}), json!({})).await?;
    let value = world.one_living::<AccessKey>(KEY, KEY, 1).await?;
    world.label(KEY, None).await?;
    world.change::<AccessKey>(KEY, json!({"rotation": {"generation": 1}})).await?;
    world.keys::<AccessKey>().delete(KEY, &DeleteParams::default()).await?;
    let calls = world.tokens.count(&tokens::write());
    stays(A_WHILE, "nobody acts on it, though it is to go", async || {
        let key = world.keys::<AccessKey>().get(KEY).await?;
        ensure!(key.metadata.finalizers == Some(vec![FINALIZER.to_owned()]));
        ensure!(world.value(KEY).await? == value && world.emulator.is_alive(&value));
        ensure!(world.tokens.count(&tokens::write()) == calls);
        Ok(())
    })
    .await?;
    world.label(KEY, Some("billing")).await?;
    world.gone::<AccessKey>(KEY).await?;
    ensure!(world.living().is_empty());
    Ok(())
}

pub(crate) async fn what_is_in_flight_is_finished_though_the_label_is_gone(cx: Context) -> Result<()> {
    let world = start(cx).await?;
    let call = world.tokens.add(Rule::on(tokens::create()).hold_after());
    world.labelled(KEY, json!({"team": "shop"}), json!({})).await?;
    call.reached(SOON).await?;
    world.label(KEY, Some("search")).await?;
    world.change::<AccessKey>(KEY, json!({"rotation": {"generation": 1}})).await?;
    call.release();
    let (_, status) = world
        .until::<AccessKey>(KEY, "has its value", |_, status| {
            status.token.is_some() && status.operation.is_none()
        })
        .await?;
    let value = world.value(KEY).await?;
    // Events come after what they tell.
    let writes = steps::write().and_not(steps::event());
    let written = world.kubernetes.count(&writes);
    stays(A_WHILE, "nothing more is done", async || {
        ensure!(world.value(KEY).await? == value && world.emulator.is_alive(&value));
        ensure!(world.kubernetes.count(&writes) == written);
        let now = world.keys::<AccessKey>().get(KEY).await?.status.unwrap_or_default();
        ensure!(now.token == status.token && world.tokens.count(&tokens::rotate()) == 0);
        Ok(())
    })
    .await
}

/// An operator that watches all namespaces has to have a cluster of its own here.
pub(crate) async fn no_orphans_are_reported_by_who_does_not_see_all_keys(cx: Context) -> Result<()> {
    let crds = concat!(env!("CARGO_MANIFEST_DIR"), "/crds");
    let cluster = Arc::new(ControlPlane::start(Options::default().crds(crds)).await?);
    let namespace = TestNamespace::create(cluster.client(), &cx.name).await?;
    let cx = Context { cluster, namespace, dir: cx.dir, name: cx.name };
    let values = json!({"watchNamespaces": [], "watchLabelSelector": "team in (shop,billing)"});
    let world = Setup::new().values(&values).start(cx).await?;
    world.labelled(KEY, json!({"team": "shop"}), json!({})).await?;
    let made = world.at_rest::<AccessKey>(KEY).await?.token.context("no token")?.name.context("no name")?;
    // For who sees it, its resource is gone.
    world.label(KEY, None).await?;
    let late = NewToken::new(&made.replace(KEY, "late"), TokenType::Access);
    world.emulator.create_elsewhere(late)?;
    let lists = world.emulator.counts().of(Operation::List);
    world.emulator.until(|emulator| emulator.counts().of(Operation::List) >= lists + 8).await;
    let events: Api<Event> = Api::all(world.cx.client());
    let told = events.list(&ListParams::default()).await?.items;
    ensure!(!told.iter().any(|event| event.reason.as_deref() == Some("Orphan")), "{told:?}");
    ensure!(!world.operator.log()?.contains("is an orphan"));
    Ok(())
}

pub(crate) async fn nonsense_is_refused_by_the_flags_name(cx: Context) -> Result<()> {
    let output = Command::new(env!("CARGO_BIN_EXE_keeptrusts-operator"))
        .args(["run", "--api-token-file", "/dev/null", "--watch-label-selector", "team=shop,env in prod"])
        .env("KUBECONFIG", cx.cluster.kubeconfig())
        .stdin(Stdio::null())
        .output()
        .await?;
    let error = String::from_utf8_lossy(&output.stderr).into_owned();
    let named = ["--watch-label-selector", "\"env in prod\" is no requirement on a label"];
    ensure!(!output.status.success() && named.iter().all(|part| error.contains(part)), "{error}");
    Ok(())
}
