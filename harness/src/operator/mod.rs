//! The operator under test, started from the rendered Deployment of its chart.
//!
//! Command, arguments, environment and mounted files are the Deployment's, and its rights are those of its `ServiceAccount`: a value
//! that the template forgets, or a verb that the role lacks, fails a test. What has to differ on a host:
//!
//! - **The program**: a binary of the host stands for the first word of the command (or the image's entrypoint, when there is none).
//! - **Mount paths**: in arguments and variables, a mount path or a path below it becomes one in a temporary folder.
//! - **Ports**: for each port that the container declares, an argument or variable has to say where to listen (`0.0.0.0:8081`,
//!   `:8081`, `8081`); it becomes a free port of 127.0.0.1, so that several operators can run at once.
//! - **The API server**: `KUBECONFIG` names a kubeconfig with a token of the `ServiceAccount`, in the place of the pod's own token.
//! - **The rest of the environment** is a container's: nothing is inherited but what Rust's coverage and backtraces need.

mod mapping;
mod mounts;
mod pod;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use self::mapping::{Mapping, arguments, expand};
use self::mounts::Mounted;
use self::pod::{PodFacts, PodTemplate};
use crate::chart::Chart;
use crate::control_plane::access::write_private;
use crate::namespace::unique_name;
use crate::net::{free_port, http_get};
use crate::process::Process;
use crate::wait::{eventually, hopeless};
use crate::{Cluster, ControlPlane};

/// Variables of the tests that the operator gets too; they change what is seen of it, not what it does.
const INHERITED: [&str; 2] = ["LLVM_PROFILE_FILE", "RUST_BACKTRACE"];

/// How an operator is started.
#[derive(Debug, Clone)]
pub struct Launch {
    binary: PathBuf,
    dir: PathBuf,
    program: Option<String>,
    container: Option<String>,
    env: BTreeMap<String, String>,
    args: Vec<String>,
    api_server: Option<String>,
}

impl Launch {
    /// Starts `binary`, with everything of it below `dir` (a test's [`Context::dir`](crate::suite::Context)).
    pub fn new(binary: impl Into<PathBuf>, dir: impl Into<PathBuf>) -> Self {
        let (binary, dir) = (binary.into(), dir.into());
        Self {
            binary,
            dir,
            program: None,
            container: None,
            env: BTreeMap::new(),
            args: vec![],
            api_server: None,
        }
    }

    /// What the program is called in the image: its whole path, or its file name. A command that names another is an error. Default:
    /// the binary's file name.
    #[must_use]
    pub fn program(mut self, in_image: &str) -> Self {
        self.program = Some(in_image.to_owned());
        self
    }

    /// Which container of the pod it is; needed when there are several.
    #[must_use]
    pub fn container(mut self, name: &str) -> Self {
        self.container = Some(name.to_owned());
        self
    }

    /// Where the operator finds the API server: the URL of a [`Proxy`](crate::Proxy) before it. Its token stays that of its
    /// `ServiceAccount`. Default: the API server itself.
    #[must_use]
    pub fn api_server(mut self, url: impl Into<String>) -> Self {
        self.api_server = Some(url.into());
        self
    }

    /// Sets a variable, over what the Deployment says. Paths and ports in it are those of the host.
    #[must_use]
    pub fn env(mut self, name: &str, value: &str) -> Self {
        self.env.insert(name.to_owned(), value.to_owned());
        self
    }

    /// Adds an argument after those of the Deployment. Paths and ports in it are those of the host.
    #[must_use]
    pub fn arg(mut self, arg: &str) -> Self {
        self.args.push(arg.to_owned());
        self
    }
}

/// A running operator. Dropping it kills it.
pub struct Operator {
    template: PodTemplate,
    mapping: Mapping,
    mounts: Vec<Mounted>,
    binary: PathBuf,
    args: Vec<String>,
    env: BTreeMap<String, String>,
    dir: PathBuf,
    log: PathBuf,
    process: Process,
}

impl Operator {
    /// Starts the operator of a chart that has been applied. It needn't be ready yet when this returns.
    ///
    /// # Errors
    /// When its pod couldn't start in a cluster (a Secret or `ServiceAccount` is missing, it would have no token), or when the Deployment
    /// uses something that the harness has no counterpart for.
    pub async fn start(cluster: &ControlPlane, chart: &Chart, launch: &Launch) -> Result<Self> {
        Self::from_deployment(cluster, chart.deployment()?, chart.namespace(), launch).await
    }

    /// [`Self::start`] from a Deployment of one's own.
    ///
    /// # Errors
    /// As [`Self::start`].
    pub async fn from_deployment(
        cluster: &ControlPlane,
        deployment: &serde_json::Value,
        namespace: &str,
        launch: &Launch,
    ) -> Result<Self> {
        Self::start_on(&cluster.cluster(), deployment, namespace, launch).await
    }

    /// [`Self::from_deployment`] against any cluster.
    ///
    /// # Errors
    /// As [`Self::start`].
    pub async fn start_on(
        cluster: &Cluster,
        deployment: &serde_json::Value,
        namespace: &str,
        launch: &Launch,
    ) -> Result<Self> {
        let Launch { binary, dir, program, container, env, args, api_server } = launch;
        let template = PodTemplate::read(deployment, namespace, container.as_deref(), unique_name)?;
        template.ensure_token(cluster).await?;
        let log = dir.join(format!("{}.log", template.facts.name));
        let dir = dir.join(&template.facts.name);

        let (mounts, paths) = mount(cluster, &template, &dir).await?;
        let mut ports = BTreeMap::new();
        for port in template.container.ports.iter().flatten() {
            ports.insert(template.port(&IntOrString::Int(port.container_port))?, free_port()?);
        }
        let mapping = Mapping { paths, ports };

        let variables = template.environment(cluster).await?;
        let file_name = binary.file_name().unwrap_or_default().to_string_lossy();
        let command = template.container.command.as_deref().unwrap_or_default();
        let given = template.container.args.as_deref().unwrap_or_default();
        let words = arguments(command, given, program.as_deref().unwrap_or(&file_name))?;
        let words: Vec<String> = words.iter().map(|word| expand(word, &variables)).collect();
        let values: Vec<String> = words.iter().chain(variables.values()).cloned().collect();
        if let Some(port) = mapping.unmapped_port(&values) {
            bail!(
                "the container declares port {port}, but no argument or variable says that it listens there"
            );
        }
        let args: Vec<String> =
            words.iter().map(|word| mapping.apply(word)).chain(args.iter().cloned()).collect();

        let kubeconfig = dir.join("kubeconfig");
        let PodFacts { name, namespace, service_account, .. } = &template.facts;
        let reached = api_server.as_deref().map_or_else(|| cluster.clone(), |server| cluster.at(server));
        let access = reached.service_account_kubeconfig(namespace, service_account).await?;
        write_private(&kubeconfig, &access)?;
        let mut environment = container_environment(name, &kubeconfig);
        environment.extend(variables.into_iter().map(|(name, value)| (name, mapping.apply(&value))));
        environment.extend(env.clone());

        let process = spawn(binary, &args, &environment, &dir, &log)?;
        let binary = binary.clone();
        Ok(Self { template, mapping, mounts, binary, args, env: environment, dir, log, process })
    }

    /// The name of its pod, as the downward API tells it; also its HOSTNAME.
    #[must_use]
    pub fn pod_name(&self) -> &str {
        &self.template.facts.name
    }

    /// Who it is for the API server, as the audit log names it.
    #[must_use]
    pub fn user(&self) -> String {
        let PodFacts { namespace, service_account, .. } = &self.template.facts;
        crate::audit::service_account(namespace, service_account)
    }

    /// The arguments it was started with.
    #[must_use]
    pub fn args(&self) -> &[String] {
        &self.args
    }

    /// Its process id.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.process.pid()
    }

    /// Where it listens in the place of a port of the container, given by name or number.
    ///
    /// # Errors
    /// When the container declares no such port.
    pub fn address(&self, port: &str) -> Result<SocketAddr> {
        let port = port.parse().map_or_else(|_| IntOrString::String(port.to_owned()), IntOrString::Int);
        let number = self.template.port(&port)?;
        let host =
            self.mapping.ports.get(&number).with_context(|| format!("the container has no port {number}"))?;
        Ok(([127, 0, 0, 1], *host).into())
    }

    /// What is at a path of one of its ports: status and body.
    ///
    /// # Errors
    /// When it doesn't answer within a second.
    pub async fn get(&self, port: &str, path: &str) -> Result<(u16, String)> {
        http_get(self.address(port)?, path).await
    }

    /// Waits until the Deployment's readiness probe succeeds.
    ///
    /// # Errors
    /// When the operator ends, isn't ready in time, or has no such probe.
    pub async fn wait_ready(&mut self, deadline: Duration) -> Result<()> {
        let probe = self.template.container.readiness_probe.clone().and_then(|probe| probe.http_get);
        let probe = probe.context("the Deployment has no readiness probe over HTTP")?;
        let path = probe.path.unwrap_or_else(|| "/".into());
        let address = self.address(&self.template.port(&probe.port)?.to_string())?;
        let process = &mut self.process;
        eventually(deadline, "the operator is ready", async || {
            process.ensure_running().map_err(hopeless)?;
            // Kubelet takes any status from 200 to 399.
            match http_get(address, &path).await? {
                (200..400, _) => Ok(()),
                (status, body) => bail!("{path}: {status} {body}"),
            }
        })
        .await
    }

    /// Reads the mounted Secrets and `ConfigMap`s anew, as kubelet does within a minute or so. Says whether anything had changed.
    ///
    /// # Errors
    /// When one is gone.
    pub async fn sync_mounts(&self, cluster: &ControlPlane) -> Result<bool> {
        let mut changed = false;
        let cluster = cluster.cluster();
        for mount in &self.mounts {
            changed |= mount.sync(&cluster, &self.template.facts).await?;
        }
        Ok(changed)
    }

    /// Kills it (SIGKILL), as an evicted node or the out-of-memory killer does, and waits until it is gone.
    ///
    /// # Errors
    /// When it can't be waited for.
    pub fn kill(&mut self) -> Result<ExitStatus> {
        self.process.kill()
    }

    /// Asks it to end (SIGTERM), as a rollout does, and waits. One that doesn't end in time is killed, and that is an error.
    ///
    /// # Errors
    /// When it doesn't end in time.
    pub async fn terminate(&mut self, patience: Duration) -> Result<ExitStatus> {
        self.process.terminate(patience).await
    }

    /// Asks it to end (SIGTERM) without waiting.
    ///
    /// # Errors
    /// When it has ended.
    pub fn ask_to_end(&mut self) -> Result<()> {
        self.process.ask_to_end()
    }

    /// Waits until it ends by itself, say after losing its lease.
    ///
    /// # Errors
    /// When it doesn't.
    pub async fn wait(&mut self, patience: Duration) -> Result<ExitStatus> {
        self.process.wait(patience).await
    }

    /// How it ended, or `None` while it runs.
    ///
    /// # Errors
    /// When the operating system doesn't know.
    pub fn exit_status(&mut self) -> Result<Option<ExitStatus>> {
        self.process.exit_status()
    }

    /// Freezes it (SIGSTOP), as a long pause of its machine does.
    ///
    /// # Errors
    /// When it has ended.
    pub fn pause(&mut self) -> Result<()> {
        self.process.pause()
    }

    /// Lets it go on.
    ///
    /// # Errors
    /// When it has ended.
    pub fn resume(&mut self) -> Result<()> {
        self.process.resume()
    }

    /// Starts it again as kubelet restarts a container: same pod, same arguments, same ports. A running one is killed first.
    ///
    /// # Errors
    /// When it can't be started.
    pub fn restart(&mut self) -> Result<()> {
        self.process.kill()?;
        self.process = spawn(&self.binary, &self.args, &self.env, &self.dir, &self.log)?;
        Ok(())
    }

    /// What it has written to both outputs, since its first start.
    ///
    /// # Errors
    /// When the log can't be read.
    pub fn log(&self) -> Result<String> {
        let bytes = std::fs::read(&self.log).with_context(|| format!("reading {}", self.log.display()))?;
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    }
}

/// Makes the folders of the volumes, and says what stands for each mount path.
async fn mount(
    cluster: &Cluster,
    template: &PodTemplate,
    dir: &Path,
) -> Result<(Vec<Mounted>, BTreeMap<String, PathBuf>)> {
    let mut mounts = Vec::new();
    for volume in template.spec.volumes.iter().flatten() {
        let place = dir.join("volumes").join(&volume.name);
        mounts.push(Mounted::create(cluster, &template.facts, volume.clone(), place).await?);
    }
    let mut paths = BTreeMap::new();
    for mount in template.container.volume_mounts.iter().flatten() {
        if !template.spec.volumes.iter().flatten().any(|volume| volume.name == mount.name) {
            bail!("the container mounts {}, which is no volume of the pod", mount.name);
        }
        let place = dir.join("volumes").join(&mount.name).join(mount.sub_path.as_deref().unwrap_or_default());
        paths.insert(mount.mount_path.trim_end_matches('/').to_owned(), place);
    }
    std::fs::create_dir_all(dir).with_context(|| format!("making {}", dir.display()))?;
    Ok((mounts, paths))
}

/// What a container runtime sets, and where the API server is.
fn container_environment(pod: &str, kubeconfig: &Path) -> BTreeMap<String, String> {
    let mut environment: BTreeMap<String, String> = INHERITED
        .into_iter()
        .filter_map(|name| std::env::var(name).ok().map(|value| (name.to_owned(), value)))
        .collect();
    for (name, value) in [
        ("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"),
        ("HOME", "/"),
        ("HOSTNAME", pod),
        ("KUBECONFIG", &kubeconfig.to_string_lossy()),
    ] {
        environment.insert(name.to_owned(), value.to_owned());
    }
    environment
}

fn spawn(
    binary: &Path,
    args: &[String],
    env: &BTreeMap<String, String>,
    dir: &Path,
    log: &Path,
) -> Result<Process> {
    let mut command = Command::new(binary);
    command.args(args).env_clear().envs(env).current_dir(dir);
    Process::spawn("the operator", &mut command, log)
}
