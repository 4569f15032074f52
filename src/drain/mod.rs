//! `keeptrusts-operator drain`: deletes keys, and says what became of their tokens. The operator that runs does the work; this
//! asks for it and waits.

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use clap::{Args, ValueEnum};
use k8s_openapi::api::core::v1::Secret;
use kube::Client;
use kube::ResourceExt as _;
use kube::api::{
    Api, ApiResource, DeleteParams, DynamicObject, ListParams, Patch, PatchParams, Preconditions,
};
use serde::Serialize;
use serde_json::{Value, json};

use crate::controller::kubernetes::{self, ApiError};
use crate::controller::secrets::is_retained;
use crate::lifecycle::duration;
use crate::metrics::KubernetesMetrics;
use crate::resources::{AccessKey, DeletionPolicy, GatewayKey};
use crate::table;

/// Between two looks, and between two lines that say how far it is.
const LOOK: Duration = Duration::from_secs(1);
const PROGRESS: Duration = Duration::from_secs(5);

/// How the keys are drained.
#[derive(Clone, Debug, Args)]
pub struct DrainArguments {
    /// What becomes of the tokens: `retain` lets each live on in its Secret, where workloads go on with it; `revoke` ends it, and takes the
    /// Secret away
    #[arg(long, value_name = "FATE")]
    tokens: Fate,

    /// Drain this namespace alone; may be repeated. Default: all namespaces
    #[arg(long = "namespace", short, value_name = "NAMESPACE")]
    namespaces: Vec<String>,

    /// Don't ask
    #[arg(long)]
    yes: bool,

    /// How long to wait until all are gone, for example 10m
    #[arg(long, default_value = "10m", value_name = "DURATION", value_parser = duration::parse)]
    timeout: Duration,

    /// How the outcome is printed
    #[arg(long, short, default_value = "text", value_name = "FORMAT")]
    output: table::Output,
}

/// What becomes of a token.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Fate {
    /// It lives on in its Secret.
    Retain,
    /// It dies.
    Revoke,
}

/// A key, and what became of it.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Row {
    kind: String,
    namespace: String,
    name: String,
    #[serde(skip)]
    resource: ApiResource,
    #[serde(skip)]
    uid: String,
    secret: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    token_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    prefix: Option<String>,
    outcome: Outcome,
    #[serde(skip_serializing_if = "Option::is_none")]
    message: Option<String>,
}

/// Kind, namespace and name.
type Place = (String, String, String);

/// What became of a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
enum Outcome {
    /// It is still there.
    Waiting,
    /// The API server refuses the deletion, or what must come before it.
    Refused,
    /// It is gone, and its Secret holds the value of its token, which lives.
    Retained,
    /// It is gone, and so is its Secret: its token lives and nobody has its value.
    SecretGone,
    /// It is gone, and so are its tokens.
    Revoked,
    /// It is gone, and had no token.
    NoToken,
    /// It is gone, and something has made one of its name again.
    MadeAgain,
}

impl Outcome {
    const fn text(self) -> &'static str {
        match self {
            Self::Waiting => "still there",
            Self::Refused => "refused",
            Self::Retained => "retained",
            Self::SecretGone => "retained, but its Secret was gone",
            Self::Revoked => "revoked",
            Self::NoToken => "gone; it had no token",
            Self::MadeAgain => "made again by somebody",
        }
    }

    /// Whether a person has to see to it.
    const fn is_trouble(self) -> bool {
        matches!(self, Self::Waiting | Self::Refused | Self::SecretGone | Self::MadeAgain)
    }
}

/// Runs the command.
///
/// # Errors
/// If the keys can't be listed, nobody agrees, or a key isn't gone in time, or not for good.
pub async fn run(arguments: DrainArguments) -> Result<()> {
    let client = kubernetes::client(&KubernetesMetrics::default())
        .await
        .context("can't find the Kubernetes API server")?;
    let drain = Drain { client, tokens: arguments.tokens, namespaces: arguments.namespaces };
    let unseen = |row| Row { message: None, ..row };
    let mut rows: Vec<Row> = drain.keys().await?.into_values().map(unseen).collect();
    if rows.is_empty() {
        return table::output(arguments.output, &rows, |out| writeln!(out, "There are no keys."));
    }
    if !arguments.yes {
        print(&mut io::stderr(), &rows)?;
        table::confirm(&drain.question(rows.len()))?;
    }
    for row in &mut rows {
        if let Err(error) = drain.delete(row).await {
            row.outcome = Outcome::Refused;
            row.message = Some(error.to_string());
        }
    }
    drain.wait(&mut rows, arguments.timeout).await?;
    table::output(arguments.output, &rows, |out| print(out, &rows))?;
    let troubled = rows.iter().filter(|row| row.outcome.is_trouble()).count();
    if troubled == 0 {
        return Ok(());
    }
    let advice = if rows.iter().any(|row| row.outcome == Outcome::MadeAgain) {
        "take them out of what makes them, a GitOps tool or a chart, first"
    } else if rows.iter().all(|row| row.outcome != Outcome::Waiting) {
        "see to what the last column says"
    } else {
        "the operator does the work, so it must run; then run the command again"
    };
    bail!("{troubled} of {} keys need a look: {advice}", rows.len())
}

fn print(out: &mut impl Write, rows: &[Row]) -> io::Result<()> {
    let blank = || "-".to_owned();
    let line = |row: &Row| {
        let message = row.message.as_ref().map(|message| format!(": {message}")).unwrap_or_default();
        [
            row.kind.clone(),
            row.namespace.clone(),
            row.name.clone(),
            row.secret.clone(),
            row.prefix.clone().or_else(|| row.token_id.clone()).unwrap_or_else(blank),
            format!("{}{message}", row.outcome.text()),
        ]
    };
    table::print(out, ["KIND", "NAMESPACE", "NAME", "SECRET", "TOKEN", "OUTCOME"], rows.iter().map(line))
}

/// What is drained, and how.
struct Drain {
    client: Client,
    tokens: Fate,
    namespaces: Vec<String>,
}

impl Drain {
    fn question(&self, keys: usize) -> String {
        let these = if keys == 1 { "this key".to_owned() } else { format!("these {keys} keys") };
        match self.tokens {
            Fate::Retain => format!(
                "Delete {these} and let their tokens live on in their Secrets, where nothing rotates or revokes them any more?"
            ),
            Fate::Revoke => {
                format!("Delete {these} and revoke their tokens? Whatever uses them stops working at once.")
            }
        }
    }

    /// All keys of both kinds, as they are now.
    async fn keys(&self) -> Result<BTreeMap<Place, Row>> {
        let mut all = BTreeMap::new();
        for resource in [ApiResource::erase::<AccessKey>(&()), ApiResource::erase::<GatewayKey>(&())] {
            let apis: Vec<Api<DynamicObject>> = if self.namespaces.is_empty() {
                vec![Api::all_with(self.client.clone(), &resource)]
            } else {
                let api =
                    |namespace: &String| Api::namespaced_with(self.client.clone(), namespace, &resource);
                self.namespaces.iter().map(api).collect()
            };
            for api in apis {
                let found = kubernetes::pages(ListParams::default(), async |page| api.list(&page).await)
                    .await
                    .map_err(ApiError::from)
                    .with_context(|| format!("can't list {}", resource.plural))?;
                let rows = found.iter().map(|key| Row::of(&resource, key));
                all.extend(rows.map(|row| (row.place(), row)));
            }
        }
        Ok(all)
    }

    /// Says what is to become of the tokens, and deletes the key, if it is still the one that was listed.
    async fn delete(&self, row: &Row) -> Result<(), ApiError> {
        let api: Api<DynamicObject> =
            Api::namespaced_with(self.client.clone(), &row.namespace, &row.resource);
        let policy = match self.tokens {
            Fate::Retain => DeletionPolicy::Retain,
            Fate::Revoke => DeletionPolicy::Revoke,
        };
        let patch = Patch::Merge(json!({"metadata": {"uid": row.uid}, "spec": {"deletionPolicy": policy}}));
        let params = PatchParams { field_manager: Some(FIELD_MANAGER.to_owned()), ..PatchParams::default() };
        let preconditions = Preconditions { uid: Some(row.uid.clone()), resource_version: None };
        let delete = DeleteParams::background().preconditions(preconditions);
        let deleted = async {
            api.patch(&row.name, &params, &patch).await?;
            api.delete(&row.name, &delete).await.map(drop)
        };
        match deleted.await.map_err(ApiError::from) {
            // Somebody was faster; the wait finds out what became of it.
            Err(ApiError::NotFound | ApiError::Conflict) => Ok(()),
            outcome => outcome,
        }
    }

    /// Waits until the keys are gone.
    async fn wait(&self, rows: &mut [Row], timeout: Duration) -> Result<()> {
        let start = Instant::now();
        let mut told = start;
        loop {
            let now = self.keys().await;
            if let Ok(now) = &now {
                for row in rows.iter_mut().filter(|row| row.outcome == Outcome::Waiting) {
                    self.look(row, now).await?;
                }
            }
            let waiting: Vec<_> = rows.iter().filter(|row| row.outcome == Outcome::Waiting).collect();
            let Some(first) = waiting.first() else { return Ok(()) };
            if start.elapsed() >= timeout {
                return Ok(());
            }
            if told.elapsed() >= PROGRESS {
                told = Instant::now();
                let message = match (&now, &first.message) {
                    (Err(error), _) => format!("{error:#}"),
                    (_, Some(message)) => message.clone(),
                    (_, None) => "the operator hasn't seen to it yet".to_owned(),
                };
                let gone = rows.len() - waiting.len();
                let Row { kind, namespace, name, .. } = first;
                writeln!(
                    io::stderr(),
                    "{gone} of {} are done; {kind} {namespace}/{name}: {message}",
                    rows.len()
                )?;
            }
            tokio::time::sleep(LOOK).await;
        }
    }

    /// What became of a key, going by all that there are now.
    async fn look(&self, row: &mut Row, now: &BTreeMap<Place, Row>) -> Result<()> {
        match now.get(&row.place()) {
            Some(same) if same.uid == row.uid => {
                row.message.clone_from(&same.message);
                return Ok(());
            }
            Some(_) => row.outcome = Outcome::MadeAgain,
            None if row.token_id.is_none() => row.outcome = Outcome::NoToken,
            None if self.tokens == Fate::Revoke => row.outcome = Outcome::Revoked,
            None => {
                let secrets: Api<Secret> = Api::namespaced(self.client.clone(), &row.namespace);
                let secret = secrets.get_metadata_opt(&row.secret).await.map_err(ApiError::from)?;
                let kept = secret.is_some_and(|secret| is_retained(&secret.metadata));
                row.outcome = if kept { Outcome::Retained } else { Outcome::SecretGone };
            }
        }
        row.message = None;
        Ok(())
    }
}

/// Who asks for the deletion, for managedFields.
const FIELD_MANAGER: &str = "keeptrusts-operator-drain";

impl Row {
    fn of(resource: &ApiResource, key: &DynamicObject) -> Self {
        let text = |value: &Value| value.as_str().map(str::to_owned);
        let token = &key.data["status"]["token"];
        Self {
            kind: resource.kind.clone(),
            namespace: key.namespace().unwrap_or_default(),
            name: key.name_any(),
            resource: resource.clone(),
            uid: key.uid().unwrap_or_default(),
            secret: text(&key.data["spec"]["secret"]["name"]).unwrap_or_else(|| key.name_any()),
            token_id: text(&token["id"]),
            prefix: text(&token["prefix"]),
            outcome: Outcome::Waiting,
            message: ready_message(key),
        }
    }

    fn place(&self) -> Place {
        (self.kind.clone(), self.namespace.clone(), self.name.clone())
    }
}

/// What a key says of itself.
fn ready_message(key: &DynamicObject) -> Option<String> {
    let conditions = key.data["status"]["conditions"].as_array()?;
    let ready = conditions.iter().find(|condition| condition["type"] == "Ready")?;
    ready["message"].as_str().map(str::to_owned)
}
