//! A place in a type: what the walkers need to know of a value, and the types of what lies below it.

use crate::fieldset::{Element, Scalar};
use machinery::Value;
use schema::types::{Field, ListType, Struct, TypeRef, Typed, Types};

/// The type of a value, with what the field that holds it says about lists and atomicity.
#[derive(Clone, Copy)]
pub(crate) struct Node<'a> {
    types: &'a Types,
    pub kind: Kind<'a>,
}

#[derive(Clone, Copy)]
pub(crate) enum Kind<'a> {
    /// A value without a type: objects are merged field by field, lists are atomic.
    Deduced,
    /// A value without a type that is atomic whatever it is.
    Atomic,
    Scalar(&'a TypeRef),
    List {
        item: &'a TypeRef,
        list_type: ListType,
        keys: &'a [Box<str>],
    },
    Struct {
        def: &'a Struct,
        atomic: bool,
    },
    Map {
        item: &'a TypeRef,
        atomic: bool,
    },
}

/// How a walker treats one value: upstream's atoms.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Atom {
    Scalar,
    List,
    Map,
}

impl<'a> Node<'a> {
    pub fn root(t: Typed<'a>) -> Self {
        let def = t.types.get(t.root);
        Self { types: t.types, kind: Kind::Struct { def, atomic: def.atomic } }
    }

    fn of(types: &'a Types, ty: &'a TypeRef, field: Option<&'a Field>) -> Self {
        let atomic = field.is_some_and(|f| f.atomic);
        let kind = match ty {
            TypeRef::RawExtension => Kind::Atomic,
            TypeRef::FieldsV1 | TypeRef::Json => Kind::Deduced,
            TypeRef::Struct(id) => {
                let def = types.get(*id);
                Kind::Struct { def, atomic: atomic || def.atomic }
            }
            TypeRef::Array(item) => Kind::List {
                item,
                list_type: field.map_or(ListType::Atomic, |f| f.list_type),
                keys: field.map_or(&[], |f| f.list_keys.as_slice()),
            },
            TypeRef::Map(item) => Kind::Map { item, atomic },
            scalar => Kind::Scalar(scalar),
        };
        Self { types, kind }
    }

    /// The field or entry called `name`. `None` where the type has no such field.
    pub fn field(&self, name: &str) -> Option<Self> {
        match self.kind {
            Kind::Struct { def, .. } => match def.field(name) {
                Some(f) => Some(Self::of(self.types, &f.ty, Some(f))),
                None if def.preserve_unknown || def.fields.is_empty() => Some(self.deduced()),
                None => None,
            },
            Kind::Map { item, .. } => Some(Self::of(self.types, item, None)),
            Kind::Atomic => Some(*self),
            Kind::Deduced => Some(*self),
            Kind::Scalar(_) | Kind::List { .. } => None,
        }
    }
    /// The same, with a value of unknown shape where there is no such field.
    pub fn field_or_deduced(&self, name: &str) -> Self {
        self.field(name).unwrap_or_else(|| self.deduced())
    }
    /// Whether `name` is a field of the struct, rather than an entry of a map.
    pub fn declares(&self, name: &str) -> bool {
        matches!(self.kind, Kind::Struct { def, .. } if def.field(name).is_some())
    }
    /// The items of a list.
    pub fn item(&self) -> Self {
        match self.kind {
            Kind::List { item, .. } => Self::of(self.types, item, None),
            _ => Self { kind: Kind::Atomic, ..*self },
        }
    }
    fn deduced(&self) -> Self {
        Self { types: self.types, kind: Kind::Deduced }
    }

    /// How `v` is treated here. A value of the wrong shape is treated as its type says.
    pub fn atom(&self, v: Option<&Value>) -> Atom {
        match self.kind {
            Kind::Scalar(_) => Atom::Scalar,
            Kind::List { .. } => Atom::List,
            Kind::Struct { .. } | Kind::Map { .. } => Atom::Map,
            Kind::Deduced | Kind::Atomic => match v {
                Some(Value::Array(_)) => Atom::List,
                None | Some(Value::Object(_) | Value::Null) => Atom::Map,
                Some(_) => Atom::Scalar,
            },
        }
    }
    /// Whether lists here are compared and owned as a whole.
    pub fn atomic_list(&self) -> bool {
        !matches!(self.kind, Kind::List { list_type: ListType::Set | ListType::Map, .. })
    }
    /// Whether objects here are compared and owned as a whole.
    pub fn atomic_map(&self) -> bool {
        matches!(self.kind, Kind::Atomic | Kind::Struct { atomic: true, .. } | Kind::Map { atomic: true, .. })
    }

    /// The step that leads to an item of a set or keyed list; absent keys take their defaults.
    pub fn element(&self, item: &Value) -> Result<Element, String> {
        let Kind::List { item: item_type, list_type, keys } = self.kind else {
            return Err("invalid indexing of non-associative list".into());
        };
        match (list_type, item) {
            (ListType::Atomic, _) => Err("invalid indexing of non-associative list".into()),
            (ListType::Map, Value::Null) => Err("associative list with keys may not have a null element".into()),
            (ListType::Map, Value::Object(m)) => {
                let def = match item_type {
                    TypeRef::Struct(id) => Some(self.types.get(*id)),
                    _ => None,
                };
                let mut out: Vec<(Box<str>, Scalar)> = Vec::with_capacity(keys.len());
                for k in keys {
                    let default = || def.and_then(|d| d.field(k)).and_then(|f| f.default.as_ref());
                    if let Some(v) = m.get(&**k).or_else(default) {
                        out.push((k.clone(), Scalar(v.clone())));
                    }
                }
                if out.is_empty() && !keys.is_empty() {
                    let keys: Vec<String> = keys.iter().map(|k| machinery::quote::quote(k)).collect();
                    return Err(format!(
                        "associative list with keys has an element that omits all key fields [{}] (and doesn't have default values for any key fields)",
                        keys.join(" ")
                    ));
                }
                out.sort();
                Ok(Element::Key(out))
            }
            (ListType::Map, _) => Err("associative list with keys may not have non-map elements".into()),
            (ListType::Set, Value::Object(_)) => Err("associative list without keys has an element that's a map type".into()),
            (ListType::Set, Value::Array(_)) => Err("not supported: associative list with lists as elements".into()),
            (ListType::Set, Value::Null) => Err("associative list without keys has an element that's an explicit null".into()),
            (ListType::Set, v) => Ok(Element::Value(Scalar(v.clone()))),
        }
    }
}

/// The entries of an object; of anything else none.
pub(crate) fn entries(v: Option<&Value>) -> Option<&machinery::Map<String, Value>> {
    v.and_then(Value::as_object)
}

/// The items of a list; of anything else none.
pub(crate) fn items(v: Option<&Value>) -> &[Value] {
    v.and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

/// Whether two numbers that are written differently are still one: 1 and 1.0.
pub(crate) fn equal(a: &Value, b: &Value) -> bool {
    match (a, b) {
        (Value::Number(_), Value::Number(_)) => Scalar(a.clone()) == Scalar(b.clone()),
        _ => a == b,
    }
}
