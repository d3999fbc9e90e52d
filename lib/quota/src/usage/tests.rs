//! Tests of `usage`.

use super::*;
use machinery::json;

fn shown(e: &Evaluator, obj: &Value) -> Vec<String> {
    let now = "2026-01-01T00:01:00Z".parse().unwrap();
    e.usage(obj, now).into_iter().map(|(k, q)| format!("{k}={q}")).collect()
}

#[test]
fn objects_have_their_price() {
    let pod = |extra: Value| {
        let mut p = json!({"spec": {"containers": [{"name": "c", "resources": {"requests": {"cpu": "1", "nvidia.com/gpu": "2"},
            "limits": {"memory": "1Gi"}}}]}});
        machinery::meta::set(&mut p, &["status"], extra["status"].clone());
        machinery::meta::set(&mut p, &["metadata"], extra["metadata"].clone());
        p
    };
    let full = ["count/pods=1", "cpu=1", "limits.memory=1Gi", "pods=1", "requests.cpu=1", "requests.nvidia.com/gpu=2"];
    let resized = ["count/pods=1", "cpu=2", "limits.memory=1Gi", "pods=1", "requests.cpu=2", "requests.nvidia.com/gpu=2"];
    let deleted = json!({"metadata": {"deletionTimestamp": "2026-01-01T00:00:00Z", "deletionGracePeriodSeconds": 30}});
    for (name, evaluator, obj, want) in [
        ("pod", Evaluator::Pods, pod(json!({})), &full[..]),
        ("ended pod", Evaluator::Pods, pod(json!({"status": {"phase": "Failed"}})), &full[..1]),
        ("pod that does not end in time", Evaluator::Pods, pod(deleted), &full[..1]),
        (
            "pod that is still as large as it was",
            Evaluator::Pods,
            pod(json!({"status": {"containerStatuses": [{"name": "c", "allocatedResources": {"cpu": "2"}}]}})),
            &resized,
        ),
        (
            "balancer without node ports of its own",
            Evaluator::Services,
            json!({"spec": {"type": "LoadBalancer", "allocateLoadBalancerNodePorts": false, "ports": [{"nodePort": 30000}, {}]}}),
            &["count/services=1", "services=1", "services.loadbalancers=1", "services.nodeports=1"],
        ),
        (
            "claim that has more than it asks for",
            Evaluator::Claims,
            json!({"spec": {"storageClassName": "fast", "resources": {"requests": {"storage": "1Gi"}}},
                "status": {"allocatedResources": {"storage": "2Gi"}}}),
            &[
                "count/persistentvolumeclaims=1",
                "fast.storageclass.storage.k8s.io/persistentvolumeclaims=1",
                "fast.storageclass.storage.k8s.io/requests.storage=2Gi",
                "persistentvolumeclaims=1",
                "requests.storage=2Gi",
            ],
        ),
        (
            "claim of devices",
            Evaluator::of("resource.k8s.io", "resourceclaims"),
            json!({"spec": {"devices": {"requests": [
                {"name": "a", "exactly": {"deviceClassName": "gold", "allocationMode": "ExactCount", "count": 2}},
                {"name": "b", "firstAvailable": [
                    {"deviceClassName": "gold", "allocationMode": "ExactCount", "count": 3},
                    {"deviceClassName": "gold", "allocationMode": "ExactCount", "count": 1},
                    {"deviceClassName": "tin", "allocationMode": "All"}]}]}}}),
            &[
                "count/resourceclaims.resource.k8s.io=1",
                "gold.deviceclass.resource.k8s.io/devices=5",
                "tin.deviceclass.resource.k8s.io/devices=32",
            ],
        ),
        ("secret", Evaluator::of("", "secrets"), json!({}), &["count/secrets=1", "secrets=1"]),
        ("widget", Evaluator::of("example.com", "widgets"), json!({}), &["count/widgets.example.com=1"]),
    ] {
        assert_eq!(shown(&evaluator, &obj), want, "{name}");
    }
}

#[test]
fn names_of_limits_lead_to_objects() {
    for (name, want) in [
        ("requests.cpu", Some(("", "pods"))),
        ("requests.nvidia.com/gpu", Some(("", "pods"))),
        ("services.nodeports", Some(("", "services"))),
        ("fast.storageclass.storage.k8s.io/requests.storage", Some(("", "persistentvolumeclaims"))),
        ("gold.deviceclass.resource.k8s.io/devices", Some(("resource.k8s.io", "resourceclaims"))),
        ("configmaps", Some(("", "configmaps"))),
        ("count/secrets", Some(("", "secrets"))),
        ("count/widgets.example.com", Some(("example.com", "widgets"))),
        ("nonsense", None),
    ] {
        assert_eq!(Evaluator::subject(name), want, "{name}");
    }
}
