//! Resources and Secrets as the caches hold them: what is looked at for every list stands open, all else is packed. Most of
//! what the API server sends is left out, for nobody here reads it.

use std::borrow::Cow;
use std::fmt;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::marker::PhantomData;

use k8s_openapi::api::core::v1::Secret;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::Resource;
use kube::api::PartialObjectMeta;
use kube::core::DeserializeGuard;
use kube::core::error_boundary::InvalidObject;
use serde::{Deserialize, Deserializer};

use crate::resources::{DesiredState, GROUP, Key, KeyStatus, ROTATE_NOW};

use super::queue::Lane;

/// The whole resource once more, as kubectl applied it.
const LAST_APPLIED: &str = "kubectl.kubernetes.io/last-applied-configuration";

/// A resource.
#[derive(Clone)]
pub(super) struct CachedKey<K> {
    meta: ObjectMeta,
    /// Which lane it takes.
    pub(super) lane: Lane,
    /// A digest of what makes a pass worth while.
    pub(super) matters: u64,
    /// All of it but `meta`, as JSON; or why it can't be read.
    packed: Result<Box<[u8]>, Box<str>>,
    kind: PhantomData<fn() -> K>,
}

/// The status of a packed resource.
#[derive(Deserialize)]
struct StatusAlone {
    status: Option<KeyStatus>,
}

impl<K: Key> CachedKey<K> {
    fn pack(object: DeserializeGuard<K>) -> Self {
        let mut key = match object.0 {
            Ok(key) => key,
            Err(InvalidObject { error, mut metadata }) => {
                let matters = matters(&metadata);
                let packed = Err(error.into());
                let meta = take_open(&mut metadata);
                return Self { meta, lane: Lane::Ordinary, matters, packed, kind: PhantomData };
            }
        };
        let (lane, matters) = (lane(&key), matters(key.meta()));
        // Who owns its fields is kept while somebody asks for a rotation.
        if !is_asked(&key) {
            key.meta_mut().managed_fields = None;
        }
        if let Some(annotations) = &mut key.meta_mut().annotations {
            annotations.remove(LAST_APPLIED);
        }
        let meta = take_open(key.meta_mut());
        let packed = serde_json::to_vec(&key).map(Vec::into_boxed_slice);
        let packed = packed.map_err(|error| error.to_string().into());
        Self { meta, lane, matters, packed, kind: PhantomData }
    }

    /// The resource.
    ///
    /// # Errors
    /// If it isn't one that its type allows.
    pub(super) fn unpack(&self) -> Result<K, InvalidObject> {
        let mut key: K = self.read()?;
        let meta = key.meta_mut();
        let packed = std::mem::replace(meta, self.meta.clone());
        let ObjectMeta { labels, annotations, finalizers, managed_fields, .. } = packed;
        *meta = ObjectMeta { labels, annotations, finalizers, managed_fields, ..std::mem::take(meta) };
        Ok(key)
    }

    /// Its status, if it has one.
    ///
    /// # Errors
    /// If it isn't a resource that its type allows.
    pub(super) fn status(&self) -> Result<Option<KeyStatus>, InvalidObject> {
        self.read::<StatusAlone>().map(|packed| packed.status)
    }

    /// Whether this text, which JSON writes as it is, stands anywhere in it.
    pub(super) fn holds(&self, text: &str) -> bool {
        self.packed.as_ref().is_ok_and(|packed| memchr::memmem::find(packed, text.as_bytes()).is_some())
    }

    fn read<T: for<'a> Deserialize<'a>>(&self) -> Result<T, InvalidObject> {
        let invalid = |error| InvalidObject { error, metadata: self.meta.clone() };
        let packed = self.packed.as_ref().map_err(|error| invalid(error.to_string()))?;
        serde_json::from_slice(packed).map_err(|error| invalid(error.to_string()))
    }
}

/// Takes out what stands open: which object it is, its versions and its times. The rest of what is left in `meta` is what
/// somebody reads.
fn take_open(meta: &mut ObjectMeta) -> ObjectMeta {
    let ObjectMeta {
        name,
        namespace,
        uid,
        resource_version,
        generation,
        creation_timestamp,
        deletion_timestamp,
        labels,
        annotations,
        finalizers,
        managed_fields,
        ..
    } = std::mem::take(meta);
    *meta = ObjectMeta { labels, annotations, finalizers, managed_fields, ..ObjectMeta::default() };
    ObjectMeta {
        name,
        namespace,
        uid,
        resource_version,
        generation,
        creation_timestamp,
        deletion_timestamp,
        ..ObjectMeta::default()
    }
}

/// Who has no value yet, or is to have none any more, goes before those whose value is replaced.
fn lane<K: Key>(key: &K) -> Lane {
    let none_yet = key.status().is_none_or(|status| status.token.is_none());
    let none_more =
        key.meta().deletion_timestamp.is_some() || key.parts().state == Some(DesiredState::Revoked);
    if none_yet || none_more { Lane::Urgent } else { Lane::Ordinary }
}

/// What of a resource makes a pass worth while. Not its status: that is our own.
fn matters(meta: &ObjectMeta) -> u64 {
    let mut hash = DefaultHasher::new();
    let rotate_now = meta.annotations.as_ref().and_then(|annotations| annotations.get(ROTATE_NOW));
    (&meta.uid, meta.generation, meta.deletion_timestamp.is_some(), &meta.finalizers, rotate_now)
        .hash(&mut hash);
    hash.finish()
}

/// Whether a value is asked for that status doesn't tell of yet.
fn is_asked<K: Key>(key: &K) -> bool {
    let Some(status) = key.status() else { return true };
    let generation = key.parts().rotation.and_then(|rotation| rotation.generation);
    let at_once = key.meta().annotations.as_ref().and_then(|annotations| annotations.get(ROTATE_NOW));
    generation > status.observed_rotation_generation || at_once != status.observed_rotate_now.as_ref()
}

/// A Secret of ours, metadata only.
#[derive(Clone)]
pub(super) struct CachedSecret {
    meta: ObjectMeta,
    /// What else of its metadata is ours, as JSON.
    packed: Box<[u8]>,
}

impl CachedSecret {
    fn pack(mut meta: ObjectMeta) -> Result<Self, serde_json::Error> {
        let owner_references = meta.owner_references.take();
        let domain = format!("{GROUP}/");
        let mut annotations = meta.annotations.take().unwrap_or_default();
        annotations.retain(|key, _| key.starts_with(&domain));
        let ours = ObjectMeta { owner_references, annotations: Some(annotations), ..ObjectMeta::default() };
        let packed = serde_json::to_vec(&ours)?.into_boxed_slice();
        Ok(Self { meta: take_open(&mut meta), packed })
    }

    /// What of its metadata is read here: which Secret it is, its version, whose it is, and our annotations.
    pub(super) fn metadata(&self) -> ObjectMeta {
        let ours: ObjectMeta = serde_json::from_slice(&self.packed).unwrap_or_default();
        let ObjectMeta { owner_references, annotations, .. } = ours;
        ObjectMeta { owner_references, annotations, ..self.meta.clone() }
    }
}

impl<'de, K: Key> Deserialize<'de> for CachedKey<K> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        DeserializeGuard::deserialize(deserializer).map(Self::pack)
    }
}

impl<'de> Deserialize<'de> for CachedSecret {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let secret = PartialObjectMeta::<Secret>::deserialize(deserializer)?;
        Self::pack(secret.metadata).map_err(serde::de::Error::custom)
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
                "annotations": {LAST_APPLIED: "{}", "team": "shop"},
                "managedFields": [{"manager": "kubectl", "operation": "Apply", "fieldsV1": {"f:spec": {}}}],
            },
            "spec": {"rotation": {"generation": generation}},
            "status": {"observedGeneration": 3, "observedRotationGeneration": observed},
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
            key.metadata.annotations.as_mut().unwrap().remove(LAST_APPLIED);
            key
        };
        let cached = cached(resource(2, 2));
        let json = |key: &AccessKey| serde_json::to_value(key).unwrap();
        assert_eq!(json(&cached.unpack().unwrap()), json(&expected));
        assert_eq!(cached.status().unwrap(), expected.status);
        assert_eq!(cached.meta().name, expected.metadata.name);
    }

    #[test]
    fn who_asks_is_kept_until_it_was_acted_on() {
        let managed = |cached: CachedKey<AccessKey>| cached.unpack().unwrap().metadata.managed_fields;
        assert!(managed(cached(resource(2, 1))).is_some());
        assert!(managed(cached(resource(2, 2))).is_none());
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
        assert!(cached.status().is_err());
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
                "ownerReferences": [{"apiVersion": "v1", "kind": "ConfigMap", "name": "c", "uid": "u"}],
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
        assert_eq!(meta.owner_references.unwrap().len(), 1);
    }
}
