//! Which rules belong to which kind. A kind that is not named here is ruled by its schema alone.

use crate::names::{self, NameRule};
use crate::strategy::Strategy;

/// The strategy of a kind whose schema says everything.
struct SchemaOnly(NameRule);

impl Strategy for SchemaOnly {
    fn validate_name(&self, name: &str, prefix: bool) -> Vec<String> {
        names::check(self.0, name, prefix)
    }
}

/// The rules of a kind; the same for all its versions, on objects in the storage version.
pub fn strategy_for(group: &str, kind: &str) -> &'static dyn Strategy {
    match (group, kind) {
        ("rbac.authorization.k8s.io", _) => &SchemaOnly(NameRule::PathSegment),
        ("", "Namespace") => &SchemaOnly(NameRule::Label),
        ("", "Service") => &SchemaOnly(NameRule::Label1035),
        _ => &SchemaOnly(NameRule::Subdomain),
    }
}
