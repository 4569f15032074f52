//! The Secret's template: literal text with a few placeholders. `$(value)` is the only one that is secret.

use secrecy::{ExposeSecret, SecretString};

/// What a placeholder stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Placeholder {
    Value,
    Name,
    Namespace,
    Prefix,
    TokenId,
    GatewayId,
}

const PLACEHOLDERS: [(&str, Placeholder); 6] = [
    ("value", Placeholder::Value),
    ("name", Placeholder::Name),
    ("namespace", Placeholder::Namespace),
    ("prefix", Placeholder::Prefix),
    ("tokenId", Placeholder::TokenId),
    ("gatewayId", Placeholder::GatewayId),
];

#[derive(Clone, Debug, PartialEq, Eq)]
enum Piece {
    Text(String),
    Placeholder(Placeholder),
}

/// A template that was read and found good.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Template(Vec<Piece>);

/// The template names a placeholder that doesn't exist.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "has an unknown placeholder at character {at}: $(value), $(name), $(namespace), $(prefix), $(tokenId) and \
     $(gatewayId) are known; write $$( for a literal $("
)]
pub struct UnknownPlaceholder {
    /// Where it begins, counted in characters from 1.
    pub at: usize,
}

/// What the placeholders stand for in one Secret.
#[derive(Debug)]
pub struct Values<'a> {
    /// The token's value.
    pub value: &'a SecretString,
    /// The resource's name.
    pub name: &'a str,
    /// The resource's namespace.
    pub namespace: &'a str,
    /// First characters of the value as the API shows them; empty where it shows none.
    pub prefix: &'a str,
    /// The token's id.
    pub token_id: &'a str,
    /// The gateway's id; empty for an `AccessKey`.
    pub gateway_id: &'a str,
}

impl Template {
    /// Reads a template.
    ///
    /// # Errors
    /// If it has a placeholder that doesn't exist.
    pub fn parse(text: &str) -> Result<Self, UnknownPlaceholder> {
        let mut pieces = Vec::new();
        let mut literal = String::new();
        let mut rest = text;
        while let Some(at) = rest.find('$') {
            literal.push_str(&rest[..at]);
            rest = &rest[at..];
            if let Some(tail) = rest.strip_prefix("$$(") {
                literal.push_str("$(");
                rest = tail;
            } else if let Some(tail) = rest.strip_prefix("$(") {
                let known = PLACEHOLDERS
                    .iter()
                    .find_map(|(name, piece)| Some((*piece, tail.strip_prefix(name)?.strip_prefix(')')?)));
                let Some((placeholder, tail)) = known else {
                    let read = text.len() - rest.len();
                    return Err(UnknownPlaceholder { at: text[..read].chars().count() + 1 });
                };
                if !literal.is_empty() {
                    pieces.push(Piece::Text(std::mem::take(&mut literal)));
                }
                pieces.push(Piece::Placeholder(placeholder));
                rest = tail;
            } else {
                literal.push('$');
                rest = &rest[1..];
            }
        }
        literal.push_str(rest);
        if !literal.is_empty() {
            pieces.push(Piece::Text(literal));
        }
        Ok(Self(pieces))
    }

    /// Whether it asks for the gateway's id.
    #[must_use]
    pub fn wants_gateway_id(&self) -> bool {
        self.0.contains(&Piece::Placeholder(Placeholder::GatewayId))
    }

    /// The text with its placeholders filled in.
    #[must_use]
    pub fn render(&self, values: &Values<'_>) -> SecretString {
        let mut text = String::new();
        for piece in &self.0 {
            text.push_str(match piece {
                Piece::Text(text) => text,
                Piece::Placeholder(Placeholder::Value) => values.value.expose_secret(),
                Piece::Placeholder(Placeholder::Name) => values.name,
                Piece::Placeholder(Placeholder::Namespace) => values.namespace,
                Piece::Placeholder(Placeholder::Prefix) => values.prefix,
                Piece::Placeholder(Placeholder::TokenId) => values.token_id,
                Piece::Placeholder(Placeholder::GatewayId) => values.gateway_id,
            });
        }
        text.into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn render(template: &str) -> String {
        let value = SecretString::from("kt_live_v");
        let values = Values {
            value: &value,
            name: "checkout",
            namespace: "shop",
            prefix: "kt_live_p",
            token_id: "tok_1",
            gateway_id: "gw_1",
        };
        Template::parse(template).unwrap().render(&values).expose_secret().to_owned()
    }

    #[test]
    fn placeholders_are_filled_in_and_everything_else_is_literal() {
        for (template, expected) in [
            ("", ""),
            ("plain", "plain"),
            ("$(value)", "kt_live_v"),
            ("Bearer $(value)!", "Bearer kt_live_v!"),
            ("$(name)/$(namespace)/$(prefix)/$(tokenId)/$(gatewayId)", "checkout/shop/kt_live_p/tok_1/gw_1"),
            ("$$(value)", "$(value)"),
            ("$$$(value)", "$$(value)"),
            ("cost: 5$ and $HOME {{ x }}", "cost: 5$ and $HOME {{ x }}"),
            ("ends with $", "ends with $"),
        ] {
            assert_eq!(render(template), expected, "{template}");
        }
    }

    #[test]
    fn an_unknown_placeholder_is_refused_and_its_place_is_told() {
        for (template, at) in
            [("$(secret)", 1), ("é$(Value)", 2), ("$(value", 1), ("$()", 1), ("$(value)$(valu)", 9)]
        {
            assert_eq!(Template::parse(template), Err(UnknownPlaceholder { at }), "{template}");
        }
    }
}
