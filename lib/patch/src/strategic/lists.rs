//! Lists: merging by key or as sets, deleting items, and putting the result in order.

use super::{Error, PATCH, Place, Result, SET_ORDER, merge_map, no_merge_key, without_directives};
use crate::fieldset::Scalar;
use machinery::{Map, Value};
use std::collections::{BTreeMap, BTreeSet};

#[derive(Clone, Copy, PartialEq, Eq)]
enum Items {
    Objects,
    Primitives,
}

/// What the lists hold; all items must be of one type.
fn items_of(lists: &[&[Value]]) -> Result<Items> {
    let kind = |v: &Value| std::mem::discriminant(v);
    let mut all = lists.iter().flat_map(|l| l.iter());
    let Some(first) = all.next() else { return Err(Error::Other("no elements in any of the given slices".into())) };
    if first.is_array() {
        return Err(Error::ListOfLists);
    }
    if first.is_null() || all.any(|v| kind(v) != kind(first)) {
        let shown: Vec<String> = lists.iter().map(|l| Value::from(l.to_vec()).to_string()).collect();
        return Err(Error::Other(format!("list element types are not identical: [{}]", shown.join(" "))));
    }
    Ok(if first.is_object() { Items::Objects } else { Items::Primitives })
}

fn object(v: &Value) -> Result<&Map<String, Value>> {
    v.as_object().ok_or_else(|| Error::Other("expected a map[string]interface {}, but received another type".into()))
}

/// What identifies an item: its merge key, or the primitive itself.
fn identity(v: &Value, key: &str) -> Result<Scalar> {
    if key.is_empty() {
        return Ok(Scalar(v.clone()));
    }
    let m = object(v)?;
    m.get(key).map(|v| Scalar(v.clone())).ok_or_else(|| no_merge_key(m, key))
}

/// The first position of each item.
fn positions(list: &[Value], key: &str) -> Result<BTreeMap<Scalar, usize>> {
    let mut out = BTreeMap::new();
    for (i, v) in list.iter().enumerate() {
        out.entry(identity(v, key)?).or_insert(i);
    }
    Ok(out)
}

/// The list of a field after its patch.
pub(super) fn merge_field(have: Vec<Value>, patch: Vec<Value>, field: Place, depth: usize) -> Result<Vec<Value>> {
    if !field.strategy().merge {
        return Ok(patch);
    }
    if have.is_empty() && patch.is_empty() {
        return Ok(have);
    }
    let items = items_of(&[&have, &patch])?;
    if items == Items::Primitives {
        let mut seen = BTreeSet::new();
        let merged: Vec<Value> = have.iter().chain(&patch).filter(|v| seen.insert(Scalar((*v).clone()))).cloned().collect();
        return in_order(merged, &patch, &have, "");
    }
    let key = field.merge_key();
    if key.is_empty() {
        return Err(Error::Other("cannot merge lists without merge key for struct".into()));
    }
    let (mut have, patch) = directives(have, patch, key)?;
    let server_order = have.clone();
    let mut at = BTreeMap::new();
    for (i, v) in have.iter().enumerate() {
        if let Some(k) = object(v)?.get(key) {
            at.entry(Scalar(k.clone())).or_insert(i);
        }
    }
    for v in &patch {
        let id = identity(v, key)?;
        let Value::Object(patch) = v else { continue };
        match at.get(&id) {
            Some(i) => {
                let original = std::mem::take(&mut have[*i]);
                let Value::Object(original) = original else { continue };
                have[*i] = Value::Object(merge_map(original, patch.clone(), field.item()?, depth + 1)?);
            }
            None => {
                at.insert(id, have.len());
                have.push(v.clone());
            }
        }
    }
    in_order(have, &patch, &server_order, key)
}

/// Obeys `$patch` items: deletions, and replacing the whole list.
fn directives(mut have: Vec<Value>, patch: Vec<Value>, key: &str) -> Result<(Vec<Value>, Vec<Value>)> {
    let mut rest = Vec::with_capacity(patch.len());
    let mut delete: BTreeSet<Scalar> = BTreeSet::new();
    let mut replace = false;
    for v in patch {
        let m = object(&v)?;
        match m.get(PATCH).map(|d| (d, d.as_str())) {
            None => rest.push(v),
            Some((_, Some("delete"))) => {
                delete.insert(identity(&v, key)?);
            }
            Some((_, Some("replace"))) => replace = true,
            Some((_, Some("merge"))) => return Err(Error::Other("merging lists cannot yet be specified in the patch".into())),
            Some((d, _)) => return Err(super::bad_patch_type(d, m.clone())),
        }
    }
    if replace {
        return Ok((rest, Vec::new()));
    }
    if !delete.is_empty() {
        have.retain(|v| v.get(key).is_none_or(|k| !delete.contains(&Scalar(k.clone()))));
    }
    Ok((have, rest))
}

/// Items that the patch names stand in its order, the others in the server's; where the two meet, the server's order decides.
fn in_order(merged: Vec<Value>, patch_order: &[Value], server_order: &[Value], key: &str) -> Result<Vec<Value>> {
    let (patch_at, server_at) = (positions(patch_order, key)?, positions(server_order, key)?);
    let (mut named, mut others) = (Vec::new(), Vec::new());
    for v in merged {
        let id = identity(&v, key)?;
        match patch_at.get(&id) {
            Some(i) => named.push((*i, id, v)),
            None => others.push((server_at.get(&id).copied().unwrap_or(usize::MAX), id, v)),
        }
    }
    named.sort_by_key(|(i, ..)| *i);
    others.sort_by_key(|(i, ..)| *i);
    let mut out = Vec::with_capacity(named.len() + others.len());
    let (mut named, mut others) = (named.into_iter().peekable(), others.into_iter().peekable());
    loop {
        let other_first = match (others.peek(), named.peek()) {
            (None, None) => return Ok(out),
            (Some(_), None) => true,
            (None, Some(_)) => false,
            (Some((_, o, _)), Some((_, n, _))) => server_at.get(o).zip(server_at.get(n)).is_some_and(|(o, n)| o < n),
        };
        out.extend(if other_first { others.next() } else { named.next() }.map(|(_, _, v)| v));
    }
}

/// `$deleteFromPrimitiveList/<field>`.
pub(super) fn delete_primitives(have: &mut Vec<Value>, delete: &[Value]) -> Result<()> {
    if have.is_empty() && delete.is_empty() {
        return Ok(());
    }
    if items_of(&[have.as_slice(), delete])? == Items::Objects {
        return Err(Error::Other("cannot delete objects from a list of primitives".into()));
    }
    let delete: BTreeSet<Scalar> = delete.iter().map(|v| Scalar(v.clone())).collect();
    have.retain(|v| !delete.contains(&Scalar(v.clone())));
    Ok(())
}

/// `$setElementOrder/<field>`: merges the field, then orders it.
pub(super) fn set_element_order(
    original: &mut Map<String, Value>,
    patch: &mut Map<String, Value>,
    place: Place,
    depth: usize,
) -> Result<()> {
    let keys: Vec<String> = patch.keys().filter(|k| k.starts_with(SET_ORDER)).cloned().collect();
    for directive in keys {
        let (Some(order), Some(name)) = (patch.remove(&directive), directive.strip_prefix(SET_ORDER)) else { continue };
        let list = |v: Value| match v {
            Value::Array(list) => Ok(list),
            _ => Err(Error::Other("expected a []interface {}, but received another type".into())),
        };
        let order = list(order)?;
        let field = place.field(name)?;
        let key = field.merge_key();
        let patched = patch.remove(name).map(list).transpose()?;
        let have = original.get(name).cloned().map(list).transpose()?;
        check_order(patched.as_deref().unwrap_or_default(), &order, key)?;
        let before = have.clone().unwrap_or_default();
        let sample = patched.clone().unwrap_or_default();
        let merged = match (have, patched) {
            (None, None) => continue,
            (Some(have), None) => have,
            (None, Some(patched)) => match without_directives(Value::Array(patched)) {
                Some(Value::Array(list)) => list,
                _ => continue,
            },
            (Some(have), Some(patched)) => merge_field(have, patched, field, depth)?,
        };
        items_of(&[&before, &sample])?;
        original.insert(name.into(), Value::Array(in_order(merged, &order, &before, key)?));
    }
    Ok(())
}

/// Items of the patch must stand in the order that it asks for.
fn check_order(patched: &[Value], order: &[Value], key: &str) -> Result<()> {
    if patched.is_empty() || order.is_empty() {
        return Ok(());
    }
    let is_delete = |v: &Value| v.get(PATCH).and_then(Value::as_str) == Some("delete");
    let rest: Vec<&Value> = patched.iter().filter(|v| key.is_empty() || !is_delete(v)).collect();
    let (mut at, mut wanted) = (0, 0);
    while let (Some(v), Some(w)) = (rest.get(at), order.get(wanted)) {
        if v.get(PATCH).is_some() {
            at += 1;
            continue;
        }
        if identity(v, key)? == identity(w, key)? {
            at += 1;
        }
        wanted += 1;
    }
    // Upstream also refuses a directive that is left over at the end.
    if at < rest.len() && wanted >= order.len() {
        return Err(Error::Other(format!(
            "The order in patch list:\n{}\n doesn't match $setElementOrder list:\n{}\n",
            Value::from(patched.to_vec()),
            Value::from(order.to_vec())
        )));
    }
    Ok(())
}
