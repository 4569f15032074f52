//! Every rule of the CRDs, tried on a real kube-apiserver.
//!
//! The cases are data, in `cases/*.yaml`, one per document:
//!
//! - `name`: what is tried;
//! - `kind`: `AccessKey` or `GatewayKey`; both, one after the other, when it is absent;
//! - `objectName`: the resource's name, when `checkout` isn't meant;
//! - `create: {spec}`, and `update: {spec}` for a change of the whole spec, before which the creation must succeed;
//! - `expect`: `accepted` or `refused`, of the last of the two;
//! - `message`: what a refusal must say; `{kind}` in it is the kind;
//! - `field`: the field that it must name, when the rule stands above that.
//!
//! What is no single create or update of a spec (sizes at their maximum, the status) is in [`checks`]; what
//! earlier releases took, in [`released`].
//!
//! The suite that has a control plane calls [`install`] and [`run_cases`].

use std::fmt::Display;
use std::path::Path;
use std::time::Duration;

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use keeptrusts_operator::resources::{AccessKey, GatewayKey, crds};
use kube::api::{Api, ApiResource, DeleteParams, DynamicObject, Patch, PatchParams, PostParams};
use kube::runtime::{conditions::is_crd_established, wait::await_condition};
use kube::{Client, ResourceExt};
use serde::Deserialize;
use serde_json::{Value, json};

mod checks;
mod released;

/// What a case's name and its outcome are.
pub(crate) type Outcome = (String, Result<(), String>);

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Case {
    name: String,
    kind: Option<Kind>,
    object_name: Option<String>,
    create: Step,
    update: Option<Step>,
    expect: Expect,
    message: Option<String>,
    field: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Step {
    spec: Value,
}

#[derive(Clone, Copy, Debug, Deserialize)]
enum Kind {
    AccessKey,
    GatewayKey,
}

#[derive(Clone, Copy, Debug, PartialEq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Expect {
    Accepted,
    Refused,
}

impl Kind {
    fn resource(self) -> ApiResource {
        match self {
            Self::AccessKey => ApiResource::erase::<AccessKey>(&()),
            Self::GatewayKey => ApiResource::erase::<GatewayKey>(&()),
        }
    }
}

/// Puts both CRDs on the API server, and waits until it serves them.
///
/// # Errors
/// If it refuses them, or doesn't serve them within half a minute.
pub(crate) async fn install(client: &Client) -> Result<(), String> {
    let api: Api<CustomResourceDefinition> = Api::all(client.clone());
    for crd in crds() {
        let name = crd.name_any();
        api.patch(&name, &PatchParams::apply("crd-cases").force(), &Patch::Apply(&crd))
            .await
            .map_err(text)?;
        let established = await_condition(api.clone(), &name, is_crd_established());
        tokio::time::timeout(Duration::from_secs(30), established).await.map_err(text)?.map_err(text)?;
    }
    Ok(())
}

/// Runs all cases and checks in an existing `namespace`, in which it removes what it makes.
///
/// # Panics
/// If the files of the cases can't be read.
pub(crate) async fn run_cases(client: Client, namespace: &str) -> Vec<Outcome> {
    let mut outcomes = Vec::new();
    for (file, case) in cases() {
        for kind in case.kind.map_or(vec![Kind::AccessKey, Kind::GatewayKey], |kind| vec![kind]) {
            let name = format!("{file}: {}: {kind:?}", case.name);
            outcomes.push((name, run(&client, namespace, kind, &case).await));
        }
    }
    for kind in [Kind::AccessKey, Kind::GatewayKey] {
        outcomes.extend(checks::run(&client, namespace, kind).await);
    }
    outcomes.extend(released::run(&client, namespace).await);
    outcomes
}

fn cases() -> Vec<(String, Case)> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/crds/cases");
    let mut files: Vec<_> =
        std::fs::read_dir(directory).expect("the cases").map(|file| file.expect("a file").path()).collect();
    files.sort();
    let mut cases = Vec::new();
    for path in files {
        let file = path.file_stem().expect("a name").to_string_lossy().into_owned();
        let text = std::fs::read_to_string(&path).expect("a readable file");
        for document in serde_yaml::Deserializer::from_str(&text) {
            let case = Case::deserialize(document).unwrap_or_else(|error| panic!("{file}: {error}"));
            assert!(
                case.message.is_some() == (case.expect == Expect::Refused),
                "{file}: {}: a refusal, and only that, has a message",
                case.name
            );
            cases.push((file.clone(), case));
        }
    }
    cases
}

async fn run(client: &Client, namespace: &str, kind: Kind, case: &Case) -> Result<(), String> {
    let resource = kind.resource();
    let api: Api<DynamicObject> = Api::namespaced_with(client.clone(), namespace, &resource);
    let name = case.object_name.as_deref().unwrap_or("checkout");
    let created = create(&api, &resource, name, &case.create.spec).await;
    let outcome = match &case.update {
        None => created.map(|_| ()),
        Some(step) => {
            let mut object = created.map_err(|error| format!("the creation was refused: {error}"))?;
            object.data["spec"] = step.spec.clone();
            api.replace(name, &PostParams::default(), &object).await.map(|_| ())
        }
    };
    remove(&api, name).await?;
    let message = case.message.as_deref().unwrap_or_default().replace("{kind}", &resource.kind);
    let field = case.field.as_ref().map(|field| format!("{field}: "));
    judge(outcome, case.expect, &[message, field.unwrap_or_default()])
}

fn judge(outcome: kube::Result<()>, expect: Expect, told: &[String]) -> Result<(), String> {
    match (outcome, expect) {
        (Ok(()), Expect::Accepted) => Ok(()),
        (Ok(()), Expect::Refused) => Err("it was accepted".to_owned()),
        (Err(kube::Error::Api(status)), Expect::Refused) if status.code == 422 => {
            match told.iter().find(|part| !status.message.contains(*part)) {
                None => Ok(()),
                Some(part) => Err(format!("the refusal doesn't say {part:?} but {:?}", status.message)),
            }
        }
        (Err(error), _) => Err(text(error)),
    }
}

async fn create(
    api: &Api<DynamicObject>,
    resource: &ApiResource,
    name: &str,
    spec: &Value,
) -> kube::Result<DynamicObject> {
    let object = DynamicObject::new(name, resource).data(json!({ "spec": spec }));
    api.create(&PostParams::default(), &object).await
}

async fn remove(api: &Api<DynamicObject>, name: &str) -> Result<(), String> {
    match api.delete(name, &DeleteParams::default()).await {
        Ok(_) => Ok(()),
        Err(kube::Error::Api(status)) if status.code == 404 => Ok(()),
        Err(error) => Err(text(error)),
    }
}

fn text(error: impl Display) -> String {
    error.to_string()
}
