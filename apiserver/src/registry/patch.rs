//! PATCH: JSON patch, merge patch, strategic merge patch and server-side apply. Upstream: endpoints/handlers/patch.go.

mod conversion;

use super::options::{FieldValidation, Kind, WriteOptions};
use super::update::{Target, reply, update};
use super::{codec, managed, metadata};
use crate::context::RequestCx;
use crate::http::body::{self, Body};
use crate::resources::Entry;
use crate::server::Inner;
use http::{Response, StatusCode};
use machinery::field::{Error, Path};
use machinery::{Status, Value, meta};
use std::sync::Arc;
use storage::Preconditions;

/// How a patch is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum PatchType {
    Json,
    Merge,
    Strategic,
    Apply,
}

const ACCEPTED: &[&str] = &[
    "application/json-patch+json",
    "application/merge-patch+json",
    "application/strategic-merge-patch+json",
    "application/apply-patch+yaml",
];

fn patch_type(entry: &Entry, content_type: &str) -> Result<PatchType, Status> {
    match content_type.split(';').next().unwrap_or("").trim() {
        "application/json-patch+json" => Ok(PatchType::Json),
        "application/merge-patch+json" => Ok(PatchType::Merge),
        "application/strategic-merge-patch+json" if entry.custom.is_none() => Ok(PatchType::Strategic),
        "application/apply-patch+yaml" => Ok(PatchType::Apply),
        _ if entry.custom.is_some() => Err(body::unsupported_media_type(&[ACCEPTED[0], ACCEPTED[1], ACCEPTED[3]])),
        // The router's words: upstream registers each type as one that the path consumes.
        _ => Err(Status::new(415, "UnsupportedMediaType", "415: Unsupported Media Type")),
    }
}

pub async fn patch(
    server: &Arc<Inner>,
    cx: &RequestCx,
    entry: &Entry,
    subresource: &str,
    request_body: Body,
) -> Result<Response<Body>, Status> {
    let ty = patch_type(entry, cx.header("content-type"))?;
    let accept = cx.accept()?;
    let bytes = body::read(request_body).await?;
    let opts = WriteOptions::parse(cx, if ty == PatchType::Apply { Kind::Apply } else { Kind::Patch })?;
    let parsed = parse(cx, ty, &bytes, opts.validation)?;
    let namespace = cx.info.namespace_of(entry);
    let name = cx.info.path_name().to_owned();
    let target = Target { server, cx, entry, namespace, name, subresource, opts: &opts };
    let change = |live: Option<&Value>| change(&target, ty, &parsed, live);
    let create_missing = ty == PatchType::Apply && subresource.is_empty();
    let (written, created) = update(&target, &Preconditions::default(), create_missing, &change).await?;
    reply(cx, entry, if created { StatusCode::CREATED } else { StatusCode::OK }, accept, &written).await
}

fn parse(cx: &RequestCx, ty: PatchType, bytes: &[u8], validation: FieldValidation) -> Result<Value, Status> {
    if ty == PatchType::Apply {
        let (v, twice) = body::parse_yaml_noting(bytes).map_err(|e| Status::bad_request(format!("error decoding YAML: {e}")))?;
        match (twice, validation) {
            (Some(t), FieldValidation::Strict) => {
                return Err(Status::bad_request(format!("error strict decoding YAML: error converting YAML to JSON: {t}")));
            }
            (Some(t), FieldValidation::Warn) => cx.warn(t.replace('\n', " ")),
            _ => {}
        }
        if !v.is_object() {
            return Err(Status::bad_request("error decoding YAML: the configuration is no object"));
        }
        return Ok(v);
    }
    let v = body::parse_json(bytes).map_err(|e| Status::bad_request(format!("error decoding patch: {e}")))?;
    if ty == PatchType::Json && v.as_array().is_some_and(|ops| ops.len() > patch::json_patch::MAX_OPERATIONS) {
        let n = v.as_array().map_or(0, Vec::len);
        return Err(Status::new(
            413,
            "RequestEntityTooLarge",
            format!("The allowed maximum operations in a JSON patch is {}, got {n}", patch::json_patch::MAX_OPERATIONS),
        ));
    }
    Ok(v)
}

/// The patched object of the served version, pruned, defaulted, with ownership tracked.
fn change(t: &Target<'_>, ty: PatchType, parsed: &Value, live: Option<&Value>) -> Result<Value, Status> {
    let entry = t.entry;
    if ty == PatchType::Apply {
        return apply(t, parsed, live);
    }
    let live = live.ok_or_else(|| Status::not_found(&entry.gr(), &t.name))?;
    let patched = || {
        Ok::<_, Status>(match ty {
            PatchType::Json => patch::json_patch::apply(live, parsed)?,
            PatchType::Merge => patch::merge::apply(live, parsed)?,
            PatchType::Strategic | PatchType::Apply => {
                let typed = managed::typed_of(entry).ok_or_else(|| body::unsupported_media_type(&ACCEPTED[..2]))?;
                patch::strategic::apply(live, parsed, typed)?
            }
        })
    };
    let mut tree = patched()?;
    let mut new = match codec::own_type(&tree, entry) {
        Some(ty) if codec::tidy(&mut tree, ty) => tree,
        own => {
            let tree = if own.is_some() { patched()? } else { tree };
            codec::object_from_value(t.cx, tree.clone(), entry, t.opts.validation).map_err(|s| match ty {
                PatchType::Strategic => invalid_patch(conversion::shown(parsed), s, conversion::refused),
                _ => invalid_patch(tree.to_string(), s, |why| why),
            })?
        }
    };
    if !entry.converts() {
        codec::default(entry, &mut new);
    }
    metadata::check_name(&new, &t.name)?;
    Ok(managed::track(entry, t.subresource, t.opts, Some(live), new))
}

fn apply(t: &Target<'_>, config: &Value, live: Option<&Value>) -> Result<Value, Status> {
    let entry = t.entry;
    let mut config = config.clone();
    if meta::name(&config).is_empty() {
        meta::set(&mut config, &["metadata", "name"], t.name.clone().into());
    }
    metadata::ensure_namespace(&mut config, entry.namespaced(), &t.namespace)?;
    metadata::check_name(&config, &t.name)?;
    let applied = managed::apply(entry, t.subresource, t.opts, live, &config)?;
    let mut new = codec::object_from_value(t.cx, applied, entry, FieldValidation::Ignore)?;
    if !entry.converts() {
        codec::default(entry, &mut new);
    }
    if live.is_none() && !meta::uid(&new).is_empty() {
        let why =
            format!("uid mismatch: the provided object specified uid {}, and no existing object was found", meta::uid(&new));
        return Err(Status::conflict(&entry.gr(), &t.name, why));
    }
    Ok(new)
}

/// What a patch made does not decode: 422 with what was `shown` upstream, as upstream words it.
fn invalid_patch(shown: String, s: Status, words: fn(String) -> String) -> Status {
    let why =
        s.message.split_once("cannot be handled as a ").and_then(|(_, rest)| rest.split_once(": ")).map(|(_, w)| w.to_owned());
    let err = Error::invalid(&Path::new("patch"), shown, words(why.unwrap_or(s.message)));
    Status::invalid("", "", "", &vec![err])
}
