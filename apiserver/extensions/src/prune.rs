//! Removing fields that a schema does not know. Upstream: apiextensions-apiserver/pkg/apiserver/schema/pruning.

use crate::structural::{Additional, Schema};
use machinery::Value;

const META: [&str; 3] = ["apiVersion", "kind", "metadata"];

/// Prunes an object (with `root`, one that has type and object metadata) and names what went, sorted: `spec.list[0].x`.
pub fn prune(v: &mut Value, s: &Schema, root: bool) -> Vec<String> {
    let mut p = Pruner { path: String::new(), unknown: Vec::new() };
    if root && let Value::Object(map) = &mut *v {
        // The root's metadata is none of the schema's business.
        let kept: Vec<(String, Value)> = META.iter().filter_map(|k| map.remove(*k).map(|v| ((*k).to_owned(), v))).collect();
        p.known(v, Some(s));
        if let Value::Object(map) = v {
            map.extend(kept);
        }
    } else {
        p.known(v, Some(s));
    }
    p.unknown.sort();
    p.unknown
}

struct Pruner {
    path: String,
    unknown: Vec<String>,
}

impl Pruner {
    fn push(&mut self, key: &str) -> usize {
        let len = self.path.len();
        if len > 0 {
            self.path.push('.');
        }
        self.path.push_str(key);
        len
    }

    fn at(&mut self, key: &str, v: &mut Value, s: Option<&Schema>) {
        let len = self.push(key);
        self.known(v, s);
        self.path.truncate(len);
    }

    /// A value that has a place in the schema. Without a schema (`additionalProperties: true`), nothing inside is known.
    fn known(&mut self, v: &mut Value, s: Option<&Schema>) {
        if let Some(s) = s
            && s.preserve_unknown
        {
            return self.preserve(v, s);
        }
        match v {
            Value::Object(map) => map.retain(|k, v| {
                let meta = META.contains(&k.as_str());
                let Some(s) = s else { return self.drop(k) };
                if s.embedded && meta {
                    return true;
                }
                if let Some(p) = s.properties.get(k) {
                    self.at(k, v, Some(p));
                    return true;
                }
                match &s.additional {
                    Some(a) => {
                        self.at(k, v, a.schema());
                        true
                    }
                    None => self.drop(k),
                }
            }),
            Value::Array(list) => {
                let items = s.and_then(|s| s.items.as_deref());
                self.each(list, |p, v| p.known(v, items));
            }
            _ => {}
        }
    }

    fn drop(&mut self, key: &str) -> bool {
        let len = self.push(key);
        self.unknown.push(self.path.clone());
        self.path.truncate(len);
        false
    }

    /// Unknown fields stay here; known ones may prune again below.
    fn preserve(&mut self, v: &mut Value, s: &Schema) {
        match v {
            Value::Object(map) => {
                for (k, v) in map.iter_mut() {
                    if s.embedded && META.contains(&k.as_str()) {
                        continue;
                    }
                    match (s.properties.get(k), &s.additional) {
                        (Some(p), _) => self.at(k, v, Some(p)),
                        (None, Some(Additional::Schema(a))) => self.at(k, v, Some(a)),
                        (None, Some(Additional::Bool(_))) => self.at(k, v, None),
                        (None, None) => {}
                    }
                }
            }
            Value::Array(list) => {
                if let Some(items) = s.items.as_deref() {
                    self.each(list, |p, v| p.preserve(v, items));
                }
            }
            _ => {}
        }
    }

    fn each(&mut self, list: &mut [Value], mut visit: impl FnMut(&mut Self, &mut Value)) {
        let len = self.path.len();
        for (i, v) in list.iter_mut().enumerate() {
            self.path.push_str(&format!("[{i}]"));
            visit(self, v);
            self.path.truncate(len);
        }
    }
}
