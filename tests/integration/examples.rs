//! The examples that are programs.

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use keeptrusts_harness::suite::Context;
use keeptrusts_operator::resources::AccessKey;
use serde_json::json;
use tokio::io::{AsyncBufReadExt as _, BufReader, Lines};
use tokio::process::{ChildStdout, Command};

use crate::world::{SOON, World};

const KEY: &str = "checkout";

/// Much sooner than kubelet writes a changed Secret into its mounts, and long enough to be noticed.
const MOUNT_LAG: Duration = Duration::from_secs(1);

/// Reads lines until this one, and says how often another one came before.
async fn until(lines: &mut Lines<BufReader<ChildStdout>>, wanted: &str) -> Result<usize> {
    let mut others = 0;
    loop {
        let line = tokio::time::timeout(SOON, lines.next_line()).await.context("it says nothing")??;
        let Some(line) = line else { bail!("it ended") };
        if line == wanted {
            return Ok(others);
        }
        others += 1;
    }
}

/// Writes a value as kubelet does: a reader sees the old one or the new one.
fn mount(file: &Path, value: &str) -> Result<()> {
    let new = file.with_extension("new");
    std::fs::write(&new, value)?;
    std::fs::rename(&new, file)?;
    Ok(())
}

pub(crate) async fn an_application_that_rereads_its_key_loses_no_request(cx: Context) -> Result<()> {
    const AGAIN: &str = "repeated with the new key";
    let world = World::start(cx).await?;
    world.create::<AccessKey>(KEY, json!({})).await?;
    world.at_rest::<AccessKey>(KEY).await?;
    let file = world.cx.dir.join("api-key");
    mount(&file, &world.value(KEY).await?)?;
    let example = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/reread-on-401.py");
    let mut child = Command::new("python3")
        .arg(example)
        .env("KEY_FILE", &file)
        .env("URL", format!("{}/v1/whoami", world.emulator.url()))
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .context("running python3")?;
    let mut lines = BufReader::new(child.stdout.take().context("no output")?).lines();
    for rotation in 1..=3 {
        for _ in 0..3 {
            ensure!(until(&mut lines, "ok").await? == 0);
        }
        world.raise::<AccessKey>(KEY, rotation).await?;
        tokio::time::sleep(MOUNT_LAG).await;
        mount(&file, &world.value(KEY).await?)?;
        until(&mut lines, AGAIN).await?;
    }
    ensure!(until(&mut lines, "ok").await? == 0, "once for each rotation");
    Ok(())
}
