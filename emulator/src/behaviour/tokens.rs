//! What is done to tokens.

use serde::{Deserialize, Serialize};

/// What is done to tokens (O7, O8, O9, O14, O16).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TokenRules {
    /// How a name is kept.
    pub names: Names,
    /// How many characters of a name are kept by `truncated`.
    pub names_length: u32,
    /// Whether a name that a live token has is refused.
    pub unique_names: bool,
    /// Whether a create without `expires_at` is refused.
    pub expiry_required: bool,
    /// The expiry of a token that was made without one, in seconds from its creation.
    pub default_expiry_seconds: Option<u32>,
    /// Whether a rotation changes the id.
    pub id_on_rotate: IdOnRotate,
    /// What a rotation does to the expiry.
    pub expiry_on_rotate: ExpiryOnRotate,
    /// What an `Idempotency-Key` does that was seen before.
    pub idempotency: Idempotency,
    /// How values begin.
    pub value_prefix: String,
    /// How values begin that are issued under `/v1/gateway-keys`.
    pub alias_value_prefix: String,
}

impl Default for TokenRules {
    fn default() -> Self {
        Self {
            names: Names::AsSent,
            names_length: 20,
            unique_names: false,
            expiry_required: false,
            default_expiry_seconds: None,
            id_on_rotate: IdOnRotate::Kept,
            expiry_on_rotate: ExpiryOnRotate::Kept,
            idempotency: Idempotency::Ignored,
            value_prefix: "kt_live_".into(),
            alias_value_prefix: "kt_gk_".into(),
        }
    }
}

/// How a name is kept (O14).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Names {
    /// As it was sent.
    #[default]
    AsSent,
    /// In capitals.
    Upper,
    /// In small letters.
    Lower,
    /// Cut to `names_length` characters.
    Truncated,
}

/// What a rotation does to the id (O7).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum IdOnRotate {
    /// Nothing.
    #[default]
    Kept,
    /// The token gets a new one, and the old one is unknown from then on.
    New,
}

/// What a rotation does to the expiry (O16).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ExpiryOnRotate {
    /// Nothing.
    #[default]
    Kept,
    /// The new value lives as long as the old one was meant to.
    Moved,
    /// The new value doesn't expire.
    Dropped,
}

/// What a known `Idempotency-Key` does on a create (O9).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Idempotency {
    /// Nothing: another token is made.
    #[default]
    Ignored,
    /// No other token is made; the answer is that of the first call, but the value, which is shown once.
    Replayed,
    /// The call is refused, with the status of a duplicate.
    Conflict,
}
