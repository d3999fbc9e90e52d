//! Validation of label selectors and node selectors (apimachinery/pkg/apis/meta/v1/validation, core validation).

use crate::at::At;
use crate::check;
use crate::names;
use machinery::field::ErrorList;
use machinery::{Map, Value, meta};

/// A label key at its own field.
pub fn label_name(at: At, e: &mut ErrorList) {
    at.check(e, check::qualified_name);
}

/// A map of labels: keys and values.
pub fn labels(at: At, e: &mut ErrorList) {
    if let Some(map) = at.v.as_object() {
        e.extend(machinery::labels::validate_labels(map, &at.path()));
    }
}

/// `metav1.LabelSelector`.
pub fn label_selector(at: At, e: &mut ErrorList) {
    if at.present() {
        e.extend(machinery::labels::validate_label_selector(at.v, &at.path()));
    }
}

/// No matchLabels and no matchExpressions.
pub fn is_empty(selector: At) -> bool {
    selector.get("matchLabels").is_empty() && selector.get("matchExpressions").is_empty()
}

/// Whether a LabelSelector selects these labels. `None` for one that is malformed.
pub fn matches(selector: &Value, labels: &Map<String, Value>) -> Option<bool> {
    let selector = Some(selector).filter(|s| !s.is_null());
    Some(machinery::labels::Selector::from_label_selector(selector).ok()?.matches(labels))
}

/// `matchExpressions` of a node selector term.
fn node_requirement(r: At, e: &mut ErrorList, check_values: bool) {
    let values = r.get("values");
    match r.get("operator").str() {
        "In" | "NotIn" => {
            if values.is_empty() {
                values.required(e, "must be specified when `operator` is 'In' or 'NotIn'");
            }
        }
        "Exists" | "DoesNotExist" => {
            if !values.is_empty() {
                values.forbidden(e, "may not be specified when `operator` is 'Exists' or 'DoesNotExist'");
            }
        }
        "Gt" | "Lt" => {
            if values.len() != 1 {
                values.required(e, "must be specified single value when `operator` is 'Lt' or 'Gt'");
            }
        }
        _ => r.get("operator").invalid_str(e, "not a valid selector operator"),
    }
    label_name(r.get("key"), e);
    if check_values {
        for v in values.items() {
            v.check(e, check::label_value);
        }
    }
}

fn node_field_requirement(r: At, e: &mut ErrorList) {
    let values = r.get("values");
    match r.get("operator").str() {
        "In" | "NotIn" => {
            if values.len() != 1 {
                values.required(e, "must be only one value when `operator` is 'In' or 'NotIn' for node field selector");
            }
        }
        _ => r.get("operator").invalid_str(e, "not a valid selector operator"),
    }
    if r.get("key").str() == "metadata.name" {
        for v in values.items() {
            v.check(e, names::subdomain);
        }
    } else {
        r.get("key").invalid_str(e, "not a valid field selector key");
    }
}

pub fn node_selector_term(t: At, e: &mut ErrorList, check_values: bool) {
    for r in t.get("matchExpressions").items() {
        node_requirement(r, e, check_values);
    }
    for r in t.get("matchFields").items() {
        node_field_requirement(r, e);
    }
}

/// `core.NodeSelector`.
pub fn node_selector(at: At, e: &mut ErrorList, check_values: bool) {
    let terms = at.get("nodeSelectorTerms");
    if terms.is_empty() {
        return terms.required(e, "must have at least one node selector term");
    }
    for t in terms.items() {
        node_selector_term(t, e, check_values);
    }
}

/// `a=1,b=2` as `labels.FormatLabels` prints a map; `<none>` where empty.
pub fn format_labels(map: &Map<String, Value>) -> String {
    let mut pairs: Vec<String> = map.iter().map(|(k, v)| format!("{k}={}", v.as_str().unwrap_or(""))).collect();
    pairs.sort();
    if pairs.is_empty() { "<none>".into() } else { pairs.join(",") }
}

/// A LabelSelector as `metav1.FormatLabelSelector` prints it.
pub fn format_selector(selector: &Value) -> String {
    let mut out: Vec<(String, String)> = meta::map_at(selector, &["matchLabels"])
        .iter()
        .map(|(k, v)| (k.clone(), format!("{k}={}", v.as_str().unwrap_or(""))))
        .collect();
    for r in meta::list_at(selector, &["matchExpressions"]) {
        let key = meta::str_at(r, &["key"]);
        let mut values: Vec<&str> = meta::list_at(r, &["values"]).iter().filter_map(Value::as_str).collect();
        values.sort_unstable();
        let values = values.join(",");
        let text = match meta::str_at(r, &["operator"]) {
            "In" => format!("{key} in ({values})"),
            "NotIn" => format!("{key} notin ({values})"),
            "Exists" => key.to_owned(),
            "DoesNotExist" => format!("!{key}"),
            _ => return "<error>".into(),
        };
        out.push((key.to_owned(), text));
    }
    out.sort();
    if out.is_empty() { "<none>".into() } else { out.into_iter().map(|(_, t)| t).collect::<Vec<_>>().join(",") }
}
