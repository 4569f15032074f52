#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| keeptrusts_operator::fuzzing::durations(input));
