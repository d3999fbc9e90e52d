//! Lists that are sets or maps hold nothing twice. Upstream: apiextensions-apiserver/pkg/apiserver/schema/listtype.

use crate::structural::{Additional, Schema};
use machinery::field::{Error, ErrorList, Path};
use machinery::{Map, Value};
use std::collections::HashMap;

pub fn validate(v: &Value, s: &Schema, path: &Path, e: &mut ErrorList) {
    match v {
        Value::Object(map) => {
            for (k, v) in map {
                if let Some(p) = s.properties.get(k) {
                    validate(v, p, &path.child(k), e);
                } else if let Some(Additional::Schema(a)) = &s.additional {
                    validate(v, a, &path.key(k), e);
                }
            }
        }
        Value::Array(list) => {
            match s.list_type.as_deref() {
                Some("set") => {
                    let again = repeated(list.iter().map(ToString::to_string));
                    e.extend(again.into_iter().map(|i| Error::duplicate(&path.index(i), list[i].clone())));
                }
                Some("map") => keys(list, s, path, e),
                _ => {}
            }
            if let Some(items) = s.items.as_deref() {
                for (i, v) in list.iter().enumerate() {
                    validate(v, items, &path.index(i), e);
                }
            }
        }
        _ => {}
    }
}

/// Indexes of second appearances.
fn repeated(texts: impl Iterator<Item = String>) -> Vec<usize> {
    let mut seen: HashMap<String, usize> = HashMap::new();
    let mut again = Vec::new();
    for (i, t) in texts.enumerate() {
        let times = seen.entry(t).or_default();
        *times += 1;
        if *times == 2 {
            again.push(i);
        }
    }
    again
}

fn keys(list: &[Value], s: &Schema, path: &Path, e: &mut ErrorList) {
    if let Some((i, v)) = list.iter().enumerate().find(|(_, v)| !v.is_null() && !v.is_object()) {
        e.push(Error::invalid(&path.index(i), v.clone(), "must be an object for an array of list-type map"));
        return;
    }
    let key = |v: &Value| -> Value {
        s.list_keys.iter().filter_map(|k| Some((k.clone(), v.get(k)?.clone()))).collect::<Map<_, _>>().into()
    };
    let keys: Vec<Value> = list.iter().map(key).collect();
    for i in repeated(keys.iter().map(ToString::to_string)) {
        e.push(Error::duplicate(&path.index(i), keys[i].clone()));
    }
}
