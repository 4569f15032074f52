//! The table of tokens. It does no I/O and reads no clock.

use std::collections::HashMap;

use jiff::{SignedDuration, Timestamp};
use secrecy::SecretString;
use serde::{Deserialize, Serialize};

use crate::behaviour::{ExpiryOnRotate, IdOnRotate, Names, TokenRules};
use crate::token::{Creator, NewToken, Token, TokenType};
use crate::value::{Hash, Minted, random};

/// A token with what is kept of its value.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Stored {
    pub(crate) hash: Hash,
    #[serde(flatten)]
    pub(crate) token: Token,
}

/// Why something was not done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The organization demands an expiry.
    #[error("this organization requires expires_at on every token")]
    ExpiryRequired,
    /// A live token has the name.
    #[error("a token with this name exists already")]
    DuplicateName,
    /// No token has the id.
    #[error("no such token")]
    Unknown,
    /// The token was revoked, or has expired.
    #[error("the token has been revoked or has expired")]
    Dead,
}

/// A token and its past.
#[derive(Debug)]
struct Row {
    /// Oldest first and never empty; the past is there for lists that lag.
    past: Vec<(Timestamp, Stored)>,
    now: Stored,
}

/// All tokens, oldest first.
#[derive(Debug, Default)]
pub(crate) struct Store {
    rows: Vec<Row>,
    /// Where the token is that has an id now: with ten thousand of them a search through all would be most of a call.
    places: HashMap<String, usize>,
}

impl Store {
    /// The table as it was saved. Lists that lag see those tokens at once.
    pub(crate) fn restored(tokens: Vec<Stored>) -> Self {
        let row = |it: Stored| Row { past: vec![(Timestamp::UNIX_EPOCH, it.clone())], now: it };
        let places = tokens.iter().enumerate().map(|(place, it)| (it.token.id.clone(), place)).collect();
        Self { rows: tokens.into_iter().map(row).collect(), places }
    }

    pub(crate) fn stored(&self) -> impl Iterator<Item = &Stored> {
        self.rows.iter().map(|row| &row.now)
    }

    pub(crate) fn tokens(&self) -> impl Iterator<Item = &Token> {
        self.stored().map(|it| &it.token)
    }

    /// The token that has this id now.
    pub(crate) fn by_id(&self, id: &str) -> Option<&Token> {
        self.places.get(id).map(|place| &self.rows[*place].now.token)
    }

    /// The token whose value this is, alive or not.
    pub(crate) fn by_value(&self, value: &str) -> Option<&Token> {
        let hash = Hash::of(value);
        self.stored().find(|it| it.hash == hash).map(|it| &it.token)
    }

    /// The tokens as they were at a time, with the rows that are theirs for good.
    pub(crate) fn as_of(&self, time: Timestamp) -> impl Iterator<Item = (usize, &Token)> {
        self.rows.iter().enumerate().filter_map(move |(number, row)| {
            row.past.iter().rev().find(|(since, _)| *since <= time).map(|(_, it)| (number, &it.token))
        })
    }

    pub(crate) fn create(
        &mut self,
        new: NewToken,
        rules: &TokenRules,
        beginning: &str,
        creator: Creator,
        now: Timestamp,
    ) -> Result<(Token, SecretString), Refusal> {
        let NewToken { name, token_type, team_id, description, bindings, expires_at } = new;
        if rules.expiry_required && expires_at.is_none() {
            return Err(Refusal::ExpiryRequired);
        }
        let name = kept_name(&name, rules);
        if rules.unique_names && self.tokens().any(|it| it.name == name && it.is_alive_at(now)) {
            return Err(Refusal::DuplicateName);
        }
        let default_expiry = || {
            let seconds = rules.default_expiry_seconds?;
            now.checked_add(SignedDuration::from_secs(i64::from(seconds))).ok()
        };
        let minted = Minted::new(beginning);
        let runtime = bindings.as_ref().is_some_and(|it| it.get("gateway_id").is_some());
        let token = Token {
            id: new_id(),
            former_ids: vec![],
            name,
            token_type,
            prefix: minted.prefix,
            team_id,
            description,
            bindings,
            purpose: if runtime { "gateway_runtime" } else { "general" }.into(),
            created_by: creator,
            created_at: now,
            rotated_at: None,
            rotations: 0,
            expires_at: expires_at.or_else(default_expiry),
            revoked_at: None,
        };
        let stored = Stored { hash: minted.hash, token: token.clone() };
        self.places.insert(token.id.clone(), self.rows.len());
        self.rows.push(Row { past: vec![(now, stored.clone())], now: stored });
        Ok((token, minted.value))
    }

    /// Rotates a token; only of a type, where one is given.
    pub(crate) fn rotate(
        &mut self,
        id: &str,
        only: Option<TokenType>,
        rules: &TokenRules,
        beginning: &str,
        now: Timestamp,
    ) -> Result<(Token, SecretString), Refusal> {
        let place = self.place(id, only)?;
        let row = &mut self.rows[place];
        let token = &mut row.now.token;
        if !token.is_alive_at(now) {
            return Err(Refusal::Dead);
        }
        let minted = Minted::new(beginning);
        if rules.id_on_rotate == IdOnRotate::New {
            let old = std::mem::replace(&mut token.id, new_id());
            self.places.remove(&old);
            self.places.insert(token.id.clone(), place);
            token.former_ids.push(old);
        }
        token.expires_at = match rules.expiry_on_rotate {
            ExpiryOnRotate::Kept => token.expires_at,
            ExpiryOnRotate::Dropped => None,
            ExpiryOnRotate::Moved => token.expires_at.map(|end| {
                let life = end.duration_since(token.rotated_at.unwrap_or(token.created_at));
                now.checked_add(life).unwrap_or(Timestamp::MAX)
            }),
        };
        token.rotated_at = Some(now);
        token.rotations += 1;
        token.prefix = minted.prefix;
        row.now.hash = minted.hash;
        row.past.push((now, row.now.clone()));
        Ok((row.now.token.clone(), minted.value))
    }

    /// Revokes a token, expired or not; only of a type, where one is given.
    pub(crate) fn revoke(
        &mut self,
        id: &str,
        only: Option<TokenType>,
        now: Timestamp,
    ) -> Result<Token, Refusal> {
        let place = self.place(id, only)?;
        let row = &mut self.rows[place];
        if row.now.token.revoked_at.is_some() {
            return Err(Refusal::Dead);
        }
        row.now.token.revoked_at = Some(now);
        row.past.push((now, row.now.clone()));
        Ok(row.now.token.clone())
    }

    fn place(&self, id: &str, only: Option<TokenType>) -> Result<usize, Refusal> {
        let place = self.places.get(id).copied();
        place
            .filter(|place| only.is_none_or(|it| it == self.rows[*place].now.token.token_type))
            .ok_or(Refusal::Unknown)
    }
}

fn new_id() -> String {
    format!("tok_{}", random(16))
}

fn kept_name(name: &str, rules: &TokenRules) -> String {
    match rules.names {
        Names::AsSent => name.into(),
        Names::Upper => name.to_uppercase(),
        Names::Lower => name.to_lowercase(),
        Names::Truncated => {
            name.chars().take(usize::try_from(rules.names_length).unwrap_or(usize::MAX)).collect()
        }
    }
}
