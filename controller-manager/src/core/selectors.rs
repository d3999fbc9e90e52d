//! Typed label selectors as `machinery`'s.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use machinery::labels::{Operator, Requirement, Selector, SelectorError};
use std::collections::BTreeMap;

/// `metav1.LabelSelectorAsSelector`: an absent selector matches nothing, an empty one everything.
pub fn from_label_selector(selector: Option<&LabelSelector>) -> Result<Selector, SelectorError> {
    let Some(s) = selector else { return Ok(Selector::nothing()) };
    let mut requirements = Vec::new();
    for (k, v) in s.match_labels.iter().flatten() {
        requirements.push(Requirement::new(k, Operator::Equals, vec![v.clone()])?);
    }
    for e in s.match_expressions.iter().flatten() {
        let op = match e.operator.as_str() {
            "In" => Operator::In,
            "NotIn" => Operator::NotIn,
            "Exists" => Operator::Exists,
            "DoesNotExist" => Operator::DoesNotExist,
            other => return Err(SelectorError(format!("{other:?} is not a valid label selector operator"))),
        };
        requirements.push(Requirement::new(&e.key, op, e.values.clone().unwrap_or_default())?);
    }
    Ok(Selector::new(requirements))
}

/// The selector of `spec.selector` of a Service or ReplicationController: equality on every pair.
pub fn from_map(map: Option<&BTreeMap<String, String>>) -> Selector {
    let requirements =
        map.into_iter().flatten().filter_map(|(k, v)| Requirement::new(k, Operator::Equals, vec![v.clone()]).ok()).collect();
    Selector::new(requirements)
}

/// Whether labels match.
pub fn matches(selector: &Selector, labels: Option<&BTreeMap<String, String>>) -> bool {
    selector.matches_with(|k| labels.and_then(|l| l.get(k)).map(String::as_str))
}
