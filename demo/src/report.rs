//! What a failure leaves and tells: what was expected and seen, the keys as they were, and where the logs are.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use keeptrusts_harness::Component;

use crate::narrator::complain;
use crate::stage::Stage;

/// How much of an operator's log is shown.
const TAIL: usize = 15;

/// The components of the control plane.
const COMPONENTS: [Component; 3] = [Component::Etcd, Component::ApiServer, Component::ControllerManager];

/// The keys with what their conditions say, in a table.
const CONDITIONS: &str = "custom-columns=NAME:.metadata.name,\
    SPEC:.metadata.generation,SEEN:.status.observedGeneration,\
    READY:.status.conditions[?(@.type==\"Ready\")].status,\
    REASON:.status.conditions[?(@.type==\"Ready\")].reason,\
    MESSAGE:.status.conditions[?(@.type==\"Ready\")].message";

/// Tells of a failure on standard error, and keeps the logs.
pub(crate) async fn failed(stage: &mut Stage, error: &anyhow::Error) {
    complain(&format!("\nFAILED\n{error:#}"));
    // Without a cluster there is nothing more to be told.
    if stage.tools.is_none() {
        return;
    }
    match keep(stage).await {
        Ok(()) => {
            complain(&format!("\nThe logs are in {}.", stage.folder.as_given().join("logs").display()));
        }
        Err(why) => complain(&format!("\nThe logs can't be kept: {why:#}")),
    }
    for operator in &stage.operators {
        let Ok(log) = operator.log() else { continue };
        let lines: Vec<&str> = log.lines().collect();
        let nothing = if lines.is_empty() { " it wrote nothing" } else { "" };
        complain(&format!("The end of the operator's ({}):{nothing}", operator.pod_name()));
        for line in &lines[lines.len().saturating_sub(TAIL)..] {
            complain(&format!("  {line}"));
        }
    }
}

/// Copies the logs, and writes down the keys and events. No Secret is among them.
async fn keep(stage: &mut Stage) -> Result<()> {
    let logs = stage.folder.logs();
    std::fs::create_dir_all(&logs).with_context(|| format!("making {}", logs.display()))?;
    for file in log_files(stage)? {
        if let Some(name) = file.file_name() {
            std::fs::copy(&file, logs.join(name)).with_context(|| format!("copying {}", file.display()))?;
        }
    }
    // The operator may be the one that failed by ending; these commands need none.
    let tools = stage.tools.clone().context("there is no cluster")?;
    let kinds = "accesskeys,gatewaykeys";
    let shop = stage.names.shop.as_str();
    for (file, words) in [
        ("keys.yaml", ["kubectl", "get", kinds, "-n", shop, "-o", "yaml"]),
        ("keys.txt", ["kubectl", "get", kinds, "-n", shop, "-o", CONDITIONS]),
        ("events.txt", ["kubectl", "get", "events", "-n", shop, "-o", "wide"]),
    ] {
        let reply = tools.run(&words).await?;
        std::fs::write(logs.join(file), format!("{}{}", reply.stdout, reply.stderr))
            .with_context(|| format!("writing {file}"))?;
        // The first line has the columns' names.
        if file == "keys.txt" && reply.succeeded && reply.stdout.lines().count() > 1 {
            complain(&format!("\nThe keys:\n{}", reply.stdout.trim_end()));
        }
    }
    Ok(())
}

fn log_files(stage: &Stage) -> Result<Vec<PathBuf>> {
    let run = stage.folder.run();
    let mut files: Vec<PathBuf> = std::fs::read_dir(&run)
        .with_context(|| format!("listing {}", run.display()))?
        .filter_map(|entry| entry.ok().map(|entry| entry.path()))
        .filter(|path| path.extension().is_some_and(|end| end == "log"))
        .collect();
    if let Some(control_plane) = &stage.control_plane {
        files.extend(COMPONENTS.map(|component| control_plane.log_file(component)));
    }
    files.retain(|file: &PathBuf| Path::is_file(file));
    Ok(files)
}
