//! Defaults of a schema, and nulls that stand for absence. Upstream: apiextensions-apiserver/pkg/apiserver/schema/defaulting.

use crate::structural::{Additional, Schema};
use machinery::Value;

/// Drops nulls that may not be and have no default, then sets the defaults.
pub fn default(v: &mut Value, s: &Schema) {
    prune_nulls(v, Some(s));
    set(v, s);
}

fn prune_nulls(v: &mut Value, s: Option<&Schema>) {
    match v {
        Value::Object(map) => map.retain(|k, v| {
            let s = s.and_then(|s| s.field(k));
            if v.is_null() && s.is_some_and(|s| !s.nullable && s.default.is_none()) {
                return false;
            }
            prune_nulls(v, s);
            true
        }),
        Value::Array(list) => {
            let items = s.and_then(|s| s.items.as_deref());
            list.iter_mut().for_each(|v| prune_nulls(v, items));
        }
        _ => {}
    }
}

fn set(v: &mut Value, s: &Schema) {
    match v {
        Value::Object(map) => {
            for (k, p) in &s.properties {
                if let Some(default) = &p.default
                    && map.get(k).is_none_or(|v| v.is_null() && !p.nullable)
                {
                    map.insert(k.clone(), default.clone());
                }
            }
            for (k, v) in map.iter_mut() {
                if let Some(p) = s.properties.get(k) {
                    set(v, p);
                } else if let Some(Additional::Schema(a)) = &s.additional {
                    set_null(v, a);
                    set(v, a);
                }
            }
        }
        Value::Array(list) => {
            if let Some(items) = &s.items {
                for v in list {
                    set_null(v, items);
                    set(v, items);
                }
            }
        }
        _ => {}
    }
}

fn set_null(v: &mut Value, s: &Schema) {
    if v.is_null()
        && !s.nullable
        && let Some(default) = &s.default
    {
        *v = default.clone();
    }
}
