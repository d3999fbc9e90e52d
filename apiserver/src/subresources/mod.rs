//! Subresources: `status` and its like write the object itself; the others are small kinds of their own, or streams to a kubelet.

mod binding;
mod eviction;
pub mod kubelet;
mod pod_streams;
mod port_tunnel;
mod proxy;
mod remote_command;
mod reviews;
mod rewrite;
mod scale;
mod spdy;
pub mod tunnel;

pub use reviews::{Virtual, virtual_resource};

use crate::admission::{Attributes, Operation};
use crate::context::RequestCx;
use crate::http::body::Body;
use crate::http::{respond, websocket};
use crate::registry;
use crate::registry::options::WriteOptions;
use crate::resources::Entry;
use crate::server::Inner;
use http::{Response, Uri};
use hyper::upgrade::OnUpgrade;
use machinery::{GroupVersionKind, Status, Value, meta};
use std::sync::Arc;

/// Answers a request on a subresource.
pub async fn route(
    server: &Arc<Inner>,
    cx: &RequestCx,
    entry: &Arc<Entry>,
    uri: &Uri,
    body: Body,
    upgrade: Option<OnUpgrade>,
) -> Result<Response<Body>, Status> {
    let info = &cx.info;
    let name = info.subresource.as_str();
    let Some(row) = entry.subresource(name) else { return Err(respond::generic(404)) };
    let allowed = row.verbs.iter().any(|v| **v == *info.verb);
    // Connects are listed by method: a proxy takes all of them.
    let connects = matches!(name, "exec" | "attach" | "portforward" | "proxy");
    if !allowed && !connects {
        return Err(respond::generic(405));
    }
    if info.parts.len() > 3 && name != "proxy" || entry.namespaced() && info.namespace.is_empty() {
        return Err(respond::generic(404));
    }
    match (&*entry.row.resource, name) {
        (_, "scale") => scale::serve(server, cx, entry, body).await,
        ("pods", "binding") => binding::serve(server, cx, entry, body).await,
        ("pods", "eviction") => eviction::serve(server, cx, entry, body).await,
        ("pods", "log") => {
            let answer = pod_streams::log(server, cx, entry).await?;
            match upgrade {
                Some(u) if websocket::wanted(&cx.headers) => websocket::switch(u, &cx.headers, answer, false),
                _ => Ok(answer),
            }
        }
        ("pods", "exec" | "attach" | "portforward") => pod_streams::stream(server, cx, entry, body, upgrade).await,
        ("pods" | "services" | "nodes", "proxy") => proxy::serve(server, cx, entry, uri, body, upgrade).await,
        ("serviceaccounts", "token") => reviews::token(server, cx, entry, body).await,
        (_, "status" | "finalize" | "ephemeralcontainers" | "resize" | "approval") => match info.verb.as_str() {
            "get" => registry::get(cx, entry).await,
            "update" => registry::replace(server, cx, entry, name, body).await,
            "patch" => registry::patch(server, cx, entry, name, body).await,
            _ => Err(respond::generic(405)),
        },
        _ => Err(Status::new(501, "NotImplemented", format!("{}/{name} is not built into this server", entry.row.resource))),
    }
}

/// Admission of what a create of a small kind brings; plugins may change it.
async fn admit(server: &Inner, cx: &RequestCx, entry: &Entry, opts: &WriteOptions, obj: &mut Value) -> Result<(), Status> {
    let mut attrs = registry::attributes(cx, entry, Operation::Create, opts, &cx.info.subresource);
    if let Some(s) = entry.subresource(&cx.info.subresource) {
        attrs.gvk = GroupVersionKind::new(&*s.group, &*s.version, &*s.kind);
    }
    run_admission(server, cx, &attrs, obj).await
}

/// Admission of a connection: `options` say what is asked of whom.
async fn admit_connect(server: &Inner, cx: &RequestCx, entry: &Entry, options: Value) -> Result<(), Status> {
    let kind = meta::str_at(&options, &["kind"]).to_owned();
    let mut attrs = Attributes::new(cx.user.clone(), Operation::Connect, entry.gvr(), GroupVersionKind::new("", "v1", kind));
    attrs.namespace = cx.info.namespace.clone();
    attrs.name = cx.info.path_name().to_owned();
    attrs.subresource = cx.info.subresource.clone();
    attrs.options = options;
    run_admission(server, cx, &attrs, &mut Value::Null).await
}

async fn run_admission(server: &Inner, cx: &RequestCx, attrs: &Attributes, obj: &mut Value) -> Result<(), Status> {
    let admitted = async {
        server.admission.admit(attrs, obj, server).await?;
        server.admission.validate(attrs, obj, server).await
    }
    .await;
    attrs.take_warnings().into_iter().for_each(|w| cx.warn(w));
    admitted
}

/// The object that the request names, as it is now.
async fn current(cx: &RequestCx, entry: &Entry) -> Result<Value, Status> {
    let storage = entry.storage.as_ref().ok_or_else(|| Status::method_not_supported(&entry.gr(), "get"))?;
    Ok(storage.get(&cx.info.namespace_of(entry), cx.info.path_name(), "").await?.value())
}

/// Sets a condition by its type; its transition time changes with its status only.
pub fn set_condition(obj: &mut Value, mut condition: Value) {
    let conditions = meta::entry(obj, &["status"]).entry("conditions").or_insert_with(|| Value::Array(Vec::new()));
    let Some(list) = conditions.as_array_mut() else { return };
    match list.iter_mut().find(|c| c["type"] == condition["type"]) {
        Some(c) => {
            if c["status"] == condition["status"] {
                condition["lastTransitionTime"] = c["lastTransitionTime"].clone();
            }
            *c = condition;
        }
        None => list.push(condition),
    }
}
