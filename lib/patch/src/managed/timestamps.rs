//! Writes that would change nothing but a timestamp in `managedFields` are no writes.

use machinery::meta::{self, list_at};
use machinery::{Map, Value};
use std::sync::LazyLock;

/// `new`, with the entries of `old` where the two objects differ in nothing but the entries' times.
pub fn ignore_timestamps(old: &Value, mut new: Value) -> Value {
    const PATH: &[&str] = &["metadata", "managedFields"];
    let (before, after) = (list_at(old, PATH), list_at(&new, PATH));
    let same = before.len() == after.len() && before.iter().zip(after).all(|(a, b)| equal_but(a, b, &["time"]));
    if same && before != after && equal_objects(old, &new) {
        let before = before.to_vec();
        meta::set(&mut new, PATH, before.into());
    }
    new
}

fn equal_objects(a: &Value, b: &Value) -> bool {
    static NONE: LazyLock<Value> = LazyLock::new(|| Value::Object(Map::new()));
    fn meta(v: &Value) -> &Value {
        v.get("metadata").unwrap_or(&NONE)
    }
    equal_but(meta(a), meta(b), &["managedFields", "resourceVersion"]) && equal_but(a, b, &["metadata"])
}

/// Whether two objects are equal without some of their fields.
fn equal_but(a: &Value, b: &Value, but: &[&str]) -> bool {
    let (Value::Object(a), Value::Object(b)) = (a, b) else { return a == b };
    let keep = |(k, _): &(&String, &Value)| !but.contains(&k.as_str());
    a.iter().filter(keep).eq(b.iter().filter(keep))
}
