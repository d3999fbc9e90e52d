//! The v2 document in the protobuf form that client-go asks for
//! (`application/com.github.proto-openapi.spec.v2@v1.0+protobuf`, gnostic's openapi_v2).

use crate::proto::wire::{bytes_field, varint_field};
use serde_json::{Map, Value};

/// Encodes a v2 document. What the format has no place for is left out.
pub fn encode(document: &Value) -> Vec<u8> {
    let mut out = Vec::with_capacity(1 << 20);
    text(&mut out, 1, &document["swagger"]);
    message(&mut out, 2, |o| {
        text(o, 1, &document["info"]["title"]);
        text(o, 2, &document["info"]["version"]);
    });
    message(&mut out, 8, |o| {
        for (name, item) in entries(&document["paths"]) {
            named(o, 2, name, |o| path_item(o, item));
        }
    });
    message(&mut out, 9, |o| {
        for (name, s) in entries(&document["definitions"]) {
            named(o, 1, name, |o| schema(o, s));
        }
    });
    for requirement in list(&document["security"]) {
        message(&mut out, 12, |o| {
            for (name, scopes) in entries(requirement) {
                named(o, 1, name, |o| texts(o, 1, scopes));
            }
        });
    }
    message(&mut out, 13, |o| {
        for (name, d) in entries(&document["securityDefinitions"]) {
            named(o, 1, name, |o| {
                message(o, 2, |o| {
                    text(o, 1, &d["type"]);
                    text(o, 2, &d["name"]);
                    text(o, 3, &d["in"]);
                    text(o, 4, &d["description"]);
                });
            });
        }
    });
    out
}

fn message(out: &mut Vec<u8>, number: u32, write: impl FnOnce(&mut Vec<u8>)) {
    let mut inner = Vec::new();
    write(&mut inner);
    bytes_field(out, number, &inner);
}

/// The pairs that stand for maps: name = 1, value = 2.
fn named(out: &mut Vec<u8>, number: u32, name: &str, write: impl FnOnce(&mut Vec<u8>)) {
    message(out, number, |o| {
        bytes_field(o, 1, name.as_bytes());
        message(o, 2, write);
    });
}

fn text(out: &mut Vec<u8>, number: u32, v: &Value) {
    if let Some(s) = v.as_str() {
        bytes_field(out, number, s.as_bytes());
    }
}

fn texts(out: &mut Vec<u8>, number: u32, v: &Value) {
    list(v).for_each(|s| text(out, number, s));
}

fn flag(out: &mut Vec<u8>, number: u32, v: &Value) {
    if v.as_bool() == Some(true) {
        varint_field(out, number, 1);
    }
}

/// `Any` as YAML, of which JSON is a part.
fn any(out: &mut Vec<u8>, number: u32, v: &Value) {
    message(out, number, |o| bytes_field(o, 2, v.to_string().as_bytes()));
}

fn extensions(out: &mut Vec<u8>, number: u32, map: &Map<String, Value>) {
    for (name, v) in map.iter().filter(|(name, _)| name.starts_with("x-")) {
        message(out, number, |o| {
            bytes_field(o, 1, name.as_bytes());
            any(o, 2, v);
        });
    }
}

fn entries(v: &Value) -> impl Iterator<Item = (&String, &Value)> {
    v.as_object().into_iter().flatten()
}

fn list(v: &Value) -> impl Iterator<Item = &Value> {
    v.as_array().into_iter().flatten()
}

fn path_item(out: &mut Vec<u8>, item: &Value) {
    for (number, method) in [(2, "get"), (3, "put"), (4, "post"), (5, "delete"), (6, "options"), (7, "head"), (8, "patch")] {
        if let Some(Value::Object(op)) = item.get(method) {
            message(out, number, |o| operation(o, op));
        }
    }
    list(&item["parameters"]).for_each(|p| parameter(out, 9, p));
}

fn operation(out: &mut Vec<u8>, op: &Map<String, Value>) {
    let get = |key: &str| op.get(key).unwrap_or(&Value::Null);
    texts(out, 1, get("tags"));
    text(out, 3, get("description"));
    text(out, 5, get("operationId"));
    texts(out, 6, get("produces"));
    texts(out, 7, get("consumes"));
    list(get("parameters")).for_each(|p| parameter(out, 8, p));
    message(out, 9, |o| {
        for (code, response) in entries(get("responses")) {
            named(o, 1, code, |o| {
                message(o, 1, |o| {
                    text(o, 1, &response["description"]);
                    if response.get("schema").is_some() {
                        message(o, 2, |o| message(o, 1, |o| schema(o, &response["schema"])));
                    }
                });
            });
        }
    });
    texts(out, 10, get("schemes"));
    extensions(out, 13, op);
}

fn parameter(out: &mut Vec<u8>, number: u32, p: &Value) {
    message(out, number, |o| {
        message(o, 1, |o| {
            let place = p["in"].as_str().unwrap_or_default();
            if place == "body" {
                return message(o, 1, |o| {
                    text(o, 1, &p["description"]);
                    text(o, 2, &p["name"]);
                    text(o, 3, &p["in"]);
                    flag(o, 4, &p["required"]);
                    message(o, 5, |o| schema(o, &p["schema"]));
                });
            }
            let (sub, ty, unique) = if place == "path" { (4, 5, 19) } else { (3, 6, 20) };
            message(o, 2, |o| {
                message(o, sub, |o| {
                    flag(o, 1, &p["required"]);
                    text(o, 2, &p["in"]);
                    text(o, 3, &p["description"]);
                    text(o, 4, &p["name"]);
                    text(o, ty, &p["type"]);
                    flag(o, unique, &p["uniqueItems"]);
                });
            });
        });
    });
}

fn schema(out: &mut Vec<u8>, s: &Value) {
    let Value::Object(map) = s else { return };
    text(out, 1, &s["$ref"]);
    text(out, 2, &s["format"]);
    text(out, 3, &s["title"]);
    text(out, 4, &s["description"]);
    if let Some(v) = map.get("default") {
        any(out, 5, v);
    }
    for (number, key) in [(6, "multipleOf"), (7, "maximum"), (9, "minimum")] {
        if let Some(x) = s[key].as_f64() {
            crate::proto::wire::double_field(out, number, x);
        }
    }
    flag(out, 8, &s["exclusiveMaximum"]);
    flag(out, 10, &s["exclusiveMinimum"]);
    let counts =
        [(11, "maxLength"), (12, "minLength"), (14, "maxItems"), (15, "minItems"), (17, "maxProperties"), (18, "minProperties")];
    for (number, key) in counts {
        if let Some(n) = s[key].as_u64() {
            varint_field(out, number, n);
        }
    }
    text(out, 13, &s["pattern"]);
    flag(out, 16, &s["uniqueItems"]);
    texts(out, 19, &s["required"]);
    list(&s["enum"]).for_each(|v| any(out, 20, v));
    match map.get("additionalProperties") {
        Some(Value::Bool(b)) => message(out, 21, |o| varint_field(o, 2, u64::from(*b))),
        Some(inner) => message(out, 21, |o| message(o, 1, |o| schema(o, inner))),
        None => {}
    }
    if map.contains_key("type") {
        message(out, 22, |o| text(o, 1, &s["type"]));
    }
    if let Some(items) = map.get("items") {
        message(out, 23, |o| message(o, 1, |o| schema(o, items)));
    }
    list(&s["allOf"]).for_each(|inner| message(out, 24, |o| schema(o, inner)));
    if map.contains_key("properties") {
        message(out, 25, |o| {
            for (name, inner) in entries(&s["properties"]) {
                named(o, 1, name, |o| schema(o, inner));
            }
        });
    }
    extensions(out, 31, map);
}
