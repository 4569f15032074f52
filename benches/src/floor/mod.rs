//! The floor: the calls that the protocol needs for a key, in their order, and nothing around them. No watch, no cache, no decision, no
//! memory of what was seen but what the next call needs.
//!
//! It uses the operator's HTTP clients with the operator's settings and rights, works on as many keys of each kind at once, and writes what the
//! operator would write. Events are written one after the other beside the keys, as the operator does it.

mod bodies;
mod calls;
mod steps;

use std::sync::Arc;

use anyhow::{Context as _, Result};
use futures::{StreamExt as _, TryStreamExt as _, stream};
use keeptrusts_operator::resources::{KeyKind, KeyStatus};
use kube::Client;
use kube::runtime::events::{Recorder, Reporter};
use tokio::sync::Mutex;
use tokio::sync::mpsc::{self, Sender, UnboundedReceiver};
use tokio::task::JoinHandle;

use self::bodies::Note;
use self::calls::Calls;
use crate::crowd::{Ask, Asked, Crowd, Told};
use crate::token_api::TokenApi;

/// The operator's default (`--concurrency`): so many keys of each kind.
const CONCURRENCY: usize = 16;

/// So many events may wait, as in the operator.
const EVENTS: usize = 1_024;

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
            tokio::try_join!(
                work(Arc::clone(&shared), ask, asked_access),
                work(Arc::clone(&shared), ask, asked_gateway)
            )?;
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

async fn work(shared: Arc<Shared>, ask: Ask, mut asked: UnboundedReceiver<Asked>) -> Result<()> {
    let asked = stream::poll_fn(move |context| asked.poll_recv(context));
    asked
        .map(|asked| {
            let shared = Arc::clone(&shared);
            // Each in a task of its own, as in the operator, so that all cores take part.
            async move { tokio::spawn(async move { shared.carry_out(ask, asked).await }).await? }
        })
        .buffer_unordered(CONCURRENCY)
        .try_collect()
        .await
}

async fn write_events(client: Client, mut notes: mpsc::Receiver<Note>) -> Result<()> {
    let reporter = Reporter { controller: bodies::MANAGER.to_owned(), instance: Some("floor".to_owned()) };
    while let Some(Note { event, about }) = notes.recv().await {
        Recorder::new(client.clone(), reporter.clone()).publish(&event, &about).await?;
    }
    Ok(())
}
