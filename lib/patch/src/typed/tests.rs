//! Tests of `typed`.

use super::testing::sample;
use super::*;
use crate::fieldset::Set;
use machinery::{Value, json};

fn containers(list: Value) -> Value {
    json!({"spec": {"containers": list}})
}

#[test]
fn comparisons() {
    let s = sample();
    for (case, old, new, removed, modified, added) in [
        ("same", json!({"spec": {"replicas": 1}}), json!({"spec": {"replicas": 1.0}}), json!({}), json!({}), json!({})),
        (
            "scalar",
            json!({"spec": {"replicas": 1}}),
            json!({"spec": {"replicas": 2}}),
            json!({}),
            json!({"f:spec": {"f:replicas": {}}}),
            json!({}),
        ),
        (
            "label",
            json!({"metadata": {"labels": {"a": "1"}}}),
            json!({"metadata": {"labels": {"b": "1"}}}),
            json!({"f:metadata": {"f:labels": {"f:a": {}}}}),
            json!({}),
            json!({"f:metadata": {"f:labels": {"f:b": {}}}}),
        ),
        (
            "first label",
            json!({"metadata": {}}),
            json!({"metadata": {"labels": {"b": "1"}}}),
            json!({}),
            json!({}),
            json!({"f:metadata": {"f:labels": {".": {}, "f:b": {}}}}),
        ),
        (
            "keyed item with a default key",
            containers(json!([{"name": "a", "ports": [{"containerPort": 80, "protocol": "TCP"}]}])),
            containers(json!([{"name": "a", "ports": [{"containerPort": 80, "name": "x"}]}])),
            json!({"f:spec": {"f:containers": {"k:{\"name\":\"a\"}": {"f:ports": {"k:{\"containerPort\":80,\"protocol\":\"TCP\"}": {"f:protocol": {}}}}}}}),
            json!({}),
            json!({"f:spec": {"f:containers": {"k:{\"name\":\"a\"}": {"f:ports": {"k:{\"containerPort\":80,\"protocol\":\"TCP\"}": {"f:name": {}}}}}}}),
        ),
        (
            "atomic struct",
            json!({"spec": {"selector": {"matchLabels": {"a": "b"}}}}),
            json!({"spec": {"selector": {"matchLabels": {"a": "c"}}}}),
            json!({}),
            json!({"f:spec": {"f:selector": {}}}),
            json!({}),
        ),
        (
            "set",
            json!({"metadata": {"finalizers": ["a", "b"]}}),
            json!({"metadata": {"finalizers": ["b", "c"]}}),
            json!({"f:metadata": {"f:finalizers": {"v:\"a\"": {}}}}),
            json!({}),
            json!({"f:metadata": {"f:finalizers": {"v:\"c\"": {}}}}),
        ),
        (
            "duplicates",
            json!({"metadata": {"finalizers": ["a"]}}),
            json!({"metadata": {"finalizers": ["a", "a"]}}),
            json!({"f:metadata": {"f:finalizers": {"v:\"a\"": {}}}}),
            json!({}),
            json!({"f:metadata": {"f:finalizers": {"v:\"a\"": {}}}}),
        ),
        (
            "raw extension",
            json!({"spec": {"data": {"a": 1}}}),
            json!({"spec": {"data": {"a": 2}}}),
            json!({}),
            json!({"f:spec": {"f:data": {}}}),
            json!({}),
        ),
    ] {
        let c = compare(&old, &new, s.typed()).expect(case);
        assert_eq!([c.removed.to_value(), c.modified.to_value(), c.added.to_value()], [removed, modified, added], "{case}");
    }
}

#[test]
fn merges() {
    let s = sample();
    let c = |names: &[&str]| containers(names.iter().map(|n| json!({"name": n})).collect());
    for (case, live, config, want) in [
        (
            "maps",
            json!({"metadata": {"labels": {"a": "1"}}}),
            json!({"metadata": {"labels": {"b": "2"}}}),
            json!({"metadata": {"labels": {"a": "1", "b": "2"}}}),
        ),
        ("items append", c(&["a"]), c(&["b"]), c(&["a", "b"])),
        ("applied order wins", c(&["a", "b", "c"]), c(&["c", "a"]), c(&["b", "c", "a"])),
        ("live items keep their place", c(&["x", "a", "y", "b"]), c(&["a", "b"]), c(&["x", "a", "y", "b"])),
        (
            "item fields",
            containers(json!([{"name": "a", "image": "1", "args": ["x"]}])),
            containers(json!([{"name": "a", "image": "2", "args": ["y"]}])),
            containers(json!([{"name": "a", "image": "2", "args": ["y"]}])),
        ),
        (
            "atomic",
            json!({"spec": {"selector": {"matchLabels": {"a": "b"}}}}),
            json!({"spec": {"selector": {}}}),
            json!({"spec": {"selector": {}}}),
        ),
    ] {
        assert_eq!(merge(&live, &config, s.typed()), Ok(want), "{case}");
    }
    let twice = containers(json!([{"name": "a"}, {"name": "a"}]));
    assert_eq!(
        merge(&json!({}), &twice, s.typed()).and(validate(&twice, s.typed())).expect_err("a duplicate").to_string(),
        ".spec.containers: duplicate entries for key [name=\"a\"]"
    );
}

#[test]
fn sets_and_removal() {
    let s = sample();
    let obj = json!({"metadata": {"labels": {"a": "1"}, "finalizers": ["f"]}, "spec": {"containers": [{"name": "a", "args": ["x"], "resources": {}}], "selector": {}}});
    let set = to_set(&obj, s.typed()).expect("a set");
    assert_eq!(
        set.to_value(),
        json!({"f:metadata": {"f:labels": {"f:a": {}}, "f:finalizers": {"v:\"f\"": {}}}, "f:spec": {"f:containers": {"k:{\"name\":\"a\"}": {".": {}, "f:name": {}, "f:args": {}, "f:resources": {}}}, "f:selector": {}}})
    );
    let remove = Set::from_value(&json!({"f:spec": {"f:containers": {"k:{\"name\":\"a\"}": {"f:args": {}}}}, "f:metadata": {"f:finalizers": {"v:\"f\"": {}}}})).expect("a set");
    assert_eq!(
        remove_items(&obj, &remove, s.typed()),
        json!({"metadata": {"labels": {"a": "1"}, "finalizers": null}, "spec": {"containers": [{"name": "a", "resources": {}}], "selector": {}}})
    );
    let mut old = Set::from_value(&json!({"f:spec": {"f:selector": {"f:matchLabels": {"f:a": {}}}}})).expect("a set");
    reconcile(&mut old, s.typed());
    assert_eq!(old.to_value(), json!({"f:spec": {"f:selector": {}}}));
}

#[test]
fn validation() {
    let s = sample();
    for (obj, want) in [
        (json!({"spec": {"foo": 1}}), ".spec.foo: field not declared in schema"),
        (json!({"spec": {"replicas": "x"}}), ".spec.replicas: expected numeric (int or float), got string"),
        (
            json!({"spec": {"containers": [{}]}}),
            ".spec.containers: element 0: associative list with keys has an element that omits all key fields [\"name\"] (and doesn't have default values for any key fields)",
        ),
        (json!({"spec": [], "x": 1}), "errors:\n  .spec: expected map, got &{[]}\n  .x: field not declared in schema"),
    ] {
        assert_eq!(validate(&obj, s.typed()).expect_err("invalid").to_string(), want);
    }
}
