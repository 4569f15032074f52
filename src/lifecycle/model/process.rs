//! One operator process: it observes, asks `decide`, carries the step out on the world, and may die at any point.

use std::sync::Arc;
use std::time::Duration;

use crate::lifecycle::clauses::Clauses;
use crate::lifecycle::decide::decide_under;
use crate::lifecycle::desired::Desired;
use crate::lifecycle::listing::Listing;
use crate::lifecycle::memory::{Captured, Life, Memory, Outcome, Rendered, Retry, Trouble};
use crate::lifecycle::observed::{
    Adoption, ConnectionView, Contents, Observed, OurSecret, Record, ResourceView, SecretView,
};
use crate::lifecycle::status::Reason;
use crate::lifecycle::step::{Closes, Step};
use crate::resources::{
    DeletionPolicy, DesiredState, OperationKind, OperationReason, RotationSpec, SpecParts,
};

use super::world::{GRACE, InFlight, Resource, Secret, World};

/// What goes wrong with one step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fault {
    None,
    /// The process dies before the step.
    CrashBefore,
    /// The process dies after the step, before it knows.
    CrashAfter,
    /// The step is done and the answer is lost.
    LostAnswer,
    /// A call times out and arrives later.
    Late,
    /// The step fails without effect, and the process knows.
    Refused,
}

#[derive(Clone, Debug, Default)]
pub(super) struct Process {
    pub memory: Memory,
    pub listing: Option<Arc<Listing>>,
    view: Option<View>,
    value: Option<u64>,
    /// Its next pass begins with what its cache held before.
    pub stale: bool,
    cache: Option<View>,
}

#[derive(Clone, Debug)]
struct View {
    resource: Resource,
    resource_live: bool,
    secret: SecretView,
}

impl Process {
    fn crash(&mut self) {
        *self = Self::default();
    }

    /// A complete list reaches this process.
    pub(super) fn receive(&mut self, listing: Listing, world: &World) {
        let Some(resource) = &world.resource else { return };
        let ending = resource.deleting || resource.state == DesiredState::Revoked;
        self.memory.notice(&resource.status, ending, world.now());
        let at_place = listing.at(&World::owner().place);
        let shown = |id: &str| at_place.iter().any(|listed| listed.facts.id.as_str() == id);
        self.memory.notice_list(listing.begun, &resource.status, world.timing.list_lag, shown);
        self.listing = Some(Arc::new(listing));
    }

    /// One step. Returns it, or nothing if there is no resource to act on.
    pub(super) fn act(
        &mut self,
        world: &mut World,
        clauses: Clauses,
        fault: Fault,
        lag: u64,
    ) -> Option<Step> {
        world.instant += 1;
        if self.view.is_none() {
            self.memory.preflight = None;
            let fresh = Self::look(world);
            let stale = std::mem::take(&mut self.stale).then(|| self.cache.clone()).flatten();
            self.cache.clone_from(&fresh);
            self.view = stale.or(fresh);
        }
        let Some(view) = self.view.clone() else {
            return self.bereaved(world);
        };
        let observed = self.observe(world, &view);
        self.memory = observed.memory.clone();
        let step = decide_under(&observed, clauses);
        if fault == Fault::CrashBefore {
            world.allowed += u64::from(world.resource.as_ref().is_some_and(|r| r.status.operation.is_some()));
            self.crash();
            return Some(step);
        }
        self.perform(world, &step, fault, lag);
        if fault == Fault::CrashAfter {
            world.allowed += 1;
            self.crash();
        }
        world.check_ready();
        Some(step)
    }

    /// The resource is gone: what a flight holds and created is given back.
    fn bereaved(&mut self, world: &mut World) -> Option<Step> {
        let flight = self.memory.flight.take()?;
        let facts = flight.stage.facts()?;
        (flight.operation.kind == OperationKind::Create).then(|| world.revoke(facts.id.as_str()));
        self.value = None;
        Some(Step::Drop)
    }

    fn look(world: &World) -> Option<View> {
        let resource = world.resource.clone()?;
        Some(View { resource, resource_live: false, secret: Self::see(world, false) })
    }

    fn see(world: &World, live: bool) -> SecretView {
        match &world.secret {
            None => SecretView::Absent { live },
            Some(secret) => SecretView::Ours(OurSecret {
                version: secret.version.to_string(),
                live,
                owned: false,
                record: secret.record.clone(),
                contents: match (live, secret.edited) {
                    (false, _) => Contents::Unread,
                    (true, true) => Contents::Changed,
                    (true, false) => Contents::Current,
                },
            }),
        }
    }

    fn observe(&mut self, world: &mut World, view: &View) -> Observed {
        let resource = &view.resource;
        let mut memory = self.memory.clone();
        let ending = resource.deleting || resource.state == DesiredState::Revoked;
        memory.notice(&resource.status, ending, world.now());
        let rotation = RotationSpec {
            generation: Some(resource.asked),
            grace: Some(format!("{GRACE}s")),
            strategy: None,
        };
        let parts = SpecParts {
            token: None,
            gateway_id: None,
            secret: None,
            rotation: Some(&rotation),
            state: Some(resource.state),
            deletion_policy: Some(resource.policy),
            external_change_policy: None,
            adopt: None,
            suspend: Some(resource.suspend),
        };
        Observed {
            now: world.now(),
            timing: world.timing,
            owner: World::owner(),
            name_limit: 63,
            resource: ResourceView {
                version: resource.version.to_string(),
                live: view.resource_live,
                generation: resource.generation,
                deleting: resource.deleting,
                finalizer: resource.finalizer,
                desired: Desired::parse(&parts, "checkout"),
                deletion_policy: resource.policy,
                state: resource.state,
                status: resource.status.clone(),
            },
            secret: view.secret.clone(),
            listing: self.listing.clone(),
            adoption: Adoption::None,
            connection: ConnectionView::default(),
            memory,
            fresh_id: world.fresh_id(),
            draining: false,
        }
    }

    /// The world's resource, if it still has the version that this process saw.
    fn same<'a>(&self, world: &'a mut World) -> Option<&'a mut Resource> {
        let seen = self.view.as_ref()?.resource.version;
        world.resource.as_mut().filter(|resource| resource.version == seen)
    }

    fn refresh_resource(&mut self, world: &World) {
        match (&mut self.view, &world.resource) {
            (Some(view), Some(resource)) => {
                view.resource = resource.clone();
                view.resource_live = true;
            }
            _ => self.view = None,
        }
    }

    fn end_pass(&mut self) {
        self.view = None;
    }

    fn trouble(world: &World, seconds: u64) -> Trouble {
        Trouble {
            reason: Reason::ApiUnreachable,
            message: "the call failed".to_owned(),
            retry: Retry::At(world.now().mono + Duration::from_secs(seconds)),
        }
    }

    #[expect(clippy::too_many_lines, reason = "one arm a step; each is read beside its neighbours")]
    fn perform(&mut self, world: &mut World, step: &Step, fault: Fault, lag: u64) {
        let lost = matches!(fault, Fault::LostAnswer | Fault::Late);
        let refused = fault == Fault::Refused;
        let now = world.now().mono;
        match step {
            Step::Rest { .. } => self.end_pass(),
            _ if refused && !matches!(step, Step::Call(_) | Step::WriteSecret { .. }) => {
                if let Step::Record { operation, .. } = step {
                    self.memory.learn(Outcome::NotRecorded(operation.clone()), now);
                }
                self.end_pass();
            }
            Step::AddFinalizer => {
                let version = world.bump();
                world.writes += 1;
                if let Some(resource) = &mut world.resource
                    && !resource.deleting
                {
                    resource.finalizer = true;
                    resource.version = version;
                }
                self.refresh_resource(world);
            }
            Step::ReadSecret => {
                if let Some(view) = &mut self.view {
                    view.secret = Self::see(world, true);
                    view.resource_live = false;
                }
                self.memory.learn(Outcome::SecretRead, now);
            }
            Step::ReadResource => {
                self.refresh_resource(world);
                self.memory.learn(Outcome::ResourceRead, now);
            }
            Step::FreshList { begun_after } => {
                assert!(now >= *begun_after, "a list is asked for before its time");
                let listing = world.list(lag);
                self.receive(listing, world);
                // A list says what was so when it was begun: what is read from now on is later.
                self.end_pass();
            }
            Step::Preflight => {
                let captured = world.secret.as_ref().map_or_else(Captured::default, |secret| Captured {
                    version: Some(secret.version.to_string()),
                    names: Some(secret.record.token.id.as_string().clone()),
                });
                // A dry run carries the version that was seen, or creates.
                let seen = match self.view.as_ref().map(|view| &view.secret) {
                    Some(SecretView::Ours(secret)) => Some(secret.version.clone()),
                    _ => None,
                };
                if seen == captured.version {
                    self.memory.learn(Outcome::Preflighted(captured), now);
                } else {
                    self.end_pass();
                }
            }
            Step::Record { operation, status } => {
                let version = world.bump();
                world.writes += 1;
                // An operation is taken over: for whoever does it, its outcome is unknown.
                let replaced = self.same(world).and_then(|resource| resource.status.operation.clone());
                world.allowed += u64::from(replaced.is_some_and(|old| old.id != operation.id));
                let recorded = self.same(world).map(|resource| {
                    resource.status = (**status).clone();
                    resource.version = version;
                });
                if recorded.is_some() && !lost {
                    self.memory.learn(Outcome::Recorded { operation: operation.clone(), sent: now }, now);
                    self.refresh_resource(world);
                } else {
                    self.memory.learn(Outcome::NotRecorded(operation.clone()), now);
                    self.end_pass();
                }
            }
            Step::Call(call) => {
                let unknown = Outcome::Unknown(Self::trouble(world, 1));
                match fault {
                    Fault::Refused => {
                        let trouble = Self::trouble(world, 1);
                        self.memory.learn(Outcome::Refused(trouble), now);
                        self.end_pass();
                    }
                    Fault::Late | Fault::CrashAfter => {
                        let land_by = world.clock + world.timing.call_deadline.as_secs();
                        world.in_flight.push(InFlight { call: call.clone(), land_by });
                        world.allowed += 1;
                        self.memory.learn(unknown, now);
                        self.end_pass();
                    }
                    Fault::LostAnswer => {
                        world.perform(call);
                        world.allowed += 1;
                        self.memory.learn(unknown, now);
                        self.end_pass();
                    }
                    Fault::None | Fault::CrashBefore => {
                        if let Some((facts, value)) = world.perform(call) {
                            self.value = Some(value);
                            self.memory.learn(Outcome::Answered(facts), now);
                        } else {
                            // O10: 404 on a rotation is an unknown outcome.
                            world.allowed += 1;
                            self.memory.learn(unknown, now);
                            self.end_pass();
                        }
                    }
                }
            }
            Step::LetGo => {
                self.memory.learn(Outcome::NotSent, now);
                self.end_pass();
            }
            Step::WriteSecret { onto, facts, operation } => {
                if refused {
                    return;
                }
                let found = world.secret.as_ref().map(|secret| secret.version.to_string());
                if found != onto.version {
                    self.memory.learn(Outcome::SecretConflict, now);
                    return;
                }
                let new = world.bump();
                world.writes += 1;
                let Some(value) = self.value else {
                    world.violate("a Secret is written without a value");
                    return;
                };
                world.secret = Some(Secret {
                    version: new,
                    record: Record {
                        token: facts.clone(),
                        operation: operation.id.clone(),
                        generation: operation.generation,
                        replaced: onto.names.clone(),
                        fence: None,
                        retained: None,
                        uids: [World::owner().uid].into(),
                        emptied: false,
                    },
                    value,
                    edited: false,
                });
                let recorded =
                    world.resource.as_ref().and_then(|resource| resource.status.operation.as_ref());
                let current = recorded.is_some_and(|recorded| recorded.id == operation.id);
                world.wrote_value(
                    facts.id.as_str(),
                    operation.reason == OperationReason::GenerationRaised,
                    current,
                );
                // A lost answer is found by trying again: the version is another now.
                if !lost {
                    if let Some(view) = &mut self.view {
                        view.secret = Self::see(world, true);
                    }
                    let generation = self.view.as_ref().map_or(0, |view| view.resource.generation);
                    let rendered = Rendered { version: new.to_string(), generation };
                    self.memory.learn(Outcome::SecretWritten(rendered), now);
                }
            }
            Step::WriteStatus { status, closes } => {
                let version = world.bump();
                world.writes += 1;
                let written = self.same(world).map(|resource| {
                    resource.status = (**status).clone();
                    resource.version = version;
                });
                if written.is_none() || lost {
                    if self.memory.flight.is_some() {
                        self.refresh_resource(world);
                    } else {
                        self.end_pass();
                    }
                    return;
                }
                if *closes == Closes::Loss {
                    self.memory.learn(Outcome::Rebuilt, now);
                }
                if let Closes::Commit { repair } = closes {
                    self.memory.learn(Outcome::Committed { repair: *repair }, now);
                    self.value = None;
                }
                self.refresh_resource(world);
            }
            Step::RenderSecret { .. } => world.violate("nothing is to be rendered here"),
            Step::FenceSecret { version, id } => {
                let new = world.bump();
                world.writes += 1;
                match world.secret.as_mut().filter(|secret| secret.version.to_string() == *version) {
                    Some(secret) => {
                        secret.version = new;
                        secret.record.fence = Some(id.clone());
                        if let Some(view) = &mut self.view {
                            view.secret = Self::see(world, true);
                        }
                    }
                    None => self.end_pass(),
                }
            }
            Step::ProveLife(of) => {
                let life = world.secret.as_ref().map_or(Life::Unknown, |secret| {
                    let lives = world.tokens.iter().any(|t| t.value == secret.value && t.revoked.is_none());
                    if lives { Life::Alive } else { Life::Dead }
                });
                self.memory.learn(Outcome::Proved(of.clone(), life), now);
            }
            Step::ClaimSecret { version } => {
                let new = world.bump();
                world.writes += 1;
                match world.secret.as_mut().filter(|secret| secret.version.to_string() == *version) {
                    Some(secret) => {
                        secret.version = new;
                        secret.record.uids.insert(World::owner().uid);
                        self.memory.learn(Outcome::Claimed, now);
                        if let Some(view) = &mut self.view {
                            view.secret = Self::see(world, true);
                        }
                    }
                    None => self.end_pass(),
                }
            }
            Step::EmptySecret { version } => {
                let new = world.bump();
                world.writes += 1;
                match world.secret.as_mut().filter(|secret| secret.version.to_string() == *version) {
                    Some(secret) => {
                        secret.version = new;
                        secret.record.emptied = true;
                        secret.value = 0;
                        if let Some(view) = &mut self.view {
                            view.secret = Self::see(world, true);
                        }
                    }
                    None => self.end_pass(),
                }
            }
            Step::TakeSecret { .. } => world.violate("nothing is to be adopted here"),
            Step::Revoke { id } => {
                world.revoke(id);
                if !lost {
                    self.memory.learn(Outcome::Revoked(id.clone()), now);
                }
            }
            Step::RevokeCreated { id } => {
                world.revoke(id);
                if !lost {
                    self.memory.learn(Outcome::Dropped, now);
                    self.value = None;
                    self.end_pass();
                }
            }
            Step::Drop => {
                self.memory.learn(Outcome::Dropped, now);
                self.value = None;
                self.end_pass();
            }
            Step::RetainSecret { version, id } => {
                let new = world.bump();
                world.writes += 1;
                match world.secret.as_mut().filter(|secret| secret.version.to_string() == *version) {
                    Some(secret) => {
                        secret.version = new;
                        secret.record.retained = Some(id.clone());
                        world.retained = Some(id.clone());
                        if let Some(view) = &mut self.view {
                            view.secret = Self::see(world, true);
                        }
                    }
                    None => self.end_pass(),
                }
            }
            Step::RemoveFinalizer => {
                world.writes += 1;
                if self.same(world).is_some() {
                    let Some(resource) = world.resource.take() else { return };
                    match resource.policy {
                        // The garbage collector: a Secret that isn't retained has an owner.
                        DeletionPolicy::Revoke => world.secret = None,
                        // What an unfinished operation had committed is named by the Secret alone.
                        DeletionPolicy::Retain => {
                            world.reported = world.secret.is_none();
                            let named = resource.status.token.map(|token| token.id);
                            world.retained = world.retained.take().or(named);
                        }
                    }
                }
                self.end_pass();
            }
        }
    }
}
