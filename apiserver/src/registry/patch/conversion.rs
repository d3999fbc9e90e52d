//! What is said of a strategic merge patch whose outcome is of no use: upstream turns the patched tree into a Go value without the
//! way over JSON, in words of its own, and shows the patch as Go prints it. Upstream: apimachinery/pkg/runtime/converter.go.

use machinery::Value;

/// A tree in the form of Go's `%+v`.
pub fn shown(value: &Value) -> String {
    match value {
        Value::Null => "<nil>".into(),
        Value::String(s) => s.clone(),
        Value::Array(items) => format!("[{}]", items.iter().map(shown).collect::<Vec<_>>().join(" ")),
        Value::Object(fields) => {
            let mut fields: Vec<(&String, &Value)> = fields.iter().collect();
            fields.sort_by_key(|(name, _)| *name);
            format!("map[{}]", fields.iter().map(|(name, v)| format!("{name}:{}", shown(v))).collect::<Vec<_>>().join(" "))
        }
        other => other.to_string(),
    }
}

/// The converter's words for what the JSON decoder says of a value of another type; other errors as they are.
pub fn refused(why: String) -> String {
    let Some((what, of)) = why.strip_prefix("json: cannot unmarshal ").and_then(|rest| rest.split_once(" into ")) else {
        return why;
    };
    let Some((_, ty)) = of.rsplit_once(" of type ") else { return why };
    let what = match what.split(' ').next().unwrap_or_default() {
        "number" if what.trim_start_matches("number").contains(['.', 'e', 'E']) => "float64",
        "number" => "int64",
        "array" => "slice",
        "object" => "map",
        other => other,
    };
    if ty.starts_with("map[") {
        return format!("cannot restore map from {what}");
    }
    if ty.starts_with("[]") {
        return format!("cannot restore slice from {what}");
    }
    match (ty, what) {
        // Go converts a number to a string, if to no useful one, so the converter looks further here.
        ("string", "int64") => format!("cannot convert {what} to {ty}"),
        ("int32" | "int64", "float64") => format!("cannot convert {what} to {ty}"),
        (ty, _) if !ty.contains('.') => format!("unrecognized type: {ty}"),
        // A named type that takes no object is a string.
        (_, "map") => "unrecognized type: string".into(),
        _ => format!("cannot restore struct from: {what}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use machinery::json;

    #[test]
    fn words() {
        for (why, want) in [
            (
                "json: cannot unmarshal string into Go struct field ObjectMeta.metadata.labels of type map[string]string",
                "cannot restore map from string",
            ),
            (
                "json: cannot unmarshal number into Go struct field ObjectMeta.metadata.labels of type string",
                "cannot convert int64 to string",
            ),
            (
                "json: cannot unmarshal string into Go struct field DeploymentSpec.spec.replicas of type int32",
                "unrecognized type: int32",
            ),
            (
                "json: cannot unmarshal object into Go struct field PodSpec.spec.containers of type []v1.Container",
                "cannot restore slice from map",
            ),
            (
                "json: cannot unmarshal string into Go struct field Pod.spec of type v1.PodSpec",
                "cannot restore struct from: string",
            ),
            ("quantities must match the regular expression", "quantities must match the regular expression"),
        ] {
            assert_eq!(refused(why.to_owned()), want, "{why}");
        }
        let patch = json!({"metadata": {"labels": {"b": null, "a": [1, "x", true]}}});
        assert_eq!(shown(&patch), "map[metadata:map[labels:map[a:[1 x true] b:<nil>]]]");
    }
}
