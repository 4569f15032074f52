//! What a process uses, as Linux counts it.

use std::time::Duration;

use anyhow::{Context as _, Result};
use procfs::process::{FDTarget, Process};
use serde::{Deserialize, Serialize};

use crate::statistics::rounded;

/// What a process has used so far, and holds now.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct Usage {
    /// Processor time in user mode and in the kernel, in seconds, to a hundredth.
    pub(crate) cpu_seconds: f64,
    /// The most memory that was resident since the last [`forget_peak`], in KiB.
    pub(crate) peak_kib: u64,
    /// Memory that is resident, in KiB.
    pub(crate) resident_kib: u64,
    /// Open sockets, those that listen too.
    pub(crate) sockets: usize,
}

impl Usage {
    /// The same with the processor time since `earlier`.
    pub(crate) fn since(self, earlier: Self) -> Self {
        Self { cpu_seconds: rounded(self.cpu_seconds - earlier.cpu_seconds), ..self }
    }
}

/// What a process uses.
pub(crate) fn of(pid: u32) -> Result<Usage> {
    let read = || -> Result<Usage> {
        let process = Process::new(i32::try_from(pid)?)?;
        let status = process.status()?;
        let sockets = process.fd()?.flatten().filter(|fd| matches!(fd.target, FDTarget::Socket(_))).count();
        Ok(Usage {
            cpu_seconds: seconds(&process)?,
            peak_kib: status.vmhwm.context("no VmHWM")?,
            resident_kib: status.vmrss.context("no VmRSS")?,
            sockets,
        })
    };
    read().with_context(|| format!("reading what process {pid} uses"))
}

/// The processor time of several processes together, in seconds.
pub(crate) fn cpu(pids: &[u32]) -> Result<f64> {
    pids.iter().map(|pid| seconds(&Process::new(i32::try_from(*pid)?)?)).sum()
}

/// Begins to measure the peak of a process anew.
pub(crate) fn forget_peak(pid: u32) -> Result<()> {
    // See proc(5), clear_refs: 5 resets the peak.
    std::fs::write(format!("/proc/{pid}/clear_refs"), "5").context("resetting a process's peak")
}

fn seconds(process: &Process) -> Result<f64> {
    let stat = process.stat()?;
    let ticks = Duration::from_secs(stat.utime + stat.stime);
    Ok(ticks.as_secs_f64() / Duration::from_secs(procfs::ticks_per_second()).as_secs_f64())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_uses_memory_and_a_busy_one_time() {
        let pid = std::process::id();
        let before = of(pid).unwrap();
        assert!(before.resident_kib > 0 && before.peak_kib >= before.resident_kib / 2);
        while cpu(&[pid]).unwrap() < before.cpu_seconds + 0.02 {
            std::hint::black_box(vec![0_u8; 4096]);
        }
        assert!(of(pid).unwrap().since(before).cpu_seconds >= 0.01);
    }
}
