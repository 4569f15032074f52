//! A namespace for one test.

use std::collections::BTreeMap;

use anyhow::{Context as _, Result};
use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::api::core::v1::Namespace;
use kube::api::{Api, DeleteParams, ObjectMeta, PostParams};
use kube::{Client, Resource};
use rand::RngExt as _;

/// How much of a test's name its namespace shows. A namespace's name has 63 characters at most, but that of a Helm release 53, and
/// releases are called after the namespace and more: this and the random tail make 46.
const LONGEST_HEAD: usize = 40;

/// A namespace with a name of its own.
#[derive(Clone)]
pub struct TestNamespace {
    name: String,
    client: Client,
}

impl TestNamespace {
    /// Makes a namespace whose name begins like the test's.
    ///
    /// # Errors
    /// When the API server refuses.
    pub async fn create(client: Client, test: &str) -> Result<Self> {
        let name = unique_name(test);
        let labels = BTreeMap::from([("keeptrusts-harness/test".to_owned(), "true".to_owned())]);
        let namespace = Namespace {
            metadata: ObjectMeta { name: Some(name.clone()), labels: Some(labels), ..ObjectMeta::default() },
            ..Namespace::default()
        };
        let api: Api<Namespace> = Api::all(client.clone());
        api.create(&PostParams::default(), &namespace)
            .await
            .with_context(|| format!("making namespace {name}"))?;
        Ok(Self { name, client })
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The administrator's view of a kind in it.
    #[must_use]
    pub fn api<K>(&self) -> Api<K>
    where
        K: Resource<Scope = NamespaceResourceScope, DynamicType = ()>,
    {
        Api::namespaced(self.client.clone(), &self.name)
    }

    /// Asks for its deletion and doesn't wait: what is in it may have finalizers that nobody removes any more.
    ///
    /// # Errors
    /// When the API server refuses.
    pub async fn delete(&self) -> Result<()> {
        let api: Api<Namespace> = Api::all(self.client.clone());
        api.delete(&self.name, &DeleteParams::background())
            .await
            .with_context(|| format!("deleting {}", self.name))?;
        Ok(())
    }
}

/// `rotation::waits_for_rollout` becomes `rotation-waits-for-rollout-x7k2p`.
pub(crate) fn unique_name(test: &str) -> String {
    let mut head = String::new();
    for part in test.split(|c: char| !c.is_ascii_alphanumeric()).filter(|part| !part.is_empty()) {
        if !head.is_empty() {
            head.push('-');
        }
        head.push_str(&part.to_ascii_lowercase());
    }
    head.truncate(LONGEST_HEAD);
    let mut rng = rand::rng();
    let tail: String =
        (0..5).map(|_| char::from(b"bcdfghjklmnpqrstvwxz2456789"[rng.random_range(0..27)])).collect();
    format!("{}-{tail}", head.trim_matches('-'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_tests_become_names_of_namespaces() {
        let name = unique_name("rotation::waits_for_Rollout");
        assert!(name.starts_with("rotation-waits-for-rollout-"), "{name}");
        assert!(unique_name(&"long_name_".repeat(20)).len() <= 46);
        assert_ne!(unique_name("a"), unique_name("a"));
    }
}
