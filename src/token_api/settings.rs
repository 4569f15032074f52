//! What a connection to the token API is told, and the checks that make it fit to be used.

use std::fmt;
use std::num::NonZeroU32;
use std::path::{Path, PathBuf};
use std::time::Duration;

use url::{Host, Url};

use super::files::{Credential, UnusableCredential};

/// What a connection is told.
#[derive(Clone)]
pub struct Settings {
    /// Base URL of the control plane (`--api-url`).
    pub url: Url,
    /// The file that holds the operator's own credential (`--api-token-file`).
    pub token_file: PathBuf,
    /// The file that holds the certificates of private authorities (`--api-ca-file`).
    pub ca_file: Option<PathBuf>,
    /// Plain `http://` is meant, and not only on loopback (`--api-allow-http`).
    pub allow_http: bool,
    /// From the begin of a call to the last byte of its answer.
    pub call_deadline: Duration,
    /// The client's own limit on calls.
    pub requests_per_second: NonZeroU32,
    /// How far a list may lag behind.
    pub list_lag: Duration,
}

impl fmt::Debug for Settings {
    /// Without the URL's user information: somebody may have put a password there, which the checks refuse only later.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { url, token_file, ca_file, allow_http, call_deadline, requests_per_second, list_lag } =
            self;
        f.debug_struct("Settings")
            .field("url", &format_args!("{}://{}", url.scheme(), url.host_str().unwrap_or_default()))
            .field("token_file", token_file)
            .field("ca_file", ca_file)
            .field("allow_http", allow_http)
            .field("call_deadline", call_deadline)
            .field("requests_per_second", requests_per_second)
            .field("list_lag", list_lag)
            .finish()
    }
}

/// Settings that can't be used. Each text names the flag and the cure.
#[derive(Debug, thiserror::Error)]
pub enum SettingsError {
    /// Neither https nor http.
    #[error("--api-url has the scheme {0:?}; give an https:// URL")]
    Scheme(String),
    /// http that isn't on loopback.
    #[error(
        "--api-url is http:// to {0}, so the credential and every value would travel in the clear; give an https:// \
         URL, or say --api-allow-http if the network between is trusted"
    )]
    PlainHttp(String),
    /// The URL holds more than scheme, host, port and path.
    #[error(
        "--api-url has {0}; leave it out: the credential comes from --api-token-file, and calls add their own path"
    )]
    UrlPart(&'static str),
    /// The URL has no host.
    #[error("--api-url has no host; give a URL such as https://api.keeptrusts.com")]
    NoHost,
    /// The credential's file can't be read.
    #[error("--api-token-file {path}: {error}; give a readable file that holds the operator's API token")]
    TokenFile {
        /// The file.
        path: PathBuf,
        /// Why.
        error: std::io::Error,
    },
    /// What the credential's file holds can't be a credential.
    #[error("--api-token-file {path} {error}; it must hold the operator's API token and nothing else")]
    Token {
        /// The file.
        path: PathBuf,
        /// Why.
        error: UnusableCredential,
    },
    /// The authorities' file can't be read.
    #[error("--api-ca-file {path}: {error}; give a readable file of PEM certificates")]
    CaFile {
        /// The file.
        path: PathBuf,
        /// Why.
        error: std::io::Error,
    },
    /// What the authorities' file holds isn't certificates.
    #[error("--api-ca-file {0} holds no valid certificate; it must hold PEM certificates of authorities")]
    Ca(PathBuf),
    /// Neither the system nor a file has authorities.
    #[error("no certificate authorities: {0}; install the system's (ca-certificates) or give --api-ca-file")]
    Tls(String),
}

/// Checks the URL alone.
pub(super) fn check_url(settings: &Settings) -> Result<(), SettingsError> {
    let url = &settings.url;
    let host = url.host().ok_or(SettingsError::NoHost)?;
    match url.scheme() {
        "https" => (),
        "http" if settings.allow_http || is_loopback(&host) => (),
        "http" => return Err(SettingsError::PlainHttp(host.to_string())),
        other => return Err(SettingsError::Scheme(other.to_owned())),
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err(SettingsError::UrlPart("a user name or password"));
    }
    if url.query().is_some() {
        return Err(SettingsError::UrlPart("a query (?…)"));
    }
    if url.fragment().is_some() {
        return Err(SettingsError::UrlPart("a fragment (#…)"));
    }
    Ok(())
}

/// Loopback by its address, or by the one name that must resolve to it (RFC 6761).
fn is_loopback(host: &Host<&str>) -> bool {
    match host {
        Host::Domain(name) => {
            let name = name.trim_end_matches('.');
            name.eq_ignore_ascii_case("localhost") || name.to_ascii_lowercase().ends_with(".localhost")
        }
        Host::Ipv4(address) => address.is_loopback(),
        Host::Ipv6(address) => address.is_loopback(),
    }
}

/// Reads the credential.
pub(super) fn read_credential(path: &Path) -> Result<Credential, SettingsError> {
    let text = super::files::read_bounded(path)
        .map_err(|error| SettingsError::TokenFile { path: path.to_owned(), error })?;
    Credential::parse(&text).map_err(|error| SettingsError::Token { path: path.to_owned(), error })
}

/// Reads the authorities, if there is a file of them.
pub(super) fn read_ca(path: Option<&Path>) -> Result<Option<Vec<u8>>, SettingsError> {
    path.map(|path| {
        super::files::read_bounded(path)
            .map(|bytes| bytes.to_vec())
            .map_err(|error| SettingsError::CaFile { path: path.to_owned(), error })
    })
    .transpose()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(url: &str, allow_http: bool) -> Settings {
        Settings {
            url: url.parse().unwrap(),
            token_file: "token".into(),
            ca_file: None,
            allow_http,
            call_deadline: Duration::from_secs(1),
            requests_per_second: NonZeroU32::MIN,
            list_lag: Duration::from_secs(1),
        }
    }

    #[test]
    fn https_and_http_on_loopback_are_accepted() {
        for url in [
            "https://api.keeptrusts.com",
            "https://keeptrusts-api.internal:8080/base/",
            "http://127.0.0.1:9000",
            "http://127.3.2.1",
            "http://[::1]:9000",
            "http://localhost:9000",
            "http://api.localhost",
        ] {
            assert!(check_url(&settings(url, false)).is_ok(), "{url}");
        }
    }

    #[test]
    fn plain_http_to_elsewhere_must_be_allowed_by_name() {
        for url in ["http://api.keeptrusts.com", "http://10.0.0.1", "http://localhost.example.com"] {
            let error = check_url(&settings(url, false)).unwrap_err().to_string();
            assert!(error.contains("--api-allow-http"), "{error}");
            assert!(check_url(&settings(url, true)).is_ok(), "{url}");
        }
    }

    #[test]
    fn what_does_not_belong_into_the_url_is_refused_and_never_shown() {
        for url in [
            "https://user:canary@api.keeptrusts.com",
            "https://canary@api.keeptrusts.com",
            "https://api.keeptrusts.com?token=canary",
            "https://api.keeptrusts.com#canary",
            "ftp://canary@api.keeptrusts.com",
            "unix:/canary",
        ] {
            let settings = settings(url, true);
            let error = check_url(&settings).unwrap_err().to_string();
            assert!(error.contains("--api-url") && !error.contains("canary"), "{error}");
            assert!(!format!("{settings:?}").contains("canary"), "{settings:?}");
        }
    }
}
