//! DELETE of a collection: each selected object as if deleted by itself; those that vanish meanwhile don't count.

use super::delete::{delete_one, read_options};
use super::options::DeleteOptions;
use super::{convert, list};
use crate::context::RequestCx;
use crate::http::body::Body;
use crate::http::respond;
use crate::resources::Entry;
use crate::server::Inner;
use futures::future::BoxFuture;
use futures::stream::{self, StreamExt as _, TryStreamExt as _};
use http::{Response, StatusCode};
use machinery::{Status, Value, json};
use std::sync::Arc;
use storage::Object;

/// Deletions under way at a time.
const WORKERS: usize = 16;

pub async fn delete_collection(
    server: &Arc<Inner>,
    cx: &RequestCx,
    entry: &Entry,
    request_body: Body,
) -> Result<Response<Body>, Status> {
    let accept = cx.accept_plain()?;
    let opts = read_options(cx, entry, request_body).await?;
    let found = list::fetch(cx, entry).await?.list;
    // Boxed one by one: a closure that returns futures of borrowed requests is beyond the compiler's Send analysis.
    let mut deletions: Vec<BoxFuture<'_, Result<Option<Value>, Status>>> = Vec::with_capacity(found.items.len());
    for o in &found.items {
        deletions.push(Box::pin(one(server, cx, entry, o, &opts)));
    }
    let deleted: Vec<_> = stream::iter(deletions).buffered(WORKERS).try_collect().await?;
    let mut items = convert::all_from_storage(entry, deleted.into_iter().flatten().collect()).await?;
    list::untype(entry, &mut items);
    let v = json!({"kind": &*entry.row.list_kind, "apiVersion": entry.api_version(),
        "metadata": {"resourceVersion": found.revision.to_string()}, "items": items});
    Ok(respond::object(StatusCode::OK, accept, &v))
}

async fn one(
    server: &Arc<Inner>,
    cx: &RequestCx,
    entry: &Entry,
    object: &Object,
    opts: &DeleteOptions,
) -> Result<Option<Value>, Status> {
    match delete_one(server, cx, entry, object.namespace(), object.name(), opts).await {
        Ok(d) => Ok(Some(d.object.value())),
        Err(s) if s.is_not_found() => Ok(None),
        Err(s) => Err(s),
    }
}
