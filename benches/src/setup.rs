//! What a run is given.

use std::path::PathBuf;
use std::time::Duration;

/// External Secrets Operator.
#[derive(Debug, Clone)]
pub(crate) struct Peer {
    /// Its program.
    pub(crate) program: PathBuf,
    /// The file of its CRDs.
    pub(crate) crds: PathBuf,
}

/// How everything is set up.
#[derive(Debug, Clone)]
pub(crate) struct Setup {
    /// The operator's program.
    pub(crate) operator: PathBuf,
    /// The emulator's program.
    pub(crate) emulator: PathBuf,
    /// External Secrets Operator, if it is measured.
    pub(crate) peer: Option<Peer>,
    /// The repository's root, where the chart and the CRDs are.
    pub(crate) root: PathBuf,
    /// Where logs go.
    pub(crate) dir: PathBuf,
    /// How many keys, one size after the other.
    pub(crate) keys: Vec<usize>,
    pub(crate) rounds: usize,
    /// How long the operator is left alone before its memory is taken.
    pub(crate) settle: Duration,
    /// How long the operator is watched while it has nothing to do.
    pub(crate) idle: Duration,
    /// How many Secrets of others there are.
    pub(crate) foreign: usize,
    /// How long nothing may be finished before a run is given up.
    pub(crate) patience: Duration,
}
