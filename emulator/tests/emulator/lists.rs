//! Lists: pages, lag and defects.

use std::time::Duration;

use keeptrusts_emulator::{ListDefect, Paging, Shape};
use serde_json::{Value, json};

use crate::client::{Client, behaving, names, started};

/// Longer than two calls take on a busy machine.
const LAG: Duration = Duration::from_secs(2);

async fn create_numbered(client: &Client, count: u32) -> Vec<String> {
    let mut made = vec![];
    for number in 0..count {
        client.created(&format!("key-{number}")).await;
        made.push(format!("key-{number}"));
    }
    made
}

fn items(document: &Value, shape: Shape) -> &Value {
    match shape {
        Shape::Array => document,
        Shape::Tokens => &document["tokens"],
        Shape::Data => &document["data"],
        Shape::Items => &document["items"],
        Shape::Results => &document["results"],
    }
}

/// The path of the next page, by a style.
fn next_path(document: &Value, link: &str, paging: Paging, last_id: &str) -> Option<String> {
    let by = |cursor: &Value| cursor.as_str().map(|it| format!("/v1/tokens?type=access&cursor={it}"));
    let path = |url: &str| format!("/{}", url.splitn(4, '/').nth(3).unwrap());
    match paging {
        Paging::NextCursor => by(&document["next_cursor"]),
        Paging::Cursor => by(&document["cursor"]),
        Paging::Next => by(&document["next"]),
        Paging::NextUrl => document["next"].as_str().map(path),
        Paging::PaginationNextCursor => by(&document["pagination"]["next_cursor"]),
        Paging::PaginationCursor => by(&document["pagination"]["cursor"]),
        Paging::PaginationNext => by(&document["pagination"]["next"]),
        Paging::HasMoreNextCursor => {
            let next = by(&document["next_cursor"]);
            assert_eq!(document["has_more"], json!(next.is_some()));
            next
        }
        Paging::HasMore => document["has_more"]
            .as_bool()
            .unwrap()
            .then(|| format!("/v1/tokens?type=access&starting_after={last_id}")),
        Paging::Link => {
            let url = link.strip_prefix('<')?.strip_suffix(">; rel=\"next\"").unwrap();
            Some(path(url))
        }
    }
}

#[tokio::test]
async fn every_shape_and_paging_leads_to_the_end() {
    let (emulator, client) = started().await;
    let made = create_numbered(&client, 5).await;
    for shape in Shape::ALL {
        for paging in Paging::ALL {
            for page_size in [None, Some(1), Some(2), Some(5)] {
                emulator.behaviour(|it| {
                    it.lists.shape = shape;
                    it.lists.paging = paging;
                    it.lists.page_size = page_size;
                });
                // An array has no place for a cursor.
                let paging = if shape == Shape::Array { Paging::Link } else { paging };
                let mut seen = vec![];
                let mut pages = 0;
                let mut path = Some("/v1/tokens?type=access".to_owned());
                while let Some(this) = path {
                    let page = client.get(&this).await.unwrap();
                    assert_eq!(page.status, 200, "{shape:?} {paging:?} {this}");
                    let document = page.json();
                    let tokens = items(&document, shape);
                    seen.extend(names(tokens));
                    pages += 1;
                    let last_id = tokens.as_array().unwrap().last().unwrap()["id"].as_str().unwrap();
                    path = next_path(&document, page.header("link"), paging, last_id);
                }
                assert_eq!(seen, made, "{shape:?} {paging:?}");
                assert_eq!(pages, page_size.map_or(1, |size| 5_u32.div_ceil(size)), "{shape:?} {paging:?}");
            }
        }
    }
}

#[tokio::test]
async fn nothing_slips_between_two_pages() {
    let (emulator, client) = behaving(|it| it.lists.page_size = Some(2)).await;
    create_numbered(&client, 5).await;
    let first = client.list().await.unwrap().json();
    client.revoke(first["tokens"][0]["id"].as_str().unwrap()).await.unwrap();
    let next = next_path(&first, "", Paging::NextCursor, "").unwrap();
    assert_eq!(names(&client.get(&next).await.unwrap().json()["tokens"]), ["key-2", "key-3"]);
    assert_eq!(emulator.tokens().len(), 5);
}

#[tokio::test]
async fn a_list_may_lag() {
    let (emulator, client) = behaving(|it| it.lists.lag_milliseconds = 60_000).await;
    let (id, _) = client.created("checkout-api").await;
    assert_eq!(client.listed().await, Vec::<String>::new());
    emulator.behaviour(|it| it.lists.lag_milliseconds = 0);
    assert_eq!(client.listed().await, ["checkout-api"]);
    // A revocation is late as well.
    tokio::time::sleep(LAG).await;
    client.revoke(&id).await.unwrap();
    emulator.behaviour(|it| it.lists.lag_milliseconds = u64::try_from(LAG.as_millis()).unwrap());
    assert_eq!(client.listed().await, ["checkout-api"]);
    tokio::time::sleep(LAG).await;
    assert_eq!(client.listed().await, Vec::<String>::new());
}

#[tokio::test]
async fn a_list_may_be_empty_or_short_and_say_that_it_is_whole() {
    let (emulator, client) = started().await;
    create_numbered(&client, 3).await;
    for (defect, expected) in [(ListDefect::Empty, vec![]), (ListDefect::Short, vec!["key-0", "key-1"])] {
        emulator.behaviour(|it| {
            it.lists.defect = defect;
            it.lists.defect_after = 2;
        });
        let list = client.list().await.unwrap().json();
        assert_eq!(names(&list["tokens"]), expected);
        assert_eq!(list["next_cursor"], Value::Null);
    }
}

#[tokio::test]
async fn a_list_may_claim_more_than_it_gives() {
    for paging in [Paging::NextCursor, Paging::HasMore, Paging::Link] {
        for page_size in [None, Some(1)] {
            let (_emulator, client) = behaving(|it| {
                it.lists.defect = ListDefect::ClaimsMore;
                it.lists.defect_after = 2;
                it.lists.paging = paging;
                it.lists.page_size = page_size;
            })
            .await;
            create_numbered(&client, 3).await;
            let mut path = "/v1/tokens?type=access".to_owned();
            let mut seen = vec![];
            let status = loop {
                let page = client.get(&path).await.unwrap();
                if page.status != 200 {
                    break page.status;
                }
                let document = page.json();
                seen.extend(names(&document["tokens"]));
                let last = document["tokens"].as_array().unwrap().last().unwrap()["id"].as_str().unwrap();
                path = next_path(&document, page.header("link"), paging, last).expect("more is claimed");
            };
            assert_eq!((status, seen.as_slice()), (500, &["key-0".into(), "key-1".into()][..]), "{paging:?}");
        }
    }
}

#[tokio::test]
async fn a_cursor_may_repeat_for_ever() {
    let (_emulator, client) = behaving(|it| {
        it.lists.defect = ListDefect::RepeatsCursor;
        it.lists.defect_after = 2;
        it.lists.page_size = Some(1);
    })
    .await;
    create_numbered(&client, 3).await;
    let mut path = "/v1/tokens?type=access".to_owned();
    let mut seen = vec![];
    for _ in 0..5 {
        let page = client.get(&path).await.unwrap().json();
        seen.extend(names(&page["tokens"]));
        path = next_path(&page, "", Paging::NextCursor, "").expect("always a next page");
    }
    assert_eq!(seen, ["key-0", "key-1", "key-1", "key-1", "key-1"]);
}

#[tokio::test]
async fn a_page_may_be_broken() {
    let (_emulator, client) = behaving(|it| {
        it.lists.defect = ListDefect::BrokenPage;
        it.lists.defect_after = 2;
        it.lists.page_size = Some(2);
    })
    .await;
    create_numbered(&client, 5).await;
    let mut path = "/v1/tokens?type=access".to_owned();
    let first = client.get(&path).await.unwrap().json();
    path = next_path(&first, "", Paging::NextCursor, "").unwrap();
    let second = client.get(&path).await.unwrap();
    assert_eq!(second.status, 200);
    assert!(serde_json::from_str::<Value>(&second.text).is_err(), "{}", second.text);
}

#[tokio::test]
async fn an_empty_list_may_be_broken_too() {
    let (_emulator, client) = behaving(|it| it.lists.defect = ListDefect::BrokenPage).await;
    let page = client.list().await.unwrap();
    assert!(serde_json::from_str::<Value>(&page.text).is_err(), "{}", page.text);
}
