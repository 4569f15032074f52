//! Random schedules of two processes under faults, shrunk by proptest to the shortest one that fails.

use proptest::prelude::*;
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};

use crate::lifecycle::clauses::Clauses;
use crate::lifecycle::step::Step;
use crate::resources::MAX_SUPERSEDED;

use super::outside::Outside;
use super::process::{Fault, Process, Protocol};
use super::world::{FEWEST_PLACES, Lists, World};

/// One thing that happens.
#[derive(Clone, Debug)]
pub(super) enum Event {
    /// A process takes so many steps without a fault.
    Run(usize, usize),
    /// A process takes a step with a fault.
    Fault(usize, Fault),
    /// Time goes on.
    Tick(u64),
    /// A call in flight arrives.
    Land(usize),
    /// A process's next pass begins with an old cache.
    Stale(usize),
    /// A process receives a list that lags.
    List(usize, u64),
    /// What lists show from now on.
    Lists(Lists),
    Outside(Outside),
}

pub(super) struct Run {
    pub world: World,
    pub processes: [Process; 2],
    pub protocol: Protocol,
    /// What was done, for a person who reads a failure.
    log: Vec<String>,
}

impl Run {
    pub(super) fn new(protocol: Protocol) -> Self {
        Self {
            world: World::new(),
            processes: [Process::default(), Process::default()],
            protocol,
            log: Vec::new(),
        }
    }

    /// One step of a process, without a fault.
    pub(super) fn step(&mut self, process: usize) -> Option<Step> {
        self.fault(process, Fault::None)
    }

    pub(super) fn fault(&mut self, process: usize, fault: Fault) -> Option<Step> {
        let step = self.processes[process].act(&mut self.world, &self.protocol, fault, 0);
        if let Some(step) = step.as_ref().filter(|step| !matches!(step, Step::Rest { .. })) {
            let act: String = format!("{step:?}").chars().take(60).collect();
            self.log.push(format!("{:>6} P{process} {act} ({fault:?})", self.world.clock));
        }
        step
    }

    pub(super) fn happen(&mut self, event: &Event) {
        match *event {
            Event::Run(process, steps) => {
                for _ in 0..steps {
                    self.step(process);
                }
            }
            Event::Fault(process, fault) => {
                self.fault(process, fault);
            }
            Event::Tick(seconds) => self.world.tick(seconds),
            Event::Land(at) => {
                if at < self.world.in_flight.len() {
                    self.world.land(at);
                }
            }
            Event::Stale(process) => self.processes[process].stale = true,
            Event::List(process, lag) => {
                let listing = self.world.list(lag);
                self.processes[process].receive(listing, &self.world, &self.protocol);
            }
            Event::Lists(lists) => self.world.lists = lists,
            Event::Outside(outside) => outside.happen(&mut self.world),
        }
    }

    /// Faults stop. What is held back comes to rest as well, and again once nobody holds it back any more.
    pub(super) fn settle(&mut self) {
        self.world.lists = Lists::True;
        self.come_to_rest();
        let resource = self.world.resource.as_ref();
        let (suspended, invalid) =
            resource.map_or((false, false), |resource| (resource.suspend, resource.invalid));
        for (held_back, lets_go) in [(suspended, Outside::ToggleSuspend), (invalid, Outside::ToggleValid)] {
            if held_back {
                self.happen(&Event::Outside(lets_go));
            }
        }
        if suspended || invalid {
            self.come_to_rest();
        }
    }

    /// Both processes go on until nothing happens any more; then the invariants at rest are checked.
    fn come_to_rest(&mut self) {
        let mut quiet = 0;
        for _ in 0..400 {
            let before = (self.world.writes, self.world.mints);
            for process in 0..2 {
                self.happen(&Event::List(process, 0));
                for _ in 0..60 {
                    if matches!(self.step(process), None | Some(Step::Rest { .. })) {
                        break;
                    }
                }
            }
            // Longer than any grace or lag; a repair may have to wait for an hour.
            self.world.tick(if quiet > 4 { 1_000 } else { 20 });
            quiet = if before == (self.world.writes, self.world.mints) { quiet + 1 } else { 0 };
            if quiet > 10 {
                break;
            }
        }
        if quiet <= 10 {
            self.world.violate("I6: it never comes to rest");
        }
        self.world.check_at_rest();
    }

    /// Runs a schedule to its end, or to the first violation.
    pub(super) fn play(&mut self, events: &[Event]) -> Result<(), String> {
        for event in events {
            self.happen(event);
            self.log.push(format!("{event:?}"));
            if !self.world.violations.is_empty() {
                return self.verdict();
            }
        }
        self.log.push("faults stop".to_owned());
        self.settle();
        self.verdict()
    }

    fn verdict(&self) -> Result<(), String> {
        match self.world.violations.first() {
            None => Ok(()),
            Some(violation) => Err(format!("{violation}\n{}", self.log.join("\n"))),
        }
    }
}

fn fault() -> impl Strategy<Value = Fault> {
    prop_oneof![
        Just(Fault::CrashBefore),
        Just(Fault::CrashAfter),
        Just(Fault::LostAnswer),
        Just(Fault::Late),
        Just(Fault::Vanished),
        Just(Fault::Refused),
        Just(Fault::RefusedForGood),
    ]
}

fn event() -> impl Strategy<Value = Event> {
    let process = 0..2_usize;
    prop_oneof![
        16 => (process.clone(), 1..9_usize).prop_map(|(process, steps)| Event::Run(process, steps)),
        5 => (process.clone(), fault()).prop_map(|(process, fault)| Event::Fault(process, fault)),
        6 => prop_oneof![Just(1), Just(4), Just(21), Just(40)].prop_map(Event::Tick),
        1 => (0..2_usize).prop_map(Event::Land),
        1 => process.clone().prop_map(Event::Stale),
        2 => (process, 0..14_u64).prop_map(|(process, lag)| Event::List(process, lag)),
        1 => prop_oneof![Just(Lists::True), Just(Lists::Empty), Just(Lists::Lacking)].prop_map(Event::Lists),
        2 => Just(Event::Outside(Outside::RaiseGeneration)),
        10 => proptest::sample::select(Outside::ALL).prop_map(Event::Outside),
    ]
}

/// Explores `cases` schedules; the error holds the shortest schedule that fails.
fn explore(protocol: Protocol, cases: u32) -> Result<(), String> {
    let config = Config { cases, failure_persistence: None, max_shrink_iters: 20_000, ..Config::default() };
    // The same schedules each time: a failure can be looked into, and a pass means the same tomorrow.
    let rng = TestRng::from_seed(RngAlgorithm::ChaCha, &[42; 32]);
    let mut runner = TestRunner::new_with_rng(config, rng);
    let places = prop_oneof![Just(MAX_SUPERSEDED), Just(FEWEST_PLACES)];
    let schedules = (proptest::collection::vec(event(), 1..60), any::<bool>(), places);
    runner
        .run(&schedules, |(events, new_id, places)| {
            let mut run = Run::new(protocol);
            run.world.new_id_on_rotate = new_id;
            run.world.places = places;
            run.play(&events).map_err(TestCaseError::fail)
        })
        .map_err(|error| error.to_string())
}

/// How many schedules are explored. `EXPLORE_SCHEDULES` asks for more (`make explore`).
fn schedules() -> u32 {
    std::env::var("EXPLORE_SCHEDULES")
        .map_or(10_000, |number| number.parse().expect("EXPLORE_SCHEDULES is a number"))
}

#[test]
fn the_protocol_keeps_its_invariants_under_any_schedule() {
    if let Err(failure) = explore(Protocol::SHIPPED, schedules()) {
        panic!("{failure}");
    }
}

/// A protocol that lacks a clause fails: the exploration would notice.
fn is_refuted(clauses: Clauses) {
    let failure = explore(Protocol::with(clauses), 200_000)
        .expect_err("the exploration must refute a protocol without this clause");
    println!("{failure}");
}

#[test]
fn a_call_before_its_intent_is_refuted() {
    is_refuted(Clauses { intent_before_call: false, ..Clauses::ALL });
}

#[test]
fn a_version_read_just_before_the_write_is_refuted() {
    is_refuted(Clauses { version_before_intent: false, ..Clauses::ALL });
}

#[test]
fn a_recovery_that_rotates_is_refuted() {
    is_refuted(Clauses { recovery_creates: false, ..Clauses::ALL });
}

#[test]
fn a_deletion_that_does_not_wait_is_refuted() {
    is_refuted(Clauses { deletion_waits: false, ..Clauses::ALL });
}
