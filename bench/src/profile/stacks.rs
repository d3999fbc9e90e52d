//! Weighted stacks, and what they say: which functions weigh most by themselves, which of ours weigh most together with what they
//! call elsewhere, and which with all that they call.

use std::collections::{BTreeMap, HashSet};
use std::fmt::Write as _;

/// Our crates, by their names in symbols.
const OURS: &[&str] = &[
    "apiserver",
    "auth",
    "cel",
    "client",
    "cni",
    "controller_manager",
    "cri",
    "dns",
    "extensions",
    "kinds",
    "kube_proxy",
    "kubelet",
    "machinery",
    "nft",
    "patch",
    "pki",
    "quota",
    "routes",
    "scheduler",
    "schema",
    "skiff",
    "storage",
    "store",
];

/// Stacks from the root (what the process is) to the leaf, each with its weight.
#[derive(Default)]
pub struct Stacks(BTreeMap<Vec<String>, f64>);

/// Whether a function is of one of our crates: `crate::f`, `<crate::T as other::Trait>::f`.
pub fn is_ours(function: &str) -> bool {
    let start = function.trim_start_matches(['<', '&', '*', '(', '[']);
    let start = ["dyn ", "mut ", "impl "].iter().fold(start, |s, word| s.strip_prefix(word).unwrap_or(s));
    let name = start.split(|c: char| !c.is_ascii_alphanumeric() && c != '_').next().unwrap_or_default();
    OURS.contains(&name) && start[name.len()..].starts_with("::")
}

/// A function's name that fits a line: without the hash, type arguments shortened.
pub fn shorten(name: &str) -> String {
    let hashed = name.rsplit_once("::h").filter(|(_, h)| h.len() == 16 && h.bytes().all(|b| b.is_ascii_hexdigit()));
    let name = hashed.map_or(name, |(n, _)| n);
    let (mut out, mut depth) = (String::new(), 0usize);
    // The type that a method belongs to stands first and is kept; its own arguments and those of functions are not.
    let kept = usize::from(name.starts_with('<'));
    let mut previous = ' ';
    for c in name.chars() {
        match c {
            '<' => {
                depth += 1;
                if depth <= kept {
                    out.push(c);
                } else if depth == kept + 1 {
                    out.push_str("<..>");
                }
            }
            // Not the arrow of a function's type.
            '>' if previous != '-' && depth > 0 => {
                if depth <= kept {
                    out.push(c);
                }
                depth -= 1;
            }
            _ if depth <= kept => out.push(c),
            _ => {}
        }
        previous = c;
    }
    out
}

/// What follows a stack's root.
fn functions(stack: &[String]) -> std::slice::Iter<'_, String> {
    stack.get(1..).unwrap_or_default().iter()
}

/// Each name once: recursion does not weigh more.
fn names<'a>(of: impl IntoIterator<Item = &'a String>) -> HashSet<&'a str> {
    of.into_iter().map(String::as_str).collect()
}

impl Stacks {
    pub fn add(&mut self, stack: Vec<String>, weight: f64) {
        *self.0.entry(stack).or_default() += weight;
    }

    pub fn total(&self) -> f64 {
        self.0.values().sum()
    }

    pub fn iter(&self) -> impl Iterator<Item = (&[String], f64)> {
        self.0.iter().map(|(s, w)| (s.as_slice(), *w))
    }

    /// One line per stack, as the tools that draw flame graphs read them.
    pub fn folded(&self) -> String {
        self.iter().fold(String::new(), |mut out, (stack, weight)| {
            let _ = writeln!(out, "{} {weight:.0}", stack.join(";"));
            out
        })
    }

    /// The weight of each name that `of` picks from a stack.
    fn weights<'a>(&'a self, of: impl Fn(&'a [String]) -> HashSet<&'a str>) -> Vec<(&'a str, f64)> {
        let mut sums: BTreeMap<&str, f64> = BTreeMap::new();
        for (stack, weight) in self.iter() {
            of(stack).into_iter().for_each(|name| *sums.entry(name).or_default() += weight);
        }
        let mut sorted: Vec<_> = sums.into_iter().collect();
        sorted.sort_by(|a, b| b.1.total_cmp(&a.1));
        sorted
    }

    /// The heaviest functions, looked at in several ways.
    pub fn tables(&self, title: &str, unit: &str, rows: usize) -> String {
        let mut out = String::new();
        let total = self.total();
        for (what, weights) in [
            ("by process", self.weights(|s| names(s.first()))),
            ("by function itself", self.weights(|s| names(s.last()))),
            (
                "by our function, with what it calls elsewhere",
                self.weights(|s| names(functions(s).rev().find(|f| is_ours(f)).or(s.first()))),
            ),
            ("by our function, with all that it calls", self.weights(|s| names(functions(s).filter(|f| is_ours(f))))),
            ("by any function, with all that it calls", self.weights(|s| names(functions(s)))),
        ] {
            let _ = writeln!(out, "\n{title} {what} ({total:.0} {unit} in all)");
            for (name, weight) in weights.into_iter().take(rows) {
                let name: String = name.chars().take(150).collect();
                let _ = writeln!(out, "{:6.2} % {weight:10.0}  {name}", 100.0 * weight / total);
            }
        }
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_fit_a_line() {
        for (name, want, ours) in [
            ("store::log::append::h0123456789abcdef", "store::log::append", true),
            ("alloc::vec::Vec<T,A>::push", "alloc::vec::Vec<..>::push", false),
            ("<machinery::Value<A> as core::clone::Clone>::clone", "<machinery::Value<..> as core::clone::Clone>::clone", true),
            ("<core::iter::Map<I,fn(u8) -> u8> as X>::next", "<core::iter::Map<..> as X>::next", false),
            ("storefront::f", "storefront::f", false),
        ] {
            let short = shorten(name);
            assert_eq!((short.as_str(), is_ours(&short)), (want, ours), "{name}");
        }
    }

    #[test]
    fn a_function_counts_once_per_stack() {
        let mut s = Stacks::default();
        let stack = |names: &[&str]| names.iter().map(|n| (*n).to_owned()).collect::<Vec<_>>();
        s.add(stack(&["server", "store::a", "store::a", "memcpy"]), 3.0);
        s.add(stack(&["server", "store::b"]), 1.0);
        let text = s.tables("time", "samples", 10);
        for line in [
            " 75.00 %          3  store::a",
            " 75.00 %          3  memcpy",
            " 25.00 %          1  store::b",
            "100.00 %          4  server",
        ] {
            assert!(text.contains(line), "{line} is not in {text}");
        }
        assert_eq!(s.folded(), "server;store::a;store::a;memcpy 3\nserver;store::b 1\n");
    }
}
