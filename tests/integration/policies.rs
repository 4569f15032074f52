//! The chart's admission policies, with the operator at work.

use anyhow::{Context as _, Result, ensure};
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::{Namespace, Secret};
use keeptrusts_harness::eventually;
use keeptrusts_harness::suite::Context;
use keeptrusts_operator::resources::{AccessKey, GatewayKey};
use kube::api::{Api, DeleteParams, Patch, PatchParams, PostParams};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config};
use serde_json::{Value, json};

use crate::world::{SOON, Setup, World};

/// From the first token to a namespace that goes with its keys: the operator needs at each step what the policies refuse to others.
pub(crate) async fn they_are_not_in_the_operators_way(cx: Context) -> Result<()> {
    let other = format!("{}-team", cx.namespace.name());
    let namespaces: Api<Namespace> = Api::all(cx.client());
    let labels = json!({"keeptrusts.com/team-id": "alpha"});
    let namespace = serde_json::from_value(json!({"metadata": {"name": other, "labels": labels}}))?;
    namespaces.create(&PostParams::default(), &namespace).await?;
    let on = json!({"enabled": true});
    let policies = json!({"team": on, "adopt": on, "records": on});
    let values = json!({"rbac": {"clusterWideKeys": true}, "policies": policies});
    let world = Setup::new().values(&values).start_in(cx, &other).await?;
    let teamless: AccessKey = serde_json::from_value(json!({
        "apiVersion": "keys.keeptrusts.com/v1alpha1",
        "kind": "AccessKey",
        "metadata": {"name": "teamless"},
        "spec": {},
    }))?;
    eventually(SOON, "the policies are in force", async || {
        let try_it = PostParams { dry_run: true, ..PostParams::default() };
        let refused = world.keys::<AccessKey>().create(&try_it, &teamless).await.err().context("taken")?;
        ensure!(refused.to_string().contains("spec.token.teamId must be alpha"), "{refused}");
        Ok(())
    })
    .await?;

    let spec = json!({"token": {"teamId": "alpha"}});
    world.create::<AccessKey>("checkout", spec.clone()).await?;
    world.create::<AccessKey>("orders", spec.clone()).await?;
    world.create::<GatewayKey>("runtime", spec).await?;
    world.at_rest::<AccessKey>("checkout").await?;
    world.at_rest::<AccessKey>("orders").await?;
    world.at_rest::<GatewayKey>("runtime").await?;
    world.raise::<AccessKey>("checkout", 1).await?;
    world.at_rest::<AccessKey>("checkout").await?;

    world.delete::<AccessKey>("checkout", &DeleteParams::default()).await?;
    eventually(SOON, "the garbage collector removes the Secret", async || {
        ensure!(world.secrets().get_opt("checkout").await?.is_none());
        Ok(())
    })
    .await?;

    namespaces.delete(&other, &DeleteParams::default()).await?;
    world.namespace_gone(&other).await?;
    assert!(world.living().is_empty());
    Ok(())
}

impl World {
    /// A client with the credential of the operator's `ServiceAccount`, as who has stolen it.
    async fn thief(&self) -> Result<Client> {
        let namespace = self.cx.namespace.name();
        let user = self.operator.user();
        let account = user.rsplit(':').next().context("no account")?;
        let access = self.cx.cluster.service_account_kubeconfig(namespace, account).await?;
        let config = Kubeconfig::from_yaml(&access)?;
        Ok(Client::try_from(Config::from_custom_kubeconfig(config, &KubeConfigOptions::default()).await?)?)
    }
}

/// What a write was refused with, by a policy.
fn refusal<T>(outcome: kube::Result<T>) -> Result<String> {
    match outcome {
        Err(kube::Error::Api(status)) if status.message.contains("ValidatingAdmissionPolicy") => {
            Ok(status.message)
        }
        Err(error) => Err(error.into()),
        Ok(_) => anyhow::bail!("it was taken"),
    }
}

fn merge(patch: Value) -> Patch<Value> {
    Patch::Merge(patch)
}

/// Every other test has these policies, too: the operator works under them. Here is what they refuse.
pub(crate) async fn the_operators_account_does_what_it_needs_and_no_more(cx: Context) -> Result<()> {
    let values = json!({"restartWorkloads": true, "leaderElection": {"enabled": true}});
    let world = Setup::new().values(&values).start(cx).await?;
    let namespace = world.cx.namespace.name();
    let workload = json!({
        "metadata": {"name": "checkout", "annotations": {"example.com/owner": "shop"}},
        "spec": {
            "replicas": 0,
            "selector": {"matchLabels": {"app": "checkout"}},
            "template": {
                "metadata": {"labels": {"app": "checkout"}, "annotations": {"example.com/a": "b"}},
                "spec": {"containers": [{"name": "checkout", "image": "checkout:1"}]},
            },
        },
    });
    let deployments: Api<Deployment> = Api::namespaced(world.cx.client(), namespace);
    deployments.create(&PostParams::default(), &serde_json::from_value(workload)?).await?;
    let refs = json!([{"kind": "Deployment", "name": "checkout"}]);
    world.create::<AccessKey>("checkout", json!({"workloads": {"restart": "Listed", "refs": refs}})).await?;
    world.at_rest::<AccessKey>("checkout").await?;
    world.raise::<AccessKey>("checkout", 1).await?;
    world.at_rest::<AccessKey>("checkout").await?;
    eventually(SOON, "the operator has restarted it", async || {
        let spec = deployments.get("checkout").await?.spec.context("no spec")?;
        let annotations = spec.template.metadata.and_then(|meta| meta.annotations).unwrap_or_default();
        ensure!(annotations.contains_key("secret.keys.keeptrusts.com/checkout"), "{annotations:?}");
        Ok(())
    })
    .await?;
    let theirs = json!({"metadata": {"name": "theirs"}, "stringData": {"password": "x"}});
    world.secrets().create(&PostParams::default(), &serde_json::from_value(theirs)?).await?;

    let thief = world.thief().await?;
    let (post, params) = (PostParams::default(), PatchParams::default());
    let secrets: Api<Secret> = Api::namespaced(thief.clone(), namespace);
    let make = async |metadata: Value, type_: &str| {
        let secret = serde_json::from_value(json!({"metadata": metadata, "type": type_}))?;
        refusal(secrets.create(&PostParams { dry_run: true, ..post.clone() }, &secret).await)
    };
    eventually(SOON, "the policies are in force", async || {
        let said = make(json!({"name": "made"}), "Opaque").await?;
        ensure!(said.contains("with the label keys.keeptrusts.com/uid, and no others"), "{said}");
        Ok(())
    })
    .await?;
    let account = world.operator.user().rsplit(':').next().unwrap_or_default().to_owned();
    let token = json!({
        "name": "made",
        "labels": {"keys.keeptrusts.com/uid": "x"},
        "annotations": {"kubernetes.io/service-account.name": account},
    });
    make(token, "kubernetes.io/service-account-token").await?;
    let changed = async |name: &str, patch: Value| {
        refusal(secrets.patch(name, &params, &merge(patch)).await).with_context(|| name.to_owned())
    };
    let label = json!({"metadata": {"labels": {"keys.keeptrusts.com/uid": "x"}}});
    for patch in [json!({"stringData": {"password": "y"}}), label] {
        let said = changed("theirs", patch).await?;
        ensure!(said.contains("changes Secrets that it manages, and no others"), "{said}");
    }
    changed("checkout", json!({"metadata": {"labels": {"keys.keeptrusts.com/uid": null}}})).await?;

    let deployments: Api<Deployment> = Api::namespaced(thief.clone(), namespace);
    let image = json!([{"name": "checkout", "image": "evil:1"}]);
    for patch in [
        json!({"spec": {"template": {"spec": {"containers": image}}}}),
        json!({"spec": {"template": {"spec": {"serviceAccountName": "admin"}}}}),
        json!({"spec": {"replicas": 3}}),
        json!({"spec": {"paused": true}}),
        json!({"spec": {"template": {"metadata": {"labels": {"more": "x"}}}}}),
        json!({"spec": {"template": {"metadata": {"annotations": {"example.com/a": "c"}}}}}),
        json!({"spec": {"template": {"metadata": {"annotations": {"example.com/a": null}}}}}),
        json!({"spec": {"template": {"metadata": {"annotations": {"example.com/c": "d"}}}}}),
        json!({"metadata": {"annotations": {"example.com/owner": "me"}}}),
        json!({"metadata": {"labels": {"more": "x"}}}),
        json!({"metadata": {"finalizers": ["example.com/mine"]}}),
    ] {
        let said = refusal(deployments.patch("checkout", &params, &merge(patch.clone())).await);
        let said = said.with_context(|| patch.to_string())?;
        ensure!(said.contains("of its pods' template, and nothing else"), "{said}");
    }
    let own = json!({"secret.keys.keeptrusts.com/checkout": "again"});
    let own = json!({"spec": {"template": {"metadata": {"annotations": own}}}});
    deployments.patch("checkout", &params, &merge(own)).await?;

    let keys: Api<AccessKey> = Api::namespaced(thief.clone(), namespace);
    for patch in [
        json!({"spec": {"deletionPolicy": "Retain"}}),
        json!({"metadata": {"labels": {"more": "x"}}}),
        json!({"metadata": {"annotations": {"keys.keeptrusts.com/rotate-now": "1"}}}),
        json!({"metadata": {"finalizers": ["keys.keeptrusts.com/tokens", "example.com/mine"]}}),
    ] {
        let said = refusal(keys.patch("checkout", &params, &merge(patch.clone())).await);
        let said = said.with_context(|| patch.to_string())?;
        ensure!(said.contains("its own finalizer and the status, and nothing else"), "{said}");
    }

    let leases: Api<Lease> = Api::namespaced(thief, namespace);
    let lease = serde_json::from_value(json!({"metadata": {"name": "another"}}))?;
    let said = refusal(leases.create(&post, &lease).await)?;
    ensure!(said.contains("and no other"), "{said}");
    // People aren't concerned.
    world.secrets().patch("theirs", &params, &merge(json!({"stringData": {"password": "y"}}))).await?;
    Ok(())
}

pub(crate) async fn labels_that_hand_a_secret_over_are_refused(cx: Context) -> Result<()> {
    let values = json!({"policies": {"template": {"enabled": true}}});
    let world = Setup::new().values(&values).start(cx).await?;
    let keys = world.keys::<AccessKey>();
    let key = |name: &str, template: Value| {
        let spec = json!({"secret": {"template": template}});
        let key = json!({
            "apiVersion": "keys.keeptrusts.com/v1alpha1",
            "kind": "AccessKey",
            "metadata": {"name": name},
            "spec": spec,
        });
        serde_json::from_value::<AccessKey>(key)
    };
    let try_it = PostParams { dry_run: true, ..PostParams::default() };
    let helm = json!({"labels": {"app.kubernetes.io/managed-by": "Helm"}});
    eventually(SOON, "the policy is in force", async || {
        let said = refusal(keys.create(&try_it, &key("checkout", helm.clone())?).await)?;
        ensure!(said.contains("can't have app.kubernetes.io/managed-by in this cluster"), "{said}");
        Ok(())
    })
    .await?;
    let reflected = json!({"annotations": {"reflector.v1.k8s.emberstack.com/reflection-allowed": "true"}});
    refusal(keys.create(&try_it, &key("checkout", reflected.clone())?).await)?;
    let fine = json!({"labels": {"team": "shop"}, "annotations": {"example.com/of": "$(name)"}});
    keys.create(&PostParams::default(), &key("checkout", fine)?).await?;
    let change = merge(json!({"spec": {"secret": {"template": reflected}}}));
    refusal(keys.patch("checkout", &PatchParams::default(), &change).await)?;
    world.at_rest::<AccessKey>("checkout").await?;
    let secret = world.secrets().get("checkout").await?;
    let annotations = secret.metadata.annotations.unwrap_or_default();
    assert_eq!(annotations.get("example.com/of").map(String::as_str), Some("checkout"));
    Ok(())
}
