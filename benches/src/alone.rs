//! One key after the other, each when the last one is ready: how long a key takes where nothing waits.

use std::time::Duration;

use anyhow::{Context as _, Result};
use keeptrusts_harness::Chart;
use serde_json::json;

use crate::crowd::{Ask, Crowd, Told};
use crate::fleet::Fleet;
use crate::floor::Floor;
use crate::report::Alone;
use crate::round::Turn;
use crate::stage::{self, Stage};
use crate::statistics::Spread;
use crate::wave::Wave;

/// How many keys are made.
const KEYS: usize = 20;

/// How often the log is read for the end of one: the times are the log's.
const LOOK: Duration = Duration::from_millis(5);

pub(crate) async fn run(stage: &Stage) -> Result<Alone> {
    let chart = stage.install(&json!({})).await?;
    let (mut floor_seconds, mut operator_seconds) = (Vec::new(), Vec::new());
    for round in 1..=stage.setup.rounds {
        let what = format!("round {round} of {}", stage.setup.rounds);
        for turn in Turn::of(round) {
            match turn {
                Turn::Floor => {
                    let seconds = floor(stage, &chart, round).await;
                    floor_seconds.push(seconds.with_context(|| format!("{what}: the floor"))?);
                }
                Turn::Measured => {
                    let seconds = operator(stage, &chart, round).await;
                    operator_seconds.push(seconds.with_context(|| format!("{what}: the operator"))?);
                }
            }
        }
        let last = |all: &[f64]| all.last().map_or(0.0, |seconds| seconds * 1_000.0);
        println!("  {what}: {:.1} ms a key (floor {:.1} ms)", last(&operator_seconds), last(&floor_seconds));
    }
    Ok(Alone {
        keys: KEYS,
        ratio: Spread::of(
            operator_seconds.iter().zip(&floor_seconds).map(|(operator, floor)| operator / floor),
        ),
        floor_seconds: Spread::of(floor_seconds),
        operator_seconds: Spread::of(operator_seconds),
    })
}

async fn floor(stage: &Stage, chart: &Chart, round: usize) -> Result<f64> {
    let client = stage.operators_client(chart).await?;
    let crowd = crowd(stage, "floor", round).await?;
    let floor = Floor::new(client, &stage.tokens, crowd.clone())?;
    let (told, work) = floor.begin(Ask::Create);
    let making = make(stage, chart, &crowd, Some(told));
    let (seconds, ()) = tokio::try_join!(making, work)?;
    floor.finish().await?;
    crowd.remove(&stage.client).await?;
    Ok(seconds)
}

async fn operator(stage: &Stage, chart: &Chart, round: usize) -> Result<f64> {
    let crowd = crowd(stage, "keys", round).await?;
    let fleet = Fleet::start(stage, chart).await?;
    let seconds = make(stage, chart, &crowd, None).await?;
    fleet.stop().await?;
    crowd.remove(&stage.client).await?;
    Ok(seconds)
}

async fn crowd(stage: &Stage, whose: &str, round: usize) -> Result<Crowd> {
    let namespace = format!("{whose}-alone-{round}");
    stage.make_namespace(&namespace).await?;
    stage.tokens.admin.reset().await?;
    Ok(Crowd::new(&namespace, KEYS))
}

/// Makes the keys, and says how long the middle one took.
async fn make(stage: &Stage, chart: &Chart, crowd: &Crowd, told: Option<Told>) -> Result<f64> {
    let user = stage::user(chart)?;
    let mut trail = stage.trail().await?;
    let mut wave = Wave::new(crowd, Ask::Create, &user);
    for index in 0..KEYS {
        crowd.clone().ask_one(stage.client.clone(), index, Ask::Create, told.clone()).await?;
        wave.follow_to(index + 1, &mut trail, LOOK, stage.setup.patience).await?;
    }
    drop(told);
    crowd.check(&stage.client, 0).await?;
    Ok(wave.took().p50_seconds)
}
