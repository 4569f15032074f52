//! Rules that relate fields to each other or to their old values.
//!
//! All of them stand at the root of the object: a transition rule on an optional field isn't run when the field is
//! set for the first time or taken away, and the defaults of names are the object's own name, which only the root
//! sees. They compare *effective* values, so writing a default out is no change.

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::ValidationRule;

use super::keys::KeyKind;

/// The data key that holds the value where `spec.secret.key` doesn't say.
pub const DEFAULT_SECRET_KEY: &str = "api-key";

/// The rules of one kind.
pub(super) fn rules(kind: KeyKind) -> Vec<ValidationRule> {
    let own_name = "OBJECT.metadata.name";
    let secret_key = format!("'{DEFAULT_SECRET_KEY}'");
    // No id is empty (minLength), so the empty text can stand for "none".
    let none = "''";

    let mut rules = vec![
        unchangeable(kind, "secret", "name", own_name, "with the new name, move the workloads to its Secret"),
        unchangeable(
            kind,
            "secret",
            "key",
            &secret_key,
            "with the new key, move the workloads to its Secret",
        ),
        unchangeable(
            kind,
            "token",
            "name",
            own_name,
            "with the new token name, move the workloads to its Secret",
        ),
        unchangeable(kind, "token", "teamId", none, "for the other team, move the workloads to its Secret"),
    ];
    if kind == KeyKind::Gateway {
        rules.push(unchangeable(
            kind,
            "token",
            "gatewayId",
            none,
            "for the other gateway, point that at its Secret",
        ));
    }
    rules.push(value_key_is_taken(&secret_key));
    rules.push(gateway_id_is_known(kind));
    rules.push(adoption_says_what_becomes_of_the_token());
    rules.push(adoption_is_settled());
    rules.push(schedule_says_how());
    rules.extend(workloads_are_named());
    rules
}

fn unchangeable(kind: KeyKind, part: &str, field: &str, default: &str, way: &str) -> ValidationRule {
    let effective =
        |object: &str| effective(&format!("{object}.spec"), part, field, &default.replace("OBJECT", object));
    ValidationRule {
        rule: format!("{} == {}", effective("self"), effective("oldSelf")),
        message: Some(format!(
            "{part}.{field} can't be changed: make a new {} {way}, then delete this one",
            kind.kind()
        )),
        reason: Some("FieldValueForbidden".to_owned()),
        field_path: Some(format!(".spec.{part}.{field}")),
        ..ValidationRule::default()
    }
}

/// What a field of an optional part says, or its default. Not `spec.?part.?field.orValue(…)`: the API server can't
/// trace an optional back to its schema, takes it for unbounded, and refuses the rule for its cost.
fn effective(spec: &str, part: &str, field: &str, default: &str) -> String {
    format!("(has({spec}.{part}) && has({spec}.{part}.{field}) ? {spec}.{part}.{field} : {default})")
}

/// There is a template with data.
const HAS_DATA: &str =
    "has(self.spec.secret) && has(self.spec.secret.template) && has(self.spec.secret.template.data)";

fn value_key_is_taken(default: &str) -> ValidationRule {
    let key = effective("self.spec", "secret", "key", default);
    ValidationRule {
        rule: format!("!({HAS_DATA} && {key} in self.spec.secret.template.data)"),
        message_expression: Some(format!(
            "\"secret.template.data can't define '\" + {key} + \"': secret.key is '\" + {key} + \"', which holds the \
             value; choose another key for one of them\""
        )),
        message: Some("secret.template.data can't define secret.key, which holds the value".to_owned()),
        field_path: Some(".spec.secret.template.data".to_owned()),
        ..ValidationRule::default()
    }
}

/// `$(gatewayId)` would be rendered as nothing where there is no gateway.
fn gateway_id_is_known(kind: KeyKind) -> ValidationRule {
    let unused = format!(
        "!({HAS_DATA} && self.spec.secret.template.data.exists(k, \
         self.spec.secret.template.data[k].matches('(^|[^$])[$][(]gatewayId[)]')))"
    );
    let (rule, message) = match kind {
        KeyKind::Access => (
            unused,
            "$(gatewayId) has no meaning in an AccessKey: take it out of secret.template.data, or make a GatewayKey",
        ),
        KeyKind::Gateway => (
            format!("has(self.spec.token) && has(self.spec.token.gatewayId) || {unused}"),
            "$(gatewayId) needs token.gatewayId: make the GatewayKey with it, or take the placeholder out of \
             secret.template.data",
        ),
    };
    ValidationRule {
        rule,
        message: Some(message.to_owned()),
        field_path: Some(".spec.secret.template.data".to_owned()),
        ..ValidationRule::default()
    }
}

/// A list that nobody reads is a mistake, and so is one that isn't there.
fn workloads_are_named() -> [ValidationRule; 2] {
    let listed = "has(self.spec.workloads.restart) && self.spec.workloads.restart == 'Listed'";
    let named = "has(self.spec.workloads.refs) && self.spec.workloads.refs.size() > 0";
    let rule = |rule: String, message: &str, field: &str| ValidationRule {
        rule: format!("!has(self.spec.workloads) || ({rule})"),
        message: Some(message.to_owned()),
        field_path: Some(format!(".spec.workloads.{field}")),
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

/// Nobody gets outages by schedule who didn't ask for them.
fn schedule_says_how() -> ValidationRule {
    ValidationRule {
        rule: "!has(self.spec.rotation) || !has(self.spec.rotation.every) || has(self.spec.rotation.strategy)".to_owned(),
        message: Some(
            "rotation.every needs rotation.strategy: Overlap if the old value is to live on for rotation.grace, InPlace if it may \
             die at once"
                .to_owned(),
        ),
        reason: Some("FieldValueRequired".to_owned()),
        field_path: Some(".spec.rotation.every".to_owned()),
        ..ValidationRule::default()
    }
}

/// Whoever takes a token over says whether it dies with the resource: neither answer goes without saying.
fn adoption_says_what_becomes_of_the_token() -> ValidationRule {
    ValidationRule {
        rule: "!has(self.spec.adopt) || has(self.spec.deletionPolicy)".to_owned(),
        message: Some(
            "adopt needs deletionPolicy: Revoke if the adopted token is to die with this resource, Retain if it is to \
             outlive it"
                .to_owned(),
        ),
        reason: Some("FieldValueRequired".to_owned()),
        field_path: Some(".spec.adopt".to_owned()),
        ..ValidationRule::default()
    }
}

/// The spec is what says that a token under a foreign name is this resource's. Until there is a token a wrong id can be
/// corrected.
fn adoption_is_settled() -> ValidationRule {
    let unchanged = "has(self.spec.adopt) == has(oldSelf.spec.adopt) && (!has(self.spec.adopt) || self.spec.adopt == \
                     oldSelf.spec.adopt)";
    ValidationRule {
        rule: format!("!(has(oldSelf.status) && has(oldSelf.status.token)) || {unchanged}"),
        message: Some(
            "adopt can't be changed once the resource has a token: make a new resource to adopt another one"
                .to_owned(),
        ),
        reason: Some("FieldValueForbidden".to_owned()),
        field_path: Some(".spec.adopt".to_owned()),
        ..ValidationRule::default()
    }
}
