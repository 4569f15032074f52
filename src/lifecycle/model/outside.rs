//! What people, other controllers and other clients of the token API do, and how many mints it accounts for.

use std::sync::Arc;

use crate::lifecycle::token::TokenId;
use crate::resources::{DeletionPolicy, DesiredState, KeyStatus};

use super::world::World;

/// Something that happens from outside.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Outside {
    RaiseGeneration,
    DeleteSecret,
    EditSecret,
    /// A change of the Secret that changes nothing of ours.
    AnnotateSecret,
    /// Somebody writes another's token into the Secret's record.
    ForgeRecord,
    /// `kubectl replace`: the finalizer is gone.
    WipeFinalizer,
    ToggleSuspend,
    Delete,
    DeleteRetaining,
    /// Status is lost.
    WipeStatus,
    /// The resource comes back from a backup: another uid, no status.
    NewUid,
    /// A living token of ours is revoked in the console: the oldest, or the newest.
    RevokeOldest,
    RevokeNewest,
    /// The newest living token of ours is rotated in the console.
    RotateElsewhere,
    /// `spec.state: Revoked`.
    StateRevoked,
    StateActive,
    /// The wall clock is set forward by more than the grace.
    ClockForward,
}

impl Outside {
    pub(super) const ALL: &[Self] = &[
        Self::RaiseGeneration,
        Self::DeleteSecret,
        Self::EditSecret,
        Self::AnnotateSecret,
        Self::ForgeRecord,
        Self::WipeFinalizer,
        Self::ToggleSuspend,
        Self::Delete,
        Self::DeleteRetaining,
        Self::WipeStatus,
        Self::NewUid,
        Self::RevokeOldest,
        Self::RevokeNewest,
        Self::RotateElsewhere,
        Self::StateRevoked,
        Self::StateActive,
        Self::ClockForward,
    ];

    /// Whether it would change anything now.
    pub(super) fn is_possible(self, world: &World) -> bool {
        let Some(resource) = &world.resource else { return false };
        let secret = world.secret.is_some();
        let recorded = world.secret.as_ref().is_some_and(|secret| secret.record.is_some());
        let unmarked = world.secret.as_ref().is_some_and(|secret| !secret.edited && secret.value != 0);
        let mut living = world.tokens.iter().filter(|token| token.ours && token.revoked.is_none());
        match self {
            Self::RaiseGeneration | Self::ToggleSuspend => !resource.deleting,
            // A person may say so until the resource is gone.
            Self::DeleteRetaining => resource.finalizer && resource.policy == DeletionPolicy::Revoke,
            Self::Delete | Self::WipeFinalizer => resource.finalizer && !resource.deleting,
            Self::DeleteSecret | Self::AnnotateSecret => secret,
            Self::EditSecret => recorded && unmarked,
            Self::ForgeRecord => recorded,
            Self::WipeStatus => resource.status != blank(),
            Self::NewUid => !resource.deleting && resource.life < 2 && resource.status != blank(),
            Self::RevokeOldest | Self::RotateElsewhere => living.next().is_some(),
            Self::RevokeNewest => living.nth(1).is_some(),
            Self::StateRevoked => resource.state == DesiredState::Active && !resource.deleting,
            Self::StateActive => resource.state == DesiredState::Revoked && !resource.deleting,
            Self::ClockForward => true,
        }
    }

    /// It happens, if it would change anything.
    #[expect(clippy::too_many_lines, reason = "one arm an event; each is read beside its neighbours")]
    pub(super) fn happen(self, world: &mut World) {
        if !self.is_possible(world) {
            return;
        }
        match self {
            Self::RaiseGeneration => {
                world.allowed += 1;
                world.edit(|resource| {
                    resource.asked += 1;
                    resource.generation += 1;
                });
            }
            Self::DeleteSecret => {
                world.allowed += 1;
                world.tampered = true;
                world.secret = None;
                let life = world.resource.as_ref().map_or(0, |resource| resource.life);
                world.forgotten |= (1 << life) - 1;
            }
            Self::EditSecret => {
                world.allowed += 1;
                world.tampered = true;
                world.edit_secret(|secret| secret.edited = true);
            }
            Self::AnnotateSecret => world.edit_secret(|_| {}),
            Self::ForgeRecord => {
                world.allowed += 1;
                world.tampered = true;
                let recorded =
                    world.resource.as_ref().and_then(|r| Some(r.status.operation.as_ref()?.id.clone()));
                world.edit_secret(|secret| {
                    if let Some(record) = &mut secret.record {
                        record.token.id = TokenId::parse("tok_foreign").unwrap();
                        record.operation = recorded.unwrap_or_default();
                    }
                });
            }
            Self::WipeFinalizer => world.edit(|resource| resource.finalizer = false),
            Self::ToggleSuspend => world.edit(|resource| {
                resource.suspend = !resource.suspend;
                resource.generation += 1;
            }),
            Self::Delete => world.edit(|resource| {
                resource.deleting = true;
                resource.generation += 1;
            }),
            Self::DeleteRetaining => world.edit(|resource| {
                resource.deleting = true;
                resource.generation += 1;
                resource.policy = DeletionPolicy::Retain;
            }),
            Self::WipeStatus => {
                lose_status(world);
                world.edit(|resource| resource.status = blank());
            }
            Self::NewUid => {
                lose_status(world);
                let version = world.bump();
                let record = world.secret.as_ref().and_then(|secret| secret.record.as_ref());
                let remembers =
                    |life: usize| record.is_some_and(|record| record.uids.contains(&World::owner(life).uid));
                let life = world.resource.as_ref().map_or(0, |resource| resource.life);
                let forgotten = (0..=life).filter(|life| !remembers(*life)).map(|life| 1 << life);
                world.forgotten |= forgotten.sum::<u8>();
                if let Some(resource) = &mut world.resource {
                    let resource = Arc::make_mut(resource);
                    resource.version = version;
                    resource.life += 1;
                    resource.status = blank();
                }
            }
            Self::RevokeOldest | Self::RevokeNewest => {
                world.allowed += 1;
                let clock = world.clock;
                let mut living =
                    world.tokens.iter_mut().filter(|token| token.ours && token.revoked.is_none());
                let token = if self == Self::RevokeOldest { living.next() } else { living.last() };
                if let Some(token) = token {
                    token.revoked = Some(clock);
                    world.killed.push(token.value);
                }
            }
            Self::RotateElsewhere => {
                world.allowed += 1;
                world.outside += 1;
                let (clock, value) = (world.clock, 3_000_000 + world.outside);
                let newest =
                    world.tokens.iter_mut().rev().find(|token| token.ours && token.revoked.is_none());
                if let Some(token) = newest {
                    let old = std::mem::replace(&mut token.value, value);
                    token.before = Some((old, clock));
                    world.killed.push(old);
                }
            }
            Self::StateRevoked => world.edit(|resource| {
                resource.state = DesiredState::Revoked;
                resource.generation += 1;
            }),
            Self::StateActive => {
                world.allowed += 1;
                world.doomed = world.tokens.len();
                world.edit(|resource| {
                    resource.state = DesiredState::Active;
                    resource.generation += 1;
                });
            }
            Self::ClockForward => world.jumped += 100,
        }
    }
}

fn blank() -> KeyStatus {
    KeyStatus { observed_generation: Some(-1), ..KeyStatus::default() }
}

/// With status goes what it said of an operation: one more mint for its unknown outcome, and one if the value can't be
/// proved.
fn lose_status(world: &mut World) {
    let recorded = world.resource.as_ref().is_some_and(|resource| resource.status.operation.is_some());
    world.allowed += 1 + u64::from(recorded);
}
