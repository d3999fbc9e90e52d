//! Whether an applied configuration fits its type: known fields, right shapes, no item twice.

use super::Errors;
use super::node::{Kind, Node};
use crate::MAX_DEPTH;
use crate::fieldset::{Element, path_string};
use machinery::Value;
use schema::types::{TypeRef, Typed};
use std::collections::BTreeSet;

/// At most this many errors are reported.
const MAX_ERRORS: usize = 100;

/// Checks `obj`; the messages are structured-merge-diff's.
pub fn validate(obj: &Value, typed: Typed) -> Result<(), Errors> {
    let mut errs = Errors(Vec::new());
    check(Node::root(typed), obj, &mut Vec::new(), &mut errs);
    if errs.0.is_empty() { Ok(()) } else { Err(errs) }
}

fn check(node: Node, v: &Value, path: &mut Vec<Element>, errs: &mut Errors) {
    if errs.0.len() >= MAX_ERRORS {
        return;
    }
    let mut bad = |message: String| errs.0.push((path_string(path), message));
    if path.len() > MAX_DEPTH {
        bad("nested too deeply".into());
        return;
    }
    match (node.kind, v) {
        (_, Value::Null) | (Kind::Deduced | Kind::Atomic, _) => {}
        (Kind::Scalar(ty), v) => {
            let message = match ty {
                TypeRef::Bool if !v.is_boolean() => format!("expected boolean, got &{{{}}}", go(v)),
                TypeRef::Int32 | TypeRef::Int64 | TypeRef::Float64 if !v.is_number() => {
                    let shown = match v {
                        Value::String(_) => "string",
                        Value::Bool(_) => "bool",
                        Value::Array(_) => "[]interface {}",
                        _ => "map[string]interface {}",
                    };
                    format!("expected numeric (int or float), got {shown}")
                }
                TypeRef::IntOrString | TypeRef::Quantity if v.is_array() || v.is_object() => {
                    format!("expected any scalar, got &{{{}}}", go(v))
                }
                TypeRef::String | TypeRef::Bytes | TypeRef::Time | TypeRef::MicroTime | TypeRef::Duration if !v.is_string() => {
                    format!("expected string, got &value.valueUnstructured{{Value:{}}}", go(v))
                }
                _ => return,
            };
            bad(message);
        }
        (Kind::List { .. }, Value::Array(list)) => {
            let mut seen = BTreeSet::new();
            for (i, item) in list.iter().enumerate() {
                let e = if node.atomic_list() {
                    Element::Index(i64::try_from(i).unwrap_or(i64::MAX))
                } else {
                    match node.element(item) {
                        Ok(e) => e,
                        Err(m) => {
                            errs.0.push((path_string(path), format!("element {i}: {m}")));
                            return;
                        }
                    }
                };
                if !seen.insert(e.clone()) {
                    errs.0.push((path_string(path), format!("duplicate entries for key {e}")));
                }
                path.push(e);
                check(node.item(), item, path, errs);
                path.pop();
            }
        }
        (Kind::List { .. }, v) => bad(format!("expected list, got &{{{}}}", go(v))),
        (Kind::Struct { .. } | Kind::Map { .. }, Value::Object(map)) => {
            for (k, item) in map {
                path.push(Element::field(k));
                match node.field(k) {
                    Some(child) => check(child, item, path, errs),
                    None => errs.0.push((path_string(path), "field not declared in schema".into())),
                }
                path.pop();
            }
        }
        (Kind::Struct { .. } | Kind::Map { .. }, v) => bad(format!("expected map, got &{{{}}}", go(v))),
    }
}

/// A value as Go's `%v` prints it.
fn go(v: &Value) -> String {
    match v {
        Value::String(s) => s.clone(),
        Value::Null => "<nil>".into(),
        Value::Array(list) => format!("[{}]", list.iter().map(go).collect::<Vec<_>>().join(" ")),
        Value::Object(m) => {
            let entries: Vec<String> = m.iter().map(|(k, v)| format!("{k}:{}", go(v))).collect();
            format!("map[{}]", entries.join(" "))
        }
        v => v.to_string(),
    }
}
