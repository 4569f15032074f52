//! The two ways to rotate: in place, where the old value dies at once, and with an overlap, where it works on for a while.

use std::time::{Duration, Instant};

use anyhow::Result;
use secrecy::{ExposeSecret as _, SecretString};

use crate::failure::check;
use crate::key::Key;
use crate::stage::Stage;
use crate::story::{TIMEOUT, alive, named, text};

/// How long the old value works on in an overlap: long enough to be seen at work on a busy machine, short enough to be waited for.
const GRACE: Duration = Duration::from_secs(8);

/// Rotates a key in place. Gives the new value.
pub(crate) async fn in_place(stage: &mut Stage, key: &Key, old: &SecretString) -> Result<SecretString> {
    stage.narrator.chapter("Rotate: raise a number")?;
    stage.narrator.tell(
        "Rotation is a line in a manifest, so GitOps can do it: whenever spec.rotation.generation is higher than what has \
         been acted on, the key is rotated, once. The strategy is InPlace here: the same token gets a new value, and \
         the old one dies at once. That is what a leaked value needs.",
    )?;
    let before = stage.resource(key).await?;
    let generation = key.generation + 1;
    ask(stage, key, generation).await?;
    wait_ready(stage, key).await?;
    let shop = stage.names.shop.clone();
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
    let value = replaced(stage, key, old).await?;
    stage
        .narrator
        .ok(&format!("the old value is refused, and the new one accepted, for the same token {}", ids[1]))?;
    Ok(value)
}

/// Asks for the rotation of this number.
pub(crate) async fn ask(stage: &mut Stage, key: &Key, generation: i64) -> Result<()> {
    patch(stage, key, &format!(r#"{{"spec":{{"rotation":{{"generation":{generation}}}}}}}"#)).await
}

async fn patch(stage: &mut Stage, key: &Key, patch: &str) -> Result<()> {
    let shop = stage.names.shop.clone();
    let words = ["kubectl", "patch", &key.resource, "-n", &shop, "--type=merge", "-p", patch];
    stage.run(&words).await.map(drop)
}

/// Waits until a key is ready as its spec is now.
pub(crate) async fn wait_ready(stage: &mut Stage, key: &Key) -> Result<()> {
    let shop = stage.names.shop.clone();
    let words = ["kubectl", "wait", "--for=condition=Ready", TIMEOUT, "-n", &shop, &key.resource];
    stage.run(&words).await.map(drop)
}

/// Gets the value after a rotation in place, as `VALUE`; the one before it, now `OLD`, must be dead.
pub(crate) async fn replaced(stage: &mut Stage, key: &Key, old: &SecretString) -> Result<SecretString> {
    stage.narrator.typed(&["OLD=$VALUE".to_owned()])?;
    let value = stage.value(key, "VALUE").await?;
    check_changed(&value, old)?;
    stage.whoami("OLD", old, 401).await?;
    stage.whoami("VALUE", &value, 200).await?;
    Ok(value)
}

/// An error if a Secret still holds the old value.
pub(crate) fn check_changed(value: &SecretString, old: &SecretString) -> Result<()> {
    check(value.expose_secret() != old.expose_secret(), "another value in the Secret", || {
        "the old one".into()
    })
}

/// Rotates a key with an overlap, and waits for its end. Gives the new value.
pub(crate) async fn overlap(stage: &mut Stage, key: &Key, old: &SecretString) -> Result<SecretString> {
    let grace = GRACE.as_secs();
    stage.narrator.chapter("Rotate with an overlap: the old value works on")?;
    stage.narrator.tell(&format!(
        "What hasn't leaked needs no haste. With the strategy Overlap a new token takes the old one's place in the Secret, and \
         the old value works on for spec.rotation.grace, so that nobody is refused: {grace} seconds here, to be seen, an hour by \
         default. spec.rotation.every does this on a schedule.",
    ))?;
    let generation = key.generation + 1;
    let asked = Instant::now();
    let spec = format!(r#"{{"strategy":"Overlap","grace":"{grace}s","generation":{generation}}}"#);
    patch(stage, key, &format!(r#"{{"spec":{{"rotation":{spec}}}}}"#)).await?;
    wait_ready(stage, key).await?;
    stage.narrator.typed(&["OLD=$GATEWAY_VALUE".to_owned()])?;
    stage.whoami("OLD", old, 200).await?;
    let value = stage.value(key, "GATEWAY_VALUE").await?;
    check_changed(&value, old)?;
    stage.whoami("GATEWAY_VALUE", &value, 200).await?;
    stage.narrator.ok("both values work, the old one and the one in the Secret")?;

    stage.refused("OLD", old).await?;
    let lived = asked.elapsed();
    check(lived >= GRACE, &format!("that the old value works on for {grace} s"), || {
        format!("{:.1} s after the rotation was asked for it was refused", lived.as_secs_f32())
    })?;
    let left = alive(&stage.emulator()?.tokens());
    check(left.len() == 2, "2 tokens that live, one for each key", || named(&left))?;
    stage.whoami("GATEWAY_VALUE", &value, 200).await?;
    stage
        .narrator
        .ok(&format!("its grace of {grace} s is over and its token revoked; the new value works"))?;
    Ok(value)
}
