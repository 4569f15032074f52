//! A child process with a log file, that can be stopped, paused and waited for, and that never outlives us.

use std::fs::{File, OpenOptions};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use rustix::io::retry_on_intr;
use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, kill_process_group, waitid};

use crate::watchdog;

/// How often a process is asked whether it has ended: short beside the time that any of them takes to end.
const POLL: Duration = Duration::from_millis(10);

/// How much of a log an error shows.
const TAIL_LINES: usize = 25;

/// A running child process, in a process group of its own. Dropping it kills it.
#[derive(Debug)]
pub struct Process {
    name: String,
    child: Child,
    log: PathBuf,
    ended: Option<ExitStatus>,
}

impl Process {
    /// Starts `command` with both of its outputs appended to `log`.
    ///
    /// # Errors
    /// When the log can't be opened or the program can't be started.
    pub fn spawn(name: &str, command: &mut Command, log: &Path) -> Result<Self> {
        let out = open_log(log)?;
        let err = out.try_clone().context("duplicating the log's handle")?;
        let child = command
            .stdin(Stdio::null())
            .stdout(out)
            .stderr(err)
            .process_group(0)
            .spawn()
            .with_context(|| format!("starting {name} ({})", command.get_program().display()))?;
        let process = Self { name: name.to_owned(), child, log: log.to_owned(), ended: None };
        watchdog::watch(process.pid())?;
        Ok(process)
    }

    /// The process id, which is the id of its group too.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// The file that both outputs go to.
    #[must_use]
    pub fn log_file(&self) -> &Path {
        &self.log
    }

    /// How the process ended, or `None` while it runs.
    ///
    /// # Errors
    /// When the operating system doesn't know.
    pub fn exit_status(&mut self) -> Result<Option<ExitStatus>> {
        if self.ended.is_none() {
            self.ended =
                self.child.try_wait().with_context(|| format!("asking for the state of {}", self.name))?;
            if self.ended.is_some() {
                watchdog::forget(self.pid());
            }
        }
        Ok(self.ended)
    }

    /// An error with the end of the log, if the process has ended.
    ///
    /// # Errors
    /// When the process has ended.
    pub fn ensure_running(&mut self) -> Result<()> {
        if let Some(status) = self.exit_status()? {
            bail!("{} ended ({status}). The end of {}:\n{}", self.name, self.log.display(), tail(&self.log));
        }
        Ok(())
    }

    /// Sends a signal to the process and its children.
    ///
    /// # Errors
    /// When the process has ended.
    pub fn signal(&mut self, signal: Signal) -> Result<()> {
        self.ensure_running()?;
        self.send(signal)
    }

    /// Stops the process in its tracks (SIGSTOP): its connections stay open and nothing answers. It has stopped when this returns.
    ///
    /// # Errors
    /// When the process has ended.
    pub fn pause(&mut self) -> Result<()> {
        self.signal(Signal::STOP)?;
        // The signal is on its way only: on a busy machine the process went on for milliseconds, long enough to answer a request. Its
        // end is looked for too, so that this returns, and left for `exit_status` to find.
        let stopped = WaitIdOptions::STOPPED | WaitIdOptions::EXITED | WaitIdOptions::NOWAIT;
        retry_on_intr(|| waitid(WaitId::Pid(Pid::from_child(&self.child)), stopped))
            .with_context(|| format!("waiting until {} has stopped", self.name))?;
        self.ensure_running()
    }

    /// Lets a paused process go on (SIGCONT).
    ///
    /// # Errors
    /// When the process has ended.
    pub fn resume(&mut self) -> Result<()> {
        self.signal(Signal::CONT)
    }

    /// Kills the process (SIGKILL) and waits until it is gone.
    ///
    /// # Errors
    /// When it can't be waited for.
    pub fn kill(&mut self) -> Result<ExitStatus> {
        if let Some(status) = self.exit_status()? {
            return Ok(status);
        }
        self.send(Signal::KILL)?;
        let status = self.child.wait().with_context(|| format!("waiting for the end of {}", self.name))?;
        watchdog::forget(self.pid());
        self.ended = Some(status);
        Ok(status)
    }

    /// Asks the process to end (SIGTERM) and waits; after `patience` it is killed and that is an error.
    ///
    /// # Errors
    /// When the process didn't end in time.
    pub async fn terminate(&mut self, patience: Duration) -> Result<ExitStatus> {
        if self.exit_status()?.is_none() {
            self.ask_to_end()?;
        }
        let start = Instant::now();
        loop {
            if let Some(status) = self.exit_status()? {
                return Ok(status);
            }
            if start.elapsed() > patience {
                self.kill()?;
                bail!("{} didn't end within {patience:?} of SIGTERM and was killed", self.name);
            }
            tokio::time::sleep(POLL).await;
        }
    }

    /// Waits until the process ends by itself.
    ///
    /// # Errors
    /// When it still runs after `patience`; it is left running.
    pub async fn wait(&mut self, patience: Duration) -> Result<ExitStatus> {
        let start = Instant::now();
        loop {
            if let Some(status) = self.exit_status()? {
                return Ok(status);
            }
            if start.elapsed() > patience {
                bail!(
                    "{} still runs after {patience:?}. The end of its log:\n{}",
                    self.name,
                    tail(&self.log)
                );
            }
            tokio::time::sleep(POLL).await;
        }
    }

    /// [`Self::terminate`] for places that can't await: SIGTERM, then SIGKILL after `patience`.
    pub(crate) fn stop(&mut self, patience: Duration) {
        if self.ask_to_end().is_ok() {
            let start = Instant::now();
            while matches!(self.exit_status(), Ok(None)) && start.elapsed() < patience {
                std::thread::sleep(POLL);
            }
        }
        let _ = self.kill();
    }

    /// Asks the process to end (SIGTERM) without waiting.
    ///
    /// # Errors
    /// When it can't be signalled.
    pub fn ask_to_end(&mut self) -> Result<()> {
        self.send(Signal::TERM)?;
        // A paused process gets its SIGTERM when it goes on.
        self.send(Signal::CONT)
    }

    fn send(&self, signal: Signal) -> Result<()> {
        kill_process_group(Pid::from_child(&self.child), signal)
            .with_context(|| format!("sending {signal:?} to {}", self.name))
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.kill();
    }
}

fn open_log(path: &Path) -> Result<File> {
    if let Some(dir) = path.parent() {
        std::fs::create_dir_all(dir).with_context(|| format!("making {}", dir.display()))?;
    }
    OpenOptions::new()
        .create(true)
        .append(true)
        .open(path)
        .with_context(|| format!("opening the log {}", path.display()))
}

/// The last lines of a log, or why it can't be read.
pub(crate) fn tail(log: &Path) -> String {
    match std::fs::read(log) {
        Ok(bytes) => {
            let text = String::from_utf8_lossy(&bytes);
            let lines: Vec<&str> = text.lines().collect();
            lines[lines.len().saturating_sub(TAIL_LINES)..].join("\n")
        }
        Err(error) => format!("(no log: {error})"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The state letter of `/proc`.
    #[cfg(target_os = "linux")]
    fn state(process: &Process) -> String {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", process.pid())).unwrap();
        stat.rsplit(") ").next().unwrap()[..1].to_owned()
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn a_paused_process_has_stopped() {
        let dir = tempfile::tempdir().unwrap();
        let mut command = Command::new("sh");
        command.args(["-c", "while :; do :; done"]);
        let mut process = Process::spawn("a busy one", &mut command, &dir.path().join("log")).unwrap();
        for round in 0..50 {
            process.pause().unwrap();
            assert_eq!(state(&process), "T", "round {round}");
            process.pause().unwrap();
            process.resume().unwrap();
        }
        process.pause().unwrap();
        process.kill().unwrap();
        assert!(process.pause().is_err(), "it has ended");
    }
}
