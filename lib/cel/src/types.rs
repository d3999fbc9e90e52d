//! Types of expressions: how they are written in messages, and which may stand where (unification over type parameters).

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use crate::decl::DeclType;

/// The type of an expression.
#[derive(Clone, Debug, PartialEq)]
pub enum Type {
    /// Known only at run time.
    Dyn,
    /// Of an expression that did not check; fits everywhere, so that one mistake is reported once.
    Error,
    Null,
    Bool,
    Int,
    Uint,
    Double,
    String,
    Bytes,
    Timestamp,
    Duration,
    List(Arc<Type>),
    Map(Arc<Type>, Arc<Type>),
    Optional(Arc<Type>),
    /// The type of a type: `int` is of type `type(int)`.
    Type(Arc<Type>),
    /// A named type without fields: what libraries define (`kubernetes.Quantity`, `net.IP`).
    Named(&'static str),
    /// An object with declared fields.
    Object(Arc<DeclType>),
    /// An object of which any field may be set: `Object`, `Object.spec`, ... of mutating policies.
    Free(Arc<str>),
    /// A type parameter: of a declaration (below [`FIRST_FRESH`]), or fresh for one call.
    Param(u32),
}

/// Type parameters of declarations are numbered below this.
pub(crate) const FIRST_FRESH: u32 = 1 << 16;

impl Type {
    /// `list(of)`.
    pub fn list(of: Type) -> Self {
        Self::List(Arc::new(of))
    }
    /// `map(key, value)`.
    pub fn map(key: Type, value: Type) -> Self {
        Self::Map(Arc::new(key), Arc::new(value))
    }
    /// `optional_type(of)`.
    pub fn optional(of: Type) -> Self {
        Self::Optional(Arc::new(of))
    }
    pub(crate) fn is_dyn(&self) -> bool {
        matches!(self, Self::Dyn)
    }
    pub(crate) fn is_error(&self) -> bool {
        matches!(self, Self::Error)
    }
    fn nullable(&self) -> bool {
        matches!(
            self,
            Self::Null | Self::Named(_) | Self::Object(_) | Self::Free(_) | Self::Optional(_) | Self::Duration | Self::Timestamp
        )
    }
    /// The name of the type in `type(x)` and in conversion errors.
    pub fn name(&self) -> String {
        match self {
            Self::Null => "null_type".into(),
            Self::Timestamp => "google.protobuf.Timestamp".into(),
            Self::Duration => "google.protobuf.Duration".into(),
            Self::List(_) => "list".into(),
            Self::Map(..) => "map".into(),
            Self::Optional(_) => "optional_type".into(),
            Self::Type(_) => "type".into(),
            other => other.to_string(),
        }
    }
    /// The whole type with its parameters, as `cel.Type.String` writes it (`list(google.protobuf.Timestamp)`).
    pub fn full_name(&self) -> String {
        match self {
            Self::Null | Self::Timestamp | Self::Duration => self.name(),
            Self::List(t) => format!("list({})", t.full_name()),
            Self::Map(k, v) => format!("map({}, {})", k.full_name(), v.full_name()),
            Self::Optional(t) => format!("optional_type({})", t.full_name()),
            other => other.to_string(),
        }
    }
}

/// As compile errors write types.
impl fmt::Display for Type {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Dyn => f.write_str("dyn"),
            Self::Error => f.write_str("!error!"),
            Self::Null => f.write_str("null"),
            Self::Bool => f.write_str("bool"),
            Self::Int => f.write_str("int"),
            Self::Uint => f.write_str("uint"),
            Self::Double => f.write_str("double"),
            Self::String => f.write_str("string"),
            Self::Bytes => f.write_str("bytes"),
            Self::Timestamp => f.write_str("timestamp"),
            Self::Duration => f.write_str("duration"),
            Self::List(t) => write!(f, "list({t})"),
            Self::Map(k, v) => write!(f, "map({k}, {v})"),
            Self::Optional(t) => write!(f, "optional_type({t})"),
            Self::Type(t) => write!(f, "type({t})"),
            Self::Named(n) => f.write_str(n),
            Self::Object(d) => f.write_str(&d.name),
            Self::Free(n) => f.write_str(n),
            Self::Param(n) => write!(f, "_var{}", n.saturating_sub(FIRST_FRESH)),
        }
    }
}

/// What the type parameters of one expression stand for.
#[derive(Clone, Default)]
pub(crate) struct Bindings(HashMap<u32, Type>);

impl Bindings {
    /// Whether a value of the one type may stand where the other is expected; binds parameters if so, nothing if not.
    pub(crate) fn assignable(&mut self, a: &Type, b: &Type) -> bool {
        let before = self.0.clone();
        let ok = self.unify(a, b);
        if !ok {
            self.0 = before;
        }
        ok
    }

    /// [`Bindings::assignable`] for the arguments of a call.
    pub(crate) fn all_assignable(&mut self, a: &[Type], b: &[Type]) -> bool {
        if a.len() != b.len() {
            return false;
        }
        let before = self.0.clone();
        let ok = a.iter().zip(b).all(|(a, b)| self.unify(a, b));
        if !ok {
            self.0 = before;
        }
        ok
    }

    fn unify(&mut self, a: &Type, b: &Type) -> bool {
        if let Type::Param(p) = b {
            let (valid, bound) = self.substitutes(a, *p);
            if valid || bound {
                return valid;
            }
        }
        if let Type::Param(p) = a {
            return self.substitutes(b, *p).0;
        }
        match (a, b) {
            (Type::Dyn | Type::Error, _) | (_, Type::Dyn | Type::Error) => true,
            (Type::Null, t) | (t, Type::Null) => t.nullable(),
            (Type::List(x), Type::List(y)) | (Type::Optional(x), Type::Optional(y)) => self.unify(x, y),
            (Type::Map(k, v), Type::Map(l, w)) => self.unify(k, l) && self.unify(v, w),
            (Type::Type(_), Type::Type(_)) => true,
            (Type::Object(x), Type::Object(y)) => x.name == y.name,
            (x, y) => x == y,
        }
    }

    /// Whether the type fits the parameter, and whether the parameter was bound before.
    fn substitutes(&mut self, t: &Type, param: u32) -> (bool, bool) {
        if *t == Type::Param(param) {
            return (true, true);
        }
        if let Some(bound) = self.0.get(&param).cloned() {
            if *t == bound {
                return (true, true);
            }
            if self.unify(t, &bound) {
                let general = more_general(t, &bound).clone();
                if self.free_of(param, &general) {
                    self.0.insert(param, general);
                }
                return (true, true);
            }
            return (false, true);
        }
        if self.free_of(param, t) {
            self.0.insert(param, t.clone());
            return (true, false);
        }
        (false, false)
    }

    fn free_of(&self, param: u32, t: &Type) -> bool {
        match t {
            Type::Param(p) if *p == param => false,
            Type::Param(p) => self.0.get(p).is_none_or(|t| self.free_of(param, t)),
            Type::List(t) | Type::Optional(t) | Type::Type(t) => self.free_of(param, t),
            Type::Map(k, v) => self.free_of(param, k) && self.free_of(param, v),
            _ => true,
        }
    }

    /// The type with bound parameters replaced; unbound ones become `dyn` if `close`.
    pub(crate) fn resolve(&self, t: &Type, close: bool) -> Type {
        match t {
            Type::Param(p) => match self.0.get(p) {
                Some(bound) => self.resolve(bound, close),
                None if close => Type::Dyn,
                None => t.clone(),
            },
            Type::List(t) => Type::list(self.resolve(t, close)),
            Type::Optional(t) => Type::optional(self.resolve(t, close)),
            Type::Type(t) => Type::Type(Arc::new(self.resolve(t, close))),
            Type::Map(k, v) => Type::map(self.resolve(k, close), self.resolve(v, close)),
            other => other.clone(),
        }
    }
}

/// The more general of two types that unify.
pub(crate) fn more_general<'a>(a: &'a Type, b: &'a Type) -> &'a Type {
    if less_specific(a, b) { a } else { b }
}

fn less_specific(a: &Type, b: &Type) -> bool {
    match (a, b) {
        (Type::Dyn | Type::Param(_), _) => true,
        (_, Type::Dyn | Type::Param(_)) => false,
        (Type::List(x), Type::List(y)) | (Type::Optional(x), Type::Optional(y)) => less_specific(x, y),
        (Type::Map(k, v), Type::Map(l, w)) => less_specific(k, l) && less_specific(v, w),
        (Type::Type(_), Type::Type(_)) => true,
        (x, y) => x == y,
    }
}

/// The type with each declared parameter replaced by a fresh one.
pub(crate) fn instantiate(t: &Type, first: u32) -> Type {
    match t {
        Type::Param(p) if *p < FIRST_FRESH => Type::Param(first + p),
        Type::List(t) => Type::list(instantiate(t, first)),
        Type::Optional(t) => Type::optional(instantiate(t, first)),
        Type::Type(t) => Type::Type(Arc::new(instantiate(t, first))),
        Type::Map(k, v) => Type::map(instantiate(k, first), instantiate(v, first)),
        other => other.clone(),
    }
}
