//! Checks of names and other strings. Each returns upstream's messages, none where the value is fine
//! (apimachinery/pkg/util/validation).

mod address;
#[cfg(test)]
mod tests;

pub use address::{
    cidr, cidr_legacy, interface_address, ip, ip_legacy, parse_cidr_sloppy, parse_ip_sloppy, warnings_for_cidr, warnings_for_ip,
};

use crate::field::{Error, ErrorList, Path};

pub const DNS1123_LABEL_MAX: usize = 63;
pub const DNS1123_SUBDOMAIN_MAX: usize = 253;
pub const LABEL_VALUE_MAX: usize = 63;

const LABEL_RE: &str = "[a-z0-9]([-a-z0-9]*[a-z0-9])?";
const SUBDOMAIN_RE: &str = r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*";
const QUALIFIED_RE: &str = "([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]";

pub fn max_len_error(n: usize) -> String {
    format!("must be no more than {n} characters")
}
pub fn empty_error() -> String {
    "must be non-empty".into()
}
pub fn inclusive_range_error(lo: i64, hi: i64) -> String {
    format!("must be between {lo} and {hi}, inclusive")
}
/// What a failed pattern says: the rule, examples, the pattern.
pub fn regex_error(msg: &str, pattern: &str, examples: &[&str]) -> String {
    if examples.is_empty() {
        return format!("{msg} (regex used for validation is '{pattern}')");
    }
    let examples: Vec<String> = examples.iter().map(|e| format!("'{e}', ")).collect();
    format!("{msg} (e.g. {}regex used for validation is '{pattern}')", examples.join(" or "))
}

fn is_lower_alnum(b: u8) -> bool {
    b.is_ascii_lowercase() || b.is_ascii_digit()
}
fn matches_label(s: &str) -> bool {
    let b = s.as_bytes();
    let (Some(first), Some(last)) = (b.first(), b.last()) else { return false };
    is_lower_alnum(*first) && is_lower_alnum(*last) && b.iter().all(|c| is_lower_alnum(*c) || *c == b'-')
}
fn matches_subdomain(s: &str) -> bool {
    s.split('.').all(matches_label)
}
fn matches_qualified(s: &str) -> bool {
    let b = s.as_bytes();
    let (Some(first), Some(last)) = (b.first(), b.last()) else { return false };
    let inner = |c: &u8| c.is_ascii_alphanumeric() || matches!(c, b'-' | b'_' | b'.');
    first.is_ascii_alphanumeric() && last.is_ascii_alphanumeric() && b.iter().all(inner)
}

/// A DNS label: `my-name`.
pub fn dns1123_label(s: &str) -> Vec<String> {
    let mut errs = Vec::new();
    if s.len() > DNS1123_LABEL_MAX {
        errs.push(max_len_error(DNS1123_LABEL_MAX));
    }
    if !matches_label(s) {
        if matches_subdomain(s) {
            errs.push("must not contain dots".into());
        } else {
            let rule = "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start and end with an alphanumeric character";
            errs.push(regex_error(rule, LABEL_RE, &["my-name", "123-abc"]));
        }
    }
    errs
}

fn subdomain(s: &str, too_long: String) -> Vec<String> {
    let mut errs = Vec::new();
    if s.len() > DNS1123_SUBDOMAIN_MAX {
        errs.push(too_long);
    }
    if !matches_subdomain(s) {
        let rule = "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and end with an alphanumeric character";
        errs.push(regex_error(rule, SUBDOMAIN_RE, &["example.com"]));
    }
    errs
}

/// A DNS name: `example.com`.
pub fn dns1123_subdomain(s: &str) -> Vec<String> {
    subdomain(s, max_len_error(DNS1123_SUBDOMAIN_MAX))
}

/// The same, where labels may also hold underscores.
pub fn dns1123_subdomain_with_underscore(s: &str) -> Vec<String> {
    let mut errs = Vec::new();
    if s.len() > DNS1123_SUBDOMAIN_MAX {
        errs.push(max_len_error(DNS1123_SUBDOMAIN_MAX));
    }
    let label = |l: &str| {
        let l = l.strip_prefix('_').unwrap_or(l).as_bytes();
        let (Some(first), Some(last)) = (l.first(), l.last()) else { return false };
        is_lower_alnum(*first) && is_lower_alnum(*last) && l.iter().all(|c| is_lower_alnum(*c) || matches!(c, b'-' | b'_'))
    };
    if !s.split('.').all(label) {
        let rule = "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '_', '-' or '.', and must start and end with an alphanumeric character";
        let re = r"_?[a-z0-9]([-_a-z0-9]*[a-z0-9])?(\._?[a-z0-9]([-_a-z0-9]*[a-z0-9])?)*";
        errs.push(regex_error(rule, re, &["example.com"]));
    }
    errs
}

/// A DNS-1035 label: as a DNS label, but starting with a letter.
pub fn dns1035_label(s: &str) -> Vec<String> {
    let mut errs = Vec::new();
    if s.len() > DNS1123_LABEL_MAX {
        errs.push(max_len_error(DNS1123_LABEL_MAX));
    }
    if !(matches_label(s) && s.as_bytes()[0].is_ascii_lowercase()) {
        let rule = "a DNS-1035 label must consist of lower case alphanumeric characters or '-', start with an alphabetic character, and end with an alphanumeric character";
        errs.push(regex_error(rule, "[a-z]([-a-z0-9]*[a-z0-9])?", &["my-name", "abc-123"]));
    }
    errs
}

/// `*.example.com`.
pub fn wildcard_dns1123_subdomain(s: &str) -> Vec<String> {
    let mut errs = Vec::new();
    if s.len() > DNS1123_SUBDOMAIN_MAX {
        errs.push(max_len_error(DNS1123_SUBDOMAIN_MAX));
    }
    if !s.strip_prefix("*.").is_some_and(matches_subdomain) {
        let rule = "a wildcard DNS-1123 subdomain must start with '*.', followed by a valid DNS subdomain, which must consist of lower case alphanumeric characters, '-' or '.' and end with an alphanumeric character";
        errs.push(regex_error(rule, &format!(r"\*\.{SUBDOMAIN_RE}"), &["*.example.com"]));
    }
    errs
}

/// A qualified name, the form of label keys: `name` or `example.com/name`.
pub fn qualified_name(s: &str) -> Vec<String> {
    const RULE: &str =
        "must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character";
    let rule = || regex_error(RULE, QUALIFIED_RE, &["MyName", "my.name", "123-abc"]);
    let mut errs = Vec::new();
    let name = match s.split_once('/') {
        None => s,
        Some((_, rest)) if rest.contains('/') => {
            return vec![format!(
                "a valid label key {} with an optional DNS subdomain prefix and '/' (e.g. 'example.com/MyName')",
                rule()
            )];
        }
        Some((prefix, name)) => {
            if prefix.is_empty() {
                errs.push(format!("prefix part {}", empty_error()));
            } else {
                let too_long = format!("must be no more than {DNS1123_SUBDOMAIN_MAX} bytes");
                errs.extend(subdomain(prefix, too_long).into_iter().map(|m| format!("prefix part {m}")));
            }
            name
        }
    };
    if name.is_empty() {
        errs.push(format!("name part {}", empty_error()));
    } else if name.len() > 63 {
        errs.push("name part must be no more than 63 bytes".into());
    }
    if !matches_qualified(name) {
        errs.push(format!("name part {}", rule()));
    }
    errs
}

/// A label's value: empty, or as a name of at most 63 bytes.
pub fn label_value(s: &str) -> Vec<String> {
    let mut errs = Vec::new();
    if s.len() > LABEL_VALUE_MAX {
        errs.push(format!("must be no more than {LABEL_VALUE_MAX} bytes"));
    }
    if !s.is_empty() && !matches_qualified(s) {
        let rule = "a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character";
        errs.push(regex_error(rule, &format!("({QUALIFIED_RE})?"), &["MyValue", "my_value", "12345"]));
    }
    errs
}

pub fn in_range(value: i64, lo: i64, hi: i64) -> Vec<String> {
    if (lo..=hi).contains(&value) { Vec::new() } else { vec![inclusive_range_error(lo, hi)] }
}
/// A port's name (an IANA service name).
pub fn port_name(s: &str) -> Vec<String> {
    let mut errs = Vec::new();
    if s.len() > 15 {
        errs.push(max_len_error(15));
    }
    if s.is_empty() || !s.bytes().all(|c| is_lower_alnum(c) || c == b'-') {
        errs.push("must contain only alpha-numeric characters (a-z, 0-9), and hyphens (-)".into());
    }
    if !s.bytes().any(|c| c.is_ascii_lowercase()) {
        errs.push("must contain at least one letter (a-z)".into());
    }
    if s.contains("--") {
        errs.push("must not contain consecutive hyphens".into());
    }
    if s.starts_with('-') || s.ends_with('-') {
        errs.push("must not begin or end with a hyphen".into());
    }
    errs
}

/// `93%`.
pub fn percent(s: &str) -> Vec<String> {
    if s.strip_suffix('%').is_some_and(|n| !n.is_empty() && n.bytes().all(|c| c.is_ascii_digit())) {
        return Vec::new();
    }
    let rule = "a valid percent string must be a numeric string followed by an ending '%'";
    vec![regex_error(rule, "[0-9]+%", &["1%", "93%"])]
}

pub fn http_header_name(s: &str) -> Vec<String> {
    if !s.is_empty() && s.bytes().all(|c| c.is_ascii_alphanumeric() || c == b'-') {
        return Vec::new();
    }
    let rule = "a valid HTTP header must consist of alphanumeric characters or '-'";
    vec![regex_error(rule, "[-A-Za-z0-9]+", &["X-Header-Name"])]
}

/// The strict form of environment variable names.
pub fn env_var_name(s: &str) -> Vec<String> {
    let mut errs = Vec::new();
    let ok = !s.is_empty()
        && s.bytes().enumerate().all(|(i, c)| {
            matches!(c, b'-' | b'.' | b'_') || if i == 0 { c.is_ascii_alphabetic() } else { c.is_ascii_alphanumeric() }
        });
    if !ok {
        let rule = "a valid environment variable name must consist of alphabetic characters, digits, '_', '-', or '.', and must not start with a digit";
        errs.push(regex_error(rule, "[-._a-zA-Z][-._a-zA-Z0-9]*", &["my.env-name", "MY_ENV.NAME", "MyEnvName1"]));
    }
    errs.extend(parent_dir(s));
    errs
}

/// The form that the API takes since 1.34: any printable ASCII but `=`.
pub fn relaxed_env_var_name(s: &str) -> Vec<String> {
    let mut errs = Vec::new();
    if s.is_empty() {
        errs.push(format!("environment variable name {}", empty_error()));
    }
    if !s.bytes().all(|c| (b' '..=b'~').contains(&c) && c != b'=') {
        errs.push("a valid environment variable name must consist only of printable ASCII characters other than '='".into());
    }
    errs
}

/// A key of a ConfigMap or Secret.
pub fn config_map_key(s: &str) -> Vec<String> {
    let mut errs = Vec::new();
    if s.len() > DNS1123_SUBDOMAIN_MAX {
        errs.push(max_len_error(DNS1123_SUBDOMAIN_MAX));
    }
    if s.is_empty() || !s.bytes().all(|c| c.is_ascii_alphanumeric() || matches!(c, b'-' | b'_' | b'.')) {
        let rule = "a valid config key must consist of alphanumeric characters, '-', '_' or '.'";
        errs.push(regex_error(rule, "[-._a-zA-Z0-9]+", &["key.name", "KEY_NAME", "key-name"]));
    }
    errs.extend(parent_dir(s));
    errs
}

fn parent_dir(s: &str) -> Option<String> {
    match s {
        "." => Some("must not be '.'".into()),
        ".." => Some("must not be '..'".into()),
        s if s.starts_with("..") => Some("must not start with '..'".into()),
        _ => None,
    }
}

/// A domain of at least three segments: a signer or a device class.
pub fn fully_qualified_name(path: &Path, s: &str) -> ErrorList {
    if s.is_empty() {
        return vec![Error::required(path, "")];
    }
    let msgs = dns1123_subdomain(s);
    if !msgs.is_empty() {
        return vec![Error::invalid(path, s, msgs.join(","))];
    }
    if s.split('.').count() < 3 {
        return vec![Error::invalid(path, s, "should be a domain with at least three segments separated by dots")];
    }
    Vec::new()
}

/// `example.com/path`.
pub fn domain_prefixed_path(path: &Path, s: &str) -> ErrorList {
    if s.is_empty() {
        return vec![Error::required(path, "")];
    }
    let Some((host, rest)) = s.split_once('/').filter(|(h, r)| !h.is_empty() && !r.is_empty()) else {
        return vec![Error::invalid(path, s, "must be a domain-prefixed path (such as \"acme.io/foo\")")];
    };
    let mut errs: ErrorList = dns1123_subdomain(host).into_iter().map(|m| Error::invalid(path, host, m)).collect();
    if !rest.bytes().all(|c| c.is_ascii_alphanumeric() || b"/-._~%!$&'()*+,;=:".contains(&c)) {
        let msg = regex_error("Invalid path", r"[A-Za-z0-9/\-._~%!$&'()*+,;=:]+", &[]);
        errs.push(Error::invalid(path, rest, msg));
    }
    errs
}

/// A name check as validation of ObjectMeta takes it: the name, and whether it is only a prefix (`generateName`).
pub type NameFn = fn(&str, bool) -> Vec<String>;

/// A trailing dash is fine in a prefix: something follows it.
fn mask_trailing_dash(name: &str, prefix: bool) -> std::borrow::Cow<'_, str> {
    match name.strip_suffix('-') {
        Some(head) if prefix && !head.is_empty() => {
            let cut = head.char_indices().next_back().map_or(0, |(i, _)| i);
            format!("{}a", &head[..cut]).into()
        }
        _ => name.into(),
    }
}
pub fn name_is_dns_subdomain(name: &str, prefix: bool) -> Vec<String> {
    dns1123_subdomain(&mask_trailing_dash(name, prefix))
}
pub fn name_is_dns_label(name: &str, prefix: bool) -> Vec<String> {
    dns1123_label(&mask_trailing_dash(name, prefix))
}
pub fn name_is_dns1035_label(name: &str, prefix: bool) -> Vec<String> {
    dns1035_label(&mask_trailing_dash(name, prefix))
}
/// A name that need only be one segment of a URL path (RBAC objects).
pub fn path_segment_name(name: &str, prefix: bool) -> Vec<String> {
    let mut errs = Vec::new();
    if !prefix && (name == "." || name == "..") {
        return vec![format!("may not be '{name}'")];
    }
    for c in ["/", "%"] {
        if name.contains(c) {
            errs.push(format!("may not contain '{c}'"));
        }
    }
    errs
}
