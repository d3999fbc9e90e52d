//! `$(NAME)` references in commands, arguments and values (apimachinery-independent rules of kubernetes/third_party/forked/golang/expansion).

/// Replaces `$(NAME)` by what `lookup` knows; unknown names stay as written, `$$` is a literal `$`.
pub fn expand(input: &str, lookup: impl Fn(&str) -> Option<String>) -> String {
    let mut out = String::with_capacity(input.len());
    let mut rest = input;
    while let Some(at) = rest.find('$') {
        out.push_str(&rest[..at]);
        let after = &rest[at + 1..];
        if let Some(r) = after.strip_prefix('$') {
            out.push('$');
            rest = r;
        } else if let Some(r) = after.strip_prefix('(') {
            match r.find(')') {
                Some(end) => {
                    let name = &r[..end];
                    match lookup(name) {
                        Some(v) => out.push_str(&v),
                        None => out.push_str(&format!("$({name})")),
                    }
                    rest = &r[end + 1..];
                }
                None => {
                    out.push_str("$(");
                    rest = r;
                }
            }
        } else {
            out.push('$');
            rest = after;
        }
    }
    out.push_str(rest);
    out
}

#[cfg(test)]
mod tests {
    use super::expand;

    #[test]
    fn cases() {
        for (input, want) in [
            ("$(A)", "1"),
            ("x$(A)y$(B)", "x1y2"),
            ("$(NONE)", "$(NONE)"),
            ("$$(A)", "$(A)"),
            ("$$$(A)", "$1"),
            ("$(A", "$(A"),
            ("$A", "$A"),
            ("$", "$"),
            ("$()", "$()"),
            ("", ""),
        ] {
            let got = expand(input, |n| match n {
                "A" => Some("1".into()),
                "B" => Some("2".into()),
                _ => None,
            });
            assert_eq!(got, want, "{input:?}");
        }
    }
}
