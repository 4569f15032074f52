//! Two replicas: one leads, and when it is killed the other takes over.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use keeptrusts_harness::{Operator, eventually};
use secrecy::SecretString;

use crate::failure::check;
use crate::key::Key;
use crate::rotation::{ask, replaced, wait_ready};
use crate::stage::Stage;

/// The times of the Lease. Shorter than the chart's, so that nobody waits for long; long enough for a machine that is busy.
pub(crate) const LEASE: Duration = Duration::from_secs(6);
pub(crate) const RENEW: Duration = Duration::from_secs(4);
pub(crate) const RETRY: Duration = Duration::from_secs(1);

/// Ten times what it takes one of them to take a Lease that nobody holds, or that has just run out.
const SOON: Duration = Duration::from_secs(30);

/// Says who leads.
pub(crate) async fn introduce(stage: &mut Stage) -> Result<()> {
    stage.narrator.tell(
        "Of the two one acts: it leads, as long as it renews its Lease. The other one stands by with filled caches, and \
         makes no call to the token API.",
    )?;
    let leader = leader(stage).await?;
    show_lease(stage).await?;
    let pods: Vec<&str> = stage.operators.iter().map(Operator::pod_name).collect();
    let others: Vec<&str> = pods.iter().filter(|pod| **pod != pods[leader]).copied().collect();
    let told = format!("{} leads, and {} stands by", pods[leader], others.join(" and "));
    stage.narrator.ok(&told)?;
    Ok(())
}

/// Kills the leader, and has the other one rotate a key. Gives the new value.
pub(crate) async fn take_over(stage: &mut Stage, key: &Key, old: &SecretString) -> Result<SecretString> {
    stage.narrator.chapter("The leader is killed")?;
    stage.narrator.tell(&format!(
        "It can tidy nothing up, so its Lease has to run out: {} seconds after the last renewal here, 15 by default. A rotation \
         that is asked for meanwhile waits for the other replica.",
        LEASE.as_secs()
    ))?;
    let leader = leader(stage).await?;
    let mut killed = stage.operators.remove(leader);
    stage.narrator.typed(&[format!("kill -KILL {}", killed.pid())])?;
    let start = Instant::now();
    killed.kill()?;
    ask(stage, key, key.generation + 2).await?;
    wait_ready(stage, key).await?;
    let took = start.elapsed();
    show_lease(stage).await?;
    let now = holder(stage).await?.context("nobody holds the Lease")?;
    let successor = stage.operators.first().map(|operator| operator.pod_name().to_owned());
    check(successor.is_some_and(|pod| is_of(&now, &pod)), "that the other one leads", || now.clone())?;
    let value = replaced(stage, key, old).await?;
    stage.narrator.ok(&format!(
        "the other one has taken over and rotated the key, {:.1} s after the kill: the old value is refused, and the new one \
         accepted",
        took.as_secs_f32()
    ))?;
    Ok(value)
}

async fn show_lease(stage: &mut Stage) -> Result<()> {
    let (release, system) = (stage.names.release.clone(), stage.names.system.clone());
    stage.run(&["kubectl", "get", "lease", &release, "-n", &system]).await.map(drop)
}

/// Waits until one of those that run leads; gives its place among them.
async fn leader(stage: &mut Stage) -> Result<usize> {
    eventually(SOON, "a replica leads", async || {
        let holder = holder(stage).await?.context("nobody holds the Lease")?;
        let found = stage.operators.iter().position(|operator| is_of(&holder, operator.pod_name()));
        found.with_context(|| format!("{holder} holds the Lease"))
    })
    .await
}

/// Who holds the Lease, by its own word.
async fn holder(stage: &mut Stage) -> Result<Option<String>> {
    let (release, system) = (stage.names.release.clone(), stage.names.system.clone());
    let path = "jsonpath={.spec.holderIdentity}";
    let words = ["kubectl", "get", "lease", &release, "-n", &system, "--ignore-not-found", "-o", path];
    let holder = stage.look(&words).await?;
    Ok(Some(holder).filter(|holder| !holder.is_empty()))
}

/// Whether a holder is a process of this pod: it is the pod's name, and a number behind it.
fn is_of(holder: &str, pod: &str) -> bool {
    holder.rsplit_once('_').is_some_and(|(name, _)| name == pod)
}
