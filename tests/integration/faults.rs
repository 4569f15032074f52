//! Every step of every operation, with every fault: the operator killed before and after it (SIGKILL), the request or the
//! answer lost, a conflict, a call that arrives late. Whatever happens, one token lives in the end and its value is in
//! the Secret (I1, I2), or, after a deletion, none does (I1); and no more tokens are made than outcomes were unknown (I8).

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use keeptrusts_harness::proxy::{steps, tokens};
use keeptrusts_harness::suite::Context;
use keeptrusts_harness::{Match, Proxy, Rule, eventually};
use keeptrusts_operator::resources::{AccessKey, GatewayKey, Key};
use kube::api::DeleteParams;
use serde_json::json;

use crate::world::{SOON, World, ready_since};

/// What a key goes through when the fault strikes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Flow {
    Mint,
    Rotate,
    Overlap,
    Repair,
    Delete,
    Retain,
}

/// Where the request goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Server {
    Kubernetes,
    Tokens,
}

/// A step of a flow, found by the request that it makes.
struct Step {
    name: &'static str,
    server: Server,
    request: fn(key: &str) -> Match,
    /// Tokens made beyond those of a life without faults, when the fault strikes before the server has done it.
    before: usize,
    /// And when it strikes after that.
    after: usize,
}

/// What goes wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fault {
    KilledBefore,
    KilledAfter,
    LostBefore,
    LostAfter,
    Conflict,
    /// The operator is killed; its call arrives when the next one is at work.
    Late,
    /// As before, but the call arrives when the next one has recovered.
    VeryLate,
    /// The answer comes when nobody waits for it any more.
    Slow,
}

/// Longer than the operator waits for an answer.
const TOO_SLOW: Duration = Duration::from_secs(3);

const fn step(
    name: &'static str,
    server: Server,
    request: fn(&str) -> Match,
    before: usize,
    after: usize,
) -> Step {
    Step { name, server, request, before, after }
}

fn create_call(key: &str) -> Match {
    let head = format!("{key}-kt1-");
    tokens::create().and(Match::body("of the key", move |body| {
        body["name"].as_str().is_some_and(|name| name.starts_with(&head))
    }))
}

/// The steps from the dry run to the commit, for a call that makes a token.
fn creating() -> Vec<Step> {
    use Server::{Kubernetes, Tokens};
    vec![
        step("dry run", Kubernetes, steps::dry_run, 0, 0),
        step("intent", Kubernetes, steps::intent, 0, 0),
        step("create", Tokens, create_call, 0, 1),
        step("write of the Secret", Kubernetes, steps::secret_write, 1, 0),
        step("commit", Kubernetes, steps::commit, 0, 0),
    ]
}

fn steps_of(flow: Flow) -> Vec<Step> {
    use Server::{Kubernetes, Tokens};
    match flow {
        Flow::Mint => {
            let mut all = vec![step("finalizer", Kubernetes, steps::finalizer_patch, 0, 0)];
            all.extend(creating());
            all
        }
        // A rotation that is recorded may have happened: the next token is a new one.
        Flow::Rotate => vec![
            step("dry run", Kubernetes, steps::dry_run, 0, 0),
            step("intent", Kubernetes, steps::intent, 0, 1),
            step("rotate", Tokens, |_| tokens::rotate(), 1, 1),
            step("write of the Secret", Kubernetes, steps::secret_write, 1, 0),
            step("commit", Kubernetes, steps::commit, 0, 0),
        ],
        Flow::Overlap | Flow::Repair => {
            let mut all = creating();
            all.push(step("revocation", Tokens, |_| tokens::revoke(), 0, 0));
            all
        }
        Flow::Delete => vec![
            step("list", Tokens, |_| tokens::list(), 0, 0),
            step("revocation", Tokens, |_| tokens::revoke(), 0, 0),
            step("removal of the finalizer", Kubernetes, steps::finalizer_removal, 0, 0),
        ],
        Flow::Retain => vec![
            step("mark of the Secret", Kubernetes, steps::secret_mark, 0, 0),
            step("removal of the finalizer", Kubernetes, steps::finalizer_removal, 0, 0),
        ],
    }
}

fn faults_of(step: &Step) -> Vec<Fault> {
    use Fault::{Conflict, KilledAfter, KilledBefore, Late, LostAfter, LostBefore, Slow, VeryLate};
    let mut all = vec![KilledBefore, KilledAfter, LostBefore, LostAfter];
    match step.server {
        Server::Kubernetes => all.push(Conflict),
        Server::Tokens => all.extend([Late, VeryLate, Slow]),
    }
    all
}

impl Step {
    /// How many tokens more than without faults are made at most.
    fn extra(&self, fault: Fault) -> usize {
        match fault {
            Fault::KilledBefore => self.before,
            Fault::KilledAfter | Fault::Slow => self.after,
            // An operator that lives tries again whatever it may; only a call to make a token it may not.
            Fault::LostBefore if self.server == Server::Tokens => self.before,
            Fault::LostAfter if self.server == Server::Tokens => self.after,
            // An intent whose answer is lost is closed, and its call never made.
            Fault::LostBefore | Fault::LostAfter | Fault::Conflict => 0,
            Fault::Late | Fault::VeryLate => 1,
        }
    }
}

pub(crate) async fn during_a_mint(cx: Context) -> Result<()> {
    every_fault::<AccessKey>(cx, Flow::Mint).await
}

pub(crate) async fn during_the_mint_of_a_gateway_key(cx: Context) -> Result<()> {
    every_fault::<GatewayKey>(cx, Flow::Mint).await
}

pub(crate) async fn during_a_rotation(cx: Context) -> Result<()> {
    every_fault::<AccessKey>(cx, Flow::Rotate).await
}

pub(crate) async fn during_an_overlap(cx: Context) -> Result<()> {
    every_fault::<AccessKey>(cx, Flow::Overlap).await
}

pub(crate) async fn during_a_repair(cx: Context) -> Result<()> {
    every_fault::<AccessKey>(cx, Flow::Repair).await
}

pub(crate) async fn during_a_deletion(cx: Context) -> Result<()> {
    every_fault::<AccessKey>(cx, Flow::Delete).await
}

pub(crate) async fn during_a_deletion_that_retains(cx: Context) -> Result<()> {
    every_fault::<AccessKey>(cx, Flow::Retain).await
}

async fn every_fault<K: Key>(cx: Context, flow: Flow) -> Result<()> {
    let mut world = World::start(cx).await?;
    for (number, step) in steps_of(flow).iter().enumerate() {
        for (letter, fault) in ('a'..).zip(faults_of(step)) {
            let key = format!("key-{number}{letter}");
            strike::<K>(&mut world, &key, flow, step, fault)
                .await
                .with_context(|| format!("{flow:?}, {fault:?} at the {} of {key}", step.name))?;
        }
    }
    Ok(())
}

/// Lets one fault strike one key, and looks at what is left.
async fn strike<K: Key>(world: &mut World, key: &str, flow: Flow, step: &Step, fault: Fault) -> Result<()> {
    let policy = if flow == Flow::Retain { "Retain" } else { "Revoke" };
    let strategy = if flow == Flow::Overlap { "Overlap" } else { "InPlace" };
    let spec = json!({"deletionPolicy": policy, "rotation": {"grace": "1s", "strategy": strategy}});
    let mut since = None;
    if flow != Flow::Mint {
        world.create::<K>(key, spec.clone()).await?;
        since = Some(ready_since(&world.at_rest::<K>(key).await?)?);
    }
    let rule = Rule::on((step.request)(key));
    let rule = match fault {
        Fault::KilledBefore | Fault::Late | Fault::VeryLate => rule.hold_before(),
        Fault::KilledAfter => rule.hold_after(),
        Fault::LostBefore => rule.cut_before(),
        Fault::LostAfter => rule.cut_after(),
        Fault::Conflict => rule.conflict(),
        Fault::Slow => rule.delay_answer(TOO_SLOW),
    };
    let handle = proxy(world, step).add(rule);
    match flow {
        Flow::Mint => drop(world.create::<K>(key, spec).await?),
        Flow::Rotate | Flow::Overlap => {
            drop(world.change::<K>(key, json!({"rotation": {"generation": 1}})).await?);
        }
        Flow::Repair => drop(world.secrets().delete(key, &DeleteParams::default()).await?),
        Flow::Delete | Flow::Retain => drop(world.keys::<K>().delete(key, &DeleteParams::default()).await?),
    }
    handle.reached(SOON).await?;
    if !matches!(fault, Fault::LostBefore | Fault::LostAfter | Fault::Conflict | Fault::Slow) {
        world.operator.kill()?;
        world.operator.restart()?;
        world.operator.wait_ready(SOON).await?;
    }
    match fault {
        Fault::KilledBefore | Fault::KilledAfter => handle.discard(),
        Fault::Late => handle.release(),
        Fault::VeryLate => {
            match flow {
                Flow::Delete | Flow::Retain => world.gone::<K>(key).await?,
                Flow::Mint | Flow::Rotate | Flow::Overlap | Flow::Repair => {
                    drop(world.ready::<K>(key).await?);
                }
            }
            handle.release();
            handle.finished(SOON).await?;
        }
        Fault::LostBefore | Fault::LostAfter | Fault::Conflict | Fault::Slow => {}
    }
    aftermath::<K>(world, key, flow, step.extra(fault)).await?;
    if flow == Flow::Overlap {
        ensure!(Some(ready_since(&world.at_rest::<K>(key).await?)?) == since, "it wasn't ready all the time");
    }
    Ok(())
}

fn proxy<'a>(world: &'a World, step: &Step) -> &'a Proxy {
    match step.server {
        Server::Kubernetes => &world.kubernetes,
        Server::Tokens => &world.tokens,
    }
}

/// What must be so in the end.
async fn aftermath<K: Key>(world: &World, key: &str, flow: Flow, extra: usize) -> Result<()> {
    let base = if matches!(flow, Flow::Overlap | Flow::Repair) { 2 } else { 1 };
    match flow {
        Flow::Delete => {
            world.gone::<K>(key).await?;
            ensure!(living(world, key).is_empty(), "{:?} live on", living(world, key));
        }
        Flow::Retain => {
            world.gone::<K>(key).await?;
            let value = world.value(key).await?;
            ensure!(world.emulator.is_alive(&value), "the retained value is dead");
            ensure!(living(world, key).len() == 1, "{:?} live", living(world, key));
        }
        Flow::Mint | Flow::Rotate | Flow::Overlap | Flow::Repair => {
            let generation = i64::from(matches!(flow, Flow::Rotate | Flow::Overlap));
            eventually(SOON, "one token lives, and its value is in the Secret", async || {
                let status = world.at_rest::<K>(key).await?;
                ensure!(status.observed_rotation_generation == Some(generation), "{status:?}");
                let named = status.token.map(|token| token.id);
                let living = living(world, key);
                ensure!(
                    living.len() == 1 && named.as_ref() == living.first(),
                    "{living:?} live, {named:?} is named"
                );
                ensure!(world.emulator.is_alive(&world.value(key).await?), "the Secret's value is dead");
                Ok(())
            })
            .await?;
        }
    }
    let made = world.emulator.tokens().iter().filter(|token| is_of(&token.name, key)).count();
    ensure!(made <= base + extra, "{made} tokens were made; at most {} may be", base + extra);
    Ok(())
}

fn is_of(name: &str, key: &str) -> bool {
    name.starts_with(&format!("{key}-kt1-"))
}

fn living(world: &World, key: &str) -> Vec<String> {
    world.living().into_iter().filter(|token| is_of(&token.name, key)).map(|token| token.id).collect()
}
