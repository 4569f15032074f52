//! What the log says of a key, and how much of it.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use k8s_openapi::api::core::v1::ConfigMap;
use keeptrusts_harness::proxy::{steps, tokens};
use keeptrusts_harness::suite::Context;
use keeptrusts_harness::{Rule, eventually, stays};
use keeptrusts_operator::resources::{AccessKey, GatewayKey};
use kube::api::{Api, DeleteParams, Patch, PatchParams};
use serde_json::{Map, Value, json};

use crate::world::{SOON, Setup, World};

const KEY: &str = "checkout";

/// The lines of the operator's log, which is JSON. No line has a field twice.
fn lines(world: &World) -> Result<Vec<Map<String, Value>>> {
    let log = world.operator.log()?;
    log.lines()
        .map(|line| {
            for field in ["kind", "namespace", "name", "uid", "operation", "message", "level"] {
                let times = line.matches(&format!("\"{field}\":")).count();
                ensure!(times <= 1, "{field} stands {times} times in {line}");
            }
            serde_json::from_str(line).with_context(|| line.to_owned())
        })
        .collect()
}

fn text<'a>(line: &'a Map<String, Value>, field: &str) -> &'a str {
    line.get(field).and_then(Value::as_str).unwrap_or_default()
}

pub(crate) async fn every_line_about_a_key_says_whose_it_is(cx: Context) -> Result<()> {
    let log = json!({"log": {"format": "json", "level": "info,keeptrusts_operator=debug"}});
    let world = Setup::new().values(&log).start(cx).await?;
    // A life with a lost answer, a write that fails, a rotation and an end.
    world.tokens.add(Rule::on(tokens::create()).cut_after());
    world.kubernetes.add(Rule::on(steps::secret_write(KEY)).cut_before());
    let made = world.create::<AccessKey>(KEY, json!({"rotation": {"grace": "1s"}})).await?;
    let first = world.at_rest::<AccessKey>(KEY).await?;
    let mut values = vec![world.emulator.credential(), world.value(KEY).await?];
    let second = world.raise::<AccessKey>(KEY, 1).await?;
    values.push(world.value(KEY).await?);
    world.delete::<AccessKey>(KEY, &DeleteParams::default()).await?;
    let lines = lines(&world)?;

    let uid = made.metadata.uid.context("no uid")?;
    let ours = ["driver", "executor", "events"].map(|it| format!("keeptrusts_operator::controller::{it}"));
    let about: Vec<_> =
        lines.iter().filter(|line| ours.iter().any(|it| it == text(line, "target"))).collect();
    ensure!(about.len() > 20, "{} lines", about.len());
    for line in &about {
        let whose = ["kind", "namespace", "name", "uid"].map(|field| text(line, field));
        ensure!(whose == ["AccessKey", world.cx.namespace.name(), KEY, &uid], "{line:?}");
        let in_its_course =
            ["create a token", "rotate the token", "write the Secret"].contains(&text(line, "step"));
        ensure!(!in_its_course || !text(line, "operation").is_empty(), "{line:?}");
    }
    let lost = about.iter().filter(|line| text(line, "message") == "the outcome of a call isn't known");
    ensure!(lost.count() == 1);
    let failed =
        about.iter().filter(|line| text(line, "message").starts_with("a call failed; it is made again"));
    ensure!(failed.filter(|line| !text(line, "operation").is_empty()).count() == 1);
    // Of each transition there is one line, and it names the operation that brought it.
    for (reason, status) in [("Minted", &first), ("Rotated", &second)] {
        let told: Vec<_> = about.iter().filter(|line| text(line, "reason") == reason).collect();
        let brought = status.last_rotation.as_ref().map(|last| last.operation.as_str());
        ensure!(
            told.len() == 1 && Some(text(told[0], "operation")) == brought,
            "{reason}: {told:?} {brought:?}"
        );
    }
    let log = world.operator.log()?;
    for (number, value) in values.iter().enumerate() {
        ensure!(!log.contains(value.as_str()), "value {number} is in the log");
    }
    Ok(())
}

pub(crate) async fn a_key_at_rest_is_not_worth_a_line(cx: Context) -> Result<()> {
    let world = Setup::new().values(&json!({"log": {"level": "info"}})).start(cx).await?;
    world.create::<AccessKey>(KEY, json!({})).await?;
    world.create::<GatewayKey>("runtime", json!({})).await?;
    world.at_rest::<AccessKey>(KEY).await?;
    world.at_rest::<GatewayKey>("runtime").await?;
    world.lists(1).await?;
    let log = world.operator.log()?;
    // Three periods of the lists.
    stays(Duration::from_secs(6), "nothing is logged", async || {
        let more = world.operator.log()?.split_off(log.len());
        ensure!(more.is_empty(), "{more}");
        Ok(())
    })
    .await
}

pub(crate) async fn the_level_changes_while_the_operator_runs(cx: Context) -> Result<()> {
    let world = Setup::new().values(&json!({"log": {"level": "info"}})).start(cx).await?;
    let name = format!("{}-log", world.chart.deployment()?["metadata"]["name"].as_str().context("no name")?);
    let config_maps: Api<ConfigMap> = world.cx.namespace.api();
    let set = async |level: &str, expected: &str| {
        let patch = Patch::Merge(json!({"data": {"level": level}}));
        config_maps.patch(&name, &PatchParams::default(), &patch).await?;
        ensure!(world.operator.sync_mounts(&world.cx.cluster).await?);
        eventually(SOON, &format!("the log says {expected:?}"), async || {
            let log = world.operator.log()?;
            ensure!(log.contains(expected), "{log}");
            Ok(log.len())
        })
        .await
    };
    world.create::<AccessKey>(KEY, json!({})).await?;
    world.at_rest::<AccessKey>(KEY).await?;
    ensure!(!world.operator.log()?.contains("DEBUG"));
    set("info,keeptrusts_operator=debug", "the log level is info,keeptrusts_operator=debug now; it was info")
        .await?;
    world.change::<AccessKey>(KEY, json!({"rotation": {"generation": 1}})).await?;
    world.at_rest::<AccessKey>(KEY).await?;
    ensure!(world.operator.log()?.contains("step=\"rotate the token\""), "{}", world.operator.log()?);
    let stays_so = "the level stays info,keeptrusts_operator=debug";
    let before = set("debgu", stays_so).await?;
    world.lists(1).await?;
    ensure!(world.operator.log()?[before..].contains("DEBUG"), "it is silent");
    let before = set("info", "the log level is info now; it was info,keeptrusts_operator=debug").await?;
    world.change::<AccessKey>(KEY, json!({"rotation": {"generation": 2}})).await?;
    world.at_rest::<AccessKey>(KEY).await?;
    ensure!(!world.operator.log()?[before..].contains("DEBUG"), "it still says everything");
    Ok(())
}
