//! The parameters of a policy: objects of its `paramKind` that a binding's `paramRef` names or selects.

use crate::admission::{Attributes, Lister};
use machinery::labels::Selector;
use machinery::{GroupVersion, Value, meta};
use schema::{Registry, Scope};
use std::sync::Arc;

/// The parameter objects, each of which the policy is evaluated with; one `None` where it takes none.
pub async fn collect(
    policy: &Value,
    binding: &Value,
    attrs: &Attributes,
    cx: &dyn Lister,
) -> Result<Vec<Option<Arc<Value>>>, String> {
    let (kind, reference) = (meta::at(policy, &["spec", "paramKind"]), meta::at(binding, &["spec", "paramRef"]));
    let (Some(kind), Some(reference)) = (kind, reference) else { return Ok(vec![None]) };
    let (api_version, name) = (meta::str_at(kind, &["apiVersion"]), meta::str_at(kind, &["kind"]));
    let unknown = || format!("paramKind kind `&ParamKind{{APIVersion:{api_version},Kind:{name},}}` not known");
    let gv = GroupVersion::parse(api_version).ok_or_else(unknown)?;
    let row = Registry::builtin().resource_of_kind(&gv.group, &gv.version, name).ok_or_else(unknown)?;
    let mut namespace = "";
    let given = meta::str_at(reference, &["namespace"]);
    if row.scope == Scope::Namespaced {
        namespace = if given.is_empty() { &attrs.namespace } else { given };
        if namespace.is_empty() {
            return Err("cannot use namespaced paramRef in policy binding that matches cluster-scoped resources".into());
        }
    } else if !given.is_empty() {
        return Err("paramRef.namespace must not be provided for a cluster-scoped `paramKind`".into());
    }
    cx.fill(&gv.group, &row.resource).await.map_err(|e| e.message)?;
    let wanted = meta::str_at(reference, &["name"]);
    let found: Vec<Arc<Value>> = if !wanted.is_empty() {
        cx.get(&gv.group, &row.resource, namespace, wanted).into_iter().collect()
    } else if let Some(selector) = reference.get("selector") {
        let selector = Selector::from_label_selector(Some(selector)).map_err(|e| e.to_string())?;
        cx.list(&gv.group, &row.resource, namespace).into_iter().filter(|o| selector.matches(meta::labels(o))).collect()
    } else {
        return Err("one of name or selector must be provided".into());
    };
    if found.is_empty() && meta::str_at(reference, &["parameterNotFoundAction"]) == "Deny" {
        return Err("no params found for policy binding with `Deny` parameterNotFoundAction".into());
    }
    Ok(found.into_iter().map(Some).collect())
}
