//! The lists of tokens, as they stand at scrape.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use prometheus_client::encoding::{DescriptorEncoder, EncodeLabelSet};
use prometheus_client::registry::Unit;

use super::labels::{OfKind, Unlabelled};
use super::tally::write;
use crate::resources::KeyKind;

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, EncodeLabelSet)]
struct TokenLabels {
    kind: &'static str,
    state: &'static str,
}

/// What is known of the lists.
#[derive(Debug)]
pub(crate) struct InventoryState {
    tokens: BTreeMap<TokenLabels, i64>,
    age: BTreeMap<OfKind, i64>,
    doubted: BTreeMap<OfKind, i64>,
    period: Duration,
    names_altered: bool,
    clock_skewed: bool,
}

impl InventoryState {
    /// Each kind is to be listed once per `period`. `names_altered` says that a token was once listed under another name than
    /// was sent, `clock_skewed` that the token API's clock and ours differ.
    pub(crate) fn new(period: Duration, names_altered: bool, clock_skewed: bool) -> Self {
        Self {
            tokens: BTreeMap::new(),
            age: BTreeMap::new(),
            doubted: BTreeMap::new(),
            period,
            names_altered,
            clock_skewed,
        }
    }

    /// Takes in the latest list of a kind: how old it is, and for each token of ours whether it lives.
    pub(crate) fn add(&mut self, kind: KeyKind, age: Duration, alive: impl Iterator<Item = bool>) {
        let mut count = [0, 0];
        for alive in alive {
            count[usize::from(alive)] += 1;
        }
        for (state, count) in ["revoked", "living"].into_iter().zip(count) {
            self.tokens.insert(TokenLabels { kind: kind.kind(), state }, count);
        }
        self.age.insert(kind.into(), whole(age));
    }

    /// Whether lists of a kind are believed in what they lack.
    pub(crate) fn doubt(&mut self, kind: KeyKind, doubted: bool) {
        self.doubted.insert(kind.into(), i64::from(doubted));
    }

    /// Writes everything down.
    pub(crate) fn encode(&self, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let Self { tokens, age, doubted, period, names_altered, clock_skewed } = self;
        let alone = |value| BTreeMap::from([(Unlabelled::default(), value)]);
        write(
            encoder,
            "inventory_tokens",
            "Tokens of this installation in the latest complete list.",
            None,
            tokens,
        )?;
        write(
            encoder,
            "inventory_age",
            "How long ago the latest complete list of tokens was begun.",
            Some(&Unit::Seconds),
            age,
        )?;
        write(
            encoder,
            "inventory_period",
            "How often tokens are to be listed (--inventory-period).",
            Some(&Unit::Seconds),
            &alone(whole(*period)),
        )?;
        write(
            encoder,
            "inventory_disbelieved",
            "1 while so many tokens have vanished from the list at once that it isn't believed.",
            None,
            doubted,
        )?;
        write(
            encoder,
            "inventory_names_altered",
            "1 once a token was listed under another name than was sent: no token is made any more.",
            None,
            &alone(i64::from(*names_altered)),
        )?;
        write(
            encoder,
            "token_api_clock_skewed",
            "1 while the token API's clock and the operator's differ by more than five minutes: what is driven by time waits.",
            None,
            &alone(i64::from(*clock_skewed)),
        )
    }
}

fn whole(time: Duration) -> i64 {
    i64::try_from(time.as_secs()).unwrap_or(i64::MAX)
}
