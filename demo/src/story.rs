//! The second half: the life of two keys, from their manifests on.

use anyhow::{Context as _, Result};
use keeptrusts_emulator::Token;
use secrecy::SecretString;
use serde_json::Value;

use crate::failure::check;
use crate::install::make_namespace;
use crate::key::Key;
use crate::rotation::check_changed;
use crate::stage::Stage;
use crate::{ending, replicas, rotation};

/// The limit of every `kubectl wait`. Each of them takes a second or two on a machine that does nothing else.
pub(crate) const TIMEOUT: &str = "--timeout=60s";

/// How a Secret's data keys are listed without their values.
const DATA_KEYS: &str = r#"go-template={{range $key, $value := .data}}{{$key}}{{"\n"}}{{end}}"#;

/// The two keys.
pub(crate) struct Keys {
    pub(crate) access: Key,
    pub(crate) gateway: Key,
}

impl Keys {
    /// Reads `examples/`.
    pub(crate) fn read() -> Result<Self> {
        Ok(Self {
            access: Key::read("examples/accesskey.yaml")?,
            gateway: Key::read("examples/gatewaykey.yaml")?,
        })
    }
}

/// Tells the story.
pub(crate) async fn tell(stage: &mut Stage) -> Result<()> {
    let keys = Keys::read()?;
    apply(stage, &keys).await?;
    secrets(stage, &keys).await?;
    let values = accepted(stage, &keys).await?;
    let access = rotation::in_place(stage, &keys.access, &values.access).await?;
    let gateway = rotation::overlap(stage, &keys.gateway, &values.gateway).await?;
    let access = replicas::take_over(stage, &keys.access, &access).await?;
    let repaired = repair(stage, &keys.access, &access).await?;
    ending::delete(stage, &keys, &gateway, &repaired).await?;
    ending::drain(stage, &keys, &repaired, &access).await?;
    ending::count(stage).await
}

/// The value of each key.
struct Values {
    access: SecretString,
    gateway: SecretString,
}

async fn apply(stage: &mut Stage, keys: &Keys) -> Result<()> {
    let shop = stage.names.shop.clone();
    stage.narrator.chapter("Two manifests become two keys")?;
    stage.narrator.tell(
        "An AccessKey is for an application that calls through a gateway, a GatewayKey for a hosted gateway's own \
         runtime. Each names the Secret that it wants.",
    )?;
    if stage.kubeconfig.is_none() {
        make_namespace(stage, &shop).await?;
    }
    let (access, gateway) = (&keys.access, &keys.gateway);
    let manifest =
        std::fs::read_to_string(&access.file).with_context(|| format!("reading {}", access.file))?;
    stage.narrator.command(&["cat", &access.file])?;
    stage.narrator.output(&manifest, usize::MAX)?;
    stage.run(&["kubectl", "apply", "-n", &shop, "-f", &access.file, "-f", &gateway.file]).await?;
    let wait = ["kubectl", "wait", "--for=condition=Ready", TIMEOUT, "-n", &shop];
    stage.run(&[&wait[..], &[&access.resource, &gateway.resource]].concat()).await?;
    stage.narrator.ok("both keys are Ready: each Secret holds the value of a token that lives")?;
    stage.run(&["kubectl", "get", "accesskeys,gatewaykeys", "-n", &shop]).await?;

    let tokens = stage.emulator()?.tokens();
    check(tokens.len() == 2, "2 tokens made, one for each key", || named(&tokens))?;
    for key in [access, gateway] {
        let token = text(&stage.resource(key).await?["status"]["token"]["id"]);
        check(tokens.iter().any(|made| made.id == token), "the token API's id in the status", || {
            token.clone()
        })?;
    }
    stage.narrator.ok(&format!("the token API made exactly two tokens: {}", named(&tokens)))?;
    stage.narrator.tell(
        "A token's name tells which key it belongs to. If the operator dies between the call that makes a token and the \
         write of its Secret, it finds the token by that name, and revokes what nobody holds: the tests show that, not this demo.",
    )?;
    Ok(())
}

async fn secrets(stage: &mut Stage, keys: &Keys) -> Result<()> {
    let shop = stage.names.shop.clone();
    stage.narrator.chapter("The Secrets")?;
    stage.narrator.tell(
        "The token API shows a value once, in the answer to the call that makes it. It is in the Secret and nowhere else: \
         the status has its first characters, as the token API tells them. The demo never prints a value either.",
    )?;
    for key in [&keys.access, &keys.gateway] {
        let words = ["kubectl", "get", "secret", &key.secret, "-n", &shop, "-o", DATA_KEYS];
        let data_keys = stage.run(&words).await?;
        check(data_keys.trim() == key.entry, &format!("one data key, {}", key.entry), || {
            data_keys.trim().replace('\n', ", ")
        })?;
        let prefix = "jsonpath={.status.token.prefix}";
        let prefix = stage.run(&["kubectl", "get", &key.resource, "-n", &shop, "-o", prefix]).await?;
        let template = key.value_template();
        let value =
            stage.look(&["kubectl", "get", "secret", &key.secret, "-n", &shop, "-o", &template]).await?;
        let begins = !prefix.is_empty() && value.starts_with(&prefix) && value.len() > prefix.len();
        check(begins, "a value that begins with the prefix", || "another one".into())?;
        stage.narrator.ok(&format!(
            "Secret {} has one data key, {}; its value begins with {prefix}, as the status of {} says",
            key.secret, key.entry, key.resource
        ))?;
    }
    Ok(())
}

async fn accepted(stage: &mut Stage, keys: &Keys) -> Result<Values> {
    stage.narrator.chapter("The values work")?;
    stage
        .narrator
        .tell("What a workload would do with its value: the token API tells the bearer who it is.")?;
    let access = accepted_value(stage, &keys.access, "VALUE").await?;
    let gateway = accepted_value(stage, &keys.gateway, "GATEWAY_VALUE").await?;
    Ok(Values { access, gateway })
}

/// Gets a key's value and tries it; the token API must know it as that of the key's token.
async fn accepted_value(stage: &mut Stage, key: &Key, variable: &str) -> Result<SecretString> {
    let value = stage.value(key, variable).await?;
    let who = stage.whoami(variable, &value, 200).await?;
    let token = text(&stage.resource(key).await?["status"]["token"]["id"]);
    let id = text(&who["id"]);
    check(id == token, &format!("the token of {}, {token}", key.resource), || id.clone())?;
    stage.narrator.ok(&format!("accepted, as the token of {}", key.resource))?;
    Ok(value)
}

async fn repair(stage: &mut Stage, key: &Key, old: &SecretString) -> Result<SecretString> {
    let shop = stage.names.shop.clone();
    stage.narrator.chapter("Somebody deletes the Secret")?;
    stage.narrator.tell(
        "The value is lost to Kubernetes, and the token API shows none twice. The operator makes a replacement token; \
         pods that still hold the old value go on working for spec.rotation.grace, an hour by default.",
    )?;
    stage.run(&["kubectl", "delete", "secret", &key.secret, "-n", &shop]).await?;
    let repaired = "--for=jsonpath={.status.lastRotation.reason}=SecretMissing";
    stage.run(&["kubectl", "wait", repaired, TIMEOUT, "-n", &shop, &key.resource]).await?;
    let table = stage.run(&["kubectl", "get", &key.resource, "-n", &shop]).await?;
    check(table.contains(" True "), "a key that is Ready", || table.clone())?;
    stage.narrator.typed(&["OLD=$VALUE".to_owned()])?;
    let value = accepted_value(stage, key, "VALUE").await?;
    check_changed(&value, old)?;
    stage.whoami("OLD", old, 200).await?;
    let path = "jsonpath={range .status.superseded[*]}{.prefix} is revoked after {.revokeAfter}{end}";
    let superseded = stage.run(&["kubectl", "get", &key.resource, "-n", &shop, "-o", path]).await?;
    check(superseded.contains("revoked after"), "one superseded token in the status", || superseded.clone())?;
    stage.narrator.ok("the Secret is back with a new value, and the old one still works")?;
    Ok(value)
}

/// Those that live.
pub(crate) fn alive(tokens: &[Token]) -> Vec<Token> {
    tokens.iter().filter(|token| token.is_alive()).cloned().collect()
}

/// Tokens by their names.
pub(crate) fn named(tokens: &[Token]) -> String {
    let names: Vec<&str> = tokens.iter().map(|token| token.name.as_str()).collect();
    if names.is_empty() { "none".to_owned() } else { names.join(" and ") }
}

/// A string of an object, or nothing.
pub(crate) fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}
