//! What the demo has to know of a manifest in `examples/`.

use std::path::Path;

use anyhow::{Context as _, Result};
use serde_json::Value;

/// One resource of one manifest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Key {
    /// The manifest, as it is named in commands.
    pub(crate) file: String,
    /// The resource as kubectl names it: `accesskey/checkout`.
    pub(crate) resource: String,
    /// Its Secret.
    pub(crate) secret: String,
    /// The data key of the value.
    pub(crate) entry: String,
    /// The rotation generation that the manifest asks for.
    pub(crate) generation: i64,
}

impl Key {
    /// Reads a manifest.
    pub(crate) fn read(file: &str) -> Result<Self> {
        let text = std::fs::read_to_string(Path::new(file)).with_context(|| format!("reading {file}"))?;
        Self::parse(file, &text).with_context(|| format!("in {file}"))
    }

    fn parse(file: &str, text: &str) -> Result<Self> {
        let manifest: Value = serde_yaml::from_str(text).context("parsing YAML")?;
        let kind = manifest["kind"].as_str().context("no kind")?.to_ascii_lowercase();
        let name = manifest["metadata"]["name"].as_str().context("no name")?;
        let spec = &manifest["spec"];
        let or = |value: &Value, default: &str| value.as_str().unwrap_or(default).to_owned();
        Ok(Self {
            file: file.to_owned(),
            resource: format!("{kind}/{name}"),
            secret: or(&spec["secret"]["name"], name),
            entry: or(&spec["secret"]["key"], "api-key"),
            generation: spec["rotation"]["generation"].as_i64().unwrap_or(0),
        })
    }

    /// The value's place, as a template for kubectl: decoded, so that it can be used as it is.
    pub(crate) fn value_template(&self) -> String {
        format!("go-template={{{{index .data \"{}\" | base64decode}}}}", self.entry)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_manifest_tells_names_and_its_defaults_are_the_crds() {
        let manifest = "kind: AccessKey\nmetadata: {name: checkout}\nspec: {}\n";
        let key = Key::parse("a.yaml", manifest).unwrap();
        assert_eq!(key.resource, "accesskey/checkout");
        assert_eq!((key.secret.as_str(), key.entry.as_str()), ("checkout", "api-key"));
        assert_eq!(key.generation, 0);
        assert_eq!(key.value_template(), r#"go-template={{index .data "api-key" | base64decode}}"#);

        let manifest = "kind: GatewayKey\nmetadata: {name: edge}\nspec: {secret: {name: s, key: k}, rotation: {generation: 4}}\n";
        let key = Key::parse("b.yaml", manifest).unwrap();
        assert_eq!((key.secret.as_str(), key.entry.as_str(), key.generation), ("s", "k", 4));
    }
}
