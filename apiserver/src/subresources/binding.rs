//! `pods/binding` and `bindings`: a scheduler gives a pod its node. Upstream: pkg/registry/core/pod/storage, BindingREST.

use crate::context::RequestCx;
use crate::http::body::{self, Body};
use crate::http::respond;
use crate::registry::options::{Kind, WriteOptions};
use crate::registry::{codec, metadata};
use crate::resources::Entry;
use crate::server::Inner;
use http::{Response, StatusCode};
use machinery::field::{Error, Path};
use machinery::{GroupResource, GroupVersionKind, Status, Value, json, meta};
use std::sync::Arc;
use storage::{Preconditions, Update};

pub async fn serve(server: &Arc<Inner>, cx: &RequestCx, pods: &Entry, request_body: Body) -> Result<Response<Body>, Status> {
    let accept = cx.accept_plain()?;
    let opts = WriteOptions::parse(cx, Kind::Create)?;
    let bytes = body::read(request_body).await?;
    let mut binding = codec::decode(cx, &bytes, &GroupVersionKind::new("", "v1", "Binding"), opts.validation)?;
    metadata::ensure_namespace(&mut binding, true, &cx.info.namespace)?;
    let name = if cx.info.resource == "pods" { cx.info.path_name() } else { meta::name(&binding) }.to_owned();
    if meta::name(&binding) != name {
        return Err(Status::bad_request("name in URL does not match name in Binding object"));
    }
    super::admit(server, cx, pods, &opts, &mut binding).await?;
    validate(&binding)?;
    let storage = pods.storage.as_ref().ok_or_else(|| Status::internal("pods are not kept"))?;
    let conflict = |why: String| Status::conflict(&GroupResource::new("", "pods/binding"), &name, why);
    let text = |v: &str| (!v.is_empty()).then(|| v.to_owned());
    let preconditions =
        Preconditions { uid: text(meta::uid(&binding)), resource_version: text(meta::resource_version(&binding)) };
    let change = |old: Option<Value>| {
        let bound = old.ok_or_else(|| Status::not_found(&pods.gr(), &name)).and_then(|pod| bind(pod, &binding, &conflict));
        async move { bound.map(Update::from) }
    };
    if opts.dry_run {
        let pod = storage.get(&cx.info.namespace, &name, "").await?.value();
        bind(pod, &binding, &conflict)?;
    } else {
        storage.guaranteed_update(&cx.info.namespace, &name, &preconditions, false, change).await?;
    }
    let mut status = json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success"});
    status["code"] = 201.into();
    Ok(respond::object(StatusCode::CREATED, accept, &status))
}

fn validate(binding: &Value) -> Result<(), Status> {
    let kind = meta::str_at(binding, &["target", "kind"]);
    let path = Path::new("target");
    let mut errs = Vec::new();
    if !matches!(kind, "" | "Node") {
        errs.push(Error::not_supported(&path.child("kind"), kind, &["Node", "<empty>"]));
    }
    if meta::str_at(binding, &["target", "name"]).is_empty() {
        errs.push(Error::required(&path.child("name"), ""));
    }
    match errs.first() {
        None => Ok(()),
        Some(e) => Err(Status::new(500, "", e.to_string())),
    }
}

/// The pod with its node, the condition that says so, and the annotations and labels of the binding.
fn bind(mut pod: Value, binding: &Value, conflict: &impl Fn(String) -> Status) -> Result<Value, Status> {
    let name = meta::name(&pod).to_owned();
    if meta::deletion_timestamp(&pod).is_some() {
        return Err(conflict(format!("pod {name} is being deleted, cannot be assigned to a host")));
    }
    let node = meta::str_at(&pod, &["spec", "nodeName"]);
    if !node.is_empty() {
        return Err(conflict(format!("pod {name} is already assigned to node {node:?}")));
    }
    if !meta::list_at(&pod, &["spec", "schedulingGates"]).is_empty() {
        return Err(conflict(format!("pod {name} has non-empty .spec.schedulingGates")));
    }
    let target = meta::str_at(binding, &["target", "name"]);
    meta::set(&mut pod, &["spec", "nodeName"], target.into());
    for f in ["annotations", "labels"] {
        let add = meta::map_at(binding, &["metadata", f]).clone();
        if !add.is_empty() {
            meta::entry(&mut pod, &["metadata", f]).extend(add);
        }
    }
    let observed = meta::at(&pod, &["metadata", "generation"]).cloned();
    let mut condition = json!({"type": "PodScheduled", "status": "True", "lastProbeTime": null,
        "lastTransitionTime": metadata::now()});
    if let (Some(g), Some(_)) = (observed, pod.pointer("/status/observedGeneration")) {
        condition["observedGeneration"] = g;
    }
    super::set_condition(&mut pod, condition);
    Ok(pod)
}
