//! `"...".format([...])`.

use super::convert::text;
use super::{Answer, Row};
use crate::error::EvalError;
use crate::types::Type;
use crate::value::{List, Val};

pub(super) const FUNCTIONS: &[Row] = &[("format", format, &["string.(list(dyn)) string"])];

/// More digits than this are refused.
const MAX_PRECISION: usize = 1000;

fn format<'a>(args: &[Val<'a>]) -> Answer<'a> {
    let (Val::String(text), Val::List(list)) = (&args[0], &args[1]) else { return Err(EvalError::no_such_overload()) };
    let mut out = String::new();
    clauses(text, &mut out, list.len(), &mut |n, clause, precision, out| {
        let arg = list.get(n).unwrap_or_else(|| Err(EvalError::new(format!("index {n} out of range"))));
        let shown = arg.map_err(|e| e.to_string()).and_then(|arg| one(&arg, clause, precision));
        out.push_str(&shown.map_err(|e| format!("error during formatting: {e}"))?);
        Ok(())
    })
    .map_err(EvalError::new)?;
    Ok(Val::string(out))
}

/// Calls for each `%` clause with the argument's index, the letter and the precision.
fn clauses(
    text: &str,
    out: &mut String,
    args: usize,
    each: &mut dyn FnMut(usize, char, Option<usize>, &mut String) -> Result<(), String>,
) -> Result<usize, String> {
    let mut chars = text.chars().peekable();
    let mut n = 0;
    while let Some(c) = chars.next() {
        if c != '%' {
            out.push(c);
            continue;
        }
        if chars.next_if_eq(&'%').is_some() {
            out.push('%');
            continue;
        }
        if n >= args {
            return Err(format!("index {n} out of range"));
        }
        let wrong = |e: &str| format!("could not parse formatting clause: {e}");
        let mut precision = None;
        if chars.next_if_eq(&'.').is_some() {
            let mut digits = String::new();
            while let Some(d) = chars.next_if(char::is_ascii_digit) {
                digits.push(d);
            }
            let value = digits.parse().ok().filter(|p| *p <= MAX_PRECISION);
            precision =
                Some(value.ok_or_else(|| wrong("error while parsing precision: error while converting precision to integer"))?);
        }
        let clause = chars.next().ok_or_else(|| "unexpected end of string".to_string())?;
        if !"sdfebxXo".contains(clause) {
            return Err(wrong(&format!("unrecognized formatting clause \"{clause}\"")));
        }
        each(n, clause, precision, out)?;
        n += 1;
    }
    Ok(n)
}

/// The types that a clause takes, as its error says them.
fn takes(clause: char) -> &'static str {
    match clause {
        'd' => "decimal clause can only be used on integers, was given",
        'f' => "fixed-point clause can only be used on doubles, was given",
        'e' => "scientific clause can only be used on doubles, was given",
        'b' => "only integers and bools can be formatted as binary, was given",
        'x' | 'X' => "only integers, byte buffers, and strings can be formatted as hex, was given",
        'o' => "octal clause can only be used on integers, was given",
        _ => {
            "string clause can only be used on strings, bools, bytes, ints, doubles, maps, lists, types, durations, and timestamps, \
             was given"
        }
    }
}

/// Checks a call with a literal format and literal list: the index of the argument that is wrong (none: the call), and why.
pub(crate) fn check_arguments(text: &str, types: &[Type]) -> Result<(), (Option<usize>, String)> {
    let mut bad = None;
    let used = clauses(text, &mut String::new(), types.len(), &mut |n, clause, _, _| {
        let t = &types[n];
        let fits = match clause {
            'd' | 'o' => matches!(t, Type::Int | Type::Uint),
            'f' | 'e' => matches!(t, Type::Double | Type::String),
            'b' => matches!(t, Type::Int | Type::Uint | Type::Bool),
            'x' | 'X' => matches!(t, Type::Int | Type::Uint | Type::String | Type::Bytes),
            _ => !matches!(t, Type::Named(_) | Type::Object(_) | Type::Free(_) | Type::Optional(_)),
        };
        if fits || t.is_dyn() {
            return Ok(());
        }
        bad = Some(n);
        Err(format!("error during formatting: {} {}", takes(clause), t.name()))
    });
    match used {
        Err(e) => Err((bad, e)),
        Ok(used) if used < types.len() => {
            Err((None, format!("too many arguments supplied to string.format (expected {used}, got {})", types.len())))
        }
        Ok(_) => Ok(()),
    }
}

fn one(v: &Val, clause: char, precision: Option<usize>) -> Result<String, String> {
    let wrong = || format!("{} {}", takes(clause), v.type_of().name());
    let double = || match v {
        Val::Double(d) => Ok(*d),
        Val::String(s) => match &**s {
            "NaN" => Ok(f64::NAN),
            "Infinity" => Ok(f64::INFINITY),
            "-Infinity" => Ok(f64::NEG_INFINITY),
            _ => Err(wrong()),
        },
        _ => Err(wrong()),
    };
    Ok(match (clause, v) {
        ('s', _) => plain(v).ok_or_else(wrong)?,
        ('d', Val::Int(i)) => i.to_string(),
        ('d', Val::Uint(u)) => u.to_string(),
        ('f', _) => fixed(double()?, precision.unwrap_or(6)),
        ('e', _) => scientific(double()?, precision.unwrap_or(6)),
        ('b', Val::Bool(b)) => u8::from(*b).to_string(),
        ('b' | 'x' | 'X' | 'o', Val::Int(i)) => {
            let sign = if *i < 0 { "-" } else { "" };
            format!("{sign}{}", radix(i.unsigned_abs(), clause))
        }
        ('b' | 'x' | 'X' | 'o', Val::Uint(u)) => radix(*u, clause),
        ('x', Val::String(s)) => s.bytes().map(|b| format!("{b:02x}")).collect(),
        ('X', Val::String(s)) => s.bytes().map(|b| format!("{b:02X}")).collect(),
        ('x', Val::Bytes(s)) => s.iter().map(|b| format!("{b:02x}")).collect(),
        ('X', Val::Bytes(s)) => s.iter().map(|b| format!("{b:02X}")).collect(),
        _ => return Err(wrong()),
    })
}

fn radix(n: u64, clause: char) -> String {
    match clause {
        'b' => format!("{n:b}"),
        'x' => format!("{n:x}"),
        'X' => format!("{n:X}"),
        _ => format!("{n:o}"),
    }
}

fn special(d: f64) -> Option<String> {
    (!d.is_finite()).then(|| {
        if d.is_nan() {
            "NaN"
        } else if d > 0.0 {
            "∞"
        } else {
            "-∞"
        }
        .to_string()
    })
}

/// With thousands apart, as upstream's locale (en_US) has it.
fn fixed(d: f64, precision: usize) -> String {
    special(d).unwrap_or_else(|| {
        let text = format!("{:.precision$}", d.abs());
        let (whole, fraction) = text.split_once('.').unwrap_or((&text, ""));
        let mut out = String::from(if d < 0.0 { "-" } else { "" });
        for (i, c) in whole.chars().enumerate() {
            if i > 0 && (whole.len() - i) % 3 == 0 {
                out.push(',');
            }
            out.push(c);
        }
        if !fraction.is_empty() {
            out.push('.');
            out.push_str(fraction);
        }
        out
    })
}

fn scientific(d: f64, precision: usize) -> String {
    special(d).unwrap_or_else(|| {
        let text = format!("{d:.precision$e}");
        let (digits, exponent) = text.split_once('e').unwrap_or((&text, "0"));
        let (sign, exponent) = exponent.strip_prefix('-').map_or(("", exponent), |e| ("⁻", e));
        let raised: String =
            format!("{exponent:0>2}").chars().filter_map(|c| "⁰¹²³⁴⁵⁶⁷⁸⁹".chars().nth(c.to_digit(10)? as usize)).collect();
        format!("{digits}×10{sign}{raised}")
    })
}

/// What `%s` writes.
fn plain(v: &Val) -> Option<String> {
    match v {
        Val::Null => Some("null".into()),
        Val::List(l) => list(l),
        Val::Map(m) => {
            let mut entries = Vec::new();
            for (k, v) in m.entries().ok()? {
                let key = match &k {
                    Val::String(_) | Val::Bool(_) | Val::Int(_) | Val::Uint(_) => nested(&k)?,
                    _ => return None,
                };
                entries.push((key, nested(&v)?));
            }
            entries.sort();
            let entries: Vec<String> = entries.into_iter().map(|(k, v)| format!("{k}:{v}")).collect();
            Some(format!("{{{}}}", entries.join(", ")))
        }
        v => text(v),
    }
}

fn list(l: &List) -> Option<String> {
    let items: Option<Vec<String>> = l.iter().map(|v| nested(&v.ok()?)).collect();
    Some(format!("[{}]", items?.join(", ")))
}

/// What `%s` writes of something within a list or a map: a literal.
fn nested(v: &Val) -> Option<String> {
    use machinery::quote::Quoted;
    Some(match v {
        Val::String(s) => Quoted(s).to_string(),
        Val::Bytes(b) => format!("b{}", Quoted(&String::from_utf8_lossy(b))),
        Val::Timestamp(_) => format!("timestamp({})", Quoted(&text(v)?)),
        Val::Duration(_) => format!("duration({})", Quoted(&text(v)?)),
        Val::Double(d) if d.is_finite() => format!("{d:.6}"),
        Val::Double(_) => Quoted(&text(v)?).to_string(),
        v => plain(v)?,
    })
}
