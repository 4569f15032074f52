//! What the API, the admin endpoints and the library share: the tokens, the faults, the behaviour, the log.

use std::collections::HashMap;
use std::io;
use std::sync::{Mutex, MutexGuard, PoisonError};

use jiff::Timestamp;
use secrecy::{ExposeSecret as _, SecretString};
use tokio_util::sync::CancellationToken;

use crate::behaviour::Behaviour;
use crate::call::{CallLog, Counts};
use crate::registry::{Registry, Verdict};
use crate::state_file::StateFile;
use crate::store::{Refusal, Store};
use crate::token::{Creator, NewToken, Token};

/// Everything, behind one lock: no call waits long under it.
pub(crate) struct Shared {
    state: Mutex<State>,
    file: Option<StateFile>,
    /// Cancelled when the emulator stops: nothing that waits is carried out after that.
    pub(crate) stopping: CancellationToken,
}

/// What changes.
pub(crate) struct State {
    pub(crate) store: Store,
    pub(crate) faults: Registry,
    pub(crate) behaviour: Behaviour,
    pub(crate) calls: CallLog,
    pub(crate) credential: SecretString,
    /// The ids that creates with an `Idempotency-Key` made.
    pub(crate) idempotency: HashMap<String, String>,
    start: Start,
}

/// What a reset goes back to.
struct Start {
    behaviour: Behaviour,
    credential: SecretString,
}

/// Why a change to the tokens was not made, or not kept.
#[derive(Debug, thiserror::Error)]
pub enum ChangeError {
    /// It was refused.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// It was made, but a restart will have forgotten it.
    #[error("the state file can't be written: {0}")]
    Unsaved(#[from] io::Error),
}

impl Shared {
    pub(crate) fn new(
        behaviour: Behaviour,
        credential: SecretString,
        file: Option<StateFile>,
    ) -> io::Result<Self> {
        let store = file.as_ref().map_or_else(|| Ok(Store::default()), StateFile::load)?;
        let start = Start { behaviour: behaviour.clone(), credential: credential.clone() };
        let state = State {
            store,
            faults: Registry::default(),
            behaviour,
            calls: CallLog::default(),
            credential,
            idempotency: HashMap::new(),
            start,
        };
        Ok(Self { state: Mutex::new(state), file, stopping: CancellationToken::new() })
    }

    /// The state. A test that panicked under the lock doesn't make every other fail.
    pub(crate) fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes the tokens and saves them before anyone is told.
    pub(crate) fn change<T>(
        &self,
        change: impl FnOnce(&mut State, Timestamp) -> Result<T, Refusal>,
    ) -> Result<T, ChangeError> {
        let mut state = self.lock();
        let done = change(&mut state, Timestamp::now())?;
        self.save(&state)?;
        Ok(done)
    }

    /// Somebody else makes a token, under the rules of the organization.
    pub(crate) fn create_elsewhere(&self, new: NewToken) -> Result<Token, ChangeError> {
        self.change(|State { store, behaviour, .. }, now| {
            let beginning = &behaviour.tokens.value_prefix;
            store
                .create(new, &behaviour.tokens, beginning, Creator::SomebodyElse, now)
                .map(|(token, _)| token)
        })
    }

    /// Somebody else rotates a token.
    pub(crate) fn rotate_elsewhere(&self, id: &str) -> Result<Token, ChangeError> {
        self.change(|State { store, behaviour, .. }, now| {
            let beginning = &behaviour.tokens.value_prefix;
            store.rotate(id, None, &behaviour.tokens, beginning, now).map(|(token, _)| token)
        })
    }

    /// Somebody else revokes a token.
    pub(crate) fn revoke_elsewhere(&self, id: &str) -> Result<Token, ChangeError> {
        self.change(|state, now| state.store.revoke(id, None, now))
    }

    /// Back to the start, without tokens. Held calls are lost.
    pub(crate) fn reset(&self) -> Result<(), ChangeError> {
        let mut state = self.lock();
        state.store = Store::default();
        state.faults.clear(Verdict::Lose);
        state.calls.clear();
        state.idempotency.clear();
        state.behaviour = state.start.behaviour.clone();
        state.credential = state.start.credential.clone();
        Ok(self.save(&state)?)
    }

    fn save(&self, state: &State) -> io::Result<()> {
        self.file.as_ref().map_or(Ok(()), |file| file.save(&state.store))
    }
}

impl State {
    pub(crate) fn is_credential(&self, bearer: &str) -> bool {
        self.credential.expose_secret() == bearer
    }

    /// The token that a bearer's value belongs to, if it works now.
    pub(crate) fn alive(&self, value: &str) -> Option<&Token> {
        self.store.by_value(value).filter(|token| token.is_alive())
    }

    pub(crate) fn counts(&self) -> Counts {
        let count = |number: usize| u64::try_from(number).unwrap_or(u64::MAX);
        Counts {
            calls: self.calls.counts.clone(),
            tokens_created: count(self.store.tokens().count()),
            tokens_alive: count(self.store.tokens().filter(|token| token.is_alive()).count()),
        }
    }
}
