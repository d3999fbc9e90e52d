//! Label and field selectors of a request as one predicate on cached objects, plus what they say about namespace and name, which
//! narrows the range that is read.

use super::convert;
use crate::context::RequestCx;
use crate::resources::Entry;
use machinery::{Status, fields, labels};
use std::sync::Arc;
use storage::{Object, Scope, SelectorFn};

pub struct Selection {
    pub scope: Scope,
    pub selector: Option<SelectorFn>,
}

/// Reads the selectors of a list, watch or deletecollection.
pub fn selection(cx: &RequestCx, entry: &Entry) -> Result<Selection, Status> {
    let bad = |e: String| Status::bad_request(e);
    let label_selector = labels::Selector::parse(cx.query.str("labelSelector"))
        .map_err(|e| bad(format!("unable to parse requirement: {}", e.0.trim_start_matches("unable to parse requirement: "))))?;
    let field_selector = fields::Selector::parse(cx.query.str("fieldSelector")).map_err(|e| bad(e.0))?;
    let field_selector = field_selector.transform(|field, value| match convert::stored_field(entry, field) {
        Some(stored) => Ok((stored, value.to_owned())),
        None => Err(bad(format!("field label not supported: {field}"))),
    })?;
    for r in field_selector.requirements() {
        let f = r.field.as_str();
        if f != "metadata.name" && (f != "metadata.namespace" || !entry.namespaced()) && !entry.strategy.selects(f) {
            return Err(bad(if entry.custom.is_none() && entry.strategy.selectable_field_names().is_empty() {
                format!("{f:?} is not a known field selector: only \"metadata.name\", \"metadata.namespace\"")
            } else {
                format!("field label not supported: {f}")
            }));
        }
    }
    let mut scope = Scope::default();
    if entry.namespaced() && !cx.info.namespace.is_empty() {
        scope.namespace = Some(cx.info.namespace.clone());
    }
    // `/watch/pods/x` names its object in the path.
    if !cx.info.path_name().is_empty() {
        scope.name = Some(cx.info.path_name().to_owned());
    } else if let Some(name) = field_selector.requires_exact_match("metadata.name") {
        scope.name = Some(name.to_owned());
    }
    if scope.namespace.is_none()
        && entry.namespaced()
        && let Some(ns) = field_selector.requires_exact_match("metadata.namespace")
    {
        scope.namespace = Some(ns.to_owned());
    }
    if label_selector.is_everything() && field_selector.is_everything() {
        return Ok(Selection { scope, selector: None });
    }
    let selector: SelectorFn = Arc::new(move |o: &Object| {
        field_selector.matches(|f| o.field(f).unwrap_or("")) && label_selector.matches_with(|k| o.label(k))
    });
    Ok(Selection { scope, selector: Some(selector) })
}
