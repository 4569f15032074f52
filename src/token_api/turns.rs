//! The order of calls: namespaces take turns. So a namespace with a thousand due rotations delays a call of another namespace by one turn.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::oneshot;

use crate::fair::Lines;

tokio::task_local! {
    /// The namespace that calls are made for.
    static NAMESPACE: Arc<str>;
}

/// Makes the calls of this work for a namespace.
pub(crate) fn on_behalf_of<F: Future>(namespace: &str, work: F) -> impl Future<Output = F::Output> + use<F> {
    NAMESPACE.scope(namespace.into(), work)
}

/// A turn that one has at a time.
#[derive(Clone, Debug, Default)]
pub(super) struct Turns(Arc<Mutex<Waiting>>);

/// Those who wait for it.
#[derive(Debug, Default)]
struct Waiting {
    taken: bool,
    lines: Lines<oneshot::Sender<Turn>>,
}

impl Turns {
    /// Waits for the turn of the namespace that this is done for.
    pub(super) async fn turn(&self) -> Turn {
        let namespace = NAMESPACE.try_with(Arc::clone).unwrap_or_default();
        let turn = {
            let mut waiting = self.waiting();
            if !std::mem::replace(&mut waiting.taken, true) {
                return Turn(Some(self.clone()));
            }
            let (sender, turn) = oneshot::channel();
            waiting.lines.join(&namespace, sender);
            turn
        };
        // It is passed on until it is had: the sender isn't dropped before.
        turn.await.unwrap_or(Turn(None))
    }

    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The turn, until it is dropped: then the next has it.
#[derive(Debug)]
#[must_use = "dropped when the next may have it"]
pub(super) struct Turn(Option<Turns>);

impl Drop for Turn {
    fn drop(&mut self) {
        let Some(turns) = self.0.take() else { return };
        loop {
            let next = {
                let mut waiting = turns.waiting();
                let next = waiting.lines.next();
                waiting.taken = next.is_some();
                next
            };
            let Some(next) = next else { return };
            match next.send(Turn(Some(turns.clone()))) {
                Ok(()) => return,
                // Whoever waited is gone.
                Err(mut turn) => turn.0 = None,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use futures::future::join_all;

    use super::*;

    /// In which order those get the turn who ask for it in this order.
    async fn order(asking: &[&str]) -> Vec<String> {
        let (turns, had) = (Turns::default(), Mutex::new(Vec::new()));
        let held = turns.turn().await;
        let all = join_all(asking.iter().map(|namespace| {
            on_behalf_of(namespace, async {
                let _turn = turns.turn().await;
                had.lock().unwrap().push((*namespace).to_owned());
            })
        }));
        let free = async {
            tokio::task::yield_now().await;
            drop(held);
        };
        futures::join!(all, free);
        assert!(turns.waiting().lines.waiting() == 0 && !turns.waiting().taken);
        had.into_inner().unwrap()
    }

    #[tokio::test]
    async fn namespaces_take_turns() {
        assert_eq!(order(&["a", "a", "a", "b", "c", "b"]).await, ["a", "b", "c", "a", "b", "a"]);
        let mut many = vec!["a"; 5_000];
        many.push("b");
        let had = order(&many).await;
        assert_eq!((had.len(), had.iter().position(|it| it == "b")), (5_001, Some(1)));
    }

    #[tokio::test]
    async fn who_no_longer_waits_is_passed_over_and_one_has_it_at_a_time() {
        let (turns, holders) = (Turns::default(), AtomicUsize::new(0));
        let held = turns.turn().await;
        let patience = std::time::Duration::from_millis(1);
        assert!(tokio::time::timeout(patience, turns.turn()).await.is_err());
        let waiting = turns.clone();
        let next = tokio::spawn(async move { waiting.turn().await });
        tokio::task::yield_now().await;
        drop(held);
        drop(next.await.unwrap());
        join_all((0..100).map(async |_| {
            let _turn = turns.turn().await;
            assert_eq!(holders.fetch_add(1, Ordering::SeqCst), 0);
            tokio::task::yield_now().await;
            holders.fetch_sub(1, Ordering::SeqCst);
        }))
        .await;
    }
}
