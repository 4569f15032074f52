//! What this process uses, by the names that every exporter of Prometheus gives it.

use std::fmt;
use std::sync::OnceLock;

use procfs::ProcResult;
use procfs::process::{LimitValue, Process};
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric as _};
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::Unit;

/// Read from /proc at scrape.
#[derive(Debug, Default)]
pub(super) struct ProcessCollector {
    /// Since the epoch, in seconds. It is read once: the kernel computes it anew from a clock that is adjusted.
    started: OnceLock<f64>,
}

struct Usage {
    cpu: f64,
    resident: u64,
    virtual_: u64,
    open: usize,
    most: u64,
    threads: i64,
    started: f64,
}

// Counts far below what a float or a gauge can hold.
#[allow(clippy::cast_precision_loss)]
fn usage() -> ProcResult<Usage> {
    let process = Process::myself()?;
    let stat = process.stat()?;
    let ticks = procfs::ticks_per_second() as f64;
    let most = match process.limits()?.max_open_files.soft_limit {
        LimitValue::Value(most) => most,
        LimitValue::Unlimited => u64::MAX,
    };
    Ok(Usage {
        cpu: (stat.utime + stat.stime) as f64 / ticks,
        resident: stat.rss * procfs::page_size(),
        virtual_: stat.vsize,
        open: process.fd_count()?,
        most,
        threads: stat.num_threads,
        started: procfs::boot_time_secs()? as f64 + stat.starttime as f64 / ticks,
    })
}

impl Collector for ProcessCollector {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        // Where /proc can't be read there is nothing to tell, and everything else is told all the same.
        let Ok(usage) = usage() else { return Ok(()) };
        let Usage { cpu, resident, virtual_, open, most, threads, started } = usage;
        let cpu = ConstCounter::new(cpu);
        let help = "Processor time that this process has used, in user mode and in the kernel.";
        cpu.encode(encoder.encode_descriptor(
            "process_cpu",
            help,
            Some(&Unit::Seconds),
            cpu.metric_type(),
        )?)?;
        let started = ConstGauge::new(*self.started.get_or_init(|| started));
        let help = "When this process started.";
        let name = "process_start_time";
        started.encode(encoder.encode_descriptor(
            name,
            help,
            Some(&Unit::Seconds),
            started.metric_type(),
        )?)?;
        for (name, help, unit, value) in [
            ("process_resident_memory", "Memory that is resident.", Some(Unit::Bytes), clamped(resident)),
            ("process_virtual_memory", "Memory that is mapped.", Some(Unit::Bytes), clamped(virtual_)),
            ("process_open_fds", "Open files.", None, clamped(open)),
            ("process_max_fds", "Files that may be open.", None, clamped(most)),
            ("process_threads", "Threads.", None, threads),
        ] {
            let gauge = ConstGauge::new(value);
            gauge.encode(encoder.encode_descriptor(name, help, unit.as_ref(), gauge.metric_type())?)?;
        }
        Ok(())
    }
}

fn clamped<N: TryInto<i64>>(number: N) -> i64 {
    number.try_into().unwrap_or(i64::MAX)
}
