//! An emulator that runs in this process.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use secrecy::{ExposeSecret as _, SecretString};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

use crate::admin;
use crate::behaviour::Behaviour;
use crate::call::{Call, Counts};
use crate::fault::{ActiveFault, Fault, InvalidFault};
use crate::registry::Verdict;
use crate::server::{Service, serve};
use crate::shared::{ChangeError, Shared};
use crate::state_file::StateFile;
use crate::token::{NewToken, Token};
use crate::value;

/// How often [`Emulator::until`] looks.
const LOOK: Duration = Duration::from_millis(5);

/// How an emulator starts.
#[derive(Debug, Clone)]
pub struct Options {
    /// Where it listens. Port 0 is any free one.
    pub address: SocketAddr,
    /// The credential that it accepts; one is made up if there is none.
    pub credential: Option<SecretString>,
    /// A file that keeps its tokens over a restart.
    pub state_file: Option<PathBuf>,
    /// Whether it has the admin endpoints.
    pub admin: bool,
    /// How it behaves at first.
    pub behaviour: Behaviour,
}

impl Default for Options {
    /// Any free port of the loopback interface, with admin endpoints.
    fn default() -> Self {
        Self {
            address: SocketAddr::from((Ipv4Addr::LOCALHOST, 0)),
            credential: None,
            state_file: None,
            admin: true,
            behaviour: Behaviour::default(),
        }
    }
}

/// Why an emulator doesn't start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The address is taken, or isn't this machine's.
    #[error("can't listen on {0}")]
    Listen(SocketAddr, #[source] io::Error),
    /// The state file can't be read, or isn't one.
    #[error("can't read the state file {}", .0.display())]
    StateFile(PathBuf, #[source] io::Error),
    /// The behaviour makes no sense.
    #[error("no such behaviour can be: {0}")]
    Behaviour(String),
}

/// A running emulator. It stops at once when it is dropped: connections are cut, and calls that wait are not carried out.
pub struct Emulator {
    shared: Arc<Shared>,
    address: SocketAddr,
    server: Option<JoinHandle<()>>,
}

impl Emulator {
    /// Starts to serve in the current tokio runtime.
    ///
    /// # Errors
    /// When it can't listen, or can't read its state file.
    pub async fn start(options: Options) -> Result<Self, StartError> {
        let Options { address, credential, state_file, admin, behaviour } = options;
        behaviour.check().map_err(StartError::Behaviour)?;
        let credential = credential.unwrap_or_else(value::credential);
        let file = state_file.clone().map(StateFile::new);
        let shared = Shared::new(behaviour, credential, file)
            .map_err(|error| StartError::StateFile(state_file.unwrap_or_default(), error))?;
        let shared = Arc::new(shared);
        let unusable = |error| StartError::Listen(address, error);
        let listener = TcpListener::bind(address).await.map_err(unusable)?;
        let address = listener.local_addr().map_err(unusable)?;
        let admin = admin.then(|| admin::router(Arc::clone(&shared)));
        let server = tokio::spawn(serve(listener, Service { shared: Arc::clone(&shared), admin }));
        Ok(Self { shared, address, server: Some(server) })
    }

    /// Its base URL, without a slash at the end.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Where it listens.
    #[must_use]
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// The credential that it accepts now.
    #[must_use]
    pub fn credential(&self) -> String {
        self.shared.lock().credential.expose_secret().into()
    }

    /// Accepts another credential from now on, and the old one no more.
    pub fn replace_credential(&self, credential: &str) {
        self.shared.lock().credential = SecretString::from(credential);
    }

    /// Every token that was ever made, revoked ones too, oldest first.
    #[must_use]
    pub fn tokens(&self) -> Vec<Token> {
        self.shared.lock().store.tokens().cloned().collect()
    }

    /// Every call, oldest first, those that are on their way too.
    #[must_use]
    pub fn calls(&self) -> Vec<Call> {
        self.shared.lock().calls.since(0)
    }

    /// How many calls and tokens there were.
    #[must_use]
    pub fn counts(&self) -> Counts {
        self.shared.lock().counts()
    }

    /// Whether a value works.
    #[must_use]
    pub fn is_alive(&self, value: &str) -> bool {
        self.shared.lock().alive(value).is_some()
    }

    /// The faults that were added and not cleared.
    #[must_use]
    pub fn faults(&self) -> Vec<ActiveFault> {
        self.shared.lock().faults.list()
    }

    /// Adds a fault and gives its id.
    ///
    /// # Errors
    /// When it makes no sense.
    pub fn add_fault(&self, fault: Fault) -> Result<u64, InvalidFault> {
        fault.check()?;
        Ok(self.shared.lock().faults.add(fault))
    }

    /// Takes a fault away; says whether it was there. What it holds is delivered.
    #[expect(clippy::must_use_candidate, reason = "whoever takes a fault away mostly knows that it is there")]
    pub fn remove_fault(&self, id: u64) -> bool {
        self.shared.lock().faults.remove(id)
    }

    /// Takes every fault away. What they hold is delivered.
    pub fn clear_faults(&self) {
        self.shared.lock().faults.clear(Verdict::Deliver);
    }

    /// How many calls a fault holds now.
    #[must_use]
    pub fn held(&self, id: u64) -> u32 {
        self.faults().iter().find(|fault| fault.id == id).map_or(0, |fault| fault.held)
    }

    /// Delivers what a fault holds, and says how many calls that were. The fault stays.
    #[expect(clippy::must_use_candidate, reason = "the count is for who wants it")]
    pub fn release(&self, id: u64) -> usize {
        self.shared.lock().faults.release(id, Verdict::Deliver).unwrap_or_default()
    }

    /// Loses what a fault holds: it is cut, and not carried out if it hasn't been. Says how many calls that were.
    #[expect(clippy::must_use_candidate, reason = "the count is for who wants it")]
    pub fn lose(&self, id: u64) -> usize {
        self.shared.lock().faults.release(id, Verdict::Lose).unwrap_or_default()
    }

    /// Changes the standing behaviour.
    pub fn behaviour(&self, change: impl FnOnce(&mut Behaviour)) {
        change(&mut self.shared.lock().behaviour);
    }

    /// Somebody else makes a token.
    ///
    /// # Errors
    /// When the rules of the organization refuse it.
    pub fn create_elsewhere(&self, new: NewToken) -> Result<Token, ChangeError> {
        self.shared.create_elsewhere(new)
    }

    /// Somebody else revokes a token.
    ///
    /// # Errors
    /// When there is none that lives.
    pub fn revoke_elsewhere(&self, id: &str) -> Result<Token, ChangeError> {
        self.shared.revoke_elsewhere(id)
    }

    /// Somebody else rotates a token.
    ///
    /// # Errors
    /// When there is none that lives.
    pub fn rotate_elsewhere(&self, id: &str) -> Result<Token, ChangeError> {
        self.shared.rotate_elsewhere(id)
    }

    /// Waits until something is so; a test bounds it with a timeout of its own.
    pub async fn until(&self, so: impl Fn(&Self) -> bool) {
        while !so(self) {
            tokio::time::sleep(LOOK).await;
        }
    }

    /// Stops in order: calls that wait are cut, answers on their way are sent.
    pub async fn stop(mut self) {
        self.shared.stopping.cancel();
        if let Some(server) = self.server.take() {
            // It can only have panicked, which is told already.
            let _ = server.await;
        }
    }
}

impl Drop for Emulator {
    fn drop(&mut self) {
        self.shared.stopping.cancel();
        if let Some(server) = &self.server {
            server.abort();
        }
    }
}
