//! The examples that are programs, and whether those that are manifests fit together.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use keeptrusts_harness::suite::Context;
use keeptrusts_operator::resources::{AccessKey, GatewayKey};
use serde::Deserialize as _;
use serde_json::{Value, json};
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

/// What refers to a Secret, and to one of its data keys if it says which.
#[derive(Debug)]
pub(crate) struct Reference {
    pub(crate) secret: String,
    pub(crate) key: Option<String>,
}

impl Reference {
    /// Checks that it refers to a Secret of this name that has these data.
    pub(crate) fn is_there(&self, name: &str, data: &BTreeMap<String, String>) -> Result<()> {
        ensure!(self.secret == name, "{self:?} isn't {name}");
        ensure!(self.key.as_ref().is_none_or(|key| data.contains_key(key)), "{self:?} isn't in the Secret");
        Ok(())
    }
}

/// The documents of a YAML file.
pub(crate) fn documents(text: &str) -> Result<Vec<Value>> {
    serde_yaml::Deserializer::from_str(text).map(|it| Ok(Value::deserialize(it)?)).collect()
}

/// Every Secret that something refers to: the fields of pods and of a `PushSecret`, Reloader's annotation, the values of the
/// gateway's chart.
pub(crate) fn refers_to(value: &Value) -> Vec<Reference> {
    let text = |it: &Value| it.as_str().map(ToOwned::to_owned);
    let mut found = Vec::new();
    let mut refer = |secret: &Value, key: &Value| {
        found.extend(text(secret).map(|secret| Reference { secret, key: text(key) }));
    };
    refer(&value["secretKeyRef"]["name"], &value["secretKeyRef"]["key"]);
    refer(&value["secretRef"]["name"], &Value::Null);
    refer(&value["secret"]["secretName"], &Value::Null);
    for item in value["secret"]["items"].as_array().into_iter().flatten() {
        refer(&value["secret"]["secretName"], &item["key"]);
    }
    for pushed in value["data"].as_array().into_iter().flatten() {
        refer(&value["selector"]["secret"]["name"], &pushed["match"]["secretKey"]);
    }
    refer(&value["annotations"]["secret.reloader.stakater.com/reload"], &Value::Null);
    refer(&value["secrets"]["apiKeySecretName"], &value["secrets"]["apiKeySecretKey"]);
    match value {
        Value::Object(fields) => found.extend(fields.values().flat_map(refers_to)),
        Value::Array(items) => found.extend(items.iter().flat_map(refers_to)),
        _ => {}
    }
    found
}

/// The files of a folder of examples.
fn manifests(folder: &str) -> Result<Vec<PathBuf>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples").join(folder);
    let files = std::fs::read_dir(&folder)?.map(|entry| Ok(entry?.path())).collect::<Result<Vec<_>>>()?;
    Ok(files.into_iter().filter(|file| file.extension().is_some_and(|end| end == "yaml")).collect())
}

/// Every key of the examples is made, and whatever the examples refer to is in one of their Secrets.
pub(crate) async fn what_examples_refer_to_is_there(cx: Context) -> Result<()> {
    let world = World::start(cx).await?;
    let mut references = Vec::new();
    for file in [manifests("")?, manifests("external-secrets")?, manifests("gateway-chart")?].concat() {
        for object in documents(&std::fs::read_to_string(&file)?)? {
            let name = object["metadata"]["name"].as_str().unwrap_or_default();
            match object["kind"].as_str() {
                Some("AccessKey") => {
                    world.create::<AccessKey>(name, object["spec"].clone()).await?;
                    world.at_rest::<AccessKey>(name).await?;
                }
                Some("GatewayKey") => {
                    world.create::<GatewayKey>(name, object["spec"].clone()).await?;
                    world.at_rest::<GatewayKey>(name).await?;
                }
                _ => references.push((file.clone(), refers_to(&object))),
            }
        }
    }
    assert!(references.len() >= 6, "{references:?}");
    for (file, references) in references {
        ensure!(!references.is_empty(), "{} refers to no Secret", file.display());
        for reference in references {
            let data = world.data(&reference.secret).await.with_context(|| file.display().to_string())?;
            reference.is_there(&reference.secret, &data).with_context(|| file.display().to_string())?;
        }
    }
    Ok(())
}
