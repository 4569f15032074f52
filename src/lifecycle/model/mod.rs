//! A model of the world around `decide`: an API server, a token API with lost and late calls and lagging lists, and two
//! processes that may die after any step. It runs the shipped `decide`, not a copy, and checks the invariants.
//!
//! What it leaves out: one key; quotas, admission and RBAC (they only refuse); values that the API never tells.

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
