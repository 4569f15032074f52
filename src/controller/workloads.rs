//! Workloads that use a Secret: how they are read and restarted.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use serde::Deserialize;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::lifecycle::rollout::{Hindrance, Workload};
use crate::lifecycle::time::Monotonic;
use crate::resources::{WorkloadKind, WorkloadRef};

use super::kubernetes::ApiError;

/// Domain of the annotations on pods' templates.
const DOMAIN: &str = "secret.keys.keeptrusts.com";

/// The longest name of an annotation, behind its domain.
const MAX_NAME: usize = 63;

/// The annotation of a pods' template that names the operation which brought a Secret's value. One for each Secret, so that a workload
/// that uses several keeps them apart.
pub(super) fn annotation(secret: &str) -> String {
    if secret.len() <= MAX_NAME {
        return format!("{DOMAIN}/{secret}");
    }
    let hash = base32::encode(base32::Alphabet::Rfc4648Lower { padding: false }, &Sha256::digest(secret));
    format!("{DOMAIN}/{}", &hash[..MAX_NAME.min(hash.len())])
}

/// The merge patch that restarts a workload for these operations, by annotation.
pub(super) fn restart(operations: &BTreeMap<String, String>) -> Value {
    json!({"spec": {"template": {"metadata": {"annotations": operations}}}})
}

/// The rollouts that this process has begun and not seen the end of, by namespace: so many at a time.
pub(super) struct Rollouts {
    most: usize,
    under_way: Mutex<HashMap<(String, WorkloadRef), Monotonic>>,
}

/// A rollout that nobody has looked at for so long has no key any more.
const FORGOTTEN: Duration = Duration::from_mins(5);

impl Rollouts {
    /// At most so many at a time.
    pub(super) fn at_most(most: u16) -> Self {
        Self { most: usize::from(most), under_way: Mutex::default() }
    }

    /// Takes a place for a rollout, or keeps the one that it has; false if there is none.
    pub(super) fn begin(&self, namespace: &str, workload: &WorkloadRef, now: Monotonic) -> bool {
        let mut under_way = self.under_way.lock().unwrap_or_else(PoisonError::into_inner);
        under_way.retain(|_, seen| now.since(*seen) < FORGOTTEN);
        let name = (namespace.to_owned(), workload.clone());
        let room = under_way.contains_key(&name) || under_way.len() < self.most;
        if room {
            under_way.insert(name, now);
        }
        room
    }

    /// Takes note of how a workload is.
    pub(super) fn notice(&self, namespace: &str, workload: &Workload, now: Monotonic) {
        let mut under_way = self.under_way.lock().unwrap_or_else(PoisonError::into_inner);
        let name = (namespace.to_owned(), workload.reference.clone());
        if matches!(workload.hindrance, Some(Hindrance::UnderWay(_))) && workload.restarted_for.is_some() {
            under_way.insert(name, now);
        } else {
            under_way.remove(&name);
        }
    }
}

/// As much of a workload of any kind as matters here. What a kind doesn't have is absent.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Object {
    metadata: ObjectMeta,
    spec: Spec,
    status: Status,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Spec {
    replicas: Option<i64>,
    paused: bool,
    update_strategy: UpdateStrategy,
    template: Template,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct UpdateStrategy {
    #[serde(rename = "type")]
    type_: Option<String>,
    rolling_update: Option<RollingUpdate>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct RollingUpdate {
    partition: Option<i64>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Template {
    metadata: ObjectMeta,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Status {
    observed_generation: Option<i64>,
    replicas: i64,
    updated_replicas: i64,
    available_replicas: i64,
    /// Pods that are on their way out, where the API server counts them (Kubernetes 1.35 and later).
    terminating_replicas: i64,
    desired_number_scheduled: i64,
    updated_number_scheduled: i64,
    number_available: i64,
}

/// What the API server's answer about a workload says. `secret` is the Secret's name.
pub(super) fn observe(
    reference: &WorkloadRef,
    secret: &str,
    answer: Result<String, ApiError>,
) -> Result<Workload, ApiError> {
    let stuck = |why: String| Workload {
        reference: reference.clone(),
        restarted_for: None,
        hindrance: Some(Hindrance::Stuck(why)),
    };
    let text = match answer {
        Ok(text) => text,
        Err(ApiError::NotFound) => {
            return Ok(stuck("isn't there: correct spec.workloads.refs, or make it".to_owned()));
        }
        Err(ApiError::Refused(why)) => {
            return Ok(stuck(format!(
                "can't be read, so nothing is known of its pods (the chart's value restartWorkloads gives the right): {why}"
            )));
        }
        Err(error) => return Err(error),
    };
    let object: Object = serde_json::from_str(&text)
        .map_err(|error| ApiError::Unavailable(format!("its answer isn't a workload: {error}")))?;
    let restarted_for = object
        .spec
        .template
        .metadata
        .annotations
        .as_ref()
        .and_then(|annotations| annotations.get(&annotation(secret)).cloned());
    Ok(Workload {
        reference: reference.clone(),
        restarted_for,
        hindrance: hindrance(reference.kind, &object),
    })
}

/// What keeps a workload from running on its template: the rules by which `kubectl rollout status` judges.
fn hindrance(kind: WorkloadKind, object: &Object) -> Option<Hindrance> {
    let Object { metadata, spec, status } = object;
    if spec.paused {
        return Some(Hindrance::Stuck("is paused: resume it, and it will be restarted".to_owned()));
    }
    if spec.update_strategy.type_.as_deref() == Some("OnDelete") {
        let why = "has the update strategy OnDelete, so that a restart changes no pod: delete its pods, or set RollingUpdate";
        return Some(Hindrance::Stuck(why.to_owned()));
    }
    let partition = spec.update_strategy.rolling_update.as_ref().and_then(|update| update.partition);
    if partition.is_some_and(|partition| partition > 0) {
        let why = "has a partition in its rolling update, so that some pods stay as they are: set it to 0";
        return Some(Hindrance::Stuck(why.to_owned()));
    }
    let under_way = |how: String| Some(Hindrance::UnderWay(how));
    if status.observed_generation < metadata.generation {
        return under_way("its controller hasn't seen the change".to_owned());
    }
    let (wanted, all, updated, available) = match kind {
        WorkloadKind::Deployment | WorkloadKind::StatefulSet => {
            let wanted = spec.replicas.unwrap_or(1);
            (wanted, status.replicas, status.updated_replicas, status.available_replicas)
        }
        WorkloadKind::DaemonSet => {
            let wanted = status.desired_number_scheduled;
            (wanted, wanted, status.updated_number_scheduled, status.number_available)
        }
    };
    if updated < wanted {
        return under_way(format!("{updated} of {wanted} pods are new"));
    }
    let old = all - updated + status.terminating_replicas;
    if old > 0 {
        return under_way(format!("{old} old pods are still there"));
    }
    (available < updated)
        .then(|| Hindrance::UnderWay(format!("{available} of {updated} new pods are available")))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is said of a workload with this spec and status, at generation 2.
    fn said(kind: WorkloadKind, spec: &Value, status: &Value) -> Option<Hindrance> {
        let object = json!({"metadata": {"generation": 2}, "spec": spec, "status": status}).to_string();
        let reference = WorkloadRef { kind, name: "checkout".to_owned() };
        observe(&reference, "checkout", Ok(object)).unwrap().hindrance
    }

    fn under_way(how: &str) -> Hindrance {
        Hindrance::UnderWay(how.to_owned())
    }

    #[test]
    fn a_rollout_is_complete_by_the_rules_of_kubectl() {
        use WorkloadKind::{DaemonSet, Deployment, StatefulSet};
        let status = |observed, all, updated, available| {
            json!({
                "observedGeneration": observed,
                "replicas": all,
                "updatedReplicas": updated,
                "availableReplicas": available,
            })
        };
        for kind in [Deployment, StatefulSet] {
            let three = json!({"replicas": 3});
            assert_eq!(said(kind, &three, &status(2, 3, 3, 3)), None);
            assert_eq!(said(kind, &json!({}), &status(2, 1, 1, 1)), None, "one is the default");
            assert_eq!(
                said(kind, &three, &status(1, 3, 3, 3)),
                Some(under_way("its controller hasn't seen the change"))
            );
            assert_eq!(said(kind, &three, &status(2, 3, 1, 3)), Some(under_way("1 of 3 pods are new")));
            assert_eq!(
                said(kind, &three, &status(2, 4, 3, 3)),
                Some(under_way("1 old pods are still there"))
            );
            assert_eq!(
                said(kind, &three, &status(2, 3, 3, 2)),
                Some(under_way("2 of 3 new pods are available"))
            );
            assert_eq!(said(kind, &json!({"replicas": 0}), &status(2, 0, 0, 0)), None, "nobody runs");
        }
        let mut leaving = status(2, 3, 3, 3);
        leaving["terminatingReplicas"] = json!(2);
        let three = json!({"replicas": 3});
        assert_eq!(said(Deployment, &three, &leaving), Some(under_way("2 old pods are still there")));
        let nodes = |updated, available| {
            json!({
                "observedGeneration": 2,
                "desiredNumberScheduled": 3,
                "updatedNumberScheduled": updated,
                "numberAvailable": available,
            })
        };
        assert_eq!(said(DaemonSet, &json!({}), &nodes(3, 3)), None);
        assert_eq!(said(DaemonSet, &json!({}), &nodes(1, 3)), Some(under_way("1 of 3 pods are new")));
        assert_eq!(
            said(DaemonSet, &json!({}), &nodes(3, 2)),
            Some(under_way("2 of 3 new pods are available"))
        );
    }

    #[test]
    fn what_never_rolls_out_by_itself_is_stuck() {
        use WorkloadKind::{DaemonSet, Deployment, StatefulSet};
        let stuck = |kind, spec: Value| matches!(said(kind, &spec, &json!({})), Some(Hindrance::Stuck(_)));
        assert!(stuck(Deployment, json!({"paused": true})));
        for kind in [StatefulSet, DaemonSet] {
            assert!(stuck(kind, json!({"updateStrategy": {"type": "OnDelete"}})));
        }
        assert!(stuck(StatefulSet, json!({"updateStrategy": {"rollingUpdate": {"partition": 1}}})));
        assert!(!stuck(StatefulSet, json!({"updateStrategy": {"rollingUpdate": {"partition": 0}}})));
    }

    #[test]
    fn an_annotation_is_a_valid_key_however_long_the_secrets_name_is() {
        assert_eq!(annotation("checkout.keys"), "secret.keys.keeptrusts.com/checkout.keys");
        let long = annotation(&"a".repeat(253));
        let name = long.strip_prefix("secret.keys.keeptrusts.com/").unwrap();
        assert!(name.len() <= 63 && name.bytes().all(|byte| byte.is_ascii_alphanumeric()));
        assert_ne!(long, annotation(&"a".repeat(252)));
    }

    #[test]
    fn so_many_rollouts_at_a_time() {
        let rollouts = Rollouts::at_most(2);
        let workload = |name: &str| WorkloadRef { kind: WorkloadKind::Deployment, name: name.to_owned() };
        let at = |seconds: u64| Monotonic(Duration::from_secs(seconds));
        let seen = |name: &str, hindrance| Workload {
            reference: workload(name),
            restarted_for: Some("operation".to_owned()),
            hindrance,
        };
        assert!(
            rollouts.begin("shop", &workload("a"), at(0)) && rollouts.begin("shop", &workload("b"), at(0))
        );
        assert!(!rollouts.begin("shop", &workload("c"), at(1)));
        assert!(rollouts.begin("shop", &workload("a"), at(1)), "it has its place");
        rollouts.notice("shop", &seen("a", None), at(2));
        assert!(rollouts.begin("shop", &workload("c"), at(2)));
        // What another process began counts once it is seen.
        rollouts.notice("shop", &seen("d", Some(under_way("…"))), at(3));
        rollouts.notice("shop", &seen("c", None), at(3));
        assert!(!rollouts.begin("shop", &workload("e"), at(3)));
        assert!(rollouts.begin("shop", &workload("e"), at(1_000)), "nobody has looked at them for long");
    }
}
