//! What a spec asks for, checked once. Behind this point no field is checked again.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::resources::{
    AdoptSpec, DEFAULT_SECRET_KEY, DeletionPolicy, ExternalChangePolicy, LEAST_PERIOD, MAX_TEMPLATE,
    RestartPolicy, RolloutTimeoutPolicy, RotationSpec, RotationStrategy, SecretTemplate, SpecParts,
    WindowSpec, WorkloadRef,
};

use super::duration;
use super::template::{Facts, PublicTemplate, Template};
use super::windows::{Window, Windows};

/// How long a superseded token lives on unless the spec says otherwise.
pub const DEFAULT_GRACE: Duration = Duration::from_hours(1);

/// How long workloads may take to run on a new value unless the spec says otherwise.
const DEFAULT_ROLLOUT_TIMEOUT: Duration = Duration::from_mins(15);

/// Domain of the operator's own labels and annotations.
const OWN_DOMAIN: &str = "keeptrusts.com";

/// The most placeholders of a template. A value has at most 4 KiB; so many of them are as much as a Secret can hold.
const MAX_PLACEHOLDERS: usize = 256;

/// A spec that was checked, its defaults filled in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Desired {
    /// Head of token names.
    pub head: String,
    /// Team of the token.
    pub team_id: Option<String>,
    /// Description of the token.
    pub description: Option<String>,
    /// Gateway of the token.
    pub gateway_id: Option<String>,
    /// How long a token lives.
    pub expires_after: Option<Duration>,
    /// Name of the Secret.
    pub secret_name: String,
    /// Data key of the value.
    pub secret_key: String,
    /// Labels of the Secret, rendered: nothing in them waits for a token.
    pub labels: BTreeMap<String, String>,
    /// Annotations of the Secret.
    pub annotations: BTreeMap<String, PublicTemplate>,
    /// Further data of the Secret.
    pub data: BTreeMap<String, Template>,
    /// Rotation generation asked for.
    pub generation: i64,
    /// How old a value may get.
    pub every: Option<Duration>,
    /// How long before its expiry a token is replaced; nothing for the last third of its life.
    pub renew_before: Option<Duration>,
    /// When what time brings may be done.
    pub windows: Windows,
    /// How a rotation is done.
    pub strategy: RotationStrategy,
    /// How long a superseded token lives on.
    pub grace: Duration,
    /// Workloads that are restarted when the Secret has a new value.
    pub restarts: Restarts,
    /// How long they may take.
    pub rollout_timeout: Duration,
    /// What becomes of a superseded token after that.
    pub on_rollout_timeout: RolloutTimeoutPolicy,
    /// What becomes of token and Secret on deletion.
    pub deletion_policy: DeletionPolicy,
    /// What follows when somebody else killed the value.
    pub external_change_policy: ExternalChangePolicy,
    /// The token that is taken over in place of making one.
    pub adopt: Option<AdoptSpec>,
    /// Whether new operations wait.
    pub suspend: bool,
}

/// Which workloads are restarted when the Secret has a new value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Restarts {
    /// None.
    None,
    /// These.
    Listed(Vec<WorkloadRef>),
    /// Those that use the Secret.
    Discovered,
}

impl Restarts {
    /// What a spec asks for; another key's is looked at without the rest of it.
    #[must_use]
    pub fn of(parts: &SpecParts<'_>) -> Self {
        let restart = parts.workloads.and_then(|workloads| workloads.restart).unwrap_or_default();
        match (restart, parts.workloads) {
            (RestartPolicy::Discovered, _) => Self::Discovered,
            (RestartPolicy::Listed, Some(workloads)) => Self::Listed(workloads.refs.clone()),
            (RestartPolicy::Listed | RestartPolicy::Never, _) => Self::None,
        }
    }
}

/// The spec asks for something that can't be done.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("spec.{field} {problem}")]
pub struct InvalidSpec {
    /// Path of the field below `spec`.
    pub field: String,
    /// What is wrong with it, and what would be right.
    pub problem: String,
}

fn invalid(field: impl Into<String>, problem: impl Into<String>) -> InvalidSpec {
    InvalidSpec { field: field.into(), problem: problem.into() }
}

/// The name of a resource's Secret. Cleanup needs it without a valid spec.
#[must_use]
pub fn secret_name<'a>(parts: &SpecParts<'a>, resource: &'a str) -> &'a str {
    parts.secret.and_then(|secret| secret.name.as_deref()).unwrap_or(resource)
}

impl Desired {
    /// Checks the spec of the resource called `resource` in `namespace`. The API server's rules have refused most of what is refused
    /// here; an object stored before a rule existed comes this far.
    ///
    /// # Errors
    /// With the field and what would be right, if the spec can't be acted on.
    pub fn parse(parts: &SpecParts<'_>, namespace: &str, resource: &str) -> Result<Self, InvalidSpec> {
        let token = parts.token.cloned().unwrap_or_default();
        let rotation = parts.rotation.cloned().unwrap_or_default();
        let template = parts.secret.and_then(|secret| secret.template.clone()).unwrap_or_default();
        let secret_key = parts.secret.and_then(|secret| secret.key.as_deref()).unwrap_or(DEFAULT_SECRET_KEY);
        let read = |field: &str, text: &Option<String>| {
            text.as_deref()
                .map(duration::parse)
                .transpose()
                .map_err(|error| invalid(field, error.to_string()))
        };
        let period = |field: &str, text: &Option<String>| match read(field, text)? {
            Some(period) if period < LEAST_PERIOD => {
                Err(invalid(field, "must be at least 10m: the operator makes a token each time it passes"))
            }
            period => Ok(period),
        };
        let expires_after = period("token.expiresAfter", &token.expires_after)?;
        let grace = read("rotation.grace", &rotation.grace)?.unwrap_or(DEFAULT_GRACE);
        let every = period("rotation.every", &rotation.every)?;
        let renew_before = read("rotation.renewBefore", &rotation.renew_before)?;
        let windows = windows(&rotation.windows)?;
        check_times(&rotation, expires_after, every, renew_before, grace)?;
        let workloads = parts.workloads.cloned().unwrap_or_default();
        let rollout_timeout =
            read("workloads.rolloutTimeout", &workloads.rollout_timeout)?.unwrap_or(DEFAULT_ROLLOUT_TIMEOUT);
        let generation = rotation.generation.unwrap_or(0);
        if generation < 0 {
            return Err(invalid("rotation.generation", "must be 0 or more"));
        }
        let rendered = rendered(template, parts.gateway_id, secret_key, namespace, resource)?;
        Ok(Self {
            head: token.name.unwrap_or_else(|| resource.to_owned()),
            team_id: token.team_id,
            description: token.description,
            gateway_id: parts.gateway_id.map(ToOwned::to_owned),
            expires_after,
            secret_name: secret_name(parts, resource).to_owned(),
            secret_key: secret_key.to_owned(),
            labels: rendered.labels,
            annotations: rendered.annotations,
            data: rendered.data,
            generation,
            every,
            renew_before,
            windows,
            strategy: rotation.strategy.unwrap_or_default(),
            grace,
            restarts: Restarts::of(parts),
            rollout_timeout,
            on_rollout_timeout: workloads.on_rollout_timeout.unwrap_or_default(),
            deletion_policy: parts.deletion_policy.unwrap_or_default(),
            external_change_policy: parts.external_change_policy.unwrap_or_default(),
            adopt: parts.adopt.cloned(),
            suspend: parts.suspend.unwrap_or_default(),
        })
    }
}

/// A template of the Secret that was read.
struct Rendered {
    labels: BTreeMap<String, String>,
    annotations: BTreeMap<String, PublicTemplate>,
    data: BTreeMap<String, Template>,
}

/// Reads the template of the Secret, and renders its labels.
fn rendered(
    template: SecretTemplate,
    gateway_id: Option<&str>,
    secret_key: &str,
    namespace: &str,
    name: &str,
) -> Result<Rendered, InvalidSpec> {
    for (field, keys) in [("labels", template.labels.keys()), ("annotations", template.annotations.keys())] {
        if let Some(key) = keys.into_iter().find(|key| is_own(key)) {
            let field = format!("secret.template.{field}");
            return Err(invalid(
                field,
                format!("may not set {key}: keys under {OWN_DOMAIN}/ are the operator's"),
            ));
        }
    }
    for (field, map) in [("data", &template.data), ("annotations", &template.annotations)] {
        if map.values().map(|text| text.chars().count()).sum::<usize>() > MAX_TEMPLATE {
            return Err(invalid(
                format!("secret.template.{field}"),
                format!(
                    "may have {MAX_TEMPLATE} characters in all its values: put long text into a ConfigMap"
                ),
            ));
        }
    }
    let gateway = |field: &str, wanted: bool| {
        let problem = "asks for $(gatewayId), but spec.token.gatewayId isn't set";
        if wanted && gateway_id.is_none() { Err(invalid(field, problem)) } else { Ok(()) }
    };
    let facts = Facts { name, namespace, gateway_id: gateway_id.unwrap_or_default(), ..Facts::default() };
    let mut labels = BTreeMap::new();
    for (key, text) in template.labels {
        let field = format!("secret.template.labels[{key}]");
        let template = PublicTemplate::label(&text).map_err(|error| invalid(&field, error.to_string()))?;
        gateway(&field, template.wants_gateway_id())?;
        let text = template.render(&facts);
        if !is_label_value(&text) {
            return Err(invalid(
                field,
                "isn't a label's value once its placeholders are filled in: that has up to 63 letters, digits, '-', '_' and '.', and \
                 begins and ends with a letter or a digit; put the text into an annotation",
            ));
        }
        labels.insert(key, text);
    }
    let mut annotations = BTreeMap::new();
    for (key, text) in template.annotations {
        let field = format!("secret.template.annotations[{key}]");
        let template =
            PublicTemplate::annotation(&text).map_err(|error| invalid(&field, error.to_string()))?;
        gateway(&field, template.wants_gateway_id())?;
        annotations.insert(key, template);
    }
    let mut data = BTreeMap::new();
    for (key, text) in template.data {
        let field = format!("secret.template.data[{key}]");
        if key == secret_key {
            return Err(invalid(
                field,
                "is the key that holds the value: rename it, or set another spec.secret.key",
            ));
        }
        let template = Template::parse(&text).map_err(|error| invalid(&field, error.to_string()))?;
        gateway(&field, template.wants_gateway_id())?;
        data.insert(key, template);
    }
    let in_annotations = annotations.values().map(PublicTemplate::placeholders).sum();
    for (field, placeholders) in
        [("data", data.values().map(Template::placeholders).sum::<usize>()), ("annotations", in_annotations)]
    {
        if placeholders > MAX_PLACEHOLDERS {
            return Err(invalid(
                format!("secret.template.{field}"),
                format!(
                    "may have {MAX_PLACEHOLDERS} placeholders in all its values: a Secret holds no more text"
                ),
            ));
        }
    }
    Ok(Rendered { labels, annotations, data })
}

fn windows(specs: &[WindowSpec]) -> Result<Windows, InvalidSpec> {
    let read = |(nr, spec): (usize, &WindowSpec)| {
        Window::parse(spec)
            .map_err(|error| invalid(format!("rotation.windows[{nr}].{}", error.field), error.problem))
    };
    specs.iter().enumerate().map(read).collect::<Result<_, _>>().map(Windows::new)
}

/// Times that make sense alone, and not together.
fn check_times(
    rotation: &RotationSpec,
    expires_after: Option<Duration>,
    every: Option<Duration>,
    renew_before: Option<Duration>,
    grace: Duration,
) -> Result<(), InvalidSpec> {
    if every.is_some() && rotation.strategy.is_none() {
        return Err(invalid(
            "rotation.strategy",
            "must be set where rotation.every is: Overlap, or InPlace if the old value may die at once",
        ));
    }
    if every.is_some_and(|every| every <= grace) && rotation.strategy == Some(RotationStrategy::Overlap) {
        let grace = if rotation.grace.is_some() { "" } else { ", which is 1h unless it is set" };
        return Err(invalid(
            "rotation.every",
            format!("must be longer than rotation.grace{grace}, or superseded tokens would pile up"),
        ));
    }
    if let (Some(before), Some(life)) = (renew_before, expires_after)
        && before >= life
    {
        return Err(invalid(
            "rotation.renewBefore",
            "must be shorter than token.expiresAfter, or the token would be replaced without end",
        ));
    }
    Ok(())
}

/// Whether a label or annotation is in the operator's own domain.
fn is_own(key: &str) -> bool {
    key.split_once('/').is_some_and(|(domain, _)| {
        domain.strip_suffix(OWN_DOMAIN).is_some_and(|sub| sub.is_empty() || sub.ends_with('.'))
    })
}

/// Whether Kubernetes takes a text as a label's value.
fn is_label_value(text: &str) -> bool {
    let is_edge = |byte: Option<u8>| byte.is_none_or(|byte| byte.is_ascii_alphanumeric());
    text.len() <= 63
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte))
        && is_edge(text.bytes().next())
        && is_edge(text.bytes().next_back())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::resources::{SecretSpec, TokenSpec};

    fn of(template: SecretTemplate) -> Result<Desired, InvalidSpec> {
        let secret = SecretSpec { template: Some(template), ..SecretSpec::default() };
        Desired::parse(&SpecParts { secret: Some(&secret), ..SpecParts::default() }, "shop", "checkout")
    }

    /// Data, then annotations.
    fn parts(texts: &BTreeMap<String, String>) -> [(&'static str, SecretTemplate); 2] {
        let texts = || texts.clone();
        [
            ("secret.template.data", SecretTemplate { data: texts(), ..SecretTemplate::default() }),
            (
                "secret.template.annotations",
                SecretTemplate { annotations: texts(), ..SecretTemplate::default() },
            ),
        ]
    }

    #[test]
    fn a_template_has_a_largest_size() {
        for (entries, valid) in [(4, true), (5, false)] {
            let texts = (0..entries).map(|nr| (format!("K{nr}"), "ä".repeat(16_384))).collect();
            for (field, template) in parts(&texts) {
                let told = of(template).err().map(|error| error.field);
                assert_eq!(told.as_deref(), (!valid).then_some(field));
            }
        }
    }

    #[test]
    fn a_template_has_so_many_placeholders_at_most() {
        for (number, valid) in [(128, true), (129, false)] {
            let texts = ["A", "B"].map(|key| (key.to_owned(), "$(name)".repeat(number))).into();
            for (field, template) in parts(&texts) {
                let told = of(template).err().map(|error| error.field);
                assert_eq!(told.as_deref(), (!valid).then_some(field));
            }
        }
    }

    fn parse(expires_after: Option<&str>, every: Option<&str>) -> Result<Desired, InvalidSpec> {
        let token = TokenSpec { expires_after: expires_after.map(str::to_owned), ..TokenSpec::default() };
        let rotation = RotationSpec {
            every: every.map(str::to_owned),
            strategy: Some(RotationStrategy::InPlace),
            ..RotationSpec::default()
        };
        let parts = SpecParts { token: Some(&token), rotation: Some(&rotation), ..SpecParts::default() };
        Desired::parse(&parts, "shop", "checkout")
    }

    #[test]
    fn what_comes_again_and_again_has_a_least_period() {
        for (text, valid) in
            [("1s", false), ("9m59s", false), ("599s", false), ("10m", true), ("5m300s", true), ("90d", true)]
        {
            for (field, parsed) in
                [("token.expiresAfter", parse(Some(text), None)), ("rotation.every", parse(None, Some(text)))]
            {
                let told = parsed.err().map(|error| error.to_string());
                let due = format!(
                    "spec.{field} must be at least 10m: the operator makes a token each time it passes"
                );
                assert_eq!(told, (!valid).then_some(due), "{field}: {text}");
            }
        }
    }

    /// The spec with one label or annotation, of a key `checkout` in the namespace `shop`.
    fn with(field: &str, text: &str, gateway: Option<&str>, name: &str) -> Result<Desired, InvalidSpec> {
        let map = || BTreeMap::from([("example.com/of".to_owned(), text.to_owned())]);
        let template = match field {
            "labels" => SecretTemplate { labels: map(), ..SecretTemplate::default() },
            _ => SecretTemplate { annotations: map(), ..SecretTemplate::default() },
        };
        let secret = SecretSpec { template: Some(template), ..SecretSpec::default() };
        let parts = SpecParts { secret: Some(&secret), gateway_id: gateway, ..SpecParts::default() };
        Desired::parse(&parts, "shop", name)
    }

    #[test]
    fn labels_are_rendered_from_what_is_known_before_there_is_a_token() {
        for (text, expected) in [
            ("plain", "plain"),
            ("", ""),
            ("$(namespace).$(name)", "shop.checkout"),
            ("$(gatewayId)", "gw-1"),
        ] {
            let desired = with("labels", text, Some("gw-1"), "checkout").unwrap();
            assert_eq!(desired.labels["example.com/of"], expected, "{text}");
        }
    }

    #[test]
    fn a_label_that_the_api_server_would_refuse_is_an_invalid_spec() {
        let long = "n".repeat(64);
        for (text, gateway, name) in [
            ("$(name)", None, long.as_str()),
            ("-$(name)", None, "checkout"),
            ("$(name)-", None, "checkout"),
            ("$$(name)", None, "checkout"),
            ("$(gatewayId)", Some("gateway one"), "checkout"),
        ] {
            let error = with("labels", text, gateway, name).unwrap_err();
            assert_eq!(error.field, "secret.template.labels[example.com/of]", "{text}");
            assert!(error.problem.contains("isn't a label's value"), "{text}: {error}");
        }
    }

    #[test]
    fn placeholders_that_labels_and_annotations_cannot_hold_are_refused() {
        for (field, text, told) in [
            ("labels", "$(value)", "only data can hold $(value)"),
            ("labels", "$(tokenId)", "an annotation can hold $(prefix) and $(tokenId)"),
            ("labels", "$(gatewayId)", "spec.token.gatewayId isn't set"),
            ("annotations", "of $(value)", "only data can hold $(value)"),
            ("annotations", "$(x)", "has a placeholder that an annotation can't have at character 1"),
            ("annotations", "$(gatewayId)", "spec.token.gatewayId isn't set"),
        ] {
            let error = with(field, text, None, "checkout").unwrap_err();
            assert!(error.problem.contains(told), "{field} {text}: {error}");
        }
        assert!(with("annotations", "$(name) $(prefix) $(tokenId) $$(value)", None, "checkout").is_ok());
    }
}
