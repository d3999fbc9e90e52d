//! Label and field selectors of a request as one predicate on cached objects, plus what they say about namespace and name, which
//! narrows the range that is read.

use super::convert;
use crate::context::RequestCx;
use crate::extensions::Custom;
use crate::resources::Entry;
use machinery::{Status, Value, fields, labels, meta};
use std::sync::Arc;
use storage::{Object, Scope, SelectorFn};

pub struct Selection {
    pub scope: Scope,
    pub selector: Option<SelectorFn>,
    /// What can be told only of the served version, which a webhook makes of what is stored.
    pub converted: Option<ConvertedFields>,
}

/// A field selector on objects that must be converted first.
pub struct ConvertedFields {
    selector: fields::Selector,
    custom: Arc<Custom>,
}

impl ConvertedFields {
    /// Each of the objects as it is served, if it is selected.
    pub async fn select(&self, entry: &Entry, objects: &[Arc<Object>]) -> Result<Vec<Option<Value>>, Status> {
        let values = convert::all_from_storage(entry, objects.iter().map(|o| o.value()).collect()).await?;
        Ok(values.into_iter().map(|v| Some(v).filter(|v| self.matches(v))).collect())
    }

    fn matches(&self, value: &Value) -> bool {
        let own = self.custom.version.selectable_fields(value);
        self.selector.matches(|f| match f {
            "metadata.name" => meta::name(value),
            "metadata.namespace" => meta::namespace(value),
            _ => own.iter().find(|(name, _)| *name == f).map_or("", |(_, v)| v),
        })
    }
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
    let needs_conversion = |c: &Custom| {
        c.family.converts_fields(&c.version) && field_selector.requirements().iter().any(|r| entry.strategy.selects(&r.field))
    };
    if let Some(custom) = entry.custom.as_ref().filter(|c| needs_conversion(c)) {
        let converted = ConvertedFields { selector: field_selector, custom: custom.clone() };
        let labels: Option<SelectorFn> = (!label_selector.is_everything())
            .then(|| Arc::new(move |o: &Object| label_selector.matches_with(|k| o.label(k))) as SelectorFn);
        return Ok(Selection { scope, selector: labels, converted: Some(converted) });
    }
    if label_selector.is_everything() && field_selector.is_everything() {
        return Ok(Selection { scope, selector: None, converted: None });
    }
    let selector: SelectorFn = Arc::new(move |o: &Object| {
        field_selector.matches(|f| o.field(f).unwrap_or("")) && label_selector.matches_with(|k| o.label(k))
    });
    Ok(Selection { scope, selector: Some(selector), converted: None })
}
