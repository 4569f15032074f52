//! What `/livez` and `/readyz` say, and a start before anything is there.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use keeptrusts_harness::proxy::tokens;
use keeptrusts_harness::suite::Context;
use keeptrusts_harness::{ControlPlane, Match, Operator, Options, Rule, TestNamespace, eventually, stays};
use keeptrusts_operator::resources::{AccessKey, GatewayKey, crds};
use kube::api::{Api, DeleteParams, PostParams};
use serde_json::json;
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;

use crate::world::{SOON, Setup, World, ready};

const KEY: &str = "checkout";

/// Waits until `/readyz` has this status and these lines.
async fn says(operator: &Operator, status: u16, lines: &[&str]) -> Result<()> {
    eventually(SOON, &format!("/readyz says {lines:?}"), async || {
        let (now, body) = operator.get("health", "/readyz").await?;
        ensure!(now == status && lines.iter().all(|line| body.lines().any(|it| it == *line)), "{now} {body}");
        Ok(())
    })
    .await
}

pub(crate) async fn a_token_api_that_is_down_is_told_and_stops_nobody(cx: Context) -> Result<()> {
    let world = World::start(cx).await?;
    let all = ["[+] kubernetes: reached", "[+] crds: served", "[+] caches: filled", "[ ] leader: leads"];
    says(&world.operator, 200, &[&all[..], &["[ ] token-api: answers", "[ ] credential: accepted"]].concat())
        .await?;
    let no = json!({"error": {"type": "auth", "message": "a text of theirs", "code": "unauthorized"}});
    let refused = world.tokens.add(Rule::on(Match::any()).always().answer(401, no));
    let told = [
        "[ ] token-api: answers, and refuses the credential",
        "[ ] credential: refused; see --api-token-file",
    ];
    says(&world.operator, 200, &[&all[..], &told].concat()).await?;
    ensure!(refused.hits() > 0);
    world.tokens.clear();
    world.tokens.add(Rule::on(Match::any()).always().cut_before());
    let told = ["[ ] token-api: can't be reached", "[ ] credential: not known"];
    says(&world.operator, 200, &[&all[..], &told].concat()).await?;
    let (status, body) = world.operator.get("health", "/livez").await?;
    ensure!(status == 200 && body.starts_with("[+] work: "), "{status} {body}");
    world.tokens.clear();
    says(&world.operator, 200, &["[ ] token-api: answers", "[ ] credential: accepted"]).await
}

/// An operator that comes first has to have a cluster of its own here.
pub(crate) async fn an_operator_that_comes_before_its_crds_waits_for_them(cx: Context) -> Result<()> {
    let cluster = Arc::new(ControlPlane::start(Options::default()).await?);
    let namespace = TestNamespace::create(cluster.client(), &cx.name).await?;
    let cx = Context { cluster, namespace, dir: cx.dir, name: cx.name };
    let setup = Setup::new().values(&json!({"log": {"level": "info"}}));
    let mut world = setup.start_unready(cx).await?;
    let missing = "[-] crds: not installed: accesskeys.keys.keeptrusts.com, gatewaykeys.keys.keeptrusts.com";
    says(&world.operator, 503, &["[+] kubernetes: reached", missing, "[-] caches: waits for crds", "failed"])
        .await?;
    stays(Duration::from_secs(6), "it lives, and says once what is missing and how to get it", async || {
        ensure!(world.operator.get("health", "/livez").await?.0 == 200);
        let log = world.operator.log()?;
        ensure!(log.matches("waiting for the CRDs").count() == 1, "{log}");
        ensure!(log.contains("keeptrusts-operator crds | kubectl apply --server-side -f -"), "{log}");
        ensure!(log.lines().count() == 1, "{log}");
        Ok(())
    })
    .await?;
    let api: Api<CustomResourceDefinition> = Api::all(world.cx.client());
    let [first, second] = crds();
    api.create(&PostParams::default(), &first).await?;
    let missing = "[-] crds: not installed: gatewaykeys.keys.keeptrusts.com";
    says(&world.operator, 503, &[missing]).await?;
    api.create(&PostParams::default(), &second).await?;
    world.operator.wait_ready(SOON).await?;
    world.create::<AccessKey>(KEY, json!({})).await?;
    world.one_living::<AccessKey>(KEY, KEY, 1).await.context("it works")?;
    ensure!(world.operator.exit_status()?.is_none());
    ensure!(world.tokens.count(&tokens::create()) == 1);
    Ok(())
}

/// A cluster of its own: other tests need the CRDs.
pub(crate) async fn a_crd_that_goes_is_told_and_costs_no_readiness(cx: Context) -> Result<()> {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/crds");
    let cluster = Arc::new(ControlPlane::start(Options::default().crds(folder)).await?);
    let namespace = TestNamespace::create(cluster.client(), &cx.name).await?;
    let cx = Context { cluster, namespace, dir: cx.dir, name: cx.name };
    let world = World::start(cx).await?;
    world.create::<AccessKey>(KEY, json!({})).await?;
    world.one_living::<AccessKey>(KEY, KEY, 1).await?;
    let all = ["[+] kubernetes: reached", "[+] crds: served", "[+] caches: filled"];
    says(&world.operator, 200, &all).await?;
    let api: Api<CustomResourceDefinition> = Api::all(world.cx.client());
    let gone = "gatewaykeys.keys.keeptrusts.com";
    api.delete(gone, &DeleteParams::default()).await?;
    says(&world.operator, 200, &[&format!("[ ] crds: not served any more: {gone}"), "ok"]).await?;
    let log = world.operator.log()?;
    ensure!(log.matches("aren't served any more").count() == 1, "{log}");
    // The other kind goes on.
    world.raise::<AccessKey>(KEY, 1).await?;
    let [_, gateway] = crds();
    eventually(SOON, "the CRD can be made again", async || {
        Ok(api.create(&PostParams::default(), &gateway).await.map(drop)?)
    })
    .await?;
    says(&world.operator, 200, &all).await?;
    let patience = Duration::from_secs(90);
    world.create::<GatewayKey>("edge", json!({})).await?;
    eventually(patience, "its keys are looked after again", async || {
        let key = world.keys::<GatewayKey>().get("edge").await?;
        ensure!(key.status.is_some_and(|status| ready(&status).is_some()));
        Ok(())
    })
    .await
}

/// Resident memory of a process, in bytes.
fn resident(pid: u32) -> Result<u64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).context("no VmRSS")?;
    Ok(line.trim().trim_end_matches(" kB").parse::<u64>()? << 10)
}

pub(crate) async fn half_open_requests_keep_no_probe_out_and_take_little_memory(cx: Context) -> Result<()> {
    let world = World::start(cx).await?;
    let before = resident(world.operator.pid())?;
    let mut held = Vec::new();
    for port in ["health", "metrics"] {
        let address = world.operator.address(port)?;
        for _ in 0..500 {
            let mut stream = TcpStream::connect(address).await?;
            // Whoever was closed meanwhile doesn't matter.
            let _ = stream.write_all(format!("GET / HTTP/1.1\r\nX: {}", "x".repeat(7_000)).as_bytes()).await;
            held.push(stream);
        }
        for path in if port == "health" { ["/livez", "/readyz"] } else { ["/metrics", "/metrics"] } {
            let (status, body) = world.operator.get(port, path).await?;
            ensure!(status == 200, "{path}: {status} {body}");
        }
    }
    let after = resident(world.operator.pid())?;
    ensure!(after < before + (16 << 20), "{before} bytes became {after}");
    Ok(())
}
