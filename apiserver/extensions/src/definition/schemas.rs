//! What a definition's schema must satisfy, beyond being structural. Upstream:
//! apiextensions-apiserver/pkg/apis/apiextensions/validation, ValidateCustomResourceDefinitionOpenAPISchema.

use crate::rules;
use crate::structural::{self, Schema};
use crate::version::Version;
use machinery::field::{Error, ErrorList, Path};
use machinery::{Value, meta};

/// Validates `openAPIV3Schema`. `unchanged`: it was accepted before.
pub fn validate(s: &Value, status: bool, unchanged: bool, path: &Path, e: &mut ErrorList) {
    if status {
        root_fields(s, path, e);
    }
    if meta::bool_at(s, &["nullable"]) {
        e.push(Error::forbidden(&path.child("nullable"), "nullable cannot be true at the root"));
    }
    let before = e.len();
    let schema = match Schema::new(s) {
        Ok(schema) => schema,
        Err(why) => {
            e.push(Error::invalid(path, "", why));
            return;
        }
    };
    if !unchanged || structural::validate(&schema, path).is_empty() {
        e.extend(structural::validate(&schema, path));
        if e.len() == before {
            defaults(&schema.as_root(), &path.clone(), true, e);
        }
    }
    node(s, path, Place { root: true, ..Place::default() }, e);
    if e.len() == before
        && let Err(errors) = rules::compile(&schema, path, !unchanged)
    {
        e.extend(errors);
    }
}

const AT_ROOT: [(&str, &str); 22] = [
    ("description", "Description"),
    ("type", "Type"),
    ("format", "Format"),
    ("title", "Title"),
    ("maximum", "Maximum"),
    ("exclusiveMaximum", "ExclusiveMaximum"),
    ("minimum", "Minimum"),
    ("exclusiveMinimum", "ExclusiveMinimum"),
    ("maxLength", "MaxLength"),
    ("minLength", "MinLength"),
    ("pattern", "Pattern"),
    ("maxItems", "MaxItems"),
    ("minItems", "MinItems"),
    ("uniqueItems", "UniqueItems"),
    ("multipleOf", "MultipleOf"),
    ("required", "Required"),
    ("items", "Items"),
    ("properties", "Properties"),
    ("externalDocs", "ExternalDocs"),
    ("example", "Example"),
    ("x-kubernetes-preserve-unknown-fields", "XPreserveUnknownFields"),
    ("x-kubernetes-validations", "XValidations"),
];

/// With a status subresource, the root may not say anything that would be lost on `properties.status`.
fn root_fields(s: &Value, path: &Path, e: &mut ErrorList) {
    let ty = meta::str_at(s, &["type"]);
    if !ty.is_empty() && ty != "object" {
        let why = "only \"object\" is allowed as the type at the root of the schema if the status subresource is enabled";
        e.push(Error::invalid(&path.child("type"), ty, why));
        return;
    }
    let odd = |k: &String| !AT_ROOT.iter().any(|(json, _)| json == k);
    if s.as_object().is_some_and(|m| m.keys().any(odd)) {
        let names: Vec<&str> = AT_ROOT.iter().map(|(_, go)| *go).collect();
        let why = format!(
            "only [{}] fields are allowed at the root of the schema if the status subresource is enabled",
            names.join(" ")
        );
        e.push(Error::invalid(path, s.clone(), why));
    }
}

/// Defaults are pruned and valid.
fn defaults(s: &Schema, path: &Path, root: bool, e: &mut ErrorList) {
    if let Some(d) = &s.default {
        Version::check_default(s, d, &path.child("default"), e);
    }
    if let Some(items) = &s.items {
        defaults(items, &path.child("items"), false, e);
    }
    for (k, p) in &s.properties {
        // The metadata of the object itself has no defaults; that is reported elsewhere.
        if !(root && matches!(k.as_str(), "metadata" | "apiVersion" | "kind")) {
            defaults(p, &path.child("properties").key(k), false, e);
        }
    }
}

/// What is known of the place of a schema node.
#[derive(Clone, Copy, Default)]
struct Place<'a> {
    root: bool,
    /// Why defaults are forbidden here.
    no_defaults: Option<&'a str>,
    in_metadata: bool,
}

const TYPES: [&str; 6] = ["string", "number", "integer", "boolean", "array", "object"];

fn node(s: &Value, path: &Path, place: Place<'_>, e: &mut ErrorList) {
    let text = |k: &str| meta::str_at(s, &[k]);
    let has = |k: &str| s.get(k).is_some_and(|v| !v.is_null());
    let filled = |k: &str| s.get(k).is_some_and(|v| v.as_object().is_some_and(|m| !m.is_empty()));
    let ty = text("type");
    if !ty.is_empty() && !TYPES.contains(&ty) {
        e.push(Error::not_supported(&path.child("type"), ty, &TYPES));
    }
    if has("default")
        && let Some(why) = place.no_defaults
    {
        e.push(Error::forbidden(&path.child("default"), format!("must not be set {why}")));
    }
    for (there, key) in [
        (!text("id").is_empty(), "id"),
        (has("additionalItems"), "additionalItems"),
        (filled("patternProperties"), "patternProperties"),
        (filled("definitions"), "definitions"),
        (has("dependencies"), "dependencies"),
        (has("$ref"), "$ref"),
    ] {
        if there {
            e.push(Error::forbidden(&path.child(key), format!("{key} is not supported")));
        }
    }
    if ty == "null" {
        let why = "type cannot be set to null, use nullable as an alternative";
        e.push(Error::forbidden(&path.child("type"), why));
    }
    if s.get("items").is_some_and(Value::is_array) {
        e.push(Error::forbidden(&path.child("items"), "items must be a schema object and not an array"));
    }
    if place.in_metadata && meta::bool_at(s, &["x-kubernetes-embedded-resource"]) {
        let why = "must not be used inside of resource meta";
        e.push(Error::forbidden(&path.child("x-kubernetes-embedded-resource"), why));
    }
    if meta::bool_at(s, &["uniqueItems"]) {
        let why = "uniqueItems cannot be set to true since the runtime complexity becomes quadratic";
        e.push(Error::forbidden(&path.child("uniqueItems"), why));
    }
    if s.get("x-kubernetes-preserve-unknown-fields") == Some(&Value::Bool(false)) {
        let at = path.child("x-kubernetes-preserve-unknown-fields");
        e.push(Error::invalid(&at, false, "must be true or undefined"));
    }
    map_type(s, ty, path, e);
    list_type(s, ty, path, e);
    children(s, path, place, e);
}

fn children(s: &Value, path: &Path, place: Place<'_>, e: &mut ErrorList) {
    let below = Place { root: false, ..place };
    if let Some(a) = s.get("additionalProperties").filter(|a| !a.is_null()) {
        let at = path.child("additionalProperties");
        if *a != Value::Bool(true) && s.get("properties").is_some_and(|p| p.as_object().is_some_and(|m| !m.is_empty())) {
            e.push(Error::forbidden(&at, "additionalProperties and properties are mutual exclusive"));
        }
        if a.is_object() {
            let why = place.in_metadata.then_some("inside additionalProperties applying to object metadata");
            node(a, &at, Place { no_defaults: why.or(place.no_defaults), ..below }, e);
        }
    }
    let resource = place.root || meta::bool_at(s, &["x-kubernetes-embedded-resource"]);
    for (k, p) in s.get("properties").and_then(Value::as_object).into_iter().flatten() {
        let mut inner = below;
        if resource {
            let top = match k.as_str() {
                "metadata" => Some("in top-level metadata"),
                "kind" => Some("in top-level kind"),
                "apiVersion" => Some("in top-level apiVersion"),
                _ => None,
            };
            inner.in_metadata |= top.is_some();
            if place.root {
                inner.no_defaults = top.or(inner.no_defaults);
            }
        }
        node(p, &path.child("properties").key(k), inner, e);
    }
    for key in ["not", "items"] {
        if let Some(n) = s.get(key).filter(|n| n.is_object()) {
            node(n, &path.child(key), below, e);
        }
    }
    for key in ["allOf", "oneOf", "anyOf"] {
        for (i, n) in meta::list_at(s, &[key]).iter().enumerate() {
            node(n, &path.child(key).index(i), below, e);
        }
    }
}

fn map_type(s: &Value, ty: &str, path: &Path, e: &mut ErrorList) {
    let Some(map_type) = s.get("x-kubernetes-map-type").and_then(Value::as_str) else { return };
    wrong_type(ty, "object", "x-kubernetes-map-type", path, e);
    if !matches!(map_type, "atomic" | "granular") {
        e.push(Error::not_supported(&path.child("x-kubernetes-map-type"), map_type, &["atomic", "granular"]));
    }
}

fn wrong_type(ty: &str, want: &str, key: &str, path: &Path, e: &mut ErrorList) -> bool {
    if ty == want {
        return false;
    }
    let why = format!("must be {want} if {key} is specified");
    let at = path.child("type");
    e.push(if ty.is_empty() { Error::required(&at, why) } else { Error::invalid(&at, ty, why) });
    true
}

fn list_type(s: &Value, ty: &str, path: &Path, e: &mut ErrorList) {
    let list_type = s.get("x-kubernetes-list-type").and_then(Value::as_str);
    let keys = meta::list_at(s, &["x-kubernetes-list-map-keys"]);
    let null = Value::Null;
    let items = s.get("items").unwrap_or(&null);
    let item_type = meta::str_at(items, &["type"]);
    let at_type = path.child("x-kubernetes-list-type");
    let at_keys = path.child("x-kubernetes-list-map-keys");
    if let Some(t) = list_type {
        if !wrong_type(ty, "array", "x-kubernetes-list-type", path, e) && t == "set" {
            let (key, kind) = match item_type {
                "array" => ("x-kubernetes-list-type", items.get("x-kubernetes-list-type").and_then(Value::as_str)),
                "object" => ("x-kubernetes-map-type", Some(meta::str_at(items, &["x-kubernetes-map-type"]))),
                _ => ("", None),
            };
            if kind.is_some_and(|k| k != "atomic") {
                let why = "must be atomic as item of a list with x-kubernetes-list-type=set";
                let found = items.get("x-kubernetes-list-type").cloned().unwrap_or_default();
                e.push(Error::invalid(&path.child("items").child(key), found, why));
            }
        }
        if !matches!(t, "atomic" | "set" | "map") {
            e.push(Error::not_supported(&at_type, t, &["atomic", "set", "map"]));
        }
    }
    if !keys.is_empty() && list_type != Some("map") {
        let why = "must be map if x-kubernetes-list-map-keys is non-empty";
        e.push(list_type.map_or_else(|| Error::required(&at_type, why), |t| Error::invalid(&at_type, t, why)));
    }
    if list_type == Some("map") {
        list_map(s, items, item_type, keys, path, &at_keys, e);
    }
    if matches!(list_type, Some("set" | "map")) && meta::bool_at(items, &["nullable"]) {
        let why = format!("cannot be nullable when x-kubernetes-list-type is {}", list_type.unwrap_or_default());
        e.push(Error::forbidden(&path.child("items").child("nullable"), why));
    }
}

fn list_map(s: &Value, items: &Value, item_type: &str, keys: &[Value], path: &Path, at_keys: &Path, e: &mut ErrorList) {
    if keys.is_empty() {
        e.push(Error::required(at_keys, "must not be empty if x-kubernetes-list-type is map"));
    }
    let at_items = path.child("items");
    if items.is_null() {
        e.push(Error::required(&at_items, "must have a schema if x-kubernetes-list-type is map"));
        return;
    }
    if item_type != "object" {
        let why = "must be object if parent array's x-kubernetes-list-type is map";
        e.push(Error::invalid(&at_items.child("type"), item_type, why));
        return;
    }
    let all = || s.get("x-kubernetes-list-map-keys").cloned().unwrap_or_default();
    for (i, k) in keys.iter().enumerate() {
        let name = k.as_str().unwrap_or_default();
        let at = at_items.child("properties").key(name);
        match items.pointer("/properties").and_then(|p| p.get(name)) {
            None => e.push(Error::invalid(at_keys, all(), "entries must all be names of item properties")),
            Some(p) => {
                if matches!(meta::str_at(p, &["type"]), "array" | "object") {
                    let why = "must be a scalar type if parent array's x-kubernetes-list-type is map";
                    e.push(Error::invalid(&at.child("type"), item_type, why));
                }
                let required = meta::list_at(items, &["required"]).contains(k);
                if !required && p.get("default").is_none_or(Value::is_null) {
                    let why =
                        "this property is in x-kubernetes-list-map-keys, so it must have a default or be a required property";
                    e.push(Error::required(&at.child("default"), why));
                }
                if meta::bool_at(p, &["nullable"]) {
                    let why = "this property is in x-kubernetes-list-map-keys, so it cannot be nullable";
                    e.push(Error::forbidden(&at.child("nullable"), why));
                }
            }
        }
        if keys[..i].contains(k) {
            e.push(Error::invalid(at_keys, all(), "must not contain duplicate entries"));
        }
    }
}
