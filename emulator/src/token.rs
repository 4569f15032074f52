//! A token as it is known to everyone: all of it but the value.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// The two types of tokens.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TokenType {
    /// An Access Key.
    Access,
    /// A Gateway Key.
    Gateway,
}

impl TokenType {
    pub(crate) fn parse(text: &str) -> Option<Self> {
        match text {
            "access" => Some(Self::Access),
            "gateway" => Some(Self::Gateway),
            _ => None,
        }
    }

    /// Its name, as in JSON.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Access => "access",
            Self::Gateway => "gateway",
        }
    }
}

/// Who made a token.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Creator {
    /// A client, with the credential.
    Credential,
    /// Somebody else, by way of the admin endpoints.
    SomebodyElse,
}

/// What is asked for when a token is made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NewToken {
    /// Its name.
    pub name: String,
    /// Its type.
    pub token_type: TokenType,
    /// The team that it belongs to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub team_id: Option<String>,
    /// What it is for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// What it is bound to: `{"gateway_id": "…"}`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bindings: Option<Value>,
    /// When it ends.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<Timestamp>,
}

impl NewToken {
    /// A token of a name and a type, and nothing else.
    #[must_use]
    pub fn new(name: &str, token_type: TokenType) -> Self {
        Self {
            name: name.into(),
            token_type,
            team_id: None,
            description: None,
            bindings: None,
            expires_at: None,
        }
    }
}

/// A token, without its value.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Token {
    /// Its id now.
    pub id: String,
    /// The ids that rotations took from it.
    pub former_ids: Vec<String>,
    /// Its name as it was kept.
    pub name: String,
    /// Its type.
    pub token_type: TokenType,
    /// The first characters of its value.
    pub prefix: String,
    /// The team that it belongs to.
    pub team_id: Option<String>,
    /// What it is for.
    pub description: Option<String>,
    /// What it is bound to.
    pub bindings: Option<Value>,
    /// `gateway_runtime` when it is bound to a gateway, else `general`.
    pub purpose: String,
    /// Who made it.
    pub created_by: Creator,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it was last rotated.
    pub rotated_at: Option<Timestamp>,
    /// How often it was rotated.
    pub rotations: u32,
    /// When it ends.
    pub expires_at: Option<Timestamp>,
    /// When it was revoked.
    pub revoked_at: Option<Timestamp>,
}

impl Token {
    /// Whether its value works at a time.
    #[must_use]
    pub fn is_alive_at(&self, now: Timestamp) -> bool {
        self.revoked_at.is_none() && self.expires_at.is_none_or(|end| now < end)
    }

    /// Whether its value works now.
    #[must_use]
    pub fn is_alive(&self) -> bool {
        self.is_alive_at(Timestamp::now())
    }

    /// The gateway that it is bound to.
    #[must_use]
    pub fn gateway_id(&self) -> Option<&str> {
        self.bindings.as_ref()?.get("gateway_id")?.as_str()
    }
}
