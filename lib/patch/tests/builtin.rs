//! The engines over the table of built-in kinds, with objects as users write them.

use machinery::{Value, json};
use patch::managed::{self, Request};
use patch::strategic;
use schema::{Registry, Typed};

fn typed(group: &str, kind: &str) -> Typed<'static> {
    Registry::builtin().typed_kind(group, "v1", kind).expect("a built-in kind")
}

fn request<'a>(typed: Typed<'a>, manager: &'a str, api_version: &'a str) -> Request<'a> {
    let now = machinery::time::parse("2026-01-01T00:00:00Z").expect("a time");
    Request { typed, manager, api_version, subresource: "", reset_fields: None, now }
}

fn deployment(containers: Value) -> Value {
    json!({
        "apiVersion": "apps/v1", "kind": "Deployment",
        "metadata": {"name": "web", "namespace": "default", "labels": {"app": "web"}},
        "spec": {"replicas": 2, "selector": {"matchLabels": {"app": "web"}}, "template": {"metadata": {"labels": {"app": "web"}}, "spec": {"containers": containers}}}
    })
}

#[test]
fn apply_a_deployment() {
    let t = typed("apps", "Deployment");
    let config = deployment(
        json!([{"name": "a", "image": "nginx", "ports": [{"containerPort": 80}], "env": [{"name": "X", "value": "1"}], "resources": {"limits": {"cpu": "1"}}, "args": ["-v"]}]),
    );
    let live = managed::apply(None, &config, false, &request(t, "m", "apps/v1")).expect("applies");
    assert_eq!(
        live["metadata"]["managedFields"][0]["fieldsV1"],
        json!({
            "f:metadata": {"f:labels": {"f:app": {}}},
            "f:spec": {"f:replicas": {}, "f:selector": {}, "f:template": {"f:metadata": {"f:labels": {"f:app": {}}}, "f:spec": {"f:containers": {"k:{\"name\":\"a\"}": {
                ".": {}, "f:name": {}, "f:image": {}, "f:args": {}, "f:resources": {"f:limits": {"f:cpu": {}}},
                "f:ports": {"k:{\"containerPort\":80,\"protocol\":\"TCP\"}": {".": {}, "f:containerPort": {}}},
                "f:env": {"k:{\"name\":\"X\"}": {".": {}, "f:name": {}, "f:value": {}}}
            }}}}}
        })
    );
    let mut scaled = live.clone();
    scaled["spec"]["replicas"] = 3.into();
    let scaled = managed::update(Some(&live), scaled, &request(t, "kubectl-scale", "apps/v1"));
    let err = managed::apply(Some(&scaled), &config, false, &request(t, "m", "apps/v1")).expect_err("a conflict");
    assert_eq!(err.message, "Apply failed with 1 conflict: conflict with \"kubectl-scale\" using apps/v1: .spec.replicas");

    let mut bad = config;
    bad["spec"]["template"]["spec"]["nope"] = 1.into();
    let err = managed::apply(None, &bad, false, &request(t, "m", "apps/v1")).expect_err("an unknown field");
    assert_eq!(
        (err.code, &*err.message),
        (
            500,
            "failed to create typed patch object (default/web; apps/v1, Kind=Deployment): .spec.template.spec.nope: field not declared in schema"
        )
    );
}

#[test]
fn every_item_of_a_service_port_list_is_found() {
    let t = typed("", "Service");
    let service =
        |ports: Value| json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "s"}, "spec": {"ports": ports}});
    let live =
        managed::apply(None, &service(json!([{"port": 53, "protocol": "UDP"}, {"port": 53}])), false, &request(t, "m", "v1"));
    let live = live.expect("two ports that differ by protocol");
    let one = managed::apply(Some(&live), &service(json!([{"port": 53}])), false, &request(t, "m", "v1")).expect("one left");
    assert_eq!(one["spec"]["ports"], json!([{"port": 53}]));
}

#[test]
fn patch_a_deployment() {
    let t = typed("apps", "Deployment");
    let live = deployment(
        json!([{"name": "a", "image": "1", "volumeMounts": [{"mountPath": "/a", "name": "v"}]}, {"name": "b", "image": "2"}]),
    );
    let patch = json!({"spec": {"template": {"spec": {
        "$setElementOrder/containers": [{"name": "b"}, {"name": "a"}],
        "containers": [{"name": "a", "image": "3", "volumeMounts": [{"mountPath": "/a", "$patch": "delete"}, {"mountPath": "/b", "name": "v"}]}],
        "volumes": [{"name": "v", "emptyDir": {}}]
    }}}});
    let out = strategic::apply(&live, &patch, t).expect("applies");
    assert_eq!(
        out["spec"]["template"]["spec"],
        json!({"containers": [{"name": "b", "image": "2"}, {"name": "a", "image": "3", "volumeMounts": [{"mountPath": "/b", "name": "v"}]}], "volumes": [{"name": "v", "emptyDir": {}}]})
    );
}
