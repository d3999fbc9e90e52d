//! Regular expressions of schemas, written for Go's engine: translated where the two engines read the same text differently.

use regex::Regex;

/// An expression as written, and what became of it.
#[derive(Clone, Debug)]
pub struct Pattern {
    text: String,
    compiled: Result<Regex, String>,
}

impl Pattern {
    pub fn new(text: &str) -> Self {
        let compiled = regex::RegexBuilder::new(&translate(text)).size_limit(1 << 20).build().map_err(|e| match e {
            regex::Error::CompiledTooBig(_) => "expression is too large".to_owned(),
            e => e.to_string().lines().last().unwrap_or_default().trim_start_matches("error: ").to_owned(),
        });
        Self { text: text.to_owned(), compiled }
    }
    pub fn text(&self) -> &str {
        &self.text
    }
    pub fn check(&self) -> Result<(), &str> {
        self.compiled.as_ref().map(|_| ()).map_err(String::as_str)
    }
    /// False for an expression that does not compile: nothing matches it.
    pub fn matches(&self, s: &str) -> bool {
        self.compiled.as_ref().is_ok_and(|r| r.is_match(s))
    }
}

/// Go's `\d`, `\w`, `\s` and `\b` are ASCII; an unescaped `[` inside a class is itself; classes know no set operations.
fn translate(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 8);
    let mut chars = text.chars().peekable();
    let mut class = false;
    while let Some(c) = chars.next() {
        match c {
            '\\' => match chars.next() {
                Some('d') => out.push_str(if class { "0-9" } else { "[0-9]" }),
                Some('D') => out.push_str("[^0-9]"),
                Some('w') => out.push_str(if class { "0-9A-Za-z_" } else { "[0-9A-Za-z_]" }),
                Some('W') => out.push_str("[^0-9A-Za-z_]"),
                Some('s') => out.push_str(if class { "\\t\\n\\x0C\\r " } else { "[\\t\\n\\x0C\\r ]" }),
                Some('S') => out.push_str("[^\\t\\n\\x0C\\r ]"),
                Some('b') if !class => out.push_str("(?-u:\\b)"),
                Some('B') if !class => out.push_str("(?-u:\\B)"),
                Some('Q') if !class => {
                    let rest: String = chars.by_ref().collect();
                    let (literal, after) = rest.split_once("\\E").unwrap_or((&rest, ""));
                    out.push_str(&regex::escape(literal));
                    out.push_str(&translate(after));
                    return out;
                }
                Some(other) => {
                    out.push('\\');
                    out.push(other);
                }
                None => out.push('\\'),
            },
            '[' if !class => {
                class = true;
                out.push('[');
                if chars.peek() == Some(&'^') {
                    chars.next();
                    out.push('^');
                }
                if chars.peek() == Some(&']') {
                    chars.next();
                    out.push_str("\\]");
                }
            }
            '[' if chars.peek() == Some(&':') => {
                out.push('[');
                for c in chars.by_ref() {
                    out.push(c);
                    if c == ']' {
                        break;
                    }
                }
            }
            '[' => out.push_str("\\["),
            ']' => {
                class = false;
                out.push(']');
            }
            '&' | '~' if class => {
                out.push('\\');
                out.push(c);
            }
            '-' if class && chars.peek() == Some(&'-') => out.push_str("\\-"),
            other => out.push(other),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::Pattern;

    #[test]
    fn go_expressions() {
        for (pattern, text, want) in [
            (r"^\d+$", "12", true),
            (r"^\d+$", "١", false),
            (r"^[\w.-]+$", "a_b.c-d", true),
            (r"^[[a]+$", "[a", true),
            (r"^[]a]+$", "]a", true),
            (r"^[[:alpha:]&&]+$", "a&", true),
            (r"\Qa.b\E$", "a.b", true),
            (r"\Qa.b\E$", "axb", false),
            (r"^a\/b$", "a/b", true),
            (r"(", "(", false),
        ] {
            assert_eq!(Pattern::new(pattern).matches(text), want, "{pattern} on {text}");
        }
    }
}
