//! kubectl, helm and the operator's own commands, run with exactly the words that are shown.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context as _, Result, anyhow};
use keeptrusts_harness::Programs;
use tokio::process::Command;

/// Longer than any `--timeout` that the narration gives; a tool that hangs longer won't end at all.
const TIMEOUT: Duration = Duration::from_mins(3);

/// The name of the operator's program.
pub(crate) const PROGRAM: &str = "keeptrusts-operator";

/// Where kubectl and helm are.
#[derive(Debug, Clone)]
pub(crate) struct Clients {
    pub(crate) kubectl: PathBuf,
    pub(crate) helm: PathBuf,
}

impl Clients {
    /// Those of the reader's `PATH`, if both are there; otherwise the harness's, which may have to be built.
    pub(crate) fn of_the_reader() -> Result<Self> {
        if let (Some(kubectl), Some(helm)) = (in_path("kubectl"), in_path("helm")) {
            return Ok(Self { kubectl, helm });
        }
        let [kubectl, helm] = Programs::clients()?;
        Ok(Self { kubectl, helm })
    }
}

fn in_path(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).map(|dir| dir.join(name)).find(|file| file.is_file())
}

/// These programs with a cluster to talk to.
#[derive(Debug, Clone)]
pub(crate) struct Tools {
    clients: Clients,
    /// The operator's program, which has commands for people.
    operator: PathBuf,
    kubeconfig: PathBuf,
    /// What helm remembers goes there, and not into the reader's home.
    settings: PathBuf,
    /// Where kubectl keeps its cache. A reader's cluster may be logged into with what is in the reader's home.
    home: Option<PathBuf>,
}

/// How a tool ended.
#[derive(Debug)]
pub(crate) struct Reply {
    pub(crate) succeeded: bool,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Tools {
    pub(crate) fn new(
        clients: &Clients,
        operator: &Path,
        kubeconfig: &Path,
        settings: &Path,
        home: Option<&Path>,
    ) -> Self {
        Self {
            clients: clients.clone(),
            operator: operator.to_owned(),
            kubeconfig: kubeconfig.to_owned(),
            settings: settings.to_owned(),
            home: home.map(Path::to_owned),
        }
    }

    /// Runs `kubectl …`, `helm …` or `keeptrusts-operator …` in the current folder. A tool that fails is no error here; one that can't be started is.
    pub(crate) async fn run(&self, words: &[&str]) -> Result<Reply> {
        let (name, args) = words.split_first().context("an empty command")?;
        let program = match *name {
            "kubectl" => &self.clients.kubectl,
            "helm" => &self.clients.helm,
            PROGRAM => &self.operator,
            other => return Err(anyhow!("no tool {other}")),
        };
        let mut command = Command::new(program);
        command.args(args);
        // The reader's settings could choose another context or namespace than the one that is shown.
        for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("HELM_")) {
            command.env_remove(name);
        }
        for (name, part) in
            [("HELM_CACHE_HOME", "cache"), ("HELM_CONFIG_HOME", "config"), ("HELM_DATA_HOME", "data")]
        {
            command.env(name, self.settings.join(part));
        }
        if let Some(home) = &self.home {
            command.env("HOME", home);
        }
        command
            .env("KUBECONFIG", &self.kubeconfig)
            .env("KUBERC", "off")
            .stdin(Stdio::null())
            // Ctrl-C is the demo's to act upon: a tool of the cleaning-up must not die of it.
            .process_group(0)
            .kill_on_drop(true);
        let output = tokio::time::timeout(TIMEOUT, command.output())
            .await
            .map_err(|_| anyhow!("{name} still ran after {TIMEOUT:?}"))?
            .with_context(|| format!("starting {}", program.display()))?;
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        Ok(Reply {
            succeeded: output.status.success(),
            stdout: text(&output.stdout),
            stderr: text(&output.stderr),
        })
    }
}
