//! Functions of strings. Positions count characters.

use super::{Answer, Row};
use crate::error::EvalError;
use crate::value::Val;

pub(super) const FUNCTIONS: &[Row] = &[
    ("contains", |a| Ok(Val::Bool(one(a)?.contains(nth(a, 1)?))), &["string.(string) bool"]),
    ("startsWith", |a| Ok(Val::Bool(one(a)?.starts_with(nth(a, 1)?))), &["string.(string) bool"]),
    ("endsWith", |a| Ok(Val::Bool(one(a)?.ends_with(nth(a, 1)?))), &["string.(string) bool"]),
    ("charAt", char_at, &["string.(int) string"]),
    ("indexOf", index_of, &["string.(string) int", "string.(string, int) int"]),
    ("lastIndexOf", last_index_of, &["string.(string) int", "string.(string, int) int"]),
    ("lowerAscii", |a| Ok(Val::string(one(a)?.to_ascii_lowercase())), &["string.() string"]),
    ("upperAscii", |a| Ok(Val::string(one(a)?.to_ascii_uppercase())), &["string.() string"]),
    ("trim", |a| Ok(Val::string(one(a)?.trim())), &["string.() string"]),
    ("replace", replace, &["string.(string, string) string", "string.(string, string, int) string"]),
    ("split", split, &["string.(string) list(string)", "string.(string, int) list(string)"]),
    ("substring", substring, &["string.(int) string", "string.(int, int) string"]),
    ("join", join, &["list(string).() string", "list(string).(string) string"]),
    ("strings.quote", |a| Ok(Val::string(quote(one(a)?))), &["(string) string"]),
    ("jsonpatch.escapeKey", |a| Ok(Val::string(one(a)?.replace('~', "~0").replace('/', "~1"))), &["(string) string"]),
];

pub(super) fn one<'v>(args: &'v [Val]) -> Result<&'v str, EvalError> {
    nth(args, 0)
}
pub(super) fn nth<'v>(args: &'v [Val], n: usize) -> Result<&'v str, EvalError> {
    args.get(n).and_then(Val::as_str).ok_or_else(EvalError::no_such_overload)
}
/// An integer argument, or the default if it is not given.
pub(super) fn int(args: &[Val], n: usize, default: i64) -> Result<i64, EvalError> {
    match args.get(n) {
        None => Ok(default),
        Some(Val::Int(i)) => Ok(*i),
        Some(_) => Err(EvalError::no_such_overload()),
    }
}

fn out_of_range(i: i64) -> EvalError {
    EvalError::new(format!("index out of range: {i}"))
}

fn char_at<'a>(args: &[Val<'a>]) -> Answer<'a> {
    let (s, i) = (one(args)?, int(args, 1, 0)?);
    let len = s.chars().count();
    let at = usize::try_from(i).ok().filter(|at| *at <= len).ok_or_else(|| out_of_range(i))?;
    Ok(Val::string(s.chars().skip(at).take(1).collect::<String>()))
}

fn index_of<'a>(args: &[Val<'a>]) -> Answer<'a> {
    let (s, sub, offset) = (one(args)?, nth(args, 1)?, int(args, 2, 0)?);
    if sub.is_empty() {
        return Ok(Val::Int(offset));
    }
    let start = usize::try_from(offset).map_err(|_| out_of_range(offset))?;
    let Some((from, _)) = s.char_indices().nth(start) else { return Ok(Val::Int(-1)) };
    Ok(Val::Int(s[from..].find(sub).map_or(-1, |i| (start + s[from..from + i].chars().count()) as i64)))
}

fn last_index_of<'a>(args: &[Val<'a>]) -> Answer<'a> {
    let (s, sub) = (one(args)?, nth(args, 1)?);
    let len = s.chars().count() as i64;
    if sub.is_empty() {
        return Ok(Val::Int(int(args, 2, len)?));
    }
    if args.len() < 3 && s.len() < sub.len() {
        return Ok(Val::Int(-1));
    }
    let offset = int(args, 2, len - 1)?;
    if offset < 0 {
        return Err(out_of_range(offset));
    }
    if offset >= len {
        return Ok(Val::Int(-1));
    }
    // The last match that starts at the offset or before: it ends before the offset and the length of what is sought.
    let end = s.char_indices().nth(offset as usize + sub.chars().count()).map_or(s.len(), |(i, _)| i);
    Ok(Val::Int(s[..end].rfind(sub).map_or(-1, |i| s[..i].chars().count() as i64)))
}

fn replace<'a>(args: &[Val<'a>]) -> Answer<'a> {
    let (s, old, new, n) = (one(args)?, nth(args, 1)?, nth(args, 2)?, int(args, 3, -1)?);
    Ok(Val::string(match usize::try_from(n) {
        Ok(n) => s.replacen(old, new, n),
        Err(_) => s.replace(old, new),
    }))
}

fn split<'a>(args: &[Val<'a>]) -> Answer<'a> {
    let (s, separator, n) = (one(args)?, nth(args, 1)?, int(args, 2, -1)?);
    let limit = usize::try_from(n).unwrap_or(usize::MAX);
    if limit == 0 {
        return Ok(Val::list(Vec::new()));
    }
    if separator.is_empty() {
        let mut out = Vec::new();
        let mut rest = s;
        while let Some(c) = rest.chars().next() {
            if out.len() + 1 == limit {
                break;
            }
            let (first, after) = rest.split_at(c.len_utf8());
            out.push(first);
            rest = after;
        }
        if !rest.is_empty() {
            out.push(rest);
        }
        return Ok(Val::strings(out));
    }
    Ok(Val::strings(s.splitn(limit, separator)))
}

fn substring<'a>(args: &[Val<'a>]) -> Answer<'a> {
    let s = one(args)?;
    let len = s.chars().count() as i64;
    let (start, end) = (int(args, 1, 0)?, int(args, 2, len)?);
    if args.len() > 2 && start > end {
        return Err(EvalError::new(format!("invalid substring range. start: {start}, end: {end}")));
    }
    for i in [start, end] {
        if i < 0 || i > len {
            return Err(out_of_range(i));
        }
    }
    Ok(Val::string(s.chars().skip(start as usize).take((end - start) as usize).collect::<String>()))
}

fn join<'a>(args: &[Val<'a>]) -> Answer<'a> {
    let Val::List(list) = &args[0] else { return Err(EvalError::no_such_overload()) };
    let separator = if args.len() > 1 { nth(args, 1)? } else { "" };
    let mut out = String::new();
    for (n, v) in list.iter().enumerate() {
        let v = v?;
        let s = v.as_str().ok_or_else(|| EvalError::new(format!("join: invalid input: {v:?}")))?;
        if n > 0 {
            out.push_str(separator);
        }
        out.push_str(s);
    }
    Ok(Val::string(out))
}

fn quote(s: &str) -> String {
    let mut out = String::from("\"");
    for c in s.chars() {
        match c {
            '\x07' => out.push_str("\\a"),
            '\x08' => out.push_str("\\b"),
            '\x0c' => out.push_str("\\f"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '\x0b' => out.push_str("\\v"),
            '\\' => out.push_str("\\\\"),
            '"' => out.push_str("\\\""),
            c => out.push(c),
        }
    }
    out.push('"');
    out
}
