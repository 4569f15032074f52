//! A Secret is written and read back: what the core then sees.

use super::*;
use crate::resources::{OperationKind, OperationReason, SecretSpec, SecretTemplate, SpecParts};

/// The data key of the value.
const KEY: &str = "token";

fn identity() -> Identity {
    Identity {
        kind: KeyKind::Access,
        namespace: "shop".to_owned(),
        name: "checkout".to_owned(),
        uid: "5b9c7f6e-checkout".to_owned(),
        installation: "aaaaaaaa".to_owned(),
    }
}

fn desired(data: &[(&str, &str)], labels: &[(&str, &str)], policy: DeletionPolicy) -> Desired {
    let map =
        |pairs: &[(&str, &str)]| pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
    let secret = SecretSpec {
        name: Some("checkout-keeptrusts".to_owned()),
        key: Some(KEY.to_owned()),
        template: Some(SecretTemplate { labels: map(labels), annotations: map(&[]), data: map(data) }),
    };
    let parts = SpecParts { secret: Some(&secret), deletion_policy: Some(policy), ..SpecParts::default() };
    Desired::parse(&parts, "shop", "checkout").unwrap()
}

fn plain() -> Desired {
    desired(&[("OPENAI_API_KEY", "$(value)")], &[("team", "shop")], DeletionPolicy::Revoke)
}

fn facts() -> TokenFacts {
    TokenFacts {
        id: TokenId::parse("tok_1").unwrap(),
        name: Some("checkout-api-kt1-x".to_owned()),
        prefix: Some("kt_live_ab".to_owned()),
        created_at: Some("2026-11-24T01:02:03Z".parse().unwrap()),
        rotated_at: None,
        expires_at: Some("2027-11-24T01:02:03Z".parse().unwrap()),
    }
}

fn operation() -> Operation {
    Operation {
        id: "operation".to_owned(),
        kind: OperationKind::Create,
        token_name: None,
        token_id: None,
        reason: OperationReason::Created,
        generation: 3,
        rotate_now: None,
        value_in_doubt: false,
        urgent: false,
        requested_by: None,
    }
}

fn body(desired: &Desired, onto: &Captured, previous: Option<&ObjectMeta>) -> Value {
    let value = SecretString::from("kt_live_value");
    let (identity, facts, operation) = (identity(), facts(), operation());
    let commit = Commit {
        identity: &identity,
        desired,
        facts: &facts,
        operation: &operation,
        value: &value,
        salt: [7; 16],
    };
    commit.body(onto, previous)
}

fn created(desired: &Desired) -> Secret {
    let mut secret: Secret = serde_json::from_value(body(desired, &Captured::default(), None)).unwrap();
    secret.metadata.resource_version = Some("1".to_owned());
    secret
}

fn patched(secret: &Secret, patch: &Value) -> Secret {
    let mut document = serde_json::to_value(secret).unwrap();
    json_patch::merge(&mut document, patch);
    serde_json::from_value(document).unwrap()
}

fn contents_of(secret: &Secret, desired: &Desired) -> Contents {
    match observe(Some(secret), &identity(), KEY, Some(desired)) {
        SecretView::Ours(ours) => ours.contents,
        other => panic!("not ours: {other:?}"),
    }
}

#[test]
fn what_is_written_is_read_back() {
    let desired = plain();
    let secret = created(&desired);
    let SecretView::Ours(ours) = observe(Some(&secret), &identity(), KEY, Some(&desired)) else { panic!() };
    assert_eq!(ours.record.token, facts());
    assert_eq!((ours.record.operation.as_str(), ours.record.generation), ("operation", 3));
    assert_eq!(ours.contents, Contents::Current);
    assert_eq!(value(&secret, KEY).unwrap().expose_secret(), "kt_live_value");
    let data = secret.data.as_ref().unwrap();
    assert_eq!(data.keys().collect::<Vec<_>>(), ["OPENAI_API_KEY", "token"]);
    assert_eq!(secret.metadata.name.as_deref(), Some("checkout-keeptrusts"));
}

#[test]
fn the_value_stands_in_the_data_alone() {
    let mut written = body(&plain(), &Captured::default(), None);
    written["data"] = Value::Null;
    assert!(!written.to_string().contains("kt_live_value"));
}

#[test]
fn an_edited_or_missing_value_is_noticed() {
    let desired = plain();
    for bytes in [Some("kt_live_other"), Some(""), None] {
        let mut secret = created(&desired);
        let data = secret.data.as_mut().unwrap();
        match bytes {
            Some(bytes) => data.insert("token".to_owned(), k8s_openapi::ByteString(bytes.into())),
            None => data.remove("token"),
        };
        assert_eq!(contents_of(&secret, &desired), Contents::Changed, "{bytes:?}");
    }
}

#[test]
fn a_digest_of_another_form_proves_nothing() {
    for digest in ["", "v1", "v1:salt", "v2:salt:hash", "v1:salt:hash:more"] {
        assert!(!matches(&SecretString::from("kt_live_value"), digest), "{digest}");
    }
}

#[test]
fn whatever_of_the_rendering_differs_makes_it_stale() {
    let written = created(&plain());
    for (what, asked) in [
        (
            "data",
            desired(&[("OPENAI_API_KEY", "Bearer $(value)")], &[("team", "shop")], DeletionPolicy::Revoke),
        ),
        (
            "more data",
            desired(
                &[("OPENAI_API_KEY", "$(value)"), ("A", "b")],
                &[("team", "shop")],
                DeletionPolicy::Revoke,
            ),
        ),
        ("less data", desired(&[], &[("team", "shop")], DeletionPolicy::Revoke)),
        ("label", desired(&[("OPENAI_API_KEY", "$(value)")], &[("team", "other")], DeletionPolicy::Revoke)),
        ("owner", desired(&[("OPENAI_API_KEY", "$(value)")], &[("team", "shop")], DeletionPolicy::Retain)),
    ] {
        assert_eq!(contents_of(&written, &asked), Contents::Stale, "{what}");
        let SecretView::Ours(ours) = observe(Some(&written), &identity(), KEY, Some(&asked)) else {
            panic!()
        };
        let patch = rerender(&written, &identity(), &asked, &ours.record).unwrap();
        let again = patched(&written, &patch);
        assert_eq!(contents_of(&again, &asked), Contents::Current, "{what}");
        assert_eq!(value(&again, KEY).unwrap().expose_secret(), "kt_live_value", "{what}");
    }
}

#[test]
fn labels_and_annotations_are_rendered_and_noticed_when_they_differ() {
    let map = |text: &str| BTreeMap::from([("example.com/of".to_owned(), text.to_owned())]);
    let template = SecretTemplate {
        labels: map("$(namespace).$(name)"),
        annotations: map("$(name): $(prefix) of $(tokenId), $$(value)"),
        data: BTreeMap::new(),
    };
    let secret = SecretSpec { key: Some(KEY.to_owned()), template: Some(template), ..SecretSpec::default() };
    let parts = SpecParts { secret: Some(&secret), ..SpecParts::default() };
    let asked = Desired::parse(&parts, "shop", "checkout").unwrap();
    let written = created(&asked);
    assert_eq!(written.metadata.labels.as_ref().unwrap()["example.com/of"], "shop.checkout");
    let annotations = written.metadata.annotations.as_ref().unwrap();
    assert_eq!(annotations["example.com/of"], "checkout: kt_live_ab of tok_1, $(value)");
    assert_eq!(contents_of(&written, &asked), Contents::Current);
    let mut edited = written;
    let literal = "$(name): $(prefix) of $(tokenId), $$(value)".to_owned();
    edited.metadata.annotations.as_mut().unwrap().insert("example.com/of".to_owned(), literal);
    assert_eq!(
        contents_of(&edited, &asked),
        Contents::Stale,
        "the text of the spec isn't what was asked for"
    );
}

#[test]
fn a_stripped_label_is_noticed() {
    let mut secret = created(&plain());
    secret.metadata.labels.as_mut().unwrap().remove(UID_LABEL);
    assert_eq!(contents_of(&secret, &plain()), Contents::Stale);
}

#[test]
fn what_others_put_there_stays() {
    let mut secret = created(&plain());
    secret.metadata.labels.as_mut().unwrap().insert("argo".to_owned(), "x".to_owned());
    secret.metadata.annotations.as_mut().unwrap().insert("note".to_owned(), "y".to_owned());
    secret.data.as_mut().unwrap().insert("theirs".to_owned(), k8s_openapi::ByteString(b"z".to_vec()));
    let onto = Captured { version: Some("1".to_owned()), names: Some("tok_0".to_owned()) };
    let asked = desired(&[], &[], DeletionPolicy::Revoke);
    let again = patched(&secret, &body(&asked, &onto, Some(&secret.metadata)));
    assert_eq!(again.metadata.labels.as_ref().unwrap()["argo"], "x");
    assert_eq!(again.metadata.annotations.as_ref().unwrap()["note"], "y");
    assert_eq!(again.data.as_ref().unwrap().keys().collect::<Vec<_>>(), ["theirs", "token"]);
    assert!(
        !again.metadata.labels.as_ref().unwrap().contains_key("team"),
        "what the template dropped is taken out"
    );
    let SecretView::Ours(ours) = observe(Some(&again), &identity(), KEY, Some(&asked)) else { panic!() };
    assert_eq!(ours.record.replaced.as_deref(), Some("tok_0"));
}

#[test]
fn a_patch_carries_the_version_it_must_meet() {
    let onto = Captured { version: Some("41".to_owned()), names: None };
    assert_eq!(body(&plain(), &onto, None)["metadata"]["resourceVersion"], "41");
    assert_eq!(fence("42", "tok_2")["metadata"]["resourceVersion"], "42");
    assert_eq!(retain(&created(&plain()).metadata, &identity(), "tok_1")["metadata"]["resourceVersion"], "1");
}

#[test]
fn a_retained_secret_has_no_owner_of_ours_and_names_its_token() {
    let secret = created(&plain());
    let retained = patched(&secret, &retain(&secret.metadata, &identity(), "tok_1"));
    assert!(retained.metadata.owner_references.unwrap_or_default().is_empty());
    let SecretView::Ours(ours) = observe(
        Some(&patched(&secret, &retain(&secret.metadata, &identity(), "tok_1"))),
        &identity(),
        KEY,
        None,
    ) else {
        panic!()
    };
    assert_eq!(ours.record.retained.as_deref(), Some("tok_1"));
}

#[test]
fn a_fence_is_lifted_by_the_next_value() {
    let secret = created(&plain());
    let fenced = patched(&secret, &fence("1", "tok_stray"));
    let SecretView::Ours(ours) = observe_metadata(Some(&fenced.metadata), &identity(), true) else {
        panic!()
    };
    assert_eq!(ours.record.fence.as_deref(), Some("tok_stray"));
    let onto = Captured { version: Some("1".to_owned()), names: Some("tok_1".to_owned()) };
    let again = patched(&fenced, &body(&plain(), &onto, Some(&fenced.metadata)));
    let SecretView::Ours(ours) = observe_metadata(Some(&again.metadata), &identity(), true) else { panic!() };
    assert_eq!(ours.record.fence, None);
}

#[test]
fn a_secret_that_is_not_this_resources_is_foreign_and_says_whose() {
    type Change = fn(&mut Secret);
    let changes: [(&str, Change); 4] = [
        ("somebody who isn't this operator", |secret| secret.metadata.annotations = None),
        ("Deployment web", |secret| {
            secret.metadata.owner_references = Some(vec![OwnerReference {
                kind: "Deployment".to_owned(),
                name: "web".to_owned(),
                uid: "web".to_owned(),
                controller: Some(true),
                ..OwnerReference::default()
            }]);
        }),
        ("another AccessKey/checkout", |secret| {
            // It was copied here from another namespace.
            let place = Place::new(KeyKind::Access, "another", "checkout");
            let annotations = secret.metadata.annotations.as_mut().unwrap();
            annotations.insert(ours(key::PLACE), place.as_str().to_owned());
        }),
        ("AccessKey/checkout of another installation of the operator", |secret| {
            secret
                .metadata
                .annotations
                .as_mut()
                .unwrap()
                .insert(ours(key::INSTALLATION), "bbbbbbbb".to_owned());
        }),
    ];
    for (owner, change) in changes {
        let mut secret = created(&plain());
        secret.metadata.owner_references = None;
        change(&mut secret);
        // What nobody has marked may be adopted.
        let unclaimed = owner.starts_with("somebody").then(|| "1".to_owned());
        assert_eq!(
            observe(Some(&secret), &identity(), KEY, Some(&plain())),
            SecretView::Foreign { owner: owner.to_owned(), unclaimed }
        );
    }
}

#[test]
fn a_resource_that_came_back_takes_the_secret_of_its_former_life() {
    let former = Identity { uid: "former".to_owned(), ..identity() };
    let mut secret = created(&plain());
    secret.metadata =
        patched(&secret, &claim(&secret.metadata, &former, DeletionPolicy::Revoke, "claim")).metadata;
    let uids = |secret: &Secret| {
        let SecretView::Ours(ours) = observe_metadata(Some(&secret.metadata), &identity(), true) else {
            panic!()
        };
        ours.record.uids
    };
    assert_eq!(
        uids(&secret),
        [UidTag::new(&identity().uid), UidTag::new("former")],
        "in the order of its lives"
    );
    let mut restored = patched(&secret, &json!({"metadata": {"annotations": {ours(key::UIDS): "former"}}}));
    assert_eq!(uids(&restored), [UidTag::new("former")]);
    restored.metadata.owner_references = Some(vec![former.reference()]);
    let claimed =
        patched(&restored, &claim(&restored.metadata, &identity(), DeletionPolicy::Revoke, "again"));
    assert_eq!(uids(&claimed), [UidTag::new("former"), UidTag::new(&identity().uid)]);
    assert_eq!(claimed.metadata.owner_references, Some(vec![identity().reference()]));
    let SecretView::Ours(seen) = observe(Some(&claimed), &identity(), KEY, Some(&plain())) else { panic!() };
    assert_eq!(seen.contents, Contents::Current);
}

#[test]
fn an_emptied_secret_keeps_what_others_put_there_and_takes_a_value_again() {
    let secret = patched(&created(&plain()), &json!({"data": {"theirs": "eA=="}}));
    let emptied = patched(&secret, &empty(&secret.metadata, KEY));
    assert_eq!(emptied.data.as_ref().unwrap().keys().collect::<Vec<_>>(), ["theirs"]);
    let SecretView::Ours(seen) = observe(Some(&emptied), &identity(), KEY, Some(&plain())) else { panic!() };
    assert!(seen.record.emptied);
    let onto = Captured { version: Some("1".to_owned()), names: Some("tok_1".to_owned()) };
    let filled = patched(&emptied, &body(&plain(), &onto, Some(&emptied.metadata)));
    let SecretView::Ours(seen) = observe(Some(&filled), &identity(), KEY, Some(&plain())) else { panic!() };
    assert!(!seen.record.emptied);
    assert_eq!(seen.contents, Contents::Current);
}
