//! From a chart to a running operator.

use std::time::Duration;

use anyhow::{Result, bail, ensure};
use k8s_openapi::api::core::v1::Secret;
use keeptrusts_harness::suite::Context;
use keeptrusts_harness::{Chart, ChartOptions, Launch, Operator, eventually};
use kube::api::{Patch, PatchParams, PostParams};
use serde_json::{Value, from_value, json};

use crate::CHART;

const SOON: Duration = Duration::from_secs(20);

async fn installed(cx: &Context, options: ChartOptions) -> Result<Chart> {
    let secret: Secret = from_value(
        json!({"metadata": {"name": "credential"}, "stringData": {"token": "one", "password": "pass"}}),
    )?;
    cx.namespace.api().create(&PostParams::default(), &secret).await?;
    let chart = Chart::render(&cx.cluster.helm(), &options).await?;
    chart.apply(&cx.cluster).await?;
    Ok(chart)
}

fn options(cx: &Context) -> ChartOptions {
    ChartOptions::new(CHART, cx.namespace.name(), cx.namespace.name())
}

fn launch(cx: &Context) -> Result<Launch> {
    Ok(Launch::new(std::env::current_exe()?, &cx.dir).program("/usr/local/bin/pretend-operator"))
}

async fn state(operator: &Operator) -> Result<Value> {
    let (status, body) = operator.get("health", "/state").await?;
    ensure!(status == 200, "{status} {body}");
    Ok(serde_json::from_str(&body)?)
}

pub(crate) async fn the_operator_is_what_the_deployment_says(cx: Context) -> Result<()> {
    let options = options(&cx).set("greeting=good morning").values(json!({"unused": true}));
    let chart = installed(&cx, options).await?;
    assert_eq!(chart.of_kind("CustomResourceDefinition").count(), 1);
    let mut operator =
        Operator::start(&cx.cluster, &chart, &launch(&cx)?.env("EXTRA", "of-the-test")).await?;
    operator.wait_ready(SOON).await?;

    let state = state(&operator).await?;
    let env = &state["env"];
    assert_eq!(env["GREETING"], "good morning");
    assert_eq!(env["LEVEL"], "debug");
    assert_eq!(env["PASSWORD"], "pass");
    assert_eq!(env["EXTRA"], "of-the-test");
    assert_eq!(env["POD_NAMESPACE"], cx.namespace.name());
    assert_eq!(env["POD_NAME"], operator.pod_name());
    assert_eq!(env["HOSTNAME"], operator.pod_name());
    assert!(env.get("CARGO_MANIFEST_DIR").is_none(), "the tests' own environment leaks");
    let here = cx.dir.to_string_lossy();
    assert!(env["SCRATCH"].as_str().unwrap().starts_with(&*here));
    assert_eq!(state["credential"], "one");
    assert_eq!(state["motto"], "ars longa");
    assert!(operator.args().contains(&"--greeting=good morning".to_owned()), "{:?}", operator.args());
    assert_eq!(state["api_server"], "200 as seen with the ServiceAccount's token");

    let requests =
        cx.cluster.audit().since(keeptrusts_harness::audit::Mark::START).await?.by(&operator.user());
    assert_eq!(requests.of("configmaps").verbs(&["get"]).within(cx.namespace.name()).len(), 1);

    let status = operator.terminate(SOON).await?;
    assert_eq!(std::os::unix::process::ExitStatusExt::signal(&status), Some(15), "it handles no SIGTERM");
    Ok(())
}

pub(crate) async fn a_credential_changes_while_the_operator_runs(cx: Context) -> Result<()> {
    let chart = installed(&cx, options(&cx)).await?;
    let mut operator = Operator::start(&cx.cluster, &chart, &launch(&cx)?).await?;
    operator.wait_ready(SOON).await?;
    assert!(!operator.sync_mounts(&cx.cluster).await?, "nothing has changed");

    let change = Patch::Merge(json!({"stringData": {"token": "two"}}));
    cx.namespace.api::<Secret>().patch("credential", &PatchParams::default(), &change).await?;
    assert_eq!(state(&operator).await?["credential"], "one");
    assert!(operator.sync_mounts(&cx.cluster).await?);
    assert_eq!(state(&operator).await?["credential"], "two");

    let before = operator.pid();
    operator.restart()?;
    operator.wait_ready(SOON).await?;
    assert_ne!(operator.pid(), before);
    assert_eq!(operator.log()?.matches("listening").count(), 2);
    Ok(())
}

pub(crate) async fn two_operators_run_at_once(cx: Context) -> Result<()> {
    let chart = installed(&cx, options(&cx)).await?;
    let mut first = Operator::start(&cx.cluster, &chart, &launch(&cx)?).await?;
    let mut second = Operator::start(&cx.cluster, &chart, &launch(&cx)?).await?;
    first.wait_ready(SOON).await?;
    second.wait_ready(SOON).await?;
    assert_ne!(first.pod_name(), second.pod_name());

    first.pause()?;
    assert!(first.get("health", "/readyz").await.is_err(), "a frozen process answers");
    assert_eq!(second.get("health", "/readyz").await?.0, 200);
    first.resume()?;
    eventually(SOON, "it answers again", async || first.get("health", "/readyz").await).await?;

    first.kill()?;
    ensure!(first.wait_ready(SOON).await.unwrap_err().to_string().contains("ready"));
    assert_eq!(second.get("health", "/readyz").await?.0, 200);
    Ok(())
}

pub(crate) async fn what_the_template_forgets_is_an_error(cx: Context) -> Result<()> {
    let chart = installed(&cx, options(&cx)).await?;
    let container = "/spec/template/spec/containers/0";
    for (what, change, expected) in [
        ("env/5/valueFrom/secretKeyRef/key", json!("passwort"), "no key passwort"),
        ("args/1", json!("--health-address=0.0.0.0:9999"), "port 8081"),
        ("command/0", json!("/bin/pretend-operator"), "/bin/pretend-operator"),
        ("volumeMounts/0/name", json!("missing"), "missing"),
    ] {
        let mut deployment = chart.deployment()?.clone();
        let place = deployment.pointer_mut(&format!("{container}/{what}"));
        *place.unwrap() = change;
        let started =
            Operator::from_deployment(&cx.cluster, &deployment, cx.namespace.name(), &launch(&cx)?).await;
        let Err(error) = started else { bail!("{what}: it started") };
        let error = format!("{error:#}");
        ensure!(error.contains(expected), "{what}: {error}");
    }
    let mut deployment = chart.deployment()?.clone();
    deployment["spec"]["template"]["spec"]["automountServiceAccountToken"] = json!(false);
    let started =
        Operator::from_deployment(&cx.cluster, &deployment, cx.namespace.name(), &launch(&cx)?).await;
    ensure!(started.err().is_some_and(|error| error.to_string().contains("token")), "it has no token");
    Ok(())
}

pub(crate) async fn a_verb_that_the_role_lacks_shows(cx: Context) -> Result<()> {
    let chart = installed(&cx, options(&cx).set("role=false")).await?;
    let mut operator = Operator::start(&cx.cluster, &chart, &launch(&cx)?).await?;
    operator.wait_ready(SOON).await?;
    assert_eq!(state(&operator).await?["api_server"], "403 as seen with the ServiceAccount's token");
    Ok(())
}
