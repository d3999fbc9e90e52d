//! The objects of the load: the same bytes for every system, of the size that objects of real clusters have.

use serde_json::{Value, json};

pub const NAMESPACE: &str = "bench";

/// A pod as a Deployment's controller would make it.
pub fn pod(name: &str, labels: &[(&str, &str)]) -> Value {
    let mut pod = json!({
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "name": name,
            "labels": {"app.kubernetes.io/name": "shop", "app.kubernetes.io/component": "cart", "pod-template-hash": "6d4cf56db6"},
            "annotations": {"prometheus.io/scrape": "true", "prometheus.io/port": "8080", "bench.skiff.dev/revision": "0"},
        },
        "spec": {
            "containers": [{
                "name": "cart",
                "image": "registry.example/shop/cart:v1.2.3",
                "ports": [{"name": "http", "containerPort": 8080}, {"name": "metrics", "containerPort": 9090}],
                "env": [
                    {"name": "LOG_LEVEL", "value": "info"},
                    {"name": "DATABASE", "value": "postgres://db.shop.svc:5432/cart"},
                    {"name": "POD_NAME", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}},
                ],
                "resources": {"requests": {"cpu": "100m", "memory": "64Mi"}, "limits": {"memory": "128Mi"}},
                "readinessProbe": {"httpGet": {"path": "/ready", "port": "http"}, "periodSeconds": 5},
                "livenessProbe": {"httpGet": {"path": "/live", "port": "http"}, "periodSeconds": 10},
                "volumeMounts": [{"name": "config", "mountPath": "/etc/cart"}],
            }],
            "volumes": [{"name": "config", "configMap": {"name": "cart"}}],
            "tolerations": [{"key": "dedicated", "operator": "Equal", "value": "shop", "effect": "NoSchedule"}],
        },
    });
    for (key, value) in labels {
        pod["metadata"]["labels"][*key] = json!(value);
    }
    pod
}

/// A pod for schedulers: the basic shape.
pub fn plain_pod(name: &str) -> Value {
    json!({
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "labels": {"app": "basic"}},
        "spec": {"containers": [{"name": "c", "image": "registry.example/pause:1",
            "resources": {"requests": {"cpu": "10m", "memory": "16Mi"}}}]},
    })
}

/// A node that nobody runs.
pub fn node(name: &str) -> Value {
    let resources = json!({"cpu": "32", "memory": "256Gi", "pods": "250", "ephemeral-storage": "512Gi"});
    let condition =
        |kind: &str, status: &str| json!({"type": kind, "status": status, "reason": "Bench", "message": "a fake node"});
    json!({
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {"name": name, "labels": {"kubernetes.io/hostname": name, "topology.kubernetes.io/zone": "a"}},
        "status": {
            "capacity": resources, "allocatable": resources,
            "conditions": [condition("Ready", "True"), condition("MemoryPressure", "False"), condition("DiskPressure", "False")],
        },
    })
}

pub fn config_map(name: &str, text: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": {"value": text}})
}

pub fn lease(name: &str, holder: usize) -> Value {
    json!({
        "apiVersion": "coordination.k8s.io/v1",
        "kind": "Lease",
        "metadata": {"name": name},
        "spec": {"holderIdentity": format!("holder-{holder}"), "leaseDurationSeconds": 40},
    })
}

pub fn event(name: &str, pod: &str) -> Value {
    json!({
        "apiVersion": "v1",
        "kind": "Event",
        "metadata": {"name": name},
        "involvedObject": {"apiVersion": "v1", "kind": "Pod", "namespace": NAMESPACE, "name": pod},
        "reason": "Pulled", "type": "Normal", "count": 1, "source": {"component": "kubelet", "host": "n1"},
        "message": "Container image \"registry.example/shop/cart:v1.2.3\" already present on machine",
    })
}

pub fn service(name: &str) -> Value {
    json!({
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": name},
        "spec": {"ports": [{"name": "http", "port": 80, "targetPort": 8080}]},
    })
}

/// The endpoints of `service`: these addresses, ready.
pub fn endpoint_slice(service: &str, addresses: &[String]) -> Value {
    let endpoints: Vec<Value> = addresses.iter().map(|a| json!({"addresses": [a], "conditions": {"ready": true}})).collect();
    json!({
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "metadata": {"name": service, "labels": {"kubernetes.io/service-name": service}},
        "addressType": "IPv4",
        "endpoints": endpoints,
        "ports": [{"name": "http", "port": 8080, "protocol": "TCP"}],
    })
}
