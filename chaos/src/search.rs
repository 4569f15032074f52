//! Searches a text for values: those that are known, and whatever looks like one, for most values never reach a Secret.

use std::collections::BTreeSet;

use aho_corasick::AhoCorasick;
use anyhow::Result;
use k8s_openapi::ByteString;

/// How values begin.
const MARK: &str = "kt_live_";

/// How much of a value the token API itself shows after the mark, in lists and as its prefix.
const SHOWN: usize = 4;

/// So many characters more are no coincidence, and no longer harmless.
const TELLING: usize = 8;

/// How much of a known value is looked for, without its beginning, which may be shown: 24 of 40 random characters.
const TAIL: usize = 24;

/// Looks for values in texts.
pub(crate) struct Search {
    /// The beginning of a value as text, and as base64 wherever it begins in what was encoded.
    marks: Vec<String>,
    /// Ends of the known values, and the values as base64: two patterns each.
    known: AhoCorasick,
    number: usize,
}

impl Search {
    /// Looks for these values, and for whatever looks like one.
    pub(crate) fn new(known: &BTreeSet<String>) -> Result<Self> {
        let patterns = known.iter().flat_map(|value| {
            let tail = &value[value.len().saturating_sub(TAIL)..];
            [tail.to_owned(), base64(value.as_bytes())]
        });
        Ok(Self { marks: marks(), known: AhoCorasick::new(patterns)?, number: known.len() })
    }

    /// What is found in a text, without the value itself: this is printed.
    pub(crate) fn values(&self, text: &str) -> Vec<String> {
        let mut found = Vec::new();
        for mark in &self.marks {
            let shown = if mark == MARK { SHOWN } else { base64_length(SHOWN) };
            for (at, _) in text.match_indices(mark.as_str()) {
                let rest = text[at + mark.len()..]
                    .bytes()
                    .take_while(|b| b.is_ascii_alphanumeric() || *b == b'+' || *b == b'/');
                if rest.count() > shown + TELLING {
                    found.push(format!("something that looks like a value, at byte {at}"));
                }
            }
        }
        let numbers: BTreeSet<usize> =
            self.known.find_overlapping_iter(text).map(|it| it.pattern().as_usize() / 2).collect();
        found.extend(numbers.into_iter().map(|number| format!("value {number} of {}", self.number)));
        found
    }
}

/// The mark as text, and as base64 wherever it begins in what was encoded.
fn marks() -> Vec<String> {
    let mut marks = vec![MARK.to_owned()];
    for offset in 0..3 {
        let mut bytes = vec![0; offset];
        bytes.extend(MARK.bytes());
        let encoded = base64(&bytes);
        // Characters that the bytes before or after have a part in are left out.
        let from = (offset * 8).div_ceil(6);
        let to = bytes.len() * 8 / 6;
        marks.push(encoded[from..to].to_owned());
    }
    marks
}

fn base64_length(bytes: usize) -> usize {
    (bytes * 8).div_ceil(6)
}

fn base64(bytes: &[u8]) -> String {
    let encoded = serde_json::to_value(ByteString(bytes.to_vec())).unwrap_or_default();
    encoded.as_str().unwrap_or_default().trim_end_matches('=').to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn values(text: &str, known: &BTreeSet<String>) -> Vec<String> {
        Search::new(known).unwrap().values(text)
    }

    const VALUE: &str = "kt_live_abcdEFGHijklMNOPqrstUVWXyz0123456789ABCD";

    #[test]
    fn a_value_is_found_as_text_and_as_base64_wherever_it_stands() {
        for offset in 0..3 {
            let plain = format!("{}{VALUE}", " ".repeat(offset));
            for text in [plain.clone(), format!("x {} y", base64(plain.as_bytes()))] {
                assert!(!values(&text, &BTreeSet::new()).is_empty(), "{text}");
            }
        }
    }

    #[test]
    fn a_known_value_is_found_by_its_end() {
        let known = BTreeSet::from([VALUE.to_owned()]);
        assert_eq!(values(&VALUE[20..], &known).len(), 1);
        assert!(values("nothing", &known).is_empty());
    }

    #[test]
    fn a_prefix_is_no_value() {
        for text in ["kt_live_abcd", "kt_live_", "[redacted]", &base64(b"kt_live_abcd")] {
            assert!(values(text, &BTreeSet::new()).is_empty(), "{text}");
        }
    }

    #[test]
    fn what_is_found_is_not_told() {
        let known = BTreeSet::from([VALUE.to_owned()]);
        assert!(values(VALUE, &known).iter().all(|what| !what.contains("abcd")));
    }
}
