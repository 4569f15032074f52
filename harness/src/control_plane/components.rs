//! The command lines of the three servers.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result};

use super::access::write_private;
use crate::Programs;

/// The parts of the control plane, in the order in which they start; they stop in the opposite one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Component {
    /// The store.
    Etcd,
    /// The API server.
    ApiServer,
    /// Garbage collector, namespaces, `ServiceAccount`s, workloads.
    ControllerManager,
}

impl Component {
    pub(crate) const ALL: [Self; 3] = [Self::Etcd, Self::ApiServer, Self::ControllerManager];

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Etcd => "etcd",
            Self::ApiServer => "kube-apiserver",
            Self::ControllerManager => "kube-controller-manager",
        }
    }
}

/// The folder of one control plane.
#[derive(Debug, Clone)]
pub(super) struct Folder(pub(super) PathBuf);

impl Folder {
    pub(super) fn certificate(&self) -> PathBuf {
        self.0.join("certificates/apiserver.crt")
    }

    pub(super) fn audit_log(&self) -> PathBuf {
        self.0.join("audit.log")
    }

    pub(super) fn kubeconfig(&self) -> PathBuf {
        self.0.join("kubeconfig")
    }

    pub(super) fn controller_manager_kubeconfig(&self) -> PathBuf {
        self.0.join("controller-manager.kubeconfig")
    }

    pub(super) fn log(&self, component: Component) -> PathBuf {
        self.0.join("logs").join(format!("{}.log", component.name()))
    }

    fn signing_key(&self) -> PathBuf {
        self.0.join("service-account.key")
    }

    /// Writes what the servers read: the key that signs the tokens of `ServiceAccount`s, the two static tokens, the audit policy.
    pub(super) fn prepare(
        &self,
        admin_token: &str,
        controller_manager_token: &str,
        lean_audit: bool,
    ) -> Result<()> {
        for dir in ["etcd", "certificates", "logs", "home"] {
            std::fs::create_dir_all(self.0.join(dir)).with_context(|| format!("making {dir}"))?;
        }
        let key = rcgen::KeyPair::generate().context("making the key of the ServiceAccounts")?;
        write_private(&self.signing_key(), &key.serialize_pem())?;
        write_private(&self.0.join("service-account.pub"), &key.public_key_pem())?;
        // Both are administrators; two names, so that the audit log tells them apart.
        let tokens = format!(
            "{admin_token},harness:admin,1,\"system:masters\"\n\
             {controller_manager_token},harness:controller-manager,2,\"system:masters\"\n"
        );
        write_private(&self.0.join("tokens.csv"), &tokens)?;
        let policy = include_str!("audit-policy.yaml");
        let policy =
            if lean_audit { policy.replace("RequestResponse", "Metadata") } else { policy.to_owned() };
        write_private(&self.0.join("audit-policy.yaml"), &policy)
    }

    pub(super) fn etcd(&self, programs: &Programs, client_port: u16, peer_port: u16) -> Command {
        let client = format!("http://127.0.0.1:{client_port}");
        let peer = format!("http://127.0.0.1:{peer_port}");
        let mut command = self.command(&programs.etcd);
        command
            .arg("--data-dir")
            .arg(self.0.join("etcd"))
            .args(["--listen-client-urls", &client, "--advertise-client-urls", &client])
            .args(["--listen-peer-urls", &peer, "--initial-advertise-peer-urls", &peer])
            .args(["--initial-cluster", &format!("default={peer}")])
            // The data needn't survive the machine, and tests write much.
            .arg("--unsafe-no-fsync");
        command
    }

    pub(super) fn api_server(
        &self,
        programs: &Programs,
        port: u16,
        etcd_port: u16,
        extra: &[String],
    ) -> Command {
        let file = |flag: &str, name: &str| format!("--{flag}={}", self.0.join(name).display());
        let mut command = self.command(&programs.kube_apiserver);
        command
            .args([
                format!("--etcd-servers=http://127.0.0.1:{etcd_port}"),
                format!("--secure-port={port}"),
                "--bind-address=127.0.0.1".into(),
                // By default it looks for an interface of the host that isn't loopback, which a sandbox may lack …
                "--advertise-address=127.0.0.1".into(),
                // … and publishes it, which validation refuses for a loopback address.
                "--endpoint-reconciler-type=none".into(),
                file("cert-dir", "certificates"),
                "--service-account-issuer=https://kubernetes.default.svc".into(),
                file("service-account-key-file", "service-account.pub"),
                file("service-account-signing-key-file", "service-account.key"),
                "--authorization-mode=Node,RBAC".into(),
                file("token-auth-file", "tokens.csv"),
                "--service-cluster-ip-range=10.0.0.0/24".into(),
                file("audit-policy-file", "audit-policy.yaml"),
                format!("--audit-log-path={}", self.audit_log().display()),
                // Never rotated (in MB): a test reads from an offset.
                "--audit-log-maxsize=100000".into(),
            ])
            .args(extra);
        command
    }

    pub(super) fn controller_manager(&self, programs: &Programs) -> Command {
        let mut command = self.command(&programs.kube_controller_manager);
        command
            .arg(format!("--kubeconfig={}", self.controller_manager_kubeconfig().display()))
            .arg(format!("--service-account-private-key-file={}", self.signing_key().display()))
            // Published into every namespace, as a real cluster does it (kube-root-ca.crt).
            .arg(format!("--root-ca-file={}", self.certificate().display()))
            .arg("--leader-elect=false")
            // No node's kubelet tells how it is, and none is to be called lost.
            .arg("--controllers=*,-node-lifecycle-controller,-taint-eviction-controller")
            // Each controller by its own name and with its own rights, as in a real cluster: admission policies tell them apart.
            .arg("--use-service-account-credentials=true")
            // Nobody asks it for anything, and a second control plane would want the same port.
            .arg("--secure-port=0")
            // Its default of 20 a second is for clusters that share it; a test would wait for the garbage collector.
            .args(["--kube-api-qps=500", "--kube-api-burst=1000"]);
        command
    }

    fn command(&self, program: &Path) -> Command {
        let mut command = Command::new(program);
        command.current_dir(&self.0);
        command
    }
}
