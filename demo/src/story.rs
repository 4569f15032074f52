//! The second half: the life of two keys.

use anyhow::{Context as _, Result};
use keeptrusts_emulator::{Operation, Token};
use secrecy::{ExposeSecret as _, SecretString};
use serde_json::Value;

use crate::failure::check;
use crate::install::make_namespace;
use crate::key::Key;
use crate::stage::Stage;

/// Tokens that the story makes: one for each key, and one that takes the place of a deleted Secret's.
const TOKENS_MADE: usize = 3;

/// The limit of every `kubectl wait`. Each of them takes a second or two on a machine that does nothing else.
const TIMEOUT: &str = "--timeout=60s";

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
    let value = rotate(stage, &keys.access, &values.access).await?;
    let values = Values { access: value, ..values };
    let repaired = repair(stage, &keys.access, &values.access).await?;
    delete(stage, &keys, &values, &repaired).await?;
    count(stage).await
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

async fn rotate(stage: &mut Stage, key: &Key, old: &SecretString) -> Result<SecretString> {
    let shop = stage.names.shop.clone();
    stage.narrator.chapter("Rotate: raise a number")?;
    stage.narrator.tell(
        "Rotation is a line in a manifest, so GitOps can do it: whenever spec.rotation.generation is higher than what has \
         been acted on, the key is rotated, once. The strategy is InPlace here: the same token gets a new value, and \
         the old one dies at once. That is what a leaked value needs.",
    )?;
    let before = stage.resource(key).await?;
    let generation = key.generation + 1;
    let patch = format!(r#"{{"spec":{{"rotation":{{"generation":{generation}}}}}}}"#);
    stage.run(&["kubectl", "patch", &key.resource, "-n", &shop, "--type=merge", "-p", &patch]).await?;
    stage.run(&["kubectl", "wait", "--for=condition=Ready", TIMEOUT, "-n", &shop, &key.resource]).await?;
    stage.run(&["kubectl", "get", &key.resource, "-n", &shop]).await?;
    stage.narrator.tell(
        "The condition says which state of the spec it speaks of, and kubectl wait heeds that: it doesn't take the Ready \
         of before for an answer.",
    )?;

    let after = stage.resource(key).await?;
    let observed = &after["status"]["observedRotationGeneration"];
    check(observed.as_i64() == Some(generation), &format!("generation {generation} observed"), || {
        observed.to_string()
    })?;
    let ids = [&before, &after].map(|state| text(&state["status"]["token"]["id"]));
    check(ids[0] == ids[1], "the same token as before", || ids.join(", then "))?;
    stage.narrator.typed(&["OLD=$VALUE".to_owned()])?;
    let value = stage.value(key, "VALUE").await?;
    check(value.expose_secret() != old.expose_secret(), "another value in the Secret", || {
        "the old one".into()
    })?;
    stage.whoami("OLD", old, 401).await?;
    stage.narrator.ok("the old value is refused")?;
    stage.whoami("VALUE", &value, 200).await?;
    stage.narrator.ok(&format!("the new one is accepted, for the same token {}", ids[1]))?;
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
    check(value.expose_secret() != old.expose_secret(), "another value in the Secret", || {
        "the old one".into()
    })?;
    stage.whoami("OLD", old, 200).await?;
    let path = "jsonpath={range .status.superseded[*]}{.prefix} is revoked after {.revokeAfter}{end}";
    let superseded = stage.run(&["kubectl", "get", &key.resource, "-n", &shop, "-o", path]).await?;
    check(superseded.contains("revoked after"), "one superseded token in the status", || superseded.clone())?;
    stage.narrator.ok("the Secret is back with a new value, and the old one still works")?;
    Ok(value)
}

async fn delete(stage: &mut Stage, keys: &Keys, values: &Values, repaired: &SecretString) -> Result<()> {
    let shop = stage.names.shop.clone();
    let (access, gateway) = (&keys.access, &keys.gateway);
    stage.narrator.chapter("Delete the manifests, and the tokens are dead")?;
    stage.narrator.tell(
        "A finalizer keeps a key until all its tokens are revoked, a replaced one in its grace too. The Secret belongs to \
         the key, and Kubernetes' garbage collector removes it.",
    )?;
    stage.run(&["kubectl", "delete", &access.resource, "-n", &shop]).await?;
    stage.whoami("VALUE", repaired, 401).await?;
    stage.whoami("OLD", &values.access, 401).await?;
    stage.narrator.ok(&format!("{} is gone, and both of its values are refused", access.resource))?;
    let left = alive(&stage.emulator()?.tokens());
    check(left.len() == 1, "1 token that lives, the GatewayKey's", || named(&left))?;
    stage.whoami("GATEWAY_VALUE", &values.gateway, 200).await?;
    stage.narrator.ok(&format!("{} isn't touched by it", gateway.resource))?;
    stage.run(&["kubectl", "delete", &gateway.resource, "-n", &shop]).await?;
    stage.whoami("GATEWAY_VALUE", &values.gateway, 401).await?;
    stage.narrator.ok(&format!("{} is gone, and its value is refused", gateway.resource))?;
    if stage.made.crds {
        stage.narrator.tell(
            "The garbage collector looks for new kinds every half minute only, and these kinds are new to your cluster.",
        )?;
    }
    let secrets = [&access.secret, &gateway.secret].map(|name| format!("secret/{name}"));
    stage.run(&["kubectl", "wait", "--for=delete", TIMEOUT, "-n", &shop, &secrets[0], &secrets[1]]).await?;
    stage.narrator.ok("both Secrets are gone")?;
    Ok(())
}

async fn count(stage: &mut Stage) -> Result<()> {
    let shop = stage.names.shop.clone();
    stage.narrator.chapter("What is left")?;
    let kinds = "accesskeys,gatewaykeys,secrets";
    let left = stage.run(&["kubectl", "get", kinds, "-n", &shop, "--no-headers"]).await?;
    check(left.trim().is_empty(), "no key and no Secret", || left.trim().to_owned())?;
    let emulator = stage.emulator()?;
    let (tokens, counts) = (emulator.tokens(), emulator.counts());
    stage.narrator.typed(&["curl -s $API/admin/calls | jq -c .counts".to_owned()])?;
    let shown = serde_json::to_string(&counts).context("writing the counts")?;
    stage.narrator.output(&shown, 1)?;
    let left = alive(&tokens);
    check(left.is_empty(), "no token that lives", || named(&left))?;
    check(tokens.len() == TOKENS_MADE, &format!("{TOKENS_MADE} tokens made"), || named(&tokens))?;
    let (revoked, rotations) = (counts.of(Operation::Revoke), counts.of(Operation::Rotate));
    check(rotations == 1, "1 call to rotate", || rotations.to_string())?;
    check(revoked == TOKENS_MADE as u64, &format!("{TOKENS_MADE} calls to revoke"), || revoked.to_string())?;
    stage.narrator.ok(&format!(
        "keys: 2; tokens made: {}, rotated: {rotations}, revoked: {revoked}, left: 0",
        tokens.len()
    ))?;
    Ok(())
}

fn alive(tokens: &[Token]) -> Vec<Token> {
    tokens.iter().filter(|token| token.is_alive()).cloned().collect()
}

fn named(tokens: &[Token]) -> String {
    let names: Vec<&str> = tokens.iter().map(|token| token.name.as_str()).collect();
    if names.is_empty() { "none".to_owned() } else { names.join(" and ") }
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}
