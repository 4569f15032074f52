//! What is done for one key, call by call.

use anyhow::{Context as _, Result};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use keeptrusts_operator::resources::OperationKind;

use super::{Known, Shared, bodies};
use crate::crowd::{Ask, Asked, Key};

impl Shared {
    pub(super) async fn carry_out(&self, ask: Ask, asked: Asked) -> Result<()> {
        let key = &self.crowd.keys[asked.index];
        let mut known = self.known[asked.index].lock().await;
        known.take(asked.meta);
        match ask {
            Ask::Create => {
                let body = bodies::finalizers(&known, true);
                known.take(self.calls.set_finalizers(key, &self.crowd.namespace, &body).await?);
                self.obtain(key, &mut known, ask).await
            }
            Ask::Rotate(_) | Ask::Replace(_) => self.obtain(key, &mut known, ask).await,
            Ask::Delete => self.delete(key, &mut known).await,
        }
        .with_context(|| format!("{ask:?} {}", key.name))
    }

    /// Dry run, intent, call, Secret, commit, event.
    async fn obtain(&self, key: &Key, known: &mut Known, ask: Ask) -> Result<()> {
        let (calls, namespace) = (&self.calls, &self.crowd.namespace);
        let operation = bodies::operation(key, known, ask);

        let body = bodies::secret(key, namespace, known, &operation, None);
        self.write_secret(key, known, &body, true).await?;

        let intent = bodies::status(key, namespace, known, &bodies::with_intent(known, &operation));
        known.take(calls.write_status(key, namespace, &intent).await?);

        let minted = match operation.kind {
            OperationKind::Create => {
                let name = operation.token_name.as_deref().context("a create without a name")?;
                calls.create_token(key.kind, name, &operation.id).await?
            }
            OperationKind::Rotate => {
                let id = operation.token_id.as_deref().context("a rotation without a token")?;
                calls.rotate_token(id, &operation.id).await?
            }
        };

        let body = bodies::secret(key, namespace, known, &operation, Some(&minted));
        let secret = self.write_secret(key, known, &body, false).await?;
        known.secret_version = secret.resource_version.context("a Secret without a version")?;

        let status = bodies::with_commit(key, known, &operation, &minted);
        let body = bodies::status(key, namespace, known, &status);
        known.take(calls.write_status(key, namespace, &body).await?);
        known.status = status;

        // What comes on top of the queue is dropped, as by the operator.
        let _ = self.events.try_send(bodies::new_value(key, namespace, known, &operation));
        Ok(())
    }

    /// The end of what a rotation with an overlap has replaced: a look at resource and Secret, the revocation, the status, an event.
    pub(super) async fn revoke_superseded(&self, index: usize) -> Result<()> {
        let (key, namespace) = (&self.crowd.keys[index], &self.crowd.namespace);
        let mut known = self.known[index].lock().await;
        let known = &mut *known;
        known.take(self.calls.read_key(key, namespace).await?);
        self.calls.read_secret(namespace, &key.name).await?;
        let id = known.status.superseded.pop().context("nothing was superseded")?.id;
        self.calls.revoke_token(&id).await?;
        let _ = self.events.try_send(bodies::revoked(key, namespace, known, &id));
        let body = bodies::status(key, namespace, known, &known.status);
        known.take(self.calls.write_status(key, namespace, &body).await?);
        Ok(())
    }

    /// A look, the revocation, the finalizer, an event.
    async fn delete(&self, key: &Key, known: &mut Known) -> Result<()> {
        let (calls, namespace) = (&self.calls, &self.crowd.namespace);
        known.take(calls.read_key(key, namespace).await?);
        let id = known.status.token.take().context("a key without a token")?.id;
        calls.revoke_token(&id).await?;
        let _ = self.events.try_send(bodies::revoked(key, namespace, known, &id));
        calls.set_finalizers(key, namespace, &bodies::finalizers(known, false)).await?;
        Ok(())
    }

    async fn write_secret(
        &self,
        key: &Key,
        known: &Known,
        body: &serde_json::Value,
        dry_run: bool,
    ) -> Result<ObjectMeta> {
        let namespace = &self.crowd.namespace;
        if known.secret_version.is_empty() {
            self.calls.create_secret(namespace, body, dry_run).await
        } else {
            self.calls.patch_secret(namespace, &key.name, body, dry_run).await
        }
    }
}

impl Known {
    /// What an answer says of the resource.
    fn take(&mut self, meta: ObjectMeta) {
        self.uid = meta.uid.unwrap_or_default();
        self.version = meta.resource_version.unwrap_or_default();
        self.generation = meta.generation.unwrap_or_default();
    }
}
