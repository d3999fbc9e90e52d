//! Answers: objects and Status as bytes in the negotiated encoding, compressed where it pays.
//! Upstream: apiserver/pkg/endpoints/handlers/responsewriters/writers.go.

use super::body::{self, Body};
use super::negotiate::{Accept, Format};
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Response, StatusCode, header};
use machinery::{Status, Value};
use std::io::Write;

/// Smaller answers aren't worth the cycles (upstream's defaultGzipThresholdBytes).
const GZIP_ABOVE: usize = 128 * 1024;

pub fn response(code: StatusCode, content_type: &str, bytes: impl Into<Bytes>) -> Response<Body> {
    let mut r = Response::new(body::full(bytes));
    *r.status_mut() = code;
    let ct = HeaderValue::from_str(content_type).unwrap_or(HeaderValue::from_static("application/octet-stream"));
    r.headers_mut().insert(header::CONTENT_TYPE, ct);
    r
}

/// Plain text, as health checks and unknown paths answer.
pub fn text(code: StatusCode, text: impl Into<String>) -> Response<Body> {
    let mut r = response(code, "text/plain; charset=utf-8", text.into());
    r.headers_mut().insert("x-content-type-options", HeaderValue::from_static("nosniff"));
    r
}

/// What Go's mux says of a path that nobody serves.
pub fn page_not_found() -> Response<Body> {
    text(StatusCode::NOT_FOUND, "404 page not found\n")
}

/// An object tree in the negotiated encoding.
pub fn object(code: StatusCode, accept: Accept, value: &Value) -> Response<Body> {
    let mut older = None;
    if accept.beta {
        v1beta1(older.insert(value.clone()));
    }
    let value = older.as_ref().unwrap_or(value);
    match accept.format {
        Format::Yaml => match serde_saphyr::to_string(value) {
            Ok(text) => response(code, "application/yaml", text),
            Err(e) => status(&Status::internal(e), None),
        },
        Format::Protobuf => match crate::registry::protobuf::encode(value) {
            Ok(bytes) => response(code, Format::Protobuf.media_type(), bytes),
            // As upstream, an object with no protobuf form is answered in JSON.
            Err(_) => json(code, accept.pretty, value),
        },
        Format::Json => json(code, accept.pretty, value),
    }
}

/// Makes a Table or metadata of `meta.k8s.io/v1` one of `v1beta1`, which older clients ask for; they differ in name only.
pub fn v1beta1(value: &mut Value) {
    if let Some(version) = value.get_mut("apiVersion").filter(|v| *v == "meta.k8s.io/v1") {
        *version = "meta.k8s.io/v1beta1".into();
    }
    for (list, object) in [("rows", Some("object")), ("items", None)] {
        for item in value.get_mut(list).and_then(Value::as_array_mut).into_iter().flatten() {
            match object {
                Some(field) => item.get_mut(field).into_iter().for_each(v1beta1),
                None => v1beta1(item),
            }
        }
    }
}

/// Bytes that are JSON already; decoded again only where another form is asked for.
pub fn encoded(code: StatusCode, accept: Accept, bytes: Bytes) -> Response<Body> {
    if accept.format == Format::Json && !accept.pretty {
        return response(code, "application/json", bytes);
    }
    match serde_json::from_slice::<Value>(&bytes) {
        Ok(v) => object(code, accept, &v),
        Err(e) => status(&Status::internal(e), None),
    }
}

fn json(code: StatusCode, pretty: bool, value: &Value) -> Response<Body> {
    let bytes = if pretty { serde_json::to_vec_pretty(value) } else { serde_json::to_vec(value) };
    match bytes {
        Ok(mut b) => {
            // Go's encoder ends each object with a newline.
            b.push(b'\n');
            response(code, "application/json", b)
        }
        Err(e) => text(StatusCode::INTERNAL_SERVER_ERROR, e.to_string()),
    }
}

/// A failure as the client wants it; JSON where the client's wish is unknown.
pub fn status(s: &Status, accept: Option<Accept>) -> Response<Body> {
    let code = StatusCode::from_u16(s.code).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let accept = accept.unwrap_or(Accept { format: Format::Json, pretty: false, transform: None, beta: false });
    let mut r = object(code, accept, &s.to_value());
    if let Some(secs) = s.details.get("retryAfterSeconds").and_then(Value::as_i64)
        && let Ok(v) = HeaderValue::from_str(&secs.to_string())
    {
        r.headers_mut().insert(header::RETRY_AFTER, v);
    }
    r
}

/// The Status that answers a deletion.
pub fn success(details: Value) -> Value {
    machinery::json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "details": details})
}

/// A bare Status for an HTTP code, as the router gives for a path it does not serve or a method it does not allow.
pub fn generic(code: u16) -> Status {
    let (reason, message) = match code {
        404 => ("NotFound", "the server could not find the requested resource"),
        405 => ("MethodNotAllowed", "the server does not allow this method on the requested resource"),
        _ => ("", "the server rejected our request for an unknown reason"),
    };
    Status::new(code, reason, message)
}

/// Whether the client takes gzip.
pub fn takes_gzip(headers: &HeaderMap) -> bool {
    headers
        .get(header::ACCEPT_ENCODING)
        .and_then(|v| v.to_str().ok())
        .is_some_and(|v| v.split(',').any(|e| e.split(';').next().is_some_and(|e| e.trim() == "gzip")))
}

/// Compresses a buffered answer of `len` bytes if it is large; used by the front on whole bodies only.
pub fn gzip(bytes: &[u8]) -> Option<Vec<u8>> {
    if bytes.len() < GZIP_ABOVE {
        return None;
    }
    // Level 1: upstream's choice, network time is cheap compared to the CPU of higher levels.
    let mut enc = flate2::write::GzEncoder::new(Vec::with_capacity(bytes.len() / 8), flate2::Compression::fast());
    enc.write_all(bytes).ok()?;
    enc.finish().ok()
}

/// Whether an answer of this size is worth compressing.
pub fn worth_gzip(len: u64) -> bool {
    len >= GZIP_ABOVE as u64
}
