//! The operator as the chart runs it: two replicas, one of which leads.

use std::time::Duration;

use anyhow::{Result, ensure};
use keeptrusts_harness::{Chart, ControlPlane, Launch, Operator, eventually};
use serde::{Deserialize, Serialize};

use crate::setup::Setup;
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
            ensure!(Metrics::of(&leader).await?.sum("keeptrusts_leader") > 0.0, "it stands by");
            Ok(())
        })
        .await?;
        let mut standby = Operator::start(&stage.cluster, chart, &launch).await?;
        standby.wait_ready(READY).await?;
        Ok(Self { leader, standby })
    }

    /// Starts both at once, as kubelet does, and doesn't wait.
    pub(crate) async fn begin(cluster: &ControlPlane, setup: &Setup, chart: &Chart) -> Result<Self> {
        let launch = Launch::new(&setup.operator, &setup.dir).program(PROGRAM);
        let (leader, standby) = tokio::try_join!(
            Operator::start(cluster, chart, &launch),
            Operator::start(cluster, chart, &launch)
        )?;
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
        end(&mut self.standby).await?;
        end(&mut self.leader).await
    }
}

/// Asks a replica to end, and waits.
pub(crate) async fn end(replica: &mut Operator) -> Result<()> {
    let status = replica.terminate(END).await?;
    ensure!(status.success(), "{} ended with {status}", replica.pod_name());
    Ok(())
}

/// What an operator tells at /metrics.
pub(crate) struct Metrics(String);

impl Metrics {
    pub(crate) async fn of(operator: &Operator) -> Result<Self> {
        let (status, text) = operator.get("metrics", "/metrics").await?;
        ensure!(status == 200, "/metrics answers {status}");
        Ok(Self(text))
    }

    /// The sum of a metric over its labels; zero where there is none yet.
    pub(crate) fn sum(&self, name: &str) -> f64 {
        let lines = self.0.lines().filter_map(|line| line.strip_prefix(name));
        let figures = lines.filter(|rest| rest.starts_with(['{', ' '])).filter_map(|rest| {
            let figure = rest.rsplit('}').next()?.split_whitespace().next()?;
            figure.parse::<f64>().ok()
        });
        // The sum of nothing would be minus zero.
        figures.fold(0.0, |sum, figure| sum + figure)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_metric_is_summed_over_its_labels() {
        let text = "# TYPE a counter\na_total{kind=\"x\"} 3\na_total{kind=\"}\"} 4\na_total_more 9\nb 1\n";
        let metrics = Metrics(text.to_owned());
        let sums = ["a_total", "b", "c"].map(|name| metrics.sum(name).to_string());
        assert_eq!(sums, ["7", "1", "0"]);
    }
}
