//! A model of the world around `decide`: an API server, a token API with lost and late calls and lagging lists, and two
//! processes that may die after any step. It runs the shipped `decide`, not a copy, and checks the invariants.
//!
//! It is explored in three ways: breadth first and completely within stated bounds (`configurations`; `refutations` leave
//! out one clause each), by random schedules without bounds (`random`), and along the traces that were found (`traces`).
//!
//! What it leaves out: more than one key, quotas, admission and RBAC (they only refuse), expiry, templates, a token API
//! that tells no prefix, altered names, a connection whose clock is skewed. A process at rest looks again at any change,
//! of status too; every process is told of a change at once unless it is slow or its cache is stale.

mod canon;
mod configurations;
mod explore;
mod graph;
mod outside;
mod process;
mod random;
mod refutations;
mod state;
mod traces;
mod world;
