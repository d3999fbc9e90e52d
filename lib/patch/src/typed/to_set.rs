//! The fields that an object sets.

use super::Errors;
use super::node::{Atom, Node, entries, items};
use crate::MAX_DEPTH;
use crate::fieldset::{Element, Set};
use machinery::Value;
use schema::types::Typed;
use std::collections::BTreeMap;

/// Every field, item and entry that `obj` sets.
pub fn to_set(obj: &Value, typed: Typed) -> Result<Set, Errors> {
    let mut set = Set::new();
    walk(Node::root(typed), obj, &mut Vec::new(), &mut set)?;
    Ok(set)
}

fn walk(node: Node, v: &Value, path: &mut Vec<Element>, set: &mut Set) -> Result<(), Errors> {
    if path.len() > MAX_DEPTH {
        return Err(Errors::one(path, "nested too deeply"));
    }
    match node.atom(Some(v)) {
        Atom::Scalar => set.insert(path),
        Atom::List if node.atomic_list() => set.insert(path),
        Atom::List => {
            let list = items(Some(v));
            let mut seen: BTreeMap<Element, u32> = BTreeMap::new();
            for item in list {
                if let Ok(e) = node.element(item) {
                    *seen.entry(e).or_default() += 1;
                }
            }
            for item in list {
                let Ok(e) = node.element(item) else { continue };
                let duplicate = seen.get(&e).is_some_and(|n| *n > 1);
                path.push(e);
                // An item that stands twice is owned as one.
                if !duplicate {
                    walk(node.item(), item, path, set)?;
                }
                set.insert(path);
                path.pop();
            }
        }
        Atom::Map if node.atomic_map() => set.insert(path),
        Atom::Map => {
            for (k, item) in entries(Some(v)).into_iter().flatten() {
                path.push(Element::field(k));
                walk(node.field_or_deduced(k), item, path, set)?;
                let empty = item.is_null() || item.as_object().is_some_and(|m| m.is_empty());
                if empty || !node.declares(k) {
                    set.insert(path);
                }
                path.pop();
            }
        }
    }
    Ok(())
}

/// `set` with every declared field on the way to a member made a member itself.
pub fn ensure_named_fields(set: &Set, typed: Typed) -> Set {
    let mut out = set.clone();
    ensure(Some(Node::root(typed)), &mut out);
    out
}

fn ensure(node: Option<Node>, set: &mut Set) {
    for (e, n) in &mut set.nodes {
        if n.children.is_empty() {
            continue;
        }
        let below = match e {
            Element::Field(name) => {
                n.member |= node.is_some_and(|p| p.declares(name));
                node.and_then(|p| p.field(name))
            }
            Element::Key(_) => node.map(|p| p.item()),
            Element::Value(_) | Element::Index(_) => None,
        };
        ensure(below, &mut n.children);
    }
}
