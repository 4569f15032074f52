//! Calls to the API server: each with a deadline, none repeated by a layer below, errors by class.
//!
//! A reply to a write of a Secret is asked for as metadata only, and a Secret that is read is decoded here: the client
//! library logs whole bodies that it can't decode.

use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::{Namespace, Secret};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{APIResourceList, ObjectMeta};
use kube::api::{ListParams, ObjectList, Patch, PatchParams, PostParams};
use kube::client::ClientBuilder;
use kube::core::{PartialObjectMeta, Request};
use kube::{Api, Client, Config, Resource};
use serde_json::{Value, json};

use crate::clock;
use crate::lifecycle::naming::Installation;
use crate::metrics::KubernetesMetrics;
use crate::resources::{FINALIZER, GROUP, KeyKind, KeyStatus, WorkloadRef};

use super::resource::KeyObject;
use super::secrets::Identity;
use super::specs::Specs;

/// Who writes, for managedFields.
pub(super) const FIELD_MANAGER: &str = "keeptrusts-operator";

/// Longest time for one call; the API server's own limit on a call is longer, but a value waits in memory.
const CALL: Duration = Duration::from_secs(15);

/// The client library has no connect timeout of its own that is this short.
const CONNECT: Duration = Duration::from_secs(5);

/// How many objects are asked for at once. A page is held at once, and the largest have one and a half megabytes.
const PAGE: u32 = 100;

/// Accept only the metadata of the object as the reply.
const METADATA_ONLY: &str = "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1";

/// Why a call to the API server failed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ApiError {
    /// The object has another version than was given.
    #[error("the object was changed by somebody else")]
    Conflict,
    /// An object of the name is there already.
    #[error("an object of this name exists")]
    AlreadyExists,
    /// There is no such object.
    #[error("there is no such object")]
    NotFound,
    /// The API server says no, and will say so again: rights, admission, quota, validation.
    #[error("{0}")]
    Refused(String),
    /// It can't be reached, is overloaded or fails; nobody knows whether a write was made.
    #[error("the Kubernetes API server: {0}")]
    Unavailable(String),
}

impl From<kube::Error> for ApiError {
    fn from(error: kube::Error) -> Self {
        let status = match error {
            kube::Error::Api(status) => status,
            // Of the other variants only those are shown that hold no body.
            kube::Error::SerdeError(_) => return Self::Unavailable("its answer can't be read".to_owned()),
            error => return Self::Unavailable(error.to_string()),
        };
        match (status.code, status.reason.as_str()) {
            (409, "AlreadyExists") => Self::AlreadyExists,
            (409, _) => Self::Conflict,
            (404, _) => Self::NotFound,
            (429 | 500.., _) => Self::Unavailable(status.message),
            _ => Self::Refused(status.message),
        }
    }
}

/// Follows a list to its end, page by page.
pub(crate) async fn pages<T: Clone>(
    wanted: ListParams,
    list: impl AsyncFn(ListParams) -> kube::Result<ObjectList<T>>,
) -> kube::Result<Vec<T>> {
    let mut found = Vec::new();
    let mut page = wanted.limit(PAGE);
    loop {
        let list = list(page.clone()).await?;
        found.extend(list.items);
        match list.metadata.continue_.filter(|token| !token.is_empty()) {
            Some(token) => page = page.continue_token(&token),
            None => return Ok(found),
        }
    }
}

/// The API server.
#[derive(Clone)]
pub(super) struct Kubernetes {
    client: Client,
    installation: Installation,
    specs: Arc<Specs>,
}

/// A client whose calls are counted, and that repeats nothing by itself: the library's default repeats a POST up to fifteen
/// times.
///
/// # Errors
/// If no kubeconfig and no pod's credential is found, or it can't be used.
pub(crate) async fn client(metrics: &KubernetesMetrics) -> anyhow::Result<Client> {
    Ok(ClientBuilder::try_from(config().await?)?.with_layer(metrics).build())
}

/// A client none of whose calls waits longer than this for its answer: for the Lease, and not for watches.
///
/// # Errors
/// As [`client`].
pub(crate) async fn impatient_client(
    patience: Duration,
    metrics: &KubernetesMetrics,
) -> anyhow::Result<Client> {
    let mut config = config().await?;
    config.read_timeout = Some(patience);
    // Counted from the call on, and not from when its connection was last used.
    config.reset_reader_on_write = true;
    Ok(ClientBuilder::try_from(config)?.with_layer(metrics).build())
}

async fn config() -> anyhow::Result<Config> {
    let mut config = Config::infer().await?;
    config.default_retry = false;
    config.connect_timeout = Some(CONNECT);
    Ok(config)
}

/// The uid of the namespace `kube-system`, which stands for the cluster.
///
/// # Errors
/// If it can't be read.
pub(crate) async fn cluster_uid(client: &Client) -> Result<String, ApiError> {
    let namespaces: Api<Namespace> = Api::all(client.clone());
    let namespace = bounded(async { Ok(namespaces.get("kube-system").await?) }).await?;
    namespace.metadata.uid.ok_or_else(|| ApiError::Unavailable("kube-system has no uid".to_owned()))
}

/// The CRDs, by name, of the kinds that the API server doesn't serve. Whoever has a credential may ask that.
///
/// # Errors
/// If the API server doesn't say.
pub(crate) async fn missing_crds(client: &Client) -> Result<Vec<String>, ApiError> {
    let path = format!("/apis/{GROUP}/v1alpha1");
    let request = http::Request::get(path).body(Vec::new());
    let request = request.map_err(|error| ApiError::Refused(error.to_string()))?;
    let served = bounded(async { Ok(client.request::<APIResourceList>(request).await?) }).await;
    let served = match served {
        Ok(served) => served.resources,
        Err(ApiError::NotFound) => Vec::new(),
        Err(error) => return Err(error),
    };
    let kinds = [KeyKind::Access, KeyKind::Gateway].map(KeyKind::plural).into_iter();
    let missing = kinds.filter(|plural| !served.iter().any(|resource| resource.name == *plural));
    Ok(missing.map(|plural| format!("{plural}.{GROUP}")).collect())
}

impl Kubernetes {
    /// The API server behind `client`, for the resources of `installation`.
    #[must_use]
    pub(super) fn new(client: Client, installation: Installation) -> Self {
        Self { client, installation, specs: Arc::default() }
    }

    /// The specs that were read.
    pub(super) fn specs(&self) -> &Specs {
        &self.specs
    }

    /// Reads a resource; nothing if it is gone or another one has taken its name.
    pub(super) async fn read(&self, identity: &Identity) -> Result<Option<KeyObject>, ApiError> {
        let request = resources(identity).get(&identity.name, &kube::api::GetParams::default());
        match self.resource(identity, request).await {
            Ok(object) => Ok(Some(object).filter(|object| object.identity.uid == identity.uid)),
            Err(ApiError::NotFound) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Puts our finalizer on or takes it off, if the resource still has this version.
    pub(super) async fn set_finalizer(&self, object: &KeyObject, on: bool) -> Result<KeyObject, ApiError> {
        let others = object.finalizers.iter().filter(|finalizer| *finalizer != FINALIZER);
        let finalizers: Vec<&str> = others.map(String::as_str).chain(on.then_some(FINALIZER)).collect();
        let patch = json!({"metadata": {
            "uid": object.identity.uid,
            "resourceVersion": object.view.version,
            "finalizers": finalizers,
        }});
        let request =
            resources(&object.identity).patch(&object.identity.name, &params(), &Patch::Merge(patch));
        self.resource(&object.identity, request).await
    }

    /// Writes status, if the resource still has this version.
    pub(super) async fn write_status(
        &self,
        object: &KeyObject,
        status: &KeyStatus,
    ) -> Result<KeyObject, ApiError> {
        let Identity { kind, namespace, name, uid, .. } = &object.identity;
        let body = json!({
            "apiVersion": format!("{GROUP}/v1alpha1"),
            "kind": kind.kind(),
            "metadata": {
                "name": name,
                "namespace": namespace,
                "uid": uid,
                "resourceVersion": object.view.version,
            },
            "status": status,
        });
        let request = resources(&object.identity).replace_subresource(
            "status",
            name,
            &post_params(false),
            body.to_string().into_bytes(),
        );
        self.resource(&object.identity, request).await
    }

    async fn resource(
        &self,
        identity: &Identity,
        request: Result<http::Request<Vec<u8>>, kube::core::request::Error>,
    ) -> Result<KeyObject, ApiError> {
        let asked = clock::monotonic();
        let text = self.text(request).await?;
        KeyObject::parse(identity.kind, &text, &self.installation, &self.specs, asked)
            .map_err(|error| ApiError::Refused(format!("the object can't be read: {error}")))
    }

    /// Reads a Secret with its data.
    pub(super) async fn read_secret(&self, namespace: &str, name: &str) -> Result<Option<Secret>, ApiError> {
        let request = secrets(namespace).get(name, &kube::api::GetParams::default());
        let text = match self.text(request).await {
            Ok(text) => zeroize::Zeroizing::new(text),
            Err(ApiError::NotFound) => return Ok(None),
            Err(error) => return Err(error),
        };
        // The error would quote what it couldn't read.
        serde_json::from_str(&text)
            .map(Some)
            .map_err(|_| ApiError::Unavailable("its answer isn't a Secret".to_owned()))
    }

    /// Creates a Secret, and gets its metadata back.
    pub(super) async fn create_secret(
        &self,
        namespace: &str,
        body: &Value,
        dry_run: bool,
    ) -> Result<ObjectMeta, ApiError> {
        let bytes = body.to_string().into_bytes();
        self.metadata(secrets(namespace).create(&post_params(dry_run), bytes)).await
    }

    /// Patches a Secret, and gets its metadata back. The body holds the version that it must have.
    pub(super) async fn patch_secret(
        &self,
        namespace: &str,
        name: &str,
        body: &Value,
        dry_run: bool,
    ) -> Result<ObjectMeta, ApiError> {
        let params = PatchParams { dry_run, ..params() };
        self.metadata(secrets(namespace).patch_metadata(name, &params, &Patch::Merge(body))).await
    }

    /// Reads a workload, as text.
    pub(super) async fn read_workload(
        &self,
        namespace: &str,
        workload: &WorkloadRef,
    ) -> Result<String, ApiError> {
        let request = workloads(namespace, workload).get(&workload.name, &kube::api::GetParams::default());
        self.text(request).await
    }

    /// Patches a workload.
    pub(super) async fn patch_workload(
        &self,
        namespace: &str,
        workload: &WorkloadRef,
        body: &Value,
    ) -> Result<(), ApiError> {
        let request = workloads(namespace, workload).patch(&workload.name, &params(), &Patch::Merge(body));
        self.text(request).await.map(drop)
    }

    async fn metadata(
        &self,
        request: Result<http::Request<Vec<u8>>, kube::core::request::Error>,
    ) -> Result<ObjectMeta, ApiError> {
        let request = request.map(|mut request| {
            let accept = http::HeaderValue::from_static(METADATA_ONLY);
            request.headers_mut().insert(http::header::ACCEPT, accept);
            request
        });
        let text = zeroize::Zeroizing::new(self.text(request).await?);
        let partial: PartialObjectMeta<Secret> = serde_json::from_str(&text)
            .map_err(|_| ApiError::Unavailable("its answer isn't metadata".to_owned()))?;
        Ok(partial.metadata)
    }

    async fn text(
        &self,
        request: Result<http::Request<Vec<u8>>, kube::core::request::Error>,
    ) -> Result<String, ApiError> {
        // Requests are built from checked names: one that can't be built is refused like any other.
        let request = request.map_err(|error| ApiError::Refused(error.to_string()))?;
        bounded(async { Ok(self.client.request_text(request).await?) }).await
    }
}

async fn bounded<T>(call: impl Future<Output = Result<T, ApiError>>) -> Result<T, ApiError> {
    tokio::time::timeout(CALL, call)
        .await
        .unwrap_or_else(|_| Err(ApiError::Unavailable(format!("no answer within {} s", CALL.as_secs()))))
}

fn resources(identity: &Identity) -> Request {
    let Identity { kind, namespace, .. } = identity;
    Request::new(format!("/apis/{GROUP}/v1alpha1/namespaces/{namespace}/{}", kind.plural()))
}

fn workloads(namespace: &str, workload: &WorkloadRef) -> Request {
    Request::new(format!("/apis/apps/v1/namespaces/{namespace}/{}", workload.kind.plural()))
}

fn secrets(namespace: &str) -> Request {
    Request::new(Secret::url_path(&(), Some(namespace)))
}

fn params() -> PatchParams {
    PatchParams { field_manager: Some(FIELD_MANAGER.to_owned()), ..PatchParams::default() }
}

fn post_params(dry_run: bool) -> PostParams {
    PostParams { dry_run, field_manager: Some(FIELD_MANAGER.to_owned()) }
}
