//! What the program says: on standard output, and in a file that is searched for values like every other log.

use std::fs::File;
use std::io::Write as _;
use std::path::Path;
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use anyhow::{Context as _, Result};

/// Standard output and a file.
pub(crate) struct Transcript {
    start: Instant,
    file: Mutex<File>,
}

impl Transcript {
    /// Begins a file in a folder that is there.
    pub(crate) fn begin(dir: &Path) -> Result<Self> {
        let path = dir.join("chaos.log");
        let file = File::create(&path).with_context(|| format!("making {}", path.display()))?;
        Ok(Self { start: Instant::now(), file: Mutex::new(file) })
    }

    /// A line for whoever watches, and for the file.
    pub(crate) fn say(&self, line: &str) {
        println!("{line}");
        self.note(line);
    }

    /// A line for the file alone.
    pub(crate) fn note(&self, line: &str) {
        let seconds = self.start.elapsed().as_secs_f32();
        let mut file = self.file.lock().unwrap_or_else(PoisonError::into_inner);
        // A full disk is found by the logs of everything else.
        let _ = writeln!(file, "{} {seconds:8.3} {line}", jiff::Timestamp::now());
    }
}
