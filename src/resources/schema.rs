//! Schemas of single fields: bounds, and the rules that need no other field.
//!
//! Every string, list and map has a maximum: the API server weighs a rule by the largest input that the schema
//! admits, and refuses the whole CRD if that is too much. The messages say what to write instead.

use std::time::Duration;

use schemars::{Schema, SchemaGenerator, json_schema};

/// The largest `rotation.generation`: 2^53, up to which a JSON number is exact in every client.
pub const MAX_GENERATION: i64 = 1 << 53;

/// The most workloads that a key names.
pub(super) const MAX_WORKLOADS: usize = 16;

/// The most workloads that a status names.
pub const MAX_NAMED_WORKLOADS: usize = 10;

/// The most windows of a key.
pub(super) const MAX_WINDOWS: usize = 8;

/// How many changes of the value a status remembers.
pub const MAX_HISTORY: usize = 10;

/// How much of the annotation `rotate-now` counts, in characters.
pub const MAX_ROTATE_NOW: usize = 128;

/// The most tokens that may await revocation at once. With this bound a status stays far below etcd's limit, beyond
/// which a write would fail *after* a token was made (review, \[15\]).
pub const MAX_SUPERSEDED: usize = 8;

/// The longest duration, in characters. With the digits that [`DURATION`] admits no duration exceeds 5,000 years
/// (four times `9999999h` is the most that fits), so that a date and a duration always make a date.
const MAX_DURATION_LENGTH: u32 = 32;

/// Go's grammar of durations with days and weeks, without fractions, signs and units below a second.
const DURATION: &str = "^([0-9]{1,4}w|[0-9]{1,5}d|[0-9]{1,7}h|[0-9]{1,8}m|[0-9]{1,9}s)+$";

/// The least that `rotation.every` and `token.expiresAfter` may be. Each time it passes the operator makes a token: one to two calls
/// of the token API and up to five writes. With this bound a thousand keys of a tenant take at most a quarter of the default 20 calls
/// a second, and one of the shortest life is renewed once a minute at most.
pub const LEAST_PERIOD: Duration = Duration::from_mins(10);

/// Most entries of one map of the template.
const MAX_ENTRIES: u32 = 32;

/// The longest value in the template's data and annotations. Times [`MAX_ENTRIES`] this is half of what a Secret can
/// hold; the rules' cost for it stays under the API server's limit per request (`tests/crds` tries the largest spec).
const MAX_VALUE_LENGTH: u32 = 16_384;

/// The most characters of all values in the template's data together, and of those in its annotations. A cache holds the spec of every
/// key, and each pass reads it: with this bound that takes less than a millisecond.
pub const MAX_TEMPLATE: usize = 65_536;

/// Text whose every `$(` is a known placeholder or escaped as `$$(`. Several `$` before the last two are literal.
const PLACEHOLDERS: &str =
    "^([^$]|[$]+[^$(]|[$]{2,}[(]|[$][(](value|name|namespace|prefix|tokenId|gatewayId)[)])*[$]*$";

/// The same for an annotation, which must not hold the value.
const PUBLIC_PLACEHOLDERS: &str =
    "^([^$]|[$]+[^$(]|[$]{2,}[(]|[$][(](name|namespace|prefix|tokenId|gatewayId)[)])*[$]*$";

/// A label's value, with placeholders whose text is known before there is a token. The operator checks the rendered text.
const LABEL: &str = "^(([A-Za-z0-9]|[$][(](name|namespace|gatewayId)[)])([A-Za-z0-9_.-]|[$][(](name|namespace|gatewayId)[)])*)?$";

/// A duration.
pub(super) fn duration(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "string",
        "minLength": 1,
        "maxLength": MAX_DURATION_LENGTH,
        "x-kubernetes-validations": [
            {
                "rule": format!("self.matches('{DURATION}')"),
                "message": "a duration is made of whole numbers with the units w, d, h, m and s, for example 90d, 12w or \
                    1h30m; the largest parts are 9999w, 99999d, 9999999h, 99999999m and 999999999s",
            },
            {
                "rule": "self.matches('[1-9]')",
                "message": "a duration can't be zero: leave the field out for its default, or write a short one such as 1s",
            },
        ],
    })
}

/// A duration of what the operator does again and again by itself: no tenant may have it done all the time.
pub(super) fn period(generator: &mut SchemaGenerator) -> Schema {
    let mut schema = duration(generator);
    // Times the seconds of a unit, the sum of all parts in it.
    let sum = |unit: &str| format!("self.findAll('[0-9]+{unit}').map(p, int(p.replace('{unit}', ''))).sum()");
    let rule = serde_json::json!({
        "rule": format!(
            "self.matches('[1-9][0-9]*[wdh]') || {} * 60 + {} >= {}", sum("m"), sum("s"), LEAST_PERIOD.as_secs()
        ),
        "message": "this duration must be at least 10m: the operator makes a token each time it passes",
    });
    if let Some(serde_json::Value::Array(rules)) = schema.get_mut("x-kubernetes-validations") {
        rules.push(rule);
    }
    schema
}

/// Five fields as cron reads them.
pub(super) fn cron(_: &mut SchemaGenerator) -> Schema {
    let field = |one: &str| {
        let item = format!("([*]/[1-9][0-9]?|{one}(-{one}(/[1-9][0-9]?)?)?)");
        format!("([*]|{item}(,{item})*)")
    };
    let fields = [
        "[0-5]?[0-9]",
        "([01]?[0-9]|2[0-3])",
        "(0?[1-9]|[12][0-9]|3[01])",
        "(0?[1-9]|1[0-2]|JAN|FEB|MAR|APR|MAY|JUN|JUL|AUG|SEP|OCT|NOV|DEC)",
        "([0-7]|SUN|MON|TUE|WED|THU|FRI|SAT)",
    ];
    let pattern = fields.map(field).join(" ");
    json_schema!({
        "type": "string",
        "minLength": 9,
        "maxLength": 128,
        "x-kubernetes-validations": [{
            "rule": format!("self.matches('^(?i){pattern}$')"),
            "message": "a schedule has five fields with single spaces between them: minute (0-59), hour (0-23), day of month \
                (1-31), month (1-12 or JAN-DEC), day of week (0-7 or SUN-SAT), each *, a number, a range, a list of these, or a \
                step as in */15, for example 0 2 * * 6",
        }, {
            "rule": "self.findAll('[0-9]+-[0-9]+').all(r, int(r.split('-')[0]) <= int(r.split('-')[1]))",
            "message": "a range in a schedule goes up, for example 1-5: write 22,23,0-5 for a night's hours",
        }, {
            "rule": format!("!self.matches('{}')", never()),
            "message": "the window never opens, for none of its months has such a day: choose a day of the month that one of the \
                months has, or name a day of the week",
        }],
    })
}

/// The schedules that name no day that there is: the 30th or 31st of a February, or the 31st of months with 30 days, and no day of
/// the week. The core decides the same by a table of months.
fn never() -> String {
    let step = "(/[1-9][0-9]?)?";
    // Each item with the comma or the space after it.
    let february = format!("(3[01](-3[01]{step})?[, ])+(({})[, ])+", months_within(&[2]));
    let short = format!("(31(-31{step})?[, ])+(({})[, ])+", months_within(&[2, 4, 6, 9, 11]));
    format!("^(?i)[^ ]+ [^ ]+ ({february}|{short})[*]$")
}

/// An item of the field for months that names none but these.
fn months_within(months: &[usize]) -> String {
    const NAMES: [&str; 12] =
        ["JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC"];
    let month = |number: usize| format!("(0?{number}|{})", NAMES[number - 1]);
    let ranges = |first: usize| -> Vec<String> {
        let range = |last: usize| {
            let within = |step: &usize| (first..=last).step_by(*step).all(|number| months.contains(&number));
            // A step that leads beyond the range leaves its first month alone; so does every longer one.
            let beyond = last - first + 1;
            let steps = (1..beyond).filter(within).map(|step| step.to_string()).chain([at_least(beyond)]);
            let steps = steps.collect::<Vec<_>>().join("|");
            let bare = if within(&1) { "?" } else { "" };
            format!("{}(/({steps})){bare}", month(last))
        };
        (first..=12).map(range).collect()
    };
    let items = months.iter().map(|first| format!("{}(-({}))?", month(*first), ranges(*first).join("|")));
    items.collect::<Vec<_>>().join("|")
}

/// The numbers from this one, which is at most 12, to 99.
fn at_least(number: usize) -> String {
    match number {
        0..=8 => format!("[{number}-9]|[1-9][0-9]"),
        9 => "9|[1-9][0-9]".to_owned(),
        10 => "[1-9][0-9]".to_owned(),
        _ => format!("1[{}-9]|[2-9][0-9]", number - 10),
    }
}

/// The name of a time zone.
pub(super) fn time_zone(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "string",
        "minLength": 1,
        "maxLength": 64,
        "x-kubernetes-validations": [{
            // A name that isn't known is an error of the second part, and an error refuses as well.
            "rule": "self.matches('^[A-Z][A-Za-z0-9_+/-]*$') && self != 'Local' && \
                timestamp('2026-01-01T00:00:00Z').getHours(self) >= 0",
            "message": "a time zone is named as in the IANA database, for example Europe/Berlin or UTC",
        }],
    })
}

/// The name of a Secret.
pub(super) fn secret_name(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "string",
        "minLength": 1,
        "maxLength": 253,
        "x-kubernetes-validations": [{
            "rule": "!format.dns1123Subdomain().validate(self).hasValue()",
            "message": "a Secret's name has lower-case letters, digits, '-' and '.', and begins and ends with a letter or \
                a digit, for example checkout-api-key",
        }],
    })
}

/// A data key of a Secret.
pub(super) fn data_key(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "string",
        "minLength": 1,
        "maxLength": 253,
        "x-kubernetes-validations": [{
            "rule": is_data_key("self"),
            "message": DATA_KEY_MESSAGE,
        }],
    })
}

/// The token API's id of a token. It goes into a path.
pub(super) fn token_id(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "string",
        "minLength": 1,
        "maxLength": 128,
        "x-kubernetes-validations": [{
            "rule": "self.matches('^[A-Za-z0-9_~:.-]*[A-Za-z0-9_~:-][A-Za-z0-9_~:.-]*$')",
            "message": "a token's id has letters, digits, '-', '.', '_', '~' and ':'; copy it from the console, not the \
                token's name or value",
        }],
    })
}

/// Labels of the Secret.
pub(super) fn labels(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "object",
        "maxProperties": MAX_ENTRIES,
        "additionalProperties": {
            "type": "string",
            "maxLength": 63,
            "x-kubernetes-validations": [{
                "rule": format!("self.matches('{LABEL}') && !self.matches('[_.-]$')"),
                "message": "a label's value is empty, or has letters, digits, '-', '_', '.' and the placeholders $(name), \
                    $(namespace) and $(gatewayId), and begins and ends with a letter, a digit or a placeholder; put other text \
                    into an annotation",
            }],
        },
        "x-kubernetes-validations": metadata_key_rules("label"),
    })
}

/// Annotations of the Secret.
pub(super) fn annotations(_: &mut SchemaGenerator) -> Schema {
    let mut annotation_rules = metadata_key_rules("annotation");
    if let serde_json::Value::Array(rules) = &mut annotation_rules {
        rules.push(size_rule("annotations"));
    }
    json_schema!({
        "type": "object",
        "maxProperties": MAX_ENTRIES,
        "additionalProperties": {
            "type": "string",
            "maxLength": MAX_VALUE_LENGTH,
            "x-kubernetes-validations": [{
                "rule": format!("self.matches('{PUBLIC_PLACEHOLDERS}')"),
                "message": "the placeholders of an annotation are $(name), $(namespace), $(prefix), $(tokenId) and $(gatewayId), \
                    and $(value) is for secret.template.data alone; write $$( for a literal $(",
            }],
        },
        "x-kubernetes-validations": annotation_rules,
    })
}

/// Further data of the Secret.
pub(super) fn data(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "object",
        "maxProperties": MAX_ENTRIES,
        "additionalProperties": {
            "type": "string",
            "maxLength": MAX_VALUE_LENGTH,
            "x-kubernetes-validations": [{
                "rule": format!("self.matches('{PLACEHOLDERS}')"),
                "message": "the placeholders are $(value), $(name), $(namespace), $(prefix), $(tokenId) and $(gatewayId); \
                    write $$( for a literal $(",
            }],
        },
        "x-kubernetes-validations": [{
            "rule": format!("self.all(k, k.size() <= 253 && {})", is_data_key("k")),
            "message": DATA_KEY_MESSAGE,
        }, size_rule("data")],
    })
}

/// Conditions as `metav1.Condition` bounds them, keyed by type.
pub(super) fn conditions(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "array",
        "maxItems": 8,
        "x-kubernetes-list-type": "map",
        "x-kubernetes-list-map-keys": ["type"],
        "items": {
            "type": "object",
            "description": "One aspect of the key's state.",
            "required": ["lastTransitionTime", "message", "reason", "status", "type"],
            "properties": {
                "type": {
                    "type": "string",
                    "description": "Which aspect.",
                    "minLength": 1,
                    "maxLength": 316,
                },
                "status": {
                    "type": "string",
                    "description": "Whether it holds.",
                    "enum": ["True", "False", "Unknown"],
                },
                "observedGeneration": {
                    "type": "integer",
                    "description": "`metadata.generation` that the condition speaks of.",
                    "format": "int64",
                    "minimum": 0,
                },
                "lastTransitionTime": {
                    "type": "string",
                    "description": "When the status last changed.",
                    "format": "date-time",
                },
                "reason": {
                    "type": "string",
                    "description": "Why, in one word of a closed list.",
                    "minLength": 1,
                    "maxLength": 1024,
                },
                "message": {
                    "type": "string",
                    "description": "Why, in a sentence for people.",
                    "maxLength": 32768,
                },
            },
        },
    })
}

const DATA_KEY_MESSAGE: &str = "a data key of a Secret has 1 to 253 letters, digits, '-', '_' and '.', isn't '.' and doesn't \
    begin with '..', for example api-key";

/// What Kubernetes takes as a data key; the two with dots would be paths when the Secret is mounted.
fn is_data_key(variable: &str) -> String {
    format!("{variable}.matches('^[-._a-zA-Z0-9]+$') && {variable} != '.' && !{variable}.startsWith('..')")
}

fn size_rule(what: &str) -> serde_json::Value {
    serde_json::json!({
        "rule": format!("self.map(k, self[k].size()).sum() <= {MAX_TEMPLATE}"),
        "message": format!(
            "the {what} of a template have at most {MAX_TEMPLATE} characters together: put long text into a ConfigMap"
        ),
    })
}

fn metadata_key_rules(what: &str) -> serde_json::Value {
    serde_json::json!([
        {
            "rule": "self.all(k, !format.qualifiedName().validate(k).hasValue())",
            "message": format!(
                "a key among the {what}s has up to 63 letters, digits, '-', '_' and '.', and may have a domain before a slash, \
                 for example example.com/team"
            ),
        },
        {
            "rule": "!self.exists(k, k.matches('^([^/]*[.])?keeptrusts[.]com/'))",
            "message": format!("{what}s under keeptrusts.com/ are the operator's own: choose another domain"),
        },
    ])
}
