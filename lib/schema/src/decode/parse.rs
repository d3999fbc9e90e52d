//! The decoder proper: one pass over the bytes, guided by the type, so that problems come in document order.

use super::leaf::{go_type, string, zero};
use super::normalize::{SCHEMA, finish, is_number, mismatch, push, push_field};
use super::{DecodeError, MAX_BYTES, MAX_PROBLEMS, Mode, Problem};
use crate::types::{Form, StructId, TypeRef, Typed, Types};
use serde::Deserialize;
use serde::de::value::{MapAccessDeserializer, SeqAccessDeserializer};
use serde::de::{DeserializeSeed, Deserializer, Error as _, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Value};
use std::collections::HashSet;
use std::fmt;

pub(super) fn typed(bytes: &[u8], typed: Typed<'_>, mode: Mode) -> Result<(Value, Vec<Problem>), DecodeError> {
    let root = TypeRef::Struct(typed.root);
    run(bytes, typed.types, &root, mode)
}

/// Parses any JSON object, with duplicate fields reported: for objects whose schema is applied afterwards (CRDs).
pub fn parse(bytes: &[u8], mode: Mode) -> Result<(Value, Vec<Problem>), DecodeError> {
    run(bytes, &Types::default(), &TypeRef::Map(Box::new(ANY)), mode)
}

/// Untyped, but with duplicates reported, unlike `Json`.
const ANY: TypeRef = TypeRef::Struct(StructId(u32::MAX));

fn run(bytes: &[u8], types: &Types, root: &TypeRef, mode: Mode) -> Result<(Value, Vec<Problem>), DecodeError> {
    if bytes.len() > MAX_BYTES {
        return Err(DecodeError::TooLarge);
    }
    let mut cx = Context {
        types,
        strict: mode == Mode::Strict,
        path: String::new(),
        fields: String::new(),
        problems: Vec::new(),
        seen: HashSet::new(),
        error: None,
        ended: false,
    };
    let mut de = serde_json::Deserializer::from_slice(bytes);
    let seed = Seed { cx: &mut cx, ty: root, form: Form::Plain, owner: "", go: None };
    let parsed = seed.deserialize(&mut de).and_then(|v| de.end().map(|()| v));
    let value = parsed.map_err(|e| syntax(bytes, &e))?;
    match cx.error {
        Some(e) => Err(e),
        None => Ok((value, cx.problems)),
    }
}

/// Go's words for what serde_json found.
fn syntax(bytes: &[u8], e: &serde_json::Error) -> DecodeError {
    if e.is_eof() {
        return DecodeError::Syntax("unexpected end of JSON input".into());
    }
    let text = e.to_string();
    if text.starts_with("recursion limit") {
        return DecodeError::Syntax("exceeded max depth".into());
    }
    let line = bytes.split(|b| *b == b'\n').nth(e.line().saturating_sub(1)).unwrap_or_default();
    let at = line.get(e.column().saturating_sub(1)).or(line.last()).copied().unwrap_or(b'?');
    let what = if text.contains("trailing characters") {
        "after top-level value"
    } else if text.contains("key must be a string") || text.contains("trailing comma") {
        "looking for beginning of object key string"
    } else if text.contains("expected `:`") {
        "after object key"
    } else if text.contains("`,` or `}`") {
        "after object key:value pair"
    } else if text.contains("`,` or `]`") {
        "after array element"
    } else if text.contains("control character") {
        "in string literal"
    } else if text.contains("escape") {
        "in string escape code"
    } else {
        "looking for beginning of value"
    };
    DecodeError::Syntax(format!("invalid character '{}' {what}", char::from(at).escape_default()))
}

struct Context<'a> {
    types: &'a Types,
    strict: bool,
    path: String,
    fields: String,
    problems: Vec<Problem>,
    seen: HashSet<Problem>,
    /// The first mismatch; parsing goes on, as a syntax error further on takes precedence.
    error: Option<DecodeError>,
    ended: bool,
}

impl Context<'_> {
    fn problem(&mut self, make: fn(String) -> Problem, key: &str) {
        if !self.strict || self.problems.len() >= MAX_PROBLEMS {
            return;
        }
        let mut path = self.path.clone();
        push(&mut path, key);
        let problem = make(path);
        if self.seen.insert(problem.clone()) {
            self.problems.push(problem);
        }
    }
    /// Go goes on after most errors and reports the first; types that parse themselves end the decoding.
    fn fail(&mut self, e: DecodeError, ty: &TypeRef) {
        let own = matches!(ty, TypeRef::Time | TypeRef::MicroTime | TypeRef::Duration | TypeRef::Quantity | TypeRef::IntOrString);
        if own && !self.ended {
            self.ended = true;
            self.error = Some(e);
        } else {
            self.error.get_or_insert(e);
        }
    }
}

/// A value that should be of type `ty`.
struct Seed<'c, 'a, 't> {
    cx: &'c mut Context<'a>,
    ty: &'t TypeRef,
    form: Form,
    /// Struct that the field is of, for messages.
    owner: &'t str,
    /// Go's name of the type, if it does not follow from `ty`.
    go: Option<&'t str>,
}

impl Seed<'_, '_, '_> {
    fn wrong(self, what: &str) -> Value {
        let go = self.go.map_or_else(|| go_type(self.cx.types, self.ty), str::to_owned);
        let e = match self.ty {
            TypeRef::Quantity => DecodeError::Type(machinery::quantity::ParseError::Format.to_string()),
            _ => mismatch(what, self.owner, &self.cx.fields, &go),
        };
        self.cx.fail(e, self.ty);
        Value::Null
    }
    fn any(&self) -> bool {
        self.ty == &ANY
    }
    fn raw(&self) -> bool {
        matches!(self.ty, TypeRef::Json | TypeRef::RawExtension | TypeRef::FieldsV1)
    }
    /// A scalar where a schema, or what may stand for one, should be: most are dropped without a word.
    fn no_schema(self) -> Value {
        if self.form == Form::SchemaOrBool {
            self.cx.fail(DecodeError::Type("boolean or JSON schema expected".into()), self.ty);
        }
        Value::Null
    }
    fn number(self, n: serde_json::Number) -> Value {
        if self.schema() {
            return self.no_schema();
        }
        let int32 = n.as_i64().is_some_and(|n| i32::try_from(n).is_ok());
        match self.ty {
            TypeRef::Int32 | TypeRef::IntOrString if int32 => Value::Number(n),
            TypeRef::Int64 if n.is_i64() => Value::Number(n),
            TypeRef::Float64 => Value::Number(n),
            TypeRef::Quantity => match string(self.ty, &n.to_string()) {
                Some(Ok(v)) => v,
                Some(Err(e)) => {
                    self.cx.fail(DecodeError::Type(e), self.ty);
                    Value::Null
                }
                None => self.wrong("number"),
            },
            _ if self.any() || self.raw() => Value::Number(n),
            ty if is_number(ty) => self.wrong(&format!("number {n}")),
            _ => self.wrong("number"),
        }
    }
    /// `SchemaOr…` types are an object or something else.
    fn schema(&self) -> bool {
        self.ty == &TypeRef::Json && !matches!(self.form, Form::Plain | Form::Wrapped)
    }
}

impl<'de> DeserializeSeed<'de> for Seed<'_, '_, '_> {
    type Value = Value;
    fn deserialize<D: Deserializer<'de>>(self, d: D) -> Result<Value, D::Error> {
        d.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Seed<'_, '_, '_> {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }
    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }
    fn visit_bool<E>(self, b: bool) -> Result<Value, E> {
        Ok(match self.ty {
            TypeRef::Bool => b.into(),
            _ if self.schema() && self.form != Form::SchemaOrBool => self.no_schema(),
            _ if self.any() || self.raw() => b.into(),
            _ => self.wrong("bool"),
        })
    }
    fn visit_i64<E>(self, n: i64) -> Result<Value, E> {
        Ok(self.number(n.into()))
    }
    fn visit_u64<E>(self, n: u64) -> Result<Value, E> {
        Ok(self.number(n.into()))
    }
    fn visit_f64<E>(self, n: f64) -> Result<Value, E> {
        Ok(serde_json::Number::from_f64(n).map_or(Value::Null, |n| self.number(n)))
    }
    fn visit_str<E>(self, s: &str) -> Result<Value, E> {
        if self.schema() {
            return Ok(self.no_schema());
        }
        if self.any() {
            return Ok(s.into());
        }
        Ok(match string(self.ty, s) {
            Some(Ok(v)) => v,
            Some(Err(e)) => {
                self.cx.fail(DecodeError::Type(e), self.ty);
                Value::Null
            }
            None => self.wrong("string"),
        })
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Value, A::Error> {
        let schema = TypeRef::Struct(self.cx.types.by_name(SCHEMA).unwrap_or(StructId(u32::MAX)));
        let elem = match self.ty {
            TypeRef::Array(elem) => elem,
            _ if self.any() => &ANY,
            TypeRef::Json if self.form == Form::SchemaOrArray => &schema,
            TypeRef::Json if self.form == Form::SchemaOrStringArray => &TypeRef::String,
            _ if self.schema() => {
                while seq.next_element::<IgnoredAny>()?.is_some() {}
                return Ok(self.no_schema());
            }
            _ if self.raw() => return Value::deserialize(SeqAccessDeserializer::new(seq)).map_err(A::Error::custom),
            _ => {
                while seq.next_element::<IgnoredAny>()?.is_some() {}
                return Ok(self.wrong("array"));
            }
        };
        let form = if self.schema() { Form::Plain } else { self.form };
        let go = self.go.and_then(|g| g.strip_prefix("[]"));
        let len = self.cx.path.len();
        let mut list = Vec::with_capacity(seq.size_hint().unwrap_or(0).min(1024));
        loop {
            self.cx.path.push_str(&format!("[{}]", list.len()));
            let next = seq.next_element_seed(Seed { cx: &mut *self.cx, ty: elem, form, owner: self.owner, go })?;
            self.cx.path.truncate(len);
            match next {
                Some(Value::Null) if elem != &ANY => list.push(zero(self.cx.types, elem)),
                Some(v) => list.push(v),
                None => break,
            }
        }
        Ok(Value::Array(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Value, A::Error> {
        let schema = TypeRef::Struct(self.cx.types.by_name(SCHEMA).unwrap_or(StructId(u32::MAX)));
        let ty = if self.schema() { &schema } else { self.ty };
        let mut out = Map::new();
        let path = self.cx.path.len();
        match ty {
            TypeRef::Map(elem) => self.map(map, elem),
            ty if ty == &ANY => self.map(map, &ANY),
            TypeRef::Struct(id) => {
                let types = self.cx.types;
                let st = types.get(*id);
                let fields = self.cx.fields.len();
                while let Some(key) = map.next_key::<std::borrow::Cow<'_, str>>()? {
                    let Some(f) = st.field(&key) else {
                        map.next_value::<IgnoredAny>()?;
                        self.cx.problem(Problem::Unknown, &key);
                        continue;
                    };
                    if out.contains_key(&*f.json) {
                        self.cx.problem(Problem::Duplicate, &f.json);
                    }
                    push(&mut self.cx.path, &f.json);
                    push_field(&mut self.cx.fields, f);
                    let go = f.go_type.as_deref();
                    let seed = Seed { cx: &mut *self.cx, ty: &f.ty, form: f.form, owner: &st.name, go };
                    let v = map.next_value_seed(seed)?;
                    self.cx.path.truncate(path);
                    self.cx.fields.truncate(fields);
                    out.insert(f.json.to_string(), v);
                }
                finish(types, st, &mut out);
                Ok(Value::Object(out))
            }
            _ if self.raw() => Value::deserialize(MapAccessDeserializer::new(map)).map_err(A::Error::custom),
            _ => {
                while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
                Ok(self.wrong("object"))
            }
        }
    }
}

impl Seed<'_, '_, '_> {
    fn map<'de, A: MapAccess<'de>>(self, mut map: A, elem: &TypeRef) -> Result<Value, A::Error> {
        let go = self.go.and_then(|g| g.strip_prefix("map[string]"));
        let path = self.cx.path.len();
        let mut out = Map::new();
        while let Some(key) = map.next_key::<String>()? {
            if out.contains_key(&key) {
                self.cx.problem(Problem::Duplicate, &key);
            }
            push(&mut self.cx.path, &key);
            let seed = Seed { cx: &mut *self.cx, ty: elem, form: self.form, owner: self.owner, go };
            let v = map.next_value_seed(seed)?;
            self.cx.path.truncate(path);
            let v = if v.is_null() && elem != &ANY { zero(self.cx.types, elem) } else { v };
            out.insert(key, v);
        }
        Ok(Value::Object(out))
    }
}
