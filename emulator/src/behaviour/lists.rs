//! The shape of lists, and what they show.

use serde::{Deserialize, Serialize};

/// Lists (O4, O5, O6, O18).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Lists {
    /// What is around the tokens.
    pub shape: Shape,
    /// How the next page is named. An array has no place for a cursor: there it's always the `Link` header.
    pub paging: Paging,
    /// How many tokens a page holds; all of them when there is none.
    pub page_size: Option<u32>,
    /// How old a list is, in milliseconds.
    pub lag_milliseconds: u64,
    /// Whether revoked tokens are listed.
    pub revoked: bool,
    /// How a revoked token is marked, if it is listed.
    pub marker: Marker,
    /// Whether `created_at`, `rotated_at` and `created_by` are told.
    pub times: bool,
    /// What is wrong with the list.
    pub defect: ListDefect,
    /// How many tokens a defect leaves in sight.
    pub defect_after: u32,
}

impl Default for Lists {
    fn default() -> Self {
        Self {
            shape: Shape::Tokens,
            paging: Paging::NextCursor,
            page_size: None,
            lag_milliseconds: 0,
            revoked: false,
            marker: Marker::RevokedAt,
            times: true,
            defect: ListDefect::None,
            defect_after: 0,
        }
    }
}

/// What is around a list's tokens.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Shape {
    /// Nothing: the answer is an array.
    Array,
    /// `{"tokens": []}`.
    #[default]
    Tokens,
    /// `{"data": []}`.
    Data,
    /// `{"items": []}`.
    Items,
    /// `{"results": []}`.
    Results,
}

impl Shape {
    /// Every shape.
    pub const ALL: [Self; 5] = [Self::Array, Self::Tokens, Self::Data, Self::Items, Self::Results];

    pub(crate) const fn field(self) -> Option<&'static str> {
        match self {
            Self::Array => None,
            Self::Tokens => Some("tokens"),
            Self::Data => Some("data"),
            Self::Items => Some("items"),
            Self::Results => Some("results"),
        }
    }
}

/// How a list names its next page. On the last page the field is null, `has_more` is false, and there is no `Link` header.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Paging {
    /// `next_cursor`.
    #[default]
    NextCursor,
    /// `cursor`.
    Cursor,
    /// `next`, a cursor.
    Next,
    /// `next`, a URL.
    NextUrl,
    /// `pagination.next_cursor`.
    PaginationNextCursor,
    /// `pagination.cursor`.
    PaginationCursor,
    /// `pagination.next`, a cursor.
    PaginationNext,
    /// `has_more` and `next_cursor`.
    HasMoreNextCursor,
    /// `has_more` and nothing else: the last id is the cursor.
    HasMore,
    /// The header `Link: <URL>; rel="next"`.
    Link,
}

impl Paging {
    /// Every style.
    pub const ALL: [Self; 10] = [
        Self::NextCursor,
        Self::Cursor,
        Self::Next,
        Self::NextUrl,
        Self::PaginationNextCursor,
        Self::PaginationCursor,
        Self::PaginationNext,
        Self::HasMoreNextCursor,
        Self::HasMore,
        Self::Link,
    ];
}

/// How a list marks revoked tokens. It tells revoked from not revoked; an expired token is told by its `expires_at` alone.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Marker {
    /// `revoked_at`, a time or null.
    #[default]
    RevokedAt,
    /// `revoked`, a boolean.
    Revoked,
    /// `status`, `active` or `revoked`.
    Status,
    /// `active`, a boolean.
    Active,
    /// `is_active`, a boolean.
    IsActive,
    /// Not at all.
    None,
}

impl Marker {
    /// Every marker that tells something.
    pub const ALL: [Self; 5] = [Self::RevokedAt, Self::Revoked, Self::Status, Self::Active, Self::IsActive];
}

/// What is wrong with a list. `defect_after` says how many tokens are shown all the same.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ListDefect {
    /// Nothing.
    #[default]
    None,
    /// It's empty, and says that it is whole.
    Empty,
    /// It ends early, and says that it is whole.
    Short,
    /// It ends early and names a next page, which is refused with 500.
    ClaimsMore,
    /// It ends early and names a next page, which is the same page for ever.
    RepeatsCursor,
    /// The page that holds the first token out of sight is half a JSON document.
    BrokenPage,
}
