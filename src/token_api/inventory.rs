//! The inventory: one list per type and period, shared by every key.

use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::Duration;

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::client::Client;
use super::doubt::Doubt;
use super::error::{CallError, Class};
use crate::clock::monotonic;
use crate::lifecycle::listing::Listing;
use crate::lifecycle::naming::Installation;
use crate::lifecycle::time::Monotonic;
use crate::lifecycle::token::{TokenFacts, TokenId};
use crate::resources::KeyKind;

/// The wait after a first failure; doubled with each, up to the period.
const FIRST_RETRY: Duration = Duration::from_secs(2);

/// Between two lists passes so many times as long as the first one took, whoever asks for the second.
const PAUSE: u32 = 4;

/// But no less than this, for those who ask at short intervals to share one; and no longer than that: somebody may wait.
const SHORTEST_PAUSE: Duration = Duration::from_millis(500);
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

/// More tokens than are made between two lists. Beyond it names aren't compared.
const MAX_EXPECTED: usize = 10_000;

/// Most ids that are looked for whoever made the token.
const MAX_WANTED: usize = 10_000;

/// The latest complete list of one type.
#[derive(Default)]
struct Shelf {
    latest: RwLock<Option<Arc<Listing>>>,
    /// Held by whoever lists. Holds how the last list failed, for those who waited for it.
    listing: tokio::sync::Mutex<Option<(Monotonic, CallError)>>,
    doubt: Mutex<Doubt>,
    /// When the last complete list was begun, and when it was had to its end.
    last: Mutex<Option<(Monotonic, Monotonic)>>,
    /// How the last list failed, if it did.
    failing: Mutex<Option<Class>>,
}

impl Shelf {
    fn latest(&self) -> Option<Arc<Listing>> {
        self.latest.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn doubt(&self) -> MutexGuard<'_, Doubt> {
        self.doubt.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How long the next list has to wait, so that they take no more than a share of the time and of the calls.
    fn pause(&self, now: Monotonic) -> Duration {
        let last = *self.last.lock().unwrap_or_else(PoisonError::into_inner);
        last.map_or(Duration::ZERO, |(begun, ended)| {
            let pause = ended.since(begun).saturating_mul(PAUSE).clamp(SHORTEST_PAUSE, LONGEST_PAUSE);
            (ended + pause).since(now)
        })
    }

    fn since(&self, begun_after: Monotonic) -> Option<Arc<Listing>> {
        self.latest().filter(|listing| listing.begun >= begun_after)
    }
}

/// The complete lists of a connection.
pub struct Inventory {
    client: Arc<Client>,
    installation: Installation,
    period: Duration,
    access: Shelf,
    gateway: Shelf,
    expected: Mutex<HashMap<TokenId, (String, Monotonic)>>,
    altered: AtomicBool,
    /// Ids that are looked for whoever made them, and since when.
    wanted: Mutex<HashMap<TokenId, Monotonic>>,
    changes: watch::Sender<u64>,
}

impl std::fmt::Debug for Inventory {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Inventory").field("installation", &self.installation).finish_non_exhaustive()
    }
}

impl Inventory {
    /// An inventory of `installation`'s tokens that lists once per `period`.
    #[must_use]
    pub fn new(client: Arc<Client>, installation: Installation, period: Duration) -> Self {
        Self {
            client,
            installation,
            period,
            access: Shelf::default(),
            gateway: Shelf::default(),
            expected: Mutex::default(),
            altered: AtomicBool::new(false),
            wanted: Mutex::default(),
            changes: watch::Sender::new(0),
        }
    }

    const fn shelf(&self, kind: KeyKind) -> &Shelf {
        match kind {
            KeyKind::Access => &self.access,
            KeyKind::Gateway => &self.gateway,
        }
    }

    /// The latest complete list.
    #[must_use]
    pub fn latest(&self, kind: KeyKind) -> Option<Arc<Listing>> {
        self.shelf(kind).latest()
    }

    /// The latest complete list, if it was begun at this time or later.
    #[must_use]
    pub fn since(&self, kind: KeyKind, begun_after: Monotonic) -> Option<Arc<Listing>> {
        self.shelf(kind).since(begun_after)
    }

    /// How the last list failed; nothing if it didn't, or if there was none.
    #[must_use]
    pub fn failing(&self, kind: KeyKind) -> Option<Class> {
        *self.shelf(kind).failing.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A complete list begun at or after `begun_after`. Many who ask at once share one.
    ///
    /// # Errors
    /// If no list can be had to its end.
    pub async fn fresh(&self, kind: KeyKind, begun_after: Monotonic) -> Result<Arc<Listing>, CallError> {
        let place = self.shelf(kind);
        if let Some(listing) = place.since(begun_after) {
            return Ok(listing);
        }
        let asked = monotonic();
        let mut failed = place.listing.lock().await;
        if let Some(listing) = place.since(begun_after) {
            return Ok(listing);
        }
        // A list that was begun while we waited has failed for us too: the waiting don't ask one after the other.
        if let Some((begun, error)) = &*failed
            && *begun >= asked
            && *begun >= begun_after
        {
            return Err(error.clone());
        }
        // One list for all who ask in the meantime.
        tokio::time::sleep(place.pause(monotonic())).await;
        let begun = monotonic();
        let result = self.list(kind, begun).await;
        *failed = result.as_ref().err().map(|error| (begun, error.clone()));
        *place.failing.lock().unwrap_or_else(PoisonError::into_inner) =
            result.as_ref().err().map(|error| error.class);
        result
    }

    async fn list(&self, kind: KeyKind, begun: Monotonic) -> Result<Arc<Listing>, CallError> {
        let mut listing = Listing::empty(begun);
        let wanted: HashSet<TokenId> = self.wanted().keys().cloned().collect();
        self.client
            .list(kind, |token| {
                self.compare_name(&token.facts);
                self.client.notice_own(&token.facts);
                if wanted.contains(&token.facts.id) {
                    listing.add_wanted(token.facts.clone(), token.alive);
                }
                listing.add(&self.installation, token.facts, token.alive);
            })
            .await?;
        if self.shelf(kind).doubt().weigh(&listing) {
            if self.absence_doubted(kind) {
                tracing::warn!(
                    tokens = kind.token_type(),
                    "tokens vanished from the list all at once: it isn't believed"
                );
            } else {
                tracing::info!(tokens = kind.token_type(), "the list of tokens is believed again");
            }
        }
        *self.shelf(kind).last.lock().unwrap_or_else(PoisonError::into_inner) = Some((begun, monotonic()));
        let listing = Arc::new(listing);
        *self.shelf(kind).latest.write().unwrap_or_else(PoisonError::into_inner) = Some(Arc::clone(&listing));
        self.forget_expected();
        self.changes.send_modify(|number| *number += 1);
        Ok(listing)
    }

    /// A token of ours was made with this name: the first list that shows the id must show the name too.
    pub fn expect_name(&self, id: &TokenId, name: &str) {
        let mut expected = self.expected.lock().unwrap_or_else(PoisonError::into_inner);
        if expected.len() < MAX_EXPECTED {
            expected.insert(id.clone(), (name.to_owned(), monotonic()));
        }
    }

    fn compare_name(&self, facts: &TokenFacts) {
        let expected = self.expected.lock().unwrap_or_else(PoisonError::into_inner).remove(&facts.id);
        if let Some((name, _)) = expected
            && facts.name.as_deref() != Some(name.as_str())
            && !self.altered.swap(true, Ordering::Relaxed)
        {
            tracing::error!(id = %facts.id, sent = name, "the token API lists a token under another name than was sent");
        }
    }

    /// Forgets names of tokens that both types' lists, begun when they had to show them, lack: they are revoked.
    fn forget_expected(&self) {
        let begun = |kind| self.latest(kind).map(|listing| listing.begun);
        let (Some(access), Some(gateway)) = (begun(KeyKind::Access), begun(KeyKind::Gateway)) else { return };
        let lag = self.client.connection.settings().list_lag;
        let mut expected = self.expected.lock().unwrap_or_else(PoisonError::into_inner);
        expected.retain(|_, (_, made)| access.min(gateway).since(*made) <= lag);
    }

    /// A token was once listed under another name than was sent: none can be recognised any more.
    #[must_use]
    pub fn names_altered(&self) -> bool {
        self.altered.load(Ordering::Relaxed)
    }

    /// So many known tokens vanished from the lists at once that absence proves nothing.
    #[must_use]
    pub fn absence_doubted(&self, kind: KeyKind) -> bool {
        self.shelf(kind).doubt().is_doubted()
    }

    /// A token is known to be dead: lists may lack it.
    pub fn excuse(&self, kind: KeyKind, id: &TokenId) {
        self.shelf(kind).doubt().excuse(id);
    }

    /// From now on lists look for this id, whoever made the token. Says from when on: a list begun before that doesn't
    /// tell. Where too many are looked for already, no list does.
    pub fn want(&self, id: &TokenId) -> Monotonic {
        let mut wanted = self.wanted();
        if let Some(since) = wanted.get(id) {
            return *since;
        }
        let now = monotonic();
        if wanted.len() < MAX_WANTED {
            wanted.insert(id.clone(), now);
        }
        now
    }

    /// Whether lists look for the ids of tokens that others made.
    #[must_use]
    pub fn wants_any(&self) -> bool {
        !self.wanted().is_empty()
    }

    /// Lists no longer look for other ids than these. Those asked for since `before` stay: who asked may not be among those that were
    /// asked what they want.
    pub fn keep_wanted(&self, ids: &HashSet<String>, before: Monotonic) {
        self.wanted().retain(|id, since| *since >= before || ids.contains(id.as_str()));
    }

    fn wanted(&self) -> MutexGuard<'_, HashMap<TokenId, Monotonic>> {
        self.wanted.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A number that rises with every complete list.
    #[must_use]
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }

    /// Lists both types, each once per period, until `stop`.
    pub async fn run(&self, stop: CancellationToken) {
        let both = futures::future::join(self.keep(KeyKind::Access), self.keep(KeyKind::Gateway));
        stop.run_until_cancelled(both).await;
    }

    async fn keep(&self, kind: KeyKind) {
        let mut credentials = self.client.credential_changes();
        let mut failures: u32 = 0;
        let mut wanted = monotonic();
        loop {
            credentials.mark_unchanged();
            // After a failure a list that somebody else got in the meantime serves as well.
            let error = match self.fresh(kind, wanted).await {
                Ok(listing) => {
                    if failures > 0 {
                        tracing::info!(tokens = kind.token_type(), "tokens can be listed again");
                    }
                    failures = 0;
                    self.sleep_until_stale(kind, listing.begun).await;
                    wanted = monotonic();
                    continue;
                }
                Err(error) => error,
            };
            if failures == 0 {
                tracing::warn!(tokens = kind.token_type(), class = ?error.class, %error, "tokens can't be listed");
            }
            failures = failures.saturating_add(1);
            // A refused credential may be mended at any time, and then there is nothing to wait for.
            let mended = async {
                if error.class != Class::Credential || credentials.changed().await.is_err() {
                    std::future::pending::<()>().await;
                }
            };
            tokio::select! {
                () = tokio::time::sleep(self.retry_wait(&error, failures)) => (),
                () = mended => (),
            }
        }
    }

    /// Sleeps until the latest list, whoever asked for it, is a period old.
    async fn sleep_until_stale(&self, kind: KeyKind, mut begun: Monotonic) {
        let period = jittered(self.period);
        loop {
            let left = (begun + period).since(monotonic());
            if left.is_zero() {
                return;
            }
            tokio::time::sleep(left).await;
            begun = self.latest(kind).map_or(begun, |listing| listing.begun);
        }
    }

    fn retry_wait(&self, error: &CallError, failures: u32) -> Duration {
        let backoff = FIRST_RETRY.saturating_mul(1 << failures.saturating_sub(1).min(16));
        let wait = match error.class {
            // No haste cures a refusal or an answer that can't be read.
            Class::Credential | Class::Request => self.period,
            _ => backoff.min(self.period),
        };
        jittered(wait).max(error.retry_after.unwrap_or_default())
    }
}

/// A wait, up to a tenth shorter or longer: everything periodic drifts apart.
fn jittered(wait: Duration) -> Duration {
    // A period too long to be counted isn't worth a panic.
    Duration::try_from_secs_f64(wait.as_secs_f64() * rand::random_range(0.9..1.1)).unwrap_or(wait)
}
