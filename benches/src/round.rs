//! One wave of one side, and what it took and used.

use std::collections::BTreeMap;

use anyhow::{Result, ensure};
use keeptrusts_emulator::Operation;

use crate::crowd::{Ask, Crowd};
use crate::fleet::{Fleet, Uses};
use crate::floor::Floor;
use crate::pace::Pace;
use crate::peer::Peer;
use crate::stage::Stage;
use crate::statistics::{count, rounded};
use crate::usage;
use crate::wave::{Took, Wave};

/// Whose turn it is: the floor's, or that of who is measured against it.
#[derive(Clone, Copy)]
pub(crate) enum Turn {
    Floor,
    Measured,
}

impl Turn {
    /// The turns of a round, counted from one. What an earlier side left in the API server and in etcd costs the later one: each goes
    /// first in every other round.
    pub(crate) const fn of(round: usize) -> [Self; 2] {
        if round.is_multiple_of(2) { [Self::Measured, Self::Floor] } else { [Self::Floor, Self::Measured] }
    }
}

/// Who works on the keys.
#[derive(Clone, Copy)]
pub(crate) enum Worker<'a> {
    Floor(&'a Floor),
    Operator(&'a Fleet),
    Peer(&'a Peer),
}

/// One wave.
#[derive(Debug, Clone, Default)]
pub(crate) struct Round {
    pub(crate) took: Took,
    pub(crate) control_plane_cpu: f64,
    pub(crate) benchmark_cpu: f64,
    /// How long the machine took for a piece of work that is always the same, in milliseconds.
    pub(crate) pace: f64,
    /// Calls to the token API.
    pub(crate) token_calls: BTreeMap<Operation, usize>,
    /// The operator's.
    pub(crate) uses: Uses,
}

impl Round {
    /// Calls to the token API for each of so many keys.
    pub(crate) fn token_calls_per_key(&self, keys: usize) -> BTreeMap<String, f64> {
        let made = self.token_calls.iter().filter(|(_, calls)| **calls > 0);
        made.map(|(operation, calls)| (operation.name().to_owned(), rounded(count(*calls) / count(keys))))
            .collect()
    }

    /// Processor time of everything that ran but the token API.
    pub(crate) fn cpu(&self) -> f64 {
        let Uses { leader, standby } = self.uses;
        self.control_plane_cpu + self.benchmark_cpu + leader.cpu_seconds + standby.cpu_seconds
    }
}

/// Asks something of every key, and waits until all are done by `worker`, who is `user` to the API server. A call in vain is an error.
pub(crate) async fn run(
    stage: &Stage,
    crowd: &Crowd,
    ask: Ask,
    user: &str,
    worker: Worker<'_>,
) -> Result<Round> {
    let round = measure(stage, crowd, ask, user, worker).await?;
    wasted(ask, crowd.keys.len(), &round.token_calls)?;
    Ok(round)
}

/// The same, where the token API may refuse calls.
pub(crate) async fn measure(
    stage: &Stage,
    crowd: &Crowd,
    ask: Ask,
    user: &str,
    worker: Worker<'_>,
) -> Result<Round> {
    let mut trail = stage.trail().await?;
    let mut wave = Wave::new(crowd, ask, user);
    if let Worker::Operator(fleet) = worker {
        fleet.forget_peaks()?;
    }
    let pace = Pace::begin();
    let before = Used::take(stage, worker).await?;
    let follow = wave.follow(&mut trail, stage.setup.patience);
    match worker {
        Worker::Floor(floor) => {
            let (told, work) = floor.begin(ask);
            tokio::try_join!(crowd.ask(&stage.client, ask, Some(told)), work, follow)?;
        }
        Worker::Operator(_) => {
            tokio::try_join!(crowd.ask(&stage.client, ask, None), follow)?;
        }
        Worker::Peer(peer) => {
            tokio::try_join!(peer.ask(stage, crowd), follow)?;
        }
    }
    let after = Used::take(stage, worker).await?;
    let pace = pace.end()?;
    Ok(Round {
        took: wave.took(),
        control_plane_cpu: rounded(after.control_plane_cpu - before.control_plane_cpu),
        benchmark_cpu: rounded(after.benchmark_cpu - before.benchmark_cpu),
        pace,
        token_calls: after.token_calls(&before),
        uses: after.uses.since(before.uses),
    })
}

/// Each key needs exactly one call of each kind that changes something. Lists and looks are counted, and no error.
fn wasted(ask: Ask, keys: usize, calls: &BTreeMap<Operation, usize>) -> Result<()> {
    let needed: &[Operation] = match ask {
        Ask::Create => &[Operation::Create],
        Ask::Rotate(_) => &[Operation::Rotate],
        Ask::Replace(_) => &[Operation::Create, Operation::Revoke],
        Ask::Delete => &[Operation::Revoke],
    };
    for operation in [Operation::Create, Operation::Rotate, Operation::Revoke] {
        let made = calls.get(&operation).copied().unwrap_or_default();
        let expected = if needed.contains(&operation) { keys } else { 0 };
        ensure!(
            made == expected,
            "{ask:?} of {keys} keys made {made} calls to {} in place of {expected}",
            operation.name()
        );
    }
    Ok(())
}

/// What has been used until a moment.
struct Used {
    control_plane_cpu: f64,
    benchmark_cpu: f64,
    token_calls: BTreeMap<Operation, u64>,
    uses: Uses,
}

impl Used {
    async fn take(stage: &Stage, worker: Worker<'_>) -> Result<Self> {
        Ok(Self {
            control_plane_cpu: usage::cpu(&stage.cluster.pids())?,
            benchmark_cpu: usage::cpu(&[std::process::id()])?,
            token_calls: stage.tokens.counts().await?,
            uses: match worker {
                Worker::Floor(_) => Uses::default(),
                Worker::Operator(fleet) => fleet.uses()?,
                Worker::Peer(peer) => Uses { leader: usage::of(peer.pid())?, ..Uses::default() },
            },
        })
    }

    fn token_calls(&self, earlier: &Self) -> BTreeMap<Operation, usize> {
        let since = |(operation, calls): (&Operation, &u64)| {
            let before = earlier.token_calls.get(operation).copied().unwrap_or_default();
            (*operation, usize::try_from(calls.saturating_sub(before)).unwrap_or(usize::MAX))
        };
        self.token_calls.iter().map(since).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_call_in_vain_is_an_error_and_a_list_is_none() {
        let calls = |creates| BTreeMap::from([(Operation::Create, creates), (Operation::List, 7)]);
        assert!(wasted(Ask::Create, 10, &calls(10)).is_ok());
        assert!(wasted(Ask::Create, 10, &calls(11)).is_err());
        assert!(wasted(Ask::Rotate(1), 10, &calls(10)).is_err());
        assert!(wasted(Ask::Delete, 10, &BTreeMap::from([(Operation::Revoke, 10)])).is_ok());
    }
}
