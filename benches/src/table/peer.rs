//! What is said of External Secrets Operator.

use std::fmt::Write as _;

use super::text::{counts, kib, median, spread};
use crate::report::{Peer, Size};

pub(super) fn show(page: &mut String, Peer { keys, concurrent, mint }: &Peer, waves: &[&Size]) {
    let _ = writeln!(
        page,
        "\n## Beside External Secrets Operator\n\nExternal Secrets Operator mints {keys} tokens by its Webhook generator: the same call, and the \
         value in a Secret. One process, {concurrent} at a time, its client without a limit, every ExternalSecret `CreatedOnce`. It has neither a \
         standby nor a record of what it is about to do: a crash between the call and the Secret leaves a token that lives and that nobody \
         knows. The ratio is to the floor, which makes the calls of our protocol, in the same round; processor and memory are those of the \
         process, of the operator's leader.\n\n\
         | | seconds | keys a second | ratio | by processor | calls to the API server for each key | to the token API | refused | seconds of a core | peak MiB |\n\
         | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |",
    );
    let same = waves.iter().find(|size| size.keys == *keys);
    let ours = same.and_then(|size| size.waves.iter().find(|wave| wave.name == mint.name));
    for (name, wave) in [("External Secrets", Some(mint)), ("this operator", ours)] {
        let Some(wave) = wave else { continue };
        let of = &wave.operator;
        let _ = writeln!(
            page,
            "| {name} | {} | {:.1} | {} | {} | {} | {} | {} | {:.2} | {:.1} |",
            spread(of.seconds, 1),
            of.keys_per_second.median,
            spread(wave.ratio, 2),
            spread(wave.processor_ratio, 2),
            counts(&of.calls_per_key),
            counts(&of.token_calls_per_key),
            of.failed_calls_per_key,
            median(&wave.uses, |uses| uses.leader.cpu_seconds),
            median(&wave.uses, |uses| kib(uses.leader.peak_kib) / 1_024.0),
        );
    }
}
