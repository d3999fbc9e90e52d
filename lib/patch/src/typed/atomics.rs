//! Where an object sets lists and maps that are replaced as a whole: a configuration that does would remove what it does not mention.

use super::node::Node;
use crate::MAX_DEPTH;
use crate::fieldset::{Element, path_string};
use machinery::Value;
use schema::types::Typed;

/// The paths of atomic lists, maps and structs in an object.
pub fn atomics(obj: &Value, typed: Typed) -> Vec<String> {
    let mut out = Vec::new();
    find(obj, Node::root(typed), &mut Vec::new(), &mut out);
    out
}

fn find(v: &Value, node: Node, path: &mut Vec<Element>, out: &mut Vec<String>) {
    if path.len() > MAX_DEPTH {
        return;
    }
    match v {
        Value::Object(map) => {
            if node.atomic_map() {
                out.push(path_string(path));
            }
            for (k, v) in map {
                if let Some(child) = node.field(k) {
                    path.push(Element::field(k));
                    find(v, child, path, out);
                    path.pop();
                }
            }
        }
        Value::Array(items) => {
            if node.atomic_list() {
                out.push(path_string(path));
            }
            for (i, v) in items.iter().enumerate() {
                path.push(Element::Index(i as i64));
                find(v, node.item(), path, out);
                path.pop();
            }
        }
        _ => {}
    }
}
