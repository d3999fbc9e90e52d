//! Regular expressions. Compiled ones are kept for a while, as rules come back with every object.

use std::collections::HashMap;
use std::sync::{Arc, LazyLock, Mutex};

use regex::{Regex, RegexBuilder};

use super::strings::{int, nth, one};
use super::{Answer, Row};
use crate::error::EvalError;
use crate::value::Val;

pub(super) const FUNCTIONS: &[Row] = &[
    ("matches", matches, &["(string, string) bool", "string.(string) bool"]),
    ("find", find, &["string.(string) string"]),
    ("findAll", find_all, &["string.(string) list(string)", "string.(string, int) list(string)"]),
];

/// How many compiled expressions are kept.
const KEPT: usize = 256;
/// The most memory that a compiled expression may take.
const MAX_COMPILED: usize = 1 << 20;

/// The compiled expression, or why there is none.
pub(crate) fn compile(pattern: &str) -> Result<Arc<Regex>, String> {
    static CACHE: LazyLock<Mutex<HashMap<String, Arc<Regex>>>> = LazyLock::new(Mutex::default);
    let mut cache = CACHE.lock().unwrap_or_else(|e| e.into_inner());
    if let Some(found) = cache.get(pattern) {
        return Ok(found.clone());
    }
    let compiled = RegexBuilder::new(pattern).size_limit(MAX_COMPILED).build().map_err(|e| {
        let text = e.to_string();
        let last = text.lines().last().unwrap_or_default().trim_start_matches("error: ").to_string();
        format!("{last}: `{pattern}`")
    })?;
    if cache.len() >= KEPT {
        cache.clear();
    }
    let compiled = Arc::new(compiled);
    cache.insert(pattern.to_string(), compiled.clone());
    Ok(compiled)
}

fn matches<'a>(args: &[Val<'a>]) -> Answer<'a> {
    let (s, pattern) = (one(args)?, nth(args, 1)?);
    let compiled = compile(pattern).map_err(|e| EvalError::new(format!("error parsing regexp: {e}")))?;
    Ok(Val::Bool(compiled.is_match(s)))
}

fn illegal(e: String) -> EvalError {
    EvalError::new(format!("Illegal regex: error parsing regexp: {e}"))
}

fn find<'a>(args: &[Val<'a>]) -> Answer<'a> {
    let (s, pattern) = (one(args)?, nth(args, 1)?);
    Ok(Val::string(compile(pattern).map_err(illegal)?.find(s).map_or("", |m| m.as_str())))
}

fn find_all<'a>(args: &[Val<'a>]) -> Answer<'a> {
    let (s, pattern, n) = (one(args)?, nth(args, 1)?, int(args, 2, -1)?);
    let limit = usize::try_from(n).unwrap_or(usize::MAX);
    Ok(Val::strings(compile(pattern).map_err(illegal)?.find_iter(s).take(limit).map(|m| m.as_str())))
}
