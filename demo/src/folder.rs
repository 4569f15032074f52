//! The demo's folder: what it needs while it runs, and what it leaves when it fails.

use std::fs::{File, TryLockError};
use std::io::Write as _;
use std::os::unix::fs::{OpenOptionsExt as _, symlink};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};

use crate::tools::{Clients, PROGRAM};

/// A folder that one demo has for itself. What stands in it for the time of the demo goes when this is dropped; logs stay.
pub(crate) struct Folder {
    /// As it was named, for commands that a reader types.
    given: PathBuf,
    /// From the root, for processes that run elsewhere.
    root: PathBuf,
    /// Held for as long as the demo runs.
    _lock: File,
}

impl Folder {
    /// Makes the folder, or takes it over from a demo that has ended.
    pub(crate) fn take(dir: &Path) -> Result<Self> {
        std::fs::create_dir_all(dir).with_context(|| format!("making {}", dir.display()))?;
        let root = dir.canonicalize().with_context(|| format!("finding {}", dir.display()))?;
        let path = root.join("lock");
        let lock = File::create(&path).with_context(|| format!("opening {}", path.display()))?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                bail!("another demo is running in {}: end it, or give --dir another folder", dir.display())
            }
            Err(TryLockError::Error(error)) => {
                return Err(error).with_context(|| format!("locking {}", path.display()));
            }
        }
        let folder = Self { given: dir.to_owned(), root, _lock: lock };
        folder.tidy();
        std::fs::remove_dir_all(folder.logs()).ok();
        std::fs::create_dir_all(folder.run()).context("making the folder of the run")?;
        Ok(folder)
    }

    /// Where the operator's files are: its mounts, its kubeconfig, its log.
    pub(crate) fn run(&self) -> PathBuf {
        self.root.join("run")
    }

    /// Where logs are kept when the demo fails.
    pub(crate) fn logs(&self) -> PathBuf {
        self.root.join("logs")
    }

    /// The folder as a reader would type it.
    pub(crate) fn as_given(&self) -> &Path {
        &self.given
    }

    /// The folder from the root.
    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    /// Writes the operator's own API token into a file for its owner's eyes only, and says how a reader would type its name.
    pub(crate) fn write_credential(&self, credential: &str) -> Result<String> {
        let path = self.root.join("api-token");
        let file =
            std::fs::OpenOptions::new().create(true).write(true).truncate(true).mode(0o600).open(&path);
        file.and_then(|mut file| file.write_all(credential.as_bytes()))
            .with_context(|| format!("writing {}", path.display()))?;
        Ok(self.given.join("api-token").display().to_string())
    }

    /// Leaves a kubeconfig, and in bin/ kubectl, helm and the operator's program, for the reader.
    pub(crate) fn leave_for_the_reader(
        &self,
        kubeconfig: &Path,
        clients: &Clients,
        operator: &Path,
    ) -> Result<()> {
        let (copy, bin) = (self.root.join("kubeconfig"), self.root.join("bin"));
        std::fs::create_dir_all(&bin).with_context(|| format!("making {}", bin.display()))?;
        let programs = [("kubectl", clients.kubectl.as_path()), ("helm", &clients.helm), (PROGRAM, operator)];
        for (name, program) in programs {
            let link = bin.join(name);
            symlink(program, &link).with_context(|| format!("linking {}", link.display()))?;
        }
        // Its mode comes along: it is for its owner's eyes only.
        std::fs::copy(kubeconfig, &copy).with_context(|| format!("writing {}", copy.display()))?;
        Ok(())
    }

    /// Removes what is of use only while the demo runs.
    fn tidy(&self) {
        // What isn't there needn't be removed.
        std::fs::remove_dir_all(self.run()).ok();
        std::fs::remove_dir_all(self.root.join("bin")).ok();
        std::fs::remove_file(self.root.join("api-token")).ok();
        std::fs::remove_file(self.root.join("kubeconfig")).ok();
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        self.tidy();
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn one_demo_has_the_folder_and_takes_its_credential_along() {
        let dir = tempfile::tempdir().unwrap();
        let folder = Folder::take(dir.path()).unwrap();
        assert!(Folder::take(dir.path()).is_err_and(|error| error.to_string().contains("another demo")));
        let token = folder.write_credential("not a real token").unwrap();
        assert_eq!(std::fs::metadata(&token).unwrap().permissions().mode() & 0o777, 0o600);
        drop(folder);
        assert!(!Path::new(&token).exists() && !dir.path().join("run").exists());
        Folder::take(dir.path()).unwrap();
    }
}
