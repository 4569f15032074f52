//! A resource as the core observes it, whichever kind it is. Behind this point nothing is generic.

use std::collections::BTreeMap;

use jiff::Timestamp;
use kube::core::error_boundary::InvalidObject;

use crate::lifecycle::desired::{self, Desired};
use crate::lifecycle::naming::{Installation, Owner};
use crate::lifecycle::observed::ResourceView;
use crate::lifecycle::time::Monotonic;
use crate::resources::{
    AccessKey, DEFAULT_SECRET_KEY, FINALIZER, GatewayKey, Key, KeyKind, MAX_ROTATE_NOW, ROTATE_NOW,
};

use super::cached::CachedKey;
use super::secrets::Identity;
use super::specs::Specs;

/// As much of the annotation as counts. An empty one asks for nothing.
fn rotate_now(asked: &str) -> Option<String> {
    (!asked.is_empty()).then(|| asked.chars().take(MAX_ROTATE_NOW).collect())
}

/// A resource of either kind.
#[derive(Clone, Debug)]
pub(super) struct KeyObject {
    /// Which one it is.
    pub(super) identity: Identity,
    /// Under which tag its tokens stand.
    pub(super) owner: Owner,
    /// When it was created.
    pub(super) created: Option<Timestamp>,
    /// All finalizers on it, ours or not.
    pub(super) finalizers: Vec<String>,
    /// Its labels, by which it may be another operator's.
    pub(super) labels: BTreeMap<String, String>,
    /// Name of its Secret. Cleanup needs it without a valid spec.
    pub(super) secret_name: String,
    /// The Secret's data key that holds the value; likewise.
    pub(super) secret_key: String,
    /// When the API server was asked that answered with it; nothing for a cache's.
    pub(super) asked: Option<Monotonic>,
    /// What the core observes of it.
    pub(super) view: ResourceView,
}

impl KeyObject {
    /// Reads what a cache holds, or what the API server answered.
    ///
    /// # Errors
    /// If it isn't a resource that its type allows.
    pub(super) fn read<K: Key>(
        cached: &CachedKey<K>,
        installation: &Installation,
        specs: &Specs,
        asked: Option<Monotonic>,
    ) -> Result<Self, InvalidObject> {
        let mut object = cached.unpack()?;
        let meta = std::mem::take(object.meta_mut());
        let identity = Identity::of(K::KIND, &meta, installation);
        let finalizers = meta.finalizers.unwrap_or_default();
        let asked_now = meta.annotations.as_ref().and_then(|annotations| annotations.get(ROTATE_NOW));
        let parts = object.parts();
        let key = parts.secret.and_then(|secret| secret.key.as_deref()).unwrap_or(DEFAULT_SECRET_KEY);
        Ok(Self {
            owner: Owner {
                installation: installation.clone(),
                place: cached.place.clone(),
                uid: cached.uid.clone(),
            },
            secret_name: desired::secret_name(&parts, &identity.name).to_owned(),
            secret_key: key.to_owned(),
            asked,
            created: meta.creation_timestamp.map(|created| created.0),
            view: ResourceView {
                version: meta.resource_version.unwrap_or_default(),
                live: asked.is_some(),
                generation: meta.generation.unwrap_or_default(),
                deleting: meta.deletion_timestamp.is_some(),
                finalizer: finalizers.iter().any(|finalizer| finalizer == FINALIZER),
                desired: specs.of(&identity.uid, meta.generation, || {
                    Desired::parse(&parts, &identity.namespace, &identity.name)
                }),
                requesters: cached.requesters(),
                rotate_now: asked_now.and_then(|asked| rotate_now(asked)),
                deletion_policy: parts.deletion_policy.unwrap_or_default(),
                state: parts.state.unwrap_or_default(),
                status: object.status().cloned().unwrap_or_default(),
            },
            finalizers,
            labels: meta.labels.unwrap_or_default(),
            identity,
        })
    }

    /// Reads the text of what the API server answered.
    ///
    /// # Errors
    /// If it isn't a resource of the kind.
    pub(super) fn parse(
        kind: KeyKind,
        text: &str,
        installation: &Installation,
        specs: &Specs,
        asked: Monotonic,
    ) -> Result<Self, String> {
        fn read<K: Key>(
            text: &str,
            installation: &Installation,
            specs: &Specs,
            asked: Monotonic,
        ) -> Result<KeyObject, String> {
            let sent: CachedKey<K> = serde_json::from_str(text).map_err(|error| error.to_string())?;
            KeyObject::read(&sent, installation, specs, Some(asked)).map_err(|invalid| invalid.error)
        }
        match kind {
            KeyKind::Access => read::<AccessKey>(text, installation, specs, asked),
            KeyKind::Gateway => read::<GatewayKey>(text, installation, specs, asked),
        }
    }

    /// The spec, if it can be acted on.
    pub(super) fn desired(&self) -> Option<&Desired> {
        self.view.desired.as_ref().ok()
    }
}
