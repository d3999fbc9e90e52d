//! The `scale` subresource: `autoscaling/v1` Scale of a workload, and what writing one changes.

use crate::at::{At, value_at};
use crate::names;
use machinery::field::ErrorList;
use machinery::labels::Selector;
use machinery::{Value, json, meta};

/// The Scale of a deployment, replica set, stateful set or replication controller; `None` for a selector that is none.
pub fn extract(obj: &Value) -> Option<Value> {
    let selector = value_at(obj, &["spec", "selector"]);
    // A ReplicationController's selector is a plain map.
    let plain = meta::str_at(obj, &["kind"]) == "ReplicationController"
        || selector.as_object().is_some_and(|m| !m.is_empty() && m.values().all(Value::is_string));
    let text = match (selector, plain) {
        (Value::Null, _) => String::new(),
        (Value::Object(m), true) => Selector::from_set(m).to_string(),
        (s, _) => Selector::from_label_selector(Some(s)).ok()?.to_string(),
    };
    let mut metadata = machinery::Map::new();
    for f in ["name", "namespace", "uid", "resourceVersion", "creationTimestamp"] {
        if let Some(v) = meta::at(obj, &["metadata", f]) {
            metadata.insert(f.into(), v.clone());
        }
    }
    let count = |path: &[&str]| meta::i64_at(obj, path).unwrap_or(0);
    let mut scale = json!({"kind": "Scale", "apiVersion": "autoscaling/v1", "metadata": metadata, "spec": {},
        "status": {"replicas": count(&["status", "replicas"])}});
    if count(&["spec", "replicas"]) != 0 {
        scale["spec"]["replicas"] = count(&["spec", "replicas"]).into();
    }
    if !text.is_empty() {
        scale["status"]["selector"] = text.into();
    }
    Some(scale)
}

/// Validates a Scale.
pub fn validate(scale: &Value) -> ErrorList {
    let mut e = ErrorList::new();
    let root = At::root(scale);
    root.at(&["metadata", "name"]).need_check(&mut e, names::subdomain);
    root.at(&["spec", "replicas"]).non_negative(&mut e);
    e
}

/// Puts a Scale's replicas into `obj`. Of the metadata only the precondition counts: a given resourceVersion.
pub fn apply(obj: &mut Value, scale: &Value) {
    meta::set(obj, &["spec", "replicas"], meta::i64_at(scale, &["spec", "replicas"]).unwrap_or(0).into());
    let version = meta::resource_version(scale);
    if !version.is_empty() {
        meta::set(obj, &["metadata", "resourceVersion"], version.into());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn round() {
        let mut d = json!({"kind": "Deployment", "metadata": {"name": "d", "namespace": "n", "labels": {"x": "y"}},
            "spec": {"replicas": 2, "selector": {"matchLabels": {"a": "b"}}}, "status": {"replicas": 1}});
        let mut s = extract(&d).expect("a valid selector");
        assert_eq!(
            s,
            json!({"kind": "Scale", "apiVersion": "autoscaling/v1", "metadata": {"name": "d", "namespace": "n"},
            "spec": {"replicas": 2}, "status": {"replicas": 1, "selector": "a=b"}})
        );
        s["spec"]["replicas"] = 5.into();
        assert!(validate(&s).is_empty());
        apply(&mut d, &s);
        assert_eq!(d["spec"]["replicas"], 5);
    }
}
