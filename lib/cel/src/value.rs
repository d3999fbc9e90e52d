//! Values. What comes from JSON is borrowed, not copied, and read as its declared type where it has one.

use std::fmt;
use std::sync::Arc;

use jiff::Timestamp;
use machinery::{Map, Value};

use crate::decl::{DeclType, ListKind, Shape};
use crate::error::EvalError;
use crate::library::Extension;
use crate::types::Type;

/// A value of an expression; `'a` is the life of the JSON it was read from.
#[derive(Clone)]
pub enum Val<'a> {
    Null,
    Bool(bool),
    Int(i64),
    Uint(u64),
    Double(f64),
    String(Text<'a>),
    Bytes(Arc<[u8]>),
    Timestamp(Timestamp),
    /// In nanoseconds.
    Duration(i64),
    List(List<'a>),
    Map(MapVal<'a>),
    Optional(Option<Arc<Val<'a>>>),
    Type(Arc<Type>),
    /// An object that an expression made (`Object{...}`, `JSONPatch{...}`).
    Struct(Arc<Struct<'a>>),
    /// What the libraries define.
    Extension(Extension<'a>),
}

/// A string.
#[derive(Clone)]
pub enum Text<'a> {
    Borrowed(&'a str),
    Shared(Arc<str>),
}

impl std::ops::Deref for Text<'_> {
    type Target = str;
    fn deref(&self) -> &str {
        match self {
            Self::Borrowed(s) => s,
            Self::Shared(s) => s,
        }
    }
}

/// A list.
#[derive(Clone)]
pub enum List<'a> {
    Json(&'a [Value], Option<&'a DeclType>),
    Made(Arc<Vec<Val<'a>>>),
}

/// A map, or an object from JSON.
#[derive(Clone)]
pub enum MapVal<'a> {
    Json(&'a Map<String, Value>, Option<&'a DeclType>),
    /// In the order of insertion.
    Made(Arc<Vec<(Val<'a>, Val<'a>)>>),
    /// Fields that are computed when they are asked for.
    Lazy(&'a dyn Fields<'a>),
}

/// Fields that are computed when they are asked for: `variables` of policies.
pub trait Fields<'a> {
    /// The field's value, or nothing if there is no such field.
    fn get(&'a self, name: &str) -> Option<Result<Val<'a>, EvalError>>;
}

/// An object that an expression made.
pub struct Struct<'a> {
    pub name: Arc<str>,
    pub fields: Vec<(String, Val<'a>)>,
}

impl<'a> Val<'a> {
    /// A string that is borrowed.
    pub fn str(s: &'a str) -> Self {
        Self::String(Text::Borrowed(s))
    }
    /// A string of its own.
    pub fn string(s: impl Into<Arc<str>>) -> Self {
        Self::String(Text::Shared(s.into()))
    }
    /// A list of its own.
    pub fn list(items: Vec<Val<'a>>) -> Self {
        Self::List(List::Made(Arc::new(items)))
    }
    /// A list of strings.
    pub fn strings<S: Into<Arc<str>>>(items: impl IntoIterator<Item = S>) -> Self {
        Self::list(items.into_iter().map(Self::string).collect())
    }
    /// A map of its own.
    pub fn map(entries: Vec<(Val<'a>, Val<'a>)>) -> Self {
        Self::Map(MapVal::Made(Arc::new(entries)))
    }
    /// An optional with a value.
    pub fn some(v: Val<'a>) -> Self {
        Self::Optional(Some(Arc::new(v)))
    }

    /// JSON as its types are: integers are `int`, other numbers `double`.
    pub fn dynamic(v: &'a Value) -> Self {
        match v {
            Value::Null => Self::Null,
            Value::Bool(b) => Self::Bool(*b),
            Value::Number(n) => n.as_i64().map_or_else(|| Self::Double(n.as_f64().unwrap_or_default()), Self::Int),
            Value::String(s) => Self::str(s),
            Value::Array(items) => Self::List(List::Json(items, None)),
            Value::Object(map) => Self::Map(MapVal::Json(map, None)),
        }
    }

    /// JSON as its declared type says.
    pub fn declared(v: &'a Value, decl: Option<&'a DeclType>) -> Result<Self, EvalError> {
        let Some(decl) = decl else { return Ok(Self::dynamic(v)) };
        Ok(match (v, &decl.shape) {
            (Value::Array(items), Shape::List(..)) => Self::List(List::Json(items, Some(decl))),
            (Value::Object(map), Shape::Object(_) | Shape::Map(_)) => Self::Map(MapVal::Json(map, Some(decl))),
            (Value::Number(n), Shape::Scalar(Type::Double)) => Self::Double(n.as_f64().unwrap_or_default()),
            (Value::Number(n), Shape::Scalar(Type::Int)) => {
                n.as_i64().map(Self::Int).or(n.as_f64().map(|f| Self::Int(f as i64))).unwrap_or(Self::Null)
            }
            (Value::String(s), Shape::Scalar(Type::Timestamp)) => Self::Timestamp(read_time(s)?),
            (Value::String(s), Shape::Scalar(Type::Duration)) => {
                let read = machinery::duration::parse(s);
                Self::Duration(read.map_err(|_| EvalError::new(format!("Invalid duration {s} \"duration\"")))?)
            }
            (Value::String(s), Shape::Scalar(Type::Bytes)) => {
                use base64::Engine;
                let read = base64::engine::general_purpose::STANDARD.decode(s);
                Self::Bytes(read.map_err(|e| EvalError::new(format!("Failed to base64 decode: {e}")))?.into())
            }
            _ => Self::dynamic(v),
        })
    }

    /// The name of the value's type.
    pub fn type_of(&self) -> Type {
        match self {
            Self::Null => Type::Null,
            Self::Bool(_) => Type::Bool,
            Self::Int(_) => Type::Int,
            Self::Uint(_) => Type::Uint,
            Self::Double(_) => Type::Double,
            Self::String(_) => Type::String,
            Self::Bytes(_) => Type::Bytes,
            Self::Timestamp(_) => Type::Timestamp,
            Self::Duration(_) => Type::Duration,
            Self::List(_) => Type::list(Type::Dyn),
            Self::Map(_) => Type::map(Type::Dyn, Type::Dyn),
            Self::Optional(_) => Type::optional(Type::Dyn),
            Self::Type(t) => Type::Type(t.clone()),
            Self::Struct(s) => Type::Free(s.name.clone()),
            Self::Extension(e) => Type::Named(e.type_name()),
        }
    }

    /// The string, if it is one.
    pub fn as_str(&self) -> Option<&str> {
        match self {
            Self::String(s) => Some(s),
            _ => None,
        }
    }

    /// The size that costs are counted by: of strings, bytes, lists, maps and addresses; one for others.
    pub(crate) fn size(&self) -> u64 {
        match self {
            Self::String(s) => s.chars().count() as u64,
            Self::Bytes(b) => b.len() as u64,
            Self::List(l) => l.len() as u64,
            Self::Map(m) => m.len() as u64,
            Self::Optional(Some(v)) => v.size(),
            Self::Extension(e) => e.size(),
            _ => 1,
        }
    }

    /// Whether this is the zero of its type, for `optional.ofNonZeroValue`.
    pub(crate) fn is_zero(&self) -> bool {
        match self {
            Self::Null => true,
            Self::Bool(b) => !b,
            Self::Int(i) => *i == 0,
            Self::Uint(u) => *u == 0,
            Self::Double(d) => *d == 0.0,
            Self::String(s) => s.is_empty(),
            Self::Bytes(b) => b.is_empty(),
            Self::Duration(d) => *d == 0,
            Self::List(l) => l.is_empty(),
            Self::Map(m) => m.is_empty(),
            Self::Optional(o) => o.as_ref().is_none_or(|v| v.is_zero()),
            Self::Struct(s) => s.fields.is_empty(),
            Self::Timestamp(_) | Self::Type(_) | Self::Extension(_) => false,
        }
    }

    /// The field or key of that name: nothing if it is not there, an error if this has no fields.
    pub fn get(&self, name: &str) -> Result<Option<Val<'a>>, EvalError> {
        match self {
            Self::Map(m) => m.get_str(name),
            Self::Struct(s) => Ok(s.fields.iter().find(|(n, _)| n == name).map(|(_, v)| v.clone())),
            Self::Optional(Some(v)) => v.get(name),
            _ => Ok(None),
        }
    }

    /// The value as JSON, for objects and patches that expressions make.
    pub fn to_json(&self) -> Result<Value, EvalError> {
        Ok(match self {
            Self::Null => Value::Null,
            Self::Bool(b) => (*b).into(),
            Self::Int(i) => (*i).into(),
            Self::Uint(u) => (*u).into(),
            Self::Double(d) => serde_json::Number::from_f64(*d).map_or(Value::Null, Value::Number),
            Self::String(s) => Value::String(s.to_string()),
            Self::Bytes(b) => {
                use base64::Engine;
                Value::String(base64::engine::general_purpose::STANDARD.encode(b))
            }
            Self::Timestamp(t) => Value::String(machinery::time::format_nano(*t)),
            Self::Duration(d) => Value::String(machinery::duration::format(*d)),
            Self::List(l) => Value::Array(l.iter().map(|v| v?.to_json()).collect::<Result<_, _>>()?),
            Self::Map(MapVal::Json(m, _)) => Value::Object((*m).clone()),
            Self::Map(m) => {
                let entry = |(k, v): (Val<'a>, Val<'a>)| match k {
                    Val::String(k) => Ok((k.to_string(), v.to_json()?)),
                    k => Err(EvalError::new(format!("unsupported map key type: {}", k.type_of().name()))),
                };
                Value::Object(m.entries()?.into_iter().map(entry).collect::<Result<_, EvalError>>()?)
            }
            Self::Struct(s) => {
                let mut out = Map::new();
                for (name, v) in &s.fields {
                    out.insert(name.clone(), v.to_json()?);
                }
                Value::Object(out)
            }
            Self::Optional(Some(v)) => v.to_json()?,
            Self::Optional(None) => Value::Null,
            Self::Type(_) | Self::Extension(_) => {
                return Err(EvalError::new(format!("unsupported type conversion to JSON: {}", self.type_of().name())));
            }
        })
    }
}

fn read_time(s: &str) -> Result<Timestamp, EvalError> {
    s.parse::<Timestamp>()
        .ok()
        .or_else(|| s.parse::<jiff::civil::Date>().ok()?.to_zoned(jiff::tz::TimeZone::UTC).ok().map(|z| z.timestamp()))
        .ok_or_else(|| EvalError::new(format!("Failed to parse date-time string {s}")))
}

impl<'a> List<'a> {
    pub fn len(&self) -> usize {
        match self {
            Self::Json(l, _) => l.len(),
            Self::Made(l) => l.len(),
        }
    }
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
    /// The element at the index.
    pub fn get(&self, i: usize) -> Option<Result<Val<'a>, EvalError>> {
        match self {
            Self::Json(l, decl) => l.get(i).map(|v| Val::declared(v, element(*decl))),
            Self::Made(l) => l.get(i).cloned().map(Ok),
        }
    }
    /// The elements in order.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = Result<Val<'a>, EvalError>> + '_ {
        (0..self.len()).filter_map(|i| self.get(i))
    }
    /// The elements.
    pub fn to_vec(&self) -> Result<Vec<Val<'a>>, EvalError> {
        self.iter().collect()
    }
    /// How it compares and adds.
    pub(crate) fn kind(&self) -> Option<&'a ListKind> {
        match self {
            Self::Json(_, Some(DeclType { shape: Shape::List(_, kind), .. })) => Some(kind),
            _ => None,
        }
    }
}

fn element(decl: Option<&DeclType>) -> Option<&DeclType> {
    match &decl?.shape {
        Shape::List(of, _) | Shape::Map(of) => Some(of),
        _ => None,
    }
}

impl<'a> MapVal<'a> {
    pub fn len(&self) -> usize {
        match self {
            Self::Json(m, _) => m.len(),
            Self::Made(m) => m.len(),
            Self::Lazy(_) => 0,
        }
    }
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
    /// The value of a string key, or of a field by its name in expressions.
    pub fn get_str(&self, key: &str) -> Result<Option<Val<'a>>, EvalError> {
        match self {
            Self::Json(m, Some(decl)) if matches!(decl.shape, Shape::Object(_)) => match decl.field(key) {
                Some(field) => m.get(&field.json).map(|v| Val::declared(v, Some(&field.decl))).transpose(),
                None => Ok(None),
            },
            Self::Json(m, decl) => m.get(key).map(|v| Val::declared(v, element(*decl))).transpose(),
            Self::Made(m) => Ok(m.iter().find(|(k, _)| k.as_str() == Some(key)).map(|(_, v)| v.clone())),
            Self::Lazy(f) => f.get(key).transpose(),
        }
    }
    /// The value of a key.
    pub fn get(&self, key: &Val<'a>) -> Result<Option<Val<'a>>, EvalError> {
        match (self, key) {
            (_, Val::String(k)) => self.get_str(k),
            (Self::Made(m), key) => {
                for (k, v) in m.iter() {
                    if crate::equality::equal(k, key)? {
                        return Ok(Some(v.clone()));
                    }
                }
                Ok(None)
            }
            _ => Ok(None),
        }
    }
    /// The keys.
    pub fn keys(&self) -> Vec<Val<'a>> {
        match self {
            Self::Json(m, _) => m.keys().map(|k| Val::str(k)).collect(),
            Self::Made(m) => m.iter().map(|(k, _)| k.clone()).collect(),
            Self::Lazy(_) => Vec::new(),
        }
    }
    /// Keys and values.
    pub fn entries(&self) -> Result<Vec<(Val<'a>, Val<'a>)>, EvalError> {
        match self {
            Self::Made(m) => Ok(m.to_vec()),
            Self::Json(m, decl) if !decl.is_some_and(|d| matches!(d.shape, Shape::Object(_))) => {
                m.iter().map(|(k, v)| Ok((Val::str(k), Val::declared(v, element(*decl))?))).collect()
            }
            Self::Json(m, _) => Ok(m.iter().map(|(k, v)| (Val::str(k), Val::dynamic(v))).collect()),
            Self::Lazy(_) => Ok(Vec::new()),
        }
    }
}

impl fmt::Debug for Val<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        use machinery::quote::Quoted;
        match self {
            Self::Null => f.write_str("null"),
            Self::Bool(b) => write!(f, "{b}"),
            Self::Int(i) => write!(f, "{i}"),
            Self::Uint(u) => write!(f, "{u}u"),
            Self::Double(d) => f.write_str(&crate::library::format_double(*d)),
            Self::String(s) => write!(f, "{}", Quoted(s)),
            Self::Bytes(b) => write!(f, "b{}", Quoted(&String::from_utf8_lossy(b))),
            Self::Timestamp(t) => f.write_str(&machinery::time::format_nano(*t)),
            Self::Duration(d) => f.write_str(&crate::library::format_duration(*d)),
            Self::List(l) => f.debug_list().entries(l.iter().filter_map(Result::ok)).finish(),
            Self::Map(m) => write!(f, "map of {}", m.len()),
            Self::Optional(Some(v)) => write!(f, "optional({v:?})"),
            Self::Optional(None) => f.write_str("optional.none"),
            Self::Type(t) => write!(f, "type {}", t.name()),
            Self::Struct(s) => write!(f, "a {}", s.name),
            Self::Extension(e) => write!(f, "a {}", e.type_name()),
        }
    }
}
