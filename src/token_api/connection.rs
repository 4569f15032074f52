//! The connection: HTTP clients, credential, clock, limits; everything that calls have in common.

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{PoisonError, RwLock};
use std::time::{Duration, Instant, SystemTime};

use http::{HeaderMap, HeaderName, HeaderValue, Method, header};
use reqwest::redirect;
use tokio::sync::watch;
use url::Url;

use super::call::{Failure, Reply, exchange, failure};
use super::client::begins_with;
use super::error::{CallError, Class};
use super::files::Credential;
use super::limits::{Limits, date};
use super::settings::{Settings, SettingsError, check_url, read_ca, read_credential};
use crate::metrics::{Route, TokenApiMetrics};

/// A connection that takes longer is as good as none.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// Shorter than the idle limits of common proxies (a minute), so that a kept connection is rarely a dead one.
const IDLE_TIMEOUT: Duration = Duration::from_secs(30);

/// The most that an answer about one token may have: a thousand times what one needs.
pub(super) const MAX_ANSWER: usize = 1 << 20;

/// Clocks that differ more make whatever is driven by time wait (design, "Clocks").
const MAX_SKEW: Duration = Duration::from_mins(5);

const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");

/// The HTTP clients. Calls that make values have one of their own that never uses a connection twice: on a connection
/// that it had kept, hyper would send a request again if it finds the connection closed.
#[derive(Clone)]
struct Http {
    keeping: reqwest::Client,
    single: reqwest::Client,
}

impl Http {
    fn new(settings: &Settings, ca: Option<&[u8]>) -> Result<Self, SettingsError> {
        let bad_ca = || SettingsError::Ca(settings.ca_file.clone().unwrap_or_default());
        let authorities = match ca {
            None => Vec::new(),
            Some(pem) => match reqwest::Certificate::from_pem_bundle(pem) {
                Ok(certificates) if !certificates.is_empty() => certificates,
                _ => return Err(bad_ca()),
            },
        };
        let builder = || {
            let builder = reqwest::Client::builder()
                .user_agent(concat!("keeptrusts-operator/", env!("CARGO_PKG_VERSION")))
                .connect_timeout(CONNECT_TIMEOUT.min(settings.call_deadline))
                .redirect(redirect::Policy::none())
                .retry(reqwest::retry::never())
                .referer(false);
            if settings.url.scheme() == "https" {
                builder.https_only(true).tls_certs_merge(authorities.clone())
            } else {
                // Plain HTTP needs no authorities, which a small image may lack; and a proxy must not see it.
                builder.tls_certs_only([]).no_proxy()
            }
        };
        let build = |builder: reqwest::ClientBuilder| {
            builder.build().map_err(|error| {
                if authorities.is_empty() {
                    let cause = std::error::Error::source(&error).map(ToString::to_string);
                    SettingsError::Tls(cause.unwrap_or_else(|| error.to_string()))
                } else {
                    bad_ca()
                }
            })
        };
        Ok(Self {
            keeping: build(builder().pool_idle_timeout(IDLE_TIMEOUT))?,
            single: build(builder().pool_max_idle_per_host(0).http1_only())?,
        })
    }
}

/// A call to be sent.
pub(super) struct Call<'a> {
    method: Method,
    url: Url,
    authorization: Option<HeaderValue>,
    operation: Option<&'a str>,
    body: Option<Vec<u8>>,
    max_body: usize,
}

impl<'a> Call<'a> {
    /// A call with the operator's own credential.
    pub(super) const fn new(method: Method, url: Url) -> Self {
        Self { method, url, authorization: None, operation: None, body: None, max_body: MAX_ANSWER }
    }

    /// A call that makes a value.
    pub(super) fn minting(url: Url, operation: &'a str, body: Vec<u8>) -> Self {
        let call = Self::new(Method::POST, url);
        Self { operation: Some(operation), body: Some(body), ..call }
    }

    /// With another credential than the operator's own.
    pub(super) fn authorized_by(self, authorization: HeaderValue) -> Self {
        Self { authorization: Some(authorization), ..self }
    }

    /// With another bound on the answer.
    pub(super) fn answered_within(self, max_body: usize) -> Self {
        Self { max_body, ..self }
    }
}

/// What all calls have in common.
pub(super) struct Connection {
    settings: Settings,
    host: String,
    http: RwLock<Http>,
    ca: RwLock<Option<Vec<u8>>>,
    credential: RwLock<Credential>,
    version: watch::Sender<u64>,
    skewed: AtomicBool,
    pub(super) limits: Limits,
    pub(super) metrics: TokenApiMetrics,
}

impl Connection {
    pub(super) fn new(settings: &Settings) -> Result<Self, SettingsError> {
        check_url(settings)?;
        let credential = read_credential(&settings.token_file)?;
        let ca = read_ca(settings.ca_file.as_deref())?;
        let metrics = TokenApiMetrics::default();
        Ok(Self {
            http: RwLock::new(Http::new(settings, ca.as_deref())?),
            ca: RwLock::new(ca),
            host: settings.url.host_str().unwrap_or_default().to_owned(),
            credential: RwLock::new(credential),
            version: watch::Sender::new(1),
            skewed: AtomicBool::new(false),
            limits: Limits::new(settings.requests_per_second, metrics.clone()),
            metrics,
            settings: settings.clone(),
        })
    }

    pub(super) const fn settings(&self) -> &Settings {
        &self.settings
    }

    pub(super) const fn versions(&self) -> &watch::Sender<u64> {
        &self.version
    }

    pub(super) fn skewed(&self) -> bool {
        self.skewed.load(Ordering::Relaxed)
    }

    fn credential(&self) -> Credential {
        self.credential.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Whether the operator's own credential begins as a list shows a token's value.
    pub(super) fn credential_begins_with(&self, shown: &str) -> bool {
        begins_with(self.credential().expose(), shown).unwrap_or_default()
    }

    /// Reads the credential anew; says whether it is another one.
    pub(super) fn reload_credential(&self) -> Result<bool, SettingsError> {
        let new = read_credential(&self.settings.token_file)?;
        let mut current = self.credential.write().unwrap_or_else(PoisonError::into_inner);
        if current.expose() == new.expose() {
            return Ok(false);
        }
        *current = new;
        drop(current);
        self.metrics.new_credential();
        self.version.send_modify(|version| *version += 1);
        Ok(true)
    }

    /// Reads the authorities anew; says whether they are other ones.
    pub(super) fn reload_ca(&self) -> Result<bool, SettingsError> {
        let new = read_ca(self.settings.ca_file.as_deref())?;
        let mut current = self.ca.write().unwrap_or_else(PoisonError::into_inner);
        if *current == new {
            return Ok(false);
        }
        let http = Http::new(&self.settings, new.as_deref())?;
        *current = new;
        *self.http.write().unwrap_or_else(PoisonError::into_inner) = http;
        Ok(true)
    }

    /// The file of the authorities.
    pub(super) const fn ca_file(&self) -> Option<&PathBuf> {
        self.settings.ca_file.as_ref()
    }

    /// The URL with `segments` after the base's own path.
    pub(super) fn url(&self, segments: &[&str]) -> Url {
        let mut url = self.settings.url.clone();
        // Only URLs without a host have no segments, and those are refused.
        if let Ok(mut path) = url.path_segments_mut() {
            path.pop_if_empty().extend(segments);
        }
        url
    }

    /// Makes a call. The place under the rate limit is the caller's affair.
    pub(super) async fn send(&self, call: Call<'_>) -> Result<Reply, Failure> {
        let Call { method, url, authorization, operation, body, max_body } = call;
        // Taken together: an answer is scrubbed of the credential that was sent, not of a later one.
        let credential = self.credential();
        let http = self.http.read().unwrap_or_else(PoisonError::into_inner).clone();
        let client = if method == Method::POST { http.single } else { http.keeping };
        let own = authorization.is_none();
        let route = Route::of(&method, url.path(), own);
        let mut headers = HeaderMap::new();
        headers.insert(header::AUTHORIZATION, authorization.unwrap_or_else(|| credential.header()));
        headers.insert(header::ACCEPT, HeaderValue::from_static("application/json"));
        // A list out of a cache would prove nothing.
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
        if let Some(operation) = operation {
            let key = HeaderValue::from_str(operation).map_err(|_| {
                Failure::unsent(CallError::new(
                    Class::Request,
                    "the operation's id doesn't fit into a header",
                ))
            })?;
            headers.insert(IDEMPOTENCY_KEY, key);
        }
        let mut request = client.request(method.clone(), url).headers(headers);
        if let Some(body) = body {
            request = request.header(header::CONTENT_TYPE, "application/json").body(body);
        }
        let begun = Instant::now();
        let result = exchange(request, self.settings.call_deadline, max_body, &self.host).await;
        let outcome = result.and_then(|reply| {
            self.compare_clocks(&reply.headers);
            if reply.status.is_success() {
                return Ok(reply);
            }
            let failure = failure(&reply, &[credential.expose()]);
            if failure.error.class == Class::Throttled {
                self.limits.pause(failure.error.retry_after.unwrap_or_default());
            }
            Err(failure)
        });
        let status = match &outcome {
            Ok(reply) => Some(reply.status),
            Err(failure) => failure.status,
        };
        self.metrics.called(route, own, status, begun.elapsed());
        match &outcome {
            Ok(reply) => tracing::debug!(%method, status = reply.status.as_u16(), "called the token API"),
            Err(failure) => {
                let status = failure.status.map(|status| status.as_u16());
                tracing::debug!(%method, status, class = ?failure.error.class, "a call to the token API failed");
            }
        }
        outcome
    }

    /// Compares the API's clock with ours.
    fn compare_clocks(&self, headers: &HeaderMap) {
        // An answer with an age comes from a cache: its date is when it was made.
        let theirs = headers.get(header::DATE).filter(|_| !headers.contains_key(header::AGE)).and_then(date);
        let Some(theirs) = theirs else { return };
        let ours = SystemTime::now();
        let apart = ours.duration_since(theirs).unwrap_or_else(|error| error.duration());
        let skewed = apart > MAX_SKEW;
        if self.skewed.swap(skewed, Ordering::Relaxed) != skewed {
            if skewed {
                tracing::warn!("the token API's clock and ours differ by more than five minutes");
            } else {
                tracing::info!("the token API's clock and ours agree again");
            }
        }
    }
}
