//! Tokens whose resource is gone: told by the operator, listed and revoked by the command.

use std::process::Stdio;
use std::sync::Arc;

use anyhow::{Context as _, Result, bail, ensure};
use k8s_openapi::api::core::v1::Namespace;
use k8s_openapi::api::events::v1::Event;
use keeptrusts_emulator::{NewToken, Operation, Token, TokenType};
use keeptrusts_harness::suite::Context;
use keeptrusts_harness::{ControlPlane, Options, TestNamespace, eventually};
use keeptrusts_operator::lifecycle::naming::{Installation, OperationId, Owner, Place, Tag, UidTag};
use keeptrusts_operator::resources::{AccessKey, FINALIZER, GatewayKey, Key as _, KeyKind};
use kube::api::{Api, DeleteParams, Patch, PatchParams};
use serde_json::{Value, json};
use tokio::process::Command;

use crate::world::{SOON, Setup, World};

impl World {
    /// A token that a resource of this installation would have had, made where nobody noticed.
    pub(crate) async fn late_token(&self, kind: KeyKind, resource: &str, uid: &str) -> Result<Token> {
        let namespaces: Api<Namespace> = Api::all(self.cx.client());
        let cluster = namespaces.get("kube-system").await?.metadata.uid.context("kube-system has no uid")?;
        let namespace = self.cx.namespace.name();
        let owner = Owner {
            installation: Installation::new(&cluster, namespace),
            place: Place::new(kind, namespace, resource),
            uid: UidTag::new(uid),
        };
        let name = Tag { owner, operation: OperationId::from_random([3; 10]) }.name(resource, 63);
        let token_type = match kind {
            KeyKind::Access => TokenType::Access,
            KeyKind::Gateway => TokenType::Gateway,
        };
        Ok(self.emulator.create_elsewhere(NewToken::new(&name, token_type))?)
    }

    /// Runs `keeptrusts-operator orphans`; gives what it printed and whether it succeeded.
    async fn orphans(&self, arguments: &[&str]) -> Result<(bool, String, String)> {
        let credential = self.cx.dir.join("credential");
        std::fs::write(&credential, self.emulator.credential())?;
        let output = Command::new(env!("CARGO_BIN_EXE_keeptrusts-operator"))
            .arg("orphans")
            .args(arguments)
            .env("KUBECONFIG", self.cx.cluster.kubeconfig())
            .env("KEEPTRUSTS_API_URL", self.emulator.url())
            .env("KEEPTRUSTS_API_TOKEN_FILE", &credential)
            .env("KEEPTRUSTS_INSTANCE", self.cx.namespace.name())
            .stdin(Stdio::null())
            .output()
            .await?;
        let text = |bytes| String::from_utf8_lossy(bytes).into_owned();
        Ok((output.status.success(), text(&output.stdout), text(&output.stderr)))
    }

    /// The ids that the command lists.
    async fn listed(&self) -> Result<Vec<String>> {
        let (success, out, error) = self.orphans(&["list", "--output", "json"]).await?;
        ensure!(success, "{error}");
        let rows: Vec<Value> = serde_json::from_str(&out)?;
        Ok(rows.iter().filter_map(|row| row["id"].as_str().map(ToOwned::to_owned)).collect())
    }
}

pub(crate) async fn the_command_lists_and_revokes_orphans_alone(cx: Context) -> Result<()> {
    let mut world = World::start(cx).await?;
    world.create::<AccessKey>("lives", json!({})).await?;
    world.create::<AccessKey>("kept", json!({"deletionPolicy": "Retain"})).await?;
    world.create::<GatewayKey>("dropped", json!({})).await?;
    let lives = world.at_rest::<AccessKey>("lives").await?.token.context("no token")?.id;
    let kept = world.at_rest::<AccessKey>("kept").await?.token.context("no token")?.id;
    let dropped = world.at_rest::<GatewayKey>("dropped").await?.token.context("no token")?.id;
    let people = world.emulator.create_elsewhere(NewToken::new("by-hand", TokenType::Access))?.id;
    world.delete::<AccessKey>("kept", &DeleteParams::default()).await?;
    let (success, out, error) = world.orphans(&["list"]).await?;
    ensure!(success && out.contains("There are no orphans"), "{out}{error}");

    // A resource that goes without its finalizer, by force; and a call that arrived after everything.
    world.operator.kill()?;
    let keys = world.keys::<GatewayKey>();
    let patch = Patch::Merge(json!({"metadata": {"finalizers": null}}));
    keys.patch("dropped", &PatchParams::default(), &patch).await?;
    keys.delete("dropped", &DeleteParams::default()).await?;
    let late = world.late_token(KeyKind::Access, "gone", "uid-of-the-gone").await?.id;
    let mut found = world.listed().await?;
    let mut orphans = vec![late.clone(), dropped.clone()];
    found.sort();
    orphans.sort();
    ensure!(found == orphans, "{found:?}");

    // Whatever isn't an orphan is refused, whoever names it, and nothing of the same call is revoked.
    for (id, why) in [
        (&lives, "belongs to AccessKey"),
        (&kept, "belongs to the retained Secret"),
        (&people, "isn't a token of this installation"),
        (&"tok_none".to_owned(), "isn't a token of this installation"),
    ] {
        let (success, _, error) = world.orphans(&["revoke", "--yes", "--id", &late, "--id", id]).await?;
        ensure!(!success && error.contains(why), "{id}: {error}");
    }
    let (success, _, error) = world.orphans(&["revoke", "--id", &late]).await?;
    ensure!(!success && error.contains("--yes"), "it must not revoke unasked: {error}");
    ensure!(world.living().len() == 5, "{:?}", world.living());

    let (success, out, error) = world.orphans(&["revoke", "--yes", "--id", &late, "--id", &dropped]).await?;
    ensure!(success && out.matches("revoked").count() == 2, "{out}{error}");
    ensure!(world.listed().await?.is_empty());
    let left: Vec<_> = world.living().into_iter().map(|token| token.id).collect();
    ensure!(left.len() == 3 && [&lives, &kept, &people].iter().all(|id| left.contains(id)), "{left:?}");
    Ok(())
}

/// An operator that watches all namespaces has to have a cluster of its own here.
pub(crate) async fn the_operator_tells_of_an_orphan_once_and_leaves_it_alone(cx: Context) -> Result<()> {
    let crds = concat!(env!("CARGO_MANIFEST_DIR"), "/crds");
    let cluster = Arc::new(ControlPlane::start(Options::default().crds(crds)).await?);
    let namespace = TestNamespace::create(cluster.client(), &cx.name).await?;
    let cx = Context { cluster, namespace, dir: cx.dir, name: cx.name };
    let world = Setup::new().values(&json!({"watchNamespaces": []})).start(cx).await?;
    world.create::<AccessKey>("lives", json!({})).await?;
    let lives = world.at_rest::<AccessKey>("lives").await?.token.context("no token")?.id;
    let late = world.late_token(KeyKind::Access, "gone", "uid-of-the-gone").await?.id;
    let told = async || {
        let events: Api<Event> = Api::all(world.cx.client());
        let events = events.list(&kube::api::ListParams::default()).await?.items;
        anyhow::Ok(
            events.into_iter().filter(|event| event.reason.as_deref() == Some("Orphan")).collect::<Vec<_>>(),
        )
    };
    eventually(SOON, "the orphan is told", async || match told().await?.as_slice() {
        [] => bail!("no event"),
        [event] => {
            let note = event.note.as_deref().unwrap_or_default();
            let about = event.regarding.as_ref().and_then(|regarding| regarding.kind.as_deref());
            ensure!(note.contains(&late) && about == Some("Lease"), "{about:?} {note}");
            Ok(())
        }
        events => bail!("{} events", events.len()),
    })
    .await?;
    // Three more lists, and it isn't told again; a new one is.
    let lists = world.emulator.counts().of(Operation::List);
    world.emulator.until(|emulator| emulator.counts().of(Operation::List) >= lists + 6).await;
    let another = world.late_token(KeyKind::Gateway, "gone", "uid-of-the-gone").await?.id;
    eventually(SOON, "the other orphan is told", async || {
        let notes: Vec<_> = told().await?.into_iter().filter_map(|event| event.note).collect();
        ensure!(notes.len() == 2 && notes.iter().any(|note| note.contains(&another)), "{notes:?}");
        Ok(())
    })
    .await?;
    let living: Vec<_> = world.living().into_iter().map(|token| token.id).collect();
    ensure!([&lives, &late, &another].iter().all(|id| living.contains(id)), "{living:?}");
    let key = world.keys::<AccessKey>().get("lives").await?;
    ensure!(key.metadata.finalizers == Some(vec![FINALIZER.to_owned()]), "{:?}", key.status());
    Ok(())
}

/// What isn't ours is read and forgotten. Who keeps what a list tells of a token keeps more than two hundred bytes.
pub(crate) async fn a_list_of_fifty_thousand_tokens_takes_no_room(cx: Context) -> Result<()> {
    const TOKENS: u32 = 50_000;
    const PAGE: u32 = 1_000;
    let world = World::start(cx).await?;
    world.emulator.behaviour(|it| it.lists.page_size = Some(PAGE));
    world.create::<AccessKey>("one-of-many", json!({})).await?;
    world.at_rest::<AccessKey>("one-of-many").await?;
    let before = peak(world.operator.pid())?;
    for number in 0..TOKENS {
        let name = format!("{number:06}-{}", "made-by-somebody-else-".repeat(2));
        world.emulator.create_elsewhere(NewToken::new(&name, TokenType::Access))?;
    }
    // So many pages that at least one list of all of them was read to its end.
    let asked = world.emulator.counts().of(Operation::List);
    let enough = asked + 3 * u64::from(TOKENS / PAGE);
    world.emulator.until(|emulator| emulator.counts().of(Operation::List) >= enough).await;
    let grown = peak(world.operator.pid())?.saturating_sub(before);
    ensure!(
        grown < u64::from(TOKENS) * 100,
        "the operator grew by {grown} bytes over {TOKENS} tokens that aren't its own"
    );
    Ok(())
}

/// The most memory that a process has had, in bytes.
fn peak(pid: u32) -> Result<u64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).context("no VmHWM")?;
    Ok(line.trim().trim_end_matches("kB").trim().parse::<u64>()? * 1_024)
}
