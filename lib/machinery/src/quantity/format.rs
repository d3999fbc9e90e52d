//! The canonical form: no fraction, the largest suffix that keeps the number whole.

use super::{Format, Quantity};
use std::fmt;

impl fmt::Display for Quantity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.mantissa == 0 {
            return f.write_str("0");
        }
        if self.format == Format::BinarySI
            && let (whole, true) = self.rounded(0)
            && whole.unsigned_abs() >= 1024
        {
            let (mut v, mut power) = (whole, 0);
            while power < 6 && v % 1024 == 0 {
                v /= 1024;
                power += 1;
            }
            return write!(f, "{v}{}", ["", "Ki", "Mi", "Gi", "Ti", "Pi", "Ei"][power]);
        }
        let (mut m, mut e) = (self.mantissa, i64::from(self.scale));
        while m % 10 == 0 {
            m /= 10;
            e += 1;
        }
        // The exponent goes down to a multiple of three; there is no suffix above E.
        let top = if self.format == Format::DecimalExponent { i64::MAX } else { 18 };
        let target = (e - e.rem_euclid(3)).min(top);
        let zeros = usize::try_from(e - target).unwrap_or(0);
        write!(f, "{m}{:0<zeros$}", "")?;
        match (self.format, target) {
            (_, 0) => Ok(()),
            (Format::DecimalExponent, e) => write!(f, "e{e}"),
            (_, e) => {
                let suffixes = ["n", "u", "m", "", "k", "M", "G", "T", "P", "E"];
                f.write_str(usize::try_from(e / 3 + 3).ok().and_then(|i| suffixes.get(i)).unwrap_or(&""))
            }
        }
    }
}
