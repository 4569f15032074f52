//! What is said of keys at rest, of other people's Secrets, and of token APIs that set the pace.

use std::fmt::Write as _;

use super::text::{numbers, spread};
use crate::report::{Foreign, Limited, Rest, Slow};

pub(super) fn rest(page: &mut String, all: &[&Rest]) {
    page.push_str(
        "\n## Where nothing is to be done\n\n**A restart** of one replica over keys that are Ready: from the start of the process until every key was \
         looked at, none waits and its processor time stands still, against bare lists of the same objects (both kinds and the metadata of the Secrets, at once, page by page, \
         nothing decoded). A write would fail the run.\n\n\
         | keys | bare lists: seconds | restart: seconds | ratio | writes | to the API server | to the token API | most memory | at rest | processor |\n\
         | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |\n",
    );
    for Rest { keys, bare_lists_seconds, restart, .. } in all {
        let _ = writeln!(
            page,
            "| {keys} | {} | {} | {} | {} | {} | {} | {:.1} MiB | {:.1} MiB | {:.2} s |",
            spread(*bare_lists_seconds, 2),
            spread(restart.seconds, 2),
            spread(restart.ratio, 2),
            restart.writes,
            numbers(&restart.calls),
            numbers(&restart.token_calls),
            restart.peak_mib.median,
            restart.resident_mib.median,
            restart.cpu_seconds.median,
        );
    }
    page.push_str(
        "\n**A relist**, because the API server was restarted: the longest of the three lists, from its first page to its last.\n\n\
         | keys | relist: seconds | by the bare lists | writes | leader: most memory | leader: processor |\n\
         | --- | --- | --- | --- | --- | --- |\n",
    );
    for Rest { keys, relist, .. } in all {
        let _ = writeln!(
            page,
            "| {keys} | {} | {} | {} | {:.1} MiB | {:.2} s |",
            spread(relist.seconds, 2),
            spread(relist.ratio, 2),
            relist.writes,
            relist.leader_peak_mib.median,
            relist.leader_cpu_seconds.median,
        );
    }
    page.push_str(
        "\n**Nothing**: percent of a core between two lists of the tokens; what a list of each kind costs, with the look at every key that follows; \
         and what both make of an hour with the default settings (a list every five minutes). The Lease is renewed all the while, which isn't \
         counted as a call here.\n\n\
         | keys | leader | standby | seconds for each list | leader, over an hour | writes | to the API server | to the token API, in an hour |\n\
         | --- | --- | --- | --- | --- | --- | --- | --- |\n",
    );
    for Rest { keys, idle, .. } in all {
        let _ = writeln!(
            page,
            "| {keys} | {:.3} % | {:.3} % | {:.3} | {:.3} % | {} | {} | {} |",
            idle.leader_percent,
            idle.standby_percent,
            idle.seconds_for_each_list,
            idle.leader_percent_of_an_hour,
            idle.writes,
            numbers(&idle.calls),
            numbers(&idle.token_calls),
        );
    }
}

pub(super) fn foreign(page: &mut String, Foreign { keys, secrets, without, with }: &Foreign) {
    let _ = writeln!(
        page,
        "\n## Among the Secrets of others\n\nRestarts over {keys} keys, in a cluster with {secrets} further Secrets and without them.\n\n\
         | | restart: seconds | most memory | at rest |\n| --- | --- | --- | --- |"
    );
    for (name, restart) in [("without", without), ("with", with)] {
        let _ = writeln!(
            page,
            "| {name} | {} | {:.1} MiB | {:.1} MiB |",
            spread(restart.seconds, 2),
            restart.peak_mib.median,
            restart.resident_mib.median,
        );
    }
}

pub(super) fn bounded(page: &mut String, slow: Option<&Slow>, limited: Option<&Limited>) {
    if slow.is_some() || limited.is_some() {
        page.push_str("\n## Where the token API sets the pace\n");
    }
    if let Some(slow) = slow {
        let _ = writeln!(
            page,
            "\nA token API that takes {} ms longer for each call, {} keys are minted: {} keys a second, the floor {}; ratio {}.",
            slow.latency_milliseconds,
            slow.keys,
            spread(slow.operator_keys_per_second, 1),
            spread(slow.floor_keys_per_second, 1),
            spread(slow.ratio, 2),
        );
    }
    if let Some(limited) = limited {
        let _ = writeln!(
            page,
            "\nA token API that lets {} calls through in any second, and the operator with the same limit (the chart's default), {} keys are \
             minted: {} keys a second, {} of the limit. Then all are rotated in place, which takes {} s; two keys that are created amidst it are \
             Ready after {} s, and two that are deleted are gone after {} s. Calls refused with 429 in all of that: {}.",
            limited.calls_per_second,
            limited.keys,
            spread(limited.mint_keys_per_second, 1),
            spread(limited.share_of_limit, 2),
            spread(limited.rotation_seconds, 1),
            spread(limited.new_key_seconds, 1),
            spread(limited.deletion_seconds, 1),
            spread(limited.refused_calls, 0),
        );
    }
}
