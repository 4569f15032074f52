//! The first half: token API, cluster, chart, operator.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use keeptrusts_emulator::{Emulator, Options};
use keeptrusts_harness::{Cluster, ControlPlane, Launch, Operator};
use serde_json::Value;

use crate::failure::{Failure, check};
use crate::replicas::{self, LEASE, RENEW, RETRY};
use crate::stage::Stage;
use crate::token_api::TokenApi;
use crate::tools::Tools;

/// The chart, as it is named in commands.
pub(crate) const CHART: &str = "charts/keeptrusts-operator";

/// The operator's program in the chart's image.
const IN_IMAGE: &str = "/usr/local/bin/keeptrusts-operator";

/// The chart's replicas.
const REPLICAS: usize = 2;

/// The Secret with the operator's own API token.
const CREDENTIAL: &str = "keeptrusts-operator-credential";

/// The CRDs that the chart brings.
pub(crate) const CRDS: [&str; 2] = ["accesskeys.keys.keeptrusts.com", "gatewaykeys.keys.keeptrusts.com"];

/// An image that can't exist (RFC 2606): in a reader's cluster no node shall look for one.
const NO_IMAGE: &str = "image.repository=not-published.invalid/keeptrusts-operator";

/// Ten times what the operator takes to fill its caches.
const READY: Duration = Duration::from_secs(30);

/// Starts the token API, the cluster and the operator.
pub(crate) async fn set_up(stage: &mut Stage) -> Result<()> {
    token_api(stage).await?;
    if stage.kubeconfig.is_some() {
        readers_cluster(stage).await?;
    } else {
        control_plane(stage).await?;
    }
    install(stage).await?;
    start_operators(stage).await
}

async fn token_api(stage: &mut Stage) -> Result<()> {
    stage.narrator.chapter("The token API")?;
    stage.narrator.tell(
        "The demo needs no Keeptrusts account: an emulator of the token API runs in this process. No gateway accepts its \
         tokens, and they are gone when the demo ends.",
    )?;
    let emulator = Emulator::start(Options::default()).await.context("starting the token API's emulator")?;
    let url = emulator.url();
    stage.api = Some(TokenApi::new(&url)?);
    stage.emulator = Some(emulator);
    stage.narrator.typed(&[format!("API={url}")])?;
    let made = stage.emulator()?.tokens().len();
    check(made == 0, "a token API without tokens", || format!("{made}"))?;
    stage.narrator.ok("it answers there, and has made no token yet")?;
    Ok(())
}

async fn control_plane(stage: &mut Stage) -> Result<()> {
    stage.narrator.chapter("A Kubernetes control plane")?;
    stage.narrator.tell(
        "etcd, kube-apiserver and kube-controller-manager, the real ones, as processes of this machine. There is no \
         node and no kubelet, so no pod ever starts; the keys need none.",
    )?;
    let start = Instant::now();
    let control_plane = ControlPlane::start(keeptrusts_harness::Options::default()).await?;
    let seconds = start.elapsed().as_secs_f32();
    let home = control_plane.dir().join("home");
    let kubeconfig = control_plane.kubeconfig();
    stage.folder.leave_for_the_reader(&kubeconfig, &stage.clients, &stage.binary)?;
    let given = stage.folder.as_given();
    stage.narrator.typed(&[format!("export KUBECONFIG={}", given.join("kubeconfig").display())])?;
    stage.cluster = Some(control_plane.cluster());
    stage.tools =
        Some(Tools::new(&stage.clients, &stage.binary, &kubeconfig, &stage.folder.run(), Some(&home)));
    stage.control_plane = Some(control_plane);
    stage.run(&["kubectl", "version"]).await?;
    stage.narrator.ok(&format!("the control plane is ready, after {seconds:.1} s"))?;
    Ok(())
}

async fn readers_cluster(stage: &mut Stage) -> Result<()> {
    let file = stage.kubeconfig.clone().context("no kubeconfig")?;
    stage.narrator.chapter("Your cluster")?;
    stage.narrator.tell(&format!(
        "The cluster of {}. All that the demo makes there is in two namespaces of its own, {} and {}; besides them it \
         needs the CRDs, if there are none, and a ClusterRole with its binding, {}. It removes them at the end, and \
         after a failure and Ctrl-C too.",
        file.display(),
        stage.names.system,
        stage.names.shop,
        stage.names.release,
    ))?;
    stage.cluster = Some(Cluster::of_kubeconfig(&file).await?);
    stage.tools = Some(Tools::new(&stage.clients, &stage.binary, &file, &stage.folder.run(), None));
    stage.narrator.typed(&[format!("export KUBECONFIG={}", file.display())])?;
    stage.run(&["kubectl", "config", "current-context"]).await?;
    stage.run(&["kubectl", "version"]).await?;
    refuse_beside_another(stage).await?;
    stage.narrator.ok("the cluster answers, and no operator there would work on the demo's keys")?;
    Ok(())
}

/// An operator that watches all namespaces would make real tokens for the demo's keys.
async fn refuse_beside_another(stage: &mut Stage) -> Result<()> {
    let selector = "app.kubernetes.io/part-of=keeptrusts-operator,app.kubernetes.io/component=operator";
    let found = stage.look(&["kubectl", "get", "deployments", "-A", "-l", selector, "-o", "json"]).await?;
    let found: Value = serde_json::from_str(&found).context("reading the Deployments")?;
    for deployment in found["items"].as_array().into_iter().flatten() {
        if watches_everything(deployment) && deployment["spec"]["replicas"] != 0 {
            let place = &deployment["metadata"];
            bail!(
                "The Deployment {} in the namespace {} is an operator that watches all namespaces: it would make real \
                 tokens for the demo's keys. Take a cluster without one.",
                place["name"].as_str().unwrap_or_default(),
                place["namespace"].as_str().unwrap_or_default(),
            );
        }
    }
    Ok(())
}

fn watches_everything(deployment: &Value) -> bool {
    let containers = deployment["spec"]["template"]["spec"]["containers"].as_array();
    let variables = containers.into_iter().flatten().filter_map(|container| container["env"].as_array());
    !variables.flatten().any(|variable| variable["name"] == "KEEPTRUSTS_WATCH_NAMESPACES")
}

async fn install(stage: &mut Stage) -> Result<()> {
    stage.narrator.chapter("The chart, installed by helm")?;
    stage.narrator.tell(
        "The operator's own API token comes from a file into a Secret: it is in no command line, no Helm value and no \
         shell history.",
    )?;
    let names = stage.names.clone();
    make_namespace(stage, &names.system).await?;
    let credential = stage.emulator()?.credential();
    let file = stage.folder.write_credential(&credential)?;
    let from = format!("--from-file=token={file}");
    stage.run(&["kubectl", "create", "secret", "generic", CREDENTIAL, "-n", &names.system, &from]).await?;

    let credential = format!("api.credential.secretName={CREDENTIAL}");
    let url = format!("api.url={}", stage.api()?.url());
    let watch = format!("watchNamespaces={{{}}}", names.shop);
    let mut words = vec!["helm", "install", &names.release, CHART, "--namespace", &names.system];
    words.extend(["--set", &credential, "--set", &url]);
    let times = [("leaseDuration", LEASE), ("renewDeadline", RENEW), ("retryPeriod", RETRY)]
        .map(|(name, time)| format!("leaderElection.{name}={}s", time.as_secs()));
    words.extend(times.iter().flat_map(|time| ["--set", time]));
    if stage.kubeconfig.is_some() {
        make_namespace(stage, &names.shop).await?;
        stage.narrator.tell(&format!(
            "Three settings are the demo's: where the token API is; how soon another replica takes a dead leader's place, \
             so that nobody has to wait for it for long; and the one namespace where the operator works and has rights, {}. No \
             image of the operator is published, so the image is one that can't be found.",
            names.shop
        ))?;
        words.extend(["--set", &watch, "--set", NO_IMAGE]);
        if has_crds(stage).await? {
            stage.narrator.tell("The cluster has the CRDs already; the demo uses them and leaves them.")?;
            words.extend(["--set", "crds.enabled=false"]);
        } else {
            stage.made.crds = true;
        }
    } else {
        stage.narrator.tell(
            "Two settings are the demo's: where the token API is, and how soon another replica takes a dead leader's \
             place, so that nobody has to wait for it for long. Everything else is as the chart has it: all namespaces are \
             watched, and there are two replicas.",
        )?;
    }
    stage.made.release = true;
    stage.run(&words).await?;
    let established = "--for=condition=Established";
    stage.run(&["kubectl", "wait", established, "--timeout=60s", "crd", CRDS[0], CRDS[1]]).await?;
    if let Some(control_plane) = &stage.control_plane {
        stage.narrator.tell(
            "kube-controller-manager is started anew: its garbage collector then knows the new kinds at once, and not only \
             after half a minute.",
        )?;
        control_plane.stop_controller_manager().await?;
        control_plane.start_controller_manager().await?;
    }
    stage.narrator.ok("the chart is installed, and the API server serves AccessKeys and GatewayKeys")?;
    Ok(())
}

/// Makes a namespace. One that was there before is not the demo's to use or to remove.
pub(crate) async fn make_namespace(stage: &mut Stage, name: &str) -> Result<()> {
    let found =
        stage.look(&["kubectl", "get", "namespace", name, "--ignore-not-found", "-o", "name"]).await?;
    if !found.trim().is_empty() {
        return Err(Failure::error(format!("no namespace {name}"), "one that was there before"));
    }
    stage.made.namespaces.push(name.to_owned());
    stage.run(&["kubectl", "create", "namespace", name]).await.map(drop)
}

/// Whether the cluster has both CRDs. One alone is nobody's chart.
async fn has_crds(stage: &mut Stage) -> Result<bool> {
    let words = ["kubectl", "get", "crd", CRDS[0], CRDS[1], "--ignore-not-found", "-o", "name"];
    match stage.look(&words).await?.lines().count() {
        0 => Ok(false),
        2 => Ok(true),
        _ => Err(Failure::error(format!("both {} and {}, or neither", CRDS[0], CRDS[1]), "one of them")),
    }
}

async fn start_operators(stage: &mut Stage) -> Result<()> {
    let names = stage.names.clone();
    let deployment = format!("deployment/{}", names.release);
    stage.narrator.chapter("Two replicas of the operator, started as their Deployment says")?;
    if stage.kubeconfig.is_some() {
        stage.narrator.tell(
            "There is no image that your nodes could run, and they couldn't reach the token API on this machine. So the \
             Deployment is scaled to nothing, and the operator runs here, as two processes.",
        )?;
        stage.run(&["kubectl", "scale", &deployment, "-n", &names.system, "--replicas=0"]).await?;
    } else {
        stage.narrator.tell("There is no kubelet here, so the operator's pods wait for ever:")?;
        stage.run(&["kubectl", "get", "deployments,pods", "-n", &names.system]).await?;
        stage.narrator.tell("The operator therefore runs as two processes of this machine.")?;
    }
    stage.narrator.tell(
        "Command, arguments, environment and mounted files are read from the Deployment, and each has a token of the \
         chart's ServiceAccount: so the chart's rights, and no others. Only paths, the port of its probes and the way \
         to the API server are this machine's.",
    )?;
    let words = ["kubectl", "get", &deployment, "-n", &names.system, "-o", "json"];
    let json = stage.run_noted(&words, "what the processes are started from").await?;
    let deployment: Value = serde_json::from_str(&json).context("reading the Deployment")?;
    for _ in 0..REPLICAS {
        start_operator(stage, &deployment).await?;
    }
    let pids: Vec<String> = stage.operators.iter().map(|operator| operator.pid().to_string()).collect();
    let user = stage.operators.first().map(Operator::user).unwrap_or_default();
    stage.narrator.ok(&format!(
        "both run (processes {}) as {user}, and the Deployment's readiness probe succeeds for both",
        pids.join(" and ")
    ))?;
    replicas::introduce(stage).await
}

async fn start_operator(stage: &mut Stage, deployment: &Value) -> Result<()> {
    let cluster = stage.cluster.clone().context("there is no cluster yet")?;
    let launch = Launch::new(&stage.binary, stage.folder.run()).program(IN_IMAGE);
    let mut operator = Operator::start_on(&cluster, deployment, &stage.names.system, &launch).await?;
    let ready = operator.wait_ready(READY).await;
    let ended = operator.exit_status()?;
    stage.operators.push(operator);
    let Err(error) = ready else { return Ok(()) };
    // Its log is shown with every failure.
    let seen = ended.map_or_else(|| format!("{error:#}"), |status| format!("it ended: {status}"));
    Err(Failure::error("that the operator becomes ready", seen))
}
