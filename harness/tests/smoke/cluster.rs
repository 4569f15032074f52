//! What the control plane does.

use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use k8s_openapi::api::core::v1::{ConfigMap, Secret, ServiceAccount};
use keeptrusts_harness::audit::Mark;
use keeptrusts_harness::suite::Context;
use keeptrusts_harness::{TestNamespace, eventually};
use kube::Api;
use kube::api::{DeleteParams, DynamicObject, PostParams};
use kube::core::{ApiResource, GroupVersionKind};
use serde_json::{from_value, json};

const SOON: Duration = Duration::from_secs(20);

pub(crate) async fn the_namespace_controller_works(cx: Context) -> Result<()> {
    let namespace = TestNamespace::create(cx.client(), "short-lived").await?;
    let accounts = namespace.api::<ServiceAccount>();
    eventually(SOON, "the namespace has its ServiceAccount", async || Ok(accounts.get("default").await?))
        .await?;
    namespace.delete().await?;
    let namespaces: Api<k8s_openapi::api::core::v1::Namespace> = Api::all(cx.client());
    eventually(SOON, "the namespace is gone", async || {
        let left = namespaces.get_opt(namespace.name()).await?;
        ensure!(left.is_none(), "{left:?}");
        Ok(())
    })
    .await
}

pub(crate) async fn kubectl_and_helm_talk_to_the_server(cx: Context) -> Result<()> {
    let version = cx.cluster.kubectl().run(&["version", "--output=json"]).await?;
    let version: serde_json::Value = serde_json::from_str(&version)?;
    assert_eq!(version["serverVersion"]["gitVersion"], "v1.37.2");
    assert_eq!(
        cx.cluster.helm().run(&["list", "--short", "--namespace", cx.namespace.name()]).await?.trim(),
        ""
    );
    let error = cx.cluster.kubectl().run(&["get", "nonsense"]).await.unwrap_err().to_string();
    ensure!(error.contains("nonsense"), "{error}");
    Ok(())
}

pub(crate) async fn rbac_is_enforced_and_the_audit_log_sees_it(cx: Context) -> Result<()> {
    let accounts = cx.namespace.api::<ServiceAccount>();
    accounts.create(&PostParams::default(), &from_value(json!({"metadata": {"name": "nobody"}}))?).await?;
    let client = cx.cluster.service_account_client(cx.namespace.name(), "nobody").await?;
    let mark = cx.cluster.audit().mark().await?;

    let secrets: Api<Secret> = Api::namespaced(client, cx.namespace.name());
    match secrets.get("anything").await {
        Err(kube::Error::Api(status)) => assert_eq!(status.code, 403),
        other => bail!("expected 403, not {other:?}"),
    }

    let requests = cx.cluster.audit().since(mark).await?.by_service_account(cx.namespace.name(), "nobody");
    assert_eq!(requests.len(), 1, "{requests}");
    let request = &requests.0[0];
    assert_eq!((request.code, request.verb.as_str(), request.resource.as_str()), (403, "get", "secrets"));
    assert_eq!(requests.clone().from_time(&request.received).len(), 1);
    let later = cx.cluster.audit().mark().await?;
    assert!(later > mark);
    assert!(
        cx.cluster.audit().since(later).await?.by_service_account(cx.namespace.name(), "nobody").is_empty()
    );
    Ok(())
}

pub(crate) async fn bodies_are_recorded_but_those_of_secrets(cx: Context) -> Result<()> {
    let (open, hidden) = ("body-of-a-config-map", "body-of-a-secret");
    let config_map: ConfigMap = from_value(json!({"metadata": {"name": "open"}, "data": {"key": open}}))?;
    cx.namespace.api().create(&PostParams::default(), &config_map).await?;
    let secret: Secret = from_value(json!({"metadata": {"name": "hidden"}, "stringData": {"key": hidden}}))?;
    cx.namespace.api().create(&PostParams::default(), &secret).await?;

    let requests = cx.cluster.audit().since(Mark::START).await?.within(cx.namespace.name());
    assert_eq!(requests.clone().of("secrets").writes().len(), 1);
    assert_eq!(requests.clone().containing(open).counts(), [("create configmaps".to_owned(), 1)].into());
    assert!(requests.containing(hidden).is_empty());
    Ok(())
}

/// The garbage collector has to know the CRD from its start; it looks for new kinds every 30 seconds only.
pub(crate) async fn owned_objects_of_a_crd_are_garbage_collected(cx: Context) -> Result<()> {
    let kind = ApiResource::from_gvk(&GroupVersionKind::gvk("harness.example.com", "v1", "Widget"));
    let widgets: Api<DynamicObject> = Api::namespaced_with(cx.client(), cx.namespace.name(), &kind);
    let widget = DynamicObject::new("owner", &kind).data(json!({"spec": {"size": 1}}));
    let uid = widgets.create(&PostParams::default(), &widget).await?.metadata.uid.context("no uid")?;
    let owned: ConfigMap = from_value(json!({"metadata": {"name": "owned", "ownerReferences": [
        {"apiVersion": "harness.example.com/v1", "kind": "Widget", "name": "owner", "uid": uid, "controller": true}
    ]}}))?;
    let config_maps = cx.namespace.api::<ConfigMap>();
    config_maps.create(&PostParams::default(), &owned).await?;

    widgets.delete("owner", &DeleteParams::background()).await?;
    eventually(SOON, "what it owned is gone", async || {
        ensure!(config_maps.get_opt("owned").await?.is_none(), "still there");
        Ok(())
    })
    .await
}
