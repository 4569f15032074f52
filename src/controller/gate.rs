//! How many keys are worked on at once. New keys and those that end have a lane of their own: they don't stand behind a wave of
//! rotations.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Which lane a key takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Lane {
    /// Somebody waits for it: it has no value yet, or is to have none any more.
    Urgent,
    /// Everything else.
    Ordinary,
}

/// The lanes of one kind, each as wide as the other.
pub(super) struct Gate {
    urgent: Arc<Semaphore>,
    ordinary: Arc<Semaphore>,
}

impl Gate {
    /// As many places in each lane.
    pub(super) fn new(places: u16) -> Self {
        let lane = || Arc::new(Semaphore::new(usize::from(places)));
        Self { urgent: lane(), ordinary: lane() }
    }

    /// Waits for a place. Whoever came first goes first.
    pub(super) async fn enter(&self, lane: Lane) -> Place {
        let lane = match lane {
            Lane::Urgent => &self.urgent,
            Lane::Ordinary => &self.ordinary,
        };
        let mut place = Place { lane: Arc::clone(lane), held: None };
        place.take().await;
        place
    }
}

/// A place in a lane, until it is dropped.
pub(super) struct Place {
    lane: Arc<Semaphore>,
    held: Option<OwnedSemaphorePermit>,
}

impl Place {
    async fn take(&mut self) {
        // The lanes are never closed.
        self.held = Arc::clone(&self.lane).acquire_owned().await.ok();
    }

    /// Leaves the place to others while this is waited for, which takes no work.
    pub(super) async fn leave_for<T>(&mut self, waiting: impl Future<Output = T>) -> T {
        self.held = None;
        let result = waiting.await;
        self.take().await;
        result
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt as _;

    use super::*;

    #[tokio::test]
    async fn a_full_lane_holds_nobody_up_in_the_other_one() {
        let gate = Gate::new(1);
        let _one = gate.enter(Lane::Ordinary).await;
        assert!(gate.enter(Lane::Ordinary).now_or_never().is_none());
        assert!(gate.enter(Lane::Urgent).now_or_never().is_some());
    }

    #[tokio::test]
    async fn who_waits_for_something_else_leaves_the_place_and_takes_one_again() {
        let gate = Gate::new(1);
        let mut waits = gate.enter(Lane::Urgent).await;
        let meanwhile = waits.leave_for(gate.enter(Lane::Urgent)).now_or_never();
        assert!(meanwhile.is_none(), "the place is the other one's now");
        let meanwhile = waits.leave_for(async { gate.enter(Lane::Urgent).await.held.is_some() }).await;
        assert!(meanwhile);
        assert!(gate.enter(Lane::Urgent).now_or_never().is_none());
    }
}
