//! JSON merge patch (RFC 7386): objects merge, null deletes, everything else replaces.

use crate::MAX_DEPTH;
use machinery::{Map, Status, Value};

/// `target` after `patch`.
pub fn apply(target: &Value, patch: &Value) -> Result<Value, Status> {
    if !patch.is_object() {
        return Err(Status::bad_request("Invalid JSON Patch"));
    }
    let mut out = target.clone();
    merge(&mut out, patch, 0)?;
    Ok(out)
}

fn merge(target: &mut Value, patch: &Value, depth: usize) -> Result<(), Status> {
    if depth > MAX_DEPTH {
        return Err(Status::bad_request("the patch is nested too deeply"));
    }
    let Value::Object(patch) = patch else {
        *target = patch.clone();
        return Ok(());
    };
    if !target.is_object() {
        *target = Value::Object(Map::new());
    }
    let Value::Object(out) = target else { return Ok(()) };
    for (k, v) in patch {
        if v.is_null() {
            out.remove(k);
        } else {
            merge(out.entry(k.as_str()).or_insert(Value::Null), v, depth + 1)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use machinery::json;

    #[test]
    fn rfc_7386() {
        for (target, patch, want) in [
            (json!({"a": "b"}), json!({"a": "c"}), json!({"a": "c"})),
            (json!({"a": "b"}), json!({"b": "c"}), json!({"a": "b", "b": "c"})),
            (json!({"a": "b"}), json!({"a": null}), json!({})),
            (json!({"a": ["b"]}), json!({"a": "c"}), json!({"a": "c"})),
            (json!({"a": {"b": "c"}}), json!({"a": {"b": "d", "c": null}}), json!({"a": {"b": "d"}})),
            (json!({"a": [1]}), json!({"a": [null]}), json!({"a": [null]})),
            (json!({}), json!({"a": {"bb": {"ccc": null}}}), json!({"a": {"bb": {}}})),
            (json!({"a": "x"}), json!({"a": {"b": null}}), json!({"a": {}})),
        ] {
            assert_eq!(apply(&target, &patch), Ok(want), "{target} + {patch}");
        }
        assert!(apply(&json!({}), &json!([1])).is_err());
    }
}
