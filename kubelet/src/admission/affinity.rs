//! Node selector and required node affinity of a pod against the node's labels
//! (upstream component-helpers/scheduling/corev1/nodeaffinity).

use crate::pod::spec;
use k8s_openapi::api::core::v1::{NodeSelectorRequirement, NodeSelectorTerm, Pod};
use std::collections::BTreeMap;

pub fn matches(pod: &Pod, node_name: &str, labels: &BTreeMap<String, String>) -> bool {
    let s = spec::spec(pod);
    if s.node_selector.iter().flatten().any(|(k, v)| labels.get(k) != Some(v)) {
        return false;
    }
    let affinity = s.affinity.as_ref().and_then(|a| a.node_affinity.as_ref());
    let required = affinity.and_then(|a| a.required_during_scheduling_ignored_during_execution.as_ref());
    let fields = BTreeMap::from([("metadata.name".to_owned(), node_name.to_owned())]);
    required.is_none_or(|r| r.node_selector_terms.iter().any(|t| term(t, &fields, labels)))
}

/// All requirements of a term; one without any matches nothing.
fn term(t: &NodeSelectorTerm, fields: &BTreeMap<String, String>, labels: &BTreeMap<String, String>) -> bool {
    let (expressions, of_fields) =
        (t.match_expressions.as_deref().unwrap_or_default(), t.match_fields.as_deref().unwrap_or_default());
    if expressions.is_empty() && of_fields.is_empty() {
        return false;
    }
    expressions.iter().all(|r| requirement(r, labels)) && of_fields.iter().all(|r| requirement(r, fields))
}

fn requirement(r: &NodeSelectorRequirement, map: &BTreeMap<String, String>) -> bool {
    let value = map.get(&r.key);
    let listed = value.is_some_and(|v| r.values.iter().flatten().any(|w| w == v));
    let compare = |ok: fn(&i64, &i64) -> bool| {
        let have = value.and_then(|v| v.parse::<i64>().ok());
        let limit = r.values.as_ref().and_then(|v| v.first()).and_then(|v| v.parse::<i64>().ok());
        have.zip(limit).is_some_and(|(h, l)| ok(&h, &l))
    };
    match r.operator.as_str() {
        "In" => listed,
        "NotIn" => !listed,
        "Exists" => value.is_some(),
        "DoesNotExist" => value.is_none(),
        "Gt" => compare(i64::gt),
        "Lt" => compare(i64::lt),
        _ => false,
    }
}
