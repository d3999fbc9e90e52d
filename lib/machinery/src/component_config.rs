//! What the configuration files of upstream's components have in common: a heading, and fields that say nothing, as tools write
//! whole structures with Go's zero values.

use serde_json::{Map, Value};

/// The fields of a file without its heading; an error if it is of another kind.
pub fn fields(file: Value, api_versions: &[&str], kind: &str) -> Result<Map<String, Value>, String> {
    let Value::Object(mut fields) = file else { return Err("no object".into()) };
    let mut word = |key: &str| fields.remove(key).and_then(|v| v.as_str().map(str::to_owned)).unwrap_or_default();
    let (version, found) = (word("apiVersion"), word("kind"));
    if found != kind || !api_versions.contains(&version.as_str()) {
        return Err(format!("{version}, {found} is not {}, {kind}", api_versions[0]));
    }
    Ok(fields)
}

/// Whether a value says what no value says.
pub fn is_unset(v: &Value) -> bool {
    match v {
        Value::Null => true,
        Value::String(s) => s.is_empty() || s == "0s",
        Value::Bool(b) => !b,
        Value::Number(n) => n.as_f64() == Some(0.0),
        Value::Array(a) => a.is_empty(),
        Value::Object(o) => o.values().all(is_unset),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn headings_are_checked_and_taken() {
        let file = json!({"apiVersion": "g/v1", "kind": "K", "a": 1});
        assert_eq!(fields(file.clone(), &["g/v1"], "K").map(|f| f.len()), Ok(1));
        for (name, versions, kind) in [("another version", "g/v2", "K"), ("another kind", "g/v1", "L")] {
            let error = fields(file.clone(), &[versions], kind).expect_err(name);
            assert_eq!(error, format!("g/v1, K is not {versions}, {kind}"), "{name}");
        }
        assert!(fields(json!([]), &["g/v1"], "K").is_err());
    }

    #[test]
    fn what_says_nothing() {
        for v in [json!(null), json!(""), json!("0s"), json!(false), json!(0), json!([]), json!({"a": {"b": null}})] {
            assert!(is_unset(&v), "{v}");
        }
        for v in [json!("a"), json!(true), json!(1), json!([0]), json!({"a": {"b": 1}})] {
            assert!(!is_unset(&v), "{v}");
        }
    }
}
