//! The operator's processes, and who starts them again.

use std::time::Duration;

use anyhow::Result;
use keeptrusts_harness::Operator;
use tokio::sync::Mutex;
use tokio_util::sync::CancellationToken;

use crate::lease;
use crate::stage::Stage;

/// How often kubelet's stand-in looks.
const LOOK: Duration = Duration::from_millis(500);

/// One operator.
pub(crate) struct Process {
    inner: Mutex<Inner>,
}

struct Inner {
    operator: Operator,
    /// How long the log was when it was last started.
    log_before: usize,
    /// Whether it should run. One that shouldn't was killed on purpose.
    wanted: bool,
    frozen: bool,
    /// How it ended without being killed, each time.
    ends: Vec<String>,
}

impl Process {
    pub(crate) fn new(operator: Operator) -> Self {
        Self {
            inner: Mutex::new(Inner { operator, log_before: 0, wanted: true, frozen: false, ends: vec![] }),
        }
    }

    /// Kills it (SIGKILL). Says whether it led.
    pub(crate) async fn kill(&self) -> Result<bool> {
        let mut inner = self.inner.lock().await;
        let ran = inner.wanted && !inner.note_end()?;
        inner.wanted = false;
        inner.frozen = false;
        inner.operator.kill()?;
        Ok(ran && inner.led()?)
    }

    /// Starts it again, as kubelet restarts a container. One that runs is killed first.
    pub(crate) async fn start(&self) -> Result<()> {
        let mut inner = self.inner.lock().await;
        inner.wanted = true;
        inner.frozen = false;
        inner.restart()
    }

    /// Freezes it (SIGSTOP). False if it doesn't run.
    pub(crate) async fn freeze(&self) -> bool {
        let mut inner = self.inner.lock().await;
        inner.frozen = inner.operator.pause().is_ok();
        inner.frozen
    }

    /// Whether it leads, or did before it was frozen or killed: by its own word, which is of no use to anybody who acts upon it.
    pub(crate) async fn leads(&self) -> Result<bool> {
        self.inner.lock().await.led()
    }

    /// Lets it go on.
    pub(crate) async fn thaw(&self) -> Result<()> {
        let mut inner = self.inner.lock().await;
        if !std::mem::take(&mut inner.frozen) {
            return Ok(());
        }
        inner.operator.resume()
    }

    /// Makes sure that it runs.
    pub(crate) async fn revive(&self) -> Result<()> {
        self.thaw().await?;
        if self.inner.lock().await.wanted { Ok(()) } else { self.start().await }
    }

    /// What it has logged.
    pub(crate) async fn log(&self) -> Result<String> {
        self.inner.lock().await.operator.log()
    }

    /// How it ended by itself, each time.
    pub(crate) async fn ends(&self) -> Vec<String> {
        self.inner.lock().await.ends.clone()
    }

    async fn look(&self) -> Result<()> {
        let mut inner = self.inner.lock().await;
        if inner.wanted && inner.note_end()? { inner.restart() } else { Ok(()) }
    }
}

impl Inner {
    fn restart(&mut self) -> Result<()> {
        self.operator.kill()?;
        self.log_before = self.operator.log()?.len();
        self.operator.restart()
    }

    /// Whether the process that was last started has begun to lead. One that loses its Lease ends.
    fn led(&self) -> Result<bool> {
        Ok(lease::terms(self.operator.log()?.get(self.log_before..).unwrap_or_default()) > 0)
    }

    /// Whether it has ended without being killed.
    fn note_end(&mut self) -> Result<bool> {
        if !self.wanted {
            return Ok(false);
        }
        let Some(status) = self.operator.exit_status()? else { return Ok(false) };
        self.ends.push(format!("{} ended by itself: {status}", self.operator.pod_name()));
        Ok(true)
    }
}

/// Kubelet's stand-in: starts again what has ended by itself.
pub(crate) async fn keep_running(stage: &Stage, stop: &CancellationToken) {
    while stop.run_until_cancelled(tokio::time::sleep(LOOK)).await.is_some() {
        for process in &stage.operators {
            if let Err(error) = process.look().await {
                stage.transcript.say(&format!("an operator can't be started again: {error:#}"));
            }
        }
    }
}
