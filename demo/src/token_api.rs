//! The token API as a workload sees it: `GET /v1/whoami` with a value tells whether it lives.

use std::time::Duration;

use anyhow::{Context as _, Result};
use secrecy::{ExposeSecret as _, SecretString};

/// The server is in this very process.
const TIMEOUT: Duration = Duration::from_secs(10);

/// A client of the token API.
pub(crate) struct TokenApi {
    client: reqwest::Client,
    url: String,
}

impl TokenApi {
    pub(crate) fn new(url: &str) -> Result<Self> {
        let client = reqwest::Client::builder()
            // It is on loopback, whatever proxy the reader's environment names.
            .no_proxy()
            .timeout(TIMEOUT)
            .build()
            .context("making an HTTP client")?;
        Ok(Self { client, url: url.to_owned() })
    }

    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    /// What the API says to the bearer of a value: the status and the body, in which no value ever is.
    pub(crate) async fn whoami(&self, value: &SecretString) -> Result<(reqwest::StatusCode, String)> {
        let request = self.client.get(format!("{}/v1/whoami", self.url)).bearer_auth(value.expose_secret());
        let answer = request.send().await.context("GET /v1/whoami")?;
        let status = answer.status();
        Ok((status, answer.text().await.context("reading the answer of /v1/whoami")?))
    }
}
