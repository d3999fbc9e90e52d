//! Managed fields that were recorded when a list or map was not atomic yet: now the whole is owned.

use super::node::{Kind, Node};
use crate::fieldset::{Element, Set};
use schema::types::Typed;

/// Lifts paths inside atomic lists and maps to the list or map.
pub fn reconcile(set: &mut Set, typed: Typed) {
    walk(Node::root(typed), set);
}

fn walk(node: Node, set: &mut Set) {
    for (e, n) in &mut set.nodes {
        if n.children.is_empty() {
            continue;
        }
        let child = match (e, node.kind) {
            (Element::Field(name), _) => node.field(name),
            (_, Kind::List { .. }) => Some(node.item()),
            _ => None,
        };
        let Some(child) = child else { continue };
        match child.kind {
            Kind::Deduced | Kind::Scalar(_) => {}
            Kind::Atomic => lift(n),
            Kind::List { .. } if child.atomic_list() => lift(n),
            Kind::Struct { .. } | Kind::Map { .. } if child.atomic_map() => lift(n),
            _ => walk(child, &mut n.children),
        }
    }
}

fn lift(n: &mut crate::fieldset::Node) {
    n.member = true;
    n.children = Set::new();
}
