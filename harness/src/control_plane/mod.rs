//! etcd, kube-apiserver and kube-controller-manager as processes of this machine.

pub(crate) mod access;
mod components;
mod start;

use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use k8s_openapi::api::core::v1::{ConfigMap, ServiceAccount};
use kube::api::Api;
use kube::{Client, Discovery};
use tempfile::TempDir;

use self::access::{Access, random_token, write_private};
pub use self::components::Component;
use self::components::Folder;
use self::start::{ready, start_api_server, start_etcd};
use crate::audit::AuditLog;
use crate::cluster::Cluster;
use crate::command::Tool;
use crate::process::Process;
use crate::wait::{eventually, hopeless};
use crate::{Programs, apply, watchdog};

/// Ten times what a start takes on two cores that do nothing else.
const START: Duration = Duration::from_mins(1);

/// How long a server may take to end by itself; then it is killed. All of them need less than a second, but for an API server with
/// watches open, which waits for them a minute. Nothing is lost with it: what it has confirmed is in etcd.
const STOP: Duration = Duration::from_secs(2);

/// How to start a control plane.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// Files or folders of CRDs. They are installed before the controller manager starts: its garbage collector looks for new kinds
    /// every 30 seconds only, and until then collects nothing that they own.
    pub crds: Vec<PathBuf>,
    /// More flags for kube-apiserver.
    pub api_server_args: Vec<String>,
    /// Whether the audit log is without bodies: for measurements, which mustn't pay for them.
    pub lean_audit: bool,
}

impl Options {
    /// Adds a file or folder of CRDs; a folder that doesn't exist is an error.
    #[must_use]
    pub fn crds(mut self, path: impl Into<PathBuf>) -> Self {
        self.crds.push(path.into());
        self
    }

    /// Leaves the bodies out of the audit log.
    #[must_use]
    pub fn lean_audit(self) -> Self {
        Self { lean_audit: true, ..self }
    }
}

/// A running control plane. [`Self::stop`], or dropping it, stops every process and removes the folder.
pub struct ControlPlane {
    programs: Programs,
    options: Options,
    running: Mutex<Running>,
    ports: Ports,
    admin: Access,
    client: Client,
    folder: Folder,
    // Dropped after `running`, whose processes write to it.
    temp: TempDir,
}

#[derive(Default)]
struct Running {
    etcd: Option<Process>,
    api_server: Option<Process>,
    controller_manager: Option<Process>,
}

#[derive(Clone, Copy)]
struct Ports {
    etcd: u16,
    api_server: u16,
}

impl Running {
    fn slot(&mut self, component: Component) -> &mut Option<Process> {
        match component {
            Component::Etcd => &mut self.etcd,
            Component::ApiServer => &mut self.api_server,
            Component::ControllerManager => &mut self.controller_manager,
        }
    }

    /// The controller manager first and etcd last: a server without its store answers with stream errors.
    fn stop(&mut self) {
        for component in Component::ALL.into_iter().rev() {
            if let Some(mut process) = self.slot(component).take() {
                process.stop(STOP);
            }
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.stop();
    }
}

impl ControlPlane {
    /// Starts a control plane and waits until it is ready. Without the programs at hand this builds them first, which takes minutes.
    ///
    /// # Errors
    /// When a program can't be had, or a server ends or isn't ready within a minute; the error shows the end of its log.
    pub async fn start(options: Options) -> Result<Self> {
        crate::install_crypto_provider();
        let programs = tokio::task::spawn_blocking(Programs::get).await.context("getting the programs")??;
        let temp =
            tempfile::Builder::new().prefix("keeptrusts-cluster-").tempdir().context("making a folder")?;
        watchdog::remove_at_the_end(temp.path())?;
        let folder = Folder(temp.path().to_owned());
        let (admin_token, controller_manager_token) = (random_token(), random_token());
        folder.prepare(&admin_token, &controller_manager_token, options.lean_audit)?;

        let mut running = Running::default();
        let (process, etcd) = start_etcd(&programs, &folder).await?;
        running.etcd = Some(process);
        let (process, api_server, admin) =
            start_api_server(&programs, &folder, &options, etcd, admin_token).await?;
        running.api_server = Some(process);
        let ports = Ports { etcd, api_server };
        let client = admin.client().await?;

        write_private(&folder.kubeconfig(), &admin.kubeconfig("default")?)?;
        let controller_manager = Access { token: controller_manager_token, ..admin.clone() };
        write_private(&folder.controller_manager_kubeconfig(), &controller_manager.kubeconfig("default")?)?;
        for path in &options.crds {
            apply::crds(&client, path).await?;
        }
        let cluster =
            Self { programs, options, running: Mutex::new(running), ports, admin, client, folder, temp };
        cluster.start_controller_manager().await?;
        Ok(cluster)
    }

    /// Stops everything: controller manager, API server, etcd, each waited for. Calling it again does nothing.
    pub fn stop(&self) {
        self.lock().stop();
    }

    /// A client with all rights, on the runtime that started the control plane.
    #[must_use]
    pub fn client(&self) -> Client {
        self.client.clone()
    }

    /// It, as what an operator can be started against.
    #[must_use]
    pub fn cluster(&self) -> Cluster {
        Cluster::new(self.client(), self.admin.server_of_kubeconfig())
    }

    /// The administrator's kubeconfig, which needs no other file.
    #[must_use]
    pub fn kubeconfig(&self) -> PathBuf {
        self.folder.kubeconfig()
    }

    /// The folder that everything of this control plane is in; it goes when the control plane does.
    #[must_use]
    pub fn dir(&self) -> &Path {
        self.temp.path()
    }

    /// The programs it runs.
    #[must_use]
    pub fn programs(&self) -> &Programs {
        &self.programs
    }

    /// The log of every request.
    #[must_use]
    pub fn audit(&self) -> AuditLog {
        AuditLog::new(self.folder.audit_log(), self.client())
    }

    /// The file that both outputs of a component go to.
    #[must_use]
    pub fn log_file(&self, component: Component) -> PathBuf {
        self.folder.log(component)
    }

    /// kubectl as the administrator.
    #[must_use]
    pub fn kubectl(&self) -> Tool {
        Tool::kubectl(&self.programs, &self.kubeconfig(), &self.folder.0.join("home"))
    }

    /// helm as the administrator.
    #[must_use]
    pub fn helm(&self) -> Tool {
        Tool::helm(&self.programs, &self.kubeconfig(), &self.folder.0.join("home"))
    }

    /// What the API server serves right now.
    ///
    /// # Errors
    /// When it doesn't answer.
    pub async fn discovery(&self) -> Result<Discovery> {
        Ok(Discovery::new(self.client()).run_aggregated().await?)
    }

    /// A token of a `ServiceAccount`, good for a day.
    ///
    /// # Errors
    /// When there is no such `ServiceAccount`.
    pub async fn service_account_token(
        &self,
        namespace: &str,
        name: &str,
        audiences: &[String],
    ) -> Result<String> {
        self.cluster().service_account_token(namespace, name, audiences).await
    }

    /// A kubeconfig with a token of a `ServiceAccount`, whose default namespace is the account's own.
    ///
    /// # Errors
    /// When there is no such `ServiceAccount`.
    pub async fn service_account_kubeconfig(&self, namespace: &str, name: &str) -> Result<String> {
        self.service_account_kubeconfig_at(&self.admin.server, namespace, name).await
    }

    /// [`Self::service_account_kubeconfig`] with another server, say a [`Proxy`](crate::Proxy).
    ///
    /// # Errors
    /// When there is no such `ServiceAccount`.
    pub async fn service_account_kubeconfig_at(
        &self,
        server: &str,
        namespace: &str,
        name: &str,
    ) -> Result<String> {
        self.cluster().at(server).service_account_kubeconfig(namespace, name).await
    }

    /// The administrator's kubeconfig with another server, say a [`Proxy`](crate::Proxy). kubectl and helm are no use with it: they send
    /// no token over plain HTTP.
    ///
    /// # Errors
    /// When it can't be written as YAML.
    pub fn kubeconfig_at(&self, server: &str) -> Result<String> {
        Access { server: server.to_owned(), ..self.admin.clone() }.kubeconfig("default")
    }

    /// A client with all rights that talks to another server, say a [`Proxy`](crate::Proxy), on the runtime that calls this. It repeats
    /// nothing by itself.
    ///
    /// # Errors
    /// When the server's URL is none.
    pub async fn client_at(&self, server: &str) -> Result<Client> {
        Access { server: server.to_owned(), ..self.admin.clone() }.client_without_retries().await
    }

    /// A client that is a `ServiceAccount`, with the rights that RBAC gives it.
    ///
    /// # Errors
    /// When there is no such `ServiceAccount`.
    pub async fn service_account_client(&self, namespace: &str, name: &str) -> Result<Client> {
        let token = self.service_account_token(namespace, name, &[]).await?;
        Access { token, ..self.admin.clone() }.client().await
    }

    /// The certificate of the API server in PEM, what pods find as `ca.crt`.
    #[must_use]
    pub fn certificate(&self) -> &[u8] {
        &self.admin.certificate
    }

    /// Where the API server is.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.admin.server
    }

    /// The process ids of what runs.
    #[must_use]
    pub fn pids(&self) -> Vec<u32> {
        let mut running = self.lock();
        Component::ALL.into_iter().filter_map(|part| running.slot(part).as_ref().map(Process::pid)).collect()
    }

    /// Stops the API server alone; clients see refused connections. Watches that are open may keep it up for two seconds.
    ///
    /// # Errors
    /// When it doesn't run.
    pub async fn stop_api_server(&self) -> Result<()> {
        self.stop_component(Component::ApiServer).await
    }

    /// Starts the API server again, on the same port and with the same certificate, and waits until it is ready.
    ///
    /// # Errors
    /// When it doesn't become ready.
    pub async fn start_api_server(&self) -> Result<()> {
        let command = &mut self.folder.api_server(
            &self.programs,
            self.ports.api_server,
            self.ports.etcd,
            &self.options.api_server_args,
        );
        self.spawn(Component::ApiServer, command)?;
        eventually(START, "the API server is ready", async || {
            self.ensure_running(Component::ApiServer)?;
            ready(&self.client).await
        })
        .await
    }

    /// Kills the API server with requests in flight (SIGKILL).
    ///
    /// # Errors
    /// When it doesn't run.
    pub fn kill_api_server(&self) -> Result<()> {
        let process = self.lock().api_server.take();
        process.context("the API server doesn't run")?.kill().map(drop)
    }

    /// Stops the controller manager alone: nothing is garbage collected, no Deployment rolls out.
    ///
    /// # Errors
    /// When it doesn't run.
    pub async fn stop_controller_manager(&self) -> Result<()> {
        self.stop_component(Component::ControllerManager).await
    }

    /// Starts the controller manager and waits until it works. A new one knows CRDs that were installed after the last one started.
    ///
    /// # Errors
    /// When it doesn't.
    pub async fn start_controller_manager(&self) -> Result<()> {
        self.spawn(Component::ControllerManager, &mut self.folder.controller_manager(&self.programs))?;
        // These two come from different controllers of it, and tests need both.
        let accounts: Api<ServiceAccount> = Api::namespaced(self.client(), "default");
        let config_maps: Api<ConfigMap> = Api::namespaced(self.client(), "default");
        eventually(START, "the controller manager makes ServiceAccounts", async || {
            self.ensure_running(Component::ControllerManager)?;
            accounts.get("default").await.context("ServiceAccount default/default")?;
            config_maps.get("kube-root-ca.crt").await.context("ConfigMap default/kube-root-ca.crt")?;
            Ok(())
        })
        .await
    }

    /// Freezes a component: connections stay open and nothing answers.
    ///
    /// # Errors
    /// When it doesn't run.
    pub fn pause(&self, component: Component) -> Result<()> {
        self.with(component, Process::pause)
    }

    /// Lets a frozen component go on.
    ///
    /// # Errors
    /// When it doesn't run.
    pub fn resume(&self, component: Component) -> Result<()> {
        self.with(component, Process::resume)
    }

    async fn stop_component(&self, component: Component) -> Result<()> {
        let process = self.lock().slot(component).take();
        let mut process = process.with_context(|| format!("{} doesn't run", component.name()))?;
        // Blocks a thread of the runtime for as long as it takes, so it has one of its own.
        tokio::task::spawn_blocking(move || process.stop(STOP)).await.context("stopping a component")
    }

    fn spawn(&self, component: Component, command: &mut std::process::Command) -> Result<()> {
        let mut running = self.lock();
        let slot = running.slot(component);
        if slot.is_some() {
            bail!("{} runs already", component.name());
        }
        *slot = Some(Process::spawn(component.name(), command, &self.folder.log(component))?);
        Ok(())
    }

    /// For use inside [`eventually`]: a component that has ended won't become ready.
    fn ensure_running(&self, component: Component) -> Result<()> {
        self.with(component, Process::ensure_running).map_err(hopeless)
    }

    fn with<T>(&self, component: Component, act: impl FnOnce(&mut Process) -> Result<T>) -> Result<T> {
        let mut running = self.lock();
        act(running.slot(component).as_mut().with_context(|| format!("{} doesn't run", component.name()))?)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Running> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
