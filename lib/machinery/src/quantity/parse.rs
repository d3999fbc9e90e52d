//! The parser: sign, digits, fraction, suffix. It accepts what upstream accepts, `.` and `+` among it.

use super::{Format, ParseError, Quantity, pow10};

/// Decimal places that are kept; finer values are rounded away from zero.
const NANO: i32 = -9;

fn suffix(s: &str) -> Option<(Format, i32)> {
    Some(match s {
        "" => (Format::DecimalSI, 0),
        "n" => (Format::DecimalSI, -9),
        "u" => (Format::DecimalSI, -6),
        "m" => (Format::DecimalSI, -3),
        "k" => (Format::DecimalSI, 3),
        "M" => (Format::DecimalSI, 6),
        "G" => (Format::DecimalSI, 9),
        "T" => (Format::DecimalSI, 12),
        "P" => (Format::DecimalSI, 15),
        "E" => (Format::DecimalSI, 18),
        "Ki" => (Format::BinarySI, 10),
        "Mi" => (Format::BinarySI, 20),
        "Gi" => (Format::BinarySI, 30),
        "Ti" => (Format::BinarySI, 40),
        "Pi" => (Format::BinarySI, 50),
        "Ei" => (Format::BinarySI, 60),
        _ => {
            let exponent = s.strip_prefix(['e', 'E'])?.parse::<i64>().ok()?;
            (Format::DecimalExponent, i32::try_from(exponent).ok()?)
        }
    })
}

/// Digits of an unsigned decimal as a mantissa and a scale. Fraction digits that do not fit are folded into the last one, away
/// from zero, which is below the nano for any value that the API means.
fn decimal(num: &str, fraction: &str) -> Option<(i128, i32)> {
    let num = num.trim_start_matches('0');
    let fraction = fraction.trim_end_matches('0');
    let (num, mut scale) = if fraction.is_empty() {
        let cut = num.trim_end_matches('0');
        (cut, i32::try_from(num.len() - cut.len()).ok()?)
    } else {
        (num, 0)
    };
    let mut m: i128 = 0;
    for b in num.bytes() {
        m = m.checked_mul(10)?.checked_add(i128::from(b - b'0'))?;
    }
    for (i, b) in fraction.bytes().enumerate() {
        match m.checked_mul(10).and_then(|m| m.checked_add(i128::from(b - b'0'))) {
            Some(next) => (m, scale) = (next, scale - 1),
            None => {
                let lost = fraction.as_bytes()[i..].iter().any(|d| *d != b'0');
                m = m.checked_add(i128::from(lost))?;
                break;
            }
        }
    }
    Some((m, scale))
}

/// The quantity, and whether its string is kept letter by letter.
pub(super) fn parse(s: &str) -> Result<(Quantity, bool), ParseError> {
    if s.is_empty() {
        return Err(ParseError::Format);
    }
    let negative = s.starts_with('-');
    let rest = s.strip_prefix(['-', '+']).unwrap_or(s);
    let digits = |s: &str| s.bytes().take_while(u8::is_ascii_digit).count();
    let rest = rest.trim_start_matches('0');
    let (num, mut rest) = rest.split_at(digits(rest));
    let mut fraction = "";
    if let Some(r) = rest.strip_prefix('.') {
        (fraction, rest) = r.split_at(digits(r));
    }
    let tail = rest.trim_start_matches(['e', 'E', 'i', 'n', 'u', 'm', 'k', 'K', 'M', 'G', 'T', 'P']);
    let tail = tail.strip_prefix(['-', '+']).unwrap_or(tail);
    if digits(tail) != tail.len() {
        return Err(ParseError::Format);
    }
    let num = if num.is_empty() { "0" } else { num };
    let (mut format, exponent) = suffix(rest).ok_or(ParseError::Suffix)?;
    let decimal_value = decimal(num, fraction);

    // Upstream's big-number parser wants a digit where its fast path does not.
    let fast = match format {
        Format::BinarySI => fraction.is_empty() && num.len() as i64 + i64::from(exponent) * 3 / 10 < 15,
        _ => num.len() + fraction.len() <= 18 && i64::from(exponent) - fraction.len() as i64 >= i64::from(NANO),
    };
    let numeric = s.len() - rest.len();
    if !fast && !s.as_bytes()[..numeric].iter().any(u8::is_ascii_digit) {
        return Err(ParseError::Numeric);
    }

    // Upstream keeps the text of small numbers that are already in canonical form.
    let verbatim = match format {
        Format::BinarySI => {
            let precision = 15 - num.len() as i64 - i64::from(exponent) * 3 / 10 - 1;
            let odd = num.parse::<i64>().is_ok_and(|v| v & 7 != 0 && v.checked_mul(1 << exponent).is_some());
            fraction.is_empty() && precision >= 0 && odd
        }
        _ => {
            let scale = i64::from(exponent) - fraction.len() as i64;
            let shifted_ok = !num.starts_with('0') && !ends_with_000(num, fraction);
            num.len() + fraction.len() <= 18 && scale >= i64::from(NANO) && scale % 3 == 0 && shifted_ok
        }
    };

    let (mut mantissa, mut scale) = match (decimal_value, format) {
        (Some(v), _) => v,
        // More digits than fit: a binary quantity is capped anyway.
        (None, Format::BinarySI) => (i128::from(i64::MAX), 0),
        (None, _) => return Err(ParseError::Numeric),
    };
    if format == Format::BinarySI {
        let max = i128::from(i64::MAX);
        match mantissa.checked_mul(1 << exponent) {
            Some(m) => mantissa = m,
            None => (mantissa, scale) = (max, 0),
        }
        let q = round_to_nano(mantissa, scale, format);
        let capped = Quantity { mantissa: max, scale: 0, format };
        (mantissa, scale) = if q > capped { (max, 0) } else { (q.mantissa, q.scale) };
        if mantissa > 0 && q < Quantity::new(1, format) {
            format = Format::DecimalSI;
        }
    } else {
        scale = scale.checked_add(exponent).ok_or(ParseError::Numeric)?;
    }
    let mut q = round_to_nano(mantissa, scale, format);
    if negative {
        q.mantissa = -q.mantissa;
    }
    Ok((q, verbatim))
}

fn ends_with_000(num: &str, fraction: &str) -> bool {
    num.bytes().chain(fraction.bytes()).rev().take(3).filter(|b| *b == b'0').count() == 3
}

fn round_to_nano(mantissa: i128, scale: i32, format: Format) -> Quantity {
    if mantissa == 0 {
        return Quantity { mantissa: 0, scale: 0, format };
    }
    if scale >= NANO {
        return Quantity { mantissa, scale, format };
    }
    let up = match u32::try_from(i64::from(NANO) - i64::from(scale)).ok().and_then(pow10) {
        Some(p) => mantissa / p + i128::from(mantissa % p != 0),
        None => 1,
    };
    Quantity { mantissa: up, scale: NANO, format }
}
