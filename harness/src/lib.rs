//! A real Kubernetes control plane for tests and the demo, without containers.
//!
//! See [`suite`] for how to write a test suite, [`ControlPlane`] for what runs, [`chart`] and [`operator`] for how the operator under
//! test is started from its own chart, [`proxy`] for faults between it and its servers.

mod apply;
pub mod audit;
pub mod chart;
mod cluster;
mod command;
mod commit;
mod control_plane;
mod kubelet;
mod namespace;
mod net;
pub mod operator;
mod process;
mod programs;
pub mod proxy;
pub mod reports;
pub mod suite;
mod wait;
mod watchdog;

pub use chart::{Chart, ChartOptions};
pub use cluster::Cluster;
pub use command::Tool;
pub use commit::commit;
pub use control_plane::{Component, ControlPlane, Options};
pub use kubelet::{Container, Kubelet};
pub use namespace::TestNamespace;
pub use net::{free_port, http_get};
pub use operator::{Launch, Operator};
pub use process::Process;
pub use programs::{Programs, cache_dir};
pub use proxy::{Match, Proxy, Rule, RuleHandle, Upstream};
pub use wait::{eventually, hopeless, stays};

/// Chooses ring for all of TLS in this process. Calling it again does nothing.
pub fn install_crypto_provider() {
    // An error means that one is installed already, which is what is wanted.
    let _ = rustls::crypto::ring::default_provider().install_default();
}
