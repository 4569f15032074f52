//! A chart as Helm renders it, and its installation.

use std::path::PathBuf;

use anyhow::{Context as _, Result, bail};
use serde_json::Value;

use crate::apply::{self, Applied};
use crate::{ControlPlane, Tool};

/// What to render.
#[derive(Debug, Clone)]
pub struct ChartOptions {
    dir: PathBuf,
    release: String,
    namespace: String,
    values: Option<Value>,
    args: Vec<String>,
}

impl ChartOptions {
    /// The chart in a folder, as it is installed under a name into a namespace. Objects without a namespace, like `ClusterRole`s, are
    /// usually called after the release: tests that run beside each other need names of their own (say, that of the namespace).
    pub fn new(dir: impl Into<PathBuf>, release: &str, namespace: &str) -> Self {
        Self {
            dir: dir.into(),
            release: release.into(),
            namespace: namespace.into(),
            values: None,
            args: vec![],
        }
    }

    /// Values as a file would give them.
    #[must_use]
    pub fn values(mut self, values: Value) -> Self {
        self.values = Some(values);
        self
    }

    /// One value, as `--set` takes it: `a.b=c`.
    #[must_use]
    pub fn set(self, assignment: &str) -> Self {
        self.arg("--set").arg(assignment)
    }

    /// Any other argument of `helm template`.
    #[must_use]
    pub fn arg(mut self, arg: &str) -> Self {
        self.args.push(arg.to_owned());
        self
    }
}

/// A rendered chart.
#[derive(Debug, Clone)]
pub struct Chart {
    release: String,
    namespace: String,
    objects: Vec<Value>,
}

/// A chart that was applied.
pub struct Installed {
    applied: Vec<Applied>,
}

impl Chart {
    /// Renders with `helm template`, CRDs included and tests left out.
    ///
    /// # Errors
    /// When Helm refuses, with what it says.
    pub async fn render(helm: &Tool, options: &ChartOptions) -> Result<Self> {
        let ChartOptions { dir, release, namespace, values, args } = options;
        let dir = dir.to_str().context("a chart's path that isn't text")?;
        let mut line =
            vec!["template", release, dir, "--namespace", namespace, "--include-crds", "--skip-tests"];
        let mut input = String::new();
        if let Some(values) = values {
            input = values.to_string();
            line.extend(["--values", "-"]);
        }
        line.extend(args.iter().map(String::as_str));
        let yaml = helm.run_with_input(&line, &input).await?;
        let objects = apply::documents(&yaml).with_context(|| format!("chart {dir}"))?;
        Ok(Self { release: release.clone(), namespace: namespace.clone(), objects })
    }

    /// The release's name.
    #[must_use]
    pub fn release(&self) -> &str {
        &self.release
    }

    /// The release's namespace.
    #[must_use]
    pub fn namespace(&self) -> &str {
        &self.namespace
    }

    /// Every object, in Helm's order.
    #[must_use]
    pub fn objects(&self) -> &[Value] {
        &self.objects
    }

    /// The objects of a kind.
    pub fn of_kind<'a>(&'a self, kind: &'a str) -> impl Iterator<Item = &'a Value> {
        self.objects.iter().filter(move |object| object["kind"] == kind)
    }

    /// The chart's only Deployment.
    ///
    /// # Errors
    /// When it has none, or several.
    pub fn deployment(&self) -> Result<&Value> {
        let mut found = self.of_kind("Deployment");
        match (found.next(), found.next()) {
            (Some(deployment), None) => Ok(deployment),
            (None, _) => bail!("release {} has no Deployment", self.release),
            (Some(_), Some(_)) => bail!("release {} has several Deployments", self.release),
        }
    }

    /// Applies every object, CRDs first, and strictly: an unknown field or kind is an error. The Deployment is among them, so the API
    /// server checks it, but no pod of it starts: there is no node.
    ///
    /// # Errors
    /// When the API server refuses one.
    pub async fn apply(&self, cluster: &ControlPlane) -> Result<Installed> {
        let applied = apply::objects(&cluster.client(), &self.namespace, &self.objects).await?;
        Ok(Installed { applied })
    }
}

impl Installed {
    /// Deletes what the test's namespace doesn't take with it. CRDs stay, because other tests use them.
    ///
    /// # Errors
    /// When the API server refuses.
    pub async fn remove_cluster_objects(&self) -> Result<()> {
        for object in self.applied.iter().filter(|it| !it.namespaced && it.kind != "CustomResourceDefinition")
        {
            object.delete().await?;
        }
        Ok(())
    }
}
