//! External Secrets Operator, which mints as many tokens by its Webhook generator: what people use where there is no operator for
//! their tokens. It makes the same call to the same token API and writes the same value into a Secret, with nothing against a crash.

use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use futures::{StreamExt as _, TryStreamExt as _, stream};
use k8s_openapi::api::core::v1::Secret;
use keeptrusts_harness::{Chart, Process, audit, eventually, free_port, hopeless};
use kube::api::{Api, ApiResource, DynamicObject, GroupVersionKind, PostParams};
use serde_json::{Value, json};

use crate::crowd::{AT_ONCE, Ask, Crowd, Key};
use crate::floor::Floor;
use crate::report::Peer as Report;
use crate::round::{self, Round, Turn, Worker};
use crate::setup;
use crate::stage::{self, Stage};
use crate::trail::Trail;
use crate::waves;

/// How many keys it works on at once: its default. Its generators keep what they work with in a place that all share, so that
/// several at once are in each other's way, and some panic (seen in 2.9.0).
const CONCURRENT: usize = 1;

/// Where it runs, and as whom.
const SYSTEM: &str = "peer-system";
const ACCOUNT: &str = "peer";

/// The names of what it takes for each token: who it is, and what it asks.
const CREDENTIAL: &str = "credential";
const GENERATOR: &str = "token";

/// Group and version of generators.
const GENERATORS: (&str, &str) = ("generators.external-secrets.io", "v1alpha1");

/// Its informers are filled by then.
const START: Duration = Duration::from_mins(1);
const END: Duration = Duration::from_secs(30);

/// It, while it runs.
pub(crate) struct Peer {
    process: Process,
}

impl Peer {
    /// Starts it, and waits until it watches what it is to work on.
    async fn start(stage: &Stage, given: &setup::Peer) -> Result<Self> {
        let dir = stage.setup.dir.join("peer");
        std::fs::create_dir_all(&dir).with_context(|| format!("making {}", dir.display()))?;
        let kubeconfig = dir.join("kubeconfig");
        let text = stage.cluster.service_account_kubeconfig(SYSTEM, ACCOUNT).await?;
        std::fs::write(&kubeconfig, text).context("writing its kubeconfig")?;
        let mut trail = stage.trail().await?;
        let mut command = Command::new(&given.program);
        command.env("KUBECONFIG", kubeconfig).args([
            format!("--metrics-addr=127.0.0.1:{}", free_port()?),
            format!("--live-addr=127.0.0.1:{}", free_port()?),
            format!("--concurrent={CONCURRENT}"),
            // No limit of its own, as the operator has none.
            "--client-qps=100000".to_owned(),
            "--client-burst=100000".to_owned(),
            "--loglevel=error".to_owned(),
        ]);
        let log = dir.join("peer.log");
        std::fs::write(&log, "").context("emptying its log")?;
        let mut process = Process::spawn("External Secrets", &mut command, &log)?;
        eventually(START, "External Secrets watches its resources", async || {
            process.ensure_running().map_err(hopeless)?;
            ensure!(watches(&mut trail)?, "it doesn't yet");
            Ok(())
        })
        .await?;
        Ok(Self { process })
    }

    pub(crate) fn pid(&self) -> u32 {
        self.process.pid()
    }

    /// Asks it for every key's token, several at once.
    pub(crate) async fn ask(&self, stage: &Stage, crowd: &Crowd) -> Result<()> {
        let made = crowd.keys.iter().map(|key| external_secret(stage, &crowd.namespace, key));
        stream::iter(made).buffer_unordered(AT_ONCE).try_collect().await
    }
}

/// Whether it has begun to watch.
fn watches(trail: &mut Trail) -> Result<bool> {
    let mut begun = false;
    trail.read(|request| {
        begun |= request.user == user() && request.verb == "watch" && request.resource == "externalsecrets";
    })?;
    Ok(begun)
}

fn user() -> String {
    audit::service_account(SYSTEM, ACCOUNT)
}

/// Mints so many tokens, by the floor and by the peer in turn.
pub(crate) async fn run(stage: &Stage, given: &setup::Peer, keys: usize) -> Result<Report> {
    install(stage, given).await?;
    let chart = stage.install(&json!({})).await?;
    let (mut floors, mut peers) = (Vec::new(), Vec::new());
    for nr in 1..=stage.setup.rounds {
        let what = format!("{keys} keys, round {nr} of {}", stage.setup.rounds);
        for turn in Turn::of(nr) {
            match turn {
                Turn::Floor => {
                    let floor = floor(stage, &chart, &format!("beside-peer-{nr}"), keys).await;
                    floors.push(floor.with_context(|| format!("{what}: the floor"))?);
                }
                Turn::Measured => {
                    let peer = peer(stage, given, &format!("peer-{nr}"), keys).await;
                    peers.push(peer.with_context(|| format!("{what}: External Secrets"))?);
                }
            }
        }
        let (Some(floor), Some(peer)) = (floors.last(), peers.last()) else { continue };
        let ratio = floor.took.seconds / peer.took.seconds;
        println!(
            "  {what}: {:.2} s (floor {:.2} s, ratio {ratio:.2}), {} calls to the token API for each key, {} MiB",
            peer.took.seconds,
            floor.took.seconds,
            peer.token_calls_per_key(keys).values().sum::<f64>(),
            peer.uses.leader.resident_kib / 1_024,
        );
    }
    Ok(Report { keys, concurrent: CONCURRENT, mint: waves::wave("mint", keys, &floors, &peers) })
}

async fn floor(stage: &Stage, chart: &Chart, namespace: &str, keys: usize) -> Result<Round> {
    let user = stage::user(chart)?;
    let crowd = waves::crowd(stage, namespace, keys).await?;
    let floor = Floor::new(stage.operators_client(chart).await?, &stage.tokens, crowd.clone())?;
    let round = round::run(stage, &crowd, Ask::Create, &user, Worker::Floor(&floor)).await?;
    floor.finish().await?;
    crowd.remove(&stage.client).await?;
    stage.clear(&crowd.namespace, keys).await?;
    Ok(round)
}

async fn peer(stage: &Stage, given: &setup::Peer, namespace: &str, keys: usize) -> Result<Round> {
    let crowd = waves::crowd(stage, namespace, keys).await?;
    prepare(stage, namespace).await?;
    let mut peer = Peer::start(stage, given).await?;
    // What it calls in vain is its own.
    let round = round::measure(stage, &crowd, Ask::Create, &user(), Worker::Peer(&peer)).await?;
    // It has finalizers to take away.
    stage.clear(namespace, keys).await?;
    peer.process.terminate(END).await?;
    Ok(round)
}

/// Its CRDs, and an account that may do everything.
async fn install(stage: &Stage, given: &setup::Peer) -> Result<()> {
    let crds = given.crds.display().to_string();
    let kubectl = stage.cluster.kubectl();
    kubectl.run(&["apply", "--server-side", "-f", crds.as_str()]).await?;
    kubectl.run(&["wait", "--for=condition=Established", "--timeout=60s", "-f", crds.as_str()]).await?;
    stage.make_namespace(SYSTEM).await?;
    kubectl.run(&["create", "serviceaccount", ACCOUNT, "--namespace", SYSTEM]).await?;
    let account = format!("--serviceaccount={SYSTEM}:{ACCOUNT}");
    let role = "--clusterrole=cluster-admin";
    kubectl.run(&["create", "clusterrolebinding", ACCOUNT, role, account.as_str()]).await?;
    Ok(())
}

/// What it needs in a namespace: the token API's credential, and the call.
async fn prepare(stage: &Stage, namespace: &str) -> Result<()> {
    let credential: Secret = serde_json::from_value(json!({
        "metadata": {"name": CREDENTIAL, "labels": {"external-secrets.io/type": "webhook"}},
        "stringData": {"token": stage.tokens.credential()},
    }))?;
    Api::namespaced(stage.client.clone(), namespace).create(&PostParams::default(), &credential).await?;
    let body =
        json!({"name": "by-a-generator", "token_type": "access", "description": "A key of the benchmark"});
    let call = json!({
        "method": "POST",
        "url": format!("{}/v1/tokens", stage.tokens.url()),
        "headers": {
            "Content-Type": "application/json",
            "Authorization": format!("Bearer {{{{ .{CREDENTIAL}.token }}}}"),
        },
        "body": body.to_string(),
        "result": {"jsonPath": "$"},
        "secrets": [{"name": CREDENTIAL, "secretRef": {"name": CREDENTIAL}}],
    });
    create(stage, namespace, GENERATORS, "Webhook", GENERATOR, call).await
}

/// Asks for one key's token, once.
async fn external_secret(stage: &Stage, namespace: &str, key: &Key) -> Result<()> {
    let generator = json!({"apiVersion": format!("{}/{}", GENERATORS.0, GENERATORS.1), "kind": "Webhook", "name": GENERATOR});
    let spec = json!({
        "refreshPolicy": "CreatedOnce",
        "target": {"name": key.name, "creationPolicy": "Owner"},
        "dataFrom": [{"sourceRef": {"generatorRef": generator}}],
    });
    create(stage, namespace, ("external-secrets.io", "v1"), "ExternalSecret", &key.name, spec).await
}

async fn create(
    stage: &Stage,
    namespace: &str,
    (group, version): (&str, &str),
    kind: &str,
    name: &str,
    spec: Value,
) -> Result<()> {
    let resource = ApiResource::from_gvk(&GroupVersionKind::gvk(group, version, kind));
    let object = DynamicObject::new(name, &resource).data(json!({"spec": spec}));
    let api: Api<DynamicObject> = Api::namespaced_with(stage.client.clone(), namespace, &resource);
    api.create(&PostParams::default(), &object).await.with_context(|| format!("making {kind} {name}"))?;
    Ok(())
}
