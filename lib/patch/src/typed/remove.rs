//! An object without the items and fields of a set.

use super::node::{Atom, Node};
use crate::fieldset::{Element, Set};
use machinery::{Map, Value};
use schema::types::Typed;

/// `obj` without what `remove` names. Atomic lists and maps go whole or not at all; what becomes empty becomes null.
pub fn remove_items(obj: &Value, remove: &Set, typed: Typed) -> Value {
    // Depth is bounded by the set, which has a bound of its own.
    without(Node::root(typed), obj, remove)
}

fn without(node: Node, v: &Value, remove: &Set) -> Value {
    match (node.atom(Some(v)), v) {
        (Atom::Scalar, v) => v.clone(),
        (Atom::List, Value::Array(list)) if !list.is_empty() && !node.atomic_list() => {
            let mut out = Vec::with_capacity(list.len());
            for item in list {
                match node.element(item) {
                    Ok(e) if remove.has_element(&e) => {}
                    Ok(e) => out.push(match remove.below(&e) {
                        Some(below) => without(node.item(), item, below),
                        None => item.clone(),
                    }),
                    Err(_) => out.push(item.clone()),
                }
            }
            if out.is_empty() { Value::Null } else { Value::Array(out) }
        }
        (Atom::Map, Value::Object(map)) if !map.is_empty() && !node.atomic_map() => {
            let mut out = Map::new();
            for (k, item) in map {
                let e = Element::field(k);
                if remove.has_element(&e) {
                    continue;
                }
                let kept = match remove.below(&e) {
                    Some(below) => without(node.field_or_deduced(k), item, below),
                    None => item.clone(),
                };
                out.insert(k.clone(), kept);
            }
            if out.is_empty() { Value::Null } else { Value::Object(out) }
        }
        _ => Value::Null,
    }
}
