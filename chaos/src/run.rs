//! Carries out a plan.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use keeptrusts_emulator::Lists;
use keeptrusts_harness::Component;
use tokio::task::{JoinHandle, JoinSet};

use crate::plan::{Action, Timed, Trouble};
use crate::stage::Stage;
use crate::{faults, people};

/// How often it is told how far the run is.
const PROGRESS: Duration = Duration::from_secs(10);

/// What is to be done at a time.
enum Event {
    Begin(Action),
    StartOperator(usize),
    ThawOperator(usize),
    ThawEtcd,
    EndFault(u64, Trouble),
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
struct Beside {
    people: JoinSet<()>,
    restart: Option<JoinHandle<Result<()>>>,
}

/// Carries out a plan. What people have begun may go on when this returns, until what is given back is dropped; everything else has ended.
pub(crate) async fn run(stage: &Arc<Stage>, plan: Vec<Timed>) -> Result<JoinSet<()>> {
    let mut beside = Beside { people: JoinSet::new(), restart: None };
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
    beside.finish_restart().await?;
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
        Event::StartOperator(operator) => stage.operators[operator].start().await?,
        Event::ThawOperator(operator) => stage.operators[operator].thaw().await?,
        Event::ThawEtcd => stage.cluster.resume(Component::Etcd)?,
        Event::EndFault(id, trouble) => end_fault(stage, id, trouble),
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
        Action::KillOperator { operator, down } => {
            stage.operators[operator].kill().await?;
            queue.add(at + down, Event::StartOperator(operator));
        }
        Action::FreezeOperator { operator, lasts } => {
            if !stage.operators[operator].freeze().await {
                stage.record().skipped(kind);
                return Ok(());
            }
            queue.add(at + lasts, Event::ThawOperator(operator));
        }
        Action::RestartApiServer { killed, down } => {
            beside.finish_restart().await?;
            beside.restart =
                Some(tokio::task::spawn_local(restart_api_server(Arc::clone(stage), killed, down)));
        }
        Action::FreezeEtcd { lasts } => {
            // An API server that is on its way up would give up without its store.
            beside.finish_restart().await?;
            stage.cluster.pause(Component::Etcd)?;
            queue.add(at + lasts, Event::ThawEtcd);
        }
        Action::Fault(mishap) => {
            let id = stage.emulator.add_fault(faults::fault(&mishap))?;
            queue.add(at + mishap.lasts, Event::EndFault(id, mishap.trouble));
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

async fn restart_api_server(stage: Arc<Stage>, killed: bool, down: Duration) -> Result<()> {
    if killed {
        stage.cluster.kill_api_server()?;
    } else {
        stage.cluster.stop_api_server().await?;
    }
    tokio::time::sleep(down).await;
    stage.cluster.start_api_server().await
}

/// Ends a fault, and counts the calls that it struck.
fn end_fault(stage: &Stage, id: u64, trouble: Trouble) {
    let used = stage.emulator.faults().iter().find(|fault| fault.id == id).map_or(0, |fault| fault.used);
    if faults::loses(trouble) {
        stage.emulator.lose(id);
    }
    stage.emulator.remove_fault(id);
    if used > 0 {
        *stage.record().struck.entry(trouble.kind().into()).or_default() += u64::from(used);
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
