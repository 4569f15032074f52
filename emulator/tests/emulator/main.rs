//! The emulator over real HTTP, as a client sees it.

#![allow(clippy::unwrap_used, reason = "these are tests, helpers too")]

mod admin;
mod client;
mod endpoints;
mod faults;
mod lists;
mod process;
mod records;
mod shapes;
mod state;
