//! What changed between two objects, as sets of paths.

use super::Errors;
use super::node::{Atom, Node, entries, equal, items};
use crate::MAX_DEPTH;
use crate::fieldset::{Element, Node as Branch, Set};
use machinery::Value;
use schema::types::Typed;
use std::collections::BTreeMap;
use std::collections::btree_map::Entry::{Occupied, Vacant};

/// The paths that differ.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Comparison {
    pub removed: Set,
    pub modified: Set,
    pub added: Set,
}

impl Comparison {
    pub fn is_same(&self) -> bool {
        self.removed.is_empty() && self.modified.is_empty() && self.added.is_empty()
    }
    /// Forgets changes at and below the paths of `ignore`.
    pub fn exclude(&mut self, ignore: &Set) {
        for s in [&mut self.removed, &mut self.modified, &mut self.added] {
            s.subtract_recursive(ignore);
        }
    }
    /// Modified and added, and removed.
    pub fn into_changed_and_removed(self) -> (Set, Set) {
        let Self { removed, modified, added } = self;
        // On creation nothing is modified, and all that there is is added.
        (if modified.is_empty() { added } else { modified.union(&added) }, removed)
    }
}

/// What a value that was not there before adds: all of it, made in place instead of path by path. `None` where the walker has an
/// error to tell.
fn gained(node: Node, new: &Value, depth: usize) -> Option<Branch> {
    if depth > MAX_DEPTH {
        return None;
    }
    let mut all = Branch { member: true, children: Set::new() };
    let below = &mut all.children.nodes;
    match node.atom(Some(new)) {
        Atom::Scalar => {}
        Atom::Map if node.atomic_map() => {}
        Atom::Map => {
            for (k, v) in entries(Some(new)).into_iter().flatten() {
                below.insert(Element::field(k), gained(node.field_or_deduced(k), v, depth + 1)?);
            }
        }
        Atom::List if node.atomic_list() => {}
        Atom::List => {
            for v in items(Some(new)) {
                let of_item = gained(node.item(), v, depth + 1)?;
                // Duplicates are owned as one.
                match below.entry(node.element(v).ok()?) {
                    Vacant(slot) => {
                        slot.insert(of_item);
                    }
                    Occupied(mut slot) => slot.get_mut().children = Set::new(),
                }
            }
        }
    }
    Some(all)
}

/// Compares `old` with `new`.
pub fn compare(old: &Value, new: &Value, typed: Typed) -> Result<Comparison, Errors> {
    let mut w = Walker { path: Vec::new(), out: Comparison::default() };
    w.compare(Node::root(typed), Some(old), Some(new))?;
    Ok(w.out)
}

struct Walker {
    path: Vec<Element>,
    out: Comparison,
}

type Side<'v> = Option<&'v Value>;

impl Walker {
    fn compare(&mut self, node: Node, l: Side, r: Side) -> Result<(), Errors> {
        if self.path.len() > MAX_DEPTH {
            return Err(Errors::one(&self.path, "nested too deeply"));
        }
        if let (None, Some(new)) = (l, r)
            && let Some(all) = gained(node, new, self.path.len())
        {
            self.out.added.graft(&self.path, all);
            return Ok(());
        }
        let (la, ra) = (node.atom(l), node.atom(r));
        let leaf = if r.is_none() {
            self.visit(node, la, l, r)?
        } else if l.is_none() || la == ra {
            self.visit(node, ra, l, r)?
        } else {
            // The shape itself changed: what was there goes, what is there comes.
            self.visit(node, la, l, r)?;
            self.visit(node, ra, l, r)?
        };
        if !leaf {
            if l.is_none() {
                self.out.added.insert(&self.path);
            } else if r.is_none() {
                self.out.removed.insert(&self.path);
            }
        }
        Ok(())
    }

    /// Whether the value was compared as a whole.
    fn visit(&mut self, node: Node, atom: Atom, l: Side, r: Side) -> Result<bool, Errors> {
        match atom {
            Atom::Scalar => {
                self.leaf(l, r);
                Ok(true)
            }
            Atom::Map => {
                let (lm, rm) = (entries(l), entries(r));
                let empty = lm.is_none_or(|m| m.is_empty()) && rm.is_none_or(|m| m.is_empty());
                if node.atomic_map() || empty {
                    self.leaf(l, r);
                    return Ok(true);
                }
                for (k, lv) in lm.into_iter().flatten() {
                    let rv = rm.and_then(|m| m.get(k));
                    if rv != Some(lv) {
                        self.descend(Element::field(k), node.field_or_deduced(k), Some(lv), rv)?;
                    }
                }
                for (k, rv) in rm.into_iter().flatten() {
                    if lm.is_none_or(|m| !m.contains_key(k)) {
                        self.descend(Element::field(k), node.field_or_deduced(k), None, Some(rv))?;
                    }
                }
                Ok(false)
            }
            Atom::List => {
                let (li, ri) = (items(l), items(r));
                if node.atomic_list() || (li.is_empty() && ri.is_empty()) {
                    self.leaf(l, r);
                    return Ok(true);
                }
                self.lists(node, li, ri)?;
                Ok(false)
            }
        }
    }

    fn leaf(&mut self, l: Side, r: Side) {
        match (l, r) {
            (None, _) => self.out.added.insert(&self.path),
            (_, None) => self.out.removed.insert(&self.path),
            (Some(a), Some(b)) if !equal(a, b) => self.out.modified.insert(&self.path),
            _ => {}
        }
    }

    fn descend(&mut self, e: Element, node: Node, l: Side, r: Side) -> Result<(), Errors> {
        self.path.push(e);
        let done = self.compare(node, l, r);
        self.path.pop();
        done
    }

    fn lists(&mut self, node: Node, l: &[Value], r: &[Value]) -> Result<(), Errors> {
        let mut all: BTreeMap<Element, (Vec<&Value>, Vec<&Value>)> = BTreeMap::new();
        for (i, (v, right)) in l.iter().map(|v| (v, false)).chain(r.iter().map(|v| (v, true))).enumerate() {
            let i = if right { i - l.len() } else { i };
            let e = node.element(v).map_err(|m| Errors::one(&self.path, format!("element {i}: {m}")))?;
            let both = all.entry(e).or_default();
            if right { both.1.push(v) } else { both.0.push(v) }
        }
        for (e, (l, r)) in all {
            let insert = |set: &mut Set, path: &mut Vec<Element>, e: Element| {
                path.push(e);
                set.insert(path);
                path.pop();
            };
            match (l.as_slice(), r.as_slice()) {
                ([] | [_], [] | [_]) => {
                    let (l, r) = (l.first().copied(), r.first().copied());
                    if l != r {
                        self.descend(e, node.item(), l, r)?;
                    }
                }
                // Duplicates are owned as one.
                ([_, _, ..], [_, _, ..]) => {
                    if l != r {
                        insert(&mut self.out.modified, &mut self.path, e);
                    }
                }
                ([_, _, ..], r) => {
                    if let Some(v) = r.first() {
                        self.descend(e.clone(), node.item(), None, Some(v))?;
                    }
                    insert(&mut self.out.removed, &mut self.path, e);
                }
                (l, _) => {
                    if let Some(v) = l.first() {
                        self.descend(e.clone(), node.item(), Some(v), None)?;
                    }
                    insert(&mut self.out.added, &mut self.path, e);
                }
            }
        }
        Ok(())
    }
}
