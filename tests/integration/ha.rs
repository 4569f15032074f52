//! Several replicas: one acts, the others stand by, whatever happens to the one.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use k8s_openapi::api::coordination::v1::Lease;
use keeptrusts_harness::proxy::{steps, tokens};
use keeptrusts_harness::suite::Context;
use keeptrusts_harness::{Match, Operator, Proxy, Rule, Upstream, eventually, stays};
use keeptrusts_operator::resources::{AccessKey, GatewayKey};
use kube::api::{Api, DeleteParams, ListParams};
use serde_json::{Value, json};

use crate::world::{SOON, Setup, World, launch};

/// The times of the Lease. It is long enough that a takeover which waited for it can't be taken for one that didn't.
const LEASE: Duration = Duration::from_secs(8);
const RETRY: Duration = Duration::from_secs(1);

/// When those who stand by have looked once more: their waits are up to half as long again.
const LOOK: Duration = Duration::from_millis(1_500);

/// What a busy machine may add to anything.
const SLACK: Duration = Duration::from_secs(2);

const KEY: &str = "checkout";

/// Two replicas, the first of which leads. Each has proxies of its own.
struct Pair {
    world: World,
    second: Operator,
    /// Between the second one and the API server.
    kubernetes: Proxy,
    /// Between the second one and the token API.
    tokens: Proxy,
}

impl Pair {
    async fn start(cx: Context) -> Result<Self> {
        Self::start_with(cx, json!({})).await
    }

    async fn start_with(cx: Context, values: Value) -> Result<Self> {
        let lease = json!({
            "enabled": true,
            "leaseDuration": format!("{}s", LEASE.as_secs()),
            "renewDeadline": "5s",
            "retryPeriod": format!("{}s", RETRY.as_secs()),
        });
        let setup = Setup::new().values(&json!({"leaderElection": lease})).values(&values);
        let world = setup.start(cx).await?;
        let first = world.operator.pod_name();
        eventually(SOON, "the first one leads", async || {
            ensure!(leader(&world).await?.as_deref() == Some(first));
            Ok(())
        })
        .await?;
        let kubernetes = Proxy::start(Upstream::kubernetes(&world.cx.cluster)).await?;
        let tokens = Proxy::start(Upstream::http(world.emulator.url())).await?;
        let launch = launch(&world.cx, &kubernetes).env("KEEPTRUSTS_API_URL", &tokens.url());
        let mut second = Operator::start(&world.cx.cluster, &world.chart, &launch).await?;
        second.wait_ready(SOON).await.context("who stands by is ready")?;
        Ok(Self { world, second, kubernetes, tokens })
    }

    /// Waits until the second one leads; says how long it took.
    async fn taken_over(&self, since: Instant, within: Duration) -> Result<Duration> {
        let second = self.second.pod_name();
        eventually(within.saturating_sub(since.elapsed()), "the second one leads", async || {
            let leader = leader(&self.world).await?;
            ensure!(leader.as_deref() == Some(second), "{leader:?} leads");
            Ok(since.elapsed())
        })
        .await
    }

    /// The first one ends by itself, with an error that says why.
    async fn first_ends(&mut self) -> Result<()> {
        let status = self.world.operator.wait(SOON).await?;
        let log = self.world.operator.log()?;
        ensure!(!status.success() && log.contains("the Lease was lost"), "{status}: {log}");
        Ok(())
    }

    /// The second one does its work, and the first one none.
    async fn second_works(&self) -> Result<()> {
        let before = self.world.tokens.calls().len();
        self.world.create::<GatewayKey>("after", json!({})).await?;
        self.world.at_rest::<GatewayKey>("after").await?;
        ensure!(self.tokens.count(&tokens::create()) > 0, "the second one didn't make the token");
        ensure!(self.world.tokens.calls().len() == before, "the first one still makes calls");
        Ok(())
    }
}

/// The pod that holds the Lease.
async fn leader(world: &World) -> Result<Option<String>> {
    let name = world.chart.deployment()?["metadata"]["name"].as_str().context("no name")?.to_owned();
    let lease = world.cx.namespace.api::<Lease>().get_opt(&name).await?;
    let holder = lease.and_then(|lease| lease.spec?.holder_identity);
    Ok(holder.and_then(|holder| Some(holder.rsplit_once('_')?.0.to_owned())))
}

pub(crate) async fn at_rest_nothing_but_the_lease_is_written(cx: Context) -> Result<()> {
    let pair = Pair::start(cx).await?;
    let Pair { world, second, kubernetes, tokens } = &pair;
    world.create::<AccessKey>(KEY, json!({})).await?;
    world.create::<GatewayKey>("runtime", json!({"deletionPolicy": "Retain"})).await?;
    world.at_rest::<AccessKey>(KEY).await?;
    world.at_rest::<GatewayKey>("runtime").await?;
    world.lists(1).await?;
    let mark = world.cx.cluster.audit().mark().await?;
    let calls = world.tokens.calls().len();
    // Three periods of the lists, and six of the Lease.
    tokio::time::sleep(Duration::from_secs(6)).await;
    ensure!(world.operator.user() == second.user());
    let asked = world.cx.cluster.audit().since(mark).await?.by(&second.user()).single();
    let renewed =
        asked.clone().only(|request| request.resource == "leases" && request.verb == "update").len();
    let others = asked.only(|request| request.resource != "leases");
    ensure!(others.0.is_empty(), "{others:?}");
    ensure!((3..=7).contains(&renewed), "the Lease was written {renewed} times");
    let called = world.tokens.calls().split_off(calls);
    ensure!(called.iter().all(|call| tokens::list().matches(call)), "{called:?}");
    // Who stands by has seen it all, and done nothing, ever.
    ensure!(kubernetes.count(&steps::watch()) > 0, "its caches aren't filled");
    ensure!(kubernetes.count(&steps::write()) == 0, "{:?}", kubernetes.matching(&steps::write()));
    ensure!(tokens.calls().is_empty(), "{:?}", tokens.calls());
    Ok(())
}

pub(crate) async fn without_leader_election_no_lease_is_looked_at(cx: Context) -> Result<()> {
    let world = World::start(cx).await?;
    world.create::<AccessKey>(KEY, json!({})).await?;
    world.one_living::<AccessKey>(KEY, KEY, 1).await?;
    let leases: Api<Lease> = world.cx.namespace.api();
    ensure!(leases.list(&ListParams::default()).await?.items.is_empty());
    ensure!(world.kubernetes.count(&Match::path_contains("leases")) == 0);
    Ok(())
}

pub(crate) async fn who_stands_by_takes_over_from_a_killed_leader(cx: Context) -> Result<()> {
    let mut pair = Pair::start(cx).await?;
    // The token is made, and its value dies with the leader.
    let call = pair.world.tokens.add(Rule::on(tokens::create()).hold_after());
    pair.world.create::<AccessKey>(KEY, json!({"rotation": {"grace": "1s"}})).await?;
    call.reached(SOON).await?;
    let killed = Instant::now();
    pair.world.operator.kill()?;
    call.discard();
    let took = pair.taken_over(killed, LEASE + LOOK + SLACK).await?;
    // The last renewal may be as old as the time between two.
    ensure!(took + RETRY + SLACK >= LEASE, "the Lease was taken after {took:?}, while it was held");
    pair.world.settles::<AccessKey>(KEY, KEY, 2).await?;
    pair.second_works().await
}

pub(crate) async fn a_clean_stop_hands_over_at_once_but_not_before_all_is_done(cx: Context) -> Result<()> {
    // A call that may take long enough to be looked at.
    let mut pair = Pair::start_with(cx, json!({"api": {"callDeadline": "20s"}})).await?;
    let call = pair.world.tokens.add(Rule::on(tokens::create()).hold_after());
    pair.world.create::<AccessKey>(KEY, json!({})).await?;
    call.reached(SOON).await?;
    let first = pair.world.operator.pod_name().to_owned();
    pair.world.operator.ask_to_end()?;
    stays(LOOK * 2, "the Lease is held while something is under way", async || {
        ensure!(leader(&pair.world).await?.as_ref() == Some(&first));
        Ok(())
    })
    .await?;
    call.release();
    let status = pair.world.operator.wait(SOON).await?;
    let ended = Instant::now();
    ensure!(status.success(), "{status}");
    let took = pair.taken_over(ended, LOOK + SLACK).await?;
    ensure!(took + RETRY < LEASE, "it took {took:?}");
    pair.world.one_living::<AccessKey>(KEY, KEY, 1).await?;
    ensure!(pair.kubernetes.count(&steps::secret_write(KEY)) == 0, "the first one wrote the value");
    pair.second_works().await
}

pub(crate) async fn a_leader_that_was_frozen_ends(cx: Context) -> Result<()> {
    let mut pair = Pair::start(cx).await?;
    pair.world.create::<AccessKey>(KEY, json!({})).await?;
    let old = pair.world.one_living::<AccessKey>(KEY, KEY, 1).await?;
    // Frozen between the call and the Secret, with the answer at its door.
    let call = pair.world.tokens.add(Rule::on(tokens::rotate()).hold_after());
    pair.world.change::<AccessKey>(KEY, json!({"rotation": {"generation": 1}})).await?;
    call.reached(SOON).await?;
    pair.world.operator.pause()?;
    let frozen = Instant::now();
    call.release();
    pair.taken_over(frozen, LEASE + LOOK + SLACK).await?;
    let value = pair.world.settles::<AccessKey>(KEY, KEY, 2).await?;
    ensure!(value != old);
    pair.world.operator.resume()?;
    pair.first_ends().await?;
    // What it brought along was too late: the value stays the one that lives, and nothing rotates once more.
    pair.second_works().await?;
    ensure!(pair.world.settles::<AccessKey>(KEY, KEY, 2).await? == value);
    let rotations = pair.world.tokens.count(&tokens::rotate()) + pair.tokens.count(&tokens::rotate());
    ensure!(rotations == 1, "{rotations} rotations");
    Ok(())
}

pub(crate) async fn a_leader_that_is_cut_off_ends(cx: Context) -> Result<()> {
    let mut pair = Pair::start(cx).await?;
    pair.world.create::<AccessKey>(KEY, json!({})).await?;
    let value = pair.world.one_living::<AccessKey>(KEY, KEY, 1).await?;
    let cut = Instant::now();
    pair.world.kubernetes.add(Rule::on(Match::any()).always().cut_before());
    pair.first_ends().await?;
    ensure!(leader(&pair.world).await?.as_deref() != Some(pair.second.pod_name()), "two have led at once");
    pair.taken_over(cut, LEASE + LOOK + SLACK).await?;
    pair.second_works().await?;
    // Kubelet starts it again; the way is free again, and it stands by.
    pair.world.kubernetes.clear();
    pair.world.restart().await?;
    let calls = pair.world.tokens.calls().len();
    stays(LOOK * 2, "the second one leads", async || {
        ensure!(leader(&pair.world).await?.as_deref() == Some(pair.second.pod_name()));
        Ok(())
    })
    .await?;
    ensure!(pair.world.tokens.calls().len() == calls);
    ensure!(pair.world.settles::<AccessKey>(KEY, KEY, 1).await? == value);
    Ok(())
}

pub(crate) async fn a_leader_whose_lease_is_deleted_ends(cx: Context) -> Result<()> {
    let mut pair = Pair::start(cx).await?;
    let leases: Api<Lease> = pair.world.cx.namespace.api();
    leases.delete_collection(&DeleteParams::default(), &ListParams::default()).await?;
    pair.first_ends().await?;
    pair.taken_over(Instant::now(), LOOK + SLACK).await?;
    pair.second_works().await
}

/// It holds a value and can't write it: the other one makes another. What comes later finds its operation replaced.
pub(crate) async fn what_a_leader_holds_that_is_cut_off_is_not_lost_on_the_way(cx: Context) -> Result<()> {
    let mut pair = Pair::start(cx).await?;
    let call = pair.world.tokens.add(Rule::on(tokens::create()).hold_after());
    pair.world.create::<AccessKey>(KEY, json!({"rotation": {"grace": "1s"}})).await?;
    call.reached(SOON).await?;
    let cut = Instant::now();
    pair.world.kubernetes.add(Rule::on(Match::any()).always().cut_before());
    call.release();
    pair.taken_over(cut, LEASE + LOOK + SLACK).await?;
    let value = pair.world.settles::<AccessKey>(KEY, KEY, 2).await?;
    // It has lost the Lease long since, and still holds on to what it has.
    ensure!(pair.world.operator.exit_status()?.is_none(), "{}", pair.world.operator.log()?);
    pair.world.kubernetes.clear();
    pair.first_ends().await?;
    ensure!(pair.world.settles::<AccessKey>(KEY, KEY, 2).await? == value);
    pair.second_works().await
}
