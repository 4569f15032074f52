//! Leader election by a Lease: one of several replicas acts, the others stand by.
//!
//! The Lease keeps replicas out of each other's way. It is **not** what keeps them from harming each other: a process that
//! was frozen may go on for a moment after another one has taken over. That is the intent's compare-and-swap, here as
//! everywhere. So a lost Lease cancels nothing: what is under way is finished, nothing new is begun, and the process ends.

use anyhow::{Context as _, ensure};
use k8s_controller::LeaderElection;
use kube::Client;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::config::LeaderElectionArguments;

/// Whether this process is the one that acts.
#[derive(Clone, Debug)]
pub struct Leadership(watch::Receiver<bool>);

impl Leadership {
    /// Whether it is now.
    #[must_use]
    pub fn is_held(&self) -> bool {
        *self.0.borrow()
    }

    /// Told when it begins and when it ends.
    #[must_use]
    pub fn changes(&self) -> watch::Receiver<bool> {
        self.0.clone()
    }

    /// Waits until it is. A process that lost it never has it again.
    pub async fn begun(&self) {
        let mut changes = self.changes();
        if changes.wait_for(|held| *held).await.is_err() {
            // Whoever would say so is gone.
            std::future::pending::<()>().await;
        }
    }
}

/// How an election ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// This process stopped; if it held the Lease, that is free.
    InOrder,
    /// The Lease wasn't renewed in time, or another one has taken it.
    Lost,
}

/// The part that one process takes in the election.
pub struct Candidate {
    /// Without one, this process acts from the start.
    election: Option<LeaderElection>,
    held: watch::Sender<bool>,
}

impl Candidate {
    /// One of those who want the Lease `name` in `namespace`; `pod` is how people know it.
    #[must_use]
    pub fn new(
        arguments: &LeaderElectionArguments,
        client: Client,
        namespace: &str,
        name: &str,
        pod: &str,
    ) -> Self {
        // A name of its own for each process: of two with one name, each would take the other's renewals for its own.
        let identity = format!("{pod}_{:016x}", rand::random::<u64>());
        let election = arguments.enabled.then(|| {
            LeaderElection::new(client, namespace, name, &identity)
                .with_lease_duration(arguments.lease_duration)
                .with_renew_deadline(arguments.lease_renew_deadline)
                .with_retry_period(arguments.lease_retry_period)
        });
        Self { held: watch::Sender::new(election.is_none()), election }
    }

    /// What this process may do.
    #[must_use]
    pub fn leadership(&self) -> Leadership {
        Leadership(self.held.subscribe())
    }

    /// Takes part until `finished`, when nothing is under way any more, and then gives the Lease back; or until the Lease
    /// is lost. However it ends, `stop` is cancelled then.
    pub async fn run(self, stop: CancellationToken, finished: CancellationToken) -> Ended {
        let _stop = stop.drop_guard();
        let Some(election) = self.election else {
            finished.cancelled().await;
            return Ended::InOrder;
        };
        let held = &self.held;
        let lead = async {
            held.send_replace(true);
            tracing::info!("this replica leads: it acts from now on");
            finished.cancelled().await;
        };
        // Who holds the Lease ends by `lead`, which gives it back.
        let stand_by = async {
            finished.cancelled().await;
            if *held.borrow() {
                std::future::pending::<()>().await;
            }
        };
        let ended = tokio::select! {
            done = election.with_lease(lead) => done.map_or(Ended::Lost, |()| Ended::InOrder),
            () = stand_by => {
                // The call that takes it may just have been on its way.
                election.release().await;
                Ended::InOrder
            }
        };
        held.send_replace(false);
        ended
    }
}

impl LeaderElectionArguments {
    /// The Lease's name for an operator of this instance.
    #[must_use]
    pub fn lease_name(&self, instance: &str) -> String {
        match (&self.lease_name, instance) {
            (Some(name), _) => name.clone(),
            (None, "default") => "keeptrusts-operator".to_owned(),
            (None, instance) => format!("keeptrusts-operator-{instance}"),
        }
    }

    /// Checks what is used against each other.
    ///
    /// # Errors
    /// If flags don't fit each other. The error names them.
    pub fn check(&self, instance: &str) -> anyhow::Result<()> {
        if !self.enabled {
            return Ok(());
        }
        let Self { lease_duration, lease_renew_deadline, lease_retry_period, .. } = self;
        ensure!(
            lease_renew_deadline < lease_duration,
            "--lease-renew-deadline ({lease_renew_deadline:?}) must be less than --lease-duration ({lease_duration:?}): \
             the holder has to give up before another one takes over"
        );
        ensure!(
            lease_retry_period < lease_renew_deadline,
            "--lease-retry-period ({lease_retry_period:?}) must be less than --lease-renew-deadline \
             ({lease_renew_deadline:?}): one renewal that fails must not be the last"
        );
        i32::try_from(lease_duration.as_secs())
            .with_context(|| format!("--lease-duration ({lease_duration:?}) is too long for a Lease"))?;
        let name = self.lease_name(instance);
        ensure!(
            is_object_name(&name),
            "{name:?} can't be a Lease's name: give one by --lease-name, of lower-case letters, digits, - and ."
        );
        Ok(())
    }
}

/// Whether an object may have this name (RFC 1123, a subdomain).
fn is_object_name(name: &str) -> bool {
    let part = |part: &str| {
        let inner = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
        !part.is_empty() && part.bytes().all(inner) && !part.starts_with('-') && !part.ends_with('-')
    };
    name.len() <= 253 && name.split('.').all(part)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn arguments(duration: u64, renew: u64, retry: u64) -> LeaderElectionArguments {
        LeaderElectionArguments {
            enabled: true,
            lease_name: None,
            lease_duration: Duration::from_secs(duration),
            lease_renew_deadline: Duration::from_secs(renew),
            lease_retry_period: Duration::from_secs(retry),
        }
    }

    #[test]
    fn times_that_do_not_fit_each_other_are_refused_by_the_flags_name() {
        for (times, flag) in [
            ((10, 10, 2), "--lease-renew-deadline (10s) must be less than --lease-duration (10s)"),
            ((15, 10, 10), "--lease-retry-period (10s) must be less than --lease-renew-deadline (10s)"),
            ((u64::from(u32::MAX), 10, 2), "--lease-duration"),
        ] {
            let (duration, renew, retry) = times;
            let mut arguments = arguments(duration, renew, retry);
            let error = arguments.check("default").unwrap_err().to_string();
            assert!(error.contains(flag), "{times:?}: {error}");
            arguments.enabled = false;
            arguments.check("default").unwrap();
        }
        arguments(15, 10, 2).check("default").unwrap();
    }

    #[test]
    fn two_instances_share_no_lease() {
        let usual = arguments(15, 10, 2);
        assert_eq!(usual.lease_name("default"), "keeptrusts-operator");
        assert_eq!(usual.lease_name("staging"), "keeptrusts-operator-staging");
        let error = usual.check("Europe & Asia").unwrap_err().to_string();
        assert!(error.contains("--lease-name"), "{error}");
        let named = LeaderElectionArguments { lease_name: Some("mine.eu".to_owned()), ..usual };
        assert_eq!(named.lease_name("Europe & Asia"), "mine.eu");
        named.check("Europe & Asia").unwrap();
    }
}
