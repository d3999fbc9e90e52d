//! The JSONPath of printer columns and selectable fields, as far as definitions use it: fields, quoted fields, indexes, `[*]`, and
//! filters by equality (`[?(@.type=="Ready")]`). Upstream: client-go/util/jsonpath.

use machinery::Value;

#[derive(Clone, Debug, PartialEq)]
enum Step {
    Field(String),
    Index(i64),
    Slice(Option<i64>, Option<i64>),
    All,
    /// Path below an element, operator, literal.
    Filter(Vec<Step>, &'static str, Value),
    /// The path exists below an element.
    Exists(Vec<Step>),
    Deep(String),
}

/// A parsed path.
#[derive(Clone, Debug)]
pub struct JsonPath(Vec<Step>);

impl JsonPath {
    /// Reads `.spec.list[0]['a.b']`. The leading dot may be missing.
    pub fn parse(text: &str) -> Result<Self, String> {
        let text = text.trim().trim_start_matches('$');
        parse(text).map(Self)
    }

    /// The values found, in order; none where something on the way is missing.
    pub fn find<'v>(&self, v: &'v Value) -> Vec<&'v Value> {
        walk(&self.0, v)
    }
}

fn walk<'v>(steps: &[Step], v: &'v Value) -> Vec<&'v Value> {
    let mut at = vec![v];
    for s in steps {
        at = at.into_iter().flat_map(|v| step(s, v)).collect();
    }
    at
}

fn step<'v>(s: &Step, v: &'v Value) -> Vec<&'v Value> {
    let list = v.as_array().map_or(&[][..], Vec::as_slice);
    let n = i64::try_from(list.len()).unwrap_or(i64::MAX);
    let absolute = |i: i64| if i < 0 { i + n } else { i };
    match s {
        Step::Field(name) => v.get(name).into_iter().collect(),
        Step::Index(i) => usize::try_from(absolute(*i)).ok().and_then(|i| list.get(i)).into_iter().collect(),
        Step::Slice(from, to) => {
            let from = usize::try_from(absolute(from.unwrap_or(0))).unwrap_or(0);
            let to = usize::try_from(absolute(to.unwrap_or(n)).min(n)).unwrap_or(0);
            list.get(from..to).into_iter().flatten().collect()
        }
        Step::All => match v {
            Value::Array(l) => l.iter().collect(),
            Value::Object(m) => m.values().collect(),
            _ => Vec::new(),
        },
        Step::Filter(path, op, literal) => {
            list.iter().filter(|e| walk(path, e).first().is_some_and(|found| compare(found, op, literal))).collect()
        }
        Step::Exists(path) => list.iter().filter(|e| !walk(path, e).is_empty()).collect(),
        Step::Deep(name) => {
            let mut out = Vec::new();
            deep(name, v, &mut out);
            out
        }
    }
}

fn deep<'v>(name: &str, v: &'v Value, out: &mut Vec<&'v Value>) {
    match v {
        Value::Object(m) => {
            out.extend(m.get(name));
            m.values().for_each(|v| deep(name, v, out));
        }
        Value::Array(l) => l.iter().for_each(|v| deep(name, v, out)),
        _ => {}
    }
}

fn compare(a: &Value, op: &str, b: &Value) -> bool {
    use std::cmp::Ordering::{Equal, Greater, Less};
    let order = match (a, b) {
        (Value::String(a), Value::String(b)) => Some(a.cmp(b)),
        (Value::Bool(a), Value::Bool(b)) => Some(a.cmp(b)),
        _ => a.as_f64().zip(b.as_f64()).and_then(|(a, b)| a.partial_cmp(&b)),
    };
    match op {
        "==" => order == Some(Equal),
        "!=" => order.is_some_and(|o| o != Equal),
        "<" => order == Some(Less),
        "<=" => matches!(order, Some(Less | Equal)),
        ">" => order == Some(Greater),
        _ => matches!(order, Some(Greater | Equal)),
    }
}

fn parse(text: &str) -> Result<Vec<Step>, String> {
    let mut out = Vec::new();
    let mut rest = text;
    while !rest.is_empty() {
        if let Some(r) = rest.strip_prefix("..") {
            let (name, r) = identifier(r);
            out.push(Step::Deep(name));
            rest = r;
        } else if let Some(r) = rest.strip_prefix('[') {
            let end = closing(r).ok_or_else(|| "unterminated array".to_owned())?;
            out.push(bracket(r[..end].trim())?);
            rest = &r[end + 1..];
        } else {
            let r = rest.strip_prefix('.').unwrap_or(rest);
            if r.is_empty() {
                break;
            }
            if r.starts_with('[') {
                rest = r;
                continue;
            }
            let (name, after) = identifier(r);
            if name.is_empty() {
                return Err(format!("unrecognized character in action: {:?}", r.chars().next().unwrap_or(' ')));
            }
            out.push(if name == "*" { Step::All } else { Step::Field(name) });
            rest = after;
        }
    }
    Ok(out)
}

/// A name up to the next dot or bracket; a backslash makes the next character part of it.
fn identifier(s: &str) -> (String, &str) {
    let mut name = String::new();
    let mut chars = s.char_indices();
    while let Some((i, c)) = chars.next() {
        match c {
            '.' | '[' => return (name, &s[i..]),
            '\\' => name.extend(chars.next().map(|(_, c)| c)),
            c => name.push(c),
        }
    }
    (name, "")
}

/// Index of the bracket that closes the one before `s`.
fn closing(s: &str) -> Option<usize> {
    let (mut depth, mut quote) = (0, None);
    for (i, c) in s.char_indices() {
        match (quote, c) {
            (Some(q), c) if c == q => quote = None,
            (Some(_), _) => {}
            (None, '\'' | '"') => quote = Some(c),
            (None, '[' | '(') => depth += 1,
            (None, ')') => depth -= 1,
            (None, ']') if depth == 0 => return Some(i),
            (None, ']') => depth -= 1,
            _ => {}
        }
    }
    None
}

fn bracket(s: &str) -> Result<Step, String> {
    let quoted = |s: &str| {
        let q = s.chars().next().filter(|c| matches!(c, '\'' | '"'))?;
        s.strip_prefix(q)?.strip_suffix(q).map(str::to_owned)
    };
    if s == "*" {
        return Ok(Step::All);
    }
    if let Some(name) = quoted(s) {
        return Ok(Step::Field(name));
    }
    if let Some(f) = s.strip_prefix("?(").and_then(|f| f.strip_suffix(')')) {
        for op in ["==", "!=", "<=", ">=", "<", ">"] {
            if let Some((left, right)) = f.split_once(op) {
                let right = right.trim();
                let literal = match quoted(right) {
                    Some(text) => Value::from(text),
                    None => serde_json::from_str(right).map_err(|_| format!("unrecognized literal {right}"))?,
                };
                return Ok(Step::Filter(parse(left.trim().trim_start_matches('@'))?, op, literal));
            }
        }
        return Ok(Step::Exists(parse(f.trim().trim_start_matches('@'))?));
    }
    let bad = || format!("invalid array index {s}");
    if let Some((a, b)) = s.split_once(':') {
        let n = |t: &str| if t.is_empty() { Ok(None) } else { t.parse().map(Some).map_err(|_| bad()) };
        return Ok(Step::Slice(n(a)?, n(b)?));
    }
    s.parse().map(Step::Index).map_err(|_| bad())
}

#[cfg(test)]
mod tests {
    use super::JsonPath;
    use machinery::json;

    #[test]
    fn paths() {
        let v = json!({"spec": {"replicas": 3, "a.b": 1, "list": [{"n": "x"}, {"n": "y"}]},
            "status": {"conditions": [{"type": "A", "status": "False"}, {"type": "Ready", "status": "True"}]}});
        for (path, want) in [
            (".spec.replicas", json!([3])),
            ("spec.replicas", json!([3])),
            (".spec['a.b']", json!([1])),
            (".spec.a\\.b", json!([1])),
            (".spec.list[0].n", json!(["x"])),
            (".spec.list[-1].n", json!(["y"])),
            (".spec.list[*].n", json!(["x", "y"])),
            (".spec.list[0:1].n", json!(["x"])),
            (".status.conditions[?(@.type==\"Ready\")].status", json!(["True"])),
            (".status.conditions[?(@.type=='None')].status", json!([])),
            (".missing.at.all", json!([])),
        ] {
            let found: Vec<_> = JsonPath::parse(path).expect(path).find(&v).into_iter().cloned().collect();
            assert_eq!(json!(found), want, "{path}");
        }
        assert!(JsonPath::parse(".a[").is_err());
    }
}
