//! Label selectors: the string form of `?labelSelector=` and the `LabelSelector` object, as apimachinery/pkg/labels has them.

mod parse;
#[cfg(test)]
mod tests;

use crate::field::{Error, ErrorList, Path};
use crate::quote::Quoted;
use crate::validation;
use serde_json::{Map, Value};
use std::fmt;

/// How a requirement compares.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Operator {
    In,
    NotIn,
    Equals,
    DoubleEquals,
    NotEquals,
    Exists,
    DoesNotExist,
    GreaterThan,
    LessThan,
}

/// One condition on one label.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Requirement {
    key: String,
    op: Operator,
    values: Vec<String>,
}

/// Why a selector was refused; the text is upstream's.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct SelectorError(pub String);

/// A conjunction of requirements, or the selector that matches nothing.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Selector {
    requirements: Vec<Requirement>,
    nothing: bool,
}

impl Requirement {
    /// Checks key and values as upstream's `NewRequirement`.
    pub fn new(key: &str, op: Operator, values: Vec<String>) -> Result<Self, SelectorError> {
        Self::with_values_shown(key, op, Value::from(values.clone()), values)
    }

    /// `shown` is how messages print the values: an absent list prints as null.
    fn with_values_shown(key: &str, op: Operator, shown: Value, values: Vec<String>) -> Result<Self, SelectorError> {
        use Operator::{DoesNotExist, DoubleEquals, Equals, Exists, GreaterThan, In, LessThan, NotEquals, NotIn};
        let mut errs: ErrorList = Vec::new();
        errs.extend(check_key(key, &Path::new("key")));
        let path = Path::new("values");
        let mut bad = |detail: &str| errs.push(Error::invalid(&path, shown.clone(), detail));
        match op {
            In | NotIn if values.is_empty() => bad("for 'in', 'notin' operators, values set can't be empty"),
            Equals | DoubleEquals | NotEquals if values.len() != 1 => {
                bad("exact-match compatibility requires one single value");
            }
            Exists | DoesNotExist if !values.is_empty() => bad("values set must be empty for exists and does not exist"),
            GreaterThan | LessThan => {
                if values.len() != 1 {
                    bad("for 'Gt', 'Lt' operators, exactly one value is required");
                }
                for (i, v) in values.iter().enumerate() {
                    if v.parse::<i64>().is_err() {
                        let detail = "for 'Gt', 'Lt' operators, the value must be an integer";
                        errs.push(Error::invalid(&path.index(i), v.as_str(), detail));
                    }
                }
            }
            _ => {}
        }
        for (i, v) in values.iter().enumerate() {
            let msgs = validation::label_value(v);
            if !msgs.is_empty() {
                errs.push(Error::invalid(&path.index(i).key(key), v.as_str(), msgs.join("; ")));
            }
        }
        match aggregate(&errs) {
            None => Ok(Self { key: key.to_owned(), op, values }),
            Some(text) => Err(SelectorError(text)),
        }
    }

    pub fn key(&self) -> &str {
        &self.key
    }
    pub fn operator(&self) -> Operator {
        self.op
    }
    pub fn values(&self) -> &[String] {
        &self.values
    }

    /// Whether an object with this value of the label (`None`: without the label) meets the requirement.
    pub fn matches(&self, value: Option<&str>) -> bool {
        use Operator::{DoesNotExist, DoubleEquals, Equals, Exists, GreaterThan, In, LessThan, NotEquals, NotIn};
        match self.op {
            In | Equals | DoubleEquals => value.is_some_and(|v| self.has(v)),
            NotIn | NotEquals => value.is_none_or(|v| !self.has(v)),
            Exists => value.is_some(),
            DoesNotExist => value.is_none(),
            GreaterThan | LessThan => {
                let (Some(Ok(have)), [want]) = (value.map(str::parse::<i64>), self.values.as_slice()) else { return false };
                let Ok(want) = want.parse::<i64>() else { return false };
                if self.op == GreaterThan { have > want } else { have < want }
            }
        }
    }

    fn has(&self, value: &str) -> bool {
        self.values.iter().any(|v| v == value)
    }
}

fn check_key(key: &str, path: &Path) -> Option<Error> {
    let msgs = validation::qualified_name(key);
    (!msgs.is_empty()).then(|| Error::invalid(path, key, msgs.join("; ")))
}

/// Several errors as upstream's Aggregate prints them; `None` for none.
pub(crate) fn aggregate(errs: &[Error]) -> Option<String> {
    let mut seen: Vec<String> = Vec::new();
    for e in errs {
        let s = e.to_string();
        if !seen.contains(&s) {
            seen.push(s);
        }
    }
    match seen.len() {
        0 => None,
        1 => seen.pop(),
        _ => Some(format!("[{}]", seen.join(", "))),
    }
}

impl Selector {
    /// Matches every object.
    pub fn everything() -> Self {
        Self { requirements: Vec::new(), nothing: false }
    }
    /// Matches no object.
    pub fn nothing() -> Self {
        Self { requirements: Vec::new(), nothing: true }
    }
    /// Requirements in the order of their keys.
    pub fn new(mut requirements: Vec<Requirement>) -> Self {
        requirements.sort_by(|a, b| a.key.cmp(&b.key));
        Self { requirements, nothing: false }
    }
    /// Parses the string form: `a=b,c in (d,e),!f`.
    pub fn parse(s: &str) -> Result<Self, SelectorError> {
        parse::parse(s).map(Self::new)
    }
    /// Equality with each label of `set` (`spec.selector` of a Service); an empty set matches everything. Values are not checked.
    pub fn from_set(set: &Map<String, Value>) -> Self {
        let equals = |(k, v): (&String, &Value)| Requirement {
            key: k.clone(),
            op: Operator::Equals,
            values: vec![v.as_str().unwrap_or_default().to_owned()],
        };
        Self::new(set.iter().map(equals).collect())
    }
    /// Reads a `LabelSelector` object: absent (or null) matches nothing, empty matches everything.
    pub fn from_label_selector(ls: Option<&Value>) -> Result<Self, SelectorError> {
        let Some(ls) = ls.filter(|v| !v.is_null()) else { return Ok(Self::nothing()) };
        let mut out = Vec::new();
        for (k, v) in crate::meta::map_at(ls, &["matchLabels"]) {
            out.push(Requirement::new(k, Operator::Equals, vec![v.as_str().unwrap_or_default().to_owned()])?);
        }
        for e in crate::meta::list_at(ls, &["matchExpressions"]) {
            let operator = crate::meta::str_at(e, &["operator"]);
            let op = match operator {
                "In" => Operator::In,
                "NotIn" => Operator::NotIn,
                "Exists" => Operator::Exists,
                "DoesNotExist" => Operator::DoesNotExist,
                _ => return Err(SelectorError(format!("{} is not a valid label selector operator", Quoted(operator)))),
            };
            let values: Vec<String> =
                crate::meta::list_at(e, &["values"]).iter().filter_map(|v| v.as_str().map(str::to_owned)).collect();
            let shown = if values.is_empty() { Value::Null } else { values.clone().into() };
            out.push(Requirement::with_values_shown(crate::meta::str_at(e, &["key"]), op, shown, values)?);
        }
        Ok(Self::new(out))
    }

    pub fn requirements(&self) -> &[Requirement] {
        &self.requirements
    }
    /// Matches every object.
    pub fn is_everything(&self) -> bool {
        !self.nothing && self.requirements.is_empty()
    }
    pub fn is_nothing(&self) -> bool {
        self.nothing
    }
    /// The one value that the label must have, where the selector says so.
    pub fn requires_exact_match(&self, label: &str) -> Option<&str> {
        let r = self.requirements.iter().find(|r| r.key == label)?;
        match (r.op, r.values.as_slice()) {
            (Operator::Equals | Operator::DoubleEquals | Operator::In, [one]) => Some(one),
            _ => None,
        }
    }

    /// Whether an object with these `metadata.labels` is selected.
    pub fn matches(&self, labels: &Map<String, Value>) -> bool {
        self.matches_with(|k| labels.get(k).map(|v| v.as_str().unwrap_or_default()))
    }
    /// The same over a lookup function.
    pub fn matches_with<'a>(&self, get: impl Fn(&str) -> Option<&'a str>) -> bool {
        !self.nothing && self.requirements.iter().all(|r| r.matches(get(&r.key)))
    }
}

impl fmt::Display for Requirement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (before, between, after) = match self.op {
            Operator::Exists => return f.write_str(&self.key),
            Operator::DoesNotExist => return write!(f, "!{}", self.key),
            Operator::Equals => ("", "=", ""),
            Operator::DoubleEquals => ("", "==", ""),
            Operator::NotEquals => ("", "!=", ""),
            Operator::GreaterThan => ("", ">", ""),
            Operator::LessThan => ("", "<", ""),
            Operator::In => ("(", " in ", ")"),
            Operator::NotIn => ("(", " notin ", ")"),
        };
        let mut values: Vec<&str> = self.values.iter().map(String::as_str).collect();
        values.sort_unstable();
        write!(f, "{}{between}{before}{}{after}", self.key, values.join(","))
    }
}

impl fmt::Display for Selector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, r) in self.requirements.iter().enumerate() {
            if i > 0 {
                f.write_str(",")?;
            }
            r.fmt(f)?;
        }
        Ok(())
    }
}

/// Validates a `LabelSelector` object field by field, as `ValidateLabelSelector` with no options.
pub fn validate_label_selector(ls: &Value, path: &Path) -> ErrorList {
    let mut errs = validate_labels(crate::meta::map_at(ls, &["matchLabels"]), &path.child("matchLabels"));
    for (i, e) in crate::meta::list_at(ls, &["matchExpressions"]).iter().enumerate() {
        let p = path.child("matchExpressions").index(i);
        let values = crate::meta::list_at(e, &["values"]);
        let operator = crate::meta::str_at(e, &["operator"]);
        match operator {
            "In" | "NotIn" if values.is_empty() => {
                errs.push(Error::required(&p.child("values"), "must be specified when `operator` is 'In' or 'NotIn'"));
            }
            "Exists" | "DoesNotExist" if !values.is_empty() => {
                let detail = "may not be specified when `operator` is 'Exists' or 'DoesNotExist'";
                errs.push(Error::forbidden(&p.child("values"), detail));
            }
            "In" | "NotIn" | "Exists" | "DoesNotExist" => {}
            _ => errs.push(Error::invalid(&p.child("operator"), operator, "not a valid selector operator")),
        }
        errs.extend(validate_label_name(crate::meta::str_at(e, &["key"]), &p.child("key")));
        for (i, v) in values.iter().filter_map(Value::as_str).enumerate() {
            errs.extend(validation::label_value(v).into_iter().map(|m| Error::invalid(&p.child("values").index(i), v, m)));
        }
    }
    errs
}

/// `ValidateLabelName`.
pub fn validate_label_name(name: &str, path: &Path) -> ErrorList {
    validation::qualified_name(name).into_iter().map(|m| Error::invalid(path, name, m)).collect()
}

/// `ValidateLabels`: keys and values of a label map.
pub fn validate_labels(labels: &Map<String, Value>, path: &Path) -> ErrorList {
    let mut errs = ErrorList::new();
    for (k, v) in labels {
        errs.extend(validate_label_name(k, path));
        let v = v.as_str().unwrap_or_default();
        errs.extend(validation::label_value(v).into_iter().map(|m| Error::invalid(path, v, m)));
    }
    errs
}
