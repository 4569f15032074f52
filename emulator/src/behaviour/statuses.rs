//! The status of every kind of answer.

use serde::{Deserialize, Serialize};

/// The status of every kind of answer (O3, O10, O11, O15). Answers with 204 have no body, whatever they would say.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Statuses {
    /// A token was made.
    pub create: u16,
    /// A token was rotated.
    pub rotate: u16,
    /// A token was revoked.
    pub revoke: u16,
    /// A list.
    pub list: u16,
    /// `whoami` with the credential.
    pub whoami: u16,
    /// `whoami` with the value of a live token (O15).
    pub whoami_minted: u16,
    /// A request that is wrong.
    pub invalid: u16,
    /// A create without `expires_at` where one is required.
    pub expiry_required: u16,
    /// A name, or an `Idempotency-Key`, that is there already.
    pub duplicate: u16,
    /// Rotation of an id that is unknown.
    pub rotate_unknown: u16,
    /// Rotation of a token that was revoked or has expired.
    pub rotate_dead: u16,
    /// Revocation of an id that is unknown.
    pub revoke_unknown: u16,
    /// Revocation of a token that was revoked.
    pub revoke_dead: u16,
}

impl Default for Statuses {
    fn default() -> Self {
        Self {
            create: 201,
            rotate: 200,
            revoke: 204,
            list: 200,
            whoami: 200,
            whoami_minted: 200,
            invalid: 422,
            expiry_required: 422,
            duplicate: 409,
            rotate_unknown: 404,
            rotate_dead: 409,
            revoke_unknown: 404,
            revoke_dead: 404,
        }
    }
}

impl Statuses {
    /// The first that no answer can have.
    pub(super) fn impossible(&self) -> Option<u16> {
        let Self {
            create,
            rotate,
            revoke,
            list,
            whoami,
            whoami_minted,
            invalid,
            expiry_required,
            duplicate,
            rotate_unknown,
            rotate_dead,
            revoke_unknown,
            revoke_dead,
        } = *self;
        [
            create,
            rotate,
            revoke,
            list,
            whoami,
            whoami_minted,
            invalid,
            expiry_required,
            duplicate,
            rotate_unknown,
            rotate_dead,
            revoke_unknown,
            revoke_dead,
        ]
        .into_iter()
        .find(|status| !is_final(*status))
    }
}

/// 1xx is no answer yet, and what is above 599 has no meaning.
pub(crate) fn is_final(status: u16) -> bool {
    (200..600).contains(&status)
}
