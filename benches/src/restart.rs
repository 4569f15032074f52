//! A restart of the operator where all keys are as they should be, and what one must do for it at least: the lists.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use anyhow::{Result, bail, ensure};
use http::{HeaderValue, header};
use keeptrusts_harness::{Chart, Operator};
use keeptrusts_operator::controller::secrets::UID_LABEL;
use keeptrusts_operator::resources::GROUP;
use kube::Client;
use kube::api::ListParams;
use kube::core::Request;
use serde::Deserialize;
use serde::de::IgnoredAny;

use crate::fleet::{Metrics, end};
use crate::stage::{self, Stage};
use crate::statistics::count;
use crate::trail::Trail;
use crate::usage::{self, Usage};

/// How many objects the operator asks for at once.
const PAGE: u32 = 500;

/// Accept only metadata as the reply.
const METADATA_ONLY: &str = "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1";

/// How often it is looked whether the operator is at work, and for how long it must not be before it is asked whether it's done:
/// telling costs it a walk over its keys.
const LOOK: Duration = Duration::from_millis(10);
const QUIET: Duration = Duration::from_millis(250);

/// What a restart took.
#[derive(Debug, Clone, Default)]
pub(crate) struct Restarted {
    /// From the start of the process until every key was looked at and it has nothing to do.
    pub(crate) seconds: f64,
    /// Once it rests.
    pub(crate) uses: Usage,
    pub(crate) did: Did,
}

/// What the operator asked of both servers.
#[derive(Debug, Clone, Default)]
pub(crate) struct Did {
    /// Calls to the API server, without those for the Lease.
    pub(crate) calls: BTreeMap<String, usize>,
    /// Of them, those that write.
    pub(crate) writes: usize,
    /// Calls to the token API.
    pub(crate) token_calls: BTreeMap<String, u64>,
}

/// Counts what the operator asks from now on.
pub(crate) struct Watch {
    trail: Trail,
    user: String,
    token_calls: BTreeMap<keeptrusts_emulator::Operation, u64>,
}

impl Watch {
    pub(crate) async fn begin(stage: &Stage, chart: &Chart) -> Result<Self> {
        let (trail, user) = (stage.trail().await?, stage::user(chart)?);
        Ok(Self { trail, user, token_calls: stage.tokens.counts().await? })
    }

    pub(crate) async fn end(self, stage: &Stage) -> Result<Did> {
        let mut did = Did::default();
        let Self { mut trail, user, token_calls } = self;
        trail
            .read_all(|request| {
                if request.user == user && request.resource != "leases" {
                    *did.calls.entry(request.label()).or_default() += 1;
                    let reads = matches!(request.verb.as_str(), "get" | "list" | "watch");
                    did.writes += usize::from(!reads);
                }
            })
            .await?;
        for (operation, calls) in stage.tokens.counts().await? {
            let since = calls.saturating_sub(token_calls.get(&operation).copied().unwrap_or_default());
            if since > 0 {
                did.token_calls.insert(operation.name().to_owned(), since);
            }
        }
        Ok(did)
    }
}

/// Restarts an operator, the only one that runs, over so many keys that are ready.
pub(crate) async fn restart(
    stage: &Stage,
    chart: &Chart,
    operator: &mut Operator,
    keys: usize,
) -> Result<Restarted> {
    end(operator).await?;
    let watch = Watch::begin(stage, chart).await?;
    let begun = Instant::now();
    operator.restart()?;
    let seconds = caught_up(stage, operator, keys).await?.duration_since(begun).as_secs_f64();
    tokio::time::sleep(stage.setup.settle).await;
    let uses = usage::of(operator.pid())?;
    let did = watch.end(stage).await?;
    ensure!(did.writes == 0, "a restart wrote, though nothing was to be done: {:?}", did.calls);
    Ok(Restarted { seconds, uses, did })
}

/// Waits until an operator that was just started has looked at every key. Since when it has had nothing to do.
async fn caught_up(stage: &Stage, operator: &mut Operator, keys: usize) -> Result<Instant> {
    let begun = Instant::now();
    let (mut worked, mut used) = (begun, 0.0);
    loop {
        tokio::time::sleep(LOOK).await;
        if let Some(status) = operator.exit_status()? {
            bail!("the operator ended: {status}");
        }
        let cpu = usage::cpu(&[operator.pid()])?;
        if cpu > used {
            (worked, used) = (Instant::now(), cpu);
        } else if worked.elapsed() > QUIET && is_done(operator, keys).await {
            return Ok(worked);
        }
        if begun.elapsed() > stage.setup.patience {
            bail!("not every key was looked at within {:?} of a start", stage.setup.patience);
        }
    }
}

/// Whether every key was looked at and none waits.
async fn is_done(operator: &Operator, keys: usize) -> bool {
    // It doesn't serve yet when it begins.
    Metrics::of(operator).await.is_ok_and(|metrics| {
        let passes = metrics.sum("keeptrusts_reconciles_total");
        let waiting =
            metrics.sum("keeptrusts_reconcile_queue_length") + metrics.sum("keeptrusts_reconciles_running");
        passes >= count(keys) && waiting < 1.0
    })
}

/// The lists of all keys and of the metadata of their Secrets, at once, page by page; what they hold isn't decoded. In seconds.
pub(crate) async fn bare_lists(client: &Client) -> Result<f64> {
    let begun = Instant::now();
    let [access, gateway] =
        ["accesskeys", "gatewaykeys"].map(|plural| format!("/apis/{GROUP}/v1alpha1/{plural}"));
    let keys = ListParams::default().limit(PAGE);
    let ours = keys.clone().labels(UID_LABEL);
    tokio::try_join!(
        pages(client, &access, keys.clone(), None),
        pages(client, &gateway, keys, None),
        pages(client, "/api/v1/secrets", ours, Some(METADATA_ONLY)),
    )?;
    Ok(begun.elapsed().as_secs_f64())
}

async fn pages(
    client: &Client,
    path: &str,
    mut page: ListParams,
    accept: Option<&'static str>,
) -> Result<()> {
    #[derive(Deserialize)]
    struct Page {
        metadata: Continue,
        #[serde(rename = "items")]
        _items: IgnoredAny,
    }
    #[derive(Deserialize)]
    struct Continue {
        #[serde(default, rename = "continue")]
        token: String,
    }
    loop {
        let mut request = Request::new(path).list(&page)?;
        if let Some(accept) = accept {
            request.headers_mut().insert(header::ACCEPT, HeaderValue::from_static(accept));
        }
        let text = client.request_text(request).await?;
        let Page { metadata, .. } = serde_json::from_str(&text)?;
        if metadata.token.is_empty() {
            return Ok(());
        }
        page = page.continue_token(&metadata.token);
    }
}
