//! Orphans: tokens of this installation whose resource is gone. They are reported and never revoked unasked: nobody can
//! tell whether something still uses them.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use super::listing::{Listed, Listing};
use super::naming::{Place, UidTag};

/// Everybody who can account for a token: all resources in all namespaces, and all Secrets of ours.
#[derive(Clone, Debug, Default)]
pub struct Census {
    /// The uids that the resource at a place has, or had in earlier lives.
    residents: HashMap<Place, BTreeSet<UidTag>>,
    /// Ids that a status or a retained Secret names, and who that is.
    named: BTreeMap<String, String>,
    /// Ids whose value stands in a Secret that nobody keeps.
    held: BTreeMap<String, String>,
}

/// A token that nobody accounts for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Orphan<'a> {
    /// The token.
    pub token: &'a Listed,
    /// The Secret that still holds its value, if there is one.
    pub secret: Option<&'a str>,
}

impl Census {
    /// A resource lives at a place.
    pub fn add_resident(&mut self, place: Place, uid: UidTag) {
        self.residents.entry(place).or_default().insert(uid);
    }

    /// `who` accounts for the token, by its status or as a retained Secret.
    pub fn add_named(&mut self, id: &str, who: &str) {
        self.named.insert(id.to_owned(), who.to_owned());
    }

    /// A Secret says that it holds the token's value, and that the resource at `place` has had these uids.
    pub fn add_secret(&mut self, place: &Place, uids: &[UidTag], id: &str, secret: &str) {
        self.held.insert(id.to_owned(), secret.to_owned());
        // The word of a Secret counts for the resource that lives there, if one does.
        if let Some(resident) = self.residents.get_mut(place)
            && uids.iter().any(|uid| resident.contains(uid))
        {
            resident.extend(uids.iter().cloned());
        }
    }

    /// Who accounts for a token, if anybody does.
    #[must_use]
    pub fn accounts_for(&self, listed: &Listed) -> Option<&str> {
        if let Some(who) = self.named.get(listed.facts.id.as_str()) {
            return Some(who);
        }
        let owner = &listed.tag.owner;
        let lives = self.residents.get(&owner.place).is_some_and(|uids| uids.contains(&owner.uid));
        lives.then_some("the resource that it was made for")
    }

    /// The living tokens of a list that nobody accounts for.
    pub fn orphans<'a>(&'a self, listing: &'a Listing) -> impl Iterator<Item = Orphan<'a>> {
        listing
            .all()
            .filter(|listed| listed.alive && self.accounts_for(listed).is_none())
            .map(|token| Orphan { token, secret: self.held.get(token.facts.id.as_str()).map(String::as_str) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lifecycle::naming::{Installation, OperationId, Owner, Tag};
    use crate::lifecycle::time::Monotonic;
    use crate::lifecycle::token::{TokenFacts, TokenId};
    use crate::resources::KeyKind;

    fn place(name: &str) -> Place {
        Place::new(KeyKind::Access, "shop", name)
    }

    /// A list of tokens: id, the name of the resource that it was made for, its uid, whether the token lives.
    fn listing(tokens: &[(&str, &str, &str, bool)]) -> Listing {
        let installation = Installation::new("cluster", "default");
        let tokens = tokens.iter().map(|(id, resource, uid, alive)| {
            let owner =
                Owner { installation: installation.clone(), place: place(resource), uid: UidTag::new(uid) };
            let name = Tag { owner, operation: OperationId::from_random([1; 10]) }.name("key", 63);
            (TokenFacts::named(TokenId::parse(id).unwrap(), name), *alive)
        });
        Listing::new(Monotonic::default(), &installation, tokens)
    }

    fn orphans(census: &Census, listing: &Listing) -> Vec<String> {
        let mut ids: Vec<_> = census.orphans(listing).map(|o| o.token.facts.id.to_string()).collect();
        ids.sort();
        ids
    }

    #[test]
    fn only_living_tokens_that_nobody_accounts_for_are_orphans() {
        let listing = listing(&[
            ("lives", "checkout", "uid", true),
            ("late", "checkout", "uid", true),
            ("former", "checkout", "former", true),
            ("named", "checkout", "another", true),
            ("gone", "search", "uid-2", true),
            ("dead", "search", "uid-2", false),
            ("retained", "billing", "uid-3", true),
        ]);
        let mut census = Census::default();
        census.add_resident(place("checkout"), UidTag::new("uid"));
        census.add_named("named", "AccessKey shop/checkout");
        census.add_named("retained", "Secret shop/billing");
        assert_eq!(orphans(&census, &listing), ["former", "gone"]);
        let uids = [UidTag::new("former"), UidTag::new("uid")];
        census.add_secret(&place("checkout"), &uids, "lives", "shop/checkout");
        assert_eq!(orphans(&census, &listing), ["gone"]);
    }

    #[test]
    fn a_secret_without_a_resource_is_told_and_accounts_for_nothing() {
        let listing = listing(&[("gone", "search", "uid", true)]);
        let mut census = Census::default();
        census.add_secret(&place("search"), &[UidTag::new("uid")], "gone", "shop/search");
        let found: Vec<_> = census.orphans(&listing).collect();
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].secret, Some("shop/search"));
    }

    #[test]
    fn a_secret_that_does_not_name_the_resident_makes_nobody_its_former_life() {
        let listing = listing(&[("another", "checkout", "another", true)]);
        let mut census = Census::default();
        census.add_resident(place("checkout"), UidTag::new("uid"));
        census.add_secret(&place("checkout"), &[UidTag::new("another")], "another", "shop/checkout");
        assert_eq!(orphans(&census, &listing), ["another"]);
    }
}
