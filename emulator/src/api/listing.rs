//! Lists: pages, lag, and everything that can be wrong with them (O4, O5, O6).

use http::StatusCode;
use jiff::{SignedDuration, Timestamp};
use serde_json::{Map, Value, json};

use super::answer::Answer;
use super::fields::listed;
use super::request::Request;
use crate::behaviour::{Behaviour, ListDefect, Lists, Paging};
use crate::store::Store;
use crate::token::{Token, TokenType};

/// The names by which a client may ask for the page behind a cursor.
const CURSORS: [&str; 7] =
    ["cursor", "next_cursor", "next", "page_token", "starting_after", "after", "page_cursor"];

/// The cursor of a page that doesn't come.
const LOST: &str = "lost";

/// The cursor of a page that comes again and again.
const STUCK: &str = "stuck";

/// Why there is no list.
pub(super) enum ListError {
    /// The cursor isn't one of ours.
    UnknownCursor,
    /// The page that was claimed to be there.
    Lost,
}

/// A token and its row, which never changes: cursors name rows, so that nothing slips through between two pages.
type Listed<'a> = (usize, &'a Token);

struct Page<'a> {
    tokens: &'a [Listed<'a>],
    next: Option<String>,
    broken: bool,
}

pub(super) fn list(
    store: &Store,
    only: Option<TokenType>,
    request: &Request,
    behaviour: &Behaviour,
    now: Timestamp,
) -> Result<Answer, ListError> {
    let lists = &behaviour.lists;
    let lag = SignedDuration::from_millis(i64::try_from(lists.lag_milliseconds).unwrap_or(i64::MAX));
    let time = now.checked_sub(lag).unwrap_or(Timestamp::MIN);
    let all: Vec<Listed<'_>> = store
        .as_of(time)
        .filter(|(_, token)| only.is_none_or(|it| it == token.token_type))
        .filter(|(_, token)| lists.revoked || token.revoked_at.is_none())
        .collect();
    let page = page(&all, request.parameter(&CURSORS), lists)?;
    Ok(render(&page, request, behaviour))
}

fn page<'a>(all: &'a [Listed<'a>], cursor: Option<&str>, lists: &Lists) -> Result<Page<'a>, ListError> {
    let seen = usize::try_from(lists.defect_after).unwrap_or(usize::MAX).min(all.len());
    let sight = match lists.defect {
        ListDefect::None | ListDefect::BrokenPage => all,
        ListDefect::Empty => &[],
        ListDefect::Short | ListDefect::ClaimsMore | ListDefect::RepeatsCursor => &all[..seen],
    };
    let size = lists.page_size.and_then(|size| usize::try_from(size).ok()).unwrap_or(usize::MAX);
    let repeats = lists.defect == ListDefect::RepeatsCursor;
    let start = match cursor {
        None => 0,
        Some(LOST) => return Err(ListError::Lost),
        Some(STUCK) if repeats => sight.len().saturating_sub(size),
        Some(cursor) => start(all, cursor).ok_or(ListError::UnknownCursor)?,
    };
    let beyond = cursor.is_some() && start >= sight.len();
    if beyond && lists.defect == ListDefect::ClaimsMore {
        return Err(ListError::Lost);
    }
    let start = if beyond && repeats { sight.len().saturating_sub(size) } else { start.min(sight.len()) };
    let end = start.saturating_add(size).min(sight.len());
    let next = match lists.defect {
        _ if end < sight.len() => sight[..end].last().map(|(row, _)| row_cursor(*row)),
        ListDefect::ClaimsMore => Some(LOST.into()),
        ListDefect::RepeatsCursor => Some(STUCK.into()),
        _ => None,
    };
    // Where every token is in sight the last page breaks, so that an empty list can be broken too.
    let has_first_unseen = (start..end).contains(&seen) || (seen == all.len() && end == all.len());
    let broken = lists.defect == ListDefect::BrokenPage && has_first_unseen;
    Ok(Page { tokens: &sight[start..end], next, broken })
}

fn row_cursor(row: usize) -> String {
    format!("after-{row}")
}

/// The place behind a cursor: one of ours, or the id of the last token that was seen.
fn start(all: &[Listed<'_>], cursor: &str) -> Option<usize> {
    let last = match cursor.strip_prefix("after-") {
        Some(row) => row.parse().ok()?,
        None => {
            all.iter()
                .find(|(_, token)| token.id == cursor || token.former_ids.iter().any(|it| it == cursor))?
                .0
        }
    };
    Some(all.partition_point(|(row, _)| *row <= last))
}

fn render(page: &Page<'_>, request: &Request, behaviour: &Behaviour) -> Answer {
    let status = behaviour.statuses.list;
    let lists = &behaviour.lists;
    let tokens: Value = page.tokens.iter().map(|(_, token)| listed(token, behaviour)).collect();
    let next = page.next.as_deref();
    let paging = if lists.shape.field().is_none() { Paging::Link } else { lists.paging };
    let document = match lists.shape.field() {
        None => tokens,
        Some(field) => {
            let mut fields = Map::from_iter([(field.to_owned(), tokens)]);
            paged(&mut fields, next, paging, request);
            Value::Object(fields)
        }
    };
    let mut text = document.to_string();
    if page.broken {
        text.truncate(text.floor_char_boundary(text.len() / 2));
    }
    let answer = Answer::text(status, "application/json", text);
    match next {
        Some(next) if paging == Paging::Link => {
            answer.header("link", &format!("<{}>; rel=\"next\"", next_url(request, next)))
        }
        _ if status == StatusCode::NO_CONTENT.as_u16() => Answer::empty(status),
        _ => answer,
    }
}

fn paged(fields: &mut Map<String, Value>, next: Option<&str>, paging: Paging, request: &Request) {
    let (name, value) = match paging {
        Paging::NextCursor => ("next_cursor", json!(next)),
        Paging::Cursor => ("cursor", json!(next)),
        Paging::Next => ("next", json!(next)),
        Paging::NextUrl => ("next", json!(next.map(|next| next_url(request, next)))),
        Paging::PaginationNextCursor => ("pagination", json!({"next_cursor": next})),
        Paging::PaginationCursor => ("pagination", json!({"cursor": next})),
        Paging::PaginationNext => ("pagination", json!({"next": next})),
        Paging::HasMore => ("has_more", json!(next.is_some())),
        Paging::HasMoreNextCursor => {
            fields.insert("has_more".into(), json!(next.is_some()));
            ("next_cursor", json!(next))
        }
        Paging::Link => return,
    };
    fields.insert(name.into(), value);
}

fn next_url(request: &Request, next: &str) -> String {
    let mut query = url::form_urlencoded::Serializer::new(String::new());
    if let Some(token_type) = request.parameter(&["type"]) {
        query.append_pair("type", token_type);
    }
    query.append_pair("cursor", next);
    format!("http://{}{}?{}", request.host, request.path, query.finish())
}
