//! What is done to which requests, and how a test learns of it.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Result, anyhow};
use serde_json::{Value, json};
use tokio::sync::{Notify, watch};

use super::call::Log;
use super::{Call, Match};

/// How many calls an error shows: what one key needs, three times over.
const SHOWN: usize = 20;

/// What happens to a request.
#[derive(Debug, Clone)]
pub(super) enum Fault {
    Observe,
    HoldBefore,
    HoldAfter,
    Late,
    CutBefore,
    CutAfter,
    DelayForward(Duration),
    DelayAnswer(Duration),
    Answer(u16, Value),
    AnswerAfter(u16, Value),
}

impl Fault {
    pub(super) fn name(&self) -> &'static str {
        match self {
            Self::Observe => "observed",
            Self::HoldBefore => "held before",
            Self::HoldAfter => "held after",
            Self::Late => "late",
            Self::CutBefore => "cut before",
            Self::CutAfter => "cut after",
            Self::DelayForward(_) => "delayed",
            Self::DelayAnswer(_) => "answer delayed",
            Self::Answer(..) => "made-up answer",
            Self::AnswerAfter(..) => "made-up answer after",
        }
    }
}

/// What a proxy does to some of its requests. It is for the first request that matches, unless it says otherwise.
///
/// The rules of a proxy are tried in the order in which they were added, and the first that takes a request is the only one that sees
/// it. So two rules for the same requests are a script: what happens to the first one, what to the second.
#[derive(Debug, Clone)]
pub struct Rule {
    pub(super) on: Match,
    pub(super) fault: Fault,
    pub(super) headers: Vec<(String, String)>,
    first: usize,
    times: usize,
}

impl Rule {
    /// A rule for the first request that matches. Without more it does nothing but tell of it.
    #[must_use]
    pub fn on(on: Match) -> Self {
        Self { on, fault: Fault::Observe, headers: vec![], first: 1, times: 1 }
    }

    /// Leaves out the matching requests before the `n`th, which is counted from 1.
    #[must_use]
    pub fn nth(self, n: usize) -> Self {
        Self { first: n.max(1), ..self }
    }

    /// Takes so many requests.
    #[must_use]
    pub fn times(self, times: usize) -> Self {
        Self { times, ..self }
    }

    /// Takes all of them from the first on.
    #[must_use]
    pub fn always(self) -> Self {
        self.times(usize::MAX)
    }

    /// Does nothing but tell of the request, once it has been answered.
    #[must_use]
    pub fn observe(self) -> Self {
        self.doing(Fault::Observe)
    }

    /// Holds the request before it reaches the server. [`RuleHandle::release`] lets it through even when the caller is gone by then;
    /// [`RuleHandle::discard`] cuts the connection, and the server never sees the request.
    #[must_use]
    pub fn hold_before(self) -> Self {
        self.doing(Fault::HoldBefore)
    }

    /// Holds the answer: the server has done it, and the caller doesn't know. [`RuleHandle::release`] sends it;
    /// [`RuleHandle::discard`] cuts the connection.
    #[must_use]
    pub fn hold_after(self) -> Self {
        self.doing(Fault::HoldAfter)
    }

    /// Cuts the caller's connection at once, and holds the request as [`Self::hold_before`] does: it arrives when its caller has long
    /// since given up, without the test having to wait for that.
    #[must_use]
    pub fn late(self) -> Self {
        self.doing(Fault::Late)
    }

    /// Cuts the connection; the server never sees the request.
    #[must_use]
    pub fn cut_before(self) -> Self {
        self.doing(Fault::CutBefore)
    }

    /// Cuts the connection after the server has answered: it has done it, and the caller will never know.
    #[must_use]
    pub fn cut_after(self) -> Self {
        self.doing(Fault::CutAfter)
    }

    /// Passes the request on after a while, whether or not the caller is still there.
    #[must_use]
    pub fn delay_forward(self, delay: Duration) -> Self {
        self.doing(Fault::DelayForward(delay))
    }

    /// Passes the answer on after a while.
    #[must_use]
    pub fn delay_answer(self, delay: Duration) -> Self {
        self.doing(Fault::DelayAnswer(delay))
    }

    /// Answers itself; the server never sees the request. In the API server's place the body should be a [`kubernetes_status`].
    #[must_use]
    pub fn answer(self, status: u16, body: Value) -> Self {
        self.doing(Fault::Answer(status, body))
    }

    /// Answers itself after the server has done it: the server's own answer is dropped.
    #[must_use]
    pub fn answer_after(self, status: u16, body: Value) -> Self {
        self.doing(Fault::AnswerAfter(status, body))
    }

    /// Answers 409 as the API server does when the object was changed by somebody else; the server never sees the request.
    #[must_use]
    pub fn conflict(self) -> Self {
        self.answer(
            409,
            kubernetes_status(
                409,
                "Conflict",
                "the object has been modified; please apply your changes to the latest version",
            ),
        )
    }

    /// Adds a header to a made-up answer, say `Retry-After`.
    #[must_use]
    pub fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    fn doing(self, fault: Fault) -> Self {
        Self { fault, ..self }
    }
}

/// The body of an error of the API server.
#[must_use]
pub fn kubernetes_status(code: u16, reason: &str, message: &str) -> Value {
    json!({
        "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
        "message": message, "reason": reason, "code": code,
    })
}

/// What becomes of held requests.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    Hold,
    Release,
    Discard,
}

/// A rule at work.
#[derive(Debug)]
pub(super) struct Active {
    pub(super) rule: Rule,
    verdict: watch::Sender<Verdict>,
    progress: Mutex<Progress>,
    changed: Notify,
}

#[derive(Debug, Default)]
struct Progress {
    /// Requests that matched, whether or not they were taken.
    seen: usize,
    hits: usize,
    reached: VecDeque<Call>,
    finished: VecDeque<Call>,
}

impl Active {
    pub(super) fn new(rule: Rule) -> Self {
        Self {
            rule,
            verdict: watch::Sender::new(Verdict::Hold),
            progress: Mutex::default(),
            changed: Notify::new(),
        }
    }

    /// Whether the rule takes a request. Asked once of each.
    pub(super) fn takes(&self, call: &Call) -> bool {
        if !self.rule.on.matches(call) {
            return false;
        }
        let mut progress = self.lock();
        progress.seen += 1;
        progress.seen >= self.rule.first && progress.seen - self.rule.first < self.rule.times
    }

    pub(super) fn reached(&self, call: Option<Call>) {
        let mut progress = self.lock();
        progress.hits += 1;
        progress.reached.extend(call);
        drop(progress);
        self.changed.notify_waiters();
    }

    pub(super) fn finished(&self, call: Option<Call>) {
        self.lock().finished.extend(call);
        self.changed.notify_waiters();
    }

    /// Waits for release or discard.
    pub(super) async fn verdict(&self) -> Verdict {
        // An error means that the sender is gone, and it is our own.
        let mut receiver = self.verdict.subscribe();
        receiver
            .wait_for(|verdict| *verdict != Verdict::Hold)
            .await
            .map_or(Verdict::Discard, |verdict| *verdict)
    }

    async fn next(&self, take: impl Fn(&mut Progress) -> Option<Call>) -> Call {
        loop {
            let changed = self.changed.notified();
            if let Some(call) = take(&mut self.lock()) {
                return call;
            }
            changed.await;
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Progress> {
        self.progress.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A rule that was given to a proxy. Dropping it changes nothing: what is held stays held until the proxy stops.
#[derive(Debug, Clone)]
pub struct RuleHandle {
    pub(super) active: Arc<Active>,
    pub(super) log: Arc<Log>,
}

impl RuleHandle {
    /// Waits for the next request that the rule takes, or returns the one that it has taken; each is returned once. A request that is
    /// held, cut or answered *after* counts when the server has answered.
    ///
    /// # Errors
    /// When none comes; the error shows the last calls.
    pub async fn reached(&self, deadline: Duration) -> Result<Call> {
        self.within(deadline, "came", |progress| progress.reached.pop_front()).await
    }

    /// As [`Self::reached`], for the next request that is over and done with: sent back, cut, discarded, or, when its caller was gone,
    /// answered by the server. So the server has seen a late request when this returns.
    ///
    /// # Errors
    /// When none is; the error shows the last calls.
    pub async fn finished(&self, deadline: Duration) -> Result<Call> {
        self.within(deadline, "was finished", |progress| progress.finished.pop_front()).await
    }

    /// Lets go on what is held, and what the rule would hold from now on.
    pub fn release(&self) {
        self.active.verdict.send_replace(Verdict::Release);
    }

    /// Drops what is held, and what the rule would hold from now on.
    pub fn discard(&self) {
        self.active.verdict.send_replace(Verdict::Discard);
    }

    /// How many requests the rule has taken so far, counted as [`Self::reached`] does.
    #[must_use]
    pub fn hits(&self) -> usize {
        self.active.lock().hits
    }

    async fn within(
        &self,
        deadline: Duration,
        what: &str,
        take: impl Fn(&mut Progress) -> Option<Call>,
    ) -> Result<Call> {
        tokio::time::timeout(deadline, self.active.next(take)).await.map_err(|_| {
            let calls = self.log.all();
            let last: Vec<_> =
                calls[calls.len().saturating_sub(SHOWN)..].iter().map(ToString::to_string).collect();
            let Rule { on, fault, .. } = &self.active.rule;
            anyhow!(
                "no request {what} within {deadline:?}: {on} [{}]. The last of {} calls:\n{}",
                fault.name(),
                calls.len(),
                last.join("\n")
            )
        })
    }
}
