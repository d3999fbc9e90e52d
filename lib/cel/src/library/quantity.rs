//! Quantities of resources.

use std::cmp::Ordering;
use std::sync::Arc;

use machinery::quantity::{Format, Quantity};

use super::strings::one;
use super::{Answer, Extension, Row};
use crate::error::EvalError;
use crate::value::Val;

pub(super) const FUNCTIONS: &[Row] = &[
    ("quantity", parse, &["(string) kubernetes.Quantity"]),
    ("isQuantity", |a| Ok(Val::Bool(one(a)?.parse::<Quantity>().is_ok())), &["(string) bool"]),
    ("sign", |a| Ok(Val::Int(nth(a, 0)?.sign().into())), &["(kubernetes.Quantity) int"]),
    ("isGreaterThan", |a| Ok(Val::Bool(order(a)? == Ordering::Greater)), &["kubernetes.Quantity.(kubernetes.Quantity) bool"]),
    ("isLessThan", |a| Ok(Val::Bool(order(a)? == Ordering::Less)), &["kubernetes.Quantity.(kubernetes.Quantity) bool"]),
    ("compareTo", |a| Ok(Val::Int(order(a)? as i64)), &["kubernetes.Quantity.(kubernetes.Quantity) int"]),
    ("asApproximateFloat", |a| Ok(Val::Double(nth(a, 0)?.as_f64())), &["kubernetes.Quantity.() double"]),
    ("asInteger", as_integer, &["kubernetes.Quantity.() int"]),
    ("isInteger", |a| Ok(Val::Bool(nth(a, 0)?.as_i64().is_some())), &["kubernetes.Quantity.() bool"]),
    (
        "add",
        |a| combine(a, Quantity::add),
        &["kubernetes.Quantity.(kubernetes.Quantity) kubernetes.Quantity", "kubernetes.Quantity.(int) kubernetes.Quantity"],
    ),
    (
        "sub",
        |a| combine(a, Quantity::sub),
        &["kubernetes.Quantity.(kubernetes.Quantity) kubernetes.Quantity", "kubernetes.Quantity.(int) kubernetes.Quantity"],
    ),
];

fn nth(args: &[Val], n: usize) -> Result<Arc<Quantity>, EvalError> {
    match args.get(n) {
        Some(Val::Extension(Extension::Quantity(q))) => Ok(q.clone()),
        _ => Err(EvalError::no_such_overload()),
    }
}

fn order(args: &[Val]) -> Result<Ordering, EvalError> {
    Ok(nth(args, 0)?.cmp(&nth(args, 1)?))
}

fn parse<'a>(args: &[Val<'a>]) -> Answer<'a> {
    let q: Quantity = one(args)?.parse().map_err(|e: machinery::quantity::ParseError| EvalError::new(e.to_string()))?;
    Ok(Val::Extension(Extension::Quantity(Arc::new(q))))
}

fn as_integer<'a>(args: &[Val<'a>]) -> Answer<'a> {
    nth(args, 0)?.as_i64().map(Val::Int).ok_or_else(|| EvalError::new("cannot convert value to integer"))
}

fn combine<'a>(args: &[Val<'a>], with: fn(&mut Quantity, &Quantity)) -> Answer<'a> {
    let mut q = *nth(args, 0)?;
    let other = match &args[1] {
        Val::Int(i) => Arc::new(Quantity::new(*i, Format::DecimalExponent)),
        _ => nth(args, 1)?,
    };
    with(&mut q, &other);
    Ok(Val::Extension(Extension::Quantity(Arc::new(q))))
}
