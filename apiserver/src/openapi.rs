//! `/openapi/v2` and `/openapi/v3`: documents are made on request from the schema tables; clients cache them by their hash.

use crate::context::RequestCx;
use crate::http::body::Body;
use crate::http::{negotiate, respond};
use http::{HeaderValue, Response, StatusCode, header};
use machinery::{Map, Value, json};
use schema::openapi;

#[derive(Default)]
pub struct OpenApi;

/// client-go's name of the protobuf form, in its two spellings.
const V2_PROTOBUF: [&str; 2] =
    ["application/com.github.proto-openapi.spec.v2@v1.0+protobuf", "application/com.github.proto-openapi.spec.v2.v1.0+protobuf"];

impl OpenApi {
    /// `remote` are the roots (`apis/GROUP/VERSION`) that other servers answer for: they are in the index of v3.
    pub async fn serve(&self, path: &str, cx: &RequestCx, remote: Vec<String>) -> Response<Body> {
        let (path, hash) = (path.trim_end_matches('/').to_owned(), cx.query.str("hash").to_owned());
        let accept = negotiate::accept_header(&cx.headers);
        let protobuf = negotiate::clauses(&accept).first().is_some_and(|c| V2_PROTOBUF.contains(&c.media.as_str()));
        let mut etag = format!("\"{}\"", openapi::fingerprint());
        if !remote.is_empty() {
            let named = remote.iter().fold(5381u32, |h, r| r.bytes().fold(h, |h, b| h.wrapping_mul(33) ^ u32::from(b)));
            etag = format!("\"{}{named:08X}\"", openapi::fingerprint());
        }
        if hash.is_empty() && cx.header("if-none-match") == etag {
            let mut r = Response::new(crate::http::body::empty());
            *r.status_mut() = StatusCode::NOT_MODIFIED;
            return r;
        }
        // Making a document takes tens of milliseconds of CPU: not on the threads that serve everybody.
        let made = tokio::task::spawn_blocking(move || document(&path, protobuf, &remote)).await.ok().flatten();
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

fn document(path: &str, protobuf: bool, remote: &[String]) -> Option<(&'static str, Vec<u8>)> {
    let json = |v: &Value| serde_json::to_vec(v).ok().map(|b| ("application/json", b));
    match path.strip_prefix("/openapi/")? {
        "v2" if protobuf => Some((V2_PROTOBUF[1], openapi::v2_protobuf(&openapi::v2()))),
        "v2" => json(&openapi::v2()),
        "v3" => {
            let mut paths: Map<String, Value> = openapi::v3_index()
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
                ["apis", group, version] => json(&openapi::v3(group, version)?),
                _ => None,
            }
        }
    }
}
