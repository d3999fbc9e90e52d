//! Where a daemon pod belongs.

use super::spec;
use crate::core::node;
use crate::core::pod;
use k8s_openapi::api::apps::v1::DaemonSet;
use k8s_openapi::api::core::v1::{
    Affinity, Node, NodeAffinity, NodeSelector, NodeSelectorRequirement, NodeSelectorTerm, Pod, PodSpec, Toleration,
};

/// Daemons stay where other pods would be evicted, and start where others may not.
pub fn tolerations(spec: &mut PodSpec) {
    let host = spec.host_network == Some(true);
    let list = spec.tolerations.get_or_insert_default();
    for (key, effect) in [
        ("node.kubernetes.io/not-ready", "NoExecute"),
        ("node.kubernetes.io/unreachable", "NoExecute"),
        ("node.kubernetes.io/disk-pressure", "NoSchedule"),
        ("node.kubernetes.io/memory-pressure", "NoSchedule"),
        ("node.kubernetes.io/pid-pressure", "NoSchedule"),
        ("node.kubernetes.io/unschedulable", "NoSchedule"),
        ("node.kubernetes.io/network-unavailable", "NoSchedule"),
    ] {
        if key.ends_with("network-unavailable") && !host {
            continue;
        }
        let t = Toleration {
            key: Some(key.into()),
            operator: Some("Exists".into()),
            effect: Some(effect.into()),
            ..Default::default()
        };
        match list.iter_mut().find(|o| o.key == t.key && o.effect == t.effect && o.operator == t.operator && o.value == t.value) {
            Some(old) => *old = t,
            None => list.push(t),
        }
    }
}

/// (a pod should be started there, one that is there may stay).
pub fn should_run(ds: &DaemonSet, n: &Node) -> (bool, bool) {
    let mut s = spec(ds).template.spec.clone().unwrap_or_default();
    let named = s.node_name.as_deref().unwrap_or("");
    if !(named.is_empty() || named == client::Object::name(n)) || !node::fits_affinity(&s, n) {
        return (false, false);
    }
    tolerations(&mut s);
    let tolerations = s.tolerations.unwrap_or_default();
    let hostile = |effects: &[&str]| node::untolerated(node::taints(n), &tolerations, effects).is_some();
    if hostile(&["NoSchedule", "NoExecute"]) { (false, !hostile(&["NoExecute"])) } else { (true, true) }
}

/// The node a daemon pod is on or bound for.
pub fn target_node(p: &Pod) -> Option<String> {
    let name = pod::node_name(p);
    if !name.is_empty() {
        return Some(name.to_owned());
    }
    let required = p
        .spec
        .as_ref()?
        .affinity
        .as_ref()?
        .node_affinity
        .as_ref()?
        .required_during_scheduling_ignored_during_execution
        .as_ref()?;
    let field = required.node_selector_terms.iter().flat_map(|t| t.match_fields.iter().flatten());
    field.filter(|f| f.key == "metadata.name" && f.operator == "In").find_map(|f| f.values.as_ref()?.first().cloned())
}

/// Pins a pod to a node by name, whatever node affinity the template has: it was checked already.
pub fn pin(spec: &mut PodSpec, node: &str) {
    let term = NodeSelectorTerm {
        match_fields: Some(vec![NodeSelectorRequirement {
            key: "metadata.name".into(),
            operator: "In".into(),
            values: Some(vec![node.to_owned()]),
        }]),
        match_expressions: None,
    };
    let affinity = spec.affinity.get_or_insert_with(Affinity::default);
    let node_affinity = affinity.node_affinity.get_or_insert_with(NodeAffinity::default);
    node_affinity.required_during_scheduling_ignored_during_execution = Some(NodeSelector { node_selector_terms: vec![term] });
}
