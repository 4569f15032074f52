//! Token names. No metadata can be attached to a token, so its name says whose it is: `<head>-kt1-<tag>`.
//!
//! The tag has a fixed form and is never cut; the head is. It encodes the installation, the place (kind, namespace,
//! name), the uid of the resource and the operation that made the token.

use std::fmt;

use sha2::{Digest, Sha256};

use crate::resources::KeyKind;

/// Between head and tag; the digit is the version of the tag's form.
const MARK: &str = "-kt1-";

/// Characters of the tag that each part takes; base32 has five bits a character.
///
/// Installation and place tell a handful of installations and one resource's lives apart: 40 bits. The uid decides
/// whose a token is among all resources of all time, against accident only (the API server draws uids, nobody can
/// choose one): 60 bits. The operation is drawn at random and never twice: 80 bits (protocol review, H11).
const INSTALLATION: usize = 8;
const PLACE: usize = 8;
const UID: usize = 12;
const OPERATION: usize = 16;
const TAG: usize = INSTALLATION + PLACE + UID + OPERATION;

/// The shortest limit on names with which a head of one character fits.
pub const MIN_NAME_LENGTH: usize = 1 + MARK.len() + TAG;

/// The limit on names unless told otherwise (open question O14 of the token API).
pub const DEFAULT_NAME_LENGTH: usize = 63;

const ALPHABET: base32::Alphabet = base32::Alphabet::Rfc4648Lower { padding: false };

fn hashed<const N: usize>(parts: &[&str]) -> [u8; N] {
    let mut hash = Sha256::new();
    for part in parts {
        // The length keeps ("a", "bc") and ("ab", "c") apart.
        hash.update((part.len() as u64).to_be_bytes());
        hash.update(part.as_bytes());
    }
    beginning(&base32::encode(ALPHABET, &hash.finalize()))
}

/// The first characters of a text that has at least so many.
fn beginning<const N: usize>(text: &str) -> [u8; N] {
    text.as_bytes().first_chunk().copied().unwrap_or([b'a'; N])
}

/// Declares a part of the tag: a fixed number of base32 characters.
macro_rules! tag_part {
    ($(#[$doc:meta])* $name:ident, $length:expr) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub struct $name([u8; $length]);

        impl $name {
            /// The part as text.
            #[must_use]
            pub fn as_str(&self) -> &str {
                // It is of base32's characters alone.
                str::from_utf8(&self.0).unwrap_or_default()
            }

            /// Reads the part; nothing if it isn't of the part's form.
            #[must_use]
            pub fn parse(text: &str) -> Option<Self> {
                let base32 = |b: u8| b.is_ascii_lowercase() || (b'2'..=b'7').contains(&b);
                text.bytes().all(base32).then(|| text.as_bytes().try_into().ok().map(Self)).flatten()
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(self.as_str())
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(self.as_str())
            }
        }
    };
}

tag_part!(
    /// This operator's installation: the cluster and the operator's instance in it.
    Installation,
    INSTALLATION
);
tag_part!(
    /// Where a resource stands: kind, namespace and name.
    Place,
    PLACE
);
tag_part!(
    /// A resource's uid, shortened.
    UidTag,
    UID
);
tag_part!(
    /// An operation: random, never derived, never used twice.
    OperationId,
    OPERATION
);

impl Installation {
    /// The installation of the operator called `instance` in the cluster whose `kube-system` namespace has
    /// `cluster_uid`.
    #[must_use]
    pub fn new(cluster_uid: &str, instance: &str) -> Self {
        Self(hashed(&[cluster_uid, instance]))
    }
}

impl Place {
    /// The place of a resource.
    #[must_use]
    pub fn new(kind: KeyKind, namespace: &str, name: &str) -> Self {
        Self(hashed(&[kind.kind(), namespace, name]))
    }
}

impl UidTag {
    /// The short form of `uid`.
    #[must_use]
    pub fn new(uid: &str) -> Self {
        Self(hashed(&[uid]))
    }
}

impl OperationId {
    /// Makes an id of 80 random bits. The randomness comes from the caller: the core has none.
    #[must_use]
    pub fn from_random(bytes: [u8; OPERATION * 5 / 8]) -> Self {
        Self(beginning(&base32::encode(ALPHABET, &bytes)))
    }
}

/// Whose tokens a resource may call its own: everything of a tag but the operation.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Owner {
    /// The installation.
    pub installation: Installation,
    /// The resource's place.
    pub place: Place,
    /// The resource's uid.
    pub uid: UidTag,
}

/// The tag of a token's name.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Tag {
    /// Whose the token is.
    pub owner: Owner,
    /// The operation that made it.
    pub operation: OperationId,
}

impl Tag {
    /// The last tag of a token's name; nothing if it ends in none.
    #[must_use]
    pub fn of_name(name: &str) -> Option<Self> {
        let (head, tag) = name.rsplit_once(MARK)?;
        if head.is_empty() || tag.len() != TAG || !tag.is_ascii() {
            return None;
        }
        let (installation, rest) = tag.split_at(INSTALLATION);
        let (place, rest) = rest.split_at(PLACE);
        let (uid, operation) = rest.split_at(UID);
        Some(Self {
            owner: Owner {
                installation: Installation::parse(installation)?,
                place: Place::parse(place)?,
                uid: UidTag::parse(uid)?,
            },
            operation: OperationId::parse(operation)?,
        })
    }

    /// The full name of a token: `head`, made fit for the API and cut so that all of it has at most `limit`
    /// characters, and this tag.
    #[must_use]
    pub fn name(&self, head: &str, limit: usize) -> String {
        let room = limit.max(MIN_NAME_LENGTH) - MARK.len() - TAG;
        let fit: String = head
            .chars()
            .map(|c| match c.to_ascii_lowercase() {
                c @ ('a'..='z' | '0'..='9') => c,
                _ => '-',
            })
            .take(room)
            .collect();
        let head = match fit.trim_matches('-') {
            "" => "k",
            head => head,
        };
        let Self { owner: Owner { installation, place, uid }, operation } = self;
        format!("{head}{MARK}{installation}{place}{uid}{operation}")
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn tag() -> Tag {
        Tag {
            owner: Owner {
                installation: Installation::new("cluster", "default"),
                place: Place::new(KeyKind::Access, "shop", "checkout"),
                uid: UidTag::new("5b9c7f6e"),
            },
            operation: OperationId::from_random([3; 10]),
        }
    }

    #[test]
    fn a_head_is_made_fit_and_cut_and_the_tag_is_not() {
        for (head, fit) in [
            ("checkout-api", "checkout-api"),
            ("Checkout API", "checkout-api"),
            ("a.very.long.name.that.does.not.fit", "a-very-long-na"),
            ("ends-at-a-cut-here", "ends-at-a-cut"),
            ("", "k"),
            ("---", "k"),
            ("äöü", "k"),
        ] {
            let name = tag().name(head, DEFAULT_NAME_LENGTH);
            assert!(name.starts_with(&format!("{fit}{MARK}")), "{head}: {name}");
            assert!(name.len() <= DEFAULT_NAME_LENGTH, "{name}");
            assert_eq!(Tag::of_name(&name), Some(tag()), "{name}");
        }
    }

    #[test]
    fn a_limit_that_is_too_small_never_cuts_the_tag() {
        assert_eq!(Tag::of_name(&tag().name("checkout", 3)), Some(tag()));
    }

    #[test]
    fn only_the_last_tag_of_a_name_counts() {
        let other = Tag { operation: OperationId::from_random([4; 10]), ..tag() };
        let name = other.name(&tag().name("x", 63), 200);
        assert_eq!(Tag::of_name(&name), Some(other));
    }

    #[test]
    fn what_is_not_exactly_a_tag_is_none() {
        let name = tag().name("checkout", DEFAULT_NAME_LENGTH);
        let cut = &name[..name.len() - 1];
        let upper = name.to_uppercase();
        let longer = format!("{name}a");
        let headless = name.trim_start_matches("checkout");
        for text in ["", "checkout", cut, &upper, &longer, headless, "x-kt1-", "x-kt2-aaaa"] {
            assert_eq!(Tag::of_name(text), None, "{text}");
        }
    }

    #[test]
    fn kinds_namespaces_and_names_have_places_of_their_own() {
        let places = [
            Place::new(KeyKind::Access, "shop", "checkout"),
            Place::new(KeyKind::Gateway, "shop", "checkout"),
            Place::new(KeyKind::Access, "sho", "pcheckout"),
            Place::new(KeyKind::Access, "checkout", "shop"),
        ];
        let distinct: std::collections::BTreeSet<_> = places.iter().collect();
        assert_eq!(distinct.len(), places.len());
    }

    proptest! {
        #[test]
        fn any_head_and_limit_give_a_name_that_is_read_back(head in ".{0,300}", limit in MIN_NAME_LENGTH..200) {
            let name = tag().name(&head, limit);
            prop_assert!(name.len() <= limit);
            prop_assert!(name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-'));
            prop_assert_eq!(Tag::of_name(&name), Some(tag()));
        }

        #[test]
        fn no_text_makes_the_reader_panic(text in ".{0,200}") {
            let _read = Tag::of_name(&text);
        }
    }
}
