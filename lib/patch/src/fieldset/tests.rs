//! Tests of `fieldset`.

use super::*;
use machinery::{Value, json};
use proptest::prelude::*;

fn decode(v: &Value) -> Set {
    Set::from_value(v).expect("a set")
}

#[test]
fn round_trips_exactly() {
    for v in [
        json!({}),
        json!({"f:metadata": {"f:labels": {".": {}, "f:app": {}}}}),
        json!({"f:spec": {"f:containers": {"k:{\"name\":\"a\"}": {".": {}, "f:image": {}, "f:ports": {"k:{\"containerPort\":80,\"protocol\":\"TCP\"}": {".": {}, "f:containerPort": {}}}}}}}),
        json!({"f:metadata": {"f:finalizers": {"v:\"x/y\"": {}, ".": {}}}}),
        json!({"f:a": {"i:3": {}}}),
    ] {
        assert_eq!(decode(&v).to_value(), v);
    }
    for bad in [
        json!([]),
        json!({"x": {}}),
        json!({"q:a": {}}),
        json!({"k:[]": {}}),
        json!({"v:{": {}}),
        json!({"i:x": {}}),
        json!({"f:a": 1}),
    ] {
        assert!(Set::from_value(&bad).is_err(), "{bad}");
    }
}

#[test]
fn operations() {
    let a = decode(&json!({"f:a": {".": {}, "f:b": {}, "f:c": {}}}));
    let b = decode(&json!({"f:a": {"f:b": {}}, "f:d": {}}));
    assert_eq!(a.intersection(&b).to_value(), json!({"f:a": {"f:b": {}}}));
    assert_eq!(a.clone().union(&b).to_value(), json!({"f:a": {".": {}, "f:b": {}, "f:c": {}}, "f:d": {}}));
    assert_eq!(a.clone().difference(&b).to_value(), json!({"f:a": {".": {}, "f:c": {}}}));
    let only_a = decode(&json!({"f:a": {}}));
    assert_eq!(a.clone().difference(&only_a).to_value(), json!({"f:a": {"f:b": {}, "f:c": {}}}));
    let mut r = a;
    r.subtract_recursive(&only_a);
    assert!(r.is_empty());
}

#[test]
fn paths_read_as_upstream() {
    let set = decode(&json!({"f:spec": {"f:c": {"k:{\"name\":\"a\",\"port\":80}": {"f:image": {}}}}, "f:m": {"v:\"x\"": {}}}));
    let mut seen = Vec::new();
    set.for_each(|p| seen.push(path_string(p)));
    assert_eq!(seen, [".m[=\"x\"]", ".spec.c[name=\"a\",port=80].image"]);
}

fn set() -> impl Strategy<Value = Set> {
    let element = prop_oneof![
        "[a-c]{1,2}".prop_map(|s| Element::field(&s)),
        (0i64..3).prop_map(Element::Index),
        "[a-b]".prop_map(|s| Element::Value(Scalar(s.into())))
    ];
    prop::collection::vec(prop::collection::vec(element, 1..4), 0..8).prop_map(|paths| {
        let mut s = Set::new();
        for p in paths {
            s.insert(&p);
        }
        s
    })
}

proptest! {
    #[test]
    fn laws(a in set(), b in set()) {
        prop_assert_eq!(&Set::from_value(&a.to_value()).expect("its own encoding"), &a);
        let union = a.clone().union(&b);
        prop_assert_eq!(&union, &b.clone().union(&a));
        prop_assert_eq!(&union.intersection(&a), &a);
        prop_assert_eq!(a.clone().difference(&b).union(&a.intersection(&b)), a);
    }
}
