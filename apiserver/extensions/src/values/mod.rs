//! Values against a schema, with upstream's messages, and with ratcheting: what an update leaves as it was raises no error.
//! Upstream: kube-openapi/pkg/validation/validate, apiextensions-apiserver/pkg/apiserver/validation.

mod formats;
mod numbers;

use crate::structural::{Additional, Schema};
use machinery::field::{Error, ErrorList, ErrorType, Path};
use machinery::{Map, Value};

/// Validates `v`; with `old`, as an update of it. `base` is where the value lies in the object.
pub fn validate(v: &Value, s: &Schema, old: Option<&Value>, base: &Path) -> ErrorList {
    let mut w = Walker { base, path: String::new() };
    w.value(v, s, old).errors
}

/// What came of one value: errors, and how much matched (to tell the closest alternative).
#[derive(Default)]
struct Outcome {
    errors: ErrorList,
    matches: u64,
}

impl Outcome {
    fn merge(&mut self, other: Outcome) {
        self.matches += other.matches;
        for e in other.errors {
            self.push(e);
        }
    }
    fn push(&mut self, e: Error) {
        if !self.errors.contains(&e) {
            self.errors.push(e);
        }
    }
    fn ok(&self) -> bool {
        self.errors.is_empty()
    }
}

struct Walker<'a> {
    base: &'a Path,
    path: String,
}

impl Walker<'_> {
    fn field(&self) -> Path {
        match (self.path.trim_start_matches('.'), self.base == &Path::default()) {
            ("", _) => self.base.clone(),
            (p, true) => Path::new(p),
            (p, false) => self.base.child(p),
        }
    }
    fn invalid(&self, value: impl Into<Value>, what: impl std::fmt::Display) -> Error {
        Error::invalid(&self.field(), value, format!("{} in body {what}", self.path))
    }
    fn type_error(&self, expected: &str, found: &str) -> Error {
        let detail = format!("{} in body must be of type {expected}: {}", self.path, machinery::quote::quote(found));
        Error::new(ErrorType::TypeInvalid, &self.field(), found, detail)
    }

    fn value(&mut self, v: &Value, s: &Schema, old: Option<&Value>) -> Outcome {
        let mut out = self.fresh(v, s, old);
        if !out.ok() && old == Some(v) {
            out.errors.clear();
        }
        out
    }

    fn fresh(&mut self, v: &Value, s: &Schema, old: Option<&Value>) -> Outcome {
        let mut out = Outcome::default();
        if let Some(e) = self.check_type(v, s) {
            out.push(e);
        } else if !s.ty.is_empty() || s.int_or_string || !s.format.is_empty() {
            out.matches += 1;
        }
        if v.is_null() {
            self.check_enum(v, s, &mut out);
            return out;
        }
        self.alternatives(v, s, old, &mut out);
        match v {
            Value::String(text) => self.string(text, s, &mut out),
            Value::Number(n) => self.number(n, s, &mut out),
            Value::Array(list) => self.array(list, s, old, &mut out),
            Value::Object(map) => self.object(map, s, old, &mut out),
            _ => {}
        }
        self.check_enum(v, s, &mut out);
        out.matches += 1;
        out
    }

    fn check_type(&self, v: &Value, s: &Schema) -> Option<Error> {
        let format = formats::of(s);
        let own = [s.ty.as_str()];
        let types: &[&str] = match s.int_or_string {
            true => &["integer", "string"],
            false if s.ty.is_empty() => &[],
            false => &own,
        };
        if types.is_empty() && format.is_empty() {
            return None;
        }
        let expected = || types.join(",");
        let (found, found_format) = match v {
            Value::Null if types.is_empty() || s.nullable => return None,
            Value::Null => return Some(self.type_error(&expected(), "null")),
            Value::Bool(_) => ("boolean", ""),
            Value::String(_) => ("string", ""),
            Value::Number(n) if n.is_i64() => ("integer", "int64"),
            Value::Number(_) => ("number", "float64"),
            Value::Array(_) => ("array", ""),
            Value::Object(_) => ("object", ""),
        };
        let has = |t: &str| types.contains(&t);
        let whole = matches!(v, Value::Number(n) if n.as_f64().is_some_and(|f| f.fract() == 0.0));
        let float_as_int = found == "number" && whole && has("integer");
        let int_as_float = found == "integer" && has("number");
        let textual = matches!(v, Value::String(_) | Value::Array(_));
        let fits = has(found) || found_format == format || float_as_int || int_as_float;
        if !(textual || format.is_empty() || fits) {
            return Some(self.type_error(format, found_format));
        }
        if textual && !(has("number") || has("integer") || format.is_empty()) {
            return None;
        }
        (!(has(found) || float_as_int || int_as_float)).then(|| self.type_error(&expected(), found))
    }

    fn check_enum(&self, v: &Value, s: &Schema, out: &mut Outcome) {
        let Some(allowed) = &s.enum_values else { return };
        let same = |a: &Value| a == v || matches!((a.as_f64(), v.as_f64()), (Some(a), Some(b)) if a == b);
        if !allowed.iter().any(same) {
            // In the order of the schema.
            let text = |a: &Value| machinery::quote::quote(&a.as_str().map_or_else(|| a.to_string(), str::to_owned));
            let names: Vec<String> = allowed.iter().map(text).collect();
            let detail = format!("supported values: {}", names.join(", "));
            out.push(Error::new(ErrorType::NotSupported, &self.field(), v.clone(), detail));
        }
    }

    fn string(&self, text: &str, s: &Schema, out: &mut Outcome) {
        let length = || i64::try_from(text.chars().count()).unwrap_or(i64::MAX);
        let problem = if let Some(max) = s.max_length.filter(|m| length() > *m) {
            Some(Error::too_long(&self.field(), usize::try_from(max).unwrap_or(0)))
        } else if let Some(min) = s.min_length.filter(|m| length() < *m) {
            Some(self.invalid(text, format!("should be at least {min} chars long")))
        } else {
            s.pattern.as_ref().filter(|p| !p.matches(text)).map(|p| self.invalid(text, format!("should match '{}'", p.text())))
        };
        match problem {
            Some(e) => out.push(e),
            None => out.matches += 1,
        }
        let format = formats::of(s);
        if !format.is_empty() && !formats::valid(format, text) {
            out.push(self.type_error(&s.format, text));
        }
    }

    fn number(&self, n: &serde_json::Number, s: &Schema, out: &mut Outcome) {
        let problems = numbers::check(n, s);
        if problems.is_empty() {
            out.matches += 1;
        }
        for p in problems {
            out.push(match p {
                numbers::Problem::Bound(what) => self.invalid(Value::Number(n.clone()), what),
                numbers::Problem::Range(what) => Error::invalid(self.base, "", format!("{what} in {}", self.path)),
            });
        }
    }

    fn array(&mut self, list: &[Value], s: &Schema, old: Option<&Value>, out: &mut Outcome) {
        let size = list.len();
        let len = self.path.len();
        if let Some(items) = s.items.as_deref() {
            for (i, v) in list.iter().enumerate() {
                self.path.push_str(&format!("[{i}]"));
                let inner = self.value(v, items, correlated(v, s, old));
                out.merge(inner);
                self.path.truncate(len);
            }
        }
        let count = i64::try_from(size).unwrap_or(i64::MAX);
        if let Some(min) = s.min_items.filter(|m| count < *m) {
            out.push(self.invalid(count, format!("should have at least {min} items")));
        }
        if let Some(max) = s.max_items.filter(|m| count > *m) {
            out.push(Error::too_many(&self.field(), size, usize::try_from(max).unwrap_or(0)));
        }
    }

    fn object(&mut self, map: &Map<String, Value>, s: &Schema, old: Option<&Value>, out: &mut Outcome) {
        let count = i64::try_from(map.len()).unwrap_or(i64::MAX);
        if let Some(min) = s.min_properties.filter(|m| count < *m) {
            out.push(self.invalid(count, format!("should have at least {min} properties")));
        }
        if let Some(max) = s.max_properties.filter(|m| count > *m) {
            out.push(Error::too_many(&self.field(), map.len(), usize::try_from(max).unwrap_or(0)));
        }
        // The keys of an atomic map have no past.
        let old = old.filter(|_| s.map_type.as_deref() != Some("atomic"));
        let len = self.path.len();
        for (k, v) in map {
            let inner = match (s.properties.get(k), &s.additional) {
                (Some(p), _) => {
                    if len > 0 {
                        self.path.push('.');
                    }
                    self.path.push_str(k);
                    self.value(v, p, old.and_then(|o| o.get(k)))
                }
                (None, Some(Additional::Schema(a))) => {
                    self.path.push('.');
                    self.path.push_str(k);
                    self.value(v, a, old.and_then(|o| o.get(k)))
                }
                (None, Some(Additional::Bool(false))) => {
                    let detail = format!("{}.{k} in body is a forbidden property", self.path);
                    let mut o = Outcome::default();
                    o.push(Error::invalid(&self.field(), "", detail));
                    o
                }
                _ => Outcome::default(),
            };
            self.path.truncate(len);
            out.merge(inner);
        }
        for k in s.required.iter().filter(|k| !map.contains_key(*k)) {
            self.path.push('.');
            self.path.push_str(k);
            out.push(Error::required(&self.field(), ""));
            self.path.truncate(len);
        }
    }

    fn alternatives(&mut self, v: &Value, s: &Schema, old: Option<&Value>, out: &mut Outcome) {
        let name = machinery::quote::quote(&self.path);
        let plain = |w: &Self, text: String| Error::invalid(w.base, "", text);
        if !s.any_of.is_empty() {
            let (good, best) = self.closest(v, &s.any_of, old, true);
            if good == 0 {
                out.push(plain(self, format!("{name} must validate at least one schema (anyOf)")));
            }
            best.into_iter().for_each(|b| out.merge(b));
        }
        if !s.one_of.is_empty() {
            let (good, best) = self.closest(v, &s.one_of, old, false);
            if good != 1 {
                let what = if good == 0 { "Found none valid".to_owned() } else { format!("Found {good} valid alternatives") };
                out.push(plain(self, format!("{name} must validate one and only one schema (oneOf). {what}")));
            }
            best.into_iter().for_each(|b| out.merge(b));
        }
        if !s.all_of.is_empty() {
            let mut good = 0;
            for a in &s.all_of {
                let r = self.fresh(v, a, old);
                good += usize::from(r.ok());
                out.merge(r);
            }
            if good != s.all_of.len() {
                let what = if good == 0 { ". None validated" } else { "" };
                out.push(plain(self, format!("{name} must validate all the schemas (allOf){what}")));
            }
        }
        if let Some(not) = &s.not
            && self.fresh(v, not, old).ok()
        {
            out.push(plain(self, format!("{name} must not validate the schema (not)")));
        }
        out.matches += 1;
    }

    /// How many alternatives hold, and the first that does, or else the one that comes closest.
    fn closest(&mut self, v: &Value, list: &[Schema], old: Option<&Value>, first_only: bool) -> (usize, Option<Outcome>) {
        let mut good = 0;
        let mut best: Option<Outcome> = None;
        for a in list {
            let r = self.fresh(v, a, old);
            if r.ok() {
                good += 1;
                if good == 1 {
                    best = Some(r);
                }
                if first_only {
                    break;
                }
            } else if good == 0 && best.as_ref().is_none_or(|b| r.matches > b.matches) {
                best = Some(r);
            }
        }
        (good, best)
    }
}

/// The element of the old list that `v` was; only lists with keys remember.
fn correlated<'o>(v: &Value, s: &Schema, old: Option<&'o Value>) -> Option<&'o Value> {
    if s.list_type.as_deref() != Some("map") {
        return None;
    }
    old?.as_array()?.iter().find(|o| s.list_keys.iter().all(|k| o.get(k) == v.get(k)))
}
