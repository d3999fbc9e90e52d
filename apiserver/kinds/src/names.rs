//! What names the kinds take (apimachinery/pkg/api/validation/name.go), chosen per kind in the registry.

use crate::check::{self, Reasons};

/// How a kind's `metadata.name` is checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NameRule {
    /// The default: lower case, digits, `-` and `.`.
    Subdomain,
    Label,
    /// Whatever fits one URL segment (RBAC).
    PathSegment,
}

pub fn subdomain(name: &str) -> Reasons {
    check::dns1123_subdomain(name)
}

/// Reasons why `name` is not one path segment.
pub fn path_segment(name: &str, prefix: bool) -> Reasons {
    let mut out = Reasons::new();
    if !prefix && (name == "." || name == "..") {
        return vec![format!("may not be '{name}'")];
    }
    out.extend(["/", "%"].iter().filter(|c| name.contains(**c)).map(|c| format!("may not contain '{c}'")));
    out
}

/// A generated name's base may end in dashes.
pub fn mask_prefix(name: &str, prefix: bool) -> String {
    if prefix && name.len() > 1 && name.ends_with('-') { format!("{}a", name.trim_end_matches('-')) } else { name.to_owned() }
}

/// Reasons why `name` breaks the rule, in upstream's words.
pub fn check(rule: NameRule, name: &str, prefix: bool) -> Reasons {
    match rule {
        NameRule::Subdomain => check::dns1123_subdomain(&mask_prefix(name, prefix)),
        NameRule::Label => check::dns1123_label(&mask_prefix(name, prefix)),
        NameRule::PathSegment => path_segment(name, prefix),
    }
}

/// Metadata of a template: its labels and annotations.
pub fn template_meta(meta: crate::at::At, e: &mut machinery::field::ErrorList) {
    crate::selectors::labels(meta.get("labels"), e);
    annotations(meta.get("annotations"), e);
}

/// Annotation keys, compared in lower case, and their total size.
pub fn annotations(at: crate::at::At, e: &mut machinery::field::ErrorList) {
    const LIMIT: usize = 256 * 1024;
    let mut size = 0;
    for (k, v) in at.entries() {
        at.messages_for(e, k, check::qualified_name(&k.to_lowercase()));
        size += k.len() + v.len();
    }
    if size > LIMIT {
        at.too_long(e, LIMIT);
    }
}
