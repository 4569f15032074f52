//! The Keeptrusts token API as a small program and library.
