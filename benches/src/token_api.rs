//! The token API's emulator, as a process of its own: what it costs is in nobody's figures.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result};
use keeptrusts_emulator::{AdminClient, Operation};
use keeptrusts_harness::{Process, eventually, free_port, hopeless};

/// Ten times what it takes.
const START: Duration = Duration::from_secs(10);

/// The emulator.
pub(crate) struct TokenApi {
    url: String,
    credential: String,
    pub(crate) admin: AdminClient,
    // Killed when it is dropped.
    _process: Process,
}

impl TokenApi {
    /// Starts the program `binary`, with its files in `dir`.
    pub(crate) async fn start(binary: &Path, dir: &Path) -> Result<Self> {
        let port = free_port()?;
        let credential = format!("kt_live_{:032x}", rand::random::<u128>());
        let file = dir.join("credential");
        std::fs::create_dir_all(dir).with_context(|| format!("making {}", dir.display()))?;
        std::fs::write(&file, &credential).context("writing the credential")?;
        let mut command = Command::new(binary);
        command.arg("--address").arg(format!("127.0.0.1:{port}")).arg("--credential-file").arg(&file);
        // A line for each call would be work for nothing.
        command.env("RUST_LOG", "warn");
        let mut process = Process::spawn("the emulator", &mut command, &dir.join("emulator.log"))?;
        let url = format!("http://127.0.0.1:{port}");
        let admin = AdminClient::new(&url);
        eventually(START, "the emulator serves", async || {
            process.ensure_running().map_err(hopeless)?;
            Ok(admin.health().await?)
        })
        .await?;
        Ok(Self { url, credential, admin, _process: process })
    }

    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    pub(crate) fn credential(&self) -> &str {
        &self.credential
    }

    /// How often each operation was called since the last reset.
    pub(crate) async fn counts(&self) -> Result<BTreeMap<Operation, u64>> {
        Ok(self.admin.calls(u64::MAX).await?.counts.calls)
    }
}
