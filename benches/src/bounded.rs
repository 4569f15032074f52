//! Token APIs that set the pace: one that is slow, and one that allows so many calls a second.

use std::time::Duration;

use anyhow::{Context as _, Result};
use keeptrusts_emulator::{Effect, Fault};
use serde_json::json;

use crate::crowd::{Ask, Crowd};
use crate::fleet::Fleet;
use crate::floor::Floor;
use crate::report::{Limited, Slow};
use crate::round::{self, Round, Turn, Worker};
use crate::stage::{self, Stage};
use crate::statistics::{Spread, count, rounded};
use crate::wave::Wave;

/// What the slow one adds to every call.
const LATENCY: Duration = Duration::from_millis(200);

/// What the other one allows in any second; the chart's default is the same.
const PER_SECOND: u32 = 20;

/// Mints by the floor and the operator in turn, while every call to the token API takes long.
pub(crate) async fn slow(stage: &Stage, keys: usize) -> Result<Slow> {
    let chart = stage.install(&json!({})).await?;
    let user = stage::user(&chart)?;
    let (mut floors, mut operators) = (Vec::new(), Vec::new());
    for round in 1..=stage.setup.rounds {
        for turn in Turn::of(round) {
            match turn {
                Turn::Floor => {
                    let crowd = crowd(stage, &format!("floor-slow-{round}"), keys).await?;
                    let floor =
                        Floor::new(stage.operators_client(&chart).await?, &stage.tokens, crowd.clone())?;
                    let minted = slow_mint(stage, &crowd, &user, Worker::Floor(&floor)).await;
                    floors.push(minted.context("the floor")?);
                    floor.finish().await?;
                    remove(stage, &crowd).await?;
                }
                Turn::Measured => {
                    let crowd = crowd(stage, &format!("keys-slow-{round}"), keys).await?;
                    let fleet = Fleet::start(stage, &chart).await?;
                    let minted = slow_mint(stage, &crowd, &user, Worker::Operator(&fleet)).await;
                    operators.push(minted.context("the operator")?);
                    fleet.stop().await?;
                    remove(stage, &crowd).await?;
                }
            }
        }
    }
    stage.tokens.admin.clear_faults().await?;
    let speed = |round: &Round| count(keys) / round.took.seconds;
    let ratio =
        Spread::of(operators.iter().zip(&floors).map(|(operator, floor)| speed(operator) / speed(floor)));
    println!("  ratio {:.2}", ratio.median);
    Ok(Slow {
        keys,
        latency_milliseconds: u64::try_from(LATENCY.as_millis())?,
        ratio,
        floor_keys_per_second: Spread::of(floors.iter().map(speed)),
        operator_keys_per_second: Spread::of(operators.iter().map(speed)),
    })
}

async fn slow_mint(stage: &Stage, crowd: &Crowd, user: &str, worker: Worker<'_>) -> Result<Round> {
    stage.tokens.admin.add_fault(&Fault::new(Effect::latency(LATENCY))).await?;
    mint(stage, crowd, user, worker).await
}

async fn mint(stage: &Stage, crowd: &Crowd, user: &str, worker: Worker<'_>) -> Result<Round> {
    let round = round::run(stage, crowd, Ask::Create, user, worker).await?;
    crowd.check(&stage.client, 0).await?;
    Ok(round)
}

/// One round under a limit.
struct UnderLimit {
    mint_seconds: f64,
    rotation_seconds: f64,
    new_key_seconds: f64,
    deletion_seconds: f64,
    refused: f64,
}

/// Mints and rotates under the token API's limit, with the chart's own; one key comes and one goes amidst the rotations.
pub(crate) async fn limited(stage: &Stage, keys: usize) -> Result<Limited> {
    let chart = stage.install(&json!({"api": {"requestsPerSecond": PER_SECOND}})).await?;
    let user = stage::user(&chart)?;
    let mut rounds = Vec::new();
    for round in 1..=stage.setup.rounds {
        let crowd = crowd(stage, &format!("limited-{round}"), keys).await?;
        // Two keys that go, and two that come.
        let [goes, comes] = ["goes", "comes"].map(|who| Crowd::new(&format!("{who}-{round}"), 2));
        let fleet = Fleet::start(stage, &chart).await?;
        for namespace in [&goes, &comes] {
            stage.make_namespace(&namespace.namespace).await?;
        }
        mint(stage, &goes, &user, Worker::Operator(&fleet)).await.context("minting those that go")?;
        // What was used of the limit is given back.
        tokio::time::sleep(Duration::from_secs(2)).await;
        let limit =
            stage.tokens.admin.add_fault(&Fault::new(Effect::Limit { per_second: PER_SECOND })).await?;
        let worker = Worker::Operator(&fleet);
        let minted = round::measure(stage, &crowd, Ask::Create, &user, worker).await.context("minting")?;
        crowd.check(&stage.client, 0).await?;
        tokio::time::sleep(Duration::from_secs(2)).await;

        let mut trails = [stage.trail().await?, stage.trail().await?, stage.trail().await?];
        let ask = Ask::Rotate(1);
        let mut rotations = Wave::new(&crowd, ask, &user);
        let mut deletions = Wave::new(&goes, Ask::Delete, &user);
        let mut creations = Wave::new(&comes, Ask::Create, &user);
        let patience = stage.setup.patience;
        crowd.ask(&stage.client, ask, None).await?;
        tokio::try_join!(
            goes.ask(&stage.client, Ask::Delete, None),
            comes.ask(&stage.client, Ask::Create, None)
        )?;
        let [first, second, third] = &mut trails;
        tokio::try_join!(
            rotations.follow(first, patience),
            deletions.follow(second, patience),
            creations.follow(third, patience)
        )?;
        let faults = stage.tokens.admin.faults().await?;
        let refused = faults.iter().find(|fault| fault.id == limit).map_or(0, |fault| fault.used);
        fleet.stop().await?;
        for crowd in [&crowd, &comes] {
            remove(stage, crowd).await?;
        }
        let round = UnderLimit {
            mint_seconds: minted.took.seconds,
            rotation_seconds: rotations.took().seconds,
            new_key_seconds: creations.took().seconds,
            deletion_seconds: deletions.took().seconds,
            refused: f64::from(refused),
        };
        println!(
            "  mint {:.1} s, rotation {:.1} s, new key amidst it {:.1} s, deletion {:.1} s, {} calls refused",
            round.mint_seconds,
            round.rotation_seconds,
            round.new_key_seconds,
            round.deletion_seconds,
            round.refused
        );
        rounds.push(round);
    }
    let spread = |of: fn(&UnderLimit) -> f64| Spread::of(rounds.iter().map(of));
    let allowed = f64::from(PER_SECOND);
    Ok(Limited {
        keys,
        calls_per_second: PER_SECOND,
        mint_keys_per_second: Spread::of(rounds.iter().map(|round| count(keys) / round.mint_seconds)),
        share_of_limit: Spread::of(
            rounds.iter().map(|round| rounded(count(keys) / round.mint_seconds / allowed)),
        ),
        refused_calls: spread(|round| round.refused),
        rotation_seconds: spread(|round| round.rotation_seconds),
        new_key_seconds: spread(|round| round.new_key_seconds),
        deletion_seconds: spread(|round| round.deletion_seconds),
    })
}

async fn crowd(stage: &Stage, namespace: &str, keys: usize) -> Result<Crowd> {
    stage.make_namespace(namespace).await?;
    stage.tokens.admin.reset().await?;
    Ok(Crowd::new(namespace, keys))
}

async fn remove(stage: &Stage, crowd: &Crowd) -> Result<()> {
    crowd.remove(&stage.client).await?;
    stage.clear(&crowd.namespace, crowd.keys.len()).await
}
