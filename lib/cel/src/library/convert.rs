//! Conversions between types.

use std::sync::Arc;

use super::time::{parse_duration, parse_timestamp};
use super::{Answer, Extension, Row};
use crate::error::EvalError;
use crate::types::Type;
use crate::value::Val;

pub(super) const FUNCTIONS: &[Row] = &[
    ("type", |a| Ok(Val::Type(Arc::new(a[0].type_of()))), &["(A) type(A)"]),
    ("dyn", |a| Ok(a[0].clone()), &["(A) dyn"]),
    ("bool", to_bool, &["(bool) bool", "(string) bool"]),
    ("bytes", to_bytes, &["(bytes) bytes", "(string) bytes"]),
    ("double", to_double, &["(double) double", "(int) double", "(string) double", "(uint) double"]),
    ("duration", to_duration, &["(duration) duration", "(int) duration", "(string) duration"]),
    ("int", to_int, &["(int) int", "(double) int", "(duration) int", "(string) int", "(timestamp) int", "(uint) int"]),
    ("uint", to_uint, &["(uint) uint", "(double) uint", "(int) uint", "(string) uint"]),
    (
        "string",
        to_string,
        &[
            "(string) string",
            "(bool) string",
            "(bytes) string",
            "(double) string",
            "(duration) string",
            "(int) string",
            "(timestamp) string",
            "(uint) string",
            "(net.IP) string",
            "(net.CIDR) string",
        ],
    ),
    ("timestamp", to_timestamp, &["(timestamp) timestamp", "(int) timestamp", "(string) timestamp"]),
];

fn bad(from: &str, to: &str) -> EvalError {
    EvalError::new(format!("type conversion error from '{from}' to '{to}'"))
}

fn to_bool<'a>(args: &[Val<'a>]) -> Answer<'a> {
    match &args[0] {
        Val::Bool(b) => Ok(Val::Bool(*b)),
        Val::String(s) => match &**s {
            "1" | "t" | "T" | "true" | "TRUE" | "True" => Ok(Val::Bool(true)),
            "0" | "f" | "F" | "false" | "FALSE" | "False" => Ok(Val::Bool(false)),
            _ => Err(bad("string", "bool")),
        },
        _ => Err(EvalError::no_such_overload()),
    }
}

fn to_bytes<'a>(args: &[Val<'a>]) -> Answer<'a> {
    match &args[0] {
        Val::Bytes(b) => Ok(Val::Bytes(b.clone())),
        Val::String(s) => Ok(Val::Bytes(s.as_bytes().into())),
        _ => Err(EvalError::no_such_overload()),
    }
}

fn to_double<'a>(args: &[Val<'a>]) -> Answer<'a> {
    match &args[0] {
        Val::Double(d) => Ok(Val::Double(*d)),
        Val::Int(i) => Ok(Val::Double(*i as f64)),
        Val::Uint(u) => Ok(Val::Double(*u as f64)),
        Val::String(s) => s.parse().map(Val::Double).map_err(|_| bad("string", "double")),
        _ => Err(EvalError::no_such_overload()),
    }
}

fn to_duration<'a>(args: &[Val<'a>]) -> Answer<'a> {
    match &args[0] {
        Val::Duration(d) => Ok(Val::Duration(*d)),
        Val::Int(i) => Ok(Val::Duration(*i)),
        Val::String(s) => parse_duration(s).map(Val::Duration).ok_or_else(|| bad("string", "google.protobuf.Duration")),
        _ => Err(EvalError::no_such_overload()),
    }
}

fn to_timestamp<'a>(args: &[Val<'a>]) -> Answer<'a> {
    match &args[0] {
        Val::Timestamp(t) => Ok(Val::Timestamp(*t)),
        Val::Int(i) => {
            let t = jiff::Timestamp::from_second(*i).ok().filter(|_| (-62_135_596_800..=253_402_300_799).contains(i));
            t.map(Val::Timestamp).ok_or_else(|| EvalError::new("timestamp overflow"))
        }
        Val::String(s) => parse_timestamp(s).map(Val::Timestamp).ok_or_else(|| bad("string", "google.protobuf.Timestamp")),
        _ => Err(EvalError::no_such_overload()),
    }
}

fn to_int<'a>(args: &[Val<'a>]) -> Answer<'a> {
    match &args[0] {
        Val::Int(i) => Ok(Val::Int(*i)),
        Val::Uint(u) => i64::try_from(*u).map(Val::Int).map_err(|_| EvalError::new("integer overflow")),
        // The bounds themselves are not whole doubles on both sides; upstream excludes both.
        Val::Double(d) if *d > i64::MIN as f64 && *d < i64::MAX as f64 => Ok(Val::Int(*d as i64)),
        Val::Double(_) => Err(EvalError::new("integer overflow")),
        Val::Duration(d) => Ok(Val::Int(*d)),
        Val::Timestamp(t) => Ok(Val::Int(t.as_nanosecond().div_euclid(1_000_000_000) as i64)),
        Val::String(s) => s.parse().map(Val::Int).map_err(|_| bad("string", "int")),
        _ => Err(EvalError::no_such_overload()),
    }
}

fn to_uint<'a>(args: &[Val<'a>]) -> Answer<'a> {
    let overflow = || EvalError::new("unsigned integer overflow");
    match &args[0] {
        Val::Uint(u) => Ok(Val::Uint(*u)),
        Val::Int(i) => u64::try_from(*i).map(Val::Uint).map_err(|_| overflow()),
        Val::Double(d) if *d >= 0.0 && *d < u64::MAX as f64 => Ok(Val::Uint(*d as u64)),
        Val::Double(_) => Err(overflow()),
        Val::String(s) => match s.strip_prefix('+') {
            None => s.parse().map(Val::Uint).map_err(|_| bad("string", "uint")),
            Some(_) => Err(bad("string", "uint")),
        },
        _ => Err(EvalError::no_such_overload()),
    }
}

fn to_string<'a>(args: &[Val<'a>]) -> Answer<'a> {
    Ok(match &args[0] {
        v @ Val::String(_) => v.clone(),
        Val::Bytes(b) => match std::str::from_utf8(b) {
            Ok(s) => Val::string(s),
            Err(_) => return Err(EvalError::new("invalid UTF-8 in bytes, cannot convert to string")),
        },
        Val::Extension(Extension::Ip(ip)) => Val::string(ip.to_string()),
        Val::Extension(Extension::Cidr(ip, bits)) => Val::string(format!("{ip}/{bits}")),
        v => Val::string(text(v).ok_or_else(EvalError::no_such_overload)?),
    })
}

/// Scalars as `string()` writes them.
pub(super) fn text(v: &Val) -> Option<String> {
    Some(match v {
        Val::String(s) => s.to_string(),
        Val::Bytes(b) => String::from_utf8_lossy(b).into_owned(),
        Val::Bool(b) => b.to_string(),
        Val::Int(i) => i.to_string(),
        Val::Uint(u) => u.to_string(),
        Val::Double(d) => format_double(*d),
        Val::Duration(d) => format_duration(*d),
        Val::Timestamp(t) => machinery::time::format_nano(*t),
        Val::Type(t) => type_text(t),
        _ => return None,
    })
}

fn type_text(t: &Type) -> String {
    t.name()
}

/// A double as Go's `%g` writes it.
pub(crate) fn format_double(d: f64) -> String {
    if d.is_nan() {
        return "NaN".into();
    }
    if d.is_infinite() {
        return if d > 0.0 { "+Inf".into() } else { "-Inf".into() };
    }
    let scientific = format!("{d:e}");
    let Some((digits, exponent)) = scientific.split_once('e') else { return scientific };
    let exponent: i32 = exponent.parse().unwrap_or_default();
    if !(-4..6).contains(&exponent) {
        let sign = if exponent < 0 { '-' } else { '+' };
        return format!("{digits}e{sign}{:02}", exponent.abs());
    }
    d.to_string()
}

/// A duration in seconds: `1.5s`.
pub(crate) fn format_duration(nanos: i64) -> String {
    let sign = if nanos < 0 { "-" } else { "" };
    let n = nanos.unsigned_abs();
    let fraction = format!("{:09}", n % 1_000_000_000);
    let fraction = fraction.trim_end_matches('0');
    let dot = if fraction.is_empty() { "" } else { "." };
    format!("{sign}{}{dot}{fraction}s", n / 1_000_000_000)
}
