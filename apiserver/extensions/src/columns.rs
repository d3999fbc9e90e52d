//! `additionalPrinterColumns`: what `kubectl get` shows of a custom resource. Upstream:
//! apiextensions-apiserver/pkg/registry/customresource/tableconvertor.

use crate::jsonpath::JsonPath;
use machinery::{Value, duration, time};

/// A column with the path that its cells come from.
#[derive(Clone, Debug)]
pub struct Column {
    pub name: String,
    pub ty: String,
    pub format: String,
    pub description: String,
    pub priority: i32,
    path: JsonPath,
}

impl Column {
    /// The columns of a version: its own, or the age. One that does not parse ends the list, as upstream.
    pub fn of_version(version: &Value) -> Vec<Self> {
        let given = version.get("additionalPrinterColumns").and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
        if given.is_empty() {
            let age = machinery::json!({"name": "Age", "type": "date", "jsonPath": ".metadata.creationTimestamp",
                "description": AGE});
            return Self::new(&age).into_iter().collect();
        }
        given.iter().map_while(Self::new).collect()
    }

    fn new(c: &Value) -> Option<Self> {
        let text = |k: &str| c.get(k).and_then(Value::as_str).unwrap_or_default();
        let path = text("jsonPath");
        let description = match text("description") {
            "" => format!("Custom resource definition column (in JSONPath format): {path}"),
            d => d.to_owned(),
        };
        Some(Self {
            name: text("name").to_owned(),
            ty: text("type").to_owned(),
            format: text("format").to_owned(),
            description,
            priority: c.get("priority").and_then(Value::as_i64).and_then(|p| i32::try_from(p).ok()).unwrap_or(0),
            path: JsonPath::parse(path).ok()?,
        })
    }

    /// The cell of an object; `now` in seconds since the epoch.
    pub fn cell(&self, obj: &Value, now: i64) -> Value {
        let found = self.path.find(obj);
        let Some(v) = found.first().filter(|v| !v.is_null()) else { return Value::Null };
        match (self.ty.as_str(), v) {
            ("string", Value::String(s)) => s.as_str().into(),
            ("string", v) => v.to_string().into(),
            #[allow(clippy::cast_possible_truncation)]
            ("integer", Value::Number(n)) => n.as_i64().or_else(|| n.as_f64().map(|f| f as i64)).into(),
            ("number", v @ Value::Number(_)) => (*v).clone(),
            ("boolean", v @ Value::Bool(_)) => (*v).clone(),
            ("date", Value::String(s)) => match time::parse(s) {
                Some(t) => duration::human(now.saturating_sub(t.as_second())).into(),
                None => "<invalid>".into(),
            },
            _ => Value::Null,
        }
    }
}

const AGE: &str = "When the object was created, by the server's clock, in RFC 3339 form and UTC.";
