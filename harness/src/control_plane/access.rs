//! Ways to talk to the API server: as the administrator or as a `ServiceAccount`.

use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use anyhow::{Context as _, Result};
use k8s_openapi::ByteString;
use kube::Client;
use kube::config::{KubeConfigOptions, Kubeconfig};
use serde_json::{Value, json};

use crate::cluster::kubeconfig;

/// What a client needs: where the server is, how to know it, and who the client is.
#[derive(Clone)]
pub(crate) struct Access {
    pub(crate) server: String,
    /// The certificate that the API server made for itself, in PEM.
    pub(crate) certificate: Vec<u8>,
    pub(crate) token: String,
}

impl Access {
    /// A kubeconfig that needs no other file.
    pub(crate) fn kubeconfig(&self, namespace: &str) -> Result<String> {
        kubeconfig(&self.server_of_kubeconfig(), &self.token, namespace)
    }

    /// How a kubeconfig says where the server is and how it is known.
    pub(crate) fn server_of_kubeconfig(&self) -> Value {
        let mut server = json!({"server": self.server});
        // A proxy of the harness speaks plain HTTP.
        if self.server.starts_with("https:") {
            // A ByteString serialises as base64, which is what a kubeconfig wants.
            server["certificate-authority-data"] = json!(ByteString(self.certificate.clone()));
        }
        server
    }

    /// A client, on the tokio runtime that calls this.
    pub(crate) async fn client(&self) -> Result<Client> {
        Ok(Client::try_from(self.config().await?)?)
    }

    /// A client whose errors are those of one request: the library repeats a refused one up to fifteen times.
    pub(crate) async fn client_without_retries(&self) -> Result<Client> {
        let mut config = self.config().await?;
        config.default_retry = false;
        Ok(Client::try_from(config)?)
    }

    async fn config(&self) -> Result<kube::Config> {
        let config = Kubeconfig::from_yaml(&self.kubeconfig("default")?)?;
        Ok(kube::Config::from_custom_kubeconfig(config, &KubeConfigOptions::default()).await?)
    }
}

/// Writes a file that holds a credential, for its owner's eyes only.
pub(crate) fn write_private(path: &Path, content: &str) -> Result<()> {
    use std::io::Write as _;
    let mut file = std::fs::OpenOptions::new()
        .create(true)
        .write(true)
        .truncate(true)
        .mode(0o600)
        .open(path)
        .with_context(|| format!("opening {}", path.display()))?;
    file.write_all(content.as_bytes()).with_context(|| format!("writing {}", path.display()))
}

/// A token that nobody guesses: 32 hexadecimal digits of the thread's cryptographic generator.
pub(crate) fn random_token() -> String {
    format!("{:032x}", rand::random::<u128>())
}
