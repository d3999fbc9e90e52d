//! Tests of `strategic`.

use super::*;
use crate::typed::testing::sample;
use machinery::json;
use proptest::prelude::*;

fn containers(list: Value) -> Value {
    json!({"spec": {"containers": list}})
}

#[test]
fn patches() {
    let s = sample();
    let two = containers(json!([{"name": "a", "image": "1"}, {"name": "b", "image": "2"}]));
    for (case, original, patch, want) in [
        ("scalar", json!({"spec": {"replicas": 1}}), json!({"spec": {"replicas": 2}}), json!({"spec": {"replicas": 2}})),
        (
            "null deletes",
            json!({"spec": {"replicas": 1, "paused": true}}),
            json!({"spec": {"paused": null}}),
            json!({"spec": {"replicas": 1}}),
        ),
        (
            "null of nothing",
            json!({}),
            json!({"spec": {"paused": null, "strategy": {"type": null}}}),
            json!({"spec": {"strategy": {}}}),
        ),
        (
            "merge by key",
            two.clone(),
            containers(json!([{"name": "b", "image": "3"}])),
            containers(json!([{"name": "a", "image": "1"}, {"name": "b", "image": "3"}])),
        ),
        (
            "new items come where nothing says otherwise",
            two.clone(),
            containers(json!([{"name": "c"}])),
            containers(json!([{"name": "c"}, {"name": "a", "image": "1"}, {"name": "b", "image": "2"}])),
        ),
        (
            "delete an item",
            two.clone(),
            containers(json!([{"name": "a", "$patch": "delete"}])),
            containers(json!([{"name": "b", "image": "2"}])),
        ),
        (
            "replace a list",
            two.clone(),
            containers(json!([{"name": "z"}, {"$patch": "replace"}])),
            containers(json!([{"name": "z"}])),
        ),
        (
            "replace a map",
            json!({"spec": {"strategy": {"type": "a", "rollingUpdate": {}}}}),
            json!({"spec": {"strategy": {"$patch": "replace", "type": "b"}}}),
            json!({"spec": {"strategy": {"type": "b"}}}),
        ),
        (
            "delete a map",
            json!({"spec": {"strategy": {"type": "a"}}}),
            json!({"spec": {"strategy": {"$patch": "delete"}}}),
            json!({"spec": {"strategy": {}}}),
        ),
        (
            "retain keys",
            json!({"spec": {"strategy": {"type": "a", "rollingUpdate": {"maxSurge": 1}}}}),
            json!({"spec": {"strategy": {"$retainKeys": ["type"], "type": "b"}}}),
            json!({"spec": {"strategy": {"type": "b"}}}),
        ),
        (
            "order",
            two,
            json!({"spec": {"$setElementOrder/containers": [{"name": "c"}, {"name": "b"}, {"name": "a"}], "containers": [{"name": "c"}]}}),
            containers(json!([{"name": "c"}, {"name": "b", "image": "2"}, {"name": "a", "image": "1"}])),
        ),
        (
            "atomic list replaces",
            containers(json!([{"name": "a", "args": ["1"]}])),
            containers(json!([{"name": "a", "args": ["2"]}])),
            containers(json!([{"name": "a", "args": ["2"]}])),
        ),
        (
            "primitives merge",
            json!({"metadata": {"finalizers": ["a", "b"]}}),
            json!({"metadata": {"finalizers": ["c", "a"]}}),
            json!({"metadata": {"finalizers": ["c", "a", "b"]}}),
        ),
        (
            "primitives delete",
            json!({"metadata": {"finalizers": ["a", "b"]}}),
            json!({"metadata": {"$deleteFromPrimitiveList/finalizers": ["a"]}}),
            json!({"metadata": {"finalizers": ["b"]}}),
        ),
        (
            "labels",
            json!({"metadata": {"labels": {"a": "1", "b": "2"}}}),
            json!({"metadata": {"labels": {"a": null, "c": "3"}}}),
            json!({"metadata": {"labels": {"b": "2", "c": "3"}}}),
        ),
        (
            "nested lists",
            containers(json!([{"name": "a", "ports": [{"containerPort": 1}]}])),
            containers(json!([{"name": "a", "ports": [{"containerPort": 1, "name": "x"}]}])),
            containers(json!([{"name": "a", "ports": [{"containerPort": 1, "name": "x"}]}])),
        ),
    ] {
        assert_eq!(apply(&original, &patch, s.typed()), Ok(want), "{case}");
    }
}

#[test]
fn refusals() {
    let s = sample();
    let one = containers(json!([{"name": "a"}]));
    for (patch, code, message) in [
        (containers(json!([{"image": "x"}])), 500, "map: {\"image\":\"x\"} does not contain declared merge key: name"),
        (json!({"spec": {"strategy": {"$patch": "dance"}}, "metadata": {}}), 500, ""),
        (json!({"spec": {"$retainKeys": "x"}}), 400, "invalid patch format of retainKeys"),
        (json!({"spec": {"$retainKeys": ["replicas"], "paused": true}}), 400, "invalid patch format of retainKeys"),
        (containers(json!([["x"]])), 500, "list element types are not identical: [[{\"name\":\"a\"}] [[\"x\"]]]"),
        (json!([]), 400, "invalid JSON document"),
    ] {
        match apply(&one, &patch, s.typed()) {
            Err(e) => assert_eq!((e.code, &*e.message), (code, message), "{patch}"),
            // A directive in something new vanishes with it.
            Ok(v) => assert_eq!((v, ""), (json!({"metadata": {}, "spec": {"containers": [{"name": "a"}]}}), message)),
        }
    }
}

proptest! {
    #[test]
    fn twice_is_once(have in prop::collection::btree_map("[a-d]", "[x-z]", 0..4), patch in prop::collection::vec(("[a-f]", "[x-z]"), 0..4), delete in "[a-d]") {
        let s = sample();
        let item = |(name, image): (String, String)| json!({"name": name, "image": image});
        let mut list: Vec<Value> = patch.into_iter().map(item).collect();
        list.push(json!({"name": delete, "$patch": "delete"}));
        let original = containers(have.into_iter().map(item).collect());
        let once = apply(&original, &containers(list.clone().into()), s.typed()).expect("applies");
        // Deleting comes before merging, so that a deleted and added item moves; the set of items stays.
        let twice = apply(&once, &containers(list.into()), s.typed()).expect("applies again");
        let names = |v: &Value| -> std::collections::BTreeMap<String, Value> {
            machinery::meta::list_at(v, &["spec", "containers"]).iter().map(|c| (c["name"].to_string(), c.clone())).collect()
        };
        prop_assert_eq!(names(&once), names(&twice));
    }
}
