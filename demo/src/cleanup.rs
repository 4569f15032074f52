//! Takes everything away again: the processes, and from a reader's cluster what the demo made there.

use std::time::Duration;

use anyhow::Result;
use keeptrusts_harness::Operator;

use crate::failure::Failure;
use crate::install::CRDS;
use crate::stage::Stage;

/// How long the operator may take to end by itself. What it has under way ends within a second here.
const END: Duration = Duration::from_secs(10);

/// Both kinds, for kubectl.
const KINDS: &str = "accesskeys.keys.keeptrusts.com,gatewaykeys.keys.keeptrusts.com";

/// A merge patch that lets a key go without its tokens being revoked.
const LET_GO: &str = r#"{"metadata":{"finalizers":null}}"#;

/// Cleans up. An error names what is left.
pub(crate) async fn clean_up(stage: &mut Stage) -> Result<()> {
    stage.narrator.carry_on();
    // Taken from the stage: there its end would be a failure, and the rest wouldn't be cleaned up.
    let mut operators = std::mem::take(&mut stage.operators);
    let mut left = Vec::new();
    if stage.kubeconfig.is_some() && (stage.made.release || !stage.made.namespaces.is_empty()) {
        stage.narrator.part("Cleaning up")?;
        left = clean_the_cluster(stage, &mut operators).await;
    } else {
        // The control plane goes as a whole, and the emulator with its tokens; one that must be killed does no harm.
        terminate(&mut operators).await;
    }
    // Blocks for a second or two. Nothing else is to be done by now.
    stage.control_plane = None;
    if left.is_empty() {
        return Ok(());
    }
    Err(Failure::error(
        "that nothing is left in the cluster",
        format!("this may be left: {}", left.join("; ")),
    ))
}

/// Ends the replicas.
async fn terminate(operators: &mut [Operator]) {
    for operator in operators {
        operator.terminate(END).await.ok();
    }
}

/// What a cleaning up that was broken off may have left.
pub(crate) fn may_be_left(stage: &Stage) -> String {
    if stage.kubeconfig.is_none() {
        // The control plane and what is in it ends with this process.
        return "Nothing is left.".to_owned();
    }
    let mut left = Vec::new();
    if stage.made.release {
        left.push(format!("the release {} in {}", stage.names.release, stage.names.system));
    }
    if !stage.made.namespaces.is_empty() {
        left.push(format!("the namespaces {}", stage.made.namespaces.join(" and ")));
    }
    if stage.made.crds {
        left.push(format!("the CRDs {}", CRDS.join(" and ")));
    }
    format!("This may be left: {}.", left.join("; "))
}

/// Keys first, while the operator still takes their finalizers off; then the operator, the chart, the namespaces and the CRDs. What
/// can't be removed doesn't keep the rest from being removed.
async fn clean_the_cluster(stage: &mut Stage, operators: &mut [Operator]) -> Vec<String> {
    let names = stage.names.clone();
    let mut left = Vec::new();
    if keys_may_be_there(stage).await
        && let Err(error) = delete_keys(stage, operators).await
    {
        left.push(format!("the keys of {} ({error:#})", names.shop));
    }
    terminate(operators).await;
    if stage.made.release {
        let words = ["helm", "uninstall", &names.release, "--namespace", &names.system, "--ignore-not-found"];
        if stage.run(&words).await.is_err() {
            left.push(format!("the release {} in {}", names.release, names.system));
        }
    }
    if !stage.made.namespaces.is_empty() {
        let namespaces = stage.made.namespaces.clone();
        let mut words = vec!["kubectl", "delete", "namespace", "--ignore-not-found", "--timeout=120s"];
        words.extend(namespaces.iter().map(String::as_str));
        if stage.run(&words).await.is_err() {
            left.push(format!("the namespaces {}", namespaces.join(", ")));
        }
    }
    if stage.made.crds {
        match delete_crds(stage).await {
            Ok(true) => {}
            Ok(false) => {
                let told = "The CRDs that the demo installed stay: somebody has made keys since. A later helm install of the chart takes \
                            them over with --take-ownership, or leaves them with --set crds.enabled=false.";
                // It carries on by now.
                stage.narrator.tell(told).ok();
            }
            Err(_) => left.push(format!("the CRDs {}", CRDS.join(" and "))),
        }
    }
    left
}

async fn keys_may_be_there(stage: &mut Stage) -> bool {
    let names = stage.names.clone();
    if !stage.made.namespaces.contains(&names.shop) {
        return false;
    }
    let words = ["kubectl", "get", "crd", CRDS[0], CRDS[1], "--ignore-not-found", "-o", "name"];
    // When in doubt they are looked for.
    stage.look(&words).await.map_or(true, |found| !found.trim().is_empty())
}

/// Deletes the keys of the demo's namespace. Without an operator that revokes, they are let go: their tokens are the emulator's alone,
/// which goes with this process.
async fn delete_keys(stage: &mut Stage, operators: &mut [Operator]) -> Result<()> {
    let shop = stage.names.shop.clone();
    let runs = operators.iter_mut().any(|operator| matches!(operator.exit_status(), Ok(None)));
    let wait = if runs { "--timeout=30s" } else { "--wait=false" };
    let deleted = stage.run(&["kubectl", "delete", KINDS, "--all", "-n", &shop, wait]).await;
    let left = stage.look(&["kubectl", "get", KINDS, "-n", &shop, "-o", "name"]).await?;
    for resource in left.lines() {
        stage.run(&["kubectl", "patch", resource, "-n", &shop, "--type=merge", "-p", LET_GO]).await?;
    }
    if left.is_empty() { deleted.map(drop) } else { Ok(()) }
}

/// Removes the CRDs, unless there are keys of somebody else. Says whether they were removed.
async fn delete_crds(stage: &mut Stage) -> Result<bool> {
    let crds = ["kubectl", "get", "crd", CRDS[0], CRDS[1], "--ignore-not-found", "-o", "name"];
    if stage.look(&crds).await?.trim().is_empty() {
        return Ok(true);
    }
    if !stage.look(&["kubectl", "get", KINDS, "-A", "-o", "name"]).await?.trim().is_empty() {
        return Ok(false);
    }
    let words = ["kubectl", "delete", "crd", CRDS[0], CRDS[1], "--ignore-not-found", "--timeout=60s"];
    stage.run(&words).await?;
    Ok(true)
}
