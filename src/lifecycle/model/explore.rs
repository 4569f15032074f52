//! Exploration of `decide` itself, breadth first: everything that may happen within a budget of faults, and from every
//! state that is met the run without further faults.
//!
//! A violation has the shortest trace that there is in number of actions. An exploration is complete: it ends when no
//! new state is left.

use std::collections::VecDeque;
use std::fmt::Write;
use std::time::{Duration, Instant};

use crate::lifecycle::step::Step;

use super::graph::Graph;
use super::process::{Fault, Protocol};
use super::state::{Action, State};

/// What an exploration found.
pub(super) struct Report {
    pub states: usize,
    pub depth: u16,
    pub time: Duration,
    /// The longest run without further faults until everything is at rest, in steps.
    pub longest: u32,
    /// Every state within the budget was met.
    pub complete: bool,
    pub violation: Option<Violation>,
}

/// Something that must not be, and how it comes about.
pub(super) struct Violation {
    pub what: String,
    pub length: usize,
    pub trace: String,
}

/// Explores from `start`, at most `most` states.
pub(super) fn explore(start: &State, protocol: &Protocol, most: usize) -> Report {
    let began = Instant::now();
    let mut graph = Graph::default();
    let mut frontier = VecDeque::new();
    let (first, _) = graph.meet(start.fingerprint(), 0, Action::Tick);
    frontier.push_back((first, start.clone()));
    let mut violation = None;
    'search: while let Some((number, state)) = frontier.pop_front() {
        if graph.len() > most {
            frontier.push_back((number, state));
            break;
        }
        let options = state.options(protocol);
        if options.at_rest {
            let mut world = state.world.clone();
            world.check_at_rest();
            graph.rests(number, world.violations.first().cloned());
        }
        for (action, outcome) in options.actions {
            let next = outcome.unwrap_or_else(|| {
                let mut next = state.clone();
                next.happen(action, protocol);
                next
            });
            if let Some(what) = next.world.violations.first() {
                let mut path = graph.path(number);
                path.push(action);
                violation = Some((what.clone(), path));
                break 'search;
            }
            let (met, new) = graph.meet(next.fingerprint(), number, action);
            if action == options.faultless {
                let effect = (state.world.writes, state.world.mints) != (next.world.writes, next.world.mints);
                graph.goes(number, met, effect);
            }
            if new {
                frontier.push_back((met, next));
            }
        }
    }
    let liveness = graph.liveness();
    let violation = violation.map(|(what, path)| (what, path, String::new())).or_else(|| {
        let doom = liveness.doomed?;
        let circle: Vec<_> = doom.circle.iter().map(|state| graph.path(*state)).collect();
        Some((doom.wrong, graph.path(doom.state), go_round(start, protocol, &circle)))
    });
    Report {
        states: graph.len(),
        depth: graph.depth(),
        time: began.elapsed(),
        longest: liveness.longest,
        complete: frontier.is_empty() && violation.is_none(),
        violation: violation.map(|(what, path, circle)| Violation {
            what,
            length: path.len(),
            trace: tell(start, protocol, &path) + &circle,
        }),
    }
}

/// The state from which everything goes on once a key is ready.
pub(super) fn settled(mut state: State, protocol: &Protocol) -> State {
    for _ in 0..200 {
        let options = state.options(protocol);
        if options.idle {
            return state;
        }
        state.happen(options.faultless, protocol);
    }
    panic!("a key that meets no fault must come to rest: {state}");
}

/// A trace for people to read, one line a step, and how it goes on without further faults.
fn tell(start: &State, protocol: &Protocol, path: &[Action]) -> String {
    let mut state = start.clone();
    let mut text = format!("{:>6}  {state}\n", 0);
    let began = state.world.clock;
    let mut before = state.to_string();
    let mut line = |state: &State, action: Action, step: Option<&Step>| {
        let after = state.to_string();
        let shows = if after == before { String::new() } else { format!("\n          => {after}") };
        before = after;
        let act = act(action, step);
        writeln!(text, "{:>6}  {act}{shows}", state.world.clock - began).expect("a String takes it");
    };
    for action in path {
        let step = state.happen(*action, protocol);
        line(&state, *action, step.as_ref());
    }
    let mut wrong = state.world.violations.first().cloned();
    let mut rests = 0;
    for _ in 0..80 {
        if wrong.is_some() || rests > 2 {
            break;
        }
        let options = state.options(protocol);
        if options.idle {
            rests += 1;
            if rests > 2 {
                let mut world = state.world.clone();
                world.check_at_rest();
                wrong = world.violations.first().cloned();
                break;
            }
        }
        let step = state.happen(options.faultless, protocol);
        if !matches!(step, Some(Step::Rest { .. })) {
            line(&state, options.faultless, step.as_ref());
        }
        wrong = state.world.violations.first().cloned();
    }
    if let Some(wrong) = wrong {
        writeln!(text, "        {wrong}").expect("a String takes it");
    }
    text
}

/// The circle in which everything ends.
fn go_round(start: &State, protocol: &Protocol, circle: &[Vec<Action>]) -> String {
    let mut text = String::from("        and so on in a circle:\n");
    for path in circle.iter().take(20) {
        let mut state = start.clone();
        for action in path {
            state.happen(*action, protocol);
        }
        let faultless = state.options(protocol).faultless;
        let shown = state.to_string();
        let step = state.happen(faultless, protocol);
        writeln!(text, "          {} from {shown}", act(faultless, step.as_ref()))
            .expect("a String takes it");
    }
    text
}

fn act(action: Action, step: Option<&Step>) -> String {
    match action {
        Action::Step(number, fault) => {
            let step = step.map_or("looks", Step::name);
            match fault {
                Fault::None => format!("P{number} {step}"),
                Fault::CrashBefore => format!("P{number} dies before it can {step}"),
                Fault::CrashAfter => format!("P{number} {step}; dies; the call is on its way"),
                Fault::LostAnswer => format!("P{number} {step}; the answer is lost"),
                Fault::Late => format!("P{number} {step}; times out; the call is on its way"),
                Fault::Vanished => format!("P{number} {step}; times out; the call never arrives"),
                Fault::Refused => format!("P{number} {step}; refused"),
                Fault::RefusedForGood => format!("P{number} {step}; refused until the spec is another one"),
            }
        }
        Action::LaggingList(number) => format!("P{number} list tokens; the list lags"),
        Action::Pause(number) => format!("P{number} stops for a while"),
        Action::Stale(number) => format!("P{number}'s cache is old"),
        Action::List(number, false) => format!("a list reaches P{number}"),
        Action::List(number, true) => format!("a list that lags reaches P{number}"),
        Action::Land(_) => "the call on its way arrives".to_owned(),
        Action::Tick => "time goes on".to_owned(),
        Action::Lists(lists) => format!("lists show: {lists:?}"),
        Action::Outside(outside) => format!("{outside:?}"),
    }
}
