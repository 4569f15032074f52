//! What the token API says about tokens, in the core's words.

use std::fmt;

use jiff::Timestamp;

/// The token API's id of a token. It goes into a path, so only characters that need no escaping there are accepted.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TokenId(String);

/// The longest id that is accepted. Ids are stored in status, whose size is bounded.
const MAX_ID_LENGTH: usize = 128;

/// The text isn't an id that can be used safely.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "a token id has 1 to {MAX_ID_LENGTH} characters of A-Z a-z 0-9 - . _ ~ : and is not made of dots alone"
)]
pub struct InvalidTokenId;

impl TokenId {
    /// Checks `text`.
    ///
    /// # Errors
    /// If it is empty, too long, made of dots alone (a path segment with a meaning), or has characters that a path
    /// would have to escape.
    pub fn parse(text: &str) -> Result<Self, InvalidTokenId> {
        let fits = (1..=MAX_ID_LENGTH).contains(&text.len());
        let plain = text.bytes().all(|b| b.is_ascii_alphanumeric() || b"-._~:".contains(&b));
        let dots = text.bytes().all(|b| b == b'.');
        if fits && plain && !dots { Ok(Self(text.to_owned())) } else { Err(InvalidTokenId) }
    }

    /// An id as long as ids may be, for trying whether it fits.
    #[must_use]
    pub fn longest() -> Self {
        Self("0".repeat(MAX_ID_LENGTH))
    }

    /// The id as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The id as the text that statuses hold.
    #[must_use]
    pub const fn as_string(&self) -> &String {
        &self.0
    }
}

impl fmt::Display for TokenId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What an answer or a list tells of one token, its value apart. All but the id may be missing (open questions O1 to
/// O18 of the token API).
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct TokenFacts {
    /// Its id.
    pub id: TokenId,
    /// Its name, as the API spells it.
    pub name: Option<String>,
    /// First characters of the value, as the API shows them; never cut from a value.
    pub prefix: Option<String>,
    /// When it was made.
    pub created_at: Option<Timestamp>,
    /// When it was last rotated.
    pub rotated_at: Option<Timestamp>,
    /// When it expires. Absent: never, or not told.
    pub expires_at: Option<Timestamp>,
}

impl TokenFacts {
    /// A token of which only id and name are told.
    #[must_use]
    pub fn named(id: TokenId, name: String) -> Self {
        Self { id, name: Some(name), prefix: None, created_at: None, rotated_at: None, expires_at: None }
    }
}
