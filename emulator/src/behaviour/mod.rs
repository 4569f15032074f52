//! How the API behaves where its documentation is silent: one document with a default for everything.
//!
//! The codes O1 to O18 are those of the list of open questions about the API, kept with the operator's client.

mod answers;
mod lists;
mod statuses;
mod tokens;

use serde::{Deserialize, Serialize};
use serde_json::Value;

pub use self::answers::{Answers, Envelope, IdField, Place, ValueField};
pub use self::lists::{ListDefect, Lists, Marker, Paging, Shape};
pub use self::statuses::Statuses;
pub(crate) use self::statuses::is_final;
pub use self::tokens::{ExpiryOnRotate, IdOnRotate, Idempotency, Names, TokenRules};

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
        match self.statuses.impossible() {
            Some(status) => Err(format!("{status} is not the status of an answer: 200 to 599")),
            None if self.lists.page_size == Some(0) => Err("a page holds at least one token".into()),
            None => Ok(()),
        }
    }
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
