//! What OpenAPI documents say of custom resources. Upstream: apiextensions-apiserver/pkg/controller/openapi.

use machinery::{Map, Value, json, meta};

const OBJECT_META: &str = "io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta";
const LIST_META: &str = "io.k8s.apimachinery.pkg.apis.meta.v1.ListMeta";

const API_VERSION: &str = "APIVersion defines group and version of the schema that the object follows, such as `apps/v1`.";
const KIND: &str = "Name of the REST resource that the object represents, in CamelCase.";
const METADATA: &str = "Standard object's metadata.";

/// Where definitions are: OpenAPI v2 or v3.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Format {
    V2,
    V3,
}

impl Format {
    fn reference(self, name: &str) -> String {
        match self {
            Self::V2 => format!("#/definitions/{name}"),
            Self::V3 => format!("#/components/schemas/{name}"),
        }
    }
    fn described(self, name: &str, text: &str) -> Value {
        match self {
            Self::V2 => json!({"description": text, "$ref": self.reference(name)}),
            Self::V3 => json!({"description": text, "allOf": [{"$ref": self.reference(name)}]}),
        }
    }
}

/// `com.example.stable.v1.CronTab`.
pub fn definition_name(group: &str, version: &str, kind: &str) -> String {
    let mut parts: Vec<&str> = group.split('.').collect();
    parts.reverse();
    format!("{}.{version}.{kind}", parts.join("."))
}

/// The definitions of a kind and of its list. `version` is the version as its definition has it.
pub fn definitions(
    format: Format,
    version: &Value,
    preserve: bool,
    (group, name, kind, list_kind): (&str, &str, &str, &str),
) -> [(String, Value); 2] {
    let object = definition_name(group, name, kind);
    let gvk = |kind: &str| json!([{"group": group, "version": name, "kind": kind}]);
    let raw = version.pointer("/schema/openAPIV3Schema").filter(|s| s.is_object());
    let open = |s: &Value| preserve || meta::bool_at(s, &["x-kubernetes-preserve-unknown-fields"]);
    let mut schema = match raw {
        None => json!({"type": "object"}),
        Some(s) if format == Format::V2 && open(s) => json!({"type": "object"}),
        Some(s) => {
            let mut s = s.clone();
            if format == Format::V2 {
                reduce(&mut s);
            } else {
                unfold(&mut s);
            }
            type_meta(&mut s, format);
            embedded(&mut s, format);
            s
        }
    };
    schema["x-kubernetes-group-version-kind"] = gvk(kind);
    let fields: Vec<Value> = meta::list_at(version, &["selectableFields"])
        .iter()
        .filter_map(|f| Some(json!({"fieldPath": f.get("jsonPath")?.as_str()?.trim_start_matches('.')})))
        .collect();
    if !fields.is_empty() {
        schema["x-kubernetes-selectable-fields"] = fields.into();
    }
    let list = json!({
        "description": format!("{list_kind} is a list of {kind}"),
        "type": "object",
        "required": ["items"],
        "properties": {
            "apiVersion": {"type": "string", "description": API_VERSION},
            "kind": {"type": "string", "description": KIND},
            "metadata": format.described(LIST_META, "Standard metadata of a list."),
            "items": {"type": "array", "description": format!("List of {kind} objects."),
                "items": {"$ref": format.reference(&object)}},
        },
        "x-kubernetes-group-version-kind": gvk(list_kind),
    });
    [(object, schema), (definition_name(group, name, list_kind), list)]
}

fn type_meta(s: &mut Value, format: Format) {
    let properties = meta::entry(s, &["properties"]);
    properties.insert("apiVersion".into(), json!({"type": "string", "description": API_VERSION}));
    properties.insert("kind".into(), json!({"type": "string", "description": KIND}));
    properties.insert("metadata".into(), format.described(OBJECT_META, METADATA));
}

/// Embedded resources have type and object metadata, too.
fn embedded(s: &mut Value, format: Format) {
    each_child(s, &mut |c| {
        embedded(c, format);
        let open = meta::bool_at(c, &["x-kubernetes-preserve-unknown-fields"]);
        if !meta::bool_at(c, &["x-kubernetes-embedded-resource"]) || open && format == Format::V2 {
            return;
        }
        type_meta(c, format);
        let mut required = meta::list_at(c, &["required"]).to_vec();
        for k in ["kind", "apiVersion"] {
            if !required.iter().any(|r| r == k) {
                required.push(k.into());
            }
        }
        c["required"] = required.into();
    });
}

fn each_child(s: &mut Value, visit: &mut dyn FnMut(&mut Value)) {
    let Some(map) = s.as_object_mut() else { return };
    if let Some(Value::Object(properties)) = map.get_mut("properties") {
        properties.values_mut().for_each(&mut *visit);
    }
    for k in ["items", "additionalProperties"] {
        if let Some(c) = map.get_mut(k).filter(|c| c.is_object()) {
            visit(c);
        }
    }
}

/// An int-or-string is spelt out.
fn unfold(s: &mut Value) {
    if meta::bool_at(s, &["x-kubernetes-int-or-string"]) && s.get("anyOf").is_none() {
        let spelt = json!([{"type": "integer"}, {"type": "string"}]);
        let first = s.pointer("/allOf/0/anyOf");
        if first.is_none() {
            s["anyOf"] = spelt;
        }
    }
    each_child(s, &mut unfold);
}

/// What v2 cannot say, or what kubectl misreads in it, is left out.
fn reduce(s: &mut Value) {
    let nullable: Vec<String> = s
        .get("properties")
        .and_then(Value::as_object)
        .into_iter()
        .flatten()
        .filter(|(_, p)| meta::bool_at(p, &["nullable"]))
        .map(|(k, _)| k.clone())
        .collect();
    let additional = s.get("additionalProperties").is_some_and(|a| meta::bool_at(a, &["nullable"]));
    let Some(map) = s.as_object_mut() else { return };
    for k in ["allOf", "oneOf", "anyOf", "not"] {
        map.remove(k);
    }
    let is = |map: &Map<String, Value>, k: &str| map.get(k).and_then(Value::as_bool).unwrap_or(false);
    if is(map, "nullable") {
        for k in ["type", "nullable", "items", "properties"] {
            map.remove(k);
        }
    }
    let open = is(map, "x-kubernetes-preserve-unknown-fields");
    if open {
        map.remove("items");
        map.remove("properties");
    }
    let ty = map.get("type").and_then(Value::as_str).unwrap_or_default();
    if ty == "array" && !map.contains_key("items") || ty == "object" && open {
        map.remove("type");
    }
    if let Some(Value::Array(required)) = map.get_mut("required") {
        required.retain(|r| !additional && !nullable.iter().any(|n| r == n));
        if required.is_empty() {
            map.remove("required");
        }
    }
    each_child(s, &mut reduce);
}
