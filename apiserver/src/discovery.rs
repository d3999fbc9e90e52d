//! Discovery: what groups, versions and resources there are, in the legacy documents (`/api`, `/apis`, `/apis/g`, `/apis/g/v`)
//! and in the aggregated one (apidiscovery.k8s.io). All made once per resource table.
//! Upstream: apiserver/pkg/endpoints/discovery.

use crate::http::body::{self, Body};
use crate::http::{Format, negotiate, respond};
use crate::resources::Entry;
use bytes::Bytes;
use http::{HeaderMap, Response, StatusCode, header};
use machinery::{Map, Value, json};
use schema::Scope;
use serde::Serialize;
use sha2::{Digest, Sha256};
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

/// Position of a group and of a version in it, higher first (kube-apiserver's APIService priorities).
pub fn priority(group: &str, version: &str) -> (i32, i32) {
    let g = match group {
        "" => 18000,
        "apiregistration.k8s.io" => 18000,
        "extensions" => 17900,
        "apps" => 17800,
        "events.k8s.io" => 17750,
        "authentication.k8s.io" => 17700,
        "authorization.k8s.io" => 17600,
        "autoscaling" => 17500,
        "batch" => 17400,
        "certificates.k8s.io" => 17300,
        "networking.k8s.io" => 17200,
        "policy" => 17100,
        "rbac.authorization.k8s.io" => 17000,
        "storage.k8s.io" => 16800,
        "apiextensions.k8s.io" | "admissionregistration.k8s.io" => 16700,
        "scheduling.k8s.io" => 16600,
        "coordination.k8s.io" => 16500,
        "node.k8s.io" => 16300,
        "discovery.k8s.io" => 16200,
        "flowcontrol.apiserver.k8s.io" => 16100,
        "internal.apiserver.k8s.io" => 16000,
        "resource.k8s.io" => 16200,
        "storagemigration.k8s.io" => 15800,
        _ => 1000,
    };
    let v = match (group, version) {
        ("autoscaling", "v2") => 30,
        (_, "v1") => 15,
        (_, v) if !v.contains("alpha") && !v.contains("beta") => 20,
        (_, v) if v.contains("beta") => 9,
        _ => 1,
    };
    (g, v)
}

/// A group and version that another server answers for.
pub struct Remote {
    pub group: String,
    pub version: String,
    /// Of the group and of the version in it, higher first.
    pub priority: (i64, i64),
    /// It answers, so `resources` are what it serves now.
    pub current: bool,
    /// As in aggregated discovery.
    pub resources: Vec<Value>,
}

/// A document in its wire form.
struct Document {
    bytes: Bytes,
    etag: String,
}

impl Document {
    fn new(v: &Value) -> Self {
        let bytes = Bytes::from(serde_json::to_vec(v).unwrap_or_default());
        let hash: String = Sha256::digest(&bytes).iter().map(|b| format!("{b:02X}")).collect();
        Self { bytes, etag: format!("\"{hash}\"") }
    }
}

/// The documents of a resource table.
#[derive(Default)]
pub struct Documents {
    plain: HashMap<String, Bytes>,
    /// `/api` and `/apis`, versions v2 and v2beta1.
    aggregated: HashMap<(&'static str, &'static str), Document>,
}

impl Documents {
    pub fn new(entries: &[Arc<Entry>]) -> Self {
        Self::with_remote(entries, &[])
    }

    /// Documents that name what other servers serve, too. They take precedence, as their APIServices do.
    pub fn with_remote(entries: &[Arc<Entry>], remote: &[Remote]) -> Self {
        let elsewhere = |g: &str, v: &str| remote.iter().find(|r| r.group == g && r.version == v);
        // The priorities of another server's group and version are its own.
        let priority = |g: &str, v: &str| -> (i64, i64) {
            let (group, version) = priority(g, v);
            let own = remote.iter().filter(|r| r.group == g).map(|r| r.priority.0).max();
            (own.unwrap_or(group.into()), elsewhere(g, v).map_or(version.into(), |r| r.priority.1))
        };
        let mut groups: BTreeMap<String, BTreeMap<String, Vec<&Entry>>> = BTreeMap::new();
        for e in entries {
            groups.entry(e.row.group.to_string()).or_default().entry(e.row.version.to_string()).or_default().push(e);
        }
        for r in remote {
            groups.entry(r.group.clone()).or_default().entry(r.version.clone()).or_default();
        }
        let mut order: Vec<(String, Vec<String>)> = groups
            .iter()
            .map(|(g, versions)| {
                let custom = versions.values().flatten().all(|e| e.custom.is_some());
                let mut versions: Vec<String> = versions.keys().cloned().collect();
                if custom {
                    versions.sort_by(|a, b| extensions::definition::compare_versions(a, b));
                } else {
                    versions.sort_by_key(|v| std::cmp::Reverse(priority(g, v).1));
                }
                (g.clone(), versions)
            })
            .collect();
        order.sort_by_key(|(g, _)| (std::cmp::Reverse(priority(g, "").0), g.clone()));

        let mut plain = HashMap::new();
        let (mut core, mut named) = (Vec::new(), Vec::new());
        let mut list = ApiGroupList { kind: "APIGroupList", api_version: "v1", groups: Vec::new() };
        for (group, versions) in &order {
            let mut aggregated = Vec::new();
            for version in versions {
                if let Some(r) = elsewhere(group, version) {
                    let freshness = if r.current { "Current" } else { "Stale" };
                    aggregated.push(json!({"version": version, "freshness": freshness, "resources": r.resources}));
                    continue;
                }
                let mut entries = groups[group][version].clone();
                entries.sort_by(|a, b| a.row.resource.cmp(&b.row.resource));
                let gv = if group.is_empty() { version.clone() } else { format!("{group}/{version}") };
                let path = if group.is_empty() { format!("/api/{version}") } else { format!("/apis/{gv}") };
                plain.insert(path, wire(&resource_list(&gv, &entries)));
                aggregated.push(json!({"version": version, "freshness": "Current",
                    "resources": entries.iter().map(|e| discovery_resource(e)).collect::<Vec<_>>()}));
            }
            if group.is_empty() {
                core.push(json!({"metadata": {}, "versions": aggregated}));
            } else {
                named.push(json!({"metadata": {"name": group}, "versions": aggregated}));
                let mut g = api_group(group, versions);
                list.groups.push(g.clone());
                (g.kind, g.api_version) = (Some("APIGroup"), Some("v1"));
                plain.insert(format!("/apis/{group}"), wire(&g));
            }
        }
        plain.insert("/apis".into(), wire(&list));
        let mut aggregated = HashMap::new();
        for (path, items) in [("/api", core), ("/apis", named)] {
            for version in ["v2", "v2beta1"] {
                let doc = json!({"kind": "APIGroupDiscoveryList", "apiVersion": format!("apidiscovery.k8s.io/{version}"),
                    "metadata": {}, "items": items});
                aggregated.insert((path, version), Document::new(&doc));
            }
        }
        Self { plain, aggregated }
    }

    /// Answers a discovery path; `None` if this is none.
    pub fn serve(&self, path: &str, headers: &HeaderMap, query: &crate::http::Query, host: &str) -> Option<Response<Body>> {
        let path = path.trim_end_matches('/');
        if matches!(path, "/api" | "/apis")
            && let Some(r) = self.serve_aggregated(path, headers)
        {
            return Some(r);
        }
        let doc = if path == "/api" { wire(&api_versions(host)) } else { self.plain.get(path)?.clone() };
        Some(match negotiate::negotiate(headers, query, &[Format::Json, Format::Yaml, Format::Protobuf], false) {
            Ok(accept) => respond::encoded(StatusCode::OK, accept, doc),
            Err(s) => respond::status(&s, None),
        })
    }

    fn serve_aggregated(&self, path: &str, headers: &HeaderMap) -> Option<Response<Body>> {
        let version = negotiate::clauses(&negotiate::accept_header(headers)).into_iter().find_map(|c| {
            if !matches!(c.media.as_str(), "application/json" | "*/*" | "application/*") {
                return None;
            }
            match (c.param("g"), c.param("v"), c.param("as")) {
                ("apidiscovery.k8s.io", v @ ("v2" | "v2beta1"), "APIGroupDiscoveryList") => Some(Some(v.to_owned())),
                // The plain document is asked for first.
                ("", "", "") => Some(None),
                _ => None,
            }
        })??;
        let (key, doc) = self
            .aggregated
            .get_key_value(&(if path == "/api" { "/api" } else { "/apis" }, if version == "v2" { "v2" } else { "v2beta1" }))?;
        let matched = headers.get(header::IF_NONE_MATCH).and_then(|v| v.to_str().ok()).is_some_and(|v| v == doc.etag);
        let ct = format!("application/json;g=apidiscovery.k8s.io;v={};as=APIGroupDiscoveryList", key.1);
        let mut r = if matched {
            let mut r = Response::new(body::empty());
            *r.status_mut() = StatusCode::NOT_MODIFIED;
            r
        } else {
            respond::response(StatusCode::OK, &ct, doc.bytes.clone())
        };
        if let Ok(v) = doc.etag.parse() {
            r.headers_mut().insert(header::ETAG, v);
        }
        r.headers_mut().insert(header::VARY, http::HeaderValue::from_static("Accept"));
        Some(r)
    }
}

// The plain documents, with their fields in upstream's order: people read them raw, and scripts cut lines out of them.

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ApiVersions<'a> {
    kind: &'static str,
    versions: [&'static str; 1],
    #[serde(rename = "serverAddressByClientCIDRs")]
    server_address: [ServerAddress<'a>; 1],
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ServerAddress<'a> {
    #[serde(rename = "clientCIDR")]
    client_cidr: &'static str,
    server_address: &'a str,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ApiGroupList {
    kind: &'static str,
    api_version: &'static str,
    groups: Vec<ApiGroup>,
}

#[derive(Serialize, Clone)]
#[serde(rename_all = "camelCase")]
struct ApiGroup {
    #[serde(skip_serializing_if = "Option::is_none")]
    kind: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    api_version: Option<&'static str>,
    name: String,
    versions: Vec<ApiGroupVersion>,
    preferred_version: Option<ApiGroupVersion>,
}

#[derive(Serialize, Clone)]
#[serde(rename_all = "camelCase")]
struct ApiGroupVersion {
    group_version: String,
    version: String,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ApiResourceList<'a> {
    kind: &'static str,
    #[serde(skip_serializing_if = "str::is_empty")]
    api_version: &'static str,
    group_version: &'a str,
    resources: Vec<ApiResource<'a>>,
}

#[derive(Serialize, Default)]
#[serde(rename_all = "camelCase")]
struct ApiResource<'a> {
    name: String,
    singular_name: &'a str,
    namespaced: bool,
    #[serde(skip_serializing_if = "str::is_empty")]
    group: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    version: &'a str,
    kind: &'a str,
    verbs: &'a [Box<str>],
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    short_names: &'a [Box<str>],
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    categories: &'a [Box<str>],
    #[serde(skip_serializing_if = "String::is_empty")]
    storage_version_hash: String,
}

/// As Go writes a document: compact, a newline after it.
fn wire(document: &impl Serialize) -> Bytes {
    let mut bytes = serde_json::to_vec(document).unwrap_or_default();
    bytes.push(b'\n');
    bytes.into()
}

fn api_versions(host: &str) -> ApiVersions<'_> {
    let server_address = [ServerAddress { client_cidr: "0.0.0.0/0", server_address: host }];
    ApiVersions { kind: "APIVersions", versions: ["v1"], server_address }
}

fn api_group(group: &str, versions: &[String]) -> ApiGroup {
    let version = |v: &String| ApiGroupVersion { group_version: format!("{group}/{v}"), version: v.clone() };
    let versions: Vec<_> = versions.iter().map(version).collect();
    ApiGroup { kind: None, api_version: None, name: group.into(), preferred_version: versions.first().cloned(), versions }
}

fn strings(list: &[Box<str>]) -> Value {
    list.iter().map(|s| Value::from(&**s)).collect()
}

/// `storageVersionHash` is what upstream derives from the storage group, version and kind.
fn storage_version_hash(e: &Entry) -> String {
    use base64::Engine as _;
    let g = &e.storage_gvk;
    let version = match (&*g.group, &*g.kind) {
        // These are kept under their former version for the sake of downgrades.
        ("apiextensions.k8s.io", "CustomResourceDefinition")
        | ("admissionregistration.k8s.io", "MutatingAdmissionPolicy" | "MutatingAdmissionPolicyBinding") => "v1beta1",
        _ => &*g.version,
    };
    let digest = Sha256::digest(format!("{}/{version}/{}", g.group, g.kind).as_bytes());
    base64::engine::general_purpose::STANDARD.encode(&digest[..8])
}

fn resource_list<'a>(gv: &'a str, entries: &[&'a Entry]) -> ApiResourceList<'a> {
    let mut resources = Vec::new();
    for e in entries {
        let namespaced = e.row.scope == Scope::Namespaced;
        resources.push(ApiResource {
            name: e.row.resource.to_string(),
            singular_name: &e.row.singular,
            namespaced,
            kind: &e.row.kind,
            verbs: &e.row.verbs,
            short_names: &e.row.short_names,
            categories: &e.row.categories,
            storage_version_hash: if e.storage.is_some() { storage_version_hash(e) } else { String::new() },
            ..Default::default()
        });
        for s in &e.row.subresources {
            let elsewhere = *s.group != *e.row.group || *s.version != *e.row.version;
            resources.push(ApiResource {
                name: format!("{}/{}", e.row.resource, s.name),
                namespaced,
                group: if elsewhere { &s.group } else { "" },
                version: if elsewhere { &s.version } else { "" },
                kind: &s.kind,
                verbs: &s.verbs,
                ..Default::default()
            });
        }
    }
    // As upstream has it for the group without a name.
    let api_version = if gv == "v1" { "" } else { "v1" };
    ApiResourceList { kind: "APIResourceList", api_version, group_version: gv, resources }
}

fn discovery_resource(e: &Entry) -> Value {
    let scope = if e.row.scope == Scope::Namespaced { "Namespaced" } else { "Cluster" };
    let mut r = Map::new();
    r.insert("resource".into(), (&*e.row.resource).into());
    // Upstream leaves group and version empty where they are those of the list; it is the other way round for custom kinds.
    let kind = |group: &str, version: &str, kind: &str| {
        let same = e.custom.is_none() && *group == *e.gvk.group && *version == *e.gvk.version;
        let (group, version) = if same { ("", "") } else { (group, version) };
        json!({"group": group, "version": version, "kind": kind})
    };
    r.insert("responseKind".into(), kind(&e.gvk.group, &e.gvk.version, &e.gvk.kind));
    r.insert("scope".into(), scope.into());
    r.insert("singularResource".into(), (&*e.row.singular).into());
    r.insert("verbs".into(), strings(&e.row.verbs));
    if !e.row.short_names.is_empty() {
        r.insert("shortNames".into(), strings(&e.row.short_names));
    }
    if !e.row.categories.is_empty() {
        r.insert("categories".into(), strings(&e.row.categories));
    }
    if !e.row.subresources.is_empty() {
        let subs: Vec<Value> = e
            .row
            .subresources
            .iter()
            .map(|s| {
                json!({"subresource": &*s.name, "verbs": strings(&s.verbs), "responseKind": kind(&s.group, &s.version, &s.kind)})
            })
            .collect();
        r.insert("subresources".into(), subs.into());
    }
    r.into()
}
