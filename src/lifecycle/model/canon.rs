//! The canonical form of a state, and its fingerprint. States that differ only in what no decision can tell apart are
//! one.
//!
//! What is left out or renamed, and why that loses nothing:
//! - Versions, operation ids, values and token ids are named in the order in which they are met: only their equality
//!   counts. Living tokens are met in the order in which they were made, which is how their ids sort.
//! - Points in time are told as gaps between neighbours, each no longer than [`FAR`]: `decide` compares differences of
//!   times with constants that are all smaller. Sub-second parts count by their order alone; they rise with time.
//! - Whether a rotation is due by schedule is told, and not how long it still takes.
//! - What has passed (a retry, a wait between repairs) is as if it had never been.
//! - A dead token that nothing names is gone: ids never return. What memory says of ids and operations that nothing
//!   else names is gone with them.
//! - Nothing is decided by the history, nor by who asked for a rotation.
//! - Messages and transition times of conditions decide nothing, but for the ids in them.
//! - The two processes begin alike, so a state and its mirror image are one.
//!
//! Fingerprints have 128 bits: two states of ten million that share one are far less likely than a fault of memory.

use std::hash::Hasher;
use std::time::Duration;

use jiff::Timestamp;

use crate::lifecycle::listing::Listing;
use crate::lifecycle::memory::{Captured, Life, Memory, ProofOf, Retry, Stage, Suspicion};
use crate::lifecycle::observed::Record;
use crate::lifecycle::step::Call;
use crate::lifecycle::time::Monotonic;
use crate::lifecycle::token::TokenFacts;
use crate::resources::{KeyStatus, Operation};

use super::process::{Process, View};
use super::world::{EVERY, GRACE, Resource, Secret, World};

/// Longer than any sum of waits that a decision compares with, in seconds: recovery wait and lag, grace, patience.
pub(super) const FAR: u64 = 70;

/// Longer than anything that is waited for but a schedule, in seconds: a repair may wait for an hour.
pub(super) const NEVER: u64 = EVERY * 2 / 5;

/// After this long a proof of life has to be had anew.
const PROOF_STANDS: Duration = Duration::from_hours(1);

/// A state as it is told, byte by byte.
pub(super) struct Canon {
    bytes: Vec<u8>,
    tokens: Vec<String>,
    operations: Vec<String>,
    versions: Vec<u64>,
    values: Vec<u64>,
    monotonic: Vec<Monotonic>,
    wall: Vec<i64>,
    now: Monotonic,
}

/// How much of the past may still come to light.
#[derive(Clone, Copy)]
pub(super) struct Reach {
    /// Lists may still lag.
    pub lag: bool,
    /// Caches may still be stale.
    pub stale: bool,
}

/// The fingerprint of a state.
pub(super) fn fingerprint(world: &World, processes: &[Process], reach: Reach, budget: &[u8]) -> u128 {
    let straight = Canon::of(world, &mut processes.iter(), reach, budget);
    if processes.len() < 2 {
        return straight;
    }
    straight.min(Canon::of(world, &mut processes.iter().rev(), reach, budget))
}

impl Canon {
    fn of(world: &World, processes: &mut dyn Iterator<Item = &Process>, reach: Reach, budget: &[u8]) -> u128 {
        let now = world.now();
        let mut canon = Self {
            bytes: Vec::with_capacity(1_024),
            tokens: Vec::new(),
            operations: Vec::new(),
            versions: Vec::new(),
            values: Vec::new(),
            monotonic: vec![now.mono],
            wall: vec![now.wall.as_second()],
            now: now.mono,
        };
        canon.bytes.extend_from_slice(budget);
        let processes: Vec<&Process> = processes.collect();
        canon.world(world);
        for process in &processes {
            canon.hands(world, process, reach);
        }
        for process in &processes {
            canon.memory(world, &process.memory);
        }
        canon.ghosts(world, &processes, reach);
        canon.times();
        canon.finish()
    }

    fn finish(&self) -> u128 {
        let half = |salt: u8| {
            #[expect(deprecated, reason = "stable across runs, unlike the default of std's maps")]
            let mut hash = std::hash::SipHasher::new();
            hash.write_u8(salt);
            hash.write(&self.bytes);
            u128::from(hash.finish())
        };
        half(0) << 64 | half(1)
    }

    fn byte(&mut self, byte: u8) {
        self.bytes.push(byte);
    }

    fn flag(&mut self, flag: bool) {
        self.bytes.push(u8::from(flag));
    }

    fn small(&mut self, number: u64) {
        self.bytes.extend_from_slice(&u16::try_from(number).unwrap_or(u16::MAX).to_be_bytes());
    }

    fn text(&mut self, text: &str) {
        self.bytes.extend_from_slice(text.as_bytes());
        self.bytes.push(0xff);
    }

    fn option<T>(&mut self, option: Option<T>, tell: impl FnOnce(&mut Self, T)) {
        match option {
            None => self.byte(0xfe),
            Some(it) => {
                self.byte(0xfd);
                tell(self, it);
            }
        }
    }

    fn list<T>(&mut self, list: impl IntoIterator<Item = T>, mut tell: impl FnMut(&mut Self, T)) {
        for item in list {
            self.byte(0xfc);
            tell(self, item);
        }
        self.byte(0xfb);
    }

    fn named<T: PartialEq + ?Sized, N: PartialEq<T>>(names: &[N], name: &T) -> Option<usize> {
        names.iter().position(|known| *known == *name)
    }

    fn code(&mut self, code: usize) {
        self.bytes.push(u8::try_from(code).expect("few names"));
    }

    fn token(&mut self, id: &str) {
        let code = Self::named(&self.tokens, id).unwrap_or_else(|| {
            self.tokens.push(id.to_owned());
            self.tokens.len() - 1
        });
        self.code(code);
    }

    fn operation_id(&mut self, id: &str) {
        let code = Self::named(&self.operations, id).unwrap_or_else(|| {
            self.operations.push(id.to_owned());
            self.operations.len() - 1
        });
        self.code(code);
    }

    fn version(&mut self, version: u64) {
        let code = Self::named(&self.versions, &version).unwrap_or_else(|| {
            self.versions.push(version);
            self.versions.len() - 1
        });
        self.code(code);
    }

    fn value(&mut self, value: u64) {
        let code = Self::named(&self.values, &value).unwrap_or_else(|| {
            self.values.push(value);
            self.values.len() - 1
        });
        self.code(code);
    }

    /// A name is its owner and its operation.
    fn name(&mut self, name: &str) {
        /// Characters of a tag's uid and operation.
        const UID: usize = 12;
        const OPERATION: usize = 16;
        if name.len() < UID + OPERATION {
            self.text(name);
            return;
        }
        let (head, operation) = name.split_at(name.len() - OPERATION);
        self.text(&head[head.len() - UID..]);
        self.operation_id(operation);
    }

    fn prefix(&mut self, prefix: &str) {
        let value = prefix.rsplit('_').next().and_then(|value| value.parse().ok());
        self.option(value, Self::value);
    }

    fn at(&mut self, at: Monotonic) {
        self.monotonic.push(at);
    }

    fn wall_at(&mut self, at: i64) {
        self.wall.push(at);
    }

    /// A point in time that is only waited for.
    fn until(&mut self, at: Monotonic) {
        let left = if at > self.now { at.since(self.now).as_secs() + 1 } else { 0 };
        self.small(left.min(NEVER));
    }

    fn facts(&mut self, facts: &TokenFacts) {
        self.token(facts.id.as_str());
        self.option(facts.name.as_deref(), Self::name);
        self.option(facts.prefix.as_deref(), Self::prefix);
        self.expiry(facts.expires_at);
    }

    /// Far off, or over.
    fn expiry(&mut self, end: Option<Timestamp>) {
        self.byte(end.map_or(0, |end| if end.as_second() > self.wall[0] { 1 } else { 2 }));
    }

    fn world(&mut self, world: &World) {
        self.byte(world.lists as u8);
        self.flag(world.misled);
        self.flag(world.status_lost);
        self.option(world.workload.as_ref(), |canon, workload| {
            canon.option(workload.restarted_for.as_deref(), Self::operation_id);
            canon.option(workload.runs_on.as_deref(), Self::token);
            canon.flag(workload.rolls);
            canon.small(workload.hangs_until.saturating_sub(world.clock));
        });
        self.option(world.last, Self::code);
        self.option(world.collected.as_deref(), Self::secret);
        self.list(world.tokens.iter().filter(|token| token.revoked.is_none()), |canon, token| {
            canon.token(&token.id);
            canon.name(&token.name);
            canon.value(token.value);
            canon.flag(token.ours);
            canon.flag(token.expires.is_some());
            canon.flag(world.unremembered.contains(&token.name));
            canon.flag(world.tokens.iter().take(world.doomed).any(|doomed| doomed.id == token.id));
        });
        self.list(&world.in_flight, |canon, flight| {
            match &flight.call {
                Call::Create { name, .. } => {
                    canon.name(name);
                    canon.flag(world.unremembered.contains(name));
                }
                Call::Rotate { id } => canon.token(id),
            }
            canon.small(flight.land_by.saturating_sub(world.clock));
        });
        self.option(world.resource.as_deref(), Self::resource);
        self.option(world.secret.as_deref(), Self::secret);
    }

    fn resource(&mut self, resource: &Resource) {
        let Resource {
            version,
            life,
            generation,
            asked,
            deleting,
            deleted_at: _,
            finalizer,
            policy,
            suspend,
            invalid,
            state,
            adopt,
            changes,
            strategy,
            scheduled,
            at_once,
            status,
        } = resource;
        self.version(*version);
        self.small(*life as u64);
        self.small(u64::try_from(*generation).unwrap());
        self.small(u64::try_from(*asked).unwrap());
        self.flag(*deleting);
        self.flag(*finalizer);
        self.byte(*policy as u8);
        self.flag(*suspend);
        self.flag(*invalid);
        self.byte(*state as u8);
        self.byte(adopt.map_or(9, |value| value as u8));
        self.byte(*changes as u8);
        self.byte(*strategy as u8);
        self.flag(*scheduled);
        // A schedule's times are far off until the clock is set forward.
        let written = status.last_rotation.as_ref().map(|last| self.wall[0] - last.time.0.as_second());
        self.flag(written.is_some_and(|age| age.unsigned_abs() >= EVERY / 2));
        self.byte(*at_once);
        self.status(status);
    }

    fn status(&mut self, status: &KeyStatus) {
        let KeyStatus {
            observed_generation,
            observed_rotation_generation,
            observed_rotate_now,
            token,
            superseded,
            operation,
            secret,
            last_rotation,
            workloads: _,
            rollout,
            history: _,
            next_rotation: _,
            conditions,
        } = status;
        self.option(*observed_generation, |canon, it| canon.small(u64::try_from(it + 1).unwrap()));
        self.option(*observed_rotation_generation, |canon, it| canon.small(u64::try_from(it).unwrap()));
        self.option(observed_rotate_now.as_deref(), Self::text);
        self.option(token.as_ref(), |canon, token| {
            canon.token(&token.id);
            canon.option(token.name.as_deref(), Self::name);
            canon.option(token.prefix.as_deref(), Self::prefix);
            canon.expiry(token.expires_at.as_ref().map(|end| end.0));
        });
        self.list(superseded, |canon, entry| {
            canon.token(&entry.id);
            canon.option(entry.prefix.as_deref(), Self::prefix);
            canon.wall_at(entry.since.0.as_second());
            canon.wall_at(entry.revoke_after.0.as_second());
        });
        self.option(operation.as_ref(), Self::operation);
        self.option(secret.as_ref(), |canon, secret| {
            let version = secret.resource_version.as_ref().and_then(|version| version.parse().ok());
            canon.option(version, Self::version);
        });
        self.option(last_rotation.as_ref(), |canon, last| {
            canon.wall_at(last.time.0.as_second());
            canon.byte(last.reason as u8);
            canon.small(u64::try_from(last.generation).unwrap());
            canon.operation_id(&last.operation);
        });
        self.option(rollout.as_ref(), |canon, rollout| {
            canon.operation_id(&rollout.operation);
            canon.wall_at(rollout.since.0.as_second());
        });
        self.list(conditions, |canon, condition| {
            canon.text(&condition.type_);
            canon.text(&condition.status);
            canon.text(&condition.reason);
            canon.small(u64::try_from(condition.observed_generation.unwrap_or(0)).unwrap());
            canon.message(&condition.message);
        });
    }

    fn message(&mut self, message: &str) {
        for (nr, word) in message.split(' ').enumerate() {
            if word.starts_with("tok_") {
                self.small(nr as u64);
                self.token(word);
            }
        }
        self.small(message.len() as u64);
    }

    fn operation(&mut self, operation: &Operation) {
        let Operation {
            id,
            kind,
            token_name,
            token_id,
            reason,
            generation,
            rotate_now,
            value_in_doubt,
            urgent,
            requested_by: _,
        } = operation;
        self.operation_id(id);
        self.byte(*kind as u8);
        self.option(token_name.as_deref(), Self::name);
        self.option(token_id.as_deref(), Self::token);
        self.byte(*reason as u8);
        self.small(u64::try_from(*generation).unwrap());
        self.option(rotate_now.as_deref(), Self::text);
        self.flag(*value_in_doubt);
        self.flag(*urgent);
    }

    fn secret(&mut self, secret: &Secret) {
        let Secret { version, record, value, edited } = secret;
        self.version(*version);
        self.value(*value);
        self.flag(*edited);
        self.option(record.as_ref(), Self::record);
    }

    fn record(&mut self, record: &Record) {
        let Record { token, operation, generation, rotate_now, replaced, fence, retained, uids, emptied } =
            record;
        self.facts(token);
        self.operation_id(operation);
        self.small(u64::try_from(*generation).unwrap());
        self.option(rotate_now.as_deref(), Self::text);
        self.option(replaced.as_deref(), Self::token);
        self.option(fence.as_deref(), Self::token);
        self.option(retained.as_deref(), Self::token);
        self.list(uids, |canon, uid| canon.text(uid.as_str()));
        self.flag(*emptied);
    }

    /// What a process has in hand: its views, its flight, the latest list.
    fn hands(&mut self, world: &World, process: &Process, reach: Reach) {
        self.code(process.life);
        self.flag(process.paused);
        let awake = process.is_awake(world);
        self.flag(awake);
        if !awake && let Some(until) = process.asleep.as_ref().and_then(|asleep| asleep.until) {
            self.until(until);
        }
        self.flag(process.stale);
        self.flag(process.noticed);
        self.flag(process.misled);
        self.flag(process.settled.is_some());
        self.option(process.value, Self::value);
        self.option(process.view.as_ref(), |canon, view| canon.view(world, view));
        self.option(process.workloads.as_ref(), |canon, workloads| {
            canon.at(workloads.at);
            canon.list(workloads.seen.iter().flatten(), |canon, seen| {
                canon.option(seen.restarted_for.as_deref(), Self::operation_id);
                canon.flag(seen.hindrance.is_some());
            });
        });
        let cache = process.cache.as_ref().filter(|_| reach.stale || process.stale);
        self.option(cache, |canon, view| canon.view(world, view));
        let flight = process.memory.flight.as_ref();
        self.option(flight, |canon, flight| {
            canon.operation(&flight.operation);
            canon.captured(&flight.captured);
            canon.at(flight.started);
            canon.byte(match &flight.stage {
                Stage::Recorded => 0,
                Stage::Answered(_) => 1,
                Stage::Conflicted(_) => 2,
                Stage::SecretReread(_) => 3,
                Stage::Reread(_) => 4,
                Stage::Written(..) => 5,
                Stage::Abandoned(_) => 6,
            });
            canon.option(flight.stage.facts(), Self::facts);
            if let Stage::Written(_, rendered) = &flight.stage {
                canon.version(rendered.version.parse().unwrap());
                canon.small(u64::try_from(rendered.generation).unwrap());
            }
        });
        self.option(process.listing.as_deref(), Self::listing);
    }

    fn view(&mut self, world: &World, view: &View) {
        // How long ago they were read decides while they count as read just now; time goes on by whole seconds.
        for read in [view.resource_read, view.secret_read] {
            let age = read.map(|read| self.now.since(read)).filter(|age| *age <= world.timing.read_stands);
            self.option(age, |canon, age| canon.small(age.as_secs()));
        }
        self.flag(view.data);
        self.flag(view.unread);
        let current = world.resource.as_ref().map(|resource| resource.version);
        let fresh = current == Some(view.resource.version);
        self.flag(fresh);
        if !fresh {
            self.resource(&view.resource);
        }
        let fresh = world.secret.as_ref().map(|s| s.version) == view.secret.as_ref().map(|s| s.version);
        self.flag(fresh);
        if !fresh {
            self.option(view.secret.as_deref(), Self::secret);
        }
    }

    fn captured(&mut self, captured: &Captured) {
        let version = captured.version.as_ref().and_then(|version| version.parse().ok());
        self.option(version, Self::version);
        self.option(captured.names.as_deref(), Self::token);
    }

    fn listing(&mut self, listing: &Listing) {
        self.at(listing.begun);
        self.flag(listing.shows_any());
        for listed in listing.at(&World::owner(0).place) {
            let id = listed.facts.id.as_str();
            if listed.alive || Self::named(&self.tokens, id).is_some() {
                self.facts(&listed.facts);
                self.flag(listed.alive);
            }
        }
        self.byte(0xfa);
        self.option(listing.wanted(super::world::ADOPTED), |canon, wanted| {
            canon.facts(&wanted.facts);
            canon.flag(wanted.alive);
        });
    }

    fn proof_of(&mut self, of: &ProofOf) {
        self.token(&of.id);
        self.operation_id(&of.operation);
        match &of.suspicion {
            None => self.byte(0),
            Some(Suspicion::Dead) => self.byte(1),
            Some(Suspicion::Absent) => self.byte(2),
            Some(Suspicion::Altered { prefix, .. }) => {
                self.byte(3);
                self.option(prefix.as_deref(), Self::prefix);
            }
        }
    }

    fn memory(&mut self, world: &World, memory: &Memory) {
        let Memory {
            flight: _,
            preflight,
            operation_seen,
            harmless,
            superseded_seen,
            graces_seen,
            superseded_left,
            token_seen,
            ending_seen,
            landed,
            claimed,
            seen_version,
            made,
            revoked,
            absent_since,
            shown,
            proof,
            trouble,
            repairs,
        } = memory;
        let operations = |canon: &Self, id: &str| Self::named(&canon.operations, id).is_some();
        self.option(preflight.as_ref(), Self::captured);
        let seen = operation_seen.as_ref().filter(|(id, _)| operations(self, id));
        self.option(seen, |canon, (id, at)| {
            canon.operation_id(id);
            canon.at(*at);
        });
        let harmless = harmless.as_ref().filter(|id| operations(self, id));
        self.option(harmless, |canon, id| canon.operation_id(id));
        self.named_times(superseded_seen.iter().map(|(id, at)| (id.as_str(), *at)));
        self.named_times(graces_seen.iter().map(|(id, (_, at))| (id.as_str(), *at)));
        let status = world.resource.as_ref().map(|resource| &resource.status);
        let begun_anew = status
            .into_iter()
            .flat_map(|status| &status.superseded)
            .filter(|entry| graces_seen.get(&entry.id).is_some_and(|(since, _)| *since != entry.since.0));
        self.list(begun_anew, |canon, entry| canon.token(&entry.id));
        self.option(*superseded_left, Self::at);
        let seen = token_seen.as_ref().filter(|seen| Self::named(&self.tokens, seen.id.as_str()).is_some());
        self.option(seen, |canon, seen| {
            canon.token(&seen.id);
            canon.operation_id(&seen.operation);
            canon.at(seen.at);
        });
        self.option(*ending_seen, Self::at);
        let resource = world.resource.as_deref();
        let unseen = resource.and_then(|resource| resource.deleted_at).filter(|_| ending_seen.is_none());
        self.option(unseen.max(unseen.and(*landed)), Self::at);
        self.option(*claimed, Self::at);
        let version = world.resource.as_ref().map(|resource| resource.version.to_string());
        let told = claimed.is_some() || proof.as_ref().is_some_and(|proof| proof.life != Life::Dead);
        self.flag(told && *seen_version == version);
        self.named_ids(made);
        self.named_ids(revoked);
        self.named_times(absent_since.iter().map(|(id, at)| (id.as_str(), *at)));
        self.named_ids(shown);
        let known = proof.as_ref().filter(|proof| Self::named(&self.tokens, proof.of.id.as_str()).is_some());
        self.option(known, |canon, proof| {
            canon.proof_of(&proof.of);
            canon.byte(proof.life as u8);
            canon.at(proof.at);
            canon.flag(canon.now.since(proof.at) >= PROOF_STANDS);
        });
        self.option(trouble.as_ref(), |canon, trouble| {
            canon.text(trouble.reason.as_str());
            match trouble.retry {
                Retry::At(at) | Retry::AtOrCredentialAfter(at, _) => canon.until(at),
                Retry::OtherThanGeneration(generation) => canon.small(u64::try_from(generation).unwrap()),
            }
        });
        let (count, not_before) = (repairs.count(world.now().mono), repairs.not_before());
        self.small(u64::from(count));
        self.option(not_before, Self::until);
    }

    fn named_ids<'a>(&mut self, ids: impl IntoIterator<Item = &'a String>) {
        let mut codes: Vec<_> =
            ids.into_iter().filter_map(|id| Self::named(&self.tokens, id.as_str())).collect();
        codes.sort_unstable();
        self.list(codes, Self::code);
    }

    fn named_times<'a>(&mut self, ids: impl IntoIterator<Item = (&'a str, Monotonic)>) {
        let named = |(id, at)| Some((Self::named(&self.tokens, id)?, at));
        let mut times: Vec<_> = ids.into_iter().filter_map(named).collect();
        times.sort_unstable();
        self.list(times, |canon, (code, at)| {
            canon.code(code);
            canon.at(at);
        });
    }

    /// What only the invariants ask for, and what tokens were before.
    fn ghosts(&mut self, world: &World, processes: &[&Process], reach: Reach) {
        let lag = world.timing.list_lag.as_secs();
        for token in &world.tokens {
            let named = Self::named(&self.tokens, token.id.as_str()).is_some();
            let since = |at: u64| (world.clock - at).min(lag);
            // A list that lags may show it as living.
            let lately = reach.lag && token.revoked.is_some_and(|at| since(at) < lag);
            if !named && !lately {
                continue;
            }
            self.token(&token.id);
            self.option(token.revoked, |canon, at| {
                canon.name(&token.name);
                if reach.lag {
                    canon.small(since(at));
                }
            });
            if reach.lag {
                self.small(since(token.created));
                let before = token.before.filter(|(_, at)| since(*at) < lag);
                self.option(before, |canon, (value, at)| {
                    canon.value(value);
                    canon.small(since(at));
                });
            }
        }
        let held = world.secret.as_ref().map(|secret| secret.value);
        for value in held.into_iter().chain(processes.iter().filter_map(|process| process.value)) {
            self.flag(world.killed.contains(&value));
        }
        let lives = |id: &str| world.tokens.iter().any(|token| token.id == id && token.revoked.is_none());
        self.option(world.in_use.as_deref().filter(|id| lives(id)), Self::token);
        let graces = world
            .replaced
            .iter()
            .filter(|(id, at, at_once)| !at_once && lives(id) && world.clock < at + GRACE);
        self.list(graces, |canon, (id, at, _)| {
            canon.token(id);
            canon.small(world.clock - at);
        });
        self.flag(world.tampered);
        self.option(world.retained.as_deref(), Self::token);
        self.flag(world.reported);
        self.byte(world.forgotten);
        self.bytes.extend_from_slice(
            &(i64::try_from(world.allowed).unwrap() - i64::try_from(world.mints).unwrap()).to_be_bytes(),
        );
    }

    fn times(&mut self) {
        let mut order = self.monotonic.clone();
        order.sort_unstable();
        order.dedup();
        for at in std::mem::take(&mut self.monotonic) {
            let place = order.binary_search(&at).expect("it is in there");
            self.code(place);
        }
        let gaps = order.windows(2).map(|pair| pair[1].0.as_secs() - pair[0].0.as_secs());
        let gaps: Vec<u64> = gaps.map(|gap| gap.min(FAR)).collect();
        self.list(gaps, |canon, gap| canon.byte(u8::try_from(gap).unwrap()));
        let mut order = self.wall.clone();
        order.sort_unstable();
        order.dedup();
        for at in std::mem::take(&mut self.wall) {
            let place = order.binary_search(&at).expect("it is in there");
            self.code(place);
        }
        let gaps: Vec<i64> = order.windows(2).map(|pair| (pair[1] - pair[0]).min(120)).collect();
        self.list(gaps, |canon, gap| canon.byte(u8::try_from(gap).unwrap()));
    }
}
