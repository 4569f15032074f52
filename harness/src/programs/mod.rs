//! The programs of the control plane: found where the user has them, else in the cache, else built from their Go modules.
//!
//! `tools/control-plane/go.mod` pins them. Nothing is downloaded but Go modules, whose hashes are in `go.sum`.

mod build;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};

pub use build::cache_dir;

/// One program, its package, and how long its build took on two cores with nothing cached (it is what the progress line promises).
#[derive(Debug, Clone, Copy)]
pub(crate) struct Program {
    pub(crate) name: &'static str,
    pub(crate) package: &'static str,
    pub(crate) module: &'static str,
    pub(crate) usually: &'static str,
    /// Whether the convention of `KUBEBUILDER_ASSETS` knows it.
    pub(crate) in_assets: bool,
}

/// In the order in which they are built: each after the first shares most packages with the one before.
pub(crate) const PROGRAMS: [Program; 5] = [
    Program {
        name: "kube-apiserver",
        package: "k8s.io/kubernetes/cmd/kube-apiserver",
        module: KUBERNETES,
        usually: "8 minutes",
        in_assets: true,
    },
    Program {
        name: "kube-controller-manager",
        package: "k8s.io/kubernetes/cmd/kube-controller-manager",
        module: KUBERNETES,
        usually: "4 minutes",
        in_assets: false,
    },
    Program {
        name: "kubectl",
        package: "k8s.io/kubernetes/cmd/kubectl",
        module: KUBERNETES,
        usually: "half a minute",
        in_assets: true,
    },
    Program {
        name: "etcd",
        package: "go.etcd.io/etcd/server/v3",
        module: "go.etcd.io/etcd/server/v3",
        usually: "half a minute",
        in_assets: true,
    },
    Program {
        name: "helm",
        package: "helm.sh/helm/v4/cmd/helm",
        module: "helm.sh/helm/v4",
        usually: "2 minutes",
        in_assets: false,
    },
];

/// The module whose version the programs of Kubernetes report.
pub(crate) const KUBERNETES: &str = "k8s.io/kubernetes";

/// Where the five programs are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Programs {
    /// The API server.
    pub kube_apiserver: PathBuf,
    /// Garbage collection, namespaces, `ServiceAccount`s, Deployments and quotas.
    pub kube_controller_manager: PathBuf,
    /// The command line client.
    pub kubectl: PathBuf,
    /// The API server's store.
    pub etcd: PathBuf,
    /// Renders the chart.
    pub helm: PathBuf,
}

impl Programs {
    /// Finds the programs, and builds those that aren't there. Progress goes to standard error, one line at a time. The first build
    /// takes minutes; every later call takes about a tenth of a second.
    ///
    /// # Errors
    /// When Go is missing or too old, or a build fails.
    pub fn get() -> Result<Self> {
        let mut paths = found_or_built(|_| true)?;
        let mut take = |name: &str| paths.remove(name).with_context(|| format!("no {name}"));
        Ok(Self {
            kube_apiserver: take("kube-apiserver")?,
            kube_controller_manager: take("kube-controller-manager")?,
            kubectl: take("kubectl")?,
            etcd: take("etcd")?,
            helm: take("helm")?,
        })
    }

    /// kubectl and helm alone, for a cluster that runs already; as [`Self::get`].
    ///
    /// # Errors
    /// As [`Self::get`].
    pub fn clients() -> Result<[PathBuf; 2]> {
        let names = ["kubectl", "helm"];
        let mut paths = found_or_built(|program| names.contains(&program.name))?;
        let mut take = |name: &str| paths.remove(name).with_context(|| format!("no {name}"));
        Ok([take(names[0])?, take(names[1])?])
    }

    /// Every program with its name.
    pub fn iter(&self) -> impl Iterator<Item = (&'static str, &Path)> {
        let Self { kube_apiserver, kube_controller_manager, kubectl, etcd, helm } = self;
        [
            ("kube-apiserver", kube_apiserver.as_path()),
            ("kube-controller-manager", kube_controller_manager),
            ("kubectl", kubectl),
            ("etcd", etcd),
            ("helm", helm),
        ]
        .into_iter()
    }
}

fn found_or_built(wanted: impl Fn(&Program) -> bool) -> Result<BTreeMap<&'static str, PathBuf>> {
    let assets = std::env::var_os("KUBEBUILDER_ASSETS").map(PathBuf::from);
    let mut paths = in_assets(assets.as_deref());
    let missing = |program: &Program| wanted(program) && !paths.contains_key(program.name);
    let missing: Vec<Program> = PROGRAMS.iter().copied().filter(missing).collect();
    paths.extend(build::cached_or_built(&missing)?);
    Ok(paths)
}

/// What the folder of `KUBEBUILDER_ASSETS`, the convention of envtest, holds of our programs.
fn in_assets(dir: Option<&Path>) -> BTreeMap<&'static str, PathBuf> {
    let Some(dir) = dir else { return BTreeMap::new() };
    PROGRAMS
        .iter()
        .filter(|program| program.in_assets)
        .map(|program| (program.name, dir.join(program.name)))
        .filter(|(_, path)| path.is_file())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn assets_give_what_they_hold_and_never_a_helm_of_their_own() {
        let dir = tempfile::tempdir().unwrap();
        for name in ["etcd", "kubectl", "helm"] {
            std::fs::write(dir.path().join(name), "").unwrap();
        }
        let found = in_assets(Some(dir.path()));
        assert_eq!(found.keys().copied().collect::<Vec<_>>(), ["etcd", "kubectl"]);
        assert!(in_assets(None).is_empty());
    }
}
