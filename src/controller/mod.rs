//! Everything around the pure core that touches Kubernetes. Only the executor writes.

mod adoption;
mod cached;
pub(crate) mod census;
mod context;
mod control;
pub(crate) mod directory;
mod driver;
mod events;
mod executor;
mod key;
mod keys;
pub(crate) mod kubernetes;
mod notes;
mod orphans;
mod packed;
mod queue;
mod requesters;
mod resource;
mod scrape;
mod secret_cache;
pub mod secrets;
mod specs;
mod starting;
mod trouble;
mod users;
mod watches;
mod workloads;

use std::sync::Arc;

use anyhow::{Context as _, bail};
use futures::future;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::config::RunArguments;
use crate::health::Health;
use crate::leader::{Candidate, Ended};
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

/// Runs the operator until `stop`, or until another replica leads, and then until everything under way is finished.
///
/// # Errors
/// If the settings can't be used, no API server is found, or the Lease was lost.
pub async fn run(arguments: RunArguments, stop: CancellationToken) -> anyhow::Result<()> {
    let election = &arguments.leader_election;
    election.check(&arguments.connection.installation.instance)?;
    let tokens = Arc::new(Client::new(&arguments.connection.settings())?);
    let calls = KubernetesMetrics::default();
    let metrics = Metrics::new(tokens.metrics(), &calls);
    let client = kubernetes::client(&calls).await.context("can't find the Kubernetes API server")?;
    let health = Health::default();
    let served = CancellationToken::new();
    let serving = health.clone().serve(arguments.health_address, stop.clone(), served.clone()).await?;
    let serving_metrics = metrics.serve(arguments.metrics_address, served.clone()).await?;

    let uid = match &arguments.connection.installation.cluster_uid {
        Some(uid) => Some(uid.clone()),
        None => starting::cluster_uid(&client, &stop).await,
    };
    let Some(uid) = uid else { return Ok(()) };
    let Some(()) = starting::crds(&client, &health, &stop).await else { return Ok(()) };
    let installation = Installation::new(&uid, &arguments.connection.installation.instance);
    let inventory =
        Arc::new(Inventory::new(Arc::clone(&tokens), installation.clone(), arguments.inventory_period));
    let scopes = scopes(&arguments.watch_namespaces);
    let lease = election.lease_name(&arguments.connection.installation.instance);
    let patient_for = election.lease_renew_deadline;
    let candidate = Candidate::new(
        election,
        kubernetes::impatient_client(patient_for, &calls)
            .await
            .context("can't find the Kubernetes API server")?,
        client.default_namespace(),
        &lease,
        &arguments.pod_name,
    );
    let context = Arc::new(Context {
        kubernetes: Kubernetes::new(client.clone(), installation.clone()),
        events: Events::start(client.clone(), arguments.pod_name.clone(), metrics.events_dropped()),
        timing: Timing::new(arguments.connection.call_deadline, arguments.connection.list_lag),
        name_limit: arguments.max_token_name_length,
        directory: Directory::default(),
        selector: arguments.watch_label_selector.clone(),
        adoptions: Adoptions::allowed_in(arguments.adopt_namespaces.clone()),
        rollouts: Rollouts::at_most(arguments.max_rollouts),
        users: arguments.discover_workloads.then(|| Users::in_scopes(scopes.len())),
        leadership: candidate.leadership(),
        health: health.clone(),
        passes: TaskTracker::new(),
        metrics: metrics.clone(),
        stop: stop.clone(),
        tokens,
        inventory,
        installation,
    });
    tracing::info!(api = %arguments.connection.api_url, installation = context.installation.as_str(), "started");

    scrape::add_to(&metrics, &context, arguments.metrics_per_key, arguments.inventory_period);
    health.expect(2 * scopes.len());
    notes::tell(&health, &context);
    let beside = tasks(&context, &client, &scopes);
    let watching = scopes.into_iter().map(|namespace| {
        let synced = health.clone();
        watches::run(client.clone(), namespace, Arc::clone(&context), arguments.concurrency, move || {
            synced.synced();
        })
    });
    // Nobody who doesn't watch a place, or a key, calls its tokens orphans.
    if arguments.watch_namespaces.is_empty() && arguments.watch_label_selector.is_none() {
        let lease = orphans::lease(client.default_namespace(), &lease);
        tokio::spawn(orphans::report(Arc::clone(&context), health.clone(), lease));
    }
    let finished = CancellationToken::new();
    let candidacy = tokio::spawn(candidate.run(stop.clone(), finished.clone()));
    future::join_all(watching).await;
    context.passes.close();
    if !context.passes.is_empty() {
        tracing::info!(passes = context.passes.len(), "finishing what is under way");
    }
    context.passes.wait().await;
    // Not before: while something is under way the Lease is held.
    finished.cancel();
    let ended = candidacy.await;
    tracing::info!("stopped");
    for (what, task) in beside {
        task.await.with_context(|| format!("{what} ended before its time"))?;
    }
    served.cancel();
    serving.await.context("the health endpoint ended before its time")?;
    serving_metrics.await.context("the metrics endpoint ended before its time")?;
    match ended.context("the leader election ended before its time")? {
        Ended::InOrder => Ok(()),
        Ended::Lost => bail!("the Lease was lost: another replica may lead, and this one has ended"),
    }
}

/// What is watched: each of these namespaces, or all with one watch.
fn scopes(namespaces: &[String]) -> Vec<Option<String>> {
    match namespaces {
        [] => vec![None],
        named => named.iter().cloned().map(Some).collect(),
    }
}

/// Starts the tasks that run beside the watches, each with its name for the error if it ends before its time.
fn tasks(
    context: &Arc<Context>,
    client: &kube::Client,
    scopes: &[Option<String>],
) -> Vec<(&'static str, tokio::task::JoinHandle<()>)> {
    let stop = &context.stop;
    let shared = || Arc::clone(context);
    let files = {
        let (tokens, stop) = (Arc::clone(&context.tokens), stop.clone());
        async move { tokens.watch_files(stop).await }
    };
    let following = starting::follow(client.clone(), context.health.clone(), stop.clone());
    vec![
        ("the search for workloads", beside(stop, discover(shared(), client.clone(), scopes.to_vec()))),
        ("the watch of the connection's files", beside(stop, files)),
        ("the listing of tokens", beside(stop, list(shared()))),
        ("the look at what the API server serves", beside(stop, following)),
        ("the forgetting of tokens that no key adopts", beside(stop, adoption::forget_unwanted(shared()))),
        ("the word of who leads", beside(stop, tell_leader(shared()))),
    ]
}

/// Runs what must run beside the watches. If it ends before `stop`, which only a panic can do, the operator stops too: half
/// an operator looks like a whole one.
fn beside(
    stop: &CancellationToken,
    task: impl Future<Output = ()> + Send + 'static,
) -> tokio::task::JoinHandle<()> {
    let stop = stop.clone();
    tokio::spawn(async move {
        let _stop = stop.drop_guard();
        task.await;
    })
}

/// Lists tokens, until the context's `stop`, once this process acts: those who stand by make no call to the token API.
async fn list(context: Arc<Context>) {
    let stop = &context.stop;
    if stop.run_until_cancelled(context.leadership.begun()).await.is_some() {
        context.inventory.run(stop.clone()).await;
    }
}

/// Lets the metrics say who leads, until the context's `stop`.
async fn tell_leader(context: Arc<Context>) {
    let mut held = context.leadership.changes();
    loop {
        context.metrics.leading(*held.borrow_and_update());
        if !matches!(context.stop.run_until_cancelled(held.changed()).await, Some(Ok(()))) {
            return;
        }
    }
}

/// Looks for the workloads that use Secrets, if that is asked for, until the context's `stop`.
async fn discover(context: Arc<Context>, client: kube::Client, scopes: Vec<Option<String>>) {
    let Some(users) = &context.users else { return context.stop.cancelled().await };
    let watches = scopes.iter().map(|namespace| users.watch(&client, namespace.as_deref(), &context.stop));
    future::join_all(watches).await;
}
