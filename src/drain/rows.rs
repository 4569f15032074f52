//! What a drain knows of the keys: which of them it takes, and what became of each. No I/O here.

use std::collections::{BTreeMap, HashSet};

use kube::ResourceExt as _;
use kube::api::{ApiResource, DynamicObject};
use serde::Serialize;
use serde_json::Value;

use crate::lifecycle::naming::{Installation, Tag};
use crate::resources::DeletionPolicy;

/// Kind, namespace and name.
pub(super) type Place = (String, String, String);

/// Which operator a key belongs to, as far as its token shows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Keeper {
    /// This installation's.
    Own,
    /// Another one's.
    Another,
    /// Nothing shows it: the key has no token yet, or none whose name shows it.
    Unknown,
}

/// A key, and what became of it.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Row {
    pub(super) kind: String,
    pub(super) namespace: String,
    pub(super) name: String,
    #[serde(skip)]
    pub(super) resource: ApiResource,
    #[serde(skip)]
    pub(super) uid: String,
    #[serde(skip)]
    pub(super) keeper: Keeper,
    /// What becomes of the token, as the key says it now.
    #[serde(skip)]
    pub(super) policy: DeletionPolicy,
    pub(super) secret: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) token_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) prefix: Option<String>,
    pub(super) outcome: Outcome,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) message: Option<String>,
}

/// What became of a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) enum Outcome {
    /// It is still there.
    Waiting,
    /// The API server refuses the deletion, or what must come before it.
    Refused,
    /// It is gone, and its Secret holds the value of its token, which is active.
    Retained,
    /// It is gone, and so is its Secret: its token is active and its value is lost.
    SecretGone,
    /// It is gone, and so are its tokens.
    Revoked,
    /// It is gone, and had no token.
    NoToken,
    /// It is gone, and had another `deletionPolicy` by then: something has changed it back.
    Overruled,
    /// It is gone, and something has created one of its name again.
    MadeAgain,
    /// It was created while the drain ran.
    Made,
    /// It was left alone: it has no token, and the cluster has keys of another instance.
    Unclear,
}

impl Outcome {
    pub(super) const fn text(self) -> &'static str {
        match self {
            Self::Waiting => "still there",
            Self::Refused => "refused",
            Self::Retained => "retained",
            Self::SecretGone => "retained, but its Secret was gone",
            Self::Revoked => "revoked",
            Self::NoToken => "gone; it had no token",
            Self::Overruled => "gone, with another deletionPolicy than drain had set",
            Self::MadeAgain => "created again",
            Self::Made => "created while drain ran",
            Self::Unclear => "left alone; nothing shows which instance it belongs to",
        }
    }

    /// Whether a person has to act.
    pub(super) const fn is_trouble(self) -> bool {
        !matches!(self, Self::Retained | Self::Revoked | Self::NoToken)
    }

    /// Whether something creates keys while they are drained.
    pub(super) const fn is_new(self) -> bool {
        matches!(self, Self::MadeAgain | Self::Made)
    }
}

impl Row {
    /// A key as the API server shows it.
    pub(super) fn of(resource: &ApiResource, key: &DynamicObject, installation: &Installation) -> Self {
        let text = |value: &Value| value.as_str().map(str::to_owned);
        let status = &key.data["status"];
        let token = &status["token"];
        let names = [&token["name"], &status["operation"]["tokenName"]];
        let mut tags = names.into_iter().filter_map(Value::as_str).filter_map(Tag::of_name);
        let policy = &key.data["spec"]["deletionPolicy"];
        Self {
            kind: resource.kind.clone(),
            namespace: key.namespace().unwrap_or_default(),
            name: key.name_any(),
            resource: resource.clone(),
            uid: key.uid().unwrap_or_default(),
            keeper: tags
                .next()
                .map_or(Keeper::Unknown, |tag| keeper(tag.owner.installation == *installation)),
            policy: serde_json::from_value(policy.clone()).unwrap_or_default(),
            secret: text(&key.data["spec"]["secret"]["name"]).unwrap_or_else(|| key.name_any()),
            token_id: text(&token["id"]),
            prefix: text(&token["prefix"]),
            outcome: Outcome::Waiting,
            message: ready_message(key),
        }
    }

    pub(super) fn place(&self) -> Place {
        (self.kind.clone(), self.namespace.clone(), self.name.clone())
    }

    /// As people call it.
    pub(super) fn title(&self) -> String {
        format!("{} {}/{}", self.kind, self.namespace, self.name)
    }
}

pub(super) const fn keeper(own: bool) -> Keeper {
    if own { Keeper::Own } else { Keeper::Another }
}

/// What a key says of itself.
fn ready_message(key: &DynamicObject) -> Option<String> {
    let conditions = key.data["status"]["conditions"].as_array()?;
    let ready = conditions.iter().find(|condition| condition["type"] == "Ready")?;
    ready["message"].as_str().map(str::to_owned)
}

/// The keys that a drain takes, and those that it leaves alone.
#[derive(Debug, Default)]
pub(super) struct Drained {
    /// What becomes of the tokens.
    policy: DeletionPolicy,
    /// Those that it takes, and later those that were created meanwhile.
    pub(super) rows: Vec<Row>,
    /// Those of which it isn't known whose they are.
    pub(super) unclear: Vec<Row>,
    /// How many are another installation's.
    pub(super) another: usize,
    /// The uids that were there at the beginning.
    known: HashSet<String>,
    /// A key that shows no installation is this one's.
    trusting: bool,
}

impl Drained {
    /// Divides the keys that there are. `named`: a person has named their namespaces.
    ///
    /// A key that shows no installation is taken where a person has named its namespace, or where nothing shows that the cluster has
    /// another installation.
    pub(super) fn new(keys: BTreeMap<Place, Row>, policy: DeletionPolicy, named: bool) -> Self {
        let another = keys.values().filter(|row| row.keeper == Keeper::Another).count();
        let trusting = named || another == 0;
        let known = keys.values().map(|row| row.uid.clone()).collect();
        let mut drained = Self { policy, another, known, trusting, ..Self::default() };
        for row in keys.into_values() {
            let row = Row { message: None, ..row };
            match row.keeper {
                Keeper::Another => (),
                Keeper::Unknown if !trusting => {
                    drained.unclear.push(Row { outcome: Outcome::Unclear, ..row });
                }
                Keeper::Own | Keeper::Unknown => drained.rows.push(row),
            }
        }
        drained
    }

    /// How many keys are still waited for.
    pub(super) fn waiting(&self) -> impl Iterator<Item = &Row> {
        self.rows.iter().filter(|row| row.outcome == Outcome::Waiting)
    }

    /// Takes note of all keys that there are now. Gives those that have gone since the last look and whose Secret must be looked at.
    pub(super) fn look(&mut self, now: &BTreeMap<Place, Row>) -> Vec<usize> {
        let mut gone = Vec::new();
        for (nr, row) in self.rows.iter_mut().enumerate() {
            match now.get(&row.place()) {
                Some(same) if same.uid == row.uid && row.outcome == Outcome::Waiting => {
                    row.message.clone_from(&same.message);
                    row.secret.clone_from(&same.secret);
                    row.token_id.clone_from(&same.token_id);
                    row.prefix.clone_from(&same.prefix);
                    row.policy = same.policy;
                }
                Some(same) if same.uid == row.uid => {}
                Some(other) if !self.known.contains(&other.uid) && row.outcome != Outcome::Made => {
                    row.outcome = Outcome::MadeAgain;
                    row.message = None;
                }
                _ if row.outcome == Outcome::Waiting => {
                    row.message = None;
                    row.outcome = if row.token_id.is_none() {
                        Outcome::NoToken
                    } else if row.policy != self.policy {
                        Outcome::Overruled
                    } else if self.policy == DeletionPolicy::Revoke {
                        Outcome::Revoked
                    } else {
                        gone.push(nr);
                        Outcome::SecretGone
                    };
                }
                _ => {}
            }
        }
        self.note_new(now);
        gone
    }

    /// Adds the keys that were created since the beginning, under names that no key had.
    fn note_new(&mut self, now: &BTreeMap<Place, Row>) {
        let places: HashSet<Place> = self.rows.iter().map(Row::place).collect();
        let is_taken = |row: &Row| match row.keeper {
            Keeper::Own => true,
            Keeper::Unknown => self.trusting,
            Keeper::Another => false,
        };
        let new = now.iter().filter(|(place, row)| {
            !self.known.contains(&row.uid) && !places.contains(*place) && is_taken(row)
        });
        let new: Vec<_> =
            new.map(|(_, row)| Row { outcome: Outcome::Made, message: None, ..row.clone() }).collect();
        self.rows.extend(new);
    }
}

#[cfg(test)]
mod tests {
    use kube::Resource as _;
    use serde_json::json;

    use super::*;
    use crate::lifecycle::naming::{self, OperationId, Owner, UidTag};
    use crate::resources::{AccessKey, KeyKind};

    /// The name of a token that an instance has made.
    fn token_of(instance: &str) -> String {
        let owner = Owner {
            installation: Installation::new("cluster", instance),
            place: naming::Place::new(KeyKind::Access, "shop", "checkout"),
            uid: UidTag::new("uid"),
        };
        Tag { owner, operation: OperationId::from_random([1; 10]) }.name("checkout", 63)
    }

    fn key(name: &str, uid: &str, spec: &Value, status: &Value) -> Row {
        let key: DynamicObject = serde_json::from_value(json!({
            "apiVersion": AccessKey::api_version(&()),
            "kind": "AccessKey",
            "metadata": {"namespace": "shop", "name": name, "uid": uid},
            "spec": spec,
            "status": status,
        }))
        .unwrap();
        Row::of(&ApiResource::erase::<AccessKey>(&()), &key, &Installation::new("cluster", "default"))
    }

    /// A key with a token of an instance.
    fn of(instance: &str, name: &str, uid: &str) -> Row {
        key(name, uid, &json!({}), &json!({"token": {"id": "tok_1", "name": token_of(instance)}}))
    }

    fn tokenless(name: &str, uid: &str) -> Row {
        key(name, uid, &json!({}), &json!({}))
    }

    fn all(rows: impl IntoIterator<Item = Row>) -> BTreeMap<Place, Row> {
        rows.into_iter().map(|row| (row.place(), row)).collect()
    }

    fn names(rows: &[Row]) -> Vec<&str> {
        rows.iter().map(|row| row.name.as_str()).collect()
    }

    fn outcomes(drained: &Drained) -> Vec<(&str, Outcome)> {
        drained.rows.iter().map(|row| (row.name.as_str(), row.outcome)).collect()
    }

    #[test]
    fn keys_of_another_installation_are_left_alone() {
        let minting = json!({"operation": {"tokenName": token_of("other")}});
        let keys = || {
            all([
                of("default", "checkout", "1"),
                of("other", "theirs", "2"),
                key("minting", "3", &json!({}), &minting),
                tokenless("new", "4"),
            ])
        };
        let drained = Drained::new(keys(), DeletionPolicy::Revoke, false);
        assert_eq!((names(&drained.rows), names(&drained.unclear)), (vec!["checkout"], vec!["new"]));
        assert_eq!(drained.another, 2);
        let drained = Drained::new(keys(), DeletionPolicy::Revoke, true);
        assert_eq!(names(&drained.rows), ["checkout", "new"], "a person has named the namespace");
        let alone = all([of("default", "checkout", "1"), tokenless("new", "4")]);
        let drained = Drained::new(alone, DeletionPolicy::Revoke, false);
        assert_eq!(names(&drained.rows), ["checkout", "new"], "there is one installation");
    }

    #[test]
    fn a_key_that_is_created_meanwhile_is_noticed_whenever_that_is() {
        let begin = || all([of("default", "checkout", "1"), of("default", "slow", "2")]);
        let mut drained = Drained::new(begin(), DeletionPolicy::Revoke, false);
        drained.look(&all([of("default", "slow", "2")]));
        assert_eq!(outcomes(&drained), [("checkout", Outcome::Revoked), ("slow", Outcome::Waiting)]);
        // It was reported as revoked, and comes back before the drain has ended.
        drained.look(&all([
            tokenless("checkout", "3"),
            of("default", "slow", "2"),
            tokenless("another", "4"),
        ]));
        assert_eq!(
            outcomes(&drained),
            [("checkout", Outcome::MadeAgain), ("slow", Outcome::Waiting), ("another", Outcome::Made)]
        );
        drained.look(&all([]));
        assert_eq!(
            outcomes(&drained),
            [("checkout", Outcome::MadeAgain), ("slow", Outcome::Revoked), ("another", Outcome::Made)],
            "something creates keys, whether or not they are there at the end"
        );
    }

    #[test]
    fn keys_that_others_create_are_theirs() {
        let begin = all([of("default", "checkout", "1"), of("other", "theirs", "2")]);
        let mut drained = Drained::new(begin, DeletionPolicy::Revoke, false);
        drained.look(&all([of("other", "more", "3"), tokenless("new", "4"), of("default", "own", "5")]));
        assert_eq!(outcomes(&drained), [("checkout", Outcome::Revoked), ("own", Outcome::Made)]);
    }

    #[test]
    fn what_a_key_had_when_it_was_seen_last_decides() {
        let begin = all([tokenless("late", "1"), of("default", "kept", "2"), of("default", "ended", "3")]);
        let mut drained = Drained::new(begin, DeletionPolicy::Revoke, false);
        let token = json!({"token": {"id": "tok_1", "name": token_of("default")}});
        let (revoke, retain) = (json!({"deletionPolicy": "Revoke"}), json!({"deletionPolicy": "Retain"}));
        drained.look(&all([
            key("late", "1", &revoke, &token),
            key("kept", "2", &retain, &token),
            key("ended", "3", &revoke, &token),
        ]));
        drained.look(&all([]));
        assert_eq!(
            outcomes(&drained),
            [("ended", Outcome::Revoked), ("kept", Outcome::Overruled), ("late", Outcome::Revoked)]
        );
    }

    #[test]
    fn a_retained_token_is_proved_by_its_secret() {
        let mut drained = Drained::new(all([of("default", "checkout", "1")]), DeletionPolicy::Retain, false);
        let retain = key(
            "checkout",
            "1",
            &json!({"deletionPolicy": "Retain"}),
            &json!({"token": {"id": "tok_1", "name": token_of("default")}}),
        );
        drained.look(&all([retain]));
        assert_eq!(drained.look(&all([])), [0], "its Secret is looked at");
        assert_eq!(drained.rows[0].outcome, Outcome::SecretGone, "unless that shows otherwise");
    }
}
