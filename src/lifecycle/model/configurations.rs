//! What is explored: each configuration with its bounds, complete within them.

use crate::resources::{AdoptedValue, ExternalChangePolicy};

use super::explore::{Report, explore, settled};
use super::outside::Outside;
use super::process::{Process, Protocol};
use super::state::{Budget, Kind, State};
use super::world::World;

/// Bounds of an exploration.
#[derive(Clone, Copy, Debug)]
pub(super) struct Configuration {
    pub name: &'static str,
    /// How many operators there are.
    pub operators: usize,
    /// The key is ready at the start; otherwise it is new.
    pub ready: bool,
    /// How often each may happen.
    pub kinds: &'static [(Kind, u8)],
    /// How many of them may happen in all.
    pub total: u8,
    /// Calls may arrive after any time.
    pub loose: bool,
    /// A rotation gives its token a new id (O7).
    pub new_id: bool,
    /// Lists don't show revoked tokens (O5).
    pub hides_revoked: bool,
    pub adopt: Option<AdoptedValue>,
    pub changes: ExternalChangePolicy,
}

impl Configuration {
    pub(super) const BASE: Self = Self {
        name: "base",
        operators: 1,
        ready: false,
        kinds: &[],
        total: 0,
        loose: false,
        new_id: false,
        hides_revoked: false,
        adopt: None,
        changes: ExternalChangePolicy::Replace,
    };

    pub(super) fn start(&self, protocol: &Protocol) -> State {
        let mut world = World::new();
        world.new_id_on_rotate = self.new_id;
        world.hides_revoked = self.hides_revoked;
        world.loose = self.loose;
        world.timing.write_patience = std::time::Duration::from_mins(1);
        if let Some(value) = self.adopt {
            world = world.adopting(value);
        }
        world.edit(|resource| resource.changes = self.changes);
        let state = State {
            world,
            processes: vec![Process::default(); self.operators],
            budget: Budget::new(self.kinds, self.total),
        };
        if self.ready { settled(state, protocol) } else { state }
    }

    /// Explores at most `most` states.
    pub(super) fn explore(&self, protocol: &Protocol, most: usize) -> Report {
        let report = explore(&self.start(protocol), protocol, most);
        let Report { states, depth, time, longest, complete, .. } = &report;
        let end = if *complete { "complete" } else { "not complete" };
        println!(
            "{}: {} operators, at most {} of {:?}: {states} states, depth {depth}, at rest within {longest} steps, \
             {} s, {end}",
            self.name,
            self.operators,
            self.total,
            self.kinds,
            time.as_secs(),
        );
        report
    }
}

/// Reads `Crash=1,Lost=1,Delete=1` as budgets.
fn budgets(text: &str) -> &'static [(Kind, u8)] {
    const FAULTS: [Kind; 10] = [
        Kind::Crash,
        Kind::Lost,
        Kind::Late,
        Kind::Vanished,
        Kind::Refused,
        Kind::Pause,
        Kind::Lag,
        Kind::Deceit,
        Kind::Stale,
        Kind::List,
    ];
    let kind = |name: &str| {
        let outside = Outside::ALL.iter().map(|outside| Kind::Outside(*outside));
        let mut all = FAULTS.into_iter().chain(outside);
        all.find(|kind| match kind {
            Kind::Outside(outside) => format!("{outside:?}") == name,
            kind => format!("{kind:?}") == name,
        })
    };
    let read = |entry: &str| {
        let (name, number) = entry.split_once('=').unwrap_or((entry, "1"));
        (kind(name).unwrap_or_else(|| panic!("no such fault: {name}")), number.parse().expect("a number"))
    };
    text.split(',').filter(|entry| !entry.is_empty()).map(read).collect::<Vec<_>>().leak()
}

/// A configuration of one's own: `MODEL="operators=2 total=3 ready Crash=1,Lost=1,Delete=1 without=sweeps"`.
#[test]
fn a_configuration_of_ones_own() {
    let Ok(text) = std::env::var("MODEL") else { return };
    let mut configuration = Configuration { name: "from MODEL", ..Configuration::BASE };
    let mut protocol = Protocol::SHIPPED;
    let mut most = 3_000_000;
    for word in text.split_whitespace() {
        match word.split_once('=') {
            Some(("operators", number)) => configuration.operators = number.parse().expect("a number"),
            Some(("total", number)) => configuration.total = number.parse().expect("a number"),
            Some(("most", number)) => most = number.parse().expect("a number"),
            Some(("without", clause)) => protocol = protocol.without(clause),
            None if word == "ready" => configuration.ready = true,
            None if word == "loose" => configuration.loose = true,
            None if word == "O7" => configuration.new_id = true,
            None if word == "O5" => configuration.hides_revoked = true,
            None if word == "halt" => configuration.changes = ExternalChangePolicy::Halt,
            None if word == "adopt" => configuration.adopt = Some(AdoptedValue::Rotate),
            None if word == "take" => configuration.adopt = Some(AdoptedValue::FromSecret),
            _ => configuration.kinds = budgets(word),
        }
    }
    let report = configuration.explore(&protocol, most);
    if let Some(violation) = report.violation {
        panic!("{} after {} actions\n{}", violation.what, violation.length, violation.trace);
    }
}
