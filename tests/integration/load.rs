//! Rotations while clients call: who notices, and how much.
//!
//! `ROTATIONS=100 PROOF=docs/proof/rotations` makes the long form of them and records what was counted (`make rotations`).

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use jiff::Timestamp;
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{Pod, Secret};
use keeptrusts_harness::suite::Context;
use keeptrusts_harness::{Kubelet, commit, eventually, reports};
use keeptrusts_operator::resources::{AccessKey, KeyStatus};
use kube::ResourceExt as _;
use serde_json::json;

use crate::workloads::{KEY, SECRET, listed, make, rolled_out};
use crate::world::{SOON, Setup, World};

/// Between two calls of a client.
const PACE: Duration = Duration::from_millis(50);

/// How long a rotation takes at most, with what waits for it: twice the usual.
const ROTATION: Duration = Duration::from_secs(20);

/// How long a test may take: five minutes, and what the long form of these needs.
pub(crate) fn limit() -> Duration {
    let rotations = std::env::var("ROTATIONS").ok().and_then(|times| times.parse().ok()).unwrap_or(0);
    Duration::from_mins(5) + ROTATION * rotations
}

/// The pods of the Deployment, each with a client.
const PODS: usize = 2;

/// What the clients have met with.
#[derive(Default)]
struct Calls {
    all: AtomicUsize,
    refused: AtomicUsize,
    /// Calls that a client made with the value that it has now, by pod.
    lately: Mutex<BTreeMap<String, usize>>,
}

/// A client in each pod, which takes the value when its pod starts and calls twenty times a second with it until its pod ends.
async fn clients(world: &World) -> Result<(Arc<Calls>, Kubelet)> {
    let calls = Arc::new(Calls::default());
    let counted = Arc::clone(&calls);
    let (secrets, url) = (world.secrets(), format!("{}/v1/whoami", world.emulator.url()));
    let http = reqwest::Client::builder().build()?;
    let container = move |pod: &Pod| {
        // The operator's own Deployment is in the namespace as well.
        if pod.labels().get("app").is_none_or(|app| app != KEY) {
            return tokio::spawn(async {});
        }
        let (secrets, url, http, calls) = (secrets.clone(), url.clone(), http.clone(), Arc::clone(&counted));
        let pod = pod.name_any();
        tokio::spawn(async move {
            // A container waits for its Secret to be there.
            let value = loop {
                let secret: Option<Secret> = secrets.get_opt(SECRET).await.ok().flatten();
                let value = secret.and_then(|secret| secret.data?.get("api-key").cloned());
                match value.and_then(|value| String::from_utf8(value.0).ok()) {
                    Some(value) => break value,
                    None => tokio::time::sleep(PACE).await,
                }
            };
            loop {
                let answer = http.get(&url).bearer_auth(&value).send().await;
                calls.all.fetch_add(1, Ordering::Relaxed);
                if answer.is_ok_and(|answer| answer.status().is_success()) {
                    *calls.lately.lock().unwrap().entry(pod.clone()).or_default() += 1;
                } else {
                    calls.refused.fetch_add(1, Ordering::Relaxed);
                }
                tokio::time::sleep(PACE).await;
            }
        })
    };
    let kubelet = Kubelet::running(world.cx.client(), world.cx.namespace.name(), Box::new(container)).await?;
    Ok((calls, kubelet))
}

/// Rotations in a row of a key whose Deployment has clients in its pods.
struct Row {
    strategy: &'static str,
    rotations: i64,
    /// The operator is killed amidst each of them.
    kills: bool,
}

/// What was counted.
struct Counted {
    calls: usize,
    refused: usize,
}

impl Row {
    /// As many as `ROTATIONS` says.
    fn new(strategy: &'static str, usually: i64, kills: bool) -> Result<Self> {
        let rotations = match std::env::var("ROTATIONS") {
            Ok(times) => times.parse().with_context(|| format!("ROTATIONS={times} isn't a number"))?,
            Err(_) => usually,
        };
        Ok(Self { strategy, rotations, kills })
    }

    async fn measure(&self, cx: Context) -> Result<Counted> {
        let (commit, started) = (commit(Path::new(env!("CARGO_MANIFEST_DIR"))), Timestamp::now());
        let mut world = Setup::new().values(&json!({"restartWorkloads": true})).start(cx).await?;
        let (calls, _kubelet) = clients(&world).await?;
        let spec = json!({
            "secret": {"name": SECRET},
            "rotation": {"strategy": self.strategy, "grace": "1s"},
            "workloads": listed(&[("Deployment", KEY)]),
        });
        world.create::<AccessKey>(KEY, spec).await?;
        world.at_rest::<AccessKey>(KEY).await?;
        make::<Deployment>(&world, "Deployment", KEY).await?;
        rolled_out(&world, KEY, 0).await?;
        let begun = Instant::now();
        for rotation in 1..=self.rotations {
            self.rotate(&mut world, &calls, rotation).await?;
        }
        let lasted = begun.elapsed();
        let counted = Counted {
            calls: calls.all.load(Ordering::Relaxed),
            refused: calls.refused.load(Ordering::Relaxed),
        };
        if let Ok(dir) = std::env::var("PROOF") {
            self.record(Path::new(&dir), &commit, started, lasted, &counted)?;
        }
        Ok(counted)
    }

    async fn rotate(&self, world: &mut World, calls: &Calls, rotation: i64) -> Result<()> {
        world.change::<AccessKey>(KEY, json!({"rotation": {"generation": rotation}})).await?;
        if self.kills {
            // At another moment of it each time.
            tokio::time::sleep(Duration::from_millis(u64::try_from(rotation)? * 437 % 4_000)).await;
            world.restart().await?;
        }
        let done = |_: &AccessKey, status: &KeyStatus| {
            status.observed_rotation_generation == Some(rotation)
                && status.operation.is_none()
                && status.rollout.is_none()
                && status.superseded.is_empty()
        };
        world.until::<AccessKey>(KEY, "has rotated", done).await?;
        // All pods that there are now have called with the value that they have.
        calls.lately.lock().unwrap().clear();
        eventually(SOON, "every client calls", async || {
            let lately = calls.lately.lock().unwrap().values().filter(|calls| **calls > 1).count();
            ensure!(lately == PODS, "{lately} of {PODS}");
            Ok(())
        })
        .await
    }

    fn record(
        &self,
        dir: &Path,
        commit: &str,
        started: Timestamp,
        lasted: Duration,
        counted: &Counted,
    ) -> Result<()> {
        let report = json!({
            "commit": commit,
            "started": started.to_string(),
            "strategy": self.strategy,
            "rotations": self.rotations,
            "kills": if self.kills { self.rotations } else { 0 },
            "seconds": lasted.as_secs(),
            "pods": PODS,
            "millisecondsBetweenCalls": u64::try_from(PACE.as_millis())?,
            "calls": counted.calls,
            "refused": counted.refused,
        });
        reports::write(dir, self.strategy, &report).map(drop)
    }
}

pub(crate) async fn nobody_notices_rotations_that_overlap(cx: Context) -> Result<()> {
    let Counted { calls, refused } = Row::new("Overlap", 10, true)?.measure(cx).await?;
    ensure!(refused == 0, "{refused} of {calls} calls were refused");
    ensure!(calls > 1_000, "{calls} calls prove little");
    Ok(())
}

/// What the documentation says of rotations in place is so: whoever took the value into its environment is refused until its pod is new.
pub(crate) async fn a_rotation_in_place_is_noticed(cx: Context) -> Result<()> {
    let Counted { calls, refused } = Row::new("InPlace", 2, false)?.measure(cx).await?;
    ensure!(refused > 0, "none of {calls} calls was refused");
    Ok(())
}
