//! What is said of the waves: speed, latency, calls, processor, memory.

use std::fmt::Write as _;

use super::text::{counts, kib, median, spread, thousand};
use crate::fleet::Uses;
use crate::report::{Alone, Side, Size, Wave};
use crate::statistics::count;
use crate::usage::Usage;

pub(super) fn show(page: &mut String, all: &[&Size], alone: Option<&Alone>) {
    if all.is_empty() {
        return;
    }
    speed(page, all);
    latency(page, all, alone);
    calls(page, all);
    processor(page, all);
    memory(page, all);
    growth(page, all);
}

fn speed(page: &mut String, all: &[&Size]) {
    page.push_str(
        "\n## Keys a second\n\n\
         | wave | keys | floor: seconds | operator: seconds | floor: keys a second | operator: keys a second | ratio | at equal pace | by processor |\n\
         | --- | --- | --- | --- | --- | --- | --- | --- | --- |\n",
    );
    for (keys, measured) in rows(all) {
        let Wave { name, ratio, paced_ratio, processor_ratio, floor, operator, .. } = measured;
        let _ = writeln!(
            page,
            "| {name} | {keys} | {} | {} | {:.1} | {:.1} | {} | {} | {} |",
            spread(floor.seconds, 1),
            spread(operator.seconds, 1),
            floor.keys_per_second.median,
            operator.keys_per_second.median,
            spread(*ratio, 2),
            paced_ratio.map_or_else(|| "not measured".to_owned(), |ratio| spread(ratio, 2)),
            spread(*processor_ratio, 2),
        );
    }
}

fn latency(page: &mut String, all: &[&Size], alone: Option<&Alone>) {
    page.push_str(
        "\n## How long a key takes\n\nSeconds from the request to the end, in a wave: of the first key that is done, of half of all keys, of 99 in a \
         hundred. Medians of the rounds. Most of it is waiting for the others.\n\n\
         | wave | keys | first: floor | first: operator | p50: floor | p50: operator | p99: floor | p99: operator |\n\
         | --- | --- | --- | --- | --- | --- | --- | --- |\n",
    );
    for (keys, Wave { name, floor, operator, .. }) in rows(all) {
        let _ = write!(page, "| {name} | {keys} |");
        for of in
            [|side: &Side| side.first_seconds, |side: &Side| side.p50_seconds, |side: &Side| side.p99_seconds]
        {
            let _ = write!(page, " {:.2} | {:.2} |", of(floor).median, of(operator).median);
        }
        page.push('\n');
    }
    if let Some(Alone { keys, ratio, floor_seconds, operator_seconds }) = alone {
        let _ = writeln!(
            page,
            "\nOne key alone, each of {keys} made when the last one is Ready: {} ms with the operator, {} ms on the floor; {} times as long.",
            spread(thousand(*operator_seconds), 1),
            spread(thousand(*floor_seconds), 1),
            spread(*ratio, 2),
        );
    }
}

fn calls(page: &mut String, all: &[&Size]) {
    page.push_str(
        "\n## Calls for each key\n\nWithin the time of the wave; events are written beside it, and those that come after it aren't counted. \
         Lists and watches are for all keys together.\n\n\
         | wave | keys | | to the API server | refused | to the token API |\n\
         | --- | --- | --- | --- | --- | --- |\n",
    );
    for (keys, Wave { name, floor, operator, .. }) in rows(all) {
        for (side, of) in [("floor", floor), ("operator", operator)] {
            let _ = writeln!(
                page,
                "| {name} | {keys} | {side} | {} | {} | {} |",
                counts(&of.calls_per_key),
                of.failed_calls_per_key,
                counts(&of.token_calls_per_key),
            );
        }
    }
}

fn processor(page: &mut String, all: &[&Size]) {
    page.push_str(
        "\n## Processor\n\nSeconds of a core in a wave. The benchmark asks, and on its side is the floor as well. The control plane's are \
         those of kube-apiserver, etcd and kube-controller-manager.\n\n\
         | wave | keys | leader | standby | benchmark: floor | benchmark: operator | control plane: floor | control plane: operator |\n\
         | --- | --- | --- | --- | --- | --- | --- | --- |\n",
    );
    for (keys, Wave { name, floor, operator, uses, .. }) in rows(all) {
        let _ = writeln!(
            page,
            "| {name} | {keys} | {:.2} | {:.2} | {:.2} | {:.2} | {:.1} | {:.1} |",
            median(uses, |uses| uses.leader.cpu_seconds),
            median(uses, |uses| uses.standby.cpu_seconds),
            floor.benchmark_cpu_seconds.median,
            operator.benchmark_cpu_seconds.median,
            floor.control_plane_cpu_seconds.median,
            operator.control_plane_cpu_seconds.median,
        );
    }
}

fn memory(page: &mut String, all: &[&Size]) {
    page.push_str(
        "\n## Memory and connections\n\nResident memory in MiB: before there is a key, five seconds after all are minted, and the most in any wave. \
         For each key: what it added, in KiB. Sockets: open ones, those that listen too. Medians of the rounds.\n\n\
         | keys | | empty | at rest | most | for each key | sockets at rest |\n\
         | --- | --- | --- | --- | --- | --- | --- |\n",
    );
    for Size { keys, waves, empty, resting, .. } in all {
        for (name, of) in
            [("leader", (|uses: &Uses| uses.leader) as fn(&Uses) -> Usage), ("standby", |uses| uses.standby)]
        {
            let kib = |uses: &[Uses]| median(uses, |uses| resident(of(uses)));
            let most = waves.iter().flat_map(|wave| &wave.uses);
            let most = most.map(|uses| peak(of(uses))).fold(0.0, f64::max);
            let _ = writeln!(
                page,
                "| {keys} | {name} | {:.1} | {:.1} | {:.1} | {:.1} | {} |",
                kib(empty) / 1024.0,
                kib(resting) / 1024.0,
                most / 1024.0,
                (kib(resting) - kib(empty)) / count(*keys),
                median(resting, |uses| count(of(uses).sockets)),
            );
        }
    }
}

/// What the largest size costs more than the one before it.
fn growth(page: &mut String, all: &[&Size]) {
    let [.., less, more] = all else { return };
    let at = |size: &Size, of: fn(&Uses) -> Usage| median(&size.resting, |uses| resident(of(uses)));
    let grown = |of| (at(more, of) - at(less, of)) / count(more.keys - less.keys);
    let _ = writeln!(
        page,
        "\n## Growth\n\nFrom {} keys to {}, each key at rest adds {:.1} KiB to the leader and {:.1} KiB to the standby. Milliseconds for each \
         key, by the operator:\n\n| wave | with {} keys | with {} |\n| --- | --- | --- |",
        less.keys,
        more.keys,
        grown(|uses| uses.leader),
        grown(|uses| uses.standby),
        less.keys,
        more.keys,
    );
    for (few, many) in less.waves.iter().zip(&more.waves) {
        let each = |wave: &Wave| 1_000.0 / wave.operator.keys_per_second.median;
        let _ = writeln!(page, "| {} | {:.1} | {:.1} |", many.name, each(few), each(many));
    }
}

fn rows<'a>(all: &[&'a Size]) -> impl Iterator<Item = (usize, &'a Wave)> {
    let mut rows: Vec<_> = all.iter().flat_map(|size| size.waves.iter().map(|it| (size.keys, it))).collect();
    let order: Vec<&String> = all.iter().flat_map(|size| &size.waves).map(|it| &it.name).collect();
    rows.sort_by_key(|(keys, it)| (order.iter().position(|name| **name == it.name), *keys));
    rows.into_iter()
}

fn resident(usage: Usage) -> f64 {
    kib(usage.resident_kib)
}

fn peak(usage: Usage) -> f64 {
    kib(usage.peak_kib)
}
