//! The census: who accounts for tokens, from the resources and Secrets of a whole cluster.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

use crate::lifecycle::naming::{Installation, Place, UidTag};
use crate::lifecycle::orphans::Census;

use super::directory::Resident;
use super::secrets;

/// Counts everybody. All resources of all namespaces have to be there, or tokens of the missing ones pass for orphans.
pub(crate) fn census(
    installation: &Installation,
    residents: &[Resident],
    secrets: impl IntoIterator<Item = ObjectMeta>,
) -> Census {
    let mut census = Census::default();
    for resident in residents {
        let Resident { kind, namespace, name, uid, tokens, .. } = resident;
        census.add_resident(Place::new(*kind, namespace, name), UidTag::new(uid));
        let who = format!("{} {namespace}/{name}", kind.kind());
        for id in tokens {
            census.add_named(id, &who);
        }
    }
    for meta in secrets {
        let Some(account) = secrets::account(&meta, installation) else { continue };
        let namespace = meta.namespace.as_deref().unwrap_or_default();
        let secret = format!("{namespace}/{}", meta.name.as_deref().unwrap_or_default());
        if let Some(id) = &account.record.retained {
            census.add_named(id, &format!("the retained Secret {secret}"));
        }
        if !account.record.emptied {
            census.add_secret(
                &account.place,
                &account.record.uids,
                account.record.token.id.as_str(),
                &secret,
            );
        }
    }
    census
}
