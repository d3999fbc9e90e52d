//! Lays one object over another: the applied configuration over the live object. Neither removes fields of the other.

use super::Errors;
use super::node::{Atom, Node, entries, items};
use crate::MAX_DEPTH;
use crate::fieldset::Element;
use machinery::{Map, Value};
use schema::types::Typed;
use std::collections::{BTreeMap, BTreeSet, VecDeque};

/// `live` with everything that `config` sets. Lists of `config` must not hold an item twice.
pub fn merge(live: &Value, config: &Value, typed: Typed) -> Result<Value, Errors> {
    let merged = Walker { path: Vec::new() }.merge(Node::root(typed), Some(live), Some(config))?;
    Ok(merged.unwrap_or(Value::Null))
}

struct Walker {
    path: Vec<Element>,
}

type Side<'v> = Option<&'v Value>;
static NULL: Value = Value::Null;

impl Walker {
    fn merge(&mut self, node: Node, l: Side, r: Side) -> Result<Option<Value>, Errors> {
        if self.path.len() > MAX_DEPTH {
            return Err(Errors::one(&self.path, "nested too deeply"));
        }
        match node.atom(if r.is_none() { l } else { r }) {
            Atom::Scalar => Ok(keep(l, r)),
            Atom::Map => {
                let (lm, rm) = (entries(l), entries(r));
                let empty = lm.is_none_or(Map::is_empty) && rm.is_none_or(Map::is_empty);
                if node.atomic_map() || empty {
                    return Ok(keep(l, r));
                }
                let mut out = Map::new();
                for (k, lv) in lm.into_iter().flatten() {
                    let rv = rm.and_then(|m| m.get(k));
                    if let Some(v) = self.descend(Element::field(k), node.field_or_deduced(k), Some(lv), rv)? {
                        out.insert(k.clone(), v);
                    }
                }
                for (k, rv) in rm.into_iter().flatten().filter(|(k, _)| lm.is_none_or(|m| !m.contains_key(*k))) {
                    if let Some(v) = self.descend(Element::field(k), node.field_or_deduced(k), None, Some(rv))? {
                        out.insert(k.clone(), v);
                    }
                }
                Ok((!out.is_empty()).then_some(Value::Object(out)))
            }
            Atom::List => {
                let (li, ri) = (items(l), items(r));
                if node.atomic_list() || (li.is_empty() && ri.is_empty()) {
                    return Ok(keep(l, r));
                }
                let out = self.lists(node, li, ri)?;
                Ok((!out.is_empty()).then_some(Value::Array(out)))
            }
        }
    }

    fn descend(&mut self, e: Element, node: Node, l: Side, r: Side) -> Result<Option<Value>, Errors> {
        // Only one side: nothing to merge.
        if l.is_none() || r.is_none() {
            return Ok(keep(l, r));
        }
        self.path.push(e);
        let out = self.merge(node, l, r);
        self.path.pop();
        out
    }

    /// Elements in order, and the value of each; duplicates stand as null.
    fn index<'v>(
        &self,
        node: Node,
        list: &'v [Value],
        duplicates: bool,
    ) -> Result<(Vec<Element>, BTreeMap<Element, &'v Value>), Errors> {
        let (mut order, mut seen) = (Vec::with_capacity(list.len()), BTreeMap::new());
        for (i, v) in list.iter().enumerate() {
            let e = node.element(v).map_err(|m| Errors::one(&self.path, format!("element {i}: {m}")))?;
            if !seen.contains_key(&e) {
                seen.insert(e.clone(), v);
            } else if duplicates {
                seen.insert(e.clone(), &NULL);
            } else {
                return Err(Errors::one(&self.path, format!("duplicate entries for key {e}")));
            }
            order.push(e);
        }
        Ok((order, seen))
    }

    /// Items that both lists have keep the applied order; live items keep their place around them.
    fn lists(&mut self, node: Node, l: &[Value], r: &[Value]) -> Result<Vec<Value>, Errors> {
        let (r_order, r_seen) = self.index(node, r, false)?;
        let (l_order, l_seen) = self.index(node, l, true)?;
        let mut shared: VecDeque<&Element> = r_order.iter().filter(|e| l_seen.contains_key(*e)).collect();
        let mut next_shared = shared.pop_front();
        let mut merged: BTreeSet<&Element> = BTreeSet::new();
        let mut out = Vec::with_capacity(l.len().max(r.len()));
        let (mut li, mut ri) = (0, 0);
        while li < l_order.len() || ri < r_order.len() {
            if let (Some(le), Some(re)) = (l_order.get(li), r_order.get(ri)) {
                if le == re {
                    merged.insert(re);
                    let pair = (l_seen.get(le).copied(), r_seen.get(le).copied());
                    out.extend(self.descend(le.clone(), node.item(), pair.0, pair.1)?);
                    li += 1;
                    ri += 1;
                    next_shared = shared.pop_front();
                    continue;
                }
                if r_seen.contains_key(le) && next_shared.is_some_and(|n| n != le) {
                    li += 1;
                    continue;
                }
            }
            if let Some(le) = l_order.get(li) {
                if !r_seen.contains_key(le) {
                    out.extend(self.descend(le.clone(), node.item(), l.get(li), None)?);
                    li += 1;
                    continue;
                }
                if merged.contains(le) {
                    li += 1;
                }
            }
            if let Some(re) = r_order.get(ri) {
                merged.insert(re);
                let pair = (l_seen.get(re).copied(), r_seen.get(re).copied());
                out.extend(self.descend(re.clone(), node.item(), pair.0, pair.1)?);
                ri += 1;
                if next_shared == Some(re) {
                    next_shared = shared.pop_front();
                }
            }
        }
        Ok(out)
    }
}

fn keep(l: Side, r: Side) -> Option<Value> {
    r.or(l).cloned()
}
