//! One wave: something is asked of every key, and the audit log tells when each was done and what that took.

use std::collections::{BTreeMap, HashMap};
use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use jiff::{SignedDuration, Timestamp};

use crate::crowd::{Ask, Crowd};
use crate::stage::ADMINISTRATOR;
use crate::statistics::{count, percentile, rounded};
use crate::trail::{Request, Trail};

/// How often the log is read: it is a file, and reading it costs a core some hundredths.
const LOOK: Duration = Duration::from_millis(200);

/// How often it is told how far a wave is.
const PROGRESS: Duration = Duration::from_secs(10);

/// Where one key is.
#[derive(Debug, Clone, Copy, Default)]
struct Moments {
    asked: Option<Timestamp>,
    /// Whether its Secret was written.
    written: bool,
    /// How often its status was written since.
    told: u32,
    done: Option<Timestamp>,
}

/// What the log tells of a wave.
pub(crate) struct Wave<'a> {
    crowd: &'a Crowd,
    ask: Ask,
    /// Who works on the keys, as the log names them.
    worker: &'a str,
    moments: HashMap<String, Moments>,
    done: usize,
    calls: BTreeMap<String, usize>,
    failed: usize,
}

/// What a wave took.
#[derive(Debug, Clone, Default)]
pub(crate) struct Took {
    /// From the first key that was asked to the last that was done.
    pub(crate) seconds: f64,
    /// From asking the first key until one was done.
    pub(crate) first_seconds: f64,
    /// From asking a key until it was done.
    pub(crate) p50_seconds: f64,
    pub(crate) p99_seconds: f64,
    /// Calls of the worker to the API server within that time, for each key.
    pub(crate) calls_per_key: BTreeMap<String, f64>,
    /// Of them, those that the API server refused.
    pub(crate) failed_calls_per_key: f64,
}

impl<'a> Wave<'a> {
    pub(crate) fn new(crowd: &'a Crowd, ask: Ask, worker: &'a str) -> Self {
        let moments = crowd.keys.iter().map(|key| (key.name.clone(), Moments::default())).collect();
        Self { crowd, ask, worker, moments, done: 0, calls: BTreeMap::new(), failed: 0 }
    }

    /// Follows the log until every key is done.
    pub(crate) async fn follow(&mut self, trail: &mut Trail, patience: Duration) -> Result<()> {
        self.follow_to(self.keys(), trail, LOOK, patience).await
    }

    /// Follows the log, with a look at it so often, until so many keys are done.
    pub(crate) async fn follow_to(
        &mut self,
        wanted: usize,
        trail: &mut Trail,
        every: Duration,
        patience: Duration,
    ) -> Result<()> {
        let (mut told, mut moved, mut last) = (Instant::now(), Instant::now(), 0);
        let Self { ask, .. } = *self;
        let namespace = &self.crowd.namespace;
        while self.done < wanted {
            tokio::time::sleep(every).await;
            trail.read(|request| self.note(&request))?;
            let done = self.done;
            if done > last {
                (moved, last) = (Instant::now(), done);
            }
            if moved.elapsed() > patience {
                bail!(
                    "{ask:?} in {namespace}: {done} keys of {wanted} are done, and none in the last {patience:?}"
                );
            }
            if told.elapsed() > PROGRESS {
                told = Instant::now();
                println!("    {ask:?} in {namespace}: {done} keys of {wanted}");
            }
        }
        Ok(())
    }

    fn note(&mut self, request: &Request) {
        let Request { user, verb, namespace, name, answered, received, .. } = request;
        if *namespace != self.crowd.namespace {
            return;
        }
        let verb = verb.as_str();
        let moments = self.moments.get_mut(name.as_str());
        if user == ADMINISTRATOR {
            let asks = match self.ask {
                Ask::Create => verb == "create",
                Ask::Rotate(_) | Ask::Replace(_) => verb == "patch",
                Ask::Delete => verb == "delete",
            };
            if asks
                && request.is_of_key()
                && let Some(moments) = moments
            {
                moments.asked = Some(*received);
            }
            return;
        }
        if user != self.worker {
            return;
        }
        *self.calls.entry(request.label()).or_default() += 1;
        if !request.succeeded() {
            self.failed += 1;
            return;
        }
        let Some(moments) = moments.filter(|_| !request.dry_run) else { return };
        let done = match self.ask {
            // With the finalizer the key goes.
            Ask::Delete => request.is_of_key() && verb == "patch",
            _ if request.resource == "secrets" => {
                moments.written |= matches!(verb, "create" | "patch");
                false
            }
            ask if request.is_of_status() && moments.written => {
                moments.told += 1;
                // First of the new value; then that the old one is revoked.
                moments.told == if matches!(ask, Ask::Replace(_)) { 2 } else { 1 }
            }
            _ => false,
        };
        if done && moments.done.is_none() {
            moments.done = Some(*answered);
            self.done += 1;
        }
    }

    /// How many keys there are.
    pub(crate) fn keys(&self) -> usize {
        self.moments.len()
    }

    /// What it took, once every key is done.
    pub(crate) fn took(&self) -> Took {
        let asked = || self.moments.values().filter_map(|moments| moments.asked);
        let done = || self.moments.values().filter_map(|moments| moments.done);
        let Some(begin) = asked().min() else { return Took::default() };
        let since =
            |end: Option<Timestamp>| rounded(end.map_or(0.0, |end| seconds(end.duration_since(begin))));
        let latencies: Vec<f64> = self
            .moments
            .values()
            .filter_map(|moments| Some(seconds(moments.done?.duration_since(moments.asked?))))
            .collect();
        let all = count(self.moments.len());
        Took {
            seconds: since(done().max()),
            first_seconds: since(done().min()),
            p50_seconds: percentile(latencies.iter().copied(), 50.0),
            p99_seconds: percentile(latencies, 99.0),
            calls_per_key: self
                .calls
                .iter()
                .map(|(label, calls)| (label.clone(), rounded(count(*calls) / all)))
                .collect(),
            failed_calls_per_key: rounded(count(self.failed) / all),
        }
    }
}

fn seconds(time: SignedDuration) -> f64 {
    time.as_secs_f64()
}
