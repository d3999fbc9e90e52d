//! Reading and writing `metadata` of an object tree. Absent and empty are alike, as in Go.

use serde_json::{Map, Value};

static EMPTY: std::sync::LazyLock<Map<String, Value>> = std::sync::LazyLock::new(Map::new);

/// The string at `path`, or `""`.
pub fn str_at<'a>(obj: &'a Value, path: &[&str]) -> &'a str {
    at(obj, path).and_then(Value::as_str).unwrap_or("")
}

/// The integer at `path`, if there is one.
pub fn i64_at(obj: &Value, path: &[&str]) -> Option<i64> {
    at(obj, path).and_then(Value::as_i64)
}

/// The boolean at `path`, `false` where absent.
pub fn bool_at(obj: &Value, path: &[&str]) -> bool {
    at(obj, path).and_then(Value::as_bool).unwrap_or(false)
}

/// The array at `path`, empty where absent.
pub fn list_at<'a>(obj: &'a Value, path: &[&str]) -> &'a [Value] {
    at(obj, path).and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

/// The object at `path`, empty where absent.
pub fn map_at<'a>(obj: &'a Value, path: &[&str]) -> &'a Map<String, Value> {
    at(obj, path).and_then(Value::as_object).unwrap_or(&EMPTY)
}

/// The value at `path`; `null` counts as absent.
pub fn at<'a>(obj: &'a Value, path: &[&str]) -> Option<&'a Value> {
    let mut v = obj;
    for p in path {
        v = v.get(p)?;
    }
    (!v.is_null()).then_some(v)
}

/// Sets the value at `path`, making objects on the way; a non-object in the way is replaced.
pub fn set(obj: &mut Value, path: &[&str], value: Value) {
    let Some((last, way)) = path.split_last() else { return };
    entry(obj, way).insert((*last).to_owned(), value);
}

/// The object at `path`, made if absent.
pub fn entry<'a>(obj: &'a mut Value, path: &[&str]) -> &'a mut Map<String, Value> {
    let mut v = obj;
    for p in path {
        if !v.is_object() {
            *v = Value::Object(Map::new());
        }
        let Value::Object(m) = v else { unreachable!("just made an object") };
        v = m.entry(*p).or_insert(Value::Null);
    }
    if !v.is_object() {
        *v = Value::Object(Map::new());
    }
    let Value::Object(m) = v else { unreachable!("just made an object") };
    m
}

/// Removes and returns the value at `path`.
pub fn remove(obj: &mut Value, path: &[&str]) -> Option<Value> {
    let (last, way) = path.split_last()?;
    let mut v = obj;
    for p in way {
        v = v.get_mut(p)?;
    }
    v.as_object_mut()?.remove(*last)
}

pub fn name(obj: &Value) -> &str {
    str_at(obj, &["metadata", "name"])
}
pub fn namespace(obj: &Value) -> &str {
    str_at(obj, &["metadata", "namespace"])
}
pub fn uid(obj: &Value) -> &str {
    str_at(obj, &["metadata", "uid"])
}
pub fn resource_version(obj: &Value) -> &str {
    str_at(obj, &["metadata", "resourceVersion"])
}
pub fn labels(obj: &Value) -> &Map<String, Value> {
    map_at(obj, &["metadata", "labels"])
}
pub fn annotations(obj: &Value) -> &Map<String, Value> {
    map_at(obj, &["metadata", "annotations"])
}
pub fn finalizers(obj: &Value) -> &[Value] {
    list_at(obj, &["metadata", "finalizers"])
}
pub fn owner_references(obj: &Value) -> &[Value] {
    list_at(obj, &["metadata", "ownerReferences"])
}
pub fn deletion_timestamp(obj: &Value) -> Option<&str> {
    at(obj, &["metadata", "deletionTimestamp"]).and_then(Value::as_str)
}
/// The owner reference with `controller: true`.
pub fn controller_of(obj: &Value) -> Option<&Value> {
    owner_references(obj).iter().find(|o| bool_at(o, &["controller"]))
}
