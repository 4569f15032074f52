//! Which requests a rule is for: small predicates, put together.

use std::fmt;
use std::ops::Not;
use std::sync::Arc;

use serde_json::Value;

use super::Call;

type Test = dyn Fn(&Call) -> bool + Send + Sync;

/// A predicate over requests that can say what it looks for.
///
/// ```
/// use keeptrusts_harness::Match;
/// let dry_run = Match::method("PATCH").and(Match::path_ends_with("/secrets/checkout")).and(Match::query("dryRun", "All"));
/// assert_eq!(dry_run.to_string(), "PATCH with a path …/secrets/checkout with dryRun=All");
/// ```
#[derive(Clone)]
pub struct Match {
    what: String,
    test: Arc<Test>,
}

impl Match {
    /// The requests that `test` is true of. The call has no status yet; of a Secret's data it has the keys alone.
    pub fn new(what: &str, test: impl Fn(&Call) -> bool + Send + Sync + 'static) -> Self {
        Self { what: what.to_owned(), test: Arc::new(test) }
    }

    /// Every request.
    #[must_use]
    pub fn any() -> Self {
        Self::new("any request", |_| true)
    }

    /// Those with a method.
    #[must_use]
    pub fn method(method: &str) -> Self {
        let expected = method.to_ascii_uppercase();
        Self::new(&expected.clone(), move |call| call.method == expected)
    }

    /// Those with exactly this path, without the query.
    #[must_use]
    pub fn path(path: &str) -> Self {
        let expected = path.to_owned();
        Self::new(&format!("with the path {path}"), move |call| call.path == expected)
    }

    /// Those whose path contains a text.
    #[must_use]
    pub fn path_contains(text: &str) -> Self {
        let expected = text.to_owned();
        Self::new(&format!("with a path …{text}…"), move |call| call.path.contains(&expected))
    }

    /// Those whose path begins with a text.
    #[must_use]
    pub fn path_starts_with(text: &str) -> Self {
        let expected = text.to_owned();
        Self::new(&format!("with a path {text}…"), move |call| call.path.starts_with(&expected))
    }

    /// Those whose path ends with a text.
    #[must_use]
    pub fn path_ends_with(text: &str) -> Self {
        let expected = text.to_owned();
        Self::new(&format!("with a path …{text}"), move |call| call.path.ends_with(&expected))
    }

    /// Those of the Kubernetes API for a namespace.
    #[must_use]
    pub fn namespace(namespace: &str) -> Self {
        let expected = format!("/namespaces/{namespace}/");
        Self::new(&format!("in namespace {namespace}"), move |call| call.path.contains(&expected))
    }

    /// Those whose query sets a parameter to a value.
    #[must_use]
    pub fn query(name: &str, value: &str) -> Self {
        let (key, expected) = (name.to_owned(), value.to_owned());
        Self::new(&format!("with {name}={value}"), move |call| call.has_query(&key, &expected))
    }

    /// Those whose body, as JSON, fulfils a condition. A request without one has null.
    pub fn body(what: &str, test: impl Fn(&Value) -> bool + Send + Sync + 'static) -> Self {
        Self::new(what, move |call| test(&call.body))
    }

    /// Those whose body has something other than null at a JSON pointer.
    #[must_use]
    pub fn body_has(pointer: &str) -> Self {
        let place = pointer.to_owned();
        Self::body(&format!("with {pointer} in its body"), move |body| {
            body.pointer(&place).is_some_and(|value| !value.is_null())
        })
    }

    /// Those that this and another one are for.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        let what = format!("{} {}", self.what, other.what);
        Self::new(&what, move |call| self.matches(call) && other.matches(call))
    }

    /// Those that this or another one is for.
    #[must_use]
    pub fn or(self, other: Self) -> Self {
        let what = format!("({} or {})", self.what, other.what);
        Self::new(&what, move |call| self.matches(call) || other.matches(call))
    }

    /// Those that this one is for and the other isn't.
    #[must_use]
    pub fn and_not(self, other: Self) -> Self {
        self.and(!other)
    }

    /// Gives it a name of its own.
    #[must_use]
    pub fn named(self, what: &str) -> Self {
        Self { what: what.to_owned(), ..self }
    }

    /// Whether it is for this request.
    #[must_use]
    pub fn matches(&self, call: &Call) -> bool {
        (self.test)(call)
    }
}

impl Not for Match {
    type Output = Self;

    fn not(self) -> Self {
        let what = format!("not ({})", self.what);
        Self::new(&what, move |call| !self.matches(call))
    }
}

impl fmt::Display for Match {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.what)
    }
}

impl fmt::Debug for Match {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Match").field(&self.what).finish()
    }
}
