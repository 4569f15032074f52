//! Logs: as text or JSON, at a level that can be changed while the operator runs.
//!
//! Every line about a key stands in its [`of_key`] span, which says whose it is.

use std::fs::File;
use std::io::{self, Read as _};
use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context as _;
use tokio_util::sync::CancellationToken;
use tracing::Span;
use tracing::field::Empty;
use tracing_subscriber::filter::{FilterExt as _, LevelFilter, filter_fn};
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{EnvFilter, Layer, Registry, fmt, reload};

use crate::config::{LogArguments, LogFormat};
use crate::traces;

/// How often the file of the level is looked at. Kubelet's own period is about a minute.
const LOOK: Duration = Duration::from_secs(2);

/// The library that runs passes, and what is shown of its controller unless it is named in the filter.
const CONTROLLER: &str = "kube_runtime";
const QUIET: &str = "kube_runtime::controller=warn";

/// The most that is read of it.
const MAX_FILTER: u64 = 4_096;

/// The span of lines about a key, in the course of an operation if there is one. Its level is the highest, so that a line of
/// any level tells whose it is.
pub(crate) fn of_key(kind: &str, namespace: &str, name: &str, uid: &str, operation: Option<&str>) -> Span {
    let span = tracing::error_span!(parent: None, "key", kind, namespace, name = Empty, uid, operation);
    // In JSON a span's own name stands in the field `name`, unless another comes after it.
    span.record("name", name);
    span
}

/// Starts logging to standard error, and whatever else `also` does with spans and lines.
///
/// # Errors
/// If the filter of the flag can't be read.
pub fn start(arguments: &LogArguments, also: impl Layer<Registry> + Send + Sync) -> anyhow::Result<Level> {
    let filter = &arguments.log_level;
    let flag = parse(filter).with_context(|| format!("--log-level {filter} can't be used"))?;
    let (level, handle) = reload::Layer::new(flag);
    let wanted = level.and(filter_fn(|it| it.target() != traces::TARGET));
    let lines = match arguments.log_format {
        LogFormat::Text => {
            let lines = fmt::layer().with_ansi(false).with_writer(io::stderr);
            lines.with_filter(wanted).boxed()
        }
        LogFormat::Json => {
            let lines = json_subscriber::fmt::layer()
                .with_writer(io::stderr)
                .flatten_event(true)
                .with_current_span(false)
                .flatten_span_list_on_top_level(true);
            // Those of libraries have names, too, which aren't a key's.
            let ours = filter_fn(|it| it.is_event() || it.target().starts_with(env!("CARGO_CRATE_NAME")));
            lines.with_filter(wanted.and(ours)).boxed()
        }
    };
    tracing_subscriber::registry().with(vec![lines, also.boxed()]).init();
    let mut level = Level {
        file: arguments.log_level_file.clone(),
        flag: filter.clone(),
        seen: None,
        in_force: filter.clone(),
        handle,
    };
    level.look();
    Ok(level)
}

/// The filter of the logs, which a file may change.
pub struct Level {
    file: Option<PathBuf>,
    /// What is in force where the file says nothing.
    flag: String,
    /// What the file was last seen to say, or why it can't be read.
    seen: Option<Result<String, String>>,
    in_force: String,
    handle: reload::Handle<EnvFilter, Registry>,
}

impl Level {
    /// Follows the file until `stop`. One that is missing or makes no sense leaves the level as it was.
    pub async fn follow(mut self, stop: CancellationToken) {
        if self.file.is_none() {
            return;
        }
        while stop.run_until_cancelled(tokio::time::sleep(LOOK)).await.is_some() {
            self.look();
        }
    }

    fn look(&mut self) {
        let Some(path) = &self.file else { return };
        // The content decides, not the time of change: kubelet swaps a symbolic link.
        let seen = read(path).map_err(|error| error.to_string());
        if self.seen.as_ref() == Some(&seen) {
            return;
        }
        self.seen = Some(seen.clone());
        let wanted = match seen {
            Ok(text) if text.is_empty() => self.flag.clone(),
            Ok(text) => text,
            Err(error) => {
                let file = path.display();
                tracing::error!(%file, error, "--log-level-file can't be read; the level stays {}", self.in_force);
                return;
            }
        };
        if wanted == self.in_force {
            return;
        }
        let changed = parse(&wanted).and_then(|filter| Ok(self.handle.reload(filter)?));
        match changed {
            Ok(()) => {
                tracing::info!("the log level is {wanted} now; it was {}", self.in_force);
                self.in_force = wanted;
            }
            Err(error) => tracing::error!(
                error = format!("{error:#}"),
                "what --log-level-file says can't be used; the level stays {}",
                self.in_force
            ),
        }
    }
}

fn read(path: &PathBuf) -> io::Result<String> {
    let mut text = String::new();
    File::open(path)?.take(MAX_FILTER).read_to_string(&mut text)?;
    Ok(text.trim().to_owned())
}

/// Reads a filter. The library takes a word that is no level for the name of a module, of which it then shows everything, and nothing of
/// any other: a slip of the pen would silence the log.
fn parse(text: &str) -> anyhow::Result<EnvFilter> {
    let bare = |part: &&str| !part.is_empty() && !part.contains(['=', '[']);
    if let Some(word) =
        text.split(',').map(str::trim).filter(bare).find(|it| it.parse::<LevelFilter>().is_err())
    {
        anyhow::bail!("{word:?} is no level: error, warn, info, debug, trace or off");
    }
    let filter =
        EnvFilter::try_new(text).with_context(|| format!("{text:?} is neither a level nor a filter"))?;
    // The library enters a span of its own, which no line of ours needs, each time that it polls a pass.
    let shown = filter.max_level_hint().is_none_or(|level| level >= LevelFilter::INFO);
    if shown && !text.contains(CONTROLLER) { Ok(filter.add_directive(QUIET.parse()?)) } else { Ok(filter) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slip_of_the_pen_is_refused() {
        for text in ["info", "WARN", "off", "info,keeptrusts_operator=debug", "keeptrusts_operator=trace"] {
            assert!(parse(text).is_ok(), "{text}");
        }
        for text in
            ["infoo", "info,debgu", "keeptrusts_operator", "kube=wran", "info;debug", "info, kube=warn"]
        {
            assert!(parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn the_librarys_own_span_is_left_out_unless_it_is_named_and_nothing_is_added_to_silence() {
        for (text, filter) in [
            ("info", "kube_runtime::controller=warn,info"),
            ("info,kube_runtime=debug", "kube_runtime=debug,info"),
            ("error", "error"),
            ("off", "off"),
        ] {
            assert_eq!(parse(text).unwrap().to_string(), filter);
        }
    }

    #[test]
    fn a_file_that_changes_changes_the_level_and_one_that_makes_no_sense_does_not() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("level");
        let (_layer, handle) = reload::Layer::new(parse("info").unwrap());
        let mut level = Level {
            file: Some(file.clone()),
            flag: "info".to_owned(),
            seen: None,
            in_force: "info".to_owned(),
            handle,
        };
        for (text, in_force) in [
            (None, "info"),
            (Some("debug\n"), "debug"),
            (Some("debgu"), "debug"),
            (Some("warn,kube=off"), "warn,kube=off"),
            (None, "warn,kube=off"),
            (Some(" \n"), "info"),
        ] {
            match text {
                Some(text) => std::fs::write(&file, text).unwrap(),
                None => drop(std::fs::remove_file(&file)),
            }
            level.look();
            assert_eq!(level.in_force, in_force, "{text:?}");
            let now = level.handle.with_current(ToString::to_string).unwrap();
            assert!(in_force.split(',').all(|part| now.split(',').any(|it| it == part)), "{now}");
        }
    }
}
