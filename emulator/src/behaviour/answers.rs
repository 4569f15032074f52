//! The shape of what create and rotate answer, and of errors.

use serde::{Deserialize, Serialize};

/// The answers to create and rotate (O1, O2).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Answers {
    /// The field that holds the value.
    pub value_field: ValueField,
    /// Where that field is.
    pub value_place: Place,
    /// The field that holds the id, in answers and in lists.
    pub id_field: IdField,
    /// Where that field is, with everything else that is told of the token.
    pub id_place: Place,
    /// Whether the value is there at all.
    pub value: bool,
    /// Whether the id is there at all.
    pub id: bool,
    /// Whether anything else is told of the token: name, prefix, times.
    pub details: bool,
}

impl Default for Answers {
    fn default() -> Self {
        Self {
            value_field: ValueField::Token,
            value_place: Place::Top,
            id_field: IdField::Id,
            id_place: Place::Top,
            value: true,
            id: true,
            details: true,
        }
    }
}

/// The names a value's field may have (O1).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[expect(missing_docs, reason = "each is the field's name")]
pub enum ValueField {
    #[default]
    Token,
    Key,
    Value,
    Secret,
    ApiKey,
    Plaintext,
}

impl ValueField {
    /// Every name.
    pub const ALL: [Self; 6] =
        [Self::Token, Self::Key, Self::Value, Self::Secret, Self::ApiKey, Self::Plaintext];

    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Token => "token",
            Self::Key => "key",
            Self::Value => "value",
            Self::Secret => "secret",
            Self::ApiKey => "api_key",
            Self::Plaintext => "plaintext",
        }
    }
}

/// Where a field is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Place {
    /// At the top.
    #[default]
    Top,
    /// Inside the object `data`.
    Data,
    /// Inside the object `token`.
    Token,
}

impl Place {
    /// Every place.
    pub const ALL: [Self; 3] = [Self::Top, Self::Data, Self::Token];
}

/// The names an id's field may have (O2).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum IdField {
    /// `id`.
    #[default]
    Id,
    /// `token_id`.
    TokenId,
}

impl IdField {
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Id => "id",
            Self::TokenId => "token_id",
        }
    }
}

/// How errors are wrapped (O12).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Envelope {
    /// `{"error": {"type", "message", "code"}}`.
    #[default]
    Typed,
    /// `{"error": "text"}`.
    ErrorText,
    /// `{"message": "text"}`.
    Message,
    /// `{"detail": "text"}`.
    Detail,
    /// The text as it is.
    Plain,
    /// A page of HTML, as a proxy would send it.
    Html,
    /// Nothing.
    Empty,
}

impl Envelope {
    /// Every form.
    pub const ALL: [Self; 7] =
        [Self::Typed, Self::ErrorText, Self::Message, Self::Detail, Self::Plain, Self::Html, Self::Empty];
}
