//! Which resources the server has, by its discovery documents.

use client::Client;
use client::object::collection_path;
use machinery::meta::{list_at, str_at};
use machinery::{GroupVersion, GroupVersionResource, Value};

/// A resource as discovery describes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ApiResource {
    pub gvr: GroupVersionResource,
    pub kind: String,
    pub namespaced: bool,
    pub verbs: Vec<String>,
    /// Of the group's preferred version, or the only version that has it.
    pub preferred: bool,
}

impl ApiResource {
    pub fn has_verbs(&self, verbs: &[&str]) -> bool {
        verbs.iter().all(|v| self.verbs.iter().any(|have| have == v))
    }
    pub fn path(&self, namespace: &str, name: &str) -> String {
        let ns = if self.namespaced { namespace } else { "" };
        let c = collection_path(&self.gvr.group, &self.gvr.version, &self.gvr.resource, ns);
        if name.is_empty() { c } else { format!("{c}/{name}") }
    }
    pub fn api_version(&self) -> String {
        self.gvr.group_version().to_string()
    }
}

/// The versions of an APIGroup document, the preferred one first.
fn versions(group: &Value) -> Vec<GroupVersion> {
    let preferred = str_at(group, &["preferredVersion", "groupVersion"]);
    let mut versions: Vec<&str> = list_at(group, &["versions"]).iter().map(|v| str_at(v, &["groupVersion"])).collect();
    versions.sort_by_key(|v| *v != preferred);
    versions.into_iter().filter_map(GroupVersion::parse).collect()
}

/// The outcome of discovery.
#[derive(Clone, Debug, Default)]
pub struct Discovery {
    /// All versions of all resources, subresources left out.
    pub resources: Vec<ApiResource>,
    /// Group-versions whose document could not be read, with the error.
    pub failed: Vec<(GroupVersion, String)>,
}

impl Discovery {
    /// The resource of an owner reference.
    pub fn by_kind(&self, api_version: &str, kind: &str) -> Option<&ApiResource> {
        self.resources.iter().find(|r| r.kind == kind && r.api_version() == api_version)
    }
    /// One version of each resource.
    pub fn preferred(&self) -> impl Iterator<Item = &ApiResource> {
        self.resources.iter().filter(|r| r.preferred)
    }

    /// Reads all discovery documents.
    pub async fn read(client: &Client) -> client::Result<Self> {
        let mut out = Self::default();
        out.add(client, &GroupVersion::new("", "v1")).await;
        let groups = client.get_path("/apis").await?;
        for group in list_at(&groups, &["groups"]) {
            for gv in versions(group) {
                out.add(client, &gv).await;
            }
        }
        Ok(out)
    }

    /// One resource, in the first version of its group that has it, the preferred one before others.
    pub async fn find(client: &Client, group: &str, resource: &str) -> client::Result<Option<ApiResource>> {
        let mut out = Self::default();
        if group.is_empty() {
            out.add(client, &GroupVersion::new("", "v1")).await;
        } else {
            match client.get_path(&format!("/apis/{group}")).await {
                Ok(doc) => {
                    for gv in versions(&doc) {
                        out.add(client, &gv).await;
                    }
                }
                Err(e) if e.is_not_found() => {}
                Err(e) => return Err(e),
            }
        }
        Ok(out.resources.into_iter().find(|r| r.gvr.resource == resource))
    }

    /// The resource of a kind, in one version.
    pub async fn of_kind(client: &Client, gv: &GroupVersion, kind: &str) -> client::Result<Option<ApiResource>> {
        let mut out = Self::default();
        out.add(client, gv).await;
        Ok(out.resources.into_iter().find(|r| r.kind == kind))
    }

    async fn add(&mut self, client: &Client, gv: &GroupVersion) {
        let path =
            if gv.group.is_empty() { format!("/api/{}", gv.version) } else { format!("/apis/{}/{}", gv.group, gv.version) };
        let doc = match client.get_path(&path).await {
            Ok(doc) => doc,
            Err(e) => return self.failed.push((gv.clone(), e.to_string())),
        };
        for r in list_at(&doc, &["resources"]) {
            let name = str_at(r, &["name"]);
            if name.contains('/') {
                continue;
            }
            let preferred = !self.resources.iter().any(|k| k.preferred && k.gvr.group == gv.group && k.gvr.resource == name);
            self.resources.push(ApiResource {
                gvr: GroupVersionResource::new(gv.group.clone(), gv.version.clone(), name),
                kind: str_at(r, &["kind"]).to_owned(),
                namespaced: machinery::meta::bool_at(r, &["namespaced"]),
                verbs: list_at(r, &["verbs"]).iter().filter_map(Value::as_str).map(str::to_owned).collect(),
                preferred,
            });
        }
    }
}
