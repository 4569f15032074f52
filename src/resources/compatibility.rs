//! Nothing that was ever released is renamed, removed or narrowed: what was stored stays valid, and means what it meant.
//!
//! `tests/crds/released/VERSION/` has the CRDs of each release, and objects with every field that there was. They are kept as they are for
//! ever. The objects are applied to today's CRDs on a real API server (`tests/crds/released.rs`).

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use serde::Deserialize as _;
use serde_json::{Value, json};

use super::crds;

/// Numbers above which something is refused.
const MAXIMA: [&str; 4] = ["maximum", "maxLength", "maxItems", "maxProperties"];

/// Numbers below which something is refused.
const MINIMA: [&str; 4] = ["minimum", "minLength", "minItems", "minProperties"];

/// What gives something that is stored another meaning, or a server-side apply another outcome, if it changes at all.
const MEANINGS: [&str; 6] = [
    "type",
    "default",
    "x-kubernetes-list-type",
    "x-kubernetes-list-map-keys",
    "x-kubernetes-map-type",
    "x-kubernetes-int-or-string",
];

/// What refuses anything if it changes, and nothing if it goes.
const FORMS: [&str; 2] = ["pattern", "format"];

/// What a later CRD refuses that an earlier one took, or takes otherwise, each with its path.
fn narrowed(before: &Value, after: &Value) -> Vec<String> {
    let mut found = Vec::new();
    let (old, new) = (&before["spec"], &after["spec"]);
    for part in ["group", "scope"] {
        if old[part] != new[part] {
            found.push(format!("spec.{part} changed"));
        }
    }
    for name in ["kind", "plural", "singular", "shortNames", "categories"] {
        if !covers(&old["names"][name], &new["names"][name]) {
            found.push(format!("spec.names.{name} changed"));
        }
    }
    for old in list(&old["versions"]) {
        let name = old["name"].as_str().unwrap_or_default();
        let Some(new) =
            list(&new["versions"]).find(|new| new["name"] == old["name"] && new["served"] == true)
        else {
            found.push(format!("version {name} isn't served any more"));
            continue;
        };
        if !covers(&old["selectableFields"], &new["selectableFields"]) {
            found.push(format!("{name}: a selectable field is gone"));
        }
        if old["subresources"] != new["subresources"] {
            found.push(format!("{name}: the subresources changed"));
        }
        let [old, new] = [old, new].map(|version| &version["schema"]["openAPIV3Schema"]);
        compare(name, old, new, &mut found);
        for (field, message) in relations(name, new).difference(&relations(name, old)) {
            found.push(format!("{field}: a new rule, {message}"));
        }
    }
    found
}

/// What relates fields, by the path of the one that it refuses and its message. Such a rule can stand at any level above its
/// fields, and its text changes with it; what it refuses is held by `tests/crds/cases`.
fn relations(path: &str, schema: &Value) -> BTreeSet<(String, String)> {
    let mut all: BTreeSet<_> = list(&schema["x-kubernetes-validations"])
        .filter_map(|rule| {
            Some((format!("{path}{}", rule["fieldPath"].as_str()?), rule["message"].to_string()))
        })
        .collect();
    for (name, property) in schema["properties"].as_object().into_iter().flatten() {
        all.extend(relations(&format!("{path}.{name}"), property));
    }
    all
}

fn compare(path: &str, old: &Value, new: &Value, found: &mut Vec<String>) {
    for meaning in MEANINGS {
        if old[meaning] != new[meaning] {
            found.push(format!("{path}: {meaning} changed"));
        }
    }
    for form in FORMS {
        if !new[form].is_null() && old[form] != new[form] {
            found.push(format!("{path}: {form} changed"));
        }
    }
    let limit = |schema: &Value, name: &str| schema[name].as_f64();
    for name in MAXIMA {
        if limit(new, name).is_some_and(|new| limit(old, name).is_none_or(|old| new < old)) {
            found.push(format!("{path}: {name} is less than it was"));
        }
    }
    for name in MINIMA {
        if limit(new, name).is_some_and(|new| limit(old, name).is_none_or(|old| new > old)) {
            found.push(format!("{path}: {name} is more than it was"));
        }
    }
    if !new["enum"].is_null() && (old["enum"].is_null() || !covers(&old["enum"], &new["enum"])) {
        found.push(format!("{path}: a value of the enum is gone"));
    }
    if !covers(&new["required"], &old["required"]) {
        found.push(format!("{path}: more is required than was"));
    }
    if old["nullable"] == true && new["nullable"] != true {
        found.push(format!("{path}: null was allowed"));
    }
    let rules = |schema: &Value| -> BTreeSet<String> {
        let alone = |rule: &&Value| rule["fieldPath"].is_null();
        list(&schema["x-kubernetes-validations"]).filter(alone).map(|rule| rule["rule"].to_string()).collect()
    };
    for rule in rules(new).difference(&rules(old)) {
        found.push(format!("{path}: a new rule, {rule}"));
    }
    for (name, old) in old["properties"].as_object().into_iter().flatten() {
        match new["properties"].get(name) {
            Some(new) => compare(&format!("{path}.{name}"), old, new, found),
            None => found.push(format!("{path}.{name} is gone")),
        }
    }
    for inner in ["items", "additionalProperties"] {
        if old[inner].is_object() {
            compare(&format!("{path}[]"), &old[inner], &new[inner], found);
        }
    }
}

/// Whether all of `part` is in `whole`; for what isn't a list, whether both are the same.
fn covers(part: &Value, whole: &Value) -> bool {
    match part {
        Value::Array(part) => part.iter().all(|it| list(whole).any(|other| other == it)),
        Value::Null => true,
        one => one == whole,
    }
}

fn list(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}

/// The folders of the releases.
fn releases() -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/crds/released");
    let mut releases: Vec<_> =
        std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    releases.sort();
    assert!(!releases.is_empty());
    releases
}

fn read(path: &Path) -> Vec<Value> {
    let text = std::fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    serde_yaml::Deserializer::from_str(&text).map(|document| Value::deserialize(document).unwrap()).collect()
}

/// Today's CRDs and those of a release.
fn pairs(release: &Path) -> Vec<(Value, Value)> {
    let of = |crd: Value| {
        let plural = crd["spec"]["names"]["plural"].as_str().unwrap().to_owned();
        let [released] = &read(&release.join(format!("{plural}.yaml")))[..] else { panic!("one CRD a file") };
        (released.clone(), crd)
    };
    crds().into_iter().map(|crd| of(serde_json::to_value(crd).unwrap())).collect()
}

#[test]
fn nothing_that_was_released_is_renamed_removed_or_narrowed() {
    for release in releases() {
        for (released, today) in pairs(&release) {
            let found = narrowed(&released, &today);
            assert!(found.is_empty(), "since {}: {found:#?}", release.display());
        }
    }
}

/// Every path of a schema at which a value may stand.
fn paths(path: &str, schema: &Value, all: &mut BTreeSet<String>) {
    for (name, property) in schema["properties"].as_object().into_iter().flatten() {
        let path = format!("{path}.{name}");
        all.insert(path.clone());
        paths(&path, property, all);
    }
    for inner in ["items", "additionalProperties"] {
        if schema[inner].is_object() {
            paths(&format!("{path}[]"), &schema[inner], all);
        }
    }
}

/// Every path of an object at which a value stands, named as [`paths`] names it.
fn set(path: &str, value: &Value, schema: &Value, all: &mut BTreeSet<String>) {
    match value {
        Value::Object(fields) => {
            for (name, value) in fields {
                let property = &schema["properties"][name];
                if property.is_object() {
                    let path = format!("{path}.{name}");
                    all.insert(path.clone());
                    set(&path, value, property, all);
                }
            }
        }
        Value::Array(items) => {
            for item in items {
                set(&format!("{path}[]"), item, &schema["items"], all);
            }
        }
        _ => {}
    }
}

#[test]
fn the_objects_of_a_release_have_every_field_that_it_had() {
    for release in releases() {
        let objects = read(&release.join("objects.yaml"));
        for (released, _) in pairs(&release) {
            let schema = &released["spec"]["versions"][0]["schema"]["openAPIV3Schema"];
            let (mut all, mut found) = (BTreeSet::new(), BTreeSet::new());
            paths("", schema, &mut all);
            let kind = &released["spec"]["names"]["kind"];
            for object in objects.iter().filter(|object| object["kind"] == *kind) {
                set("", object, schema, &mut found);
            }
            let missing: Vec<_> = all.difference(&found).collect();
            assert!(missing.is_empty(), "{kind} in {}: {missing:#?}", release.display());
        }
    }
}

/// A CRD in which `change` was done to what stands at a pointer into its first version's schema.
fn changed(pointer: &str, change: impl FnOnce(&mut Value)) -> (Value, Value) {
    let before = serde_json::to_value(&crds()[0]).unwrap();
    let mut after = before.clone();
    let schema = format!("/spec/versions/0/schema/openAPIV3Schema{pointer}");
    change(after.pointer_mut(&schema).unwrap_or_else(|| panic!("nothing at {schema}")));
    (before, after)
}

#[test]
fn whatever_would_refuse_what_is_stored_is_found() {
    const ROTATION: &str = "/properties/spec/properties/rotation";
    let gone = |name: &'static str| {
        move |object: &mut Value| drop(object.as_object_mut().unwrap().remove(name).unwrap())
    };
    let put = |name: &'static str, value: Value| move |object: &mut Value| object[name] = value;
    let cases: Vec<((Value, Value), &str)> = vec![
        (changed(&format!("{ROTATION}/properties"), gone("grace")), "spec.rotation.grace is gone"),
        (changed(ROTATION, put("required", json!(["grace"]))), "spec.rotation: more is required"),
        (changed(&format!("{ROTATION}/properties/grace"), put("maxLength", json!(3))), "maxLength is less"),
        (changed(&format!("{ROTATION}/properties/grace"), put("minLength", json!(30))), "minLength is more"),
        (changed(&format!("{ROTATION}/properties/grace"), put("pattern", json!("^1h$"))), "pattern changed"),
        (changed(&format!("{ROTATION}/properties/grace"), put("type", json!("integer"))), "type changed"),
        (
            changed(&format!("{ROTATION}/properties/strategy"), put("enum", json!(["Overlap"]))),
            "enum is gone",
        ),
        (
            changed(&format!("{ROTATION}/properties/strategy"), put("default", json!("Overlap"))),
            "default changed",
        ),
        (
            changed(ROTATION, put("x-kubernetes-validations", json!([{"rule": "has(self.grace)"}]))),
            "a new rule, \"has(self.grace)\"",
        ),
        (
            changed(&format!("{ROTATION}/properties/windows/items/properties"), gone("timeZone")),
            "spec.rotation.windows[].timeZone is gone",
        ),
        (
            changed("/properties/status/properties/token/properties", gone("prefix")),
            "status.token.prefix is gone",
        ),
    ];
    for ((before, after), told) in cases {
        let found = narrowed(&before, &after);
        assert!(matches!(&found[..], [one] if one.contains(told)), "{told}: {found:?}");
        if told.contains("is gone") && !told.contains("enum") {
            assert_eq!(narrowed(&after, &before), [""; 0], "a new field harms nobody: {told}");
        }
    }
    let mut renamed = serde_json::to_value(&crds()[0]).unwrap();
    let before = renamed.clone();
    renamed["spec"]["versions"][0]["name"] = json!("v1");
    renamed["spec"]["names"]["shortNames"] = json!([]);
    assert_eq!(
        narrowed(&before, &renamed),
        ["spec.names.shortNames changed", "version v1alpha1 isn't served any more"]
    );
}

/// What relates fields can be said at another level, but nothing else can be said of them.
#[test]
fn a_rule_that_moved_is_the_same_rule() {
    let crd = |root: &Value, spec: &Value| {
        let spec = json!({ "x-kubernetes-validations": spec });
        let schema = json!({ "x-kubernetes-validations": root, "properties": { "spec": spec } });
        json!({ "spec": { "versions": [
            { "name": "v1", "served": true, "schema": { "openAPIV3Schema": schema } },
        ] } })
    };
    let root = json!([{ "rule": "has(self.spec.a)", "fieldPath": ".spec.a", "message": "a is needed" }]);
    let spec = |field: &str, message: &str| json!([{ "rule": "has(self.a)", "fieldPath": field, "message": message }]);
    let since = |spec: &Value| narrowed(&crd(&root, &json!([])), &crd(&json!([]), spec));
    assert_eq!(since(&spec(".a", "a is needed")), [""; 0]);
    assert_eq!(since(&spec(".a", "b is needed")), ["v1.spec.a: a new rule, \"b is needed\""]);
    assert_eq!(since(&spec(".b", "a is needed")), ["v1.spec.b: a new rule, \"a is needed\""]);
}
