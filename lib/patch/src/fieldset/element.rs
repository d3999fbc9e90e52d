//! One step of a field path: a field, an item of a keyed list, an item of a set, or an index.

use machinery::Value;
use machinery::quote::Quoted;
use std::cmp::Ordering;
use std::fmt;

/// A JSON value that can be ordered: keys of list items, items of sets.
#[derive(Clone, Debug)]
pub struct Scalar(pub Value);

fn rank(v: &Value) -> u8 {
    match v {
        Value::Number(_) => 0,
        Value::String(_) => 1,
        Value::Bool(_) => 2,
        Value::Array(_) => 3,
        Value::Object(_) => 4,
        Value::Null => 5,
    }
}

impl Ord for Scalar {
    fn cmp(&self, other: &Self) -> Ordering {
        match (&self.0, &other.0) {
            (Value::String(a), Value::String(b)) => a.cmp(b),
            (Value::Bool(a), Value::Bool(b)) => a.cmp(b),
            (Value::Number(a), Value::Number(b)) => match (a.as_i64(), b.as_i64()) {
                (Some(a), Some(b)) => a.cmp(&b),
                _ => a.as_f64().unwrap_or(0.0).total_cmp(&b.as_f64().unwrap_or(0.0)),
            },
            (a, b) if rank(a) != rank(b) => rank(a).cmp(&rank(b)),
            (a, b) => a.to_string().cmp(&b.to_string()),
        }
    }
}
impl PartialOrd for Scalar {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}
impl PartialEq for Scalar {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}
impl Eq for Scalar {}

/// One step of a field path.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Element {
    Field(Box<str>),
    /// Key fields of a list item, sorted by name.
    Key(Vec<(Box<str>, Scalar)>),
    Value(Scalar),
    Index(i64),
}

impl Element {
    pub fn field(name: &str) -> Self {
        Self::Field(name.into())
    }
}

struct Shown<'a>(&'a Value);

impl fmt::Display for Shown<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Value::String(s) => Quoted(s).fmt(f),
            Value::Null => f.write_str("null"),
            v => v.fmt(f),
        }
    }
}

impl fmt::Display for Element {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Field(name) => write!(f, ".{name}"),
            Self::Key(keys) => {
                for (i, (name, v)) in keys.iter().enumerate() {
                    write!(f, "{}{name}={}", if i == 0 { '[' } else { ',' }, Shown(&v.0))?;
                }
                f.write_str("]")
            }
            Self::Value(v) => write!(f, "[={}]", Shown(&v.0)),
            Self::Index(i) => write!(f, "[{i}]"),
        }
    }
}

/// A path as conflicts show it: `.spec.containers[name="a"].image`.
pub fn path_string(path: &[Element]) -> String {
    path.iter().map(ToString::to_string).collect()
}
