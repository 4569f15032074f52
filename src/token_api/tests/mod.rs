//! The client against real servers on loopback.

mod calls;
mod canary;
mod files;
mod inventory;
mod lists;
mod metrics;
mod mint;
mod once;
mod server;
mod tls;
