//! Where the demo plays: what runs, what it is called, and how commands are shown and run there.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use keeptrusts_emulator::Emulator;
use keeptrusts_harness::{Cluster, ControlPlane, Operator, eventually};
use rand::RngExt as _;
use secrecy::SecretString;
use serde_json::Value;

use crate::failure::{Failure, check};
use crate::folder::Folder;
use crate::key::Key;
use crate::narrator::Narrator;
use crate::token_api::TokenApi;
use crate::tools::{Clients, Reply, Tools};

/// How much of an output is shown.
const LINES: usize = 12;

/// How often it is looked whether the operator still runs.
const LOOK: Duration = Duration::from_millis(200);

/// Longer than any grace that the story gives.
const REFUSED: Duration = Duration::from_mins(1);

/// What is said in the place of an output that holds a value.
const NEVER_SHOWN: &str = "the output is the value, and is never shown here";

/// The names of what the demo makes in a cluster.
#[derive(Debug, Clone)]
pub(crate) struct Names {
    /// The operator's namespace.
    pub(crate) system: String,
    /// The namespace of the keys.
    pub(crate) shop: String,
    /// The Helm release, which the Deployment and the `ServiceAccount` are called after.
    pub(crate) release: String,
}

impl Names {
    /// Names as a reader would choose them, in a cluster of the demo's own.
    pub(crate) fn plain() -> Self {
        Self {
            system: "keeptrusts-system".into(),
            shop: "shop".into(),
            release: "keeptrusts-operator".into(),
        }
    }

    /// Names that nobody else has, in a reader's cluster.
    pub(crate) fn unique() -> Self {
        let mut rng = rand::rng();
        let tail: String =
            (0..5).map(|_| char::from(b"bcdfghjklmnpqrstvwxz2456789"[rng.random_range(0..27)])).collect();
        Self {
            system: format!("keeptrusts-demo-{tail}"),
            shop: format!("keeptrusts-demo-{tail}-shop"),
            release: format!("keeptrusts-operator-{tail}"),
        }
    }
}

/// What the demo has made in the cluster, as far as it has come.
#[derive(Debug, Default)]
pub(crate) struct Made {
    pub(crate) namespaces: Vec<String>,
    pub(crate) release: bool,
    pub(crate) crds: bool,
}

/// What is shown of a command's output.
enum Echo<'a> {
    Lines,
    Note(&'a str),
}

/// Everything that runs, and the narrator.
pub(crate) struct Stage {
    pub(crate) narrator: Narrator,
    pub(crate) names: Names,
    pub(crate) clients: Clients,
    /// The reader's kubeconfig; without one the demo has a control plane of its own.
    pub(crate) kubeconfig: Option<PathBuf>,
    /// The operator's binary.
    pub(crate) binary: PathBuf,
    pub(crate) made: Made,
    /// Its replicas that run.
    pub(crate) operators: Vec<Operator>,
    pub(crate) tools: Option<Tools>,
    pub(crate) cluster: Option<Cluster>,
    pub(crate) control_plane: Option<ControlPlane>,
    pub(crate) api: Option<TokenApi>,
    pub(crate) emulator: Option<Emulator>,
    /// Dropped last: the operator writes to it.
    pub(crate) folder: Folder,
}

impl Stage {
    /// An empty stage.
    pub(crate) fn new(
        clients: Clients,
        kubeconfig: Option<PathBuf>,
        binary: PathBuf,
        folder: Folder,
    ) -> Self {
        Self {
            narrator: Narrator::new(),
            names: if kubeconfig.is_some() { Names::unique() } else { Names::plain() },
            clients,
            kubeconfig,
            binary,
            made: Made::default(),
            operators: vec![],
            tools: None,
            cluster: None,
            control_plane: None,
            api: None,
            emulator: None,
            folder,
        }
    }

    /// The token API's emulator.
    pub(crate) fn emulator(&self) -> Result<&Emulator> {
        self.emulator.as_ref().context("the token API wasn't started")
    }

    /// The token API's client.
    pub(crate) fn api(&self) -> Result<&TokenApi> {
        self.api.as_ref().context("the token API wasn't started")
    }

    fn tools(&self) -> Result<Tools> {
        self.tools.clone().context("there is no cluster yet")
    }

    /// Shows a command, runs it, and shows what came back. One that fails ends the demo.
    pub(crate) async fn run(&mut self, words: &[&str]) -> Result<String> {
        self.show_and_run(words, Echo::Lines).await
    }

    /// [`Self::run`], with a note in the place of the output.
    pub(crate) async fn run_noted(&mut self, words: &[&str], note: &str) -> Result<String> {
        self.show_and_run(words, Echo::Note(note)).await
    }

    async fn show_and_run(&mut self, words: &[&str], echo: Echo<'_>) -> Result<String> {
        self.narrator.command(words)?;
        let reply = self.reply(words).await?;
        match echo {
            Echo::Lines => self.narrator.output(&reply.stdout, LINES)?,
            Echo::Note(note) => self.narrator.note(note)?,
        }
        self.narrator.output(&reply.stderr, LINES)?;
        succeeded(words, reply)
    }

    /// Runs a command that isn't shown: a check's own look.
    pub(crate) async fn look(&mut self, words: &[&str]) -> Result<String> {
        let reply = self.reply(words).await?;
        succeeded(words, reply)
    }

    /// [`Self::look`] that leaves it to the caller what a failure means.
    pub(crate) async fn reply(&mut self, words: &[&str]) -> Result<Reply> {
        let tools = self.tools()?;
        tokio::select! {
            reply = tools.run(words) => reply,
            error = ended(&mut self.operators) => Err(error),
        }
    }

    /// Waits until a replica ends, which it shouldn't.
    pub(crate) async fn operator_ended(&mut self) -> anyhow::Error {
        ended(&mut self.operators).await
    }

    /// A key as the API server has it.
    pub(crate) async fn resource(&mut self, key: &Key) -> Result<Value> {
        let shop = self.names.shop.clone();
        let json = self.look(&["kubectl", "get", &key.resource, "-n", &shop, "-o", "json"]).await?;
        serde_json::from_str(&json).with_context(|| format!("reading {}", key.resource))
    }

    /// Shows how a variable gets a value from a Secret, and gets it, without ever showing it.
    pub(crate) async fn value(&mut self, key: &Key, variable: &str) -> Result<SecretString> {
        let (shop, template) = (self.names.shop.clone(), key.value_template());
        let words = ["kubectl", "get", "secret", &key.secret, "-n", &shop, "-o", &template];
        let mut lines = crate::command_line::laid_out(&words);
        if let Some(first) = lines.first_mut() {
            first.insert_str(0, &format!("{variable}=$("));
        }
        if let Some(last) = lines.last_mut() {
            last.push(')');
        }
        self.narrator.typed(&lines)?;
        let value = self.look(&words).await?;
        self.narrator.note(NEVER_SHOWN)?;
        check(!value.is_empty(), &format!("a value in Secret {}", key.secret), || "an empty one".into())?;
        Ok(SecretString::from(value))
    }

    /// Shows how a value is tried at the token API, tries it, and expects a status. Gives what the API says of its bearer.
    pub(crate) async fn whoami(
        &mut self,
        variable: &str,
        value: &SecretString,
        expected: u16,
    ) -> Result<Value> {
        let bearer = format!("-H \"Authorization: Bearer ${variable}\"");
        let command = format!(r"curl -s -o /dev/null -w '%{{http_code}}\n' {bearer} $API/v1/whoami");
        self.narrator.typed(&[command])?;
        let (status, body) = self.api()?.whoami(value).await?;
        self.narrator.output(status.as_str(), 1)?;
        let what = format!("status {expected} for the value in ${variable}");
        check(status.as_u16() == expected, &what, || status.to_string())?;
        Ok(serde_json::from_str(&body).unwrap_or_default())
    }

    /// Shows how a value is tried until the token API refuses it, and does so.
    pub(crate) async fn refused(&mut self, variable: &str, value: &SecretString) -> Result<()> {
        let bearer = format!("-H \"Authorization: Bearer ${variable}\"");
        let status = format!(r"curl -s -o /dev/null -w '%{{http_code}}' {bearer} $API/v1/whoami");
        self.narrator.typed(&[format!(r#"until [ "$({status})" = 401 ]; do sleep 1; done"#)])?;
        let api = self.api.as_ref().context("the token API wasn't started")?;
        let what = format!("the value in ${variable} is refused");
        let refused = eventually(REFUSED, &what, async || {
            let (status, _) = api.whoami(value).await?;
            ensure!(status.as_u16() == 401, "status {status}");
            Ok(())
        });
        tokio::select! {
            refused = refused => refused,
            error = ended(&mut self.operators) => Err(error),
        }
    }
}

fn succeeded(words: &[&str], reply: Reply) -> Result<String> {
    if reply.succeeded {
        return Ok(reply.stdout);
    }
    let command = crate::command_line::laid_out(words).join("\n          ");
    let seen = if reply.stderr.trim().is_empty() { reply.stdout } else { reply.stderr };
    Err(Failure::error(format!("that this command succeeds: {command}"), seen.trim()))
}

/// Waits until a replica ends; for ever, if there is none.
async fn ended(operators: &mut [Operator]) -> anyhow::Error {
    loop {
        for operator in &mut *operators {
            match operator.exit_status() {
                Ok(Some(status)) => {
                    return Failure::error(
                        "that the operator runs until it is asked to end",
                        format!("{}: {status}", operator.pod_name()),
                    );
                }
                Err(error) => return error,
                Ok(None) => {}
            }
        }
        tokio::time::sleep(LOOK).await;
    }
}
