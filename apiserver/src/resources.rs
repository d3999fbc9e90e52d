//! The resources that are served: one entry per group, version and resource, with its rules and its storage. The table is swapped
//! as a whole, so that resources can come and go (CRDs) while requests are in flight.

use crate::config::Config;
use crate::extensions::Custom;
use kinds::Strategy;
use machinery::{GroupResource, GroupVersionKind, GroupVersionResource};
use schema::{Resource, Scope, Subresource};
use sha2::{Digest, Sha256};
use std::collections::HashMap;
use std::ops::Deref;
use std::sync::Arc;
use storage::Cacher;
use store::Store;

/// The rules of a resource.
#[derive(Clone)]
pub enum Rules {
    Builtin(&'static dyn Strategy),
    Custom(Arc<Custom>),
}

impl Deref for Rules {
    type Target = dyn Strategy;
    fn deref(&self) -> &(dyn Strategy + 'static) {
        match self {
            Self::Builtin(s) => *s,
            Self::Custom(c) => &**c,
        }
    }
}

/// A served resource.
pub struct Entry {
    pub row: Resource,
    pub strategy: Rules,
    /// `None`: nothing is kept (reviews, bindings).
    pub storage: Option<Arc<Cacher>>,
    pub gvk: GroupVersionKind,
    /// Kind and version that its objects are stored as; differs from `gvk` for a second version of a kind.
    pub storage_gvk: GroupVersionKind,
    /// A version of a custom resource.
    pub custom: Option<Arc<Custom>>,
}

impl Entry {
    pub fn gr(&self) -> GroupResource {
        GroupResource::new(&*self.row.group, &*self.row.resource)
    }
    pub fn gvr(&self) -> GroupVersionResource {
        GroupVersionResource::new(&*self.row.group, &*self.row.version, &*self.row.resource)
    }
    pub fn is(&self, group: &str, resource: &str) -> bool {
        &*self.row.group == group && &*self.row.resource == resource
    }
    pub fn namespaced(&self) -> bool {
        self.row.scope == Scope::Namespaced
    }
    pub fn subresource(&self, name: &str) -> Option<&Subresource> {
        self.row.subresources.iter().find(|s| &*s.name == name)
    }
    pub fn allows(&self, verb: &str) -> bool {
        self.row.verbs.iter().any(|v| &**v == verb)
    }
    /// `v1` or `apps/v1`.
    pub fn api_version(&self) -> String {
        self.gvk.group_version().to_string()
    }
    /// Objects are stored in another form than the one served here.
    pub fn converts(&self) -> bool {
        self.gvk != self.storage_gvk || self.custom.as_ref().is_some_and(|c| c.family.mixed)
    }
}

/// Group, version and resource.
type Path = (Box<str>, Box<str>, Box<str>);

/// All entries, and what discovery says of them.
pub struct Table {
    entries: Vec<Arc<Entry>>,
    by_path: HashMap<Path, usize>,
    /// By resource, in the order of the entries: few groups share a name.
    by_resource: HashMap<Box<str>, Vec<usize>>,
    pub discovery: crate::discovery::Documents,
    custom_hash: String,
}

impl Table {
    pub fn new(entries: Vec<Arc<Entry>>) -> Self {
        let by_path = entries
            .iter()
            .enumerate()
            .map(|(i, e)| ((e.row.group.clone(), e.row.version.clone(), e.row.resource.clone()), i))
            .collect();
        let mut by_resource: HashMap<Box<str>, Vec<usize>> = HashMap::new();
        for (i, e) in entries.iter().enumerate() {
            by_resource.entry(e.row.resource.clone()).or_default().push(i);
        }
        let discovery = crate::discovery::Documents::new(&entries);
        let mut customs: Vec<String> = entries
            .iter()
            .filter_map(|e| Some((e, e.custom.as_ref()?)))
            .map(|(e, c)| format!("{} {} {}", e.gvk, c.family.uid, c.family.generation))
            .collect();
        customs.sort();
        let custom_hash = if customs.is_empty() {
            String::new()
        } else {
            Sha256::digest(customs.join("\n")).iter().map(|b| format!("{b:02X}")).collect()
        };
        Self { entries, by_path, by_resource, discovery, custom_hash }
    }

    /// Changes with every custom resource that comes, goes or changes its schema; empty without any.
    pub fn custom_hash(&self) -> &str {
        &self.custom_hash
    }

    pub fn entries(&self) -> &[Arc<Entry>] {
        &self.entries
    }

    pub fn get(&self, group: &str, version: &str, resource: &str) -> Option<&Arc<Entry>> {
        self.by_path.get(&(group.into(), version.into(), resource.into())).map(|i| &self.entries[*i])
    }

    /// The entry of a resource in its preferred version.
    pub fn preferred(&self, group: &str, resource: &str) -> Option<&Arc<Entry>> {
        let all = self.by_resource.get(resource)?;
        let mut of_group = all.iter().map(|i| &self.entries[*i]).filter(|e| e.is(group, resource));
        let first = of_group.next()?;
        if first.converts() { of_group.find(|e| !e.converts()).or(Some(first)) } else { Some(first) }
    }

    pub fn has_group_version(&self, group: &str, version: &str) -> bool {
        self.entries.iter().any(|e| &*e.row.group == group && &*e.row.version == version)
    }
}

/// Whether a version of a built-in group is served, by its resources' table (`--runtime-config` asks for such).
pub fn serves(group: &str, version: &str) -> bool {
    schema::Registry::builtin().resources().iter().any(|r| (&*r.group, &*r.version) == (group, version))
}

/// The entries of the built-in resources over a store.
pub fn builtin(config: &Config, store: &Arc<dyn Store>) -> Vec<Arc<Entry>> {
    let mut cachers: HashMap<Box<str>, Arc<Cacher>> = HashMap::new();
    let rows = schema::Registry::builtin().resources();
    let mut entries = Vec::new();
    for row in rows {
        let gvk = GroupVersionKind::new(&*row.group, &*row.version, &*row.kind);
        let storage_gvk = crate::registry::convert::storage_gvk(row);
        if gvk != storage_gvk && !crate::registry::convert::converts(&gvk, &storage_gvk) {
            tracing::debug!(%gvk, "not served: no conversion to the storage version");
            continue;
        }
        let strategy = kinds::strategy_for(&storage_gvk.group, &row.kind);
        let kept = !row.storage_prefix.is_empty() && row.verbs.iter().any(|v| &**v == "get" || &**v == "list");
        let storage = kept.then(|| {
            cachers
                .entry(row.storage_prefix.clone())
                .or_insert_with(|| {
                    let resource = GroupResource::new(&*row.group, &*row.resource);
                    let mut c = storage::Config::new(resource, config.prefix(&row.storage_prefix));
                    c.fields = Arc::new(move |obj| {
                        strategy.selectable_fields(obj).into_iter().map(|(n, v)| (n.to_owned(), v)).collect()
                    });
                    Cacher::new(store.clone(), c)
                })
                .clone()
        });
        let strategy = Rules::Builtin(strategy);
        entries.push(Arc::new(Entry { row: row.clone(), strategy, storage, gvk, storage_gvk, custom: None }));
    }
    entries
}
