//! Rotations with an overlap and at once, and what is told of them.

use anyhow::{Context as _, Result, ensure};
use jiff::{SignedDuration, Timestamp};
use keeptrusts_harness::stays;
use keeptrusts_harness::suite::Context;
use keeptrusts_operator::lifecycle::time::to_time;
use keeptrusts_operator::resources::{
    AccessKey, GatewayKey, HistoryEntry, HistoryEvent, Key, KeyStatus, OperationReason, ROTATE_NOW,
};
use kube::api::{Patch, PatchParams, PostParams};
use serde_json::json;

use crate::world::{World, condition, ready_since};

const KEY: &str = "checkout";
const SECRET: &str = "checkout-keeptrusts";

/// A key whose rotations overlap for so long.
async fn make<K: Key>(world: &World, grace: &str) -> Result<KeyStatus> {
    let rotation = json!({"strategy": "Overlap", "grace": grace});
    world.create::<K>(KEY, json!({"secret": {"name": SECRET}, "rotation": rotation})).await?;
    world.at_rest::<K>(KEY).await
}

/// Asks for a rotation at once.
async fn ask<K: Key>(world: &World, value: &str) -> Result<()> {
    let patch = Patch::Merge(json!({"metadata": {"annotations": {ROTATE_NOW: value}}}));
    let params = PatchParams { field_manager: Some("security-team".to_owned()), ..PatchParams::default() };
    world.keys::<K>().patch(KEY, &params, &patch).await?;
    Ok(())
}

async fn asked_and_done<K: Key>(world: &World, value: &str) -> Result<KeyStatus> {
    ask::<K>(world, value).await?;
    let seen = |_: &K, status: &KeyStatus| {
        status.observed_rotate_now.as_deref() == Some(value) && status.operation.is_none()
    };
    Ok(world.until::<K>(KEY, "has rotated at once", seen).await?.1)
}

pub(crate) async fn an_overlap_keeps_the_old_value_alive_for_its_grace(cx: Context) -> Result<()> {
    overlaps::<AccessKey>(&World::start(cx).await?).await
}

pub(crate) async fn so_does_a_gateway_keys(cx: Context) -> Result<()> {
    overlaps::<GatewayKey>(&World::start(cx).await?).await
}

async fn overlaps<K: Key>(world: &World) -> Result<()> {
    let before = make::<K>(world, "3s").await?;
    let old = world.value(SECRET).await?;
    let rotated = world.raise::<K>(KEY, 1).await?;
    let new = world.value(SECRET).await?;
    ensure!(old != new && world.emulator.is_alive(&old) && world.emulator.is_alive(&new));
    let [superseded] = &rotated.superseded[..] else { anyhow::bail!("{:?}", rotated.superseded) };
    ensure!(Some(&superseded.id) == before.token.as_ref().map(|token| &token.id));
    let grace = superseded.revoke_after.0.as_second() - superseded.since.0.as_second();
    assert_eq!(grace, 3);
    let note = world.event(SECRET, "Rotated").await?;
    let dies = superseded.revoke_after.0.to_string();
    ensure!(note.contains(&format!("The old value lives until {dies}")), "{note}");
    ensure!(world.event(KEY, "Rotated").await? == note);

    let after = world.at_rest::<K>(KEY).await?;
    let dead = world.emulator.tokens().into_iter().find(|token| token.id == superseded.id);
    let revoked = dead.and_then(|token| token.revoked_at).context("it lives on")?;
    ensure!(revoked >= superseded.revoke_after.0, "{revoked} is before its time");
    assert_eq!(ready_since(&before)?, ready_since(&after)?, "it was ready all the time");
    assert_eq!(world.one_living::<K>(KEY, SECRET, 2).await?, new);
    Ok(())
}

pub(crate) async fn a_second_one_amidst_an_overlap(cx: Context) -> Result<()> {
    let world = World::start(cx).await?;
    let before = make::<AccessKey>(&world, "4s").await?;
    let first = world.value(SECRET).await?;
    world.raise::<AccessKey>(KEY, 1).await?;
    let second = world.value(SECRET).await?;
    let status = world.raise::<AccessKey>(KEY, 2).await?;
    assert_eq!(status.superseded.len(), 2);
    for value in [&first, &second, &world.value(SECRET).await?] {
        ensure!(world.emulator.is_alive(value));
    }
    let third = world.one_living::<AccessKey>(KEY, SECRET, 3).await?;
    ensure!(third != first && third != second);
    let after = world.at_rest::<AccessKey>(KEY).await?;
    assert_eq!(ready_since(&before)?, ready_since(&after)?);
    Ok(())
}

pub(crate) async fn one_in_place_ends_an_overlap(cx: Context) -> Result<()> {
    let world = World::start(cx).await?;
    make::<AccessKey>(&world, "1h").await?;
    let first = world.value(SECRET).await?;
    world.raise::<AccessKey>(KEY, 1).await?;
    let second = world.value(SECRET).await?;
    world.change::<AccessKey>(KEY, json!({"rotation": {"strategy": "InPlace"}})).await?;
    ensure!(world.emulator.is_alive(&first), "another strategy alone ends nothing");
    world.raise::<AccessKey>(KEY, 2).await?;
    let third = world.one_living::<AccessKey>(KEY, SECRET, 2).await?;
    for dead in [first, second] {
        ensure!(!world.emulator.is_alive(&dead) && dead != third);
    }
    Ok(())
}

pub(crate) async fn at_once_means_at_once_and_once(cx: Context) -> Result<()> {
    at_once::<AccessKey>(World::start(cx).await?).await
}

pub(crate) async fn so_it_does_for_a_gateway_key(cx: Context) -> Result<()> {
    at_once::<GatewayKey>(World::start(cx).await?).await
}

async fn at_once<K: Key>(mut world: World) -> Result<()> {
    make::<K>(&world, "1h").await?;
    let first = world.value(SECRET).await?;
    world.raise::<K>(KEY, 1).await?;
    let second = world.value(SECRET).await?;
    asked_and_done::<K>(&world, "leaked on Tuesday").await?;
    let third = world.one_living::<K>(KEY, SECRET, 2).await?;
    for dead in [first, second] {
        ensure!(!world.emulator.is_alive(&dead) && dead != third);
    }
    let note = world.event(KEY, "Rotated").await?;
    ensure!(!note.is_empty());

    // Neither a restart, nor a status that is lost, nor the annotation's removal and return asks for it once more.
    world.restart().await?;
    let keys = world.keys::<K>();
    let mut object = serde_json::to_value(keys.get(KEY).await?)?;
    object["status"] = json!({});
    keys.replace_status(KEY, &PostParams::default(), &serde_json::from_value(object)?).await?;
    let restored = world.at_rest::<K>(KEY).await?;
    assert_eq!(restored.observed_rotate_now.as_deref(), Some("leaked on Tuesday"));
    let patch = Patch::Merge(json!({"metadata": {"annotations": {ROTATE_NOW: null}}}));
    keys.patch(KEY, &PatchParams::default(), &patch).await?;
    ask::<K>(&world, "leaked on Tuesday").await?;
    stays(std::time::Duration::from_secs(2), "nothing is rotated", async || {
        ensure!(world.value(SECRET).await? == third && world.emulator.is_alive(&third));
        Ok(())
    })
    .await?;
    asked_and_done::<K>(&world, "leaked on Wednesday").await?;
    ensure!(!world.emulator.is_alive(&third));
    Ok(())
}

pub(crate) async fn the_history_tells_who_and_why(cx: Context) -> Result<()> {
    let world = World::start(cx).await?;
    let first = make::<AccessKey>(&world, "1s").await?;
    world.raise::<AccessKey>(KEY, 1).await?;
    asked_and_done::<AccessKey>(&world, "now").await?;
    let note = world.event(KEY, "Minted").await?;
    ensure!(!note.contains("old value"), "{note}");
    for generation in 2..12 {
        world.raise::<AccessKey>(KEY, generation).await?;
        world.at_rest::<AccessKey>(KEY).await?;
        let status = world.at_rest::<AccessKey>(KEY).await?;
        let entry = status.history.first().context("no history")?;
        assert_eq!((entry.event, entry.reason), (HistoryEvent::Rotated, OperationReason::GenerationRaised));
        assert_eq!(entry.generation, generation);
        assert_eq!(entry.prefix, status.token.and_then(|token| token.prefix));
        ensure!(entry.requested_by.is_some(), "{entry:?}");
        if generation == 2 {
            let [_, at_once, overlap, minted] = &status.history[..] else {
                anyhow::bail!("{:?}", status.history)
            };
            assert_eq!(at_once.reason, OperationReason::RotateNow);
            assert_eq!(at_once.requested_by.as_deref(), Some("security-team"));
            assert_eq!(at_once.previous_prefix, overlap.prefix);
            assert_eq!(overlap.previous_prefix, minted.prefix);
            assert_eq!((minted.event, minted.reason), (HistoryEvent::Minted, OperationReason::Created));
            assert_eq!(minted.prefix, first.token.as_ref().and_then(|token| token.prefix.clone()));
            ensure!(minted.previous_prefix.is_none() && minted.requested_by.is_none());
        }
        ensure!(status.history.len() <= 10);
        ensure!(status.history.is_sorted_by(|a, b| a.time.0 >= b.time.0), "the latest comes first");
    }
    Ok(())
}

/// Waits until the schedule has rotated the key so many times.
async fn scheduled<K: Key>(world: &World, times: usize) -> Result<KeyStatus> {
    let seen = |_: &K, status: &KeyStatus| {
        let by_schedule = |entry: &&HistoryEntry| entry.reason == OperationReason::Scheduled;
        status.history.iter().filter(by_schedule).count() >= times && status.operation.is_none()
    };
    Ok(world.until::<K>(KEY, "is rotated by its schedule", seen).await?.1)
}

/// Makes the status say that the value was written long ago. The change of the spec that follows makes the operator look.
async fn age<K: Key>(world: &World) -> Result<()> {
    let long_ago = Timestamp::now() - SignedDuration::from_hours(1);
    let patch = Patch::Merge(json!({"status": {"lastRotation": {"time": to_time(long_ago)}}}));
    world.keys::<K>().patch_status(KEY, &PatchParams::default(), &patch).await?;
    Ok(())
}

pub(crate) async fn a_schedule_rotates_by_itself(cx: Context) -> Result<()> {
    let world = World::start(cx).await?;
    let before = make::<AccessKey>(&world, "1s").await?;
    ensure!(before.next_rotation.is_none(), "nothing is to come");
    let mut status = before.clone();
    for (times, every) in [(1, "10m"), (2, "11m"), (3, "12m")] {
        age::<AccessKey>(&world).await?;
        world.change::<AccessKey>(KEY, json!({"rotation": {"every": every}})).await?;
        status = scheduled::<AccessKey>(&world, times).await?;
    }
    let last = status.history.first().context("no history")?;
    let next = status.next_rotation.as_ref().context("nothing is to come")?.0;
    let ahead = next.as_second() - last.time.0.as_second();
    ensure!((360..=720).contains(&ahead), "{ahead} s ahead");
    // Without a schedule it comes to rest.
    world.change::<AccessKey>(KEY, json!({"rotation": {"every": null}})).await?;
    let over =
        |_: &AccessKey, status: &KeyStatus| status.next_rotation.is_none() && status.superseded.is_empty();
    let after = world.until::<AccessKey>(KEY, "is at rest", over).await?.1;
    assert_eq!(ready_since(&before)?, ready_since(&after)?, "it was ready all the time");
    Ok(())
}

pub(crate) async fn so_does_a_gateway_keys_in_place(cx: Context) -> Result<()> {
    let world = World::start(cx).await?;
    let before = make::<GatewayKey>(&world, "1s").await?;
    for (times, every) in [(1, "10m"), (2, "11m")] {
        age::<GatewayKey>(&world).await?;
        let rotation = json!({"rotation": {"every": every, "strategy": "InPlace"}});
        world.change::<GatewayKey>(KEY, rotation).await?;
        scheduled::<GatewayKey>(&world, times).await?;
    }
    let status = scheduled::<GatewayKey>(&world, 2).await?;
    let id = |status: &KeyStatus| status.token.as_ref().map(|token| token.id.clone());
    assert_eq!(id(&status), id(&before), "in place");
    assert_eq!(world.emulator.tokens().len(), 1);
    Ok(())
}

pub(crate) async fn a_window_holds_a_schedule_back_and_nothing_else(cx: Context) -> Result<()> {
    let world = World::start(cx).await?;
    make::<AccessKey>(&world, "1s").await?;
    // Open for a second in four years.
    let leap_day = json!([{"schedule": "0 0 29 2 *", "duration": "1s", "timeZone": "Asia/Kolkata"}]);
    age::<AccessKey>(&world).await?;
    world.change::<AccessKey>(KEY, json!({"rotation": {"every": "10m", "windows": leap_day}})).await?;
    let waits = |_: &AccessKey, status: &KeyStatus| {
        let next = status.next_rotation.as_ref().map(|next| next.0.to_string());
        next.is_some_and(|next| next.ends_with("-02-28T18:30:00Z"))
    };
    let status = world.until::<AccessKey>(KEY, "waits for its window", waits).await?.1;
    let version = world.keys::<AccessKey>().get(KEY).await?.metadata.resource_version;
    stays(std::time::Duration::from_secs(5), "nothing happens", async || {
        ensure!(world.keys::<AccessKey>().get(KEY).await?.metadata.resource_version == version);
        Ok(())
    })
    .await?;
    ensure!(status.history.len() == 1, "{:?}", status.history);
    world.raise::<AccessKey>(KEY, 1).await?;
    asked_and_done::<AccessKey>(&world, "now").await?;
    // One that is open all the time holds nothing back.
    age::<AccessKey>(&world).await?;
    let always = json!([{"schedule": "* * * * *", "duration": "1h"}]);
    world.change::<AccessKey>(KEY, json!({"rotation": {"windows": always}})).await?;
    scheduled::<AccessKey>(&world, 1).await?;
    Ok(())
}

pub(crate) async fn a_schedule_that_makes_no_sense_names_its_field(cx: Context) -> Result<()> {
    let world = World::start(cx).await?;
    let before = make::<AccessKey>(&world, "2s").await?;
    for (rotation, told) in [
        (json!({"every": "10m", "grace": "10m"}), "spec.rotation.every must be longer than rotation.grace"),
        (
            json!({"every": "1h", "windows": [{"schedule": "0 5 * MAR-JAN *", "duration": "1h"}]}),
            "spec.rotation.windows[0].schedule isn't a schedule of five fields",
        ),
    ] {
        world.change::<AccessKey>(KEY, json!({"rotation": rotation})).await?;
        let says = |_: &AccessKey, status: &KeyStatus| {
            condition(status, "Stalled")
                .is_some_and(|stalled| stalled.reason == "InvalidSpec" && stalled.message.starts_with(told))
        };
        let status = world.until::<AccessKey>(KEY, &format!("says {told}"), says).await?.1;
        assert_eq!(ready_since(&before)?, ready_since(&status)?, "its value lives on");
    }
    let sane = json!({"every": null, "windows": null, "renewBefore": "1h"});
    world.change::<AccessKey>(KEY, json!({"rotation": sane})).await?;
    world.one_living::<AccessKey>(KEY, SECRET, 1).await?;
    Ok(())
}
