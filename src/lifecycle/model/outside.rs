//! What people, other controllers and other clients of the token API do, and how many mints it accounts for.

use std::sync::Arc;
use std::time::Duration;

use crate::lifecycle::time::later;
use crate::lifecycle::token::TokenId;
use crate::resources::{DeletionPolicy, DesiredState, RotationStrategy};

use super::world::{EVERY, GRACE, LEFT, Resource, World};

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
    /// The spec asks for something that can't be done, or no longer.
    ToggleValid,
    /// `spec.rotation.strategy` becomes the other one.
    ToggleStrategy,
    /// The annotation `rotate-now` gets a new value.
    RotateNow,
    Delete,
    DeleteRetaining,
    /// Status is lost.
    WipeStatus,
    /// The resource comes back from a backup: another uid, no status.
    NewUid,
    /// The resource was let go, and one of its name is made again: after the garbage collector was there, or before it, so
    /// that the new one finds the Secret.
    MakeAgain,
    MakeAgainAtOnce,
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
    /// A rotation is due by schedule.
    ComeDue,
    /// The token API says of the newest living token of ours that it expires, unasked, and its last third has begun.
    SetToExpire,
    /// What expires has expired.
    Expire,
    /// Pods don't become ready for longer than the grace.
    PodsHang,
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
        Self::ToggleValid,
        Self::ToggleStrategy,
        Self::RotateNow,
        Self::Delete,
        Self::DeleteRetaining,
        Self::WipeStatus,
        Self::NewUid,
        Self::MakeAgain,
        Self::MakeAgainAtOnce,
        Self::RevokeOldest,
        Self::RevokeNewest,
        Self::RotateElsewhere,
        Self::StateRevoked,
        Self::StateActive,
        Self::ClockForward,
        Self::ComeDue,
        Self::SetToExpire,
        Self::Expire,
        Self::PodsHang,
    ];

    /// Whether it would change anything now.
    pub(super) fn is_possible(self, world: &World) -> bool {
        let Some(resource) = &world.resource else {
            let may = world.last.is_some_and(|last| last < 2);
            return match self {
                Self::MakeAgain => may,
                Self::MakeAgainAtOnce => may && world.collected.is_some(),
                _ => false,
            };
        };
        let secret = world.secret.is_some();
        let recorded = world.secret.as_ref().is_some_and(|secret| secret.record.is_some());
        let unmarked = world.secret.as_ref().is_some_and(|secret| !secret.edited && secret.value != 0);
        let mut living = world.tokens.iter().filter(|token| token.ours && token.revoked.is_none());
        match self {
            Self::RaiseGeneration
            | Self::ToggleSuspend
            | Self::ToggleValid
            | Self::ToggleStrategy
            | Self::RotateNow => !resource.deleting,
            // A person may say so until the resource is gone.
            Self::DeleteRetaining => resource.finalizer && resource.policy == DeletionPolicy::Revoke,
            Self::Delete | Self::WipeFinalizer => resource.finalizer && !resource.deleting,
            Self::DeleteSecret | Self::AnnotateSecret => secret,
            Self::EditSecret => recorded && unmarked,
            Self::ForgeRecord => recorded,
            Self::WipeStatus => resource.status != World::blank(),
            Self::NewUid => !resource.deleting && resource.life < 2 && resource.status != World::blank(),
            Self::MakeAgain | Self::MakeAgainAtOnce => false,
            Self::RevokeOldest | Self::RotateElsewhere => living.next().is_some(),
            Self::RevokeNewest => living.nth(1).is_some(),
            Self::StateRevoked => resource.state == DesiredState::Active && !resource.deleting,
            Self::StateActive => resource.state == DesiredState::Revoked && !resource.deleting,
            Self::ClockForward => true,
            Self::PodsHang => world.workload.is_some(),
            Self::SetToExpire => living.next_back().is_some_and(|newest| newest.expires.is_none()),
            Self::Expire => living.any(|token| token.expires.is_some()),
            Self::ComeDue => resource.scheduled && !resource.deleting,
        }
    }

    /// It happens, if it would change anything.
    pub(super) fn happen(self, world: &mut World) {
        if self.is_possible(world) {
            self.change(world);
        }
        // With both records nothing is left that says that a workload runs on an older token.
        let lost = world.resource.as_ref().is_none_or(|resource| resource.status.token.is_none());
        if let Some(workload) = world.workload.as_mut().filter(|_| lost && world.secret.is_none()) {
            workload.runs_on = None;
        }
    }

    #[expect(clippy::too_many_lines, reason = "one arm an event; each is read beside its neighbours")]
    fn change(self, world: &mut World) {
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
            Self::ToggleValid => world.edit(|resource| {
                resource.invalid = !resource.invalid;
                resource.generation += 1;
            }),
            Self::ToggleStrategy => world.edit(|resource| {
                resource.strategy = match resource.strategy {
                    RotationStrategy::InPlace => RotationStrategy::Overlap,
                    RotationStrategy::Overlap => RotationStrategy::InPlace,
                };
                resource.generation += 1;
            }),
            Self::RotateNow => {
                world.allowed += 1;
                world.edit(|resource| resource.at_once += 1);
            }
            Self::Delete => world.delete(|_| ()),
            Self::DeleteRetaining => world.delete(|resource| resource.policy = DeletionPolicy::Retain),
            Self::WipeStatus => {
                lose_status(world);
                world.edit(|resource| resource.status = World::blank());
            }
            Self::NewUid => {
                lose_status(world);
                let version = world.bump();
                if let Some(resource) = &mut world.resource {
                    let resource = Arc::make_mut(resource);
                    resource.version = version;
                    resource.life += 1;
                    resource.status = World::blank();
                }
                world.forget_lives();
            }
            Self::MakeAgain | Self::MakeAgainAtOnce => {
                // One for the new resource, and one more where it finds a value that can't be proved.
                world.allowed += 1 + u64::from(self == Self::MakeAgainAtOnce || world.secret.is_some());
                let collected = world.collected.take();
                if self == Self::MakeAgainAtOnce {
                    world.secret = collected;
                }
                let version = world.bump();
                world.resource = world
                    .last
                    .take()
                    .map(|last| Arc::new(Resource { version, life: last + 1, ..World::first() }));
                world.forget_lives();
                // Whoever deleted the former one gave up its token, until the new one says that it is ready with it.
                world.in_use = None;
                world.retained = None;
                world.reported = false;
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
            Self::PodsHang => {
                let until = world.clock + 2 * GRACE;
                world.workload.iter_mut().for_each(|workload| workload.hangs_until = until);
            }
            Self::ComeDue => {
                world.allowed += 1;
                world.jump(EVERY);
            }
            Self::SetToExpire => {
                world.allowed += 1;
                world.jump(EVERY);
                let end = later(world.now().wall, Duration::from_secs(LEFT));
                let mut newest =
                    world.tokens.iter_mut().rev().filter(|token| token.ours && token.revoked.is_none());
                if let Some(token) = newest.next() {
                    token.expires = Some(end);
                }
            }
            Self::Expire => world.jump(LEFT + 1),
        }
    }
}

/// With status goes what it said of an operation: one more mint for its unknown outcome, and one if the value can't be
/// proved.
fn lose_status(world: &mut World) {
    let recorded = world.resource.as_ref().is_some_and(|resource| resource.status.operation.is_some());
    world.allowed += 1 + u64::from(recorded);
    world.status_lost = true;
}
