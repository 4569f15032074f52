//! The token API's calls, for a proxy before it. Its older paths aren't here: the operator doesn't use them.

use super::Match;

/// Makes a token.
#[must_use]
pub fn create() -> Match {
    request("POST", |path| path.is_empty()).named("the create of a token")
}

/// Makes the token of a name.
#[must_use]
pub fn create_of(name: &str) -> Match {
    let expected = name.to_owned();
    create()
        .and(Match::body("of a name", move |body| body["name"] == *expected))
        .named(&format!("the create of token {name}"))
}

/// Rotates any token.
#[must_use]
pub fn rotate() -> Match {
    request("POST", |path| matches!(path, [_, "rotate"])).named("a rotation")
}

/// Rotates the token of an id.
#[must_use]
pub fn rotate_of(id: &str) -> Match {
    let expected = id.to_owned();
    request("POST", move |path| *path == [expected.as_str(), "rotate"])
        .named(&format!("the rotation of {id}"))
}

/// Revokes any token.
#[must_use]
pub fn revoke() -> Match {
    request("DELETE", |path| path.len() == 1).named("a revocation")
}

/// Revokes the token of an id.
#[must_use]
pub fn revoke_of(id: &str) -> Match {
    let expected = id.to_owned();
    request("DELETE", move |path| *path == [expected.as_str()]).named(&format!("the revocation of {id}"))
}

/// Lists the tokens, a page of them.
#[must_use]
pub fn list() -> Match {
    request("GET", |path| path.is_empty()).named("a list of tokens")
}

/// Lists the tokens of a type: `access` or `gateway`.
#[must_use]
pub fn list_of(token_type: &str) -> Match {
    list().and(Match::query("type", token_type)).named(&format!("a list of {token_type} tokens"))
}

/// Tries a credential or a value.
#[must_use]
pub fn whoami() -> Match {
    Match::method("GET").and(Match::path_ends_with("/v1/whoami")).named("a whoami")
}

/// The calls that make something or end it: all but lists and whoami.
#[must_use]
pub fn write() -> Match {
    create().or(rotate()).or(revoke()).named("a call that changes tokens")
}

/// A method, with a condition on what follows `/v1/tokens`.
fn request(method: &str, rest: impl Fn(&[&str]) -> bool + Send + Sync + 'static) -> Match {
    Match::method(method).and(Match::new("of tokens", move |call| {
        let segments = call.segments();
        let root = segments.windows(2).position(|pair| pair == ["v1", "tokens"]);
        root.is_some_and(|root| rest(&segments[root + 2..]))
    }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proxy::call::Log;

    #[test]
    fn every_call_is_one_of_them() {
        for (method, uri, expected) in [
            ("POST", "/v1/tokens", "create"),
            ("POST", "/v1/tokens/tok_1/rotate", "rotate"),
            ("DELETE", "/v1/tokens/tok_1", "revoke"),
            ("GET", "/prefix/v1/tokens?type=access&cursor=2", "list"),
            ("GET", "/v1/whoami", "whoami"),
            ("GET", "/v1/gateway-keys", ""),
        ] {
            let (parts, ()) = http::Request::builder().method(method).uri(uri).body(()).unwrap().into_parts();
            let call = Log::default().begin(&parts, b"");
            let found: Vec<_> = [
                ("create", create()),
                ("rotate", rotate()),
                ("revoke", revoke()),
                ("list", list()),
                ("whoami", whoami()),
            ]
            .into_iter()
            .filter_map(|(name, which)| which.matches(&call).then_some(name))
            .collect();
            assert_eq!(found.join(" "), expected, "{method} {uri}");
            assert_eq!(rotate_of("tok_1").matches(&call), expected == "rotate");
            assert!(!revoke_of("tok_2").matches(&call));
            assert_eq!(list_of("access").matches(&call), expected == "list");
        }
    }
}
