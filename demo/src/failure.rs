//! Something isn't so.

/// What a check expected, and what it saw.
#[derive(Debug, thiserror::Error)]
#[error("expected: {expected}\nseen:     {seen}")]
pub(crate) struct Failure {
    expected: String,
    seen: String,
}

impl Failure {
    /// As an error.
    pub(crate) fn error(expected: impl Into<String>, seen: impl Into<String>) -> anyhow::Error {
        Self { expected: expected.into(), seen: seen.into() }.into()
    }
}

/// An error unless `so`.
pub(crate) fn check(so: bool, expected: &str, seen: impl FnOnce() -> String) -> anyhow::Result<()> {
    if so { Ok(()) } else { Err(Failure::error(expected, seen())) }
}
