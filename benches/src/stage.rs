//! Everything that runs beside the operator: the control plane and the token API; and the operator's chart.

use anyhow::{Context as _, Result};
use k8s_openapi::api::core::v1::{Namespace, Secret};
use keeptrusts_harness::{Chart, ChartOptions, ControlPlane, audit, eventually};
use kube::Client;
use kube::api::{Api, DeleteParams, PostParams};
use kube::config::{KubeConfigOptions, Kubeconfig};
use serde_json::{Value, json};

use crate::setup::Setup;
use crate::token_api::TokenApi;
use crate::trail::Trail;

/// The operator's own namespace.
pub(crate) const SYSTEM: &str = "bench-system";

/// More than anything here needs: the limit is no part of what is measured, but where a scenario says so.
const REQUESTS_PER_SECOND: u32 = 1_000_000;

/// So few objects are in nobody's way.
const FEW: usize = 100;

/// The API server's administrator, as its audit log names it.
pub(crate) const ADMINISTRATOR: &str = "harness:admin";

/// What runs.
pub(crate) struct Stage {
    pub(crate) cluster: ControlPlane,
    /// The administrator, whose calls are never repeated by the library.
    pub(crate) client: Client,
    pub(crate) tokens: TokenApi,
    pub(crate) setup: Setup,
}

impl Stage {
    /// Starts the control plane, with the CRDs, and the token API.
    pub(crate) async fn set(setup: &Setup) -> Result<Self> {
        let tokens = TokenApi::start(&setup.emulator, &setup.dir).await?;
        // The bodies would cost the API server more than some of the calls, and both sides alike.
        let options = keeptrusts_harness::Options::default().crds(setup.root.join("crds")).lean_audit();
        let cluster = ControlPlane::start(options).await?;
        let client = cluster.client_at(cluster.url()).await?;
        let stage = Self { cluster, client, tokens, setup: setup.clone() };
        stage.make_namespace(SYSTEM).await?;
        let credential: Secret = serde_json::from_value(
            json!({"metadata": {"name": "credential"}, "stringData": {"token": stage.tokens.credential()}}),
        )?;
        Api::namespaced(stage.client.clone(), SYSTEM).create(&PostParams::default(), &credential).await?;
        Ok(stage)
    }

    /// Installs the chart with its default values, but for those given and what the token API needs.
    pub(crate) async fn install(&self, values: &Value) -> Result<Chart> {
        let mut all = json!({
            "crds": {"enabled": false},
            "instance": "bench",
            "api": {
                "url": self.tokens.url(),
                "credential": {"secretName": "credential"},
                "requestsPerSecond": REQUESTS_PER_SECOND,
            },
        });
        json_patch::merge(&mut all, values);
        let dir = self.setup.root.join("charts/keeptrusts-operator");
        let chart =
            Chart::render(&self.cluster.helm(), &ChartOptions::new(dir, "bench", SYSTEM).values(all)).await?;
        chart.apply(&self.cluster).await?;
        Ok(chart)
    }

    /// A client with the operator's rights and settings, whose requests the API server queues as the operator's.
    pub(crate) async fn operators_client(&self, chart: &Chart) -> Result<Client> {
        let text = self.cluster.service_account_kubeconfig(SYSTEM, service_account(chart)?).await?;
        let kubeconfig = Kubeconfig::from_yaml(&text)?;
        let mut config =
            kube::Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await?;
        config.default_retry = false;
        config.connect_timeout = Some(std::time::Duration::from_secs(5));
        Ok(Client::try_from(config)?)
    }

    /// What is asked of the API server from now on.
    pub(crate) async fn trail(&self) -> Result<Trail> {
        Trail::begin(self.cluster.audit()).await
    }

    pub(crate) async fn make_namespace(&self, name: &str) -> Result<()> {
        let body: Namespace = serde_json::from_value(json!({"metadata": {"name": name}}))?;
        let namespaces: Api<Namespace> = Api::all(self.client.clone());
        namespaces.create(&PostParams::default(), &body).await.with_context(|| format!("making {name}"))?;
        Ok(())
    }

    /// Deletes a namespace where so many objects were and waits until it is gone, so that nothing of them is left. Few are left where they
    /// are.
    pub(crate) async fn clear(&self, namespace: &str, objects: usize) -> Result<()> {
        if objects > FEW { self.remove_namespace(namespace).await } else { Ok(()) }
    }

    /// Deletes a namespace and waits until it is gone with everything in it.
    async fn remove_namespace(&self, name: &str) -> Result<()> {
        let namespaces: Api<Namespace> = Api::all(self.client.clone());
        namespaces.delete(name, &DeleteParams::default()).await?;
        eventually(self.setup.patience * 10, "the namespace is gone", async || {
            match namespaces.get_opt(name).await? {
                None => Ok(()),
                Some(namespace) => {
                    anyhow::bail!("{:?}", namespace.status.and_then(|status| status.conditions))
                }
            }
        })
        .await
    }
}

/// The operator, as the audit log names it.
pub(crate) fn user(chart: &Chart) -> Result<String> {
    Ok(audit::service_account(SYSTEM, service_account(chart)?))
}

fn service_account(chart: &Chart) -> Result<&str> {
    chart.deployment()?["spec"]["template"]["spec"]["serviceAccountName"]
        .as_str()
        .context("the Deployment names no ServiceAccount")
}
