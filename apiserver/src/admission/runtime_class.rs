//! RuntimeClass: a pod takes overhead and placement from its runtime class. Upstream: plugin/pkg/admission/runtimeclass.

use super::{Attributes, Lister, Operation, Plugin};
use async_trait::async_trait;
use machinery::meta::{at, list_at, map_at, set, str_at};
use machinery::{Map, Status, Value, quantity};
use std::sync::Arc;

pub struct RuntimeClass;

const MISMATCH: &str = "pod rejected: Pod's Overhead doesn't match RuntimeClass's defined Overhead";

#[async_trait]
impl Plugin for RuntimeClass {
    fn name(&self) -> &'static str {
        "RuntimeClass"
    }

    fn handles(&self, a: &Attributes) -> bool {
        a.is_main("", "pods") && a.operation == Operation::Create
    }

    async fn admit(&self, a: &Attributes, pod: &mut Value, cx: &dyn Lister) -> Result<(), Status> {
        let Some(class) = class_of(a, pod, cx).await? else { return Ok(()) };
        let overhead = map_at(&class, &["overhead", "podFixed"]);
        if !overhead.is_empty() {
            let given = map_at(pod, &["spec", "overhead"]);
            if !given.is_empty() && !same(given, overhead) {
                return Err(a.forbid(pod, MISMATCH));
            }
            set(pod, &["spec", "overhead"], overhead.clone().into());
        }
        let mut selector = map_at(pod, &["spec", "nodeSelector"]).clone();
        for (k, v) in map_at(&class, &["scheduling", "nodeSelector"]) {
            if let Some(old) = selector.get(k).filter(|old| *old != v) {
                let (v, old) = (v.as_str().unwrap_or(""), old.as_str().unwrap_or(""));
                return Err(a.forbid(
                    pod,
                    format!("conflict: runtimeClass.scheduling.nodeSelector[{k}] = {v}; pod.spec.nodeSelector[{k}] = {old}"),
                ));
            }
            selector.insert(k.clone(), v.clone());
        }
        if !selector.is_empty() {
            set(pod, &["spec", "nodeSelector"], selector.into());
        }
        let mut tolerations = list_at(pod, &["spec", "tolerations"]).to_vec();
        for t in list_at(&class, &["scheduling", "tolerations"]) {
            if !tolerations.contains(t) {
                tolerations.push(t.clone());
            }
        }
        if !tolerations.is_empty() {
            set(pod, &["spec", "tolerations"], tolerations.into());
        }
        Ok(())
    }

    async fn validate(&self, a: &Attributes, pod: &Value, cx: &dyn Lister) -> Result<(), Status> {
        let class = class_of(a, pod, cx).await?;
        match class.as_ref().and_then(|c| at(c, &["overhead"])) {
            Some(o) if !same(map_at(o, &["podFixed"]), map_at(pod, &["spec", "overhead"])) => Err(a.forbid(pod, MISMATCH)),
            None if at(pod, &["spec", "overhead"]).is_some() => {
                Err(a.forbid(pod, "pod rejected: Pod Overhead set without corresponding RuntimeClass defined Overhead"))
            }
            _ => Ok(()),
        }
    }
}

async fn class_of(a: &Attributes, pod: &Value, cx: &dyn Lister) -> Result<Option<Arc<Value>>, Status> {
    let name = str_at(pod, &["spec", "runtimeClassName"]);
    if name.is_empty() {
        return Ok(None);
    }
    if let Some(c) = cx.get("node.k8s.io", "runtimeclasses", "", name) {
        return Ok(Some(c));
    }
    let live = cx.get_live("node.k8s.io", "runtimeclasses", "", name).await?;
    match live {
        Some(c) => Ok(Some(c)),
        None => Err(a.forbid(pod, format!("pod rejected: RuntimeClass {name:?} not found"))),
    }
}

/// Equal quantities, however they are written.
fn same(a: &Map<String, Value>, b: &Map<String, Value>) -> bool {
    let equal = |x: &Value, y: &Value| match (quantity::from_value(x), quantity::from_value(y)) {
        (Ok(x), Ok(y)) => x == y,
        _ => x == y,
    };
    a.len() == b.len() && a.iter().all(|(k, v)| b.get(k).is_some_and(|w| equal(v, w)))
}
