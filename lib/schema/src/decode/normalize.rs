//! Trees that are already parsed: after patches, from protobuf, from webhooks. Also defaulting and pruning by schema.

use super::leaf::{go_name, go_type, is_empty, string, zero};
use super::{DecodeError, Problem};
use crate::types::{Field, Form, Struct, TypeRef, Typed, Types};
use serde_json::{Map, Value};

/// Brings a tree to the form that [`super::decode`] gives: unknown fields pruned, zero values as Go writes them, canonical
/// times and quantities. Says which fields it pruned.
pub fn normalize(value: &mut Value, typed: Typed<'_>) -> Result<Vec<Problem>, DecodeError> {
    let mut n = Normalizer { types: typed.types, path: String::new(), fields: String::new(), problems: Vec::new() };
    n.value(value, &TypeRef::Struct(typed.root), Form::Plain, &|| String::new(), "")?;
    Ok(n.problems)
}

struct Normalizer<'a> {
    types: &'a Types,
    /// `spec.containers[0]`, for problems.
    path: String,
    /// `spec.containers`, as Go's errors have it.
    fields: String,
    problems: Vec<Problem>,
}

impl Normalizer<'_> {
    fn value(
        &mut self,
        value: &mut Value,
        ty: &TypeRef,
        form: Form,
        go: &dyn Fn() -> String,
        owner: &str,
    ) -> Result<(), DecodeError> {
        if form != Form::Plain && form != Form::Wrapped && *ty == TypeRef::Json {
            return self.schema_or(value, form, owner);
        }
        match (ty, &mut *value) {
            (TypeRef::Json | TypeRef::RawExtension | TypeRef::FieldsV1, _) => Ok(()),
            (_, Value::Null) => {
                *value = zero(self.types, ty);
                Ok(())
            }
            (TypeRef::Struct(id), Value::Object(map)) => self.object(map, self.types.get(*id)),
            (TypeRef::Map(elem), Value::Object(map)) => {
                let path = self.path.len();
                let types = self.types;
                for (key, v) in map.iter_mut() {
                    push(&mut self.path, key);
                    let go = || go().strip_prefix("map[string]").map_or_else(|| go_type(types, elem), str::to_owned);
                    self.value(v, elem, form, &go, owner)?;
                    self.path.truncate(path);
                }
                Ok(())
            }
            (TypeRef::Array(elem), Value::Array(list)) => {
                let path = self.path.len();
                let types = self.types;
                for (i, v) in list.iter_mut().enumerate() {
                    self.path.push_str(&format!("[{i}]"));
                    let go = || go().strip_prefix("[]").map_or_else(|| go_type(types, elem), str::to_owned);
                    self.value(v, elem, form, &go, owner)?;
                    self.path.truncate(path);
                }
                Ok(())
            }
            (TypeRef::Bool, Value::Bool(_)) => Ok(()),
            (TypeRef::Int32, Value::Number(n)) if n.as_i64().is_some_and(|n| i32::try_from(n).is_ok()) => Ok(()),
            (TypeRef::Int64, Value::Number(n)) if n.is_i64() => Ok(()),
            (TypeRef::IntOrString, Value::Number(n)) if n.as_i64().is_some_and(|n| i32::try_from(n).is_ok()) => Ok(()),
            (TypeRef::Float64, Value::Number(_)) => Ok(()),
            (TypeRef::Quantity, Value::Number(n)) => {
                *value = string(ty, &n.to_string()).transpose().map_err(DecodeError::Type)?.unwrap_or_default();
                Ok(())
            }
            (_, Value::String(s)) => match string(ty, s) {
                Some(Ok(Value::String(canonical))) => {
                    *s = canonical;
                    Ok(())
                }
                Some(Ok(other)) => {
                    *value = other;
                    Ok(())
                }
                Some(Err(e)) => Err(DecodeError::Type(e)),
                None => Err(self.mismatch("string", go, owner)),
            },
            (_, other) => {
                let what = match other {
                    Value::Bool(_) => "bool".to_owned(),
                    Value::Number(n) if is_number(ty) => format!("number {n}"),
                    Value::Number(_) => "number".to_owned(),
                    Value::Array(_) => "array".to_owned(),
                    _ => "object".to_owned(),
                };
                Err(self.mismatch(&what, go, owner))
            }
        }
    }

    fn object(&mut self, map: &mut Map<String, Value>, st: &Struct) -> Result<(), DecodeError> {
        let (path, fields) = (self.path.len(), self.fields.len());
        if !st.preserve_unknown {
            map.retain(|key, _| {
                let known = st.field(key).is_some();
                if !known {
                    push(&mut self.path, key);
                    self.problems.push(Problem::Unknown(self.path.clone()));
                    self.path.truncate(path);
                }
                known
            });
        }
        for f in &st.fields {
            let Some(v) = map.get_mut(&*f.json) else { continue };
            if v.is_null() {
                continue;
            }
            push(&mut self.path, &f.json);
            push_field(&mut self.fields, f);
            let types = self.types;
            self.value(v, &f.ty, f.form, &|| go_name(types, f), &st.name)?;
            self.path.truncate(path);
            self.fields.truncate(fields);
        }
        finish(self.types, st, map);
        Ok(())
    }

    fn schema_or(&mut self, value: &mut Value, form: Form, owner: &str) -> Result<(), DecodeError> {
        let schema = self.types.by_name(SCHEMA).map(TypeRef::Struct);
        match (form, &mut *value, schema) {
            (_, Value::Object(_), Some(ty)) => self.value(value, &ty, Form::Plain, &|| "v1.JSONSchemaProps".into(), owner),
            (Form::SchemaOrArray, Value::Array(list), Some(ty)) => {
                list.iter_mut().try_for_each(|v| self.value(v, &ty, Form::Plain, &|| "v1.JSONSchemaProps".into(), owner))
            }
            (Form::SchemaOrStringArray, Value::Array(list), _) => {
                list.iter_mut().try_for_each(|v| self.value(v, &TypeRef::String, Form::Plain, &|| "string".into(), owner))
            }
            (Form::SchemaOrBool, Value::Bool(_), _) => Ok(()),
            (Form::SchemaOrBool, ..) => Err(DecodeError::Type("boolean or JSON schema expected".into())),
            _ => {
                *value = Value::Null;
                Ok(())
            }
        }
    }

    fn mismatch(&self, what: &str, go: &dyn Fn() -> String, owner: &str) -> DecodeError {
        mismatch(what, owner, &self.fields, &go())
    }
}

pub(crate) const SCHEMA: &str = "io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1.JSONSchemaProps";

pub(super) fn is_number(ty: &TypeRef) -> bool {
    matches!(ty, TypeRef::Int32 | TypeRef::Int64 | TypeRef::Float64 | TypeRef::IntOrString)
}

/// Go's `UnmarshalTypeError`.
pub(super) fn mismatch(what: &str, owner: &str, fields: &str, go: &str) -> DecodeError {
    let place = if owner.is_empty() {
        "Go value".to_owned()
    } else {
        format!("Go struct field {}.{fields}", owner.rsplit('.').next().unwrap_or(owner))
    };
    DecodeError::Type(format!("json: cannot unmarshal {what} into {place} of type {go}"))
}

pub(super) fn push(path: &mut String, name: &str) {
    if !path.is_empty() {
        path.push('.');
    }
    path.push_str(name);
}

/// Go's errors name the inlined structs on the way, too.
pub(super) fn push_field(fields: &mut String, f: &Field) {
    if let Some(path) = &f.go_path {
        push(fields, path);
    }
    push(fields, &f.json);
}

/// Drops what `omitempty` drops and writes the zero values that Go writes.
pub(crate) fn finish(types: &Types, st: &Struct, map: &mut Map<String, Value>) {
    for f in &st.fields {
        match map.get(&*f.json) {
            None => {
                if let Some(zero) = absent(types, f) {
                    map.insert(f.json.to_string(), zero);
                }
            }
            Some(Value::Null) => match absent(types, f) {
                Some(zero) => _ = map.insert(f.json.to_string(), zero),
                None => _ = map.remove(&*f.json),
            },
            Some(v) => {
                let drop =
                    (f.omitempty && !f.pointer && is_empty(&f.ty, v)) || (f.omitzero && !f.pointer && *v == zero(types, &f.ty));
                if drop {
                    map.remove(&*f.json);
                } else if !f.omitempty && !f.pointer && f.proto.is_some() && v.as_array().is_some_and(Vec::is_empty) {
                    // Protobuf, in which upstream stores, knows no empty list.
                    map.insert(f.json.to_string(), Value::Null);
                }
            }
        }
    }
}

/// Writes an object's own fields as Go does, those below them as they are: for what rules removed from a normalized tree.
pub fn complete(value: &mut Value, typed: Typed<'_>) {
    if let Value::Object(map) = value {
        finish(typed.types, typed.types.get(typed.root), map);
    }
}

/// What Go writes for a field that was not set.
fn absent(types: &Types, f: &Field) -> Option<Value> {
    if f.pointer {
        return (!f.omitempty && !f.omitzero).then_some(Value::Null);
    }
    if f.omitzero {
        return None;
    }
    let always = matches!(
        f.ty,
        TypeRef::Struct(_)
            | TypeRef::Time
            | TypeRef::MicroTime
            | TypeRef::Duration
            | TypeRef::Quantity
            | TypeRef::IntOrString
            | TypeRef::RawExtension
            | TypeRef::FieldsV1
    );
    (always || !f.omitempty).then(|| zero(types, &f.ty))
}
