//! Which values are equal, and which comes first.

use std::cmp::Ordering;

use crate::decl::ListKind;
use crate::error::EvalError;
use crate::value::{List, Val};

/// Equality over all types: numbers by their value, different types are unequal.
pub(crate) fn equal<'a>(a: &Val<'a>, b: &Val<'a>) -> Result<bool, EvalError> {
    Ok(match (a, b) {
        (Val::Null, Val::Null) => true,
        (Val::Bool(x), Val::Bool(y)) => x == y,
        (Val::String(x), Val::String(y)) => **x == **y,
        (Val::Bytes(x), Val::Bytes(y)) => x == y,
        (Val::Timestamp(x), Val::Timestamp(y)) => x == y,
        (Val::Duration(x), Val::Duration(y)) => x == y,
        (Val::Int(_) | Val::Uint(_) | Val::Double(_), Val::Int(_) | Val::Uint(_) | Val::Double(_)) => {
            numeric(a, b) == Some(Ordering::Equal)
        }
        (Val::List(x), Val::List(y)) => lists(x, y)?,
        (Val::Map(x), Val::Map(y)) => {
            if x.len() != y.len() {
                return Ok(false);
            }
            for (k, v) in x.entries()? {
                match y.get(&k)? {
                    Some(w) if equal(&v, &w)? => {}
                    _ => return Ok(false),
                }
            }
            true
        }
        (Val::Optional(x), Val::Optional(y)) => match (x, y) {
            (None, None) => true,
            (Some(x), Some(y)) => equal(x, y)?,
            _ => false,
        },
        (Val::Type(x), Val::Type(y)) => x.name() == y.name(),
        (Val::Struct(x), Val::Struct(y)) => {
            if x.name != y.name || x.fields.len() != y.fields.len() {
                return Ok(false);
            }
            for (name, v) in &x.fields {
                match y.fields.iter().find(|(n, _)| n == name) {
                    Some((_, w)) if equal(v, w)? => {}
                    _ => return Ok(false),
                }
            }
            true
        }
        (Val::Extension(x), Val::Extension(y)) => x.equal(y)?,
        _ => false,
    })
}

fn lists<'a>(x: &List<'a>, y: &List<'a>) -> Result<bool, EvalError> {
    if x.len() != y.len() {
        return Ok(false);
    }
    match x.kind().or(y.kind()) {
        Some(ListKind::Set) => {
            let y = y.to_vec()?;
            for v in x.iter() {
                if !contains(&y, &v?)? {
                    return Ok(false);
                }
            }
            Ok(true)
        }
        Some(ListKind::Map(keys)) => {
            let y = y.to_vec()?;
            for v in x.iter() {
                let v = v?;
                match by_key(&y, &v, keys)? {
                    Some(i) if equal(&v, &y[i])? => {}
                    _ => return Ok(false),
                }
            }
            Ok(true)
        }
        _ => {
            for (v, w) in x.iter().zip(y.iter()) {
                if !equal(&v?, &w?)? {
                    return Ok(false);
                }
            }
            Ok(true)
        }
    }
}

/// Whether the list has the value.
pub(crate) fn contains<'a>(list: &[Val<'a>], v: &Val<'a>) -> Result<bool, EvalError> {
    for w in list {
        if equal(v, w)? {
            return Ok(true);
        }
    }
    Ok(false)
}

/// The index of the element whose keys are those of the value.
pub(crate) fn by_key<'a>(list: &[Val<'a>], v: &Val<'a>, keys: &[String]) -> Result<Option<usize>, EvalError> {
    'next: for (i, w) in list.iter().enumerate() {
        for key in keys {
            let key = crate::escape::escape(key).unwrap_or_default();
            let same = match (v.get(&key)?, w.get(&key)?) {
                (Some(a), Some(b)) => equal(&a, &b)?,
                (None, None) => true,
                _ => false,
            };
            if !same {
                continue 'next;
            }
        }
        return Ok(Some(i));
    }
    Ok(None)
}

/// The order of two numbers; none if one is not a number.
fn numeric(a: &Val, b: &Val) -> Option<Ordering> {
    let of_double = |d: f64, other: &Val| match other {
        Val::Double(e) => d.partial_cmp(e),
        Val::Int(i) => double_to_int(d, i128::from(*i)),
        Val::Uint(u) => double_to_int(d, i128::from(*u)),
        _ => None,
    };
    let whole = |v: &Val| match v {
        Val::Int(i) => Some(i128::from(*i)),
        Val::Uint(u) => Some(i128::from(*u)),
        _ => None,
    };
    match (a, b) {
        (Val::Double(d), b) => of_double(*d, b),
        (a, Val::Double(d)) => of_double(*d, a).map(Ordering::reverse),
        (a, b) => Some(whole(a)?.cmp(&whole(b)?)),
    }
}

fn double_to_int(d: f64, i: i128) -> Option<Ordering> {
    if d.is_nan() {
        return None;
    }
    if d >= 2e19 || d <= -2e19 {
        return Some(if d > 0.0 { Ordering::Greater } else { Ordering::Less });
    }
    let whole = d.trunc() as i128;
    Some(whole.cmp(&i).then(d.fract().partial_cmp(&0.0)?))
}

/// The order of two values that have one.
pub(crate) fn compare(a: &Val, b: &Val) -> Result<Ordering, EvalError> {
    match (a, b) {
        (Val::Int(_) | Val::Uint(_) | Val::Double(_), Val::Int(_) | Val::Uint(_) | Val::Double(_)) => {
            numeric(a, b).ok_or_else(|| EvalError::new("NaN values cannot be ordered"))
        }
        (Val::Bool(x), Val::Bool(y)) => Ok(x.cmp(y)),
        (Val::String(x), Val::String(y)) => Ok((**x).cmp(&**y)),
        (Val::Bytes(x), Val::Bytes(y)) => Ok(x.cmp(y)),
        (Val::Timestamp(x), Val::Timestamp(y)) => Ok(x.cmp(y)),
        (Val::Duration(x), Val::Duration(y)) => Ok(x.cmp(y)),
        _ => Err(EvalError::no_such_overload()),
    }
}
