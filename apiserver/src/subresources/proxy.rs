//! `proxy` of pods, services and nodes: a request to what runs there, through the server. Upstream: pkg/registry/core/*/rest,
//! apimachinery/pkg/util/proxy.

use super::kubelet;
use super::pod_streams::escape;
use super::rewrite::Links;
use super::tunnel::{Destination, forward};
use crate::context::RequestCx;
use crate::http::body::{self, Body};
use crate::resources::Entry;
use crate::server::Inner;
use http::header::{HOST, LOCATION, UPGRADE};
use http::{HeaderValue, Method, Response, StatusCode, Uri};
use hyper::upgrade::OnUpgrade;
use machinery::{Status, Value, json, meta};
use rand::seq::IndexedRandom as _;
use std::net::IpAddr;
use std::sync::Arc;

/// `https:name:port`, `name:port`, `name`.
fn split(id: &str) -> Option<(&str, &str, &str)> {
    let parts: Vec<&str> = id.split(':').collect();
    match parts.as_slice() {
        [name] => Some(("", *name, "")),
        [name, port] => Some(("", *name, *port)),
        [scheme, name, port] => Some((*scheme, *name, *port)),
        _ => None,
    }
    .filter(|(_, name, _)| !name.is_empty())
}

pub async fn serve(
    server: &Arc<Inner>,
    cx: &RequestCx,
    entry: &Entry,
    uri: &Uri,
    content: Body,
    upgrade: Option<OnUpgrade>,
) -> Result<Response<Body>, Status> {
    let id = cx.info.path_name();
    let (scheme, name, port) =
        split(id).ok_or_else(|| Status::bad_request(format!("invalid {} request {id:?}", entry.row.singular)))?;
    if !matches!(scheme, "" | "http" | "https") {
        return Err(Status::bad_request(format!("invalid {} request {id:?}", entry.row.singular)));
    }
    let kind = entry.subresource("proxy").map_or("", |s| &*s.kind);
    let mut path = cx.info.parts.iter().skip(3).fold(String::new(), |p, s| p + "/" + s);
    if path.is_empty() {
        path.push('/');
    }
    super::admit_connect(server, cx, entry, json!({"kind": kind, "apiVersion": "v1", "path": path})).await?;
    let (host, port) = match &*entry.row.resource {
        "pods" => pod(server, cx, name, port).await?,
        "services" => service(server, cx, name, port).await?,
        _ => {
            let (host, kubelet_port) = kubelet::address(server, name).await?;
            let port = if port.is_empty() { kubelet_port } else { number(port)? };
            let tls = if port == kubelet_port { Some(server.kubelet.kubelet.clone()) } else { None };
            let tls = if scheme == "https" && tls.is_none() { Some(server.kubelet.any.clone()) } else { tls };
            return pass(server, cx, uri, content, upgrade, Destination { host, port, tls, path: String::new() }).await;
        }
    };
    let tls = (scheme == "https").then(|| server.kubelet.any.clone());
    pass(server, cx, uri, content, upgrade, Destination { host, port, tls, path: String::new() }).await
}

async fn pass(
    server: &Arc<Inner>,
    cx: &RequestCx,
    uri: &Uri,
    content: Body,
    upgrade: Option<OnUpgrade>,
    mut to: Destination,
) -> Result<Response<Body>, Status> {
    // What follows `/proxy` in the raw path, so that its own escapes stay.
    let raw = uri.path();
    let marker = "/proxy";
    let at = raw.find(&format!("/{}{marker}", escape_name(cx.info.path_name(), raw))).map(|i| i + 1);
    let end = at.and_then(|i| raw[i..].find(marker).map(|j| i + j + marker.len())).unwrap_or(raw.len());
    let (prefix, rest) = raw.split_at(end);
    let query = uri.query().map(|q| format!("?{q}")).unwrap_or_default();
    if rest.is_empty() && !cx.headers.contains_key(UPGRADE) && matches!(cx.method, Method::GET | Method::HEAD) {
        let mut answer = Response::new(body::empty());
        *answer.status_mut() = StatusCode::MOVED_PERMANENTLY;
        let to = HeaderValue::from_str(&format!("{raw}/{query}"));
        answer.headers_mut().insert(LOCATION, to.map_err(|e| Status::bad_request(e.to_string()))?);
        return Ok(answer);
    }
    to.path = format!("{}{query}", if rest.is_empty() { "/" } else { rest });
    let called = cx.headers.get(HOST).and_then(|h| h.to_str().ok()).unwrap_or("");
    let links = Links { prefix: prefix.to_owned(), hosts: [to.host_port(), called.to_owned()] };
    let mut headers = cx.headers.clone();
    if let Ok(v) = HeaderValue::from_str(raw) {
        headers.insert("x-forwarded-uri", v);
    }
    let answer = forward(server, &to, cx.method.clone(), &headers, content, upgrade).await?;
    if answer.status() == StatusCode::SWITCHING_PROTOCOLS { Ok(answer) } else { links.rewrite(answer).await }
}

/// The name as the raw path has it: with or without escapes.
fn escape_name(name: &str, raw: &str) -> String {
    if raw.contains(&format!("/{name}/proxy")) || raw.ends_with(&format!("/{name}/proxy")) {
        name.to_owned()
    } else {
        escape(name)
    }
}

fn number(port: &str) -> Result<u16, Status> {
    port.parse().map_err(|_| Status::bad_request(format!("invalid port {port:?}")))
}

/// Loopback and link-local addresses lead to the server's own machine or further than a pod: never proxied to.
fn allowed(ip: &str) -> Result<String, Status> {
    let ok = ip.parse::<IpAddr>().is_ok_and(|a| match a {
        IpAddr::V4(a) => !(a.is_loopback() || a.is_link_local() || a.is_multicast() || a.is_unspecified() || a.is_broadcast()),
        IpAddr::V6(a) => !(a.is_loopback() || a.is_unicast_link_local() || a.is_multicast() || a.is_unspecified()),
    });
    if ok { Ok(ip.to_owned()) } else { Err(Status::bad_request("address not allowed")) }
}

async fn pod(server: &Arc<Inner>, cx: &RequestCx, name: &str, port: &str) -> Result<(String, u16), Status> {
    let pod = server.get_object("", "pods", &cx.info.namespace, name).await?;
    let ip = allowed(meta::str_at(&pod, &["status", "podIP"]))?;
    let port = if port.is_empty() {
        let ports = meta::list_at(&pod, &["spec", "containers"]).iter().flat_map(|c| meta::list_at(c, &["ports"]));
        ports.filter_map(|p| p.get("containerPort")?.as_u64()).find_map(|p| u16::try_from(p).ok()).unwrap_or(80)
    } else {
        number(port)?
    };
    Ok((ip, port))
}

async fn service(server: &Arc<Inner>, cx: &RequestCx, name: &str, port: &str) -> Result<(String, u16), Status> {
    let svc = server.get_object("", "services", &cx.info.namespace, name).await?;
    let ports = meta::list_at(&svc, &["spec", "ports"]);
    // A number or a name of one of the Service's ports; without, its only one.
    let chosen = if port.is_empty() {
        if ports.len() == 1 { ports.first() } else { None }
    } else {
        ports.iter().find(|p| meta::str_at(p, &["name"]) == port || port.parse().is_ok_and(|n: u64| p["port"] == n))
    };
    let unavailable = |why: String| Status::service_unavailable(why);
    let Some(chosen) = chosen else {
        return Err(unavailable(format!("no service port {port:?} found for service {name:?}")));
    };
    let port_name = meta::str_at(chosen, &["name"]);
    let endpoints = server.get_object("", "endpoints", &cx.info.namespace, name).await?;
    let mut found: Vec<(&str, u16)> = Vec::new();
    for subset in meta::list_at(&endpoints, &["subsets"]) {
        let number = meta::list_at(subset, &["ports"])
            .iter()
            .find(|p| meta::str_at(p, &["name"]) == port_name)
            .and_then(|p: &Value| u16::try_from(p["port"].as_u64()?).ok());
        let Some(number) = number else { continue };
        found.extend(meta::list_at(subset, &["addresses"]).iter().filter_map(|a| Some((a.get("ip")?.as_str()?, number))));
    }
    let (ip, port) = found
        .choose(&mut rand::rng())
        .copied()
        .ok_or_else(|| unavailable(format!("no endpoints available for service {name:?}")))?;
    Ok((allowed(ip)?, port))
}
