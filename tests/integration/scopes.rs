//! What the operator needs where it has rights in one namespace alone.

use anyhow::{Context as _, Result};
use k8s_openapi::api::core::v1::Namespace;
use keeptrusts_harness::suite::Context;
use keeptrusts_operator::lifecycle::naming::Installation;
use keeptrusts_operator::resources::{AccessKey, GatewayKey};
use kube::api::{Api, DeleteParams};
use serde_json::json;

use crate::world::Setup;

/// Nothing of the cluster's is read, and the installation is the one that reading would have given.
pub(crate) async fn roles_alone_are_enough(cx: Context) -> Result<()> {
    let namespaces: Api<Namespace> = Api::all(cx.client());
    let uid = namespaces.get("kube-system").await?.metadata.uid.context("kube-system has no uid")?;
    let values = json!({
        "clusterUid": uid,
        "rbac": {"viewRole": {"create": false}},
        "policies": {"operator": {"enabled": false}},
    });
    let world = Setup::new().values(&values).start(cx).await?;
    assert_eq!(world.chart.of_kind("ClusterRole").count(), 0);
    assert_eq!(world.chart.of_kind("ClusterRoleBinding").count(), 0);
    assert_eq!(world.chart.of_kind("ValidatingAdmissionPolicy").count(), 0);
    world.create::<AccessKey>("checkout", json!({})).await?;
    world.create::<GatewayKey>("runtime", json!({})).await?;
    world.at_rest::<AccessKey>("checkout").await?;
    world.at_rest::<GatewayKey>("runtime").await?;
    let installation = Installation::new(&uid, world.cx.namespace.name());
    assert!(world.operator.log()?.contains(installation.as_str()));
    world.delete::<AccessKey>("checkout", &DeleteParams::default()).await?;
    world.delete::<GatewayKey>("runtime", &DeleteParams::default()).await?;
    assert!(world.living().is_empty());
    Ok(())
}
