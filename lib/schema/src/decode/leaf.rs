//! The types that marshal themselves, and what Go calls each type in error messages.

use crate::types::{Field, TypeRef, Types};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use machinery::{duration, quantity, time};
use serde_json::Value;

/// Canonical form of a string of type `ty`; `None` where a string does not belong.
pub(super) fn string(ty: &TypeRef, s: &str) -> Option<Result<Value, String>> {
    Some(match ty {
        TypeRef::String | TypeRef::Json | TypeRef::RawExtension | TypeRef::FieldsV1 | TypeRef::IntOrString => Ok(s.into()),
        TypeRef::Bytes => bytes(s).map(Value::from),
        TypeRef::Time => instant(s).map(|t| time::format(t).into()),
        TypeRef::MicroTime => instant(s).map(|t| time::format_micro(t).into()),
        TypeRef::Duration => duration::parse(s).map(|d| duration::format(d).into()),
        TypeRef::Quantity => quantity::canonicalize(s.trim()).map(Value::from).map_err(|e| e.to_string()),
        _ => return None,
    })
}

/// Go skips line breaks in base64; the encoder writes none.
fn bytes(s: &str) -> Result<String, String> {
    let clean: String;
    let text = if s.contains(['\n', '\r']) {
        clean = s.replace(['\n', '\r'], "");
        &clean
    } else {
        s
    };
    match STANDARD.decode(text) {
        Ok(_) => Ok(text.to_owned()),
        Err(e) => {
            let at = match e {
                base64::DecodeError::InvalidByte(i, _) => i,
                base64::DecodeError::InvalidLastSymbol { offset, .. } => offset,
                _ => text.len() / 4 * 4,
            };
            Err(format!("illegal base64 data at input byte {at}"))
        }
    }
}

fn instant(s: &str) -> Result<time::Timestamp, String> {
    let quoted = machinery::quote::quote(s);
    time::parse(s)
        .ok_or_else(|| format!("parsing time {quoted} as \"2006-01-02T15:04:05Z07:00\": cannot parse {quoted} as \"2006\""))
}

/// Whether Go's `omitempty` drops `v`. Structs, times and other types that are structs in Go are never empty.
pub(super) fn is_empty(ty: &TypeRef, v: &Value) -> bool {
    match (ty, v) {
        (TypeRef::String | TypeRef::Bytes, Value::String(s)) => s.is_empty(),
        (TypeRef::Bool, Value::Bool(b)) => !b,
        (TypeRef::Int32 | TypeRef::Int64, Value::Number(n)) => n.as_i64() == Some(0),
        (TypeRef::Float64, Value::Number(n)) => n.as_f64() == Some(0.0),
        (TypeRef::Array(_), Value::Array(a)) => a.is_empty(),
        (TypeRef::Map(_), Value::Object(m)) => m.is_empty(),
        _ => false,
    }
}

/// Go's zero value of `ty`, as its encoder writes it.
pub(super) fn zero(types: &Types, ty: &TypeRef) -> Value {
    match ty {
        TypeRef::String => "".into(),
        TypeRef::Bool => false.into(),
        TypeRef::Int32 | TypeRef::Int64 | TypeRef::IntOrString => 0.into(),
        TypeRef::Float64 => 0.into(),
        TypeRef::Duration => "0s".into(),
        TypeRef::Quantity => "0".into(),
        TypeRef::Struct(id) => {
            let mut map = serde_json::Map::new();
            super::normalize::finish(types, types.get(*id), &mut map);
            Value::Object(map)
        }
        TypeRef::Bytes
        | TypeRef::Time
        | TypeRef::MicroTime
        | TypeRef::RawExtension
        | TypeRef::FieldsV1
        | TypeRef::Json
        | TypeRef::Array(_)
        | TypeRef::Map(_) => Value::Null,
    }
}

/// Go's name of a field's type.
pub(super) fn go_name(types: &Types, f: &Field) -> String {
    f.go_type.as_deref().map_or_else(|| go_type(types, &f.ty), str::to_owned)
}

/// Go's name of `ty`: `v1.PodSpec`, `[]v1.Container`, `map[string]string`.
pub(super) fn go_type(types: &Types, ty: &TypeRef) -> String {
    match ty {
        TypeRef::String | TypeRef::Time | TypeRef::MicroTime | TypeRef::Duration => "string".into(),
        TypeRef::Bool => "bool".into(),
        TypeRef::Int32 | TypeRef::IntOrString => "int32".into(),
        TypeRef::Int64 => "int64".into(),
        TypeRef::Float64 => "float64".into(),
        TypeRef::Bytes => "[]uint8".into(),
        TypeRef::Quantity => "resource.Quantity".into(),
        TypeRef::RawExtension => "runtime.RawExtension".into(),
        TypeRef::FieldsV1 => "v1.FieldsV1".into(),
        TypeRef::Json => "v1.JSON".into(),
        TypeRef::Struct(id) => {
            let name = &types.get(*id).name;
            match name.rmatch_indices('.').nth(1) {
                Some((i, _)) => name[i + 1..].to_owned(),
                None => name.to_string(),
            }
        }
        TypeRef::Array(elem) => format!("[]{}", go_type(types, elem)),
        TypeRef::Map(elem) => format!("map[string]{}", go_type(types, elem)),
    }
}
