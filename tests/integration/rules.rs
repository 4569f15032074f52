//! The rules of the CRDs, on the API server.

use anyhow::{Result, ensure};
use keeptrusts_harness::suite::Context;

use crate::crds;

pub(crate) async fn every_rule_of_the_crds_holds(cx: Context) -> Result<()> {
    crds::install(&cx.client()).await.map_err(anyhow::Error::msg)?;
    let outcomes = crds::run_cases(cx.client(), cx.namespace.name()).await;
    let total = outcomes.len();
    let wrong: Vec<_> = outcomes
        .into_iter()
        .filter_map(|(name, outcome)| outcome.err().map(|error| format!("{name}: {error}")))
        .collect();
    ensure!(total > 500, "only {total} cases ran");
    ensure!(wrong.is_empty(), "{} of {total} cases: {wrong:#?}", wrong.len());
    Ok(())
}
