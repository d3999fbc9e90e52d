//! Lists: encoded items joined, never decoded unless another shape is asked for.

use super::{convert, options, selectors, table};
use crate::context::RequestCx;
use crate::http::body::Body;
use crate::http::{Format, Transform, respond};
use crate::resources::Entry;
use http::{Response, StatusCode};
use machinery::{Map, Status, Value, json};
use std::sync::Arc;
use storage::{List, ListOptions, VersionMatch};

pub async fn list(cx: &RequestCx, entry: &Arc<Entry>) -> Result<Response<Body>, Status> {
    let accept = cx.accept_of(entry)?;
    let Fetched { list, served } = fetch(cx, entry).await?;
    let list_meta = list_meta(&list);
    let code = StatusCode::OK;
    if accept.transform.is_none()
        && accept.format == Format::Protobuf
        && !entry.converts()
        // What has no protobuf form is answered in JSON below.
        && let Ok(bytes) = super::protobuf::list(entry, &list, &list_meta).await
    {
        return Ok(respond::response(code, Format::Protobuf.media_type(), bytes));
    }
    Ok(match accept.transform {
        Some(Transform::Table) => respond::object(code, accept, &table::of_list(cx, entry, &list.items, list_meta).await?),
        Some(Transform::PartialObjectMetadataList) => {
            let items: Vec<Value> = list.items.iter().map(|o| table::partial(&o.value())).collect();
            let v = json!({"kind": "PartialObjectMetadataList", "apiVersion": "meta.k8s.io/v1", "metadata": list_meta, "items": items});
            respond::object(code, accept, &v)
        }
        Some(Transform::PartialObjectMetadata) => {
            return Err(crate::http::negotiate::not_acceptable(crate::context::OBJECT_FORMATS));
        }
        None if accept.format == Format::Json && !accept.pretty && !entry.converts() => {
            respond::response(code, "application/json", join(entry, &list, &list_meta))
        }
        None => {
            let mut items = match served {
                Some(items) => items,
                None => convert::all_from_storage(entry, list.items.iter().map(|o| o.value()).collect()).await?,
            };
            untype(entry, &mut items);
            let v =
                json!({"kind": &*entry.row.list_kind, "apiVersion": entry.api_version(), "metadata": list_meta, "items": items});
            respond::object(code, accept, &v)
        }
    })
}

/// What a request lists.
pub struct Fetched {
    pub list: List,
    /// The items as they are served, where they had to be converted to be selected.
    pub served: Option<Vec<Value>>,
}

/// Reads the list that a request asks for.
pub async fn fetch(cx: &RequestCx, entry: &Entry) -> Result<Fetched, Status> {
    let storage = entry.storage.as_ref().ok_or_else(|| Status::method_not_supported(&entry.gr(), "list"))?;
    options::validate_list(&cx.query, false)?;
    let selection = selectors::selection(cx, entry)?;
    let limit = cx.query.int("limit")?.unwrap_or(0);
    let list_options = ListOptions {
        scope: selection.scope,
        selector: selection.selector,
        resource_version: cx.query.str("resourceVersion").to_owned(),
        version_match: match cx.query.str("resourceVersionMatch") {
            "Exact" => Some(VersionMatch::Exact),
            "NotOlderThan" => Some(VersionMatch::NotOlderThan),
            _ => None,
        },
        limit: usize::try_from(limit).unwrap_or(0),
        continue_token: cx.query.str("continue").to_owned(),
    };
    let mut list = storage.list(list_options).await?;
    let Some(fields) = selection.converted else { return Ok(Fetched { list, served: None }) };
    let selected = fields.select(entry, &list.items).await?;
    let mut kept = selected.iter().map(Option::is_some);
    list.items.retain(|_| kept.next().unwrap_or(false));
    // How many of the rest are selected is not known.
    list.remaining_item_count = None;
    Ok(Fetched { list, served: Some(selected.into_iter().flatten().collect()) })
}

fn list_meta(list: &List) -> Value {
    let mut m = Map::new();
    m.insert("resourceVersion".into(), list.revision.to_string().into());
    if !list.continue_token.is_empty() {
        m.insert("continue".into(), list.continue_token.clone().into());
    }
    if let Some(n) = list.remaining_item_count {
        m.insert("remainingItemCount".into(), n.into());
    }
    m.into()
}

/// Takes `kind` and `apiVersion` from items of a built-in kind's list, which has them itself.
pub fn untype(entry: &Entry, items: &mut [Value]) {
    for item in items.iter_mut().filter_map(Value::as_object_mut).filter(|_| entry.custom.is_none()) {
        item.remove("kind");
        item.remove("apiVersion");
    }
}

fn join(entry: &Entry, list: &List, list_meta: &Value) -> Vec<u8> {
    let size: usize = list.items.iter().map(|o| o.bytes().len() + 1).sum();
    let mut out = Vec::with_capacity(size + 256);
    let head = format!(
        "{{\"kind\":\"{}\",\"apiVersion\":\"{}\",\"metadata\":{list_meta},\"items\":[",
        entry.row.list_kind,
        entry.api_version()
    );
    out.extend_from_slice(head.as_bytes());
    for (i, o) in list.items.iter().enumerate() {
        if i > 0 {
            out.push(b',');
        }
        // As upstream's: the list says of what it is. Objects of custom kinds say it themselves.
        if entry.custom.is_some() {
            out.extend_from_slice(o.bytes());
        } else {
            o.untyped().iter().for_each(|part| out.extend_from_slice(part));
        }
    }
    out.extend_from_slice(b"]}\n");
    out
}
