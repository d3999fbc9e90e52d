//! The versions of a resource: which there are besides the request's, and objects in them.

use crate::admission::Attributes;
use crate::registry::{codec, convert};
use crate::resources::{Entry, Table};
use machinery::{GroupVersion, GroupVersionKind, GroupVersionResource, Status, Value, meta};
use std::sync::Arc;

/// Other versions of the request's resource: what is kept in the same place.
pub fn equivalents(table: &Table, attrs: &Attributes) -> Vec<(GroupVersionResource, GroupVersionKind)> {
    let gvr = &attrs.gvr;
    let Some(storage) = table.get(&gvr.group, &gvr.version, &gvr.resource).and_then(|e| e.storage.as_ref()) else {
        return Vec::new();
    };
    let same = |e: &&Arc<Entry>| e.storage.as_ref().is_some_and(|s| Arc::ptr_eq(s, storage)) && e.gvr() != *gvr;
    let kind = |e: &Entry| match &*attrs.subresource {
        "" => Some(e.gvk.clone()),
        s => e.subresource(s).map(|s| GroupVersionKind::new(&*s.group, &*s.version, &*s.kind)),
    };
    table.entries().iter().filter(same).filter_map(|e| Some((e.gvr(), kind(e)?))).collect()
}

/// What an object says it is.
fn kind_of(obj: &Value) -> Option<GroupVersionKind> {
    let gv = GroupVersion::parse(meta::str_at(obj, &["apiVersion"]))?;
    Some(GroupVersionKind::new(gv.group, gv.version, meta::str_at(obj, &["kind"])))
}

fn entry<'a>(table: &'a Table, gvk: &GroupVersionKind) -> Result<&'a Arc<Entry>, Status> {
    let found = table.entries().iter().find(|e| e.gvk == *gvk && e.storage.is_some());
    found.ok_or_else(|| {
        Status::internal(format!("no kind {:?} is served in version {:?}", gvk.kind, gvk.group_version().to_string()))
    })
}

/// An object in another version of its kind.
pub async fn convert(table: &Table, obj: &Value, to: &GroupVersionKind) -> Result<Value, Status> {
    // There is no object, or it is one already.
    let from = if obj.is_null() { None } else { kind_of(obj) };
    let Some(from) = from.filter(|k| k != to) else { return Ok(obj.clone()) };
    let stored = convert::to_storage(entry(table, &from)?, obj.clone())?;
    convert::from_storage(entry(table, to)?, stored).await
}

/// What a webhook made of an object, as if it had come as a body: without unknown fields, with defaults.
pub fn reread(table: &Table, obj: Value, gvk: &GroupVersionKind) -> Result<Value, Status> {
    if let Ok(e) = entry(table, gvk)
        && let Some(c) = &e.custom
    {
        let mut obj = obj;
        c.version.coerce(&mut obj, false).map_err(|e| Status::internal(e.to_string()))?;
        return Ok(obj);
    }
    let mut obj = codec::reread(obj, gvk)?;
    match entry(table, gvk) {
        Ok(e) if e.converts() => {}
        Ok(e) => codec::default(e, &mut obj),
        // A subresource's own kind.
        Err(_) => kinds::strategy_for(&gvk.group, &gvk.kind).default(&mut obj),
    }
    Ok(obj)
}
