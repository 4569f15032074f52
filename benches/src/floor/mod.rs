//! The floor: the calls that the protocol needs for a key, in their order, and nothing around them. No watch, no cache, no decision, no
//! memory of what was seen but what the next call needs.
//!
//! It uses the operator's HTTP clients with the operator's settings and rights, works on as many keys of each kind at once, and writes what the
//! operator would write. Events are written one after the other beside the keys, as the operator does it.

mod bodies;
mod calls;
mod steps;

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result};
use futures::{Stream, StreamExt as _, TryStreamExt as _, stream};
use keeptrusts_operator::resources::{KeyKind, KeyStatus};
use kube::Client;
use kube::runtime::events::{Recorder, Reporter};
use tokio::sync::Mutex;
use tokio::sync::mpsc::{self, Sender, UnboundedReceiver};
use tokio::task::JoinHandle;
use tokio::time::Instant;

use self::bodies::Note;
use self::calls::Calls;
use crate::crowd::{Ask, Asked, Crowd, Told};
use crate::token_api::TokenApi;

/// The operator's default (`--concurrency`): so many keys of each kind.
const CONCURRENCY: usize = 16;

/// So many events may wait, as in the operator.
const EVENTS: usize = 1_024;

/// `spec.rotation.grace` of the crowd.
const GRACE: Duration = Duration::from_secs(1);

/// The bare calls for the keys of a crowd.
pub(crate) struct Floor {
    shared: Arc<Shared>,
    writer: JoinHandle<Result<()>>,
}

struct Shared {
    calls: Calls,
    crowd: Crowd,
    /// What the next call needs of each key.
    known: Vec<Mutex<Known>>,
    events: Sender<Note>,
}

/// A key as the last call left it.
#[derive(Debug, Clone, Default)]
struct Known {
    uid: String,
    version: String,
    /// Of the resource, as the API server counts it.
    generation: i64,
    secret_version: String,
    status: KeyStatus,
}

impl Floor {
    pub(crate) fn new(client: Client, tokens: &TokenApi, crowd: Crowd) -> Result<Self> {
        let (events, written) = mpsc::channel(EVENTS);
        let writer = tokio::spawn(write_events(client.clone(), written));
        let known = crowd.keys.iter().map(|_| Mutex::default()).collect();
        let shared = Shared { calls: Calls::new(client, tokens)?, crowd, known, events };
        Ok(Self { shared: Arc::new(shared), writer })
    }

    /// Begins a wave: whom to tell of each key that was asked, and the work, which ends when nobody can be told any more.
    pub(crate) fn begin(&self, ask: Ask) -> (Told, impl Future<Output = Result<()>> + use<>) {
        let (access, asked_access) = mpsc::unbounded_channel();
        let (gateway, asked_gateway) = mpsc::unbounded_channel();
        let shared = Arc::clone(&self.shared);
        let work = async move {
            if ask == Ask::Delete {
                // By which the operator knows what lives, once for all.
                shared.calls.list(KeyKind::Access).await?;
                shared.calls.list(KeyKind::Gateway).await?;
            }
            tokio::try_join!(shared.work(ask, asked_access), shared.work(ask, asked_gateway))?;
            Ok(())
        };
        (Told { access, gateway }, work)
    }

    /// Waits for the events that are still to be written.
    pub(crate) async fn finish(self) -> Result<()> {
        drop(self.shared);
        self.writer.await.context("the writer of events panicked")?
    }
}

impl Shared {
    /// Works on the keys of a kind.
    async fn work(self: &Arc<Self>, ask: Ask, asked: UnboundedReceiver<Asked>) -> Result<()> {
        // What is to be revoked waits for its time without being in anybody's way.
        let (superseded, waiting) = mpsc::unbounded_channel();
        let shared = Arc::clone(self);
        let carried_out = at_once(received(asked), move |asked| {
            let (shared, superseded) = (Arc::clone(&shared), superseded.clone());
            async move {
                let index = asked.index;
                shared.carry_out(ask, asked).await?;
                if matches!(ask, Ask::Replace(_)) {
                    superseded.send((index, Instant::now() + GRACE)).context("nobody revokes")?;
                }
                Ok(())
            }
        });
        let due = received(waiting).then(|(index, at)| async move {
            tokio::time::sleep_until(at).await;
            index
        });
        let revoked = at_once(due, |index| {
            let shared = Arc::clone(self);
            async move { shared.revoke_superseded(index).await }
        });
        tokio::try_join!(carried_out, revoked)?;
        Ok(())
    }
}

fn received<T>(mut from: UnboundedReceiver<T>) -> impl Stream<Item = T> {
    stream::poll_fn(move |context| from.poll_recv(context))
}

/// Does something for each, for as many at once as the operator does; each in a task of its own, as in the operator, so that all cores take
/// part.
async fn at_once<T, D>(each: impl Stream<Item = T>, what: impl Fn(T) -> D) -> Result<()>
where
    D: Future<Output = Result<()>> + Send + 'static,
{
    let tasks = each.map(|it| {
        let task = tokio::spawn(what(it));
        async move { task.await? }
    });
    tasks.buffer_unordered(CONCURRENCY).try_collect().await
}

async fn write_events(client: Client, mut notes: mpsc::Receiver<Note>) -> Result<()> {
    let reporter = Reporter { controller: bodies::MANAGER.to_owned(), instance: Some("floor".to_owned()) };
    while let Some(Note { event, about }) = notes.recv().await {
        Recorder::new(client.clone(), reporter.clone()).publish(&event, &about).await?;
    }
    Ok(())
}
