//! `resource.Quantity`: numbers such as `500m`, `1.5Gi`, `12e6`, with upstream's parsing, rounding and canonical form.
//!
//! A value is `mantissa * 10^scale`. Upstream falls back to big integers; here 38 digits are the limit, and more are refused.

mod format;
mod parse;
#[cfg(test)]
mod tests;

use std::cmp::Ordering;

/// How a quantity is written: the family of its suffix.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Format {
    /// `12e6`.
    DecimalExponent,
    /// `12Mi`.
    BinarySI,
    /// `12M`.
    DecimalSI,
}

/// Why a string is no quantity; the texts are upstream's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ParseError {
    #[error("quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'")]
    Format,
    #[error("unable to parse numeric part of quantity")]
    Numeric,
    #[error("unable to parse quantity's suffix")]
    Suffix,
}

/// A decimal number with the form in which it is written.
#[derive(Clone, Copy, Debug)]
pub struct Quantity {
    mantissa: i128,
    /// Power of ten, never below -9.
    scale: i32,
    format: Format,
}

/// Ten to a small power.
fn pow10(n: u32) -> Option<i128> {
    10i128.checked_pow(n)
}

impl Quantity {
    pub const ZERO: Self = Self { mantissa: 0, scale: 0, format: Format::DecimalSI };

    pub fn new(value: i64, format: Format) -> Self {
        Self { mantissa: i128::from(value), scale: 0, format }
    }
    /// `value` thousandths.
    pub fn from_milli(value: i64, format: Format) -> Self {
        Self { mantissa: i128::from(value), scale: -3, format }
    }
    pub fn format(&self) -> Format {
        self.format
    }
    pub fn is_zero(&self) -> bool {
        self.mantissa == 0
    }
    pub fn sign(&self) -> i32 {
        self.mantissa.signum() as i32
    }

    /// The value in units of `10^scale`, rounded away from zero; beyond `i64` it saturates.
    pub fn scaled_value(&self, scale: i32) -> i64 {
        let (v, _) = self.rounded(scale);
        i64::try_from(v).unwrap_or(if v < 0 { i64::MIN } else { i64::MAX })
    }
    /// Whole units, rounded up: bytes, pods.
    pub fn value(&self) -> i64 {
        self.scaled_value(0)
    }
    /// Thousandths, rounded up: millicores.
    pub fn milli_value(&self) -> i64 {
        self.scaled_value(-3)
    }
    /// The value if it is a whole number that fits.
    pub fn as_i64(&self) -> Option<i64> {
        let (v, exact) = self.rounded(0);
        if exact { i64::try_from(v).ok() } else { None }
    }
    pub fn as_f64(&self) -> f64 {
        self.mantissa as f64 * 10f64.powi(self.scale)
    }

    /// The value in units of `10^scale`, rounded away from zero and saturating, and whether that is exact.
    fn rounded(&self, scale: i32) -> (i128, bool) {
        let shift = i64::from(self.scale) - i64::from(scale);
        let limit = if self.mantissa < 0 { i128::MIN } else { i128::MAX };
        if self.mantissa == 0 {
            return (0, true);
        }
        let power = u32::try_from(shift.unsigned_abs()).ok().and_then(pow10);
        if shift >= 0 {
            return power.and_then(|p| self.mantissa.checked_mul(p)).map_or((limit, false), |v| (v, true));
        }
        let Some(p) = power else { return (self.mantissa.signum(), false) };
        let (q, r) = (self.mantissa / p, self.mantissa % p);
        (q + r.signum(), r == 0)
    }

    /// Both mantissas at the finer of the two scales; `None` if that does not fit.
    fn align(a: &Self, b: &Self) -> Option<(i128, i128, i32)> {
        let scale = match (a.mantissa, b.mantissa) {
            (0, _) => b.scale,
            (_, 0) => a.scale,
            _ => a.scale.min(b.scale),
        };
        let at = |q: &Self| {
            if q.mantissa == 0 {
                return Some(0);
            }
            let up = u32::try_from(i64::from(q.scale) - i64::from(scale)).ok()?;
            q.mantissa.checked_mul(pow10(up)?)
        };
        Some((at(a)?, at(b)?, scale))
    }

    fn combine(&mut self, other: &Self, negative: bool) {
        if self.is_zero() {
            self.format = other.format;
        }
        let sum = Self::align(self, other).and_then(|(a, b, scale)| {
            let v = if negative { a.checked_sub(b) } else { a.checked_add(b) };
            Some((v?, scale))
        });
        match sum {
            Some((mantissa, scale)) => (self.mantissa, self.scale) = (mantissa, scale),
            // More than 38 digits apart: the smaller one is beyond precision.
            None if other.magnitude() > self.magnitude() => {
                self.mantissa = if negative { other.mantissa.saturating_neg() } else { other.mantissa };
                self.scale = other.scale;
            }
            None => {}
        }
    }

    /// Adds; a zero takes the other's format.
    pub fn add(&mut self, other: &Self) {
        self.combine(other, false);
    }
    /// Subtracts; a zero takes the other's format.
    pub fn sub(&mut self, other: &Self) {
        self.combine(other, true);
    }
    /// Rounds away from zero to units of `10^scale`; whether nothing was lost.
    pub fn round_up(&mut self, scale: i32) -> bool {
        if self.scale >= scale {
            return true;
        }
        let (v, exact) = self.rounded(scale);
        (self.mantissa, self.scale) = (v, scale);
        exact
    }

    /// Position of the leading digit.
    fn magnitude(&self) -> i64 {
        if self.mantissa == 0 {
            return i64::MIN;
        }
        i64::from(self.mantissa.unsigned_abs().ilog10()) + i64::from(self.scale)
    }
}

impl Ord for Quantity {
    fn cmp(&self, other: &Self) -> Ordering {
        match Self::align(self, other) {
            Some((a, b, _)) => a.cmp(&b),
            None if self.sign() != other.sign() => self.sign().cmp(&other.sign()),
            None if self.sign() < 0 => other.magnitude().cmp(&self.magnitude()),
            None => self.magnitude().cmp(&other.magnitude()),
        }
    }
}
impl PartialOrd for Quantity {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}
/// By value: `1` equals `1000m`.
impl PartialEq for Quantity {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}
impl Eq for Quantity {}

impl std::str::FromStr for Quantity {
    type Err = ParseError;
    fn from_str(s: &str) -> Result<Self, ParseError> {
        parse::parse(s).map(|(q, _)| q)
    }
}

/// A quantity as the API server writes it back. Short strings that need no change are kept letter by letter (`+1`, `010m`),
/// as upstream keeps them.
pub fn canonicalize(s: &str) -> Result<String, ParseError> {
    let (q, verbatim) = parse::parse(s)?;
    Ok(if verbatim { s.to_owned() } else { q.to_string() })
}

/// Reads a quantity from JSON, where a number is as good as a string.
pub fn from_value(v: &serde_json::Value) -> Result<Quantity, ParseError> {
    match v {
        serde_json::Value::String(s) => s.trim().parse(),
        serde_json::Value::Number(n) => n.to_string().parse(),
        serde_json::Value::Null => Ok(Quantity::ZERO),
        _ => Err(ParseError::Format),
    }
}
