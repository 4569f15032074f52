//! What the API server has, read in an order that allows a judgement.

use anyhow::{Context as _, Result};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::Secret;
use keeptrusts_emulator::Operation;
use keeptrusts_operator::resources::KeyKind;
use kube::ResourceExt as _;
use kube::api::{Api, DynamicObject, ListParams};

use crate::kinds::{KINDS, keys, secret_name};
use crate::stage::Stage;

/// All keys, as one list of each kind showed them.
pub(crate) struct Keys {
    /// When the lists were begun.
    pub(crate) begun: Timestamp,
    pub(crate) all: Vec<(KeyKind, DynamicObject)>,
}

/// All Secrets in the namespaces of keys.
pub(crate) struct Secrets(pub(crate) Vec<Secret>);

impl Keys {
    pub(crate) async fn read(stage: &Stage) -> Result<Self> {
        let begun = Timestamp::now();
        let mut all = Vec::new();
        for kind in KINDS {
            let list = keys(&stage.client, kind, None).list(&ListParams::default()).await;
            all.extend(list.context("listing keys")?.items.into_iter().map(|key| (kind, key)));
        }
        Ok(Self { begun, all })
    }

    /// Which of these keys aren't there, in the same version, in a later look.
    pub(crate) fn changed(&self, later: &Self) -> Vec<String> {
        let changed = self.all.iter().filter(|(_, key)| !later.unchanged(key));
        changed.map(|(kind, key)| format!("{} was written", place(*kind, key))).collect()
    }

    /// The same key of the same version.
    pub(crate) fn unchanged(&self, key: &DynamicObject) -> bool {
        self.all.iter().any(|(_, other)| {
            other.metadata.uid == key.metadata.uid
                && other.metadata.resource_version == key.metadata.resource_version
        })
    }
}

impl Secrets {
    pub(crate) async fn read(stage: &Stage) -> Result<Self> {
        let api: Api<Secret> = Api::all(stage.client.clone());
        let list = api.list(&ListParams::default()).await.context("listing Secrets")?;
        let ours = |secret: &Secret| secret.namespace().is_some_and(|name| is_of_keys(&name));
        Ok(Self(list.items.into_iter().filter(ours).collect()))
    }

    /// The Secret of a key's name.
    pub(crate) fn of(&self, key: &DynamicObject) -> Option<&Secret> {
        let name = secret_name(key);
        self.0.iter().find(|secret| secret.namespace() == key.namespace() && secret.name_any() == name)
    }

    /// Which of these Secrets aren't there, in the same version, in a later look.
    pub(crate) fn changed(&self, later: &Self) -> Vec<String> {
        let changed = self.0.iter().filter(|secret| !later.unchanged(secret));
        changed
            .map(|secret| {
                format!("Secret {}/{} was written", secret.namespace().unwrap_or_default(), secret.name_any())
            })
            .collect()
    }

    /// The same Secret of the same version.
    pub(crate) fn unchanged(&self, secret: &Secret) -> bool {
        self.0.iter().any(|other| {
            other.metadata.uid == secret.metadata.uid
                && other.metadata.resource_version == secret.metadata.resource_version
        })
    }
}

/// How often the token API was called, but for lists.
pub(crate) fn calls(stage: &Stage) -> u64 {
    let counts = stage.emulator.counts();
    Operation::ALL.into_iter().filter(|it| *it != Operation::List).map(|it| counts.of(it)).sum()
}

fn is_of_keys(namespace: &str) -> bool {
    namespace.strip_prefix("chaos-").is_some_and(|rest| rest.bytes().all(|b| b.is_ascii_digit()))
}

/// Kind, namespace and name, for people.
pub(crate) fn place(kind: KeyKind, key: &DynamicObject) -> String {
    format!("{} {}/{}", kind.kind(), key.namespace().unwrap_or_default(), key.name_any())
}
