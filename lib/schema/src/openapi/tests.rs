//! Tests of `openapi`.

use super::*;

/// Every `$ref` of a document.
fn references(v: &Value, out: &mut Vec<String>) {
    match v {
        Value::Object(map) => {
            if let Some(Value::String(r)) = map.get("$ref") {
                out.push(r.clone());
            }
            map.values().for_each(|v| references(v, out));
        }
        Value::Array(list) => list.iter().for_each(|v| references(v, out)),
        _ => {}
    }
}

#[test]
fn documents_are_complete() {
    let mut documents: Vec<(String, Value)> = vec![("v2".into(), v2())];
    for (path, hash) in v3_index() {
        assert!(hash.len() > 16, "{path}");
        let gv: Vec<&str> = path.split('/').collect();
        let (group, version) = if gv.len() == 2 { ("", gv[1]) } else { (gv[1], gv[2]) };
        documents.push((path.clone(), v3(group, version).expect("served")));
    }
    for (name, document) in documents {
        let mut all = Vec::new();
        references(&document, &mut all);
        assert!(!all.is_empty(), "{name}");
        for r in all {
            let target = document.pointer(r.trim_start_matches('#'));
            assert!(target.is_some_and(Value::is_object), "{name}: {r}");
        }
    }
    assert!(v3("nothing", "v1").is_none());
}

#[test]
fn what_kubectl_reads() {
    let apps = v3("apps", "v1").expect("apps");
    let patch = apps.pointer("/paths/~1apis~1apps~1v1~1namespaces~1{namespace}~1deployments~1{name}/patch").expect("patch");
    assert_eq!(patch["x-kubernetes-group-version-kind"]["kind"], "Deployment");
    assert_eq!(patch["x-kubernetes-action"], "patch");
    assert_eq!(patch["operationId"], "patchAppsV1NamespacedDeployment");
    let names: Vec<&Value> = patch["parameters"].as_array().expect("list").iter().map(|p| &p["name"]).collect();
    assert_eq!(names, ["dryRun", "fieldManager", "fieldValidation", "force"]);
    let spec = apps.pointer("/components/schemas/io.k8s.api.apps.v1.DeploymentSpec").expect("spec");
    assert_eq!(spec["properties"]["strategy"]["x-kubernetes-patch-strategy"], "retainKeys");
    assert!(spec["properties"]["replicas"]["description"].as_str().is_some_and(|d| d.starts_with("Number of desired pods")));
    let core = v2();
    let ports = core.pointer("/definitions/io.k8s.api.core.v1.ServiceSpec/properties/ports").expect("ports");
    assert_eq!(ports["x-kubernetes-list-map-keys"], json!(["port", "protocol"]));
    assert_eq!(ports["x-kubernetes-patch-merge-key"], "port");
    let pod = core.pointer("/definitions/io.k8s.api.core.v1.Pod").expect("Pod");
    assert_eq!(pod["x-kubernetes-group-version-kind"], json!([{"group": "", "version": "v1", "kind": "Pod"}]));
    assert!(pod["description"].as_str().is_some_and(|d| !d.is_empty()));
    assert!(v2_protobuf(&core).len() > 500_000);
}
