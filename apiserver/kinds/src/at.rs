//! A cursor into an object tree: a value together with its field path. Rules read `spec.get("replicas").non_negative(e)`;
//! the path costs nothing until there is an error to report. Absent and `null` values are alike, and a value of the wrong
//! type reads as absent: schema decoding has refused those long before, so nothing here panics or complains about them.

use machinery::Value;
use machinery::field::{Error, ErrorList, ErrorType, Path};
use machinery::meta;

static NULL: Value = Value::Null;

/// The deepest path of the built-in types has 17 steps.
const DEPTH: usize = 20;

#[derive(Clone, Copy)]
enum Step<'a> {
    Child(&'a str),
    Index(u32),
    Key(&'a str),
}

/// A place in a tree.
#[derive(Clone, Copy)]
pub struct At<'a> {
    pub v: &'a Value,
    steps: [Step<'a>; DEPTH],
    len: u8,
}

impl<'a> At<'a> {
    /// The object itself; its path is empty.
    pub fn root(v: &'a Value) -> Self {
        Self { v, steps: [Step::Index(0); DEPTH], len: 0 }
    }
    fn step(mut self, step: Step<'a>, v: &'a Value) -> Self {
        if let Some(slot) = self.steps.get_mut(usize::from(self.len)) {
            *slot = step;
            self.len += 1;
        }
        self.v = v;
        self
    }
    pub fn get(self, name: &'a str) -> Self {
        self.step(Step::Child(name), self.v.get(name).unwrap_or(&NULL))
    }
    /// `get` along several names.
    pub fn at(self, names: &[&'a str]) -> Self {
        names.iter().fold(self, |at, n| at.get(n))
    }
    /// The value of key `k` of a map, at `path[k]`.
    pub fn key(self, k: &'a str) -> Self {
        self.step(Step::Key(k), self.v.get(k).unwrap_or(&NULL))
    }
    /// Same value, path extended by an index (for errors that upstream puts there).
    pub fn nth(self, i: usize) -> Self {
        let v = self.v.get(i).unwrap_or(&NULL);
        self.step(Step::Index(u32::try_from(i).unwrap_or(u32::MAX)), v)
    }
    /// Another value at the same path.
    pub fn with(self, v: &'a Value) -> Self {
        Self { v, ..self }
    }
    /// Elements of a list.
    pub fn items(self) -> impl Iterator<Item = At<'a>> {
        let list = self.v.as_array().map_or(&[][..], Vec::as_slice);
        list.iter().enumerate().map(move |(i, v)| self.step(Step::Index(u32::try_from(i).unwrap_or(u32::MAX)), v))
    }
    /// Entries of a map, at `path[key]`.
    pub fn entries(self) -> impl Iterator<Item = (&'a str, At<'a>)> {
        self.v.as_object().into_iter().flatten().map(move |(k, v)| (k.as_str(), self.step(Step::Key(k), v)))
    }
    pub fn len(&self) -> usize {
        match self.v {
            Value::Array(a) => a.len(),
            Value::Object(o) => o.len(),
            Value::String(s) => s.len(),
            _ => 0,
        }
    }
    /// No elements, no characters, or absent.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
    pub fn present(&self) -> bool {
        !self.v.is_null()
    }
    /// Itself if present.
    pub fn some(self) -> Option<Self> {
        self.present().then_some(self)
    }
    pub fn has(&self, name: &str) -> bool {
        self.v.get(name).is_some_and(|v| !v.is_null())
    }
    pub fn str(&self) -> &'a str {
        self.v.as_str().unwrap_or("")
    }
    pub fn int(&self) -> i64 {
        self.v.as_i64().unwrap_or(0)
    }
    pub fn opt_int(&self) -> Option<i64> {
        self.v.as_i64()
    }
    pub fn bool(&self) -> bool {
        self.v.as_bool().unwrap_or(false)
    }
    pub fn path(&self) -> Path {
        let mut p = Path::default();
        for s in &self.steps[..usize::from(self.len)] {
            p = match s {
                Step::Child(n) => p.child(n),
                Step::Index(i) => p.index(*i as usize),
                Step::Key(k) => p.key(k),
            };
        }
        p
    }

    // Errors at this place.

    pub fn required(&self, e: &mut ErrorList, detail: impl Into<String>) {
        e.push(Error::required(&self.path(), detail));
    }
    pub fn invalid(&self, e: &mut ErrorList, detail: impl Into<String>) {
        e.push(Error::invalid(&self.path(), self.v.clone(), detail));
    }
    /// Invalid, but upstream prints another value than the field's.
    pub fn invalid_value(&self, e: &mut ErrorList, value: impl Into<Value>, detail: impl Into<String>) {
        e.push(Error::invalid(&self.path(), value, detail));
    }
    /// Invalid where the field is a string that may be absent: prints `""`.
    pub fn invalid_str(&self, e: &mut ErrorList, detail: impl Into<String>) {
        e.push(Error::invalid(&self.path(), self.str(), detail));
    }
    pub fn forbidden(&self, e: &mut ErrorList, detail: impl Into<String>) {
        e.push(Error::forbidden(&self.path(), detail));
    }
    pub fn duplicate(&self, e: &mut ErrorList) {
        e.push(Error::duplicate(&self.path(), self.v.clone()));
    }
    pub fn not_found(&self, e: &mut ErrorList) {
        e.push(Error::not_found(&self.path(), self.v.clone()));
    }
    pub fn too_many(&self, e: &mut ErrorList, max: usize) {
        e.push(Error::too_many(&self.path(), self.len(), max));
    }
    pub fn too_long(&self, e: &mut ErrorList, max: usize) {
        e.push(Error::new(ErrorType::TooLong, &self.path(), "", format!("may not be more than {max} bytes")));
    }
    pub fn not_supported(&self, e: &mut ErrorList, supported: &[&str]) {
        e.push(Error::not_supported(&self.path(), self.str(), supported));
    }
    /// One invalid-value error per message.
    pub fn messages(&self, e: &mut ErrorList, messages: Vec<String>) {
        for m in messages {
            self.invalid_str(e, m);
        }
    }

    // Checks that many kinds share.

    /// A string that must not be empty; true if it is not.
    pub fn need(&self, e: &mut ErrorList, detail: &str) -> bool {
        let empty = self.is_empty();
        if empty {
            self.required(e, detail);
        }
        !empty
    }
    pub fn non_negative(&self, e: &mut ErrorList) {
        if self.int() < 0 {
            self.invalid(e, "must be greater than or equal to 0");
        }
    }
    pub fn positive(&self, e: &mut ErrorList) {
        if self.int() <= 0 {
            self.invalid_value(e, self.int(), "must be greater than zero");
        }
    }
    pub fn in_range(&self, e: &mut ErrorList, low: i64, high: i64) {
        if !(low..=high).contains(&self.int()) {
            self.invalid_value(e, self.int(), format!("must be between {low} and {high}, inclusive"));
        }
    }
    /// A string that must be one of `supported`.
    pub fn one_of(&self, e: &mut ErrorList, supported: &[&str]) -> bool {
        let ok = supported.contains(&self.str());
        if !ok {
            self.not_supported(e, supported);
        }
        ok
    }
    /// `one_of` for the lists that upstream prints in their own order, not sorted.
    pub fn one_of_in_order(&self, e: &mut ErrorList, supported: &[&str]) -> bool {
        let ok = supported.contains(&self.str());
        if !ok {
            let quoted: Vec<String> = supported.iter().map(|s| format!("{s:?}")).collect();
            let detail = format!("supported values: {}", quoted.join(", "));
            e.push(Error::new(ErrorType::NotSupported, &self.path(), self.str(), detail));
        }
        ok
    }
    pub fn need_one_of_in_order(&self, e: &mut ErrorList, supported: &[&str]) -> bool {
        self.need(e, "") && self.one_of_in_order(e, supported)
    }
    /// Required, and then one of `supported`.
    pub fn need_one_of(&self, e: &mut ErrorList, supported: &[&str]) -> bool {
        self.need(e, "") && self.one_of(e, supported)
    }
    /// The field has not changed from `old`'s value.
    pub fn immutable(&self, e: &mut ErrorList, old: &Value) {
        if !same(self.v, old) {
            // A string that is no pointer is never null.
            let value = if self.v.is_null() && old.is_string() { Value::from("") } else { self.v.clone() };
            self.invalid_value(e, value, FIELD_IMMUTABLE);
        }
    }
}

pub const FIELD_IMMUTABLE: &str = "field is immutable";

/// Semantic equality (`apiequality.Semantic.DeepEqual`): absent, `null`, empty lists and empty maps are alike.
pub fn same(a: &Value, b: &Value) -> bool {
    fn void(v: &Value) -> bool {
        match v {
            Value::Null => true,
            Value::Array(a) => a.is_empty(),
            _ => false,
        }
    }
    match (a, b) {
        (Value::Object(x), Value::Object(y)) if x.len() == y.len() && x.keys().eq(y.keys()) => {
            x.values().zip(y.values()).all(|(a, b)| same(a, b))
        }
        (Value::Object(x), Value::Object(y)) => {
            x.iter().all(|(k, v)| same(v, y.get(k).unwrap_or(&Value::Null)))
                && y.iter().all(|(k, v)| x.contains_key(k) || same(&Value::Null, v))
        }
        (Value::Array(x), Value::Array(y)) => x.len() == y.len() && x.iter().zip(y).all(|(a, b)| same(a, b)),
        (Value::Object(o), Value::Null) | (Value::Null, Value::Object(o)) => o.is_empty(),
        _ => a == b || (void(a) && void(b)),
    }
}

/// `same` of the values at one path of two objects.
pub fn same_at(a: &Value, b: &Value, path: &[&str]) -> bool {
    same(meta::at(a, path).unwrap_or(&NULL), meta::at(b, path).unwrap_or(&NULL))
}

/// The value at `path` or `null`.
pub fn value_at<'a>(obj: &'a Value, path: &[&str]) -> &'a Value {
    meta::at(obj, path).unwrap_or(&NULL)
}

/// Makes `obj`'s value at `path` what `from` has there, absent included.
pub fn copy_from(obj: &mut Value, from: &Value, path: &[&str]) {
    match meta::at(from, path) {
        Some(v) => meta::set(obj, path, v.clone()),
        None => {
            meta::remove(obj, path);
        }
    }
}

/// Sets `value` at `path` where nothing is there (or an empty string).
pub fn set_default(obj: &mut Value, path: &[&str], value: impl Into<Value>) {
    if meta::at(obj, path).is_none_or(|v| v.as_str() == Some("")) {
        meta::set(obj, path, value.into());
    }
}

/// The elements of the list at `path`, to be changed.
pub fn list_mut<'a>(obj: &'a mut Value, path: &[&str]) -> impl Iterator<Item = &'a mut Value> {
    let mut v = Some(obj);
    for p in path {
        v = v.and_then(|v| v.get_mut(*p));
    }
    v.and_then(Value::as_array_mut).into_iter().flatten()
}

impl At<'_> {
    /// One error per message, about another value than the field's.
    pub fn messages_for(&self, e: &mut ErrorList, value: &str, messages: Vec<String>) {
        for m in messages {
            self.invalid_value(e, value, m);
        }
    }
}
