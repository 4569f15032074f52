//! The `CustomResourceDefinition`s, made from the Rust types, and their text.

use std::path::Path;
use std::{fs, io};

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::{
    CustomResourceColumnDefinition, CustomResourceDefinition, JSON, JSONSchemaProps, JSONSchemaPropsOrArray,
    JSONSchemaPropsOrBool, SelectableField,
};
use kube::CustomResourceExt;

use super::keys::{AccessKey, GatewayKey, KeyKind};
use super::rules::add_rules;

/// First lines of each file.
const HEADER: &str = "\
# Generated from src/resources by `keeptrusts-operator crds --output-dir crds`: change the types there, not this file.
";

/// The CRDs of `AccessKey` and `GatewayKey`, complete. (`AccessKey::crd()` lacks what is added here.)
#[must_use]
pub fn crds() -> [CustomResourceDefinition; 2] {
    [complete(AccessKey::crd(), KeyKind::Access), complete(GatewayKey::crd(), KeyKind::Gateway)]
}

/// Both CRDs as one YAML stream, for `kubectl apply -f -`.
#[must_use]
pub fn crds_yaml() -> String {
    crds().iter().map(yaml).collect::<Vec<_>>().join("---\n")
}

/// Both CRDs as files: their names and their text.
#[must_use]
pub fn crd_files() -> [(String, String); 2] {
    crds().map(|crd| (format!("{}.yaml", crd.spec.names.plural), yaml(&crd)))
}

/// Writes both CRDs into `directory`, which is made if need be.
///
/// # Errors
/// If the directory or a file can't be written.
pub fn write_crds(directory: &Path) -> io::Result<()> {
    fs::create_dir_all(directory)?;
    for (name, text) in crd_files() {
        fs::write(directory.join(name), text)?;
    }
    Ok(())
}

fn yaml(crd: &CustomResourceDefinition) -> String {
    // Maps with text keys, numbers and texts: nothing in a CRD can fail to serialise.
    let body = serde_yaml::to_string(crd).expect("a CRD is plain data");
    format!("{HEADER}{body}")
}

fn complete(mut crd: CustomResourceDefinition, kind: KeyKind) -> CustomResourceDefinition {
    for version in &mut crd.spec.versions {
        version.additional_printer_columns = Some(columns());
        version.selectable_fields = Some(
            [".spec.secret.name", ".status.token.id"]
                .map(|path| SelectableField { json_path: path.to_owned() })
                .to_vec(),
        );
        if let Some(root) = version.schema.as_mut().and_then(|schema| schema.open_api_v3_schema.as_mut()) {
            complete_root(root, kind);
        }
    }
    crd
}

fn columns() -> Vec<CustomResourceColumnDefinition> {
    let column = |name: &str, type_: &str, path: &str| CustomResourceColumnDefinition {
        name: name.to_owned(),
        type_: type_.to_owned(),
        json_path: path.to_owned(),
        ..CustomResourceColumnDefinition::default()
    };
    vec![
        column("Ready", "string", r#".status.conditions[?(@.type=="Ready")].status"#),
        column("Reason", "string", r#".status.conditions[?(@.type=="Ready")].reason"#),
        column("Prefix", "string", ".status.token.prefix"),
        column("Secret", "string", ".status.secret.name"),
        column("Rotated", "date", ".status.lastRotation.time"),
        // A string, because kubectl prints a date in the future as `<invalid>`.
        CustomResourceColumnDefinition {
            priority: Some(1),
            ..column("Next", "string", ".status.nextRotation")
        },
        column("Age", "date", ".metadata.creationTimestamp"),
    ]
}

fn complete_root(root: &mut JSONSchemaProps, kind: KeyKind) {
    tidy(root);
    root.title = None;
    add_rules(root, kind);

    let Some(properties) = &mut root.properties else { return };
    if let Some(spec) = properties.get_mut("spec") {
        // The derive puts the kind's description here and a sentence about itself at the root.
        root.description =
            spec.description.replace("What is wanted. `spec: {}` makes a key with the defaults.".to_owned());
    }
    if let Some(status) = properties.get_mut("status") {
        // Without it a new resource, of which the operator has said nothing yet, counts as healthy to kstatus.
        status.default = Some(JSON(serde_json::json!({ "observedGeneration": -1 })));
    }
}

/// Takes out `nullable`, with which `null` would be a third state beside set and unset that every rule had to
/// consider (without it the API server drops a `null`, and the field is unset), and the line ends of source code from the descriptions.
fn tidy(schema: &mut JSONSchemaProps) {
    schema.nullable = None;
    if let Some(description) = &mut schema.description {
        *description =
            description.split("\n\n").map(|part| part.replace('\n', " ")).collect::<Vec<_>>().join("\n\n");
    }
    schema.properties.iter_mut().flat_map(|properties| properties.values_mut()).for_each(tidy);
    if let Some(JSONSchemaPropsOrBool::Schema(values)) = &mut schema.additional_properties {
        tidy(values);
    }
    match &mut schema.items {
        Some(JSONSchemaPropsOrArray::Schema(items)) => tidy(items),
        Some(JSONSchemaPropsOrArray::Schemas(items)) => items.iter_mut().for_each(tidy),
        None => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn crds_are_current() {
        let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("crds");
        for (name, text) in crd_files() {
            let committed = fs::read_to_string(directory.join(&name)).unwrap_or_default();
            assert!(
                committed == text,
                "crds/{name} isn't what the types say: run `cargo run -- crds --output-dir crds` and commit it"
            );
        }
    }

    #[test]
    fn each_crd_is_under_100_kib() {
        for (name, text) in crd_files() {
            assert!(text.len() < 100 * 1024, "{name} has {} bytes", text.len());
        }
    }

    #[test]
    fn every_string_list_and_map_has_a_maximum() {
        for crd in crds() {
            let root = crd.spec.versions[0].schema.clone().unwrap().open_api_v3_schema.unwrap();
            let mut unbounded = Vec::new();
            for part in ["spec", "status"] {
                find_unbounded(part, &root.properties.as_ref().unwrap()[part], &mut unbounded);
            }
            assert!(unbounded.is_empty(), "without a maximum: {unbounded:?}");
        }
    }

    #[test]
    fn every_optional_field_of_the_spec_says_its_default() {
        for crd in crds() {
            let root = crd.spec.versions[0].schema.clone().unwrap().open_api_v3_schema.unwrap();
            let mut silent = Vec::new();
            find_silent("spec", &root.properties.unwrap()["spec"], &mut silent);
            assert!(silent.is_empty(), "don't say their default: {silent:?}");
        }
    }

    fn find_unbounded(path: &str, schema: &JSONSchemaProps, found: &mut Vec<String>) {
        let bounded = match schema.type_.as_deref() {
            Some("string") => {
                schema.max_length.is_some()
                    || schema.enum_.is_some()
                    || schema.format.as_deref() == Some("date-time")
            }
            Some("array") => schema.max_items.is_some(),
            Some("object") => schema.properties.is_some() || schema.max_properties.is_some(),
            Some("integer") => {
                schema.minimum.is_some()
                    && schema.format.as_deref().is_none_or(|format| ["int32", "int64"].contains(&format))
            }
            Some("boolean") => true,
            _ => false,
        };
        if !bounded {
            found.push(path.to_owned());
        }
        for (name, property) in schema.properties.iter().flatten() {
            find_unbounded(&format!("{path}.{name}"), property, found);
        }
        if let Some(JSONSchemaPropsOrBool::Schema(values)) = &schema.additional_properties {
            find_unbounded(&format!("{path}.*"), values, found);
        }
        if let Some(JSONSchemaPropsOrArray::Schema(items)) = &schema.items {
            find_unbounded(&format!("{path}[]"), items, found);
        }
    }

    fn find_silent(path: &str, schema: &JSONSchemaProps, found: &mut Vec<String>) {
        for (name, property) in schema.properties.iter().flatten() {
            if schema.required.iter().flatten().any(|required| required == name) {
                continue;
            }
            let path = format!("{path}.{name}");
            if property.properties.is_some() {
                find_silent(&path, property, found);
            } else if !property.description.as_deref().is_some_and(|text| text.contains("Default: ")) {
                found.push(path);
            }
        }
    }
}
