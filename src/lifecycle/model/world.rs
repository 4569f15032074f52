//! The API server and the token API, as far as one key is concerned. Every method is atomic.

use std::sync::{Arc, LazyLock};
use std::time::Duration;

use jiff::Timestamp;

use crate::lifecycle::listing::Listing;
use crate::lifecycle::naming::{Installation, OperationId, Owner, Place, Tag, UidTag};
use crate::lifecycle::observed::{Record, Timing};
use crate::lifecycle::status::{Reason, is_ready};
use crate::lifecycle::step::Call;
use crate::lifecycle::time::{Monotonic, Now, elapsed};
use crate::lifecycle::token::{TokenFacts, TokenId};
use crate::resources::{
    AdoptedValue, DeletionPolicy, DesiredState, ExternalChangePolicy, KeyKind, KeyStatus, MAX_SUPERSEDED,
    RotationStrategy,
};

/// Grace of the model's key, in seconds.
pub(super) const GRACE: u64 = 30;

/// How old values get where there is a schedule, in seconds: far longer than any run.
pub(super) const EVERY: u64 = 100_000_000;

/// What is left of the life of a token that expires, in seconds: longer than any run, and far less than [`EVERY`].
pub(super) const LEFT: u64 = EVERY / 100;

/// As few places for superseded tokens as there can be: one for what is replaced, one for a recovery, one that the Secret
/// may name.
pub(super) const FEWEST_PLACES: usize = 3;

/// The token that people made, where a configuration adopts one.
pub(super) const ADOPTED: &str = "tok_adopted";

/// The value of [`ADOPTED`] as people know it.
const ADOPTED_VALUE: u64 = 2_000_000;

/// Where the wall clock starts.
const EPOCH: i64 = 1_800_000_000;

#[derive(Clone, Debug)]
#[expect(clippy::struct_excessive_bools, reason = "independent facts, each either so or not")]
pub(super) struct Resource {
    pub version: u64,
    /// Which life it is: it may come back under another uid.
    pub life: usize,
    pub generation: i64,
    pub asked: i64,
    pub deleting: bool,
    /// Since when: nobody can know it sooner.
    pub deleted_at: Option<Monotonic>,
    pub finalizer: bool,
    pub policy: DeletionPolicy,
    pub suspend: bool,
    /// The spec asks for something that can't be done.
    pub invalid: bool,
    pub state: DesiredState,
    pub adopt: Option<AdoptedValue>,
    pub changes: ExternalChangePolicy,
    pub strategy: RotationStrategy,
    /// Whether it is rotated on a schedule.
    pub scheduled: bool,
    /// How often a rotation at once was asked for.
    pub at_once: u8,
    pub status: KeyStatus,
}

#[derive(Clone, Debug)]
pub(super) struct Secret {
    pub version: u64,
    /// What the operator's annotations say; absent while it is a Secret of people's.
    pub record: Option<Record>,
    /// Which value it holds.
    pub value: u64,
    /// Somebody else changed the value.
    pub edited: bool,
}

#[derive(Clone, Debug)]
pub(super) struct Token {
    pub id: String,
    pub name: String,
    /// Which value it accepts.
    pub value: u64,
    /// Which it accepted before its last rotation, and when that was: lists lag.
    pub before: Option<(u64, u64)>,
    pub created: u64,
    pub revoked: Option<u64>,
    pub ours: bool,
    pub expires: Option<Timestamp>,
}

/// A workload that uses the Secret.
#[derive(Clone, Debug, Default)]
pub(super) struct Workload {
    /// The operation that its pods' template names.
    pub restarted_for: Option<String>,
    /// The token on whose value its pods run.
    pub runs_on: Option<String>,
    /// Its pods are being replaced.
    pub rolls: bool,
    /// They don't become ready before.
    pub hangs_until: u64,
}

/// What lists show.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(super) enum Lists {
    /// What is so.
    #[default]
    True,
    /// Nothing at all: the list is another organization's.
    Empty,
    /// No token of this resource, but others: a filter is wrong.
    Lacking,
}

#[derive(Clone, Debug)]
pub(super) struct InFlight {
    pub call: Call,
    pub land_by: u64,
}

#[derive(Clone, Debug)]
#[expect(clippy::struct_excessive_bools, reason = "independent facts, each either so or not")]
pub(super) struct World {
    /// Seconds.
    pub clock: u64,
    /// Microseconds within them: nothing happens at the same instant as anything else.
    pub instant: u64,
    pub versions: u64,
    pub resource: Option<Arc<Resource>>,
    pub secret: Option<Arc<Secret>>,
    /// The life that was let go, while the resource isn't made again.
    pub last: Option<usize>,
    /// The Secret that the garbage collector removes, until somebody may have taken it up.
    pub collected: Option<Arc<Secret>>,
    /// The workload that the spec names.
    pub workload: Option<Workload>,
    pub tokens: Vec<Token>,
    pub in_flight: Vec<InFlight>,
    /// O7: a rotation gives its token a new id.
    pub new_id_on_rotate: bool,
    /// O5: lists don't show revoked tokens.
    pub hides_revoked: bool,
    /// Calls may arrive after any time.
    pub loose: bool,
    pub lists: Lists,
    /// A list that showed less than lives was given out: deletion may have believed it where nothing contradicted it.
    pub misled: bool,
    /// Lives that are over and that no Secret remembers, a bit each.
    pub forgotten: u8,
    /// Names of tokens whose calls were on their way when the resource was let go, or that the list was too old for, and
    /// of which nothing told: status was lost, and a later operation stood in it since (like review, H4e). They are
    /// orphans that are reported.
    pub unremembered: Vec<String>,
    /// Status was lost at some time.
    pub status_lost: bool,
    /// So many tokens there were when the state became Active again.
    pub doomed: usize,
    /// How far the wall clock was set forward.
    pub jumped: u64,
    pub timing: Timing,
    /// How many superseded tokens status has places for.
    pub places: usize,
    pub ids: u64,
    /// Calls that made a token or a value.
    pub mints: u64,
    /// How many mints the history accounts for (I8).
    pub allowed: u64,
    /// Values that somebody outside killed: until everything is at rest they may stand in a Secret.
    pub killed: Vec<u64>,
    /// How many values were made outside.
    pub outside: u64,
    /// The token whose value was last written into the Secret: workloads may be using it.
    pub in_use: Option<String>,
    /// When each token's value was replaced in the Secret by another one's, and whether it may die at once.
    pub replaced: Vec<(String, u64, bool)>,
    /// The Secret was deleted or changed by somebody else, and hasn't been written since.
    pub tampered: bool,
    /// Status or record were forged: what they say isn't checked, only what is done about it.
    pub violations: Vec<String>,
    /// The token that stays, where a resource with `Retain` is let go.
    pub retained: Option<String>,
    /// It was let go without a Secret, as the person asked for: it is an orphan that is reported.
    pub reported: bool,
    /// Kubernetes writes.
    pub writes: u64,
}

impl Resource {
    /// The annotation that asks for a rotation at once.
    pub(super) fn rotate_now(&self) -> Option<String> {
        (self.at_once > 0).then(|| self.at_once.to_string())
    }

    /// Whether status says that a person must act.
    fn is_stalled(&self) -> bool {
        self.status.conditions.iter().any(|condition| condition.type_ == "Stalled")
    }

    /// Whether a rotation is asked for that ends every grace and that status doesn't know of.
    fn asks_at_once(&self) -> bool {
        let raised = self.asked > self.status.observed_rotation_generation.unwrap_or(0);
        self.at_once > 0 && self.rotate_now() != self.status.observed_rotate_now
            || raised && self.strategy == RotationStrategy::InPlace
    }

    /// Whether a rotation is asked for that status doesn't know of, or one is due by schedule or before its token expires.
    fn asks(&self, now: Timestamp, expires: bool) -> bool {
        let raised = self.asked > self.status.observed_rotation_generation.unwrap_or(0);
        let written = self.status.last_rotation.as_ref().map(|last| elapsed(last.time.0, now).as_secs());
        raised
            || self.at_once > 0 && self.rotate_now() != self.status.observed_rotate_now
            || self.scheduled && written.is_some_and(|age| age > EVERY)
            || expires && written.is_some_and(|age| age >= EVERY)
    }
}

impl World {
    pub(super) fn new() -> Self {
        let timing = Timing::new(Duration::from_secs(10), Duration::from_secs(15));
        let somebody = Tag {
            owner: Owner {
                uid: UidTag::new("another"),
                place: Place::new(KeyKind::Access, "shop", "another"),
                ..Self::owner(0)
            },
            operation: OperationId::from_random([7; 10]),
        };
        let foreign = Token {
            id: "tok_foreign".to_owned(),
            name: somebody.name("foreign", 63),
            value: 1_000_000,
            before: None,
            created: 0,
            revoked: None,
            ours: false,
            expires: None,
        };
        Self {
            clock: 1_000,
            instant: 0,
            versions: 1,
            resource: Some(Arc::new(Self::first())),
            secret: None,
            last: None,
            collected: None,
            workload: None,
            tokens: vec![foreign],
            in_flight: Vec::new(),
            new_id_on_rotate: false,
            hides_revoked: false,
            loose: false,
            lists: Lists::True,
            misled: false,
            forgotten: 0,
            unremembered: Vec::new(),
            status_lost: false,
            doomed: 0,
            jumped: 0,
            timing,
            places: MAX_SUPERSEDED,
            ids: 0,
            mints: 0,
            allowed: 1,
            killed: Vec::new(),
            outside: 0,
            in_use: None,
            replaced: Vec::new(),
            tampered: false,
            violations: Vec::new(),
            retained: None,
            reported: false,
            writes: 0,
        }
    }

    /// A resource that was made just now.
    pub(super) fn first() -> Resource {
        Resource {
            version: 1,
            life: 0,
            generation: 1,
            asked: 0,
            deleting: false,
            deleted_at: None,
            finalizer: false,
            policy: DeletionPolicy::Revoke,
            suspend: false,
            invalid: false,
            state: DesiredState::Active,
            adopt: None,
            changes: ExternalChangePolicy::Replace,
            strategy: RotationStrategy::InPlace,
            scheduled: false,
            at_once: 0,
            status: Self::blank(),
        }
    }

    /// Status before anybody has written it.
    pub(super) fn blank() -> KeyStatus {
        KeyStatus { observed_generation: Some(-1), ..KeyStatus::default() }
    }

    /// Takes note of the lives that are over and that the Secret doesn't remember.
    pub(super) fn forget_lives(&mut self) {
        let record = self.secret.as_ref().and_then(|secret| secret.record.as_ref());
        let remembers =
            |life: usize| record.is_some_and(|record| record.uids.contains(&Self::owner(life).uid));
        let life = self.resource.as_ref().map_or(0, |resource| resource.life);
        let forgotten = (0..life).filter(|life| !remembers(*life)).map(|life| 1 << life);
        self.forgotten |= forgotten.sum::<u8>();
    }

    /// A token that people made is to be taken over.
    pub(super) fn adopting(mut self, value: AdoptedValue) -> Self {
        self.tokens.push(Token {
            id: ADOPTED.to_owned(),
            name: "made-by-people".to_owned(),
            value: ADOPTED_VALUE,
            before: None,
            created: 0,
            revoked: None,
            ours: false,
            expires: None,
        });
        if value == AdoptedValue::FromSecret {
            self.secret =
                Some(Arc::new(Secret { version: 1, record: None, value: ADOPTED_VALUE, edited: false }));
            self.allowed = 0;
        }
        self.edit(|resource| resource.adopt = Some(value));
        self
    }

    pub(super) fn installation() -> Installation {
        Self::owner(0).installation
    }

    /// Under which tag the resource's tokens stand in one of its lives.
    pub(super) fn owner(life: usize) -> Owner {
        static OWNERS: LazyLock<[Owner; 3]> = LazyLock::new(|| {
            ["uid", "uid-2", "uid-3"].map(|uid| Owner {
                installation: Installation::new("cluster", "default"),
                place: Place::new(KeyKind::Access, "shop", "checkout"),
                uid: UidTag::new(uid),
            })
        });
        OWNERS[life].clone()
    }

    pub(super) fn now(&self) -> Now {
        let wall = Timestamp::from_second(EPOCH + i64::try_from(self.clock + self.jumped).unwrap()).unwrap();
        Now { wall, mono: Monotonic(Duration::from_secs(self.clock) + Duration::from_micros(self.instant)) }
    }

    /// The wall clock goes on by so much at once; tokens expire by it.
    pub(super) fn jump(&mut self, seconds: u64) {
        self.jumped += seconds;
        let (wall, clock) = (self.now().wall, self.clock);
        let expired = |token: &&mut Token| token.expires.is_some_and(|end| end <= wall);
        for token in self.tokens.iter_mut().filter(|token| token.revoked.is_none()).filter(expired) {
            token.revoked = Some(clock);
            self.killed.push(token.value);
        }
    }

    /// Changes the resource as a client does.
    pub(super) fn edit(&mut self, edit: impl FnOnce(&mut Resource)) {
        let version = self.bump();
        if let Some(resource) = &mut self.resource {
            let resource = Arc::make_mut(resource);
            edit(resource);
            resource.version = version;
        }
    }

    /// Deletes the resource as a client does, who may have changed it just before.
    pub(super) fn delete(&mut self, edit: impl FnOnce(&mut Resource)) {
        let now = self.now().mono;
        self.edit(|resource| {
            edit(resource);
            resource.deleting = true;
            resource.deleted_at = Some(now);
            resource.generation += 1;
        });
    }

    /// Changes the Secret.
    pub(super) fn edit_secret(&mut self, edit: impl FnOnce(&mut Secret)) {
        let version = self.bump();
        if let Some(secret) = &mut self.secret {
            let secret = Arc::make_mut(secret);
            edit(secret);
            secret.version = version;
        }
    }

    pub(super) fn fresh_id(&mut self) -> OperationId {
        self.ids += 1;
        let mut bytes = [0; 10];
        bytes[..8].copy_from_slice(&self.ids.to_be_bytes());
        OperationId::from_random(bytes)
    }

    /// An operation id that follows from status, as it must not be (review, H11).
    pub(super) fn derived_id(status: &KeyStatus) -> OperationId {
        let recorded = status.operation.as_ref().map(|operation| &operation.id);
        let last = recorded.or(status.last_rotation.as_ref().map(|last| &last.operation));
        let ids = (0..).map(|number: u64| {
            let mut bytes = [0; 10];
            bytes[..8].copy_from_slice(&number.to_be_bytes());
            OperationId::from_random(bytes)
        });
        let mut ids = ids.skip_while(|id| last.is_some_and(|last| id.as_str() != last));
        let first = ids.next();
        if last.is_some() { ids.next() } else { first }.unwrap()
    }

    pub(super) fn bump(&mut self) -> u64 {
        self.versions += 1;
        self.versions
    }

    pub(super) fn violate(&mut self, what: impl Into<String>) {
        self.violations.push(what.into());
    }

    /// Time goes on; calls in flight land by their time.
    pub(super) fn tick(&mut self, seconds: u64) {
        let end = self.clock + seconds;
        while let Some(at) = self.in_flight.iter().position(|flight| flight.land_by <= end) {
            self.clock = self.clock.max(self.in_flight[at].land_by);
            self.land(at);
        }
        self.clock = end;
        let held = self.secret.as_ref().and_then(|secret| secret.record.as_ref());
        if let (Some(workload), Some(record)) = (&mut self.workload, held)
            && workload.rolls
            && workload.hangs_until <= end
        {
            workload.rolls = false;
            workload.runs_on = Some(record.token.id.as_string().clone());
        }
    }

    /// A call in flight arrives.
    pub(super) fn land(&mut self, at: usize) {
        let flight = self.in_flight.remove(at);
        if let (Call::Create { name, .. }, Some(resource)) = (&flight.call, &self.resource) {
            let status = &resource.status;
            let told = status.operation.as_ref().and_then(|operation| operation.token_name.as_ref());
            if resource.deleting && status.last_rotation.is_some() && told != Some(name) {
                self.unremembered.push(name.clone());
            }
        }
        let _nobody_hears = self.perform(&flight.call);
    }

    /// The token API carries out a call.
    pub(super) fn perform(&mut self, call: &Call) -> Option<(TokenFacts, u64)> {
        let made = self.make(call);
        // More than two beyond what is accounted for is without bound; at rest not one is too many.
        if self.mints > self.allowed + 2 {
            self.check_mints();
        }
        made
    }

    /// I8: mints are bounded.
    fn check_mints(&mut self) {
        if self.mints > self.allowed {
            let (mints, allowed) = (self.mints, self.allowed);
            self.violate(format!("I8: {mints} mints, {allowed} accounted for"));
        }
    }

    fn make(&mut self, call: &Call) -> Option<(TokenFacts, u64)> {
        self.mints += 1;
        let value = self.mints;
        match call {
            Call::Create { name, expires_at } => {
                let id = format!("tok_{value}");
                self.tokens.push(Token {
                    id: id.clone(),
                    name: name.clone(),
                    value,
                    before: None,
                    created: self.clock,
                    revoked: None,
                    ours: true,
                    expires: *expires_at,
                });
                Some((self.facts(&id)?, value))
            }
            Call::Rotate { id } => {
                let at = self.tokens.iter().position(|token| token.id == *id && token.revoked.is_none());
                let Some(at) = at else {
                    self.mints -= 1;
                    return None;
                };
                if !self.may_touch(at) {
                    self.violate(format!("I5: {id} isn't ours and was rotated"));
                }
                self.tokens[at].ours = true;
                if self.new_id_on_rotate {
                    let id = format!("tok_{value}");
                    let old = self.tokens[at].clone();
                    self.tokens[at].revoked = Some(self.clock);
                    self.tokens.push(Token { id: id.clone(), value, created: self.clock, ..old });
                    return Some((self.facts(&id)?, value));
                }
                let old = std::mem::replace(&mut self.tokens[at].value, value);
                self.tokens[at].before = Some((old, self.clock));
                Some((self.facts(id)?, value))
            }
        }
    }

    /// Whether a token is ours, or one that the resource may adopt.
    fn may_touch(&self, at: usize) -> bool {
        let token = &self.tokens[at];
        let adopts = self.resource.as_ref().is_none_or(|resource| resource.adopt.is_some());
        token.ours || token.id == ADOPTED && adopts
    }

    fn facts(&self, id: &str) -> Option<TokenFacts> {
        let token = self.tokens.iter().find(|token| token.id == id)?;
        Some(Self::told(token, token.value))
    }

    fn told(token: &Token, value: u64) -> TokenFacts {
        TokenFacts {
            id: TokenId::parse(&token.id).unwrap(),
            name: Some(token.name.clone()),
            prefix: Some(format!("kt_live_{value}")),
            created_at: None,
            rotated_at: None,
            expires_at: token.expires,
        }
    }

    /// A complete list begun now, which lags `lag` seconds behind.
    pub(super) fn list(&mut self, lag: u64) -> Listing {
        self.instant += 1;
        let as_of = self.clock.saturating_sub(lag);
        let mut listing = Listing::empty(self.now().mono);
        self.misled |= self.lists != Lists::True;
        for token in &self.tokens {
            let alive = token.revoked.is_none_or(|at| at > as_of);
            let hidden = match self.lists {
                Lists::True => false,
                Lists::Empty => true,
                Lists::Lacking => token.ours || token.id == ADOPTED,
            };
            if hidden || token.created > as_of || !alive && self.hides_revoked {
                continue;
            }
            let value = token.before.filter(|(_, at)| *at > as_of).map_or(token.value, |(before, _)| before);
            let facts = Self::told(token, value);
            if token.id == ADOPTED {
                listing.add_wanted(facts.clone(), alive);
            }
            listing.add(&Self::installation(), facts, alive);
        }
        listing
    }

    /// The token API revokes a token; done if it is dead already.
    pub(super) fn revoke(&mut self, id: &str) {
        let ending = self
            .resource
            .as_ref()
            .is_none_or(|resource| resource.deleting || resource.state == DesiredState::Revoked);
        // Whoever asks for revocation and thinks better of it may be too late for what lived then.
        let doomed =
            self.tokens.iter().take(self.doomed).any(|token| token.id == id && token.revoked.is_none());
        if !ending && doomed {
            let value = self.tokens.iter().find(|token| token.id == id).map(|token| token.value);
            self.killed.extend(value);
        }
        let ending = ending || doomed;
        let clock = self.clock;
        let Some(at) = self.tokens.iter().position(|token| token.id == id) else { return };
        if self.tokens[at].revoked.is_some() {
            return;
        }
        if !self.may_touch(at) {
            self.violate(format!("I5: {id} isn't ours and was revoked"));
        }
        self.tokens[at].revoked = Some(clock);
        if ending {
            return;
        }
        if self.in_use.as_deref() == Some(id) && self.is_the_last_resort(id) {
            self.in_use = None;
        } else if self.in_use.as_deref() == Some(id) {
            self.violate(format!("I3: {id} was revoked before its replacement was in the Secret"));
        }
        // Where there is no place for it, what a rotation at once is to end ends before it.
        if self.resource.as_ref().is_some_and(|resource| resource.asks_at_once()) {
            return;
        }
        let at_once =
            self.replaced.iter().rev().find(|(old, ..)| old == id).is_some_and(|(.., at_once)| *at_once);
        if self.workload.as_ref().is_some_and(|workload| workload.runs_on.as_deref() == Some(id)) && !at_once
        {
            self.violate(format!("I3: {id} was revoked while a workload ran on it"));
        }
        let early =
            self.replaced.iter().rev().find(|(old, at, at_once)| old == id && !at_once && clock < at + GRACE);
        if early.is_some() {
            self.violate(format!("I3: {id} was revoked before its grace was over"));
        }
    }

    /// Whether a token goes because there is no place for another one. Whoever deleted or changed the Secret took with it the
    /// word on which token it held; those that were made after this one have gone.
    fn is_the_last_resort(&self, id: &str) -> bool {
        let Some(resource) = self.resource.as_ref().filter(|_| self.tampered) else { return false };
        let superseded = &resource.status.superseded;
        superseded.len() + 2 > self.places && superseded.last().is_some_and(|last| last.id == id)
    }

    /// A process of an earlier life gives back what it created. No life has said that it is ready with it.
    pub(super) fn give_back(&mut self, id: &str, life: usize) {
        let later = self.resource.as_ref().is_some_and(|resource| {
            resource.life > life && resource.status.token.as_ref().is_none_or(|token| token.id != id)
        });
        if later {
            self.in_use.take_if(|used| used == id);
            self.replaced.retain(|(old, ..)| old != id);
        }
        self.revoke(id);
    }

    /// A value is written into the Secret. Where somebody deleted the Secret, nothing fences the first write of a slow
    /// process whose operation isn't the recorded one any more; that heals itself (review, H10b).
    pub(super) fn wrote_value(&mut self, id: &str, at_once: bool, current: bool) {
        if !current && self.tampered {
            return;
        }
        if at_once {
            self.replaced.iter_mut().for_each(|replaced| replaced.2 = true);
        }
        if let Some(old) = self.in_use.replace(id.to_owned()).filter(|old| old != id) {
            self.replaced.push((old, self.clock, at_once));
        }
        self.tampered = false;
    }

    /// I2: Ready means that the Secret holds the value of a token that lives, unless somebody else saw to it that it
    /// doesn't: that is noticed later.
    pub(super) fn check_ready(&mut self) {
        self.note_use();
        let excused = self.secret.as_ref().is_some_and(|secret| self.killed.contains(&secret.value));
        // Whoever asks for revocation, thinks better of it and asks again may find a process that was at it before, and
        // another that has just proved the value.
        let asked = self.resource.as_ref().is_some_and(|resource| resource.state == DesiredState::Revoked);
        if !self.tampered && !excused && !asked {
            self.check_ready_strictly();
        }
    }

    /// Ready over another token than before: from now on workloads use that one, unless the Secret holds yet another's.
    fn note_use(&mut self) {
        let record = self.secret.as_ref().and_then(|secret| secret.record.as_ref());
        let Some(resource) = self.resource.as_ref().filter(|resource| is_ready(&resource.status)) else {
            return;
        };
        if let Some(token) = &resource.status.token
            && resource.status.operation.is_none()
            && self.in_use.as_ref() != Some(&token.id)
            && record.is_none_or(|record| record.token.id.as_str() == token.id)
            && let Some(old) = self.in_use.replace(token.id.clone())
        {
            self.replaced.push((old, self.clock, false));
        }
    }

    fn check_ready_strictly(&mut self) {
        let Some(resource) = &self.resource else { return };
        if !is_ready(&resource.status) || resource.deleting {
            return;
        }
        let lives = self.secret.as_ref().is_some_and(|secret| {
            let named = secret.record.as_ref().map(|record| record.token.id.as_str());
            self.tokens.iter().any(|token| {
                Some(token.id.as_str()) == named && token.value == secret.value && token.revoked.is_none()
            })
        });
        if !lives {
            self.violate("I2: Ready is True and the Secret doesn't hold the value of a living token");
        }
    }

    /// Whether a token waits for a person: what was recorded is brought to its end then, a rollout too, a status or a Secret
    /// that was lost is made anew, and what nobody names after that is claimed.
    fn is_awaited(&self, resource: &Resource, id: &str) -> bool {
        let record = self.secret.as_ref().and_then(|secret| secret.record.as_ref());
        let held = record.is_some_and(|record| record.token.id.as_str() == id);
        let status = &resource.status;
        let crowded = status.superseded.len() + 2 > self.places;
        (resource.invalid || resource.suspend) && (held || crowded || status.token.is_none())
            || resource.invalid && status.rollout.is_some()
            || resource.is_stalled() && status.operation.is_some()
    }

    /// I1, and with it what must hold at rest.
    pub(super) fn check_at_rest(&mut self) {
        // The garbage collector has removed what a slow process wrote for a resource that is gone.
        let collected = |record: &&Record| self.resource.is_none() && record.retained.is_none();
        let record = self.secret.as_ref().and_then(|secret| secret.record.as_ref());
        let record = record.filter(|record| !collected(record));
        // Tokens of a life that is over, and that no Secret remembers, are orphans that are reported.
        let reported = |token: &Token| {
            let uid = Tag::of_name(&token.name).map(|tag| tag.owner.uid);
            let over = |life: &usize| self.forgotten & 1 << life != 0;
            let forgotten = |uid: &UidTag| (0..3).filter(over).any(|life| Self::owner(life).uid == *uid);
            self.unremembered.contains(&token.name)
                || uid.is_some_and(|uid| {
                    forgotten(&uid) && record.is_none_or(|record| !record.uids.contains(&uid))
                })
        };
        let living: Vec<String> = self
            .tokens
            .iter()
            .filter(|t| t.ours && t.revoked.is_none() && !reported(t))
            .map(|t| t.id.clone())
            .collect();
        let named = |id: &String| {
            if let Some(resource) = &self.resource {
                let status = &resource.status;
                return status.token.as_ref().is_some_and(|token| token.id == *id)
                    || status.superseded.iter().any(|entry| entry.id == *id)
                    || self.is_awaited(resource, id);
            }
            // What was let go on the word of a false list is an orphan that is reported.
            if self.misled {
                return true;
            }
            let marked = record.and_then(|record| record.retained.as_ref());
            self.retained.as_ref() == Some(id) && (self.reported || marked == Some(id))
        };
        let leaked: Vec<_> = living.iter().filter(|id| !named(id)).cloned().collect();
        // While a rollout that can't end holds every place, a person must act; what finds no place is named after that.
        let mut conditions = self.resource.iter().flat_map(|resource| &resource.status.conditions);
        let full = conditions.any(|condition| condition.reason == Reason::SupersededFull.as_str());
        let rolls = self.resource.as_ref().is_some_and(|resource| resource.status.rollout.is_some());
        let held_up = full && rolls;
        if !leaked.is_empty() && !held_up {
            self.violate(format!("I1: {leaked:?} live and nobody names them"));
        }
        let now = self.now().wall;
        let token = self.resource.as_ref().and_then(|resource| resource.status.token.as_ref());
        let expires =
            self.tokens.iter().any(|it| it.expires.is_some() && Some(&it.id) == token.map(|token| &token.id));
        // By now two periods have passed: nothing is excused any more.
        self.check_ready_strictly();
        if let Some(resource) = &self.resource {
            let stalled = resource.is_stalled();
            if resource.deleting {
                self.violate("I7: deletion doesn't come to an end");
            } else if full && !rolls {
                self.violate("I7: no superseded token makes room");
            } else if !is_ready(&resource.status) && !stalled {
                let conditions = resource.status.conditions.clone();
                self.violate(format!("I7: neither Ready nor Stalled: {conditions:?}"));
            } else if resource.status.operation.is_some() && !stalled {
                self.violate("I7: an operation is still recorded");
            } else if !resource.status.superseded.is_empty() && !stalled {
                self.violate("I7: superseded tokens aren't revoked");
            } else if !stalled && !resource.suspend && resource.asks(now, expires) {
                self.violate("I7: a rotation that was asked for wasn't made");
            }
        }
        self.check_mints();
    }
}
