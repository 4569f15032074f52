//! The operator as the chart runs it: two replicas, one of which leads.

use std::time::Duration;

use anyhow::{Result, ensure};
use keeptrusts_harness::{Chart, Launch, Operator, eventually};
use serde::{Deserialize, Serialize};

use crate::stage::Stage;
use crate::usage::{self, Usage};

/// The operator's program in the chart's image.
const PROGRAM: &str = "/usr/local/bin/keeptrusts-operator";

/// Longer than a start with all keys takes.
const READY: Duration = Duration::from_mins(2);

/// How long a replica may take to end; nothing is under way then.
const END: Duration = Duration::from_secs(30);

/// What both replicas use.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct Uses {
    pub(crate) leader: Usage,
    pub(crate) standby: Usage,
}

impl Uses {
    /// The same with the processor time since `earlier`.
    pub(crate) fn since(self, earlier: Self) -> Self {
        Self { leader: self.leader.since(earlier.leader), standby: self.standby.since(earlier.standby) }
    }
}

/// The two replicas.
pub(crate) struct Fleet {
    pub(crate) leader: Operator,
    pub(crate) standby: Operator,
}

impl Fleet {
    /// Starts both, the second once the first leads.
    pub(crate) async fn start(stage: &Stage, chart: &Chart) -> Result<Self> {
        let launch = Launch::new(&stage.setup.operator, &stage.setup.dir).program(PROGRAM);
        let mut leader = Operator::start(&stage.cluster, chart, &launch).await?;
        leader.wait_ready(READY).await?;
        eventually(READY, "the first replica leads", async || {
            let leads = metric(&leader, "keeptrusts_leader").await?;
            ensure!(leads > 0.0, "keeptrusts_leader is {leads}");
            Ok(())
        })
        .await?;
        let mut standby = Operator::start(&stage.cluster, chart, &launch).await?;
        standby.wait_ready(READY).await?;
        Ok(Self { leader, standby })
    }

    /// What both use.
    pub(crate) fn uses(&self) -> Result<Uses> {
        Ok(Uses { leader: usage::of(self.leader.pid())?, standby: usage::of(self.standby.pid())? })
    }

    /// Begins to measure both peaks anew.
    pub(crate) fn forget_peaks(&self) -> Result<()> {
        usage::forget_peak(self.leader.pid())?;
        usage::forget_peak(self.standby.pid())
    }

    /// Asks both to end, and waits.
    pub(crate) async fn stop(mut self) -> Result<()> {
        for replica in [&mut self.standby, &mut self.leader] {
            let status = replica.terminate(END).await?;
            ensure!(status.success(), "{} ended with {status}", replica.pod_name());
        }
        Ok(())
    }
}

/// The sum of a metric over its labels.
pub(crate) async fn metric(operator: &Operator, name: &str) -> Result<f64> {
    let (_, text) = operator.get("metrics", "/metrics").await?;
    let mut sum = 0.0;
    let mut found = false;
    for line in text.lines() {
        let Some(rest) = line.strip_prefix(name).filter(|rest| rest.starts_with(['{', ' '])) else {
            continue;
        };
        let figure = rest.rsplit('}').next().unwrap_or_default().split_whitespace().next();
        if let Some(figure) = figure.and_then(|figure| figure.parse::<f64>().ok()) {
            sum += figure;
            found = true;
        }
    }
    ensure!(found, "the operator has no metric {name}");
    Ok(sum)
}
