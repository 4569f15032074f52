//! Whatever the types can express is read back as it was written, and the schemas of the CRDs lose nothing of it.
//!
//! The strategies name every field and every variant, so that a new one is an error here until it is tried too. What they
//! make is valid for the schema alone; the rules of the CRDs are tried on a real API server (`tests/crds`).

use boon::{Compiler, Draft, SchemaIndex, Schemas};
use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use kube::core::object::HasSpec;
use proptest::collection::{btree_map, vec};
use proptest::option::of;
use proptest::prelude::*;
use proptest::sample::select;
use proptest::test_runner::{TestCaseError, TestRunner};
use serde::Serialize;
use serde_json::{Value, json};

use super::schema::{MAX_NAMED_WORKLOADS, MAX_WINDOWS, MAX_WORKLOADS};
use super::*;

/// A struct, from a strategy for each of its fields.
macro_rules! fields {
    ($type:ident { $($field:ident: $strategy:expr),+ $(,)? }) => {
        ($($strategy,)+).prop_map(|($($field,)+)| $type { $($field),+ })
    };
}

/// A struct of more fields than a tuple of strategies has.
macro_rules! many_fields {
    ($type:ident { $($field:ident: $strategy:expr),+ $(,)? } { $($more:ident: $other:expr),+ $(,)? }) => {
        (($($strategy,)+), ($($other,)+))
            .prop_map(|(($($field,)+), ($($more,)+))| $type { $($field,)+ $($more),+ })
    };
}

/// One of all variants of an enum.
macro_rules! variants {
    ($type:ident { $($variant:ident),+ }) => {{
        let _all: fn($type) = |value| match value { $($type::$variant => ()),+ };
        select(vec![$($type::$variant),+])
    }};
}

/// Text of so many characters: mostly short, now and then as long as it may be.
fn text(least: usize, most: usize) -> impl Strategy<Value = String> {
    let characters =
        prop_oneof![9 => vec(any::<char>(), least..=most.min(least + 8)), 1 => vec(any::<char>(), most)];
    characters.prop_map(|characters| characters.into_iter().collect())
}

fn texts(most: usize) -> impl Strategy<Value = std::collections::BTreeMap<String, String>> {
    btree_map(text(0, 16), text(0, most), 0..4)
}

/// A time as Kubernetes stores it: in whole seconds, of a year with four digits.
fn time() -> impl Strategy<Value = Time> {
    let [first, last] = ["0001-01-01T00:00:00Z", "9999-12-30T00:00:00Z"]
        .map(|time| time.parse::<Timestamp>().unwrap().as_second());
    (first..=last).prop_map(|second| Time(Timestamp::from_second(second).unwrap()))
}

fn generation() -> impl Strategy<Value = i64> {
    prop_oneof![0..=MAX_GENERATION, Just(0), Just(MAX_GENERATION)]
}

fn token_spec() -> impl Strategy<Value = TokenSpec> {
    fields!(TokenSpec {
        name: of(text(1, 63)),
        team_id: of(text(1, 128)),
        description: of(text(0, 512)),
        expires_after: of(text(1, 32)),
    })
}

fn gateway_token_spec() -> impl Strategy<Value = GatewayTokenSpec> {
    fields!(GatewayTokenSpec { common: token_spec(), gateway_id: of(text(1, 128)) })
}

fn secret_template() -> impl Strategy<Value = SecretTemplate> {
    fields!(SecretTemplate { labels: texts(63), annotations: texts(64), data: texts(64) })
}

fn secret_spec() -> impl Strategy<Value = SecretSpec> {
    fields!(SecretSpec { name: of(text(1, 253)), key: of(text(1, 253)), template: of(secret_template()) })
}

fn window_spec() -> impl Strategy<Value = WindowSpec> {
    fields!(WindowSpec { schedule: text(9, 128), duration: text(1, 32), time_zone: of(text(1, 64)) })
}

fn rotation_spec() -> impl Strategy<Value = RotationSpec> {
    fields!(RotationSpec {
        generation: of(generation()),
        every: of(text(1, 32)),
        renew_before: of(text(1, 32)),
        windows: vec(window_spec(), 0..=MAX_WINDOWS),
        strategy: of(variants!(RotationStrategy { InPlace, Overlap })),
        grace: of(text(1, 32)),
    })
}

fn workloads_spec() -> impl Strategy<Value = WorkloadsSpec> {
    let reference = fields!(WorkloadRef {
        kind: variants!(WorkloadKind { Deployment, StatefulSet, DaemonSet }),
        name: text(1, 253),
    });
    fields!(WorkloadsSpec {
        restart: of(variants!(RestartPolicy { Never, Listed, Discovered })),
        refs: vec(reference, 0..=MAX_WORKLOADS),
        rollout_timeout: of(text(1, 32)),
        on_rollout_timeout: of(variants!(RolloutTimeoutPolicy { KeepOld, RevokeOld })),
    })
}

fn adopt_spec() -> impl Strategy<Value = AdoptSpec> {
    fields!(AdoptSpec { token_id: text(1, 128), value: variants!(AdoptedValue { Rotate, FromSecret }) })
}

fn access_key_spec() -> impl Strategy<Value = AccessKeySpec> {
    fields!(AccessKeySpec {
        token: of(token_spec()),
        secret: of(secret_spec()),
        rotation: of(rotation_spec()),
        workloads: of(workloads_spec()),
        state: of(variants!(DesiredState { Active, Revoked })),
        deletion_policy: of(variants!(DeletionPolicy { Revoke, Retain })),
        external_change_policy: of(variants!(ExternalChangePolicy { Replace, Halt })),
        adopt: of(adopt_spec()),
        suspend: of(any::<bool>()),
    })
}

fn gateway_key_spec() -> impl Strategy<Value = GatewayKeySpec> {
    fields!(GatewayKeySpec {
        token: of(gateway_token_spec()),
        secret: of(secret_spec()),
        rotation: of(rotation_spec()),
        workloads: of(workloads_spec()),
        state: of(variants!(DesiredState { Active, Revoked })),
        deletion_policy: of(variants!(DeletionPolicy { Revoke, Retain })),
        external_change_policy: of(variants!(ExternalChangePolicy { Replace, Halt })),
        adopt: of(adopt_spec()),
        suspend: of(any::<bool>()),
    })
}

fn token_status() -> impl Strategy<Value = TokenStatus> {
    fields!(TokenStatus {
        id: text(0, 128),
        name: of(text(0, 512)),
        prefix: of(text(0, 128)),
        created_at: of(time()),
        rotated_at: of(time()),
        expires_at: of(time()),
    })
}

fn superseded() -> impl Strategy<Value = Superseded> {
    fields!(Superseded { id: text(0, 128), prefix: of(text(0, 128)), since: time(), revoke_after: time() })
}

fn operation_reason() -> impl Strategy<Value = OperationReason> {
    variants!(OperationReason {
        Created,
        GenerationRaised,
        RotateNow,
        Scheduled,
        Expiring,
        SecretMissing,
        SecretChanged,
        StatusLost,
        RevokedElsewhere,
        RotatedElsewhere,
        Activated,
        Adopted
    })
}

fn operation() -> impl Strategy<Value = Operation> {
    fields!(Operation {
        id: text(0, 128),
        kind: variants!(OperationKind { Create, Rotate }),
        token_name: of(text(0, 512)),
        token_id: of(text(0, 128)),
        reason: operation_reason(),
        generation: generation(),
        rotate_now: of(text(0, 128)),
        requested_by: of(text(0, 128)),
        value_in_doubt: any::<bool>(),
        urgent: any::<bool>(),
    })
}

fn secret_status() -> impl Strategy<Value = SecretStatus> {
    fields!(SecretStatus { name: text(0, 253), key: text(0, 253), resource_version: of(text(0, 128)) })
}

fn last_rotation() -> impl Strategy<Value = LastRotation> {
    fields!(LastRotation {
        time: time(),
        reason: operation_reason(),
        generation: generation(),
        operation: text(0, 128),
    })
}

fn history_entry() -> impl Strategy<Value = HistoryEntry> {
    fields!(HistoryEntry {
        time: time(),
        event: variants!(HistoryEvent { Minted, Rotated, Replaced, Adopted, Restored }),
        reason: operation_reason(),
        generation: generation(),
        previous_prefix: of(text(0, 128)),
        prefix: of(text(0, 128)),
        requested_by: of(text(0, 128)),
    })
}

fn condition() -> impl Strategy<Value = Condition> {
    fields!(Condition {
        last_transition_time: time(),
        message: text(0, 1024),
        observed_generation: of(0..=i64::MAX),
        reason: text(1, 1024),
        status: select(vec!["True".to_owned(), "False".to_owned(), "Unknown".to_owned()]),
        type_: text(1, 316),
    })
}

fn status() -> impl Strategy<Value = KeyStatus> {
    many_fields!(KeyStatus {
        observed_generation: of(-1..=i64::MAX),
        observed_rotation_generation: of(generation()),
        observed_rotate_now: of(text(0, 128)),
        token: of(token_status()),
        superseded: vec(superseded(), 0..=MAX_SUPERSEDED),
    } {
        operation: of(operation()),
        secret: of(secret_status()),
        last_rotation: of(last_rotation()),
        workloads: of(fields!(WorkloadsStatus {
            count: 0..=i32::MAX,
            names: vec(text(0, 270), 0..=MAX_NAMED_WORKLOADS),
        })),
        rollout: of(fields!(RolloutStatus { operation: text(0, 128), since: time() })),
        history: vec(history_entry(), 0..=MAX_HISTORY),
        next_rotation: of(time()),
        conditions: vec(condition(), 0..=8),
    })
}

/// The schema of a CRD that refuses whatever the API server would prune.
struct Closed {
    document: Value,
    schemas: Schemas,
    index: SchemaIndex,
}

impl Closed {
    fn of(kind: KeyKind) -> Self {
        let crd = crds().into_iter().find(|crd| crd.spec.names.kind == kind.kind()).unwrap();
        let schema = crd.spec.versions[0].schema.clone().unwrap().open_api_v3_schema.unwrap();
        let mut document = serde_json::to_value(schema).unwrap();
        // The API server knows these by itself.
        for (field, type_) in [("apiVersion", "string"), ("kind", "string"), ("metadata", "object")] {
            document["properties"][field] = json!({ "type": type_ });
        }
        close(&mut document);
        let mut compiler = Compiler::new();
        // An OpenAPI 3.0 schema is one of this draft, but for keywords that aren't used here.
        compiler.set_default_draft(Draft::V4);
        compiler.enable_format_assertions();
        compiler.add_resource("crd:schema", document.clone()).unwrap();
        let mut schemas = Schemas::new();
        let index = compiler.compile("crd:schema", &mut schemas).unwrap();
        Self { document, schemas, index }
    }

    fn check(&self, object: &Value) -> Result<(), String> {
        self.schemas.validate(object, self.index).map_err(|error| format!("{error:#}"))
    }
}

/// Refuses fields without a schema.
fn close(schema: &mut Value) {
    let Value::Object(fields) = schema else { return };
    if fields.contains_key("properties") {
        fields.insert("additionalProperties".to_owned(), json!(false));
    }
    for part in ["properties", "items", "additionalProperties"] {
        match fields.get_mut(part) {
            Some(Value::Object(inner)) if part == "properties" => inner.values_mut().for_each(close),
            Some(inner) => close(inner),
            None => (),
        }
    }
}

/// A field of a later version in every object that has fields of its own.
fn add_unknown(schema: &Value, value: &mut Value) {
    match value {
        Value::Array(items) => items.iter_mut().for_each(|item| add_unknown(&schema["items"], item)),
        Value::Object(fields) => {
            let Some(properties) = schema["properties"].as_object() else { return };
            for (name, value) in fields.iter_mut() {
                add_unknown(&properties[name], value);
            }
            fields.insert("ofALaterVersion".to_owned(), json!({ "value": ["x"] }));
        }
        _ => (),
    }
}

/// Tries a kind with specs from a strategy, and with any status.
fn try_kind<K>(specs: impl Strategy<Value = K::Spec>)
where
    K: Key + HasSpec<Spec: Clone + std::fmt::Debug + PartialEq + Serialize>,
{
    let schema = Closed::of(K::KIND);
    let objects = (specs, of(status()));
    let tried = TestRunner::default().run(&objects, |(spec, status)| {
        let mut object = json!({
            "apiVersion": K::api_version(&()),
            "kind": K::KIND.kind(),
            "metadata": { "name": "checkout", "namespace": "shop" },
            "spec": spec,
        });
        if let Some(status) = &status {
            object["status"] = json!(status);
        }
        schema.check(&object).map_err(TestCaseError::fail)?;

        let read = |object: &Value| serde_json::from_value::<K>(object.clone()).unwrap();
        let key = read(&object);
        prop_assert_eq!(key.spec(), &spec);
        prop_assert_eq!(key.status(), status.as_ref());
        prop_assert_eq!(&json!(key), &object);

        for part in ["spec", "status"] {
            let properties = &schema.document["properties"];
            object.get_mut(part).into_iter().for_each(|value| add_unknown(&properties[part], value));
        }
        prop_assert!(schema.check(&object).is_err(), "the schema isn't closed");
        let key = read(&object);
        prop_assert_eq!((key.spec(), key.status()), (&spec, status.as_ref()));
        Ok(())
    });
    tried.unwrap();
}

#[test]
fn every_access_key_is_read_back_and_fits_its_schema() {
    try_kind::<AccessKey>(access_key_spec());
}

#[test]
fn every_gateway_key_is_read_back_and_fits_its_schema() {
    try_kind::<GatewayKey>(gateway_key_spec());
}
