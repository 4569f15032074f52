//! Carries out a plan.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use keeptrusts_emulator::Lists;
use keeptrusts_harness::Component;
use tokio::task::{JoinHandle, JoinSet};
use tokio_util::sync::CancellationToken;

use crate::plan::{Action, Timed};
use crate::stage::Stage;
use crate::{blows, faults, people};

/// How often it is told how far the run is.
const PROGRESS: Duration = Duration::from_secs(10);

/// What is to be done at a time.
enum Event {
    Begin(Action),
    ThawEtcd,
    ReleasePods,
    EndLists,
    Progress,
}

/// What is to be done, by time; the number keeps apart what is to be done at once.
#[derive(Default)]
struct Queue {
    events: BTreeMap<(Duration, usize), Event>,
    added: usize,
}

impl Queue {
    fn add(&mut self, at: Duration, event: Event) {
        self.added += 1;
        self.events.insert((at, self.added), event);
    }
}

/// What goes on beside the queue.
#[derive(Default)]
struct Beside {
    people: JoinSet<()>,
    /// Blows to operators and blocks of their ways, of which a plan has none that overlap, and faults of calls.
    blows: JoinSet<Result<()>>,
    /// Cancelled when no more shall go wrong.
    over: CancellationToken,
    restart: Option<JoinHandle<Result<()>>>,
}

/// Carries out a plan. What people have begun may go on when this returns, until what is given back is dropped; everything else has ended.
pub(crate) async fn run(stage: &Arc<Stage>, plan: Vec<Timed>) -> Result<JoinSet<()>> {
    let mut beside = Beside::default();
    let mut queue = Queue::default();
    let end = plan.last().map_or(Duration::ZERO, |timed| timed.at);
    for timed in plan {
        queue.add(timed.at, Event::Begin(timed.action));
    }
    let mut at = PROGRESS;
    while at < end {
        queue.add(at, Event::Progress);
        at += PROGRESS;
    }
    for key in 0..stage.keys.len() {
        let stage = Arc::clone(stage);
        beside.people.spawn_local(async move {
            if let Err(undone) = people::make(&stage, key).await {
                stage.record().violated(format!("key {key} can't be made: {undone}"));
            }
        });
    }
    let start = Instant::now();
    while let Some(((at, _), event)) = queue.events.pop_first() {
        tokio::time::sleep_until((start + at).into()).await;
        perform(stage, &mut queue, &mut beside, at, event).await?;
    }
    beside.over.cancel();
    beside.finish_restart().await?;
    while let Some(blow) = beside.blows.join_next().await {
        blow.context("a blow panicked")??;
    }
    Ok(beside.people)
}

impl Beside {
    /// Waits for the API server, and says why it isn't there.
    async fn finish_restart(&mut self) -> Result<()> {
        match self.restart.take() {
            Some(restart) => restart.await.context("the restart of the API server panicked")?,
            None => Ok(()),
        }
    }
}

async fn perform(
    stage: &Arc<Stage>,
    queue: &mut Queue,
    beside: &mut Beside,
    at: Duration,
    event: Event,
) -> Result<()> {
    match event {
        Event::Begin(action) => return begin(stage, queue, beside, at, action).await,
        Event::ThawEtcd => stage.cluster.resume(Component::Etcd)?,
        Event::ReleasePods => stage.pods.hold(false),
        Event::EndLists => stage.emulator.behaviour(|it| it.lists = Lists::default()),
        Event::Progress => progress(stage, at),
    }
    Ok(())
}

async fn begin(
    stage: &Arc<Stage>,
    queue: &mut Queue,
    beside: &mut Beside,
    at: Duration,
    action: Action,
) -> Result<()> {
    let kind = action.kind();
    stage.transcript.note(&format!("{action:?}"));
    match action {
        Action::KillOperator { operator, moment, down } => {
            beside.blows.spawn_local(blows::kill(Arc::clone(stage), operator, moment, down));
        }
        Action::FreezeOperator { operator, moment, lasts } => {
            beside.blows.spawn_local(blows::freeze(Arc::clone(stage), operator, moment, lasts));
        }
        Action::RestartApiServer { killed, moment, down } => {
            beside.finish_restart().await?;
            let restart = blows::restart_api_server(Arc::clone(stage), killed, moment, down);
            beside.restart = Some(tokio::task::spawn_local(restart));
        }
        Action::FreezeEtcd { lasts } => {
            // An API server that is on its way up would give up without its store.
            beside.finish_restart().await?;
            stage.cluster.pause(Component::Etcd)?;
            queue.add(at + lasts, Event::ThawEtcd);
        }
        Action::HoldPods { lasts } => {
            stage.pods.hold(true);
            queue.add(at + lasts, Event::ReleasePods);
        }
        Action::Block { operator, block, lasts } => {
            let stage = Arc::clone(stage);
            beside.blows.spawn_local(async move {
                blows::block(&stage, operator, block, lasts).await;
                Ok(())
            });
        }
        Action::Fault(mishap) => {
            let id = stage.emulator.add_fault(faults::fault(&mishap))?;
            let (stage, over) = (Arc::clone(stage), beside.over.clone());
            beside.blows.spawn_local(async move {
                blows::fault(&stage, id, &mishap, &over).await;
                Ok(())
            });
        }
        Action::Lists { oddity, lasts } => {
            stage.emulator.behaviour(|it| it.lists = faults::lists(oddity));
            queue.add(at + lasts, Event::EndLists);
        }
        Action::Person { key, act } => {
            let stage = Arc::clone(stage);
            beside.people.spawn_local(async move {
                let done = people::act(&stage, key, act).await;
                account(&stage, &format!("key {key}"), kind, &done);
            });
            return Ok(());
        }
        Action::DeleteNamespace { namespace } => {
            let stage = Arc::clone(stage);
            beside.people.spawn_local(async move {
                let done = people::delete_namespace(&stage, namespace).await;
                account(&stage, &format!("namespace {namespace}"), kind, &done);
            });
            return Ok(());
        }
    }
    stage.record().did(kind);
    Ok(())
}

fn account(stage: &Stage, whose: &str, kind: String, done: &Result<(), people::Undone>) {
    let told = done.as_ref().map_or_else(ToString::to_string, |()| "done".to_owned());
    let line = format!("{whose}, {kind}: {told}");
    stage.transcript.note(&line);
    let mut record = stage.record();
    match done {
        Ok(()) => record.did(kind),
        Err(people::Undone::Skipped(_)) => record.skipped(kind),
        Err(people::Undone::Failed(_)) => record.violated(line),
    }
}

fn progress(stage: &Stage, at: Duration) {
    let counts = stage.emulator.counts();
    let record = stage.record();
    let (done, skipped): (u64, u64) = (record.done.values().sum(), record.skipped.values().sum());
    let struck: u64 = record.struck.values().sum();
    let line = format!(
        "{:5} s: {done} actions ({skipped} skipped), {struck} calls struck; {} tokens made, {} alive; {} keys ready of {}",
        at.as_secs(),
        counts.tokens_created,
        counts.tokens_alive,
        record.ready,
        stage.keys.len(),
    );
    drop(record);
    stage.transcript.say(&line);
}
