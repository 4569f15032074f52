//! What the figures were made on.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context as _, Result};
use procfs::Current as _;
use serde::{Deserialize, Serialize};

use crate::stage::Stage;

/// A machine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct Machine {
    /// Its processor, as Linux names it.
    pub(crate) cpu: String,
    pub(crate) cores: usize,
    pub(crate) memory_gib: u64,
    pub(crate) kernel: String,
}

impl Machine {
    /// This one.
    pub(crate) fn here() -> Result<Self> {
        let cpus = procfs::CpuInfo::current().context("reading /proc/cpuinfo")?;
        let memory = procfs::Meminfo::current().context("reading /proc/meminfo")?;
        let kernel = procfs::sys::kernel::Version::current().context("reading the kernel's version")?;
        Ok(Self {
            cpu: cpus.model_name(0).unwrap_or("unknown").to_owned(),
            cores: cpus.num_cores(),
            memory_gib: memory.mem_total.div_ceil(1 << 30),
            kernel: format!("{}.{}.{}", kernel.major, kernel.minor, kernel.patch),
        })
    }
}

/// What the programs say that they are.
pub(crate) fn versions(stage: &Stage) -> Result<BTreeMap<String, String>> {
    let programs = stage.cluster.programs();
    let all = [
        ("kube-apiserver", &programs.kube_apiserver),
        ("etcd", &programs.etcd),
        ("keeptrusts-operator", &stage.setup.operator),
    ];
    let version = |(name, program): (&str, &PathBuf)| {
        let output = Command::new(program).arg("--version").output();
        let output = output.with_context(|| format!("asking {name} for its version"))?;
        let text = String::from_utf8_lossy(&output.stdout);
        let first = text.lines().next().unwrap_or_default();
        let number = first.rsplit(' ').next().unwrap_or_default();
        Ok((name.to_owned(), number.to_owned()))
    };
    all.into_iter().map(version).collect()
}
