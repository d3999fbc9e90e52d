//! The operators. The logical ones and the conditional are the evaluator's own; here are only their types.

use std::cmp::Ordering;

use super::{Answer, Row};
use crate::decl::ListKind;
use crate::equality::{by_key, compare, contains, equal};
use crate::error::EvalError;
use crate::value::Val;

const ORDERED: &[&str] = &[
    "(bool, bool) bool",
    "(int, int) bool",
    "(int, double) bool",
    "(int, uint) bool",
    "(uint, uint) bool",
    "(uint, double) bool",
    "(uint, int) bool",
    "(double, double) bool",
    "(double, int) bool",
    "(double, uint) bool",
    "(string, string) bool",
    "(bytes, bytes) bool",
    "(timestamp, timestamp) bool",
    "(duration, duration) bool",
];

pub(super) const FUNCTIONS: &[Row] = &[
    ("_?_:_", own, &["(bool, A, A) A"]),
    ("_&&_", own, &["(bool, bool) bool"]),
    ("_||_", own, &["(bool, bool) bool"]),
    ("@not_strictly_false", own, &["(bool) bool"]),
    ("!_", not, &["(bool) bool"]),
    ("_==_", |a| Ok(Val::Bool(equal(&a[0], &a[1])?)), &["(A, A) bool"]),
    ("_!=_", |a| Ok(Val::Bool(!equal(&a[0], &a[1])?)), &["(A, A) bool"]),
    ("_<_", |a| Ok(Val::Bool(compare(&a[0], &a[1])? == Ordering::Less)), ORDERED),
    ("_<=_", |a| Ok(Val::Bool(compare(&a[0], &a[1])? != Ordering::Greater)), ORDERED),
    ("_>_", |a| Ok(Val::Bool(compare(&a[0], &a[1])? == Ordering::Greater)), ORDERED),
    ("_>=_", |a| Ok(Val::Bool(compare(&a[0], &a[1])? != Ordering::Less)), ORDERED),
    (
        "_+_",
        |a| add(&a[0], &a[1]),
        &[
            "(bytes, bytes) bytes",
            "(double, double) double",
            "(duration, duration) duration",
            "(duration, timestamp) timestamp",
            "(timestamp, duration) timestamp",
            "(int, int) int",
            "(list(A), list(A)) list(A)",
            "(string, string) string",
            "(uint, uint) uint",
        ],
    ),
    (
        "_-_",
        subtract,
        &[
            "(double, double) double",
            "(duration, duration) duration",
            "(int, int) int",
            "(timestamp, duration) timestamp",
            "(timestamp, timestamp) duration",
            "(uint, uint) uint",
        ],
    ),
    ("_*_", multiply, &["(double, double) double", "(int, int) int", "(uint, uint) uint"]),
    ("_/_", divide, &["(double, double) double", "(int, int) int", "(uint, uint) uint"]),
    ("_%_", modulo, &["(int, int) int", "(uint, uint) uint"]),
    ("-_", negate, &["(double) double", "(int) int"]),
    ("@in", inside, &["(A, list(A)) bool", "(A, map(A, B)) bool"]),
    (
        "_[_]",
        |a| index(&a[0], &a[1]),
        &["(list(A), int) A", "(map(A, B), A) B", "(optional(list(A)), int) optional(A)", "(optional(map(A, B)), A) optional(B)"],
    ),
    (
        "_[?_]",
        own,
        &[
            "(list(A), int) optional(A)",
            "(optional(list(A)), int) optional(A)",
            "(map(A, B), A) optional(B)",
            "(optional(map(A, B)), A) optional(B)",
        ],
    ),
];

fn own<'a>(_: &[Val<'a>]) -> Answer<'a> {
    Err(EvalError::no_such_overload())
}

fn not<'a>(args: &[Val<'a>]) -> Answer<'a> {
    match args {
        [Val::Bool(b)] => Ok(Val::Bool(!b)),
        _ => Err(EvalError::no_such_overload()),
    }
}

fn overflow(what: &str) -> EvalError {
    EvalError::new(format!("{what} overflow"))
}
const INT: &str = "integer";
const UINT: &str = "unsigned integer";
const DURATION: &str = "duration";
const TIMESTAMP: &str = "timestamp";

/// The seconds of years 1 to 9999, which timestamps hold.
const TIMES: std::ops::RangeInclusive<i64> = -62_135_596_800..=253_402_300_799;

fn shifted<'a>(t: jiff::Timestamp, nanos: i128) -> Answer<'a> {
    let moved = jiff::Timestamp::from_nanosecond(t.as_nanosecond() + nanos).map_err(|_| overflow(TIMESTAMP))?;
    if TIMES.contains(&moved.as_second()) { Ok(Val::Timestamp(moved)) } else { Err(overflow(TIMESTAMP)) }
}

pub(crate) fn add<'a>(a: &Val<'a>, b: &Val<'a>) -> Answer<'a> {
    Ok(match (a, b) {
        (Val::Int(x), Val::Int(y)) => Val::Int(x.checked_add(*y).ok_or_else(|| overflow(INT))?),
        (Val::Uint(x), Val::Uint(y)) => Val::Uint(x.checked_add(*y).ok_or_else(|| overflow(UINT))?),
        (Val::Double(x), Val::Double(y)) => Val::Double(x + y),
        (Val::String(x), Val::String(y)) => Val::string(format!("{}{}", &**x, &**y)),
        (Val::Bytes(x), Val::Bytes(y)) => Val::Bytes([&x[..], &y[..]].concat().into()),
        (Val::Duration(x), Val::Duration(y)) => Val::Duration(x.checked_add(*y).ok_or_else(|| overflow(DURATION))?),
        (Val::Timestamp(t), Val::Duration(d)) | (Val::Duration(d), Val::Timestamp(t)) => shifted(*t, i128::from(*d))?,
        (Val::List(x), Val::List(y)) => {
            let mut out = x.to_vec()?;
            for v in y.iter() {
                let v = v?;
                match x.kind() {
                    Some(ListKind::Set) if contains(&out, &v)? => {}
                    Some(ListKind::Map(keys)) => match by_key(&out, &v, keys)? {
                        Some(i) => out[i] = v,
                        None => out.push(v),
                    },
                    _ => out.push(v),
                }
            }
            Val::list(out)
        }
        _ => return Err(EvalError::no_such_overload()),
    })
}

fn subtract<'a>(args: &[Val<'a>]) -> Answer<'a> {
    Ok(match (&args[0], &args[1]) {
        (Val::Int(x), Val::Int(y)) => Val::Int(x.checked_sub(*y).ok_or_else(|| overflow(INT))?),
        (Val::Uint(x), Val::Uint(y)) => Val::Uint(x.checked_sub(*y).ok_or_else(|| overflow(UINT))?),
        (Val::Double(x), Val::Double(y)) => Val::Double(x - y),
        (Val::Duration(x), Val::Duration(y)) => Val::Duration(x.checked_sub(*y).ok_or_else(|| overflow(DURATION))?),
        (Val::Timestamp(t), Val::Duration(d)) => shifted(*t, -i128::from(*d))?,
        (Val::Timestamp(x), Val::Timestamp(y)) => {
            let nanos = x.as_nanosecond() - y.as_nanosecond();
            Val::Duration(i64::try_from(nanos).map_err(|_| overflow(DURATION))?)
        }
        _ => return Err(EvalError::no_such_overload()),
    })
}

fn multiply<'a>(args: &[Val<'a>]) -> Answer<'a> {
    Ok(match (&args[0], &args[1]) {
        (Val::Int(x), Val::Int(y)) => Val::Int(x.checked_mul(*y).ok_or_else(|| overflow(INT))?),
        (Val::Uint(x), Val::Uint(y)) => Val::Uint(x.checked_mul(*y).ok_or_else(|| overflow(UINT))?),
        (Val::Double(x), Val::Double(y)) => Val::Double(x * y),
        _ => return Err(EvalError::no_such_overload()),
    })
}

fn divide<'a>(args: &[Val<'a>]) -> Answer<'a> {
    Ok(match (&args[0], &args[1]) {
        (Val::Int(_), Val::Int(0)) | (Val::Uint(_), Val::Uint(0)) => return Err(EvalError::new("division by zero")),
        (Val::Int(x), Val::Int(y)) => Val::Int(x.checked_div(*y).ok_or_else(|| overflow(INT))?),
        (Val::Uint(x), Val::Uint(y)) => Val::Uint(x / y),
        (Val::Double(x), Val::Double(y)) => Val::Double(x / y),
        _ => return Err(EvalError::no_such_overload()),
    })
}

fn modulo<'a>(args: &[Val<'a>]) -> Answer<'a> {
    Ok(match (&args[0], &args[1]) {
        (Val::Int(_), Val::Int(0)) | (Val::Uint(_), Val::Uint(0)) => return Err(EvalError::new("modulus by zero")),
        (Val::Int(x), Val::Int(y)) => Val::Int(x.checked_rem(*y).ok_or_else(|| overflow(INT))?),
        (Val::Uint(x), Val::Uint(y)) => Val::Uint(x % y),
        _ => return Err(EvalError::no_such_overload()),
    })
}

fn negate<'a>(args: &[Val<'a>]) -> Answer<'a> {
    Ok(match &args[0] {
        Val::Int(x) => Val::Int(x.checked_neg().ok_or_else(|| overflow(INT))?),
        Val::Double(x) => Val::Double(-x),
        _ => return Err(EvalError::no_such_overload()),
    })
}

fn inside<'a>(args: &[Val<'a>]) -> Answer<'a> {
    Ok(Val::Bool(match &args[1] {
        Val::List(list) => contains(&list.to_vec()?, &args[0])?,
        Val::Map(map) => map.get(&args[0])?.is_some(),
        _ => return Err(EvalError::no_such_overload()),
    }))
}

/// A whole number, also where it is written as a double.
fn whole(v: &Val) -> Option<i64> {
    match v {
        Val::Int(i) => Some(*i),
        Val::Uint(u) => i64::try_from(*u).ok(),
        Val::Double(d) if d.fract() == 0.0 && d.abs() < 9e18 => Some(*d as i64),
        _ => None,
    }
}

/// `of[at]`.
pub(crate) fn index<'a>(of: &Val<'a>, at: &Val<'a>) -> Answer<'a> {
    match of {
        Val::List(list) => {
            let Some(i) = whole(at) else {
                return Err(EvalError::new(format!("unsupported index type '{}' in list", at.type_of().name())));
            };
            let found = usize::try_from(i).ok().and_then(|i| list.get(i));
            found.unwrap_or_else(|| Err(EvalError::new(format!("index out of bounds: {i}"))))
        }
        Val::Map(map) => map.get(at)?.ok_or_else(|| EvalError::new(format!("no such key: {}", plain(at)))),
        Val::Struct(_) => {
            let found = of.get(at.as_str().unwrap_or_default())?;
            found.ok_or_else(|| EvalError::new(format!("no such key: {}", plain(at))))
        }
        Val::Optional(None) => Ok(Val::Optional(None)),
        Val::Optional(Some(v)) => Ok(match index(v, at) {
            Ok(v) => Val::some(v),
            Err(_) => Val::Optional(None),
        }),
        _ => Err(EvalError::no_such_overload()),
    }
}

/// A key as messages show it.
fn plain(v: &Val) -> String {
    match v {
        Val::String(s) => s.to_string(),
        Val::Uint(u) => u.to_string(),
        other => format!("{other:?}"),
    }
}
