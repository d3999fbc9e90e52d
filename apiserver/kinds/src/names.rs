//! What names the kinds take (apimachinery/pkg/api/validation/name.go), chosen per kind in the registry.

/// How a kind's `metadata.name` is checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NameRule {
    /// The default: lower case, digits, `-` and `.`.
    Subdomain,
    Label,
    Label1035,
    /// Whatever fits one URL segment (RBAC).
    PathSegment,
}

const LABEL: &str = "[a-z0-9]([-a-z0-9]*[a-z0-9])?";

fn alnum(c: u8) -> bool {
    c.is_ascii_lowercase() || c.is_ascii_digit()
}

fn is_label(s: &str) -> bool {
    let b = s.as_bytes();
    let ends = b.first().is_some_and(|c| alnum(*c)) && b.last().is_some_and(|c| alnum(*c));
    ends && b.iter().all(|c| alnum(*c) || *c == b'-')
}

fn too_long(s: &str, max: usize) -> Option<String> {
    (s.len() > max).then(|| format!("must be no more than {max} bytes"))
}

/// Reasons why `name` breaks the rule, in upstream's words. A prefix may end in dashes.
pub fn check(rule: NameRule, name: &str, prefix: bool) -> Vec<String> {
    let masked = if prefix && name.len() > 1 && name.ends_with('-') {
        format!("{}a", name.trim_end_matches('-'))
    } else {
        name.to_owned()
    };
    let name = masked.as_str();
    let mut out = Vec::new();
    match rule {
        NameRule::Subdomain => {
            out.extend(too_long(name, 253));
            if !name.split('.').all(is_label) {
                out.push(format!("a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and end with an alphanumeric character (e.g. 'example.com', regex used for validation is '{LABEL}(\\.{LABEL})*')"));
            }
        }
        NameRule::Label => {
            out.extend(too_long(name, 63));
            if !is_label(name) {
                out.push(format!("a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start and end with an alphanumeric character (e.g. 'my-name',  or '123-abc', regex used for validation is '{LABEL}')"));
            }
        }
        NameRule::Label1035 => {
            out.extend(too_long(name, 63));
            if !is_label(name) || !name.starts_with(|c: char| c.is_ascii_lowercase()) {
                out.push("a DNS-1035 label must consist of lower case alphanumeric characters or '-', start with an alphabetic character, and end with an alphanumeric character (e.g. 'my-name',  or 'abc-123', regex used for validation is '[a-z]([-a-z0-9]*[a-z0-9])?')".into());
            }
        }
        NameRule::PathSegment => {
            if !prefix && (name == "." || name == "..") {
                out.push(format!("may not be '{name}'"));
            }
            for c in ["/", "%"] {
                if name.contains(c) {
                    out.push(format!("may not contain '{c}'"));
                }
            }
        }
    }
    out
}
