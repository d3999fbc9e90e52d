//! Calling a webhook: one JSON document is posted, one comes back. Admission and the conversion of custom resources use it.
//! Upstream: apiserver/pkg/util/webhook.

use crate::http::body::{self, BoxError};
use crate::outbound::{Outbound, Peer, Trust};
use base64::Engine as _;
use http::{Request, StatusCode, header};
use http_body_util::{BodyExt as _, Limited};
use machinery::{Status, Value, meta};
use std::time::Duration;

/// The largest answer that is read.
const MAX_RESPONSE: usize = 32 * 1024 * 1024;

/// Why there is no answer; the texts are what clients of Go's HTTP client print.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The configuration can't be used.
    #[error("{0}")]
    Config(String),
    #[error("Post {url:?}: {why}")]
    Transport { url: String, why: String },
    #[error("Post {url:?}: context deadline exceeded")]
    Timeout { url: String },
    /// The webhook answered with an HTTP error.
    #[error("{}", .0.message)]
    Http(Status),
    #[error("{0}")]
    Malformed(String),
}

/// A `clientConfig`, read once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientConfig {
    peer: Peer,
    path: String,
    trust: Trust,
}

impl ClientConfig {
    /// Reads `{url | service: {namespace, name, path, port}, caBundle}`.
    pub fn from_value(v: &Value) -> Result<Self, Error> {
        let bad = |what: &str, e: &dyn std::fmt::Display| Error::Config(format!("{what}: {e}"));
        let ca_bundle = match meta::str_at(v, &["caBundle"]) {
            "" => String::new(),
            b64 => {
                let der = base64::engine::general_purpose::STANDARD.decode(b64).map_err(|e| bad("caBundle", &e))?;
                String::from_utf8(der).map_err(|e| bad("caBundle", &e))?
            }
        };
        let trust = Trust { ca_bundle, ..Trust::default() };
        if let Some(s) = v.get("service").filter(|s| s.is_object()) {
            let port = meta::i64_at(s, &["port"]).unwrap_or(443);
            let port = u16::try_from(port).map_err(|e| bad("port", &e))?;
            let peer = Peer::Service {
                namespace: meta::str_at(s, &["namespace"]).to_owned(),
                name: meta::str_at(s, &["name"]).to_owned(),
                port,
            };
            let path = cleaned(meta::str_at(s, &["path"]));
            return Ok(Self { peer, path, trust });
        }
        let url = meta::str_at(v, &["url"]);
        if url.is_empty() {
            return Err(Error::Config("webhook configuration must have either service or URL".into()));
        }
        let uri: http::Uri = url.parse().map_err(|e| bad("Unparsable URL", &e))?;
        let host = uri.host().ok_or_else(|| bad("Unparsable URL", &url))?;
        let peer = Peer::Host { host: host.trim_matches(['[', ']']).to_owned(), port: uri.port_u16().unwrap_or(443) };
        Ok(Self { peer, path: cleaned(uri.path()), trust })
    }

    fn url(&self, timeout: Duration) -> String {
        let query = if timeout.is_zero() { String::new() } else { format!("?timeout={}s", timeout.as_secs().max(1)) };
        format!("https://{}{}{query}", self.peer.authority(), self.path)
    }
}

/// The path as client-go sends it: without empty and dot segments, which Go's servers answer with a redirect.
fn cleaned(path: &str) -> String {
    let mut segments = Vec::new();
    for s in path.split('/') {
        match s {
            "" | "." => {}
            ".." => {
                segments.pop();
            }
            s => segments.push(s),
        }
    }
    format!("/{}", segments.join("/"))
}

/// Calls webhooks, over connections that are kept.
pub struct Client(pub std::sync::Arc<Outbound>);

impl Client {
    /// Posts `review`, and returns what the webhook makes of it: any JSON object.
    pub async fn call(&self, to: &ClientConfig, review: &Value, timeout: Duration) -> Result<Value, Error> {
        let url = to.url(timeout);
        match tokio::time::timeout(timeout, self.exchange(to, &url, review)).await {
            Ok(done) => done,
            Err(_) => Err(Error::Timeout { url }),
        }
    }

    async fn exchange(&self, to: &ClientConfig, url: &str, review: &Value) -> Result<Value, Error> {
        let failed = |why: BoxError| Error::Transport { url: url.to_owned(), why: why.to_string() };
        let bytes = serde_json::to_vec(review).map_err(|e| failed(e.into()))?;
        let request = Request::post(url)
            .header(header::CONTENT_TYPE, "application/json")
            .header(header::ACCEPT, "application/json, */*")
            .header(header::USER_AGENT, "kube-apiserver-admission")
            .body(body::full(bytes))
            .map_err(|e| Error::Config(e.to_string()))?;
        let answer = self.0.send(&to.peer, &to.trust, request).await.map_err(failed)?;
        let (parts, incoming) = answer.into_parts();
        let read = Limited::new(incoming, MAX_RESPONSE).collect().await.map_err(failed)?.to_bytes();
        if !parts.status.is_success() {
            return Err(Error::Http(http_error(parts.status, &read)));
        }
        body::check_depth(&read).map_err(Error::Malformed)?;
        let value: Value = serde_json::from_slice(&read)
            .map_err(|e| Error::Malformed(format!("couldn't get version/kind; json parse error: {e}")))?;
        if !value.is_object() {
            return Err(Error::Malformed("couldn't get version/kind; json parse error: no object".into()));
        }
        Ok(value)
    }
}

/// What client-go makes of an answer that is no success.
fn http_error(code: StatusCode, bytes: &[u8]) -> Status {
    if let Some(s) =
        serde_json::from_slice::<Value>(bytes).ok().as_ref().filter(|v| v["kind"] == "Status").and_then(Status::from_value)
    {
        return s;
    }
    let text = String::from_utf8_lossy(&bytes[..bytes.len().min(2048)]).trim().to_owned();
    let (reason, message) = match code.as_u16() {
        400 => ("BadRequest", text),
        401 => ("Unauthorized", "the server has asked for the client to provide credentials".to_owned()),
        403 => ("Forbidden", text),
        404 => ("NotFound", "the server could not find the requested resource".to_owned()),
        405 => ("MethodNotAllowed", "the server does not allow this method on the requested resource".to_owned()),
        503 => ("ServiceUnavailable", "the server is currently unable to handle the request".to_owned()),
        504 => (
            "Timeout",
            "the server was unable to return a response in the time allotted, but may still be processing the request".to_owned(),
        ),
        c if c >= 500 => {
            ("InternalError", format!("an error on the server ({text:?}) has prevented the request from succeeding"))
        }
        _ => ("", format!("the server responded with the status code {} but did not return more information", code.as_u16())),
    };
    Status::new(code.as_u16(), reason, message)
}

#[cfg(test)]
mod tests {
    use super::*;
    use machinery::json;

    #[test]
    fn configurations() {
        let ten = Duration::from_secs(10);
        for (case, config, want) in [
            (
                "service",
                json!({"service": {"namespace": "n", "name": "s", "path": "/p", "port": 8443}}),
                "https://s.n.svc:8443/p?timeout=10s",
            ),
            ("defaults", json!({"service": {"namespace": "n", "name": "s"}}), "https://s.n.svc:443/?timeout=10s"),
            ("url", json!({"url": "https://example.com/a/b"}), "https://example.com:443/a/b?timeout=10s"),
            ("slashes", json!({"url": "https://a.b:1//c/./d/../e/"}), "https://a.b:1/c/e?timeout=10s"),
            ("address", json!({"url": "https://[::1]:9443"}), "https://[::1]:9443/?timeout=10s"),
        ] {
            assert_eq!(ClientConfig::from_value(&config).unwrap().url(ten), want, "{case}");
        }
        for (case, config) in [
            ("nothing", json!({})),
            ("no URL", json!({"url": "::"})),
            ("no base64", json!({"url": "https://a", "caBundle": "?"})),
            ("port", json!({"service": {"namespace": "n", "name": "s", "port": 70000}})),
        ] {
            assert!(ClientConfig::from_value(&config).is_err(), "{case}");
        }
    }
}
