//! A state of the exploration and what may happen in it: the world, the processes and the faults that are left.

use std::fmt;

use crate::lifecycle::step::Step;

use super::canon::{NEVER, Reach, fingerprint};
use super::outside::Outside;
use super::process::{Fault, Process, Protocol};
use super::world::{Lists, World};

/// Faults and outside events, each with a budget of its own. One that isn't named may not happen at all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// A process dies, before any step or with a call on its way.
    Crash,
    /// A step is done and its answer is lost.
    Lost,
    /// A call times out and arrives later.
    Late,
    /// A call times out and never arrives.
    Vanished,
    /// A call is refused for now.
    Refused,
    /// A call is refused until the spec is another one.
    RefusedForGood,
    /// A process stops in the middle of a pass while time goes on.
    Pause,
    /// A list that a process asks for lags as far as lists may.
    Lag,
    /// Lists show nothing, or nothing of ours, for any time.
    Deceit,
    /// A pass begins with what the cache held a pass before.
    Stale,
    /// A list reaches a process unasked, at any moment.
    List,
    Outside(Outside),
}

/// What may still happen, in the order of the configuration's list; the last is the number of all together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Budget {
    kinds: &'static [(Kind, u8)],
    left: Vec<u8>,
}

impl Budget {
    /// `total` bounds the events of all kinds together.
    pub(super) fn new(kinds: &'static [(Kind, u8)], total: u8) -> Self {
        Self { kinds, left: kinds.iter().map(|(_, number)| *number).chain([total]).collect() }
    }

    fn has(&self, kind: Kind) -> bool {
        let at = self.kinds.iter().position(|(known, _)| *known == kind);
        at.is_some_and(|at| self.left[at] > 0) && self.left[self.kinds.len()] > 0
    }

    fn spend(&mut self, kind: Kind) {
        if let Some(at) = self.kinds.iter().position(|(known, _)| *known == kind) {
            self.left[at] -= 1;
            let total = self.left.last_mut().expect("the total is the last");
            *total = total.saturating_sub(1);
        }
    }

    /// What can't be spent any more is as good as spent.
    fn left(&self) -> Vec<u8> {
        let total = self.left[self.kinds.len()];
        self.left.iter().map(|left| *left.min(&total)).collect()
    }
}

/// One thing that happens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Action {
    /// A process takes its next step.
    Step(u8, Fault),
    /// It is a list, and the list lags.
    LaggingList(u8),
    Pause(u8),
    Stale(u8),
    /// A list reaches a process unasked; it may lag.
    List(u8, bool),
    /// A call in flight arrives.
    Land(u8),
    /// Time goes on to the next moment at which something is due.
    Tick,
    Lists(Lists),
    Outside(Outside),
}

#[derive(Clone, Debug)]
pub(super) struct State {
    pub world: World,
    pub processes: Vec<Process>,
    pub budget: Budget,
}

/// Longer than everything that is waited for: repairs that are spaced apart, and the time for which a proof stands.
/// By then every process has received another list.
const PERIOD: u64 = 8_000;

/// What there is to do in a state.
pub(super) struct Options {
    pub actions: Vec<(Action, Option<State>)>,
    /// What happens without any further fault.
    pub faultless: Action,
    /// Nobody has anything to do, for now or at all.
    pub at_rest: bool,
    /// Nobody has anything to do before the next period.
    pub idle: bool,
}

/// Whether a step that was decided on what was seen before touches nothing but the process's own memory.
const fn is_local(step: &Step) -> bool {
    matches!(step, Step::Rest { .. } | Step::Drop | Step::LetGo)
}

impl State {
    pub(super) fn fingerprint(&self) -> u128 {
        let reach = Reach { lag: self.budget.has(Kind::Lag), stale: self.budget.has(Kind::Stale) };
        fingerprint(&self.world, &self.processes, reach, &self.budget.left())
    }

    /// When something is due next, if no process has anything to do: a wait ends, a call arrives, patience ends.
    fn next_moment(&self) -> Option<u64> {
        let timing = &self.world.timing;
        let paused = self.processes.iter().filter(|process| process.paused);
        let deadlines = paused.filter_map(|process| process.memory.flight.as_ref()).flat_map(|flight| {
            let at = flight.started.0;
            [at + timing.send_within, at + timing.write_patience].map(|at| at.as_secs() + 1)
        });
        let flights = self.world.in_flight.iter().map(|flight| flight.land_by).filter(|at| *at < u64::MAX);
        let asleep = self.processes.iter().filter_map(|process| process.asleep.as_ref());
        let rests = asleep.filter_map(|asleep| Some(asleep.until?.0.as_secs()));
        // What is due by schedule comes by an event of its own, not by itself.
        let rests = rests.filter(|at| *at < self.world.clock + NEVER);
        deadlines.chain(flights).chain(rests).filter(|at| *at > self.world.clock).min()
    }

    fn tick(&mut self, protocol: &Protocol) {
        if let Some(at) = self.next_moment() {
            self.world.tick(at - self.world.clock);
        } else {
            self.world.tick(PERIOD);
            for number in 0..self.processes.len() {
                let listing = self.world.list(0);
                self.processes[number].receive(listing, &self.world, protocol);
            }
        }
        self.world.check_ready();
    }

    /// Everything that may happen, each with its outcome where that is known already.
    pub(super) fn options(&self, protocol: &Protocol) -> Options {
        let mut actions = Vec::new();
        let mut faultless = None;
        let mut busy = false;
        for number in 0..u8::try_from(self.processes.len()).expect("few processes") {
            let process = &self.processes[usize::from(number)];
            let awake = process.is_awake(&self.world);
            let mut step = None;
            if awake {
                let mut next = self.clone();
                let action = Action::Step(number, Fault::None);
                step = next.happen(action, protocol);
                if process.view.is_some() && step.as_ref().is_some_and(is_local) {
                    // Nobody else can tell whether it was taken: nothing needs to come before it.
                    return Options {
                        actions: vec![(action, Some(next))],
                        faultless: action,
                        at_rest: false,
                        idle: false,
                    };
                }
                actions.push((action, Some(next)));
                faultless = faultless.or(Some(action));
                busy |= !process.paused;
            }
            self.faults_of(number, step.as_ref(), awake, &mut actions);
        }
        for landing in 0..self.world.in_flight.len() {
            actions.push((Action::Land(u8::try_from(landing).expect("few calls")), None));
        }
        let waits = self.next_moment().is_some();
        let at_rest = faultless.is_none() && self.world.in_flight.is_empty();
        if self.world.lists != Lists::True {
            actions.push((Action::Lists(Lists::True), None));
            faultless = faultless.or(Some(Action::Lists(Lists::True)));
        } else if self.budget.has(Kind::Deceit) {
            actions.extend([Lists::Empty, Lists::Lacking].map(|lists| (Action::Lists(lists), None)));
        }
        if !busy {
            actions.push((Action::Tick, None));
        }
        if !waits && !self.world.in_flight.is_empty() {
            faultless = faultless.or(Some(Action::Land(0)));
        }
        for (kind, _) in self.budget.kinds {
            if let Kind::Outside(outside) = kind
                && self.budget.has(*kind)
                && outside.is_possible(&self.world)
            {
                actions.push((Action::Outside(*outside), None));
            }
        }
        let faultless = faultless.unwrap_or(Action::Tick);
        let at_rest = at_rest && faultless == Action::Tick;
        Options { actions, faultless, at_rest, idle: at_rest && !waits }
    }

    fn faults_of(
        &self,
        number: u8,
        step: Option<&Step>,
        acts: bool,
        actions: &mut Vec<(Action, Option<Self>)>,
    ) {
        let process = &self.processes[usize::from(number)];
        let mut offer = |kind: Kind, fault: Fault| {
            if self.budget.has(kind) {
                actions.push((Action::Step(number, fault), None));
            }
        };
        offer(Kind::Crash, Fault::CrashBefore);
        if acts {
            match step {
                Some(Step::Call(_)) => {
                    offer(Kind::Lost, Fault::LostAnswer);
                    offer(Kind::Late, Fault::Late);
                    offer(Kind::Vanished, Fault::Vanished);
                    offer(Kind::Crash, Fault::CrashAfter);
                    offer(Kind::Refused, Fault::Refused);
                    offer(Kind::RefusedForGood, Fault::RefusedForGood);
                }
                Some(Step::Record { .. }) => {
                    offer(Kind::Lost, Fault::LostAnswer);
                    offer(Kind::Refused, Fault::Refused);
                }
                Some(
                    Step::WriteStatus { .. }
                    | Step::WriteSecret { .. }
                    | Step::Revoke { .. }
                    | Step::RevokeCreated { .. }
                    | Step::ProveLife(_),
                ) => offer(Kind::Lost, Fault::LostAnswer),
                Some(Step::FreshList { .. }) if self.budget.has(Kind::Lag) => {
                    actions.push((Action::LaggingList(number), None));
                }
                _ => {}
            }
            let amidst = process.view.is_some() || process.memory.flight.is_some();
            if self.budget.has(Kind::Pause) && !process.paused && amidst {
                actions.push((Action::Pause(number), None));
            }
        }
        if self.budget.has(Kind::List) {
            actions.push((Action::List(number, false), None));
            if self.budget.has(Kind::Lag) {
                actions.push((Action::List(number, true), None));
            }
        }
        let old = process.cache.as_ref().is_some_and(|cache| {
            let resource = self.world.resource.as_ref().map(|resource| resource.version);
            let secret = self.world.secret.as_ref().map(|secret| secret.version);
            Some(cache.resource.version) != resource || cache.secret.as_ref().map(|s| s.version) != secret
        });
        if self.budget.has(Kind::Stale) && process.view.is_none() && !process.stale && old {
            actions.push((Action::Stale(number), None));
        }
    }

    /// It happens. Returns the step, if a process took one.
    pub(super) fn happen(&mut self, action: Action, protocol: &Protocol) -> Option<Step> {
        match action {
            Action::Step(number, fault) => {
                match fault {
                    Fault::None => {}
                    Fault::CrashBefore | Fault::CrashAfter => self.budget.spend(Kind::Crash),
                    Fault::LostAnswer => self.budget.spend(Kind::Lost),
                    Fault::Late => self.budget.spend(Kind::Late),
                    Fault::Vanished => self.budget.spend(Kind::Vanished),
                    Fault::Refused => self.budget.spend(Kind::Refused),
                    Fault::RefusedForGood => self.budget.spend(Kind::RefusedForGood),
                }
                let step = self.processes[usize::from(number)].act(&mut self.world, protocol, fault, 0);
                self.world.check_ready();
                return step;
            }
            Action::LaggingList(number) => {
                self.budget.spend(Kind::Lag);
                let lag = self.world.timing.list_lag.as_secs() - 1;
                return self.processes[usize::from(number)].act(&mut self.world, protocol, Fault::None, lag);
            }
            Action::Pause(number) => {
                self.budget.spend(Kind::Pause);
                self.processes[usize::from(number)].paused = true;
            }
            Action::Stale(number) => {
                self.budget.spend(Kind::Stale);
                self.processes[usize::from(number)].stale = true;
            }
            Action::List(number, lags) => {
                self.budget.spend(Kind::List);
                if lags {
                    self.budget.spend(Kind::Lag);
                }
                let lag = if lags { self.world.timing.list_lag.as_secs() - 1 } else { 0 };
                let listing = self.world.list(lag);
                self.processes[usize::from(number)].receive(listing, &self.world, protocol);
            }
            Action::Land(at) => {
                self.world.land(usize::from(at));
                self.world.check_ready();
            }
            Action::Tick => self.tick(protocol),
            Action::Lists(lists) => {
                if lists != Lists::True {
                    self.budget.spend(Kind::Deceit);
                }
                self.world.lists = lists;
            }
            Action::Outside(outside) => {
                self.budget.spend(Kind::Outside(outside));
                outside.happen(&mut self.world);
            }
        }
        None
    }
}

impl fmt::Display for State {
    /// What stands where, in one line.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let short = |id: &str| id.trim_start_matches("tok_").to_owned();
        let short_operation = |id: &str| id.trim_end_matches('a').to_owned();
        match &self.world.resource {
            None => write!(f, "no resource")?,
            Some(resource) => {
                let status = &resource.status;
                let ready = status.conditions.iter().find(|condition| condition.type_ == "Ready");
                let ready = ready.map_or("-".to_owned(), |c| format!("{}/{}", c.status, c.reason));
                let token = status.token.as_ref().map_or("-".to_owned(), |token| short(&token.id));
                write!(f, "status: T{token} {ready}")?;
                for entry in &status.superseded {
                    write!(f, " -T{}", short(&entry.id))?;
                }
                if let Some(operation) = &status.operation {
                    write!(f, " {:?}#{}", operation.kind, short_operation(&operation.id))?;
                }
                if resource.deleting {
                    write!(f, " deleting")?;
                }
            }
        }
        match &self.world.secret {
            None => write!(f, "; no Secret")?,
            Some(secret) => {
                let edited = if secret.edited { " edited" } else { "" };
                write!(f, "; Secret: v{}{edited}", secret.value)?;
                if let Some(record) = &secret.record {
                    let id = short(record.token.id.as_str());
                    write!(f, " of T{id} #{}", short_operation(&record.operation))?;
                }
            }
        }
        write!(f, "; alive:")?;
        for token in self.world.tokens.iter().filter(|token| token.revoked.is_none()) {
            if token.ours {
                write!(f, " T{}=v{}", short(&token.id), token.value)?;
            }
        }
        if !self.world.in_flight.is_empty() {
            write!(f, "; {} on its way", self.world.in_flight.len())?;
        }
        Ok(())
    }
}
