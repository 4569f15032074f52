//! A few figures for many.

use serde::{Deserialize, Serialize};

/// The least, the middle and the most of the rounds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Spread {
    pub(crate) min: f64,
    pub(crate) median: f64,
    pub(crate) max: f64,
}

impl Spread {
    /// Of these figures; zeros of none.
    pub(crate) fn of(figures: impl IntoIterator<Item = f64>) -> Self {
        let sorted = sorted(figures);
        let at = |share| rounded(percentile_of(&sorted, share));
        Self { min: at(0.0), median: at(50.0), max: at(100.0) }
    }
}

/// The figure that so many percent of all don't exceed, between two of them in proportion; zero of none.
pub(crate) fn percentile(figures: impl IntoIterator<Item = f64>, percent: f64) -> f64 {
    rounded(percentile_of(&sorted(figures), percent))
}

/// To a ten-thousandth, for reports that people read.
pub(crate) fn rounded(figure: f64) -> f64 {
    (figure * 10_000.0).round() / 10_000.0
}

fn sorted(figures: impl IntoIterator<Item = f64>) -> Vec<f64> {
    let mut all: Vec<f64> = figures.into_iter().collect();
    all.sort_by(f64::total_cmp);
    all
}

fn percentile_of(sorted: &[f64], percent: f64) -> f64 {
    let Some(last) = sorted.len().checked_sub(1) else { return 0.0 };
    let place = count(last) * percent / 100.0;
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a place in the list")]
    let below = (place.floor() as usize).min(last);
    let above = (below + 1).min(last);
    sorted[below] + (sorted[above] - sorted[below]) * (place - place.floor())
}

/// A count as a figure.
#[expect(clippy::cast_precision_loss, reason = "nothing here is counted to 2^52")]
pub(crate) const fn count(number: usize) -> f64 {
    number as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_spread_is_least_middle_and_most() {
        assert_eq!(Spread::of([3.0, 1.0, 2.0]), Spread { min: 1.0, median: 2.0, max: 3.0 });
        assert_eq!(Spread::of([1.0, 2.0]), Spread { min: 1.0, median: 1.5, max: 2.0 });
        assert_eq!(Spread::of([]), Spread::default());
    }

    #[test]
    fn a_percentile_lies_between_its_neighbours() {
        let hundred = || (0..=100).map(|n| f64::from(n) * 2.0);
        let figures = [
            percentile(hundred(), 99.0),
            percentile([10.0, 20.0], 75.0),
            percentile([7.0], 99.0),
            percentile([], 50.0),
        ];
        assert_eq!(figures.map(|figure| figure.to_string()), ["198", "17.5", "7", "0"]);
    }
}
