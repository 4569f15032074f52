//! What people do to keys, Secrets and namespaces. Somebody who gets no answer tries again for a while; what isn't there any more, or is
//! in somebody else's hands, is left alone and counted as skipped.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{Namespace, Secret};
use keeptrusts_emulator::{Effect, Fault, Operation};
use keeptrusts_operator::resources::ROTATE_NOW;
use kube::api::{Api, DeleteParams, DynamicObject, Patch, PatchParams, PostParams};
use serde_json::{Value, json};
use tokio::sync::OwnedMutexGuard;

use crate::keys::{Key, Now};
use crate::kinds::{TOKEN_ID, annotation, keys, secret_key, secret_name, status};
use crate::plan::{Act, keeps_old};
use crate::pods::deployments;
use crate::stage::{Stage, make_namespace, namespace};

/// How long somebody tries: longer than the API server is ever away.
const PATIENCE: Duration = Duration::from_secs(40);

/// What must be done in the end, or the run can't be judged.
const STUBBORN: Duration = Duration::from_mins(15);

/// One request. A frozen etcd answers later, or never.
const REQUEST: Duration = Duration::from_secs(5);

/// The shortest schedule that there is, how old it finds the value, how long it stands, and how often it has come at most by the time
/// that its end is noticed.
const EVERY: &str = "10m";
const AGE: SignedDuration = SignedDuration::from_hours(1);
const SCHEDULED: Duration = Duration::from_secs(8);
const COMES: usize = 8;

/// How long tokens live to which the token API gives an end, in seconds, how long it does so, and how often they are renewed at most by
/// then. No spec can ask for a life as short.
const LIFE: u32 = 12;
const EXPIRING: Duration = Duration::from_secs(14);
const RENEWALS: usize = 4;

/// How long a Deployment is paused.
const PAUSED: Duration = Duration::from_secs(6);

/// Between two attempts, and two looks.
const PAUSE: Duration = Duration::from_millis(300);

/// Why something wasn't done.
pub(crate) enum Undone {
    /// What it was about isn't there, or not in a state for it.
    Skipped(String),
    /// The API server refused it, or was away for longer than planned: this program's fault.
    Failed(String),
}

impl fmt::Display for Undone {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Skipped(why) => write!(f, "skipped: {why}"),
            Self::Failed(why) => write!(f, "failed: {why}"),
        }
    }
}

type Done<T = ()> = Result<T, Undone>;

/// Tries until there is an answer.
async fn persist<T>(patience: Duration, attempt: impl AsyncFn() -> kube::Result<T>) -> Done<T> {
    let start = Instant::now();
    loop {
        let error = match tokio::time::timeout(REQUEST, attempt()).await {
            Ok(Ok(answer)) => return Ok(answer),
            Ok(Err(kube::Error::Api(status))) if status.code == 404 => {
                return Err(Undone::Skipped("not there".into()));
            }
            Ok(Err(kube::Error::Api(status))) if status.code == 403 => {
                return Err(Undone::Skipped(format!("forbidden: {}", status.message)));
            }
            Ok(Err(kube::Error::Api(status))) if status.code == 422 || status.code == 400 => {
                return Err(Undone::Failed(status.message.clone()));
            }
            Ok(Err(error)) => error.to_string(),
            Err(_) => "no answer".into(),
        };
        if start.elapsed() > patience {
            return Err(Undone::Skipped(format!("the API server was away: {error}")));
        }
        tokio::time::sleep(PAUSE).await;
    }
}

/// A key in somebody's hands.
struct Held<'a> {
    stage: &'a Stage,
    key: &'a Key,
    now: OwnedMutexGuard<Now>,
}

/// Somebody does something to a key.
pub(crate) async fn act(stage: &Stage, key: usize, act: Act) -> Done {
    let key = &stage.keys[key];
    let busy = || Undone::Skipped("in other hands".into());
    let now = Arc::clone(&key.now).try_lock_owned().map_err(|_| busy())?;
    let mut held = Held { stage, key, now };
    match act {
        Act::DeleteSecret => held.delete_secret().await,
        Act::EditValue => held.edit_value().await,
        Act::AnnotateSecret => held.annotate_secret().await,
        Act::StripLabel => held.strip_label().await,
        Act::WipeStatus => held.wipe_status().await,
        Act::EditTemplate => held.edit_template().await,
        Act::EditDescription => held.edit_description().await,
        Act::Rotate => held.rotate().await,
        Act::RotateInAHurry => held.rotate_in_a_hurry().await,
        Act::RotateNow => held.rotate_now().await,
        Act::Schedule => held.schedule().await,
        Act::Expire => held.expire().await,
        Act::PauseWorkload => held.pause_workload().await,
        Act::Delete { foreground } => held.delete(foreground).await,
        Act::Retain => held.retain().await,
        Act::RevokeInConsole | Act::RotateInConsole => held.in_console(act).await,
    }
}

/// Makes a key for the first time.
pub(crate) async fn make(stage: &Stage, key: usize) -> Done {
    let key = &stage.keys[key];
    let now = Arc::clone(&key.now).lock_owned().await;
    Held { stage, key, now }.create().await
}

/// Somebody deletes a namespace, and makes it again with its keys.
pub(crate) async fn delete_namespace(stage: &Stage, number: usize) -> Done {
    let name = namespace(number);
    let mut all = Vec::new();
    for key in stage.keys.iter().filter(|key| key.namespace == name) {
        let now = Arc::clone(&key.now).try_lock_owned();
        let now = now.map_err(|_| Undone::Skipped("a key is in other hands".into()))?;
        all.push(Held { stage, key, now });
    }
    let api: Api<Namespace> = Api::all(stage.client.clone());
    persist(PATIENCE, async || api.delete(&name, &DeleteParams::default()).await).await?;
    gone(async || api.get(&name).await.map(|_| ())).await?;
    persist(STUBBORN, async || match make_namespace(&stage.client, &name).await {
        Err(error) => match error.downcast::<kube::Error>() {
            Ok(kube::Error::Api(status)) if status.code == 409 => Ok(()),
            Ok(error) => Err(error),
            Err(_) => Ok(()),
        },
        Ok(()) => Ok(()),
    })
    .await?;
    for mut held in all {
        held.now.generation = 0;
        held.create().await?;
    }
    Ok(())
}

/// Waits until something is gone.
async fn gone(get: impl AsyncFn() -> kube::Result<()>) -> Done {
    let start = Instant::now();
    while start.elapsed() < STUBBORN {
        match persist(STUBBORN, async || get().await).await {
            Ok(()) => tokio::time::sleep(PAUSE).await,
            Err(Undone::Skipped(_)) => return Ok(()),
            Err(failed) => return Err(failed),
        }
    }
    Err(Undone::Failed(format!("still there after {STUBBORN:?}")))
}

impl Held<'_> {
    fn api(&self) -> Api<DynamicObject> {
        keys(&self.stage.client, self.key.kind, Some(&self.key.namespace))
    }

    fn secrets(&self) -> Api<Secret> {
        Api::namespaced(self.stage.client.clone(), &self.key.namespace)
    }

    fn name(&self) -> String {
        self.key.name(&self.now)
    }

    fn because(&self, reason: &'static str) {
        self.stage.record().reason(reason);
    }

    async fn get(&self) -> Done<DynamicObject> {
        let (api, name) = (self.api(), self.name());
        persist(PATIENCE, async || api.get(&name).await).await
    }

    async fn create(&mut self) -> Done {
        let body: DynamicObject = serde_json::from_value(self.key.manifest(&self.now))
            .map_err(|error| Undone::Failed(error.to_string()))?;
        let api = self.api();
        // One whose answer was lost is there already.
        persist(STUBBORN, async || match api.create(&PostParams::default(), &body).await {
            Err(kube::Error::Api(status)) if status.code == 409 => Ok(()),
            answer => answer.map(drop).map_err(not_there_yet),
        })
        .await?;
        self.because("keys made");
        self.deploy().await
    }

    /// The Deployment that uses it; one that is there takes the value from the Secret of this life.
    async fn deploy(&self) -> Done {
        let Some(body) = self.key.workload(&self.now) else { return Ok(()) };
        let api = self.deployments();
        let name = self.key.app().unwrap_or_default();
        let params = PatchParams::apply("keeptrusts-chaos").force();
        persist(STUBBORN, async || {
            api.patch(&name, &params, &Patch::Apply(&body)).await.map_err(not_there_yet)
        })
        .await
        .map(drop)
    }

    fn deployments(&self) -> Api<Deployment> {
        deployments(&self.stage.client, &self.key.namespace)
    }

    async fn change(&self, patch: Value) -> Done {
        self.change_within(PATIENCE, patch).await
    }

    async fn change_within(&self, patience: Duration, patch: Value) -> Done {
        let (api, name) = (self.api(), self.name());
        let patch = Patch::Merge(patch);
        persist(patience, async || api.patch(&name, &PatchParams::default(), &patch).await).await?;
        Ok(())
    }

    async fn change_secret(&self, patch: Value) -> Done {
        let (api, name) = (self.secrets(), secret_name(&self.get().await?));
        let patch = Patch::Merge(patch);
        persist(PATIENCE, async || api.patch(&name, &PatchParams::default(), &patch).await).await?;
        Ok(())
    }

    async fn delete_secret(&self) -> Done {
        let (api, name) = (self.secrets(), secret_name(&self.get().await?));
        persist(PATIENCE, async || api.delete(&name, &DeleteParams::default()).await).await?;
        self.because("Secrets deleted");
        Ok(())
    }

    async fn edit_value(&mut self) -> Done {
        self.now.edits += 1;
        let entry = secret_key(&self.get().await?).to_owned();
        let forged = format!("{FORGED}{}", self.now.edits);
        self.change_secret(json!({"stringData": {entry: forged}})).await?;
        self.because("values edited");
        Ok(())
    }

    async fn annotate_secret(&mut self) -> Done {
        self.now.edits += 1;
        let touched = self.now.edits.to_string();
        self.change_secret(json!({"metadata": {"annotations": {"example.com/touched": touched}}})).await
    }

    async fn strip_label(&self) -> Done {
        self.change_secret(json!({"metadata": {"labels": {"keys.keeptrusts.com/uid": null}}})).await
    }

    async fn wipe_status(&self) -> Done {
        let (api, name) = (self.api(), self.name());
        persist(PATIENCE, async || {
            let mut object = api.get(&name).await?;
            object.data["status"] = json!({});
            // A conflict is tried again with the object as it is by then.
            api.replace_status(&name, &PostParams::default(), &object).await
        })
        .await?;
        self.because("statuses wiped");
        Ok(())
    }

    async fn edit_template(&mut self) -> Done {
        self.now.edits += 1;
        let edit = self.now.edits.to_string();
        let template = json!({"labels": {"edit": edit}, "data": {"EDIT": format!("{edit} $(value)")}});
        self.change(json!({"spec": {"secret": {"template": template}}})).await
    }

    async fn edit_description(&mut self) -> Done {
        self.now.edits += 1;
        let description = format!("edit {}", self.now.edits);
        self.change(json!({"spec": {"token": {"description": description}}})).await
    }

    async fn rotate(&mut self) -> Done {
        self.now.generation += 1;
        self.change(json!({"spec": {"rotation": {"generation": self.now.generation}}})).await?;
        self.because("rotations asked for");
        Ok(())
    }

    async fn rotate_in_a_hurry(&mut self) -> Done {
        for _ in 0..4 {
            self.rotate().await?;
            tokio::time::sleep(PAUSE).await;
        }
        Ok(())
    }

    async fn rotate_now(&mut self) -> Done {
        self.now.edits += 1;
        self.change(json!({"metadata": {"annotations": {ROTATE_NOW: self.now.edits.to_string()}}})).await?;
        self.because("rotations at once asked for");
        Ok(())
    }

    /// A schedule, and a status that says that the value was written long ago.
    async fn schedule(&mut self) -> Done {
        if self.get().await?.data["status"]["lastRotation"].is_null() {
            return Err(Undone::Skipped("there was no value yet".into()));
        }
        let (api, name) = (self.api(), self.name());
        let long_ago = (Timestamp::now() - AGE).to_string();
        let patch = Patch::Merge(json!({"status": {"lastRotation": {"time": long_ago}}}));
        persist(PATIENCE, async || api.patch_status(&name, &PatchParams::default(), &patch).await).await?;
        let in_place = self.now.edits.is_multiple_of(2) && !keeps_old(self.key.index);
        let strategy = if in_place { "InPlace" } else { "Overlap" };
        self.change(json!({"spec": {"rotation": {"every": EVERY, "strategy": strategy}}})).await?;
        for _ in 0..COMES {
            self.because("rotations by schedule");
        }
        tokio::time::sleep(SCHEDULED).await;
        let over = json!({"spec": {"rotation": {"every": null, "strategy": self.strategy()}}});
        self.change_within(STUBBORN, over).await
    }

    /// What the manifest says.
    fn strategy(&self) -> Value {
        self.key.manifest(&self.now)["spec"]["rotation"]["strategy"].clone()
    }

    async fn expire(&mut self) -> Done {
        let emulator = &self.stage.emulator;
        let end = Effect::behave(json!({"tokens": {"default_expiry_seconds": LIFE}}));
        let ends = Fault::new(end).on(Operation::Create).matching(&format!("{}-", self.token_head()));
        let ends = emulator.add_fault(ends).map_err(|error| Undone::Failed(error.to_string()))?;
        let done = self.expire_meanwhile().await;
        emulator.remove_fault(ends);
        let over = json!({"spec": {"rotation": {"strategy": self.strategy()}}});
        self.change_within(STUBBORN, over).await.and(done)
    }

    /// How the names of its tokens begin.
    fn token_head(&self) -> String {
        let manifest = self.key.manifest(&self.now);
        manifest["spec"]["token"]["name"].as_str().map_or_else(|| self.name(), str::to_owned)
    }

    async fn expire_meanwhile(&mut self) -> Done {
        self.now.generation += 1;
        let rotation = json!({"strategy": "Overlap", "generation": self.now.generation});
        self.change(json!({"spec": {"rotation": rotation}})).await?;
        self.because("rotations asked for");
        for _ in 0..RENEWALS {
            self.because("renewals");
        }
        tokio::time::sleep(EXPIRING).await;
        Ok(())
    }

    async fn pause_workload(&mut self) -> Done {
        let (api, name) = (self.deployments(), self.key.app().unwrap_or_default());
        let set = async |patience, paused: bool| {
            let patch = Patch::Merge(json!({"spec": {"paused": paused}}));
            persist(patience, async || api.patch(&name, &PatchParams::default(), &patch).await).await
        };
        set(PATIENCE, true).await?;
        tokio::time::sleep(PAUSED).await;
        set(STUBBORN, false).await.map(drop)
    }

    async fn delete(&mut self, foreground: bool) -> Done {
        let params = if foreground { DeleteParams::foreground() } else { DeleteParams::background() };
        self.delete_and_wait(&params).await?;
        self.now.generation = 0;
        self.create().await
    }

    async fn retain(&mut self) -> Done {
        // Without a Secret nothing would be retained but a token that nobody has.
        let (api, name) = (self.secrets(), secret_name(&self.get().await?));
        let secret = persist(PATIENCE, async || api.get(&name).await).await?;
        if annotation(&secret, TOKEN_ID).is_none() {
            return Err(Undone::Skipped("no token in the Secret".into()));
        }
        self.change(json!({"spec": {"deletionPolicy": "Retain"}})).await?;
        self.delete_and_wait(&DeleteParams::background()).await?;
        self.now.renamed += 1;
        self.now.generation = 0;
        self.create().await
    }

    async fn delete_and_wait(&self, params: &DeleteParams) -> Done {
        let (api, name) = (self.api(), self.name());
        let uid = self.get().await?.metadata.uid;
        persist(PATIENCE, async || api.delete(&name, params).await).await?;
        gone(async || match api.get(&name).await {
            Ok(object) if object.metadata.uid != uid => Err(not_found()),
            answer => answer.map(drop),
        })
        .await
    }

    async fn in_console(&self, act: Act) -> Done {
        let token = status(&self.get().await?).token.map(|token| token.id);
        let id = token.ok_or_else(|| Undone::Skipped("no token".into()))?;
        let emulator = &self.stage.emulator;
        let changed = match act {
            Act::RevokeInConsole => emulator.revoke_elsewhere(&id),
            _ => emulator.rotate_elsewhere(&id),
        };
        changed.map_err(|error| Undone::Skipped(error.to_string()))?;
        self.stage.record().outside.insert(id);
        self.because("tokens changed in the console");
        Ok(())
    }
}

/// How a value begins that somebody wrote into a Secret.
pub(crate) const FORGED: &str = "written-by-hand-";

/// What a namespace that is new may answer, which not every part of the API server knows yet: it is tried again.
fn not_there_yet(error: kube::Error) -> kube::Error {
    match error {
        kube::Error::Api(status) if matches!(status.code, 403 | 404) => {
            kube::Error::Service(std::io::Error::other(status.message.clone()).into())
        }
        error => error,
    }
}

fn not_found() -> kube::Error {
    kube::Error::Api(Box::new(kube::core::Status::failure("another one", "NotFound").with_code(404)))
}
