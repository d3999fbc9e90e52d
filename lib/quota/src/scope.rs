//! Scopes of a quota: which objects it is about.

use machinery::Value;
use machinery::meta::{list_at, str_at};

/// One term of a quota's scopes.
#[derive(Clone, Copy, Debug)]
pub struct Scope<'a> {
    pub name: &'a str,
    pub operator: &'a str,
    pub values: &'a [Value],
}

/// The terms of a ResourceQuota; all must hold.
pub fn scopes(quota: &Value) -> impl Iterator<Item = Scope<'_>> {
    let plain = list_at(quota, &["spec", "scopes"]).iter().filter_map(Value::as_str);
    let plain = plain.map(|name| Scope { name, operator: "Exists", values: &[] });
    let terms = list_at(quota, &["spec", "scopeSelector", "matchExpressions"]).iter();
    plain.chain(terms.map(|t| Scope {
        name: str_at(t, &["scopeName"]),
        operator: str_at(t, &["operator"]),
        values: list_at(t, &["values"]),
    }))
}

impl Scope<'_> {
    /// Whether a value, empty for none, meets the term.
    pub(crate) fn selects(&self, value: &str) -> bool {
        let listed = self.values.iter().any(|v| v == value);
        match self.operator {
            "Exists" => !value.is_empty(),
            "DoesNotExist" => value.is_empty(),
            "In" => !value.is_empty() && listed,
            "NotIn" => value.is_empty() || !listed,
            _ => false,
        }
    }
}
