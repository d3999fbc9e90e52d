//! `scale`: the number of replicas of a workload, as `autoscaling/v1` Scale. Upstream: pkg/registry/apps/*/storage, ScaleREST.

use crate::context::RequestCx;
use crate::http::body::{self, Body};
use crate::http::respond;
use crate::registry::options::{Kind, WriteOptions};
use crate::registry::{Target, codec, managed, update};
use crate::resources::Entry;
use crate::server::Inner;
use http::{Response, StatusCode};
use machinery::field::{Error, Path};
use machinery::{GroupVersionKind, Status, Value, json, labels, meta};
use std::sync::Arc;
use storage::Preconditions;

fn gvk() -> GroupVersionKind {
    GroupVersionKind::new("autoscaling", "v1", "Scale")
}

/// The Scale of an object.
fn scale_of(entry: &Entry, obj: &Value) -> Result<Value, Status> {
    if let Some(scale) = entry.custom.as_ref().and_then(|c| c.version.scale.as_ref()) {
        return custom_scale(scale, entry, obj);
    }
    let selector = match obj.pointer("/spec/selector") {
        // A ReplicationController selects by plain labels.
        Some(s) if s.get("matchLabels").is_none() && s.get("matchExpressions").is_none() => {
            labels::Selector::from_set(s.as_object().unwrap_or(&machinery::Map::new()))
        }
        s => labels::Selector::from_label_selector(s).map_err(|e| Status::bad_request(e.0))?,
    };
    let mut m = machinery::Map::new();
    for f in ["name", "namespace", "uid", "resourceVersion", "creationTimestamp"] {
        if let Some(v) = meta::at(obj, &["metadata", f]) {
            m.insert(f.into(), v.clone());
        }
    }
    let replicas = |p: &[&str]| meta::i64_at(obj, p).unwrap_or(0);
    let mut status = json!({"replicas": replicas(&["status", "replicas"])});
    if !selector.is_everything() {
        status["selector"] = selector.to_string().into();
    }
    let mut spec = json!({});
    if replicas(&["spec", "replicas"]) != 0 {
        spec["replicas"] = replicas(&["spec", "replicas"]).into();
    }
    Ok(json!({"kind": "Scale", "apiVersion": "autoscaling/v1", "metadata": m, "spec": spec, "status": status}))
}

/// An object as its Scale is read from: a custom resource in the version that was asked for.
async fn shown(entry: &Entry, obj: Value) -> Result<Value, Status> {
    if entry.custom.is_some() { crate::registry::convert::from_storage(entry, obj).await } else { Ok(obj) }
}

/// The Scale of a custom resource, by the paths of its definition.
fn custom_scale(scale: &extensions::Scale, entry: &Entry, obj: &Value) -> Result<Value, Status> {
    let at = |path: &[String]| path.iter().try_fold(obj, |v, p| v.get(p));
    let Some(replicas) = at(&scale.spec_replicas) else {
        let name = scale.spec_replicas.join(".");
        return Err(Status::internal(format!("the spec replicas field \".{name}\" does not exist")));
    };
    let mut m = machinery::Map::new();
    for f in ["name", "namespace", "uid", "resourceVersion", "creationTimestamp"] {
        if let Some(v) = meta::at(obj, &["metadata", f]) {
            m.insert(f.into(), v.clone());
        }
    }
    let api_version = entry.api_version();
    let path: Vec<&str> = scale.spec_replicas.iter().map(String::as_str).collect();
    if let Some(fields) = patch::managed::to_scale(meta::list_at(obj, &["metadata", "managedFields"]), &api_version, &path) {
        m.insert("managedFields".into(), fields);
    }
    let count = |v: Option<&Value>| v.and_then(Value::as_i64).unwrap_or(0);
    let mut status = json!({"replicas": count(at(&scale.status_replicas))});
    let selector = scale.selector.as_ref().and_then(|p| at(p)).and_then(Value::as_str).unwrap_or_default();
    if !selector.is_empty() {
        status["selector"] = selector.into();
    }
    let mut spec = json!({});
    if count(Some(replicas)) != 0 {
        spec["replicas"] = replicas.clone();
    }
    Ok(json!({"kind": "Scale", "apiVersion": "autoscaling/v1", "metadata": m, "spec": spec, "status": status}))
}

pub async fn serve(server: &Arc<Inner>, cx: &RequestCx, entry: &Entry, request_body: Body) -> Result<Response<Body>, Status> {
    let accept = cx.accept_plain()?;
    if cx.info.verb == "get" {
        return Ok(respond::object(
            StatusCode::OK,
            accept,
            &scale_of(entry, &shown(entry, super::current(cx, entry).await?).await?)?,
        ));
    }
    let bytes = body::read(request_body).await?;
    let content_type = cx.header("content-type").split(';').next().unwrap_or("").trim().to_owned();
    let kind = match (cx.info.verb.as_str(), content_type.as_str()) {
        ("update", _) => Kind::Update,
        (_, "application/apply-patch+yaml") => Kind::Apply,
        _ => Kind::Patch,
    };
    let opts = WriteOptions::parse(cx, kind)?;
    let name = cx.info.path_name().to_owned();
    let target = Target { server, cx, entry, namespace: cx.info.namespace_of(entry), name, subresource: "scale", opts: &opts };
    let change = |live: Option<&Value>| {
        let live = live.ok_or_else(|| Status::not_found(&entry.gr(), cx.info.path_name()))?;
        let old = scale_of(entry, live)?;
        let new = new_scale(cx, kind, &content_type, &bytes, &old, &opts)?;
        check(cx, entry, live, &new)?;
        let mut obj = live.clone();
        let custom = entry.custom.as_ref().and_then(|c| c.version.scale.as_ref());
        let path: Vec<&str> =
            custom.map_or_else(|| vec!["spec", "replicas"], |s| s.spec_replicas.iter().map(String::as_str).collect());
        meta::set(&mut obj, &path, meta::i64_at(&new, &["spec", "replicas"]).unwrap_or(0).into());
        if let Some(rv) = meta::at(&new, &["metadata", "resourceVersion"]) {
            meta::set(&mut obj, &["metadata", "resourceVersion"], rv.clone());
        }
        Ok(managed::track(entry, "scale", &opts, Some(live), obj))
    };
    let (written, _) = update(&target, &Preconditions::default(), false, &change).await?;
    Ok(respond::object(StatusCode::OK, accept, &scale_of(entry, &shown(entry, written.value()).await?)?))
}

fn new_scale(
    cx: &RequestCx,
    kind: Kind,
    content_type: &str,
    bytes: &[u8],
    old: &Value,
    opts: &WriteOptions,
) -> Result<Value, Status> {
    let typed = || {
        schema::Registry::builtin()
            .typed_kind("autoscaling", "v1", "Scale")
            .ok_or_else(|| Status::internal("the schema has no Scale"))
    };
    let patch = || body::parse_json(bytes).map_err(|e| Status::bad_request(format!("error decoding patch: {e}")));
    let patched = match (kind, content_type) {
        (Kind::Update, _) => return codec::decode(cx, bytes, &gvk(), opts.validation),
        (Kind::Apply, _) => {
            let config = body::parse_yaml(bytes).map_err(|e| Status::bad_request(format!("error decoding YAML: {e}")))?;
            patch::merge::apply(old, &config)?
        }
        (_, "application/json-patch+json") => patch::json_patch::apply(old, &patch()?)?,
        (_, "application/merge-patch+json") => patch::merge::apply(old, &patch()?)?,
        (_, "application/strategic-merge-patch+json") => patch::strategic::apply(old, &patch()?, typed()?)?,
        _ => {
            return Err(body::unsupported_media_type(&[
                "application/json-patch+json",
                "application/merge-patch+json",
                "application/strategic-merge-patch+json",
                "application/apply-patch+yaml",
            ]));
        }
    };
    codec::from_value(cx, &patched, &gvk(), opts.validation)
}

fn check(cx: &RequestCx, entry: &Entry, live: &Value, scale: &Value) -> Result<(), Status> {
    let name = cx.info.path_name();
    let replicas = meta::i64_at(scale, &["spec", "replicas"]).unwrap_or(0);
    if meta::name(scale) != name {
        return Err(Status::bad_request(format!(
            "the name of the object ({}) does not match the name on the URL ({name})",
            meta::name(scale)
        )));
    }
    if replicas < 0 {
        let path = Path::new("spec").child("replicas");
        let err = Error::invalid(&path, replicas, "must be greater than or equal to 0");
        return Err(Status::invalid("autoscaling", "Scale", name, &vec![err]));
    }
    let uid = meta::uid(scale);
    if !uid.is_empty() && uid != meta::uid(live) {
        let why = format!("Precondition failed: UID in precondition: {uid}, UID in object meta: {}", meta::uid(live));
        return Err(Status::conflict(&entry.gr(), name, why));
    }
    Ok(())
}
