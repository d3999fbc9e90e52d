//! Formats of strings that are checked; all others mean nothing. Upstream: kube-openapi/pkg/validation/strfmt and
//! apiextensions-apiserver/pkg/apiserver/validation/formats.go.

use crate::structural::Schema;
use base64::Engine as _;
use regex::Regex;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::sync::LazyLock;

const KNOWN: &[&str] = &[
    "bsonobjectid",
    "uri",
    "email",
    "hostname",
    "ipv4",
    "ipv6",
    "cidr",
    "mac",
    "uuid",
    "uuid3",
    "uuid4",
    "uuid5",
    "isbn",
    "isbn10",
    "isbn13",
    "creditcard",
    "ssn",
    "hexcolor",
    "rgbcolor",
    "byte",
    "password",
    "date",
    "duration",
    "datetime",
    "k8sshortname",
    "k8slongname",
];

/// The format that counts for a schema, as written; empty if it has none that does.
pub fn of(s: &Schema) -> &str {
    let counts = match s.ty.as_str() {
        _ if s.int_or_string => false,
        "" | "string" => KNOWN.contains(&s.format.replace('-', "").as_str()),
        "integer" => matches!(s.format.as_str(), "int32" | "int64"),
        "number" => matches!(s.format.as_str(), "float" | "double"),
        _ => false,
    };
    if counts { &s.format } else { "" }
}

macro_rules! pattern {
    ($text:expr) => {{
        static R: LazyLock<Option<Regex>> = LazyLock::new(|| Regex::new($text).ok());
        R.as_ref()
    }};
}

/// Whether a string is of a format.
pub fn valid(format: &str, s: &str) -> bool {
    let is = |r: Option<&Regex>| r.is_some_and(|r| r.is_match(s));
    match format.replace('-', "").as_str() {
        "bsonobjectid" => s.len() == 24 && s.bytes().all(|b| b.is_ascii_hexdigit()),
        "uri" => is(pattern!(r"^(/|[A-Za-z][A-Za-z0-9+.-]*:)[^\x00-\x20\x7f]*$")),
        "email" => is(pattern!(r"^[^@\s<>]+@[^@\s<>]+$|^[^<>]*<[^@\s<>]+@[^@\s<>]+>$")),
        "hostname" => {
            s.len() <= 255
                && is(pattern!(
                    r"^([a-zA-Z0-9\p{S}\p{L}]((-?[a-zA-Z0-9\p{S}\p{L}]{0,62})?)|([a-zA-Z0-9\p{S}\p{L}](([a-zA-Z0-9-\p{S}\p{L}]{0,61}[a-zA-Z0-9\p{S}\p{L}])?)(\.)){1,}([a-zA-Z\p{L}]){2,63})$"
                ))
        }
        "ipv4" => s.parse::<Ipv4Addr>().is_ok(),
        "ipv6" => s.parse::<Ipv6Addr>().is_ok(),
        "cidr" => cidr(s),
        "mac" => is(pattern!(
            r"^(?i)([0-9a-f]{2}([:-][0-9a-f]{2}){5}|[0-9a-f]{2}([:-][0-9a-f]{2}){7}|[0-9a-f]{2}([:-][0-9a-f]{2}){19}|[0-9a-f]{4}(\.[0-9a-f]{4}){2}|[0-9a-f]{4}(\.[0-9a-f]{4}){3}|[0-9a-f]{4}(\.[0-9a-f]{4}){9})$"
        )),
        "uuid" => is(pattern!(r"(?i)^[0-9a-f]{8}-?[0-9a-f]{4}-?[0-9a-f]{4}-?[0-9a-f]{4}-?[0-9a-f]{12}$")),
        "uuid3" => is(pattern!(r"(?i)^[0-9a-f]{8}-?[0-9a-f]{4}-?3[0-9a-f]{3}-?[0-9a-f]{4}-?[0-9a-f]{12}$")),
        "uuid4" => is(pattern!(r"(?i)^[0-9a-f]{8}-?[0-9a-f]{4}-?4[0-9a-f]{3}-?[89ab][0-9a-f]{3}-?[0-9a-f]{12}$")),
        "uuid5" => is(pattern!(r"(?i)^[0-9a-f]{8}-?[0-9a-f]{4}-?5[0-9a-f]{3}-?[89ab][0-9a-f]{3}-?[0-9a-f]{12}$")),
        "isbn" => isbn10(s) || isbn13(s),
        "isbn10" => isbn10(s),
        "isbn13" => isbn13(s),
        "creditcard" => credit_card(s),
        "ssn" => is(pattern!(r"^[0-9]{3}[- ]?[0-9]{2}[- ]?[0-9]{4}$")),
        "hexcolor" => is(pattern!(r"^#?([0-9a-fA-F]{3}|[0-9a-fA-F]{6})$")),
        "rgbcolor" => is(pattern!(
            r"^rgb\(\s*(0|[1-9][0-9]?|1[0-9][0-9]?|2[0-4][0-9]|25[0-5])\s*,\s*(0|[1-9][0-9]?|1[0-9][0-9]?|2[0-4][0-9]|25[0-5])\s*,\s*(0|[1-9][0-9]?|1[0-9][0-9]?|2[0-4][0-9]|25[0-5])\s*\)$"
        )),
        "byte" => base64::engine::general_purpose::STANDARD.decode(s.replace(['\n', '\r'], "")).is_ok(),
        "date" => s.len() == 10 && s.parse::<jiff::civil::Date>().is_ok(),
        "duration" => duration(s),
        "datetime" => date_time(s),
        "k8sshortname" => machinery::validation::dns1123_label(s).is_empty(),
        "k8slongname" => machinery::validation::dns1123_subdomain(s).is_empty(),
        _ => true,
    }
}

fn cidr(s: &str) -> bool {
    let Some((address, bits)) = s.split_once('/') else { return false };
    let width = if address.parse::<Ipv4Addr>().is_ok() {
        32
    } else if address.parse::<Ipv6Addr>().is_ok() {
        128
    } else {
        return false;
    };
    !bits.starts_with('+') && bits.parse::<u8>().is_ok_and(|b| b <= width)
}

fn digits(s: &str) -> String {
    s.chars().filter(|c| !matches!(c, '-' | ' ')).collect()
}

fn isbn10(s: &str) -> bool {
    let d = digits(s);
    let values: Option<Vec<u32>> =
        d.chars().enumerate().map(|(i, c)| if i == 9 && matches!(c, 'X' | 'x') { Some(10) } else { c.to_digit(10) }).collect();
    values.is_some_and(|v| v.len() == 10 && v.iter().zip((1..=10).rev()).map(|(a, b)| a * b).sum::<u32>() % 11 == 0)
}

fn isbn13(s: &str) -> bool {
    let values: Option<Vec<u32>> = digits(s).chars().map(|c| c.to_digit(10)).collect();
    values.is_some_and(|v| {
        v.len() == 13 && v.iter().enumerate().map(|(i, d)| if i % 2 == 0 { *d } else { 3 * d }).sum::<u32>() % 10 == 0
    })
}

fn credit_card(s: &str) -> bool {
    let d: String = s.chars().filter(char::is_ascii_digit).collect();
    let shape = pattern!(
        r"^(?:4[0-9]{12}(?:[0-9]{3})?|5[1-5][0-9]{14}|6(?:011|5[0-9][0-9])[0-9]{12}|3[47][0-9]{13}|3(?:0[0-5]|[68][0-9])[0-9]{11}|(?:2131|1800|35[0-9]{3})[0-9]{11})$"
    );
    if !shape.is_some_and(|r| r.is_match(&d)) {
        return false;
    }
    let luhn: u32 = d
        .chars()
        .rev()
        .filter_map(|c| c.to_digit(10))
        .enumerate()
        .map(|(i, d)| if i % 2 == 1 { if d > 4 { 2 * d - 9 } else { 2 * d } } else { d })
        .sum();
    luhn.is_multiple_of(10)
}

fn duration(s: &str) -> bool {
    let go = pattern!(r"^[-+]?(0|(([0-9]+(\.[0-9]*)?|\.[0-9]+)(ns|us|µs|μs|ms|s|m|h))+)$");
    let words = pattern!(
        r"^([0-9]+)\s*(d|days?|h|hrs?|hours?|m|mins?|minutes?|s|secs?|seconds?|ms|milis?|milliseconds?|us|µs|μs|micros?|microseconds?|ns|nanos?|nanoseconds?|w|wks?|weeks?)$"
    );
    go.is_some_and(|r| r.is_match(s)) || words.is_some_and(|r| r.is_match(&s.to_lowercase()))
}

fn date_time(s: &str) -> bool {
    s.len() > 10
        && pattern!(r"^[0-9]{4}-[0-9]{2}-[0-9]{2}[Tt ][0-9]{2}:[0-9]{2}:[0-9]{2}([.,][0-9]+)?([Zz]|[+-][0-9]{2}:?[0-9]{2})?$")
            .is_some_and(|r| r.is_match(s))
        && s.get(..19).is_some_and(|t| t.replace(['t', ' '], "T").parse::<jiff::civil::DateTime>().is_ok())
}
