//! JSON to protobuf. Nested messages are written after a gap for their length, which is filled in when it is known.

use super::plan::Entry;
use super::tree::{Node, Object};
use super::wire::{BYTES, VARINT, bytes_field, double_field, tag, varint};
use super::{Codec, MAX_DEPTH, ProtoError};
use crate::decode::SCHEMA;
use crate::types::{Field, Form, Struct, StructId, TypeRef};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use machinery::{duration, time};

pub(super) fn message(codec: &Codec, value: &Node, root: StructId) -> Result<Vec<u8>, ProtoError> {
    let mut w = Writer { codec, out: Vec::with_capacity(512) };
    w.structure(value.as_object(), root, MAX_DEPTH)?;
    Ok(w.out)
}

struct Writer<'a> {
    codec: &'a Codec,
    out: Vec<u8>,
}

impl Writer<'_> {
    fn structure(&mut self, map: Option<&Object>, id: StructId, depth: u32) -> Result<(), ProtoError> {
        let codec = self.codec;
        self.entries(map, codec.types().get(id), codec.plan(id), depth)
    }

    fn entries(&mut self, map: Option<&Object>, st: &Struct, entries: &[Entry], depth: u32) -> Result<(), ProtoError> {
        let depth = depth.checked_sub(1).ok_or(ProtoError::Malformed("exceeded max depth"))?;
        for e in entries {
            match e {
                Entry::Inline(n, inner) => self.nested(*n, |w| w.entries(map, st, inner, depth))?,
                Entry::Field(n, i) => {
                    let f = &st.fields[*i];
                    let v = map.and_then(|m| m.get(&f.json)).filter(|v| !v.is_null());
                    self.field(*n, f, v, depth)?;
                }
            }
        }
        Ok(())
    }

    /// Writes a message field whose length is not known beforehand.
    fn nested(&mut self, number: u32, write: impl FnOnce(&mut Self) -> Result<(), ProtoError>) -> Result<(), ProtoError> {
        tag(&mut self.out, number, BYTES);
        let start = self.out.len();
        self.out.push(0);
        write(self)?;
        let len = self.out.len() - start - 1;
        if len < 0x80 {
            self.out[start] = len as u8;
            return Ok(());
        }
        let mut head = Vec::with_capacity(5);
        varint(&mut head, len as u64);
        self.out.splice(start..=start, head);
        Ok(())
    }

    fn field(&mut self, n: u32, f: &Field, v: Option<&Node>, depth: u32) -> Result<(), ProtoError> {
        let wrong = |what| ProtoError::Type { field: f.json.to_string(), what };
        match (&f.ty, v) {
            (_, None) if f.pointer => Ok(()),
            (TypeRef::Array(_), Some(v)) if f.form == Form::Wrapped => self.element(n, &f.ty, f, Some(v), depth),
            (TypeRef::Array(elem), Some(v)) => {
                let list = v.as_array().ok_or_else(|| wrong("list"))?;
                list.iter().try_for_each(|v| self.element(n, elem, f, Some(v), depth))
            }
            (TypeRef::Map(elem), Some(v)) => {
                let map = v.as_object().ok_or_else(|| wrong("object"))?;
                for (key, v) in map.iter() {
                    self.nested(n, |w| {
                        bytes_field(&mut w.out, 1, key.as_bytes());
                        w.element(2, elem, f, Some(v), depth)
                    })?;
                }
                Ok(())
            }
            (TypeRef::Array(_) | TypeRef::Map(_) | TypeRef::Bytes, None) => Ok(()),
            (ty, v) => self.element(n, ty, f, v, depth),
        }
    }

    /// One value that is no repeated field; `None` is Go's zero value.
    fn element(&mut self, n: u32, ty: &TypeRef, f: &Field, v: Option<&Node>, depth: u32) -> Result<(), ProtoError> {
        let wrong = |what| ProtoError::Type { field: f.json.to_string(), what };
        let v = v.filter(|v| !v.is_null());
        let text = |what| v.map_or(Ok(""), |v| v.as_str().ok_or_else(|| wrong(what)));
        match ty {
            TypeRef::String => bytes_field(&mut self.out, n, text("string")?.as_bytes()),
            TypeRef::Bytes => {
                let bytes = STANDARD.decode(text("base64")?).map_err(|_| wrong("base64"))?;
                if v.is_some() {
                    bytes_field(&mut self.out, n, &bytes);
                }
            }
            TypeRef::Bool => {
                let b = v.map_or(Ok(false), |v| v.as_bool().ok_or_else(|| wrong("bool")))?;
                tag(&mut self.out, n, VARINT);
                self.out.push(b.into());
            }
            TypeRef::Int32 | TypeRef::Int64 => {
                let i = v.map_or(Ok(0), |v| v.as_i64().ok_or_else(|| wrong("integer")))?;
                tag(&mut self.out, n, VARINT);
                varint(&mut self.out, i as u64);
            }
            TypeRef::Float64 => {
                let x = v.map_or(Ok(0.0), |v| v.as_f64().ok_or_else(|| wrong("number")))?;
                double_field(&mut self.out, n, x);
            }
            TypeRef::Time | TypeRef::MicroTime => {
                let text = text("time")?;
                if text.is_empty() {
                    bytes_field(&mut self.out, n, b"");
                    return Ok(());
                }
                let t = time::parse(text).ok_or_else(|| wrong("time"))?;
                let nanos = t.as_nanosecond();
                let seconds = nanos.div_euclid(1_000_000_000) as i64;
                let micros = nanos.rem_euclid(1_000_000_000) as u64 / 1000 * 1000;
                self.nested(n, |w| {
                    tag(&mut w.out, 1, VARINT);
                    varint(&mut w.out, seconds as u64);
                    tag(&mut w.out, 2, VARINT);
                    varint(&mut w.out, if *ty == TypeRef::MicroTime { micros } else { 0 });
                    Ok(())
                })?;
            }
            TypeRef::Duration => {
                let text = text("duration")?;
                let nanos = if text.is_empty() { 0 } else { duration::parse(text).map_err(|_| wrong("duration"))? };
                self.nested(n, |w| {
                    tag(&mut w.out, 1, VARINT);
                    varint(&mut w.out, nanos as u64);
                    Ok(())
                })?;
            }
            TypeRef::Quantity => {
                let text = match v {
                    Some(Node::Number(x)) => x.to_string(),
                    _ => text("quantity")?.to_owned(),
                };
                let text = if text.is_empty() { "0" } else { &text };
                self.nested(n, |w| {
                    bytes_field(&mut w.out, 1, text.as_bytes());
                    Ok(())
                })?;
            }
            TypeRef::IntOrString => {
                let (kind, int, string) = match v {
                    None => (0, 0, ""),
                    Some(Node::String(s)) => (1, 0, &**s),
                    Some(v) => (0, v.as_i64().ok_or_else(|| wrong("integer or string"))?, ""),
                };
                self.nested(n, |w| {
                    tag(&mut w.out, 1, VARINT);
                    w.out.push(kind);
                    tag(&mut w.out, 2, VARINT);
                    varint(&mut w.out, int as u64);
                    bytes_field(&mut w.out, 3, string.as_bytes());
                    Ok(())
                })?;
            }
            TypeRef::Json if !matches!(f.form, Form::Plain | Form::Wrapped) => {
                self.nested(n, |w| w.schema_or(f, v, depth))?;
            }
            TypeRef::RawExtension | TypeRef::FieldsV1 | TypeRef::Json => self.nested(n, |w| {
                if let Some(v) = v {
                    let text = serde_json::to_vec(v).map_err(|e| ProtoError::Json(e.to_string()))?;
                    bytes_field(&mut w.out, 1, &text);
                }
                Ok(())
            })?,
            TypeRef::Struct(id) => {
                let map = v.map_or(Ok(None), |v| v.as_object().map(Some).ok_or_else(|| wrong("object")))?;
                self.nested(n, |w| w.structure(map, *id, depth))?;
            }
            TypeRef::Array(elem) => {
                let list = v.map_or(Ok(&[][..]), |v| v.as_array().ok_or_else(|| wrong("list")))?;
                self.nested(n, |w| list.iter().try_for_each(|v| w.element(1, elem, f, Some(v), depth)))?;
            }
            TypeRef::Map(_) => return Err(wrong("map inside a map cannot be encoded: other type")),
        }
        Ok(())
    }

    fn schema_or(&mut self, f: &Field, v: Option<&Node>, depth: u32) -> Result<(), ProtoError> {
        let wrong = |what| ProtoError::Type { field: f.json.to_string(), what };
        let depth = depth.checked_sub(1).ok_or(ProtoError::Malformed("exceeded max depth"))?;
        let id = self.codec.types().by_name(SCHEMA).ok_or_else(|| wrong("schema"))?;
        let schema = v.and_then(Node::as_object);
        if f.form == Form::SchemaOrBool {
            tag(&mut self.out, 1, VARINT);
            self.out.push(u8::from(schema.is_some() || v.and_then(Node::as_bool).unwrap_or(false)));
        }
        let number = if f.form == Form::SchemaOrBool { 2 } else { 1 };
        if schema.is_some() {
            self.nested(number, |w| w.structure(schema, id, depth))?;
        }
        for item in v.and_then(Node::as_array).into_iter().flatten() {
            match f.form {
                Form::SchemaOrArray => self.nested(2, |w| w.structure(item.as_object(), id, depth))?,
                _ => bytes_field(&mut self.out, 2, item.as_str().ok_or_else(|| wrong("string"))?.as_bytes()),
            }
        }
        Ok(())
    }
}
