//! One run from its beginning to its verdict.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result};
use jiff::Timestamp;
use keeptrusts_emulator::Operation;
use keeptrusts_harness::{Component, commit};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::check::{Findings, check};
use crate::plan::{Recipe, plan};
use crate::report::Report;
use crate::settle::{Settled, settle};
use crate::stage::{Setup, Stage};
use crate::transcript::Transcript;
use crate::{lease, look, operators, run};

/// An interruption of a process may cost the tokens of what was under way: so many at once, seldom more.
const UNDER_WAY: u64 = 3;

/// What a run is made from.
pub(crate) struct Trial {
    pub(crate) recipe: Recipe,
    pub(crate) operator: PathBuf,
    pub(crate) root: PathBuf,
    pub(crate) output: Option<PathBuf>,
    pub(crate) patience: Duration,
    pub(crate) limit: Duration,
    pub(crate) keep: bool,
}

impl Trial {
    /// Holds it. Says whether every invariant held.
    pub(crate) async fn hold(&self) -> Result<bool> {
        let started = Timestamp::now();
        let commit = commit(&self.root);
        let dir = std::path::absolute(self.root.join("target/chaos").join(self.recipe.seed.to_string()))?;
        if dir.exists() {
            std::fs::remove_dir_all(&dir).with_context(|| format!("removing {}", dir.display()))?;
        }
        std::fs::create_dir_all(&dir).with_context(|| format!("making {}", dir.display()))?;
        let transcript = Transcript::begin(&dir)?;
        transcript.note(&format!("{:?}", self.recipe));
        let setup = Setup {
            operator: self.operator.clone(),
            root: self.root.clone(),
            dir: dir.clone(),
            operators: self.recipe.operators,
            leader_election: self.recipe.leader_election,
            keys: self.recipe.keys,
            namespaces: self.recipe.namespaces,
        };
        let stage = Arc::new(Stage::set(&setup, transcript).await?);
        let judged = self.judge(&stage, started, &commit).await;
        let passed = matches!(judged, Ok(true));
        if !passed || self.keep {
            keep(&stage, &dir).context("keeping the logs")?;
            stage.transcript.say(&format!("logs: {}", dir.display()));
        }
        stage.cluster.stop();
        if passed && !self.keep {
            std::fs::remove_dir_all(&dir).with_context(|| format!("removing {}", dir.display()))?;
        }
        judged
    }

    async fn judge(&self, stage: &Arc<Stage>, started: Timestamp, commit: &str) -> Result<bool> {
        let stop = CancellationToken::new();
        let mut watching = JoinSet::new();
        let (here, until) = (Arc::clone(stage), stop.clone());
        watching.spawn_local(async move { operators::keep_running(&here, &until).await });
        let (here, until) = (Arc::clone(stage), stop.clone());
        watching.spawn_local(async move { look::at_keys(&here, &until).await });
        let gate = look::gate(stage)?;
        let (here, until) = (Arc::clone(stage), stop.clone());
        watching.spawn_local(async move { look::before_revocations(&here, gate, &until).await });
        let people = run::run(stage, plan(&self.recipe)).await?;
        stage.transcript.say("everything is left in peace now");
        let settled = settle(stage, self.patience, self.limit).await?;
        drop(people);
        stop.cancel();
        watching.join_all().await;
        let findings = check(stage, &settled).await?;
        for process in &stage.operators {
            let terms = lease::terms(&process.log().await?);
            stage.record().terms += terms;
        }
        let terms = stage.record().terms;
        if self.recipe.leader_election && terms < 2 {
            stage.record().violated("nobody ever took over".into());
        }
        if stage.pods.started() == 0 {
            stage.record().violated("no pod ever ran".into());
        }
        let report = self.report(stage, started, commit, &settled, &findings).await;
        account(stage, &settled, &findings, &report);
        if let Some(output) = &self.output {
            stage.transcript.say(&format!("report: {}", report.write(output)?.display()));
        }
        Ok(report.passed())
    }

    async fn report(
        &self,
        stage: &Stage,
        started: Timestamp,
        commit: &str,
        settled: &Settled,
        findings: &Findings,
    ) -> Report {
        let mut ended_by_themselves = 0;
        for process in &stage.operators {
            let ends = process.ends().await;
            ended_by_themselves += u64::try_from(ends.len()).unwrap_or(u64::MAX);
        }
        let record = stage.record();
        let done = |kind: &str| record.done.get(kind).copied().unwrap_or_default();
        let interruptions = done("operator killed")
            + done("operator frozen")
            + done("API server restarted")
            + done("etcd frozen")
            + done("operator cut off")
            // A leader that loses its Lease finishes what is under way while its successor begins.
            + if self.recipe.leader_election { ended_by_themselves } else { 0 };
        let unknown_outcomes = record.unknown_outcomes();
        let (creates, mints) = record.counted(Operation::Create);
        let accounted = record.reasons.values().sum::<u64>()
            + u64::try_from(unknown_outcomes).unwrap_or(u64::MAX)
            + UNDER_WAY * interruptions;
        Report {
            commit: commit.to_owned(),
            seed: self.recipe.seed,
            started: started.to_string(),
            seconds: self.recipe.duration.as_secs(),
            settled_in_seconds: settled.took.as_secs(),
            keys: self.recipe.keys,
            operators: self.recipe.operators,
            leader_election: self.recipe.leader_election,
            terms: record.terms,
            leaders_struck: record.leaders_struck,
            requests_blocked: record.blocked.clone(),
            kills: done("operator killed"),
            freezes: done("operator frozen"),
            api_server_restarts: done("API server restarted"),
            etcd_freezes: done("etcd frozen"),
            ended_by_themselves,
            actions: record.done.clone(),
            skipped: record.skipped.clone(),
            calls_struck: record.struck.clone(),
            lists: record.lists,
            creates,
            mints,
            rotations: record.counted(Operation::Rotate).1,
            revocations: record.counted(Operation::Revoke).1,
            unknown_outcomes,
            demands: record.reasons.iter().map(|(what, times)| ((*what).to_owned(), *times)).collect(),
            mints_accounted_for: accounted,
            looks: record.looks,
            found_alive: record.found_alive,
            revocations_looked_at: record.gated,
            revocations_not_looked_at: record.ungated,
            pods_started: stage.pods.started(),
            values_searched: record.values.len(),
            settled_without_restart: settled.before_restart,
            leaks: findings.leaks.len(),
            late_orphans: findings.late.len(),
            lost_values: findings.lost.len(),
            exposed: findings.exposed.len(),
            foreign_changed: findings.foreign.len(),
            restless: findings.restless.len(),
            not_settled: settled.unsettled.len(),
            violations: record.violations.len(),
        }
    }
}

/// Says how it went.
fn account(stage: &Stage, settled: &Settled, findings: &Findings, report: &Report) {
    let say = |line: &str| stage.transcript.say(line);
    for (name, found) in [
        ("leaked (I1)", &findings.leaks),
        ("late orphan (admitted)", &findings.late),
        ("lost value (I2)", &findings.lost),
        ("exposed (I4)", &findings.exposed),
        ("foreign, but changed (I5)", &findings.foreign),
        ("restless (I6)", &findings.restless),
        ("not settled (I7)", &settled.unsettled),
        ("seen", &stage.record().violations.clone()),
    ] {
        for what in found {
            say(&format!("{name}: {what}"));
        }
    }
    say(&format!(
        "{} kills, {} freezes, {} terms of leaders ({} struck), {} calls struck, {} requests blocked, {} tokens made ({} accounted \
         for), {} rotations, {} revocations ({} looked at before), {} pods, {} looks; settled in {} s, {} of {} keys without a restart",
        report.kills,
        report.freezes,
        report.terms,
        report.leaders_struck,
        report.calls_struck.values().sum::<u64>(),
        report.requests_blocked.values().sum::<u64>(),
        report.mints,
        report.mints_accounted_for,
        report.rotations,
        report.revocations,
        report.revocations_looked_at,
        report.pods_started,
        report.looks,
        report.settled_in_seconds,
        report.settled_without_restart,
        report.keys,
    ));
    if report.mints_exceeded() {
        say("more tokens were made than anything accounts for (I8)");
    }
    say(&format!(
        "seed {}: {} leaks, {} late orphans, {} lost values, {} exposed, {} changed, {} restless, {} not settled, \
         {} violations: {}",
        report.seed,
        report.leaks,
        report.late_orphans,
        report.lost_values,
        report.exposed,
        report.foreign_changed,
        report.restless,
        report.not_settled,
        report.violations,
        if report.passed() { "passed" } else { "FAILED" },
    ));
}

/// Keeps what explains a failure beside the operators' logs: the control plane's, every request, every call of the token API.
fn keep(stage: &Stage, dir: &Path) -> Result<()> {
    for component in [Component::Etcd, Component::ApiServer, Component::ControllerManager] {
        let log = stage.cluster.log_file(component);
        std::fs::copy(&log, dir.join(log.file_name().context("a log without a name")?))?;
    }
    std::fs::copy(stage.cluster.audit().path(), dir.join("audit.log"))?;
    let calls: Vec<String> =
        stage.record().calls.values().map(serde_json::to_string).collect::<Result<_, _>>()?;
    std::fs::write(dir.join("calls.jsonl"), calls.join("\n"))?;
    let tokens: Vec<String> =
        stage.emulator.tokens().iter().map(serde_json::to_string).collect::<Result<_, _>>()?;
    std::fs::write(dir.join("tokens.jsonl"), tokens.join("\n"))?;
    Ok(())
}
