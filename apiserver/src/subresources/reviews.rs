//! Resources of which nothing is kept: a create is answered at once. Tokens, token and access reviews, bindings, component status.

use crate::context::RequestCx;
use crate::http::body::{self, Body};
use crate::http::respond;
use crate::registry::codec;
use crate::registry::options::{Kind, WriteOptions};
use crate::resources::Entry;
use crate::server::Inner;
use auth::review;
use http::{Response, StatusCode};
use machinery::{GroupVersionKind, Status, Value, json, meta};
use std::sync::Arc;

/// Whether a resource is one that nothing is kept of.
pub enum Virtual {
    Answer(Response<Body>),
    /// It is kept; its body is given back.
    NotVirtual(Body),
}

/// Serves a resource without storage. `None`: nobody does.
pub async fn virtual_resource(
    server: &Arc<Inner>,
    cx: &RequestCx,
    entry: &Entry,
    request_body: Body,
) -> Result<Option<Virtual>, Status> {
    if entry.storage.is_some() {
        return Ok(Some(Virtual::NotVirtual(request_body)));
    }
    if entry.is("", "bindings") {
        let pods = server.entry("", "pods")?;
        return super::binding::serve(server, cx, &pods, request_body).await.map(|r| Some(Virtual::Answer(r)));
    }
    if entry.is("", "componentstatuses") {
        return component_status(server, cx, entry).await.map(|r| Some(Virtual::Answer(r)));
    }
    if cx.info.verb != "create" {
        return Ok(None);
    }
    let accept = cx.accept_plain()?;
    let opts = WriteOptions::parse(cx, Kind::Create)?;
    let bytes = body::read(request_body).await?;
    let mut obj = codec::decode(cx, &bytes, &entry.gvk, opts.validation)?;
    super::admit(server, cx, entry, &opts, &mut obj).await?;
    let authorizer = &*server.authorizer;
    let answer = match &*entry.row.resource {
        "tokenreviews" => review::token_review(&server.authenticator.tokens, &server.authenticator.audiences, obj).await?,
        "selfsubjectreviews" => review::self_subject_review(&cx.user, obj, &crate::registry::metadata::now()),
        "subjectaccessreviews" => review::subject_access_review(authorizer, obj).await?,
        "localsubjectaccessreviews" => review::local_subject_access_review(authorizer, &cx.info.namespace, obj).await?,
        "selfsubjectaccessreviews" => review::self_subject_access_review(authorizer, &cx.user, obj).await?,
        "selfsubjectrulesreviews" => review::self_subject_rules_review(authorizer, &cx.user, obj).await?,
        _ => return Ok(None),
    };
    Ok(Some(Virtual::Answer(respond::object(StatusCode::CREATED, accept, &answer))))
}

/// `serviceaccounts/token`.
pub async fn token(server: &Arc<Inner>, cx: &RequestCx, entry: &Entry, request_body: Body) -> Result<Response<Body>, Status> {
    let accept = cx.accept_plain()?;
    let opts = WriteOptions::parse(cx, Kind::Create)?;
    let bytes = body::read(request_body).await?;
    let gvk = GroupVersionKind::new("authentication.k8s.io", "v1", "TokenRequest");
    let mut request = codec::decode(cx, &bytes, &gvk, opts.validation)?;
    super::admit(server, cx, entry, &opts, &mut request).await?;
    let mut warnings = Vec::new();
    let answer = server
        .issuer
        .token_request(&*server.objects, &cx.info.namespace, cx.info.path_name(), request, &mut |w| warnings.push(w))
        .await?;
    warnings.into_iter().for_each(|w| cx.warn(w));
    Ok(respond::object(StatusCode::CREATED, accept, &answer))
}

/// `componentstatuses`: the store, asked now. The scheduler and the controller manager have no port to ask here.
async fn component_status(server: &Arc<Inner>, cx: &RequestCx, entry: &Entry) -> Result<Response<Body>, Status> {
    let accept = cx.accept()?;
    let (status, message) = match server.store.revision().await {
        Ok(_) => ("True", "ok".to_owned()),
        Err(e) => ("False", e.to_string()),
    };
    cx.warn("v1 ComponentStatus is deprecated in v1.19+");
    let etcd = json!({"kind": "ComponentStatus", "apiVersion": "v1", "metadata": {"name": "etcd-0"},
        "conditions": [{"type": "Healthy", "status": status, "message": message}]});
    let items: Vec<Value> = vec![etcd];
    let v = match (cx.info.verb.as_str(), cx.info.path_name()) {
        ("get", name) => items.into_iter().find(|i| meta::name(i) == name).ok_or_else(|| Status::not_found(&entry.gr(), name))?,
        ("list", _) => match accept.transform {
            Some(crate::http::Transform::Table) => {
                kinds::table::table(&*entry.strategy, &items, json!({}), crate::registry::include(cx)?, 0, true)
            }
            _ => json!({"kind": "ComponentStatusList", "apiVersion": "v1", "metadata": {}, "items": items}),
        },
        _ => return Err(respond::generic(405)),
    };
    Ok(respond::object(StatusCode::OK, accept, &v))
}
