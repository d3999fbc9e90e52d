//! Functions of lists.

use std::cmp::Ordering;

use super::collections::items;
use super::strings::int;
use super::{Answer, Row, add};
use crate::equality::{compare, contains, equal};
use crate::error::EvalError;
use crate::types::Type;
use crate::value::Val;

const SORTED: &[&str] = &[
    "list(int).() bool",
    "list(uint).() bool",
    "list(double).() bool",
    "list(bool).() bool",
    "list(duration).() bool",
    "list(timestamp).() bool",
    "list(string).() bool",
    "list(bytes).() bool",
];
const EXTREME: &[&str] = &[
    "list(int).() int",
    "list(uint).() uint",
    "list(double).() double",
    "list(bool).() bool",
    "list(duration).() duration",
    "list(timestamp).() timestamp",
    "list(string).() string",
    "list(bytes).() bytes",
];
const SORT: &[&str] = &[
    "list(int).() list(int)",
    "list(uint).() list(uint)",
    "list(double).() list(double)",
    "list(bool).() list(bool)",
    "list(duration).() list(duration)",
    "list(timestamp).() list(timestamp)",
    "list(string).() list(string)",
    "list(bytes).() list(bytes)",
];
const SORT_BY: &[&str] = &[
    "list(A).(list(int)) list(A)",
    "list(A).(list(uint)) list(A)",
    "list(A).(list(double)) list(A)",
    "list(A).(list(bool)) list(A)",
    "list(A).(list(duration)) list(A)",
    "list(A).(list(timestamp)) list(A)",
    "list(A).(list(string)) list(A)",
    "list(A).(list(bytes)) list(A)",
];

/// The longest list that `lists.range` makes; the cost limit of a call stops more anyhow, but only after it is made.
const MAX_RANGE: i64 = 1_000_000;

pub(super) const FUNCTIONS: &[Row] = &[
    ("isSorted", is_sorted, SORTED),
    ("sum", sum, &["list(int).() int", "list(uint).() uint", "list(double).() double", "list(duration).() duration"]),
    ("max", |a| extreme(a, "max", Ordering::Less), EXTREME),
    ("min", |a| extreme(a, "min", Ordering::Greater), EXTREME),
    ("indexOf", index_of, &["list(A).(A) int"]),
    ("lastIndexOf", last_index_of, &["list(A).(A) int"]),
    ("slice", slice, &["list(A).(int, int) list(A)"]),
    ("flatten", flatten, &["list(list(A)).() list(A)", "list(dyn).(int) list(dyn)"]),
    ("sort", |a| sort(&a[0], &a[0]), SORT),
    ("@sortByAssociatedKeys", |a| sort(&a[0], &a[1]), SORT_BY),
    ("lists.range", range, &["(int) list(int)"]),
    ("reverse", |a| Ok(Val::list(items(&a[0])?.into_iter().rev().collect())), &["list(A).() list(A)"]),
    ("distinct", distinct, &["list(A).() list(A)"]),
];

fn is_sorted<'a>(args: &[Val<'a>]) -> Answer<'a> {
    for pair in items(&args[0])?.windows(2) {
        if compare(&pair[0], &pair[1])? == Ordering::Greater {
            return Ok(Val::Bool(false));
        }
    }
    Ok(Val::Bool(true))
}

fn sum<'a>(args: &[Val<'a>]) -> Answer<'a> {
    let mut items = items(&args[0])?.into_iter();
    let Some(first) = items.next() else { return Ok(Val::Int(0)) };
    items.try_fold(first, |sum, v| add(&sum, &v))
}

fn extreme<'a>(args: &[Val<'a>], name: &str, replace: Ordering) -> Answer<'a> {
    let mut best: Option<Val<'a>> = None;
    for v in items(&args[0])? {
        if match &best {
            None => true,
            Some(best) => compare(best, &v)? == replace,
        } {
            best = Some(v);
        }
    }
    best.ok_or_else(|| EvalError::new(format!("{name} called on empty list")))
}

fn index_of<'a>(args: &[Val<'a>]) -> Answer<'a> {
    for (i, v) in items(&args[0])?.iter().enumerate() {
        if equal(v, &args[1])? {
            return Ok(Val::Int(i as i64));
        }
    }
    Ok(Val::Int(-1))
}

fn last_index_of<'a>(args: &[Val<'a>]) -> Answer<'a> {
    for (i, v) in items(&args[0])?.iter().enumerate().rev() {
        if equal(v, &args[1])? {
            return Ok(Val::Int(i as i64));
        }
    }
    Ok(Val::Int(-1))
}

fn slice<'a>(args: &[Val<'a>]) -> Answer<'a> {
    let list = items(&args[0])?;
    let (start, end) = (int(args, 1, 0)?, int(args, 2, 0)?);
    let refused = |why: &str| Err(EvalError::new(format!("cannot slice({start}, {end}), {why}")));
    if start < 0 || end < 0 {
        return refused("negative indexes not supported");
    }
    if start > end {
        return refused("start index must be less than or equal to end index");
    }
    match list.get(start as usize..end as usize) {
        Some(part) => Ok(Val::list(part.to_vec())),
        None => refused(&format!("list is length {}", list.len())),
    }
}

fn flatten<'a>(args: &[Val<'a>]) -> Answer<'a> {
    let depth = int(args, 1, 1)?;
    if depth < 0 {
        return Err(EvalError::new("level must be non-negative"));
    }
    let mut out = Vec::new();
    flatten_into(items(&args[0])?, depth, &mut out)?;
    Ok(Val::list(out))
}

fn flatten_into<'a>(list: Vec<Val<'a>>, depth: i64, out: &mut Vec<Val<'a>>) -> Result<(), EvalError> {
    for v in list {
        match &v {
            Val::List(inner) if depth > 0 => flatten_into(inner.to_vec()?, depth - 1, out)?,
            _ => out.push(v),
        }
    }
    Ok(())
}

fn sort<'a>(list: &Val<'a>, keys: &Val<'a>) -> Answer<'a> {
    let (list, keys) = (items(list)?, items(keys)?);
    if list.len() != keys.len() {
        return Err(EvalError::new(format!(
            "@sortByAssociatedKeys() expected a list of the same size as the associated keys list, but got {} and {} elements respectively",
            list.len(),
            keys.len()
        )));
    }
    let Some(first) = keys.first() else { return Ok(Val::list(list)) };
    let kind = first.type_of();
    if compare(first, first).is_err() && !matches!(first, Val::Double(_)) {
        return Err(EvalError::new("list elements must be comparable"));
    }
    if keys.iter().any(|k| k.type_of() != kind) {
        return Err(EvalError::new("list elements must have the same type"));
    }
    let mut pairs: Vec<(Val, Val)> = keys.into_iter().zip(list).collect();
    pairs.sort_by(|a, b| compare(&a.0, &b.0).unwrap_or(Ordering::Equal));
    Ok(Val::list(pairs.into_iter().map(|(_, v)| v).collect()))
}

fn range<'a>(args: &[Val<'a>]) -> Answer<'a> {
    let n = int(args, 0, 0)?;
    if n > MAX_RANGE {
        return Err(EvalError::CostExceeded);
    }
    Ok(Val::list((0..n).map(Val::Int).collect()))
}

fn distinct<'a>(args: &[Val<'a>]) -> Answer<'a> {
    let mut out: Vec<Val<'a>> = Vec::new();
    for v in items(&args[0])? {
        if !contains(&out, &v)? {
            out.push(v);
        }
    }
    Ok(Val::list(out))
}

/// What a call of one of these costs, if it is one.
pub(crate) fn list_cost(function: &str, args: &[Val], result: Option<&Val>) -> Option<u64> {
    const CREATE: u64 = 10;
    let made = |factor: f64, size: u64| (size as f64 * factor) as u64 + 1 + CREATE;
    let pairs = |v: &Val| {
        let n = v.size();
        let first = match v {
            Val::List(l) => l.get(0).and_then(Result::ok).map(|v| v.type_of()),
            _ => None,
        };
        let factor = if matches!(first, Some(Type::String | Type::Bytes)) { 2.1 } else { 2.0 };
        made(factor, n.saturating_mul(n))
    };
    Some(match function {
        "slice" | "lists.range" => made(1.0, result.map_or(1, Val::size)),
        "reverse" => made(1.0, result.map_or(1, Val::size)),
        "flatten" => {
            let depth = match args.get(1) {
                Some(Val::Int(i)) => *i as f64,
                _ => 1.0,
            };
            made(depth, args[0].size())
        }
        "distinct" | "sort" => pairs(&args[0]),
        "@sortByAssociatedKeys" => pairs(&args[1]),
        "sets.contains" | "sets.intersects" => 1 + args[0].size().saturating_mul(args[1].size()),
        "sets.equivalent" => 1 + args[0].size().saturating_mul(args[1].size()).saturating_mul(2),
        _ => return None,
    })
}
