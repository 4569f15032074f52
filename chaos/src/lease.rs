//! Who leads, where one of several operators does.

use std::time::Duration;

use anyhow::{Context as _, Result};
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::coordination::v1::Lease;
use kube::api::Api;
use serde_json::{Value, json};

use crate::stage::{LEASE, SYSTEM, Stage};

/// How long a Lease lasts. Short, so that a run sees many takeovers, and shorter than [`REST`](crate::stage::REST): what rests for so long
/// has a leader that looks.
const DURATION: Duration = Duration::from_secs(4);
const RENEW_DEADLINE: Duration = Duration::from_secs(3);
const RETRY_PERIOD: Duration = Duration::from_secs(1);

/// What an operator logs when it begins to lead.
const BEGINS: &str = "this replica leads";

/// The chart's values.
pub(crate) fn values(enabled: bool) -> Value {
    let seconds = |time: Duration| format!("{}s", time.as_secs());
    json!({
        "enabled": enabled,
        "leaseDuration": seconds(DURATION),
        "renewDeadline": seconds(RENEW_DEADLINE),
        "retryPeriod": seconds(RETRY_PERIOD),
    })
}

/// How often whoever wrote a log has begun to lead.
pub(crate) fn terms(log: &str) -> usize {
    log.matches(BEGINS).count()
}

/// Whether one leads.
pub(crate) fn is_elected(stage: &Stage) -> bool {
    !stage.ways.is_empty()
}

/// The process that leads, as the Lease names it; none if it hasn't renewed the Lease in time, or if all act at once.
pub(crate) async fn leader(stage: &Stage) -> Result<Option<String>> {
    if !is_elected(stage) {
        return Ok(None);
    }
    let leases: Api<Lease> = Api::namespaced(stage.client.clone(), SYSTEM);
    let lease = leases.get_opt(LEASE).await.context("reading the Lease")?;
    let Some(spec) = lease.and_then(|lease| lease.spec) else { return Ok(None) };
    let (Some(holder), Some(renewed)) = (spec.holder_identity, spec.renew_time) else { return Ok(None) };
    let age = Timestamp::now().duration_since(renewed.0);
    let fresh = age < SignedDuration::try_from(DURATION).context("a Lease that lasts too long")?;
    Ok(Some(holder).filter(|_| fresh))
}
