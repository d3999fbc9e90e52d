//! Between the version that is served and the version that is stored, where a kind has two. Events are the same object in two
//! groups under different field names; HorizontalPodAutoscalers have two versions.

mod hpa;

use crate::resources::Entry;
use machinery::{GroupVersionKind, Map, Status, Value};
use schema::Resource;

/// The kind and version that objects of a row are stored as.
pub fn storage_gvk(row: &Resource) -> GroupVersionKind {
    let (group, version) = row.storage_gv();
    let version = if row.stored() { version } else { &row.version };
    GroupVersionKind::new(group, version, &*row.kind)
}

/// A conversion between the two is built in.
pub fn converts(served: &GroupVersionKind, stored: &GroupVersionKind) -> bool {
    served.kind == stored.kind && matches!(served.kind.as_str(), "Event" | "HorizontalPodAutoscaler")
}

/// Names of an Event's fields: core/v1, events.k8s.io/v1.
const EVENT_FIELDS: &[(&str, &str)] = &[
    ("involvedObject", "regarding"),
    ("message", "note"),
    ("source", "deprecatedSource"),
    ("firstTimestamp", "deprecatedFirstTimestamp"),
    ("lastTimestamp", "deprecatedLastTimestamp"),
    ("count", "deprecatedCount"),
    ("reportingComponent", "reportingController"),
];

/// A stored object in the served version.
pub async fn from_storage(entry: &Entry, value: Value) -> Result<Value, Status> {
    Ok(all_from_storage(entry, vec![value]).await?.pop().unwrap_or_default())
}

/// Stored objects in the served version.
pub async fn all_from_storage(entry: &Entry, values: Vec<Value>) -> Result<Vec<Value>, Status> {
    if let Some(c) = &entry.custom {
        return crate::extensions::convert(&c.family, values, &c.version.api_version()).await;
    }
    if !entry.converts() {
        return Ok(values);
    }
    let one = |v| match &*entry.gvk.kind {
        "HorizontalPodAutoscaler" => Ok(hpa::to_v1(v)),
        _ => event(v, &entry.gvk, |(core, new)| (core, new)),
    };
    values.into_iter().map(one).collect()
}

/// The version that a custom resource is stored in, just before it is stored: its rules hold for the version it came in.
pub async fn persist(entry: &Entry, value: Value) -> Result<Value, Status> {
    let Some(c) = &entry.custom else { return Ok(value) };
    let to = entry.storage_gvk.group_version().to_string();
    Ok(crate::extensions::convert(&c.family, vec![value], &to).await?.pop().unwrap_or_default())
}

/// An object of the served version as the rules of its kind see it: for a built-in kind, as it is stored.
pub fn to_storage(entry: &Entry, value: Value) -> Result<Value, Status> {
    match &*entry.gvk.kind {
        _ if entry.custom.is_some() || !entry.converts() => Ok(value),
        "HorizontalPodAutoscaler" => Ok(hpa::to_v2(value)),
        _ => event(value, &entry.storage_gvk, |(core, new)| (new, core)),
    }
}

/// The stored name of a selectable field that has another one in the served version; `None` if that version does not have it.
pub fn stored_field(entry: &Entry, field: &str) -> Option<String> {
    if entry.custom.is_some() || !entry.converts() || entry.gvk.group.is_empty() {
        return Some(field.to_owned());
    }
    let (first, rest) = field.split_once('.').map_or((field, String::new()), |(f, r)| (f, format!(".{r}")));
    match EVENT_FIELDS.iter().find(|(core, new)| *core == first || *new == first) {
        Some((core, new)) => (*new == first).then(|| format!("{core}{rest}")),
        None => Some(field.to_owned()),
    }
}

fn event(
    value: Value,
    to: &GroupVersionKind,
    direction: impl Fn((&'static str, &'static str)) -> (&'static str, &'static str),
) -> Result<Value, Status> {
    let Value::Object(old) = value else { return Err(Status::internal("an event is an object")) };
    let mut new = Map::new();
    for (k, v) in old {
        let name = EVENT_FIELDS.iter().map(|p| direction(*p)).find(|(from, _)| *from == k).map(|(_, to)| to.to_owned());
        new.insert(name.unwrap_or(k), v);
    }
    new.insert("apiVersion".into(), to.group_version().to_string().into());
    Ok(new.into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use machinery::json;

    #[test]
    fn events_go_there_and_back() {
        let core = json!({"apiVersion": "v1", "kind": "Event", "metadata": {"name": "e"}, "message": "m", "count": 2,
            "reportingComponent": "c", "involvedObject": {"name": "p"}, "reason": "r"});
        let gvk = GroupVersionKind::new("events.k8s.io", "v1", "Event");
        let new = event(core.clone(), &gvk, |p| p).unwrap();
        assert_eq!(new["note"], "m");
        assert_eq!(new["deprecatedCount"], 2);
        assert_eq!(new["apiVersion"], "events.k8s.io/v1");
        assert_eq!(event(new, &GroupVersionKind::new("", "v1", "Event"), |(a, b)| (b, a)).unwrap(), core);
    }
}
