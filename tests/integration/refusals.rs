//! What bad input gets: a condition that says what to do, and never a token too many.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use k8s_openapi::api::admissionregistration::v1::{
    ValidatingAdmissionPolicy, ValidatingAdmissionPolicyBinding,
};
use k8s_openapi::api::core::v1::{Event, ResourceQuota, Secret};
use keeptrusts_emulator::{Effect, Fault, ListDefect, Names, NewToken, Operation, Stage, TokenType};
use keeptrusts_harness::proxy::{kubernetes_status, steps, tokens};
use keeptrusts_harness::suite::Context;
use keeptrusts_harness::{ControlPlane, Match, Options, Rule, TestNamespace, eventually, stays};
use keeptrusts_operator::resources::{AccessKey, GatewayKey, Key as _, crds};
use kube::api::{Api, DeleteParams, Patch, PatchParams, PostParams};
use serde_json::{Value, json};

use crate::world::{SOON, Setup, World, condition, ready};

/// Long enough to see that something doesn't happen: retries of what may be retried at once come within it.
const A_WHILE: Duration = Duration::from_secs(4);

fn params() -> PatchParams {
    PatchParams::default()
}

async fn create<T>(api: Api<T>, object: Value) -> Result<T>
where
    T: kube::Resource + Clone + std::fmt::Debug + serde::Serialize + serde::de::DeserializeOwned,
{
    Ok(api.create(&PostParams::default(), &serde_json::from_value(object)?).await?)
}

pub(crate) async fn a_foreign_secret_is_left_alone(cx: Context) -> Result<()> {
    let world = World::start(cx).await?;
    let foreign = create(
        world.secrets(),
        json!({"metadata": {"name": "checkout-keeptrusts"}, "stringData": {"api-key": "somebody else's"}}),
    )
    .await?;
    world.create::<AccessKey>("checkout", json!({"secret": {"name": "checkout-keeptrusts"}})).await?;
    let status = world.reason::<AccessKey>("checkout", "SecretConflict").await?;
    let message = &condition(&status, "Stalled").context("not stalled")?.message;
    for part in ["checkout-keeptrusts", "somebody who isn't this operator", "spec.secret.name"] {
        assert!(message.contains(part), "{message}");
    }
    stays(A_WHILE, "the Secret is untouched and no token is made", async || {
        let now = world.secrets().get("checkout-keeptrusts").await?;
        ensure!(now.metadata.resource_version == foreign.metadata.resource_version);
        ensure!(world.emulator.tokens().is_empty());
        Ok(())
    })
    .await?;
    // Another key's Secret is foreign too, and its owner is named.
    world.create::<GatewayKey>("owner", json!({"secret": {"name": "shared"}})).await?;
    world.at_rest::<GatewayKey>("owner").await?;
    world.create::<AccessKey>("second", json!({"secret": {"name": "shared"}})).await?;
    let status = world.reason::<AccessKey>("second", "SecretConflict").await?;
    let message = &condition(&status, "Ready").context("no Ready")?.message;
    assert!(message.contains("GatewayKey owner"), "{message}");
    // The way out: the foreign Secret goes.
    world.secrets().delete("checkout-keeptrusts", &DeleteParams::default()).await?;
    world.at_rest::<AccessKey>("checkout").await?;
    Ok(())
}

pub(crate) async fn a_quota_is_shown_before_a_token_is_made(cx: Context) -> Result<()> {
    let world = World::start(cx).await?;
    let quotas: Api<ResourceQuota> = world.cx.namespace.api();
    let used = world.secrets().list(&kube::api::ListParams::default()).await?.items.len();
    let quota =
        json!({"metadata": {"name": "secrets"}, "spec": {"hard": {"count/secrets": used.to_string()}}});
    create(quotas.clone(), quota).await?;
    eventually(SOON, "the quota is counted", async || {
        let status = quotas.get("secrets").await?.status.context("not yet")?;
        ensure!(status.used.is_some_and(|used| used.contains_key("count/secrets")));
        Ok(())
    })
    .await?;
    world.create::<AccessKey>("checkout", json!({})).await?;
    let status = world.reason::<AccessKey>("checkout", "SecretRefused").await?;
    let message = &condition(&status, "Reconciling").context("not reconciling")?.message;
    assert!(message.contains("exceeded quota"), "{message}");
    stays(A_WHILE, "no token is made", async || {
        ensure!(world.emulator.tokens().is_empty());
        Ok(())
    })
    .await?;
    quotas.delete("secrets", &DeleteParams::default()).await?;
    world.one_living::<AccessKey>("checkout", "checkout", 1).await?;
    Ok(())
}

pub(crate) async fn an_admission_policy_is_shown_before_a_token_is_made(cx: Context) -> Result<()> {
    let world = World::start(cx).await?;
    let name = world.cx.namespace.name();
    let (policies, bindings): (Api<ValidatingAdmissionPolicy>, Api<ValidatingAdmissionPolicyBinding>) =
        (Api::all(world.cx.client()), Api::all(world.cx.client()));
    let policy = json!({"metadata": {"name": name}, "spec": {
        "matchConstraints": {"resourceRules": [
            {"apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE", "UPDATE"], "resources": ["secrets"]},
        ]},
        "validations": [{
            "expression": "has(object.metadata.labels) && 'team' in object.metadata.labels",
            "message": "every Secret needs the label team",
        }],
    }});
    create(policies.clone(), policy).await?;
    let binding = json!({"metadata": {"name": name}, "spec": {
        "policyName": name,
        "validationActions": ["Deny"],
        "matchResources": {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": name}}},
    }});
    create(bindings.clone(), binding).await?;
    eventually(SOON, "the policy is enforced", async || {
        let dry_run = PostParams { dry_run: true, ..PostParams::default() };
        let plain: Secret = serde_json::from_value(json!({"metadata": {"name": "plain"}}))?;
        ensure!(world.secrets().create(&dry_run, &plain).await.is_err());
        Ok(())
    })
    .await?;
    world.create::<AccessKey>("checkout", json!({})).await?;
    let status = world.reason::<AccessKey>("checkout", "SecretRefused").await?;
    let message = &condition(&status, "Ready").context("no Ready")?.message;
    assert!(message.contains("every Secret needs the label team"), "{message}");
    assert!(world.emulator.tokens().is_empty());
    let template = json!({"secret": {"template": {"labels": {"team": "shop"}}}});
    world.change::<AccessKey>("checkout", template).await?;
    world.one_living::<AccessKey>("checkout", "checkout", 1).await?;
    bindings.delete(name, &DeleteParams::default()).await?;
    policies.delete(name, &DeleteParams::default()).await?;
    Ok(())
}

/// The namespace controller deletes the keys of a namespace that terminates within milliseconds; what the API server says
/// in between is made up here.
pub(crate) async fn a_terminating_namespace_is_shown_before_a_token_is_made(cx: Context) -> Result<()> {
    let world = World::start(cx).await?;
    let refusal = kubernetes_status(
        403,
        "Forbidden",
        "secrets \"checkout\" is forbidden: unable to create new content in namespace shop because it is being terminated",
    );
    let rule = world.kubernetes.add(Rule::on(steps::dry_run("checkout")).always().answer(403, refusal));
    world.create::<AccessKey>("checkout", json!({})).await?;
    rule.reached(SOON).await?;
    let status = world.reason::<AccessKey>("checkout", "SecretRefused").await?;
    let message = &condition(&status, "Ready").context("no Ready")?.message;
    assert!(message.contains("being terminated"), "{message}");
    assert!(world.emulator.tokens().is_empty());
    world.delete::<AccessKey>("checkout", &DeleteParams::default()).await
}

pub(crate) async fn a_refused_credential_concerns_those_that_need_something(cx: Context) -> Result<()> {
    let world = World::start(cx).await?;
    world.create::<AccessKey>("resting", json!({})).await?;
    world.at_rest::<AccessKey>("resting").await?;
    world.emulator.replace_credential("kt_live_another");
    world.create::<AccessKey>("needing", json!({})).await?;
    let status = world.reason::<AccessKey>("needing", "CredentialRefused").await?;
    assert!(condition(&status, "Reconciling").is_some());
    let asked = world.tokens.count(&tokens::create());
    stays(A_WHILE, "the resting key is ready, and the other isn't tried again soon", async || {
        let resting = world.keys::<AccessKey>().get("resting").await?;
        ensure!(resting.status().and_then(ready) == Some("Ready"));
        ensure!(world.tokens.count(&tokens::create()) == asked);
        Ok(())
    })
    .await?;
    let patch = Patch::Merge(json!({"stringData": {"token": "kt_live_another"}}));
    let secrets: Api<Secret> = world.cx.namespace.api();
    secrets.patch("credential", &params(), &patch).await?;
    world.operator.sync_mounts(&world.cx.cluster).await?;
    world.at_rest::<AccessKey>("needing").await?;
    assert_eq!(world.living().len(), 2);
    Ok(())
}

pub(crate) async fn an_enforced_expiry_is_cured_by_a_spec_edit(cx: Context) -> Result<()> {
    let world = Setup::new().behaviour(|it| it.tokens.expiry_required = true).start(cx).await?;
    world.create::<AccessKey>("checkout", json!({})).await?;
    let status = world.reason::<AccessKey>("checkout", "RequestRefused").await?;
    let message = &condition(&status, "Stalled").context("not stalled")?.message;
    assert!(message.contains("expir"), "{message}");
    let asked = world.tokens.count(&tokens::create());
    stays(A_WHILE, "it isn't asked again", async || {
        ensure!(world.tokens.count(&tokens::create()) == asked);
        Ok(())
    })
    .await?;
    world.change::<AccessKey>("checkout", json!({"token": {"expiresAfter": "90d"}})).await?;
    world.one_living::<AccessKey>("checkout", "checkout", 1).await?;
    Ok(())
}

pub(crate) async fn nonsense_makes_no_secret_and_no_second_token(cx: Context) -> Result<()> {
    let world = World::start(cx).await?;
    let html = Effect::answer("text/html", "<html>Sign in</html>");
    let no_value = Effect::behave(json!({"answers": {"value": false}}));
    for (key, effect) in [("page", html), ("empty", no_value)] {
        world.emulator.add_fault(Fault::new(effect).on(Operation::Create).matching(key))?;
        let before = world.emulator.tokens().len();
        world.create::<AccessKey>(key, json!({})).await?;
        world.reason::<AccessKey>(key, "AnswerUnusable").await?;
        stays(A_WHILE, "no Secret is made, and no second token", async || {
            ensure!(world.secrets().get_opt(key).await?.is_none(), "there is a Secret");
            ensure!(world.emulator.tokens().len() <= before + 1);
            Ok(())
        })
        .await?;
        world.delete::<AccessKey>(key, &DeleteParams::default()).await?;
        assert!(world.living().is_empty());
    }
    Ok(())
}

pub(crate) async fn two_operators_make_one_token_for_each_key(cx: Context) -> Result<()> {
    const KEYS: usize = 100;
    let world = World::start(cx).await?;
    let mut second = world.another_operator().await?;
    for number in 0..KEYS {
        if number % 2 == 0 {
            world.create::<AccessKey>(&format!("a-{number}"), json!({})).await?;
        } else {
            world.create::<GatewayKey>(&format!("g-{number}"), json!({})).await?;
        }
    }
    for number in 0..KEYS {
        if number % 2 == 0 {
            world.at_rest::<AccessKey>(&format!("a-{number}")).await?;
        } else {
            world.at_rest::<GatewayKey>(&format!("g-{number}")).await?;
        }
    }
    assert_eq!(world.emulator.tokens().len(), KEYS);
    assert_eq!(world.living().len(), KEYS);
    second.terminate(SOON).await?;
    Ok(())
}

pub(crate) async fn a_forged_id_is_never_called(cx: Context) -> Result<()> {
    let world = World::start(cx).await?;
    let victim = world.emulator.create_elsewhere(NewToken::new("somebody-elses", TokenType::Access))?;
    let names_victim = {
        let id = victim.id.clone();
        Match::new("for the victim", move |call| call.path.contains(&id))
    };
    let spec = json!({"rotation": {"grace": "1s"}});
    for key in ["annotated", "stated"] {
        world.create::<AccessKey>(key, spec.clone()).await?;
        world.at_rest::<AccessKey>(key).await?;
    }
    let annotation = json!({"metadata": {"annotations": {
        "keys.keeptrusts.com/token-id": victim.id,
        "keys.keeptrusts.com/replaced": victim.id,
    }}});
    world.secrets().patch("annotated", &params(), &Patch::Merge(annotation)).await?;
    world.change::<AccessKey>("annotated", json!({"rotation": {"generation": 1}})).await?;
    world.at_rest::<AccessKey>("annotated").await?;

    let entry = json!({
        "id": victim.id, "since": "2026-01-01T00:00:00Z", "revokeAfter": "2026-01-01T00:00:01Z",
    });
    let status = json!({"status": {"token": {"id": victim.id}, "superseded": [entry]}});
    world.keys::<AccessKey>().patch_status("stated", &params(), &Patch::Merge(status)).await?;
    world.change::<AccessKey>("stated", json!({"rotation": {"generation": 1}})).await?;
    world
        .until::<AccessKey>("stated", "has a token of its own", |_, status| {
            ready(status) == Some("Ready")
                && status.observed_rotation_generation == Some(1)
                && status.token.as_ref().is_some_and(|token| token.id != victim.id)
        })
        .await?;
    for key in ["annotated", "stated"] {
        // What isn't listed as ours leaves the superseded ones without a call, once enough lists lack it.
        world.at_rest::<AccessKey>(key).await?;
        world.delete::<AccessKey>(key, &DeleteParams::default()).await?;
    }
    assert_eq!(world.tokens.count(&names_victim), 0);
    let living: Vec<String> = world.living().into_iter().map(|token| token.id).collect();
    assert_eq!(living, [victim.id]);
    Ok(())
}

/// A control plane of its own, whose CRDs let everything in: there is one CRD for all tests.
pub(crate) async fn with_lax_crds(cx: Context) -> Result<Context> {
    let dir = cx.dir.join("lax-crds");
    std::fs::create_dir_all(&dir)?;
    for mut crd in crds() {
        let lax = json!({"type": "object", "x-kubernetes-preserve-unknown-fields": true});
        crd.spec.versions[0].selectable_fields = None;
        let schema = crd.spec.versions[0].schema.as_mut().context("no schema")?;
        schema.open_api_v3_schema = Some(serde_json::from_value(lax)?);
        std::fs::write(dir.join(format!("{}.yaml", crd.spec.names.plural)), serde_yaml::to_string(&crd)?)?;
    }
    let cluster = std::sync::Arc::new(ControlPlane::start(Options::default().crds(&dir)).await?);
    let namespace = TestNamespace::create(cluster.client(), &cx.name).await?;
    Ok(Context { cluster, namespace, dir: cx.dir.clone(), name: cx.name.clone() })
}

/// The CRDs let nothing in that can't be read; a CRD of an older or a newer version may.
pub(crate) async fn an_object_that_cannot_be_read_harms_no_other(cx: Context) -> Result<()> {
    let cx = with_lax_crds(cx).await?;
    let world = World::start(cx).await?;
    let unreadable = json!({
        "apiVersion": "keys.keeptrusts.com/v1alpha1", "kind": "AccessKey",
        "metadata": {"name": "unreadable"}, "spec": {"rotation": {"generation": "three"}},
    });
    let resource = kube::api::ApiResource::erase::<AccessKey>(&());
    let objects: Api<kube::api::DynamicObject> =
        Api::namespaced_with(world.cx.client(), world.cx.namespace.name(), &resource);
    objects.create(&PostParams::default(), &serde_json::from_value(unreadable)?).await?;
    world.create::<AccessKey>("readable", json!({})).await?;
    world.at_rest::<AccessKey>("readable").await?;
    let events: Api<Event> = world.cx.namespace.api();
    eventually(SOON, "an event tells of it", async || {
        let all = events.list(&kube::api::ListParams::default()).await?;
        let told = all.items.into_iter().find(|event| event.reason.as_deref() == Some("Unreadable"));
        let event = told.context("no event yet")?;
        ensure!(event.involved_object.name.as_deref() == Some("unreadable"));
        Ok(())
    })
    .await?;
    assert_eq!(world.emulator.tokens().len(), 1);
    Ok(())
}

pub(crate) async fn the_longest_name_works(cx: Context) -> Result<()> {
    let world = World::start(cx).await?;
    let name = format!("{}.{}", "a".repeat(126), "b".repeat(126));
    assert_eq!(name.len(), 253);
    world.create::<AccessKey>(&name, json!({"rotation": {"grace": "1s"}})).await?;
    world.one_living::<AccessKey>(&name, &name, 1).await?;
    world.change::<AccessKey>(&name, json!({"rotation": {"generation": 1}})).await?;
    world.one_living::<AccessKey>(&name, &name, 1).await?;
    world.secrets().delete(&name, &DeleteParams::default()).await?;
    eventually(SOON, "it is repaired", async || {
        world.one_living::<AccessKey>(&name, &name, 2).await.map(drop)
    })
    .await?;
    world.delete::<AccessKey>(&name, &DeleteParams::default()).await?;
    assert!(world.living().is_empty());
    Ok(())
}

/// `kubectl replace` and tools like it write the whole object: the finalizer that they don't know is gone.
pub(crate) async fn a_replaced_object_gets_its_finalizer_back(cx: Context) -> Result<()> {
    // The call is held while kubectl runs, which mustn't make an unknown outcome of it.
    let world = Setup::new().values(&json!({"api": {"callDeadline": "30s"}})).start(cx).await?;
    let call = world.tokens.add(Rule::on(tokens::create()).hold_after());
    world.create::<AccessKey>("checkout", json!({})).await?;
    call.reached(SOON).await?;
    replace(&world).await?;
    call.release();
    world.one_living::<AccessKey>("checkout", "checkout", 1).await?;
    replace(&world).await?;
    world
        .until::<AccessKey>("checkout", "has its finalizer again", |key, _| {
            key.metadata.finalizers.as_ref().is_some_and(|all| !all.is_empty())
        })
        .await?;
    world.one_living::<AccessKey>("checkout", "checkout", 1).await?;
    world.delete::<AccessKey>("checkout", &DeleteParams::default()).await?;
    assert!(world.living().is_empty());
    Ok(())
}

async fn replace(world: &World) -> Result<()> {
    let manifest = json!({
        "apiVersion": "keys.keeptrusts.com/v1alpha1", "kind": "AccessKey",
        "metadata": {"name": "checkout", "namespace": world.cx.namespace.name()}, "spec": {},
    });
    let kubectl = world.cx.cluster.kubectl();
    kubectl.run_with_input(&["replace", "-f", "-"], &manifest.to_string()).await?;
    Ok(())
}

/// A 5xx after the token was made is a lost answer like any other.
pub(crate) async fn an_error_after_the_fact_is_a_lost_answer(cx: Context) -> Result<()> {
    let world = World::start(cx).await?;
    world.emulator.add_fault(Fault::new(Effect::status(503, Stage::After)).on(Operation::Create).times(1))?;
    world.create::<AccessKey>("checkout", json!({"rotation": {"grace": "1s"}})).await?;
    world.one_living::<AccessKey>("checkout", "checkout", 2).await?;
    Ok(())
}

/// Tokens can't be recognised by names that the API changes, so no more are made than it takes to find that out.
pub(crate) async fn altered_names_stop_the_minting(cx: Context) -> Result<()> {
    let world = Setup::new().behaviour(|it| it.tokens.names = Names::Upper).start(cx).await?;
    world.create::<AccessKey>("first", json!({})).await?;
    let lists = world.tokens.count(&tokens::list());
    world.until::<AccessKey>("first", "has a token", |_, status| status.token.is_some()).await?;
    eventually(SOON, "the token was listed", async || {
        ensure!(world.tokens.count(&tokens::list()) > lists + 2);
        Ok(())
    })
    .await?;
    world.create::<AccessKey>("second", json!({})).await?;
    let status = world.reason::<AccessKey>("second", "NamesAltered").await?;
    assert!(condition(&status, "Stalled").is_some());
    assert_eq!(world.emulator.tokens().len(), 1);
    Ok(())
}

/// An empty list may be another organization's, or a slip: it proves nothing about a token that status names.
pub(crate) async fn a_token_that_no_list_shows_is_let_go_by_a_person(cx: Context) -> Result<()> {
    let mut world = World::start(cx).await?;
    world.create::<AccessKey>("checkout", json!({})).await?;
    let id = world.at_rest::<AccessKey>("checkout").await?.token.context("no token")?.id;
    let value = world.value("checkout").await?;
    // What this operator made itself it would know without a list.
    world.operator.restart()?;
    world.operator.wait_ready(SOON).await?;
    world.emulator.behaviour(|it| it.lists.defect = ListDefect::Empty);
    world.keys::<AccessKey>().delete("checkout", &DeleteParams::default()).await?;
    let told = world
        .until::<AccessKey>("checkout", "says which token can't be told", |_, status| {
            condition(status, "Ready").is_some_and(|it| it.message.contains(&id))
        })
        .await?;
    let ready = condition(&told.1, "Ready").context("no Ready")?;
    assert_eq!(ready.reason, "RevocationPending");
    assert!(ready.message.contains("spec.deletionPolicy to Retain"), "{}", ready.message);
    stays(A_WHILE, "it is neither revoked nor let go", async || {
        ensure!(world.keys::<AccessKey>().get_opt("checkout").await?.is_some());
        ensure!(world.emulator.is_alive(&value));
        Ok(())
    })
    .await?;
    world.change::<AccessKey>("checkout", json!({"deletionPolicy": "Retain"})).await?;
    world.gone::<AccessKey>("checkout").await?;
    let retained = world.secrets().get("checkout").await?.metadata;
    assert!(retained.owner_references.is_none(), "the garbage collector would remove it");
    assert_eq!(world.value("checkout").await?, value);
    Ok(())
}
