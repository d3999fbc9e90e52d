//! Label selectors, node selectors and tolerations, compiled once per pod and matched per node.

use k8s_openapi::api::core::v1::{
    Node, NodeSelectorRequirement, NodeSelectorTerm, Pod, PreferredSchedulingTerm, Taint, Toleration,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use machinery::labels::{Operator, Requirement, Selector};
use std::collections::BTreeMap;

pub type Labels = BTreeMap<String, String>;

/// Compiles a label selector: absent matches nothing, empty everything; one that cannot be read matches nothing.
pub fn compile(selector: Option<&LabelSelector>) -> Selector {
    let Some(s) = selector else { return Selector::nothing() };
    let mut out = Vec::new();
    for (k, v) in s.match_labels.iter().flatten() {
        match Requirement::new(k, Operator::Equals, vec![v.clone()]) {
            Ok(r) => out.push(r),
            Err(_) => return Selector::nothing(),
        }
    }
    for e in s.match_expressions.iter().flatten() {
        match requirement(&e.key, &e.operator, e.values.as_deref().unwrap_or_default()) {
            Some(r) => out.push(r),
            None => return Selector::nothing(),
        }
    }
    Selector::new(out)
}

/// Adds one requirement to a selector.
pub fn with(selector: &Selector, key: &str, op: Operator, value: &str) -> Selector {
    if selector.is_nothing() {
        return selector.clone();
    }
    let mut all = selector.requirements().to_vec();
    all.extend(Requirement::new(key, op, vec![value.to_owned()]).ok());
    Selector::new(all)
}

pub fn matches(selector: &Selector, labels: Option<&Labels>) -> bool {
    selector.matches_with(|k| labels.and_then(|l| l.get(k)).map(String::as_str))
}

fn requirement(key: &str, operator: &str, values: &[String]) -> Option<Requirement> {
    let op = match operator {
        "In" => Operator::In,
        "NotIn" => Operator::NotIn,
        "Exists" => Operator::Exists,
        "DoesNotExist" => Operator::DoesNotExist,
        "Gt" => Operator::GreaterThan,
        "Lt" => Operator::LessThan,
        _ => return None,
    };
    Requirement::new(key, op, values.to_vec()).ok()
}

/// One term of a node selector. A term without requirements, or with one that cannot be read, matches no node.
#[derive(Clone, Debug)]
pub struct NodeTerm {
    labels: Selector,
    /// `metadata.name` in (true) or not in (false) these.
    names: Vec<(bool, Vec<String>)>,
}

impl NodeTerm {
    pub fn compile(term: &NodeSelectorTerm) -> Option<Self> {
        let exprs: &[NodeSelectorRequirement] = term.match_expressions.as_deref().unwrap_or_default();
        let fields = term.match_fields.as_deref().unwrap_or_default();
        if exprs.is_empty() && fields.is_empty() {
            return None;
        }
        let labels = exprs
            .iter()
            .map(|e| requirement(&e.key, &e.operator, e.values.as_deref().unwrap_or_default()))
            .collect::<Option<Vec<_>>>()?;
        let mut names = Vec::new();
        for f in fields {
            let wanted = match f.operator.as_str() {
                "In" => true,
                "NotIn" => false,
                _ => return None,
            };
            if f.key != "metadata.name" {
                return None;
            }
            names.push((wanted, f.values.clone().unwrap_or_default()));
        }
        Some(Self { labels: Selector::new(labels), names })
    }

    pub fn matches(&self, node: &Node) -> bool {
        let name = node.metadata.name.as_deref().unwrap_or("");
        matches(&self.labels, node.metadata.labels.as_ref())
            && self.names.iter().all(|(wanted, names)| names.iter().any(|n| n == name) == *wanted)
    }

    /// The only node names this term can match, where it says so.
    fn only_names(&self) -> Option<Vec<&str>> {
        let mut out: Option<Vec<&str>> = None;
        for (_, names) in self.names.iter().filter(|(wanted, _)| *wanted) {
            out = Some(match out {
                None => names.iter().map(String::as_str).collect(),
                Some(mut o) => {
                    o.retain(|n| names.iter().any(|m| m == n));
                    o
                }
            });
        }
        out
    }
}

/// `spec.nodeSelector` and the required node affinity of a pod, or the node affinity of a volume.
#[derive(Clone, Debug, Default)]
pub struct NodeMatch {
    labels: Vec<(String, String)>,
    /// `None`: no required affinity. Some of none: matches nothing.
    terms: Option<Vec<NodeTerm>>,
}

impl NodeMatch {
    pub fn of_terms(terms: &[NodeSelectorTerm]) -> Self {
        Self { labels: Vec::new(), terms: Some(terms.iter().filter_map(NodeTerm::compile).collect()) }
    }
    pub fn of_pod(pod: &Pod) -> Self {
        let Some(spec) = &pod.spec else { return Self::default() };
        let labels = spec.node_selector.iter().flatten().map(|(k, v)| (k.clone(), v.clone())).collect();
        let required = spec
            .affinity
            .as_ref()
            .and_then(|a| a.node_affinity.as_ref())
            .and_then(|n| n.required_during_scheduling_ignored_during_execution.as_ref());
        Self { labels, terms: required.map(|r| r.node_selector_terms.iter().filter_map(NodeTerm::compile).collect()) }
    }
    pub fn is_empty(&self) -> bool {
        self.labels.is_empty() && self.terms.is_none()
    }
    pub fn matches(&self, node: &Node) -> bool {
        let labels = node.metadata.labels.as_ref();
        self.labels.iter().all(|(k, v)| labels.and_then(|l| l.get(k)) == Some(v))
            && self.terms.as_ref().is_none_or(|t| t.iter().any(|t| t.matches(node)))
    }
    /// The node names that can match, where every term names some. Empty: the terms conflict.
    pub fn only_names(&self) -> Option<Vec<&str>> {
        let terms = self.terms.as_ref().filter(|t| !t.is_empty())?;
        let mut all = Vec::new();
        for t in terms {
            all.extend(t.only_names()?);
        }
        all.sort_unstable();
        all.dedup();
        Some(all)
    }
}

/// Preferred node affinity: weights of terms.
pub fn preferred(terms: &[PreferredSchedulingTerm]) -> Vec<(i64, NodeTerm)> {
    terms.iter().filter(|t| t.weight != 0).filter_map(|t| Some((t.weight.into(), NodeTerm::compile(&t.preference)?))).collect()
}

/// Whether a toleration tolerates a taint.
pub fn tolerates(t: &Toleration, taint: &Taint) -> bool {
    let effect = t.effect.as_deref().unwrap_or("");
    let key = t.key.as_deref().unwrap_or("");
    if !effect.is_empty() && effect != taint.effect || !key.is_empty() && key != taint.key {
        return false;
    }
    match t.operator.as_deref().unwrap_or("") {
        "" | "Equal" => t.value.as_deref().unwrap_or("") == taint.value.as_deref().unwrap_or(""),
        "Exists" => true,
        _ => false,
    }
}

/// Whether some taint that keeps pods off (`NoSchedule`, `NoExecute`) is not tolerated.
pub fn has_untolerated(taints: Option<&Vec<Taint>>, tolerations: &[Toleration]) -> bool {
    taints.into_iter().flatten().any(|taint| {
        (taint.effect == "NoSchedule" || taint.effect == "NoExecute") && !tolerations.iter().any(|t| tolerates(t, taint))
    })
}
