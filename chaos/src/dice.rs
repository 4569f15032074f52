//! Chance that can be repeated: the same seed gives the same numbers with every version of every library.

use std::time::Duration;

/// `SplitMix64` (Steele, Lea, Flood: "Fast splittable pseudorandom number generators", 2014). Nobody has to guess what it draws.
#[derive(Debug, Clone)]
pub(crate) struct Dice(u64);

impl Dice {
    /// Dice of a seed. `purpose` gives every part of a plan numbers of its own, so that a change to one part leaves the others.
    pub(crate) fn new(seed: u64, purpose: &str) -> Self {
        let mut dice = Self(seed);
        for byte in purpose.bytes() {
            dice.0 = dice.next() ^ u64::from(byte);
        }
        dice
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number below `bound`, which isn't 0. What the remainder prefers is far below what anybody would notice.
    pub(crate) fn below(&mut self, bound: usize) -> usize {
        let bound = u64::try_from(bound).unwrap_or(u64::MAX).max(1);
        usize::try_from(self.next() % bound).unwrap_or_default()
    }

    /// True so many times in a hundred.
    pub(crate) fn chance(&mut self, percent: usize) -> bool {
        self.below(100) < percent
    }

    /// A time between two, in milliseconds.
    pub(crate) fn millis(&mut self, least: u64, most: u64) -> Duration {
        Duration::from_millis(least + self.next() % (most.saturating_sub(least) + 1))
    }

    /// One of several.
    pub(crate) fn pick<'a, T>(&mut self, of: &'a [T]) -> &'a T {
        &of[self.below(of.len())]
    }

    fn shuffle<T>(&mut self, cards: &mut [T]) {
        for last in (1..cards.len()).rev() {
            cards.swap(last, self.below(last + 1));
        }
    }
}

/// A deck of cards that is dealt to its end before it is shuffled again: whatever is in it comes up, and as often as it is in it.
#[derive(Debug, Clone)]
pub(crate) struct Deck<T> {
    cards: Vec<T>,
    dealt: usize,
}

impl<T: Clone> Deck<T> {
    /// A deck in which each card is as many times as it says.
    pub(crate) fn new(cards: &[(usize, T)]) -> Self {
        let cards: Vec<T> =
            cards.iter().flat_map(|(times, card)| std::iter::repeat_n(card.clone(), *times)).collect();
        let dealt = cards.len();
        Self { cards, dealt }
    }

    /// The next card.
    pub(crate) fn deal(&mut self, dice: &mut Dice) -> T {
        if self.dealt == self.cards.len() {
            dice.shuffle(&mut self.cards);
            self.dealt = 0;
        }
        self.dealt += 1;
        self.cards[self.dealt - 1].clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_and_a_purpose_give_the_same_numbers_for_ever() {
        let mut dice = Dice::new(1, "people");
        let drawn: Vec<usize> = (0..4).map(|_| dice.below(1000)).collect();
        assert_eq!(drawn, FIRST);
        assert_ne!(Dice::new(1, "faults").next(), Dice::new(1, "people").next());
        assert_ne!(Dice::new(2, "people").next(), Dice::new(1, "people").next());
    }

    /// What seed 1 gave when this was written.
    const FIRST: [usize; 4] = [316, 433, 644, 335];

    #[test]
    fn a_deck_deals_every_card_before_any_comes_again() {
        let mut dice = Dice::new(7, "deck");
        let mut deck = Deck::new(&[(2, 'a'), (1, 'b')]);
        for _ in 0..5 {
            let mut round: Vec<char> = (0..3).map(|_| deck.deal(&mut dice)).collect();
            round.sort_unstable();
            assert_eq!(round, ['a', 'a', 'b']);
        }
    }
}
