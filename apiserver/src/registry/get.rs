//! Reading one object.

use super::{convert, table};
use crate::context::RequestCx;
use crate::http::body::Body;
use crate::http::{Format, Transform, respond};
use crate::resources::Entry;
use http::{Response, StatusCode};
use machinery::Status;
use storage::Object;

pub async fn get(cx: &RequestCx, entry: &Entry) -> Result<Response<Body>, Status> {
    let accept = cx.accept_of(entry)?;
    let storage = entry.storage.as_ref().ok_or_else(|| Status::method_not_supported(&entry.gr(), "get"))?;
    let object = storage
        .get(&cx.info.namespace_of(entry), cx.info.path_name(), cx.query.str("resourceVersion"))
        .await
        .map_err(|s| renamed(s, entry))?;
    reply(cx, entry, StatusCode::OK, accept, &object).await
}

/// Answers with a stored object, in the shape and version that the client wants.
pub async fn reply(
    cx: &RequestCx,
    entry: &Entry,
    code: StatusCode,
    accept: crate::http::Accept,
    object: &Object,
) -> Result<Response<Body>, Status> {
    if accept.transform.is_none()
        && accept.format == Format::Protobuf
        && !entry.converts()
        // What has no protobuf form is answered in JSON below.
        && let Ok(bytes) = super::protobuf::stored(entry, object)
    {
        return Ok(respond::response(code, Format::Protobuf.media_type(), bytes));
    }
    match accept.transform {
        None if !entry.converts() => Ok(respond::encoded(code, accept, object.bytes().clone())),
        None => Ok(respond::object(code, accept, &convert::from_storage(entry, object.value()).await?)),
        Some(Transform::Table) => Ok(respond::object(code, accept, &table::of_one(cx, entry, object).await?)),
        Some(Transform::PartialObjectMetadata) => Ok(respond::object(code, accept, &table::partial(&object.value()))),
        Some(Transform::PartialObjectMetadataList) => Err(crate::http::negotiate::not_acceptable(crate::context::OBJECT_FORMATS)),
    }
}

/// A storage shared by two groups names the resource of the first; errors name the one that was asked for.
pub fn renamed(mut s: Status, entry: &Entry) -> Status {
    if entry.converts() {
        s.details.insert("group".into(), (&*entry.row.group).into());
    }
    s
}
