//! Odd requests and what upstream makes of them, each seen at a stock API server that was asked the same.

use crate::server::{MERGE, Server, admin};
use machinery::{Value, json};

fn template() -> Value {
    json!({"spec": {"restartPolicy": "Never", "containers": [{"name": "c", "image": "i"}]}})
}

fn deployment() -> Value {
    json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "d"}, "spec": {"selector": {"matchLabels": {"a": "b"}},
        "template": {"metadata": {"labels": {"a": "b"}}, "spec": {"containers": [{"name": "c", "image": "i"}]}}}})
}

#[tokio::test]
async fn what_is_stored_of_odd_objects() {
    let s = Server::start().await;
    let at = |group: &str, resource: &str| format!("/apis/{group}/v1/namespaces/default/{resource}");
    let core = |resource: &str| format!("/api/v1/namespaces/default/{resource}");
    let named = |version: &str, kind: &str, rest: Value| {
        let mut o = json!({"apiVersion": version, "kind": kind, "metadata": {"name": "x"}});
        rest.as_object().into_iter().flatten().for_each(|(k, v)| o[k] = v.clone());
        o
    };
    let job = named("batch/v1", "Job", json!({"spec": {"template": template()}}));
    let (code, job) = s.json("POST", &at("batch", "jobs"), &job).await;
    assert_eq!(code, 201, "{job}");
    assert_eq!(job["metadata"]["labels"], job["spec"]["template"]["metadata"]["labels"], "a Job has its template's labels");
    assert_eq!(job["metadata"]["labels"]["job-name"], "x");

    let (_, made) = s.json("POST", &at("apps", "deployments"), &deployment()).await;
    let owned = &made["metadata"]["managedFields"][0]["fieldsV1"]["f:spec"];
    assert!(owned.get(".").is_none() && owned["f:template"].get(".").is_none(), "no owner has what Go always writes: {owned}");
    assert!(owned["f:selector"].is_object(), "{owned}");

    let limits = json!({"apiVersion": "v1", "kind": "LimitRange", "spec": {"limits": []}});
    let (code, made) = s.json("POST", &core("limitranges"), &limits).await;
    assert_eq!((code, &made["metadata"]["name"]), (201, &made["metadata"]["uid"]), "a LimitRange needs no name: {made}");
    assert_eq!(made["spec"], json!({"limits": null}), "no list is empty in protobuf");

    let role = named("rbac.authorization.k8s.io/v1", "Role", json!({"rules": []}));
    let (_, made) = s.json("POST", &at("rbac.authorization.k8s.io", "roles"), &role).await;
    assert_eq!(made["rules"], Value::Null, "{made}");

    let service = json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "x"}, "spec": {"ports": [{"port": 80}]}});
    let (_, made) = s.json("POST", &core("services?dryRun=All"), &service).await;
    assert_eq!(made["spec"]["clusterIP"], "10.96.0.0", "a dry run takes no address: {made}");

    let hpa = named(
        "autoscaling/v1",
        "HorizontalPodAutoscaler",
        json!({"spec": {"maxReplicas": 2,
        "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "d"}}}),
    );
    let (_, made) = s.json("POST", &at("autoscaling", "horizontalpodautoscalers"), &hpa).await;
    assert_eq!(made["status"]["currentReplicas"], 0, "{made}");
}

#[tokio::test]
async fn a_deployments_annotations_are_for_its_controller() {
    let s = Server::start().await;
    let path = "/apis/apps/v1/namespaces/default/deployments";
    s.json("POST", path, &deployment()).await;
    let item = format!("{path}/d");
    for (name, patch, generation) in [
        ("an annotation", json!({"metadata": {"annotations": {"a": "b"}}}), 2),
        ("the same again", json!({"metadata": {"annotations": {"a": "b"}}}), 2),
        ("a label", json!({"metadata": {"labels": {"a": "b"}}}), 2),
        ("both annotation and spec", json!({"metadata": {"annotations": {"a": "c"}}, "spec": {"replicas": 3}}), 3),
    ] {
        let (code, now) = s.patch(&item, MERGE, &patch).await;
        assert_eq!((code, &now["metadata"]["generation"]), (200, &json!(generation)), "{name}");
    }
}

#[tokio::test]
async fn odd_requests() {
    let s = Server::start().await;
    let maps = "/api/v1/namespaces/default/configmaps";
    let map = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "m"}});
    s.json("POST", maps, &map).await;
    let head = s.raw(&admin(), "HEAD", &format!("{maps}/m"), &[], "").await;
    assert_eq!(head.status(), 405, "objects have no HEAD");
    let (code, _) = s.json("DELETE", &format!("{maps}/m?dryRun=All"), &Value::Null).await;
    assert_eq!((code, s.get(&format!("{maps}/m")).await.0), (200, 200), "a dry run by query");
    let (code, _) = s.json("DELETE", &format!("{maps}/m?dryRun=All"), &json!({})).await;
    assert_eq!((code, s.get(&format!("{maps}/m")).await.0), (200, 404), "options in the body are all options");

    let jobs = "/apis/batch/v1/namespaces/default/jobs/x";
    for (name, content, warned) in [
        ("no policy", json!({}), true),
        ("a policy", json!({"propagationPolicy": "Background"}), false),
        ("the old policy", json!({"orphanDependents": true}), false),
    ] {
        let r = s.raw(&admin(), "DELETE", jobs, &[("content-type", "application/json")], content.to_string()).await;
        let warning = r.headers().get("warning").map(|w| w.to_str().unwrap_or_default().to_owned());
        assert_eq!(
            warning.as_ref().is_some_and(|w| w.contains("child pods are preserved by default")),
            warned,
            "{name}: {warning:?}"
        );
    }
}
