//! Everything around the pure core that touches Kubernetes. Only the executor writes.

mod adoption;
pub(crate) mod census;
mod context;
pub(crate) mod directory;
mod driver;
mod events;
mod executor;
mod key;
pub(crate) mod kubernetes;
mod orphans;
mod requesters;
mod resource;
mod scrape;
pub mod secrets;
mod trouble;
mod users;
mod watches;
mod workloads;

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use backon::{ExponentialBuilder, Retryable as _};
use futures::future;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::config::RunArguments;
use crate::health::Health;
use crate::lifecycle::naming::Installation;
use crate::lifecycle::observed::Timing;
use crate::metrics::{KubernetesMetrics, Metrics};
use crate::token_api::{Client, Inventory};

use self::adoption::Adoptions;
use self::context::Context;
use self::directory::Directory;
use self::events::Events;
use self::kubernetes::Kubernetes;
use self::users::Users;
use self::workloads::Rollouts;

/// Runs the operator until `stop`, and then until everything under way is finished.
///
/// # Errors
/// If the settings can't be used, or no API server is found.
pub async fn run(arguments: RunArguments, stop: CancellationToken) -> anyhow::Result<()> {
    let tokens = Arc::new(Client::new(&arguments.connection.settings())?);
    let calls = KubernetesMetrics::default();
    let metrics = Metrics::new(tokens.metrics(), &calls);
    let client = kubernetes::client(&calls).await.context("can't find the Kubernetes API server")?;
    let health = Health::default();
    let serving = health.clone().serve(arguments.health_address, stop.clone()).await?;
    let serving_metrics = metrics.serve(arguments.metrics_address, stop.clone()).await?;
    metrics.leading(true);

    let uid = match &arguments.connection.cluster_uid {
        Some(uid) => Some(uid.clone()),
        None => cluster_uid(&client, &stop).await,
    };
    let Some(uid) = uid else { return Ok(()) };
    let installation = Installation::new(&uid, &arguments.connection.instance);
    let inventory =
        Arc::new(Inventory::new(Arc::clone(&tokens), installation.clone(), arguments.inventory_period));
    let scopes: Vec<Option<String>> = if arguments.watch_namespaces.is_empty() {
        vec![None]
    } else {
        arguments.watch_namespaces.iter().cloned().map(Some).collect()
    };
    let context = Arc::new(Context {
        kubernetes: Kubernetes::new(client.clone(), installation.clone()),
        events: Events::start(client.clone(), arguments.pod_name.clone()),
        timing: Timing::new(arguments.connection.call_deadline, arguments.connection.list_lag),
        name_limit: arguments.max_token_name_length,
        keys: key::Keys::default(),
        directory: Directory::default(),
        adoptions: Adoptions::allowed_in(arguments.adopt_namespaces.clone()),
        rollouts: Rollouts::at_most(arguments.max_rollouts),
        users: arguments.discover_workloads.then(|| Users::in_scopes(scopes.len())),
        passes: TaskTracker::new(),
        metrics: metrics.clone(),
        stop: stop.clone(),
        tokens,
        inventory,
        installation,
    });
    tracing::info!(api = %arguments.connection.api_url, installation = context.installation.as_str(), "started");

    scrape::add_to(&metrics, &context, arguments.metrics_per_key, arguments.inventory_period);
    health.expect(scopes.len());
    let discovering = tokio::spawn(discover(Arc::clone(&context), client.clone(), scopes.clone()));
    let watching = scopes.into_iter().map(|namespace| {
        let synced = health.clone();
        watches::run(client.clone(), namespace, Arc::clone(&context), arguments.concurrency, move || {
            synced.synced();
        })
    });
    let files = tokio::spawn({
        let (tokens, stop) = (Arc::clone(&context.tokens), stop.clone());
        async move { tokens.watch_files(stop).await }
    });
    let lists = tokio::spawn({
        let (inventory, stop) = (Arc::clone(&context.inventory), stop.clone());
        async move { inventory.run(stop).await }
    });
    // Nobody who doesn't watch a place calls its tokens orphans.
    if arguments.watch_namespaces.is_empty() {
        let namespace = client.default_namespace().to_owned();
        tokio::spawn(orphans::report(Arc::clone(&context), health.clone(), namespace));
    }
    future::join_all(watching).await;
    context.passes.close();
    if !context.passes.is_empty() {
        tracing::info!(passes = context.passes.len(), "finishing what is under way");
    }
    context.passes.wait().await;
    tracing::info!("stopped");
    // Each ends by itself once `stop` is cancelled; one that panicked is told by the panic's own message.
    let _ended = future::join5(files, lists, serving, serving_metrics, discovering).await;
    Ok(())
}

/// Looks for the workloads that use Secrets, if that is asked for, until the context's `stop`.
async fn discover(context: Arc<Context>, client: kube::Client, scopes: Vec<Option<String>>) {
    let Some(users) = &context.users else { return };
    let watches = scopes.iter().map(|namespace| users.watch(&client, namespace.as_deref(), &context.stop));
    future::join_all(watches).await;
}

/// The uid that stands for the cluster. The API server may not be up yet; nothing if `stop` comes first.
async fn cluster_uid(client: &kube::Client, stop: &CancellationToken) -> Option<String> {
    let waits = ExponentialBuilder::new()
        .with_min_delay(Duration::from_secs(1))
        .with_max_delay(Duration::from_secs(30))
        .with_jitter()
        .without_max_times();
    let uid = (|| kubernetes::cluster_uid(client))
        .retry(waits)
        .notify(|error, wait| tracing::warn!(%error, "can't read the namespace kube-system; trying again in {wait:?}"));
    tokio::select! {
        uid = uid => uid.ok(),
        () = stop.cancelled() => None,
    }
}
