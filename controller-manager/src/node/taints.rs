//! The taints that follow from a node's conditions.

use crate::core::node::condition;
use k8s_openapi::api::core::v1::{Node, Taint};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

pub const NOT_READY: &str = "node.kubernetes.io/not-ready";
pub const UNREACHABLE: &str = "node.kubernetes.io/unreachable";

/// Condition, status, taint.
const BY_CONDITION: [(&str, &str, &str); 6] = [
    ("Ready", "False", NOT_READY),
    ("Ready", "Unknown", UNREACHABLE),
    ("MemoryPressure", "True", "node.kubernetes.io/memory-pressure"),
    ("DiskPressure", "True", "node.kubernetes.io/disk-pressure"),
    ("PIDPressure", "True", "node.kubernetes.io/pid-pressure"),
    ("NetworkUnavailable", "True", "node.kubernetes.io/network-unavailable"),
];
const UNSCHEDULABLE: &str = "node.kubernetes.io/unschedulable";

fn is_ours(t: &Taint) -> bool {
    match t.effect.as_str() {
        "NoSchedule" => t.key == UNSCHEDULABLE || BY_CONDITION.iter().any(|(_, _, key)| *key == t.key),
        "NoExecute" => t.key == NOT_READY || t.key == UNREACHABLE,
        _ => false,
    }
}

/// The taint that evicts, if the node's readiness calls for one.
pub fn evicting(node: &Node) -> Option<&'static str> {
    match condition(node, "Ready") {
        "False" => Some(NOT_READY),
        "Unknown" => Some(UNREACHABLE),
        _ => None,
    }
}

/// The node's taints as they should be; `evict` allows a NoExecute taint. `None` if they are.
pub fn wanted(node: &Node, evict: bool, now: &Time) -> Option<Vec<Taint>> {
    let old = crate::core::node::taints(node);
    let mut keys: Vec<(&str, &str)> = BY_CONDITION
        .iter()
        .filter(|(kind, status, _)| condition(node, kind) == *status)
        .map(|(_, _, key)| (*key, "NoSchedule"))
        .collect();
    if node.spec.as_ref().and_then(|s| s.unschedulable) == Some(true) {
        keys.push((UNSCHEDULABLE, "NoSchedule"));
    }
    if let Some(key) = evicting(node).filter(|_| evict) {
        keys.push((key, "NoExecute"));
    }
    let wanted = |t: &Taint| keys.contains(&(t.key.as_str(), t.effect.as_str()));
    let mut new: Vec<Taint> = old.iter().filter(|t| !is_ours(t) || wanted(t)).cloned().collect();
    for (key, effect) in &keys {
        if !new.iter().any(|t| t.key == *key && t.effect == *effect) {
            new.push(Taint { key: (*key).to_owned(), effect: (*effect).to_owned(), time_added: Some(now.clone()), value: None });
        }
    }
    (new != old).then_some(new)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn taints_follow_conditions() {
        let now = Time("2026-01-01T00:00:00Z".parse().expect("time"));
        for (name, conditions, unschedulable, before, evict, want) in [
            ("ready", json!([{"type": "Ready", "status": "True"}]), false, json!([]), true, None),
            (
                "not ready",
                json!([{"type": "Ready", "status": "False"}]),
                false,
                json!([]),
                true,
                Some("not-ready:NoSchedule not-ready:NoExecute"),
            ),
            (
                "unreachable, no eviction",
                json!([{"type": "Ready", "status": "Unknown"}]),
                false,
                json!([]),
                false,
                Some("unreachable:NoSchedule"),
            ),
            (
                "pressure",
                json!([{"type": "DiskPressure", "status": "True"}]),
                false,
                json!([]),
                true,
                Some("disk-pressure:NoSchedule"),
            ),
            ("cordoned", json!([]), true, json!([]), true, Some("unschedulable:NoSchedule")),
            (
                "recovered keeps others' taints",
                json!([{"type": "Ready", "status": "True"}]),
                false,
                json!([{"key": "mine", "effect": "NoExecute"}, {"key": NOT_READY, "effect": "NoExecute"}]),
                true,
                Some("mine:NoExecute"),
            ),
        ] {
            let node = serde_json::from_value(json!({"metadata": {"name": "n"},
                "spec": {"unschedulable": unschedulable, "taints": before}, "status": {"conditions": conditions}}))
            .expect("node");
            let text = wanted(&node, evict, &now).map(|t| {
                let one = |t: &Taint| format!("{}:{}", t.key.trim_start_matches("node.kubernetes.io/"), t.effect);
                t.iter().map(one).collect::<Vec<_>>().join(" ")
            });
            assert_eq!(text.as_deref(), want, "{name}");
        }
    }
}
