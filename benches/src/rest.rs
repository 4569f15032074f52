//! Keys that are as they should be: what a restart costs, a relist, and doing nothing.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::ConfigMap;
use keeptrusts_harness::{Chart, Operator};
use kube::Api;
use kube::api::PostParams;
use serde_json::json;

use crate::crowd::{Ask, Crowd};
use crate::fleet::{Fleet, end};
use crate::report::{Idle, Relist, Rest, Restart};
use crate::restart::{Restarted, Watch, bare_lists, restart};
use crate::round::{self, Worker};
use crate::stage::{self, Stage};
use crate::statistics::{Spread, count, rounded};
use crate::usage;

/// How many lists of the tokens the operator makes in an hour by default (`inventoryPeriod: 5m`).
const LISTS_AN_HOUR: u32 = 12;

const HOUR: f64 = 3_600.0;

/// After so many lists every key that is as it should be has seen all that a start has to see.
const LISTS_OF_A_START: u32 = 3;

/// How many objects the operator asks for at once.
const PAGE: usize = 500;

/// A relist, as the audit log shows it.
struct Relisted {
    seconds: f64,
    peak_kib: u64,
    cpu_seconds: f64,
    writes: usize,
}

/// Measures with so many keys.
pub(crate) async fn run(stage: &Stage, keys: usize) -> Result<Rest> {
    let chart = stage.install(&json!({})).await?;
    let namespace = format!("rest-{keys}");
    stage.make_namespace(&namespace).await?;
    stage.tokens.admin.reset().await?;
    let crowd = Crowd::new(&namespace, keys);
    let mut fleet = Fleet::start(stage, &chart).await?;
    let user = stage::user(&chart)?;
    round::run(stage, &crowd, Ask::Create, &user, Worker::Operator(&fleet)).await.context("minting")?;
    crowd.check(&stage.client, 0).await?;

    end(&mut fleet.standby).await?;
    let client = stage.operators_client(&chart).await?;
    let (mut bare, mut restarts, mut relists) = (Vec::new(), Vec::new(), Vec::new());
    for round in 1..=stage.setup.rounds {
        let what = format!("{keys} keys, round {round} of {}", stage.setup.rounds);
        let lists = bare_lists(&client).await?;
        let restarted = restart(stage, &chart, &mut fleet.leader, keys).await;
        let restarted = restarted.with_context(|| format!("{what}: the restart"))?;
        let relisted = relist(stage, &chart, &fleet.leader, keys).await;
        let relisted = relisted.with_context(|| format!("{what}: the relist"))?;
        println!(
            "  {what}: bare lists {lists:.2} s, restart {:.2} s, relist {:.2} s",
            restarted.seconds, relisted.seconds
        );
        bare.push(lists);
        restarts.push(restarted);
        relists.push(relisted);
    }
    end(&mut fleet.leader).await?;
    let idle = idle(stage).await.context("doing nothing")?;
    crowd.remove(&stage.client).await?;
    stage.clear(&crowd.namespace, crowd.keys.len()).await?;
    Ok(Rest {
        keys,
        bare_lists_seconds: Spread::of(bare.iter().copied()),
        restart: summary(&bare, &restarts),
        relist: Relist {
            seconds: Spread::of(relists.iter().map(|it| it.seconds)),
            ratio: Spread::of(relists.iter().zip(&bare).map(|(it, bare)| it.seconds / bare)),
            writes: relists.iter().map(|it| it.writes).max().unwrap_or_default(),
            leader_peak_mib: Spread::of(relists.iter().map(|it| mib(it.peak_kib))),
            leader_cpu_seconds: Spread::of(relists.iter().map(|it| it.cpu_seconds)),
        },
        idle,
    })
}

/// What several restarts took, against as many bare lists.
pub(crate) fn summary(bare: &[f64], restarts: &[Restarted]) -> Restart {
    let last = restarts.last();
    Restart {
        seconds: Spread::of(restarts.iter().map(|it| it.seconds)),
        ratio: Spread::of(restarts.iter().zip(bare).map(|(it, bare)| it.seconds / bare)),
        writes: restarts.iter().map(|it| it.did.writes).max().unwrap_or_default(),
        calls: last.map(|it| it.did.calls.clone()).unwrap_or_default(),
        token_calls: last.map(|it| it.did.token_calls.clone()).unwrap_or_default(),
        peak_mib: Spread::of(restarts.iter().map(|it| mib(it.uses.peak_kib))),
        resident_mib: Spread::of(restarts.iter().map(|it| mib(it.uses.resident_kib))),
        cpu_seconds: Spread::of(restarts.iter().map(|it| it.uses.cpu_seconds)),
    }
}

/// Restarts the API server, whose new watches begin where the old ones can't go on: everything is listed again.
async fn relist(stage: &Stage, chart: &Chart, operator: &Operator, keys: usize) -> Result<Relisted> {
    let user = stage::user(chart)?;
    let mut trail = stage.trail().await?;
    usage::forget_peak(operator.pid())?;
    let before = usage::of(operator.pid())?;
    // A watch whose last word is as late as the last write could go on where it was.
    let later: ConfigMap = serde_json::from_value(json!({"metadata": {"generateName": "later-"}}))?;
    let namespace = Api::namespaced(stage.client.clone(), "default");
    namespace.create(&PostParams::default(), &later).await.context("writing something")?;
    stage.cluster.kill_api_server()?;
    stage.cluster.start_api_server().await?;
    let pages = keys.div_ceil(PAGE) + 2 * (keys / 2).div_ceil(PAGE);
    let (mut seen, mut writes) = (0, 0);
    // Each of the three lists begins when its watch is tried again.
    let mut lists: BTreeMap<String, (Timestamp, Timestamp)> = BTreeMap::new();
    let begun = Instant::now();
    while seen < pages {
        tokio::time::sleep(Duration::from_millis(100)).await;
        trail.read(|request| {
            if request.user != user || request.resource == "leases" {
                return;
            }
            match request.verb.as_str() {
                "list" if request.succeeded() => {
                    seen += 1;
                    let list = lists.entry(request.resource).or_insert((request.received, request.answered));
                    *list = (list.0.min(request.received), list.1.max(request.answered));
                }
                "get" | "list" | "watch" => {}
                _ => writes += 1,
            }
        })?;
        if begun.elapsed() > stage.setup.patience {
            bail!(
                "{seen} pages of {pages} were listed within {:?} of the API server's restart",
                stage.setup.patience
            );
        }
    }
    tokio::time::sleep(stage.setup.settle).await;
    ensure!(writes == 0, "a relist wrote, though nothing was to be done");
    let after = usage::of(operator.pid())?;
    Ok(Relisted {
        seconds: rounded(
            lists.values().map(|(first, last)| last.duration_since(*first).as_secs_f64()).fold(0.0, f64::max),
        ),
        peak_kib: after.peak_kib,
        cpu_seconds: after.since(before).cpu_seconds,
        writes,
    })
}

/// What the replicas do where nothing is to be done: as they are by default, and with an hour's lists in a shorter time.
async fn idle(stage: &Stage) -> Result<Idle> {
    let seconds = stage.setup.idle.as_secs_f64();
    let (still, still_cpu) = watch_idle(stage, &stage.install(&json!({})).await?, stage.setup.settle).await?;
    let period = (stage.setup.idle / LISTS_AN_HOUR).max(Duration::from_secs(1));
    // Lists are believed sooner, as the hour is shorter; and the first of them are those of a start.
    let values = json!({"inventoryPeriod": format!("{}s", period.as_secs()), "api": {"listLag": "1s"}});
    let chart = stage.install(&values).await?;
    let (listing, listing_cpu) =
        watch_idle(stage, &chart, stage.setup.settle + period * LISTS_OF_A_START).await?;
    let lists = listing.token_calls.get("list").copied().unwrap_or_default();
    let rounds = (f64::from(u32::try_from(lists)?) / 2.0).max(1.0);
    let for_each_list = ((listing_cpu[0] - still_cpu[0]) / rounds).max(0.0);
    let share = |cpu: f64| rounded(cpu / seconds * 100.0);
    Ok(Idle {
        seconds,
        writes: still.writes + listing.writes,
        calls: still.calls,
        token_calls: listing.token_calls,
        leader_percent: share(still_cpu[0]),
        standby_percent: share(still_cpu[1]),
        seconds_for_each_list: rounded(for_each_list),
        leader_percent_of_an_hour: rounded(
            share(still_cpu[0]) + f64::from(LISTS_AN_HOUR) * for_each_list / HOUR * 100.0,
        ),
    })
}

/// What both replicas ask for in a while, and their processor time, once they have been up for `settle`.
async fn watch_idle(
    stage: &Stage,
    chart: &Chart,
    settle: Duration,
) -> Result<(crate::restart::Did, [f64; 2])> {
    let fleet = Fleet::start(stage, chart).await?;
    tokio::time::sleep(settle).await;
    let watch = Watch::begin(stage, chart).await?;
    let before = fleet.uses()?;
    tokio::time::sleep(stage.setup.idle).await;
    let uses = fleet.uses()?.since(before);
    let did = watch.end(stage).await?;
    ensure!(did.writes == 0, "something was written, though nothing was to be done: {:?}", did.calls);
    fleet.stop().await?;
    Ok((did, [uses.leader.cpu_seconds, uses.standby.cpu_seconds]))
}

fn mib(kib: u64) -> f64 {
    count(usize::try_from(kib).unwrap_or(usize::MAX)) / 1_024.0
}
