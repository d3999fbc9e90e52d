//! Strategic merge patch: a merge patch that knows lists. Lists with a patch key merge item by item, lists of primitives as sets,
//! and directives in the patch delete, replace and order. Behaviour is that of apimachinery/pkg/util/strategicpatch.

mod lists;
mod lookup;
#[cfg(test)]
mod tests;

use crate::MAX_DEPTH;
use lookup::Place;
use machinery::{Map, Status, Value};
use schema::types::Typed;

const PATCH: &str = "$patch";
const RETAIN_KEYS: &str = "$retainKeys";
const DELETE_PRIMITIVES: &str = "$deleteFromPrimitiveList/";
const SET_ORDER: &str = "$setElementOrder/";

/// Why a patch does not apply; the texts are upstream's.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Error {
    #[error("invalid patch format of retainKeys")]
    RetainKeys,
    #[error("lists of lists are not supported")]
    ListOfLists,
    #[error("{0}")]
    Other(String),
}

impl From<Error> for Status {
    fn from(e: Error) -> Self {
        match e {
            Error::RetainKeys => Self::bad_request(e.to_string()),
            Error::ListOfLists => Self::new(422, "Invalid", "the server rejected our request due to an error in our request"),
            Error::Other(message) => Self::new(500, "", message),
        }
    }
}

type Result<T> = std::result::Result<T, Error>;

/// `original` after `patch`.
pub fn apply(original: &Value, patch: &Value, typed: Typed) -> std::result::Result<Value, Status> {
    let Value::Object(patch) = patch else { return Err(Status::bad_request("invalid JSON document")) };
    let original = original.as_object().cloned().unwrap_or_default();
    Ok(Value::Object(merge_map(original, patch.clone(), Place::root(typed), 0)?))
}

fn no_merge_key(item: &Map<String, Value>, key: &str) -> Error {
    Error::Other(format!("map: {} does not contain declared merge key: {key}", Value::Object(item.clone())))
}
fn bad_patch_type(directive: &Value, patch: Map<String, Value>) -> Error {
    let directive = directive.as_str().map_or_else(|| directive.to_string(), str::to_owned);
    Error::Other(format!("unknown patch type: {directive} in map: {}", Value::Object(patch)))
}

fn merge_map(
    mut original: Map<String, Value>,
    mut patch: Map<String, Value>,
    place: Place,
    depth: usize,
) -> Result<Map<String, Value>> {
    if depth > MAX_DEPTH {
        return Err(Error::Other("the patch is nested too deeply".into()));
    }
    if let Some(directive) = patch.remove(PATCH) {
        return match directive.as_str() {
            Some("replace") => Ok(patch),
            Some("delete") => Ok(Map::new()),
            _ => Err(bad_patch_type(&directive, patch)),
        };
    }
    retain_keys(&mut original, &mut patch)?;
    lists::set_element_order(&mut original, &mut patch, place, depth)?;
    for (key, value) in patch {
        if let Some(list) = key.strip_prefix(DELETE_PRIMITIVES) {
            if let (Some(Value::Array(have)), Value::Array(delete)) = (original.get_mut(list), &value) {
                lists::delete_primitives(have, delete)?;
            }
            continue;
        }
        if value.is_null() {
            original.remove(&key);
            continue;
        }
        let merged = match (original.remove(&key), value) {
            (Some(Value::Object(have)), Value::Object(patch)) => {
                let field = place.field(&key)?;
                Some(Value::Object(if field.strategy().replace { patch } else { merge_map(have, patch, field, depth + 1)? }))
            }
            (Some(Value::Array(have)), Value::Array(patch)) => {
                let field = place.field(&key)?;
                Some(Value::Array(lists::merge_field(have, patch, field, depth)?))
            }
            (Some(_), value) if !value.is_object() && !value.is_array() => Some(value),
            (_, mut value) => {
                discard_nulls(&mut value);
                without_directives(value)
            }
        };
        if let Some(merged) = merged {
            original.insert(key, merged);
        }
    }
    Ok(original)
}

/// `$retainKeys`: only these fields of the original stay, and the patch may set no others.
fn retain_keys(original: &mut Map<String, Value>, patch: &mut Map<String, Value>) -> Result<()> {
    let Some(keys) = patch.remove(RETAIN_KEYS) else { return Ok(()) };
    let Value::Array(keys) = keys else { return Err(Error::RetainKeys) };
    let keys: std::collections::BTreeSet<&str> = keys.iter().filter_map(Value::as_str).collect();
    let directive = |k: &str| k.starts_with(DELETE_PRIMITIVES) || k.starts_with(SET_ORDER);
    if patch.iter().any(|(k, v)| !v.is_null() && !directive(k) && !keys.contains(k.as_str())) {
        return Err(Error::RetainKeys);
    }
    original.retain(|k, _| keys.contains(k.as_str()));
    Ok(())
}

/// Nulls in what the original does not have delete nothing.
fn discard_nulls(v: &mut Value) {
    match v {
        Value::Object(m) => {
            m.retain(|_, v| !v.is_null());
            m.values_mut().for_each(discard_nulls);
        }
        Value::Array(list) => list.iter_mut().for_each(discard_nulls),
        _ => {}
    }
}

/// The value as it is stored: objects that carry a directive vanish.
fn without_directives(v: Value) -> Option<Value> {
    match v {
        Value::Object(m) if m.contains_key(PATCH) => None,
        Value::Object(m) => Some(m.into_iter().filter_map(|(k, v)| Some((k, without_directives(v)?))).collect()),
        Value::Array(list) => Some(list.into_iter().filter_map(without_directives).collect()),
        v => Some(v),
    }
}
