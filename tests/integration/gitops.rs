//! Keys in Git: what Argo CD, Flux and kustomize do to them, and what they don't.

use std::path::Path;

use anyhow::{Context as _, Result, ensure};
use keeptrusts_harness::proxy::tokens;
use keeptrusts_harness::suite::Context;
use keeptrusts_operator::resources::{AccessKey, GatewayKey, Key};
use kube::ResourceExt as _;
use kube::api::{Patch, PatchParams};
use serde_json::{Value, json};

use crate::argo;
use crate::examples::{documents, refers_to};
use crate::world::{World, condition};

const KEY: &str = "checkout";
const SECRET: &str = "checkout-keeptrusts";

/// As `kubectl apply` does, and Argo CD by default.
const CLIENT_SIDE: &[&str] = &["--validate=strict"];

/// As Flux does.
const SERVER_SIDE: &[&str] =
    &["--validate=strict", "--server-side", "--force-conflicts", "--field-manager=kustomize-controller"];

/// A manifest as it stands in Git, with what Argo CD adds to it.
fn manifest<K: Key>(spec: &Value) -> Value {
    let kind = K::kind(&());
    json!({
        "apiVersion": K::api_version(&()),
        "kind": kind,
        "metadata": {
            "name": KEY,
            "labels": {"app.kubernetes.io/instance": "shop"},
            "annotations": {"argocd.argoproj.io/tracking-id": format!("shop:keys.keeptrusts.com/{kind}:shop/{KEY}")},
        },
        "spec": spec,
    })
}

/// With text, numbers, durations, maps and lists.
fn spec(rotation: &Value) -> Value {
    let mut spec = json!({
        "token": {"name": "checkout-api", "description": "The shop", "expiresAfter": "90d"},
        "secret": {"name": SECRET, "template": {"labels": {"team": "shop"}, "data": {"OPENAI_API_KEY": "$(value)"}}},
        "rotation": {
            "every": "90d",
            "strategy": "Overlap",
            "grace": "1s",
            "windows": [{"schedule": "0 2 * * 6", "duration": "4h", "timeZone": "Europe/Berlin"}],
        },
    });
    json_patch::merge(&mut spec["rotation"], rotation);
    spec
}

async fn apply(world: &World, manifest: &Value, how: &[&str]) -> Result<String> {
    let arguments = [&["apply", "-n", world.cx.namespace.name(), "-f", "-"], how].concat();
    world.cx.cluster.kubectl().run_with_input(&arguments, &manifest.to_string()).await
}

/// A key as the API server has it.
async fn live<K: Key>(world: &World) -> Result<Value> {
    let plural = K::plural(&());
    let arguments =
        ["get", &plural, KEY, "-n", world.cx.namespace.name(), "--output=json", "--show-managed-fields"];
    Ok(serde_json::from_str(&world.cx.cluster.kubectl().run(&arguments).await?)?)
}

/// Versions of the key and its Secret: any write would show.
async fn versions<K: Key>(world: &World) -> Result<[Option<String>; 3]> {
    let key = world.keys::<K>().get(KEY).await?;
    let secret = world.secrets().get(SECRET).await?;
    let generation = key.meta().generation.map(|generation| generation.to_string());
    Ok([key.resource_version(), generation, secret.resource_version()])
}

/// What is there already is applied ten times; a change in Git does what it says, once; then ten times again.
async fn ten_times_over<K: Key>(cx: Context, how: &[&str]) -> Result<()> {
    let world = World::start(cx).await?;
    for generation in [1, 2] {
        let manifest = manifest::<K>(&spec(&json!({"generation": generation})));
        apply(&world, &manifest, how).await?;
        world
            .until::<K>(KEY, "has the generation that Git asks for", |_, status| {
                status.observed_rotation_generation == Some(generation)
            })
            .await?;
        world.at_rest::<K>(KEY).await?;
        let before = versions::<K>(&world).await?;
        for _ in 0..10 {
            apply(&world, &manifest, how).await?;
        }
        assert_eq!(versions::<K>(&world).await?, before);
        assert_eq!(i64::try_from(world.emulator.tokens().len())?, generation);
    }
    assert_eq!(world.tokens.count(&tokens::rotate()), 0);
    Ok(())
}

pub(crate) async fn a_server_side_apply_ten_times_over_changes_nothing(cx: Context) -> Result<()> {
    ten_times_over::<AccessKey>(cx, SERVER_SIDE).await
}

pub(crate) async fn nor_does_a_client_side_one(cx: Context) -> Result<()> {
    ten_times_over::<GatewayKey>(cx, CLIENT_SIDE).await
}

/// A typo in a field that can't change is refused, and the key is none the worse. What forces it deletes the key: its
/// token is revoked, and another one minted.
pub(crate) async fn force_alone_revokes_for_a_typo(cx: Context) -> Result<()> {
    let world = World::start(cx).await?;
    let good = manifest::<AccessKey>(&spec(&json!({})));
    let mut typo = good.clone();
    typo["spec"]["token"]["name"] = json!("chekcout-api");
    apply(&world, &good, CLIENT_SIDE).await?;
    world.at_rest::<AccessKey>(KEY).await?;
    let value = world.value(SECRET).await?;
    let before = versions::<AccessKey>(&world).await?;
    for how in [CLIENT_SIDE, SERVER_SIDE] {
        let refused = apply(&world, &typo, how).await.err().context("it isn't refused")?;
        ensure!(format!("{refused:#}").contains("token.name"), "{refused:#}");
    }
    assert_eq!(versions::<AccessKey>(&world).await?, before);
    assert!(world.emulator.is_alive(&value));

    // Without a time it doesn't wait at all, and gives up before the finalizer is gone.
    apply(&world, &typo, &["--force", "--timeout=30s"]).await?;
    world.at_rest::<AccessKey>(KEY).await?;
    assert!(!world.emulator.is_alive(&value));
    assert_eq!(world.emulator.tokens().len(), 2);
    Ok(())
}

async fn in_sync<K: Key>(world: &World, git: &Value, so: bool) -> Result<()> {
    let live = live::<K>(world).await?;
    ensure!(argo::is_out_of_sync(git, &live)? != so, "in sync: {}: {live}", !so);
    Ok(())
}

/// Does what a person does in Argo CD's user interface.
async fn act<K: Key>(world: &World, action: &str) -> Result<()> {
    let live = live::<K>(world).await?;
    let offered = argo::actions(&live)?;
    ensure!(offered.iter().any(|it| it == action), "{action} isn't offered: {offered:?}");
    let patch = Patch::Merge(argo::action(action, &live)?);
    world.keys::<K>().patch(KEY, &PatchParams::default(), &patch).await?;
    Ok(())
}

/// Nothing that the operator writes and no action makes a key `OutOfSync`, where Git leaves to people what actions set.
/// And each action does what it says.
pub(crate) async fn argo_cds_actions_leave_a_key_in_sync(cx: Context) -> Result<()> {
    let world = World::start(cx).await?;
    let git = manifest::<AccessKey>(&spec(&json!({})));
    apply(&world, &git, CLIENT_SIDE).await?;
    world.at_rest::<AccessKey>(KEY).await?;
    in_sync::<AccessKey>(&world, &git, true).await.context("ready")?;
    let first = world.value(SECRET).await?;

    act::<AccessKey>(&world, "rotate").await?;
    let rotated = |_: &AccessKey, status: &keeptrusts_operator::resources::KeyStatus| {
        status.observed_rotation_generation == Some(1) && status.operation.is_none()
    };
    world.until::<AccessKey>(KEY, "is rotated", rotated).await?;
    world.at_rest::<AccessKey>(KEY).await?;
    let second = world.value(SECRET).await?;
    assert!(second != first && world.tokens.count(&tokens::rotate()) == 0, "by its strategy: an overlap");
    in_sync::<AccessKey>(&world, &git, true).await.context("rotated")?;

    act::<AccessKey>(&world, "suspend").await?;
    in_sync::<AccessKey>(&world, &git, true).await.context("suspended")?;
    assert_eq!(argo::actions(&live::<AccessKey>(&world).await?)?, ["resume"]);
    world.change::<AccessKey>(KEY, json!({"rotation": {"generation": 2}})).await?;
    world.reason::<AccessKey>(KEY, "RotationPending").await?;
    assert_eq!(world.value(SECRET).await?, second);

    act::<AccessKey>(&world, "resume").await?;
    world
        .until::<AccessKey>(KEY, "goes on", |_, status| status.observed_rotation_generation == Some(2))
        .await?;
    world.at_rest::<AccessKey>(KEY).await?;
    let third = world.value(SECRET).await?;
    assert_ne!(third, second);

    act::<AccessKey>(&world, "rotate-now").await?;
    world.until::<AccessKey>(KEY, "is rotated at once", |_, it| it.observed_rotate_now.is_some()).await?;
    world.at_rest::<AccessKey>(KEY).await?;
    assert!(!world.emulator.is_alive(&third));
    assert_eq!(world.tokens.count(&tokens::rotate()), 1);
    in_sync::<AccessKey>(&world, &git, true).await.context("rotated at once")?;
    world.one_living::<AccessKey>(KEY, SECRET, 3).await?;

    // Argo CD takes for its own what bears its marks, and would prune it.
    let secret = world.secrets().get(SECRET).await?;
    let marks = secret.labels().keys().chain(secret.annotations().keys());
    let marks: Vec<_> = marks
        .filter(|mark| mark.starts_with("app.kubernetes.io/instance") || mark.contains("argo"))
        .collect();
    assert!(marks.is_empty(), "{marks:?}");
    Ok(())
}

/// Where Git names the generation, an action is undone by self-healing, and the way back costs nothing.
pub(crate) async fn what_git_says_is_put_back_without_a_rotation(cx: Context) -> Result<()> {
    let world = World::start(cx).await?;
    let git = manifest::<GatewayKey>(&spec(&json!({"generation": 1})));
    apply(&world, &git, CLIENT_SIDE).await?;
    world.at_rest::<GatewayKey>(KEY).await?;
    act::<GatewayKey>(&world, "rotate").await?;
    in_sync::<GatewayKey>(&world, &git, false).await?;
    world.until::<GatewayKey>(KEY, "is rotated", |_, it| it.observed_rotation_generation == Some(2)).await?;
    world.at_rest::<GatewayKey>(KEY).await?;
    let value = world.value(SECRET).await?;
    apply(&world, &git, CLIENT_SIDE).await?;
    in_sync::<GatewayKey>(&world, &git, true).await?;
    world
        .until::<GatewayKey>(KEY, "says which number comes next", |_, status| {
            condition(status, "Ready").is_some_and(|ready| ready.message.contains("set it to 3"))
        })
        .await?;
    assert_eq!(world.value(SECRET).await?, value);
    assert_eq!(argo::health(&live::<GatewayKey>(&world).await?)?, "Healthy");
    Ok(())
}

/// The example, or one that was made of it, as kustomize builds it.
async fn kustomize(world: &World, from: &Path) -> Result<Vec<Value>> {
    let text = world
        .cx
        .cluster
        .kubectl()
        .run(&["kustomize", from.to_str().context("a path that isn't text")?])
        .await?;
    documents(&text)
}

pub(crate) async fn kustomize_renames_what_refers_to_a_key(cx: Context) -> Result<()> {
    const NAME: &str = "eu-checkout-blue";
    let world = World::start(cx).await?;
    let example = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/kustomize");
    let built = kustomize(&world, &example).await?;
    for object in &built {
        apply(&world, object, CLIENT_SIDE).await?;
    }
    world.at_rest::<AccessKey>(NAME).await?;
    let data = world.data(NAME).await?;
    let references: Vec<_> = built.iter().flat_map(refers_to).collect();
    assert_eq!(references.len(), 2, "{references:?}");
    for reference in references {
        reference.is_there(NAME, &data)?;
    }
    let key = built.iter().find(|object| object["kind"] == "AccessKey").context("no key")?;
    assert_eq!(key["spec"]["workloads"]["refs"][0]["name"], NAME);

    // Without the configuration the Deployment asks for a Secret that nobody makes.
    let copy = world.cx.dir.join("kustomize");
    std::fs::create_dir_all(&copy)?;
    let change = |file: &str, from: &str, to: &str| -> Result<()> {
        let text = std::fs::read_to_string(example.join(file))?;
        ensure!(text.contains(from), "{file} hasn't '{from}'");
        Ok(std::fs::write(copy.join(file), text.replacen(from, to, 1))?)
    };
    change("kustomization.yaml", "configurations:\n  - keeptrusts.yaml\n", "")?;
    change("keeptrusts.yaml", "", "")?;
    change("checkout.yaml", "", "")?;
    let names = async || -> Result<Vec<String>> {
        Ok(kustomize(&world, &copy).await?.iter().flat_map(refers_to).map(|it| it.secret).collect())
    };
    assert_eq!(names().await?, ["checkout", "checkout"]);

    // A Secret with a name of its own keeps it, everywhere.
    change("kustomization.yaml", "", "")?;
    change("checkout.yaml", "spec:\n  rotation:", "spec:\n  secret: {name: shared}\n  rotation:")?;
    let text = std::fs::read_to_string(copy.join("checkout.yaml"))?;
    let text = text.replace("name: checkout\n                  key:", "name: shared\n                  key:");
    std::fs::write(copy.join("checkout.yaml"), text.replace("secretName: checkout", "secretName: shared"))?;
    assert_eq!(names().await?, ["shared", "shared"]);
    let built = kustomize(&world, &copy).await?;
    let key = built.iter().find(|object| object["kind"] == "AccessKey").context("no key")?;
    assert_eq!((&key["metadata"]["name"], &key["spec"]["secret"]["name"]), (&json!(NAME), &json!("shared")));
    Ok(())
}
