//! Keeps the table of tokens over a restart.
//!
//! Values aren't in the file, only their hashes: that is enough for `whoami` to recognise them.

use std::fs;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use tempfile::NamedTempFile;

use crate::store::{Store, Stored};

/// Raised when an older emulator couldn't read what a newer one wrote.
const VERSION: u32 = 1;

/// Where the table is kept.
#[derive(Debug, Clone)]
pub(crate) struct StateFile(PathBuf);

#[derive(Serialize)]
struct Out<'a> {
    version: u32,
    tokens: Vec<&'a Stored>,
}

#[derive(Deserialize)]
struct In {
    version: u32,
    tokens: Vec<Stored>,
}

impl StateFile {
    pub(crate) fn new(path: PathBuf) -> Self {
        Self(path)
    }

    /// The table in the file; an empty one if there is no file.
    pub(crate) fn load(&self) -> io::Result<Store> {
        let text = match fs::read(&self.0) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Store::default()),
            Err(error) => return Err(error),
        };
        let In { version, tokens } = serde_json::from_slice(&text)?;
        if version != VERSION {
            return Err(io::Error::other(format!("a state file of version {version}, not {VERSION}")));
        }
        Ok(Store::restored(tokens))
    }

    /// Replaces the file in one step: after a crash it holds the old table or the new one. It's only for its owner.
    pub(crate) fn save(&self, store: &Store) -> io::Result<()> {
        let folder = match self.0.parent() {
            Some(parent) if parent != Path::new("") => parent,
            _ => Path::new("."),
        };
        let mut file = NamedTempFile::new_in(folder)?;
        serde_json::to_writer_pretty(&mut file, &Out { version: VERSION, tokens: store.stored().collect() })?;
        file.write_all(b"\n")?;
        file.as_file().sync_all()?;
        file.persist(&self.0)?;
        Ok(())
    }
}
