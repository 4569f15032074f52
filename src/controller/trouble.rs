//! What a failure means for a key: the reason to show and when to try again.

use std::time::Duration;

use rand::RngExt as _;

use crate::clock;
use crate::lifecycle::memory::{Retry, Trouble};
use crate::lifecycle::status::Reason;
use crate::token_api::{CallError, Class};

use super::key::KeyState;

/// A credential that is refused rarely cures itself; when its file changes, everything is tried at once.
const CREDENTIAL: Duration = Duration::from_mins(5);

/// An answer that can't be used made a token that nobody has: the next one isn't asked for soon.
const UNUSABLE: Duration = Duration::from_mins(30);

/// What was asked of the token API.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Asked {
    /// A new token.
    Create,
    /// A new value for a token that lives. Whatever was answered, no token was made: the one that is to take its place
    /// needn't wait until somebody has seen to the API.
    Rotate,
    /// Anything that may be asked again: a list, a revocation, a proof.
    Again,
}

/// What follows from a failed call to the token API.
pub(super) fn of_call(error: &CallError, asked: Asked, key: &mut KeyState, credential: u64) -> Trouble {
    let now = clock::monotonic();
    let (reason, retry) = match (error.class, asked) {
        (Class::Unreachable | Class::Failing, _) => {
            (Reason::ApiUnreachable, Retry::At(now + key.next_wait()))
        }
        (Class::Throttled, _) => {
            let wait = error.retry_after.unwrap_or_default();
            (Reason::Throttled, Retry::At(now + wait + key.next_wait()))
        }
        (Class::Credential, _) => {
            (Reason::CredentialRefused, Retry::AtOrCredentialAfter(now + jittered(CREDENTIAL), credential))
        }
        (Class::Request, Asked::Create | Asked::Rotate) => {
            (Reason::RequestRefused, Retry::OtherThanGeneration(key.object.view.generation))
        }
        (Class::Gone | Class::Unusable, Asked::Create) => {
            (Reason::AnswerUnusable, Retry::At(now + jittered(UNUSABLE)))
        }
        (Class::Request, Asked::Again) | (Class::Gone | Class::Unusable, _) => {
            (Reason::AnswerUnusable, Retry::At(now + key.next_wait()))
        }
    };
    Trouble { reason, message: error.message.clone(), retry }
}

/// What follows when the API server refuses the Secret.
pub(super) fn of_secret(message: String, key: &mut KeyState) -> Trouble {
    let wait = key.next_wait();
    Trouble { reason: Reason::SecretRefused, message, retry: Retry::At(clock::monotonic() + wait) }
}

/// Up to a fifth longer, so that keys that failed together don't try again together.
fn jittered(wait: Duration) -> Duration {
    wait.mul_f64(rand::rng().random_range(1.0..1.2))
}
