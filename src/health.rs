//! `/livez` and `/readyz`, for kubelet and for people: what is checked, by name, and what is missing.
//!
//! Only what waiting or a restart can cure decides. The state of the token API, of the credential and of leadership is told and
//! decides nothing: a restart cures nothing there, and may cost a value that is held in memory.

mod work;

use std::fmt::{self, Write as _};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use axum::Router;
use axum::http::StatusCode;
use axum::routing::get;
use tokio::net::TcpListener;
use tokio::sync::Notify;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

pub use self::work::{UnderWay, Work};

use crate::serving;

/// What is missing until the operator is ready, in the order in which it comes.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Missing {
    ApiServer,
    /// These, by name.
    Crds(Vec<String>),
    /// Of so many watches.
    Caches(usize),
    Nothing,
}

/// How the API server has done since the operator was ready. It decides nothing: a restart brings back neither the API server nor a CRD,
/// and a pod that isn't ready would only make the Deployment's own rollout wait.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Server {
    /// It serves what is watched, or nothing has made that doubtful.
    Serves,
    /// It answers, and doesn't serve these CRDs any more.
    Lacks(Vec<String>),
    /// It doesn't answer, since then.
    Unreached(Instant),
}

/// What is told and decides nothing.
type Note = Box<dyn Fn() -> String + Send + Sync>;

/// How the operator does.
#[derive(Clone)]
pub struct Health(Arc<Inner>);

struct Inner {
    missing: Mutex<Missing>,
    server: Mutex<Server>,
    /// A watch has failed.
    doubt: Notify,
    notes: Mutex<Vec<(&'static str, Note)>>,
    work: Work,
}

impl fmt::Debug for Health {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Health").field(&self.missing()).finish()
    }
}

impl Default for Health {
    fn default() -> Self {
        Self(Arc::new(Inner {
            missing: Mutex::new(Missing::ApiServer),
            server: Mutex::new(Server::Serves),
            doubt: Notify::new(),
            notes: Mutex::default(),
            work: Work::default(),
        }))
    }
}

impl Health {
    fn missing(&self) -> MutexGuard<'_, Missing> {
        self.0.missing.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn notes(&self) -> MutexGuard<'_, Vec<(&'static str, Note)>> {
        self.0.notes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The API server answers, and serves everything but these CRDs.
    pub fn lacks_crds(&self, names: Vec<String>) {
        *self.missing() = Missing::Crds(names);
    }

    /// The CRDs are there; so many watches have to fill their caches.
    pub fn expect(&self, watches: usize) {
        *self.missing() = Missing::Caches(watches);
    }

    /// One of them has.
    pub fn synced(&self) {
        let mut missing = self.missing();
        *missing = match &*missing {
            Missing::Caches(left) if *left > 1 => Missing::Caches(left - 1),
            _ => Missing::Nothing,
        };
    }

    fn server(&self) -> MutexGuard<'_, Server> {
        self.0.server.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A watch has failed: what was found at the start may not hold any more.
    pub fn doubt(&self) {
        self.0.doubt.notify_one();
    }

    /// Waits until there is a doubt.
    pub async fn doubted(&self) {
        self.0.doubt.notified().await;
    }

    /// The API server was asked again what it serves: everything but these CRDs.
    pub fn serves_all_but(&self, missing: Vec<String>) {
        *self.server() = if missing.is_empty() { Server::Serves } else { Server::Lacks(missing) };
    }

    /// The API server was asked again and doesn't answer.
    pub fn unreached(&self) {
        let mut server = self.server();
        if !matches!(*server, Server::Unreached(_)) {
            *server = Server::Unreached(Instant::now());
        }
    }

    /// Whether the operator is ready: every cache is filled.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        *self.missing() == Missing::Nothing
    }

    /// Has something told under this name, which decides nothing. It must hold no secret: whoever reaches the port reads it.
    pub fn tell(&self, name: &'static str, note: impl Fn() -> String + Send + Sync + 'static) {
        self.notes().push((name, Box::new(note)));
    }

    /// What is under way.
    #[must_use]
    pub fn work(&self) -> &Work {
        &self.0.work
    }

    /// Answers on `address` until `end`. From `stop` on the operator isn't ready any more; but it lives, for it may hold a value
    /// that is still to be written.
    ///
    /// # Errors
    /// If it can't listen there.
    pub async fn serve(
        self,
        address: SocketAddr,
        stop: CancellationToken,
        end: CancellationToken,
    ) -> anyhow::Result<JoinHandle<()>> {
        let listener = TcpListener::bind(address)
            .await
            .with_context(|| format!("can't listen on --health-address {address}"))?;
        let ready = self.clone();
        let routes = Router::new()
            .route("/livez", get(move || async move { self.live().answer() }))
            .route("/readyz", get(move || async move { ready.ready(stop.is_cancelled()).answer() }));
        Ok(serving::serve(listener, routes, end))
    }

    /// Whether there is something that only a restart cures. That this is answered at all is the better part of it.
    fn live(&self) -> Report {
        let mut report = Report::default();
        let work = &self.0.work;
        let stuck = |since: Duration| Err(format!("a step has been under way for {} s", since.as_secs()));
        report.check("work", work.stuck().map_or_else(|| Ok(work.to_string()), stuck));
        report
    }

    fn ready(&self, stopping: bool) -> Report {
        let mut report = Report::default();
        if stopping {
            report.check("stop", Err("asked for; what is under way is finished first".to_owned()));
        }
        let missing = self.missing().clone();
        let after = |what: &str| Err(format!("waits for {what}"));
        let filled = || Ok("filled".to_owned());
        let is_ready = missing == Missing::Nothing;
        let (server, crds, caches) = match missing {
            Missing::ApiServer => (Err("not reached yet".to_owned()), after("kubernetes"), after("crds")),
            Missing::Crds(names) => {
                (Ok("reached".to_owned()), Err(format!("not installed: {}", names.join(", "))), after("crds"))
            }
            Missing::Caches(left) => {
                (Ok("reached".to_owned()), Ok("served".to_owned()), Err(format!("{left} to be filled")))
            }
            Missing::Nothing => (Ok("reached".to_owned()), Ok("served".to_owned()), filled()),
        };
        let now = if is_ready { self.server().clone() } else { Server::Serves };
        match now {
            Server::Unreached(since) => {
                report.note("kubernetes", &format!("not reached for {} s", since.elapsed().as_secs()));
                report.check("crds", crds);
                report.note("caches", "filled; they may be old");
            }
            Server::Lacks(names) => {
                report.check("kubernetes", server);
                report.note("crds", &format!("not served any more: {}", names.join(", ")));
                report.note("caches", "filled; those of CRDs that aren't served are old");
            }
            Server::Serves => {
                report.check("kubernetes", server);
                report.check("crds", crds);
                report.check("caches", caches);
            }
        }
        for (name, note) in self.notes().iter() {
            report.note(name, &note());
        }
        report
    }
}

/// What an endpoint says: a line for each check and each note.
#[derive(Default)]
struct Report {
    lines: String,
    failed: bool,
}

impl Report {
    fn check(&mut self, name: &str, outcome: Result<String, String>) {
        self.failed |= outcome.is_err();
        match outcome {
            Ok(text) => self.line('+', name, &text),
            Err(text) => self.line('-', name, &text),
        }
    }

    fn note(&mut self, name: &str, text: &str) {
        self.line(' ', name, text);
    }

    fn line(&mut self, mark: char, name: &str, text: &str) {
        // Writing to a String can't fail.
        let _ = writeln!(self.lines, "[{mark}] {name}: {text}");
    }

    fn answer(self) -> (StatusCode, String) {
        let (status, word) =
            if self.failed { (StatusCode::SERVICE_UNAVAILABLE, "failed") } else { (StatusCode::OK, "ok") };
        (status, format!("{}{word}\n", self.lines))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn readyz(health: &Health) -> (u16, String) {
        let (status, body) = health.ready(false).answer();
        (status.as_u16(), body)
    }

    #[test]
    fn what_is_missing_is_named_until_nothing_is() {
        let health = Health::default();
        health.tell("token-api", || "can't be reached".to_owned());
        let line = "[ ] token-api: can't be reached\n";
        let waits = "[-] crds: waits for kubernetes\n[-] caches: waits for crds\n";
        assert_eq!(readyz(&health), (503, format!("[-] kubernetes: not reached yet\n{waits}{line}failed\n")));
        health.lacks_crds(vec!["accesskeys.example.com".to_owned()]);
        let (status, body) = readyz(&health);
        assert!(
            status == 503 && body.contains("[-] crds: not installed: accesskeys.example.com\n"),
            "{body}"
        );
        health.expect(2);
        health.synced();
        let (status, body) = readyz(&health);
        assert!(status == 503 && body.contains("[-] caches: 1 to be filled\n"), "{body}");
        health.synced();
        let all = "[+] kubernetes: reached\n[+] crds: served\n[+] caches: filled\n";
        assert_eq!(readyz(&health), (200, format!("{all}{line}ok\n")), "what is only told decides nothing");
        health.serves_all_but(vec!["accesskeys.example.com".to_owned()]);
        let (status, body) = readyz(&health);
        let gone = "[ ] crds: not served any more: accesskeys.example.com\n";
        assert!(status == 200 && body.contains(gone) && !body.contains("served\n[+]"), "{body}");
        health.unreached();
        let (status, body) = readyz(&health);
        assert!(status == 200 && body.starts_with("[ ] kubernetes: not reached for 0 s\n"), "{body}");
        health.serves_all_but(Vec::new());
        assert_eq!(readyz(&health), (200, format!("{all}{line}ok\n")), "it follows");
        let (status, body) = health.ready(true).answer();
        assert!(status == 503 && body.starts_with("[-] stop: asked for"), "{body}");
        assert_eq!(health.live().answer().0, 200);
    }
}
