//! Admission: what a write must satisfy, or gets changed into, before it is stored. Upstream: apiserver/pkg/admission and
//! plugin/pkg/admission.
//!
//! A handler builds `Attributes`, calls `Chain::admit` on the decoded and defaulted object (before strategy and schema
//! validation), and `Chain::validate` when the object is final. Deletes and connects pass `Value::Null` as the object.

mod certificates;
mod ingress_class;
mod lifecycle;
mod limit_ranger;
mod matching;
mod node_restriction;
mod node_taints;
mod pod_security;
mod policy;
mod priority;
mod reinvocation;
mod request;
mod resource_quota;
mod runtime_class;
mod service_account;
mod storage;
#[cfg(test)]
mod tests;
mod topology_labels;
pub(crate) mod webhooks;

pub use node_taints::DefaultTolerationSeconds;
pub use reinvocation::Reinvocation;

use async_trait::async_trait;
use auth::{Authorizer, UserInfo};
use machinery::{GroupResource, GroupVersionKind, GroupVersionResource, Status, Value, meta};
use parking_lot::Mutex;
use std::sync::Arc;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation {
    Create,
    Update,
    Delete,
    Connect,
}

impl Operation {
    /// `CREATE`, as in webhook configurations.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Create => "CREATE",
            Self::Update => "UPDATE",
            Self::Delete => "DELETE",
            Self::Connect => "CONNECT",
        }
    }
}

/// A write as plugins see it. `name` is empty for a create with generateName.
#[derive(Debug)]
pub struct Attributes {
    pub user: UserInfo,
    pub operation: Operation,
    pub gvr: GroupVersionResource,
    pub gvk: GroupVersionKind,
    pub subresource: String,
    pub name: String,
    /// For a Namespace object itself, its own name.
    pub namespace: String,
    pub dry_run: bool,
    /// The stored object, for updates and deletes.
    pub old_object: Option<Arc<Value>>,
    /// CreateOptions, UpdateOptions or DeleteOptions; for a connect the PodExecOptions and so on.
    pub options: Value,
    warnings: Mutex<Vec<String>>,
    /// What mutating plugins remember for a second round.
    pub reinvocation: Mutex<Reinvocation>,
}

impl Attributes {
    pub fn new(user: UserInfo, operation: Operation, gvr: GroupVersionResource, gvk: GroupVersionKind) -> Self {
        Self {
            user,
            operation,
            gvr,
            gvk,
            subresource: String::new(),
            name: String::new(),
            namespace: String::new(),
            dry_run: false,
            old_object: None,
            options: Value::Null,
            warnings: Mutex::new(Vec::new()),
            reinvocation: Mutex::default(),
        }
    }

    /// Group and resource are these (no version: rules are the same for all).
    pub fn is(&self, group: &str, resource: &str) -> bool {
        self.gvr.group == group && self.gvr.resource == resource
    }

    /// As `is`, and the main resource, not a subresource.
    pub fn is_main(&self, group: &str, resource: &str) -> bool {
        self.is(group, resource) && self.subresource.is_empty()
    }

    pub fn group_resource(&self) -> GroupResource {
        self.gvr.group_resource()
    }

    /// The old object, or null.
    pub fn old(&self) -> &Value {
        static NULL: Value = Value::Null;
        self.old_object.as_deref().unwrap_or(&NULL)
    }

    /// Refuses the request as upstream's `admission.NewForbidden`.
    pub fn forbid(&self, obj: &Value, why: impl std::fmt::Display) -> Status {
        let name = [&*self.name, meta::name(obj), meta::str_at(obj, &["metadata", "generateName"]), "Unknown"]
            .into_iter()
            .find(|n| !n.is_empty())
            .unwrap_or_default();
        Status::forbidden(&self.group_resource(), name, why)
    }

    /// A message for the `Warning` header of the response.
    pub fn warn(&self, message: impl Into<String>) {
        self.warnings.lock().push(message.into());
    }

    pub fn take_warnings(&self) -> Vec<String> {
        std::mem::take(&mut self.warnings.lock())
    }
}

/// What plugins may read and write of the cluster. The API server implements it over its watch caches and its store.
#[async_trait]
pub trait Lister: Send + Sync {
    /// An object from the cache; `namespace` is empty for cluster-scoped kinds.
    fn get(&self, group: &str, resource: &str, namespace: &str, name: &str) -> Option<Arc<Value>>;
    /// All objects of a namespace from the cache, or of all with `""`.
    fn list(&self, group: &str, resource: &str, namespace: &str) -> Vec<Arc<Value>>;
    /// Waits until the cache of a resource is filled: before its first use, where nothing else fills it.
    async fn fill(&self, _group: &str, _resource: &str) -> Result<(), Status> {
        Ok(())
    }
    /// An object from the store itself, for the few decisions that must not rest on a stale cache.
    async fn get_live(&self, group: &str, resource: &str, namespace: &str, name: &str) -> Result<Option<Arc<Value>>, Status>;
    /// An object that another component is about to make; `None` if it has not come within about a second.
    async fn await_object(&self, group: &str, resource: &str, namespace: &str, name: &str) -> Result<Option<Arc<Value>>, Status> {
        for _ in 0..20 {
            if let Some(found) = self.get_live(group, resource, namespace, name).await? {
                return Ok(Some(found));
            }
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        }
        Ok(None)
    }
    /// Replaces an object's status if it is still at the object's resourceVersion (409 if not), past admission; returns what was
    /// stored. ResourceQuota charges usage with it.
    async fn update_status(&self, group: &str, resource: &str, obj: Value) -> Result<Arc<Value>, Status>;
    /// For plugins that ask whether the user may do something else, too.
    fn authorizer(&self) -> &dyn Authorizer;
}

/// An admission plugin. `handles` is asked first, so that most requests pass most plugins without an allocation.
#[async_trait]
pub trait Plugin: Send + Sync {
    fn name(&self) -> &'static str;
    fn handles(&self, attrs: &Attributes) -> bool;
    /// May change the object.
    async fn admit(&self, _attrs: &Attributes, _obj: &mut Value, _cx: &dyn Lister) -> Result<(), Status> {
        Ok(())
    }
    /// May only refuse.
    async fn validate(&self, _attrs: &Attributes, _obj: &Value, _cx: &dyn Lister) -> Result<(), Status> {
        Ok(())
    }
}

/// The plugins of a server, in upstream's order.
pub struct Chain {
    plugins: Vec<Box<dyn Plugin>>,
}

impl Chain {
    pub fn new(plugins: Vec<Box<dyn Plugin>>) -> Self {
        Self { plugins }
    }

    /// Upstream's default plugins, with NodeRestriction, in upstream's order; `disabled` are left out (`--disable-admission-plugins`).
    pub fn standard(disabled: &[String], tolerations: DefaultTolerationSeconds) -> Self {
        let mut plugins: Vec<Box<dyn Plugin>> = vec![
            Box::new(lifecycle::NamespaceLifecycle),
            Box::new(limit_ranger::LimitRanger),
            Box::new(service_account::ServiceAccount),
            Box::new(node_restriction::NodeRestriction),
            Box::new(node_taints::TaintNodesByCondition),
            Box::new(pod_security::PodSecurity),
            Box::new(priority::Priority),
            Box::new(tolerations),
            Box::new(storage::DefaultStorageClass),
            Box::new(storage::StorageObjectInUseProtection),
            Box::new(storage::PersistentVolumeClaimResize),
            Box::new(runtime_class::RuntimeClass),
            Box::new(certificates::CertificateApproval),
            Box::new(certificates::CertificateSigning),
            Box::new(certificates::ClusterTrustBundleAttest),
            Box::new(certificates::CertificateSubjectRestriction),
            Box::new(ingress_class::DefaultIngressClass),
            Box::new(topology_labels::PodTopologyLabels),
            Box::<policy::MutatingAdmissionPolicy>::default(),
            Box::<policy::ValidatingAdmissionPolicy>::default(),
            Box::<resource_quota::ResourceQuota>::default(),
        ];
        plugins.retain(|p| !disabled.iter().any(|d| d == p.name()));
        Self { plugins }
    }

    /// Adds a plugin in front of ResourceQuota, where what the cluster itself configures has its place.
    pub fn with(mut self, disabled: &[String], plugin: Box<dyn Plugin>) -> Self {
        if !disabled.iter().any(|d| d == plugin.name()) {
            let at = self.plugins.iter().position(|p| p.name() == "ResourceQuota").unwrap_or(self.plugins.len());
            self.plugins.insert(at, plugin);
        }
        self
    }

    pub fn names(&self) -> impl Iterator<Item = &'static str> + '_ {
        self.plugins.iter().map(|p| p.name())
    }

    /// Mutates; a second time, where the first round asks for it.
    pub async fn admit(&self, attrs: &Attributes, obj: &mut Value, cx: &dyn Lister) -> Result<(), Status> {
        self.round(attrs, obj, cx).await?;
        let again = attrs.reinvocation.lock().start_second();
        if again { self.round(attrs, obj, cx).await } else { Ok(()) }
    }

    async fn round(&self, attrs: &Attributes, obj: &mut Value, cx: &dyn Lister) -> Result<(), Status> {
        for p in self.plugins.iter().filter(|p| p.handles(attrs)) {
            p.admit(attrs, obj, cx).await?;
        }
        Ok(())
    }

    pub async fn validate(&self, attrs: &Attributes, obj: &Value, cx: &dyn Lister) -> Result<(), Status> {
        for p in self.plugins.iter().filter(|p| p.handles(attrs)) {
            p.validate(attrs, obj, cx).await?;
        }
        Ok(())
    }
}

/// Of the classes with one of these annotations set to "true", the newest; of equally new ones the first by name.
fn newest_default(classes: Vec<Arc<Value>>, marks: &[&str]) -> Option<Arc<Value>> {
    let marked = |c: &Arc<Value>| marks.iter().any(|m| meta::str_at(c, &["metadata", "annotations", m]) == "true");
    classes.into_iter().filter(marked).min_by(|a, b| {
        let created = |c: &Value| meta::str_at(c, &["metadata", "creationTimestamp"]).to_owned();
        created(b).cmp(&created(a)).then_with(|| meta::name(a).cmp(meta::name(b)))
    })
}

/// Five letters and digits, as upstream's name generator draws them.
fn random_suffix() -> String {
    machinery::names::generate_name("")
}
