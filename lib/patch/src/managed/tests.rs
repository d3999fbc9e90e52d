//! Tests of `managed`.

use super::*;
use crate::typed::testing::{Sample, sample};
use machinery::time::parse;
use machinery::{Status, Value, json};
use proptest::prelude::*;

const T1: &str = "2026-01-01T00:00:01Z";
const T2: &str = "2026-01-01T00:00:02Z";

fn req<'a>(s: &'a Sample, manager: &'a str, now: &str) -> Request<'a> {
    let now = parse(now).expect("a time");
    Request { typed: s.typed(), manager, api_version: "v1", subresource: "", reset_fields: None, now }
}

fn obj(spec: Value) -> Value {
    json!({"apiVersion": "v1", "kind": "Sample", "metadata": {"name": "x", "uid": "1"}, "spec": spec})
}
fn config(spec: Value) -> Value {
    json!({"apiVersion": "v1", "kind": "Sample", "metadata": {"name": "x"}, "spec": spec})
}
fn entries(v: &Value) -> Value {
    v["metadata"]["managedFields"].clone()
}
fn entry(manager: &str, operation: &str, time: &str, fields: Value) -> Value {
    json!({"manager": manager, "operation": operation, "apiVersion": "v1", "time": time, "fieldsType": "FieldsV1", "fieldsV1": fields})
}
fn applied(s: &Sample, live: Option<&Value>, spec: Value, manager: &str, force: bool, now: &str) -> Result<Value, Status> {
    apply(live, &config(spec), force, &req(s, manager, now))
}

#[test]
fn updates_are_tracked() {
    let s = sample();
    let mut new = obj(json!({"replicas": 1}));
    new["metadata"]["uid"] = Value::Null;
    let created = update(None, new, &req(&s, "a", T1));
    assert_eq!(entries(&created), json!([entry("a", "Update", T1, json!({"f:spec": {".": {}, "f:replicas": {}}}))]));

    let mut live = created;
    live["metadata"]["uid"] = "1".into();
    let mut same = live.clone();
    same["metadata"]["resourceVersion"] = "7".into();
    assert_eq!(entries(&update(Some(&live), same, &req(&s, "b", T2))), entries(&live), "an idle write changes nothing");

    let mut next = live.clone();
    next["spec"] = json!({"replicas": 2, "paused": true});
    let next = update(Some(&live), next, &req(&s, "b", T2));
    assert_eq!(
        entries(&next),
        json!([
            entry("a", "Update", T1, json!({"f:spec": {}})),
            entry("b", "Update", T2, json!({"f:spec": {"f:paused": {}, "f:replicas": {}}}))
        ])
    );

    for cleared in [json!([]), json!([{}])] {
        let mut next = next.clone();
        next["metadata"]["managedFields"] = cleared;
        assert_eq!(entries(&update(Some(&live), next, &req(&s, "c", T2))), Value::Null);
    }
    let mut invalid = live.clone();
    invalid["metadata"]["managedFields"] = json!([{"manager": "x", "operation": "Nonsense"}]);
    assert_eq!(entries(&update(Some(&live), invalid, &req(&s, "c", T2))), entries(&live), "what does not decode is ignored");
}

#[test]
fn apply_creates_changes_and_removes() {
    let s = sample();
    let a =
        applied(&s, None, json!({"replicas": 1, "containers": [{"name": "c", "image": "1"}]}), "m", false, T1).expect("created");
    assert_eq!(
        entries(&a),
        json!([entry(
            "m",
            "Apply",
            T1,
            json!({"f:spec": {"f:replicas": {}, "f:containers": {"k:{\"name\":\"c\"}": {".": {}, "f:name": {}, "f:image": {}}}}})
        )])
    );
    let again = applied(&s, Some(&a), json!({"replicas": 1, "containers": [{"name": "c", "image": "1"}]}), "m", false, T2);
    assert_eq!(again, Ok(a.clone()), "applying twice is applying once");
    let b = applied(&s, Some(&a), json!({"containers": [{"name": "d"}]}), "m", false, T2).expect("changed");
    assert_eq!(b["spec"], json!({"containers": [{"name": "d"}]}));
    assert_eq!(b["metadata"]["managedFields"][0]["time"], T2);
}

#[test]
fn conflicts() {
    let s = sample();
    let a = applied(&s, None, json!({"replicas": 1}), "first", false, T1).expect("created");
    let err = applied(&s, Some(&a), json!({"replicas": 2}), "second", false, T2).expect_err("a conflict");
    assert_eq!((err.code, &*err.reason), (409, "Conflict"));
    assert_eq!(err.message, "Apply failed with 1 conflict: conflict with \"first\": .spec.replicas");
    assert_eq!(
        err.details["causes"],
        json!([{"reason": "FieldManagerConflict", "message": "conflict with \"first\"", "field": ".spec.replicas"}])
    );
    let forced = applied(&s, Some(&a), json!({"replicas": 2}), "second", true, T2).expect("forced");
    assert_eq!(entries(&forced), json!([entry("second", "Apply", T2, json!({"f:spec": {"f:replicas": {}}}))]));

    let shared = applied(&s, Some(&a), json!({"replicas": 1}), "second", false, T2).expect("the same value is shared");
    assert_eq!(entries(&shared).as_array().map(Vec::len), Some(2));
    let given_up = applied(&s, Some(&shared), json!({}), "first", false, T2).expect("given up");
    assert_eq!(given_up["spec"]["replicas"], 1, "somebody else still wants it");

    let mut live = obj(json!({"replicas": 3, "paused": true}));
    live["metadata"]["managedFields"] =
        json!([entry("kubectl-client-side-apply", "Update", T1, json!({"f:spec": {"f:replicas": {}, "f:paused": {}}}))]);
    let err = applied(&s, Some(&live), json!({"replicas": 1, "paused": false}), "m", false, T2).expect_err("conflicts");
    assert_eq!(
        err.message,
        "Apply failed with 2 conflicts: conflicts with \"kubectl-client-side-apply\" using v1:\n- .spec.paused\n- .spec.replicas"
    );
}

#[test]
fn kubectl_takes_over_client_side_apply() {
    let s = sample();
    let mut live = obj(json!({"replicas": 3}));
    live["metadata"]["annotations"] =
        json!({"kubectl.kubernetes.io/last-applied-configuration": config(json!({"replicas": 3})).to_string()});
    live["metadata"]["managedFields"] =
        json!([entry("kubectl-client-side-apply", "Update", T1, json!({"f:spec": {"f:replicas": {}}}))]);
    let out = applied(&s, Some(&live), json!({"replicas": 4}), "kubectl", false, T2).expect("no conflict");
    assert_eq!(out["spec"]["replicas"], 4);
    let text =
        out["metadata"]["annotations"]["kubectl.kubernetes.io/last-applied-configuration"].as_str().expect("an annotation");
    assert!(text.ends_with("\"spec\":{\"replicas\":4}}\n"), "{text}");
    assert!(applied(&s, Some(&live), json!({"replicas": 4}), "other", false, T2).is_err());
}

#[test]
fn refusals() {
    let s = sample();
    let mut with_entries = config(json!({}));
    with_entries["metadata"]["managedFields"] = json!([]);
    for (case, config, code, message) in [
        ("managedFields", with_entries, 400, "metadata.managedFields must be nil"),
        ("version", json!({"apiVersion": "apps/v2", "kind": "Sample"}), 400, "invalid object type: apps/v2, Kind=Sample"),
        (
            "field",
            config(json!({"nope": 1})),
            500,
            "failed to create typed patch object (/x; /v1, Kind=Sample): .spec.nope: field not declared in schema",
        ),
    ] {
        let err = apply(None, &config, false, &req(&s, "m", T1)).expect_err(case);
        assert_eq!((err.code, &*err.message), (code, message), "{case}");
    }
}

#[test]
fn fields_before_the_first_apply() {
    let s = sample();
    let live = obj(json!({"replicas": 3}));
    let out = applied(&s, Some(&live), json!({"paused": true}), "m", false, T1).expect("applied");
    assert_eq!(
        entries(&out),
        json!([
            entry("m", "Apply", T1, json!({"f:spec": {"f:paused": {}}})),
            entry("before-first-apply", "Update", T1, json!({"f:spec": {".": {}, "f:replicas": {}}}))
        ])
    );
}

#[test]
fn old_updaters_share_an_entry() {
    let s = sample();
    let mut live = obj(json!({"replicas": 0}));
    live["metadata"]["uid"] = "".into();
    live = update(None, live, &req(&s, "m00", T1));
    live["metadata"]["uid"] = "1".into();
    for i in 1..13 {
        let mut next = live.clone();
        next["metadata"]["labels"][format!("l{i:02}")] = "x".into();
        live = update(Some(&live), next, &req(&s, &format!("m{i:02}"), &format!("2026-01-01T00:01:{i:02}Z")));
    }
    let list = entries(&live);
    let names: Vec<&str> = list.as_array().expect("a list").iter().filter_map(|e| e["manager"].as_str()).collect();
    assert_eq!(names, ["ancient-changes", "m04", "m05", "m06", "m07", "m08", "m09", "m10", "m11", "m12"]);
    assert_eq!(list[0]["fieldsV1"]["f:metadata"]["f:labels"], json!({".": {}, "f:l01": {}, "f:l02": {}, "f:l03": {}}));
}

#[test]
fn scale_carries_ownership() {
    let replicas = json!({"f:spec": {"f:replicas": {}}});
    let both = json!({"f:spec": {"f:replicas": {}, "f:paused": {}}});
    let list = [entry("a", "Update", T1, both.clone()), entry("b", "Update", T1, json!({"f:spec": {"f:paused": {}}}))];
    let at = ["spec", "replicas"];
    let shown = to_scale(&list, "v1", &at).expect("an owner");
    let mut want = entry("a", "Update", T1, replicas.clone());
    want["apiVersion"] = "autoscaling/v1".into();
    assert_eq!(shown, json!([want]));
    let shown = shown.as_array().expect("a list").clone();
    assert_eq!(from_scale(&list, &shown, "v1", &at), Some(Value::from(list.to_vec())), "nothing changed");

    let mut new_owner = entry("c", "Update", T2, replicas.clone());
    new_owner["apiVersion"] = "autoscaling/v1".into();
    new_owner["subresource"] = "scale".into();
    let mut c = entry("c", "Update", T2, replicas);
    c["subresource"] = "scale".into();
    let a = entry("a", "Update", T1, json!({"f:spec": {"f:paused": {}}}));
    assert_eq!(from_scale(&list, &[new_owner], "v1", &at), Some(json!([a, list[1], c])));
}

#[test]
fn timestamps_alone_are_no_change() {
    let mut old = obj(json!({"replicas": 1}));
    old["metadata"]["managedFields"] = json!([entry("a", "Update", T1, json!({"f:spec": {}}))]);
    let mut new = old.clone();
    new["metadata"]["managedFields"][0]["time"] = T2.into();
    assert_eq!(ignore_timestamps(&old, new.clone()), old);
    new["spec"]["replicas"] = 2.into();
    assert_eq!(ignore_timestamps(&old, new.clone()), new);
}

fn spec() -> impl Strategy<Value = Value> {
    let item = ("[a-c]", prop::option::of("[x-z]"), prop::collection::vec(1u8..3, 0..2));
    let containers = prop::collection::btree_map("[a-c]", item, 0..3);
    (prop::option::of(0u8..3), containers, prop::option::of(prop::collection::btree_map("[a-c]", "[x-z]", 0..2))).prop_map(
        |(replicas, containers, selector)| {
            let mut out = json!({});
            if let Some(n) = replicas {
                out["replicas"] = n.into();
            }
            if let Some(s) = selector {
                out["selector"] = json!({"matchLabels": s});
            }
            let list: Vec<Value> = containers
                .into_iter()
                .map(|(name, (_, image, ports))| {
                    let ports: std::collections::BTreeSet<u8> = ports.into_iter().collect();
                    let ports: Vec<Value> = ports.into_iter().map(|p| json!({"containerPort": p})).collect();
                    let mut c = json!({"name": name, "ports": ports});
                    if let Some(i) = image {
                        c["image"] = i.into();
                    }
                    c
                })
                .collect();
            out["containers"] = list.into();
            out
        },
    )
}

proptest! {
    #[test]
    fn apply_twice_is_apply_once(first in spec(), second in spec()) {
        let s = sample();
        let live = applied(&s, None, first, "one", false, T1).expect("created");
        let a = applied(&s, Some(&live), second.clone(), "two", true, T2).expect("forced");
        let b = applied(&s, Some(&a), second, "two", false, T1).expect("the same again");
        prop_assert_eq!(a, b);
    }
}
