//! What calls cost, and how much may still be spent. The numbers are upstream's, so that both stop at the same point.

use std::cell::Cell;

use crate::library::{Extension, list_cost};
use crate::value::Val;

/// What may still be spent by the expressions of one object or policy; shared by expressions that evaluate others.
#[derive(Debug)]
pub struct Budget(Cell<i64>);

impl Budget {
    /// A budget of so many units.
    pub fn new(units: u64) -> Self {
        Self(Cell::new(i64::try_from(units).unwrap_or(i64::MAX)))
    }
    /// What is left; below zero it is overspent.
    pub fn remaining(&self) -> i64 {
        self.0.get()
    }
    /// Spends; false once it is overspent.
    pub fn spend(&self, units: u64) -> bool {
        self.0.set(self.0.get().saturating_sub_unsigned(units));
        self.0.get() >= 0
    }
}

pub(crate) const SELECT: u64 = 1;
pub(crate) const CREATE_LIST: u64 = 10;
pub(crate) const CREATE_MAP: u64 = 30;
pub(crate) const CREATE_STRUCT: u64 = 40;
/// What a check of authorization costs: two fit into a call.
pub(crate) const AUTHORIZATION: u64 = 350_000;

/// The part of `size` at the factor, rounded up.
pub(crate) fn part(size: u64, factor: f64) -> u64 {
    (size as f64 * factor).ceil() as u64
}
pub(crate) const TRAVERSE: f64 = 0.1;
pub(crate) const PATTERN: f64 = 0.25;

/// What a call costs, with its result if it has one. `unique`: what was called is known from the types; else some costs are flat.
pub(crate) fn call(function: &str, unique: bool, args: &[Val], result: Option<&Val>) -> u64 {
    let size = |n: usize| args.get(n).map_or(1, Val::size);
    let textual = matches!(args.first(), Some(Val::String(_) | Val::Bytes(_)));
    if let Some(cost) = list_cost(function, args, result).filter(|_| unique) {
        return cost;
    }
    match function {
        "check" => AUTHORIZATION,
        "fieldSelector" | "labelSelector" => part(size(1), TRAVERSE) + size(1),
        "isSorted" | "sum" | "max" | "min" | "indexOf" | "lastIndexOf" => args.first().map_or(0, traversal),
        "url" | "lowerAscii" | "upperAscii" | "substring" | "trim" | "jsonpatch.escapeKey" => part(size(0), TRAVERSE),
        "replace" | "split" | "ip.isCanonical" => part(size(0), 2.0 * TRAVERSE),
        "join" => part(result.map_or(1, Val::size), 2.0 * TRAVERSE),
        "find" | "findAll" | "matches" => part(1 + size(0), TRAVERSE).saturating_mul(part(size(1), PATTERN)),
        "ip" if !textual => 1,
        "ip" | "cidr" | "isIP" | "isCIDR" | "quantity" | "isQuantity" | "semver" | "isSemver" => part(size(0), TRAVERSE),
        "containsIP" | "containsCIDR" => {
            let own = size(0);
            let mut cost = part(2 * own, TRAVERSE);
            if function == "containsCIDR" {
                cost += part(own, TRAVERSE) + 1;
            }
            if matches!(args.get(1), Some(Val::String(_))) {
                cost += part(size(1), TRAVERSE);
            }
            cost
        }
        "validate" => match args.first() {
            Some(Val::Extension(Extension::Format(f))) => part(1 + size(1), TRAVERSE).saturating_mul(part(f.regex_size, PATTERN)),
            _ => 1,
        },
        _ if !unique => 1,
        "startsWith" | "endsWith" | "strings.quote" | "format" => part(size(0), TRAVERSE),
        "bytes" if matches!(args.first(), Some(Val::String(_))) => part(size(0), TRAVERSE),
        "string" if matches!(args.first(), Some(Val::Bytes(_))) => part(size(0), TRAVERSE),
        "@in" if matches!(args.get(1), Some(Val::List(_))) => size(1),
        "_==_" if matches!(args.first(), Some(Val::Extension(_))) => 1,
        "_==_" | "_!=_" => part(size(0).min(size(1)), TRAVERSE),
        "_<_" | "_<=_" | "_>_" | "_>=_" if textual => part(size(0).min(size(1)), TRAVERSE),
        "_+_" if textual => part(size(0) + size(1), TRAVERSE),
        "contains" => part(size(0), TRAVERSE).saturating_mul(part(size(1), TRAVERSE)),
        _ => 1,
    }
}

/// What it costs to go over a value with all that is in it.
fn traversal(v: &Val) -> u64 {
    match v {
        Val::String(s) => (s.len() as f64 * TRAVERSE) as u64,
        Val::Bytes(b) => (b.len() as f64 * TRAVERSE) as u64,
        Val::List(l) => l.iter().filter_map(Result::ok).map(|v| traversal(&v)).sum(),
        Val::Map(m) => m.entries().unwrap_or_default().iter().map(|(k, v)| traversal(k) + traversal(v)).sum(),
        _ => 1,
    }
}
