//! Nodes as placement sees them: taints and tolerations, selectors and affinity, conditions.

use client::Object;
use k8s_openapi::api::core::v1::{Node, NodeSelector, NodeSelectorRequirement, NodeSelectorTerm, PodSpec, Taint, Toleration};

pub fn taints(node: &Node) -> &[Taint] {
    node.spec.as_ref().and_then(|s| s.taints.as_deref()).unwrap_or_default()
}

pub fn tolerates(t: &Toleration, taint: &Taint) -> bool {
    let text = |s: &Option<String>| s.clone().unwrap_or_default();
    let (effect, key, value) = (text(&t.effect), text(&t.key), text(&t.value));
    if !effect.is_empty() && effect != taint.effect {
        return false;
    }
    let actual = text(&taint.value);
    let compare = |f: fn(i64, i64) -> bool| matches!((actual.parse(), value.parse()), (Ok(a), Ok(b)) if f(a, b));
    match t.operator.as_deref().unwrap_or("Equal") {
        "Exists" => key.is_empty() || key == taint.key,
        "Equal" | "" => key == taint.key && value == actual,
        "Lt" => key == taint.key && compare(|a, b| a < b),
        "Gt" => key == taint.key && compare(|a, b| a > b),
        _ => false,
    }
}

/// A taint with one of these effects that nothing tolerates.
pub fn untolerated<'a>(taints: &'a [Taint], tolerations: &[Toleration], effects: &[&str]) -> Option<&'a Taint> {
    taints.iter().find(|t| effects.contains(&t.effect.as_str()) && !tolerations.iter().any(|tol| tolerates(tol, t)))
}

fn requirement_holds(r: &NodeSelectorRequirement, actual: Option<&str>) -> bool {
    let values = r.values.as_deref().unwrap_or_default();
    let number = |s: Option<&str>| s.and_then(|s| s.parse::<i64>().ok());
    let compare = |f: fn(i64, i64) -> bool| matches!((number(actual), number(values.first().map(String::as_str))), (Some(a), Some(b)) if f(a, b));
    match r.operator.as_str() {
        "In" => actual.is_some_and(|a| values.iter().any(|v| v == a)),
        "NotIn" => actual.is_none_or(|a| values.iter().all(|v| v != a)),
        "Exists" => actual.is_some(),
        "DoesNotExist" => actual.is_none(),
        "Gt" => compare(|a, b| a > b),
        "Lt" => compare(|a, b| a < b),
        _ => false,
    }
}

fn term_matches(t: &NodeSelectorTerm, node: &Node) -> bool {
    let labels = t.match_expressions.as_deref().unwrap_or_default();
    let fields = t.match_fields.as_deref().unwrap_or_default();
    // A term without requirements matches nothing.
    (!labels.is_empty() || !fields.is_empty())
        && labels.iter().all(|r| requirement_holds(r, node.label(&r.key)))
        && fields.iter().all(|r| r.key == "metadata.name" && requirement_holds(r, Some(node.name())))
}

/// Any term matches.
pub fn selector_matches(s: &NodeSelector, node: &Node) -> bool {
    s.node_selector_terms.iter().any(|t| term_matches(t, node))
}

/// nodeSelector and required node affinity.
pub fn fits_affinity(spec: &PodSpec, node: &Node) -> bool {
    let selector = spec.node_selector.iter().flatten().all(|(k, v)| node.label(k) == Some(v));
    let required = spec
        .affinity
        .as_ref()
        .and_then(|a| a.node_affinity.as_ref())
        .and_then(|a| a.required_during_scheduling_ignored_during_execution.as_ref());
    selector && required.is_none_or(|r| selector_matches(r, node))
}

/// The status of a node condition: `True`, `False`, `Unknown`; empty where there is none.
pub fn condition<'a>(node: &'a Node, kind: &str) -> &'a str {
    let all = node.status.as_ref().and_then(|s| s.conditions.as_deref()).unwrap_or_default();
    all.iter().find(|c| c.type_ == kind).map_or("", |c| c.status.as_str())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn affinity_and_selectors() {
        let node: Node =
            serde_json::from_value(json!({"metadata": {"name": "n1", "labels": {"zone": "a", "cpu": "8"}}})).expect("node");
        let affinity = |term: serde_json::Value| json!({"containers": [], "affinity": {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": [term]}}}});
        for (name, spec, want) in [
            ("nothing asked", json!({"containers": []}), true),
            ("node selector", json!({"containers": [], "nodeSelector": {"zone": "a"}}), true),
            ("other selector", json!({"containers": [], "nodeSelector": {"zone": "b"}}), false),
            ("by name", affinity(json!({"matchFields": [{"key": "metadata.name", "operator": "In", "values": ["n1"]}]})), true),
            (
                "other name",
                affinity(json!({"matchFields": [{"key": "metadata.name", "operator": "In", "values": ["n2"]}]})),
                false,
            ),
            ("empty term", affinity(json!({})), false),
            ("greater", affinity(json!({"matchExpressions": [{"key": "cpu", "operator": "Gt", "values": ["4"]}]})), true),
            ("not in", affinity(json!({"matchExpressions": [{"key": "zone", "operator": "NotIn", "values": ["a"]}]})), false),
        ] {
            let spec: PodSpec = serde_json::from_value(spec).expect("spec");
            assert_eq!(fits_affinity(&spec, &node), want, "{name}");
        }
    }
}
