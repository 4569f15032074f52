//! One operator process: it observes, asks `decide`, carries the step out on the world, and may die at any point.

use std::sync::Arc;
use std::time::Duration;

use crate::lifecycle::clauses::Clauses;
use crate::lifecycle::decide::decide_under;
use crate::lifecycle::desired::Desired;
use crate::lifecycle::listing::Listing;
use crate::lifecycle::memory::{Captured, Life, Memory, Outcome, Rendered, Retry, Trouble};
use crate::lifecycle::naming::UidTag;
use crate::lifecycle::observed::{
    Adoption, ConnectionView, Contents, Observed, OurSecret, Record, Requesters, ResourceView, SecretView,
    Sighting,
};
use crate::lifecycle::rollout::{self, Hindrance};
use crate::lifecycle::settled;
use crate::lifecycle::status::Reason;
use crate::lifecycle::step::{Call, Closes, Step};
use crate::lifecycle::time::Monotonic;
use crate::resources::{
    AdoptSpec, DeletionPolicy, DesiredState, KeyStatus, OperationKind, RestartPolicy, RotationSpec,
    SpecParts, WorkloadKind, WorkloadRef, WorkloadsSpec,
};

use super::world::{ADOPTED, EVERY, GRACE, InFlight, Lists, Resource, Secret, Token, World};

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
    /// A call times out and never arrives.
    Vanished,
    /// The step fails without effect, and the process knows.
    Refused,
    /// The token API refuses the call until the spec is another one.
    RefusedForGood,
}

/// The protocol that is explored: the shipped one, or one that leaves something out. What the executor does in it is
/// left out here, what `decide` does by its clauses.
#[derive(Clone, Copy, Debug)]
#[expect(clippy::struct_excessive_bools, reason = "independent switches, each left out alone")]
pub(super) struct Protocol {
    pub clauses: Clauses,
    /// On a conflict the Secret is re-read before the resource (review, H2).
    pub secret_first: bool,
    /// A status write carries the resource's version (review, H5).
    pub status_fenced: bool,
    /// What was read before a list is read again after it.
    pub lists_come_first: bool,
    /// Operation ids are random, not derived from status (review, H11).
    pub random_ids: bool,
}

impl Protocol {
    pub(super) const SHIPPED: Self = Self {
        clauses: Clauses::ALL,
        secret_first: true,
        status_fenced: true,
        lists_come_first: true,
        random_ids: true,
    };

    /// The protocol without one of its clauses.
    pub(super) fn without(mut self, clause: &str) -> Self {
        let clauses = &mut self.clauses;
        let switch = match clause {
            "intent_before_call" => &mut clauses.intent_before_call,
            "version_before_intent" => &mut clauses.version_before_intent,
            "recovery_creates" => &mut clauses.recovery_creates,
            "attempts_have_ids" => &mut clauses.attempts_have_ids,
            "rotation_lowers_ready" => &mut clauses.rotation_lowers_ready,
            "sweeps" => &mut clauses.sweeps,
            "sweeper_names" => &mut clauses.sweeper_names,
            "sweeper_waits" => &mut clauses.sweeper_waits,
            "fences" => &mut clauses.fences,
            "restore_waits" => &mut clauses.restore_waits,
            "restore_proves" => &mut clauses.restore_proves,
            "absence_settles" => &mut clauses.absence_settles,
            "proof_of_life" => &mut clauses.proof_of_life,
            "grace_by_both_clocks" => &mut clauses.grace_by_both_clocks,
            "rollouts_hold" => &mut clauses.rollouts_hold,
            "deletion_waits" => &mut clauses.deletion_waits,
            "deletion_looks" => &mut clauses.deletion_looks,
            "makes_room" => &mut clauses.makes_room,
            "secret_first" => &mut self.secret_first,
            "status_fenced" => &mut self.status_fenced,
            "lists_come_first" => &mut self.lists_come_first,
            "random_ids" => &mut self.random_ids,
            _ => panic!("no such clause: {clause}"),
        };
        *switch = false;
        self
    }

    pub(super) const fn with(clauses: Clauses) -> Self {
        Self { clauses, ..Self::SHIPPED }
    }
}

#[derive(Clone, Debug, Default)]
#[expect(clippy::struct_excessive_bools, reason = "independent facts, each either so or not")]
pub(super) struct Process {
    /// Of which of the resource's lives its memory is.
    pub life: usize,
    pub memory: Memory,
    pub listing: Option<Arc<Listing>>,
    /// The latest list was taken note of.
    pub noticed: bool,
    /// The latest list shows less than lives.
    pub misled: bool,
    pub view: Option<View>,
    pub value: Option<u64>,
    /// Its next pass begins with what its cache held before.
    pub stale: bool,
    pub cache: Option<View>,
    /// It does nothing for now; time goes on without it.
    pub paused: bool,
    /// Its last pass ended with nothing to do.
    pub asleep: Option<Asleep>,
    /// The workloads as this process last read them.
    pub workloads: Option<rollout::Workloads>,
    /// What it saw when it came to rest for good.
    pub settled: Option<Settled>,
}

/// What a process saw that needn't look at lists which show the same.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Settled {
    resource: u64,
    secret: Option<u64>,
    shown: u64,
    /// How far the wall clock was ahead.
    ahead: i64,
    until: Option<Monotonic>,
}

/// What a process that rests waits for: this time, or anything but what it saw.
#[derive(Clone, Debug)]
pub(super) struct Asleep {
    pub until: Option<Monotonic>,
    resource: Option<u64>,
    secret: Option<u64>,
}

/// What a pass works with.
#[derive(Clone, Debug)]
pub(super) struct View {
    pub resource: Arc<Resource>,
    /// When the resource was read, or answered, in this pass.
    pub resource_read: Option<Monotonic>,
    pub secret: Option<Arc<Secret>>,
    pub secret_read: Option<Monotonic>,
    /// The Secret's data were read in this pass, or written by it.
    pub data: bool,
    /// Nothing is known of the Secret.
    pub unread: bool,
}

impl View {
    fn secret(&self) -> SecretView {
        if self.unread {
            return SecretView::Unread;
        }
        match self.secret.as_deref() {
            None => SecretView::Absent { live: self.secret_read.is_some() },
            Some(Secret { version, record: None, .. }) => SecretView::Foreign {
                owner: "nobody".to_owned(),
                unclaimed: (self.secret_read.is_some() && self.data).then(|| version.to_string()),
            },
            Some(Secret { version, record: Some(record), edited, .. }) => SecretView::Ours(OurSecret {
                version: version.to_string(),
                live: self.secret_read.is_some(),
                owned: false,
                record: record.clone(),
                contents: match (self.data, edited) {
                    (false, _) => Contents::Unread,
                    (true, true) => Contents::Changed,
                    (true, false) => Contents::Current,
                },
            }),
        }
    }
}

impl Process {
    fn crash(&mut self) {
        *self = Self::default();
    }

    /// Whether it has something to do, or may have.
    pub(super) fn is_awake(&self, world: &World) -> bool {
        let Some(Asleep { until, resource, secret }) = &self.asleep else {
            return world.resource.is_some() || self.view.is_some() || self.memory.flight.is_some();
        };
        // Whatever comes next comes an instant later.
        let due = until.is_some_and(|until| until.0.as_secs() <= world.clock);
        let same = *resource == world.resource.as_ref().map(|resource| resource.version)
            && *secret == world.secret.as_ref().map(|secret| secret.version);
        due || !same
    }

    /// A complete list reaches this process. It says what was so when it was begun: what is read from now on is later.
    pub(super) fn receive(&mut self, listing: Listing, world: &World, protocol: &Protocol) {
        self.listing = Some(Arc::new(listing));
        self.noticed = false;
        if protocol.lists_come_first {
            self.demote();
        }
        self.asleep = None;
        self.misled = world.lists != Lists::True;
    }

    /// One step. Returns it, or nothing if there is no resource to act on.
    pub(super) fn act(
        &mut self,
        world: &mut World,
        protocol: &Protocol,
        fault: Fault,
        lag: u64,
    ) -> Option<Step> {
        world.instant += 1;
        self.paused = false;
        self.asleep = None;
        if self.view.is_none() {
            self.memory.preflight = None;
            let fresh = Self::look(world);
            let stale = std::mem::take(&mut self.stale).then(|| self.cache.clone()).flatten();
            self.cache.clone_from(&fresh);
            self.view = stale.or(fresh);
        }
        // Another life is another key, of which nothing is known yet; what is held of the former one is given back first.
        if let Some(view) = self.view.as_ref().filter(|view| view.resource.life != self.life) {
            if self.memory.flight.is_some() {
                self.view = None;
            } else {
                self.life = view.resource.life;
                self.memory = Memory::default();
            }
        }
        // What it was settled upon is no more: all there is is seen for the first time.
        let version = self.view.as_ref().map(|view| view.resource.version);
        if self.settled.as_ref().is_some_and(|then| Some(then.resource) != version) {
            self.settled = None;
            self.memory = Memory::recall(self.memory.remains(), &KeyStatus::default());
        }
        self.age(world);
        let Some(view) = self.view.clone() else {
            if fault == Fault::CrashBefore {
                self.crash();
                return None;
            }
            return self.bereaved(world);
        };
        let observed = self.observe(world, &view, protocol);
        self.memory.clone_from(&observed.memory);
        let step = decide_under(&observed, protocol.clauses);
        self.settle(world, &observed, &view, &step);
        if fault == Fault::CrashBefore {
            world.allowed += u64::from(world.resource.as_ref().is_some_and(|r| r.status.operation.is_some()));
            self.crash();
            return Some(step);
        }
        self.perform(world, protocol, &step, fault, lag);
        if fault == Fault::CrashAfter {
            world.allowed += 1;
            self.crash();
        }
        world.check_ready();
        Some(step)
    }

    /// A key that is settled has nothing to do for a list that shows the same of it.
    fn settle(&mut self, world: &mut World, observed: &Observed, view: &View, step: &Step) {
        let now = Settled {
            resource: view.resource.version,
            secret: view.secret.as_ref().map(|secret| secret.version),
            shown: settled::shown(observed),
            ahead: observed.now.ahead(),
            until: None,
        };
        let rested = self.settled.take();
        let same = rested.as_ref().is_some_and(|then| Settled { until: None, ..then.clone() } == now);
        let due = rested.and_then(|then| then.until).is_some_and(|until| until <= observed.now.mono);
        if same && !due && !matches!(step, Step::Rest { .. }) {
            world.violate("a key that was settled had something to do");
        }
        if let Step::Rest { until } = step
            && settled::is_settled(observed)
        {
            self.settled = Some(Settled { until: *until, ..now });
            self.memory = Memory::recall(self.memory.remains(), &observed.resource.status);
        }
    }

    /// The resource is gone: what a flight holds and created is given back.
    fn bereaved(&mut self, world: &mut World) -> Option<Step> {
        let flight = self.memory.flight.take()?;
        let facts = flight.stage.facts()?;
        let record = world.secret.as_ref().and_then(|secret| secret.record.as_ref());
        let taken_up =
            record.is_some_and(|record| record.is_taken_up(&facts.id, &World::owner(self.life).uid));
        if flight.operation.kind == OperationKind::Create && !taken_up {
            world.give_back(facts.id.as_str(), self.life);
        }
        self.value = None;
        Some(Step::Drop)
    }

    fn look(world: &World) -> Option<View> {
        let resource = world.resource.clone()?;
        let secret = world.secret.clone();
        Some(View {
            resource,
            resource_read: None,
            // A Secret of people's isn't watched.
            unread: secret.as_ref().is_some_and(|secret| secret.record.is_none()),
            secret,
            secret_read: None,
            data: false,
        })
    }

    fn see(&mut self, world: &World) {
        if let Some(view) = &mut self.view {
            view.secret.clone_from(&world.secret);
            view.secret_read = Some(world.now().mono);
            view.data = true;
            view.unread = false;
        }
    }

    /// What was read longer ago than reads stand doesn't count as read just now any more.
    fn age(&mut self, world: &World) {
        let old = |read: Option<Monotonic>| {
            read.is_some_and(|read| world.now().mono.since(read) > world.timing.read_stands)
        };
        if let Some(view) = &mut self.view {
            if old(view.resource_read) {
                view.resource_read = None;
            }
            if old(view.secret_read) {
                view.secret_read = None;
                view.data = false;
            }
        }
    }

    /// What was read so far doesn't count as read just now any more.
    fn demote(&mut self) {
        if let Some(view) = &mut self.view {
            view.resource_read = None;
            view.secret_read = None;
            view.data = false;
        }
    }

    fn observe(&mut self, world: &mut World, view: &View, protocol: &Protocol) -> Observed {
        let resource = &view.resource;
        let mut memory = self.memory.clone();
        let now = world.now().mono;
        let revoked = (resource.state == DesiredState::Revoked).then_some(now);
        // A deletion is known at once, however late the pass.
        let ending = resource.deleted_at.or(revoked);
        memory.notice(&resource.version.to_string(), &resource.status, ending, world.now());
        let rotation = RotationSpec {
            generation: Some(resource.asked),
            grace: Some(if resource.invalid { "a while".to_owned() } else { format!("{GRACE}s") }),
            strategy: Some(resource.strategy),
            every: resource.scheduled.then(|| format!("{EVERY}s")),
            ..RotationSpec::default()
        };
        let workloads = world.workload.is_some().then(|| WorkloadsSpec {
            restart: Some(RestartPolicy::Listed),
            refs: vec![workload()],
            ..WorkloadsSpec::default()
        });
        let adopt = resource.adopt.map(|value| AdoptSpec { token_id: ADOPTED.to_owned(), value });
        let parts = SpecParts {
            rotation: Some(&rotation),
            workloads: workloads.as_ref(),
            state: Some(resource.state),
            deletion_policy: Some(resource.policy),
            external_change_policy: Some(resource.changes),
            adopt: adopt.as_ref(),
            suspend: Some(resource.suspend),
            ..SpecParts::default()
        };
        let wanted = self.listing.as_ref().map(|listing| listing.wanted(ADOPTED));
        let adoption = match (resource.adopt, wanted) {
            (None, _) => Adoption::None,
            (_, None) => Adoption::Unlisted(world.now().mono),
            (_, Some(Some(token))) => {
                Adoption::Allowed(Sighting { facts: token.facts.clone(), alive: token.alive })
            }
            (_, Some(None)) => Adoption::Refused("it isn't listed".to_owned()),
        };
        let fresh_id =
            if protocol.random_ids { world.fresh_id() } else { World::derived_id(&resource.status) };
        let mut observed = Observed {
            now: world.now(),
            timing: world.timing,
            owner: World::owner(resource.life),
            name_limit: 63,
            places: world.places,
            resource: ResourceView {
                version: resource.version.to_string(),
                live: view.resource_read.is_some(),
                generation: resource.generation,
                deleting: resource.deleting,
                finalizer: resource.finalizer,
                desired: Desired::parse(&parts, "shop", "checkout"),
                rotate_now: resource.rotate_now(),
                requesters: Requesters::default(),
                deletion_policy: resource.policy,
                state: resource.state,
                status: resource.status.clone(),
            },
            secret: view.secret(),
            workloads: self.workloads.clone(),
            users: None,
            listing: self.listing.clone(),
            adoption,
            connection: ConnectionView { absence_doubted: self.misled, ..ConnectionView::default() },
            memory: Memory::default(),
            fresh_id,
            draining: false,
        };
        if let Some(listing) = self.listing.as_ref().filter(|_| !self.noticed) {
            let shown = |id: &str| observed.listed_here(id).is_some();
            memory.notice_list(listing.begun, &resource.status, world.timing.list_lag, shown);
            self.noticed = true;
        }
        observed.memory = memory;
        observed
    }

    /// The world's resource, if it still has the version that this process saw.
    fn same<'a>(&self, world: &'a mut World) -> Option<&'a mut Resource> {
        let seen = self.view.as_ref()?.resource.version;
        world.resource.as_mut().filter(|resource| resource.version == seen).map(Arc::make_mut)
    }

    /// Changes the Secret if it has this version.
    fn patch(&mut self, world: &mut World, version: &str, change: impl FnOnce(&mut Secret)) -> bool {
        world.writes += 1;
        let same = world.secret.as_ref().is_some_and(|secret| secret.version.to_string() == version);
        if same {
            world.edit_secret(change);
            let data = self.view.as_ref().is_some_and(|view| view.data);
            self.see(world);
            if let Some(view) = &mut self.view {
                view.data = data;
            }
        } else {
            self.end_pass();
        }
        same
    }

    /// The resource is read. If it is gone, in spite of the finalizer, what this process created is given back.
    fn refresh_resource(&mut self, world: &World) {
        let holds = self.memory.flight.as_ref().is_some_and(|flight| flight.stage.facts().is_some());
        match (&mut self.view, &world.resource) {
            (Some(view), Some(resource)) if view.resource.life == resource.life => {
                view.resource = resource.clone();
                view.resource_read = Some(world.now().mono);
            }
            (Some(_), _) if holds => self.memory.learn(Outcome::Abandoned, world.now().mono),
            _ => self.view = None,
        }
    }

    /// The tokens that the latest list lacks because it lags.
    fn too_new<'a>(&self, world: &'a World) -> impl Iterator<Item = &'a Token> {
        let listing = self.listing.clone();
        let as_of = listing.as_ref().map(|listing| {
            let lag = world.timing.list_lag;
            listing.begun.0.saturating_sub(lag).as_secs()
        });
        world.tokens.iter().filter(move |token| {
            let shown = |listing: &Arc<Listing>| listing.all().any(|it| it.facts.id.as_str() == token.id);
            as_of.is_some_and(|as_of| token.created >= as_of) && !listing.as_ref().is_some_and(shown)
        })
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
    fn perform(&mut self, world: &mut World, protocol: &Protocol, step: &Step, fault: Fault, lag: u64) {
        let lost = matches!(fault, Fault::LostAnswer | Fault::Late | Fault::Vanished);
        let refused = fault == Fault::Refused;
        let now = world.now().mono;
        match step {
            Step::Rest { until } => {
                let view = self.view.as_ref();
                self.asleep = Some(Asleep {
                    until: *until,
                    resource: view.map(|view| view.resource.version),
                    secret: view.and_then(|view| view.secret.as_ref()).map(|secret| secret.version),
                });
                self.end_pass();
            }
            _ if refused && !matches!(step, Step::Call(_) | Step::WriteSecret { .. }) => {
                if let Step::Record { operation, .. } = step {
                    self.memory.learn(Outcome::NotRecorded(operation.clone()), now);
                }
                self.end_pass();
            }
            Step::AddFinalizer => {
                let version = world.bump();
                world.writes += 1;
                if let Some(resource) = self.same(world)
                    && !resource.deleting
                {
                    resource.finalizer = true;
                    resource.version = version;
                }
                self.refresh_resource(world);
            }
            // The wrong order of the two re-reads is the executor's to show.
            Step::ReadSecret if self.memory.flight.is_some() && !protocol.secret_first => {
                self.refresh_resource(world);
                self.memory.learn(Outcome::SecretRead, now);
            }
            Step::ReadResource if self.memory.flight.is_some() && !protocol.secret_first => {
                self.see(world);
                self.memory.learn(Outcome::ResourceRead, now);
            }
            Step::ReadSecret => {
                self.see(world);
                if let Some(view) = &mut self.view {
                    view.resource_read = None;
                }
                self.memory.learn(Outcome::SecretRead, now);
            }
            Step::ReadResource => {
                self.refresh_resource(world);
                if self.view.is_some() && world.resource.is_some() {
                    self.memory.learn(Outcome::ResourceRead, now);
                }
            }
            Step::FreshList { begun_after } => {
                assert!(now >= *begun_after, "a list is asked for before its time");
                let listing = world.list(lag);
                self.receive(listing, world, protocol);
            }
            Step::Preflight => {
                let record =
                    |secret: &Arc<Secret>| Some(secret.record.as_ref()?.token.id.as_string().clone());
                let captured = world.secret.as_ref().map_or_else(Captured::default, |secret| Captured {
                    version: Some(secret.version.to_string()),
                    names: record(secret),
                });
                // A dry run carries the version that was seen, or creates.
                let seen = self.view.as_ref().and_then(|view| view.secret.as_ref());
                if seen.map(|secret| secret.version.to_string()) == captured.version {
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
                let answered =
                    self.memory.flight.as_ref().is_some_and(|flight| flight.stage.facts().is_some());
                if answered {
                    // The call came first, as it must not.
                    self.refresh_resource(world);
                } else if recorded.is_some() && !lost {
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
                    Fault::RefusedForGood => {
                        let generation = self.view.as_ref().map_or(0, |view| view.resource.generation);
                        let (reason, retry) =
                            (Reason::RequestRefused, Retry::OtherThanGeneration(generation));
                        let trouble = Trouble { reason, retry, ..Self::trouble(world, 1) };
                        self.memory.learn(Outcome::Refused(trouble), now);
                        self.end_pass();
                    }
                    Fault::Vanished => {
                        world.allowed += 1;
                        self.memory.learn(unknown, now);
                        self.end_pass();
                    }
                    Fault::Late | Fault::CrashAfter => {
                        let deadline = world.timing.call_deadline.as_secs();
                        let land_by = if world.loose { u64::MAX } else { world.clock + deadline };
                        world.in_flight.push(InFlight { call: call.clone(), land_by });
                        world.allowed += 1;
                        self.memory.learn(unknown, now);
                        self.end_pass();
                    }
                    Fault::LostAnswer => {
                        world.allowed += 1;
                        world.perform(call);
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
                // The uids are those of the Secret that is overwritten, and the one that this process knows.
                let former = world.secret.as_ref().and_then(|secret| secret.record.as_ref());
                let mut uids = former.map(|record| record.uids.clone()).unwrap_or_default();
                let life = self.view.as_ref().map_or(0, |view| view.resource.life);
                live_on(&mut uids, life);
                world.secret = Some(Arc::new(Secret {
                    version: new,
                    record: Some(Record {
                        token: facts.clone(),
                        operation: operation.id.clone(),
                        generation: operation.generation,
                        rotate_now: operation.rotate_now.clone(),
                        replaced: onto.names.clone(),
                        fence: None,
                        retained: None,
                        uids,
                        emptied: false,
                    }),
                    value,
                    edited: false,
                }));
                let recorded =
                    world.resource.as_ref().and_then(|resource| resource.status.operation.as_ref());
                let current = recorded.is_some_and(|recorded| recorded.id == operation.id);
                world.wrote_value(facts.id.as_str(), operation.urgent, current);
                // A lost answer is found by trying again: the version is another now.
                if !lost {
                    self.see(world);
                    let generation = self.view.as_ref().map_or(0, |view| view.resource.generation);
                    let rendered = Rendered { version: new.to_string(), generation };
                    self.memory.learn(Outcome::SecretWritten(rendered), now);
                }
            }
            Step::WriteStatus { status, closes } => {
                let version = world.bump();
                world.writes += 1;
                let fenced = if protocol.status_fenced {
                    self.same(world)
                } else {
                    world.resource.as_mut().map(Arc::make_mut)
                };
                let written = fenced.map(|resource| {
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
                self.patch(world, version, |secret| {
                    if let Some(record) = &mut secret.record {
                        record.fence = Some(id.clone());
                    }
                });
            }
            Step::ReadWorkloads => {
                let seen = world.workload.iter().map(|seen| rollout::Workload {
                    reference: workload(),
                    restarted_for: seen.restarted_for.clone(),
                    hindrance: seen.rolls.then(|| Hindrance::UnderWay("it rolls".to_owned())),
                });
                self.workloads = Some(rollout::Workloads { at: now, seen: Ok(seen.collect()) });
            }
            Step::Restart { operation, .. } => {
                if let Some(workload) = &mut world.workload {
                    workload.restarted_for = Some(operation.clone());
                    workload.rolls = true;
                }
                // Patching twice changes nothing, so that a lost answer is nothing worse than a look.
                self.workloads = None;
            }
            Step::ProveLife(_) if lost => {
                // A value that can't be proved is replaced where status was lost.
                world.allowed += 1;
                if let Step::ProveLife(of) = step {
                    self.memory.learn(Outcome::Proved(of.clone(), Life::Unknown), now);
                }
            }
            Step::ProveLife(of) => {
                let held = self.view.as_ref().filter(|view| view.data).and_then(|view| view.secret.as_ref());
                let life = held.map_or(Life::Unknown, |secret| {
                    let lives = world.tokens.iter().any(|t| t.value == secret.value && t.revoked.is_none());
                    if lives && !secret.edited { Life::Alive } else { Life::Dead }
                });
                self.memory.learn(Outcome::Proved(of.clone(), life), now);
            }
            Step::ClaimSecret { version } => {
                let life = self.view.as_ref().map_or(0, |view| view.resource.life);
                let claimed = self.patch(world, version, |secret| {
                    if let Some(record) = &mut secret.record {
                        live_on(&mut record.uids, life);
                        record.retained = None;
                        record.fence = None;
                    }
                });
                if claimed {
                    self.memory.learn(Outcome::Claimed, now);
                }
            }
            Step::EmptySecret { version } => {
                self.patch(world, version, |secret| {
                    if let Some(record) = &mut secret.record {
                        record.emptied = true;
                    }
                    secret.value = 0;
                    secret.edited = false;
                });
                if let Some(view) = &mut self.view {
                    view.data = false;
                }
            }
            Step::TakeSecret { version, facts, operation } => {
                let uid = World::owner(self.view.as_ref().map_or(0, |view| view.resource.life)).uid;
                let asked = self.view.as_ref().map_or(0, |view| view.resource.asked);
                let rotate_now = self.view.as_ref().and_then(|view| view.resource.rotate_now());
                let taken = self.patch(world, version, |secret| {
                    secret.record = Some(Record {
                        token: facts.clone(),
                        operation: operation.as_str().to_owned(),
                        generation: asked,
                        rotate_now,
                        replaced: None,
                        fence: None,
                        retained: None,
                        uids: [uid].into(),
                        emptied: false,
                    });
                });
                if taken {
                    if let Some(token) = world.tokens.iter_mut().find(|t| t.id == facts.id.as_str()) {
                        token.ours = true;
                    }
                    world.wrote_value(facts.id.as_str(), false, true);
                }
            }
            Step::Revoke { id } => {
                world.revoke(id);
                if !lost {
                    self.memory.learn(Outcome::Revoked(id.clone()), now);
                }
            }
            Step::RevokeCreated { id } => {
                world.give_back(id, self.life);
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
                let retained = self.patch(world, version, |secret| {
                    if let Some(record) = &mut secret.record {
                        record.retained = Some(id.clone());
                    }
                });
                if retained {
                    world.retained = Some(id.clone());
                }
            }
            Step::RemoveFinalizer => {
                world.writes += 1;
                if self.same(world).is_some() {
                    let Some(resource) = world.resource.take() else { return };
                    let recorded = resource.status.operation.as_ref();
                    let told = recorded.and_then(|operation| operation.token_name.as_ref());
                    let calls = world.in_flight.iter().filter_map(|flight| match &flight.call {
                        Call::Create { name, .. } => Some(name).filter(|name| Some(*name) != told).cloned(),
                        Call::Rotate { .. } => None,
                    });
                    if resource.status.last_rotation.is_some() {
                        world.unremembered.extend(calls);
                    }
                    if world.status_lost {
                        let too_new: Vec<_> = self.too_new(world).map(|token| token.name.clone()).collect();
                        world.unremembered.extend(too_new);
                    }
                    world.last = Some(resource.life);
                    match resource.policy {
                        // The garbage collector: a Secret that isn't retained has an owner.
                        DeletionPolicy::Revoke => world.collected = world.secret.take(),
                        // What an unfinished operation had committed is named by the Secret alone.
                        DeletionPolicy::Retain => {
                            // Whoever lets go says so, by what it saw: a slow process may write a dead value yet.
                            let saw_none = self.view.as_ref().is_some_and(|view| view.secret.is_none());
                            world.reported = saw_none || world.secret.is_none();
                            let named = resource.status.token.as_ref().map(|token| token.id.clone());
                            let record = world.secret.as_ref().and_then(|secret| secret.record.as_ref());
                            // A former life may have retained it already.
                            let marked = record.and_then(|record| record.retained.clone());
                            world.retained = world.retained.take().or(named).or(marked);
                        }
                    }
                }
                self.end_pass();
            }
        }
    }
}

/// The workload that the spec names.
fn workload() -> WorkloadRef {
    WorkloadRef { kind: WorkloadKind::Deployment, name: "checkout".to_owned() }
}

/// The resource's lives, the latest last.
fn live_on(uids: &mut Vec<UidTag>, life: usize) {
    let uid = World::owner(life).uid;
    uids.retain(|former| *former != uid);
    uids.push(uid);
}
