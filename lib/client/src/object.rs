//! Kubernetes objects as Rust types: k8s-openapi structs, with the paths they are served under.

use crate::json::Json;
use k8s_openapi::api::core::v1::ObjectReference;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};
use k8s_openapi::{ClusterResourceScope, NamespaceResourceScope};

/// Tells namespaced from cluster-scoped at compile time.
pub trait Scope {
    const NAMESPACED: bool;
}
impl Scope for NamespaceResourceScope {
    const NAMESPACED: bool = true;
}
impl Scope for ClusterResourceScope {
    const NAMESPACED: bool = false;
}

/// A top-level kind with metadata. Implemented for every kind that components use ([`crate::json`] lists them).
pub trait Object: k8s_openapi::Resource + k8s_openapi::Metadata<Ty = ObjectMeta> + Json + Clone + Send + Sync + 'static {
    const NAMESPACED: bool;

    /// `/api/v1/namespaces/NS/pods` or `/apis/apps/v1/deployments`; an empty namespace means all of them.
    fn collection_path(namespace: &str) -> String {
        collection_path(Self::GROUP, Self::VERSION, Self::URL_PATH_SEGMENT, if Self::NAMESPACED { namespace } else { "" })
    }
    fn meta(&self) -> &ObjectMeta {
        self.metadata()
    }
    fn name(&self) -> &str {
        self.metadata().name.as_deref().unwrap_or("")
    }
    fn namespace(&self) -> &str {
        self.metadata().namespace.as_deref().unwrap_or("")
    }
    fn uid(&self) -> &str {
        self.metadata().uid.as_deref().unwrap_or("")
    }
    fn resource_version(&self) -> &str {
        self.metadata().resource_version.as_deref().unwrap_or("")
    }
    fn label(&self, key: &str) -> Option<&str> {
        self.metadata().labels.as_ref()?.get(key).map(String::as_str)
    }
    fn annotation(&self, key: &str) -> Option<&str> {
        self.metadata().annotations.as_ref()?.get(key).map(String::as_str)
    }
    fn is_terminating(&self) -> bool {
        self.metadata().deletion_timestamp.is_some()
    }
    /// The owner reference with `controller: true`.
    fn controller(&self) -> Option<&OwnerReference> {
        self.metadata().owner_references.as_ref()?.iter().find(|o| o.controller == Some(true))
    }
    /// `namespace/name`, or `name` for cluster-scoped objects.
    fn key(&self) -> String {
        key_of(self.namespace(), self.name())
    }
}

impl<K> Object for K
where
    K: k8s_openapi::Resource + k8s_openapi::Metadata<Ty = ObjectMeta> + Json + Clone + Send + Sync + 'static,
    K::Scope: Scope,
{
    const NAMESPACED: bool = <K::Scope as Scope>::NAMESPACED;
}

/// The path of a collection; `group` is empty for the core group, `namespace` for all namespaces.
pub fn collection_path(group: &str, version: &str, resource: &str, namespace: &str) -> String {
    let root = if group.is_empty() { format!("/api/{version}") } else { format!("/apis/{group}/{version}") };
    if namespace.is_empty() { format!("{root}/{resource}") } else { format!("{root}/namespaces/{namespace}/{resource}") }
}

/// `namespace/name`, or `name` without a namespace: the key of informers and work queues.
pub fn key_of(namespace: &str, name: &str) -> String {
    if namespace.is_empty() { name.to_owned() } else { format!("{namespace}/{name}") }
}

/// Splits `namespace/name`.
pub fn split_key(key: &str) -> (&str, &str) {
    key.split_once('/').unwrap_or(("", key))
}

/// A reference to `obj` for events and claims.
pub fn reference_to<K: Object>(obj: &K) -> ObjectReference {
    ObjectReference {
        api_version: Some(K::API_VERSION.to_owned()),
        kind: Some(K::KIND.to_owned()),
        name: obj.metadata().name.clone(),
        namespace: obj.metadata().namespace.clone(),
        uid: obj.metadata().uid.clone(),
        resource_version: obj.metadata().resource_version.clone(),
        field_path: None,
    }
}

/// An owner reference from a dependent to its controller `obj`.
pub fn controller_reference<K: Object>(obj: &K) -> OwnerReference {
    OwnerReference {
        api_version: K::API_VERSION.to_owned(),
        kind: K::KIND.to_owned(),
        name: obj.name().to_owned(),
        uid: obj.uid().to_owned(),
        controller: Some(true),
        block_owner_deletion: Some(true),
    }
}
