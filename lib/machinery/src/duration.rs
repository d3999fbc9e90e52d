//! Durations: Go's `1h2m3.5s` form, and the ages that `kubectl get` prints.

use crate::quote::Quoted;

const NANOS: i64 = 1;
const MICROS: i64 = 1_000 * NANOS;
const MILLIS: i64 = 1_000 * MICROS;
const SECOND: i64 = 1_000 * MILLIS;
const MINUTE: i64 = 60 * SECOND;
const HOUR: i64 = 60 * MINUTE;

/// Parses Go's duration form into nanoseconds; the error texts are Go's.
pub fn parse(orig: &str) -> Result<i64, String> {
    let invalid = || format!("time: invalid duration {}", Quoted(orig));
    let (negative, mut s) = match orig.as_bytes().first() {
        Some(b'-') => (true, &orig[1..]),
        Some(b'+') => (false, &orig[1..]),
        _ => (false, orig),
    };
    if s == "0" {
        return Ok(0);
    }
    if s.is_empty() {
        return Err(invalid());
    }
    let mut total: i128 = 0;
    while !s.is_empty() {
        let digits = s.bytes().take_while(u8::is_ascii_digit).count();
        let (whole, mut rest) = s.split_at(digits);
        let mut fraction = "";
        if let Some(r) = rest.strip_prefix('.') {
            (fraction, rest) = r.split_at(r.bytes().take_while(u8::is_ascii_digit).count());
        }
        if whole.is_empty() && fraction.is_empty() {
            return Err(invalid());
        }
        let unit_len = rest.bytes().take_while(|c| *c != b'.' && !c.is_ascii_digit()).count();
        let (unit, tail) = rest.split_at(unit_len);
        let scale = match unit {
            "" => return Err(format!("time: missing unit in duration {}", Quoted(orig))),
            "ns" => NANOS,
            "us" | "µs" | "μs" => MICROS,
            "ms" => MILLIS,
            "s" => SECOND,
            "m" => MINUTE,
            "h" => HOUR,
            _ => return Err(format!("time: unknown unit {} in duration {}", Quoted(unit), Quoted(orig))),
        };
        let whole: i128 = if whole.is_empty() { 0 } else { whole.parse::<u64>().map_err(|_| invalid())?.into() };
        total += whole * i128::from(scale);
        // Hours need 13 digits at most to be exact; more are beyond a nanosecond.
        let fraction = &fraction[..fraction.len().min(18)];
        if !fraction.is_empty() {
            let n: i128 = fraction.parse().map_err(|_| invalid())?;
            total += n * i128::from(scale) / 10i128.pow(fraction.len() as u32);
        }
        if total > i128::from(i64::MAX) + i128::from(negative) {
            return Err(invalid());
        }
        s = tail;
    }
    i64::try_from(if negative { -total } else { total }).map_err(|_| invalid())
}

/// Formats nanoseconds as Go's `Duration.String`: `1h0m0s`, `1.5s`, `250ms`, `0s`.
pub fn format(nanos: i64) -> String {
    let n = nanos.unsigned_abs();
    let sign = if nanos < 0 { "-" } else { "" };
    let part = |value: u64, unit: i64| {
        let unit = unit as u64;
        let digits = unit.ilog10() as usize;
        let fraction = format!("{:0digits$}", value % unit);
        let fraction = fraction.trim_end_matches('0');
        if fraction.is_empty() || digits == 0 { format!("{}", value / unit) } else { format!("{}.{fraction}", value / unit) }
    };
    match n {
        0 => "0s".into(),
        n if n < MICROS as u64 => format!("{sign}{n}ns"),
        n if n < MILLIS as u64 => format!("{sign}{}µs", part(n, MICROS)),
        n if n < SECOND as u64 => format!("{sign}{}ms", part(n, MILLIS)),
        n => {
            let (h, m) = (n / HOUR as u64, n / MINUTE as u64 % 60);
            let s = part(n % MINUTE as u64, SECOND);
            if h > 0 {
                format!("{sign}{h}h{m}m{s}s")
            } else if m > 0 {
                format!("{sign}{m}m{s}s")
            } else {
                format!("{sign}{s}s")
            }
        }
    }
}

/// The age of something, as tables print it (`5d3h`, `2m30s`); seconds in.
pub fn human(seconds: i64) -> String {
    let two = |a: i64, unit_a: &str, b: i64, unit_b: &str| {
        if b == 0 { format!("{a}{unit_a}") } else { format!("{a}{unit_a}{b}{unit_b}") }
    };
    let (minutes, hours, days) = (seconds / 60, seconds / 3600, seconds / 86400);
    match () {
        () if seconds < -1 => "<invalid>".into(),
        () if seconds < 0 => "0s".into(),
        () if seconds < 120 => format!("{seconds}s"),
        () if minutes < 10 => two(minutes, "m", seconds % 60, "s"),
        () if minutes < 180 => format!("{minutes}m"),
        () if hours < 8 => two(hours, "h", minutes % 60, "m"),
        () if hours < 48 => format!("{hours}h"),
        () if hours < 24 * 8 => two(days, "d", hours % 24, "h"),
        () if hours < 24 * 365 * 2 => format!("{days}d"),
        () if hours < 24 * 365 * 8 => two(hours / 24 / 365, "y", days % 365, "d"),
        () => format!("{}y", hours / 24 / 365),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn go_form() {
        for (input, nanos, printed) in [
            ("0", 0, "0s"),
            ("1h", HOUR, "1h0m0s"),
            ("1.5s", 1_500 * MILLIS, "1.5s"),
            ("-2m", -2 * MINUTE, "-2m0s"),
            ("250ms", 250 * MILLIS, "250ms"),
            ("1h2m3s4ms", HOUR + 2 * MINUTE + 3 * SECOND + 4 * MILLIS, "1h2m3.004s"),
            (".5us", 500, "500ns"),
            ("1500ns", 1500, "1.5µs"),
        ] {
            assert_eq!(parse(input), Ok(nanos), "{input}");
            assert_eq!(format(nanos), printed);
        }
        for (input, want) in [
            ("", "time: invalid duration \"\""),
            ("3", "time: missing unit in duration \"3\""),
            ("3x", "time: unknown unit \"x\" in duration \"3x\""),
            (".s", "time: invalid duration \".s\""),
            ("9999999999999h", "time: invalid duration \"9999999999999h\""),
        ] {
            assert_eq!(parse(input), Err(want.to_owned()), "{input}");
        }
    }

    #[test]
    fn ages() {
        for (seconds, want) in [
            (-2, "<invalid>"),
            (-1, "0s"),
            (119, "119s"),
            (120, "2m"),
            (125, "2m5s"),
            (600, "10m"),
            (3 * 3600, "3h"),
            (3 * 3600 + 60, "3h1m"),
            (47 * 3600, "47h"),
            (48 * 3600, "2d"),
            (51 * 3600, "2d3h"),
            (8 * 86400, "8d"),
            (2 * 365 * 86400, "2y"),
            (2 * 365 * 86400 + 86400, "2y1d"),
            (8 * 365 * 86400, "8y"),
        ] {
            assert_eq!(human(seconds), want);
        }
    }
}
