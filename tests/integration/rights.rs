//! The rights that the chart gives are those that the operator uses, no more and no less: by the audit log of the whole suite.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use anyhow::{Context as _, Result, ensure};
use keeptrusts_harness::audit::{Mark, Request, Requests};
use keeptrusts_harness::{Chart, ChartOptions, ControlPlane};
use serde_json::{Value, json};

use crate::world::CHART;

/// Tests in which the operator lacks rights on purpose, by the heads of their namespaces.
const LACKING: [&str; 1] = ["workloads-without-the-right"];

/// One thing that may be done, or was: API group, resource, verb.
type Right = (String, String, String);

pub(crate) async fn are_all_used_and_enough(cluster: Arc<ControlPlane>) -> Result<()> {
    let given = given(&cluster).await?;
    ensure!(!given.is_empty(), "the chart gives no rights");
    for (group, resource, verb) in &given {
        ensure!(
            ![group, resource, verb].iter().any(|it| *it == "*"),
            "{group} {resource} {verb} is a wildcard"
        );
        ensure!(resource != "secrets" || !verb.starts_with("delete"), "Secrets may be deleted");
    }
    let requests = cluster.audit().since(Mark::START).await?;
    let deleted = deletions(&requests);
    let ours = requests.only(|request| place(request).is_some() && !request.resource.starts_with('/'));
    let refused: BTreeSet<String> =
        ours.0.iter().filter(|request| is_refused(request, &deleted)).map(describe).collect();
    ensure!(refused.is_empty(), "refused by RBAC: {refused:#?}");
    let right = |request: &Request| (request.group.clone(), request.resource.clone(), request.verb.clone());
    let used: BTreeSet<Right> = ours.0.iter().filter(|it| it.code < 400).map(right).collect();
    let unused: Vec<_> = given.difference(&used).collect();
    ensure!(unused.is_empty(), "the chart gives rights that nothing uses: {unused:?}");
    Ok(())
}

/// The namespace of the operator that made a request, if one did: a test's release is called as its namespace, and its account after the
/// release.
fn place(request: &Request) -> Option<&str> {
    let (namespace, name) = request.user.strip_prefix("system:serviceaccount:")?.split_once(':')?;
    name.starts_with(namespace).then_some(namespace)
}

/// When namespaces were deleted, by their names.
fn deletions(requests: &Requests) -> BTreeMap<String, String> {
    let deletions = requests.0.iter().filter(|it| it.verb == "delete" && it.resource == "namespaces");
    deletions.map(|it| (it.name.clone(), it.received.clone())).collect()
}

/// Whether RBAC was in the way, and no test wanted that. A namespace that is deleted loses its `RoleBinding`s before its keys.
fn is_refused(request: &Request, deleted: &BTreeMap<String, String>) -> bool {
    let decision = &request.entry["annotations"]["authorization.k8s.io/decision"];
    let namespace = place(request).unwrap_or_default();
    let going = deleted.get(&request.namespace).is_some_and(|deleted| *deleted <= request.received);
    decision == "forbid" && !going && !LACKING.iter().any(|head| namespace.starts_with(head))
}

fn describe(request: &Request) -> String {
    let Request { user, verb, group, resource, namespace, .. } = request;
    format!("{user}: {verb} {resource}.{group} in {namespace:?}")
}

/// What the chart gives to an operator that may do all that one can.
async fn given(cluster: &ControlPlane) -> Result<BTreeSet<Right>> {
    let values = json!({
        "api": {"credential": {"secretName": "credential"}},
        "restartWorkloads": true,
        "discoverWorkloads": true,
    });
    let options = ChartOptions::new(CHART, "rights", "rights").values(values);
    let chart = Chart::render(&cluster.helm(), &options).await?;
    let mut given = BTreeSet::new();
    for rule in
        chart.of_kind("ClusterRole").chain(chart.of_kind("Role")).flat_map(|role| texts(&role["rules"]))
    {
        for group in texts(&rule["apiGroups"]) {
            for resource in texts(&rule["resources"]) {
                for verb in texts(&rule["verbs"]) {
                    let text = |value: &Value| value.as_str().map(str::to_owned).context("not a text");
                    given.insert((text(group)?, text(resource)?, text(verb)?));
                }
            }
        }
    }
    Ok(given)
}

fn texts(list: &Value) -> impl Iterator<Item = &Value> {
    list.as_array().into_iter().flatten()
}
