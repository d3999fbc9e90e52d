//! Tests of `quantity`.

use super::*;
use proptest::prelude::*;

#[test]
fn canonical() {
    for (input, want) in [
        ("0", "0"),
        ("-0", "0"),
        (".", "0"),
        ("+", "0"),
        ("0Mi", "0"),
        ("0k", "0"),
        ("k", "0"),
        ("1", "1"),
        ("+1", "+1"),
        ("010m", "010m"),
        ("1000", "1k"),
        ("1500", "1500"),
        ("1.5", "1500m"),
        ("0.5", "500m"),
        ("0.1", "100m"),
        ("100m", "100m"),
        ("1000m", "1"),
        ("1234m", "1234m"),
        ("1500000", "1500k"),
        ("1024Mi", "1Gi"),
        ("12Ki", "12Ki"),
        ("1.5Gi", "1536Mi"),
        ("0.5Gi", "512Mi"),
        ("0.5Ki", "512"),
        ("8Gi", "8Gi"),
        ("-0250.Mi", "-0250.Mi"),
        ("1023Ki", "1023Ki"),
        ("1.1Ki", "1126400m"),
        ("0.0001Ki", "102400u"),
        ("1e3", "1e3"),
        ("1e1", "10"),
        ("12e6", "12e6"),
        ("1E", "1E"),
        ("1E3", "1E3"),
        ("1e-3", "1e-3"),
        ("0.000000001", "1n"),
        ("0.0000000001", "1n"),
        ("-0.0000000001", "-1n"),
        ("10n", "10n"),
        ("9223372036854775807", "9223372036854775807"),
        ("9223372036854775808", "9223372036854775808"),
        ("8Ei", "9223372036854775807"),
        ("9999999999999999999999999999999999999999999Ki", "9223372036854775807"),
        ("-1Ki", "-1Ki"),
        ("-1536Mi", "-1536Mi"),
        ("1000000000000000000000", "1000E"),
    ] {
        assert_eq!(canonicalize(input).as_deref(), Ok(want), "{input}");
    }
    for (input, want) in [
        ("", ParseError::Format),
        ("a", ParseError::Format),
        ("1 Gi", ParseError::Format),
        ("1Gi ", ParseError::Format),
        ("--1", ParseError::Suffix),
        ("1.2.3", ParseError::Format),
        ("1ki", ParseError::Suffix),
        ("1mm", ParseError::Suffix),
        ("1e", ParseError::Suffix),
        ("1é", ParseError::Format),
        ("Pi", ParseError::Numeric),
        (&"9".repeat(60), ParseError::Numeric),
    ] {
        assert_eq!(canonicalize(input), Err(want), "{input}");
    }
}

#[test]
fn values() {
    for (input, value, milli) in
        [("1", 1, 1000), ("1m", 1, 1), ("1001m", 2, 1001), ("-1500m", -2, -1500), ("1u", 1, 1), ("2Ki", 2048, 2_048_000)]
    {
        let q: Quantity = input.parse().expect(input);
        assert_eq!((q.value(), q.milli_value()), (value, milli), "{input}");
    }
    let big: Quantity = "1e1000000".parse().expect("a large exponent");
    assert_eq!(big.value(), i64::MAX);
    assert!(big > Quantity::new(i64::MAX, Format::DecimalSI));
}

#[test]
fn arithmetic() {
    for (a, b, sum, difference) in [
        ("1", "500m", "1500m", "500m"),
        ("0", "1Gi", "1Gi", "-1Gi"),
        ("1Gi", "1", "1073741825", "1073741823"),
        ("1", "1", "2", "0"),
    ] {
        let (mut s, y): (Quantity, Quantity) = (a.parse().expect(a), b.parse().expect(b));
        let mut d = s;
        s.add(&y);
        d.sub(&y);
        assert_eq!((s.to_string(), d.to_string()), (sum.to_owned(), difference.to_owned()), "{a} {b}");
    }
}

proptest! {
    #[test]
    fn round_trip(n in any::<i64>(), suffix in prop::sample::select(vec!["", "n", "u", "m", "k", "M", "G", "Ki", "Mi", "e3", "e-3"])) {
        let q: Quantity = format!("{n}{suffix}").parse().expect("a quantity");
        let again: Quantity = q.to_string().parse().expect("its own form");
        prop_assert_eq!(q, again);
        prop_assert_eq!(q.to_string(), again.to_string());
    }

    #[test]
    fn add_then_subtract(a in -1_000_000_000_000i64..1_000_000_000_000, b in any::<i32>()) {
        let x = Quantity::from_milli(a, Format::DecimalSI);
        let y = Quantity::new(i64::from(b), Format::DecimalSI);
        let mut z = x;
        z.add(&y);
        z.sub(&y);
        prop_assert_eq!(x, z);
        prop_assert_eq!(x.cmp(&y), (i128::from(a)).cmp(&(i128::from(b) * 1000)));
    }

    #[test]
    fn never_panics(s in "[-+]?[0-9.]{0,50}[eEinumkKMGTP]{0,2}[-+]?[0-9]{0,12}") {
        if let Ok(q) = s.parse::<Quantity>() {
            let _ = (q.value(), q.milli_value(), q.as_f64());
            if q.scale.unsigned_abs() < 1000 {
                let _ = q.to_string();
            }
        }
    }
}
