//! The pure core: what a key's lifecycle demands next, decided from what was observed.
//!
//! Nothing here does I/O, reads a clock or draws a random number: whoever calls says what is so, and performs the step
//! that comes back.

mod absence;
mod adoption;
mod clauses;
mod decide;
#[cfg(test)]
mod decide_tests;
mod deletion;
pub mod desired;
mod drift;
pub mod duration;
mod ending;
pub mod listing;
pub mod memory;
#[cfg(test)]
mod model;
pub mod naming;
pub mod observed;
pub mod orphans;
mod recovery;
mod restore;
mod revocation;
pub mod rollout;
pub mod schedule;
pub mod settled;
pub mod status;
pub mod step;
mod superseded;
pub mod template;
pub mod time;
pub mod token;
mod upkeep;
pub mod windows;

pub use decide::decide;
