//! The Secret as a commit record: how it is read into what the core observes, and how it is written.
//!
//! No I/O here. A Secret is only ever written by a merge patch that carries the resourceVersion it must have (or by a
//! create), so that whatever others put into it stays, and nobody's change is overwritten unseen.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use k8s_openapi::api::core::v1::Secret;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};
use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};

use crate::lifecycle::desired::Desired;
use crate::lifecycle::memory::Captured;
use crate::lifecycle::naming::{Installation, Place, UidTag};
use crate::lifecycle::observed::{Contents, OurSecret, Record, SecretView};
use crate::lifecycle::template::Facts;
use crate::lifecycle::token::{TokenFacts, TokenId};
use crate::resources::{DeletionPolicy, GROUP, KeyKind, Operation};
use crate::telemetry;

/// Label by which our Secrets are watched; its value is the resource's uid, for names may be too long for a label.
pub const UID_LABEL: &str = "keys.keeptrusts.com/uid";

/// Our annotations, without the domain.
mod key {
    pub(super) const OWNER: &str = "owner";
    pub(super) const PLACE: &str = "place";
    pub(super) const UIDS: &str = "uids";
    pub(super) const INSTALLATION: &str = "installation";
    pub(super) const TOKEN_ID: &str = "token-id";
    pub(super) const TOKEN_NAME: &str = "token-name";
    pub(super) const PREFIX: &str = "token-prefix";
    pub(super) const CREATED_AT: &str = "token-created-at";
    pub(super) const ROTATED_AT: &str = "token-rotated-at";
    pub(super) const EXPIRES_AT: &str = "token-expires-at";
    pub(super) const OPERATION: &str = "operation";
    pub(super) const GENERATION: &str = "rotation-generation";
    pub(super) const ROTATE_NOW: &str = "observed-rotate-now";
    pub(super) const REPLACED: &str = "replaced";
    pub(super) const FENCE: &str = "fence";
    pub(super) const RETAINED: &str = "retained";
    pub(super) const EMPTIED: &str = "emptied";
    pub(super) const DIGEST: &str = "digest";
    pub(super) const MANAGED: &str = "managed";

    /// All of them.
    pub(super) const ALL: [&str; 19] = [
        OWNER,
        PLACE,
        UIDS,
        INSTALLATION,
        TOKEN_ID,
        TOKEN_NAME,
        PREFIX,
        CREATED_AT,
        ROTATED_AT,
        EXPIRES_AT,
        OPERATION,
        GENERATION,
        ROTATE_NOW,
        REPLACED,
        FENCE,
        RETAINED,
        EMPTIED,
        DIGEST,
        MANAGED,
    ];
}

/// The longest text of our annotations that a cache keeps: an id, a name, eight uids.
const MAX_KEPT: usize = 1 << 10;

/// The same of the names of what a template put into the Secret: 96 of them at most, of up to 317 characters.
const MAX_MANAGED_KEPT: usize = 32 << 10;

/// As much as is kept of each text of an ownerReference: the longest name that an object can have.
const MAX_OWNER: usize = 253;

/// Whether a cache keeps an annotation of a Secret with our label: it is ours, and no longer than the operator writes it. Anybody may set
/// that label and any annotation.
pub(super) fn is_kept(annotation: &str, text: &str) -> bool {
    let ours = annotation.strip_prefix(GROUP).and_then(|rest| rest.strip_prefix('/'));
    ours.is_some_and(|key| match key {
        key::MANAGED => text.len() <= MAX_MANAGED_KEPT,
        key => key::ALL.contains(&key) && text.len() <= MAX_KEPT,
    })
}

/// What a cache keeps of an ownerReference: those to resources of ours, and the controller's, whoever that is.
pub(super) fn kept_owner(mut owner: OwnerReference) -> Option<OwnerReference> {
    let group = owner.api_version.split_once('/').map(|(group, _)| group);
    let kept = group == Some(GROUP) || owner.controller == Some(true);
    // The API server bounds none of these.
    for text in [&mut owner.api_version, &mut owner.kind, &mut owner.name, &mut owner.uid] {
        *text = text.chars().take(MAX_OWNER).collect();
    }
    kept.then_some(owner)
}

/// Whose the Secret has to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// Kind of the resource.
    pub kind: KeyKind,
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// Its uid.
    pub uid: String,
    /// The installation, as in token names.
    pub installation: String,
}

/// The most uids that a Secret names; a resource that came back more often than this has no tokens left of its oldest
/// lives.
const MAX_UIDS: usize = 8;

impl Identity {
    /// Which resource these are the metadata of.
    pub(super) fn of(kind: KeyKind, meta: &ObjectMeta, installation: &Installation) -> Self {
        let text = |part: &Option<String>| part.clone().unwrap_or_default();
        Self {
            kind,
            namespace: text(&meta.namespace),
            name: text(&meta.name),
            uid: text(&meta.uid),
            installation: installation.as_str().to_owned(),
        }
    }

    /// The span of lines about it, in the course of this operation.
    pub(super) fn span(&self, operation: Option<&str>) -> tracing::Span {
        telemetry::of_key(self.kind.kind(), &self.namespace, &self.name, &self.uid, operation)
    }

    fn owner(&self) -> String {
        format!("{}/{}", self.kind.kind(), self.name)
    }

    /// The resource's place, as in tags. One resource lives there at a time.
    fn place(&self) -> Place {
        Place::new(self.kind, &self.namespace, &self.name)
    }

    /// Whether an ownerReference is to the resource, or to an earlier life of it.
    fn is_referred(&self, owner: &OwnerReference) -> bool {
        let group = owner.api_version.split_once('/').map(|(group, _)| group);
        owner.uid == self.uid
            || group == Some(GROUP) && owner.kind == self.kind.kind() && owner.name == self.name
    }

    /// The uids that `meta` names, with ours as the last.
    fn uids(&self, meta: Option<&ObjectMeta>) -> String {
        let named = meta.and_then(|meta| annotation(meta, key::UIDS)).unwrap_or_default();
        let former = named.split(',').filter(|uid| !uid.is_empty() && *uid != self.uid);
        let all: Vec<&str> = former.chain([self.uid.as_str()]).collect();
        all[all.len().saturating_sub(MAX_UIDS)..].join(",")
    }

    /// The ownerReference that makes the garbage collector remove the Secret. It doesn't block the owner's deletion.
    fn reference(&self) -> OwnerReference {
        OwnerReference {
            api_version: format!("{GROUP}/v1alpha1"),
            kind: self.kind.kind().to_owned(),
            name: self.name.clone(),
            uid: self.uid.clone(),
            controller: Some(true),
            block_owner_deletion: Some(false),
        }
    }
}

/// What the operator put into a Secret beside its own annotations: taken out again when the template drops it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Managed {
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    data: BTreeSet<String>,
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    labels: BTreeSet<String>,
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    annotations: BTreeSet<String>,
}

impl Managed {
    fn of(desired: &Desired) -> Self {
        Self {
            data: desired.data.keys().cloned().chain([desired.secret_key.clone()]).collect(),
            labels: desired.labels.keys().cloned().collect(),
            annotations: desired.annotations.keys().cloned().collect(),
        }
    }
}

fn ours(key: &str) -> String {
    format!("{GROUP}/{key}")
}

/// Whether a Secret outlives its resource, and its token with it.
pub(crate) fn is_retained(meta: &ObjectMeta) -> bool {
    annotation(meta, key::RETAINED).is_some()
}

/// The installation that a Secret says it belongs to.
pub(crate) fn installation_of(meta: &ObjectMeta) -> Option<&str> {
    annotation(meta, key::INSTALLATION)
}

fn annotation<'a>(meta: &'a ObjectMeta, key: &str) -> Option<&'a str> {
    meta.annotations.as_ref()?.get(&ours(key)).map(String::as_str)
}

fn time(meta: &ObjectMeta, key: &str) -> Option<Timestamp> {
    annotation(meta, key)?.parse().ok()
}

fn managed(meta: &ObjectMeta) -> Managed {
    annotation(meta, key::MANAGED).and_then(|text| serde_json::from_str(text).ok()).unwrap_or_default()
}

/// The record in a Secret's annotations; nothing if it can't be read.
fn record(meta: &ObjectMeta) -> Option<Record> {
    let owned = |key| annotation(meta, key).map(ToOwned::to_owned);
    Some(Record {
        token: TokenFacts {
            id: TokenId::parse(annotation(meta, key::TOKEN_ID)?).ok()?,
            name: owned(key::TOKEN_NAME),
            prefix: owned(key::PREFIX),
            created_at: time(meta, key::CREATED_AT),
            rotated_at: time(meta, key::ROTATED_AT),
            expires_at: time(meta, key::EXPIRES_AT),
        },
        operation: owned(key::OPERATION)?,
        generation: annotation(meta, key::GENERATION)?.parse().ok()?,
        rotate_now: owned(key::ROTATE_NOW),
        replaced: owned(key::REPLACED),
        fence: owned(key::FENCE),
        retained: owned(key::RETAINED),
        uids: annotation(meta, key::UIDS)
            .into_iter()
            .flat_map(|uids| uids.split(',').map(UidTag::new))
            .collect(),
        // Emptying takes the digest away: with it, the mark is somebody else's.
        emptied: annotation(meta, key::EMPTIED).is_some() && annotation(meta, key::DIGEST).is_none(),
    })
}

/// Says whose a Secret is if it isn't the resource's.
fn foreign(meta: &ObjectMeta, identity: &Identity) -> Option<String> {
    if let Some(owner) = controller(meta).filter(|owner| !identity.is_referred(owner)) {
        return Some(format!("{} {}", owner.kind, owner.name));
    }
    let Some(owner) = annotation(meta, key::OWNER) else {
        return Some("somebody who isn't this operator".to_owned());
    };
    if annotation(meta, key::INSTALLATION) != Some(identity.installation.as_str()) {
        return Some(format!("{owner} of another installation of the operator"));
    }
    // A Secret that was copied to another place carries its annotations along.
    let same = owner == identity.owner() && annotation(meta, key::PLACE) == Some(identity.place().as_str());
    (!same).then(|| format!("another {owner}"))
}

/// The controller of an object, whoever that is.
fn controller(meta: &ObjectMeta) -> Option<&OwnerReference> {
    meta.owner_references.iter().flatten().find(|owner| owner.controller == Some(true))
}

/// Kind and name of the resource that a Secret says it belongs to.
#[must_use]
pub fn owner_of(meta: &ObjectMeta) -> Option<(&str, &str)> {
    annotation(meta, key::OWNER)?.split_once('/')
}

/// What the metadata of a Secret of ours say to somebody who doesn't know its resource.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Account {
    /// The place of its resource.
    pub(super) place: Place,
    /// What its annotations record.
    pub(super) record: Record,
}

/// Reads a Secret of this installation; nothing if it is another's, or can't be read.
#[must_use]
pub(super) fn account(meta: &ObjectMeta, installation: &Installation) -> Option<Account> {
    let ours = annotation(meta, key::INSTALLATION) == Some(installation.as_str());
    let place = Place::parse(annotation(meta, key::PLACE)?)?;
    ours.then(|| record(meta).map(|record| Account { place, record })).flatten()
}

/// A Secret's metadata, from a watch or a reply.
#[must_use]
pub fn observe_metadata(meta: Option<&ObjectMeta>, identity: &Identity, live: bool) -> SecretView {
    let Some(meta) = meta else { return SecretView::Absent { live } };
    if let Some(owner) = foreign(meta, identity) {
        return SecretView::Foreign { owner, unclaimed: None };
    }
    let Some(record) = record(meta) else {
        let owner = format!("{}, but its record can't be read", identity.owner());
        return SecretView::Foreign { owner, unclaimed: None };
    };
    let version = meta.resource_version.clone().unwrap_or_default();
    let owned = meta.owner_references.iter().flatten().any(|owner| identity.is_referred(owner));
    SecretView::Ours(OurSecret { version, live, owned, record, contents: Contents::Unread })
}

/// A Secret that was read with its data from the API server; `key` is the data key of the value. Without a valid spec
/// its rendering isn't judged.
#[must_use]
pub fn observe(
    secret: Option<&Secret>,
    identity: &Identity,
    key: &str,
    desired: Option<&Desired>,
) -> SecretView {
    let meta = secret.map(|secret| &secret.metadata);
    let mut view = observe_metadata(meta, identity, true);
    if let (SecretView::Ours(ours), Some(secret)) = (&mut view, secret) {
        ours.contents = contents(secret, identity, key, desired, &ours.record);
    }
    if let (SecretView::Foreign { unclaimed, .. }, Some(meta)) = (&mut view, meta)
        && controller(meta).is_none()
        && annotation(meta, key::OWNER).is_none()
    {
        unclaimed.clone_from(&meta.resource_version);
    }
    view
}

fn contents(
    secret: &Secret,
    identity: &Identity,
    key: &str,
    desired: Option<&Desired>,
    record: &Record,
) -> Contents {
    let Some(value) = value(secret, key) else { return Contents::Changed };
    let known = annotation(&secret.metadata, key::DIGEST).is_some_and(|digest| matches(&value, digest));
    if !known {
        return Contents::Changed;
    }
    match desired {
        Some(desired) if !is_current(secret, identity, desired, record, &value) => Contents::Stale,
        _ => Contents::Current,
    }
}

/// The value that a Secret holds under `key`; nothing if there is none or it isn't text.
#[must_use]
pub fn value(secret: &Secret, key: &str) -> Option<SecretString> {
    let bytes = &secret.data.as_ref()?.get(key)?.0;
    let text = std::str::from_utf8(bytes).ok().filter(|text| !text.is_empty())?;
    Some(SecretString::from(text))
}

/// Whether all but the value is as the spec asks.
fn is_current(
    secret: &Secret,
    identity: &Identity,
    desired: &Desired,
    record: &Record,
    value: &SecretString,
) -> bool {
    let empty = BTreeMap::new();
    let labels = secret.metadata.labels.as_ref().unwrap_or(&empty);
    let annotations = secret.metadata.annotations.as_ref().unwrap_or(&empty);
    let facts = facts(identity, desired, &record.token);
    let data = secret.data.as_ref();
    let rendered = rendered(desired, &facts, value).into_iter().all(|(key, text)| {
        data.and_then(|data| data.get(key)).is_some_and(|bytes| bytes.0 == text.expose_secret().as_bytes())
    });
    let referred: Vec<_> =
        secret.metadata.owner_references.iter().flatten().filter(|o| identity.is_referred(o)).collect();
    let wanted = (desired.deletion_policy == DeletionPolicy::Revoke).then(|| identity.reference());
    rendered
        && desired.labels.iter().all(|(key, text)| labels.get(key) == Some(text))
        && desired.annotations.iter().all(|(key, text)| annotations.get(key) == Some(&text.render(&facts)))
        && labels.get(UID_LABEL) == Some(&identity.uid)
        && managed(&secret.metadata) == Managed::of(desired)
        && referred == wanted.iter().collect::<Vec<_>>()
}

/// What the template's placeholders stand for, but for the value.
fn facts<'a>(identity: &'a Identity, desired: &'a Desired, token: &'a TokenFacts) -> Facts<'a> {
    Facts {
        name: &identity.name,
        namespace: &identity.namespace,
        prefix: token.prefix.as_deref().unwrap_or_default(),
        token_id: token.id.as_str(),
        gateway_id: desired.gateway_id.as_deref().unwrap_or_default(),
    }
}

/// Every data key that the spec asks for, with its text.
fn rendered<'a>(
    desired: &'a Desired,
    facts: &Facts<'_>,
    value: &SecretString,
) -> Vec<(&'a String, SecretString)> {
    let mut data: Vec<_> =
        desired.data.iter().map(|(key, template)| (key, template.render(value, facts))).collect();
    data.push((&desired.secret_key, value.clone()));
    data
}

/// A digest of a value under a random salt, for the Secret's annotations: its readers have the value anyway.
#[must_use]
pub fn digest(value: &SecretString, salt: [u8; 16]) -> String {
    let salt = base32::encode(base32::Alphabet::Rfc4648Lower { padding: false }, &salt);
    format!("v1:{salt}:{}", hashed(value, &salt))
}

fn hashed(value: &SecretString, salt: &str) -> String {
    let mut hash = Sha256::new();
    hash.update(salt.as_bytes());
    hash.update(b":");
    hash.update(value.expose_secret().as_bytes());
    base32::encode(base32::Alphabet::Rfc4648Lower { padding: false }, &hash.finalize())
}

fn matches(value: &SecretString, digest: &str) -> bool {
    let mut parts = digest.split(':');
    match (parts.next(), parts.next(), parts.next(), parts.next()) {
        (Some("v1"), Some(salt), Some(hash), None) => hashed(value, salt) == hash,
        _ => false,
    }
}

/// What goes into a Secret together with a value.
#[derive(Debug)]
pub struct Commit<'a> {
    /// Whose the Secret is.
    pub identity: &'a Identity,
    /// What the spec asks for.
    pub desired: &'a Desired,
    /// What the token API said of the token.
    pub facts: &'a TokenFacts,
    /// The operation that brought the value.
    pub operation: &'a Operation,
    /// The value.
    pub value: &'a SecretString,
    /// Salt of the digest: random.
    pub salt: [u8; 16],
}

impl Commit<'_> {
    /// The body of a merge patch, or of a create where there is no Secret yet. `previous` are the metadata of the
    /// Secret that is there.
    #[must_use]
    pub fn body(&self, onto: &Captured, previous: Option<&ObjectMeta>) -> Value {
        let Self { identity, desired, facts, operation, value, salt } = self;
        let mut body = frame(identity, desired, facts, value, previous);
        let stamp = |time: Option<Timestamp>| time.map(|time| time.to_string());
        let notes = [
            (key::OWNER, Some(identity.owner())),
            (key::PLACE, Some(identity.place().as_str().to_owned())),
            (key::UIDS, Some(identity.uids(previous))),
            (key::INSTALLATION, Some(identity.installation.clone())),
            (key::TOKEN_ID, Some(facts.id.as_str().to_owned())),
            (key::TOKEN_NAME, facts.name.clone()),
            (key::PREFIX, facts.prefix.clone()),
            (key::CREATED_AT, stamp(facts.created_at)),
            (key::ROTATED_AT, stamp(facts.rotated_at)),
            (key::EXPIRES_AT, stamp(facts.expires_at)),
            (key::OPERATION, Some(operation.id.clone())),
            (key::GENERATION, Some(operation.generation.to_string())),
            (key::ROTATE_NOW, operation.rotate_now.clone()),
            (key::REPLACED, onto.names.clone()),
            (key::FENCE, None),
            (key::RETAINED, None),
            (key::EMPTIED, None),
            (key::DIGEST, Some(digest(value, *salt))),
        ];
        for (key, note) in notes {
            body.annotations.insert(ours(key), note.map_or(Value::Null, Value::String));
        }
        body.finish(onto.version.as_deref(), identity, &desired.secret_name)
    }
}

/// The body of a merge patch that renders the Secret anew around the value that it holds.
#[must_use]
pub fn rerender(secret: &Secret, identity: &Identity, desired: &Desired, record: &Record) -> Option<Value> {
    let value = value(secret, &desired.secret_key)?;
    let body = frame(identity, desired, &record.token, &value, Some(&secret.metadata));
    Some(body.finish(secret.metadata.resource_version.as_deref(), identity, &desired.secret_name))
}

/// The body of a merge patch that fences the Secret off against a process that still holds the value of `id`.
#[must_use]
pub fn fence(version: &str, id: &str) -> Value {
    json!({"metadata": {"resourceVersion": version, "annotations": {ours(key::FENCE): id}}})
}

/// The body of a merge patch that marks the Secret as retained with the token `id` and takes our ownerReference off.
/// Others' ownerReferences stay.
#[must_use]
pub fn retain(meta: &ObjectMeta, identity: &Identity, id: &str) -> Value {
    json!({"metadata": {
        "resourceVersion": meta.resource_version,
        "annotations": {ours(key::RETAINED): id},
        "ownerReferences": others(Some(meta), identity),
    }})
}

/// The body of a merge patch that marks the Secret as the resource's, which came back without its status or under a new
/// uid. `claim` is random: the patch changes the Secret, so that a process that still holds a value fails to write it.
#[must_use]
pub fn claim(meta: &ObjectMeta, identity: &Identity, policy: DeletionPolicy, claim: &str) -> Value {
    json!({"metadata": {
        "resourceVersion": meta.resource_version,
        "labels": {UID_LABEL: identity.uid},
        "annotations": {
            ours(key::UIDS): identity.uids(Some(meta)),
            ours(key::FENCE): claim,
            ours(key::RETAINED): null,
        },
        // An ownerReference to a former life would have the garbage collector remove the Secret.
        "ownerReferences": owners(Some(meta), identity, policy),
    }})
}

/// The body of a merge patch that takes the operator's data out of the Secret. What others put there stays.
#[must_use]
pub fn empty(meta: &ObjectMeta, secret_key: &str) -> Value {
    let mut managed = managed(meta);
    let keys = std::mem::take(&mut managed.data).into_iter().chain([secret_key.to_owned()]);
    json!({
        "metadata": {
            "resourceVersion": meta.resource_version,
            "annotations": {
                ours(key::EMPTIED): "true",
                ours(key::DIGEST): null,
                ours(key::MANAGED): serde_json::to_string(&managed).unwrap_or_default(),
            },
        },
        "data": keys.map(|key| (key, Value::Null)).collect::<Map<_, _>>(),
    })
}

/// Others' ownerReferences.
fn others(meta: Option<&ObjectMeta>, identity: &Identity) -> Vec<OwnerReference> {
    let references = meta.and_then(|meta| meta.owner_references.as_ref());
    references.into_iter().flatten().filter(|owner| !identity.is_referred(owner)).cloned().collect()
}

/// All ownerReferences as `policy` demands.
fn owners(meta: Option<&ObjectMeta>, identity: &Identity, policy: DeletionPolicy) -> Vec<OwnerReference> {
    let own = (policy == DeletionPolicy::Revoke).then(|| identity.reference());
    others(meta, identity).into_iter().chain(own).collect()
}

/// A patch in the making.
struct Body {
    data: Map<String, Value>,
    labels: Map<String, Value>,
    annotations: Map<String, Value>,
    owners: Vec<OwnerReference>,
}

/// What the spec asks for, and null for what it asked for once and doesn't any more.
fn frame(
    identity: &Identity,
    desired: &Desired,
    token: &TokenFacts,
    value: &SecretString,
    previous: Option<&ObjectMeta>,
) -> Body {
    let old = previous.map(managed).unwrap_or_default();
    let dropped = |old: &BTreeSet<String>| -> Map<String, Value> {
        old.iter().map(|key| (key.clone(), Value::Null)).collect()
    };
    let facts = facts(identity, desired, token);
    let mut data = dropped(&old.data);
    for (key, text) in rendered(desired, &facts, value) {
        let bytes = k8s_openapi::ByteString(text.expose_secret().as_bytes().to_vec());
        data.insert(key.clone(), json!(bytes));
    }
    let mut labels = dropped(&old.labels);
    labels.extend(desired.labels.iter().map(|(key, text)| (key.clone(), json!(text))));
    labels.insert(UID_LABEL.to_owned(), json!(identity.uid));
    let mut annotations = dropped(&old.annotations);
    annotations
        .extend(desired.annotations.iter().map(|(key, text)| (key.clone(), json!(text.render(&facts)))));
    let managed = serde_json::to_string(&Managed::of(desired)).unwrap_or_default();
    annotations.insert(ours(key::MANAGED), json!(managed));
    let owners = owners(previous, identity, desired.deletion_policy);
    Body { data, labels, annotations, owners }
}

impl Body {
    /// A merge patch onto `version`; without one, the body of a create, where null has no place.
    fn finish(self, version: Option<&str>, identity: &Identity, name: &str) -> Value {
        let Self { data, labels, annotations, owners } = self;
        if let Some(version) = version {
            return json!({
                "metadata": {
                    "resourceVersion": version,
                    "labels": labels,
                    "annotations": annotations,
                    "ownerReferences": owners,
                },
                "data": data,
            });
        }
        let set =
            |map: Map<String, Value>| map.into_iter().filter(|(_, v)| !v.is_null()).collect::<Map<_, _>>();
        json!({
            "apiVersion": "v1",
            "kind": "Secret",
            "type": "Opaque",
            "metadata": {
                "name": name,
                "namespace": identity.namespace,
                "labels": set(labels),
                "annotations": set(annotations),
                "ownerReferences": owners,
            },
            "data": set(data),
        })
    }
}

#[cfg(test)]
mod tests;
