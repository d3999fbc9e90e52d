//! What names the kinds take (apimachinery/pkg/api/validation/name.go), chosen per kind in the registry.

use crate::check::{self, Reasons};
use machinery::validation;

/// How a kind's `metadata.name` is checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NameRule {
    /// The default: lower case, digits, `-` and `.`.
    Subdomain,
    Label,
    /// Whatever fits one URL segment (RBAC).
    PathSegment,
    /// An IP address in canonical form.
    Address,
}

pub fn subdomain(name: &str) -> Reasons {
    check::dns1123_subdomain(name)
}

/// Reasons why `name` breaks the rule, in upstream's words.
pub fn check(rule: NameRule, name: &str, prefix: bool) -> Reasons {
    match rule {
        NameRule::Subdomain => validation::name_is_dns_subdomain(name, prefix),
        NameRule::Label => validation::name_is_dns_label(name, prefix),
        NameRule::PathSegment => validation::path_segment_name(name, prefix),
        NameRule::Address => validation::ip(&machinery::field::Path::default(), name).into_iter().map(|e| e.detail).collect(),
    }
}

/// Metadata of a template: its labels and annotations.
pub fn template_meta(meta: crate::at::At, e: &mut machinery::field::ErrorList) {
    crate::selectors::labels(meta.get("labels"), e);
    annotations(meta.get("annotations"), e);
}

/// Annotation keys, compared in lower case, and their total size.
pub fn annotations(at: crate::at::At, e: &mut machinery::field::ErrorList) {
    if let Some(map) = at.v.as_object() {
        e.extend(machinery::objectmeta::validate_annotations(map, &at.path()));
    }
}
