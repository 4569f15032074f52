//! What is *not* done: no write at rest, no call too many, no value where it doesn't belong; and how kstatus reads it all.

use std::collections::BTreeSet;
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use k8s_openapi::api::core::v1::Event;
use keeptrusts_harness::audit::Mark;
use keeptrusts_harness::proxy::{steps, tokens};
use keeptrusts_harness::suite::Context;
use keeptrusts_harness::{Match, Rule, eventually, stays};
use keeptrusts_operator::resources::{AccessKey, GatewayKey, Key};
use kube::api::{Api, DeleteParams, ListParams};
use serde_json::{Value, json};

use crate::argo;
use crate::world::{SOON, Setup, World};

/// What the operator asked of the API server about single objects, events apart; in words, in order.
async fn asked(world: &World, since: Mark) -> Result<Vec<String>> {
    let requests = world.cx.cluster.audit().since(since).await?.by(&world.operator.user()).single();
    let requests = requests.only(|request| request.resource != "events");
    Ok(requests.0.iter().map(|request| format!("{} {}", request.verb, request.resource)).collect())
}

pub(crate) async fn at_rest_nothing_is_written_or_called(cx: Context) -> Result<()> {
    // As long as the caches need to settle, and then three periods.
    const PERIOD: Duration = Duration::from_secs(2);
    let world = World::start(cx).await?;
    world.create::<AccessKey>("checkout", json!({})).await?;
    world.create::<GatewayKey>("runtime", json!({"deletionPolicy": "Retain"})).await?;
    world.at_rest::<AccessKey>("checkout").await?;
    world.at_rest::<GatewayKey>("runtime").await?;
    // Both kinds have been listed since.
    let listed = world.tokens.count(&tokens::list());
    eventually(SOON, "the lists are fetched again", async || {
        ensure!(world.tokens.count(&tokens::list()) >= listed + 2);
        Ok(())
    })
    .await?;
    let mark = world.cx.cluster.audit().mark().await?;
    let calls = world.tokens.calls().len();
    tokio::time::sleep(PERIOD * 3).await;
    assert_eq!(asked(&world, mark).await?, Vec::<String>::new());
    let others = world.tokens.calls().split_off(calls);
    let others: Vec<_> = others.iter().filter(|call| !tokens::list().matches(call)).collect();
    assert!(others.is_empty(), "{others:?}");
    let lists = world.tokens.calls().len() - calls;
    assert!((4..=8).contains(&lists), "{lists} lists in three periods, for two kinds");
    Ok(())
}

/// An operator that starts sees every key for the first time: that costs nothing where all is as it should be.
pub(crate) async fn a_restart_costs_nothing(cx: Context) -> Result<()> {
    let mut world = World::start(cx).await?;
    world.create::<AccessKey>("checkout", json!({})).await?;
    world.create::<GatewayKey>("runtime", json!({"deletionPolicy": "Retain"})).await?;
    world.at_rest::<AccessKey>("checkout").await?;
    world.at_rest::<GatewayKey>("runtime").await?;
    let mark = world.cx.cluster.audit().mark().await?;
    world.operator.restart()?;
    world.operator.wait_ready(SOON).await?;
    let listed = world.tokens.count(&tokens::list());
    eventually(SOON, "every key was looked at, and again after the next lists", async || {
        ensure!(world.tokens.count(&tokens::list()) >= listed + 4);
        Ok(())
    })
    .await?;
    // Its uid stands for the cluster in the names of tokens.
    assert_eq!(asked(&world, mark).await?, ["get namespaces"]);
    Ok(())
}

pub(crate) async fn one_key_costs_five_writes_and_one_call(cx: Context) -> Result<()> {
    let world = World::start(cx).await?;
    for kind in ["accesskeys", "gatewaykeys"] {
        let mark = world.cx.cluster.audit().mark().await?;
        let minted = if kind == "accesskeys" {
            world.create::<AccessKey>("checkout", json!({})).await?;
            world.at_rest::<AccessKey>("checkout").await?
        } else {
            world.create::<GatewayKey>("runtime", json!({})).await?;
            world.at_rest::<GatewayKey>("runtime").await?
        };
        assert!(minted.token.is_some());
        let status = format!("update {kind}/status");
        let expected = [&format!("patch {kind}"), "create secrets", &status, "create secrets", &status]
            .map(String::from);
        assert_eq!(asked(&world, mark).await?, expected);
    }
    assert_eq!(world.tokens.count(&tokens::create()), 2);

    let mark = world.cx.cluster.audit().mark().await?;
    world.change::<AccessKey>("checkout", json!({"rotation": {"generation": 1}})).await?;
    world.at_rest::<AccessKey>("checkout").await?;
    let status = "update accesskeys/status";
    assert_eq!(asked(&world, mark).await?, ["patch secrets", status, "patch secrets", status]);
    let told = eventually(SOON, "both events are written", async || {
        let events: Api<Event> = world.cx.namespace.api();
        let all = events.list(&ListParams::default()).await?.items.into_iter();
        let about = all.filter(|event| event.involved_object.name.as_deref() == Some("checkout"));
        let reasons: BTreeSet<String> = about.filter_map(|event| event.reason).collect();
        ensure!(reasons.len() >= 2, "{reasons:?}");
        Ok(reasons)
    })
    .await?;
    assert_eq!(
        told,
        BTreeSet::from(["Minted".to_owned(), "Rotated".to_owned()]),
        "an event tells of a transition alone"
    );
    let calls = |which: &Match| world.tokens.count(which);
    assert_eq!((calls(&tokens::create()), calls(&tokens::rotate()), calls(&tokens::revoke())), (2, 1, 0));
    assert_eq!(calls(&tokens::whoami()), 0);
    Ok(())
}

pub(crate) async fn no_value_is_anywhere_but_in_the_secret(cx: Context) -> Result<()> {
    let world = Setup::new().values(&json!({"log": {"level": "trace"}})).start(cx).await?;
    let mut values = vec![world.emulator.credential()];
    let spec = json!({"rotation": {"grace": "1s"}, "secret": {"template": {"data": {"COPY": "x $(value)"}}}});
    world.create::<AccessKey>("checkout", spec.clone()).await?;
    world.create::<GatewayKey>("runtime", spec).await?;
    world.at_rest::<AccessKey>("checkout").await?;
    world.at_rest::<GatewayKey>("runtime").await?;
    values.extend([world.value("checkout").await?, world.value("runtime").await?]);
    // A refused, a lost and a repeated write, a rotation, a repair.
    world.kubernetes.add(Rule::on(steps::secret_write("checkout")).conflict());
    world.kubernetes.add(Rule::on(steps::secret_write("checkout")).cut_after());
    world.change::<AccessKey>("checkout", json!({"rotation": {"generation": 1}})).await?;
    world.at_rest::<AccessKey>("checkout").await?;
    values.push(world.value("checkout").await?);
    world.secrets().delete("runtime", &DeleteParams::default()).await?;
    eventually(SOON, "the Secret is repaired", async || {
        values.push(world.value("runtime").await?);
        Ok(())
    })
    .await?;
    world.tokens.add(Rule::on(tokens::create()).cut_after());
    world.create::<AccessKey>("unlucky", json!({"rotation": {"grace": "1s"}})).await?;
    world.at_rest::<AccessKey>("unlucky").await?;
    values.push(world.value("unlucky").await?);
    world.delete::<GatewayKey>("runtime", &DeleteParams::default()).await?;

    let namespace = world.cx.namespace.name();
    let everything_but_secrets = [
        "get",
        "accesskeys,gatewaykeys,events,configmaps",
        "--output=json",
        "--show-managed-fields",
        "-n",
        namespace,
    ];
    let objects = world.cx.cluster.kubectl().run(&everything_but_secrets).await?;
    let metadata: Vec<_> =
        world.secrets().list(&ListParams::default()).await?.items.into_iter().map(|s| s.metadata).collect();
    let audit = std::fs::read_to_string(world.cx.cluster.audit().path())?;
    let (_, ready) = world.operator.get("health", "/readyz").await?;
    let (_, metrics) = world.operator.get("metrics", "/metrics").await?;
    let places = [
        ("the log", world.operator.log()?),
        ("an object", objects),
        ("a Secret's metadata", serde_json::to_string(&metadata)?),
        ("the audit log", audit),
        ("the health endpoint", ready),
        ("the metrics", metrics),
    ];
    assert!(places[0].1.contains("TRACE"), "the log isn't at trace level");
    assert_eq!(values.len(), 6);
    for (place, text) in &places {
        for (number, value) in values.iter().enumerate() {
            let encoded = serde_json::to_value(k8s_openapi::ByteString(value.clone().into_bytes()))?;
            let encoded = encoded.as_str().context("no text")?.trim_end_matches('=').to_owned();
            for form in [value, &encoded] {
                // Not the value itself: this is printed.
                ensure!(!text.contains(form.as_str()), "value {number} stands in {place}");
            }
        }
    }
    Ok(())
}

/// What the real kstatus says of a resource.
fn kstatus(object: &Value) -> Result<String> {
    let program = concat!(env!("CARGO_MANIFEST_DIR"), "/target/kstatus");
    let mut child = Command::new(program)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .with_context(|| format!("{program} isn't built: run `make kstatus`"))?;
    std::io::Write::write_all(&mut child.stdin.take().context("no input")?, object.to_string().as_bytes())?;
    let output = child.wait_with_output()?;
    let text = String::from_utf8(output.stdout)?;
    Ok(text.split('\t').next().unwrap_or_default().to_owned())
}

/// What kstatus reads, and the same as Argo CD says it.
async fn reads<K: Key>(world: &World, name: &str, expected: &str) -> Result<()> {
    let key = world.keys::<K>().get(name).await?;
    let object = argo::object(&key)?;
    let read = kstatus(&object)?;
    ensure!(read == expected, "{name} is {read:?}, not {expected}: {:?}", key.status());
    let health = match expected {
        "Current" => "Healthy",
        "Failed" => "Degraded",
        _ => "Progressing",
    };
    let read = argo::health(&object)?;
    ensure!(read == health, "{name} is {read} to Argo CD, not {health}: {:?}", key.status());
    Ok(())
}

/// Row by row of the table of conditions.
pub(crate) async fn kstatus_reads_every_row(cx: Context) -> Result<()> {
    let mut world = World::start(cx).await?;
    world.operator.kill()?;
    world.create::<AccessKey>("checkout", json!({})).await?;
    reads::<AccessKey>(&world, "checkout", "InProgress").await.context("not seen yet")?;

    let mint = world.tokens.add(Rule::on(tokens::create()).hold_before());
    world.operator.restart()?;
    mint.reached(SOON).await?;
    world.reason::<AccessKey>("checkout", "Minting").await?;
    reads::<AccessKey>(&world, "checkout", "InProgress").await.context("first mint")?;
    mint.release();
    world.at_rest::<AccessKey>("checkout").await?;
    reads::<AccessKey>(&world, "checkout", "Current").await.context("ready")?;

    let rotation = world.tokens.add(Rule::on(tokens::rotate()).hold_before());
    world.change::<AccessKey>("checkout", json!({"rotation": {"generation": 1}})).await?;
    rotation.reached(SOON).await?;
    world.reason::<AccessKey>("checkout", "Rotating").await?;
    reads::<AccessKey>(&world, "checkout", "InProgress").await.context("between the call and the Secret")?;
    rotation.release();
    world.at_rest::<AccessKey>("checkout").await?;

    let refused = json!({"error": {"type": "auth", "message": "no", "code": "unauthorized"}});
    world.tokens.add(Rule::on(tokens::rotate()).always().answer(401, refused.clone()));
    world.change::<AccessKey>("checkout", json!({"rotation": {"generation": 2}})).await?;
    world
        .until::<AccessKey>("checkout", "waits for its rotation", |_, status| {
            crate::world::ready(status) == Some("RotationPending") && status.operation.is_none()
        })
        .await?;
    reads::<AccessKey>(&world, "checkout", "InProgress")
        .await
        .context("a rotation waits, the old value lives")?;

    world.tokens.add(Rule::on(tokens::create()).times(1).answer(401, refused));
    world.create::<AccessKey>("refused", json!({})).await?;
    world.reason::<AccessKey>("refused", "CredentialRefused").await?;
    reads::<AccessKey>(&world, "refused", "InProgress").await.context("no living value, tried again")?;

    let wrong = json!({"error": {"type": "invalid", "message": "no such team", "code": "invalid"}});
    world.tokens.add(Rule::on(tokens::create()).times(1).answer(422, wrong));
    world.create::<GatewayKey>("wrong", json!({})).await?;
    world.reason::<GatewayKey>("wrong", "RequestRefused").await?;
    reads::<GatewayKey>(&world, "wrong", "Failed").await.context("a person must act")?;

    world.create::<GatewayKey>("resting", json!({})).await?;
    world.at_rest::<GatewayKey>("resting").await?;
    world.tokens.add(Rule::on(Match::any()).always().answer(503, json!({"error": "down"})));
    let lists = world.tokens.count(&tokens::list());
    eventually(SOON, "a list has failed", async || {
        ensure!(world.tokens.count(&tokens::list()) > lists);
        Ok(())
    })
    .await?;
    stays(Duration::from_secs(2), "a key at rest is current whatever the token API says", async || {
        reads::<GatewayKey>(&world, "resting", "Current").await
    })
    .await?;

    world.keys::<GatewayKey>().delete("resting", &DeleteParams::default()).await?;
    world.reason::<GatewayKey>("resting", "RevocationPending").await?;
    reads::<GatewayKey>(&world, "resting", "Terminating").await.context("deleting, blocked")
}
