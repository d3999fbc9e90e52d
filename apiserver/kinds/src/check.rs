//! Formats of strings: each function gives the reasons why a value breaks its rule, in upstream's words, none if it is fine
//! (apimachinery/pkg/util/validation, apimachinery/pkg/api/validate/content).

use crate::at::At;
use machinery::field::ErrorList;
use std::net::{IpAddr, Ipv4Addr};

pub type Reasons = Vec<String>;

pub const LABEL_FORMAT: &str = "[a-z0-9]([-a-z0-9]*[a-z0-9])?";

fn lower_alnum(c: u8) -> bool {
    c.is_ascii_lowercase() || c.is_ascii_digit()
}

/// Ends satisfy `end`, the middle satisfies `end` or is one of `inner`.
fn shaped(s: &str, end: fn(u8) -> bool, inner: &[u8]) -> bool {
    let b = s.as_bytes();
    b.first().is_some_and(|c| end(*c)) && b.last().is_some_and(|c| end(*c)) && b.iter().all(|c| end(*c) || inner.contains(c))
}

fn is_label(s: &str) -> bool {
    shaped(s, lower_alnum, b"-")
}

fn max_len(s: &str, max: usize) -> Option<String> {
    (s.len() > max).then(|| format!("must be no more than {max} characters"))
}

/// `message (e.g. 'a',  or 'b', regex used for validation is 'format')`.
pub fn regex_error(message: &str, format: &str, examples: &[&str]) -> String {
    let examples: Vec<String> = examples.iter().map(|e| format!("'{e}', ")).collect();
    if examples.is_empty() {
        return format!("{message} (regex used for validation is '{format}')");
    }
    format!("{message} (e.g. {}regex used for validation is '{format}')", examples.join(" or "))
}

pub fn dns1123_label(s: &str) -> Reasons {
    let mut out: Reasons = max_len(s, 63).into_iter().collect();
    if !is_label(s) {
        out.push(if s.split('.').all(is_label) {
            "must not contain dots".into()
        } else {
            regex_error("a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start and end with an alphanumeric character", LABEL_FORMAT, &["my-name", "123-abc"])
        });
    }
    out
}

pub fn dns1123_subdomain(s: &str) -> Reasons {
    let mut out: Reasons = max_len(s, 253).into_iter().collect();
    if !s.split('.').all(is_label) {
        out.push(regex_error("a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and end with an alphanumeric character", &format!("{LABEL_FORMAT}(\\.{LABEL_FORMAT})*"), &["example.com"]));
    }
    out
}

/// Labels that may hold and begin with an underscore: what DNS searches take.
pub fn dns1123_subdomain_underscore(s: &str) -> Reasons {
    const F: &str = "_?[a-z0-9]([-_a-z0-9]*[a-z0-9])?";
    let mut out: Reasons = max_len(s, 253).into_iter().collect();
    if !s.split('.').all(|l| shaped(l.strip_prefix('_').unwrap_or(l), lower_alnum, b"-_")) {
        out.push(regex_error("a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '_', '-' or '.', and must start and end with an alphanumeric character", &format!("{F}(\\.{F})*"), &["example.com"]));
    }
    out
}

pub fn wildcard_dns1123_subdomain(s: &str) -> Reasons {
    let mut out: Reasons = max_len(s, 253).into_iter().collect();
    if !s.strip_prefix("*.").is_some_and(|rest| rest.split('.').all(is_label)) {
        out.push(regex_error("a wildcard DNS-1123 subdomain must start with '*.', followed by a valid DNS subdomain, which must consist of lower case alphanumeric characters, '-' or '.' and end with an alphanumeric character", &format!("\\*\\.{LABEL_FORMAT}(\\.{LABEL_FORMAT})*"), &["*.example.com"]));
    }
    out
}

pub fn dns1035_label(s: &str) -> Reasons {
    let mut out: Reasons = max_len(s, 63).into_iter().collect();
    if !is_label(s) || !s.starts_with(|c: char| c.is_ascii_lowercase()) {
        out.push(regex_error("a DNS-1035 label must consist of lower case alphanumeric characters or '-', start with an alphabetic character, and end with an alphanumeric character", "[a-z]([-a-z0-9]*[a-z0-9])?", &["my-name", "abc-123"]));
    }
    out
}

fn qualified_part(s: &str) -> bool {
    shaped(s, |c| c.is_ascii_alphanumeric(), b"-_.")
}

/// A label key: `[prefix/]name`.
pub fn qualified_name(s: &str) -> Reasons {
    const MESSAGE: &str = "must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character";
    const F: &str = "([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]";
    let mut out = Reasons::new();
    let parts: Vec<&str> = s.split('/').collect();
    let name = match parts.as_slice() {
        [name] => *name,
        [prefix, name] => {
            if prefix.is_empty() {
                out.push("prefix part must be non-empty".into());
            } else {
                out.extend(dns1123_subdomain(prefix).into_iter().map(|m| format!("prefix part {m}")));
            }
            *name
        }
        _ => {
            out.push(format!("a qualified name {} with an optional DNS subdomain prefix and '/' (e.g. 'example.com/MyName')", regex_error(MESSAGE, F, &["MyName", "my.name", "123-abc"])));
            return out;
        }
    };
    if name.is_empty() {
        out.push("name part must be non-empty".into());
    } else if name.len() > 63 {
        out.push("name part must be no more than 63 characters".into());
    }
    if !qualified_part(name) {
        out.push(format!("name part {}", regex_error(MESSAGE, F, &["MyName", "my.name", "123-abc"])));
    }
    out
}

pub fn label_value(s: &str) -> Reasons {
    let mut out: Reasons = max_len(s, 63).into_iter().collect();
    if !s.is_empty() && !qualified_part(s) {
        out.push(regex_error("a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character", "(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?", &["MyValue", "my_value", "12345"]));
    }
    out
}

fn dots(s: &str) -> Option<String> {
    match s {
        "." => Some("must not be '.'".into()),
        ".." => Some("must not be '..'".into()),
        s if s.starts_with("..") => Some("must not start with '..'".into()),
        _ => None,
    }
}

pub fn config_map_key(s: &str) -> Reasons {
    let mut out: Reasons = max_len(s, 253).into_iter().collect();
    if s.is_empty() || !s.bytes().all(|c| c.is_ascii_alphanumeric() || b"-._".contains(&c)) {
        out.push(regex_error("a valid config key must consist of alphanumeric characters, '-', '_' or '.'", "[-._a-zA-Z0-9]+", &["key.name", "KEY_NAME", "key-name"]));
    }
    out.extend(dots(s));
    out
}

/// Any printable ASCII but `=` (the relaxed rule, general since 1.34).
pub fn env_var_name(s: &str) -> Reasons {
    if s.is_empty() {
        return vec!["environment variable name must be non-empty".into()];
    }
    if s.bytes().any(|c| !(b' '..=b'~').contains(&c) || c == b'=') {
        return vec!["a valid environment variable name must consist only of printable ASCII characters other than '='".into()];
    }
    Reasons::new()
}

pub fn port_name(s: &str) -> Reasons {
    let mut out: Reasons = max_len(s, 15).into_iter().collect();
    if s.is_empty() || !s.bytes().all(|c| lower_alnum(c) || c == b'-') {
        out.push("must contain only alpha-numeric characters (a-z, 0-9), and hyphens (-)".into());
    }
    if !s.bytes().any(|c| c.is_ascii_lowercase()) {
        out.push("must contain at least one letter (a-z)".into());
    }
    if s.contains("--") {
        out.push("must not contain consecutive hyphens".into());
    }
    if s.starts_with('-') || s.ends_with('-') {
        out.push("must not begin or end with a hyphen".into());
    }
    out
}

pub fn http_header_name(s: &str) -> Reasons {
    if s.is_empty() || !s.bytes().all(|c| c.is_ascii_alphanumeric() || c == b'-') {
        return vec![regex_error("a valid HTTP header must consist of alphanumeric characters or '-'", "[-A-Za-z0-9]+", &["X-Header-Name"])];
    }
    Reasons::new()
}

pub fn percent(s: &str) -> Reasons {
    let ok = s.strip_suffix('%').is_some_and(|n| !n.is_empty() && n.bytes().all(|c| c.is_ascii_digit()));
    if ok {
        return Reasons::new();
    }
    vec![regex_error("a valid percent string must be a numeric string followed by an ending '%'", "[0-9]+%", &["1%", "93%"])]
}

pub fn c_identifier(s: &str) -> Reasons {
    let b = s.as_bytes();
    let ok = b.first().is_some_and(|c| c.is_ascii_alphabetic() || *c == b'_') && b.iter().all(|c| c.is_ascii_alphanumeric() || *c == b'_');
    if ok {
        return Reasons::new();
    }
    vec![regex_error("a valid C identifier must start with alphabetic character or '_', followed by a string of alphanumeric characters or '_'", "[A-Za-z_][A-Za-z0-9_]*", &["my_name", "MY_NAME", "MyName"])]
}

pub fn decimal_integer(s: &str) -> Reasons {
    if s.is_empty() {
        return vec!["must be non-empty".into()];
    }
    let digits = s.strip_prefix('-').unwrap_or(s);
    let ok = s == "0" || (digits.starts_with(|c: char| ('1'..='9').contains(&c)) && digits.bytes().all(|c| c.is_ascii_digit()));
    if ok { Reasons::new() } else { vec!["must be a valid decimal integer in canonical form".into()] }
}

/// Parses as Go before 1.17 did: leading zeros are fine.
pub fn parse_ip_sloppy(s: &str) -> Option<IpAddr> {
    if let Ok(ip) = s.parse::<IpAddr>() {
        return Some(ip);
    }
    let parts: Vec<&str> = s.split('.').collect();
    let mut octets = [0u8; 4];
    if parts.len() != 4 || parts.iter().any(|p| p.is_empty() || !p.bytes().all(|c| c.is_ascii_digit())) {
        return None;
    }
    for (o, p) in octets.iter_mut().zip(parts) {
        *o = p.parse::<u32>().ok().and_then(|n| u8::try_from(n).ok())?;
    }
    Some(IpAddr::V4(Ipv4Addr::from(octets)))
}

/// Go's canonical text: IPv4-mapped addresses print as IPv4.
pub fn canonical_ip(ip: IpAddr) -> String {
    ip.to_canonical().to_string()
}

impl At<'_> {
    /// One error per reason.
    pub fn check(&self, e: &mut ErrorList, rule: fn(&str) -> Reasons) {
        self.messages(e, rule(self.str()));
    }
    /// Required, then the rule.
    pub fn need_check(&self, e: &mut ErrorList, rule: fn(&str) -> Reasons) {
        if self.need(e, "") {
            self.check(e, rule);
        }
    }
    /// The rule where there is something.
    pub fn check_if_set(&self, e: &mut ErrorList, rule: fn(&str) -> Reasons) {
        if !self.is_empty() {
            self.check(e, rule);
        }
    }
    /// An address as fields older than strict parsing take it.
    pub fn legacy_ip(&self, e: &mut ErrorList) {
        if parse_ip_sloppy(self.str()).is_none() {
            self.invalid_str(e, "must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)");
        }
    }
    /// An address in canonical form.
    pub fn strict_ip(&self, e: &mut ErrorList) {
        match parse_ip_sloppy(self.str()) {
            None => self.invalid_str(e, "must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)"),
            Some(ip) => {
                if self.str().parse::<IpAddr>().is_err() {
                    self.invalid_str(e, "must not have leading 0s");
                } else if self.str() != canonical_ip(ip) {
                    self.invalid_str(e, format!("must be in canonical form ({:?})", canonical_ip(ip)));
                }
            }
        }
    }
    /// A CIDR as fields older than strict parsing take it.
    pub fn legacy_cidr(&self, e: &mut ErrorList) {
        if parse_cidr_sloppy(self.str()).is_none() {
            self.invalid_str(e, "must be a valid CIDR value, (e.g. 10.9.8.0/24 or 2001:db8::/64)");
        }
    }
    pub fn port_num(&self, e: &mut ErrorList) {
        self.in_range(e, 1, 65535);
    }
    /// A port number, or the name of one.
    pub fn port_num_or_name(&self, e: &mut ErrorList) {
        if self.v.is_string() { self.check(e, port_name) } else { self.port_num(e) }
    }
}

/// Address and prefix length.
pub fn parse_cidr_sloppy(s: &str) -> Option<(IpAddr, u8)> {
    let (ip, len) = s.split_once('/')?;
    let ip = parse_ip_sloppy(ip)?;
    let len: u8 = if len.bytes().all(|c| c.is_ascii_digit()) { len.parse().ok()? } else { return None };
    (len <= if ip.is_ipv4() { 32 } else { 128 }).then_some((ip, len))
}
