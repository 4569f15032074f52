//! Everything stops, whatever happens.

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{Command, ExitCode};
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use keeptrusts_harness::suite::{Context, Suite};
use keeptrusts_harness::{Component, ControlPlane, Options, Process, eventually};

/// Makes this program run [`inner_suite`] in the folder that it names.
pub(crate) const INNER: &str = "KEEPTRUSTS_HARNESS_INNER_SUITE";

/// With other tests on the same two cores.
const SOON: Duration = Duration::from_mins(1);

/// A suite of two tests, one of which panics.
pub(crate) fn inner_suite(dir: &Path) -> ExitCode {
    Suite::new().logs(dir.join("kept")).tests(keeptrusts_harness::tests![panics, passes]).run()
}

async fn panics(cx: Context) -> Result<()> {
    note_pids(&cx.cluster)?;
    std::fs::write(cx.dir.join("operator.log"), "last words")?;
    // A task that is left behind holds the control plane for ever; it has to stop all the same.
    let cluster = std::sync::Arc::clone(&cx.cluster);
    tokio::spawn(async move {
        std::future::pending::<()>().await;
        drop(cluster);
    });
    panic!("on purpose");
}

async fn passes(cx: Context) -> Result<()> {
    note_pids(&cx.cluster)
}

fn note_pids(cluster: &ControlPlane) -> Result<()> {
    let dir = std::env::var_os(INNER).context("no folder")?;
    let pids: Vec<String> = cluster.pids().iter().map(ToString::to_string).collect();
    ensure!(pids.len() == 3, "{pids:?}");
    let noted = format!("{}\n{}", cluster.dir().display(), pids.join("\n"));
    Ok(std::fs::write(Path::new(&dir).join("pids"), noted)?)
}

/// Fails while the folder or a process that [`note_pids`] noted is there. A process that ended but isn't reaped counts as gone.
fn ensure_gone(noted: &Path) -> Result<()> {
    let noted = std::fs::read_to_string(noted)?;
    let mut lines = noted.lines();
    let folder = Path::new(lines.next().context("no folder")?);
    ensure!(!folder.exists(), "{} is there", folder.display());
    for pid in lines {
        let output = Command::new("ps").args(["-o", "stat=,command=", "-p", pid]).output()?;
        let state = String::from_utf8_lossy(&output.stdout).trim().to_owned();
        ensure!(state.is_empty() || state.starts_with('Z'), "{pid} runs: {state}");
    }
    Ok(())
}

pub(crate) async fn a_panic_stops_everything_and_keeps_the_logs(cx: Context) -> Result<()> {
    let mut command = Command::new(std::env::current_exe()?);
    command.env(INNER, &cx.dir);
    let mut inner = Process::spawn("the inner suite", &mut command, &cx.dir.join("inner.log"))?;
    let status = inner.wait(SOON).await?;
    assert_eq!(status.code(), Some(101), "a failed run says so");
    ensure_gone(&cx.dir.join("pids"))?;

    let report = std::fs::read_to_string(cx.dir.join("inner.log"))?;
    ensure!(report.contains("1 passed; 1 failed"), "{report}");
    ensure!(report.contains("panicked: on purpose"), "{report}");
    let kept = cx.dir.join("kept/panics");
    assert_eq!(std::fs::read_to_string(kept.join("operator.log"))?, "last words");
    for name in ["kube-apiserver.log", "kube-controller-manager.log", "etcd.log", "audit.log", "events.txt"] {
        ensure!(kept.join(name).is_file(), "no {name}");
    }
    ensure!(!cx.dir.join("kept/passes").exists(), "logs of a test that passed");
    Ok(())
}

pub(crate) async fn a_killed_run_leaves_no_process_behind(cx: Context) -> Result<()> {
    let dir = cx.dir.join("cluster");
    let mut command = Command::new(env!("CARGO_BIN_EXE_keeptrusts-cluster"));
    command.args(["up", "--crds", &format!("{}/crds", crate::CHART), "--dir"]).arg(&dir);
    let log = cx.dir.join("up.log");
    let mut up = Process::spawn("keeptrusts-cluster", &mut command, &log)?;
    let said = eventually(SOON, "the control plane is up", async || {
        up.ensure_running()?;
        let said = std::fs::read_to_string(&log)?;
        ensure!(said.contains("Ctrl-C stops it"), "{said}");
        Ok(said)
    })
    .await?;
    let kubeconfig = dir.join("kubeconfig");
    assert_eq!(kubeconfig.metadata()?.permissions().mode() & 0o777, 0o600);
    ensure!(dir.join("bin/helm").exists() && dir.join("bin/kubectl").exists());
    let crds =
        cx.cluster.kubectl().with_kubeconfig(&kubeconfig).run(&["get", "crds", "--output=name"]).await?;
    ensure!(crds.contains("widgets.harness.example.com"), "{crds}");

    let folder = said.split_whitespace().find(|word| word.contains("/keeptrusts-cluster-"));
    let folder = folder.context("no folder of logs")?.trim_end_matches('.');
    let children = Command::new("ps").args(["-A", "-o", "pid=,ppid="]).output()?;
    let children = String::from_utf8(children.stdout)?;
    let ours = up.pid().to_string();
    let children: Vec<&str> = children
        .lines()
        .filter_map(|line| line.trim().split_once(char::is_whitespace))
        .filter_map(|(pid, parent)| (parent.trim() == ours).then_some(pid))
        .collect();
    ensure!(children.len() == 4, "three servers and the watchdog: {children:?}");
    std::fs::write(cx.dir.join("pids"), format!("{folder}\n{}", children.join("\n")))?;

    up.kill()?;
    eventually(SOON, "nothing of it is left", async || ensure_gone(&cx.dir.join("pids"))).await
}

pub(crate) async fn the_api_server_stops_and_starts_and_freezes(_: Context) -> Result<()> {
    let cluster = ControlPlane::start(Options::default()).await?;
    let client = cluster.client();
    cluster.stop_api_server().await?;
    ensure!(client.apiserver_version().await.is_err(), "it answers");
    ensure!(cluster.stop_api_server().await.is_err(), "stopped twice");
    cluster.start_api_server().await?;
    client.apiserver_version().await?;
    cluster.kill_api_server()?;
    cluster.start_api_server().await?;

    cluster.pause(Component::ApiServer)?;
    let frozen = tokio::time::timeout(Duration::from_millis(500), client.apiserver_version()).await;
    ensure!(frozen.is_err(), "it answers");
    cluster.resume(Component::ApiServer)?;
    client.apiserver_version().await?;

    let pids = cluster.pids();
    cluster.stop();
    for pid in &pids {
        if Path::new(&format!("/proc/{pid}")).exists() {
            bail!("{pid} is there");
        }
    }
    Ok(())
}
