//! Which handler answers: documents about the server, resources by verb, subresources by name.

use crate::context::RequestCx;
use crate::http::body::Body;
use crate::http::{Format, negotiate, respond, websocket};
use crate::resources::Entry;
use crate::server::Inner;
use crate::{aggregation, registry, subresources, version};
use http::{Method, Response, StatusCode, Uri};
use hyper::upgrade::OnUpgrade;
use machinery::{Status, json};
use std::sync::Arc;

pub async fn route(
    server: &Arc<Inner>,
    cx: &RequestCx,
    uri: &Uri,
    request_body: Body,
    upgrade: Option<OnUpgrade>,
) -> Result<Response<Body>, Status> {
    let path = cx.info.path.as_str();
    if let Some(backend) = server.aggregation.backend_of(path.strip_prefix("/openapi/v3").unwrap_or(path)) {
        return Ok(aggregation::proxy::serve(server, cx, &backend, uri, request_body, upgrade).await);
    }
    if !cx.info.is_resource {
        return Ok(document(server, cx).await);
    }
    let table = server.table.load_full();
    let info = &cx.info;
    let Some(entry) = table.get(&info.group, &info.version, &info.resource) else {
        if table.has_group_version(&info.group, &info.version) {
            return Err(respond::generic(404));
        }
        return Ok(respond::page_not_found());
    };
    if !info.subresource.is_empty() {
        return subresources::route(server, cx, entry, uri, request_body, upgrade).await;
    }
    let verb = info.verb.as_str();
    if matches!(verb, "proxy" | "") || cx.method == Method::HEAD {
        return Err(respond::generic(405));
    }
    let named = !info.path_name().is_empty();
    let placed = entry.namespaced() && info.namespace.is_empty();
    // Cluster-scoped resources have no path below a namespace, and named namespaced ones none outside of it.
    if !entry.namespaced() && !info.namespace.is_empty() && !entry.is("", "namespaces") || placed && named {
        return Err(respond::generic(404));
    }
    let fits = match verb {
        "create" => !named,
        "get" | "update" | "patch" | "delete" => named,
        "list" | "deletecollection" => !named,
        _ => true,
    };
    let allowed = entry.allows(verb) && fits && !(placed && matches!(verb, "create" | "deletecollection"));
    if !allowed {
        return Err(respond::generic(405));
    }
    if let Some(what) = deprecated(entry) {
        cx.warn(what);
    }
    if let Some(c) = &entry.custom {
        if let Some(w) = &c.version.deprecation {
            cx.warn(w.as_str());
        }
        if c.terminating && verb == "create" {
            let mut s = Status::method_not_supported(&entry.gr(), verb);
            s.message = format!("{verb} not allowed while custom resource definition is terminating");
            return Err(s);
        }
    }
    if let Some(r) = subresources::virtual_resource(server, cx, entry, request_body).await? {
        let answer = match r {
            subresources::Virtual::Answer(a) => a,
            subresources::Virtual::NotVirtual(b) => resource(server, cx, entry, b).await?,
        };
        return match upgrade {
            Some(u) if verb == "watch" && websocket::wanted(&cx.headers) => websocket::switch(u, &cx.headers, answer, true),
            _ => Ok(answer),
        };
    }
    Err(respond::generic(405))
}

/// Upstream's warning for kinds that have a successor.
fn deprecated(entry: &Entry) -> Option<&'static str> {
    entry.is("", "endpoints").then_some("v1 Endpoints is deprecated in v1.33+; use discovery.k8s.io/v1 EndpointSlice")
}

async fn resource(server: &Arc<Inner>, cx: &RequestCx, entry: &Arc<Entry>, request_body: Body) -> Result<Response<Body>, Status> {
    match cx.info.verb.as_str() {
        "get" => registry::get(cx, entry).await,
        "list" => registry::list(cx, entry).await,
        "watch" => registry::watch(server, cx, entry).await,
        "create" => registry::create(server, cx, entry, request_body).await,
        "update" => registry::replace(server, cx, entry, "", request_body).await,
        "patch" => registry::patch(server, cx, entry, "", request_body).await,
        "delete" => registry::delete(server, cx, entry, request_body).await,
        "deletecollection" => registry::delete_collection(server, cx, entry, request_body).await,
        _ => Err(respond::generic(405)),
    }
}

/// Paths outside of the resources.
async fn document(server: &Arc<Inner>, cx: &RequestCx) -> Response<Body> {
    let path = cx.info.path.as_str();
    if !matches!(cx.method, Method::GET | Method::HEAD) {
        return respond::text(StatusCode::METHOD_NOT_ALLOWED, "405: Method Not Allowed\n");
    }
    let table = server.table.load_full();
    let host = format!("{}:{}", server.config.advertise_address, server.config.secure_port);
    let merged = server.aggregation.documents(&table);
    let discovery = merged.as_deref().unwrap_or(&table.discovery);
    if let Some(r) = discovery.serve(path, &cx.headers, &cx.query, &host) {
        return r;
    }
    if let Some(r) = server.health.serve(path, &cx.query, &*server.store).await {
        return r;
    }
    let json = |v: &machinery::Value| match negotiate::negotiate(&cx.headers, &cx.query, &[Format::Json], false) {
        Ok(a) => respond::object(StatusCode::OK, a, v),
        Err(_) => {
            let accept = crate::http::Accept { format: Format::Json, pretty: true, transform: None, beta: false };
            respond::object(StatusCode::OK, accept, v)
        }
    };
    match path.trim_end_matches('/') {
        "/version" => {
            let document = version::version(server.config.reported_version.as_deref());
            respond::response(StatusCode::OK, "application/json", document)
        }
        "/metrics" => {
            let mut objects: Vec<(String, usize)> = table
                .entries()
                .iter()
                .filter(|e| !e.converts())
                .filter_map(|e| Some((e.gr().to_string(), e.storage.as_ref()?.count())))
                .collect();
            objects.sort();
            let text = server.metrics.render(&objects) + &server.flow_control.render(crate::startup::MAX_IN_FLIGHT);
            respond::response(StatusCode::OK, "text/plain; version=0.0.4; charset=utf-8", text)
        }
        "/metrics/slis" => {
            let text = server.health.metrics(&*server.store).await;
            respond::response(StatusCode::OK, "text/plain; version=0.0.4; charset=utf-8", text)
        }
        "/.well-known/openid-configuration" => {
            let uri = format!("https://{host}/openid/v1/jwks");
            json(&auth::token::openid_configuration(&server.config.service_account_issuer, &uri, &server.token_keys))
        }
        "/openid/v1/jwks" => {
            let keys = auth::token::jwks(&server.token_keys).to_string();
            respond::response(StatusCode::OK, "application/jwk-set+json", keys)
        }
        p if p.starts_with("/openapi/") => server.openapi.serve(p, cx, server, server.aggregation.roots()).await,
        "" => json(&json!({"paths": paths(server)})),
        _ => respond::page_not_found(),
    }
}

fn paths(server: &Inner) -> Vec<String> {
    let table = server.table.load();
    let mut out: Vec<String> = [
        "/.well-known/openid-configuration",
        "/api",
        "/apis",
        "/healthz",
        "/livez",
        "/metrics",
        "/openapi/v2",
        "/openapi/v3",
        "/openid/v1/jwks",
        "/readyz",
        "/version",
    ]
    .map(str::to_owned)
    .to_vec();
    for e in table.entries() {
        let (g, v) = (&e.row.group, &e.row.version);
        if g.is_empty() {
            out.push(format!("/api/{v}"));
        } else {
            out.push(format!("/apis/{g}"));
            out.push(format!("/apis/{g}/{v}"));
        }
    }
    out.sort();
    out.dedup();
    out
}
