//! Objects as Tables and as metadata only.

use crate::context::RequestCx;
use crate::resources::Entry;
use kinds::table::IncludeObject;
use machinery::{Status, Value, json};
use std::sync::Arc;
use storage::Object;

/// Seconds since the epoch, for ages.
pub fn now() -> i64 {
    machinery::time::Timestamp::now().as_second()
}

/// `includeObject` of the request.
pub fn include(cx: &RequestCx) -> Result<IncludeObject, Status> {
    let given = cx.query.str("includeObject");
    IncludeObject::parse(given).ok_or_else(|| {
        let err = machinery::field::Error::invalid(
            &machinery::field::Path::new("includeObject"),
            given,
            "must be 'Metadata', 'Object', 'None', or empty",
        );
        Status::invalid("meta.k8s.io", "TableOptions", "", &vec![err])
    })
}

pub async fn of_one(cx: &RequestCx, entry: &Entry, object: &Object) -> Result<Value, Status> {
    let value = shown(entry, vec![object.value()]).await?.pop().unwrap_or_default();
    let list_meta = json!({"resourceVersion": object.revision().to_string()});
    Ok(kinds::table::table(&*entry.strategy, [&value], list_meta, include(cx)?, now(), cx.query.str("noHeaders") != "true"))
}

/// Objects as columns see them: a custom resource's are those of the version that was asked for.
pub async fn shown(entry: &Entry, values: Vec<Value>) -> Result<Vec<Value>, Status> {
    if entry.custom.is_some() { super::convert::all_from_storage(entry, values).await } else { Ok(values) }
}

pub async fn of_list(cx: &RequestCx, entry: &Entry, items: &[Arc<Object>], list_meta: Value) -> Result<Value, Status> {
    let values: Vec<Value> = shown(entry, items.iter().map(|o| o.value()).collect()).await?;
    Ok(kinds::table::table(&*entry.strategy, &values, list_meta, include(cx)?, now(), cx.query.str("noHeaders") != "true"))
}

/// `PartialObjectMetadata` of an object.
pub fn partial(value: &Value) -> Value {
    json!({"kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1",
        "metadata": value.get("metadata").cloned().unwrap_or_else(|| json!({}))})
}
