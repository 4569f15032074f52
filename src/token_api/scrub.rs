//! Makes text from outside fit to be shown: short, on one line, and without whatever looks like a key.

/// What stands in place of something that looks like a key.
const REDACTED: &str = "[redacted]";

/// The longest text that is shown, in characters. Conditions and events take more, but nobody reads more.
const MAX_SHOWN: usize = 256;

/// How much of a text is looked at: scrubbing shortens, so more than what is shown, but not without bound.
const MAX_READ: usize = 8192;

/// The shortest run of base64 or hex characters that is taken for a secret: 128 bits in hex.
const MIN_RUN: usize = 32;

/// With which the values of the API begin (its documentation names these two).
const VALUE_MARKS: [&str; 2] = ["kt_live_", "kt_gk_"];

/// Whether `text` begins as the API's values do.
pub(super) fn looks_like_value(text: &str) -> bool {
    VALUE_MARKS.iter().any(|mark| text.starts_with(mark))
}

/// `text` fit to be shown; `secrets` are taken out literally, whatever they look like.
pub(super) fn scrub(text: &str, secrets: &[&str]) -> String {
    let mut shown = plain(text);
    for secret in secrets.iter().filter(|secret| !secret.is_empty()) {
        shown = shown.replace(*secret, REDACTED);
    }
    shorten(&bearers(&runs(&shown)))
}

/// On one line, with single spaces, without control characters or what reorders text on a screen.
fn plain(text: &str) -> String {
    let mut plain = String::new();
    let mut cut = false;
    for (index, c) in text.chars().enumerate() {
        if index == MAX_READ {
            cut = true;
            break;
        }
        if c.is_whitespace() {
            if !plain.is_empty() && !plain.ends_with(' ') {
                plain.push(' ');
            }
        } else if !c.is_control() && !is_format(c) {
            plain.push(c);
        }
    }
    if cut {
        // The last word may be half a secret, too short to be recognised.
        let whole = plain.rfind(' ').unwrap_or_default();
        plain.truncate(whole);
    }
    plain.truncate(plain.trim_end().len());
    plain
}

/// Characters that show nothing, and could hide a key from what looks for it.
fn is_format(c: char) -> bool {
    matches!(c, '\u{ad}' | '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}')
}

const fn is_key_character(c: char) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, '+' | '/' | '=' | '_' | '-')
}

/// Takes out whole runs of key characters that are long, or have the mark of a value in them.
fn runs(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while !rest.is_empty() {
        let end = rest.find(|c| !is_key_character(c)).unwrap_or(rest.len());
        let (run, tail) = rest.split_at(end);
        if run.len() >= MIN_RUN || VALUE_MARKS.iter().any(|mark| run.to_ascii_lowercase().contains(mark)) {
            out.push_str(REDACTED);
        } else {
            out.push_str(run);
        }
        let end = tail.find(is_key_character).unwrap_or(tail.len());
        let (between, tail) = tail.split_at(end);
        out.push_str(between);
        rest = tail;
    }
    out
}

/// Takes out the word after `Bearer`.
fn bearers(text: &str) -> String {
    let mut words: Vec<&str> = Vec::new();
    let mut after_bearer = false;
    for word in text.split(' ') {
        words.push(if after_bearer { REDACTED } else { word });
        let bare = word.trim_matches(|c: char| !c.is_ascii_alphanumeric());
        after_bearer = bare.eq_ignore_ascii_case("bearer");
    }
    words.join(" ")
}

fn shorten(text: &str) -> String {
    if text.chars().count() <= MAX_SHOWN {
        return text.to_owned();
    }
    let mut short: String = text.chars().take(MAX_SHOWN - 1).collect();
    short.push('…');
    short
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_looks_like_a_key_is_taken_out_and_the_rest_stays() {
        for (text, shown) in [
            ("MFA is required for this operation", "MFA is required for this operation"),
            ("key kt_live_abc is unknown", "key [redacted] is unknown"),
            ("key=kt_gk_abc, sorry", "[redacted], sorry"),
            ("KT_LIVE_ABC", "[redacted]"),
            ("Authorization: Bearer abc.def", "Authorization: Bearer [redacted]"),
            ("\"bearer\" abc", "\"bearer\" [redacted]"),
            ("digest 0123456789abcdef0123456789abcdef", "digest [redacted]"),
            ("digest 0123456789abcdef0123456789abcde", "digest 0123456789abcdef0123456789abcde"),
            ("our s3cret here", "our [redacted] here"),
            ("two\nlines\tand\u{7} a bell", "two lines and a bell"),
            ("kt_\u{200b}live_abc and kt\u{0}_live_abc", "[redacted] and [redacted]"),
            ("  ", ""),
        ] {
            assert_eq!(scrub(text, &["s3cret", ""]), shown, "{text:?}");
        }
    }

    #[test]
    fn a_long_text_is_cut_but_never_in_a_way_that_shows_half_a_key() {
        let long = "word ".repeat(200);
        assert_eq!(scrub(&long, &[]).chars().count(), MAX_SHOWN);
        let straddling = format!("{}kt_live_abcdefgh", "é".repeat(MAX_READ - 3));
        assert!(!scrub(&straddling, &[]).contains("kt_"), "cut");
    }

    proptest! {
        #[test]
        fn no_text_shows_a_value(before in ".{0,300}", after in "[^A-Za-z0-9].{0,300}") {
            let shown = scrub(&format!("{before}kt_live_canary{after}"), &[]);
            prop_assert!(!shown.contains("canary"));
            prop_assert!(shown.chars().count() <= MAX_SHOWN);
            prop_assert!(!shown.chars().any(char::is_control));
        }
    }
}
