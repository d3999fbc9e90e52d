//! Custom resources: a structural schema (`JSONSchemaProps` of apiextensions) as an arena of types, so that patches and server-side
//! apply treat them as they treat the built-in kinds. Pruning, defaults and validation follow the schema itself, elsewhere.

use crate::registry::Registry;
use crate::types::{Field, ListType, Struct, StructId, TypeRef, Typed, Types};
use serde_json::Value;

/// A schema nested deeper than this is refused; the JSON parser's limit is below it.
const MAX_DEPTH: u32 = 128;
const OBJECT_META: &str = "io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta";

/// A schema that is not structural.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{path}: {what}")]
pub struct SchemaError {
    path: String,
    what: &'static str,
}

/// The types of one version of a CRD.
#[derive(Clone, Debug)]
pub struct CustomTypes {
    types: Types,
    root: StructId,
}

impl CustomTypes {
    /// Reads `openAPIV3Schema`. Without one (`preserveUnknownFields` of old), pass `{"type": "object",
    /// "x-kubernetes-preserve-unknown-fields": true}`.
    pub fn new(schema: &Value) -> Result<Self, SchemaError> {
        let mut reader = Reader { types: Types::default(), path: String::new() };
        let meta = reader.import(OBJECT_META);
        let mut root = reader.structure(schema, MAX_DEPTH)?;
        root.preserve_unknown = preserves(schema);
        for name in ["apiVersion", "kind"] {
            root.fields.retain(|f| &*f.json != name);
            root.fields.push(field(name, TypeRef::String));
        }
        root.fields.retain(|f| &*f.json != "metadata");
        if let Some(meta) = meta {
            root.fields.push(field("metadata", TypeRef::Struct(meta)));
        }
        let root = reader.types.add(root);
        Ok(Self { types: reader.types, root })
    }

    /// The types, from that of the object.
    pub fn typed(&self) -> Typed<'_> {
        Typed { types: &self.types, root: self.root }
    }
}

/// A field that Go's rules about zero values leave alone.
fn field(name: &str, ty: TypeRef) -> Field {
    Field { json: name.into(), ty, pointer: true, omitempty: true, ..Field::default() }
}

fn on(schema: &Value, key: &str) -> bool {
    schema.get(key).and_then(Value::as_bool).unwrap_or(false)
}

fn preserves(schema: &Value) -> bool {
    on(schema, "x-kubernetes-preserve-unknown-fields")
}

struct Reader {
    types: Types,
    path: String,
}

impl Reader {
    /// Copies a built-in struct, and what it reaches, into this arena.
    fn import(&mut self, name: &str) -> Option<StructId> {
        if let Some(id) = self.types.by_name(name) {
            return Some(id);
        }
        let builtin = Registry::builtin().types();
        let mut copy = builtin.get(builtin.by_name(name)?).clone();
        let id = self.types.add(Struct { name: name.into(), ..Struct::default() });
        for f in &mut copy.fields {
            self.relink(&mut f.ty, builtin);
        }
        *self.types.get_mut(id) = copy;
        Some(id)
    }

    fn relink(&mut self, ty: &mut TypeRef, from: &Types) {
        match ty {
            TypeRef::Struct(id) => {
                if let Some(copy) = self.import(&from.get(*id).name) {
                    *id = copy;
                }
            }
            TypeRef::Array(elem) | TypeRef::Map(elem) => self.relink(elem, from),
            _ => {}
        }
    }

    fn fail<T>(&self, what: &'static str) -> Result<T, SchemaError> {
        Err(SchemaError { path: self.path.clone(), what })
    }

    fn structure(&mut self, schema: &Value, depth: u32) -> Result<Struct, SchemaError> {
        let mut st = Struct {
            atomic: schema.get("x-kubernetes-map-type").is_some_and(|t| t == "atomic"),
            preserve_unknown: preserves(schema),
            ..Struct::default()
        };
        for (name, property) in schema.get("properties").and_then(Value::as_object).into_iter().flatten() {
            let len = self.path.len();
            self.path.push_str(".properties.");
            self.path.push_str(name);
            let mut f = field(name, self.typ(property, depth)?);
            annotate(&mut f, property);
            st.fields.push(f);
            self.path.truncate(len);
        }
        if on(schema, "x-kubernetes-embedded-resource") {
            st.fields.retain(|f| !matches!(&*f.json, "apiVersion" | "kind" | "metadata"));
            st.fields.extend(["apiVersion", "kind"].map(|name| field(name, TypeRef::String)));
            if let Some(meta) = self.import(OBJECT_META) {
                st.fields.push(field("metadata", TypeRef::Struct(meta)));
            }
        }
        Ok(st)
    }

    fn typ(&mut self, schema: &Value, depth: u32) -> Result<TypeRef, SchemaError> {
        let Some(depth) = depth.checked_sub(1) else { return self.fail("schema is nested too deeply") };
        if !schema.is_object() {
            return self.fail("must be a schema object");
        }
        if on(schema, "x-kubernetes-int-or-string") {
            return Ok(TypeRef::IntOrString);
        }
        let has_properties = schema.get("properties").and_then(Value::as_object).is_some_and(|p| !p.is_empty());
        let ty = schema.get("type").and_then(Value::as_str).unwrap_or_default();
        Ok(match ty {
            "string" => TypeRef::String,
            "boolean" => TypeRef::Bool,
            "integer" => TypeRef::Int64,
            "number" => TypeRef::Float64,
            "array" => {
                let len = self.path.len();
                self.path.push_str(".items");
                let elem = match schema.get("items") {
                    Some(items) => self.typ(items, depth)?,
                    None => return self.fail("must be specified"),
                };
                self.path.truncate(len);
                TypeRef::Array(Box::new(elem))
            }
            "object" | "" => match schema.get("additionalProperties") {
                Some(inner @ Value::Object(_)) if !has_properties => {
                    let len = self.path.len();
                    self.path.push_str(".additionalProperties");
                    let elem = self.typ(inner, depth)?;
                    self.path.truncate(len);
                    TypeRef::Map(Box::new(elem))
                }
                Some(Value::Bool(true)) if !has_properties => TypeRef::RawExtension,
                _ => {
                    let named = has_properties || on(schema, "x-kubernetes-embedded-resource");
                    if !named && ty.is_empty() {
                        return Ok(TypeRef::Json);
                    }
                    if !named && preserves(schema) {
                        return Ok(TypeRef::RawExtension);
                    }
                    let st = self.structure(schema, depth)?;
                    TypeRef::Struct(self.types.add(st))
                }
            },
            _ => return self.fail("unsupported type"),
        })
    }
}

/// What a property's schema says of the field that holds it.
fn annotate(f: &mut Field, schema: &Value) {
    let text = |key| schema.get(key).and_then(Value::as_str).unwrap_or_default();
    f.default = schema.get("default").cloned();
    f.atomic = text("x-kubernetes-map-type") == "atomic";
    f.list_type = match text("x-kubernetes-list-type") {
        "set" => ListType::Set,
        "map" => ListType::Map,
        _ => ListType::Atomic,
    };
    let keys = schema.get("x-kubernetes-list-map-keys").and_then(Value::as_array);
    f.list_keys = keys.into_iter().flatten().filter_map(Value::as_str).map(Into::into).collect();
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn types() -> CustomTypes {
        CustomTypes::new(&json!({"type": "object", "properties": {
            "spec": {"type": "object", "required": ["a"], "properties": {
                "a": {"type": "string", "default": "x"},
                "port": {"x-kubernetes-int-or-string": true},
                "list": {"type": "array", "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["k"],
                         "items": {"type": "object", "properties": {"k": {"type": "string"}, "v": {"type": "integer", "default": 3}}}},
                "map": {"type": "object", "additionalProperties": {"type": "object", "properties": {"m": {"type": "boolean"}}}},
                "tpl": {"type": "object", "x-kubernetes-embedded-resource": true, "properties": {"spec": {"type": "object"}}}}}}}))
        .expect("structural")
    }

    #[test]
    fn knows_lists_and_metadata() {
        let types = types();
        let t = types.typed();
        let root = t.types.get(t.root);
        let Some(TypeRef::Struct(spec)) = root.field("spec").map(|f| f.ty.clone()) else { panic!("spec") };
        let list = t.types.get(spec).field("list").expect("list");
        assert_eq!((list.list_type, &list.list_keys[..]), (ListType::Map, &["k".into()][..]));
        let Some(TypeRef::Struct(meta)) = root.field("metadata").map(|f| f.ty.clone()) else { panic!("metadata") };
        let owners = t.types.get(meta).field("ownerReferences").expect("ownerReferences");
        assert_eq!(&owners.list_keys[..], &["uid".into()][..]);
    }

    #[test]
    fn schemas_that_are_not_structural() {
        for (schema, want) in [
            (json!({"properties": {"a": {"type": "array"}}}), ".properties.a.items: must be specified"),
            (json!({"properties": {"a": {"type": "null"}}}), ".properties.a: unsupported type"),
            (json!({"properties": {"a": 1}}), ".properties.a: must be a schema object"),
        ] {
            assert_eq!(CustomTypes::new(&schema).expect_err("refused").to_string(), want);
        }
    }
}
