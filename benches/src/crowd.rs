//! Many keys, and what people ask of all of them at once: the same for the floor and for the operator.

use std::sync::Arc;

use anyhow::{Context as _, Result, ensure};
use futures::{StreamExt as _, TryStreamExt as _, stream};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use keeptrusts_operator::resources::{GROUP, KeyKind, KeyStatus};
use kube::Client;
use kube::api::{DeleteParams, ListParams, Patch, PatchParams, PostParams};
use kube::core::Request;
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::sync::mpsc::UnboundedSender;

/// How many of them are asked at once. They come faster than anybody could follow.
pub(crate) const AT_ONCE: usize = 16;

/// How long an old value lives on after a rotation with an overlap.
const GRACE: &str = "1s";

/// How many are listed at once.
const PAGE: u32 = 500;

/// One key.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Key {
    pub(crate) kind: KeyKind,
    /// The resource's name, its Secret's and the beginning of its token's. No two in a namespace have the same.
    pub(crate) name: String,
}

/// Keys in a namespace, half of each kind.
#[derive(Clone)]
pub(crate) struct Crowd {
    pub(crate) namespace: String,
    pub(crate) keys: Arc<[Key]>,
}

/// What is asked of a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ask {
    /// To be there.
    Create,
    /// To be rotated in place, by this generation.
    Rotate(i64),
    /// To be rotated with an overlap, by this generation.
    Replace(i64),
    /// To go.
    Delete,
}

/// What the API server answered to whom asked.
#[derive(Debug, Clone)]
pub(crate) struct Asked {
    /// Which key.
    pub(crate) index: usize,
    pub(crate) meta: ObjectMeta,
}

/// Whoever is to hear of it, by kind: the floor, which watches nothing.
#[derive(Clone)]
pub(crate) struct Told {
    pub(crate) access: UnboundedSender<Asked>,
    pub(crate) gateway: UnboundedSender<Asked>,
}

/// A resource of either kind, as far as anybody here looks.
#[derive(Debug, Deserialize)]
pub(crate) struct Seen {
    pub(crate) metadata: ObjectMeta,
    #[serde(default)]
    pub(crate) status: KeyStatus,
}

impl Crowd {
    /// So many keys in a namespace.
    pub(crate) fn new(namespace: &str, count: usize) -> Self {
        let kind = |number: usize| [KeyKind::Access, KeyKind::Gateway][number % 2];
        let keys = (0..count).map(|number| Key { kind: kind(number), name: format!("key-{number:06}") });
        Self { namespace: namespace.to_owned(), keys: keys.collect() }
    }

    /// Asks every key, and tells `told` of each answer.
    pub(crate) async fn ask(&self, client: &Client, ask: Ask, told: Option<Told>) -> Result<()> {
        let asked = (0..self.keys.len()).map(|index| {
            let (crowd, client, told) = (self.clone(), client.clone(), told.clone());
            // Each in a task of its own, so that all cores take part.
            async move { tokio::spawn(crowd.ask_one(client, index, ask, told)).await? }
        });
        stream::iter(asked).buffer_unordered(AT_ONCE).try_collect::<()>().await
    }

    /// Asks one key.
    pub(crate) async fn ask_one(
        self,
        client: Client,
        index: usize,
        ask: Ask,
        told: Option<Told>,
    ) -> Result<()> {
        let key = &self.keys[index];
        let name = &key.name;
        let request = resources(key.kind, &self.namespace);
        let request = match ask {
            Ask::Create => {
                request.create(&PostParams::default(), self.manifest(key).to_string().into_bytes())
            }
            Ask::Rotate(generation) | Ask::Replace(generation) => {
                let strategy = if matches!(ask, Ask::Rotate(_)) { "InPlace" } else { "Overlap" };
                let patch = json!({"spec": {"rotation": {"generation": generation, "strategy": strategy}}});
                request.patch(name, &PatchParams::default(), &Patch::Merge(patch))
            }
            Ask::Delete => request.delete(name, &DeleteParams::default()),
        };
        let text =
            client.request_text(request?).await.with_context(|| format!("asking {name} to {ask:?}"))?;
        let Seen { metadata: meta, .. } = serde_json::from_str(&text).context("not a key")?;
        if let Some(told) = told {
            let told = match key.kind {
                KeyKind::Access => told.access,
                KeyKind::Gateway => told.gateway,
            };
            // Nobody listens any more where the floor has failed, which is told then.
            let _ = told.send(Asked { index, meta });
        }
        Ok(())
    }

    fn manifest(&self, key: &Key) -> Value {
        json!({
            "apiVersion": format!("{GROUP}/v1alpha1"),
            "kind": key.kind.kind(),
            "metadata": {"name": key.name, "namespace": self.namespace},
            "spec": {
                "token": {"description": "A key of the benchmark"},
                "rotation": {"strategy": "InPlace", "grace": GRACE},
            },
        })
    }

    /// Takes the keys away without anybody who works on them.
    pub(crate) async fn remove(&self, client: &Client) -> Result<()> {
        self.ask(client, Ask::Delete, None).await?;
        let released = (0..self.keys.len()).map(|index| async move {
            let Key { kind, name } = &self.keys[index];
            let patch = Patch::Merge(json!({"metadata": {"finalizers": []}}));
            let request = resources(*kind, &self.namespace).patch(name, &PatchParams::default(), &patch)?;
            client.request_text(request).await.with_context(|| format!("releasing {name}")).map(drop)
        });
        stream::iter(released).buffer_unordered(AT_ONCE).try_collect::<()>().await
    }

    /// Makes sure that every key is ready with a Secret, at this rotation generation, and no old token is left. Says how many bytes a key and its Secret have as JSON,
    /// on average.
    pub(crate) async fn check(&self, client: &Client, generation: i64) -> Result<usize> {
        let mut bytes = 0;
        let mut ready = 0;
        for kind in [KeyKind::Access, KeyKind::Gateway] {
            let path = resources(kind, &self.namespace);
            for (object, size) in all(client, &path).await? {
                let Seen { metadata, status } = serde_json::from_value(object).context("not a key")?;
                let condition = status.conditions.iter().find(|condition| condition.type_ == "Ready");
                let is_ready = condition.is_some_and(|condition| condition.status == "True");
                ensure!(
                    is_ready
                        && status.observed_rotation_generation == Some(generation)
                        && status.superseded.is_empty(),
                    "{} isn't Ready at generation {generation}: {condition:?}",
                    metadata.name.unwrap_or_default(),
                );
                ready += 1;
                bytes += size;
            }
        }
        let secrets = Request::new(format!("/api/v1/namespaces/{}/secrets", self.namespace));
        let secrets = all(client, &secrets).await?;
        bytes += secrets.iter().map(|(_, size)| size).sum::<usize>();
        let expected = self.keys.len();
        ensure!(ready == expected, "{ready} keys are there, of {expected}");
        ensure!(secrets.len() == expected, "{} Secrets are there, for {expected} keys", secrets.len());
        Ok(bytes / expected.max(1))
    }
}

/// Every object below a path, with its size as JSON.
async fn all(client: &Client, path: &Request) -> Result<Vec<(Value, usize)>> {
    #[derive(Deserialize)]
    struct Page {
        metadata: Continue,
        items: Vec<Box<serde_json::value::RawValue>>,
    }
    #[derive(Deserialize)]
    struct Continue {
        #[serde(default, rename = "continue")]
        token: String,
    }
    let mut found = Vec::new();
    let mut page = ListParams::default().limit(PAGE);
    loop {
        let text = client.request_text(path.list(&page)?).await?;
        let Page { metadata, items } = serde_json::from_str(&text).context("not a list")?;
        for item in items {
            found.push((serde_json::from_str(item.get())?, item.get().len()));
        }
        if metadata.token.is_empty() {
            return Ok(found);
        }
        page = page.continue_token(&metadata.token);
    }
}

/// Where the resources of a kind are.
pub(crate) fn resources(kind: KeyKind, namespace: &str) -> Request {
    Request::new(format!("/apis/{GROUP}/v1alpha1/namespaces/{namespace}/{}", kind.plural()))
}
