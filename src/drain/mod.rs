//! `keeptrusts-operator drain`: deletes keys, and says what became of their tokens. The operator that runs does the work; this
//! asks for it and waits.

mod rows;

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use clap::{Args, ValueEnum};
use k8s_openapi::api::core::v1::Secret;
use kube::Client;
use kube::api::{
    Api, ApiResource, DeleteParams, DynamicObject, ListParams, Patch, PatchParams, Preconditions,
};
use serde_json::json;

use crate::config::InstallationArguments;
use crate::controller::kubernetes::{self, ApiError};
use crate::controller::secrets::{installation_of, is_retained};
use crate::lifecycle::duration;
use crate::lifecycle::naming::Installation;
use crate::metrics::KubernetesMetrics;
use crate::orphans;
use crate::resources::{AccessKey, DeletionPolicy, GatewayKey};
use crate::selector::KeySelector;
use crate::table;

use self::rows::{Drained, Keeper, Outcome, Place, Row};

/// Between two looks, and between two lines that say how far it is.
const LOOK: Duration = Duration::from_secs(1);
const PROGRESS: Duration = Duration::from_secs(5);

/// How long it is looked on after the last key has gone: what creates keys again does so within seconds, or not while anybody waits.
const SETTLE: Duration = Duration::from_secs(3);

/// How many keys a message names.
const NAMED: usize = 10;

/// What the exit codes mean, for `--help`.
pub const EXIT_CODES: &str = "\
Exit codes:
  0  All keys are gone, and no key was created while drain ran
  1  The keys can't be listed, or the question wasn't answered with yes: nothing more was done
  2  The arguments are wrong
  3  Some keys are still there, or need a look: the last column says why
  4  Keys were created while drain ran: remove them from what creates them, then run drain again";

/// How the keys are drained.
#[derive(Clone, Debug, Args)]
pub struct DrainArguments {
    /// What becomes of the tokens: `retain` leaves each active in its Secret, where workloads go on with it; `revoke` revokes it, and
    /// removes the Secret
    #[arg(long, value_name = "FATE")]
    tokens: Fate,

    /// Drain this namespace alone; may be repeated. Name those that the operator watches (`--watch-namespace`). Default: all namespaces
    #[arg(
        long = "namespace",
        short,
        visible_alias = "watch-namespace",
        env = "KEEPTRUSTS_WATCH_NAMESPACES",
        value_delimiter = ',',
        value_name = "NAMESPACE"
    )]
    namespaces: Vec<String>,

    /// Drain only keys with these labels: the selector that the operator runs with. Default: all keys
    #[arg(long, env = "KEEPTRUSTS_WATCH_LABEL_SELECTOR", value_name = "SELECTOR")]
    watch_label_selector: Option<KeySelector>,

    /// Whose keys are drained. A key whose token another installation made is left alone
    #[command(flatten)]
    installation: InstallationArguments,

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
    /// It stays active, in its Secret.
    Retain,
    /// It is revoked.
    Revoke,
}

impl Fate {
    const fn policy(self) -> DeletionPolicy {
        match self {
            Self::Retain => DeletionPolicy::Retain,
            Self::Revoke => DeletionPolicy::Revoke,
        }
    }
}

/// Runs the command.
///
/// # Errors
/// If the keys can't be listed, or the question isn't answered with yes. What became of the keys is in the exit code ([`EXIT_CODES`]).
pub async fn run(arguments: DrainArguments) -> Result<ExitCode> {
    let client = kubernetes::client(&KubernetesMetrics::default())
        .await
        .context("can't find the Kubernetes API server")?;
    let installation = orphans::installation(&client, &arguments.installation).await?;
    let drain = Drain {
        client,
        installation,
        tokens: arguments.tokens,
        namespaces: arguments.namespaces,
        selector: arguments.watch_label_selector,
    };
    let mut drained =
        Drained::new(drain.keys().await?, arguments.tokens.policy(), !drain.namespaces.is_empty());
    if drained.another > 0 {
        writeln!(io::stderr(), "Left alone: {} of another installation.", keys(drained.another))?;
    }
    if drained.rows.is_empty() && drained.unclear.is_empty() {
        table::output(arguments.output, &drained.rows, |out| writeln!(out, "There are no keys."))?;
        return Ok(ExitCode::SUCCESS);
    }
    if !arguments.yes && !drained.rows.is_empty() {
        print(&mut io::stderr(), &drained.rows)?;
        table::confirm(&drain.question(drained.rows.len()))?;
    }
    for row in &mut drained.rows {
        match drain.delete(row).await {
            Ok(()) => row.policy = drain.tokens.policy(),
            Err(error) => {
                row.outcome = Outcome::Refused;
                row.message = Some(error.to_string());
            }
        }
    }
    if !drained.rows.is_empty() {
        drain.wait(&mut drained, arguments.timeout).await?;
    }
    let rows: Vec<Row> = drained.rows.into_iter().chain(drained.unclear).collect();
    table::output(arguments.output, &rows, |out| print(out, &rows))?;
    let Some((code, problem)) = problem(&rows) else { return Ok(ExitCode::SUCCESS) };
    writeln!(io::stderr(), "Error: {problem}")?;
    Ok(code.into())
}

fn keys(count: usize) -> String {
    if count == 1 { "1 key".to_owned() } else { format!("{count} keys") }
}

/// What a person has to do, and the exit code that says it.
fn problem(rows: &[Row]) -> Option<(u8, String)> {
    let new: Vec<&Row> = rows.iter().filter(|row| row.outcome.is_new()).collect();
    if !new.is_empty() {
        let named: Vec<_> = new.iter().take(NAMED).map(|row| row.title()).collect();
        let more = match new.len().saturating_sub(NAMED) {
            0 => String::new(),
            more => format!(" and {more} more"),
        };
        let (verb, them) = if new.len() == 1 { ("was", "it") } else { ("were", "them") };
        let again = if new.iter().all(|row| row.outcome == Outcome::MadeAgain) { " again" } else { "" };
        let problem = format!(
            "{}{more} {verb} created{again} while drain ran: remove {them} from what creates {them}, for example a GitOps tool or a \
             chart, then run the command again",
            named.join(", ")
        );
        return Some((4, problem));
    }
    let troubled = rows.iter().filter(|row| row.outcome.is_trouble()).count();
    if troubled == 0 {
        return None;
    }
    let advice = if rows.iter().any(|row| row.outcome == Outcome::Waiting) {
        "the operator does the work, so it must run; then run the command again"
    } else if rows.iter().all(|row| !row.outcome.is_trouble() || row.outcome == Outcome::Unclear) {
        "other keys of the cluster belong to another instance; name the namespaces of this one with --namespace"
    } else {
        "see to what the last column says"
    };
    Some((3, format!("{troubled} of {} keys need a look: {advice}", rows.len())))
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
    installation: Installation,
    tokens: Fate,
    namespaces: Vec<String>,
    selector: Option<KeySelector>,
}

impl Drain {
    fn question(&self, keys: usize) -> String {
        let these = if keys == 1 { "this key".to_owned() } else { format!("these {keys} keys") };
        match self.tokens {
            Fate::Retain => format!(
                "Delete {these} and leave their tokens active in their Secrets, where nothing rotates or revokes them any more?"
            ),
            Fate::Revoke => {
                format!("Delete {these} and revoke their tokens? Whatever uses them stops working at once.")
            }
        }
    }

    /// All keys of both kinds that the flags name, as they are now.
    async fn keys(&self) -> Result<BTreeMap<Place, Row>> {
        let mut all = BTreeMap::new();
        let mut wanted = ListParams::default();
        if let Some(selector) = &self.selector {
            wanted = wanted.labels(&selector.to_string());
        }
        for resource in [ApiResource::erase::<AccessKey>(&()), ApiResource::erase::<GatewayKey>(&())] {
            let apis: Vec<Api<DynamicObject>> = if self.namespaces.is_empty() {
                vec![Api::all_with(self.client.clone(), &resource)]
            } else {
                let api =
                    |namespace: &String| Api::namespaced_with(self.client.clone(), namespace, &resource);
                self.namespaces.iter().map(api).collect()
            };
            for api in apis {
                let found = kubernetes::pages(wanted.clone(), async |page| api.list(&page).await)
                    .await
                    .map_err(ApiError::from)
                    .with_context(|| format!("can't list {}", resource.plural))?;
                for key in &found {
                    let mut row = Row::of(&resource, key, &self.installation);
                    if row.keeper == Keeper::Unknown && row.token_id.is_some() {
                        row.keeper = self.keeper_by_secret(&row).await?;
                    }
                    all.insert(row.place(), row);
                }
            }
        }
        Ok(all)
    }

    /// Whose a key is whose token shows nothing, because the key has adopted it: its Secret names the installation.
    async fn keeper_by_secret(&self, row: &Row) -> Result<Keeper> {
        let secret = self.secret(row).await.with_context(|| {
            format!("can't read the metadata of the Secret of {}, which names its installation", row.title())
        })?;
        let named = secret.as_ref().and_then(|secret| installation_of(&secret.metadata));
        Ok(named.map_or(Keeper::Unknown, |named| rows::keeper(named == self.installation.as_str())))
    }

    async fn secret(&self, row: &Row) -> Result<Option<kube::core::PartialObjectMeta<Secret>>, ApiError> {
        let secrets: Api<Secret> = Api::namespaced(self.client.clone(), &row.namespace);
        secrets.get_metadata_opt(&row.secret).await.map_err(ApiError::from)
    }

    /// Says what is to become of the tokens, and deletes the key, if it is still the one that was listed.
    async fn delete(&self, row: &Row) -> Result<(), ApiError> {
        let api: Api<DynamicObject> =
            Api::namespaced_with(self.client.clone(), &row.namespace, &row.resource);
        let policy = self.tokens.policy();
        let patch = Patch::Merge(json!({"metadata": {"uid": row.uid}, "spec": {"deletionPolicy": policy}}));
        let params = PatchParams { field_manager: Some(FIELD_MANAGER.to_owned()), ..PatchParams::default() };
        let preconditions = Preconditions { uid: Some(row.uid.clone()), resource_version: None };
        let delete = DeleteParams::background().preconditions(preconditions);
        let deleted = async {
            api.patch(&row.name, &params, &patch).await?;
            api.delete(&row.name, &delete).await.map(drop)
        };
        match deleted.await.map_err(ApiError::from) {
            // Something else was faster; the wait finds out what became of it.
            Err(ApiError::NotFound | ApiError::Conflict) => Ok(()),
            outcome => outcome,
        }
    }

    /// Waits until the keys are gone, and looks on for a while: something may create them again.
    async fn wait(&self, drained: &mut Drained, timeout: Duration) -> Result<()> {
        let start = Instant::now();
        let (mut told, mut done) = (start, None);
        loop {
            let now = self.keys().await;
            if let Ok(now) = &now {
                for nr in drained.look(now) {
                    let row = &mut drained.rows[nr];
                    let secret = self.secret(row).await?;
                    if secret.is_some_and(|secret| is_retained(&secret.metadata)) {
                        row.outcome = Outcome::Retained;
                    }
                }
            }
            let waiting = drained.waiting().count();
            let settled = waiting == 0 && done.get_or_insert_with(Instant::now).elapsed() >= SETTLE;
            if start.elapsed() >= timeout || settled && now.is_ok() {
                // What couldn't be looked at in the end may have changed since.
                return now.map(drop);
            }
            if let Some(first) = drained.waiting().next().filter(|_| told.elapsed() >= PROGRESS) {
                told = Instant::now();
                let message = match (&now, &first.message) {
                    (Err(error), _) => format!("{error:#}"),
                    (_, Some(message)) => message.clone(),
                    (_, None) => "the operator hasn't seen to it yet".to_owned(),
                };
                let (all, title) = (drained.rows.len(), first.title());
                writeln!(io::stderr(), "{} of {all} are done; {title}: {message}", all - waiting)?;
            }
            tokio::time::sleep(LOOK).await;
        }
    }
}

/// Who asks for the deletion, for managedFields.
const FIELD_MANAGER: &str = "keeptrusts-operator-drain";

#[cfg(test)]
mod tests {
    use super::*;

    fn row(name: &str, outcome: Outcome) -> Row {
        let key: DynamicObject =
            serde_json::from_value(json!({"metadata": {"namespace": "shop", "name": name, "uid": name}}))
                .unwrap();
        let resource = ApiResource::erase::<AccessKey>(&());
        Row { outcome, ..Row::of(&resource, &key, &Installation::new("cluster", "default")) }
    }

    #[test]
    fn the_exit_code_says_what_a_person_has_to_do() {
        use Outcome::{Made, MadeAgain, NoToken, Retained, Revoked, SecretGone, Unclear, Waiting};
        for (outcomes, code, told) in [
            (&[Revoked, NoToken][..], None, ""),
            (&[Retained], None, ""),
            (&[Revoked, Waiting], Some(3), "1 of 2 keys need a look: the operator does the work"),
            (&[SecretGone], Some(3), "see to what the last column says"),
            (&[Revoked, Unclear], Some(3), "name the namespaces of this one with --namespace"),
            (
                &[Waiting, MadeAgain],
                Some(4),
                "AccessKey shop/key-1 was created again while drain ran: remove it",
            ),
            (
                &[MadeAgain, Made],
                Some(4),
                "AccessKey shop/key-0, AccessKey shop/key-1 were created while drain ran",
            ),
        ] {
            let rows: Vec<_> = outcomes
                .iter()
                .enumerate()
                .map(|(nr, outcome)| row(&format!("key-{nr}"), *outcome))
                .collect();
            let problem = problem(&rows);
            assert_eq!(problem.as_ref().map(|(code, _)| *code), code, "{outcomes:?}");
            assert!(problem.unwrap_or_default().1.contains(told), "{outcomes:?}");
        }
        let many: Vec<_> = (0..12).map(|nr| row(&format!("key-{nr}"), MadeAgain)).collect();
        assert!(problem(&many).unwrap().1.contains("AccessKey shop/key-9 and 2 more were created again"));
    }
}
