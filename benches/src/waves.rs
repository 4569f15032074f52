//! All keys at once: minted, rotated, deleted, by the floor and by the operator in turn.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context as _, Result, ensure};
use keeptrusts_harness::Chart;
use serde_json::json;

use crate::crowd::{Ask, Crowd};
use crate::fleet::{Fleet, Uses};
use crate::floor::Floor;
use crate::report::{Side, Sides, Size, Wave};
use crate::round::{self, Round, Turn, Worker};
use crate::stage::{self, Stage};
use crate::statistics::{Spread, count};

/// How far what the floor writes may differ in size from what the operator writes.
const ALIKE: std::ops::Range<f64> = 0.95..1.05;

/// At most so many keys warm the API server and etcd up: the first requests for a kind take seconds, and those for the first hundreds of
/// keys are cheaper than all later ones.
const WARM_UP: usize = 500;

/// The waves, in their order.
const WAVES: [(&str, Ask); 4] = [
    ("mint", Ask::Create),
    ("rotate in place", Ask::Rotate(1)),
    ("rotate with an overlap", Ask::Replace(2)),
    ("delete", Ask::Delete),
];

/// What all rounds of a size gave.
#[derive(Default)]
struct Rounds {
    floor: [Vec<Round>; WAVES.len()],
    operator: [Vec<Round>; WAVES.len()],
    bytes: Sides<usize>,
    empty: Vec<Uses>,
    resting: Vec<Uses>,
}

/// Makes the first requests of each kind, which nobody counts.
pub(crate) async fn warm_up(stage: &Stage) -> Result<()> {
    let chart = stage.install(&json!({})).await?;
    let keys = stage.setup.keys.iter().copied().min().unwrap_or(WARM_UP).min(WARM_UP);
    floor(stage, &chart, "warm-up", keys, &mut Rounds::default()).await
}

/// Runs all waves over so many keys.
pub(crate) async fn run(stage: &Stage, keys: usize) -> Result<Size> {
    let chart = stage.install(&json!({})).await?;
    let mut rounds = Rounds::default();
    for round in 1..=stage.setup.rounds {
        let what = format!("{keys} keys, round {round} of {}", stage.setup.rounds);
        for turn in Turn::of(round) {
            match turn {
                Turn::Floor => {
                    let namespace = format!("floor-{keys}-{round}");
                    let done = floor(stage, &chart, &namespace, keys, &mut rounds).await;
                    done.with_context(|| format!("{what}: the floor"))?;
                }
                Turn::Measured => {
                    let namespace = format!("keys-{keys}-{round}");
                    let done = operator(stage, &chart, &namespace, keys, &mut rounds).await;
                    done.with_context(|| format!("{what}: the operator"))?;
                }
            }
        }
        println!("  {what}: {}", in_words(&rounds));
    }
    let Sides { floor, operator } = rounds.bytes;
    ensure!(
        ALIKE.contains(&(count(floor) / count(operator))),
        "a key and its Secret have {floor} bytes as the floor writes them, and {operator} as the operator does: the floor is out of date"
    );
    Ok(summary(keys, rounds))
}

async fn floor(
    stage: &Stage,
    chart: &Chart,
    namespace: &str,
    keys: usize,
    rounds: &mut Rounds,
) -> Result<()> {
    let user = stage::user(chart)?;
    let crowd = crowd(stage, namespace, keys).await?;
    let floor = Floor::new(stage.operators_client(chart).await?, &stage.tokens, crowd.clone())?;
    for ((_, ask), all) in WAVES.into_iter().zip(&mut rounds.floor) {
        all.push(round::run(stage, &crowd, ask, &user, Worker::Floor(&floor)).await?);
        rounds.bytes.floor = check(stage, &crowd, ask).await?.unwrap_or(rounds.bytes.floor);
    }
    floor.finish().await?;
    stage.clear(&crowd.namespace, crowd.keys.len()).await
}

async fn operator(
    stage: &Stage,
    chart: &Chart,
    namespace: &str,
    keys: usize,
    rounds: &mut Rounds,
) -> Result<()> {
    let user = stage::user(chart)?;
    let crowd = crowd(stage, namespace, keys).await?;
    let fleet = Fleet::start(stage, chart).await?;
    tokio::time::sleep(stage.setup.settle).await;
    rounds.empty.push(fleet.uses()?);
    for ((_, ask), all) in WAVES.into_iter().zip(&mut rounds.operator) {
        all.push(round::run(stage, &crowd, ask, &user, Worker::Operator(&fleet)).await?);
        if ask == Ask::Create {
            tokio::time::sleep(stage.setup.settle).await;
            rounds.resting.push(fleet.uses()?);
        }
        rounds.bytes.operator = check(stage, &crowd, ask).await?.unwrap_or(rounds.bytes.operator);
    }
    fleet.stop().await?;
    stage.clear(&crowd.namespace, crowd.keys.len()).await
}

pub(crate) async fn crowd(stage: &Stage, namespace: &str, keys: usize) -> Result<Crowd> {
    stage.make_namespace(namespace).await?;
    stage.tokens.admin.reset().await?;
    Ok(Crowd::new(namespace, keys))
}

/// Makes sure that the keys are as they should be after a wave; says how large they are.
async fn check(stage: &Stage, crowd: &Crowd, ask: Ask) -> Result<Option<usize>> {
    match ask {
        Ask::Create => crowd.check(&stage.client, 0).await.map(Some),
        Ask::Rotate(generation) | Ask::Replace(generation) => {
            crowd.check(&stage.client, generation).await.map(Some)
        }
        Ask::Delete => Ok(None),
    }
}

fn in_words(rounds: &Rounds) -> String {
    let sides = rounds.floor.iter().zip(&rounds.operator);
    let each = WAVES.iter().zip(sides).map(|((name, _), (floor, operator))| {
        let (Some(floor), Some(operator)) = (floor.last(), operator.last()) else { return String::new() };
        let (ratio, paced) = (ratio(floor, operator), paced_ratio(floor, operator));
        let (floor, operator) = (floor.took.seconds, operator.took.seconds);
        format!("{name} {operator:.2} s (floor {floor:.2} s, ratio {ratio:.2}, at equal pace {paced:.2})")
    });
    each.collect::<Vec<_>>().join(", ")
}

fn summary(keys: usize, rounds: Rounds) -> Size {
    let waves = WAVES.iter().zip(rounds.floor.iter().zip(&rounds.operator));
    let waves = waves.map(|((name, _), (floor, operator))| wave(name, keys, floor, operator));
    Size {
        keys,
        waves: waves.collect(),
        bytes_per_key: rounds.bytes,
        empty: rounds.empty,
        resting: rounds.resting,
    }
}

/// One wave over all rounds, of the floor and of whoever is measured against it.
pub(crate) fn wave(name: &str, keys: usize, floor: &[Round], measured: &[Round]) -> Wave {
    let rounds = || floor.iter().zip(measured);
    Wave {
        name: name.to_owned(),
        ratio: Spread::of(rounds().map(|(floor, it)| ratio(floor, it))),
        paced_ratio: Some(Spread::of(rounds().map(|(floor, it)| paced_ratio(floor, it)))),
        processor_ratio: Spread::of(rounds().map(|(floor, it)| floor.cpu() / it.cpu())),
        floor: side(keys, floor),
        operator: side(keys, measured),
        uses: measured.iter().map(|round| round.uses).collect(),
    }
}

fn ratio(floor: &Round, measured: &Round) -> f64 {
    floor.took.seconds / measured.took.seconds
}

/// The same, had the machine been as fast for the one as for the other.
fn paced_ratio(floor: &Round, measured: &Round) -> f64 {
    ratio(floor, measured) * measured.pace / floor.pace
}

fn side(keys: usize, rounds: &[Round]) -> Side {
    let spread = |of: fn(&Round) -> f64| Spread::of(rounds.iter().map(of));
    Side {
        seconds: spread(|round| round.took.seconds),
        keys_per_second: Spread::of(rounds.iter().map(|round| count(keys) / round.took.seconds)),
        first_seconds: spread(|round| round.took.first_seconds),
        p50_seconds: spread(|round| round.took.p50_seconds),
        p99_seconds: spread(|round| round.took.p99_seconds),
        control_plane_cpu_seconds: spread(|round| round.control_plane_cpu),
        benchmark_cpu_seconds: spread(|round| round.benchmark_cpu),
        pace_milliseconds: Some(spread(|round| round.pace)),
        calls_per_key: middle(rounds, |round| round.took.calls_per_key.clone()),
        failed_calls_per_key: spread(|round| round.took.failed_calls_per_key).median,
        token_calls_per_key: middle(rounds, |round| round.token_calls_per_key(keys)),
    }
}

/// The median of each count over the rounds; a count that a round lacks is zero there.
fn middle(rounds: &[Round], of: impl Fn(&Round) -> BTreeMap<String, f64>) -> BTreeMap<String, f64> {
    let all: Vec<BTreeMap<String, f64>> = rounds.iter().map(of).collect();
    let labels: BTreeSet<&String> = all.iter().flat_map(BTreeMap::keys).collect();
    let median = |label: &String| {
        Spread::of(all.iter().map(|round| round.get(label).copied().unwrap_or_default())).median
    };
    labels.into_iter().map(|label| (label.clone(), median(label))).collect()
}
