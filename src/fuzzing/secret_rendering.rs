//! The Secret. The input has three parts between lines of `---`: what a spec asks for and what the token API told, what
//! the spec asks for later, and what others put into the Secret.
//!
//! A line of a part is `value=…`, `prefix=…`, `id=…`, `gateway=…`, `retain`, or `data`, `label` or `annotation` and
//! `KEY=TEXT`; in all of them `\n` stands for a line end. Every other line says nothing.

use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use secrecy::{ExposeSecret, SecretString};
use serde_json::{Value, json};

use crate::controller::secrets::{Commit, Identity, UID_LABEL, observe, owner_of, rerender, value};
use crate::lifecycle::desired::Desired;
use crate::lifecycle::memory::Captured;
use crate::lifecycle::observed::{Contents, OurSecret, SecretView};
use crate::lifecycle::template::{Facts, PublicTemplate, Template};
use crate::lifecycle::token::{TokenFacts, TokenId};
use crate::resources::{
    DeletionPolicy, GROUP, GatewayKey, GatewayKeySpec, GatewayTokenSpec, Key as _, KeyKind, Operation,
    SecretSpec, SecretTemplate,
};

/// A value that stands nowhere else.
const OTHER_VALUE: &str = "kt_live_8c1f0e6d2b";

/// One part of an input.
#[derive(Default)]
struct Part {
    value: Option<String>,
    prefix: Option<String>,
    id: Option<String>,
    gateway: Option<String>,
    retain: bool,
    data: BTreeMap<String, String>,
    labels: BTreeMap<String, String>,
    annotations: BTreeMap<String, String>,
}

impl Part {
    fn read(text: &str) -> Self {
        let mut part = Self::default();
        for line in text.lines() {
            let (name, text) = line.split_once('=').unwrap_or((line, ""));
            let text = text.replace("\\n", "\n");
            match name.split_once(' ') {
                Some(("data", key)) => _ = part.data.insert(key.to_owned(), text),
                Some(("label", key)) => _ = part.labels.insert(key.to_owned(), text),
                Some(("annotation", key)) => _ = part.annotations.insert(key.to_owned(), text),
                Some(_) => (),
                None if name == "retain" => part.retain = true,
                None if text.is_empty() => (),
                None => match name {
                    "value" => part.value = Some(text),
                    "prefix" => part.prefix = Some(text),
                    "id" => part.id = Some(text),
                    "gateway" => part.gateway = Some(text),
                    _ => (),
                },
            }
        }
        part
    }

    /// What this part asks for; nothing if such a spec is refused.
    fn desired(&self) -> Option<Desired> {
        let Self { gateway, retain, data, labels, annotations, .. } = self;
        let template =
            SecretTemplate { labels: labels.clone(), annotations: annotations.clone(), data: data.clone() };
        let spec = GatewayKeySpec {
            token: Some(GatewayTokenSpec { gateway_id: gateway.clone(), ..GatewayTokenSpec::default() }),
            secret: Some(SecretSpec { template: Some(template), ..SecretSpec::default() }),
            deletion_policy: retain.then_some(DeletionPolicy::Retain),
            ..GatewayKeySpec::default()
        };
        Desired::parse(&GatewayKey::new("checkout", spec).parts(), "shop", "checkout").ok()
    }
}

/// What stays the same while a Secret is written again and again.
struct Scene {
    identity: Identity,
    facts: TokenFacts,
    operation: Operation,
    theirs: Part,
}

/// Checks one input.
///
/// # Panics
/// If something that must hold doesn't.
pub fn check(input: &[u8]) {
    let text = String::from_utf8_lossy(input);
    let mut parts = text.split("\n---\n").map(Part::read);
    let first = parts.next().unwrap_or_default();
    let second = parts.next().unwrap_or_default();
    let theirs = parts.next().unwrap_or_default();
    let (Some(before), Some(after)) = (first.desired(), second.desired()) else { return };
    let Some(scene) = Scene::of(&first, theirs.beside([&before, &after])) else { return };
    let token = SecretString::from(first.value.as_deref().unwrap_or("kt_live_3f9a1c7e5b2d4f60"));
    let next = SecretString::from(OTHER_VALUE);

    for template in first.data.values() {
        scene.check_template(template, &token);
    }
    for template in first.annotations.values() {
        scene.check_annotation(template);
    }
    let created = scene.created(&before, &token);
    let shared = scene.with_theirs(&created);
    scene.must_hold(&shared, &before, &token);
    let changed = scene.rerendered(&shared, &after);
    scene.must_hold(&changed, &after, &token);
    let replaced = scene.replaced(&changed, &before, &next);
    scene.must_hold(&replaced, &before, &next);

    scene.must_differ_in_data_alone(&created, &scene.created(&before, &next), &before);
    scene.must_differ_in_data_alone(&scene.replaced(&changed, &before, &token), &replaced, &before);
    let shown = format!("{:?}", scene.commit(&before, &token));
    assert_eq!(shown, format!("{:?}", scene.commit(&before, &next)), "a value is shown");
}

impl Scene {
    fn of(part: &Part, theirs: Part) -> Option<Self> {
        let operation = json!({"id": "operation", "kind": "Create", "reason": "Created", "generation": 3});
        Some(Self {
            identity: Identity {
                kind: KeyKind::Gateway,
                namespace: "shop".to_owned(),
                name: "checkout".to_owned(),
                uid: "5b9c7f6e-checkout".to_owned(),
                installation: "aaaaaaaa".to_owned(),
            },
            facts: TokenFacts {
                id: TokenId::parse(part.id.as_deref().unwrap_or("tok_1")).ok()?,
                name: Some("checkout-api-kt1-x".to_owned()),
                prefix: part.prefix.clone(),
                created_at: "2026-11-24T01:02:03Z".parse().ok(),
                rotated_at: None,
                expires_at: "2027-11-24T01:02:03Z".parse().ok(),
            },
            operation: serde_json::from_value(operation).ok()?,
            theirs,
        })
    }

    fn commit<'a>(&'a self, desired: &'a Desired, value: &'a SecretString) -> Commit<'a> {
        let Self { identity, facts, operation, .. } = self;
        Commit { identity, desired, facts, operation, value, salt: [7; 16] }
    }

    fn created(&self, desired: &Desired, value: &SecretString) -> Secret {
        let mut body = self.commit(desired, value).body(&Captured::default(), None);
        body["metadata"]["resourceVersion"] = json!("1");
        secret_of(body)
    }

    fn replaced(&self, secret: &Secret, desired: &Desired, value: &SecretString) -> Secret {
        let onto = Captured { version: Some("1".to_owned()), names: Some("tok_0".to_owned()) };
        patched(secret, &self.commit(desired, value).body(&onto, Some(&secret.metadata)))
    }

    fn rerendered(&self, secret: &Secret, desired: &Desired) -> Secret {
        let record = self.ours(secret, desired).record;
        let patch = rerender(secret, &self.identity, desired, &record);
        patch.map_or_else(|| panic!("the Secret has no value"), |patch| patched(secret, &patch))
    }

    /// What others put there, added to a Secret.
    fn with_theirs(&self, secret: &Secret) -> Secret {
        let Part { data, labels, annotations, .. } = &self.theirs;
        let mut secret = secret.clone();
        let bytes = data.iter().map(|(key, text)| (key.clone(), ByteString(text.clone().into_bytes())));
        secret.data.get_or_insert_default().extend(bytes);
        secret.metadata.labels.get_or_insert_default().extend(labels.clone());
        secret.metadata.annotations.get_or_insert_default().extend(annotations.clone());
        secret.metadata.owner_references.get_or_insert_default().push(their_reference());
        secret
    }

    fn ours(&self, secret: &Secret, desired: &Desired) -> OurSecret {
        match observe(Some(secret), &self.identity, &desired.secret_key, Some(desired)) {
            SecretView::Ours(ours) => ours,
            other => panic!("not ours: {other:?}"),
        }
    }

    /// The template's text with its placeholders filled in, told in another way than the operator does.
    fn check_template(&self, template: &str, token: &SecretString) {
        let rendered = Template::parse(template).map(|template| template.render(token, &self.facts()));
        let mut table = self.table();
        table.push(("$(value)", token.expose_secret()));
        let expected = filled(template, &table);
        let rendered = rendered.as_ref().ok().map(ExposeSecret::expose_secret);
        assert_eq!(rendered, expected.as_deref(), "{template:?}");
    }

    /// The same of an annotation's template, which refuses the value.
    fn check_annotation(&self, template: &str) {
        let rendered = PublicTemplate::annotation(template).map(|template| template.render(&self.facts()));
        assert_eq!(rendered.ok(), filled(template, &self.table()), "{template:?}");
    }

    fn facts(&self) -> Facts<'_> {
        let token_id = self.facts.id.as_str();
        Facts { name: "N", namespace: "S", prefix: "P", token_id, gateway_id: "G" }
    }

    /// What stands for what, but for the value.
    fn table(&self) -> Vec<(&str, &str)> {
        vec![
            ("$$(", "$("),
            ("$(name)", "N"),
            ("$(namespace)", "S"),
            ("$(prefix)", "P"),
            ("$(tokenId)", self.facts.id.as_str()),
            ("$(gatewayId)", "G"),
        ]
    }

    /// What must hold of every Secret that was written: everything is as the spec asks, everything that others put
    /// there is still there, nothing else is, and writing it again changes nothing.
    fn must_hold(&self, secret: &Secret, desired: &Desired, token: &SecretString) {
        let ours = self.ours(secret, desired);
        assert_eq!(ours.contents, Contents::Current);
        assert_eq!(ours.record.token, self.facts, "what the token API told is read back");
        assert_eq!(owner_of(&secret.metadata), Some(("GatewayKey", "checkout")));
        let held = value(secret, &desired.secret_key);
        let held = held.as_ref().map(ExposeSecret::expose_secret);
        assert_eq!(held, Some(token.expose_secret()), "the value is in its place");

        let Part { data, labels, annotations, .. } = &self.theirs;
        let written = secret.data.clone().unwrap_or_default();
        for (key, text) in data {
            assert_eq!(written.get(key).map(|bytes| &*bytes.0), Some(text.as_bytes()), "their data {key:?}");
        }
        let keys: BTreeSet<_> =
            desired.data.keys().chain(data.keys()).chain([&desired.secret_key]).cloned().collect();
        assert_eq!(written.into_keys().collect::<BTreeSet<_>>(), keys, "the data keys");

        let mut expected: BTreeMap<_, _> = labels.clone().into_iter().chain(desired.labels.clone()).collect();
        expected.insert(UID_LABEL.to_owned(), self.identity.uid.clone());
        assert_eq!(secret.metadata.labels.as_ref(), Some(&expected), "the labels");

        let mut written = secret.metadata.annotations.clone().unwrap_or_default();
        written.retain(|key, _| !is_own(key));
        let facts = Facts {
            name: "checkout",
            namespace: "shop",
            prefix: self.facts.prefix.as_deref().unwrap_or_default(),
            token_id: self.facts.id.as_str(),
            gateway_id: desired.gateway_id.as_deref().unwrap_or_default(),
        };
        let asked = desired.annotations.iter().map(|(key, text)| (key.clone(), text.render(&facts)));
        let expected: BTreeMap<_, _> = annotations.clone().into_iter().chain(asked).collect();
        assert_eq!(written, expected, "the annotations");

        let owners = secret.metadata.owner_references.clone().unwrap_or_default();
        assert!(owners.contains(&their_reference()), "their ownerReference");
        let owned = owners.iter().filter(|owner| owner.uid == self.identity.uid).count();
        assert_eq!(owned, usize::from(desired.deletion_policy == DeletionPolicy::Revoke), "ours");

        let again = self.rerendered(secret, desired);
        assert_eq!(contents(&again), contents(secret), "what is current is left as it is");
    }

    /// Two Secrets written in the same way with different values.
    fn must_differ_in_data_alone(&self, one: &Secret, other: &Secret, desired: &Desired) {
        let records = [one, other].map(|secret| self.ours(secret, desired).record);
        assert_eq!(records[0], records[1]);
        let metadata = [one, other].map(|secret| {
            let mut document = contents(secret);
            document["data"].take();
            if let Some(annotations) = document["metadata"]["annotations"].as_object_mut() {
                annotations.remove(&format!("{GROUP}/digest"));
            }
            document
        });
        assert_eq!(metadata[0], metadata[1], "the value stands outside the data");
    }
}

impl Part {
    /// Without what a spec asks for as well, and without what is the operator's own.
    fn beside(mut self, specs: [&Desired; 2]) -> Self {
        for Desired { data, secret_key, labels, annotations, .. } in specs {
            self.data.retain(|key, _| key != secret_key && !data.contains_key(key));
            self.labels.retain(|key, _| !is_own(key) && !labels.contains_key(key));
            self.annotations.retain(|key, _| !is_own(key) && !annotations.contains_key(key));
        }
        self
    }
}

fn is_own(key: &str) -> bool {
    key.strip_prefix(GROUP).is_some_and(|rest| rest.starts_with('/'))
}

fn their_reference() -> OwnerReference {
    OwnerReference {
        api_version: "apps/v1".to_owned(),
        kind: "Deployment".to_owned(),
        name: "web".to_owned(),
        uid: "web".to_owned(),
        ..OwnerReference::default()
    }
}

/// The text with every word of the table replaced, from left to right; nothing if a `$(` is none of them.
fn filled(template: &str, table: &[(&str, &str)]) -> Option<String> {
    let mut out = String::new();
    let mut rest = template;
    while let Some(c) = rest.chars().next() {
        if let Some((word, text)) = table.iter().find(|(word, _)| rest.starts_with(word)) {
            out.push_str(text);
            rest = &rest[word.len()..];
        } else if rest.starts_with("$(") {
            return None;
        } else {
            out.push(c);
            rest = &rest[c.len_utf8()..];
        }
    }
    Some(out)
}

fn secret_of(document: Value) -> Secret {
    serde_json::from_value(document).unwrap_or_else(|error| panic!("no Secret: {error}"))
}

/// A Secret as a document. The order of its ownerReferences means nothing.
fn contents(secret: &Secret) -> Value {
    let mut secret = secret.clone();
    secret.metadata.owner_references.iter_mut().for_each(|owners| owners.sort_by(|a, b| a.uid.cmp(&b.uid)));
    serde_json::to_value(secret).unwrap_or_else(|error| panic!("can't be written: {error}"))
}

/// What the API server makes of a merge patch.
fn patched(secret: &Secret, patch: &Value) -> Secret {
    let mut document = contents(secret);
    json_patch::merge(&mut document, patch);
    secret_of(document)
}
