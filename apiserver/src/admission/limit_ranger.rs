//! LimitRanger: default requests and limits, and their bounds. Upstream: plugin/pkg/admission/limitranger.

use super::{Attributes, Lister, Operation, Plugin};
use async_trait::async_trait;
use machinery::meta::{deletion_timestamp, entry, list_at, map_at, set, str_at};
use machinery::quantity::{self, Quantity};
use machinery::{Status, Value};
use quota::resources::{self, Resources};
use std::sync::Arc;

pub struct LimitRanger;

#[async_trait]
impl Plugin for LimitRanger {
    fn name(&self) -> &'static str {
        "LimitRanger"
    }

    fn handles(&self, a: &Attributes) -> bool {
        match a.operation {
            Operation::Create => a.is_main("", "pods") || a.is_main("", "persistentvolumeclaims"),
            Operation::Update => (a.is("", "pods") && a.subresource == "resize") || a.is_main("", "persistentvolumeclaims"),
            _ => false,
        }
    }

    async fn admit(&self, a: &Attributes, obj: &mut Value, cx: &dyn Lister) -> Result<(), Status> {
        if a.is("", "pods") {
            for range in ranges(a, cx) {
                set_defaults(&range, obj);
            }
        }
        Ok(())
    }

    async fn validate(&self, a: &Attributes, obj: &Value, cx: &dyn Lister) -> Result<(), Status> {
        for range in ranges(a, cx) {
            let mut errors = Vec::new();
            for limit in list_at(&range, &["spec", "limits"]) {
                check(limit, a, obj, &mut errors);
            }
            match errors.as_slice() {
                [] => {}
                [one] => return Err(a.forbid(obj, one)),
                many => return Err(a.forbid(obj, format!("[{}]", many.join(", ")))),
            }
        }
        Ok(())
    }
}

fn ranges(a: &Attributes, cx: &dyn Lister) -> Vec<Arc<Value>> {
    if deletion_timestamp(a.old()).is_some() {
        return Vec::new();
    }
    cx.list("", "limitranges", &a.namespace)
}

fn set_defaults(range: &Value, pod: &mut Value) {
    let mut defaults = [("limits", "limit", serde_json::Map::new()), ("requests", "request", serde_json::Map::new())];
    for limit in list_at(range, &["spec", "limits"]).iter().filter(|l| str_at(l, &["type"]) == "Container") {
        defaults[0].2.extend(map_at(limit, &["default"]).clone());
        defaults[1].2.extend(map_at(limit, &["defaultRequest"]).clone());
    }
    let mut notes = Vec::new();
    for (list, word) in [("containers", "container"), ("initContainers", "init container")] {
        let Some(Value::Array(containers)) = entry(pod, &["spec"]).get_mut(list) else { continue };
        for c in containers {
            let mut container_notes = Vec::new();
            for (field, what, values) in &defaults {
                let missing: Vec<_> = values.iter().filter(|(k, _)| !map_at(c, &["resources", field]).contains_key(*k)).collect();
                if missing.is_empty() {
                    continue;
                }
                let names: Vec<&str> = missing.iter().map(|(k, _)| k.as_str()).collect();
                container_notes.push(format!("{} {what} for {word} {}", names.join(", "), name_of(c)));
                for (k, v) in missing {
                    set(c, &["resources", field, k], v.clone());
                }
            }
            // Requests are named first.
            notes.extend(container_notes.into_iter().rev());
        }
    }
    if !notes.is_empty() {
        let note = format!("LimitRanger plugin set: {}", notes.join("; "));
        set(pod, &["metadata", "annotations", "kubernetes.io/limit-ranger"], note.into());
    }
}

fn name_of(container: &Value) -> &str {
    str_at(container, &["name"])
}

fn check(limit: &Value, a: &Attributes, obj: &Value, errors: &mut Vec<String>) {
    let kind = str_at(limit, &["type"]);
    match (kind, a.gvr.resource.as_str()) {
        ("PersistentVolumeClaim", "persistentvolumeclaims") => {
            let requests = resources::list(map_at(obj, &["spec", "resources", "requests"]));
            let empty = Resources::new();
            for_each(limit, "min", |k, v| errors.extend(min(kind, k, v, &requests, &empty)));
            for_each(limit, "max", |k, v| errors.extend(max_request(kind, k, v, &requests)));
        }
        ("Container", "pods") => {
            for list in ["containers", "initContainers"] {
                for c in list_at(obj, &["spec", list]) {
                    let requests = resources::list(map_at(c, &["resources", "requests"]));
                    let limits = resources::list(map_at(c, &["resources", "limits"]));
                    bounds(limit, kind, &requests, &limits, errors);
                }
            }
        }
        ("Pod", "pods") => {
            bounds(limit, kind, &resources::of_pod(obj, "requests"), &resources::of_pod(obj, "limits"), errors);
        }
        _ => {}
    }
}

fn bounds(limit: &Value, kind: &str, requests: &Resources, limits: &Resources, errors: &mut Vec<String>) {
    for_each(limit, "min", |k, v| errors.extend(min(kind, k, v, requests, limits)));
    for_each(limit, "max", |k, v| errors.extend(max(kind, k, v, requests, limits)));
    for_each(limit, "maxLimitRequestRatio", |k, v| errors.extend(ratio(kind, k, v, requests, limits)));
}

fn for_each(limit: &Value, field: &str, mut f: impl FnMut(&str, &Quantity)) {
    for (k, v) in map_at(limit, &[field]) {
        if let Ok(q) = quantity::from_value(v) {
            f(k, &q);
        }
    }
}

fn min(kind: &str, k: &str, bound: &Quantity, requests: &Resources, limits: &Resources) -> Option<String> {
    let head = format!("minimum {k} usage per {kind} is {bound}");
    match (requests.get(k), limits.get(k)) {
        (None, _) => Some(format!("{head}.  No request is specified")),
        (Some(r), _) if r < bound => Some(format!("{head}, but request is {r}")),
        (_, Some(l)) if l < bound => Some(format!("{head}, but limit is {l}")),
        _ => None,
    }
}

fn max(kind: &str, k: &str, bound: &Quantity, requests: &Resources, limits: &Resources) -> Option<String> {
    let head = format!("maximum {k} usage per {kind} is {bound}");
    match (limits.get(k), requests.get(k)) {
        (None, _) => Some(format!("{head}.  No limit is specified")),
        (Some(l), _) if l > bound => Some(format!("{head}, but limit is {l}")),
        (_, Some(r)) if r > bound => Some(format!("{head}, but request is {r}")),
        _ => None,
    }
}

fn max_request(kind: &str, k: &str, bound: &Quantity, requests: &Resources) -> Option<String> {
    let head = format!("maximum {k} usage per {kind} is {bound}");
    match requests.get(k) {
        None => Some(format!("{head}.  No request is specified")),
        Some(r) if r > bound => Some(format!("{head}, but request is {r}")),
        _ => None,
    }
}

fn ratio(kind: &str, k: &str, bound: &Quantity, requests: &Resources, limits: &Resources) -> Option<String> {
    let head = format!("{k} max limit to request ratio per {kind} is {bound}");
    let Some(r) = requests.get(k).filter(|r| !r.is_zero()) else {
        return Some(format!("{head}, but no request is specified or request is 0"));
    };
    let Some(l) = limits.get(k).filter(|l| !l.is_zero()) else {
        return Some(format!("{head}, but no limit is specified or limit is 0"));
    };
    let observed = l.as_f64() / r.as_f64();
    (observed > bound.as_f64()).then(|| format!("{head}, but provided ratio is {observed:.6}"))
}
