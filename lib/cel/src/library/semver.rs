//! Semantic versions.

use std::cmp::Ordering;
use std::sync::Arc;

use super::strings::one;
use super::{Extension, Row};
use crate::error::EvalError;
use crate::value::Val;

pub(super) const FUNCTIONS: &[Row] = &[
    (
        "semver",
        |a| Ok(Val::Extension(Extension::Semver(Arc::new(read(a)?.map_err(EvalError::new)?)))),
        &["(string) kubernetes.Semver", "(string, bool) kubernetes.Semver"],
    ),
    ("isSemver", |a| Ok(Val::Bool(read(a)?.is_ok())), &["(string) bool", "(string, bool) bool"]),
    ("isGreaterThan", |a| Ok(Val::Bool(order(a)? == Ordering::Greater)), &["kubernetes.Semver.(kubernetes.Semver) bool"]),
    ("isLessThan", |a| Ok(Val::Bool(order(a)? == Ordering::Less)), &["kubernetes.Semver.(kubernetes.Semver) bool"]),
    ("compareTo", |a| Ok(Val::Int(order(a)? as i64)), &["kubernetes.Semver.(kubernetes.Semver) int"]),
    ("major", |a| Ok(Val::Int(nth(a, 0)?.numbers[0] as i64)), &["kubernetes.Semver.() int"]),
    ("minor", |a| Ok(Val::Int(nth(a, 0)?.numbers[1] as i64)), &["kubernetes.Semver.() int"]),
    ("patch", |a| Ok(Val::Int(nth(a, 0)?.numbers[2] as i64)), &["kubernetes.Semver.() int"]),
];

/// A version: its numbers and what comes before the release; build metadata does not order.
#[derive(Debug)]
pub struct Semver {
    numbers: [u64; 3],
    pre: Vec<String>,
}

impl Semver {
    pub(super) fn cmp(&self, other: &Self) -> Ordering {
        self.numbers.cmp(&other.numbers).then_with(|| match (self.pre.is_empty(), other.pre.is_empty()) {
            (true, true) => Ordering::Equal,
            (true, false) => Ordering::Greater,
            (false, true) => Ordering::Less,
            _ => self
                .pre
                .iter()
                .zip(&other.pre)
                .map(|(a, b)| part(a, b))
                .find(|o| o.is_ne())
                .unwrap_or(self.pre.len().cmp(&other.pre.len())),
        })
    }
}

fn part(a: &str, b: &str) -> Ordering {
    match (a.parse::<u64>(), b.parse::<u64>()) {
        (Ok(a), Ok(b)) => a.cmp(&b),
        (Ok(_), Err(_)) => Ordering::Less,
        (Err(_), Ok(_)) => Ordering::Greater,
        _ => a.cmp(b),
    }
}

fn nth(args: &[Val], n: usize) -> Result<Arc<Semver>, EvalError> {
    match args.get(n) {
        Some(Val::Extension(Extension::Semver(v))) => Ok(v.clone()),
        _ => Err(EvalError::no_such_overload()),
    }
}

fn order(args: &[Val]) -> Result<Ordering, EvalError> {
    Ok(nth(args, 0)?.cmp(&*nth(args, 1)?))
}

fn read(args: &[Val]) -> Result<Result<Semver, String>, EvalError> {
    let s = one(args)?;
    Ok(match args.get(1) {
        None | Some(Val::Bool(false)) => parse(s),
        Some(Val::Bool(true)) => normalize(s).and_then(|s| parse(&s)),
        Some(_) => return Err(EvalError::no_such_overload()),
    })
}

/// Without a leading `v`, leading zeros and missing parts.
fn normalize(s: &str) -> Result<String, String> {
    let mut parts: Vec<String> = s.strip_prefix('v').unwrap_or(s).splitn(3, '.').map(str::to_string).collect();
    for p in &mut parts {
        if p.len() > 1 {
            let bare = p.trim_start_matches('0');
            *p = if bare.starts_with(|c: char| c.is_ascii_digit()) { bare.to_string() } else { format!("0{bare}") };
        }
    }
    if parts.len() < 3 {
        if parts.last().is_some_and(|p| p.contains(['+', '-'])) {
            return Err("short version cannot contain PreRelease/Build meta data".into());
        }
        parts.resize(3, "0".into());
    }
    Ok(parts.join("."))
}

fn parse(s: &str) -> Result<Semver, String> {
    use machinery::quote::Quoted;
    if s.is_empty() {
        return Err("Version string empty".into());
    }
    let parts: Vec<&str> = s.splitn(3, '.').collect();
    let [major, minor, rest] = parts[..] else { return Err("No Major.Minor.Patch elements found".into()) };
    let (rest, build) = rest.split_once('+').map_or((rest, None), |(r, b)| (r, Some(b)));
    let (patch, pre) = rest.split_once('-').map_or((rest, None), |(r, p)| (r, Some(p)));
    let number = |what: &str, text: &str| {
        if text.is_empty() || !text.bytes().all(|b| b.is_ascii_digit()) {
            return Err(format!("Invalid character(s) found in {what} number {}", Quoted(text)));
        }
        if text.len() > 1 && text.starts_with('0') {
            return Err(format!("{} number must not contain leading zeroes {}", capital(what), Quoted(text)));
        }
        text.parse::<u64>().map_err(|e| e.to_string())
    };
    let numbers = [number("major", major)?, number("minor", minor)?, number("patch", patch)?];
    let identifier = |t: &str| !t.is_empty() && t.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-');
    let mut pre_parts = Vec::new();
    for p in pre.iter().flat_map(|p| p.split('.')) {
        if p.is_empty() {
            return Err("Prerelease is empty".into());
        }
        if !identifier(p) {
            return Err(format!("Invalid character(s) found in prerelease {}", Quoted(p)));
        }
        if p.len() > 1 && p.starts_with('0') && p.bytes().all(|b| b.is_ascii_digit()) {
            return Err(format!("Numeric PreRelease version must not contain leading zeroes {}", Quoted(p)));
        }
        pre_parts.push(p.to_string());
    }
    for b in build.iter().flat_map(|b| b.split('.')) {
        if b.is_empty() {
            return Err("Build meta data is empty".into());
        }
        if !identifier(b) {
            return Err(format!("Invalid character(s) found in build meta data {}", Quoted(b)));
        }
    }
    Ok(Semver { numbers, pre: pre_parts })
}

fn capital(s: &str) -> String {
    s[..1].to_uppercase() + &s[1..]
}
