//! Optional values. `or` and `orValue` are the evaluator's own, as they evaluate their argument only if it is needed.

use super::{Answer, Row};
use crate::error::EvalError;
use crate::value::Val;

pub(super) const FUNCTIONS: &[Row] = &[
    ("optional.of", |a| Ok(Val::some(a[0].clone())), &["(A) optional(A)"]),
    ("optional.ofNonZeroValue", of_non_zero, &["(A) optional(A)"]),
    ("optional.none", |_| Ok(Val::Optional(None)), &["() optional(A)"]),
    ("value", value, &["optional(A).() A"]),
    ("hasValue", has_value, &["optional(A).() bool"]),
    ("or", |_| Err(EvalError::no_such_overload()), &["optional(A).(optional(A)) optional(A)"]),
    ("orValue", |_| Err(EvalError::no_such_overload()), &["optional(A).(A) A"]),
    ("first", |a| end(a, false), &["list(A).() optional(A)"]),
    ("last", |a| end(a, true), &["list(A).() optional(A)"]),
    ("optional.unwrap", unwrap, &["(list(optional(A))) list(A)"]),
    ("unwrapOpt", unwrap, &["list(optional(A)).() list(A)"]),
];

fn of_non_zero<'a>(args: &[Val<'a>]) -> Answer<'a> {
    Ok(if args[0].is_zero() { Val::Optional(None) } else { Val::some(args[0].clone()) })
}

fn value<'a>(args: &[Val<'a>]) -> Answer<'a> {
    match &args[0] {
        Val::Optional(Some(v)) => Ok((**v).clone()),
        Val::Optional(None) => Err(EvalError::new("optional.none() dereference")),
        _ => Err(EvalError::no_such_overload()),
    }
}

fn has_value<'a>(args: &[Val<'a>]) -> Answer<'a> {
    match &args[0] {
        Val::Optional(o) => Ok(Val::Bool(o.is_some())),
        _ => Err(EvalError::no_such_overload()),
    }
}

fn end<'a>(args: &[Val<'a>], last: bool) -> Answer<'a> {
    match &args[0] {
        Val::List(l) => {
            let i = if last { l.len().wrapping_sub(1) } else { 0 };
            Ok(Val::Optional(l.get(i).transpose()?.map(std::sync::Arc::new)))
        }
        _ => Err(EvalError::no_such_overload()),
    }
}

fn unwrap<'a>(args: &[Val<'a>]) -> Answer<'a> {
    let mut out = Vec::new();
    for v in super::collections::items(&args[0])? {
        match v {
            Val::Optional(Some(v)) => out.push((*v).clone()),
            Val::Optional(None) => {}
            v => return Err(EvalError::new(format!("value {v:?} is not optional"))),
        }
    }
    Ok(Val::list(out))
}
