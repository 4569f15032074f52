//! Runs kubectl and helm: bounded in time, and an error says what they said.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context as _, Result, anyhow, bail};
use tokio::io::AsyncWriteExt as _;

use crate::Programs;

/// Long for anything that is asked of a control plane on the same machine.
const TIMEOUT: Duration = Duration::from_mins(1);

/// kubectl or helm with the kubeconfig to use.
#[derive(Debug, Clone)]
pub struct Tool {
    program: PathBuf,
    kubeconfig: PathBuf,
    home: PathBuf,
}

impl Tool {
    /// kubectl.
    #[must_use]
    pub fn kubectl(programs: &Programs, kubeconfig: &Path, home: &Path) -> Self {
        Self { program: programs.kubectl.clone(), kubeconfig: kubeconfig.to_owned(), home: home.to_owned() }
    }

    /// helm, with its caches and settings in `home` and not in the user's.
    #[must_use]
    pub fn helm(programs: &Programs, kubeconfig: &Path, home: &Path) -> Self {
        Self { program: programs.helm.clone(), kubeconfig: kubeconfig.to_owned(), home: home.to_owned() }
    }

    /// The same tool with another kubeconfig, say that of a `ServiceAccount`.
    #[must_use]
    pub fn with_kubeconfig(&self, kubeconfig: &Path) -> Self {
        Self { kubeconfig: kubeconfig.to_owned(), ..self.clone() }
    }

    /// Runs it and gives its standard output.
    ///
    /// # Errors
    /// When it fails (with what it wrote to standard error) or takes longer than a minute.
    pub async fn run<S: AsRef<str>>(&self, args: &[S]) -> Result<String> {
        self.run_with_input(args, "").await
    }

    /// Runs it with text on its standard input.
    ///
    /// # Errors
    /// As [`Self::run`].
    pub async fn run_with_input<S: AsRef<str>>(&self, args: &[S], input: &str) -> Result<String> {
        let args: Vec<&str> = args.iter().map(AsRef::as_ref).collect();
        let name = self.program.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let line = format!("{name} {}", args.join(" "));
        let mut child = tokio::process::Command::new(&self.program)
            .args(&args)
            .env("KUBECONFIG", &self.kubeconfig)
            .env("HOME", &self.home)
            .env("HELM_CACHE_HOME", self.home.join("helm-cache"))
            .env("HELM_CONFIG_HOME", self.home.join("helm-config"))
            .env("HELM_DATA_HOME", self.home.join("helm-data"))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .with_context(|| format!("starting {}", self.program.display()))?;
        let mut stdin = child.stdin.take().context("no standard input")?;
        let work = async {
            let write = async {
                // A tool that doesn't read its input closes it; its exit status tells whether that was right.
                let _ = stdin.write_all(input.as_bytes()).await;
                drop(stdin);
            };
            let ((), output) = tokio::join!(write, child.wait_with_output());
            output
        };
        let output = tokio::time::timeout(TIMEOUT, work)
            .await
            .map_err(|_| anyhow!("not done within {TIMEOUT:?}: {line}"))?
            .with_context(|| format!("running {line}"))?;
        if !output.status.success() {
            bail!("{line}: {}: {}", output.status, String::from_utf8_lossy(&output.stderr).trim());
        }
        String::from_utf8(output.stdout).with_context(|| format!("{line} wrote something that isn't text"))
    }
}
