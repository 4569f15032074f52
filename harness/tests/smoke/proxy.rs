//! Faults between a client and the API server.

use std::pin::pin;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use futures::{StreamExt as _, TryStreamExt as _};
use k8s_openapi::api::core::v1::{ConfigMap, Secret, ServiceAccount};
use keeptrusts_harness::proxy::{kubernetes_status, steps};
use keeptrusts_harness::suite::Context;
use keeptrusts_harness::{
    Chart, ChartOptions, Launch, Match, Operator, Process, Proxy, Rule, Upstream, eventually,
};
use kube::api::{Patch, PatchParams, PostParams, WatchEvent, WatchParams};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Api, Client};
use serde_json::{from_value, json};

const SOON: Duration = Duration::from_secs(20);

/// Makes this program run [`sender`] with the kubeconfig that it holds.
pub(crate) const SENDER: &str = "KEEPTRUSTS_HARNESS_SENDER";

/// Where the sender creates its object.
const SENDER_NAMESPACE: &str = "KEEPTRUSTS_HARNESS_SENDER_NAMESPACE";

/// A process that creates one object, to be killed meanwhile.
pub(crate) fn sender(kubeconfig: &str) -> ExitCode {
    keeptrusts_harness::install_crypto_provider();
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let created = runtime.block_on(async {
        let client = client(kubeconfig).await?;
        let config_maps: Api<ConfigMap> = Api::namespaced(client, &std::env::var(SENDER_NAMESPACE)?);
        anyhow::Ok(config_maps.create(&PostParams::default(), &config_map("late")).await?)
    });
    match created {
        Ok(_) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error:?}");
            ExitCode::FAILURE
        }
    }
}

async fn client(kubeconfig: &str) -> Result<Client> {
    let config = Kubeconfig::from_yaml(kubeconfig)?;
    let config = kube::Config::from_custom_kubeconfig(config, &KubeConfigOptions::default()).await?;
    Ok(Client::try_from(config)?)
}

/// A proxy before the API server, and objects of this test's namespace as a client sees them through it.
struct Way {
    proxy: Proxy,
    config_maps: Api<ConfigMap>,
    secrets: Api<Secret>,
}

impl Way {
    async fn new(cx: &Context) -> Result<Self> {
        let proxy = Proxy::start(Upstream::kubernetes(&cx.cluster)).await?;
        let client = cx.cluster.client_at(&proxy.url()).await?;
        let namespace = cx.namespace.name();
        Ok(Self {
            config_maps: Api::namespaced(client.clone(), namespace),
            secrets: Api::namespaced(client, namespace),
            proxy,
        })
    }

    fn create(&self, name: &str) -> tokio::task::JoinHandle<kube::Result<ConfigMap>> {
        let (api, object) = (self.config_maps.clone(), config_map(name));
        tokio::spawn(async move { api.create(&PostParams::default(), &object).await })
    }
}

fn config_map(name: &str) -> ConfigMap {
    from_value(json!({"metadata": {"name": name, "labels": {"made-by": "us"}}, "data": {"size": "1"}}))
        .unwrap()
}

fn creates() -> Match {
    Match::method("POST").and(Match::path_ends_with("/configmaps"))
}

fn is_code<T>(result: kube::Result<T>, code: u16) -> bool {
    matches!(result, Err(kube::Error::Api(status)) if status.code == code)
}

/// What is really there, asked without the proxy.
async fn exists(cx: &Context, name: &str) -> Result<bool> {
    Ok(cx.namespace.api::<ConfigMap>().get_opt(name).await?.is_some())
}

pub(crate) async fn a_client_works_through_it(cx: Context) -> Result<()> {
    let way = Way::new(&cx).await?;
    let created = way.config_maps.create(&PostParams::default(), &config_map("one")).await?;
    assert_eq!(way.config_maps.get("one").await?, created);

    // The control plane puts a ConfigMap of its own into each namespace, sooner or later.
    let params = WatchParams::default().labels("made-by=us").timeout(60);
    let version = created.metadata.resource_version.context("no version")?;
    let mut events = pin!(way.config_maps.watch(&params, &version).await?);
    let silence = tokio::time::timeout(Duration::from_millis(200), events.next()).await;
    ensure!(silence.is_err(), "nothing has happened: {silence:?}");
    for name in ["two", "three"] {
        // The event comes while the watch goes on: nothing waits for its end.
        way.config_maps.create(&PostParams::default(), &config_map(name)).await?;
        let event = tokio::time::timeout(SOON, events.try_next()).await??.context("the watch ended")?;
        let WatchEvent::Added(object) = event else { bail!("{event:?}") };
        assert_eq!(object.metadata.name.as_deref(), Some(name));
    }
    assert_eq!((way.proxy.count(&creates()), way.proxy.count(&steps::watch())), (3, 1));
    Ok(())
}

/// The bearer token goes over plain HTTP to the proxy, and the API server knows the caller by it.
pub(crate) async fn the_operators_own_token_passes(cx: Context) -> Result<()> {
    let accounts = cx.namespace.api::<ServiceAccount>();
    accounts.create(&PostParams::default(), &from_value(json!({"metadata": {"name": "nobody"}}))?).await?;
    let proxy = Proxy::start(Upstream::kubernetes(&cx.cluster)).await?;
    let mark = cx.cluster.audit().mark().await?;
    let namespace = cx.namespace.name();
    let kubeconfig = cx.cluster.service_account_kubeconfig_at(&proxy.url(), namespace, "nobody").await?;
    let secrets: Api<Secret> = Api::namespaced(client(&kubeconfig).await?, namespace);
    ensure!(is_code(secrets.get("anything").await, 403), "not 403");

    let requests = cx.cluster.audit().since(mark).await?.by_service_account(namespace, "nobody");
    assert_eq!(requests.of_kind("secrets").single().within(namespace).len(), 1);
    assert_eq!(proxy.matching(&steps::secret_read("anything"))[0].server, Some(403));
    Ok(())
}

pub(crate) async fn an_operator_is_started_behind_it(cx: Context) -> Result<()> {
    let secret: Secret = from_value(
        json!({"metadata": {"name": "credential"}, "stringData": {"token": "one", "password": "pass"}}),
    )?;
    cx.namespace.api().create(&PostParams::default(), &secret).await?;
    let options = ChartOptions::new(crate::CHART, cx.namespace.name(), cx.namespace.name());
    let chart = Chart::render(&cx.cluster.helm(), &options).await?;
    chart.apply(&cx.cluster).await?;

    let proxy = Proxy::start(Upstream::kubernetes(&cx.cluster)).await?;
    let read = Match::method("GET").and(Match::path_contains("/configmaps/"));
    let held = proxy.add(Rule::on(read.clone()).hold_after());
    let launch = Launch::new(std::env::current_exe()?, &cx.dir)
        .program("/usr/local/bin/pretend-operator")
        .api_server(proxy.url());
    let mut operator = Operator::start(&cx.cluster, &chart, &launch).await?;
    assert_eq!(held.reached(SOON).await?.server, Some(200), "it has the rights of its ServiceAccount");
    ensure!(operator.log()?.is_empty(), "it waits for the answer");

    operator.kill()?;
    held.release();
    held.finished(SOON).await?;
    operator.restart()?;
    operator.wait_ready(SOON).await?;
    assert_eq!(proxy.count(&read), 2);
    Ok(())
}

/// A process of its own, killed while its request is held.
pub(crate) async fn a_request_arrives_after_the_death_of_its_sender(cx: Context) -> Result<()> {
    let proxy = Proxy::start(Upstream::kubernetes(&cx.cluster)).await?;
    let held = proxy.add(Rule::on(creates()).hold_before());
    let mut sender = std::process::Command::new(std::env::current_exe()?);
    sender.env(SENDER, cx.cluster.kubeconfig_at(&proxy.url())?).env(SENDER_NAMESPACE, cx.namespace.name());
    let mut sender = Process::spawn("the sender", &mut sender, &cx.dir.join("sender.log"))?;
    held.reached(SOON).await?;
    sender.kill()?;
    ensure!(!exists(&cx, "late").await?, "it has arrived");
    held.release();
    let call = held.finished(SOON).await?;
    assert_eq!(call.server, Some(201), "{call}");
    ensure!(exists(&cx, "late").await?, "it hasn't arrived");
    Ok(())
}

pub(crate) async fn a_held_answer_says_that_it_is_done(cx: Context) -> Result<()> {
    let way = Way::new(&cx).await?;
    let held = way.proxy.add(Rule::on(creates()).hold_after());
    let request = way.create("done");
    held.reached(SOON).await?;
    ensure!(exists(&cx, "done").await?, "it is not there");
    ensure!(!request.is_finished(), "it was answered");
    held.release();
    request.await??;
    Ok(())
}

pub(crate) async fn cuts_differ_in_what_the_server_has_done(cx: Context) -> Result<()> {
    let way = Way::new(&cx).await?;
    way.proxy.add(Rule::on(creates()).cut_before());
    ensure!(matches!(way.create("before").await?, Err(error) if !matches!(error, kube::Error::Api(_))));
    ensure!(!exists(&cx, "before").await?, "it has arrived");

    way.proxy.add(Rule::on(creates()).cut_after());
    ensure!(matches!(way.create("after").await?, Err(error) if !matches!(error, kube::Error::Api(_))));
    ensure!(exists(&cx, "after").await?, "it hasn't arrived");

    let late = way.proxy.add(Rule::on(creates()).late());
    ensure!(way.create("late").await?.is_err(), "it was answered");
    way.create("late").await??;
    late.release();
    assert_eq!(late.finished(SOON).await?.server, Some(409), "the caller's second attempt was first");
    assert_eq!(way.proxy.count(&creates()), 4, "the client repeats nothing by itself");
    Ok(())
}

pub(crate) async fn made_up_answers_are_those_of_an_api_server(cx: Context) -> Result<()> {
    let way = Way::new(&cx).await?;
    let conflict = way.proxy.add(Rule::on(creates()).conflict());
    let Err(kube::Error::Api(status)) = way.create("refused").await? else { bail!("no error of the API") };
    assert_eq!((status.code, status.reason.as_str()), (409, "Conflict"));
    ensure!(!exists(&cx, "refused").await?, "it has arrived");

    way.proxy.add(Rule::on(creates()).answer_after(500, kubernetes_status(500, "InternalError", "no")));
    ensure!(is_code(way.create("refused").await?, 500));
    ensure!(is_code(way.create("refused").await?, 409), "the server has done it");
    assert_eq!(conflict.hits(), 1);
    Ok(())
}

pub(crate) async fn the_steps_of_a_secret_are_told_apart(cx: Context) -> Result<()> {
    let way = Way::new(&cx).await?;
    let value = "kt_live_not_to_be_seen";
    let secret: Secret = from_value(json!({"metadata": {"name": "keys"}, "stringData": {"api-key": value}}))?;
    let (dry, real) = (steps::dry_run("keys"), steps::secret_write("keys"));
    let write = way.proxy.add(Rule::on(real.clone()).observe());

    way.secrets.create(&PostParams { dry_run: true, ..PostParams::default() }, &secret).await?;
    assert_eq!((way.proxy.count(&dry), way.proxy.count(&real), write.hits()), (1, 0, 0));
    way.secrets.create(&PostParams::default(), &secret).await?;
    assert_eq!(write.reached(SOON).await?.server, Some(201));
    let patch = Patch::Merge(json!({"stringData": {"api-key": value}}));
    way.secrets.patch("keys", &PatchParams::default(), &patch).await?;
    assert_eq!((way.proxy.count(&dry), way.proxy.count(&real)), (1, 2));

    ensure!(!format!("{:?}", way.proxy.calls()).contains(value), "the proxy remembers a Secret's data");
    let mark = keeptrusts_harness::audit::Mark::START;
    eventually(SOON, "the audit log has the requests without the value", async || {
        let requests = cx.cluster.audit().since(mark).await?.within(cx.namespace.name()).of_kind("secrets");
        ensure!(requests.clone().writes().len() == 3, "{requests}");
        ensure!(requests.containing(value).is_empty(), "the value is in the audit log");
        Ok(())
    })
    .await
}
