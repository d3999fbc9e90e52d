//! OpenAPI documents of the built-in kinds, v2 and v3. Made from the tables on request and not kept: clients cache them by
//! the hash in the index. CRDs and aggregated APIs add theirs with [`merge`] and [`resource_paths`].

mod descriptions;
mod paths;
mod schemas;
#[cfg(test)]
mod tests;
mod v2proto;

pub use v2proto::encode as v2_protobuf;

use crate::registry::Registry;
use crate::resources::Resource;
use descriptions::Descriptions;
use paths::Names;
use schemas::Definitions;
use serde_json::{Map, Value, json};

/// Which of the two formats.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    V2,
    V3,
}

impl Format {
    fn reference(self, name: &str) -> Value {
        match self {
            Format::V2 => json!({"$ref": format!("#/definitions/{name}")}),
            Format::V3 => json!({"$ref": format!("#/components/schemas/{name}")}),
        }
    }
}

/// Changes whenever any document would.
pub fn fingerprint() -> &'static str {
    env!("SCHEMA_FINGERPRINT")
}

/// Path below `/openapi/v3/` and hash of each built-in group and version.
pub fn v3_index() -> Vec<(String, String)> {
    let mut out: Vec<(String, String)> = Vec::new();
    for r in Registry::builtin().resources() {
        let path = root(&r.group, &r.version);
        if out.last().is_none_or(|(p, _)| *p != path) {
            let hash = format!("{}{:08X}", fingerprint(), path.bytes().fold(5381u32, |h, b| h.wrapping_mul(33) ^ u32::from(b)));
            out.push((path, hash));
        }
    }
    out
}

/// `api/v1`, `apis/apps/v1`.
fn root(group: &str, version: &str) -> String {
    if group.is_empty() { format!("api/{version}") } else { format!("apis/{group}/{version}") }
}

/// The v3 document of a group and version; `None` if it has no built-in resources.
pub fn v3(group: &str, version: &str) -> Option<Value> {
    let registry = Registry::builtin();
    let served: Vec<&Resource> = registry.resources().iter().filter(|r| &*r.group == group && &*r.version == version).collect();
    if served.is_empty() {
        return None;
    }
    let (paths, schemas) = build(Format::V3, &served);
    Some(v3_document(paths, schemas))
}

/// A v3 document of given paths and schemas.
pub fn v3_document(paths: Map<String, Value>, schemas: Map<String, Value>) -> Value {
    json!({
        "openapi": "3.0.0",
        "info": {"title": "Kubernetes", "version": crate::KUBERNETES_VERSION},
        "paths": paths,
        "components": {"schemas": schemas, "securitySchemes": {"BearerToken": token()}},
        "security": [{"BearerToken": []}],
    })
}

/// The v2 document of all built-in kinds.
pub fn v2() -> Value {
    let served: Vec<&Resource> = Registry::builtin().resources().iter().collect();
    let (paths, definitions) = build(Format::V2, &served);
    json!({
        "swagger": "2.0",
        "info": {"title": "Kubernetes", "version": crate::KUBERNETES_VERSION},
        "paths": paths,
        "definitions": definitions,
        "securityDefinitions": {"BearerToken": token()},
        "security": [{"BearerToken": []}],
    })
}

/// Adds paths and definitions to a document of either format; what is there already stays.
pub fn merge(document: &mut Value, paths: Map<String, Value>, definitions: Map<String, Value>) {
    let v3 = document.get("openapi").is_some();
    let mut add = |pointer: &str, more: Map<String, Value>| {
        if let Some(Value::Object(map)) = document.pointer_mut(pointer) {
            for (k, v) in more {
                map.entry(k).or_insert(v);
            }
        }
    };
    add("/paths", paths);
    add(if v3 { "/components/schemas" } else { "/definitions" }, definitions);
}

/// Paths of a resource whose definitions are named by the caller (CRDs).
pub fn resource_paths(format: Format, r: &Resource, object: &str, list: &str) -> Map<String, Value> {
    let mut out = Map::new();
    paths::resource(format, r, true, &Names { object: object.into(), list: list.into() }, &mut |_| None, &mut out);
    out
}

/// Definitions of meta/v1 that the paths of every resource refer to, with all that they reach.
pub fn shared_definitions(format: Format) -> Map<String, Value> {
    let descriptions = Descriptions::load();
    let mut definitions = Definitions::new(format, &descriptions, &[]);
    meta(&mut definitions);
    definitions.finish()
}

fn token() -> Value {
    json!({"description": "Bearer Token authentication", "in": "header", "name": "authorization", "type": "apiKey"})
}

fn meta(definitions: &mut Definitions<'_>) {
    for name in ["DeleteOptions", "Status", "APIResourceList", "WatchEvent", "ObjectMeta", "ListMeta", "Patch"] {
        definitions.add(&format!("{}{name}", schemas::META));
    }
}

fn build(format: Format, served: &[&Resource]) -> (Map<String, Value>, Map<String, Value>) {
    let registry = Registry::builtin();
    let descriptions = Descriptions::load();
    let mut versions: Vec<(&str, &str)> = served.iter().map(|r| (&*r.group, &*r.version)).collect();
    versions.dedup();
    let mut definitions = Definitions::new(format, &descriptions, &versions);
    meta(&mut definitions);
    let mut all = Map::new();
    for (group, version) in &versions {
        paths::group_version(format, group, version, &mut all);
    }
    for r in served {
        let mut name = |kind: &str, group: &str, version: &str| {
            let id = registry.kind(group, version, kind)?;
            let name = registry.types().get(id).name.to_string();
            definitions.add(&name);
            Some(name)
        };
        let names = Names {
            object: name(&r.kind, &r.group, &r.version).unwrap_or_default(),
            list: name(&r.list_kind, &r.group, &r.version).unwrap_or_default(),
        };
        paths::resource(format, r, false, &names, &mut |s| name(&s.kind, &s.group, &s.version), &mut all);
    }
    (all, definitions.finish())
}
