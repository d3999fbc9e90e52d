//! JSON patch (RFC 6902), with the liberties and the error texts of the library that upstream uses (evanphx/json-patch): `replace`
//! of an absent key sets it, `test` of an absent key against null holds, indices may count from the end.

use crate::MAX_DEPTH;
use machinery::quote::quote;
use machinery::{Map, Status, Value};

/// Operations in one patch.
pub const MAX_OPERATIONS: usize = 10_000;
/// Bytes that all `copy` operations of one patch may add.
pub const MAX_COPY_BYTES: usize = 3 << 20;

/// `doc` after the operations of `patch`. 400 for what is no patch, 413 for too many operations, 422 for one that does not apply.
pub fn apply(doc: &Value, patch: &Value) -> Result<Value, Status> {
    let ops = patch
        .as_array()
        .ok_or_else(|| Status::bad_request("json: cannot unmarshal patch into Go value of type jsonpatch.Patch"))?;
    if ops.len() > MAX_OPERATIONS {
        let n = ops.len();
        return Err(Status::too_large(format!("The allowed maximum operations in a JSON patch is {MAX_OPERATIONS}, got {n}")));
    }
    if ops.iter().any(|op| !op.is_object()) {
        return Err(Status::bad_request("json: cannot unmarshal value into Go value of type jsonpatch.Operation"));
    }
    apply_operations(doc, ops).map_err(|_| does_not_apply())
}

/// `doc` after the operations; `Err` says which one does not apply and why.
pub fn apply_operations(doc: &Value, ops: &[Value]) -> Result<Value, String> {
    if ops.len() > MAX_OPERATIONS {
        return Err(format!("The allowed maximum operations in a JSON patch is {MAX_OPERATIONS}, got {}", ops.len()));
    }
    let mut doc = doc.clone();
    let mut copied = 0;
    for op in ops {
        let op = op.as_object().ok_or("json: cannot unmarshal value into Go value of type jsonpatch.Operation")?;
        run(&mut doc, op, &mut copied)?;
    }
    Ok(doc)
}

/// The client sees a generic message, as upstream has it; the reason goes nowhere.
fn does_not_apply() -> Status {
    Status::new(422, "Invalid", "the server rejected our request due to an error in our request")
}

type Res<T> = Result<T, String>;

fn text<'a>(op: &'a Map<String, Value>, field: &str) -> Option<&'a str> {
    op.get(field).and_then(Value::as_str)
}

fn run(doc: &mut Value, op: &Map<String, Value>, copied: &mut usize) -> Res<()> {
    let kind = text(op, "op").unwrap_or("unknown");
    let path = text(op, "path").ok_or_else(|| format!("{kind} operation failed to decode path: missing value"))?;
    let value = || op.get("value").cloned().unwrap_or(Value::Null);
    let from = || text(op, "from").ok_or_else(|| format!("{kind} operation failed to decode from: missing value"));
    if matches!(kind, "add" | "replace") {
        check_depth(path, op.get("value").unwrap_or(&Value::Null))?;
    }
    match kind {
        "add" => {
            let missing = || format!("add operation does not apply: doc is missing path: {}: missing value", quote(path));
            let (con, key) = find(doc, path).ok_or_else(missing)?;
            add(con, &key, value()).map_err(|e| format!("error in add for path: '{path}': {e}"))
        }
        "remove" => {
            let missing = || format!("remove operation does not apply: doc is missing path: {}: missing value", quote(path));
            let (con, key) = find(doc, path).ok_or_else(missing)?;
            remove(con, &key).map(drop).map_err(|e| format!("error in remove for path: '{path}': {e}"))
        }
        "replace" if path.is_empty() => {
            let v = value();
            if !v.is_object() && !v.is_array() {
                return Err("replace operation value must be object or array".into());
            }
            *doc = v;
            Ok(())
        }
        "replace" => {
            let missing = || format!("replace operation does not apply: doc is missing path: {path}: missing value");
            let (con, key) = find(doc, path).ok_or_else(missing)?;
            match con {
                Value::Array(list) => {
                    let absent = |_| format!("replace operation does not apply: doc is missing key: {path}: missing value");
                    let i = index(&key, list.len()).map_err(absent)?;
                    list[i] = value();
                }
                Value::Object(m) => {
                    m.insert(key, value());
                }
                _ => return Err(missing()),
            }
            Ok(())
        }
        "move" => {
            let from = from()?;
            let missing = || format!("move operation does not apply: doc is missing from path: {from}: missing value");
            let (con, key) = find(doc, from).ok_or_else(missing)?;
            let v = remove(con, &key).map_err(|e| format!("error in move for path: '{key}': {e}"))?;
            check_depth(path, &v)?;
            let missing = || format!("move operation does not apply: doc is missing destination path: {path}: missing value");
            let (con, key) = find(doc, path).ok_or_else(missing)?;
            add(con, &key, v).map_err(|e| format!("error in move for path: '{path}': {e}"))
        }
        "copy" => {
            let from = from()?;
            let missing = || format!("copy operation does not apply: doc is missing from path: {from}: missing value");
            let (con, key) = find(doc, from).ok_or_else(missing)?;
            let v = get(con, &key).map_err(|e| format!("error in copy for from: '{from}': {e}"))?.cloned().unwrap_or(Value::Null);
            *copied += v.to_string().len();
            if *copied > MAX_COPY_BYTES {
                return Err(format!(
                    "Unable to complete the copy, the accumulated size increase of copy is {copied}, exceeding the limit {MAX_COPY_BYTES}"
                ));
            }
            check_depth(path, &v)?;
            let missing = || format!("copy operation does not apply: doc is missing destination path: {path}: missing value");
            let (con, key) = find(doc, path).ok_or_else(missing)?;
            add(con, &key, v).map_err(|e| format!("error while adding value during copy: {e}"))
        }
        "test" => {
            let failed = || format!("testing value {path} failed: test failed");
            if path.is_empty() {
                return if *doc == value() { Ok(()) } else { Err(failed()) };
            }
            let missing = || format!("test operation does not apply: is missing path: {path}: missing value");
            let (con, key) = find(doc, path).ok_or_else(missing)?;
            let have = get(con, &key).map_err(|e| format!("error in test for path: '{path}': {e}"))?;
            if *have.unwrap_or(&Value::Null) == value() { Ok(()) } else { Err(failed()) }
        }
        other => Err(format!("Unexpected kind: {other}")),
    }
}

/// No operation may nest the document deeper than the engines follow.
fn check_depth(path: &str, v: &Value) -> Res<()> {
    if path.matches('/').count() + depth(v) > MAX_DEPTH { Err("the document would be nested too deeply".into()) } else { Ok(()) }
}
fn depth(v: &Value) -> usize {
    1 + match v {
        Value::Array(list) => list.iter().map(depth).max().unwrap_or(0),
        Value::Object(m) => m.values().map(depth).max().unwrap_or(0),
        _ => 0,
    }
}

/// The container that a path points into, and the last step.
fn find<'a>(doc: &'a mut Value, path: &str) -> Option<(&'a mut Value, String)> {
    let mut parts: Vec<String> = path.split('/').skip(1).map(|p| p.replace("~1", "/").replace("~0", "~")).collect();
    let key = parts.pop()?;
    let mut v = doc;
    for p in parts {
        v = match v {
            Value::Object(m) => m.get_mut(&p)?,
            Value::Array(list) => {
                let i = index(&p, list.len()).ok()?;
                list.get_mut(i)?
            }
            _ => return None,
        };
    }
    (v.is_object() || v.is_array()).then_some((v, key))
}

fn number(key: &str) -> Res<i64> {
    key.parse().map_err(|_| format!("strconv.Atoi: parsing {}: invalid syntax", quote(key)))
}
/// An index into a list of `len`; negative ones count from the end.
fn index(key: &str, len: usize) -> Res<usize> {
    let i = number(key)?;
    let size = i64::try_from(len).unwrap_or(i64::MAX);
    if i >= size || i < -size {
        return Err(format!("Unable to access invalid index: {i}: invalid index referenced"));
    }
    usize::try_from(if i < 0 { i + size } else { i }).map_err(|e| e.to_string())
}

fn get<'a>(con: &'a Value, key: &str) -> Res<Option<&'a Value>> {
    match con {
        Value::Array(list) => index(key, list.len()).map(|i| list.get(i)),
        con => Ok(con.get(key)),
    }
}

fn add(con: &mut Value, key: &str, v: Value) -> Res<()> {
    match con {
        Value::Object(m) => {
            m.insert(key.into(), v);
        }
        Value::Array(list) if key == "-" => list.push(v),
        Value::Array(list) => {
            number(key).map_err(|e| format!("value was not a proper array index: '{key}': {e}"))?;
            let i = index(key, list.len() + 1)?;
            list.insert(i, v);
        }
        _ => {}
    }
    Ok(())
}

fn remove(con: &mut Value, key: &str) -> Res<Value> {
    match con {
        Value::Array(list) => index(key, list.len()).map(|i| list.remove(i)),
        Value::Object(m) => m.remove(key).ok_or_else(|| format!("Unable to remove nonexistent key: {key}: missing value")),
        _ => Ok(Value::Null),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use machinery::json;

    #[test]
    fn operations() {
        let doc = json!({"a": {"b": [1, 2]}, "c/d": 1});
        let cases: &[(Value, Result<Value, &str>)] = &[
            (json!([]), Ok(doc.clone())),
            (json!([{"op": "add", "path": "/a/b/-", "value": 3}]), Ok(json!({"a": {"b": [1, 2, 3]}, "c/d": 1}))),
            (json!([{"op": "add", "path": "/a/b/0", "value": 0}]), Ok(json!({"a": {"b": [0, 1, 2]}, "c/d": 1}))),
            (json!([{"op": "remove", "path": "/a/b/-1"}]), Ok(json!({"a": {"b": [1]}, "c/d": 1}))),
            (json!([{"op": "replace", "path": "/new", "value": 1}]), Ok(json!({"a": {"b": [1, 2]}, "c/d": 1, "new": 1}))),
            (
                json!([{"op": "test", "path": "/c~1d", "value": 1}, {"op": "remove", "path": "/c~1d"}]),
                Ok(json!({"a": {"b": [1, 2]}})),
            ),
            (json!([{"op": "test", "path": "/absent", "value": null}]), Ok(doc.clone())),
            (json!([{"op": "move", "from": "/a/b", "path": "/b"}]), Ok(json!({"a": {}, "b": [1, 2], "c/d": 1}))),
            (json!([{"op": "copy", "from": "/c~1d", "path": "/a/b/1"}]), Ok(json!({"a": {"b": [1, 1, 2]}, "c/d": 1}))),
            (
                json!([{"op": "remove", "path": "/x"}]),
                Err("error in remove for path: '/x': Unable to remove nonexistent key: x: missing value"),
            ),
            (
                json!([{"op": "add", "path": "/x/y", "value": 1}]),
                Err("add operation does not apply: doc is missing path: \"/x/y\": missing value"),
            ),
            (
                json!([{"op": "add", "path": "/a/b/9", "value": 1}]),
                Err("error in add for path: '/a/b/9': Unable to access invalid index: 9: invalid index referenced"),
            ),
            (json!([{"op": "test", "path": "/a", "value": 1}]), Err("testing value /a failed: test failed")),
            (json!([{"op": "dance", "path": "/a"}]), Err("Unexpected kind: dance")),
        ];
        for (patch, want) in cases {
            let mut got = doc.clone();
            let ops = patch.as_array().into_iter().flatten().filter_map(Value::as_object);
            let done = ops.into_iter().try_for_each(|op| run(&mut got, op, &mut 0));
            assert_eq!(apply(&doc, patch).is_ok(), done.is_ok(), "{patch}");
            let got = done.map(|()| got);
            assert_eq!(got.as_ref().map_err(String::as_str), want.as_ref().map_err(|e| *e), "{patch}");
        }
    }

    #[test]
    fn bounds() {
        let many: Value = (0..=MAX_OPERATIONS).map(|_| json!({"op": "test", "path": "/a", "value": null})).collect();
        assert_eq!(apply(&json!({}), &many).map_err(|s| s.code), Err(413));
        let bomb: Value = (0..64).map(|_| json!({"op": "copy", "from": "/a", "path": "/a/-"})).collect();
        assert_eq!(apply(&json!({"a": ["x".repeat(1000)]}), &bomb).map_err(|s| s.code), Err(422));
        let deep: Value = (0..300).map(|_| json!({"op": "copy", "from": "/a", "path": "/a/a"})).collect();
        assert_eq!(apply(&json!({"a": {}}), &deep).map_err(|s| s.code), Err(422));
        assert_eq!(apply(&json!({}), &json!({})).map_err(|s| s.code), Err(400));
    }
}
