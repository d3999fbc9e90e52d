//! Timestamps as the API writes them: `Time` to the second and `MicroTime` to the microsecond, both RFC 3339 in UTC.
//!
//! Nothing here reads the clock: the caller passes an instant.

pub use jiff::Timestamp;

/// `metav1.Time`: `2026-01-02T03:04:05Z`.
pub fn format(t: Timestamp) -> String {
    t.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

/// `metav1.MicroTime`: `2026-01-02T03:04:05.000006Z`.
pub fn format_micro(t: Timestamp) -> String {
    t.strftime("%Y-%m-%dT%H:%M:%S.%6fZ").to_string()
}

/// Nanoseconds with trailing zeros cut, as Go's RFC3339Nano: log lines and `startedAt` of the runtime.
pub fn format_nano(t: Timestamp) -> String {
    t.strftime("%Y-%m-%dT%H:%M:%S%.fZ").to_string()
}

/// Parses RFC 3339 with any fraction and offset; `None` for anything else.
pub fn parse(s: &str) -> Option<Timestamp> {
    // jiff takes more than RFC 3339 (spaces, week dates, annotations), so the frame is checked first.
    let b = s.as_bytes();
    let shape = b.len() >= 20
        && b[..19].iter().enumerate().all(|(i, c)| match i {
            4 | 7 => *c == b'-',
            10 => *c == b'T',
            13 | 16 => *c == b':',
            _ => c.is_ascii_digit(),
        });
    if !shape {
        return None;
    }
    let rest = &b[19..];
    let fraction = if rest[0] == b'.' { 1 + rest[1..].iter().take_while(|c| c.is_ascii_digit()).count() } else { 0 };
    let zone = &rest[fraction..];
    let zone_ok = zone == b"Z"
        || (zone.len() == 6
            && matches!(zone[0], b'+' | b'-')
            && zone[3] == b':'
            && zone.iter().enumerate().all(|(i, c)| i == 0 || i == 3 || c.is_ascii_digit()));
    if fraction == 1 || !zone_ok || &b[17..19] == b"60" {
        return None;
    }
    // More digits than nanoseconds are cut, as Go cuts them.
    if fraction > 10 {
        return format!("{}{}", &s[..29], &s[19 + fraction..]).parse().ok();
    }
    s.parse().ok()
}

/// Cuts an instant to whole seconds, as a stored `Time` has it.
pub fn truncate_to_seconds(t: Timestamp) -> Timestamp {
    Timestamp::from_second(t.as_nanosecond().div_euclid(1_000_000_000) as i64).unwrap_or(t)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn round_trips() {
        for (input, seconds, micro, nano) in [
            ("2026-01-02T03:04:05Z", "2026-01-02T03:04:05Z", "2026-01-02T03:04:05.000000Z", "2026-01-02T03:04:05Z"),
            (
                "2026-01-02T03:04:05.1234567Z",
                "2026-01-02T03:04:05Z",
                "2026-01-02T03:04:05.123456Z",
                "2026-01-02T03:04:05.1234567Z",
            ),
            ("2026-01-02T03:04:05+01:00", "2026-01-02T02:04:05Z", "2026-01-02T02:04:05.000000Z", "2026-01-02T02:04:05Z"),
            (
                "2026-01-02T03:04:05.1234567891234Z",
                "2026-01-02T03:04:05Z",
                "2026-01-02T03:04:05.123456Z",
                "2026-01-02T03:04:05.123456789Z",
            ),
        ] {
            let t = parse(input).expect(input);
            assert_eq!((format(t).as_str(), format_micro(t).as_str(), format_nano(t).as_str()), (seconds, micro, nano));
            assert_eq!(format(truncate_to_seconds(t)), seconds);
        }
        for bad in [
            "",
            "2026-01-02",
            "2026-01-02 03:04:05Z",
            "2026-01-02T03:04:05",
            "2026-01-02T03:04:05.Z",
            "2026-13-02T03:04:05Z",
            "2026-01-02T03:04:05Zé",
        ] {
            assert_eq!(parse(bad), None, "{bad}");
        }
    }
}
