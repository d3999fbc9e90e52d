//! From a definition to what is served: one family per definition (its versions, its storage), one entry per served version.

use super::conversion::{Conversion, Webhook};
use crate::resources::{Entry, Rules};
use crate::server::Inner;
use extensions::{SelectableField, Version, definition};
use machinery::{GroupResource, GroupVersionKind, Value, meta};
use schema::{Resource, Scope, StructId, Subresource};
use std::sync::Arc;
use storage::Cacher;

/// All versions of a definition, compiled, with the storage of their objects.
pub struct Family {
    pub uid: String,
    pub generation: i64,
    pub versions: Vec<Arc<Version>>,
    pub conversion: Conversion,
    pub storage_version: String,
    pub storage: Arc<Cacher>,
    /// Objects may lie in the store in more versions than one, and only a webhook can tell what they are in another.
    pub mixed: bool,
}

/// One served version, as an entry's rules.
pub struct Custom {
    pub version: Arc<Version>,
    pub family: Arc<Family>,
    /// The definition is being deleted: nothing new is made.
    pub terminating: bool,
}

impl Family {
    /// Compiles a definition. Errors say what it can't be served for.
    pub fn new(server: &Inner, crd: &Value) -> Result<Self, String> {
        let versions =
            definition::versions(crd).iter().map(|v| Version::new(crd, v).map(Arc::new)).collect::<Result<Vec<_>, _>>()?;
        let storage_version = definition::storage_version(crd).to_owned();
        let storage = versions.iter().find(|v| v.storage).cloned().ok_or("no version is the storage version")?;
        let conversion = match meta::str_at(crd, &["spec", "conversion", "strategy"]) {
            "Webhook" => Conversion::Webhook(Arc::new(Webhook::new(server, crd)?)),
            _ => Conversion::None,
        };
        let group = meta::str_at(crd, &["spec", "group"]);
        let plural = meta::str_at(crd, &["spec", "names", "plural"]);
        let prefix = server.config.prefix(&format!("{group}/{plural}"));
        let mut config = storage::Config::new(GroupResource::new(group, plural), prefix);
        let selectable = selectable(&versions, &storage, &conversion);
        config.fields = Arc::new(move |obj| selectable.iter().map(|f| (f.name.clone(), f.value(obj))).collect());
        let (all, convert, target) = (versions.clone(), matches!(conversion, Conversion::None), storage.clone());
        config.refresh = Some(Arc::new(move |obj| {
            let stored = meta::str_at(obj, &["apiVersion"]).to_owned();
            if let Some(v) = all.iter().find(|v| v.api_version() == stored) {
                v.refresh(obj);
            }
            if convert && stored != target.api_version() {
                obj["apiVersion"] = target.api_version().into();
                target.refresh(obj);
            }
        }));
        let stored = meta::list_at(crd, &["status", "storedVersions"]).len();
        Ok(Self {
            uid: meta::uid(crd).to_owned(),
            generation: meta::i64_at(crd, &["metadata", "generation"]).unwrap_or(0),
            mixed: stored > 1 && matches!(conversion, Conversion::Webhook(_)),
            storage: Cacher::new(server.store.clone(), config),
            versions,
            conversion,
            storage_version,
        })
    }

    /// Objects must be converted before the selectable fields of a version can be told.
    pub fn converts_fields(&self, version: &Version) -> bool {
        matches!(self.conversion, Conversion::Webhook(_)) && (self.mixed || !version.storage)
    }

    pub fn version(&self, api_version: &str) -> Option<&Arc<Version>> {
        self.versions.iter().find(|v| v.api_version() == api_version)
    }

    /// Ends watches on the objects: they come back to whatever is served then.
    pub fn retire(&self) {
        self.storage.retire();
    }

    /// One entry per served version.
    pub fn entries(self: &Arc<Self>, crd: &Value) -> Vec<Arc<Entry>> {
        self.entries_of(crd, |v| v.served)
    }

    /// The entry of the storage version, served or not.
    pub fn any_entry(self: &Arc<Self>, crd: &Value) -> Option<Arc<Entry>> {
        self.entries_of(crd, |v| v.storage).pop()
    }

    fn entries_of(self: &Arc<Self>, crd: &Value, wanted: impl Fn(&Version) -> bool) -> Vec<Arc<Entry>> {
        let spec = |k: &str| meta::str_at(crd, &["spec", k]).to_owned();
        let name = |k: &str| Box::<str>::from(meta::str_at(crd, &["status", "acceptedNames", k]));
        let names = |k: &str| -> Vec<Box<str>> {
            meta::list_at(crd, &["status", "acceptedNames", k]).iter().filter_map(Value::as_str).map(Into::into).collect()
        };
        let group = spec("group");
        let terminating = meta::deletion_timestamp(crd).is_some();
        let verbs = ["delete", "deletecollection", "get", "list", "patch", "create", "update", "watch"];
        self.versions
            .iter()
            .filter(|v| wanted(v))
            .map(|v| {
                let boxed = |list: &[&str]| list.iter().map(|s| (*s).into()).collect::<Vec<Box<str>>>();
                let subresource = |name: &str, group: &str, version: &str, kind: &str| Subresource {
                    name: name.into(),
                    group: group.into(),
                    version: version.into(),
                    kind: kind.into(),
                    verbs: boxed(&["get", "patch", "update"]),
                };
                let mut subresources = Vec::new();
                if v.status {
                    subresources.push(subresource("status", &group, &v.name, &name("kind")));
                }
                if v.scale.is_some() {
                    subresources.push(subresource("scale", "autoscaling", "v1", "Scale"));
                }
                let row = Resource {
                    group: group.as_str().into(),
                    version: v.name.as_str().into(),
                    resource: name("plural"),
                    singular: name("singular"),
                    kind: name("kind"),
                    list_kind: name("listKind"),
                    scope: if spec("scope") == "Namespaced" { Scope::Namespaced } else { Scope::Cluster },
                    verbs: boxed(&verbs),
                    short_names: names("shortNames"),
                    categories: names("categories"),
                    subresources,
                    // No type of the built-in arena; the version has its own.
                    ty: StructId(u32::MAX),
                    storage_version: self.storage_version.as_str().into(),
                    storage_prefix: format!("{group}/{}", name("plural")).into(),
                };
                let gvk = GroupVersionKind::new(&*group, &*v.name, &*row.kind);
                let storage_gvk = GroupVersionKind::new(&*group, &*self.storage_version, &*row.kind);
                let custom = Arc::new(Custom { version: v.clone(), family: self.clone(), terminating });
                Arc::new(Entry {
                    row,
                    strategy: Rules::Custom(custom.clone()),
                    storage: Some(self.storage.clone()),
                    gvk,
                    storage_gvk,
                    custom: Some(custom),
                })
            })
            .collect()
    }
}

/// The selectable fields that the cache keeps. Where only names differ between versions, a field is where its name says in each of
/// them; where a webhook converts, only the storage version's can be told from what is stored.
fn selectable(versions: &[Arc<Version>], storage: &Arc<Version>, conversion: &Conversion) -> Vec<SelectableField> {
    let versions = match conversion {
        Conversion::None => versions,
        Conversion::Webhook(_) => std::slice::from_ref(storage),
    };
    let mut fields: Vec<SelectableField> = Vec::new();
    for field in versions.iter().flat_map(|v| &v.selectable) {
        if !fields.iter().any(|f| f.name == field.name) {
            fields.push(field.clone());
        }
    }
    fields
}
