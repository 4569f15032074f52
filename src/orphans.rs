//! `keeptrusts-operator orphans`: lists tokens whose resource is gone, and revokes those that a person names.

use std::io::{self, Write as _};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use clap::{Args, Subcommand};
use k8s_openapi::api::core::v1::Secret;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::Client as KubeClient;
use kube::Resource as _;
use kube::api::{Api, ListParams};
use kube::core::DeserializeGuard;
use serde::Serialize;

use crate::config::{ConnectionArguments, InstallationArguments};
use crate::controller::census::census;
use crate::controller::directory::Resident;
use crate::controller::kubernetes;
use crate::controller::secrets::UID_LABEL;
use crate::lifecycle::listing::{Listed, Listing};
use crate::lifecycle::naming::Installation;
use crate::lifecycle::orphans::{Census, Orphan};
use crate::lifecycle::time::Monotonic;
use crate::lifecycle::token::TokenId;
use crate::metrics::KubernetesMetrics;
use crate::resources::{AccessKey, GatewayKey, Key, KeyKind};
use crate::table::{self, Output};
use crate::token_api::Client;

/// What is done about orphans.
#[derive(Clone, Debug, Subcommand)]
pub enum OrphansCommand {
    /// List living tokens of this installation whose resource is gone
    List(ListArguments),
    /// Revoke orphans by their ids, after one more look at each
    Revoke(RevokeArguments),
}

/// How orphans are listed.
#[derive(Clone, Debug, Args)]
pub struct ListArguments {
    #[command(flatten)]
    connection: ConnectionArguments,

    /// How they are printed
    #[arg(long, short, default_value = "text", value_name = "FORMAT")]
    output: Output,
}

/// Which orphans are revoked.
#[derive(Clone, Debug, Args)]
pub struct RevokeArguments {
    #[command(flatten)]
    connection: ConnectionArguments,

    /// Id of a token, as `orphans list` shows it; may be repeated
    #[arg(long = "id", required = true, value_name = "ID")]
    ids: Vec<String>,

    /// Don't ask
    #[arg(long)]
    yes: bool,

    /// How the outcome is printed
    #[arg(long, short, default_value = "text", value_name = "FORMAT")]
    output: Output,
}

/// An orphan as it is printed.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Row {
    id: String,
    kind: &'static str,
    name: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    prefix: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    created_at: Option<String>,
    /// The Secret that still holds its value: something may be using it.
    #[serde(skip_serializing_if = "Option::is_none")]
    secret: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    revoked: Option<bool>,
}

impl Row {
    fn of(kind: KeyKind, orphan: Orphan<'_>) -> Self {
        let facts = &orphan.token.facts;
        Self {
            id: facts.id.to_string(),
            kind: kind.kind(),
            name: facts.name.clone().unwrap_or_default(),
            prefix: facts.prefix.clone(),
            created_at: facts.created_at.map(|time| time.to_string()),
            secret: orphan.secret.map(ToOwned::to_owned),
            revoked: None,
        }
    }
}

/// Runs the command.
///
/// # Errors
/// If the token API or the cluster can't be asked, an id is no orphan's, or a token can't be revoked.
pub async fn run(command: OrphansCommand) -> Result<()> {
    match command {
        OrphansCommand::List(ListArguments { connection, output }) => {
            let rows = Survey::take(&connection).await?.rows();
            print(
                &rows,
                output,
                "There are no orphans: every living token of this installation is accounted for.",
            )
        }
        OrphansCommand::Revoke(arguments) => revoke(arguments).await,
    }
}

/// How old a survey may be when a token is revoked by it. A key that comes back, or that adopts the token, may claim it while a
/// person answers, or while other tokens are revoked.
const FRESH: Duration = Duration::from_secs(5);

async fn revoke(arguments: RevokeArguments) -> Result<()> {
    let RevokeArguments { connection, ids, yes, output } = arguments;
    let mut survey = Survey::take(&connection).await?;
    let mut rows = ids.iter().map(|id| survey.orphan(id)).collect::<Result<Vec<_>>>()?;
    if !yes {
        confirm(&rows)?;
    }
    let mut failed = 0;
    for row in &mut rows {
        if survey.taken.elapsed() > FRESH {
            survey = Survey::take(&connection).await?;
        }
        let revoked = match survey.orphan(&row.id) {
            Ok(_) => survey.tokens.revoke(&TokenId::parse(&row.id)?).await.map_err(anyhow::Error::from),
            Err(error) => Err(error),
        };
        if let Err(error) = &revoked {
            failed += 1;
            writeln!(io::stderr(), "{} wasn't revoked: {error}", row.id)?;
        }
        row.revoked = Some(revoked.is_ok());
    }
    print(&rows, output, "")?;
    if failed > 0 {
        bail!("{failed} of {} tokens weren't revoked; run the command again", rows.len());
    }
    Ok(())
}

/// Asks whether to go on.
fn confirm(rows: &[Row]) -> Result<()> {
    let mut out = io::stderr();
    for row in rows {
        let held = row
            .secret
            .as_ref()
            .map(|secret| format!("; Secret {secret} holds its value"))
            .unwrap_or_default();
        writeln!(out, "{} {}{held}", row.id, row.name)?;
    }
    table::confirm(&format!("Revoke {}? Whatever uses them stops working at once.", count(rows.len())))
}

fn count(tokens: usize) -> String {
    if tokens == 1 { "this token".to_owned() } else { format!("these {tokens} tokens") }
}

fn print(rows: &[Row], output: Output, none: &str) -> Result<()> {
    let blank = || "-".to_owned();
    let line = |row: &Row| {
        let outcome = match row.revoked {
            Some(true) => "revoked",
            Some(false) => "not revoked",
            None => "",
        };
        [
            row.id.clone(),
            row.kind.to_owned(),
            row.prefix.clone().unwrap_or_else(blank),
            row.created_at.clone().unwrap_or_else(blank),
            row.secret.clone().unwrap_or_else(blank),
            row.name.clone(),
            outcome.to_owned(),
        ]
    };
    table::output(output, rows, |out| {
        if rows.is_empty() {
            return writeln!(out, "{none}");
        }
        table::print(out, ["ID", "KIND", "PREFIX", "CREATED", "SECRET", "NAME", ""], rows.iter().map(line))
    })
}

/// The tokens of both types, and everybody who accounts for them.
struct Survey {
    /// When it was begun.
    taken: Instant,
    tokens: Client,
    lists: [(KeyKind, Listing); 2],
    census: Census,
}

impl Survey {
    /// Asks the token API first and the cluster afterwards: a token's resource is there before the token.
    async fn take(connection: &ConnectionArguments) -> Result<Self> {
        let taken = Instant::now();
        let tokens = Client::new(&connection.settings())?;
        let client = kubernetes::client(&KubernetesMetrics::default())
            .await
            .context("can't find the Kubernetes API server")?;
        let installation = installation(&client, &connection.installation).await?;
        let access = list(&tokens, &installation, KeyKind::Access).await?;
        let gateway = list(&tokens, &installation, KeyKind::Gateway).await?;
        let mut residents = self::residents::<AccessKey>(&client).await?;
        residents.extend(self::residents::<GatewayKey>(&client).await?);
        let secrets = self::secrets(&client).await?;
        let census = census(&installation, &residents, secrets);
        Ok(Self { taken, tokens, lists: [(KeyKind::Access, access), (KeyKind::Gateway, gateway)], census })
    }

    fn rows(&self) -> Vec<Row> {
        let of = |(kind, listing)| self.census.orphans(listing).map(move |orphan| Row::of(kind, orphan));
        let mut rows: Vec<_> =
            self.lists.iter().map(|(kind, listing)| (*kind, listing)).flat_map(of).collect();
        rows.sort_by(|a, b| a.id.cmp(&b.id));
        rows
    }

    /// The orphan with this id; says what it is if it isn't one.
    fn orphan(&self, id: &str) -> Result<Row> {
        if let Some(row) = self.rows().into_iter().find(|row| row.id == id) {
            return Ok(row);
        }
        let listed = self.lists.iter().flat_map(|(_, listing)| listing.all());
        let token: Option<&Listed> = listed.into_iter().find(|listed| listed.facts.id.as_str() == id);
        match token {
            Some(token) if !token.alive => {
                bail!("{id} isn't an orphan: it is revoked or has expired; nothing was done")
            }
            Some(token) => {
                let who = self.census.accounts_for(token).unwrap_or("somebody");
                bail!("{id} isn't an orphan: it belongs to {who}; nothing was revoked")
            }
            None => bail!(
                "{id} isn't a token of this installation; nothing was revoked. Is --instance the one that the operator \
                 runs with?"
            ),
        }
    }
}

/// The installation that the flags name.
///
/// # Errors
/// If the cluster's uid isn't given and can't be read.
pub(crate) async fn installation(
    client: &KubeClient,
    arguments: &InstallationArguments,
) -> Result<Installation> {
    let uid = match &arguments.cluster_uid {
        Some(uid) => uid.clone(),
        None => kubernetes::cluster_uid(client)
            .await
            .context("can't read the namespace kube-system, whose uid --cluster-uid can give")?,
    };
    Ok(Installation::new(&uid, &arguments.instance))
}

async fn list(tokens: &Client, installation: &Installation, kind: KeyKind) -> Result<Listing> {
    let mut listing = Listing::empty(Monotonic::default());
    tokens
        .list(kind, |token| listing.add(installation, token.facts, token.alive))
        .await
        .with_context(|| format!("can't list the tokens that {} is for", kind.kind()))?;
    Ok(listing)
}

async fn residents<K: Key>(client: &KubeClient) -> Result<Vec<Resident>> {
    let keys: Api<DeserializeGuard<K>> = Api::all(client.clone());
    let found = kubernetes::pages(ListParams::default(), async |page| keys.list(&page).await)
        .await
        .with_context(|| {
            format!(
                "can't list {}s in all namespaces, without which nothing can be called an orphan",
                K::KIND.kind()
            )
        })?;
    Ok(found.iter().map(|key| Resident::of(key.meta(), key.0.as_ref().ok())).collect())
}

async fn secrets(client: &KubeClient) -> Result<Vec<ObjectMeta>> {
    let secrets: Api<Secret> = Api::all(client.clone());
    let ours = ListParams::default().labels(UID_LABEL);
    let found = kubernetes::pages(ours, async |page| secrets.list_metadata(&page).await).await.context(
        "can't list the metadata of Secrets in all namespaces, without which nothing can be called an orphan",
    )?;
    Ok(found.into_iter().map(|secret| secret.metadata).collect())
}
