//! The two kinds, and the small trait in which they differ.

use k8s_openapi::NamespaceResourceScope;
use kube::{CustomResource, Resource};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize, de::DeserializeOwned};

use super::spec::{
    AdoptSpec, DeletionPolicy, DesiredState, ExternalChangePolicy, GatewayTokenSpec, RotationSpec,
    SecretSpec, TokenSpec, WorkloadsSpec,
};
use super::status::KeyStatus;

/// An API token for applications that call through a Keeptrusts gateway, and the Secret that holds its value.
#[derive(CustomResource, Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[kube(
    group = "keys.keeptrusts.com",
    version = "v1alpha1",
    kind = "AccessKey",
    plural = "accesskeys",
    shortname = "ktak",
    category = "keeptrusts",
    namespaced,
    status = "KeyStatus"
)]
#[serde(rename_all = "camelCase")]
pub struct AccessKeySpec {
    /// What is sent to the token API when a token is made.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token: Option<TokenSpec>,
    /// The Secret that receives the value.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret: Option<SecretSpec>,
    /// When and how the token is rotated.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rotation: Option<RotationSpec>,
    /// Workloads that use the Secret, and what a new value does to them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub workloads: Option<WorkloadsSpec>,
    /// Whether the resource has a living token. `Revoked` revokes every token at once, suspended or not, and takes the
    /// value out of the Secret; `Active` again makes a new token. Default: `Active`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub state: Option<DesiredState>,
    /// What becomes of the token and the Secret when the resource is deleted. Default: `Revoke`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deletion_policy: Option<DeletionPolicy>,
    /// What follows when somebody else revoked, rotated or expired the token. Default: `Replace`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub external_change_policy: Option<ExternalChangePolicy>,
    /// A token made elsewhere that is taken over in place of making one; the operator must be allowed to
    /// (`--adopt-namespace`). Needs `deletionPolicy`. Can't be changed once the resource has a token. Default: none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub adopt: Option<AdoptSpec>,
    /// No new operation starts while this is true; one under way is finished. Deletion isn't suspended.
    /// Default: false.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub suspend: Option<bool>,
}

/// An API token for the runtime of a hosted Keeptrusts gateway, and the Secret that holds its value.
#[derive(CustomResource, Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[kube(
    group = "keys.keeptrusts.com",
    version = "v1alpha1",
    kind = "GatewayKey",
    plural = "gatewaykeys",
    shortname = "ktgk",
    category = "keeptrusts",
    namespaced,
    status = "KeyStatus"
)]
#[serde(rename_all = "camelCase")]
pub struct GatewayKeySpec {
    /// What is sent to the token API when a token is made.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token: Option<GatewayTokenSpec>,
    /// The Secret that receives the value.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret: Option<SecretSpec>,
    /// When and how the token is rotated.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rotation: Option<RotationSpec>,
    /// Workloads that use the Secret, and what a new value does to them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub workloads: Option<WorkloadsSpec>,
    /// Whether the resource has a living token. `Revoked` revokes every token at once, suspended or not, and takes the
    /// value out of the Secret; `Active` again makes a new token. Default: `Active`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub state: Option<DesiredState>,
    /// What becomes of the token and the Secret when the resource is deleted. Default: `Revoke`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deletion_policy: Option<DeletionPolicy>,
    /// What follows when somebody else revoked, rotated or expired the token. Default: `Replace`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub external_change_policy: Option<ExternalChangePolicy>,
    /// A token made elsewhere that is taken over in place of making one; the operator must be allowed to
    /// (`--adopt-namespace`). Needs `deletionPolicy`. Can't be changed once the resource has a token. Default: none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub adopt: Option<AdoptSpec>,
    /// No new operation starts while this is true; one under way is finished. Deletion isn't suspended.
    /// Default: false.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub suspend: Option<bool>,
}

/// Which of the two kinds a key is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum KeyKind {
    /// `AccessKey`.
    Access,
    /// `GatewayKey`.
    Gateway,
}

impl KeyKind {
    /// The kind as Kubernetes spells it.
    #[must_use]
    pub const fn kind(self) -> &'static str {
        match self {
            Self::Access => "AccessKey",
            Self::Gateway => "GatewayKey",
        }
    }

    /// The other kind.
    #[must_use]
    pub const fn other(self) -> Self {
        match self {
            Self::Access => Self::Gateway,
            Self::Gateway => Self::Access,
        }
    }

    /// The plural, as it stands in paths.
    #[must_use]
    pub const fn plural(self) -> &'static str {
        match self {
            Self::Access => "accesskeys",
            Self::Gateway => "gatewaykeys",
        }
    }

    /// The token API's `token_type`.
    #[must_use]
    pub const fn token_type(self) -> &'static str {
        match self {
            Self::Access => "access",
            Self::Gateway => "gateway",
        }
    }
}

/// A spec taken apart: the one shape that everything behind the driver works on.
#[derive(Clone, Copy, Debug, Default)]
pub struct SpecParts<'a> {
    /// `spec.token`, but for the gateway's id.
    pub token: Option<&'a TokenSpec>,
    /// `spec.token.gatewayId`.
    pub gateway_id: Option<&'a str>,
    /// `spec.secret`.
    pub secret: Option<&'a SecretSpec>,
    /// `spec.rotation`.
    pub rotation: Option<&'a RotationSpec>,
    /// `spec.workloads`.
    pub workloads: Option<&'a WorkloadsSpec>,
    /// `spec.state`.
    pub state: Option<DesiredState>,
    /// `spec.deletionPolicy`.
    pub deletion_policy: Option<DeletionPolicy>,
    /// `spec.externalChangePolicy`.
    pub external_change_policy: Option<ExternalChangePolicy>,
    /// `spec.adopt`.
    pub adopt: Option<&'a AdoptSpec>,
    /// `spec.suspend`.
    pub suspend: Option<bool>,
}

/// What the two kinds have in common.
pub trait Key:
    Resource<DynamicType = (), Scope = NamespaceResourceScope>
    + Clone
    + std::fmt::Debug
    + Serialize
    + DeserializeOwned
    + Send
    + Sync
    + 'static
{
    /// Which of the two it is.
    const KIND: KeyKind;

    /// Its spec, taken apart.
    fn parts(&self) -> SpecParts<'_>;

    /// Its status, if it has one.
    fn status(&self) -> Option<&KeyStatus>;
}

impl Key for AccessKey {
    const KIND: KeyKind = KeyKind::Access;

    fn parts(&self) -> SpecParts<'_> {
        let AccessKeySpec {
            token,
            secret,
            rotation,
            workloads,
            state,
            deletion_policy,
            external_change_policy,
            adopt,
            suspend,
        } = &self.spec;
        SpecParts {
            token: token.as_ref(),
            gateway_id: None,
            secret: secret.as_ref(),
            rotation: rotation.as_ref(),
            workloads: workloads.as_ref(),
            state: *state,
            deletion_policy: *deletion_policy,
            external_change_policy: *external_change_policy,
            adopt: adopt.as_ref(),
            suspend: *suspend,
        }
    }

    fn status(&self) -> Option<&KeyStatus> {
        self.status.as_ref()
    }
}

impl Key for GatewayKey {
    const KIND: KeyKind = KeyKind::Gateway;

    fn parts(&self) -> SpecParts<'_> {
        let GatewayKeySpec {
            token,
            secret,
            rotation,
            workloads,
            state,
            deletion_policy,
            external_change_policy,
            adopt,
            suspend,
        } = &self.spec;
        SpecParts {
            token: token.as_ref().map(|token| &token.common),
            gateway_id: token.as_ref().and_then(|token| token.gateway_id.as_deref()),
            secret: secret.as_ref(),
            rotation: rotation.as_ref(),
            workloads: workloads.as_ref(),
            state: *state,
            deletion_policy: *deletion_policy,
            external_change_policy: *external_change_policy,
            adopt: adopt.as_ref(),
            suspend: *suspend,
        }
    }

    fn status(&self) -> Option<&KeyStatus> {
        self.status.as_ref()
    }
}
