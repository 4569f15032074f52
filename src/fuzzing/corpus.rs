//! The corpora of the fuzz targets as ordinary tests: what fuzzing once found is tried in every run.

use std::fs;
use std::panic::catch_unwind;
use std::path::{Path, PathBuf};

type Check = fn(&[u8]);

/// Every target with its check.
const TARGETS: [(&str, Check); 4] = [
    ("decoder", super::decoder),
    ("durations", super::durations),
    ("name_tag", super::name_tag),
    ("secret_rendering", super::secret_rendering),
];

/// What stands in a folder below `fuzz/`, sorted.
fn files(folder: &str) -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz").join(folder);
    let entries = fs::read_dir(&folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    let mut files: Vec<_> = entries.map(|entry| entry.unwrap().path()).collect();
    files.sort();
    files
}

#[test]
fn every_input_of_every_corpus_passes() {
    for (target, check) in TARGETS {
        let inputs = files(&format!("corpus/{target}"));
        assert!(!inputs.is_empty(), "the corpus of {target} is empty");
        for path in inputs {
            let input = fs::read(&path).unwrap();
            // What failed stands above this, in the panic's own message.
            assert!(catch_unwind(|| check(&input)).is_ok(), "{target} fails for {}", path.display());
        }
    }
}

#[test]
fn every_fuzz_target_is_tried_here() {
    let stem = |path: PathBuf| path.file_stem().unwrap().to_str().unwrap().to_owned();
    let targets: Vec<_> = files("fuzz_targets").into_iter().map(stem).collect();
    assert_eq!(targets, TARGETS.map(|(target, _)| target));
}
