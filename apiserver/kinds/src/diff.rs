//! The difference of two trees as a unified diff of their indented JSON, which is what upstream puts into "may not change" errors
//! (apimachinery/pkg/util/diff). Keys are the API's own; upstream prints the names of its internal structs.

use machinery::Value;
use std::fmt::Write;

/// Lines beyond this are not compared one by one: the table is quadratic.
const MAX_LINES: usize = 1500;
const CONTEXT: usize = 3;

fn pretty(v: &Value, depth: usize, out: &mut String) {
    let pad = |out: &mut String, n: usize| out.extend(std::iter::repeat_n(' ', n));
    match v {
        Value::Object(m) if !m.is_empty() => {
            out.push_str("{\n");
            for (i, (k, v)) in m.iter().enumerate() {
                pad(out, depth + 1);
                let _ = write!(out, "{}: ", Value::from(k.as_str()));
                pretty(v, depth + 1, out);
                out.push_str(if i + 1 < m.len() { ",\n" } else { "\n" });
            }
            pad(out, depth);
            out.push('}');
        }
        Value::Array(a) if !a.is_empty() => {
            out.push_str("[\n");
            for (i, v) in a.iter().enumerate() {
                pad(out, depth + 1);
                pretty(v, depth + 1, out);
                out.push_str(if i + 1 < a.len() { ",\n" } else { "\n" });
            }
            pad(out, depth);
            out.push(']');
        }
        v => {
            let _ = write!(out, "{v}");
        }
    }
}

#[derive(Clone, Copy, PartialEq)]
enum Edit {
    Keep(usize, usize),
    Remove(usize),
    Add(usize),
}

/// The edits that lead from `a` to `b`, by longest common subsequence.
fn edits(a: &[&str], b: &[&str]) -> Vec<Edit> {
    let head = a.iter().zip(b).take_while(|(x, y)| x == y).count();
    let tail = a[head..].iter().rev().zip(b[head..].iter().rev()).take_while(|(x, y)| x == y).count();
    let (n, m) = (a.len() - head - tail, b.len() - head - tail);
    let mut out: Vec<Edit> = (0..head).map(|i| Edit::Keep(i, i)).collect();
    if n.max(m) > MAX_LINES {
        out.extend((head..head + n).map(Edit::Remove));
        out.extend((head..head + m).map(Edit::Add));
    } else {
        let mut lcs = vec![vec![0u32; m + 1]; n + 1];
        for i in (0..n).rev() {
            for j in (0..m).rev() {
                lcs[i][j] = if a[head + i] == b[head + j] { lcs[i + 1][j + 1] + 1 } else { lcs[i + 1][j].max(lcs[i][j + 1]) };
            }
        }
        let (mut i, mut j) = (0, 0);
        while i < n || j < m {
            if i < n && j < m && a[head + i] == b[head + j] {
                out.push(Edit::Keep(head + i, head + j));
                (i, j) = (i + 1, j + 1);
            } else if i < n && (j == m || lcs[i + 1][j] >= lcs[i][j + 1]) {
                out.push(Edit::Remove(head + i));
                i += 1;
            } else {
                out.push(Edit::Add(head + j));
                j += 1;
            }
        }
    }
    out.extend((0..tail).map(|k| Edit::Keep(head + n + k, head + m + k)));
    out
}

/// `@@ -1,3 +1,4 @@` hunks; empty for equal trees.
pub fn unified(a: &Value, b: &Value) -> String {
    let (mut ta, mut tb) = (String::new(), String::new());
    pretty(a, 0, &mut ta);
    pretty(b, 0, &mut tb);
    let (la, lb): (Vec<&str>, Vec<&str>) = (ta.lines().collect(), tb.lines().collect());
    let edits = edits(&la, &lb);
    let changed: Vec<usize> = edits.iter().enumerate().filter(|(_, e)| !matches!(e, Edit::Keep(..))).map(|(i, _)| i).collect();
    let mut out = String::new();
    let mut k = 0;
    while k < changed.len() {
        let start = changed[k].saturating_sub(CONTEXT);
        let mut end = changed[k] + 1;
        while k < changed.len() && changed[k] <= end + 2 * CONTEXT {
            end = changed[k] + 1;
            k += 1;
        }
        let hunk = &edits[start..(end + CONTEXT).min(edits.len())];
        let before = |f: fn(&Edit) -> bool| edits[..start].iter().filter(|e| f(e)).count();
        let count = |f: fn(&Edit) -> bool| hunk.iter().filter(|e| f(e)).count();
        let range = |first: usize, n: usize| match n {
            1 => format!("{}", first + 1),
            0 => format!("{first},0"),
            n => format!("{},{n}", first + 1),
        };
        type Side = fn(&Edit) -> bool;
        let old: Side = |e| !matches!(e, Edit::Add(_));
        let new: Side = |e| !matches!(e, Edit::Remove(_));
        let _ = writeln!(out, "@@ -{} +{} @@", range(before(old), count(old)), range(before(new), count(new)));
        for e in hunk {
            let _ = match e {
                Edit::Keep(i, _) => writeln!(out, " {}", la[*i]),
                Edit::Remove(i) => writeln!(out, "-{}", la[*i]),
                Edit::Add(j) => writeln!(out, "+{}", lb[*j]),
            };
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use machinery::json;

    #[test]
    fn hunks() {
        let (a, b) = (json!({"a": 1, "b": 2, "c": [1]}), json!({"a": 1, "b": 3, "c": [1]}));
        assert_eq!(unified(&a, &b), "@@ -1,6 +1,6 @@\n {\n  \"a\": 1,\n- \"b\": 2,\n+ \"b\": 3,\n  \"c\": [\n   1\n  ]\n");
        assert_eq!(unified(&a, &a), "");
    }
}
