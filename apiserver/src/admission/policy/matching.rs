//! Whether a policy or a binding is about a request: selectors and rules (apiserver/pkg/admission/plugin/policy/matching).

use crate::admission::matching::{Rule, in_namespaces, selects};
use crate::admission::{Attributes, Lister};
use machinery::labels::Selector;
use machinery::{Value, meta};

/// Whether the constraints fit. Bindings need no rules (`required`), policies do.
pub async fn matches(
    constraints: Option<&Value>,
    required: bool,
    attrs: &Attributes,
    obj: &Value,
    cx: &dyn Lister,
) -> Result<bool, String> {
    let Some(constraints) = constraints else { return Ok(!required) };
    let rules = meta::list_at(constraints, &["resourceRules"]);
    let ruled = if rules.is_empty() { !required } else { rules.iter().any(|r| rule(r, attrs)) };
    if !ruled || meta::list_at(constraints, &["excludeResourceRules"]).iter().any(|r| rule(r, attrs)) {
        return Ok(false);
    }
    let selector = |field: &str| match constraints.get(field) {
        Some(s) => Selector::from_label_selector(Some(s)).map(Some).map_err(|e| e.to_string()),
        None => Ok(None),
    };
    if let Some(objects) = selector("objectSelector")?
        && !selects(&objects, attrs, obj)
    {
        return Ok(false);
    }
    match selector("namespaceSelector")? {
        Some(namespaces) => in_namespaces(&namespaces, attrs, obj, cx).await.map_err(|e| e.message),
        None => Ok(true),
    }
}

/// A rule, and the names that it is limited to.
fn rule(rule: &Value, attrs: &Attributes) -> bool {
    let names = meta::list_at(rule, &["resourceNames"]);
    Rule::parse(rule).matches(attrs.operation, &attrs.gvr, &attrs.subresource, &attrs.namespace)
        && (names.is_empty() || names.iter().any(|n| n == attrs.name.as_str()))
}
