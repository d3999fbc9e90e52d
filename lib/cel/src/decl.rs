//! Declared object types: what a schema says about a value, for the type checker, for reading JSON as the declared type,
//! and for the estimate of an expression's cost.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::types::Type;

/// How a list compares and adds, from `x-kubernetes-list-type`.
#[derive(Clone, Debug, Default, PartialEq)]
pub enum ListKind {
    /// In order.
    #[default]
    Atomic,
    /// Equal in any order; `+` is the union.
    Set,
    /// Keyed by the named properties; `+` replaces by key.
    Map(Vec<String>),
}

/// What a declared value is.
#[derive(Clone, Debug, PartialEq)]
pub enum Shape {
    /// A scalar (or dyn, where a schema says nothing).
    Scalar(Type),
    List(Arc<DeclType>, ListKind),
    /// String keys to values.
    Map(Arc<DeclType>),
    /// Declared fields by their names in expressions (escaped: [`crate::escape::escape`]).
    Object(BTreeMap<String, Field>),
}

/// A field of an object.
#[derive(Clone, Debug, PartialEq)]
pub struct Field {
    /// The name in JSON.
    pub json: String,
    pub decl: Arc<DeclType>,
    pub required: bool,
}

/// A declared type, with the limits that bound the sizes of its values.
#[derive(Clone, Debug, PartialEq)]
pub struct DeclType {
    /// The name of an object type; empty for others.
    pub name: String,
    pub shape: Shape,
    /// The most elements (characters of a string, items of a list, entries of a map) that a value can have.
    pub max_elements: Option<u64>,
    /// The fewest bytes that a value takes in JSON.
    pub min_serialized: u64,
}

impl DeclType {
    /// A scalar without limits.
    pub fn scalar(t: Type) -> Self {
        let min_serialized = match t {
            Type::Bool => 4,
            Type::String | Type::Bytes => 2,
            Type::Timestamp => 21,
            Type::Duration => 3,
            _ => 1,
        };
        Self { name: String::new(), shape: Shape::Scalar(t), max_elements: None, min_serialized }
    }

    /// A list.
    pub fn list(of: Arc<DeclType>, kind: ListKind, max: Option<u64>) -> Self {
        Self { name: String::new(), shape: Shape::List(of, kind), max_elements: max, min_serialized: 2 }
    }

    /// A map from strings.
    pub fn map(of: Arc<DeclType>, max: Option<u64>) -> Self {
        Self { name: String::new(), shape: Shape::Map(of), max_elements: max, min_serialized: 2 }
    }

    /// An object; fields by their escaped names.
    pub fn object(name: impl Into<String>, fields: BTreeMap<String, Field>) -> Self {
        // {} and, for each required field, its quoted name, a colon and its value.
        let required = fields.values().filter(|f| f.required);
        let min_serialized = 2 + required.map(|f| f.json.len() as u64 + f.decl.min_serialized + 4).sum::<u64>();
        Self { name: name.into(), shape: Shape::Object(fields), max_elements: None, min_serialized }
    }

    /// With another limit of elements.
    pub fn with_max(mut self, max: Option<u64>) -> Self {
        self.max_elements = max;
        self
    }

    /// The declared field of that name in expressions.
    pub fn field(&self, name: &str) -> Option<&Field> {
        match &self.shape {
            Shape::Object(fields) => fields.get(name),
            _ => None,
        }
    }

    /// The type for the checker.
    pub fn as_type(self: &Arc<Self>) -> Type {
        match &self.shape {
            Shape::Scalar(t) => t.clone(),
            Shape::List(of, _) => Type::list(of.as_type()),
            Shape::Map(of) => Type::map(Type::String, of.as_type()),
            Shape::Object(_) => Type::Object(self.clone()),
        }
    }
}
