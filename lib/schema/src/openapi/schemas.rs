//! Schemas of the types, with the extensions that apply, patches and kubectl read.

use super::Format;
use super::descriptions::Descriptions;
use crate::registry::Registry;
use crate::types::{Field, Form, ListType, StructId, TypeRef};
use serde_json::{Map, Value, json};

pub(super) const META: &str = "io.k8s.apimachinery.pkg.apis.meta.v1.";
const EXTENSIONS: &str = "io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1.";

/// The definitions of one document: what was asked for, and all that it reaches.
pub(super) struct Definitions<'a> {
    format: Format,
    descriptions: &'a Descriptions,
    /// Groups and versions of the document: the kinds that belong to all of them name them.
    versions: &'a [(&'a str, &'a str)],
    done: Map<String, Value>,
    queue: Vec<String>,
}

impl<'a> Definitions<'a> {
    pub(super) fn new(format: Format, descriptions: &'a Descriptions, versions: &'a [(&'a str, &'a str)]) -> Self {
        Self { format, descriptions, versions, done: Map::new(), queue: Vec::new() }
    }

    pub(super) fn add(&mut self, name: &str) {
        if !self.done.contains_key(name) {
            self.done.insert(name.to_owned(), Value::Null);
            self.queue.push(name.to_owned());
        }
    }

    pub(super) fn finish(mut self) -> Map<String, Value> {
        while let Some(name) = self.queue.pop() {
            let schema = self.definition(&name);
            self.done.insert(name, schema);
        }
        self.done
    }

    fn definition(&mut self, name: &str) -> Value {
        let types = Registry::builtin().types();
        let mut out = match types.by_name(name) {
            Some(id) => self.structure(id),
            None => self.leaf(name),
        };
        let kind = name.rsplit('.').next().unwrap_or(name);
        let list = || kind.strip_suffix("List").map(|items| format!("{kind} is a list of objects of kind {items}."));
        if let Some(text) = self.descriptions.of(name, None).or_else(list) {
            out.insert("description".into(), text.into());
        }
        Value::Object(out)
    }

    /// Types that are no structs in JSON.
    fn leaf(&self, name: &str) -> Map<String, Value> {
        let v3 = self.format == Format::V3;
        let schema = match name.rsplit('.').next().unwrap_or_default() {
            "Time" | "MicroTime" => json!({"type": "string", "format": "date-time"}),
            "Duration" => json!({"type": "string"}),
            "Quantity" if v3 => json!({"oneOf": [{"type": "string"}, {"type": "number"}]}),
            "IntOrString" if v3 => json!({"format": "int-or-string", "oneOf": [{"type": "integer"}, {"type": "string"}]}),
            "Quantity" => json!({"type": "string"}),
            "IntOrString" => json!({"type": "string", "format": "int-or-string"}),
            "RawExtension" | "FieldsV1" | "Patch" => json!({"type": "object"}),
            _ => json!({}),
        };
        if let Value::Object(map) = schema { map } else { Map::new() }
    }

    fn structure(&mut self, id: StructId) -> Map<String, Value> {
        let registry = Registry::builtin();
        let st = registry.types().get(id);
        let mut out = Map::new();
        let mut properties = Map::new();
        for f in &st.fields {
            let mut p = self.field(f);
            let described = self.descriptions.of(&st.name, Some(&f.json));
            if let Some(text) = described.or_else(|| usual(&f.json, &f.ty).map(str::to_owned)) {
                p.insert("description".into(), text.into());
            }
            properties.insert(f.json.to_string(), Value::Object(p));
        }
        out.insert("type".into(), "object".into());
        if !properties.is_empty() {
            out.insert("properties".into(), Value::Object(properties));
        }
        let required: Vec<&str> = st.fields.iter().filter(|f| f.required).map(|f| &*f.json).collect();
        if !required.is_empty() {
            out.insert("required".into(), json!(required));
        }
        if st.atomic {
            out.insert("x-kubernetes-map-type".into(), "atomic".into());
        }
        let gvk = |group: &str, version: &str, kind: &str| json!({"group": group, "version": version, "kind": kind});
        let mut kinds = Vec::new();
        for k in registry.kinds().iter().filter(|k| k.ty == id) {
            let everywhere = &*k.group == "meta.k8s.io" && (&*k.kind == "WatchEvent" || &*k.kind == "DeleteOptions");
            if everywhere {
                kinds.extend(self.versions.iter().map(|(g, v)| gvk(g, v, &k.kind)));
                if !self.versions.contains(&("", "v1")) {
                    kinds.insert(0, gvk("", "v1", &k.kind));
                }
            } else if !(&*k.group == "meta.k8s.io" && k.kind.ends_with("Options")) {
                kinds.push(gvk(&k.group, &k.version, &k.kind));
            }
        }
        if !kinds.is_empty() {
            out.insert("x-kubernetes-group-version-kind".into(), Value::Array(kinds));
        }
        out
    }

    fn field(&mut self, f: &Field) -> Map<String, Value> {
        let mut out = self.typ(&f.ty, f.form);
        let v3 = self.format == Format::V3;
        // Beside a `$ref` nothing counts in v3.
        if v3 && let Some(reference) = out.remove("$ref") {
            out.insert("allOf".into(), json!([{"$ref": reference}]));
        }
        if v3 && let Some(default) = &f.default {
            out.insert("default".into(), default.clone());
        }
        if !f.enum_values.is_empty() {
            let values = json!(f.enum_values);
            match out.get_mut("items") {
                Some(Value::Object(items)) => _ = items.insert("enum".into(), values),
                _ => _ = out.insert("enum".into(), values),
            }
        }
        if f.list_type_stated {
            let name = match f.list_type {
                ListType::Atomic => "atomic",
                ListType::Set => "set",
                ListType::Map => "map",
            };
            out.insert("x-kubernetes-list-type".into(), name.into());
        }
        if !f.list_keys.is_empty() {
            out.insert("x-kubernetes-list-map-keys".into(), json!(f.list_keys));
        }
        if f.atomic {
            out.insert("x-kubernetes-map-type".into(), "atomic".into());
        }
        if f.granular {
            out.insert("x-kubernetes-map-type".into(), "granular".into());
        }
        let strategies = [(f.patch.merge, "merge"), (f.patch.replace, "replace"), (f.patch.retain_keys, "retainKeys")];
        let strategies: Vec<&str> = strategies.iter().filter(|(on, _)| *on).map(|(_, name)| *name).collect();
        if !strategies.is_empty() {
            out.insert("x-kubernetes-patch-strategy".into(), strategies.join(",").into());
        }
        if let Some(key) = &f.patch_key {
            out.insert("x-kubernetes-patch-merge-key".into(), (**key).into());
        }
        out
    }

    fn typ(&mut self, ty: &TypeRef, form: Form) -> Map<String, Value> {
        let named = match (ty, form) {
            (TypeRef::Json, Form::SchemaOrBool) => Some(format!("{EXTENSIONS}JSONSchemaPropsOrBool")),
            (TypeRef::Json, Form::SchemaOrArray) => Some(format!("{EXTENSIONS}JSONSchemaPropsOrArray")),
            (TypeRef::Json, Form::SchemaOrStringArray) => Some(format!("{EXTENSIONS}JSONSchemaPropsOrStringArray")),
            (TypeRef::Json, _) => Some(format!("{EXTENSIONS}JSON")),
            (TypeRef::Time, _) => Some(format!("{META}Time")),
            (TypeRef::MicroTime, _) => Some(format!("{META}MicroTime")),
            (TypeRef::Duration, _) => Some(format!("{META}Duration")),
            (TypeRef::FieldsV1, _) => Some(format!("{META}FieldsV1")),
            (TypeRef::Quantity, _) => Some("io.k8s.apimachinery.pkg.api.resource.Quantity".to_owned()),
            (TypeRef::IntOrString, _) => Some("io.k8s.apimachinery.pkg.util.intstr.IntOrString".to_owned()),
            (TypeRef::RawExtension, _) => Some("io.k8s.apimachinery.pkg.runtime.RawExtension".to_owned()),
            (TypeRef::Struct(id), _) => Some(Registry::builtin().types().get(*id).name.to_string()),
            _ => None,
        };
        if let Some(name) = named {
            self.add(&name);
            return if let Value::Object(map) = self.format.reference(&name) { map } else { Map::new() };
        }
        let schema = match ty {
            TypeRef::Bool => json!({"type": "boolean"}),
            TypeRef::Int32 => json!({"type": "integer", "format": "int32"}),
            TypeRef::Int64 => json!({"type": "integer", "format": "int64"}),
            TypeRef::Float64 => json!({"type": "number", "format": "double"}),
            TypeRef::Bytes => json!({"type": "string", "format": "byte"}),
            TypeRef::Array(elem) => json!({"type": "array", "items": self.element(elem, form)}),
            TypeRef::Map(elem) => json!({"type": "object", "additionalProperties": self.element(elem, form)}),
            _ => json!({"type": "string"}),
        };
        if let Value::Object(map) = schema { map } else { Map::new() }
    }

    /// Elements of lists and maps: in v3, Go's zero value is their default.
    fn element(&mut self, ty: &TypeRef, form: Form) -> Map<String, Value> {
        let mut out = self.typ(ty, form);
        if self.format == Format::V2 {
            return out;
        }
        let default = match ty {
            TypeRef::Struct(_) => json!({}),
            TypeRef::String => json!(""),
            TypeRef::Bool => json!(false),
            TypeRef::Int32 | TypeRef::Int64 | TypeRef::Float64 => json!(0),
            _ => return out,
        };
        if let Some(reference) = out.remove("$ref") {
            out.insert("allOf".into(), json!([{"$ref": reference}]));
        }
        out.insert("default".into(), default);
        out
    }
}

/// Descriptions of the fields that all objects and lists have, where the type's own are not known.
fn usual(field: &str, ty: &TypeRef) -> Option<&'static str> {
    match (field, ty) {
        ("apiVersion", TypeRef::String) => Some("Group and version of the schema that the object follows, such as `apps/v1`."),
        ("kind", TypeRef::String) => Some("Name of the REST resource that the object represents, in CamelCase."),
        ("metadata", TypeRef::Struct(_)) => Some("Standard metadata of an object or of a list."),
        ("items", TypeRef::Array(_)) => Some("The objects of the list."),
        _ => None,
    }
}
