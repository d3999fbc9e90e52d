//! Field selectors: `metadata.name=a,status.phase!=Running`, as apimachinery/pkg/fields has them.

use std::fmt;

/// One condition on one field.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Requirement {
    pub field: String,
    pub value: String,
    /// `=` rather than `!=`.
    pub equals: bool,
}

/// A conjunction; without terms it matches everything.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Selector {
    terms: Vec<Requirement>,
}

/// Why a selector was refused; the text is upstream's.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct SelectorError(pub String);

impl Selector {
    pub fn everything() -> Self {
        Self::default()
    }
    /// `field=value`.
    pub fn equal(field: &str, value: &str) -> Self {
        Self { terms: vec![Requirement { field: field.into(), value: value.into(), equals: true }] }
    }
    /// Parses the string form; terms are kept in sorted order.
    pub fn parse(s: &str) -> Result<Self, SelectorError> {
        let mut parts = split_terms(s);
        parts.sort_unstable();
        let mut terms = Vec::new();
        for part in parts.into_iter().filter(|p| !p.is_empty()) {
            let Some((field, equals, raw)) = split_term(part) else {
                return Err(SelectorError(format!("invalid selector: '{s}'; can't understand '{part}'")));
            };
            terms.push(Requirement { field: field.into(), value: unescape(raw)?, equals });
        }
        Ok(Self { terms })
    }
    /// Rewrites each term (field label conversion of a kind); a term that becomes two empty strings is dropped.
    pub fn transform<E>(self, mut f: impl FnMut(&str, &str) -> Result<(String, String), E>) -> Result<Self, E> {
        let mut terms = Vec::with_capacity(self.terms.len());
        for t in self.terms {
            let (field, value) = f(&t.field, &t.value)?;
            if !(field.is_empty() && value.is_empty()) {
                terms.push(Requirement { field, value, equals: t.equals });
            }
        }
        Ok(Self { terms })
    }
    pub fn requirements(&self) -> &[Requirement] {
        &self.terms
    }
    pub fn is_everything(&self) -> bool {
        self.terms.is_empty()
    }
    /// The one value that the field must have, where the selector says so.
    pub fn requires_exact_match(&self, field: &str) -> Option<&str> {
        self.terms.iter().find(|t| t.equals && t.field == field).map(|t| &*t.value)
    }
    /// Whether an object is selected; `get` gives a field's value, `""` where it has none.
    pub fn matches<'a>(&self, get: impl Fn(&str) -> &'a str) -> bool {
        self.terms.iter().all(|t| (get(&t.field) == t.value) == t.equals)
    }
}

impl fmt::Display for Selector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, t) in self.terms.iter().enumerate() {
            let comma = if i > 0 { "," } else { "" };
            write!(f, "{comma}{}{}{}", t.field, if t.equals { "=" } else { "!=" }, escape(&t.value))?;
        }
        Ok(())
    }
}

/// Escapes a value for use in a selector string.
pub fn escape(s: &str) -> String {
    let mut out = String::with_capacity(s.len());
    for c in s.chars() {
        if matches!(c, '\\' | ',' | '=') {
            out.push('\\');
        }
        out.push(c);
    }
    out
}

fn unescape(s: &str) -> Result<String, SelectorError> {
    let bad = |seq: &str| SelectorError(format!("invalid field selector: invalid escape sequence: {seq}"));
    let mut out = String::with_capacity(s.len());
    let mut chars = s.chars();
    while let Some(c) = chars.next() {
        match c {
            '\\' => match chars.next() {
                Some(e @ ('\\' | ',' | '=')) => out.push(e),
                Some(e) => return Err(bad(&format!("\\{e}"))),
                None => return Err(bad("\\")),
            },
            ',' | '=' => {
                let code = c as u32;
                return Err(SelectorError(format!("invalid field selector: unescaped character in value: {code}")));
            }
            c => out.push(c),
        }
    }
    Ok(out)
}

fn split_terms(s: &str) -> Vec<&str> {
    let mut out = Vec::new();
    let (mut start, mut escaped) = (0, false);
    for (i, c) in s.char_indices() {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            ',' => {
                out.push(&s[start..i]);
                start = i + 1;
            }
            _ => {}
        }
    }
    out.push(&s[start..]);
    out
}

fn split_term(term: &str) -> Option<(&str, bool, &str)> {
    term.char_indices().find_map(|(i, _)| {
        let rest = &term[i..];
        [("!=", false), ("==", true), ("=", true)]
            .iter()
            .find_map(|(op, equals)| Some((&term[..i], *equals, rest.strip_prefix(op)?)))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strings() {
        let cases: &[(&str, Result<&str, &str>)] = &[
            ("", Ok("")),
            ("metadata.name=a", Ok("metadata.name=a")),
            ("b==c,,a!=d", Ok("a!=d,b=c")),
            (r"a=x\,y\=z\\", Ok(r"a=x\,y\=z\\")),
            ("a", Err("invalid selector: 'a'; can't understand 'a'")),
            (r"a=\x", Err(r"invalid field selector: invalid escape sequence: \x")),
            ("a=b=c", Err("invalid field selector: unescaped character in value: 61")),
        ];
        for (input, want) in cases {
            let got = Selector::parse(input).map(|s| s.to_string()).map_err(|e| e.0);
            assert_eq!(got.as_deref().map_err(String::as_str), *want, "{input}");
        }
    }

    #[test]
    fn matching() {
        let get = |f: &str| if f == "status.phase" { "Running" } else { "" };
        for (sel, want) in
            [("status.phase=Running", true), ("status.phase!=Running", false), ("spec.nodeName=", true), ("", true)]
        {
            assert_eq!(Selector::parse(sel).expect(sel).matches(get), want, "{sel}");
        }
    }
}
