//! One row per resource: what discovery says of it and how it is stored.

use crate::types::StructId;

/// `namespaces/{ns}/…` or not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    Namespaced,
    Cluster,
}

/// A served group, version and resource.
#[derive(Clone, Debug)]
pub struct Resource {
    pub group: Box<str>,
    pub version: Box<str>,
    /// Plural, lower case: `pods`.
    pub resource: Box<str>,
    pub singular: Box<str>,
    pub kind: Box<str>,
    /// `PodList`; empty where the resource cannot be listed.
    pub list_kind: Box<str>,
    pub scope: Scope,
    /// Sorted as discovery prints them: create, delete, deletecollection, get, list, patch, update, watch.
    pub verbs: Vec<Box<str>>,
    pub short_names: Vec<Box<str>>,
    pub categories: Vec<Box<str>>,
    pub subresources: Vec<Subresource>,
    /// The struct of `kind` in the registry's arena.
    pub ty: StructId,
    /// Version that objects are stored in, of the same group (or of the group that shares the storage: events).
    pub storage_version: Box<str>,
    /// The directory of its objects in the store, below `/registry/`: `pods`, `deployments`, `services/specs`.
    pub storage_prefix: Box<str>,
}

impl Resource {
    /// Group and version of the stored objects. Events of both groups are stored as the core group's.
    pub fn storage_gv(&self) -> (&str, &str) {
        match (&*self.group, &*self.resource) {
            ("events.k8s.io", "events") => ("", &self.storage_version),
            _ => (&self.group, &self.storage_version),
        }
    }
    /// Whether objects of it are kept at all; reviews and bindings are not.
    pub fn stored(&self) -> bool {
        !self.storage_prefix.is_empty()
    }
    pub fn subresource(&self, name: &str) -> Option<&Subresource> {
        self.subresources.iter().find(|s| &*s.name == name)
    }
}

/// `pods/log`, `deployments/scale`.
#[derive(Clone, Debug)]
pub struct Subresource {
    pub name: Box<str>,
    /// Group, version and kind of the object it takes and gives (`autoscaling`, `v1`, `Scale`).
    pub group: Box<str>,
    pub version: Box<str>,
    pub kind: Box<str>,
    pub verbs: Vec<Box<str>>,
}
