//! Blows to processes and calls: each waits for its moment, falls, and is made good.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Result;
use keeptrusts_emulator::{Emulator, Operation};
use tokio_util::sync::CancellationToken;

use crate::faults;
use crate::plan::{Block, Mishap, Moment, WINDOW};
use crate::stage::Stage;

/// How often it is asked whether a call has come in: a call is over in a few milliseconds.
const LOOK: Duration = Duration::from_millis(1);

/// Kills an operator, and starts it again.
pub(crate) async fn kill(stage: Arc<Stage>, operator: usize, moment: Moment, down: Duration) -> Result<()> {
    wait_for(&stage.emulator, moment).await;
    let led = stage.operators[operator].kill().await?;
    stage.record().leaders_struck += u64::from(led);
    tokio::time::sleep(down).await;
    stage.operators[operator].start().await
}

/// Freezes an operator for a while.
pub(crate) async fn freeze(
    stage: Arc<Stage>,
    operator: usize,
    moment: Moment,
    lasts: Duration,
) -> Result<()> {
    wait_for(&stage.emulator, moment).await;
    // One that has just ended by itself is started again by then.
    if stage.operators[operator].freeze().await {
        let led = stage.operators[operator].leads().await?;
        stage.record().leaders_struck += u64::from(led);
        tokio::time::sleep(lasts).await;
    }
    stage.operators[operator].thaw().await
}

/// Ends the API server, and starts it again.
pub(crate) async fn restart_api_server(
    stage: Arc<Stage>,
    killed: bool,
    moment: Moment,
    down: Duration,
) -> Result<()> {
    wait_for(&stage.emulator, moment).await;
    if killed {
        stage.cluster.kill_api_server()?;
    } else {
        stage.cluster.stop_api_server().await?;
    }
    tokio::time::sleep(down).await;
    stage.cluster.start_api_server().await
}

/// Blocks an operator's way to the API server for a while.
pub(crate) async fn block(stage: &Stage, operator: usize, block: Block, lasts: Duration) {
    let Some(way) = stage.ways.get(operator) else { return };
    let rule = way.add(faults::rule(block));
    tokio::time::sleep(lasts).await;
    // What is held is carried out now, and nothing more is.
    way.clear();
    rule.release();
    let struck = u64::try_from(rule.hits()).unwrap_or(u64::MAX);
    *stage.record().blocked.entry(block.kind().into()).or_default() += struck;
}

async fn wait_for(emulator: &Emulator, moment: Moment) {
    let Moment::Mint(after) = moment else { return };
    let minting = || {
        let counts = emulator.counts();
        counts.of(Operation::Create) + counts.of(Operation::Rotate)
    };
    let (start, before) = (Instant::now(), minting());
    while minting() == before && start.elapsed() < WINDOW {
        tokio::time::sleep(LOOK).await;
    }
    tokio::time::sleep(after).await;
}

/// How long a fault waits for a call to strike.
const IN_FORCE: Duration = Duration::from_secs(12);

/// How often it is asked whether it has.
const GLANCE: Duration = Duration::from_millis(20);

/// Sees a fault that was added through to its end, and counts the calls that it struck.
pub(crate) async fn fault(stage: &Stage, id: u64, mishap: &Mishap, over: &CancellationToken) {
    let emulator = &stage.emulator;
    let find = || emulator.faults().into_iter().find(|fault| fault.id == id);
    let start = Instant::now();
    let spent = || find().is_none_or(|fault| fault.remaining == Some(0));
    let struck = || find().is_some_and(|fault| fault.used > 0);
    let holds = faults::holds(mishap.trouble);
    let through = async {
        while start.elapsed() < IN_FORCE && !(if holds { struck() } else { spent() }) {
            tokio::time::sleep(GLANCE).await;
        }
        if holds && struck() {
            tokio::time::sleep(mishap.lasts).await;
        }
    };
    // None: no more shall go wrong.
    let _ = over.run_until_cancelled(through).await;
    let used = find().map_or(0, |fault| fault.used);
    if faults::loses(mishap.trouble) {
        emulator.lose(id);
    }
    emulator.remove_fault(id);
    if used > 0 {
        *stage.record().struck.entry(mishap.trouble.kind().into()).or_default() += u64::from(used);
    }
}
