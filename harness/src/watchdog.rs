//! Makes sure that nothing outlives this process, however it ends.
//!
//! `Drop` stops the programs after a panic, but not after SIGKILL, an abort or a second Ctrl-C. A shell holds the reading end of a
//! pipe; the kernel closes the writing end when this process ends, and the shell then kills what is still registered. (The
//! parent-death signal of Linux won't do: it fires when the *thread* that started a child ends, and tokio ends its threads.)

use std::io::Write as _;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{ChildStdin, Command, Stdio};
use std::sync::{Mutex, OnceLock, PoisonError};

use anyhow::{Context as _, Result};

/// Reads `add PID`, `del PID` and `dir PATH`, and at the end of its input kills the process groups and removes the folders.
/// A folder may still be written to while its processes die, hence the second attempt.
const SCRIPT: &str = r#"
pids='' dirs=''
while read -r verb arg; do
  case $verb in
    add) pids="$arg $pids" ;;
    del) kept=''; for pid in $pids; do [ "$pid" = "$arg" ] || kept="$kept $pid"; done; pids=$kept ;;
    dir) dirs="$dirs$arg
" ;;
  esac
done
for pid in $pids; do kill -KILL "-$pid"; done
printf '%s' "$dirs" | while read -r dir; do
  [ ! -d "$dir" ] || rm -rf -- "$dir" || { sleep 1; rm -rf -- "$dir"; }
done
"#;

static WATCHDOG: OnceLock<Mutex<ChildStdin>> = OnceLock::new();

/// Registers a process group; it is killed when this process ends without having called [`forget`].
pub(crate) fn watch(process_group: u32) -> Result<()> {
    tell(&format!("add {process_group}"))
}

/// Takes a process group off the list, because it ended and its number may be given to another.
pub(crate) fn forget(process_group: u32) {
    // Without a watchdog there is nothing to forget; a broken pipe means that it has ended.
    let _ = tell(&format!("del {process_group}"));
}

/// Registers a temporary folder of our own making, to be removed when this process ends.
pub(crate) fn remove_at_the_end(dir: &Path) -> Result<()> {
    tell(&format!("dir {}", dir.display()))
}

fn tell(line: &str) -> Result<()> {
    let stdin = if let Some(stdin) = WATCHDOG.get() {
        stdin
    } else {
        let started = start()?;
        // Another thread may have been quicker; the watchdog too many ends when its input is dropped here.
        WATCHDOG.get_or_init(|| Mutex::new(started))
    };
    let mut stdin = stdin.lock().unwrap_or_else(PoisonError::into_inner);
    writeln!(stdin, "{line}").context("telling the watchdog")
}

fn start() -> Result<ChildStdin> {
    let mut child = Command::new("/bin/sh")
        .args(["-c", SCRIPT, "keeptrusts-harness-watchdog"])
        .stdin(Stdio::piped())
        // Whoever reads our output must not wait for the watchdog.
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        // Ctrl-C at a terminal reaches the whole foreground group; the watchdog has to survive it.
        .process_group(0)
        .spawn()
        .context("starting the watchdog's shell")?;
    child.stdin.take().context("the watchdog's shell has no input")
}
