//! What a test works in: the token API, the operator as its chart starts it, and proxies between them.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Event, Namespace, Secret};
use keeptrusts_emulator::{Emulator, Options, Token};
use keeptrusts_harness::proxy::{kubernetes_status, steps, tokens};
use keeptrusts_harness::suite::Context;
use keeptrusts_harness::{Chart, ChartOptions, Launch, Operator, Proxy, Rule, Upstream, eventually};
use keeptrusts_operator::resources::{Key, KeyStatus};
use kube::api::{Api, DeleteParams, ListParams, Patch, PatchParams, PostParams};
use serde_json::{Value, json};

/// The chart under test.
pub(crate) const CHART: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/charts/keeptrusts-operator");

/// Ten times what anything takes here that waits for nobody.
pub(crate) const SOON: Duration = Duration::from_secs(20);

/// As long as the namespace controller may take, which works through whatever other tests have left in their namespaces.
pub(crate) const NAMESPACE: Duration = Duration::from_mins(2);

/// The call deadline and the lag of lists in tests: recovery waits for both.
pub(crate) const DEADLINE: &str = "1s";
pub(crate) const LAG: &str = "1s";

/// The token API, the operator, and what stands between them.
pub(crate) struct World {
    pub(crate) cx: Context,
    /// The namespace of the keys; unless said otherwise, the operator's own.
    place: String,
    pub(crate) emulator: Emulator,
    /// Between the operator and the API server.
    pub(crate) kubernetes: Proxy,
    /// Between the operator and the token API.
    pub(crate) tokens: Proxy,
    pub(crate) chart: Chart,
    /// The values that it was rendered with.
    pub(crate) values: Value,
    pub(crate) operator: Operator,
}

/// What differs from the usual world.
pub(crate) struct Setup {
    values: Value,
    options: Options,
}

impl Setup {
    pub(crate) fn new() -> Self {
        Self { values: json!({}), options: Options::default() }
    }

    /// Values of the chart, over those of every test.
    pub(crate) fn values(mut self, values: &Value) -> Self {
        json_patch::merge(&mut self.values, values);
        self
    }

    /// How the token API behaves from the start.
    pub(crate) fn behaviour(mut self, change: impl FnOnce(&mut keeptrusts_emulator::Behaviour)) -> Self {
        change(&mut self.options.behaviour);
        self
    }

    /// Starts everything and waits until the operator is ready.
    pub(crate) async fn start(self, cx: Context) -> Result<World> {
        let place = cx.namespace.name().to_owned();
        self.start_in(cx, &place).await
    }

    /// [`Self::start`] for keys in another namespace than the operator's own.
    pub(crate) async fn start_in(self, cx: Context, place: &str) -> Result<World> {
        let mut world = self.set_up(cx, place).await?;
        world.operator.wait_ready(SOON).await?;
        Ok(world)
    }

    /// Starts everything, and waits for nobody.
    pub(crate) async fn start_unready(self, cx: Context) -> Result<World> {
        let place = cx.namespace.name().to_owned();
        self.set_up(cx, &place).await
    }

    async fn set_up(self, cx: Context, place: &str) -> Result<World> {
        let emulator = Emulator::start(self.options).await?;
        let tokens = Proxy::start(Upstream::http(emulator.url())).await?;
        let kubernetes = start_proxy(&cx).await?;
        let name = cx.namespace.name();
        let mut values = json!({
            "crds": {"enabled": false},
            "watchNamespaces": [place],
            "instance": name,
            "inventoryPeriod": "2s",
            // Tests start operators again and again, and want several that act at once: what keeps those from harming each
            // other isn't the Lease. Those of the Lease itself are in ha.rs.
            "leaderElection": {"enabled": false},
            "log": {"level": "info,keeptrusts_operator=debug"},
            "api": {
                "url": tokens.url(),
                "credential": {"secretName": "credential"},
                "callDeadline": DEADLINE,
                "listLag": LAG,
                "requestsPerSecond": 1000,
            },
        });
        json_patch::merge(&mut values, &self.values);
        let credential: Secret = serde_json::from_value(
            json!({"metadata": {"name": "credential"}, "stringData": {"token": emulator.credential()}}),
        )?;
        cx.namespace.api().create(&PostParams::default(), &credential).await?;
        let options = ChartOptions::new(CHART, name, name).values(values.clone());
        let chart = Chart::render(&cx.cluster.helm(), &options).await?;
        chart.apply(&cx.cluster).await?;
        let operator = Operator::start(&cx.cluster, &chart, &launch(&cx, &kubernetes)).await?;
        Ok(World { place: place.to_owned(), cx, emulator, kubernetes, tokens, chart, values, operator })
    }
}

/// What stands between an operator and the API server. Nothing in RBAC keeps whoever may list Secrets from their data: here no operator
/// gets a list of them but as metadata.
pub(crate) async fn start_proxy(cx: &Context) -> Result<Proxy> {
    let proxy = Proxy::start(Upstream::kubernetes(&cx.cluster)).await?;
    let refusal = kubernetes_status(403, "Forbidden", "Secrets are listed as metadata only");
    proxy.add(Rule::on(steps::secrets_listed_whole()).always().answer(403, refusal));
    Ok(proxy)
}

/// Starts the operator of a chart that was applied, and waits until it is ready.
pub(crate) async fn start_operator(cx: &Context, chart: &Chart, kubernetes: &Proxy) -> Result<Operator> {
    let mut operator = Operator::start(&cx.cluster, chart, &launch(cx, kubernetes)).await?;
    operator.wait_ready(SOON).await?;
    Ok(operator)
}

/// The operator, behind this proxy.
pub(crate) fn launch(cx: &Context, kubernetes: &Proxy) -> Launch {
    Launch::new(env!("CARGO_BIN_EXE_keeptrusts-operator"), &cx.dir)
        .program("/usr/local/bin/keeptrusts-operator")
        .api_server(kubernetes.url())
}

impl World {
    /// The usual world.
    pub(crate) async fn start(cx: Context) -> Result<Self> {
        Setup::new().start(cx).await
    }

    /// One more operator of the same chart.
    pub(crate) async fn another_operator(&self) -> Result<Operator> {
        start_operator(&self.cx, &self.chart, &self.kubernetes).await
    }

    pub(crate) fn keys<K: Key>(&self) -> Api<K> {
        Api::namespaced(self.cx.client(), &self.place)
    }

    pub(crate) fn secrets(&self) -> Api<Secret> {
        Api::namespaced(self.cx.client(), &self.place)
    }

    /// Creates a resource with this spec.
    pub(crate) async fn create<K: Key>(&self, name: &str, spec: Value) -> Result<K> {
        let key = serde_json::from_value(json!({
            "apiVersion": K::api_version(&()),
            "kind": K::kind(&()),
            "metadata": {"name": name},
            "spec": spec,
        }))?;
        Ok(self.keys::<K>().create(&PostParams::default(), &key).await?)
    }

    /// Changes the spec by a merge patch.
    pub(crate) async fn change<K: Key>(&self, name: &str, spec: Value) -> Result<K> {
        let patch = Patch::Merge(json!({"spec": spec}));
        Ok(self.keys::<K>().patch(name, &PatchParams::default(), &patch).await?)
    }

    /// Deletes a resource, and waits until it is gone.
    pub(crate) async fn delete<K: Key>(&self, name: &str, params: &DeleteParams) -> Result<()> {
        self.keys::<K>().delete(name, params).await?;
        self.gone::<K>(name).await
    }

    /// Waits until a resource is gone.
    pub(crate) async fn gone<K: Key>(&self, name: &str) -> Result<()> {
        eventually(SOON, &format!("{name} is gone"), async || match self.keys::<K>().get_opt(name).await? {
            None => Ok(()),
            Some(key) => bail!("it is still there: {}", describe(key.status())),
        })
        .await
    }

    /// Waits until a namespace that was deleted is gone.
    pub(crate) async fn namespace_gone(&self, name: &str) -> Result<()> {
        let namespaces: Api<Namespace> = Api::all(self.cx.client());
        eventually(NAMESPACE, "the namespace is gone", async || {
            ensure!(namespaces.get_opt(name).await?.is_none());
            Ok(())
        })
        .await
    }

    /// Waits for a status.
    pub(crate) async fn until<K: Key>(
        &self,
        name: &str,
        what: &str,
        so: impl Fn(&K, &KeyStatus) -> bool,
    ) -> Result<(K, KeyStatus)> {
        eventually(SOON, &format!("{name} {what}"), async || {
            let key = self.keys::<K>().get(name).await?;
            let status = key.status().cloned().unwrap_or_default();
            ensure!(so(&key, &status), "{}", describe(Some(&status)));
            Ok((key, status))
        })
        .await
    }

    /// Waits until a resource is at rest and ready: its spec observed, no operation under way, nothing to be revoked.
    pub(crate) async fn at_rest<K: Key>(&self, name: &str) -> Result<KeyStatus> {
        Ok(self.until::<K>(name, "is at rest", rested).await?.1)
    }

    /// Waits until a resource is ready by the table's row, whatever is still to be revoked.
    pub(crate) async fn ready<K: Key>(&self, name: &str) -> Result<KeyStatus> {
        let is_ready = |key: &K, status: &KeyStatus| {
            ready(status) == Some("Ready")
                && status.observed_generation == key.meta().generation
                && status.operation.is_none()
        };
        Ok(self.until::<K>(name, "is ready", is_ready).await?.1)
    }

    /// Raises the generation, and waits until the Secret has the value that it asks for.
    pub(crate) async fn raise<K: Key>(&self, name: &str, generation: i64) -> Result<KeyStatus> {
        self.change::<K>(name, json!({"rotation": {"generation": generation}})).await?;
        let seen = |_: &K, status: &KeyStatus| {
            status.observed_rotation_generation == Some(generation) && status.operation.is_none()
        };
        Ok(self.until::<K>(name, "has rotated", seen).await?.1)
    }

    /// Waits until `Ready` has this reason.
    pub(crate) async fn reason<K: Key>(&self, name: &str, reason: &str) -> Result<KeyStatus> {
        Ok(self
            .until::<K>(name, &format!("says {reason}"), |_, status| {
                condition(status, "Ready").is_some_and(|c| c.reason == reason)
            })
            .await?
            .1)
    }

    /// The value in a Secret.
    pub(crate) async fn value(&self, secret: &str) -> Result<String> {
        self.data(secret).await?.remove("api-key").context("the Secret has no api-key")
    }

    /// The data of a Secret, as text.
    pub(crate) async fn data(&self, secret: &str) -> Result<BTreeMap<String, String>> {
        let data = self.secrets().get(secret).await?.data.unwrap_or_default();
        data.into_iter().map(|(key, bytes)| Ok((key, String::from_utf8(bytes.0)?))).collect()
    }

    /// Every token that was ever made for a key, known by the head of its name.
    pub(crate) fn tokens_of(&self, key: &str) -> Vec<Token> {
        let head = format!("{key}-kt1-");
        self.emulator.tokens().into_iter().filter(|token| token.name.starts_with(&head)).collect()
    }

    /// The id of the token that a key's status names.
    pub(crate) async fn id_of<K: Key>(&self, key: &str) -> Result<String> {
        let key = self.keys::<K>().get(key).await?;
        Ok(key.status().and_then(|status| status.token.clone()).context("no token")?.id)
    }

    /// Kills the operator (SIGKILL) and starts it again.
    pub(crate) async fn restart(&mut self) -> Result<()> {
        self.operator.restart()?;
        self.operator.wait_ready(SOON).await
    }

    /// Waits until both types of token were listed so many times more.
    pub(crate) async fn lists(&self, times: usize) -> Result<()> {
        let kinds = ["access", "gateway"].map(tokens::list_of);
        let before = kinds.each_ref().map(|kind| self.tokens.count(kind));
        eventually(SOON, "the tokens are listed again", async || {
            let now = kinds.each_ref().map(|kind| self.tokens.count(kind));
            // One more has begun, so those before it are done with.
            ensure!(now.iter().zip(before).all(|(now, before)| *now > before + times), "{before:?} {now:?}");
            Ok(())
        })
        .await
    }

    /// Waits for an event about an object.
    pub(crate) async fn event(&self, about: &str, reason: &str) -> Result<String> {
        let events: Api<Event> = Api::namespaced(self.cx.client(), &self.place);
        eventually(SOON, &format!("an event {reason} tells of {about}"), async || {
            let all = events.list(&ListParams::default()).await?.items.into_iter();
            let mut about = all.filter(|event| event.involved_object.name.as_deref() == Some(about));
            let told =
                about.find(|event| event.reason.as_deref() == Some(reason)).context("no such event")?;
            told.message.context("it has no note")
        })
        .await
    }

    /// Waits until a key is at rest and its Secret holds the value of its one token that lives (I1, I2), of `made` that
    /// were ever made for it (I8). Other keys don't matter.
    pub(crate) async fn settles<K: Key>(&self, name: &str, secret: &str, made: usize) -> Result<String> {
        eventually(SOON, &format!("{name} has one living token of {made}"), async || {
            let key = self.keys::<K>().get(name).await?;
            let status = key.status().cloned().unwrap_or_default();
            ensure!(rested(&key, &status), "{}", describe(Some(&status)));
            let value = self.value(secret).await?;
            ensure!(self.emulator.is_alive(&value), "the Secret's value is dead");
            let all = self.tokens_of(name);
            let living: Vec<_> = all.iter().filter(|token| token.revoked_at.is_none()).collect();
            let named = status.token.map(|token| token.id);
            ensure!(
                living.len() == 1 && named.as_ref() == living.first().map(|token| &token.id),
                "{living:?} live, {named:?} is named"
            );
            ensure!(all.len() == made, "{} tokens were made, not {made}", all.len());
            Ok(value)
        })
        .await
    }

    /// The tokens that live.
    pub(crate) fn living(&self) -> Vec<Token> {
        self.emulator.tokens().into_iter().filter(|token| token.revoked_at.is_none()).collect()
    }

    /// Checks a key at rest: its Secret holds the value of the one token that lives (I1, I2), of `made` ever made (I8).
    pub(crate) async fn one_living<K: Key>(&self, name: &str, secret: &str, made: usize) -> Result<String> {
        let status = self.at_rest::<K>(name).await?;
        let value = self.value(secret).await?;
        ensure!(self.emulator.is_alive(&value), "the Secret's value is dead");
        let living: Vec<String> = self.living().into_iter().map(|token| token.id).collect();
        let named = status.token.map(|token| token.id);
        ensure!(living.len() == 1 && named.as_ref() == living.first(), "{living:?} live, {named:?} is named");
        let all = self.emulator.tokens().len();
        ensure!(all == made, "{all} tokens were made, not {made}");
        Ok(value)
    }
}

/// Whether a resource is at rest and ready.
fn rested<K: Key>(key: &K, status: &KeyStatus) -> bool {
    ready(status) == Some("Ready")
        && status.observed_generation == key.meta().generation
        && status.operation.is_none()
        && status.superseded.is_empty()
}

/// The reason of `Ready`, if it is true.
pub(crate) fn ready(status: &KeyStatus) -> Option<&str> {
    condition(status, "Ready").filter(|c| c.status == "True").map(|c| c.reason.as_str())
}

/// Since when a key is ready.
pub(crate) fn ready_since(status: &KeyStatus) -> Result<Timestamp> {
    let ready =
        condition(status, "Ready").filter(|ready| ready.status == "True").context("it isn't ready")?;
    Ok(ready.last_transition_time.0)
}

/// A condition.
pub(crate) fn condition<'a>(
    status: &'a KeyStatus,
    type_: &str,
) -> Option<&'a k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition> {
    status.conditions.iter().find(|condition| condition.type_ == type_)
}

/// What stands in a status, in one line.
fn describe(status: Option<&KeyStatus>) -> String {
    serde_json::to_string(&status).unwrap_or_default()
}
