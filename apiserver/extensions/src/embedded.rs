//! Type and object metadata of a custom resource and of the resources embedded in it: brought in form, and validated.
//! Upstream: apiextensions-apiserver/pkg/apiserver/schema/objectmeta.

use crate::structural::Schema;
use machinery::field::{Error, ErrorList, Path};
use machinery::validation::{dns1035_label, path_segment_name};
use machinery::{GroupVersion, Map, Value, objectmeta};
use schema::{DecodeError, Problem, Registry};

const OBJECT_META: &str = "io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta";

/// Brings `metadata` of the root, and of embedded resources, in canonical form. Unknown fields are dropped and named; with
/// `lenient`, so is what is malformed.
pub fn coerce(v: &mut Value, s: &Schema, root: bool, lenient: bool) -> Result<Vec<String>, Error> {
    let mut c = Coercer { lenient, unknown: Vec::new() };
    c.walk(v, s, root, &Path::default(), "")?;
    c.unknown.sort();
    Ok(c.unknown)
}

struct Coercer {
    lenient: bool,
    unknown: Vec<String>,
}

impl Coercer {
    fn walk(&mut self, v: &mut Value, s: &Schema, root: bool, path: &Path, text: &str) -> Result<(), Error> {
        match v {
            Value::Object(map) => {
                if root || s.embedded {
                    self.resource(map, path, text)?;
                }
                for (k, v) in map.iter_mut() {
                    if let Some(s) = s.field(k) {
                        let text = if text.is_empty() { k.clone() } else { format!("{text}.{k}") };
                        self.walk(v, s, false, &path.child(k), &text)?;
                    }
                }
            }
            Value::Array(list) => {
                if let Some(items) = s.items.as_deref() {
                    for (i, v) in list.iter_mut().enumerate() {
                        self.walk(v, items, false, &path.index(i), &format!("{text}[{i}]"))?;
                    }
                }
            }
            _ => {}
        }
        Ok(())
    }

    fn resource(&mut self, map: &mut Map<String, Value>, path: &Path, text: &str) -> Result<(), Error> {
        for k in ["apiVersion", "kind"] {
            if let Some(v) = map.get(k).filter(|v| !v.is_string()) {
                if !self.lenient {
                    return Err(Error::invalid(&path.child(k), v.clone(), "must be a string"));
                }
                map.remove(k);
            }
        }
        let Some(meta) = map.get_mut("metadata") else { return Ok(()) };
        if meta.is_null() {
            *meta = Value::Object(Map::new());
        }
        let before = meta.clone();
        match object_meta(meta) {
            Ok(problems) => {
                let prefix = if text.is_empty() { "metadata".to_owned() } else { format!("{text}.metadata") };
                for p in problems {
                    if let Problem::Unknown(field) = p {
                        self.unknown.push(format!("{prefix}.{field}"));
                    }
                }
                Ok(())
            }
            Err(_) if self.lenient => {
                // Field by field, what can be kept is.
                let mut kept = Map::new();
                if let Value::Object(fields) = before {
                    for (k, v) in fields {
                        let mut one = Value::Object(Map::from_iter([(k, v)]));
                        if object_meta(&mut one).is_ok()
                            && let Value::Object(one) = one
                        {
                            kept.extend(one);
                        }
                    }
                }
                *meta = Value::Object(kept);
                Ok(())
            }
            Err(e) => Err(Error::invalid(&path.child("metadata"), before, e.to_string())),
        }
    }
}

fn object_meta(v: &mut Value) -> Result<Vec<Problem>, DecodeError> {
    let registry = Registry::builtin();
    match registry.types().by_name(OBJECT_META) {
        Some(id) => schema::normalize(v, registry.typed(id)),
        None => Ok(Vec::new()),
    }
}

/// Validates embedded resources; with `root`, the object itself too.
pub fn validate(v: &Value, s: &Schema, root: bool, path: &Path, e: &mut ErrorList) {
    match v {
        Value::Object(map) => {
            if root || s.embedded {
                resource(map, path, e);
            }
            for (k, v) in map {
                if let Some(p) = s.properties.get(k) {
                    validate(v, p, false, &path.child(k), e);
                } else if let Some(a) = s.field(k) {
                    validate(v, a, false, &path.key(k), e);
                }
            }
        }
        Value::Array(list) => {
            if let Some(items) = s.items.as_deref() {
                for (i, v) in list.iter().enumerate() {
                    validate(v, items, false, &path.index(i), e);
                }
            }
        }
        _ => {}
    }
}

fn resource(map: &Map<String, Value>, path: &Path, e: &mut ErrorList) {
    for k in ["apiVersion", "kind"] {
        let at = path.child(k);
        match map.get(k) {
            None => e.push(Error::required(&at, "")),
            Some(Value::String(s)) if s.is_empty() => e.push(Error::invalid(&at, "", "must not be empty")),
            Some(Value::String(s)) if k == "kind" => {
                let reasons = dns1035_label(&s.to_lowercase());
                if !reasons.is_empty() {
                    let why = format!("may have mixed case, but should otherwise match: {}", reasons.join(","));
                    e.push(Error::invalid(&at, s.as_str(), why));
                }
            }
            Some(Value::String(s)) => {
                if GroupVersion::parse(s).is_none() {
                    e.push(Error::invalid(&at, s.as_str(), format!("unexpected GroupVersion string: {s}")));
                }
            }
            Some(v) => e.push(Error::invalid(&at, v.clone(), "must be a string")),
        }
    }
    let Some(meta) = map.get("metadata") else { return };
    let mut typed = meta.clone();
    let at = path.child("metadata");
    if let Err(why) = object_meta(&mut typed) {
        e.push(Error::invalid(&at, meta.clone(), why.to_string()));
        return;
    }
    if machinery::meta::str_at(&typed, &["name"]).is_empty() {
        machinery::meta::set(&mut typed, &["name"], "fakename".into());
    }
    let namespaced = !machinery::meta::str_at(&typed, &["namespace"]).is_empty();
    let object = Value::Object(Map::from_iter([("metadata".to_owned(), typed)]));
    e.extend(objectmeta::validate(&object, namespaced, path_segment_name, &at));
}
