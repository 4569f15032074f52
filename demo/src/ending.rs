//! The end: one key is deleted, the other is drained, and nothing lives on.

use anyhow::{Context as _, Result};
use keeptrusts_emulator::Operation;
use secrecy::SecretString;

use crate::failure::check;
use crate::stage::Stage;
use crate::story::{Keys, TIMEOUT, alive, named};
use crate::tools::PROGRAM;

/// Tokens that the story makes: one for each key, one by an overlap, and one that takes the place of a deleted Secret's.
const TOKENS_MADE: usize = 4;

/// Rotations in place.
const ROTATIONS: u64 = 2;

/// Deletes the `GatewayKey`.
pub(crate) async fn delete(
    stage: &mut Stage,
    keys: &Keys,
    gateway: &SecretString,
    access: &SecretString,
) -> Result<()> {
    let shop = stage.names.shop.clone();
    stage.narrator.chapter("Delete a key, and its token is dead")?;
    stage.narrator.tell("A finalizer keeps a key until all its tokens are revoked.")?;
    stage.run(&["kubectl", "delete", &keys.gateway.resource, "-n", &shop]).await?;
    stage.whoami("GATEWAY_VALUE", gateway, 401).await?;
    stage.narrator.ok(&format!("{} is gone, and its value is refused", keys.gateway.resource))?;
    stage.whoami("VALUE", access, 200).await?;
    stage.narrator.ok(&format!("{} isn't touched by it", keys.access.resource))?;
    Ok(())
}

/// Drains what is left: the `AccessKey`, whose values are given as the current one and the one before.
pub(crate) async fn drain(
    stage: &mut Stage,
    keys: &Keys,
    value: &SecretString,
    old: &SecretString,
) -> Result<()> {
    let shop = stage.names.shop.clone();
    stage.narrator.chapter("Drain: before the operator is uninstalled")?;
    stage.narrator.tell(
        "An operator that is gone revokes nothing. One command ends everything before that, and says what became of each key; \
         --tokens retain lets the tokens live on in their Secrets. It asks before it begins, and --yes answers.",
    )?;
    let words = [PROGRAM, "drain", "--tokens", "revoke", "--namespace", &shop, "--yes"];
    let told = stage.run(&words).await?;
    let name = keys.access.resource.rsplit('/').next().unwrap_or_default();
    let is_revoked = |line: &str| line.contains(name) && line.trim_end().ends_with("revoked");
    check(told.lines().any(is_revoked), &format!("that {name} is told as revoked"), || told.clone())?;
    stage.whoami("VALUE", value, 401).await?;
    stage.whoami("OLD", old, 401).await?;
    stage.narrator.ok(&format!(
        "{} is gone, and both of its values are refused, the replaced one in its grace too",
        keys.access.resource
    ))?;
    stage.narrator.tell("The Secrets belong to the keys, and Kubernetes' garbage collector removes them.")?;
    if stage.made.crds {
        stage.narrator.tell(
            "The garbage collector looks for new kinds every half minute only, and these kinds are new to your cluster.",
        )?;
    }
    let secrets = [&keys.access.secret, &keys.gateway.secret].map(|name| format!("secret/{name}"));
    stage.run(&["kubectl", "wait", "--for=delete", TIMEOUT, "-n", &shop, &secrets[0], &secrets[1]]).await?;
    stage.narrator.ok("both Secrets are gone")?;
    Ok(())
}

/// Counts what is left.
pub(crate) async fn count(stage: &mut Stage) -> Result<()> {
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
    check(rotations == ROTATIONS, &format!("{ROTATIONS} calls to rotate"), || rotations.to_string())?;
    check(revoked == TOKENS_MADE as u64, &format!("{TOKENS_MADE} calls to revoke"), || revoked.to_string())?;
    stage.narrator.ok(&format!(
        "keys: 2; tokens made: {}, rotated in place: {rotations}, revoked: {revoked}, left: 0",
        tokens.len()
    ))?;
    Ok(())
}
