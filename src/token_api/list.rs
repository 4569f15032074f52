//! Lists: followed to their end, or not believed at all.

use std::collections::HashSet;
use std::time::Duration;

use http::Method;
use url::Url;

use super::call::Reply;
use super::client::{Client, ListedToken};
use super::connection::Call;
use super::decode::{Next, Page, page};
use super::error::{CallError, Class};
use crate::lifecycle::token::TokenId;
use crate::resources::KeyKind;

/// The most that a page may have: thousands of tokens.
const MAX_PAGE: usize = 8 << 20;

/// The most pages that are followed.
const MAX_PAGES: usize = 10_000;

/// The most entries of a list, other people's tokens included.
const MAX_ENTRIES: usize = 1_000_000;

/// How often a page is asked for again: giving up late in a long list throws away what was got.
const PAGE_RETRIES: u32 = 2;

/// The wait before a page is asked for again, doubled each time; up to as much is added at random.
const PAGE_RETRY_WAIT: Duration = Duration::from_millis(250);

impl Client {
    /// Follows pages to the end and calls `each` for every token.
    ///
    /// # Errors
    /// If the list can't be had to its very end. What `each` was called with then proves nothing.
    pub async fn list(
        &self,
        kind: KeyKind,
        mut each: impl FnMut(ListedToken) + Send,
    ) -> Result<(), CallError> {
        let mut url = self.list_url(&[("type", kind.token_type())]);
        let mut trail = Trail::default();
        for number in 0..MAX_PAGES {
            trail.step(&url)?;
            let reply = self.page(&url, number > 0).await?;
            let page = page(&reply.body, &reply.headers, kind, &mut each)
                .map_err(|_| CallError::new(Class::Unusable, "the list of tokens can't be read"))?;
            trail.took(&page)?;
            url = match self.after(kind, page)? {
                Some(next) => next,
                None => return Ok(()),
            };
        }
        Err(CallError::new(Class::Unusable, "the list of tokens has too many pages"))
    }

    /// The URL of the page that follows, if one does.
    fn after(&self, kind: KeyKind, page: Page) -> Result<Option<Url>, CallError> {
        let kind = ("type", kind.token_type());
        Ok(match (page.next, page.ends) {
            (Next::End, _) => None,
            (Next::Cursor(cursor), _) => Some(self.list_url(&[kind, ("cursor", &cursor)])),
            (Next::Link(link), _) => {
                // Only the query is taken: the credential goes to no other place than it was meant for, and an API
                // behind a proxy may not know its own address.
                let query = link.split_once('?').map_or("", |(_, query)| query);
                let query = query.split('#').next().unwrap_or_default();
                let pairs: Vec<_> = url::form_urlencoded::parse(query.as_bytes()).collect();
                let mut pairs: Vec<(&str, &str)> = pairs.iter().map(|(k, v)| (&**k, &**v)).collect();
                if pairs.is_empty() {
                    return Err(cut_short());
                }
                if !pairs.iter().any(|(key, _)| *key == "type") {
                    pairs.push(kind);
                }
                Some(self.list_url(&pairs))
            }
            // Two spellings of the same wish. An API that knows neither shows the first page again, which is noticed.
            (Next::AfterLast, Some((_, last))) => {
                let last = last.as_str();
                Some(self.list_url(&[kind, ("cursor", last), ("starting_after", last)]))
            }
            (Next::AfterLast, None) => return Err(cut_short()),
        })
    }

    fn list_url(&self, query: &[(&str, &str)]) -> Url {
        let mut url = self.connection.url(&["v1", "tokens"]);
        url.query_pairs_mut().extend_pairs(query);
        url
    }

    /// Asks for a page. Pauses that are short are waited out; a later page is asked for again if it breaks.
    async fn page(&self, url: &Url, later: bool) -> Result<Reply, CallError> {
        let mut tries = 0;
        loop {
            let call = Call::new(Method::GET, url.clone()).answered_within(MAX_PAGE);
            let error = match self.call(call).await {
                Ok(reply) => return Ok(reply),
                Err(failure) => failure.error,
            };
            let again = match error.class {
                Class::Throttled => true,
                Class::Unreachable | Class::Failing => later,
                _ => false,
            };
            tries += 1;
            if !again || tries > PAGE_RETRIES {
                return Err(error);
            }
            if error.class != Class::Throttled {
                let wait = PAGE_RETRY_WAIT * (1 << (tries - 1));
                tokio::time::sleep(wait.mul_f64(rand::random_range(1.0..2.0))).await;
            }
        }
    }
}

/// Where a list has been: a cursor that repeats would lead round for ever, and past tokens that were never shown.
#[derive(Default)]
struct Trail {
    urls: HashSet<String>,
    firsts: HashSet<TokenId>,
    entries: usize,
}

impl Trail {
    fn step(&mut self, url: &Url) -> Result<(), CallError> {
        if self.urls.insert(url.query().unwrap_or_default().to_owned()) { Ok(()) } else { Err(cut_short()) }
    }

    fn took(&mut self, page: &Page) -> Result<(), CallError> {
        self.entries += page.entries;
        if self.entries > MAX_ENTRIES {
            return Err(CallError::new(Class::Unusable, "the list of tokens is too long"));
        }
        match &page.ends {
            Some((first, _)) if !self.firsts.insert(first.clone()) => Err(cut_short()),
            _ => Ok(()),
        }
    }
}

fn cut_short() -> CallError {
    CallError::new(
        Class::Unusable,
        "the list of tokens doesn't say how it goes on, or goes round in a circle",
    )
}
