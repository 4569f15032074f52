//! Every shape that the API's documentation leaves open, as data.

use http::{HeaderMap, HeaderValue, header::LINK};
use jiff::Timestamp;
use proptest::prelude::*;
use secrecy::ExposeSecret;
use serde_json::json;

use super::page::UnreadablePage;
use super::*;
use crate::resources::KeyKind;
use crate::token_api::ListedToken;

const VALUE: &str = "kt_live_3f9a1c7e5b2d4f60";

fn read(body: &serde_json::Value) -> Answer {
    answer(body.to_string().as_bytes()).unwrap()
}

fn value_of(answer: &Answer) -> Option<&str> {
    answer.value.as_ref().map(ExposeSecret::expose_secret)
}

fn id_of(answer: &Answer) -> Option<&str> {
    answer.id.as_ref().map(crate::lifecycle::token::TokenId::as_str)
}

#[test]
fn o1_a_value_is_found_in_each_field_and_place() {
    for field in ["token", "key", "value", "secret", "api_key", "plaintext"] {
        for body in [
            json!({"id": "tok_1", field: VALUE}),
            json!({"data": {"id": "tok_1", field: VALUE}}),
            json!({"token": {"id": "tok_1", field: VALUE}}),
            json!({"data": {"id": "tok_1"}, field: VALUE}),
            json!({"data": {"token": {"id": "tok_1", field: VALUE}}}),
        ] {
            let answer = read(&body);
            assert_eq!((id_of(&answer), value_of(&answer)), (Some("tok_1"), Some(VALUE)), "{body}");
        }
    }
}

#[test]
fn o1_what_begins_like_a_value_goes_before_a_field_that_holds_something_else() {
    for body in [
        json!({"id": "tok_1", "key": "checkout", "value": VALUE}),
        json!({"id": "tok_1", "token": "tok_1", "secret": VALUE}),
        json!({"id": "tok_1", "key": "short", "data": {"token": VALUE}}),
    ] {
        assert_eq!(value_of(&read(&body)), Some(VALUE), "{body}");
    }
}

#[test]
fn o1_a_value_of_another_form_is_taken_but_never_an_id_or_a_name() {
    let other =
        json!({"id": "tok_1", "name": "checkout", "token": "tok_1", "key": "checkout", "value": "opaque"});
    assert_eq!(value_of(&read(&other)), Some("opaque"));
}

#[test]
fn o1_no_value_is_none() {
    for body in [
        json!({"id": "tok_1"}),
        json!({"id": "tok_1", "token": ""}),
        json!({"id": "tok_1", "token": " \n"}),
        json!({"id": "tok_1", "token": null}),
        json!({"id": "tok_1", "token": 17}),
        json!({"id": "tok_1", "token": ["kt_live_x"]}),
        json!({"id": "tok_1", "token": "tok_1"}),
        json!({"id": "tok_1", "token_id": 4711, "key": "4711"}),
        json!({"id": "tok_1", "result": {"token": VALUE}}),
    ] {
        let answer = read(&body);
        assert_eq!((id_of(&answer), value_of(&answer)), (Some("tok_1"), None), "{body}");
    }
    for body in ["", "null", "[]", "17", "\"kt_live_x\"", "<html>", "{", r#"{"id":"tok_1"} trailing"#] {
        assert!(answer(body.as_bytes()).is_none(), "{body}");
    }
}

#[test]
fn o2_an_id_is_text_or_number_and_safe_in_a_path() {
    for (body, id) in [
        (json!({"id": "tok_1"}), Some("tok_1")),
        (json!({"token_id": "tok_1"}), Some("tok_1")),
        (json!({"id": 4711}), Some("4711")),
        (json!({"data": {"token_id": 4711}}), Some("4711")),
        (json!({"id": null, "token_id": "tok_1"}), Some("tok_1")),
        (json!({"id": "", "token": {"id": "tok_1"}}), Some("tok_1")),
        (json!({"id": 1.5}), None),
        (json!({"id": "../whoami"}), None),
        (json!({"id": ".."}), None),
        (json!({"id": VALUE}), None),
        (json!({"id": {"nested": 1}}), None),
        (json!({"id": format!("tok_{VALUE}"), "token": VALUE}), None),
        (json!({"id": "tok_opaque", "token_id": "tok_1", "token": "opaque"}), Some("tok_1")),
        (json!({}), None),
    ] {
        assert_eq!(id_of(&read(&body)), id, "{body}");
    }
}

#[test]
fn a_prefix_is_the_apis_own_and_gives_nothing_away() {
    let half = &VALUE[..VALUE.len() / 2];
    let more = &VALUE[..=VALUE.len() / 2];
    for (body, prefix) in [
        (json!({"token": VALUE, "prefix": "kt_live_3f"}), Some("kt_live_3f")),
        (json!({"token": VALUE, "token_prefix": "kt_live_3f"}), Some("kt_live_3f")),
        (json!({"data": {"token": VALUE, "key_prefix": "kt_live_3f"}}), Some("kt_live_3f")),
        (json!({"token": VALUE, "prefix": half}), Some(half)),
        (json!({"token": VALUE, "prefix": more}), None),
        (json!({"token": VALUE, "prefix": VALUE}), None),
        (json!({"token": VALUE, "prefix": format!("key {VALUE}")}), None),
        (json!({"token": VALUE, "prefix": ""}), None),
        (json!({"token": VALUE}), None),
    ] {
        assert_eq!(read(&body).prefix.as_deref(), prefix, "{body}");
    }
    let long = json!({"token": VALUE, "prefix": "é".repeat(500)});
    assert_eq!(read(&long).prefix.unwrap().chars().count(), 128);
}

#[test]
fn a_name_that_holds_the_value_or_has_no_end_is_left_out() {
    for (name, told) in [
        ("checkout".to_owned(), true),
        ("n".repeat(512), true),
        ("n".repeat(513), false),
        (VALUE.to_owned(), false),
        (format!("checkout {VALUE}"), false),
    ] {
        let answer = read(&json!({"token": VALUE, "name": name}));
        assert_eq!(answer.name, told.then_some(name));
    }
}

#[test]
fn o18_times_are_read_when_they_are_there_in_whole_seconds() {
    let at: Timestamp = "2026-11-24T12:00:00Z".parse().unwrap();
    for (text, time) in [
        ("2026-11-24T12:00:00Z", Some(at)),
        ("2026-11-24T12:00:00.987654Z", Some(at)),
        ("2026-11-24T13:00:00+01:00", Some(at)),
        ("0001-01-01T00:00:00Z", None),
        ("2026-11-24", None),
        ("yesterday", None),
        ("", None),
    ] {
        let answer =
            read(&json!({"created_at": text, "data": {"rotated_at": text}, "token": {"expires_at": text}}));
        assert_eq!([answer.created_at, answer.rotated_at, answer.expires_at], [time; 3], "{text}");
    }
    assert_eq!(read(&json!({"created_at": 1_764_000_000})).created_at, None);
}

#[test]
fn o12_every_envelope_is_read() {
    for (body, told) in [
        (r#"{"error":{"type":"t","message":"m","code":"c"}}"#, Told::Envelope("m".into())),
        (r#"{"error":{"code":"c"}}"#, Told::Envelope("c".into())),
        (r#"{"error":{}}"#, Told::Envelope("no message".into())),
        (r#"{"error":"m"}"#, Told::Envelope("m".into())),
        (r#"{"error":"code","message":"m"}"#, Told::Envelope("m".into())),
        (r#"{"message":"m"}"#, Told::Envelope("m".into())),
        (r#"{"detail":"m"}"#, Told::Envelope("m".into())),
        (r#"{"detail":[{"loc":["body"],"msg":"a"},{"msg":"b"}]}"#, Told::Envelope("a; b".into())),
        ("  plain words\n", Told::Text("plain words".into())),
        (r#""quoted words""#, Told::Text("quoted words".into())),
        ("", Told::Nothing),
        (" \n", Told::Nothing),
        ("\n<!doctype html>", Told::Page),
    ] {
        assert_eq!(Told::of(body.as_bytes()), told, "{body}");
    }
    for body in ["{}", r#"{"token":"s3cret"}"#, "[1]", r#"{"error":null}"#, r#"{"message":""}"#] {
        let told = Told::of(body.as_bytes());
        assert!(matches!(&told, Told::Text(text) if !text.contains("s3cret")), "{body}: {told:?}");
    }
}

fn listed(body: &str, link: Option<&str>) -> Result<(Vec<ListedToken>, Page), UnreadablePage> {
    let mut headers = HeaderMap::new();
    if let Some(link) = link {
        headers.insert(LINK, HeaderValue::from_str(link).unwrap());
    }
    let mut tokens = Vec::new();
    let page = page(body.as_bytes(), &headers, KeyKind::Access, &mut |token| tokens.push(token))?;
    Ok((tokens, page))
}

fn next(body: &serde_json::Value, link: Option<&str>) -> Next {
    listed(&body.to_string(), link).unwrap().1.next
}

#[test]
fn o4_tokens_are_found_in_every_shape_of_a_list() {
    let tokens = json!([{"id": "tok_1", "name": "a"}, {"token_id": 2, "name": "b"}]);
    let mut shapes =
        vec![tokens.clone(), json!({"data": {"tokens": tokens}}), json!({"data": tokens, "results": 2})];
    for field in ["tokens", "data", "items", "results"] {
        shapes.push(json!({"object": "list", field: tokens, "total": 2}));
    }
    for shape in shapes {
        let (tokens, page) = listed(&shape.to_string(), None).unwrap();
        let ids: Vec<_> = tokens.iter().map(|token| token.facts.id.as_str()).collect();
        assert_eq!(ids, ["tok_1", "2"], "{shape}");
        assert_eq!((page.entries, page.next), (2, Next::End), "{shape}");
    }
}

#[test]
fn o4_an_empty_list_may_be_null_but_what_is_no_list_is_unreadable() {
    for body in ["[]", r#"{"tokens":[]}"#, r#"{"tokens":null}"#, r#"{"data":[],"error":null}"#] {
        let (tokens, page) = listed(body, None).unwrap();
        assert_eq!((tokens.len(), page.next), (0, Next::End), "{body}");
    }
    for body in [
        "",
        "{}",
        "17",
        "<html>",
        r#"{"keys":[]}"#,
        r#"{"results":17}"#,
        r#"{"tokens":"none"}"#,
        r#"{"message":"no"}"#,
        r#"{"data":null,"error":{"message":"no"}}"#,
        r#"{"data":[],"errors":["no"]}"#,
        r#"[{"id":"tok_1"}"#,
        "[] []",
    ] {
        assert!(listed(body, None).is_err(), "{body}");
    }
}

#[test]
fn o4_every_way_to_say_that_there_is_more_is_understood() {
    let cursor = || Next::Cursor("c".into());
    let one = json!([{"id": "tok_1", "name": "a"}]);
    for (fields, expected) in [
        (json!({}), Next::End),
        (json!({"next_cursor": "c"}), cursor()),
        (json!({"next_cursor": 7}), Next::Cursor("7".into())),
        (json!({"cursor": "c"}), cursor()),
        (json!({"next": "c"}), cursor()),
        (json!({"next": {"cursor": "c"}}), cursor()),
        (json!({"pagination": {"next_cursor": "c"}}), cursor()),
        (json!({"pagination": {"cursor": "c"}}), cursor()),
        (json!({"pagination": {"next": "c", "has_more": true}}), cursor()),
        (json!({"next_cursor": "c", "has_more": true}), cursor()),
        (json!({"next": "/v1/tokens?cursor=c"}), Next::Link("/v1/tokens?cursor=c".into())),
        (json!({"next": "https://x.example/?cursor=c"}), Next::Link("https://x.example/?cursor=c".into())),
        (json!({"links": {"next": "?cursor=c"}}), Next::Link("?cursor=c".into())),
        (json!({"next": "/base64/=="}), Next::Cursor("/base64/==".into())),
        (json!({"has_more": true}), Next::AfterLast),
        (json!({"next": "", "pagination": {"next": "c"}}), cursor()),
        // Said in a way that nobody knows, which isn't the same as not at all.
        (json!({"has_more": "true"}), Next::AfterLast),
        (json!({"has_more": 1}), Next::AfterLast),
        (json!({"has_more": false, "meta": {"has_more": true}}), Next::AfterLast),
        (json!({"next": {"token": "c"}}), Next::AfterLast),
        (json!({"next_cursor": ["c"]}), Next::AfterLast),
        (json!({"cursor": {"after": 7}}), Next::AfterLast),
        // The end, each said in its own way.
        (json!({"has_more": false, "next_cursor": "c"}), Next::End),
        (json!({"next_cursor": null}), Next::End),
        (json!({"next_cursor": ""}), Next::End),
        (json!({"next": null, "cursor": "this page's"}), Next::End),
        (json!({"has_more": "false", "next": {"token": "c"}}), Next::End),
        (json!({"next": {"href": null}, "cursor": {}}), Next::End),
        (json!({"next": false, "next_cursor": []}), Next::End),
        (json!({"pagination": {"next_cursor": null, "has_more": false}}), Next::End),
    ] {
        let mut body = fields.clone();
        body["tokens"] = one.clone();
        assert_eq!(next(&body, None), expected, "{fields}");
    }
}

#[test]
fn o4_a_link_header_is_followed() {
    for (link, expected) in [
        (
            r#"<https://api.example/v1/tokens?cursor=c>; rel="next""#,
            Some("https://api.example/v1/tokens?cursor=c"),
        ),
        (r#"</v1/tokens?page=1>; rel="prev", </v1/tokens?page=3>; rel="next""#, Some("/v1/tokens?page=3")),
        ("<?page=3>; title=\"a\"; REL=Next", Some("?page=3")),
        (r#"<?page=3>; rel="last next""#, Some("?page=3")),
        (r#"<?page=1>; rel="prev""#, None),
        ("nonsense", None),
        ("<", None),
    ] {
        let expected = expected.map_or(Next::End, |link| Next::Link(link.to_owned()));
        assert_eq!(next(&json!([{"id": "tok_1", "name": "a"}]), Some(link)), expected, "{link}");
    }
}

#[test]
fn o4_a_link_header_that_names_a_next_page_is_never_the_end() {
    let next = |link: &[u8]| {
        let mut headers = HeaderMap::new();
        headers.insert(LINK, HeaderValue::from_bytes(link).unwrap());
        page(b"[]", &headers, KeyKind::Access, &mut |_| ()).unwrap().next
    };
    for (link, expected) in [
        ("<?q=é>; rel=next".as_bytes(), Next::Link("?q=é".to_owned())),
        (b"<?q=\xe9>; rel=\"prev\", <?page=3>; rel=\"next\"", Next::Link("?page=3".to_owned())),
        (b"<?q=\xe9>; rel=\"next\"", Next::AfterLast),
        (b"<?page=3>; title=\"<\"; rel = next", Next::AfterLast),
        (b"?page=3; rel=\"NEXT\"", Next::AfterLast),
        (b"<?q=\xe9>; rel=\"prev\"", Next::End),
    ] {
        assert_eq!(next(link), expected, "{}", String::from_utf8_lossy(link));
    }
}

#[test]
fn o5_being_listed_is_not_being_alive() {
    for (fields, alive) in [
        (json!({}), true),
        (json!({"revoked_at": null, "revoked": false, "status": "active", "active": true}), true),
        (json!({"revoked_at": ""}), true),
        (json!({"revoked_at": "0001-01-01T00:00:00Z"}), true),
        (json!({"status": "a word that nobody knows"}), true),
        (json!({"is_active": 1}), true),
        (json!({"revoked_at": "2026-11-24T12:00:00Z"}), false),
        (json!({"revoked_at": 1_764_000_000}), false),
        (json!({"revoked": true}), false),
        (json!({"status": "Revoked"}), false),
        (json!({"status": "expired"}), false),
        (json!({"active": false}), false),
        (json!({"is_active": false}), false),
        (json!({"is_active": 0}), false),
    ] {
        let mut token = fields.clone();
        token["id"] = json!("tok_1");
        let (tokens, _) = listed(&json!([token]).to_string(), None).unwrap();
        assert_eq!(tokens[0].alive, alive, "{fields}");
    }
}

#[test]
fn a_list_that_ignores_the_filter_shows_only_what_was_asked_for() {
    let body = json!([
        {"id": "tok_1", "token_type": "access"},
        {"id": "tok_2", "token_type": "gateway"},
        {"id": "tok_3", "type": "gateway"},
        {"id": "tok_4", "type": "api_token"},
    ]);
    let (tokens, _) = listed(&body.to_string(), None).unwrap();
    let ids: Vec<_> = tokens.iter().map(|token| token.facts.id.as_str()).collect();
    assert_eq!(ids, ["tok_1", "tok_4"]);
}

#[test]
fn an_entry_that_may_be_ours_and_cannot_be_read_spoils_the_list() {
    let ours = format!("checkout-kt1-{}", "a".repeat(44));
    for (entry, readable) in [
        (json!({"name": "somebody's", "id": "no/id"}), true),
        (json!({"name": ours, "id": "no/id"}), false),
        (json!({"id": "no/id"}), false),
        (json!({}), false),
        (json!("tok_1"), false),
        (json!(null), false),
    ] {
        assert_eq!(listed(&json!([entry]).to_string(), None).is_ok(), readable, "{entry}");
    }
}

#[test]
fn a_list_that_shows_values_as_prefixes_spreads_none() {
    let long = format!("kt_live_{}", "a".repeat(40));
    let (tokens, _) =
        listed(&json!([{"id": "tok_1", "name": long, "prefix": long}]).to_string(), None).unwrap();
    assert_eq!((&tokens[0].facts.name, &tokens[0].facts.prefix), (&None, &None));
}

proptest! {
    #[test]
    fn no_document_makes_the_decoder_panic(text in ".{0,200}", json in any_json()) {
        for body in [text.clone(), json.to_string()] {
            let _answer = answer(body.as_bytes());
            let _told = Told::of(body.as_bytes());
            let _list = listed(&body, Some("<?a=b>; rel=next"));
        }
    }
}

/// Documents made of the words that the decoder knows.
fn any_json() -> impl Strategy<Value = serde_json::Value> {
    let words = "id|token_id|token|key|value|data|tokens|items|next|cursor|has_more|pagination|error|message|name|status";
    let leaf = prop_oneof![
        Just(json!(null)),
        any::<bool>().prop_map(|b| json!(b)),
        any::<i64>().prop_map(|n| json!(n)),
        any::<f64>().prop_map(|n| json!(n)),
        ".{0,12}".prop_map(|s| json!(s)),
        Just(json!(VALUE)),
    ];
    leaf.prop_recursive(4, 32, 6, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(|items| json!(items)),
            prop::collection::btree_map(words, inner, 0..5).prop_map(|fields| json!(fields)),
        ]
    })
}
