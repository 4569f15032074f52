//! The calls themselves, by the HTTP clients that the operator uses, with its settings.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use http::{HeaderMap, HeaderValue, header};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use keeptrusts_operator::resources::KeyKind;
use kube::Client;
use kube::api::{Patch, PatchParams, PostParams};
use kube::core::Request;
use serde::Deserialize;
use serde_json::{Value, json};

use super::bodies::MANAGER;
use crate::crowd::{Key, resources};
use crate::token_api::TokenApi;

/// Accept only the metadata of a Secret as the reply.
const METADATA_ONLY: &str = "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1";

/// What the operator waits for a connection, and for an answer.
const CONNECT: Duration = Duration::from_secs(5);
const ANSWER: Duration = Duration::from_secs(30);

/// What the token API tells of a token that was made or rotated.
#[derive(Debug, Clone, Deserialize)]
pub(super) struct Minted {
    pub(super) id: String,
    pub(super) name: String,
    pub(super) prefix: String,
    /// The value.
    pub(super) token: String,
    pub(super) created_at: String,
    pub(super) rotated_at: Option<String>,
}

/// Both servers.
pub(super) struct Calls {
    client: Client,
    /// For calls that make a value: never twice on one connection.
    single: reqwest::Client,
    keeping: reqwest::Client,
    url: String,
    headers: HeaderMap,
}

impl Calls {
    pub(super) fn new(client: Client, tokens: &TokenApi) -> Result<Self> {
        let builder = || {
            reqwest::Client::builder()
                .connect_timeout(CONNECT)
                .timeout(ANSWER)
                .redirect(reqwest::redirect::Policy::none())
                .retry(reqwest::retry::never())
                .referer(false)
                .tls_certs_only([])
                .no_proxy()
        };
        let mut headers = HeaderMap::new();
        let bearer = format!("Bearer {}", tokens.credential());
        headers.insert(header::AUTHORIZATION, HeaderValue::from_str(&bearer)?);
        headers.insert(header::ACCEPT, HeaderValue::from_static("application/json"));
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
        Ok(Self {
            client,
            single: builder().pool_max_idle_per_host(0).http1_only().build()?,
            keeping: builder().build()?,
            url: tokens.url().to_owned(),
            headers,
        })
    }

    /// Reads a key.
    pub(super) async fn read_key(&self, key: &Key, namespace: &str) -> Result<ObjectMeta> {
        let request = resources(key.kind, namespace).get(&key.name, &kube::api::GetParams::default())?;
        self.meta(request).await
    }

    /// Puts the finalizers of a key.
    pub(super) async fn set_finalizers(
        &self,
        key: &Key,
        namespace: &str,
        body: &Value,
    ) -> Result<ObjectMeta> {
        let patch = Patch::Merge(body);
        self.meta(resources(key.kind, namespace).patch(&key.name, &patch_params(false), &patch)?).await
    }

    /// Writes the status of a key.
    pub(super) async fn write_status(&self, key: &Key, namespace: &str, body: &Value) -> Result<ObjectMeta> {
        let body = body.to_string().into_bytes();
        let request = resources(key.kind, namespace).replace_subresource(
            "status",
            &key.name,
            &post_params(false),
            body,
        )?;
        self.meta(request).await
    }

    /// Reads a Secret.
    pub(super) async fn read_secret(&self, namespace: &str, name: &str) -> Result<ObjectMeta> {
        self.meta(secrets(namespace).get(name, &kube::api::GetParams::default())?).await
    }

    /// Creates a Secret.
    pub(super) async fn create_secret(
        &self,
        namespace: &str,
        body: &Value,
        dry_run: bool,
    ) -> Result<ObjectMeta> {
        let body = body.to_string().into_bytes();
        self.meta_only(secrets(namespace).create(&post_params(dry_run), body)?).await
    }

    /// Patches a Secret.
    pub(super) async fn patch_secret(
        &self,
        namespace: &str,
        name: &str,
        body: &Value,
        dry_run: bool,
    ) -> Result<ObjectMeta> {
        let patch = Patch::Merge(body);
        self.meta_only(secrets(namespace).patch_metadata(name, &patch_params(dry_run), &patch)?).await
    }

    /// Makes a token.
    pub(super) async fn create_token(&self, kind: KeyKind, name: &str, operation: &str) -> Result<Minted> {
        let body = json!({
            "name": name,
            "token_type": kind.token_type(),
            "description": "A key of the benchmark",
        });
        let request = self.single.post(format!("{}/v1/tokens", self.url));
        self.minted(request.body(body.to_string()), operation).await
    }

    /// Rotates a token.
    pub(super) async fn rotate_token(&self, id: &str, operation: &str) -> Result<Minted> {
        let request = self.single.post(format!("{}/v1/tokens/{id}/rotate", self.url));
        self.minted(request.body("{}"), operation).await
    }

    /// Revokes a token.
    pub(super) async fn revoke_token(&self, id: &str) -> Result<()> {
        let request = self.keeping.delete(format!("{}/v1/tokens/{id}", self.url));
        self.token_api(request).await.map(drop)
    }

    /// Lists the living tokens of a type, and reads nothing of it.
    pub(super) async fn list(&self, kind: KeyKind) -> Result<()> {
        let request = self.keeping.get(format!("{}/v1/tokens?type={}", self.url, kind.token_type()));
        self.token_api(request).await.map(drop)
    }

    async fn minted(&self, request: reqwest::RequestBuilder, operation: &str) -> Result<Minted> {
        let request =
            request.header("idempotency-key", operation).header(header::CONTENT_TYPE, "application/json");
        let text = self.token_api(request).await?;
        serde_json::from_str(&text).context("the token API's answer isn't a token")
    }

    async fn token_api(&self, request: reqwest::RequestBuilder) -> Result<String> {
        let answer = request.headers(self.headers.clone()).send().await?;
        let status = answer.status();
        let text = answer.text().await?;
        ensure!(status.is_success(), "the token API answers {status}");
        Ok(text)
    }

    async fn meta_only(&self, mut request: http::Request<Vec<u8>>) -> Result<ObjectMeta> {
        request.headers_mut().insert(header::ACCEPT, HeaderValue::from_static(METADATA_ONLY));
        self.meta(request).await
    }

    async fn meta(&self, request: http::Request<Vec<u8>>) -> Result<ObjectMeta> {
        #[derive(Deserialize)]
        struct Object {
            metadata: ObjectMeta,
        }
        let what = format!("{} {}", request.method(), request.uri());
        let text = self.client.request_text(request).await.with_context(|| what.clone())?;
        let object: Object = serde_json::from_str(&text).with_context(|| format!("{what}: not an object"))?;
        Ok(object.metadata)
    }
}

fn secrets(namespace: &str) -> Request {
    Request::new(format!("/api/v1/namespaces/{namespace}/secrets"))
}

fn patch_params(dry_run: bool) -> PatchParams {
    PatchParams { dry_run, field_manager: Some(MANAGER.to_owned()), ..PatchParams::default() }
}

fn post_params(dry_run: bool) -> PostParams {
    PostParams { dry_run, field_manager: Some(MANAGER.to_owned()) }
}
