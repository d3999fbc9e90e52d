//! The types that rules see of a schema. Upstream: apiserver/pkg/cel/common/schemas.go.

use crate::structural::{Additional, Schema};
use cel::{DeclType, Field, ListKind, Type, escape, limits};
use std::collections::BTreeMap;
use std::sync::Arc;

const LARGEST: u64 = limits::MAX_REQUEST_SIZE;

/// The declared type of a node; `None` for what rules can't see. With `root`, a resource with type and object metadata.
pub fn declare(s: &Schema, root: bool) -> Option<Arc<DeclType>> {
    let given = |n: Option<i64>| n.map(|n| u64::try_from(n).unwrap_or(0));
    let characters = || given(s.max_length).map_or(LARGEST - 2, |n| n * 4);
    if s.int_or_string {
        return Some(Arc::new(DeclType::scalar(Type::Dyn).with_max(Some(characters()))));
    }
    let ty = if root { "object" } else { s.ty.as_str() };
    let scalar = |t: Type, max: Option<u64>| Some(Arc::new(DeclType::scalar(t).with_max(max)));
    match ty {
        "array" => {
            let items = s.items.as_deref()?;
            let of = declare(items, items.embedded)?;
            let kind = match s.list_type.as_deref() {
                Some("set") => ListKind::Set,
                Some("map") => ListKind::Map(s.list_keys.clone()),
                _ => ListKind::Atomic,
            };
            let max = given(s.max_items).unwrap_or((LARGEST - 2) / (of.min_serialized + 1));
            Some(Arc::new(DeclType::list(of, kind, Some(max))))
        }
        "object" => {
            if let Some(Additional::Schema(a)) = &s.additional {
                let of = declare(a, a.embedded)?;
                let max = given(s.max_properties).unwrap_or((LARGEST - 2) / (of.min_serialized + 6));
                return Some(Arc::new(DeclType::map(of, Some(max))));
            }
            let mut fields = BTreeMap::new();
            let mut add = |name: &str, decl: Arc<DeclType>| {
                if let Some(escaped) = escape::escape(name) {
                    let required = s.required.iter().any(|r| r == name);
                    fields.insert(escaped, Field { json: name.to_owned(), decl, required });
                }
            };
            for (name, p) in &s.properties {
                if let Some(decl) = declare(p, p.embedded) {
                    add(name, decl);
                }
            }
            if root {
                let text = || Arc::new(DeclType::scalar(Type::String).with_max(Some(LARGEST - 2)));
                let field = |name: &str| (name.to_owned(), Field { json: name.to_owned(), decl: text(), required: false });
                let meta = DeclType::object("object", ["name", "generateName"].map(field).into_iter().collect());
                add("kind", text());
                add("apiVersion", text());
                add("metadata", Arc::new(meta));
            }
            Some(Arc::new(DeclType::object("object", fields)))
        }
        "string" => match s.format.as_str() {
            "byte" => scalar(Type::Bytes, Some(given(s.max_length).unwrap_or(LARGEST - 2))),
            "duration" => scalar(Type::Duration, Some(32)),
            "date" => scalar(Type::Timestamp, Some(12)),
            "date-time" => scalar(Type::Timestamp, Some(38)),
            _ => scalar(Type::String, Some(characters())),
        },
        "boolean" => scalar(Type::Bool, None),
        "number" => scalar(Type::Double, None),
        "integer" => scalar(Type::Int, None),
        _ => None,
    }
}
