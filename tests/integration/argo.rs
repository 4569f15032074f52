//! What Argo CD makes of objects, by its own code: `tests/gitops`.

use std::io::Write as _;
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, ensure};
use keeptrusts_operator::resources::Key;
use serde_json::{Value, json};

/// The customizations that users copy.
const CONFIG: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/examples/argocd/argocd-cm.yaml");

/// An answer of Argo CD, configured as `examples/argocd` says.
fn ask(request: &Value) -> Result<Value> {
    let program = concat!(env!("CARGO_MANIFEST_DIR"), "/target/argocd");
    let mut child = Command::new(program)
        .arg(CONFIG)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .with_context(|| format!("{program} isn't built: run `make argocd`"))?;
    child.stdin.take().context("no input")?.write_all(request.to_string().as_bytes())?;
    let output = child.wait_with_output()?;
    let text = String::from_utf8(output.stdout)?;
    ensure!(output.status.success(), "{text}");
    Ok(serde_json::from_str(&text)?)
}

/// A resource as the API server gives it.
pub(crate) fn object<K: Key>(key: &K) -> Result<Value> {
    let mut object = serde_json::to_value(key)?;
    object["apiVersion"] = json!(K::api_version(&()));
    object["kind"] = json!(K::kind(&()));
    Ok(object)
}

/// `Healthy`, `Progressing` or `Degraded`.
pub(crate) fn health(object: &Value) -> Result<String> {
    let health = ask(&json!({"health": object}))?;
    Ok(health["status"].as_str().context("no health")?.to_owned())
}

/// The actions that are offered.
pub(crate) fn actions(object: &Value) -> Result<Vec<String>> {
    Ok(serde_json::from_value(ask(&json!({"actions": object}))?)?)
}

/// The merge patch of an action.
pub(crate) fn action(name: &str, object: &Value) -> Result<Value> {
    ask(&json!({"action": {"name": name, "object": object}}))
}

/// Whether what lives is `OutOfSync` with what Git says.
pub(crate) fn is_out_of_sync(git: &Value, live: &Value) -> Result<bool> {
    ask(&json!({"diff": {"git": git, "live": live}}))?["outOfSync"].as_bool().context("no answer")
}
