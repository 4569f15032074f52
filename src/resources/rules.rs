//! Rules that relate fields to each other or to their old values.
//!
//! Each stands as deep as it can. For every write of an object, its status too, the API server runs the rules of all that the
//! object has, and lists the fields of each level that a path in a rule goes through: a part that an object doesn't have costs
//! nothing, and each level above it is paid for once more. Two things keep a rule up:
//!
//! - What compares with an old value stands where there always is one, at `spec` or above: a transition rule isn't run when its
//!   field is set for the first time or taken away.
//! - The defaults of names are the object's own name, which only the root sees.
//!
//! They compare *effective* values, so writing a default out is no change.

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::{JSONSchemaProps, ValidationRule};

use super::keys::KeyKind;

/// The data key that holds the value where `spec.secret.key` doesn't say.
pub const DEFAULT_SECRET_KEY: &str = "api-key";

/// Puts the rules of one kind into its schema.
///
/// # Panics
/// If the schema lacks a part that has rules.
pub(super) fn add_rules(root: &mut JSONSchemaProps, kind: KeyKind) {
    for (path, rules) in rules(kind) {
        let part = path.iter().fold(&mut *root, |schema, name| {
            schema
                .properties
                .as_mut()
                .and_then(|properties| properties.get_mut(*name))
                .expect("a part of a key")
        });
        part.x_kubernetes_validations.get_or_insert_default().extend(rules);
    }
}

/// The rules, each by the path of what it calls `self`.
fn rules(kind: KeyKind) -> [(&'static [&'static str], Vec<ValidationRule>); 5] {
    let secret_key = format!("'{DEFAULT_SECRET_KEY}'");
    // No id is empty (minLength), so the empty text can stand for "none".
    let none = "''";
    let new_key = "with the new key, move the workloads to its Secret";
    let other_team = "for the other team, move the workloads to its Secret";
    let other_gateway = "for the other gateway, point that at its Secret";

    let root = vec![
        name_unchangeable(kind, "secret", "with the new name, move the workloads to its Secret"),
        name_unchangeable(kind, "token", "with the new token name, move the workloads to its Secret"),
        adoption_is_settled(),
    ];
    let mut spec = vec![
        unchangeable(kind, "secret", "key", &secret_key, new_key),
        unchangeable(kind, "token", "teamId", none, other_team),
        adoption_says_what_becomes_of_the_token(),
    ];
    let mut secret = vec![value_key_is_taken(&secret_key)];
    match kind {
        KeyKind::Access => secret.extend(gateway_ids(gateway_id_has_no_meaning)),
        KeyKind::Gateway => {
            spec.push(unchangeable(kind, "token", "gatewayId", none, other_gateway));
            spec.extend(gateway_ids(gateway_id_is_known));
        }
    }
    [
        (&[], root),
        (&["spec"], spec),
        (&["spec", "secret"], secret),
        (&["spec", "rotation"], vec![schedule_says_how()]),
        (&["spec", "workloads"], workloads_are_named().into()),
    ]
}

/// For the root. Most objects leave the part out, before and after, and are done with that.
fn name_unchangeable(kind: KeyKind, part: &str, way: &str) -> ValidationRule {
    let effective = |object: &str| {
        effective(&format!("{object}.spec.{part}"), "name", &format!("{object}.metadata.name"))
    };
    ValidationRule {
        rule: format!(
            "!has(self.spec.{part}) && !has(oldSelf.spec.{part}) || {} == {}",
            effective("self"),
            effective("oldSelf")
        ),
        field_path: Some(format!(".spec.{part}.name")),
        ..change_refused(kind, part, "name", way)
    }
}

/// For the spec.
fn unchangeable(kind: KeyKind, part: &str, field: &str, default: &str, way: &str) -> ValidationRule {
    let effective = |spec: &str| effective(&format!("{spec}.{part}"), field, default);
    ValidationRule {
        rule: format!("{} == {}", effective("self"), effective("oldSelf")),
        field_path: Some(format!(".{part}.{field}")),
        ..change_refused(kind, part, field, way)
    }
}

fn change_refused(kind: KeyKind, part: &str, field: &str, way: &str) -> ValidationRule {
    ValidationRule {
        message: Some(format!(
            "{part}.{field} can't be changed: make a new {} {way}, then delete this one",
            kind.kind()
        )),
        reason: Some("FieldValueForbidden".to_owned()),
        ..ValidationRule::default()
    }
}

/// What a field of an optional part says, or its default. Not `spec.?part.?field.orValue(…)`: the API server can't
/// trace an optional back to its schema, takes it for unbounded, and refuses the rule for its cost.
fn effective(part: &str, field: &str, default: &str) -> String {
    format!("(has({part}) && has({part}.{field}) ? {part}.{field} : {default})")
}

/// The Secret has a template with data. For `spec.secret`.
const HAS_DATA: &str = "has(self.template) && has(self.template.data)";

/// For `spec.secret`.
fn value_key_is_taken(default: &str) -> ValidationRule {
    let key = format!("(has(self.key) ? self.key : {default})");
    ValidationRule {
        rule: format!("!({HAS_DATA} && {key} in self.template.data)"),
        message_expression: Some(format!(
            "\"secret.template.data can't define '\" + {key} + \"': secret.key is '\" + {key} + \"', which holds the \
             value; choose another key for one of them\""
        )),
        message: Some("secret.template.data can't define secret.key, which holds the value".to_owned()),
        field_path: Some(".template.data".to_owned()),
        ..ValidationRule::default()
    }
}

/// `$(gatewayId)` stands in a part of a template.
fn uses_gateway_id(part: &str) -> String {
    format!("{part}.exists(k, {part}[k].matches('(^|[^$])[$][(]gatewayId[)]'))")
}

/// The parts of a template, each with the rule that refuses `$(gatewayId)` in it.
fn gateway_ids(rule: impl Fn(&str) -> ValidationRule) -> [ValidationRule; 3] {
    ["labels", "annotations", "data"].map(rule)
}

/// `$(gatewayId)` would be rendered as nothing. For `spec.secret`.
fn gateway_id_has_no_meaning(part: &str) -> ValidationRule {
    let text = format!("self.template.{part}");
    ValidationRule {
        rule: format!("!(has(self.template) && has({text}) && {})", uses_gateway_id(&text)),
        message: Some(format!(
            "$(gatewayId) has no meaning in an AccessKey: take it out of secret.template.{part}, or make a GatewayKey"
        )),
        field_path: Some(format!(".template.{part}")),
        ..ValidationRule::default()
    }
}

/// Likewise, where there is no gateway. For the spec.
fn gateway_id_is_known(part: &str) -> ValidationRule {
    let template = "self.secret.template";
    let text = format!("{template}.{part}");
    ValidationRule {
        rule: format!(
            "!has(self.secret) || !has({template}) || !has({text}) || has(self.token) && has(self.token.gatewayId) || !{}",
            uses_gateway_id(&text)
        ),
        message: Some(format!(
            "$(gatewayId) needs token.gatewayId: make the GatewayKey with it, or take the placeholder out of \
             secret.template.{part}"
        )),
        field_path: Some(format!(".secret.template.{part}")),
        ..ValidationRule::default()
    }
}

/// A list that nobody reads is a mistake, and so is one that isn't there. For `spec.workloads`.
fn workloads_are_named() -> [ValidationRule; 2] {
    let listed = "has(self.restart) && self.restart == 'Listed'";
    let named = "has(self.refs) && self.refs.size() > 0";
    let rule = |rule: String, message: &str, field: &str| ValidationRule {
        rule,
        message: Some(message.to_owned()),
        field_path: Some(format!(".{field}")),
        ..ValidationRule::default()
    };
    [
        rule(
            format!("!({listed}) || ({named})"),
            "workloads.restart: Listed needs workloads.refs: name the workloads that are to be restarted, as in {kind: \
             Deployment, name: checkout}",
            "restart",
        ),
        rule(
            format!("!({named}) || ({listed})"),
            "workloads.refs needs workloads.restart: Listed, or nobody reads it",
            "refs",
        ),
    ]
}

/// Nobody gets outages by schedule who didn't ask for them. For `spec.rotation`.
fn schedule_says_how() -> ValidationRule {
    ValidationRule {
        rule: "!has(self.every) || has(self.strategy)".to_owned(),
        message: Some(
            "rotation.every needs rotation.strategy: Overlap if the old value is to live on for rotation.grace, InPlace if it may \
             die at once"
                .to_owned(),
        ),
        reason: Some("FieldValueRequired".to_owned()),
        field_path: Some(".every".to_owned()),
        ..ValidationRule::default()
    }
}

/// Whoever takes a token over says whether it dies with the resource: neither answer goes without saying. For the spec.
fn adoption_says_what_becomes_of_the_token() -> ValidationRule {
    ValidationRule {
        rule: "!has(self.adopt) || has(self.deletionPolicy)".to_owned(),
        message: Some(
            "adopt needs deletionPolicy: Revoke if the adopted token is to die with this resource, Retain if it is to \
             outlive it"
                .to_owned(),
        ),
        reason: Some("FieldValueRequired".to_owned()),
        field_path: Some(".adopt".to_owned()),
        ..ValidationRule::default()
    }
}

/// The spec is what says that a token under a foreign name is this resource's. Until there is a token a wrong id can be
/// corrected. For the root, which sees the status.
fn adoption_is_settled() -> ValidationRule {
    let unchanged = "(has(self.spec.adopt) ? has(oldSelf.spec.adopt) && self.spec.adopt == oldSelf.spec.adopt : \
                     !has(oldSelf.spec.adopt))";
    ValidationRule {
        rule: format!("{unchanged} || !has(oldSelf.status) || !has(oldSelf.status.token)"),
        message: Some(
            "adopt can't be changed once the resource has a token: make a new resource to adopt another one"
                .to_owned(),
        ),
        reason: Some("FieldValueForbidden".to_owned()),
        field_path: Some(".spec.adopt".to_owned()),
        ..ValidationRule::default()
    }
}
