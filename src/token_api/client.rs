//! The client: one method for each call of the API.

use std::fmt;
use std::sync::{PoisonError, RwLock};
use std::time::Duration;

use backon::{ExponentialBuilder, Retryable as _};
use http::{Method, StatusCode};
use jiff::Timestamp;
use secrecy::SecretString;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::call::{Failure, Reply};
use super::connection::{Call, Connection};
use super::decode::{Told, answer};
use super::error::{CallError, Class};
use super::files::bearer;
use super::limits::Permit;
use super::settings::{Settings, SettingsError};
use crate::lifecycle::memory::Life;
use crate::lifecycle::token::{TokenFacts, TokenId};
use crate::metrics::TokenApiMetrics;
use crate::resources::KeyKind;

/// How often the files of the connection are looked at. Kubelet's own period is about a minute.
const WATCH_PERIOD: Duration = Duration::from_secs(2);

/// How often a value is tried again, and the wait before the first time; doubled each time.
const PROOF_RETRIES: usize = 2;
const PROOF_WAIT: Duration = Duration::from_millis(500);

/// A client of the token API.
pub struct Client {
    pub(super) connection: Connection,
    /// Which token the operator's own credential is, and for which of its versions that is known.
    own: RwLock<(u64, Option<TokenId>)>,
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client").field("settings", self.connection.settings()).finish_non_exhaustive()
    }
}

/// What is sent to make a token.
#[derive(Clone, Copy, Debug)]
pub struct CreateRequest<'a> {
    /// The operation's id, sent as `Idempotency-Key`.
    pub operation: &'a str,
    /// The type of token.
    pub kind: KeyKind,
    /// Its full name, with the tag.
    pub name: &'a str,
    /// Sent only when set.
    pub team_id: Option<&'a str>,
    /// Sent only when set.
    pub description: Option<&'a str>,
    /// Sent only when set.
    pub gateway_id: Option<&'a str>,
    /// Sent only when set.
    pub expires_at: Option<Timestamp>,
}

/// A value, and what was told of its token. The value is shown by no `Debug`.
#[derive(Debug)]
pub struct Minted {
    /// What the answer tells.
    pub facts: TokenFacts,
    /// The value; never empty.
    pub value: SecretString,
}

/// A token in a list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListedToken {
    /// What the list tells.
    pub facts: TokenFacts,
    /// Listed as living.
    pub alive: bool,
}

impl Client {
    /// Checks the settings and reads the files. Makes no call.
    ///
    /// # Errors
    /// If the URL isn't fit for credentials, a file can't be read, or there are no certificate authorities.
    pub fn new(settings: &Settings) -> Result<Self, SettingsError> {
        Connection::new(settings).map(|connection| Self { connection, own: RwLock::default() })
    }

    /// What is counted of its calls.
    #[must_use]
    pub const fn metrics(&self) -> &TokenApiMetrics {
        &self.connection.metrics
    }

    /// Watches the files of the credential and of the authorities until `stop`. A file that is missing or unusable
    /// leaves the old content in force.
    pub async fn watch_files(&self, stop: CancellationToken) {
        self.watch_files_every(WATCH_PERIOD, stop).await;
    }

    pub(super) async fn watch_files_every(&self, period: Duration, stop: CancellationToken) {
        let (mut credential, mut authorities) = (Watched::new("credential"), Watched::new("authorities"));
        while stop.run_until_cancelled(tokio::time::sleep(period)).await.is_some() {
            // The content decides, not the time of change: kubelet swaps a symbolic link.
            credential.note(self.connection.reload_credential());
            if self.connection.ca_file().is_some() {
                authorities.note(self.connection.reload_ca());
            }
        }
    }

    /// Rises with each change of the operator's own credential.
    #[must_use]
    pub fn credential_version(&self) -> u64 {
        *self.connection.versions().borrow()
    }

    /// Told when [`Self::credential_version`] rises.
    #[must_use]
    pub fn credential_changes(&self) -> watch::Receiver<u64> {
        self.connection.versions().subscribe()
    }

    /// The API's clock and ours differ by more than five minutes, by its last answer.
    #[must_use]
    pub fn clock_skewed(&self) -> bool {
        self.connection.skewed()
    }

    /// A place under the rate limit. It is taken before an intent is recorded, so that nothing waits between intent and
    /// call.
    ///
    /// # Errors
    /// With [`Class::Throttled`], at once, while an answer of the API has the connection paused.
    pub async fn permit(&self) -> Result<Permit, CallError> {
        self.connection.limits.permit().await
    }

    /// A place for a call that may wait: for a short pause it does.
    pub(super) async fn place(&self) -> Result<Permit, CallError> {
        // A pause no longer than a call may take anyway is waited out.
        self.connection.limits.patient_permit(self.connection.settings().call_deadline).await
    }

    /// Makes a call that may wait and may be repeated.
    pub(super) async fn call(&self, call: Call<'_>) -> Result<Reply, Failure> {
        let _sending = self.place().await.map_err(Failure::unsent)?.send();
        self.connection.send(call).await
    }

    /// Revokes a token. One that is unknown or revoked already is a success.
    ///
    /// # Errors
    /// If the token may still live.
    pub async fn revoke(&self, id: &TokenId) -> Result<(), CallError> {
        let url = self.connection.url(&["v1", "tokens", id.as_str()]);
        let failure = match self.call(Call::new(Method::DELETE, url)).await {
            Ok(reply) => return by_an_api(&reply),
            Err(failure) => failure,
        };
        if failure.error.class != Class::Gone {
            return Err(failure.error);
        }
        if failure.by_api {
            return Ok(());
        }
        // A proxy without a route to the API says 404 as well, and would make a living token pass for a revoked one. In
        // that case it says so to this question too.
        match self.whoami_status().await {
            Ok(_) | Err(Failure { status: Some(StatusCode::FORBIDDEN), .. }) => Ok(()),
            Err(_) => Err(CallError::new(
                Class::Unusable,
                format!("{}; this may not be the token API's own answer", failure.error.message),
            )),
        }
    }

    /// Asks whether the API is reached and accepts the operator's own credential.
    ///
    /// # Errors
    /// If it isn't, or doesn't.
    pub async fn whoami(&self) -> Result<(), CallError> {
        self.whoami_status().await.map(drop).map_err(|failure| failure.error)
    }

    async fn whoami_status(&self) -> Result<Reply, Failure> {
        let reply = self.call(Call::new(Method::GET, self.connection.url(&["v1", "whoami"]))).await?;
        by_an_api(&reply).map_err(|error| Failure::lost(error.class, error.message))?;
        Ok(reply)
    }

    /// Tries a value: whether the API accepts it (O15). An answer that says nothing because the API can't be reached,
    /// fails or asks to slow down is asked for again, a few times.
    ///
    /// A 401 condemns a token, so it isn't believed while the API refuses the operator's own credential in the same way:
    /// then the API, or something before it, refuses everybody.
    pub async fn prove(&self, value: &SecretString) -> Life {
        let waits =
            ExponentialBuilder::new().with_min_delay(PROOF_WAIT).with_jitter().with_max_times(PROOF_RETRIES);
        let proof = (|| self.prove_once(value)).retry(waits).when(|passing| *passing == Passing).await;
        proof.unwrap_or(Life::Unknown)
    }

    async fn prove_once(&self, value: &SecretString) -> Result<Life, Passing> {
        let Some(authorization) = bearer(value) else { return Ok(Life::Unknown) };
        let url = self.connection.url(&["v1", "whoami"]);
        let failure = match self.call(Call::new(Method::GET, url).authorized_by(authorization)).await {
            Ok(reply) if by_an_api(&reply).is_ok() => return Ok(Life::Alive),
            Ok(_) => return Ok(Life::Unknown),
            Err(failure) => failure,
        };
        match (failure.status, failure.error.class) {
            (Some(StatusCode::FORBIDDEN), Class::Credential) => Ok(Life::Alive),
            (Some(StatusCode::UNAUTHORIZED), Class::Credential) => match self.whoami_status().await {
                Ok(_) | Err(Failure { status: Some(StatusCode::FORBIDDEN), .. }) => Ok(Life::Dead),
                Err(_) => Ok(Life::Unknown),
            },
            (_, Class::Unreachable | Class::Failing | Class::Throttled) => Err(Passing),
            _ => Ok(Life::Unknown),
        }
    }

    /// Asks once for each credential which token the operator's own is, so that [`Self::is_own`] can tell.
    pub async fn find_own(&self) {
        let version = self.credential_version();
        if self.own.read().unwrap_or_else(PoisonError::into_inner).0 == version {
            return;
        }
        // An API that doesn't tell is asked again no sooner than it has another credential.
        if let Ok(reply) = self.whoami_status().await {
            let answer = answer(&reply.body);
            if let Some(expiry) = answer.as_ref().and_then(|answer| answer.expires_at) {
                self.connection.metrics.credential_expires(expiry);
            }
            let id = answer.and_then(|answer| answer.id);
            *self.own.write().unwrap_or_else(PoisonError::into_inner) = (version, id);
        }
    }

    /// Looks at a listed token: of its own the operator wants to know when it expires.
    pub(super) fn notice_own(&self, facts: &TokenFacts) {
        if let Some(expiry) = facts.expires_at.filter(|_| self.is_own(facts)) {
            self.connection.metrics.credential_expires(expiry);
        }
    }

    /// Whether a listed token is the operator's own credential: by the id that [`Self::find_own`] learned, or by the
    /// characters that the list shows of its value.
    #[must_use]
    pub fn is_own(&self, facts: &TokenFacts) -> bool {
        let told = self.own.read().unwrap_or_else(PoisonError::into_inner).1.as_ref() == Some(&facts.id);
        told || facts.prefix.as_deref().is_some_and(|prefix| self.connection.credential_begins_with(prefix))
    }
}

/// An answer that says nothing now and may say something soon.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Passing;

/// Whether a value begins as a list shows it. Prefixes are shown with an ellipsis or asterisks behind them, and say
/// nothing if they are no longer than what all values begin with.
#[must_use]
pub fn begins_with(value: &str, shown: &str) -> Option<bool> {
    /// `kt_live_`, and four more.
    const TELLING: usize = 12;
    let shown = shown.trim_end_matches(['.', '…', '*', '•', ' ']);
    (shown.len() >= TELLING).then(|| value.starts_with(shown))
}

/// Whether a success comes from an API: a captive portal or a proxy's login page says 200 to everything.
fn by_an_api(reply: &Reply) -> Result<(), CallError> {
    if Told::of(&reply.body) == Told::Page {
        let message = format!("{}: {}", reply.status, Told::Page.text());
        return Err(CallError::new(Class::Unusable, message));
    }
    Ok(())
}

/// A file that is watched. Logs when it goes bad and when it is good again, not each time that it is looked at.
struct Watched {
    what: &'static str,
    bad: bool,
}

impl Watched {
    const fn new(what: &'static str) -> Self {
        Self { what, bad: false }
    }

    fn note(&mut self, result: Result<bool, SettingsError>) {
        let what = self.what;
        match result {
            Ok(changed) => {
                if changed {
                    tracing::info!("the {what} changed; the new content is in force");
                } else if self.bad {
                    tracing::info!("the file of the {what} can be used again");
                }
                self.bad = false;
            }
            Err(error) => {
                if !self.bad {
                    tracing::warn!(%error, "the old {what} stays in force");
                }
                self.bad = true;
            }
        }
    }
}
