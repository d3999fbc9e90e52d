//! What a backend serves: its resource list, in the form of the aggregated documents
//! (apiserver/pkg/endpoints/discovery/aggregated, ConvertGroupVersionIntoToDiscovery).

use super::Backend;
use crate::http::body::{self, BoxError};
use crate::outbound::Outbound;
use auth::UserInfo;
use http::{Request, header};
use http_body_util::{BodyExt as _, Limited};
use machinery::{Map, Value, json, meta};

const MAX: usize = 8 * 1024 * 1024;

/// Asks a backend for the resources of its group and version; also what shows that it answers.
pub async fn fetch(outbound: &Outbound, backend: &Backend) -> Result<Vec<Value>, BoxError> {
    let uri = format!("https://{}{}", backend.peer.authority(), backend.root());
    let mut request = Request::get(&uri).header(header::ACCEPT, "application/json").body(body::empty())?;
    super::proxy::user_headers(request.headers_mut(), &UserInfo::new("system:kube-aggregator", &["system:masters"]));
    let answer = outbound.send(&backend.peer, &backend.trust, request).await?;
    let status = answer.status();
    if !(status.is_success() || status.is_redirection()) {
        return Err(format!("bad status from {uri}: {}", status.as_u16()).into());
    }
    let bytes = Limited::new(answer.into_body(), MAX).collect().await?.to_bytes();
    let list: Value = serde_json::from_slice(&bytes).unwrap_or(Value::Null);
    Ok(resources(&list, &backend.group, &backend.version))
}

fn resources(list: &Value, group: &str, version: &str) -> Vec<Value> {
    let mut out: Vec<Value> = Vec::new();
    for r in meta::list_at(list, &["resources"]) {
        let or = |f: &str, default: &str| match meta::str_at(r, &[f]) {
            "" => default.to_owned(),
            v => v.to_owned(),
        };
        let kind = json!({"group": or("group", group), "version": or("version", version), "kind": meta::str_at(r, &["kind"])});
        let verbs = r.get("verbs").cloned().unwrap_or_else(|| json!([]));
        let name = meta::str_at(r, &["name"]);
        if let Some((parent, sub)) = name.split_once('/') {
            if let Some(p) = out.iter_mut().find(|p| p["resource"] == parent).and_then(Value::as_object_mut) {
                let subs = p.entry("subresources").or_insert_with(|| json!([]));
                if let Some(l) = subs.as_array_mut() {
                    l.push(json!({"subresource": sub, "responseKind": kind, "verbs": verbs}));
                }
            }
            continue;
        }
        let mut one = Map::new();
        one.insert("resource".into(), name.into());
        one.insert("responseKind".into(), kind);
        one.insert("scope".into(), if meta::bool_at(r, &["namespaced"]) { "Namespaced" } else { "Cluster" }.into());
        one.insert("singularResource".into(), or("singularName", "").into());
        one.insert("verbs".into(), verbs);
        for f in ["shortNames", "categories"] {
            if let Some(v) = r.get(f).filter(|v| v.is_array()) {
                one.insert(f.into(), v.clone());
            }
        }
        out.push(one.into());
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn resource_lists_become_aggregated() {
        let list = json!({"resources": [
            {"name": "flunders", "singularName": "flunder", "namespaced": true, "kind": "Flunder", "verbs": ["get"], "shortNames": ["f"]},
            {"name": "flunders/scale", "kind": "Scale", "group": "autoscaling", "version": "v1", "verbs": ["update"]}]});
        let want = json!([{"resource": "flunders", "singularResource": "flunder", "scope": "Namespaced", "verbs": ["get"],
            "shortNames": ["f"], "responseKind": {"group": "g", "version": "v1", "kind": "Flunder"},
            "subresources": [{"subresource": "scale", "verbs": ["update"],
                "responseKind": {"group": "autoscaling", "version": "v1", "kind": "Scale"}}]}]);
        assert_eq!(Value::from(resources(&list, "g", "v1")), want);
    }
}
