//! How the API behaves where its documentation is silent: one document with a default for everything.
//!
//! The codes O1 to O18 are those of the list of open questions about the API, kept with the operator's client.

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// The standing behaviour. A fault of the kind `behave` changes it for single calls.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Behaviour {
    /// The shape of what create and rotate answer.
    pub answers: Answers,
    /// The shape of lists, and what they show.
    pub lists: Lists,
    /// What is done to tokens.
    pub tokens: TokenRules,
    /// The status of every kind of answer.
    pub statuses: Statuses,
    /// How errors are wrapped (O12).
    pub errors: Envelope,
}

/// The answers to create and rotate (O1, O2).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Answers {
    /// The field that holds the value.
    pub value_field: ValueField,
    /// Where that field is.
    pub value_place: Place,
    /// The field that holds the id, in answers and in lists.
    pub id_field: IdField,
    /// Where that field is, with everything else that is told of the token.
    pub id_place: Place,
    /// Whether the value is there at all.
    pub value: bool,
    /// Whether the id is there at all.
    pub id: bool,
    /// Whether anything else is told of the token: name, prefix, times.
    pub details: bool,
}

impl Default for Answers {
    fn default() -> Self {
        Self {
            value_field: ValueField::Token,
            value_place: Place::Top,
            id_field: IdField::Id,
            id_place: Place::Top,
            value: true,
            id: true,
            details: true,
        }
    }
}

/// The names a value's field may have (O1).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[expect(missing_docs, reason = "each is the field's name")]
pub enum ValueField {
    #[default]
    Token,
    Key,
    Value,
    Secret,
    ApiKey,
    Plaintext,
}

impl ValueField {
    /// Every name.
    pub const ALL: [Self; 6] =
        [Self::Token, Self::Key, Self::Value, Self::Secret, Self::ApiKey, Self::Plaintext];

    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Token => "token",
            Self::Key => "key",
            Self::Value => "value",
            Self::Secret => "secret",
            Self::ApiKey => "api_key",
            Self::Plaintext => "plaintext",
        }
    }
}

/// Where a field is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Place {
    /// At the top.
    #[default]
    Top,
    /// Inside the object `data`.
    Data,
    /// Inside the object `token`.
    Token,
}

impl Place {
    /// Every place.
    pub const ALL: [Self; 3] = [Self::Top, Self::Data, Self::Token];
}

/// The names an id's field may have (O2).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum IdField {
    /// `id`.
    #[default]
    Id,
    /// `token_id`.
    TokenId,
}

impl IdField {
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Id => "id",
            Self::TokenId => "token_id",
        }
    }
}

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

/// What is done to tokens (O7, O8, O9, O14, O16).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TokenRules {
    /// How a name is kept.
    pub names: Names,
    /// How many characters of a name are kept by `truncated`.
    pub names_length: u32,
    /// Whether a name that a live token has is refused.
    pub unique_names: bool,
    /// Whether a create without `expires_at` is refused.
    pub expiry_required: bool,
    /// The expiry of a token that was made without one, in seconds from its creation.
    pub default_expiry_seconds: Option<u32>,
    /// Whether a rotation changes the id.
    pub id_on_rotate: IdOnRotate,
    /// What a rotation does to the expiry.
    pub expiry_on_rotate: ExpiryOnRotate,
    /// What an `Idempotency-Key` does that was seen before.
    pub idempotency: Idempotency,
    /// How values begin.
    pub value_prefix: String,
    /// How values begin that are issued under `/v1/gateway-keys`.
    pub alias_value_prefix: String,
}

impl Default for TokenRules {
    fn default() -> Self {
        Self {
            names: Names::AsSent,
            names_length: 20,
            unique_names: false,
            expiry_required: false,
            default_expiry_seconds: None,
            id_on_rotate: IdOnRotate::Kept,
            expiry_on_rotate: ExpiryOnRotate::Kept,
            idempotency: Idempotency::Ignored,
            value_prefix: "kt_live_".into(),
            alias_value_prefix: "kt_gk_".into(),
        }
    }
}

/// How a name is kept (O14).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Names {
    /// As it was sent.
    #[default]
    AsSent,
    /// In capitals.
    Upper,
    /// In small letters.
    Lower,
    /// Cut to `names_length` characters.
    Truncated,
}

/// What a rotation does to the id (O7).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum IdOnRotate {
    /// Nothing.
    #[default]
    Kept,
    /// The token gets a new one, and the old one is unknown from then on.
    New,
}

/// What a rotation does to the expiry (O16).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ExpiryOnRotate {
    /// Nothing.
    #[default]
    Kept,
    /// The new value lives as long as the old one was meant to.
    Moved,
    /// The new value doesn't expire.
    Dropped,
}

/// What a known `Idempotency-Key` does on a create (O9).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Idempotency {
    /// Nothing: another token is made.
    #[default]
    Ignored,
    /// No other token is made; the answer is that of the first call, but the value, which is shown once.
    Replayed,
    /// The call is refused, with the status of a duplicate.
    Conflict,
}

/// The status of every kind of answer (O3, O10, O11, O15). Answers with 204 have no body, whatever they would say.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Statuses {
    /// A token was made.
    pub create: u16,
    /// A token was rotated.
    pub rotate: u16,
    /// A token was revoked.
    pub revoke: u16,
    /// A list.
    pub list: u16,
    /// `whoami` with the credential.
    pub whoami: u16,
    /// `whoami` with the value of a live token (O15).
    pub whoami_minted: u16,
    /// A request that is wrong.
    pub invalid: u16,
    /// A create without `expires_at` where one is required.
    pub expiry_required: u16,
    /// A name, or an `Idempotency-Key`, that is there already.
    pub duplicate: u16,
    /// Rotation of an id that is unknown.
    pub rotate_unknown: u16,
    /// Rotation of a token that was revoked or has expired.
    pub rotate_dead: u16,
    /// Revocation of an id that is unknown.
    pub revoke_unknown: u16,
    /// Revocation of a token that was revoked.
    pub revoke_dead: u16,
}

impl Default for Statuses {
    fn default() -> Self {
        Self {
            create: 201,
            rotate: 200,
            revoke: 204,
            list: 200,
            whoami: 200,
            whoami_minted: 200,
            invalid: 422,
            expiry_required: 422,
            duplicate: 409,
            rotate_unknown: 404,
            rotate_dead: 409,
            revoke_unknown: 404,
            revoke_dead: 404,
        }
    }
}

/// How errors are wrapped (O12).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Envelope {
    /// `{"error": {"type", "message", "code"}}`.
    #[default]
    Typed,
    /// `{"error": "text"}`.
    ErrorText,
    /// `{"message": "text"}`.
    Message,
    /// `{"detail": "text"}`.
    Detail,
    /// The text as it is.
    Plain,
    /// A page of HTML, as a proxy would send it.
    Html,
    /// Nothing.
    Empty,
}

impl Envelope {
    /// Every form.
    pub const ALL: [Self; 7] =
        [Self::Typed, Self::ErrorText, Self::Message, Self::Detail, Self::Plain, Self::Html, Self::Empty];
}

impl Behaviour {
    /// The behaviour with a JSON merge patch applied.
    ///
    /// # Errors
    /// When the patch names something that there is not, or a status that no answer can have.
    pub fn changed(&self, change: &Value) -> Result<Self, String> {
        let mut document = serde_json::to_value(self).map_err(|error| error.to_string())?;
        merge(&mut document, change);
        let changed: Self = serde_json::from_value(document).map_err(|error| error.to_string())?;
        changed.check()?;
        Ok(changed)
    }

    pub(crate) fn check(&self) -> Result<(), String> {
        let Statuses {
            create,
            rotate,
            revoke,
            list,
            whoami,
            whoami_minted,
            invalid,
            expiry_required,
            duplicate,
            rotate_unknown,
            rotate_dead,
            revoke_unknown,
            revoke_dead,
        } = self.statuses;
        let all = [
            create,
            rotate,
            revoke,
            list,
            whoami,
            whoami_minted,
            invalid,
            expiry_required,
            duplicate,
            rotate_unknown,
            rotate_dead,
            revoke_unknown,
            revoke_dead,
        ];
        match all.into_iter().find(|status| !is_final_status(*status)) {
            Some(status) => Err(format!("{status} is not the status of an answer: 200 to 599")),
            None if self.lists.page_size == Some(0) => Err("a page holds at least one token".into()),
            None => Ok(()),
        }
    }
}

/// 1xx is no answer yet, and what is above 599 has no meaning.
pub(crate) fn is_final_status(status: u16) -> bool {
    (200..600).contains(&status)
}

/// RFC 7396, but a null stays a null: here it is the value of a setting (`page_size`), and no setting can be removed.
fn merge(target: &mut Value, change: &Value) {
    match (target, change) {
        (Value::Object(fields), Value::Object(changes)) => {
            for (name, change) in changes {
                merge(fields.entry(name).or_insert(Value::Null), change);
            }
        }
        (target, change) => *target = change.clone(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_change_touches_only_what_it_names() {
        let changed = Behaviour::default().changed(&json!({"lists": {"page_size": 3}})).unwrap();
        let mut expected = Behaviour::default();
        expected.lists.page_size = Some(3);
        assert_eq!(changed, expected);
        assert_eq!(changed.changed(&json!({"lists": {"page_size": null}})).unwrap(), Behaviour::default());
    }

    #[test]
    fn what_makes_no_sense_is_refused() {
        for change in [
            json!({"list": {}}),
            json!({"lists": {"pagesize": 3}}),
            json!({"lists": {"page_size": 0}}),
            json!({"statuses": {"create": 100}}),
            json!({"statuses": {"create": 600}}),
            json!({"errors": "xml"}),
        ] {
            assert!(Behaviour::default().changed(&change).is_err(), "{change}");
        }
    }
}
