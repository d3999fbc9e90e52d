//! Built-in kinds as the type checker of expressions sees them.

use cel::{DeclType, Field, ListKind, Type, escape::escape};
use schema::{ListType, Registry, StructId, TypeRef, Types};
use std::sync::Arc;

/// A type that holds itself (`JSONSchemaProps`) is followed this far.
const MAX_DEPTH: usize = 24;

/// The declared type of a built-in kind.
pub fn of_kind(group: &str, version: &str, kind: &str) -> Option<Arc<DeclType>> {
    let registry = Registry::builtin();
    let root = registry.kind(group, version, kind)?;
    Some(of_struct(registry.types(), root, &mut Vec::new()))
}

fn of_struct(types: &Types, id: StructId, within: &mut Vec<StructId>) -> Arc<DeclType> {
    if within.contains(&id) || within.len() > MAX_DEPTH {
        return Arc::new(DeclType::scalar(Type::Dyn));
    }
    within.push(id);
    let of = types.get(id);
    let mut fields = std::collections::BTreeMap::new();
    for f in &of.fields {
        let decl = of_type(types, &f.ty, list_kind(f), within);
        if let Some(name) = escape(&f.json) {
            fields.insert(name, Field { json: f.json.to_string(), decl, required: f.required });
        }
    }
    // The table keeps these apart, as they are the same of every kind.
    if within.len() == 1 {
        for name in ["apiVersion", "kind"] {
            let field = || Field { json: name.into(), decl: Arc::new(DeclType::scalar(Type::String)), required: false };
            fields.entry(name.to_owned()).or_insert_with(field);
        }
    }
    within.pop();
    Arc::new(DeclType::object(&*of.name, fields))
}

fn list_kind(f: &schema::Field) -> ListKind {
    match f.list_type {
        ListType::Atomic => ListKind::Atomic,
        ListType::Set => ListKind::Set,
        ListType::Map => ListKind::Map(f.list_keys.iter().map(|k| k.to_string()).collect()),
    }
}

fn of_type(types: &Types, t: &TypeRef, kind: ListKind, within: &mut Vec<StructId>) -> Arc<DeclType> {
    let scalar = |t: Type| Arc::new(DeclType::scalar(t));
    match t {
        TypeRef::String | TypeRef::Quantity | TypeRef::Duration => scalar(Type::String),
        TypeRef::Bool => scalar(Type::Bool),
        TypeRef::Int32 | TypeRef::Int64 => scalar(Type::Int),
        TypeRef::Float64 => scalar(Type::Double),
        TypeRef::Bytes => scalar(Type::Bytes),
        TypeRef::Time | TypeRef::MicroTime => scalar(Type::Timestamp),
        TypeRef::IntOrString | TypeRef::RawExtension | TypeRef::FieldsV1 | TypeRef::Json => scalar(Type::Dyn),
        TypeRef::Struct(id) => of_struct(types, *id, within),
        TypeRef::Array(of) => Arc::new(DeclType::list(of_type(types, of, ListKind::Atomic, within), kind, None)),
        TypeRef::Map(of) => Arc::new(DeclType::map(of_type(types, of, ListKind::Atomic, within), None)),
    }
}
