//! Whether lists that lack tokens are believed.
//!
//! A list that suddenly lacks what it showed is more often another organization's, or a broken one, than the truth
//! (review, H9): while a fifth of the known tokens are missing, absence alone proves nothing.

use std::collections::HashSet;

use crate::lifecycle::listing::Listing;
use crate::lifecycle::token::TokenId;

/// One in so many known tokens, at least one, vanishes: then lists aren't believed.
const ONE_IN: usize = 5;

/// What lists of one type showed, and whether the latest may be believed in what it lacks.
#[derive(Debug, Default)]
pub(super) struct Doubt {
    /// Living tokens of the last list that was believed.
    known: HashSet<TokenId>,
    /// Those of them that are known to be dead since.
    excused: HashSet<TokenId>,
    doubted: bool,
}

impl Doubt {
    /// Compares a complete list with the last one that was believed. Says whether the verdict has changed.
    pub(super) fn weigh(&mut self, listing: &Listing) -> bool {
        let shown: HashSet<&TokenId> = listing.all().map(|listed| &listed.facts.id).collect();
        let missing =
            self.known.iter().filter(|id| !shown.contains(id) && !self.excused.contains(*id)).count();
        let before =
            std::mem::replace(&mut self.doubted, missing > 0 && missing * ONE_IN >= self.known.len());
        if !self.doubted {
            let living = listing.all().filter(|listed| listed.alive);
            self.known = living.map(|listed| listed.facts.id.clone()).collect();
            self.excused.clear();
        }
        before != self.doubted
    }

    /// The token was revoked, or its value found dead: that it vanishes is no surprise.
    pub(super) fn excuse(&mut self, id: &TokenId) {
        if self.known.contains(id) {
            self.excused.insert(id.clone());
        }
    }

    /// Whether absence proves nothing for now.
    pub(super) fn is_doubted(&self) -> bool {
        self.doubted
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lifecycle::naming::{Installation, OperationId, Owner, Place, Tag, UidTag};
    use crate::lifecycle::time::Monotonic;
    use crate::lifecycle::token::TokenFacts;
    use crate::resources::KeyKind;

    fn listing(ids: std::ops::Range<usize>) -> Listing {
        let installation = Installation::new("cluster", "default");
        let tokens = ids.map(|number| {
            let owner = Owner {
                installation: installation.clone(),
                place: Place::new(KeyKind::Access, "shop", &number.to_string()),
                uid: UidTag::new("uid"),
            };
            let name = Tag { owner, operation: OperationId::from_random([1; 10]) }.name("key", 63);
            (TokenFacts::named(id(number), name), true)
        });
        Listing::new(Monotonic::default(), &installation, tokens)
    }

    fn id(number: usize) -> TokenId {
        TokenId::parse(&format!("tok_{number}")).unwrap()
    }

    #[test]
    fn a_fifth_that_vanishes_at_once_is_not_believed_until_the_lists_are_whole_again() {
        for (known, shown, doubted) in [
            (10, 10, false),
            (10, 9, false),
            (10, 8, true),
            (10, 0, true),
            (4, 3, true),
            (1, 0, true),
            (0, 0, false),
        ] {
            let mut doubt = Doubt::default();
            assert!(!doubt.weigh(&listing(0..known)), "a first list has nothing to be compared with");
            assert_eq!(doubt.weigh(&listing(0..shown)), doubted, "{known} {shown}");
            assert_eq!(doubt.is_doubted(), doubted, "{known} {shown}");
            assert!(!doubt.weigh(&listing(0..shown)), "the same list again changes nothing");
            assert_eq!(
                doubt.is_doubted(),
                doubted,
                "a list that is shown twice isn't truer: {known} {shown}"
            );
            assert_eq!(doubt.weigh(&listing(0..known)), doubted, "whole again: {known} {shown}");
            assert!(!doubt.is_doubted());
        }
    }

    #[test]
    fn what_is_known_to_be_dead_may_vanish() {
        let mut doubt = Doubt::default();
        doubt.weigh(&listing(0..4));
        doubt.excuse(&id(3));
        assert!(!doubt.weigh(&listing(0..3)));
        assert!(!doubt.is_doubted());
    }

    #[test]
    fn tokens_that_are_proved_dead_one_after_the_other_end_the_doubt() {
        let mut doubt = Doubt::default();
        doubt.weigh(&listing(0..4));
        assert!(doubt.weigh(&listing(0..2)));
        doubt.excuse(&id(2));
        doubt.weigh(&listing(0..2));
        assert!(doubt.is_doubted());
        doubt.excuse(&id(3));
        assert!(doubt.weigh(&listing(0..2)));
        assert!(!doubt.is_doubted());
    }
}
