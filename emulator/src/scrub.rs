//! Keeps values out of everything that is recorded, wherever a client put them.

use serde_json::Value;

/// How values begin, here and in the vendor's documentation.
const BEGINNINGS: [&str; 2] = ["kt_live_", "kt_gk_"];

/// What of a value may be shown: the prefix that the API itself lists.
const PREFIX: usize = 12;

/// The text with every value cut down to its prefix.
pub(crate) fn text(text: &str) -> String {
    let mut clean = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(start) = BEGINNINGS.iter().filter_map(|it| rest.find(it)).min() {
        clean.push_str(&rest[..start]);
        let value = &rest[start..];
        let end = value.find(|it: char| !it.is_ascii_alphanumeric() && it != '_').unwrap_or(value.len());
        if end > PREFIX {
            clean.push_str(&value[..PREFIX]);
            clean.push('…');
        } else {
            clean.push_str(&value[..end]);
        }
        rest = &value[end..];
    }
    clean.push_str(rest);
    clean
}

/// The document with every value in it cut down to its prefix.
pub(crate) fn json(document: &mut Value) {
    match document {
        Value::String(it) => *it = text(it),
        Value::Array(items) => items.iter_mut().for_each(json),
        Value::Object(fields) => {
            *fields = std::mem::take(fields)
                .into_iter()
                .map(|(name, mut field)| {
                    json(&mut field);
                    (text(&name), field)
                })
                .collect();
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    #[test]
    fn values_are_cut_down_to_their_prefix() {
        for (given, expected) in [
            ("checkout-api", "checkout-api"),
            ("kt_live_abcd", "kt_live_abcd"),
            ("/v1/tokens/kt_live_abcdEFGH1234/rotate", "/v1/tokens/kt_live_abcd…/rotate"),
            ("kt_gk_abcdefGH,kt_live_abcdX", "kt_gk_abcdef…,kt_live_abcd…"),
        ] {
            assert_eq!(super::text(given), expected);
        }
    }

    #[test]
    fn they_are_found_deep_in_documents() {
        let mut document = json!({"a": [{"kt_live_abcdef": "kt_live_abcdef"}]});
        super::json(&mut document);
        assert_eq!(document, json!({"a": [{"kt_live_abcd…": "kt_live_abcd…"}]}));
    }
}
