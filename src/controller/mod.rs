//! Everything around the pure core that touches Kubernetes. Only the executor writes.

pub mod secrets;
