//! `/openapi/v2` and `/openapi/v3`: documents are made on request from the schema tables and the definitions of custom resources;
//! clients cache them by their hash.

use crate::context::RequestCx;
use crate::http::body::Body;
use crate::http::{negotiate, respond};
use crate::resources::Table;
use crate::server::Inner;
use extensions::publish;
use http::{HeaderValue, Response, StatusCode, header};
use machinery::{Map, Value, json};
use schema::openapi;
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;

#[derive(Default)]
pub struct OpenApi;

/// client-go's name of the protobuf form, in its two spellings.
const V2_PROTOBUF: [&str; 2] =
    ["application/com.github.proto-openapi.spec.v2@v1.0+protobuf", "application/com.github.proto-openapi.spec.v2.v1.0+protobuf"];

impl OpenApi {
    /// `remote` are the roots (`apis/GROUP/VERSION`) that other servers answer for: they are in the index of v3.
    pub async fn serve(&self, path: &str, cx: &RequestCx, server: &Inner, remote: Vec<String>) -> Response<Body> {
        let (path, hash) = (path.trim_end_matches('/').to_owned(), cx.query.str("hash").to_owned());
        let accept = negotiate::accept_header(&cx.headers);
        let protobuf = negotiate::clauses(&accept).first().is_some_and(|c| V2_PROTOBUF.contains(&c.media.as_str()));
        let table = server.table.load_full();
        let mut tag = format!("{}{}", openapi::fingerprint(), table.custom_hash());
        if !remote.is_empty() {
            let named = remote.iter().fold(5381u32, |h, r| r.bytes().fold(h, |h, b| h.wrapping_mul(33) ^ u32::from(b)));
            tag.push_str(&format!("{named:08X}"));
        }
        let etag = format!("\"{tag}\"");
        if hash.is_empty() && cx.header("if-none-match") == etag {
            let mut r = Response::new(crate::http::body::empty());
            *r.status_mut() = StatusCode::NOT_MODIFIED;
            return r;
        }
        // Making a document takes tens of milliseconds of CPU: not on the threads that serve everybody.
        let customs = customs(server, &table, &path);
        let made = tokio::task::spawn_blocking(move || document(&path, protobuf, &customs, &remote)).await.ok().flatten();
        let Some((content_type, bytes)) = made else { return respond::page_not_found() };
        let mut r = respond::response(StatusCode::OK, content_type, bytes);
        if let Ok(v) = HeaderValue::from_str(&etag) {
            r.headers_mut().insert(header::ETAG, v);
        }
        r.headers_mut().insert(header::VARY, HeaderValue::from_static("Accept"));
        if !hash.is_empty() {
            r.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("public, immutable"));
        }
        r
    }
}

/// A served version of a definition, as documents need it.
struct Custom {
    row: schema::Resource,
    version: Value,
    preserve: bool,
    hash: String,
}

/// The custom resources that a document tells of.
fn customs(server: &Inner, table: &Table, path: &str) -> Vec<Custom> {
    let wanted = path.strip_prefix("/openapi/v3/apis/");
    let crds = server.entry("apiextensions.k8s.io", "customresourcedefinitions").ok().and_then(|e| e.storage.clone());
    let Some(crds) = crds else { return Vec::new() };
    let custom = table.entries().iter().filter_map(|e| Some((e, e.custom.as_ref()?)));
    custom
        .filter(|(e, _)| wanted.is_none_or(|w| w == e.api_version()))
        .filter_map(|(e, c)| {
            let crd = crds.peek("", &format!("{}.{}", e.row.resource, e.row.group))?.value();
            let version = extensions::definition::versions(&crd).iter().find(|v| v["name"] == *e.row.version)?.clone();
            Some(Custom {
                row: e.row.clone(),
                version,
                preserve: machinery::meta::bool_at(&crd, &["spec", "preserveUnknownFields"]),
                hash: format!("{}-{}", c.family.uid, c.family.generation),
            })
        })
        .collect()
}

impl Custom {
    fn parts(&self, format: openapi::Format) -> (Map<String, Value>, Map<String, Value>) {
        let r = &self.row;
        let own = if format == openapi::Format::V2 { publish::Format::V2 } else { publish::Format::V3 };
        let names = (&*r.group, &*r.version, &*r.kind, &*r.list_kind);
        let definitions = publish::definitions(own, &self.version, self.preserve, names);
        let paths = openapi::resource_paths(format, r, &definitions[0].0, &definitions[1].0);
        (paths, definitions.into_iter().collect())
    }
}

fn v2(customs: &[Custom]) -> Value {
    let mut doc = openapi::v2();
    for c in customs {
        let (paths, definitions) = c.parts(openapi::Format::V2);
        openapi::merge(&mut doc, paths, definitions);
    }
    doc
}

fn v3(customs: &[Custom], group: &str, version: &str) -> Option<Value> {
    let mut doc = openapi::v3(group, version);
    for c in customs {
        let doc = doc.get_or_insert_with(|| openapi::v3_document(Map::new(), openapi::shared_definitions(openapi::Format::V3)));
        let (paths, definitions) = c.parts(openapi::Format::V3);
        openapi::merge(doc, paths, definitions);
    }
    doc
}

/// Paths of the v3 documents with their hashes.
fn v3_index(customs: &[Custom]) -> BTreeMap<String, String> {
    let mut out: BTreeMap<String, String> = openapi::v3_index().into_iter().collect();
    let mut changes: BTreeMap<String, Sha256> = BTreeMap::new();
    for c in customs {
        let path = format!("apis/{}/{}", c.row.group, c.row.version);
        changes.entry(path).or_default().update(format!("{}/{} ", c.row.resource, c.hash));
    }
    for (path, hash) in changes {
        let hash: String = hash.finalize().iter().map(|b| format!("{b:02X}")).collect();
        out.entry(path).and_modify(|h| h.push_str(&hash)).or_insert(hash);
    }
    out
}

fn document(path: &str, protobuf: bool, customs: &[Custom], remote: &[String]) -> Option<(&'static str, Vec<u8>)> {
    let json = |v: &Value| serde_json::to_vec(v).ok().map(|b| ("application/json", b));
    match path.strip_prefix("/openapi/")? {
        "v2" if protobuf => Some((V2_PROTOBUF[1], openapi::v2_protobuf(&v2(customs)))),
        "v2" => json(&v2(customs)),
        "v3" => {
            let mut paths: Map<String, Value> = v3_index(customs)
                .into_iter()
                .map(|(p, hash)| {
                    let url = format!("/openapi/v3/{p}?hash={hash}");
                    (p, json!({"serverRelativeURL": url}))
                })
                .collect();
            for root in remote {
                paths.insert(root.clone(), json!({"serverRelativeURL": format!("/openapi/v3/{root}")}));
            }
            json(&json!({"paths": paths}))
        }
        rest => {
            let parts: Vec<&str> = rest.strip_prefix("v3/")?.split('/').collect();
            match parts.as_slice() {
                ["api", version] => json(&openapi::v3("", version)?),
                ["apis", group, version] => json(&v3(customs, group, version)?),
                _ => None,
            }
        }
    }
}
