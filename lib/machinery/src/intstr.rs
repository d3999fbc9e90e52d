//! `IntOrString`: a number, or a percentage of a total.

use crate::quote::Quoted;
use serde_json::Value;

/// An `IntOrString` value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum IntOrString {
    Int(i32),
    String(String),
}

impl IntOrString {
    /// Reads a JSON value; `None` if it is neither a 32-bit integer nor a string.
    pub fn from_value(v: &Value) -> Option<Self> {
        match v {
            Value::String(s) => Some(Self::String(s.clone())),
            v => v.as_i64().and_then(|n| i32::try_from(n).ok()).map(Self::Int),
        }
    }

    /// The number, or `percent` of `total`, as `GetScaledValueFromIntOrPercent`; error texts are upstream's.
    pub fn scaled(&self, total: i64, round_up: bool) -> Result<i64, String> {
        let s = match self {
            Self::Int(n) => return Ok(i64::from(*n)),
            Self::String(s) => s,
        };
        let Some(number) = s.strip_suffix('%') else {
            return Err("invalid value for IntOrString: invalid type: string is not a percentage".into());
        };
        let percent: i64 = number.parse().map_err(|_| {
            format!(
                "invalid value for IntOrString: invalid value {}: strconv.Atoi: parsing {}: invalid syntax",
                Quoted(s),
                Quoted(number)
            )
        })?;
        let product = i128::from(percent) * i128::from(total);
        let floor = product.div_euclid(100);
        let scaled = if round_up && product.rem_euclid(100) != 0 { floor + 1 } else { floor };
        Ok(i64::try_from(scaled).unwrap_or(i64::MAX))
    }
}

/// `scaled` of a JSON value; `None` stands for an absent one.
pub fn scaled_value(v: Option<&Value>, total: i64, round_up: bool) -> Result<i64, String> {
    let Some(v) = v.filter(|v| !v.is_null()) else { return Err("nil value for IntOrString".into()) };
    let Some(v) = IntOrString::from_value(v) else {
        return Err("invalid value for IntOrString: invalid type: neither int nor percentage".into());
    };
    v.scaled(total, round_up)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn scaling() {
        for (v, total, up, want) in [
            (json!(3), 10, true, Ok(3)),
            (json!("25%"), 10, true, Ok(3)),
            (json!("25%"), 10, false, Ok(2)),
            (json!("0%"), 10, true, Ok(0)),
            (json!("100%"), 7, false, Ok(7)),
            (json!("3"), 7, false, Err("invalid value for IntOrString: invalid type: string is not a percentage")),
        ] {
            assert_eq!(scaled_value(Some(&v), total, up).as_ref().map_err(String::as_str), want.as_ref().map_err(|e| *e), "{v}");
        }
        assert_eq!(scaled_value(None, 1, true), Err("nil value for IntOrString".into()));
    }
}
