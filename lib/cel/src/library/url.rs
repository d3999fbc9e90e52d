//! URLs, as Go's net/url reads them.

use std::sync::Arc;

use machinery::quote::Quoted;

use super::strings::one;
use super::{Answer, Extension, Row};
use crate::error::EvalError;
use crate::value::Val;

pub(super) const FUNCTIONS: &[Row] = &[
    ("url", parse_url, &["(string) kubernetes.URL"]),
    ("isURL", |a| Ok(Val::Bool(parse_request_uri(one(a)?).is_ok())), &["(string) bool"]),
    ("getScheme", |a| Ok(Val::string(url(a)?.scheme.as_str())), &["kubernetes.URL.() string"]),
    ("getHost", |a| Ok(Val::string(url(a)?.host.as_str())), &["kubernetes.URL.() string"]),
    ("getHostname", |a| Ok(Val::string(url(a)?.hostname())), &["kubernetes.URL.() string"]),
    ("getPort", |a| Ok(Val::string(url(a)?.port())), &["kubernetes.URL.() string"]),
    ("getEscapedPath", |a| Ok(Val::string(escaped(&url(a)?.path))), &["kubernetes.URL.() string"]),
    ("getQuery", query, &["kubernetes.URL.() map(string, list(string))"]),
];

/// A URL in parts; the path as it was written.
#[derive(Debug, PartialEq)]
pub struct Url {
    scheme: String,
    host: String,
    path: String,
    query: String,
    fragment: String,
}

impl Url {
    fn port_at(&self) -> Option<usize> {
        let start = self.host.rfind(']').unwrap_or(0);
        self.host[start..].find(':').map(|i| start + i)
    }
    fn hostname(&self) -> &str {
        let host = self.port_at().map_or(&*self.host, |i| &self.host[..i]);
        host.strip_prefix('[').and_then(|h| h.strip_suffix(']')).unwrap_or(host)
    }
    fn port(&self) -> &str {
        self.port_at().map_or("", |i| &self.host[i + 1..])
    }
}

fn url(args: &[Val]) -> Result<Arc<Url>, EvalError> {
    match &args[0] {
        Val::Extension(Extension::Url(u)) => Ok(u.clone()),
        _ => Err(EvalError::no_such_overload()),
    }
}

fn parse_url<'a>(args: &[Val<'a>]) -> Answer<'a> {
    let s = one(args)?;
    let bad = |e: String| EvalError::new(format!("URL parse error during conversion from string: {e}"));
    parse_request_uri(s).map_err(bad)?;
    let (rest, fragment) = s.split_once('#').unwrap_or((s, ""));
    let mut url = parse_request_uri(rest).map_err(bad)?;
    url.fragment = fragment.to_string();
    Ok(Val::Extension(Extension::Url(Arc::new(url))))
}

/// Reads an absolute URL or path.
pub(super) fn parse_request_uri(s: &str) -> Result<Url, String> {
    let bad = |why: &str| format!("parse {}: {why}", Quoted(s));
    if s.is_empty() {
        return Err(bad("empty url"));
    }
    if s.bytes().any(|b| b < b' ' || b == 0x7f) {
        return Err(bad("net/url: invalid control character in URL"));
    }
    let (scheme, rest) = split_scheme(s).map_err(bad)?;
    let (rest, query) = rest.split_once('?').unwrap_or((rest, ""));
    let mut url = Url {
        scheme: scheme.to_ascii_lowercase(),
        host: String::new(),
        path: rest.into(),
        query: query.into(),
        fragment: String::new(),
    };
    if !rest.starts_with('/') {
        if scheme.is_empty() {
            return Err(bad("invalid URI for request"));
        }
        // Opaque: `mailto:x`.
        url.path = String::new();
        return Ok(url);
    }
    if let Some(authority) = rest.strip_prefix("//").filter(|_| !scheme.is_empty()) {
        let end = authority.find('/').unwrap_or(authority.len());
        let (authority, path) = authority.split_at(end);
        url.host = host(authority.rsplit_once('@').map_or(authority, |(_, h)| h)).map_err(|e| bad(&e))?;
        url.path = path.to_string();
    }
    unescape(&url.path).map_err(|e| bad(&e))?;
    Ok(url)
}

fn split_scheme(s: &str) -> Result<(&str, &str), &'static str> {
    for (i, c) in s.char_indices() {
        match c {
            'a'..='z' | 'A'..='Z' => {}
            '0'..='9' | '+' | '-' | '.' if i > 0 => {}
            ':' if i == 0 => return Err("missing protocol scheme"),
            ':' => return Ok((&s[..i], &s[i + 1..])),
            _ => return Ok(("", s)),
        }
    }
    Ok(("", s))
}

fn host(s: &str) -> Result<String, String> {
    let port = if let Some(rest) = s.strip_prefix('[') {
        let end = rest.find(']').ok_or("missing ']' in host")?;
        &rest[end + 1..]
    } else {
        s.rfind(':').map_or("", |i| &s[i..])
    };
    let digits = port.strip_prefix(':').unwrap_or(port);
    if !(port.is_empty() || port.starts_with(':') && digits.bytes().all(|b| b.is_ascii_digit())) {
        return Err(format!("invalid port {} after host", Quoted(port)));
    }
    if let Some(c) = s.chars().find(|c| matches!(c, ' ' | '<' | '>' | '"' | '\\' | '^' | '`' | '{' | '|' | '}')) {
        return Err(format!("invalid character {} in host name", Quoted(&c.to_string())));
    }
    unescape(s)
}

fn unescape(s: &str) -> Result<String, String> {
    let mut out = Vec::new();
    let b = s.as_bytes();
    let mut i = 0;
    while i < b.len() {
        if b[i] != b'%' {
            out.push(b[i]);
            i += 1;
            continue;
        }
        let code = b.get(i + 1..i + 3).and_then(|h| std::str::from_utf8(h).ok()).and_then(|h| u8::from_str_radix(h, 16).ok());
        let Some(code) = code else {
            let end = (i + 3).min(b.len());
            return Err(format!("invalid URL escape {}", Quoted(&String::from_utf8_lossy(&b[i..end]))));
        };
        out.push(code);
        i += 3;
    }
    Ok(String::from_utf8_lossy(&out).into_owned())
}

/// The path with what must be escaped escaped.
fn escaped(path: &str) -> String {
    let mut out = String::new();
    for b in path.bytes() {
        match b {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' => out.push(b as char),
            _ if b"-_.~$&+,/:;=@!'()*[]%".contains(&b) => out.push(b as char),
            _ => out.push_str(&format!("%{b:02X}")),
        }
    }
    out
}

fn query<'a>(args: &[Val<'a>]) -> Answer<'a> {
    let mut out: Vec<(String, Vec<Val>)> = Vec::new();
    for pair in url(args)?.query.split('&').filter(|p| !p.is_empty() && !p.contains(';')) {
        let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
        let (Ok(key), Ok(value)) = (unescape(&key.replace('+', " ")), unescape(&value.replace('+', " "))) else { continue };
        match out.iter_mut().find(|(k, _)| *k == key) {
            Some((_, values)) => values.push(Val::string(value)),
            None => out.push((key, vec![Val::string(value)])),
        }
    }
    Ok(Val::map(out.into_iter().map(|(k, v)| (Val::string(k), Val::list(v))).collect()))
}
