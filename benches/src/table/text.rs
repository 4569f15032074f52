//! Figures as text.

use std::collections::BTreeMap;
use std::fmt::Display;

use crate::statistics::Spread;

pub(super) fn numbers<N: Display>(all: &BTreeMap<String, N>) -> String {
    let each = all.iter().map(|(label, number)| format!("{number} × {label}"));
    let text = each.collect::<Vec<_>>().join(", ");
    if text.is_empty() { "none".to_owned() } else { text }
}

pub(super) fn counts(all: &BTreeMap<String, f64>) -> String {
    let each = all.iter().map(|(label, calls)| format!("{} × {label}", short(*calls)));
    each.collect::<Vec<_>>().join(", ")
}

/// To a hundredth, and a whole number as one.
fn short(figure: f64) -> String {
    let text = format!("{figure:.2}");
    text.strip_suffix(".00").map_or(text.clone(), str::to_owned)
}

pub(super) fn spread(Spread { min, median, max }: Spread, digits: usize) -> String {
    format!("{min:.digits$} – {median:.digits$} – {max:.digits$}")
}

pub(super) fn thousand(Spread { min, median, max }: Spread) -> Spread {
    Spread { min: min * 1_000.0, median: median * 1_000.0, max: max * 1_000.0 }
}

pub(super) fn median<T>(all: &[T], of: impl Fn(&T) -> f64) -> f64 {
    Spread::of(all.iter().map(of)).median
}

#[expect(clippy::cast_precision_loss, reason = "no memory has 2^52 KiB")]
pub(super) const fn kib(kib: u64) -> f64 {
    kib as f64
}

/// The same with paragraphs broken into lines of ordinary length; tables, headings and code stay as they are.
pub(super) fn wrapped(text: &str) -> String {
    const WIDTH: usize = 140;
    let mut page = String::new();
    for line in text.lines() {
        if line.starts_with(['|', '#', ' ', '<']) {
            page.push_str(line);
        } else {
            let mut column = 0;
            for word in line.split(' ') {
                let length = word.chars().count();
                if column > 0 {
                    let fits = column + 1 + length <= WIDTH;
                    page.push(if fits { ' ' } else { '\n' });
                    column = if fits { column + 1 } else { 0 };
                }
                page.push_str(word);
                column += length;
            }
        }
        page.push('\n');
    }
    page
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paragraphs_are_broken_and_tables_are_not() {
        let words = ["word"; 60].join(" ");
        let broken = wrapped(&words);
        assert!(broken.lines().count() == 3 && broken.lines().all(|line| line.len() <= 140), "{broken}");
        assert_eq!(broken.split_whitespace().count(), 60);
        let table = format!("| {words} |\n\n# {words}\n");
        assert_eq!(wrapped(&table), table);
    }
}
