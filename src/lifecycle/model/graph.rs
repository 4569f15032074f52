//! The states that were met, each with how it was reached and where it goes without further faults.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};

use super::state::Action;

/// A fingerprint is a hash already.
#[derive(Default)]
struct Plain(u64);

impl Hasher for Plain {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for chunk in bytes.chunks(8) {
            let mut eight = [0; 8];
            eight[..chunk.len()].copy_from_slice(chunk);
            self.0 ^= u64::from_ne_bytes(eight);
        }
    }
}

/// Nothing yet.
const NONE: u32 = u32::MAX;

struct Node {
    parent: u32,
    action: Action,
    depth: u16,
    /// Where it goes without further faults.
    next: u32,
    /// Going there changes something that others see.
    effect: bool,
    /// Nobody has anything to do.
    at_rest: bool,
}

/// All states that were met, by number in the order in which they were met.
#[derive(Default)]
pub(super) struct Graph {
    numbers: HashMap<u128, u32, BuildHasherDefault<Plain>>,
    nodes: Vec<Node>,
    /// What doesn't hold at rest.
    unrest: HashMap<u32, String>,
}

/// A state that never comes to rest as it should.
pub(super) struct Doom {
    pub state: u32,
    pub wrong: String,
    /// The circle that it ends in.
    pub circle: Vec<u32>,
}

/// Where the run without further faults leads from every state.
pub(super) struct Liveness {
    /// The longest run until nothing happens any more.
    pub longest: u32,
    /// The first state that never comes to rest as it should, and what is wrong then.
    pub doomed: Option<Doom>,
}

impl Graph {
    pub(super) fn len(&self) -> usize {
        self.nodes.len()
    }

    pub(super) fn depth(&self) -> u16 {
        self.nodes.last().map_or(0, |node| node.depth)
    }

    /// The number of a state, and whether it is new.
    pub(super) fn meet(&mut self, fingerprint: u128, parent: u32, action: Action) -> (u32, bool) {
        let number = u32::try_from(self.nodes.len()).expect("fewer than four thousand million states");
        let known = *self.numbers.entry(fingerprint).or_insert(number);
        if known == number {
            let depth = self.nodes.get(parent as usize).map_or(0, |parent| parent.depth + 1);
            self.nodes.push(Node { parent, action, depth, next: NONE, effect: false, at_rest: false });
        }
        (known, known == number)
    }

    pub(super) fn goes(&mut self, from: u32, to: u32, effect: bool) {
        let node = &mut self.nodes[from as usize];
        node.next = to;
        node.effect = effect;
    }

    /// Nobody has anything to do in this state; `wrong` says what shouldn't be so.
    pub(super) fn rests(&mut self, state: u32, wrong: Option<String>) {
        self.nodes[state as usize].at_rest = true;
        if let Some(wrong) = wrong {
            self.unrest.insert(state, wrong);
        }
    }

    /// The actions that lead to a state.
    pub(super) fn path(&self, mut state: u32) -> Vec<Action> {
        let mut actions = Vec::new();
        while state != 0 {
            let node = &self.nodes[state as usize];
            actions.push(node.action);
            state = node.parent;
        }
        actions.reverse();
        actions
    }

    /// Follows the run without further faults from every state: each must end in a circle on which nothing changes,
    /// with everybody at rest and as it should be.
    pub(super) fn liveness(&self) -> Liveness {
        const UNKNOWN: u32 = u32::MAX;
        const DOOMED: u32 = u32::MAX - 1;
        const OPEN: u32 = u32::MAX - 2;
        const ON_THE_WAY: u32 = u32::MAX - 3;
        let mut steps = vec![UNKNOWN; self.nodes.len()];
        let mut wrongs: HashMap<u32, String> = HashMap::new();
        let mut longest = 0;
        for start in 0..self.nodes.len() {
            let mut way = Vec::new();
            let mut here = u32::try_from(start).expect("fits");
            while here != NONE && steps[here as usize] == UNKNOWN {
                steps[here as usize] = ON_THE_WAY;
                way.push(here);
                here = self.nodes[here as usize].next;
            }
            let mut end = if here == NONE {
                // The exploration was cut short here.
                OPEN
            } else if steps[here as usize] == ON_THE_WAY {
                let first = way.iter().position(|state| *state == here).expect("it is on the way");
                match self.judge(&way[first..]) {
                    None => {
                        for state in way.drain(first..) {
                            steps[state as usize] = 0;
                        }
                        0
                    }
                    Some(wrong) => {
                        wrongs.insert(here, wrong);
                        DOOMED
                    }
                }
            } else {
                steps[here as usize]
            };
            for state in way.iter().rev() {
                if end < ON_THE_WAY {
                    end += 1;
                    longest = longest.max(end);
                }
                steps[*state as usize] = end;
            }
        }
        let doomed = steps.iter().position(|steps| *steps == DOOMED).map(|state| {
            let mut here = u32::try_from(state).expect("fits");
            while !wrongs.contains_key(&here) {
                here = self.nodes[here as usize].next;
            }
            let mut circle = vec![here];
            while self.nodes[*circle.last().expect("not empty") as usize].next != here {
                circle.push(self.nodes[*circle.last().expect("not empty") as usize].next);
            }
            Doom { state: u32::try_from(state).expect("fits"), wrong: wrongs[&here].clone(), circle }
        });
        Liveness { longest, doomed }
    }

    /// What is wrong with a circle, if anything is.
    fn judge(&self, circle: &[u32]) -> Option<String> {
        if let Some(wrong) = circle.iter().find_map(|state| self.unrest.get(state)) {
            return Some(wrong.clone());
        }
        if circle.iter().any(|state| self.nodes[*state as usize].effect) {
            return Some("I6: it never comes to rest".to_owned());
        }
        let rests = circle.iter().any(|state| self.nodes[*state as usize].at_rest);
        (!rests).then(|| "I7: it goes round in circles".to_owned())
    }
}
