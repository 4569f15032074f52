//! What the data can't say: objects at their maximum, the status, the fields that can be selected.

use std::collections::BTreeMap;

use kube::api::{Api, DynamicObject, ListParams, Patch, PatchParams, PostParams};
use kube::{Client, ResourceExt};
use serde_json::{Value, json};

use super::{Kind, Outcome, create, remove, text};

/// Runs all of them on one kind.
pub(super) async fn run(client: &Client, namespace: &str, kind: Kind) -> Vec<Outcome> {
    let resource = kind.resource();
    let api: Api<DynamicObject> = Api::namespaced_with(client.clone(), namespace, &resource);
    let mut outcomes = Vec::new();
    macro_rules! check {
        ($name:expr, $spec:expr, $check:ident) => {
            let outcome = match create(&api, &resource, "checkout", &$spec).await {
                Ok(object) => $check(&api, object).await,
                Err(error) => Err(text(error)),
            };
            let removed = remove(&api, "checkout").await;
            outcomes.push((format!("checks: {}: {kind:?}", $name), outcome.and(removed)));
        };
    }
    check!("a new object's status has observedGeneration -1", json!({}), status_has_its_default);
    check!("the largest spec can be created and changed", largest(), can_be_changed);
    check!("eight superseded tokens are the most, each once", json!({}), superseded_is_bounded);
    check!("adopt is settled once there is a token", adopting("tok_1"), adopt_is_settled);
    check!("and can't be added then", json!({ "deletionPolicy": "Retain" }), adopt_cannot_be_added);
    check!("fields can be selected", json!({ "secret": { "name": "checkout-keeptrusts" } }), can_be_selected);
    outcomes
}

async fn status_has_its_default(api: &Api<DynamicObject>, _: DynamicObject) -> Result<(), String> {
    let read = api.get("checkout").await.map_err(text)?;
    expect(&read.data["status"], &json!({ "observedGeneration": -1 }))
}

/// The rules' true cost is counted anew in every request, with a limit of its own.
async fn can_be_changed(api: &Api<DynamicObject>, mut object: DynamicObject) -> Result<(), String> {
    object.data["spec"]["suspend"] = json!(true);
    let mut object = api.replace("checkout", &PostParams::default(), &object).await.map_err(text)?;
    for part in ["data", "annotations"] {
        let mut larger = object.clone();
        let texts = larger.data["spec"]["secret"]["template"][part].as_object_mut().into_iter().flatten();
        texts.take(1).for_each(|(_, value)| *value = json!("v".repeat(2_049)));
        let replaced = api.replace("checkout", &PostParams::default(), &larger).await;
        refused(replaced, &format!("the {part} of a template have at most 65536 characters together"))?;
    }
    object.data["spec"]["suspend"] = json!(false);
    api.replace("checkout", &PostParams::default(), &object).await.map_err(text)?;
    Ok(())
}

/// All maps full, the data of the dearest text: as large as the schema admits and a request can be.
fn largest() -> Value {
    let map = |prefix: &str, tail: usize, value: String| -> BTreeMap<String, String> {
        (10..42).map(|i| (format!("{prefix}{i}{}", "k".repeat(tail)), value.clone())).collect()
    };
    json!({
        "token": { "expiresAfter": "1h".repeat(16), "name": "n".repeat(63), "teamId": "t".repeat(128) },
        "secret": {
            "name": "s".repeat(253),
            "key": "k".repeat(253),
            "template": {
                "labels": map(&format!("{}.com/", "d".repeat(63)), 61, "v".repeat(63)),
                "annotations": map(&format!("{}.com/", "d".repeat(63)), 61, "v".repeat(2_048)),
                "data": map("", 251, format!("{}$$", "$$(".repeat(682))),
            },
        },
        "rotation": { "grace": "1h".repeat(16), "generation": 1_i64 << 53 },
    })
}

async fn superseded_is_bounded(api: &Api<DynamicObject>, _: DynamicObject) -> Result<(), String> {
    let now = "2026-01-01T00:00:00Z";
    let write = async |ids: &[u8]| {
        let tokens: Vec<_> = ids
            .iter()
            .map(|id| json!({ "id": format!("tok_{id}"), "since": now, "revokeAfter": now }))
            .collect();
        let patch = json!({ "status": { "superseded": tokens } });
        api.patch_status("checkout", &PatchParams::default(), &Patch::Merge(&patch)).await
    };
    write(&[1, 2, 3, 4, 5, 6, 7, 8]).await.map_err(text)?;
    refused(write(&[1, 2, 3, 4, 5, 6, 7, 8, 9]).await, "must have at most 8 items")?;
    refused(write(&[1, 1]).await, "Duplicate value")
}

fn adopting(id: &str) -> Value {
    json!({ "deletionPolicy": "Retain", "adopt": { "tokenId": id, "value": "Rotate" } })
}

/// As the operator's commit does.
async fn has_a_token(api: &Api<DynamicObject>) -> Result<DynamicObject, String> {
    let patch = json!({ "status": { "token": { "id": "tok_1" } } });
    api.patch_status("checkout", &PatchParams::default(), &Patch::Merge(&patch)).await.map_err(text)
}

const SETTLED: &str =
    "adopt can't be changed once the resource has a token: make a new resource to adopt another one";

async fn adopt_is_settled(api: &Api<DynamicObject>, _: DynamicObject) -> Result<(), String> {
    let object = has_a_token(api).await?;
    let replace = async |spec: Value| {
        let mut object = object.clone();
        object.data["spec"] = spec;
        api.replace("checkout", &PostParams::default(), &object).await
    };
    let mut by_secret = adopting("tok_1");
    by_secret["adopt"]["value"] = json!("FromSecret");
    for change in [adopting("tok_2"), by_secret, json!({ "deletionPolicy": "Retain" }), json!({})] {
        refused(replace(change.clone()).await, SETTLED).map_err(|error| format!("{change}: {error}"))?;
    }
    let mut other_fields = adopting("tok_1");
    other_fields["deletionPolicy"] = json!("Revoke");
    other_fields["suspend"] = json!(true);
    replace(other_fields).await.map_err(text)?;
    Ok(())
}

async fn adopt_cannot_be_added(api: &Api<DynamicObject>, _: DynamicObject) -> Result<(), String> {
    let mut object = has_a_token(api).await?;
    object.data["spec"] = adopting("tok_1");
    refused(api.replace("checkout", &PostParams::default(), &object).await, SETTLED)
}

async fn can_be_selected(api: &Api<DynamicObject>, _: DynamicObject) -> Result<(), String> {
    let patch = json!({ "status": { "token": { "id": "tok_1" } } });
    api.patch_status("checkout", &PatchParams::default(), &Patch::Merge(&patch)).await.map_err(text)?;
    for (selector, found) in [
        ("spec.secret.name=checkout-keeptrusts", 1),
        ("spec.secret.name=checkout", 0),
        ("status.token.id=tok_1", 1),
        ("status.token.id=tok_2", 0),
    ] {
        let list = api.list(&ListParams::default().fields(selector)).await.map_err(text)?;
        let names: Vec<_> = list.iter().map(ResourceExt::name_any).collect();
        expect(&json!(names.len()), &json!(found)).map_err(|error| format!("{selector}: {error}"))?;
    }
    Ok(())
}

fn refused(outcome: kube::Result<DynamicObject>, message: &str) -> Result<(), String> {
    match outcome {
        Err(kube::Error::Api(status)) if status.message.contains(message) => Ok(()),
        Err(error) => Err(text(error)),
        Ok(_) => Err(format!("it was accepted, but {message:?} was due")),
    }
}

fn expect(found: &Value, due: &Value) -> Result<(), String> {
    if found == due { Ok(()) } else { Err(format!("{found} instead of {due}")) }
}
