//! The index against a BTreeMap.

use super::*;
use crate::object::{Head, Object};
use std::collections::BTreeMap;

fn object(key: &str, revision: u64) -> Arc<Object> {
    let head = Head { deleting: false, labels: "".into(), fields: "".into(), field_names: Arc::from([]) };
    Arc::new(Object::new(key.into(), 3, revision, br#"{"metadata":{}}"#, head).expect("has metadata"))
}

/// A small fixed-seed generator: the same sequence on every run.
fn sequence(mut seed: u64) -> impl FnMut(u64) -> u64 {
    move |below| {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (seed >> 33) % below
    }
}

#[test]
fn behaves_like_a_map_and_keeps_snapshots() {
    let mut next = sequence(7);
    let mut index = Index::default();
    let mut model: BTreeMap<String, u64> = BTreeMap::new();
    let mut snapshots = Vec::new();
    for step in 0..6000u64 {
        let key = format!("/p/{}/{:04}", next(3), next(700));
        if next(3) == 0 {
            assert_eq!(index.remove(&key).map(|o| o.revision()), model.remove(&key), "remove {key}");
        } else {
            assert_eq!(index.insert(object(&key, step)).map(|o| o.revision()), model.insert(key.clone(), step), "insert {key}");
        }
        assert_eq!(index.len(), model.len());
        if step % 500 == 0 {
            snapshots.push((index.clone(), model.clone()));
        }
    }
    snapshots.push((index, model));
    for (index, model) in &snapshots {
        for (prefix, from) in [("/p/", ""), ("/p/1/", ""), ("/p/1/", "/p/1/0350"), ("/p/2/", "/p/1/"), ("/p/3/", ""), ("/q", "")]
        {
            let found: Vec<_> = index.prefix(prefix, from).map(|o| (o.key().to_string(), o.revision())).collect();
            let expected: Vec<_> =
                model.iter().filter(|(k, _)| k.starts_with(prefix) && k.as_str() >= from).map(|(k, v)| (k.clone(), *v)).collect();
            assert_eq!(found, expected, "prefix {prefix} from {from}");
        }
        for (key, revision) in model {
            assert_eq!(index.get(key).map(|o| o.revision()), Some(*revision));
        }
    }
}

#[test]
fn builds_from_sorted() {
    let all: Vec<_> = (0..1000).map(|i| object(&format!("/p/{i:04}"), i)).collect();
    let index = Index::from_sorted(all);
    assert_eq!(index.len(), 1000);
    assert_eq!(index.prefix("/p/", "/p/0990").count(), 10);
    assert!(index.get("/p/0063").is_some() && index.get("/p/1000").is_none());
}
