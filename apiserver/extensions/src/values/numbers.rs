//! Bounds of numbers, with Go's way to print them.

use crate::structural::Schema;
use serde_json::Number;

pub enum Problem {
    /// The value breaks a bound.
    Bound(String),
    /// The value does not fit the format at all.
    Range(String),
}

/// What is wrong with a number.
pub fn check(n: &Number, s: &Schema) -> Vec<Problem> {
    let mut out = Vec::new();
    if s.ty == "integer" && s.format == "int32" && n.as_i64().is_some_and(|i| i32::try_from(i).is_err()) {
        out.push(Problem::Range("Checked value must be of type integer with format int32".into()));
    }
    let value = n.as_f64().unwrap_or(0.0);
    // Go compares integers as integers, and prints a bound as what it compared with.
    let bound = |b: f64| if n.is_i64() { b.trunc() } else { b };
    let text = |b: f64| if n.is_i64() { format!("{}", b.trunc()) } else { float(b) };
    if let Some(f) = s.multiple_of {
        let multiple = match n.as_i64() {
            Some(i) if f.trunc() >= 1.0 => {
                #[allow(clippy::cast_possible_truncation)]
                let f = f.trunc() as i64;
                i % f == 0
            }
            _ => {
                let m = if f < 1.0 { 1.0 / f * value } else { value / f };
                (m - m.round()).abs() < 1e-9
            }
        };
        if !multiple {
            out.push(Problem::Bound(format!("should be a multiple of {}", text(f))));
        }
    }
    if let Some(max) = s.maximum {
        let max = bound(max);
        if value > max || s.exclusive_maximum && value >= max {
            let than = if s.exclusive_maximum { "less than" } else { "less than or equal to" };
            out.push(Problem::Bound(format!("should be {than} {}", text(max))));
        }
    }
    if let Some(min) = s.minimum {
        let min = bound(min);
        if value < min || s.exclusive_minimum && value <= min {
            let than = if s.exclusive_minimum { "greater than" } else { "greater than or equal to" };
            out.push(Problem::Bound(format!("should be {than} {}", text(min))));
        }
    }
    out
}

/// Go's `%v` of a float.
fn float(f: f64) -> String {
    if f != 0.0 && (f.abs() < 1e-4 || f.abs() >= 1e21) {
        let s = format!("{f:e}");
        let (mantissa, exponent) = s.split_once('e').unwrap_or((&s, "0"));
        let (sign, digits) = exponent.strip_prefix('-').map_or(('+', exponent), |d| ('-', d));
        return format!("{mantissa}e{sign}{digits:0>2}");
    }
    format!("{f}")
}
