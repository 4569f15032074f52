//! Keeptrusts operator.
