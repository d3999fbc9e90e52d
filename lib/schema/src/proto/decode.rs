//! Protobuf to tree.

use super::plan::Entry;
use super::{Codec, MAGIC, MAX_DEPTH, ProtoError};
use crate::decode::{SCHEMA, finish};
use crate::types::{Field, Form, Struct, StructId, TypeRef};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use machinery::{duration, time};
use serde_json::{Map, Value};

/// Seconds of Go's zero time.
const YEAR_ONE: i64 = -62_135_596_800;

pub(super) fn message(codec: &Codec, bytes: &[u8], root: StructId) -> Result<Value, ProtoError> {
    Reader { codec }.structure(bytes, root, 0).map(Value::Object)
}

/// Magic and envelope, then the message.
pub(super) fn object(codec: &Codec, bytes: &[u8], default: Option<(&str, &str)>, depth: u32) -> Result<Value, ProtoError> {
    let mut input = bytes.strip_prefix(&MAGIC[..]).ok_or(ProtoError::Magic)?;
    let (mut meta, mut raw, mut encoding, mut content) = (&[][..], &[][..], &[][..], &[][..]);
    while let Some((number, token)) = next(&mut input)? {
        let Token::Bytes(b) = token else { continue };
        match number {
            1 => meta = b,
            2 => raw = b,
            3 => encoding = b,
            4 => content = b,
            _ => {}
        }
    }
    let (mut api_version, mut kind) = default.map_or((String::new(), String::new()), |(v, k)| (v.into(), k.into()));
    while let Some((number, token)) = next(&mut meta)? {
        let Token::Bytes(b) = token else { continue };
        match number {
            1 if !b.is_empty() => api_version = text(b),
            2 if !b.is_empty() => kind = text(b),
            _ => {}
        }
    }
    if !encoding.is_empty() {
        return Err(ProtoError::ContentType(text(encoding)));
    }
    let content = text(content);
    if content == "application/json" {
        return serde_json::from_slice(raw).map_err(|e| ProtoError::Json(e.to_string()));
    }
    if !content.is_empty() && content != "application/vnd.kubernetes.protobuf" {
        return Err(ProtoError::ContentType(content));
    }
    let id = codec.kind(&api_version, &kind)?;
    let mut map = Reader { codec }.structure(raw, id, depth)?;
    map.insert("apiVersion".into(), api_version.into());
    map.insert("kind".into(), kind.into());
    Ok(Value::Object(map))
}

/// One field's value as the wire gives it.
enum Token<'a> {
    Varint(u64),
    Fixed64(u64),
    Fixed32(u32),
    Bytes(&'a [u8]),
}

fn varint(input: &mut &[u8]) -> Result<u64, ProtoError> {
    let mut n = 0u64;
    for shift in (0..64).step_by(7) {
        let (b, rest) = input.split_first().ok_or(ProtoError::Truncated)?;
        *input = rest;
        n |= u64::from(b & 0x7f) << shift;
        if b & 0x80 == 0 {
            return Ok(n);
        }
    }
    Err(ProtoError::Malformed("integer overflow"))
}

fn take<'a>(input: &mut &'a [u8], len: usize) -> Result<&'a [u8], ProtoError> {
    let (head, rest) = input.split_at_checked(len).ok_or(ProtoError::Truncated)?;
    *input = rest;
    Ok(head)
}

fn next<'a>(input: &mut &'a [u8]) -> Result<Option<(u32, Token<'a>)>, ProtoError> {
    if input.is_empty() {
        return Ok(None);
    }
    let tag = varint(input)?;
    let number = u32::try_from(tag >> 3).ok().filter(|n| *n > 0).ok_or(ProtoError::Malformed("illegal tag"))?;
    let token = match tag & 7 {
        0 => Token::Varint(varint(input)?),
        1 => Token::Fixed64(u64::from_le_bytes(take(input, 8)?.try_into().map_err(|_| ProtoError::Truncated)?)),
        2 => {
            let len = usize::try_from(varint(input)?).map_err(|_| ProtoError::Truncated)?;
            Token::Bytes(take(input, len)?)
        }
        5 => Token::Fixed32(u32::from_le_bytes(take(input, 4)?.try_into().map_err(|_| ProtoError::Truncated)?)),
        _ => return Err(ProtoError::Malformed("illegal wireType")),
    };
    Ok(Some((number, token)))
}

/// Go keeps any bytes in a string, and its JSON encoder replaces what is not UTF-8.
fn text(b: &[u8]) -> String {
    String::from_utf8_lossy(b).into_owned()
}

struct Reader<'a> {
    codec: &'a Codec,
}

impl Reader<'_> {
    fn structure(&self, bytes: &[u8], id: StructId, depth: u32) -> Result<Map<String, Value>, ProtoError> {
        let st = self.codec.types().get(id);
        let mut map = Map::new();
        self.entries(bytes, st, self.codec.plan(id), &mut map, depth)?;
        finish(self.codec.types(), st, &mut map);
        Ok(map)
    }

    fn entries(
        &self,
        mut bytes: &[u8],
        st: &Struct,
        entries: &[Entry],
        map: &mut Map<String, Value>,
        depth: u32,
    ) -> Result<(), ProtoError> {
        if depth >= MAX_DEPTH {
            return Err(ProtoError::Malformed("exceeded max depth"));
        }
        while let Some((number, token)) = next(&mut bytes)? {
            let Ok(i) = entries.binary_search_by_key(&number, Entry::number) else { continue };
            match (&entries[i], token) {
                (Entry::Inline(_, inner), Token::Bytes(b)) => self.entries(b, st, inner, map, depth + 1)?,
                (Entry::Inline(..), _) => return Err(ProtoError::Malformed("wrong wireType")),
                (Entry::Field(_, i), token) => self.field(&st.fields[*i], token, map, depth + 1)?,
            }
        }
        Ok(())
    }

    fn field(&self, f: &Field, token: Token<'_>, map: &mut Map<String, Value>, depth: u32) -> Result<(), ProtoError> {
        match &f.ty {
            TypeRef::Array(elem) if f.form != Form::Wrapped => {
                let list = map.entry(&*f.json).or_insert_with(|| Value::Array(Vec::new()));
                let Value::Array(list) = list else { return Ok(()) };
                match (&**elem, token) {
                    (TypeRef::Int32 | TypeRef::Int64 | TypeRef::Bool, Token::Bytes(mut packed)) => {
                        while !packed.is_empty() {
                            list.push(self.element(elem, f, Token::Varint(varint(&mut packed)?), depth)?);
                        }
                    }
                    (elem, token) => list.push(self.element(elem, f, token, depth)?),
                }
            }
            TypeRef::Map(elem) => {
                let Token::Bytes(mut entry) = token else { return Err(ProtoError::Malformed("wrong wireType")) };
                let (mut key, mut value) = (String::new(), None);
                while let Some((number, token)) = next(&mut entry)? {
                    match (number, token) {
                        (1, Token::Bytes(b)) => key = text(b),
                        (2, token) => value = Some(self.element(elem, f, token, depth)?),
                        _ => {}
                    }
                }
                let value = value.unwrap_or_else(|| match &**elem {
                    TypeRef::String | TypeRef::Bytes => "".into(),
                    TypeRef::Quantity => "0".into(),
                    TypeRef::Bool => false.into(),
                    TypeRef::Int32 | TypeRef::Int64 | TypeRef::Float64 => 0.into(),
                    _ => Value::Null,
                });
                if let Value::Object(m) = map.entry(&*f.json).or_insert_with(|| Value::Object(Map::new())) {
                    m.insert(key, value);
                }
            }
            ty => {
                let v = self.element(ty, f, token, depth)?;
                map.insert(f.json.to_string(), v);
            }
        }
        Ok(())
    }

    fn element(&self, ty: &TypeRef, f: &Field, token: Token<'_>, depth: u32) -> Result<Value, ProtoError> {
        Ok(match (ty, token) {
            (TypeRef::Bool, Token::Varint(n)) => (n != 0).into(),
            (TypeRef::Int32, Token::Varint(n)) => (n as i32).into(),
            (TypeRef::Int64, Token::Varint(n)) => (n as i64).into(),
            (TypeRef::Int32, Token::Fixed32(n)) => (n as i32).into(),
            (TypeRef::Int64, Token::Fixed64(n)) => (n as i64).into(),
            (TypeRef::Float64, Token::Fixed64(n)) => float(f64::from_bits(n)),
            (ty, Token::Bytes(b)) => self.bytes(ty, f, b, depth)?,
            _ => return Err(ProtoError::Malformed("wrong wireType")),
        })
    }

    fn bytes(&self, ty: &TypeRef, f: &Field, mut b: &[u8], depth: u32) -> Result<Value, ProtoError> {
        Ok(match ty {
            TypeRef::String => text(b).into(),
            TypeRef::Bytes => STANDARD.encode(b).into(),
            TypeRef::Struct(id) => Value::Object(self.structure(b, *id, depth)?),
            TypeRef::Time | TypeRef::MicroTime => {
                let (mut seconds, mut nanos) = (YEAR_ONE, 0);
                while let Some((number, token)) = next(&mut b)? {
                    match (number, token) {
                        (1, Token::Varint(n)) => seconds = n as i64,
                        (2, Token::Varint(n)) => nanos = n as i32,
                        _ => {}
                    }
                }
                let micro = *ty == TypeRef::MicroTime;
                if seconds == YEAR_ONE && (nanos == 0 || !micro) {
                    return Ok(Value::Null);
                }
                let t = time::Timestamp::new(seconds, if micro { nanos / 1000 * 1000 } else { 0 })
                    .map_err(|_| ProtoError::Malformed("time out of range"))?;
                if micro { time::format_micro(t).into() } else { time::format(t).into() }
            }
            TypeRef::Duration => {
                let mut nanos = 0;
                while let Some((number, token)) = next(&mut b)? {
                    if let (1, Token::Varint(n)) = (number, token) {
                        nanos = n as i64;
                    }
                }
                duration::format(nanos).into()
            }
            TypeRef::Quantity => {
                let mut s = "0".to_owned();
                while let Some((number, token)) = next(&mut b)? {
                    if let (1, Token::Bytes(t)) = (number, token) {
                        s = text(t);
                    }
                }
                machinery::quantity::canonicalize(&s).map_err(|e| ProtoError::Json(e.to_string()))?.into()
            }
            TypeRef::IntOrString => {
                let (mut string, mut int, mut s) = (false, 0, String::new());
                while let Some((number, token)) = next(&mut b)? {
                    match (number, token) {
                        (1, Token::Varint(n)) => string = n == 1,
                        (2, Token::Varint(n)) => int = n as i32,
                        (3, Token::Bytes(t)) => s = text(t),
                        _ => {}
                    }
                }
                if string { s.into() } else { int.into() }
            }
            TypeRef::Json if !matches!(f.form, Form::Plain | Form::Wrapped) => self.schema_or(f, b, depth)?,
            TypeRef::RawExtension | TypeRef::FieldsV1 | TypeRef::Json => {
                let mut raw = &[][..];
                while let Some((number, token)) = next(&mut b)? {
                    if let (1, Token::Bytes(t)) = (number, token) {
                        raw = t;
                    }
                }
                if raw.is_empty() {
                    Value::Null
                } else if raw.starts_with(MAGIC) {
                    object(self.codec, raw, None, depth + 1)?
                } else {
                    serde_json::from_slice(raw).map_err(|e| ProtoError::Json(e.to_string()))?
                }
            }
            TypeRef::Array(elem) => {
                let mut list = Vec::new();
                while let Some((number, token)) = next(&mut b)? {
                    if number == 1 {
                        list.push(self.element(elem, f, token, depth)?);
                    }
                }
                Value::Array(list)
            }
            _ => return Err(ProtoError::Malformed("wrong wireType")),
        })
    }

    fn schema_or(&self, f: &Field, mut b: &[u8], depth: u32) -> Result<Value, ProtoError> {
        let id = self.codec.types().by_name(SCHEMA).ok_or(ProtoError::Malformed("no schema type"))?;
        let (mut allows, mut schema, mut list) = (false, None, Vec::new());
        let schema_number = if f.form == Form::SchemaOrBool { 2 } else { 1 };
        while let Some((number, token)) = next(&mut b)? {
            match token {
                Token::Varint(n) if number == 1 => allows = n != 0,
                Token::Bytes(b) if number == schema_number => schema = Some(self.structure(b, id, depth)?),
                Token::Bytes(b) if number == 2 && f.form == Form::SchemaOrArray => {
                    list.push(Value::Object(self.structure(b, id, depth)?));
                }
                Token::Bytes(b) if number == 2 => list.push(text(b).into()),
                _ => {}
            }
        }
        Ok(match schema {
            _ if !list.is_empty() => Value::Array(list),
            Some(map) => Value::Object(map),
            None if f.form == Form::SchemaOrBool => allows.into(),
            None => Value::Null,
        })
    }
}

/// Go writes whole floats without a point.
fn float(x: f64) -> Value {
    if x.fract() == 0.0 && x.abs() < 1e15 {
        (x as i64).into()
    } else {
        serde_json::Number::from_f64(x).map_or(Value::Null, Value::Number)
    }
}
