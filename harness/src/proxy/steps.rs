//! The steps of the operator's protocol at the Kubernetes API, as requests. They are for both kinds of key; add
//! [`Match::namespace`] where several keys share a name.

use serde_json::Value;

use super::{Call, Match};

/// The operator's API group.
const GROUP: &str = "keys.keeptrusts.com";

/// The operator's finalizer.
const FINALIZER: &str = "keys.keeptrusts.com/tokens";

/// Plurals of the operator's kinds.
const PLURALS: [&str; 2] = ["accesskeys", "gatewaykeys"];

/// Reads a key live, before an act that can't be undone.
#[must_use]
pub fn resource_read(name: &str) -> Match {
    key(name, "").and(Match::method("GET")).named(&format!("the read of key {name}"))
}

/// Step 0: the finalizer goes on.
#[must_use]
pub fn finalizer_patch(name: &str) -> Match {
    finalizers(name, true).named(&format!("the finalizer of {name} put on"))
}

/// The end of a deletion: the finalizer goes.
#[must_use]
pub fn finalizer_removal(name: &str) -> Match {
    finalizers(name, false).named(&format!("the finalizer of {name} taken off"))
}

/// Step 1: the dry run of the Secret.
#[must_use]
pub fn dry_run(secret: &str) -> Match {
    any_secret_write(secret)
        .and(Match::query("dryRun", "All"))
        .named(&format!("the dry run of Secret {secret}"))
}

/// Step 2: the intent is recorded.
#[must_use]
pub fn intent(name: &str) -> Match {
    status_write(name).and(Match::body_has("/status/operation")).named(&format!("the intent of {name}"))
}

/// Step 4: the Secret gets a value. Rendering it anew around the old value is one too.
#[must_use]
pub fn secret_write(secret: &str) -> Match {
    any_secret_write(secret)
        .and_not(Match::query("dryRun", "All"))
        .and(Match::body("with data", |body| body.get("data").or_else(|| body.get("stringData")).is_some()))
        .named(&format!("the write of Secret {secret}"))
}

/// A write to the Secret that leaves its data alone: a fence, or the mark of one that is retained.
#[must_use]
pub fn secret_mark(secret: &str) -> Match {
    any_secret_write(secret)
        .and_not(Match::query("dryRun", "All"))
        .and_not(secret_write(secret))
        .named(&format!("a mark on Secret {secret}"))
}

/// The Secret is read, with its data.
#[must_use]
pub fn secret_read(secret: &str) -> Match {
    secret_object(secret).and(Match::method("GET")).named(&format!("the read of Secret {secret}"))
}

/// Step 5: the token is in status, and the operation is cleared. What follows (a token revoked, conditions) looks the same.
#[must_use]
pub fn commit(name: &str) -> Match {
    status_write(name)
        .and(Match::body_has("/status/token"))
        .and_not(Match::body_has("/status/operation"))
        .named(&format!("the commit of {name}"))
}

/// Any write of a key's status.
#[must_use]
pub fn status_write(name: &str) -> Match {
    let put = Match::method("PUT").or(Match::method("PATCH"));
    key(name, "status").and(put).named(&format!("a status write of {name}"))
}

/// Any write to a key or its status.
#[must_use]
pub fn resource_write(name: &str) -> Match {
    key(name, "").or(key(name, "status")).and(write()).named(&format!("a write to key {name}"))
}

/// Any write of any Secret, dry runs included.
#[must_use]
pub fn any_secret() -> Match {
    Match::new("any write of a Secret", |call| secret_path(call).is_some()).and(write())
}

/// Secrets are listed or watched with their data.
#[must_use]
pub fn secrets_listed_whole() -> Match {
    Match::method("GET").and(Match::new("a list of Secrets with their data", |call| {
        call.segments().last() == Some(&"secrets") && !call.accept.contains("as=PartialObjectMetadata")
    }))
}

/// An event is written.
#[must_use]
pub fn event() -> Match {
    Match::path_contains("/events").and(write()).named("the write of an event")
}

/// Whatever changes something: POST, PUT, PATCH or DELETE.
#[must_use]
pub fn write() -> Match {
    Match::new("a write", |call| matches!(call.method.as_str(), "POST" | "PUT" | "PATCH" | "DELETE"))
}

/// A watch is opened, which needs no answer.
#[must_use]
pub fn watch() -> Match {
    Match::query("watch", "true").or(Match::query("watch", "1")).named("a watch")
}

/// Requests for a key, or for a subresource of it.
fn key(name: &str, subresource: &str) -> Match {
    let (name, subresource) = (name.to_owned(), subresource.to_owned());
    Match::new(&format!("for key {name}"), move |call| match call.segments()[..] {
        [.., GROUP, _, "namespaces", _, plural, found] => {
            PLURALS.contains(&plural) && found == name && subresource.is_empty()
        }
        [.., GROUP, _, "namespaces", _, plural, found, sub] => {
            PLURALS.contains(&plural) && found == name && sub == subresource
        }
        _ => false,
    })
}

fn finalizers(name: &str, ours: bool) -> Match {
    let body = Match::body("that sets finalizers", move |body| {
        let finalizers = body.pointer("/metadata/finalizers");
        let listed =
            finalizers.and_then(Value::as_array).into_iter().flatten().any(|found| found == FINALIZER);
        finalizers.is_some() && listed == ours
    });
    key(name, "").and(Match::method("PATCH").or(Match::method("PUT"))).and(body)
}

/// The name of the Secret in the path; empty for the collection.
fn secret_path(call: &Call) -> Option<&str> {
    match call.segments()[..] {
        [.., "api", "v1", "namespaces", _, "secrets"] => Some(""),
        [.., "api", "v1", "namespaces", _, "secrets", name] => Some(name),
        _ => None,
    }
}

fn secret_object(secret: &str) -> Match {
    let secret = secret.to_owned();
    Match::new(&format!("for Secret {secret}"), move |call| secret_path(call) == Some(&secret))
}

/// A create, whose body says the name, or a change.
fn any_secret_write(secret: &str) -> Match {
    let name = secret.to_owned();
    let create = Match::new("the create", move |call| {
        call.method == "POST" && secret_path(call) == Some("") && call.body["metadata"]["name"] == *name
    });
    create.or(secret_object(secret).and(Match::method("PATCH").or(Match::method("PUT"))))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proxy::call::Log;
    use serde_json::json;

    const KEY: &str = "/apis/keys.keeptrusts.com/v1alpha1/namespaces/shop/accesskeys/checkout";
    const SECRETS: &str = "/api/v1/namespaces/shop/secrets";

    fn call(method: &str, uri: &str, body: &Value) -> Call {
        let (parts, ()) = http::Request::builder().method(method).uri(uri).body(()).unwrap().into_parts();
        Log::default().begin(&parts, body.to_string().as_bytes())
    }

    /// The names of those that match.
    fn steps(method: &str, uri: &str, body: &Value) -> Vec<&'static str> {
        let call = call(method, uri, body);
        let (key, secret) = ("checkout", "checkout-keeptrusts");
        [
            ("resource_read", resource_read(key)),
            ("finalizer_patch", finalizer_patch(key)),
            ("finalizer_removal", finalizer_removal(key)),
            ("dry_run", dry_run(secret)),
            ("intent", intent(key)),
            ("secret_write", secret_write(secret)),
            ("secret_mark", secret_mark(secret)),
            ("secret_read", secret_read(secret)),
            ("commit", commit(key)),
        ]
        .into_iter()
        .filter_map(|(name, step)| step.matches(&call).then_some(name))
        .collect()
    }

    #[test]
    fn every_request_is_one_step() {
        let secret = json!({"metadata": {"name": "checkout-keeptrusts"}, "data": {"api-key": "eA=="}});
        let status = json!({"status": {"operation": {"id": "op"}, "token": {"id": "tok"}}});
        let done = json!({"status": {"token": {"id": "tok"}}});
        let finalizer = json!({"metadata": {"finalizers": ["other", FINALIZER]}});
        let without = json!({"metadata": {"finalizers": ["other"]}});
        let mark = json!({"metadata": {"annotations": {"keys.keeptrusts.com/fence": "1"}}});
        let gateway = KEY.replace("accesskeys", "gatewaykeys");
        for (method, uri, body, expected) in [
            ("GET", KEY.to_owned(), &Value::Null, "resource_read"),
            ("PATCH", format!("{KEY}?fieldManager=x"), &finalizer, "finalizer_patch"),
            ("PATCH", gateway, &without, "finalizer_removal"),
            ("PATCH", KEY.to_owned(), &json!({"metadata": {"finalizers": null}}), "finalizer_removal"),
            ("POST", format!("{SECRETS}?dryRun=All"), &secret, "dry_run"),
            ("PATCH", format!("{SECRETS}/checkout-keeptrusts?a=b&dryRun=All"), &secret, "dry_run"),
            ("PUT", format!("{KEY}/status"), &status, "intent"),
            ("POST", SECRETS.to_owned(), &secret, "secret_write"),
            ("PATCH", format!("{SECRETS}/checkout-keeptrusts"), &secret, "secret_write"),
            ("PATCH", format!("{SECRETS}/checkout-keeptrusts"), &mark, "secret_mark"),
            ("GET", format!("{SECRETS}/checkout-keeptrusts"), &Value::Null, "secret_read"),
            ("PUT", format!("{KEY}/status"), &done, "commit"),
        ] {
            assert_eq!(steps(method, &uri, body), [expected], "{method} {uri}");
        }
    }

    #[test]
    fn requests_of_others_are_none() {
        let other = json!({"metadata": {"name": "checkout", "finalizers": [FINALIZER]}, "data": {}});
        for (method, uri) in [
            ("GET", format!("{KEY}-two")),
            ("GET", KEY.replace("accesskeys", "widgets")),
            ("PATCH", format!("{KEY}/status")),
            ("POST", SECRETS.to_owned()),
            ("GET", SECRETS.to_owned()),
            ("PATCH", "/api/v1/namespaces/checkout/secrets/checkout".to_owned()),
        ] {
            assert!(steps(method, &uri, &other).is_empty(), "{method} {uri}");
        }
    }
}
