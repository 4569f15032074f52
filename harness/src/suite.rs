//! A test suite that shares one control plane, and stops it whatever the tests do.
//!
//! The test harness of Rust leaves no place for that: a `static` is never dropped. So a suite is a test target with
//! `harness = false`, whose `main` is this (flags and filters are those of `cargo test`):
//!
//! ```no_run
//! use keeptrusts_harness::suite::{Context, Suite};
//!
//! mod rotation {
//!     use keeptrusts_harness::suite::Context;
//!     pub async fn waits_for_the_rollout(cx: Context) -> anyhow::Result<()> {
//!         let secrets = cx.namespace.api::<k8s_openapi::api::core::v1::Secret>();
//!         assert_eq!(secrets.list(&Default::default()).await?.items.len(), 0);
//!         Ok(())
//!     }
//! }
//!
//! fn main() -> std::process::ExitCode {
//!     Suite::new().crds("crds").tests(keeptrusts_harness::tests![rotation::waits_for_the_rollout]).run()
//! }
//! ```
//!
//! A test fails by an error or a panic. Its logs are then in `target/test-logs/TEST/`.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::process::ExitCode;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use anyhow::{Context as _, Result, anyhow};
use kube::Client;
use libtest_mimic::{Arguments, Failed, Trial};
use tokio::runtime::Runtime;

use crate::{Component, ControlPlane, Options, TestNamespace};

/// No test takes a tenth of it; one that hangs shouldn't hold up the run for longer.
const TEST_TIMEOUT: Duration = Duration::from_mins(5);

/// How long tasks that tests left behind may hold up the end.
const SHUTDOWN: Duration = Duration::from_secs(2);

/// What a test works with.
pub struct Context {
    /// The control plane that all tests share.
    pub cluster: Arc<ControlPlane>,
    /// This test's own namespace.
    pub namespace: TestNamespace,
    /// A folder of this test. What is called `*.log` in it is kept when the test fails.
    pub dir: PathBuf,
    /// The test's name.
    pub name: String,
}

impl Context {
    /// A client with all rights.
    #[must_use]
    pub fn client(&self) -> Client {
        self.cluster.client()
    }
}

type TestFuture = Pin<Box<dyn Future<Output = Result<()>>>>;

/// A test with its name; [`tests!`](crate::tests) makes them.
pub struct Test {
    name: String,
    run: Box<dyn FnOnce(Context) -> TestFuture + Send>,
}

impl Test {
    /// A test.
    pub fn new<F>(name: &str, run: impl FnOnce(Context) -> F + Send + 'static) -> Self
    where
        F: Future<Output = Result<()>> + 'static,
    {
        Self { name: name.replace(' ', ""), run: Box::new(|context| Box::pin(run(context))) }
    }
}

/// Makes a list of [`Test`](crate::suite::Test)s out of async functions; the path is the test's name.
#[macro_export]
macro_rules! tests {
    ($($test:path),* $(,)?) => {
        vec![$($crate::suite::Test::new(stringify!($test), $test)),*]
    };
}

/// Tests that share a control plane.
#[derive(Default)]
pub struct Suite {
    options: Options,
    tests: Vec<Test>,
    logs: Option<PathBuf>,
    afterwards: Option<Check>,
    limit: Option<Duration>,
}

/// What is checked once all tests are over.
type Check = Box<dyn FnOnce(Arc<ControlPlane>) -> TestFuture>;

/// What the tests of a run share.
struct Shared {
    runtime: Runtime,
    options: Options,
    logs: PathBuf,
    limit: Duration,
    /// Started by the first test that runs, so that `--list`, or a filter that fits nothing, starts nothing.
    cluster: OnceLock<Result<Arc<ControlPlane>, String>>,
}

impl Suite {
    /// A suite without tests.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// How the control plane is started.
    #[must_use]
    pub fn options(mut self, options: Options) -> Self {
        self.options = options;
        self
    }

    /// Installs the CRDs of a file or folder.
    #[must_use]
    pub fn crds(mut self, path: impl Into<PathBuf>) -> Self {
        self.options = self.options.crds(path);
        self
    }

    /// Where the logs of failed tests go; by default into `test-logs` of the build's target folder.
    #[must_use]
    pub fn logs(mut self, dir: impl Into<PathBuf>) -> Self {
        self.logs = Some(dir.into());
        self
    }

    /// How long one test may take; by default five minutes.
    #[must_use]
    pub fn limit(mut self, limit: Duration) -> Self {
        self.limit = Some(limit);
        self
    }

    /// Adds tests.
    #[must_use]
    pub fn tests(mut self, tests: impl IntoIterator<Item = Test>) -> Self {
        self.tests.extend(tests);
        self
    }

    /// Checks something of the control plane once every test has passed. Of a part of them nothing is checked.
    #[must_use]
    pub fn afterwards<F>(mut self, check: impl FnOnce(Arc<ControlPlane>) -> F + 'static) -> Self
    where
        F: Future<Output = Result<()>> + 'static,
    {
        self.afterwards = Some(Box::new(move |cluster| Box::pin(check(cluster))));
        self
    }

    /// Runs the tests that the command line asks for, and stops the control plane.
    #[must_use]
    pub fn run(self) -> ExitCode {
        let arguments = Arguments::from_args();
        let runtime = match Runtime::new() {
            Ok(runtime) => runtime,
            Err(error) => {
                eprintln!("no runtime: {error}");
                return ExitCode::FAILURE;
            }
        };
        let logs = self.logs.unwrap_or_else(|| target_dir().join("test-logs"));
        let limit = self.limit.unwrap_or(TEST_TIMEOUT);
        let shared =
            Arc::new(Shared { runtime, options: self.options, logs, limit, cluster: OnceLock::new() });
        let trials = self.tests.into_iter().map(|test| shared.trial(test)).collect();
        let all =
            arguments.filter.is_none() && arguments.skip.is_empty() && !arguments.list && !arguments.ignored;
        let outcome = catch_unwind(AssertUnwindSafe(|| libtest_mimic::run(&arguments, trials)));
        let passed = outcome.as_ref().is_ok_and(|conclusion| !conclusion.has_failed());
        let checked = match (self.afterwards, shared.cluster.get()) {
            (Some(check), Some(Ok(cluster))) if all && passed => {
                shared.runtime.block_on(check(Arc::clone(cluster)))
            }
            _ => Ok(()),
        };
        // A test may have left a task that holds a reference, so this doesn't wait for the last one to go.
        if let Some(Ok(cluster)) = shared.cluster.get() {
            cluster.stop();
        }
        if let Some(shared) = Arc::into_inner(shared) {
            shared.runtime.shutdown_timeout(SHUTDOWN);
        }
        if let Err(error) = checked {
            eprintln!("after all tests: {error:?}");
            return ExitCode::FAILURE;
        }
        outcome.map_or(ExitCode::FAILURE, |conclusion| conclusion.exit_code())
    }
}

impl Shared {
    fn trial(self: &Arc<Self>, test: Test) -> Trial {
        let shared = Arc::clone(self);
        let name = test.name.clone();
        Trial::test(name, move || shared.run(test).map_err(|error| Failed::from(format!("{error:?}"))))
    }

    fn run(&self, test: Test) -> Result<()> {
        let cluster = self.cluster()?;
        let Test { name, run } = test;
        let dir = cluster.dir().join("tests").join(name.replace("::", "."));
        std::fs::create_dir_all(&dir).with_context(|| format!("making {}", dir.display()))?;
        let namespace = self.runtime.block_on(TestNamespace::create(cluster.client(), &name))?;
        let context = Context {
            cluster: Arc::clone(&cluster),
            namespace: namespace.clone(),
            dir: dir.clone(),
            name: name.clone(),
        };
        let body = async { tokio::time::timeout(self.limit, run(context)).await };
        let result = match catch_unwind(AssertUnwindSafe(|| self.runtime.block_on(body))) {
            Ok(Ok(result)) => result,
            Ok(Err(_)) => Err(anyhow!("not done within {:?}", self.limit)),
            Err(panic) => Err(anyhow!("panicked: {}", message(&*panic))),
        };
        let result = result.map_err(|error| {
            let kept = self.logs.join(name.replace("::", "."));
            match self.runtime.block_on(keep_logs(&cluster, &namespace, &dir, &kept)) {
                Ok(()) => error.context(format!("logs are in {}", kept.display())),
                Err(why) => error.context(format!("its logs can't be kept: {why:#}")),
            }
        });
        // A namespace that can't be deleted is no fault of the test, and goes with the control plane.
        let _ = self.runtime.block_on(namespace.delete());
        result
    }

    fn cluster(&self) -> Result<Arc<ControlPlane>> {
        self.cluster
            .get_or_init(|| {
                let started = self.runtime.block_on(ControlPlane::start(self.options.clone()));
                started.map(Arc::new).map_err(|error| format!("{error:?}"))
            })
            .clone()
            .map_err(|error| anyhow!("no control plane: {error}"))
    }
}

/// Keeps what explains a failure: the logs of the test's folder and of the control plane, the requests and events of its namespace.
async fn keep_logs(cluster: &ControlPlane, namespace: &TestNamespace, from: &Path, to: &Path) -> Result<()> {
    if to.exists() {
        std::fs::remove_dir_all(to).with_context(|| format!("removing {}", to.display()))?;
    }
    std::fs::create_dir_all(to).with_context(|| format!("making {}", to.display()))?;
    for entry in std::fs::read_dir(from).with_context(|| format!("listing {}", from.display()))? {
        let path = entry?.path();
        if let (Some(name), true) = (path.file_name(), path.extension().is_some_and(|end| end == "log")) {
            std::fs::copy(&path, to.join(name)).with_context(|| format!("copying {}", path.display()))?;
        }
    }
    for component in Component::ALL {
        let log = cluster.log_file(component);
        if let Some(name) = log.file_name() {
            std::fs::copy(&log, to.join(name)).with_context(|| format!("copying {}", log.display()))?;
        }
    }
    let audit = std::fs::read_to_string(cluster.audit().path()).context("reading the audit log")?;
    let ours: Vec<&str> = audit.lines().filter(|line| line.contains(namespace.name())).collect();
    std::fs::write(to.join("audit.log"), ours.join("\n")).context("writing the audit log")?;
    let events =
        cluster.kubectl().run(&["get", "events", "--namespace", namespace.name(), "--output=wide"]).await;
    std::fs::write(to.join("events.txt"), events.unwrap_or_else(|error| format!("{error:#}")))
        .context("writing events")
}

fn message(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("no message")
}

/// The target folder, from where this program is: `TARGET/PROFILE/deps/PROGRAM`.
fn target_dir() -> PathBuf {
    let program = std::env::current_exe().unwrap_or_default();
    program.ancestors().nth(3).map_or_else(|| PathBuf::from("target"), Path::to_owned)
}
