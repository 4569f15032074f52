//! Label selectors as `kubectl` takes them: `team=shop,env in (prod,stage),!legacy`.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use kube::core::{Expression, Selector, SelectorExt as _};

/// Which keys this operator keeps, by their labels.
#[derive(Clone, PartialEq, Eq)]
pub struct KeySelector(Selector);

/// The text isn't a selector.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{0:?} is no requirement on a label: must be like team=shop, team!=shop, team in (shop,billing), team notin (shop), team or !team"
)]
pub struct InvalidSelector(String);

impl KeySelector {
    /// Whether an object with these labels is meant.
    #[must_use]
    pub fn matches(&self, labels: &BTreeMap<String, String>) -> bool {
        self.0.matches(labels)
    }
}

impl fmt::Display for KeySelector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Debug for KeySelector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "KeySelector({self})")
    }
}

impl FromStr for KeySelector {
    type Err = InvalidSelector;

    fn from_str(text: &str) -> Result<Self, InvalidSelector> {
        requirements(text).map(expression).collect::<Result<Selector, _>>().map(Self)
    }
}

/// The parts between commas, but for those in parentheses.
fn requirements(text: &str) -> impl Iterator<Item = &str> {
    let mut depth = 0_usize;
    text.split(move |c| {
        match c {
            '(' => depth += 1,
            ')' => depth = depth.saturating_sub(1),
            _ => {}
        }
        c == ',' && depth == 0
    })
    .map(str::trim)
}

fn expression(text: &str) -> Result<Expression, InvalidSelector> {
    let invalid = || InvalidSelector(text.to_owned());
    let key = |text: &str| Some(text.trim()).filter(|key| is_key(key)).map(str::to_owned);
    let value = |text: &str| Some(text.trim()).filter(|value| is_value(value)).map(str::to_owned);
    let parsed = if let Some(set) = text.strip_suffix(')') {
        let (head, values) = set.split_once('(').ok_or_else(invalid)?;
        let values = values.split(',').map(value).collect::<Option<_>>();
        let mut words = head.split_whitespace();
        match (words.next().and_then(key), words.next(), values, words.next()) {
            (Some(key), Some("in"), Some(values), None) => Some(Expression::In(key, values)),
            (Some(key), Some("notin"), Some(values), None) => Some(Expression::NotIn(key, values)),
            _ => None,
        }
    } else if let Some((name, wanted)) = text.split_once("!=") {
        key(name).zip(value(wanted)).map(|(key, value)| Expression::NotEqual(key, value))
    } else if let Some((name, wanted)) = text.split_once('=') {
        let wanted = wanted.strip_prefix('=').unwrap_or(wanted);
        key(name).zip(value(wanted)).map(|(key, value)| Expression::Equal(key, value))
    } else if let Some(name) = text.strip_prefix('!') {
        key(name).map(Expression::DoesNotExist)
    } else {
        key(text).map(Expression::Exists)
    };
    parsed.ok_or_else(invalid)
}

/// A label's key: a name, and before it perhaps a domain.
fn is_key(text: &str) -> bool {
    let (domain, name) = text.split_once('/').map_or((None, text), |(domain, name)| (Some(domain), name));
    let part = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"-.".contains(&byte);
    let is_domain = |domain: &str| (1..=253).contains(&domain.len()) && domain.bytes().all(part);
    domain.is_none_or(is_domain) && !name.is_empty() && is_value(name)
}

/// A label's value, which may be empty.
fn is_value(text: &str) -> bool {
    let inner = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
    let edges = [text.bytes().next(), text.bytes().next_back()];
    text.len() <= 63
        && text.bytes().all(inner)
        && edges.into_iter().flatten().all(|byte| byte.is_ascii_alphanumeric())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(text: &str) -> BTreeMap<String, String> {
        let pairs = text.split_whitespace().filter_map(|pair| pair.split_once('='));
        pairs.map(|(key, value)| (key.to_owned(), value.to_owned())).collect()
    }

    #[test]
    fn selectors_are_read_as_kubectl_reads_them_and_sent_as_they_were_meant() {
        for (text, sent, fits, misfits) in [
            ("team=shop", "team=shop", "team=shop x=y", "team=billing"),
            ("team == shop", "team=shop", "team=shop", ""),
            ("team!=shop", "team!=shop", "team=billing", "team=shop"),
            ("team!=shop", "team!=shop", "", "team=shop"),
            ("example.com/team", "example.com/team", "example.com/team=", "team=shop"),
            ("!legacy", "!legacy", "team=shop", "legacy=yes"),
            ("env in (prod, stage),!legacy", "env in (prod,stage),!legacy", "env=stage", "env=stage legacy="),
            ("env notin (test)", "env notin (test)", "env=prod", "env=test"),
            ("team=,env=prod", "team=,env=prod", "team= env=prod", "env=prod"),
        ] {
            let selector: KeySelector = text.parse().unwrap();
            assert_eq!(selector.to_string(), sent, "{text}");
            assert!(selector.matches(&labels(fits)), "{text} {fits}");
            assert!(!selector.matches(&labels(misfits)), "{text} {misfits}");
        }
    }

    #[test]
    fn everything_else_is_refused_and_the_part_that_is_wrong_is_shown() {
        for (text, part) in [
            ("", ""),
            ("team=shop,", ""),
            ("team=shop,=x", "=x"),
            ("team=shop env=prod", "team=shop env=prod"),
            ("env in prod", "env in prod"),
            ("env in (prod", "env in (prod"),
            ("env within (prod)", "env within (prod)"),
            ("team=sho p", "team=sho p"),
            ("-team", "-team"),
            ("Example.com/team", "Example.com/team"),
            ("/team", "/team"),
            ("team>3", "team>3"),
        ] {
            assert_eq!(text.parse::<KeySelector>(), Err(InvalidSelector(part.to_owned())), "{text}");
        }
    }
}
