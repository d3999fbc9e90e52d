//! What a request is about: verb, group, version, resource, name. Authorization, routing and metrics all speak of requests in
//! these terms. Upstream: apiserver/pkg/endpoints/request/requestinfo.go.

use super::query::{self, Query};
use http::Method;

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RequestInfo {
    /// Under `/api` or `/apis/g` with something after the version.
    pub is_resource: bool,
    /// Decoded path.
    pub path: String,
    /// `get`, `list`, `watch`, …; of a non-resource request the method in lower case.
    pub verb: String,
    pub group: String,
    pub version: String,
    pub namespace: String,
    pub resource: String,
    pub subresource: String,
    /// In the path, or for lists the name that the field selector fixes.
    pub name: String,
    /// From the resource on: `["pods", "a", "proxy", "x"]`.
    pub parts: Vec<String>,
    /// The verb came as a path segment (`/api/v1/watch/pods`, `/api/v1/proxy/…`).
    pub verb_in_path: bool,
}

impl RequestInfo {
    /// Reads a request line; `Err` is upstream's message for a path that cannot be told.
    pub fn parse(method: &Method, raw_path: &str, query: &Query) -> Result<Self, String> {
        let path = query::decode(raw_path, false);
        let mut info = Self { path: path.clone(), verb: method.as_str().to_ascii_lowercase(), ..Self::default() };
        let all: Vec<&str> = path.trim_matches('/').split('/').collect();
        let mut parts: &[&str] = &all;
        if parts.len() < 3 {
            return Ok(info);
        }
        match parts[0] {
            "api" => parts = &parts[1..],
            "apis" if parts.len() >= 4 => {
                info.group = parts[1].to_owned();
                parts = &parts[2..];
            }
            _ => return Ok(info),
        }
        info.is_resource = true;
        info.version = parts[0].to_owned();
        parts = &parts[1..];

        if matches!(parts[0], "proxy" | "watch") {
            if parts.len() < 2 {
                return Err(format!("unable to determine kind and namespace from url, {raw_path}"));
            }
            info.verb = parts[0].to_owned();
            info.verb_in_path = true;
            parts = &parts[1..];
        } else {
            info.verb = match *method {
                Method::POST => "create",
                Method::GET | Method::HEAD => "get",
                Method::PUT => "update",
                Method::PATCH => "patch",
                Method::DELETE => "delete",
                _ => "",
            }
            .to_owned();
        }
        if parts[0] == "namespaces" && parts.len() > 1 {
            info.namespace = parts[1].to_owned();
            if parts.len() > 2 && !matches!(parts[2], "status" | "finalize") {
                parts = &parts[2..];
            }
        }
        info.parts = parts.iter().map(|p| (*p).to_owned()).collect();
        if parts.len() >= 3 && info.verb != "proxy" {
            info.subresource = parts[2].to_owned();
        }
        if parts.len() >= 2 {
            info.name = parts[1].to_owned();
        }
        info.resource = parts[0].to_owned();

        if info.name.is_empty() && info.verb == "get" {
            info.verb = if query.bool("watch") { "watch" } else { "list" }.to_owned();
            info.name = exact_name(query.str("fieldSelector")).unwrap_or_default();
        } else if info.name.is_empty() && info.verb == "delete" {
            info.verb = "deletecollection".to_owned();
        }
        Ok(info)
    }

    /// The name is part of the path, not merely selected.
    /// The namespace that an object of this entry lives in.
    pub fn namespace_of(&self, entry: &crate::resources::Entry) -> String {
        if entry.namespaced() { self.namespace.clone() } else { String::new() }
    }
    pub fn path_name(&self) -> &str {
        self.parts.get(1).map_or("", String::as_str)
    }

    /// Served for as long as the client stays: exempt from the request timeout.
    pub fn is_long_running(&self) -> bool {
        matches!(self.verb.as_str(), "watch" | "proxy")
            || matches!(self.subresource.as_str(), "attach" | "exec" | "proxy" | "log" | "portforward")
    }
}

/// The name that `metadata.name=x` among the requirements fixes.
fn exact_name(field_selector: &str) -> Option<String> {
    field_selector.split(',').find_map(|r| {
        let v = r.strip_prefix("metadata.name=")?;
        let v = v.strip_prefix('=').unwrap_or(v);
        (!v.is_empty() && v != "." && v != ".." && !v.contains(['/', '%'])).then(|| v.to_owned())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn table() {
        // method, path, verb, group, version, namespace, resource, subresource, name
        for (m, url, want) in [
            ("GET", "/api/v1/namespaces", "list||v1||namespaces||"),
            ("GET", "/api/v1/namespaces/a", "get||v1|a|namespaces||a"),
            ("PUT", "/api/v1/namespaces/a/finalize", "update||v1|a|namespaces|finalize|a"),
            ("GET", "/api/v1/namespaces/a/pods", "list||v1|a|pods||"),
            ("GET", "/api/v1/namespaces/a/pods/p", "get||v1|a|pods||p"),
            ("GET", "/api/v1/namespaces/a/pods/p/log", "get||v1|a|pods|log|p"),
            ("GET", "/api/v1/pods?watch=1", "watch||v1||pods||"),
            ("GET", "/api/v1/pods?watch=false", "list||v1||pods||"),
            ("GET", "/api/v1/watch/namespaces/a/pods/p", "watch||v1|a|pods||p"),
            ("DELETE", "/apis/apps/v1/namespaces/a/deployments", "deletecollection|apps|v1|a|deployments||"),
            ("PATCH", "/apis/apps/v1/namespaces/a/deployments/d/scale", "patch|apps|v1|a|deployments|scale|d"),
            ("GET", "/api/v1/pods?fieldSelector=metadata.name%3Dx", "list||v1||pods||x"),
            ("GET", "/api/v1/namespaces/a/services/s/proxy/x/y", "get||v1|a|services|proxy|s"),
        ] {
            let (path, q) = url.split_once('?').unwrap_or((url, ""));
            let i = RequestInfo::parse(&m.parse().unwrap(), path, &Query::parse(q)).unwrap();
            assert!(i.is_resource, "{url}");
            let got = [&i.verb, &i.group, &i.version, &i.namespace, &i.resource, &i.subresource, &i.name].map(String::as_str);
            assert_eq!(got.join("|"), want, "{m} {url}");
        }
        for url in ["/api/v1", "/apis", "/apis/apps/v1", "/healthz", "/", "/openapi/v3/apis/apps/v1"] {
            assert!(!RequestInfo::parse(&Method::GET, url, &Query::default()).unwrap().is_resource, "{url}");
        }
        assert!(RequestInfo::parse(&Method::GET, "/api/v1/watch", &Query::default()).is_err());
    }
}
