//! A cluster that an operator can be started against: the tests' control plane, or one that somebody has.

use std::path::Path;

use anyhow::{Context as _, Result};
use k8s_openapi::ByteString;
use k8s_openapi::api::authentication::v1::{TokenRequest, TokenRequestSpec};
use k8s_openapi::api::core::v1::ServiceAccount;
use kube::api::{Api, PostParams};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config};
use serde_json::{Value, json};

/// The tokens of `ServiceAccount`s outlive every test run (a cluster of one's own may shorten them).
const TOKEN_SECONDS: i64 = 24 * 3600;

/// A client with the rights of an administrator, and where the API server is.
#[derive(Clone)]
pub struct Cluster {
    client: Client,
    /// How a kubeconfig says where the API server is and how it is known.
    server: Value,
}

impl Cluster {
    pub(crate) fn new(client: Client, server: Value) -> Self {
        Self { client, server }
    }

    /// The cluster of a kubeconfig's current context.
    ///
    /// # Errors
    /// When the file can't be read, or names no cluster.
    pub async fn of_kubeconfig(file: &Path) -> Result<Self> {
        crate::install_crypto_provider();
        let kubeconfig =
            Kubeconfig::read_from(file).with_context(|| format!("reading {}", file.display()))?;
        let context = kubeconfig.current_context.clone().context("no current context")?;
        let named = kubeconfig.contexts.iter().find(|named| named.name == context);
        let cluster = named.and_then(|named| named.context.as_ref()).map(|context| context.cluster.clone());
        let cluster = kubeconfig
            .clusters
            .iter()
            .find(|named| Some(&named.name) == cluster.as_ref())
            .and_then(|named| named.cluster.clone());
        let mut cluster = cluster.with_context(|| format!("the context {context} names no cluster"))?;
        // The operator's kubeconfig stands in another folder.
        if let Some(path) = cluster.certificate_authority.take() {
            let certificate = std::fs::read(&path).with_context(|| format!("reading {path}"))?;
            let certificate = json!(ByteString(certificate));
            cluster.certificate_authority_data = certificate.as_str().map(str::to_owned);
        }
        let server = serde_json::to_value(&cluster).context("writing a kubeconfig")?;
        let config = Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await?;
        Ok(Self::new(Client::try_from(config)?, server))
    }

    /// A client with the rights of an administrator.
    #[must_use]
    pub fn client(&self) -> Client {
        self.client.clone()
    }

    /// The same cluster, reached by another URL, say that of a [`Proxy`](crate::Proxy).
    pub(crate) fn at(&self, url: &str) -> Self {
        let mut server = self.server.clone();
        server["server"] = json!(url);
        // A proxy of the harness speaks plain HTTP.
        if let (false, Some(fields)) = (url.starts_with("https:"), server.as_object_mut()) {
            fields.retain(|field, _| field == "server");
        }
        Self { client: self.client(), server }
    }

    /// A token of a `ServiceAccount`, good for a day.
    ///
    /// # Errors
    /// When there is no such `ServiceAccount`.
    pub async fn service_account_token(
        &self,
        namespace: &str,
        name: &str,
        audiences: &[String],
    ) -> Result<String> {
        let accounts: Api<ServiceAccount> = Api::namespaced(self.client(), namespace);
        let request = TokenRequest {
            spec: TokenRequestSpec {
                audiences: audiences.to_vec(),
                expiration_seconds: Some(TOKEN_SECONDS),
                ..TokenRequestSpec::default()
            },
            ..TokenRequest::default()
        };
        let reply = accounts
            .create_token_request(name, &PostParams::default(), &request)
            .await
            .with_context(|| format!("asking for a token of ServiceAccount {namespace}/{name}"))?;
        Ok(reply.status.context("a TokenRequest without status")?.token)
    }

    /// A kubeconfig with a token of a `ServiceAccount`, whose default namespace is the account's own.
    ///
    /// # Errors
    /// When there is no such `ServiceAccount`.
    pub async fn service_account_kubeconfig(&self, namespace: &str, name: &str) -> Result<String> {
        let token = self.service_account_token(namespace, name, &[]).await?;
        kubeconfig(&self.server, &token, namespace)
    }
}

/// A kubeconfig that needs no other file.
pub(crate) fn kubeconfig(server: &Value, token: &str, namespace: &str) -> Result<String> {
    let config = json!({
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "harness", "cluster": server}],
        "users": [{"name": "harness", "user": {"token": token}}],
        "contexts": [{"name": "harness", "context": {
            "cluster": "harness", "user": "harness", "namespace": namespace,
        }}],
        "current-context": "harness",
    });
    serde_yaml::to_string(&config).context("writing a kubeconfig")
}
