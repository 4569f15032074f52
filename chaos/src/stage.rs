//! Everything that runs: the control plane, the token API, the operators; and what belongs to nobody.

use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::{Context as _, Result};
use k8s_openapi::api::core::v1::{Namespace, Secret};
use keeptrusts_emulator::{Emulator, NewToken, Options, Token, TokenType};
use keeptrusts_harness::{Chart, ChartOptions, ControlPlane, Launch, Operator, Proxy, Upstream};
use keeptrusts_operator::lifecycle::naming::Installation;
use kube::Client;
use kube::api::{Api, PostParams};
use serde_json::json;

use crate::keys::Key;
use crate::kinds::TOKEN_ID;
use crate::lease;
use crate::operators::Process;
use crate::pods::Pods;
use crate::record::Record;
use crate::transcript::Transcript;

/// The operator's own namespace, which nobody deletes.
pub(crate) const SYSTEM: &str = "chaos-system";

/// The release, and what the chart calls everything of it, the Lease too.
const RELEASE: &str = "chaos";
pub(crate) const LEASE: &str = "chaos-keeptrusts-operator";

/// The operator's program in the chart's image.
const PROGRAM: &str = "/usr/local/bin/keeptrusts-operator";

/// How long a call may take, and lists lag; recovery waits for both. Short, so that a run sees many recoveries.
const CALL_DEADLINE: &str = "1s";
const LIST_LAG: &str = "1s";
const INVENTORY_PERIOD: &str = "2s";

/// How long nothing happens where nothing is to be done: three lists, by which everybody has noticed what somebody did last.
pub(crate) const REST: Duration = Duration::from_secs(6);

/// Ten times what the operator takes to fill its caches.
const READY: Duration = Duration::from_secs(30);

/// How everything is set up.
#[derive(Debug, Clone)]
pub(crate) struct Setup {
    /// The operator's program.
    pub(crate) operator: PathBuf,
    /// The repository's root, where the chart and the CRDs are.
    pub(crate) root: PathBuf,
    /// Where logs go.
    pub(crate) dir: PathBuf,
    pub(crate) operators: usize,
    pub(crate) leader_election: bool,
    pub(crate) keys: usize,
    pub(crate) namespaces: usize,
}

/// What runs.
pub(crate) struct Stage {
    pub(crate) cluster: ControlPlane,
    /// The administrator, whose errors are those of one request.
    pub(crate) client: Client,
    pub(crate) emulator: Emulator,
    pub(crate) operators: Vec<Process>,
    /// With leader election, what is between each operator and the API server.
    pub(crate) ways: Vec<Proxy>,
    pub(crate) keys: Vec<Key>,
    pub(crate) pods: Pods,
    pub(crate) installation: Installation,
    pub(crate) foreign: Foreign,
    record: Mutex<Record>,
    pub(crate) transcript: Transcript,
    pub(crate) dir: PathBuf,
}

/// What belongs to nobody here and must stay as it is.
pub(crate) struct Foreign {
    pub(crate) tokens: Vec<Token>,
    pub(crate) secrets: Vec<Secret>,
}

/// The name of a namespace of keys.
pub(crate) fn namespace(number: usize) -> String {
    format!("chaos-{number}")
}

impl Stage {
    /// Starts everything, and makes the namespaces.
    pub(crate) async fn set(setup: &Setup, transcript: Transcript) -> Result<Self> {
        let emulator =
            Emulator::start(Options::default()).await.context("starting the token API's emulator")?;
        let options = keeptrusts_harness::Options::default().crds(setup.root.join("crds"));
        let cluster = ControlPlane::start(options).await?;
        let client = cluster.client_at(cluster.url()).await?;
        make_namespace(&client, SYSTEM).await?;
        for number in 0..setup.namespaces {
            make_namespace(&client, &namespace(number)).await?;
        }
        let foreign = foreign(&client, &emulator, setup.namespaces).await?;
        let chart = install(&cluster, &client, &emulator, setup).await?;
        let launch = Launch::new(&setup.operator, &setup.dir).program(PROGRAM);
        let (mut operators, mut ways) = (Vec::new(), Vec::new());
        for _ in 0..setup.operators {
            let mut launch = launch.clone();
            if setup.leader_election {
                let way = Proxy::start(Upstream::kubernetes(&cluster)).await?;
                launch = launch.api_server(way.url());
                ways.push(way);
            }
            let mut operator = Operator::start(&cluster, &chart, &launch).await?;
            operator.wait_ready(READY).await?;
            operators.push(Process::new(operator));
        }
        let pods = Pods::run(&client, (0..setup.namespaces).map(namespace)).await?;
        let kube_system = Api::<Namespace>::all(client.clone()).get("kube-system").await?;
        let installation = Installation::new(&kube_system.metadata.uid.unwrap_or_default(), INSTANCE);
        Ok(Self {
            cluster,
            client,
            emulator,
            operators,
            ways,
            keys: (0..setup.keys).map(|index| Key::new(index, setup.namespaces)).collect(),
            pods,
            installation,
            foreign,
            record: Mutex::default(),
            transcript,
            dir: setup.dir.clone(),
        })
    }
}

impl Stage {
    /// What is noted. Never held across an await.
    pub(crate) fn record(&self) -> MutexGuard<'_, Record> {
        self.record.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The name of this installation of the operator.
const INSTANCE: &str = "chaos";

async fn install(
    cluster: &ControlPlane,
    client: &Client,
    emulator: &Emulator,
    setup: &Setup,
) -> Result<Chart> {
    let credential: Secret = serde_json::from_value(
        json!({"metadata": {"name": "credential"}, "stringData": {"token": emulator.credential()}}),
    )?;
    Api::namespaced(client.clone(), SYSTEM).create(&PostParams::default(), &credential).await?;
    let values = json!({
        "crds": {"enabled": false},
        "instance": INSTANCE,
        "inventoryPeriod": INVENTORY_PERIOD,
        // Without it all operators act at once: what keeps them from harming each other isn't the Lease.
        "leaderElection": lease::values(setup.leader_election),
        "restartWorkloads": true,
        "log": {"level": "info,keeptrusts_operator=debug"},
        "api": {
            "url": emulator.url(),
            "credential": {"secretName": "credential"},
            "callDeadline": CALL_DEADLINE,
            "listLag": LIST_LAG,
            "requestsPerSecond": 1000,
        },
    });
    let options =
        ChartOptions::new(setup.root.join("charts/keeptrusts-operator"), RELEASE, SYSTEM).values(values);
    let chart = Chart::render(&cluster.helm(), &options).await?;
    chart.apply(cluster).await?;
    Ok(chart)
}

/// Makes a namespace, and what is foreign in it.
pub(crate) async fn make_namespace(client: &Client, name: &str) -> Result<()> {
    let body: Namespace = serde_json::from_value(json!({"metadata": {"name": name}}))?;
    Api::<Namespace>::all(client.clone()).create(&PostParams::default(), &body).await?;
    Ok(())
}

async fn foreign(client: &Client, emulator: &Emulator, namespaces: usize) -> Result<Foreign> {
    // The last one bears a tag of another installation.
    let other = Installation::new("another cluster", "default");
    let tagged = format!("checkout-kt1-{other}{}", "a".repeat(36));
    let names = ["console-made", "checkout", "checkout-kt1-", &tagged];
    let mut tokens = Vec::new();
    for (name, token_type) in names.iter().zip([TokenType::Access, TokenType::Gateway].into_iter().cycle()) {
        tokens.push(emulator.create_elsewhere(NewToken::new(name, token_type))?);
    }
    // In namespaces that are deleted nothing is foreign: it would go with them.
    let mut secrets = Vec::new();
    for number in (0..namespaces).filter(|number| crate::plan::retains(*number)) {
        let api: Api<Secret> = Api::namespaced(client.clone(), &namespace(number));
        // The second one pretends to be ours, and names a token of somebody else's.
        for body in [
            json!({"metadata": {"name": "somebody-elses"}, "stringData": {"api-key": "theirs"}}),
            json!({
                "metadata": {
                    "name": "pretender",
                    "labels": {"keys.keeptrusts.com/uid": "11111111-1111-1111-1111-111111111111"},
                    "annotations": {
                        "keys.keeptrusts.com/owner": "AccessKey/nobody",
                        TOKEN_ID: tokens[1].id,
                    },
                },
                "stringData": {"api-key": "forged"},
            }),
        ] {
            let body: Secret = serde_json::from_value(body)?;
            secrets.push(api.create(&PostParams::default(), &body).await?);
        }
    }
    Ok(Foreign { tokens, secrets })
}
