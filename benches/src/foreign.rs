//! A cluster full of Secrets that aren't the operator's: it must not notice them.

use anyhow::{Context as _, Result};
use futures::{StreamExt as _, TryStreamExt as _, stream};
use k8s_openapi::api::core::v1::Secret;
use keeptrusts_harness::{Chart, Operator};
use kube::api::{Api, PostParams};
use serde_json::json;

use crate::crowd::{Ask, Crowd};
use crate::fleet::{Fleet, end};
use crate::report::Foreign;
use crate::rest::summary;
use crate::restart::{Restarted, bare_lists, restart};
use crate::round::{self, Worker};
use crate::stage::{self, Stage};

/// Where they are.
const NAMESPACE: &str = "foreign";

/// How many are made at once.
const AT_ONCE: usize = 16;

/// What each holds, in bytes: a certificate or so.
const SIZE: usize = 1_024;

/// Restarts the operator over a few keys, without foreign Secrets and with them.
pub(crate) async fn run(stage: &Stage, keys: usize, secrets: usize) -> Result<Foreign> {
    let chart = stage.install(&json!({})).await?;
    stage.make_namespace("beside-foreign").await?;
    stage.tokens.admin.reset().await?;
    let crowd = Crowd::new("beside-foreign", keys);
    let mut fleet = Fleet::start(stage, &chart).await?;
    let user = stage::user(&chart)?;
    round::run(stage, &crowd, Ask::Create, &user, Worker::Operator(&fleet)).await.context("minting")?;
    end(&mut fleet.standby).await?;

    let (bare, without) = restarts(stage, &chart, &mut fleet.leader, keys).await?;
    let without = summary(&bare, &without);
    println!("  without: {:.2} s, {:.1} MiB", without.seconds.median, without.resident_mib.median);
    fill(stage, secrets).await?;
    let (bare, with) = restarts(stage, &chart, &mut fleet.leader, keys).await?;
    let with = summary(&bare, &with);
    println!("  with {secrets}: {:.2} s, {:.1} MiB", with.seconds.median, with.resident_mib.median);

    end(&mut fleet.leader).await?;
    crowd.remove(&stage.client).await?;
    stage.clear(NAMESPACE, secrets).await?;
    Ok(Foreign { keys, secrets, without, with })
}

async fn restarts(
    stage: &Stage,
    chart: &Chart,
    operator: &mut Operator,
    keys: usize,
) -> Result<(Vec<f64>, Vec<Restarted>)> {
    let client = stage.operators_client(chart).await?;
    let (mut bare, mut all) = (Vec::new(), Vec::new());
    for _ in 0..stage.setup.rounds {
        bare.push(bare_lists(&client).await?);
        all.push(restart(stage, chart, operator, keys).await?);
    }
    Ok((bare, all))
}

async fn fill(stage: &Stage, secrets: usize) -> Result<()> {
    stage.make_namespace(NAMESPACE).await?;
    let api: Api<Secret> = Api::namespaced(stage.client.clone(), NAMESPACE);
    let made = (0..secrets).map(|number| {
        let api = api.clone();
        async move {
            let name = format!("foreign-{number:06}");
            let secret: Secret = serde_json::from_value(json!({
                "metadata": {"name": name, "labels": {"app": "somebody-elses"}},
                "stringData": {"tls.crt": "x".repeat(SIZE)},
            }))?;
            api.create(&PostParams::default(), &secret).await.with_context(|| format!("making {name}"))?;
            if (number + 1) % 5_000 == 0 {
                println!("    {} foreign Secrets are made", number + 1);
            }
            anyhow::Ok(())
        }
    });
    stream::iter(made).buffer_unordered(AT_ONCE).try_collect().await
}
