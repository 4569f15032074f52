//! A real Prometheus scrapes the operator, and runs the queries of the chart's alerts and of its dashboard.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;

use anyhow::{Context as _, Result, bail, ensure};
use keeptrusts_emulator::{NewToken, TokenType};
use keeptrusts_harness::proxy::tokens;
use keeptrusts_harness::suite::Context;
use keeptrusts_harness::{ControlPlane, Options, Process, Rule, TestNamespace, eventually, free_port};
use keeptrusts_operator::resources::{AccessKey, GatewayKey, KeyKind};
use kube::api::DeleteParams;
use serde_json::{Value, json};

use crate::world::{SOON, Setup, World};

const ALERTS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/charts/keeptrusts-operator/files/alerts.yaml");

/// A running Prometheus that scrapes one target every second and has the chart's alerts.
struct Prometheus {
    url: String,
    _process: Process,
}

impl Prometheus {
    async fn start(dir: &Path, target: &str) -> Result<Self> {
        let find = concat!(env!("CARGO_MANIFEST_DIR"), "/tools/prometheus/find");
        let output = tokio::process::Command::new(find).output().await.context("finding Prometheus")?;
        ensure!(output.status.success(), "{find}: {}", String::from_utf8_lossy(&output.stderr));
        let found = String::from_utf8(output.stdout)?;
        let program =
            found.lines().find_map(|line| line.strip_prefix("prometheus\t")).context("no program")?;
        // The labels that the Prometheus operator puts on a pod's metrics.
        let config = json!({
            "global": {"scrape_interval": "1s", "evaluation_interval": "1s"},
            "rule_files": [ALERTS],
            "scrape_configs": [{
                "job_name": "operator",
                "static_configs": [{"targets": [target], "labels": {"namespace": "ops", "pod": "operator"}}],
            }],
        });
        let file = dir.join("prometheus.yml");
        std::fs::write(&file, serde_json::to_string(&config)?)?;
        let address = format!("127.0.0.1:{}", free_port()?);
        let mut command = std::process::Command::new(program);
        command
            .arg(format!("--config.file={}", file.display()))
            .arg(format!("--storage.tsdb.path={}", dir.join("prometheus").display()))
            .arg(format!("--web.listen-address={address}"));
        let process = Process::spawn("Prometheus", &mut command, &dir.join("prometheus.log"))?;
        Ok(Self { url: format!("http://{address}/api/v1"), _process: process })
    }

    async fn get(&self, path: &str, query: &[(&str, &str)]) -> Result<Value> {
        let url = format!("{}/{path}", self.url);
        let answer: Value = reqwest::Client::new().get(url).query(query).send().await?.json().await?;
        ensure!(answer["status"] == "success", "{query:?}: {answer}");
        Ok(answer["data"].clone())
    }

    /// What a query gives now.
    async fn query(&self, query: &str) -> Result<Vec<Value>> {
        let data = self.get("query", &[("query", query)]).await?;
        Ok(data["result"].as_array().cloned().unwrap_or_default())
    }
}

/// The queries of the alerts, and of the dashboard as Grafana sends them.
fn queries() -> Result<Vec<String>> {
    let alerts: Value = serde_yaml::from_str(&std::fs::read_to_string(ALERTS)?)?;
    let dashboard = Path::new(ALERTS).with_file_name("dashboard.json");
    let dashboard: Value = serde_json::from_str(&std::fs::read_to_string(dashboard)?)?;
    let list = |value: &Value| value.as_array().cloned().unwrap_or_default();
    let groups = list(&alerts["groups"]).into_iter();
    let panels = list(&dashboard["panels"]).into_iter();
    let rules = groups.flat_map(|group| list(&group["rules"]));
    let targets = panels.flat_map(|panel| list(&panel["targets"]));
    let queries: Vec<String> = rules
        .chain(targets)
        .filter_map(|query| query["expr"].as_str().map(ToOwned::to_owned))
        .map(|query| query.replace("$namespace", ".*").replace("$__rate_interval", "1m"))
        .collect();
    ensure!(queries.len() > 40, "only {} queries", queries.len());
    Ok(queries)
}

/// The metrics that a query names.
fn names(query: &str) -> BTreeSet<&str> {
    let words = query.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
    words.filter(|word| word.starts_with("keeptrusts_") || word.starts_with("process_")).collect()
}

/// Keys in every state that a metric tells of.
async fn all_sorts(world: &World) -> Result<()> {
    // What the operator's own credential is, is asked for where a key adopts.
    let own = json!({"id": "credential", "expires_at": "2099-01-01T00:00:00Z"});
    world.tokens.add(Rule::on(tokens::whoami()).always().answer(200, own));
    let people = world.emulator.create_elsewhere(NewToken::new("by-hand", TokenType::Access))?.id;
    let adopt = json!({"tokenId": people, "value": "Rotate"});
    world.create::<AccessKey>("adopted", json!({"adopt": adopt, "deletionPolicy": "Revoke"})).await?;
    let scheduled = json!({"rotation": {"every": "90d", "strategy": "InPlace"}});
    world.create::<AccessKey>("checkout", scheduled).await?;
    world.create::<AccessKey>("expiring", json!({"token": {"expiresAfter": "1h"}})).await?;
    world.create::<GatewayKey>("going", json!({})).await?;
    for name in ["adopted", "checkout", "expiring"] {
        world.at_rest::<AccessKey>(name).await?;
    }
    world.at_rest::<GatewayKey>("going").await?;
    world.raise::<AccessKey>("checkout", 1).await?;
    world.change::<AccessKey>("expiring", json!({"suspend": true})).await?;
    world.late_token(KeyKind::Access, "gone", "uid-of-the-gone").await?;
    world.tokens.add(Rule::on(tokens::revoke()).always().answer(503, json!({"error": "down"})));
    world.keys::<GatewayKey>().delete("going", &DeleteParams::default()).await?;
    world.reason::<GatewayKey>("going", "RevocationPending").await?;
    let wrong = json!({"error": {"type": "invalid", "message": "no such team", "code": "invalid"}});
    world.tokens.add(Rule::on(tokens::create()).times(1).answer(422, wrong));
    world.create::<GatewayKey>("wrong", json!({})).await?;
    world.reason::<GatewayKey>("wrong", "RequestRefused").await?;
    Ok(())
}

/// Nothing of a token is in a scrape, and what there is the reference explains.
async fn scrape_is_clean(world: &World) -> Result<()> {
    let (status, page) = world.operator.get("metrics", "/metrics").await?;
    ensure!(status == 200 && page.ends_with("# EOF\n"), "{status} {page}");
    let mut secret = vec![world.emulator.credential()];
    for token in world.emulator.tokens() {
        secret.extend([token.id, token.name]);
    }
    for name in ["checkout", "expiring", "adopted"] {
        secret.push(world.value(name).await?);
    }
    for (number, text) in secret.iter().enumerate() {
        // Not the text itself: this is printed.
        ensure!(!page.contains(text.as_str()), "text {number} stands in the metrics");
    }
    let reference = include_str!("../../docs/reference/metrics.md");
    let told: BTreeSet<&str> = page
        .lines()
        .filter_map(|line| line.strip_prefix("# TYPE ")?.split(' ').next())
        .inspect(|name| assert!(reference.contains(&format!("| `{name}")), "the reference lacks {name}"))
        .collect();
    let rows = reference.lines().filter_map(|line| line.strip_prefix("| `")?.split('`').next());
    let known: BTreeSet<&str> =
        rows.map(|name| name.trim_end_matches("_total").trim_end_matches("_info")).collect();
    let missing: Vec<_> = known.difference(&told).collect();
    ensure!(missing.is_empty(), "these aren't told: {missing:?}");
    Ok(())
}

/// An operator that watches all namespaces has to have a cluster of its own here.
pub(crate) async fn every_query_of_alerts_and_dashboard_finds_its_metrics(cx: Context) -> Result<()> {
    let crds = concat!(env!("CARGO_MANIFEST_DIR"), "/crds");
    let cluster = Arc::new(ControlPlane::start(Options::default().crds(crds)).await?);
    let namespace = TestNamespace::create(cluster.client(), &cx.name).await?;
    let cx = Context { cluster, namespace, dir: cx.dir, name: cx.name };
    let values = json!({"watchNamespaces": [], "adoptNamespaces": ["*"], "metrics": {"perKey": true}});
    let world = Setup::new().values(&values).start(cx).await?;
    let prometheus =
        Prometheus::start(&world.cx.dir, &world.operator.address("metrics")?.to_string()).await?;
    all_sorts(&world).await?;

    let queries = queries()?;
    let wanted: BTreeSet<&str> = queries.iter().flat_map(|query| names(query)).collect();
    eventually(SOON, "Prometheus has every metric that a query names", async || {
        let known = prometheus.get("label/__name__/values", &[]).await?;
        let known: BTreeSet<&str> =
            known.as_array().into_iter().flatten().filter_map(Value::as_str).collect();
        let missing: Vec<_> = wanted.difference(&known).collect();
        ensure!(missing.is_empty(), "{missing:?}");
        Ok(())
    })
    .await?;
    for query in &queries {
        prometheus.query(query).await?;
    }
    eventually(SOON, "every rule has been evaluated", async || {
        let groups = prometheus.get("rules", &[]).await?;
        let groups = groups["groups"].as_array().cloned().unwrap_or_default();
        let rules: Vec<&Value> =
            groups.iter().flat_map(|group| group["rules"].as_array().into_iter().flatten()).collect();
        let ill: Vec<_> = rules.iter().filter(|rule| rule["health"] != "ok").collect();
        ensure!(!rules.is_empty() && ill.is_empty(), "{ill:?}");
        Ok(())
    })
    .await?;
    // The numbers are the world's.
    for (query, number) in [
        ("sum(keeptrusts_keys)", 5.0),
        (r#"keeptrusts_keys_conditions{condition="Ready",status="False",reason="RequestRefused"}"#, 1.0),
        (r#"keeptrusts_keys_deleting{kind="GatewayKey"}"#, 1.0),
        (r#"keeptrusts_orphan_tokens{kind="AccessKey"}"#, 1.0),
        (r#"keeptrusts_values_written_total{kind="AccessKey",reason="GenerationRaised"}"#, 1.0),
        (r#"keeptrusts_key_raise_to_ready_seconds_count{kind="AccessKey"}"#, 1.0),
        (r#"keeptrusts_key_without_value_seconds_count{kind="AccessKey"}"#, 1.0),
        ("sum(keeptrusts_key_creation_to_ready_seconds_count)", 4.0),
        (r#"keeptrusts_operations_total{kind="GatewayKey",operation="create",outcome="refused"}"#, 1.0),
        ("sum(keeptrusts_reconcile_queue_length)", 0.0),
        ("keeptrusts_leader", 1.0),
        (r#"count(keeptrusts_key_ready{key_namespace!=""})"#, 5.0),
    ] {
        eventually(SOON, query, async || {
            let found = prometheus.query(query).await?;
            match found.as_slice() {
                [series] => {
                    let value: f64 = series["value"][1].as_str().unwrap_or_default().parse()?;
                    ensure!((value - number).abs() < f64::EPSILON, "{value}, not {number}");
                    Ok(())
                }
                found => bail!("{found:?}"),
            }
        })
        .await?;
    }
    eventually(SOON, "the metrics tell of everything and of nothing secret", async || {
        scrape_is_clean(&world).await
    })
    .await
}
