//! Functions of lists and maps in general: sizes, sets, and what folds insert.

use super::{Answer, Row};
use crate::equality::contains;
use crate::error::EvalError;
use crate::value::Val;

pub(super) const FUNCTIONS: &[Row] = &[
    (
        "size",
        size,
        &[
            "(bytes) int",
            "bytes.() int",
            "(list(A)) int",
            "list(A).() int",
            "(map(A, B)) int",
            "map(A, B).() int",
            "(string) int",
            "string.() int",
        ],
    ),
    ("sets.contains", |a| subset(&a[1], &a[0]), &["(list(A), list(A)) bool"]),
    ("sets.equivalent", equivalent, &["(list(A), list(A)) bool"]),
    ("sets.intersects", intersects, &["(list(A), list(A)) bool"]),
    ("cel.@mapInsert", insert, &["(map(A, B), A, B) map(A, B)", "(map(A, B), map(A, B)) map(A, B)"]),
];

fn size<'a>(args: &[Val<'a>]) -> Answer<'a> {
    match &args[0] {
        v @ (Val::String(_) | Val::Bytes(_) | Val::List(_) | Val::Map(_)) => Ok(Val::Int(v.size() as i64)),
        _ => Err(EvalError::no_such_overload()),
    }
}

pub(super) fn items<'a>(v: &Val<'a>) -> Result<Vec<Val<'a>>, EvalError> {
    match v {
        Val::List(l) => l.to_vec(),
        _ => Err(EvalError::no_such_overload()),
    }
}

fn subset<'a>(sub: &Val<'a>, list: &Val<'a>) -> Answer<'a> {
    let list = items(list)?;
    for v in items(sub)? {
        if !contains(&list, &v)? {
            return Ok(Val::Bool(false));
        }
    }
    Ok(Val::Bool(true))
}

fn equivalent<'a>(args: &[Val<'a>]) -> Answer<'a> {
    match subset(&args[1], &args[0])? {
        Val::Bool(true) => subset(&args[0], &args[1]),
        other => Ok(other),
    }
}

fn intersects<'a>(args: &[Val<'a>]) -> Answer<'a> {
    let other = items(&args[1])?;
    for v in items(&args[0])? {
        if contains(&other, &v)? {
            return Ok(Val::Bool(true));
        }
    }
    Ok(Val::Bool(false))
}

fn insert<'a>(args: &[Val<'a>]) -> Answer<'a> {
    let Val::Map(map) = &args[0] else { return Err(EvalError::no_such_overload()) };
    let mut entries = map.entries()?;
    let new = match (&args[1], args.get(2)) {
        (key, Some(value)) => vec![(key.clone(), value.clone())],
        (Val::Map(more), None) => more.entries()?,
        _ => return Err(EvalError::no_such_overload()),
    };
    for (k, v) in new {
        if map.get(&k)?.is_some() {
            let shown = k.as_str().map_or_else(|| format!("{k:?}"), str::to_string);
            return Err(EvalError::new(format!("insert failed: key {shown} already exists")));
        }
        entries.push((k, v));
    }
    Ok(Val::map(entries))
}
