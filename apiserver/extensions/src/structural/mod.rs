//! A structural schema: `JSONSchemaProps` read once into what pruning, defaulting and validation walk.
//! Upstream: apiextensions-apiserver/pkg/apiserver/schema/structural.go.

mod invariants;

pub use invariants::validate;

use crate::pattern::Pattern;
use machinery::Value;
use std::collections::BTreeMap;

/// Schemas nested deeper are refused; JSON parsers stop about there, too.
const MAX_DEPTH: u32 = 100;

/// `additionalProperties`: a bare `true` or `false`, or the schema of the values.
#[derive(Clone, Debug)]
pub enum Additional {
    Bool(bool),
    Schema(Box<Schema>),
}

impl Additional {
    pub fn schema(&self) -> Option<&Schema> {
        match self {
            Self::Bool(_) => None,
            Self::Schema(s) => Some(s),
        }
    }
}

/// One node. Structure and value validation lie together; [`validate`] tells whether the whole is structural.
#[derive(Clone, Debug, Default)]
pub struct Schema {
    pub ty: String,
    pub nullable: bool,
    pub default: Option<Value>,
    pub properties: BTreeMap<String, Schema>,
    pub additional: Option<Additional>,
    pub items: Option<Box<Schema>>,
    pub preserve_unknown: bool,
    pub embedded: bool,
    pub int_or_string: bool,
    pub list_type: Option<String>,
    pub list_keys: Vec<String>,
    pub map_type: Option<String>,
    /// `x-kubernetes-validations`, as written.
    pub validations: Vec<Value>,
    pub has_title: bool,
    pub has_description: bool,

    pub format: String,
    pub maximum: Option<f64>,
    pub exclusive_maximum: bool,
    pub minimum: Option<f64>,
    pub exclusive_minimum: bool,
    pub max_length: Option<i64>,
    pub min_length: Option<i64>,
    pub pattern: Option<Pattern>,
    pub max_items: Option<i64>,
    pub min_items: Option<i64>,
    pub multiple_of: Option<f64>,
    pub enum_values: Option<Vec<Value>>,
    pub max_properties: Option<i64>,
    pub min_properties: Option<i64>,
    pub required: Vec<String>,
    pub all_of: Vec<Schema>,
    pub one_of: Vec<Schema>,
    pub any_of: Vec<Schema>,
    pub not: Option<Box<Schema>>,
}

impl Schema {
    /// Reads `openAPIV3Schema`, which decoding has checked to be of the type.
    pub fn new(v: &Value) -> Result<Self, String> {
        read(v, MAX_DEPTH)
    }

    /// The schema of a field of an object.
    pub fn field(&self, name: &str) -> Option<&Schema> {
        self.properties.get(name).or_else(|| self.additional.as_ref().and_then(Additional::schema))
    }

    /// Any node satisfies `test`; structure only.
    pub fn any(&self, test: &dyn Fn(&Schema) -> bool) -> bool {
        test(self)
            || self.properties.values().any(|s| s.any(test))
            || self.items.as_ref().is_some_and(|s| s.any(test))
            || self.additional.as_ref().and_then(Additional::schema).is_some_and(|s| s.any(test))
    }

    /// As the root of a resource, which has type and object metadata.
    pub fn as_root(&self) -> Self {
        Self { embedded: true, ..self.clone() }
    }
}

fn read(v: &Value, depth: u32) -> Result<Schema, String> {
    let Some(depth) = depth.checked_sub(1) else { return Err("the schema is nested too deeply".into()) };
    let text = |k: &str| v.get(k).and_then(Value::as_str).unwrap_or_default().to_owned();
    let on = |k: &str| v.get(k).and_then(Value::as_bool).unwrap_or(false);
    let int = |k: &str| v.get(k).and_then(Value::as_i64);
    let num = |k: &str| v.get(k).and_then(Value::as_f64);
    let list = |k: &str| v.get(k).and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
    let texts = |k: &str| list(k).iter().filter_map(Value::as_str).map(str::to_owned).collect::<Vec<_>>();
    let schemas = |k: &str| list(k).iter().map(|s| read(s, depth)).collect::<Result<Vec<_>, _>>();
    let one = |k: &str| match v.get(k) {
        Some(s @ Value::Object(_)) => read(s, depth).map(|s| Some(Box::new(s))),
        _ => Ok(None),
    };
    let mut properties = BTreeMap::new();
    for (name, s) in v.get("properties").and_then(Value::as_object).into_iter().flatten() {
        properties.insert(name.clone(), read(s, depth)?);
    }
    let pattern = text("pattern");
    Ok(Schema {
        ty: text("type"),
        nullable: on("nullable"),
        default: v.get("default").filter(|d| !d.is_null()).cloned(),
        properties,
        additional: match v.get("additionalProperties") {
            Some(Value::Bool(b)) => Some(Additional::Bool(*b)),
            Some(s @ Value::Object(_)) => Some(Additional::Schema(Box::new(read(s, depth)?))),
            _ => None,
        },
        items: one("items")?,
        preserve_unknown: on("x-kubernetes-preserve-unknown-fields"),
        embedded: on("x-kubernetes-embedded-resource"),
        int_or_string: on("x-kubernetes-int-or-string"),
        list_type: v.get("x-kubernetes-list-type").and_then(Value::as_str).map(str::to_owned),
        list_keys: texts("x-kubernetes-list-map-keys"),
        map_type: v.get("x-kubernetes-map-type").and_then(Value::as_str).map(str::to_owned),
        validations: list("x-kubernetes-validations").to_vec(),
        has_title: !text("title").is_empty(),
        has_description: !text("description").is_empty(),
        format: text("format"),
        maximum: num("maximum"),
        exclusive_maximum: on("exclusiveMaximum"),
        minimum: num("minimum"),
        exclusive_minimum: on("exclusiveMinimum"),
        max_length: int("maxLength"),
        min_length: int("minLength"),
        pattern: (!pattern.is_empty()).then(|| Pattern::new(&pattern)),
        max_items: int("maxItems"),
        min_items: int("minItems"),
        multiple_of: num("multipleOf"),
        enum_values: v.get("enum").and_then(Value::as_array).filter(|e| !e.is_empty()).cloned(),
        max_properties: int("maxProperties"),
        min_properties: int("minProperties"),
        required: texts("required"),
        all_of: schemas("allOf")?,
        one_of: schemas("oneOf")?,
        any_of: schemas("anyOf")?,
        not: one("not")?,
    })
}
