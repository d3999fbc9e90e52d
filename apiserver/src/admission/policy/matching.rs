//! Whether a policy or a binding is about a request: selectors and rules (apiserver/pkg/admission/plugin/policy/matching).

use crate::admission::{Attributes, Lister, Operation};
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
    if let Some(objects) = selector("objectSelector")?.filter(|s| !s.is_everything()) {
        let selects = |o: &Value| o.get("metadata").is_some() && objects.matches(meta::labels(o));
        if !selects(obj) && !selects(attrs.old()) {
            return Ok(false);
        }
    }
    match selector("namespaceSelector")?.filter(|s| !s.is_everything()) {
        Some(namespaces) => in_namespaces(&namespaces, attrs, obj, cx).await,
        None => Ok(true),
    }
}

async fn in_namespaces(selector: &Selector, attrs: &Attributes, obj: &Value, cx: &dyn Lister) -> Result<bool, String> {
    let own = attrs.is_main("", "namespaces");
    if attrs.namespace.is_empty() && !own {
        return Ok(true);
    }
    if own && matches!(attrs.operation, Operation::Create | Operation::Update) {
        return Ok(selector.matches(meta::labels(obj)));
    }
    let name = if attrs.namespace.is_empty() { &attrs.name } else { &attrs.namespace };
    let found = match cx.get("", "namespaces", "", name) {
        Some(found) => Some(found),
        None => cx.get_live("", "namespaces", "", name).await.map_err(|e| e.message)?,
    };
    let found = found.ok_or_else(|| format!("namespaces {name:?} not found"))?;
    Ok(selector.matches(meta::labels(&found)))
}

fn rule(rule: &Value, attrs: &Attributes) -> bool {
    let any = |field: &str, wanted: &str| meta::list_at(rule, &[field]).iter().any(|v| v == "*" || v == wanted);
    let names = meta::list_at(rule, &["resourceNames"]);
    let cluster = attrs.namespace.is_empty() || attrs.is("", "namespaces");
    let scope = match meta::str_at(rule, &["scope"]) {
        "Cluster" => cluster,
        "Namespaced" => !cluster,
        _ => true,
    };
    let resource = |r: &Value| {
        let (resource, sub) = r.as_str().unwrap_or_default().split_once('/').unwrap_or((r.as_str().unwrap_or_default(), ""));
        (resource == "*" || resource == attrs.gvr.resource) && (sub == "*" || sub == attrs.subresource)
    };
    scope
        && any("operations", attrs.operation.as_str())
        && any("apiGroups", &attrs.gvr.group)
        && any("apiVersions", &attrs.gvr.version)
        && meta::list_at(rule, &["resources"]).iter().any(resource)
        && (names.is_empty() || names.iter().any(|n| n == attrs.name.as_str()))
}
