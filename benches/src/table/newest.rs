//! What is shown of several reports: of each figure the newest, so that a part can be measured again without the rest.

use std::fmt::Write as _;

use crate::report::{Alone, Foreign, Install, Limited, Peer, Report, Rest, Size, Slow};

/// The newest of everything that was measured.
#[derive(Default)]
pub(super) struct Newest<'a> {
    pub(super) install: Option<&'a Install>,
    /// The fewest keys first.
    pub(super) waves: Vec<&'a Size>,
    pub(super) alone: Option<&'a Alone>,
    /// The fewest keys first.
    pub(super) rest: Vec<&'a Rest>,
    pub(super) foreign: Option<&'a Foreign>,
    pub(super) slow: Option<&'a Slow>,
    pub(super) limited: Option<&'a Limited>,
    pub(super) peer: Option<&'a Peer>,
    /// The runs of which something is shown, and what; the newest first.
    runs: Vec<(&'a Report, Vec<String>)>,
}

impl<'a> Newest<'a> {
    /// Of reports in their order.
    pub(super) fn of(reports: &'a [Report]) -> Self {
        let mut newest = Self::default();
        for report in reports.iter().rev() {
            let mut taken = Vec::new();
            take(&mut newest.install, report.install.as_ref(), "installation", &mut taken);
            take_sizes(&mut newest.waves, &report.waves, |size| size.keys, "waves", &mut taken);
            take(&mut newest.alone, report.alone.as_ref(), "one key alone", &mut taken);
            take_sizes(&mut newest.rest, &report.rest, |rest| rest.keys, "nothing to be done", &mut taken);
            take(&mut newest.foreign, report.foreign.as_ref(), "the Secrets of others", &mut taken);
            take(&mut newest.slow, report.slow.as_ref(), "a slow token API", &mut taken);
            take(&mut newest.limited, report.limited.as_ref(), "a limited token API", &mut taken);
            take(&mut newest.peer, report.peer.as_ref(), "External Secrets Operator", &mut taken);
            if !taken.is_empty() {
                newest.runs.push((report, taken));
            }
        }
        newest
    }

    /// Says what was measured when, and on what.
    pub(super) fn tell_runs(&self, page: &mut String) {
        page.push_str("\n## The runs\n\n");
        for (report, taken) in &self.runs {
            let machine = &report.machine;
            let versions = report.versions.iter().map(|(name, version)| format!("{name} {version}"));
            // Writing to a String can't fail.
            let _ = writeln!(
                page,
                "- {}, commit `{}`, {} round{}{}: {}. {}, {} cores, {} GiB, Linux {}; {}.",
                report.date(),
                report.short_commit(),
                report.rounds,
                if report.rounds == 1 { "" } else { "s" },
                if report.optimised {
                    ""
                } else {
                    ", programs that weren't optimised, so that it says nothing"
                },
                taken.join(", "),
                machine.cpu,
                machine.cores,
                machine.memory_gib,
                machine.kernel,
                versions.collect::<Vec<_>>().join(", "),
            );
        }
    }
}

fn take<'a, T>(newest: &mut Option<&'a T>, found: Option<&'a T>, what: &str, taken: &mut Vec<String>) {
    if newest.is_none() && found.is_some() {
        *newest = found;
        taken.push(what.to_owned());
    }
}

fn take_sizes<'a, T>(
    newest: &mut Vec<&'a T>,
    found: &'a [T],
    keys: fn(&T) -> usize,
    what: &str,
    taken: &mut Vec<String>,
) {
    for size in found {
        if !newest.iter().any(|there| keys(there) == keys(size)) {
            newest.push(size);
            taken.push(format!("{what} ({} keys)", keys(size)));
        }
    }
    newest.sort_by_key(|size| keys(size));
}
