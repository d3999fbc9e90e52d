//! Whether a webhook is asked about a request, and in which version of the resource.

use super::config::Hook;
use super::versioned;
use crate::admission::matching::{in_namespaces, selects};
use crate::admission::{Attributes, Lister, Operation};
use crate::resources::Table;
use machinery::{GroupVersionKind, GroupVersionResource, Status, Value};

/// A webhook that is to be asked, and as what.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Invocation {
    pub resource: GroupVersionResource,
    pub kind: GroupVersionKind,
}

/// The request's own resource if a rule names it; else, unless the policy is `Exact`, another version of it that one names.
pub fn invocation(hook: &Hook, attrs: &Attributes, table: &Table) -> Option<Invocation> {
    let named = |gvr: &GroupVersionResource| {
        hook.rules.iter().any(|r| r.matches(attrs.operation, gvr, &attrs.subresource, &attrs.namespace))
    };
    if named(&attrs.gvr) {
        return Some(Invocation { resource: attrs.gvr.clone(), kind: attrs.gvk.clone() });
    }
    if hook.exact {
        return None;
    }
    let others = versioned::equivalents(table, attrs);
    // Earlier rules first.
    hook.rules.iter().find_map(|r| {
        let found = others.iter().find(|(gvr, _)| r.matches(attrs.operation, gvr, &attrs.subresource, &attrs.namespace))?;
        Some(Invocation { resource: found.0.clone(), kind: found.1.clone() })
    })
}

/// Whether the selectors and rules of a webhook fit. Errors of selectors count only where a rule fits.
pub async fn matches(
    hook: &Hook,
    attrs: &Attributes,
    obj: &Value,
    table: &Table,
    cx: &dyn Lister,
) -> Result<Option<Invocation>, Status> {
    let namespaces = match &hook.namespaces {
        Ok(selector) => in_namespaces(selector, attrs, obj, cx).await,
        // What is in no namespace needs no selector.
        Err(_) if attrs.namespace.is_empty() && !attrs.is_main("", "namespaces") => Ok(true),
        Err(e) => Err(Status::internal(e)),
    };
    if matches!(namespaces, Ok(false)) {
        return Ok(None);
    }
    let objects = hook.objects.as_ref().map(|s| selects(s, attrs, obj)).map_err(Status::internal);
    if matches!(objects, Ok(false)) {
        return Ok(None);
    }
    let Some(invocation) = invocation(hook, attrs, table) else { return Ok(None) };
    namespaces?;
    objects?;
    let Some(conditions) = &hook.conditions else { return Ok(Some(invocation)) };
    // A connection's options stand for its object.
    let object = if attrs.operation == Operation::Connect { &attrs.options } else { obj };
    let object = versioned::convert(table, object, &invocation.kind).await?;
    match conditions.hold(attrs, &object, cx) {
        Ok(true) => Ok(Some(invocation)),
        Ok(false) => Ok(None),
        Err(why) if hook.fail_open => {
            tracing::warn!(webhook = hook.name, why, "match conditions failed, and the webhook is not called");
            Ok(None)
        }
        Err(why) => Err(attrs.forbid(obj, why)),
    }
}
