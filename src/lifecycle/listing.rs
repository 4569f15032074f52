//! What a list of tokens shows: only what bears a tag of this installation is kept.

use std::collections::HashMap;

use super::naming::{Installation, Owner, Tag};
use super::time::Monotonic;
use super::token::TokenFacts;

/// A token of ours in a list.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Listed {
    /// What the list tells.
    pub facts: TokenFacts,
    /// The tag of its name.
    pub tag: Tag,
    /// Listed as living. Being listed is not enough: lists may show revoked tokens (O5).
    pub alive: bool,
}

/// A **complete** list of one type of token, as far as it is ours. One that was cut short proves nothing about what it
/// lacks and never becomes a `Listing`.
#[derive(Clone, Debug)]
pub struct Listing {
    /// When its first page was asked for.
    pub begun: Monotonic,
    owners: HashMap<Owner, Vec<Listed>>,
}

impl Listing {
    /// Keeps the tokens that bear a tag of `installation`; `tokens` holds facts and whether the token lives.
    pub fn new(
        begun: Monotonic,
        installation: &Installation,
        tokens: impl IntoIterator<Item = (TokenFacts, bool)>,
    ) -> Self {
        let mut listing = Self::empty(begun);
        for (facts, alive) in tokens {
            listing.add(installation, facts, alive);
        }
        listing
    }

    /// A list that shows nothing yet.
    #[must_use]
    pub fn empty(begun: Monotonic) -> Self {
        Self { begun, owners: HashMap::new() }
    }

    /// Keeps a token if it bears a tag of `installation`. One that is shown again, as on two pages when the list moved
    /// between them, counts as it was shown last.
    pub fn add(&mut self, installation: &Installation, facts: TokenFacts, alive: bool) {
        let tag = facts.name.as_deref().and_then(Tag::of_name);
        if let Some(tag) = tag.filter(|tag| tag.owner.installation == *installation) {
            let tokens = self.owners.entry(tag.owner.clone()).or_default();
            tokens.retain(|other| other.facts.id != facts.id);
            tokens.push(Listed { facts, tag, alive });
        }
    }

    /// The tokens under the tag of one resource.
    #[must_use]
    pub fn of(&self, owner: &Owner) -> &[Listed] {
        self.owners.get(owner).map_or(&[], Vec::as_slice)
    }

    /// Whether it shows any token of this installation. A list that doesn't may be another organization's.
    #[must_use]
    pub fn shows_any(&self) -> bool {
        !self.owners.is_empty()
    }
}
