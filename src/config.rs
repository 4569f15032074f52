//! How the operator is run: flags, each with its environment variable.

use std::net::SocketAddr;
use std::num::NonZeroU32;
use std::path::PathBuf;
use std::time::Duration;

use clap::{ArgAction, Args, ValueEnum};
use url::Url;

use crate::lifecycle::duration;
use crate::lifecycle::naming::{DEFAULT_NAME_LENGTH, MIN_NAME_LENGTH};
use crate::metrics::MetricsAddress;
use crate::selector::KeySelector;
use crate::token_api::Settings;

/// The longest limit on names: what a status holds of a name.
const MAX_NAME_LENGTH: usize = 512;

/// The connection to the token API, and whose tokens are meant.
#[derive(Clone, Debug, Args)]
pub struct ConnectionArguments {
    /// Base URL of the Keeptrusts token API
    #[arg(
        long,
        env = "KEEPTRUSTS_API_URL",
        default_value = "https://api.keeptrusts.com",
        value_name = "URL"
    )]
    pub api_url: Url,

    /// File that holds the operator's own API token; read again whenever it changes
    #[arg(long, env = "KEEPTRUSTS_API_TOKEN_FILE", value_name = "FILE")]
    pub api_token_file: PathBuf,

    /// File with the certificates (PEM) of the token API's private certificate authority, taken beside the system's
    #[arg(long, env = "KEEPTRUSTS_API_CA_FILE", value_name = "FILE")]
    pub api_ca_file: Option<PathBuf>,

    /// Allow an http:// URL that isn't on loopback: credential and values then cross the network unencrypted
    #[arg(long, env = "KEEPTRUSTS_API_ALLOW_HTTP")]
    pub api_allow_http: bool,

    /// Calls to the token API a second, at most; they are spaced evenly
    #[arg(long, env = "KEEPTRUSTS_API_REQUESTS_PER_SECOND", default_value = "20", value_name = "N")]
    pub api_requests_per_second: NonZeroU32,

    /// How long one call to the token API may take, for example 30s
    #[arg(long, env = "KEEPTRUSTS_CALL_DEADLINE", default_value = "30s", value_name = "DURATION", value_parser = duration::parse)]
    pub call_deadline: Duration,

    /// How far the token API's lists may lag behind its other answers
    #[arg(long, env = "KEEPTRUSTS_LIST_LAG", default_value = "60s", value_name = "DURATION", value_parser = duration::parse)]
    pub list_lag: Duration,

    /// Whose tokens are meant
    #[command(flatten)]
    pub installation: InstallationArguments,
}

/// The installation: an operator among several, in one cluster among several.
#[derive(Clone, Debug, Args)]
pub struct InstallationArguments {
    /// Name of this operator among several in one cluster; tokens belong to the instance that made them, so it must
    /// never change
    #[arg(long, env = "KEEPTRUSTS_INSTANCE", default_value = "default", value_name = "NAME")]
    pub instance: String,

    /// Uid of the cluster's namespace kube-system, which is part of every token's name. Default: it is read, which needs the
    /// right to. Never another cluster's: each operator would take the other's tokens for orphans of its own
    #[arg(long, env = "KEEPTRUSTS_CLUSTER_UID", value_name = "UID", value_parser = cluster_uid)]
    pub cluster_uid: Option<String>,
}

/// How the operator is run.
#[derive(Clone, Debug, Args)]
pub struct RunArguments {
    /// The connection to the token API
    #[command(flatten)]
    pub connection: ConnectionArguments,

    /// How often the tokens of each kind are listed
    #[arg(long, env = "KEEPTRUSTS_INVENTORY_PERIOD", default_value = "5m", value_name = "DURATION", value_parser = duration::parse)]
    pub inventory_period: Duration,

    /// The longest token name that the token API keeps as it is, in characters
    #[arg(long, env = "KEEPTRUSTS_MAX_TOKEN_NAME_LENGTH", default_value_t = DEFAULT_NAME_LENGTH, value_name = "N", value_parser = name_length)]
    pub max_token_name_length: usize,

    /// Where /livez and /readyz are served
    #[arg(long, env = "KEEPTRUSTS_HEALTH_ADDRESS", default_value = "0.0.0.0:8081", value_name = "ADDRESS")]
    pub health_address: SocketAddr,

    /// Where /metrics is served, or `off`
    #[arg(long, env = "KEEPTRUSTS_METRICS_ADDRESS", default_value = "0.0.0.0:8080", value_name = "ADDRESS")]
    pub metrics_address: MetricsAddress,

    /// Tell Prometheus of every key by its namespace and name: four series for each
    #[arg(long, env = "KEEPTRUSTS_METRICS_PER_KEY")]
    pub metrics_per_key: bool,

    /// Watch this namespace alone; may be repeated. Default: all namespaces
    #[arg(
        long = "watch-namespace",
        env = "KEEPTRUSTS_WATCH_NAMESPACES",
        value_delimiter = ',',
        value_name = "NAMESPACE"
    )]
    pub watch_namespaces: Vec<String>,

    /// Keep only keys with these labels, for example `team=shop,env in (prod,stage)`; whoever may label keys decides who keeps
    /// them. Default: all keys
    #[arg(long, env = "KEEPTRUSTS_WATCH_LABEL_SELECTOR", value_name = "SELECTOR")]
    pub watch_label_selector: Option<KeySelector>,

    /// Allow resources of this namespace to adopt tokens that were made elsewhere (spec.adopt); may be repeated, and *
    /// stands for all namespaces. Whoever may create keys there can then take over any token that no other resource
    /// claims. Default: none
    #[arg(
        long = "adopt-namespace",
        env = "KEEPTRUSTS_ADOPT_NAMESPACES",
        value_delimiter = ',',
        value_name = "NAMESPACE"
    )]
    pub adopt_namespaces: Vec<String>,

    /// Look for the workloads that use a key's Secret (spec.workloads.restart: Discovered, and status.workloads)
    #[arg(long, env = "KEEPTRUSTS_DISCOVER_WORKLOADS")]
    pub discover_workloads: bool,

    /// How many workloads are restarted at once after rotations (spec.workloads)
    #[arg(long, env = "KEEPTRUSTS_MAX_ROLLOUTS", default_value = "10", value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    pub max_rollouts: u16,

    /// How many keys of each kind are worked on at once
    #[arg(long, env = "KEEPTRUSTS_CONCURRENCY", default_value = "16", value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    pub concurrency: u16,

    /// Name of this pod, for events and the Lease
    #[arg(long, env = "HOSTNAME", default_value = "keeptrusts-operator", value_name = "NAME")]
    pub pod_name: String,

    /// Who acts, where several run
    #[command(flatten)]
    pub leader_election: LeaderElectionArguments,

    /// What is logged, and how
    #[command(flatten)]
    pub log: LogArguments,

    /// Where traces go, by OTLP over HTTP, for example `http://collector:4318/v1/traces`; `OTEL_EXPORTER_OTLP_HEADERS` and
    /// OpenTelemetry's other variables are heeded. Default: there are none
    #[cfg(feature = "traces")]
    #[arg(long, env = "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", value_name = "URL")]
    pub traces_endpoint: Option<Url>,
}

/// What is logged, and how.
#[derive(Clone, Debug, Args)]
pub struct LogArguments {
    /// What is logged: a level (error, warn, info, debug, trace, off) or a filter such as `info,keeptrusts_operator=debug`
    #[arg(long, env = "KEEPTRUSTS_LOG_LEVEL", default_value = "info", value_name = "FILTER")]
    pub log_level: String,

    /// File that says the same and comes first, unless it is empty; read again whenever it changes
    #[arg(long, env = "KEEPTRUSTS_LOG_LEVEL_FILE", value_name = "FILE")]
    pub log_level_file: Option<PathBuf>,

    /// How it is logged
    #[arg(long, env = "KEEPTRUSTS_LOG_FORMAT", default_value = "text", value_name = "FORMAT")]
    pub log_format: LogFormat,
}

/// Who acts, where several operators run.
#[derive(Clone, Debug, Args)]
pub struct LeaderElectionArguments {
    /// Act only while holding a Lease in the operator's own namespace, so that one of several replicas does and the others
    /// stand by. Without it every one acts; they don't harm each other, but make calls in vain
    #[arg(
        long = "leader-election",
        env = "KEEPTRUSTS_LEADER_ELECTION",
        default_value = "true",
        action = ArgAction::Set,
        value_name = "BOOL"
    )]
    pub enabled: bool,

    /// Name of the Lease. Default: keeptrusts-operator, with --instance behind it unless that is the default
    #[arg(long, env = "KEEPTRUSTS_LEASE_NAME", value_name = "NAME")]
    pub lease_name: Option<String>,

    /// How long the Lease must go without a renewal before another replica takes it
    #[arg(long, env = "KEEPTRUSTS_LEASE_DURATION", default_value = "15s", value_name = "DURATION", value_parser = duration::parse)]
    pub lease_duration: Duration,

    /// How long the holder tries to renew the Lease before it gives up and ends; less than --lease-duration
    #[arg(long, env = "KEEPTRUSTS_LEASE_RENEW_DEADLINE", default_value = "10s", value_name = "DURATION", value_parser = duration::parse)]
    pub lease_renew_deadline: Duration,

    /// How often the Lease is renewed, and looked at by those who stand by; less than --lease-renew-deadline
    #[arg(long, env = "KEEPTRUSTS_LEASE_RETRY_PERIOD", default_value = "2s", value_name = "DURATION", value_parser = duration::parse)]
    pub lease_retry_period: Duration,
}

/// How logs are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// Lines for people.
    Text,
    /// A JSON object a line.
    Json,
}

impl ConnectionArguments {
    /// As the client takes them.
    #[must_use]
    pub fn settings(&self) -> Settings {
        Settings {
            url: self.api_url.clone(),
            token_file: self.api_token_file.clone(),
            ca_file: self.api_ca_file.clone(),
            allow_http: self.api_allow_http,
            call_deadline: self.call_deadline,
            requests_per_second: self.api_requests_per_second,
            list_lag: self.list_lag,
        }
    }
}

/// A uid as Kubernetes writes it. Anything else, say a cluster's name, may well be given twice.
fn cluster_uid(text: &str) -> Result<String, String> {
    let groups: Vec<_> = text.split('-').collect();
    let hexadecimal = |group: &&str| group.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
    if groups.iter().map(|group| group.len()).eq([8, 4, 4, 4, 12]) && groups.iter().all(hexadecimal) {
        Ok(text.to_owned())
    } else {
        Err("must be a uid: kubectl get namespace kube-system -o jsonpath={.metadata.uid}".to_owned())
    }
}

fn name_length(text: &str) -> Result<usize, String> {
    let length = text.parse().map_err(|_| "must be a number".to_owned())?;
    if (MIN_NAME_LENGTH..=MAX_NAME_LENGTH).contains(&length) {
        Ok(length)
    } else {
        Err(format!("must be from {MIN_NAME_LENGTH} to {MAX_NAME_LENGTH}: the tag in a name is never cut"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cluster_is_named_by_a_uid_and_by_nothing_else() {
        let uid = "7d3c1b0a-5a2e-4f0e-9c3e-0a1b2c3d4e5f";
        assert_eq!(cluster_uid(uid).unwrap(), uid);
        for wrong in [
            "",
            "prod",
            "7d3c1b0a",
            "7D3C1B0A-5a2e-4f0e-9c3e-0a1b2c3d4e5f",
            "7d3c1b0a5a2e4f0e9c3e0a1b2c3d4e5f",
        ] {
            assert!(cluster_uid(wrong).is_err(), "{wrong}");
        }
    }
}
