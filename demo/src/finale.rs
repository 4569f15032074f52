//! After the story: on a terminal everything stays up for the reader to play with.

use anyhow::Result;
use keeptrusts_harness::Operator;

use crate::stage::Stage;

/// Tells what the reader can do now.
pub(crate) fn invite(stage: &Stage) -> Result<()> {
    let (system, shop) = (&stage.names.system, &stage.names.shop);
    stage.narrator.part("Yours until Ctrl-C")?;
    stage.narrator.tell("Everything still runs. In another terminal, in this folder:")?;
    let mut lines = Vec::new();
    if let Some(kubeconfig) = &stage.kubeconfig {
        lines.push(format!("export KUBECONFIG={}", kubeconfig.display()));
    } else {
        lines.push(format!("export KUBECONFIG={}", stage.folder.root().join("kubeconfig").display()));
        lines.push(format!("export PATH={}:$PATH", stage.folder.root().join("bin").display()));
    }
    lines.push(format!("kubectl apply -n {shop} -f examples/accesskey.yaml"));
    lines.push(format!("kubectl get accesskeys -n {shop} --watch"));
    lines.push(format!("kubectl events -n {shop}"));
    lines.push(format!("curl -s {}/admin/tokens", stage.api()?.url()));
    stage.narrator.literal(&lines)?;
    let pod = stage.operators.first().map_or("*", Operator::pod_name);
    let log = stage.folder.run().join(format!("{pod}.log"));
    stage.narrator.tell(&format!("The operator's log is {}; the chart is in {system}.", log.display()))?;
    stage.narrator.tell("Ctrl-C stops everything and cleans up.")?;
    Ok(())
}

/// Stays until an operator ends, which it shouldn't.
pub(crate) async fn stay(stage: &mut Stage) -> anyhow::Error {
    stage.operator_ended().await
}
