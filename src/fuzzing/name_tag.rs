//! Names of tokens. The input is a limit, a line end, and the head of a name; the whole of it is read as a name too.

use crate::lifecycle::naming::{
    DEFAULT_NAME_LENGTH, Installation, MIN_NAME_LENGTH, OperationId, Owner, Place, Tag, UidTag,
};
use crate::resources::KeyKind;

/// Above every limit that can be set.
const LONG: usize = 4096;

/// Checks one limit and head.
///
/// # Panics
/// If something that must hold doesn't.
pub fn check(input: &[u8]) {
    let text = String::from_utf8_lossy(input);
    let (limit, head) = text.split_once('\n').unwrap_or(("", &text));
    let limit = limit.parse().unwrap_or(DEFAULT_NAME_LENGTH).min(LONG);
    made(&tag(head, 0), head, limit);
    read(&text);
    read(head);
}

/// A tag of which every part depends on the text.
fn tag(text: &str, seed: u8) -> Tag {
    let mut random = [seed; 10];
    for (index, byte) in text.bytes().enumerate() {
        let slot = &mut random[index % 10];
        *slot = slot.rotate_left(3) ^ byte;
    }
    let kind = if text.len().is_multiple_of(2) { KeyKind::Access } else { KeyKind::Gateway };
    Tag {
        owner: Owner {
            installation: Installation::new(text, "default"),
            place: Place::new(kind, text, "checkout"),
            uid: UidTag::new(text),
        },
        operation: OperationId::from_random(random),
    }
}

/// What must hold of a name that is made.
fn made(tag: &Tag, head: &str, limit: usize) {
    let name = tag.name(head, limit);
    assert!(name.len() <= limit.max(MIN_NAME_LENGTH), "{name:?} is longer than {limit}");
    let fits = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
    assert!(name.bytes().all(fits) && !name.starts_with('-'), "{name:?} has characters that don't fit");
    assert_eq!(Tag::of_name(&name).as_ref(), Some(tag), "{name:?} isn't read back");

    let (fit, _) = name.rsplit_once("-kt1-").unwrap_or_default();
    assert_eq!(tag.name(fit, limit), name, "a head that fits is taken as it is");

    let other = Tag { operation: self::tag(head, 1).operation, ..tag.clone() };
    assert_ne!(&other, tag, "another operation has another tag");
    let twice = other.name(&name, LONG * 2);
    assert_eq!(Tag::of_name(&twice), Some(other), "the last tag of {twice:?} wins");
}

/// What must hold of any text in the place of a name.
fn read(text: &str) {
    let Some(tag) = Tag::of_name(text) else { return };
    let Owner { installation, place, uid } = &tag.owner;
    let written = format!("-kt1-{installation}{place}{uid}{}", tag.operation);
    let head = text.strip_suffix(&written).unwrap_or_default();
    assert!(!head.is_empty(), "{text:?} doesn't end in {written:?}");
    let again = tag.name(head, LONG + text.len());
    assert_eq!(Tag::of_name(&again), Some(tag), "{text:?} and {again:?} differ");
}
