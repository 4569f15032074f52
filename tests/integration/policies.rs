//! The chart's admission policies, with the operator at work.

use anyhow::{Context as _, Result, ensure};
use k8s_openapi::api::core::v1::Namespace;
use keeptrusts_harness::eventually;
use keeptrusts_harness::suite::Context;
use keeptrusts_operator::resources::{AccessKey, GatewayKey};
use kube::api::{Api, DeleteParams, PostParams};
use serde_json::json;

use crate::world::{SOON, Setup};

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
