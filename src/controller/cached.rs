//! Resources and Secrets as the caches hold them: what is looked at for every list stands open, all else is packed. Most of
//! what the API server sends is left out, for nobody here reads it.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::marker::PhantomData;

use k8s_openapi::api::core::v1::Secret;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference, Time};
use kube::Resource;
use kube::api::PartialObjectMeta;
use kube::core::error_boundary::InvalidObject;
use serde::de::{DeserializeOwned, IgnoredAny};
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::Value;
use serde_json::value::RawValue;

use crate::lifecycle::naming::{Place, UidTag};
use crate::lifecycle::observed::Requesters;
use crate::resources::{DesiredState, Key, MAX_ROTATE_NOW, ROTATE_NOW};

use super::packed::Packed;
use super::queue::Lane;
use super::requesters::{FieldOwner, requesters};
use super::secrets;

/// Most references to owners of ours that are kept of a Secret: it has one.
const MAX_OWNERS: usize = 8;

/// Most labels that are kept of a resource, by which it may be another operator's.
const MAX_LABELS: usize = 64;

/// A resource.
#[derive(Clone)]
pub(super) struct CachedKey<K> {
    meta: ObjectMeta,
    /// Its place, as the names of its tokens have it, and its uid.
    pub(super) place: Place,
    pub(super) uid: UidTag,
    /// Which lane it takes.
    pub(super) lane: Lane,
    /// A digest of what makes a pass worth while.
    pub(super) matters: u64,
    /// Who asks for the rotation that status doesn't tell of yet.
    requesters: Option<Box<Requesters>>,
    /// All but `meta`.
    packed: Packed,
    kind: PhantomData<fn() -> K>,
}

/// A resource as the API server sends it, whether it is one that its type allows or not.
#[derive(Deserialize)]
struct Sent {
    metadata: SentMeta,
    spec: Option<Box<RawValue>>,
    status: Option<Box<RawValue>>,
}

/// What of its metadata is read.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct SentMeta {
    name: Option<String>,
    namespace: Option<String>,
    uid: Option<String>,
    resource_version: Option<String>,
    generation: Option<i64>,
    creation_timestamp: Option<Time>,
    deletion_timestamp: Option<Time>,
    labels: Option<BTreeMap<String, String>>,
    annotations: Option<BTreeMap<String, String>>,
    finalizers: Option<Vec<String>>,
    #[serde(default)]
    managed_fields: Vec<FieldOwner>,
}

/// What is packed of a resource.
#[derive(Serialize)]
struct Body {
    metadata: ObjectMeta,
    #[serde(skip_serializing_if = "Option::is_none")]
    spec: Option<Box<RawValue>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    status: Option<Box<RawValue>>,
}

/// What of a spec is looked at before it is packed. All of it is missing where the spec isn't one that its type allows.
#[derive(Default, Deserialize)]
struct SpecGlance {
    state: Option<DesiredState>,
    #[serde(default)]
    rotation: RotationGlance,
}

#[derive(Default, Deserialize)]
struct RotationGlance {
    generation: Option<i64>,
}

/// The same of a status.
#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct StatusGlance {
    token: Option<IgnoredAny>,
    observed_rotation_generation: Option<i64>,
    observed_rotate_now: Option<String>,
}

/// A glance at what was sent.
fn glance<T: Default + DeserializeOwned>(sent: Option<&RawValue>) -> T {
    sent.and_then(|sent| serde_json::from_str(sent.get()).ok()).unwrap_or_default()
}

impl Sent {
    /// Who has no value yet, or is to have none any more, goes before those whose value is replaced.
    fn lane(&self, spec: &SpecGlance, status: &StatusGlance) -> Lane {
        let revoked = spec.state == Some(DesiredState::Revoked);
        if status.token.is_none() || self.metadata.deletion_timestamp.is_some() || revoked {
            Lane::Urgent
        } else {
            Lane::Ordinary
        }
    }

    /// What of it makes a pass worth while. Not its status: that is our own.
    fn matters(&self) -> u64 {
        let SentMeta { uid, generation, deletion_timestamp, finalizers, .. } = &self.metadata;
        let mut hash = DefaultHasher::new();
        (uid, generation, deletion_timestamp.is_some(), finalizers, self.rotate_now()).hash(&mut hash);
        hash.finish()
    }

    fn rotate_now(&self) -> Option<&str> {
        self.metadata.annotations.as_ref()?.get(ROTATE_NOW).map(String::as_str)
    }

    /// Who asks for a value that status doesn't tell of yet.
    fn requesters(&self, spec: &SpecGlance, status: &StatusGlance) -> Option<Requesters> {
        let is_asked = spec.rotation.generation > status.observed_rotation_generation
            || self.rotate_now() != status.observed_rotate_now.as_deref();
        is_asked.then(|| requesters(&self.metadata.managed_fields))
    }
}

impl<K: Key> CachedKey<K> {
    fn pack(sent: Sent) -> serde_json::Result<Self> {
        let (asked, told) = (glance(sent.spec.as_deref()), glance(sent.status.as_deref()));
        let (lane, matters, requesters) =
            (sent.lane(&asked, &told), sent.matters(), sent.requesters(&asked, &told));
        let Sent { metadata, spec, status } = sent;
        let SentMeta { labels, mut annotations, finalizers, .. } = metadata;
        // Of whatever people put there one annotation is read; kubectl's holds the whole resource once more.
        if let Some(annotations) = &mut annotations {
            annotations.retain(|key, _| key == ROTATE_NOW);
            for text in annotations.values_mut() {
                *text = text.chars().take(MAX_ROTATE_NOW).collect();
            }
        }
        let labels = labels.map(|labels| labels.into_iter().take(MAX_LABELS).collect());
        let meta = ObjectMeta {
            name: metadata.name,
            namespace: metadata.namespace,
            uid: metadata.uid,
            resource_version: metadata.resource_version,
            generation: metadata.generation,
            creation_timestamp: metadata.creation_timestamp,
            deletion_timestamp: metadata.deletion_timestamp,
            ..ObjectMeta::default()
        };
        let metadata = ObjectMeta { labels, annotations, finalizers, ..ObjectMeta::default() };
        let json = serde_json::to_vec(&Body { metadata, spec, status })?;
        let [namespace, name, uid] =
            [&meta.namespace, &meta.name, &meta.uid].map(|part| part.as_deref().unwrap_or_default());
        let (place, uid) = (Place::new(K::KIND, namespace, name), UidTag::new(uid));
        let packed = Packed::of_json(&json);
        let requesters = requesters.map(Box::new);
        Ok(Self { meta, place, uid, lane, matters, requesters, packed, kind: PhantomData })
    }

    /// The resource, without its managedFields and with what is read of its annotations.
    ///
    /// # Errors
    /// If it isn't one that its type allows.
    pub(super) fn unpack(&self) -> Result<K, InvalidObject> {
        let mut key: K = self.read()?;
        let meta = key.meta_mut();
        let ObjectMeta { labels, annotations, finalizers, .. } = std::mem::take(meta);
        *meta = ObjectMeta { labels, annotations, finalizers, ..self.meta.clone() };
        Ok(key)
    }

    /// Who asks for the rotation that status doesn't tell of yet.
    pub(super) fn requesters(&self) -> Requesters {
        self.requesters.as_deref().cloned().unwrap_or_default()
    }

    /// Whether this text, which JSON writes as it is, stands anywhere in it.
    pub(super) fn holds(&self, text: &str) -> bool {
        self.packed.json().is_ok_and(|json| memchr::memmem::find(&json, text.as_bytes()).is_some())
    }

    fn read<T: DeserializeOwned>(&self) -> Result<T, InvalidObject> {
        self.packed.read().map_err(|error| {
            // Once more, without the error's place in what nobody else sees.
            let value = self.packed.read::<Value>();
            let error = value.and_then(serde_json::from_value::<T>).err().unwrap_or(error).to_string();
            InvalidObject { error, metadata: self.meta.clone() }
        })
    }
}

/// A Secret of ours, metadata only.
#[derive(Clone)]
pub(super) struct CachedSecret {
    meta: ObjectMeta,
    /// What else of its metadata is ours.
    packed: Packed,
}

/// A Secret as the API server sends it.
#[derive(Deserialize)]
struct SentSecret {
    metadata: SentSecretMeta,
}

/// What of its metadata is read.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct SentSecretMeta {
    name: Option<String>,
    namespace: Option<String>,
    uid: Option<String>,
    resource_version: Option<String>,
    #[serde(default)]
    annotations: BTreeMap<String, String>,
    owner_references: Option<Vec<OwnerReference>>,
}

impl CachedSecret {
    fn pack(sent: SentSecret) -> serde_json::Result<Self> {
        let SentSecretMeta { name, namespace, uid, resource_version, mut annotations, owner_references } =
            sent.metadata;
        annotations.retain(|key, text| secrets::is_kept(key, text));
        let owner_references = owner_references
            .map(|owners| owners.into_iter().filter_map(secrets::kept_owner).take(MAX_OWNERS).collect());
        let ours = ObjectMeta { owner_references, annotations: Some(annotations), ..ObjectMeta::default() };
        let packed = Packed::of(&ours)?;
        let meta = ObjectMeta { name, namespace, uid, resource_version, ..ObjectMeta::default() };
        Ok(Self { meta, packed })
    }

    /// What of its metadata is read here: which Secret it is, its version, whose it is, and our annotations.
    pub(super) fn metadata(&self) -> ObjectMeta {
        let ours: ObjectMeta = self.packed.read().unwrap_or_default();
        let ObjectMeta { owner_references, annotations, .. } = ours;
        ObjectMeta { owner_references, annotations, ..self.meta.clone() }
    }
}

impl<'de, K: Key> Deserialize<'de> for CachedKey<K> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::pack(Sent::deserialize(deserializer)?).map_err(serde::de::Error::custom)
    }
}

impl<'de> Deserialize<'de> for CachedSecret {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::pack(SentSecret::deserialize(deserializer)?).map_err(serde::de::Error::custom)
    }
}

/// Says which object it is.
fn debug(f: &mut fmt::Formatter<'_>, name: &str, meta: &ObjectMeta) -> fmt::Result {
    let ObjectMeta { namespace, name: object, resource_version, .. } = meta;
    f.debug_struct(name)
        .field("namespace", namespace)
        .field("name", object)
        .field("version", resource_version)
        .finish_non_exhaustive()
}

impl<K> fmt::Debug for CachedKey<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        debug(f, "CachedKey", &self.meta)
    }
}

impl fmt::Debug for CachedSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        debug(f, "CachedSecret", &self.meta)
    }
}

/// Lists and watches of the one are lists and watches of the other.
macro_rules! is_resource {
    ([$($parameter:ident: $bound:path)?] $cached:ty, $of:ty) => {
        impl<$($parameter: $bound)?> Resource for $cached {
            type DynamicType = ();
            type Scope = k8s_openapi::NamespaceResourceScope;

            fn kind((): &()) -> Cow<'_, str> {
                <$of as Resource>::kind(&())
            }

            fn group((): &()) -> Cow<'_, str> {
                <$of as Resource>::group(&())
            }

            fn version((): &()) -> Cow<'_, str> {
                <$of as Resource>::version(&())
            }

            fn plural((): &()) -> Cow<'_, str> {
                <$of as Resource>::plural(&())
            }

            fn metadata_api() -> bool {
                <$of as Resource>::metadata_api()
            }

            fn meta(&self) -> &ObjectMeta {
                &self.meta
            }

            fn meta_mut(&mut self) -> &mut ObjectMeta {
                &mut self.meta
            }
        }
    };
}

is_resource!([K: Key] CachedKey<K>, K);
is_resource!([] CachedSecret, PartialObjectMeta<Secret>);

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::resources::AccessKey;

    fn resource(generation: i64, observed: i64) -> Value {
        json!({
            "apiVersion": "keys.keeptrusts.com/v1alpha1",
            "kind": "AccessKey",
            "metadata": {
                "name": "checkout",
                "namespace": "shop",
                "uid": "9e1f0c1e-0000-4000-8000-000000000000",
                "resourceVersion": "12",
                "generation": 3,
                "creationTimestamp": "2026-01-01T00:00:00Z",
                "finalizers": ["keys.keeptrusts.com/cleanup"],
                "labels": {"app": "checkout"},
                "annotations": {ROTATE_NOW: "now", "kubectl.kubernetes.io/last-applied-configuration": "{}", "team": "shop"},
                "managedFields": [{"manager": "kubectl", "operation": "Apply", "fieldsV1": {"f:spec": {"f:rotation": {"f:generation": {}}}}}],
            },
            "spec": {"rotation": {"generation": generation}},
            "status": {"observedGeneration": 3, "observedRotationGeneration": observed, "observedRotateNow": "now"},
        })
    }

    fn cached(resource: Value) -> CachedKey<AccessKey> {
        serde_json::from_value(resource).unwrap()
    }

    #[test]
    fn what_is_read_of_a_resource_comes_out_as_it_went_in() {
        let expected = {
            let mut key: AccessKey = serde_json::from_value(resource(2, 2)).unwrap();
            key.metadata.managed_fields = None;
            key.metadata.annotations = Some([(ROTATE_NOW.to_owned(), "now".to_owned())].into());
            key
        };
        let cached = cached(resource(2, 2));
        let json = |key: &AccessKey| serde_json::to_value(key).unwrap();
        assert_eq!(json(&cached.unpack().unwrap()), json(&expected));
        assert_eq!(cached.meta().name, expected.metadata.name);
    }

    #[test]
    fn who_asks_is_kept_until_it_was_acted_on() {
        let asks = |generation, observed| cached(resource(generation, observed)).requesters().generation;
        assert_eq!(asks(2, 1).as_deref(), Some("kubectl"));
        assert_eq!(asks(2, 2), None);
    }

    #[test]
    fn who_is_new_or_ends_goes_first() {
        assert_eq!(cached(resource(2, 2)).lane, Lane::Urgent, "it has no token yet");
        let mut minted = resource(2, 2);
        minted["status"]["token"] = json!({"id": "tok_1"});
        assert_eq!(cached(minted.clone()).lane, Lane::Ordinary);
        let mut revoked = minted.clone();
        revoked["spec"]["state"] = json!("Revoked");
        assert_eq!(cached(revoked).lane, Lane::Urgent);
        minted["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:00:00Z");
        assert_eq!(cached(minted).lane, Lane::Urgent);
    }

    #[test]
    fn a_status_alone_is_no_reason_for_a_pass() {
        assert_eq!(cached(resource(2, 1)).matters, cached(resource(2, 2)).matters);
        let mut edited = resource(2, 2);
        edited["metadata"]["generation"] = json!(4);
        assert_ne!(cached(edited).matters, cached(resource(2, 2)).matters);
    }

    #[test]
    fn what_can_not_be_read_says_why_and_which_it_is() {
        let mut broken = resource(2, 2);
        broken["spec"]["rotation"] = json!("weekly");
        let cached = cached(broken);
        let InvalidObject { error, metadata } = cached.unpack().unwrap_err();
        assert!(error.contains("weekly"), "{error}");
        assert_eq!(metadata.name.as_deref(), Some("checkout"));
    }

    #[test]
    fn whatever_people_put_into_metadata_a_resource_takes_little_room() {
        let text = |length: usize| -> String {
            (0..length).map(|_| char::from(rand::random_range(b'a'..=b'z'))).collect()
        };
        let mut flooded = resource(2, 2);
        flooded["metadata"]["annotations"] =
            (0..100).map(|nr| (format!("a/{nr}"), json!(text(2_600)))).collect();
        flooded["metadata"]["annotations"][ROTATE_NOW] = json!(text(260_000));
        flooded["metadata"]["labels"] = (0..10_000).map(|nr| (format!("a/{nr}"), json!(text(63)))).collect();
        let cached = cached(flooded);
        assert!(cached.packed.json().unwrap().len() < 8 << 10, "{}", cached.packed.json().unwrap().len());
    }

    #[test]
    fn whatever_people_put_into_metadata_a_secret_takes_little_room() {
        let known = ["uids", "owner", "token-id", "operation", "replaced", "retained", "managed"];
        let annotations: BTreeMap<_, _> = known
            .map(|key| (key.to_owned(), "x".repeat(250_000)))
            .into_iter()
            .chain((0..1_000).map(|nr| (nr.to_string(), "x".repeat(250))))
            .map(|(key, text)| (format!("keys.keeptrusts.com/{key}"), text))
            .collect();
        let owner = json!({"apiVersion": "keys.keeptrusts.com/v1alpha1", "kind": "AccessKey", "name": "n", "uid": "u"});
        let other = json!({"apiVersion": "v1", "kind": "ConfigMap", "name": "c".repeat(1_000), "uid": "u"});
        let owners: Vec<_> = [vec![other; 1_000], vec![owner; 1_000]].concat();
        let secret: CachedSecret = serde_json::from_value(json!({
            "metadata": {"name": "checkout", "namespace": "shop", "annotations": annotations, "ownerReferences": owners},
        }))
        .unwrap();
        let meta = secret.metadata();
        assert_eq!((meta.annotations.unwrap().len(), meta.owner_references.unwrap().len()), (0, MAX_OWNERS));
    }

    #[test]
    fn of_a_secret_what_is_ours_is_kept() {
        let secret: CachedSecret = serde_json::from_value(json!({
            "apiVersion": "meta.k8s.io/v1",
            "kind": "PartialObjectMetadata",
            "metadata": {
                "name": "checkout",
                "namespace": "shop",
                "resourceVersion": "7",
                "labels": {"keys.keeptrusts.com/uid": "a"},
                "annotations": {"keys.keeptrusts.com/operation": "o", "team": "shop"},
                "ownerReferences": [
                    {"apiVersion": "v1", "kind": "ConfigMap", "name": "c", "uid": "u"},
                    {"apiVersion": "keys.keeptrusts.com/v1alpha1", "kind": "AccessKey", "name": "checkout", "uid": "a"},
                ],
            },
        }))
        .unwrap();
        assert!(CachedSecret::metadata_api(), "no list brings a value");
        let meta = secret.metadata();
        assert_eq!(meta.resource_version.as_deref(), Some("7"));
        assert_eq!(
            meta.annotations.unwrap().into_keys().collect::<Vec<_>>(),
            ["keys.keeptrusts.com/operation"]
        );
        assert_eq!(meta.owner_references.unwrap().len(), 1, "neither ours nor a controller");
    }
}
