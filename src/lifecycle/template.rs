//! The Secret's template: literal text with a few placeholders. `$(value)` is the only one that is secret, and only data may hold it.

use std::fmt;

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

/// The part of a Secret that a template is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// A data key, which may hold the value.
    Data,
    /// An annotation, which everybody who reads metadata sees.
    Annotation,
    /// A label. The operator must know it before it makes a token, for the API server refuses most texts as a label: it could refuse
    /// the Secret when the value is already there.
    Label,
}

impl Part {
    const fn allows(self, placeholder: Placeholder) -> bool {
        match self {
            Self::Data => true,
            Self::Annotation => !matches!(placeholder, Placeholder::Value),
            Self::Label => {
                matches!(placeholder, Placeholder::Name | Placeholder::Namespace | Placeholder::GatewayId)
            }
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Piece {
    Text(String),
    Placeholder(Placeholder),
}

/// A template that was read and found good.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Template(Vec<Piece>);

/// A template without `$(value)`: what it makes is no secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PublicTemplate(Template);

/// The template names a placeholder that doesn't exist, or that this part of the Secret can't hold.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub struct InvalidTemplate {
    /// Where the placeholder begins, counted in characters from 1.
    pub at: usize,
    /// What the template is for.
    pub part: Part,
}

impl fmt::Display for InvalidTemplate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (what, known) = match self.part {
            Part::Data => (
                "has an unknown placeholder",
                "$(value), $(name), $(namespace), $(prefix), $(tokenId) and $(gatewayId) are known",
            ),
            Part::Annotation => (
                "has a placeholder that an annotation can't have",
                "$(name), $(namespace), $(prefix), $(tokenId) and $(gatewayId) are known there, and only data can hold \
                 $(value)",
            ),
            Part::Label => (
                "has a placeholder that a label can't have",
                "$(name), $(namespace) and $(gatewayId) are known there; an annotation can hold $(prefix) and $(tokenId), \
                 and only data can hold $(value)",
            ),
        };
        write!(f, "{what} at character {}: {known}; write $$( for a literal $(", self.at)
    }
}

/// What the placeholders stand for in one Secret, but for the value.
#[derive(Clone, Copy, Debug, Default)]
pub struct Facts<'a> {
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
    /// Reads a template of data.
    ///
    /// # Errors
    /// If it has a placeholder that doesn't exist.
    pub fn parse(text: &str) -> Result<Self, InvalidTemplate> {
        Self::read(text, Part::Data)
    }

    fn read(text: &str, part: Part) -> Result<Self, InvalidTemplate> {
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
                    .find_map(|(name, piece)| Some((*piece, tail.strip_prefix(name)?.strip_prefix(')')?)))
                    .filter(|(placeholder, _)| part.allows(*placeholder));
                let Some((placeholder, tail)) = known else {
                    let read = text.len() - rest.len();
                    return Err(InvalidTemplate { at: text[..read].chars().count() + 1, part });
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

    /// How many placeholders it has.
    #[must_use]
    pub fn placeholders(&self) -> usize {
        self.0.iter().filter(|piece| matches!(piece, Piece::Placeholder(_))).count()
    }

    /// About as many bytes as it takes.
    #[must_use]
    pub fn size(&self) -> usize {
        let text = |piece: &Piece| if let Piece::Text(text) = piece { text.len() } else { 0 };
        self.0.iter().map(|piece| size_of::<Piece>() + text(piece)).sum()
    }

    /// Whether it asks for the gateway's id.
    #[must_use]
    pub fn wants_gateway_id(&self) -> bool {
        self.0.contains(&Piece::Placeholder(Placeholder::GatewayId))
    }

    /// The text with its placeholders filled in.
    #[must_use]
    pub fn render(&self, value: &SecretString, facts: &Facts<'_>) -> SecretString {
        self.text(value.expose_secret(), facts).into()
    }

    fn text(&self, value: &str, facts: &Facts<'_>) -> String {
        let mut text = String::new();
        for piece in &self.0 {
            text.push_str(match piece {
                Piece::Text(text) => text,
                Piece::Placeholder(Placeholder::Value) => value,
                Piece::Placeholder(Placeholder::Name) => facts.name,
                Piece::Placeholder(Placeholder::Namespace) => facts.namespace,
                Piece::Placeholder(Placeholder::Prefix) => facts.prefix,
                Piece::Placeholder(Placeholder::TokenId) => facts.token_id,
                Piece::Placeholder(Placeholder::GatewayId) => facts.gateway_id,
            });
        }
        text
    }
}

impl PublicTemplate {
    /// How many placeholders it has.
    #[must_use]
    pub fn placeholders(&self) -> usize {
        self.0.placeholders()
    }

    /// About as many bytes as it takes.
    #[must_use]
    pub fn size(&self) -> usize {
        self.0.size()
    }

    /// Reads the template of an annotation.
    ///
    /// # Errors
    /// If it has a placeholder that doesn't exist, or `$(value)`.
    pub fn annotation(text: &str) -> Result<Self, InvalidTemplate> {
        Template::read(text, Part::Annotation).map(Self)
    }

    /// Reads the template of a label.
    ///
    /// # Errors
    /// If it has a placeholder that doesn't exist, or whose text isn't known before there is a token.
    pub fn label(text: &str) -> Result<Self, InvalidTemplate> {
        Template::read(text, Part::Label).map(Self)
    }

    /// Whether it asks for the gateway's id.
    #[must_use]
    pub fn wants_gateway_id(&self) -> bool {
        self.0.wants_gateway_id()
    }

    /// The text with its placeholders filled in.
    #[must_use]
    pub fn render(&self, facts: &Facts<'_>) -> String {
        self.0.text("", facts)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FACTS: Facts<'_> = Facts {
        name: "checkout",
        namespace: "shop",
        prefix: "kt_live_p",
        token_id: "tok_1",
        gateway_id: "gw_1",
    };

    fn render(template: &str) -> String {
        let value = SecretString::from("kt_live_v");
        Template::parse(template).unwrap().render(&value, &FACTS).expose_secret().to_owned()
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
    fn annotations_and_labels_are_filled_in_alike_but_never_with_the_value() {
        for (template, expected) in [
            ("$(name)-$(namespace)-$(gatewayId)", "checkout-shop-gw_1"),
            ("$$(value)", "$(value)"),
            ("shop$", "shop$"),
        ] {
            for read in [PublicTemplate::annotation, PublicTemplate::label] {
                assert_eq!(read(template).unwrap().render(&FACTS), expected, "{template}");
            }
        }
        let told = PublicTemplate::annotation("$(prefix) of $(tokenId)").unwrap();
        assert_eq!(told.render(&FACTS), "kt_live_p of tok_1");
        for (template, part) in [
            ("x$(value)", Part::Annotation),
            ("x$(secret)", Part::Annotation),
            ("x$(value)", Part::Label),
            ("x$(prefix)", Part::Label),
            ("x$(tokenId)", Part::Label),
            ("x$(", Part::Label),
        ] {
            let refused = Err(InvalidTemplate { at: 2, part });
            assert_eq!(Template::read(template, part), refused, "{template}");
        }
    }

    #[test]
    fn an_unknown_placeholder_is_refused_and_its_place_is_told() {
        for (template, at) in
            [("$(secret)", 1), ("é$(Value)", 2), ("$(value", 1), ("$()", 1), ("$(value)$(valu)", 9)]
        {
            assert_eq!(
                Template::parse(template),
                Err(InvalidTemplate { at, part: Part::Data }),
                "{template}"
            );
        }
    }
}
