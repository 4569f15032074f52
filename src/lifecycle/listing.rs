//! What a list of tokens shows: only what bears a tag of this installation is kept.

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};

use super::naming::{Installation, Place, Tag};
use super::time::Monotonic;
use super::token::{TokenFacts, TokenId};

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

/// A token that a resource wants to know of by its id, whoever made it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wanted {
    /// What the list tells.
    pub facts: TokenFacts,
    /// The tag of its name, of whatever installation; nothing if people made it.
    pub tag: Option<Tag>,
    /// Listed as living.
    pub alive: bool,
}

/// A **complete** list of one type of token, as far as it is ours or was asked for. One that was cut short proves
/// nothing about what it lacks and never becomes a `Listing`.
#[derive(Clone, Debug)]
pub struct Listing {
    /// When its first page was asked for.
    pub begun: Monotonic,
    places: HashMap<Place, Vec<Listed>>,
    wanted: HashMap<TokenId, Wanted>,
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
        Self { begun, places: HashMap::new(), wanted: HashMap::new() }
    }

    /// Keeps a token if it bears a tag of `installation`. One that is shown again, as on two pages when the list moved
    /// between them, counts as it was shown last.
    pub fn add(&mut self, installation: &Installation, facts: TokenFacts, alive: bool) {
        let tag = facts.name.as_deref().and_then(Tag::of_name);
        if let Some(tag) = tag.filter(|tag| tag.owner.installation == *installation) {
            // Nearly every place has one.
            let tokens = self.places.entry(tag.owner.place.clone()).or_insert_with(|| Vec::with_capacity(1));
            tokens.retain(|other| other.facts.id != facts.id);
            tokens.push(Listed { facts, tag, alive });
        }
    }

    /// Keeps a token that was asked for by its id.
    pub fn add_wanted(&mut self, facts: TokenFacts, alive: bool) {
        let tag = facts.name.as_deref().and_then(Tag::of_name);
        self.wanted.insert(facts.id.clone(), Wanted { facts, tag, alive });
    }

    /// The tokens of this installation that were made for one place, whoever lived there.
    #[must_use]
    pub fn at(&self, place: &Place) -> &[Listed] {
        self.places.get(place).map_or(&[], Vec::as_slice)
    }

    /// A token that was asked for by its id before the list was begun.
    #[must_use]
    pub fn wanted(&self, id: &str) -> Option<&Wanted> {
        self.wanted.get(&TokenId::parse(id).ok()?)
    }

    /// A digest of what is shown of a place: of two lists that have the same one, both show the same.
    #[must_use]
    pub fn digest(&self, place: &Place) -> u64 {
        let mut hash = DefaultHasher::new();
        self.at(place).hash(&mut hash);
        hash.finish()
    }

    /// Every token of this installation.
    pub fn all(&self) -> impl Iterator<Item = &Listed> {
        self.places.values().flatten()
    }

    /// Whether it shows any token of this installation. A list that doesn't may be another organization's.
    #[must_use]
    pub fn shows_any(&self) -> bool {
        !self.places.is_empty()
    }
}
