//! Quotas: what is charged at creation is given back when objects go, and is counted anew when limits change.

use crate::harness::Cluster;
use client::Object;
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{ConfigMap, Pod, ResourceQuota, Service};
use serde_json::{Value, json};
use std::collections::BTreeMap;

fn quota(name: &str, spec: Value) -> Value {
    json!({"apiVersion": "v1", "kind": "ResourceQuota", "metadata": {"name": name}, "spec": spec})
}

fn used(q: &ResourceQuota) -> BTreeMap<&str, &str> {
    let status = q.status.as_ref().and_then(|s| s.used.as_ref());
    status.into_iter().flatten().map(|(k, v)| (k.as_str(), v.0.as_str())).collect()
}

fn pod(name: &str, requests: Value, deadline: Option<i64>) -> Value {
    let mut spec = json!({"containers": [{"name": "c", "image": "i", "resources": {"requests": requests}}]});
    if let Some(d) = deadline {
        spec["activeDeadlineSeconds"] = d.into();
    }
    json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name}, "spec": spec})
}

const PODS: &str = "/api/v1/namespaces/default/pods";

#[tokio::test]
async fn quotas_follow_what_they_count() {
    let mut c = Cluster::start().await;
    c.run_pods().await;
    c.apply(PODS, pod("before", json!({"cpu": "100m"}), None)).await;
    for (name, spec) in [
        (
            "all",
            json!({"hard": {"pods": "3", "requests.cpu": "1", "requests.memory": "1Gi", "count/pods": "9",
            "services": "2", "services.nodeports": "1", "configmaps": "3", "count/deployments.apps": "1"}}),
        ),
        ("deadline", json!({"hard": {"pods": "1"}, "scopes": ["Terminating"]})),
        ("cheap", json!({"hard": {"pods": "5"}, "scopes": ["BestEffort"]})),
    ] {
        c.apply("/api/v1/namespaces/default/resourcequotas", quota(name, spec)).await;
    }
    // What was there before the quota counts, too.
    let counts = |q: &ResourceQuota, expected: &[(&str, &str)]| expected.iter().all(|(k, v)| used(q).get(k) == Some(v));
    c.until_one::<ResourceQuota>("all", "first count", |q| {
        let start = [("pods", "1"), ("requests.cpu", "100m"), ("requests.memory", "0"), ("services", "1"), ("configmaps", "1")];
        used(q).len() == 8 && counts(q, &start) && counts(q, &[("services.nodeports", "0"), ("count/deployments.apps", "0")])
    })
    .await;
    c.until_one::<ResourceQuota>("cheap", "none is cheap", |q| counts(q, &[("pods", "0")])).await;

    c.apply(PODS, pod("brief", json!({"cpu": "500m", "memory": "200Mi"}), Some(60))).await;
    let too_much = c.client.post_path(PODS, &pod("big", json!({"cpu": "800m", "memory": "1"}), None)).await;
    let message = too_much.err().map(|e| e.to_string()).unwrap_or_default();
    assert!(
        message.contains("exceeded quota: all, requested: requests.cpu=800m, used: requests.cpu=600m, limited: requests.cpu=1")
    );
    c.until_one::<ResourceQuota>("deadline", "charged", |q| counts(q, &[("pods", "1")])).await;
    let service = json!({"metadata": {"name": "web"}, "spec": {"type": "NodePort", "ports": [{"port": 80}]}});
    c.apply("/api/v1/namespaces/default/services", service).await;
    c.apply("/api/v1/namespaces/default/configmaps", json!({"metadata": {"name": "m"}})).await;
    let deployment = json!({"metadata": {"name": "d"}, "spec": {"replicas": 0, "selector": {"matchLabels": {"a": "b"}},
        "template": {"metadata": {"labels": {"a": "b"}}, "spec": {"containers": [{"name": "c", "image": "i"}]}}}});
    c.apply("/apis/apps/v1/namespaces/default/deployments", deployment).await;
    let full = [("pods", "2"), ("requests.cpu", "600m"), ("requests.memory", "200Mi"), ("services", "2")];
    let objects = [("services.nodeports", "1"), ("configmaps", "2"), ("count/deployments.apps", "1")];
    c.until_one::<ResourceQuota>("all", "charged", |q| counts(q, &full) && counts(q, &objects)).await;

    // Back to what it was.
    c.delete::<Pod>("brief", "Background").await;
    c.delete::<ConfigMap>("m", "Background").await;
    c.delete::<Deployment>("d", "Background").await;
    c.patch::<Service>("web", json!({"spec": {"type": "ClusterIP", "ports": [{"port": 80}]}})).await;
    let left = [("pods", "1"), ("requests.cpu", "100m"), ("requests.memory", "0"), ("services", "2")];
    let objects = [("services.nodeports", "0"), ("configmaps", "1"), ("count/deployments.apps", "0")];
    c.until_one::<ResourceQuota>("all", "given back", |q| counts(q, &left) && counts(q, &objects)).await;
    c.until_one::<ResourceQuota>("deadline", "given back", |q| counts(q, &[("pods", "0")])).await;

    c.patch::<ResourceQuota>("all", json!({"spec": {"hard": {"secrets": "7", "services": null}}})).await;
    let q = c.until_one::<ResourceQuota>("all", "new limits", |q| counts(q, &[("secrets", "0")])).await;
    assert!(!used(&q).contains_key("services"));
    assert_eq!(q.status.as_ref().and_then(|s| s.hard.as_ref()), q.spec.as_ref().and_then(|s| s.hard.as_ref()));
    assert_eq!(q.namespace(), "default");
    c.stop().await;
}
