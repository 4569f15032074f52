//! The pure core: what a key's lifecycle demands next, decided from what was observed.
//!
//! Nothing here does I/O, reads a clock or draws a random number: whoever calls says what is so, and performs the step
//! that comes back.

pub mod listing;
pub mod naming;
pub mod time;
pub mod token;
