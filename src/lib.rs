//! An operator that gives Kubernetes `AccessKey` and `GatewayKey` resources: it mints, rotates and revokes Keeptrusts
//! API tokens and keeps their one-time values in Secrets, safe against a crash at any step.

pub mod clock;
pub mod config;
pub mod controller;
pub mod drain;
mod fair;
#[cfg(any(test, feature = "fuzzing"))]
#[doc(hidden)]
pub mod fuzzing;
pub mod health;
pub mod leader;
pub mod lifecycle;
pub mod metrics;
pub mod orphans;
pub mod reference;
pub mod resources;
pub mod selector;
mod serving;
mod table;
pub mod telemetry;
pub mod token_api;
pub mod traces;
