//! Values: made at random, shown once, and recognised by a hash.

use std::fmt::Write as _;

use rand::distr::{Alphanumeric, SampleString as _};
use secrecy::{ExposeSecret as _, SecretString};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

/// How many random characters a value has: 238 bits, so that a plain hash of it can't be turned back.
const LENGTH: usize = 40;

/// How much of a value lists show: `kt_live_abcd`.
const PREFIX: usize = 12;

/// What is kept of a value.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub(crate) struct Hash(String);

impl Hash {
    pub(crate) fn of(value: &str) -> Self {
        let digest = Sha256::digest(value.as_bytes());
        Self(digest.iter().fold(String::new(), |mut hex, byte| {
            // Writing to a string can't fail.
            let _ = write!(hex, "{byte:02x}");
            hex
        }))
    }
}

/// A value that was just made.
pub(crate) struct Minted {
    pub(crate) value: SecretString,
    pub(crate) hash: Hash,
    pub(crate) prefix: String,
}

impl Minted {
    pub(crate) fn new(beginning: &str) -> Self {
        let value = SecretString::from(format!("{beginning}{}", random(LENGTH)));
        let hash = Hash::of(value.expose_secret());
        let prefix = value.expose_secret().chars().take(PREFIX).collect();
        Self { value, hash, prefix }
    }
}

/// A credential for who didn't bring one.
pub(crate) fn credential() -> SecretString {
    SecretString::from(format!("kt_live_{}", random(LENGTH)))
}

/// Random letters and digits.
pub(crate) fn random(length: usize) -> String {
    Alphanumeric.sample_string(&mut rand::rng(), length)
}
