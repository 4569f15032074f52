//! The two calls that make a value. Each is sent once, by nobody again, and its answer is the only place where the value
//! ever stands.

use std::time::Duration;

use jiff::Timestamp;
use secrecy::{ExposeSecret, SecretString};
use serde::Serialize;
use tokio::time::Instant;

use super::call::{Failure, Reply};
use super::client::{Client, CreateRequest, ListedToken, Minted};
use super::connection::Call;
use super::decode::{Answer, answer, gives_away};
use super::error::{CallError, Class, MintError};
use super::limits::Permit;
use crate::lifecycle::time::whole_seconds;
use crate::lifecycle::token::TokenId;
use crate::resources::KeyKind;

/// The waits between lists in which a new token is looked for.
const LOOK_WAIT: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(5));

/// The body of a create. All but name and type is there only when it was asked for.
#[derive(Serialize)]
struct CreateBody<'a> {
    name: &'a str,
    token_type: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    team_id: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    description: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    expires_at: Option<Timestamp>,
    #[serde(skip_serializing_if = "Option::is_none")]
    bindings: Option<Bindings<'a>>,
}

/// The only spelling of a gateway's id in the API's documentation (O17).
#[derive(Serialize)]
struct Bindings<'a> {
    gateway_id: &'a str,
}

impl Client {
    /// Makes a token.
    ///
    /// A value that comes without an id is found by its name in a list, which may take as long as lists lag.
    ///
    /// # Errors
    /// [`MintError::Refused`] if certainly nothing was made, else [`MintError::Unknown`].
    pub async fn create(&self, permit: Permit, request: &CreateRequest<'_>) -> Result<Minted, MintError> {
        let CreateRequest { operation, kind, name, team_id, description, gateway_id, expires_at } = *request;
        let body = CreateBody {
            name,
            token_type: kind.token_type(),
            team_id,
            description,
            expires_at: expires_at.map(whole_seconds),
            bindings: gateway_id.map(|gateway_id| Bindings { gateway_id }),
        };
        let body = serde_json::to_vec(&body).map_err(|_| {
            MintError::Refused(CallError::new(Class::Request, "the request can't be written"))
        })?;
        let url = self.connection.url(&["v1", "tokens"]);
        let mut answer = self.mint(permit, Call::minting(url, operation, body)).await?;
        let Some(value) = answer.value.take() else {
            if let Some(id) = &answer.id {
                // Best effort: whoever recovers revokes it too, by its name.
                let revoked = self.revoke(id).await;
                tracing::warn!(%id, revoked = revoked.is_ok(), "a token was made, but its value wasn't told");
            }
            return Err(no_value());
        };
        match answer.id.clone() {
            Some(id) => Ok(minted(answer, id, value, Some(name))),
            None => self.identify(kind, name, value).await,
        }
    }

    /// Gives a token a new value; the old one dies at once. `name` is its name, as far as it is known.
    ///
    /// # Errors
    /// [`MintError::Refused`] if certainly nothing changed, else [`MintError::Unknown`].
    pub async fn rotate(
        &self,
        permit: Permit,
        _kind: KeyKind,
        id: &TokenId,
        name: Option<&str>,
        operation: &str,
    ) -> Result<Minted, MintError> {
        let url = self.connection.url(&["v1", "tokens", id.as_str(), "rotate"]);
        // An empty object: some servers refuse a POST without a document, and none can mind this one.
        let mut answer = self.mint(permit, Call::minting(url, operation, b"{}".to_vec())).await?;
        let value = answer.value.take().ok_or_else(no_value)?;
        let id = answer.id.clone().unwrap_or_else(|| id.clone());
        Ok(minted(answer, id, value, name))
    }

    /// Sends a call that makes a value, once.
    async fn mint(&self, permit: Permit, call: Call<'_>) -> Result<Answer, MintError> {
        // A pause that began after the permit was given counts too; nothing was sent yet.
        self.connection.limits.check().map_err(MintError::Refused)?;
        let _sending = permit.send();
        let reply: Reply = self.connection.send(call).await.map_err(|failure| {
            let Failure { definite, error, .. } = failure;
            if definite { MintError::Refused(error) } else { MintError::Unknown(error) }
        })?;
        answer(&reply.body).ok_or_else(|| {
            let message =
                format!("{}: the answer can't be read, so nobody knows what was made", reply.status);
            MintError::Unknown(CallError::new(Class::Unusable, message))
        })
    }

    /// Finds the token that was just made under `name`, of which the answer told the value alone.
    async fn identify(&self, kind: KeyKind, name: &str, value: SecretString) -> Result<Minted, MintError> {
        let settings = self.connection.settings();
        let until = Instant::now() + settings.list_lag + settings.call_deadline;
        let mut wait = (settings.list_lag / 10).clamp(LOOK_WAIT.0, LOOK_WAIT.1);
        loop {
            let mut found: Vec<ListedToken> = Vec::new();
            let listed = self.list(kind, |token| {
                let ours = token.alive && token.facts.name.as_deref() == Some(name);
                // A token may stand on two pages; and more than two add nothing.
                if ours && found.len() < 2 && found.iter().all(|other| other.facts.id != token.facts.id) {
                    found.push(token);
                }
            });
            let listed = listed.await;
            match (listed, found.pop(), found.is_empty()) {
                (Ok(()), Some(ListedToken { mut facts, .. }), true) => {
                    facts.prefix = facts.prefix.filter(|prefix| !gives_away(prefix, value.expose_secret()));
                    return Ok(Minted { facts, value });
                }
                (_, Some(_), false) => {
                    return Err(unidentified(
                        "the answer had no id, and several tokens have the new one's name",
                    ));
                }
                _ if Instant::now() + wait >= until => {
                    return Err(unidentified("the answer had no id, and no list shows the new token's name"));
                }
                _ => (),
            }
            tokio::time::sleep(wait.mul_f64(rand::random_range(1.0..1.5))).await;
            wait = (wait * 2).min(LOOK_WAIT.1);
        }
    }
}

fn minted(answer: Answer, id: TokenId, value: SecretString, name: Option<&str>) -> Minted {
    let mut facts = answer.facts(id);
    facts.name = facts.name.or_else(|| name.map(str::to_owned));
    Minted { facts, value }
}

fn no_value() -> MintError {
    MintError::Unknown(CallError::new(Class::Unusable, "the answer has no value"))
}

fn unidentified(message: &str) -> MintError {
    MintError::Unknown(CallError::new(Class::Unusable, message))
}
