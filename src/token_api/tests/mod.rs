//! Tests with real servers.
