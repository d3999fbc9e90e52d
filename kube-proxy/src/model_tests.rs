//! Tests of `model`: which endpoints a node sends to.

use super::*;
use client::k8s_openapi::serde_json::{self, json};

fn slice(endpoints: &serde_json::Value) -> Vec<Arc<EndpointSlice>> {
    let slice = json!({"addressType": "IPv4", "ports": [{"name": "", "port": 80}], "endpoints": endpoints});
    vec![Arc::new(serde_json::from_value(slice).expect("slice"))]
}

#[test]
fn hints() {
    let e = |ip: &str, ready: bool, nodes: &[&str], zones: &[&str]| {
        let names = |list: &[&str]| list.iter().map(|n| json!({"name": n})).collect::<Vec<_>>();
        json!({"addresses": [ip], "conditions": {"ready": ready, "serving": true, "terminating": !ready},
               "nodeName": "n2", "hints": {"forNodes": names(nodes), "forZones": names(zones)}})
    };
    let here = Place { node: "n1", zone: "a" };
    for (name, endpoints, want) in [
        ("no hints", json!([e("10.0.0.1", true, &[], &[]), e("10.0.0.2", true, &[], &[])]), vec![1, 2]),
        ("zone", json!([e("10.0.0.1", true, &[], &["a"]), e("10.0.0.2", true, &[], &["b"])]), vec![1]),
        ("node before zone", json!([e("10.0.0.1", true, &["n1"], &["b"]), e("10.0.0.2", true, &["n2"], &["a"])]), vec![1]),
        ("not this node: zone", json!([e("10.0.0.1", true, &["n2"], &["b"]), e("10.0.0.2", true, &["n3"], &["a"])]), vec![2]),
        ("neither", json!([e("10.0.0.1", true, &[], &["b"]), e("10.0.0.2", true, &[], &["c"])]), vec![1, 2]),
        ("one without", json!([e("10.0.0.1", true, &[], &["a"]), e("10.0.0.2", true, &[], &[])]), vec![1, 2]),
        ("of those that end none counts", json!([e("10.0.0.1", true, &[], &["a"]), e("10.0.0.2", false, &[], &[])]), vec![1]),
        ("all end", json!([e("10.0.0.1", false, &[], &["b"]), e("10.0.0.2", false, &[], &["a"])]), vec![1, 2]),
    ] {
        let (all, local) = super::endpoints(&slice(&endpoints), "", here);
        assert_eq!(all.iter().map(|e| e.0.octets()[3]).collect::<Vec<_>>(), want, "{name}");
        assert!(local.is_empty(), "{name}");
    }
}

#[test]
fn health_checks() {
    let service = |kind: &str, policy: &str| -> Service {
        serde_json::from_value(json!({"spec": {"type": kind, "externalTrafficPolicy": policy, "healthCheckNodePort": 32000}}))
            .expect("service")
    };
    let e = |ip: &str, node: &str, ready: bool| json!({"addresses": [ip], "nodeName": node, "conditions": {"ready": ready}});
    let endpoints = json!([e("10.0.0.1", "n1", true), e("10.0.0.2", "n1", false), e("10.0.0.3", "n2", true)]);
    for (name, s, node, want) in [
        ("one of two is ready", service("LoadBalancer", "Local"), "n1", Some((32000, 1))),
        ("none here", service("LoadBalancer", "Local"), "n3", Some((32000, 0))),
        ("everywhere", service("LoadBalancer", "Cluster"), "n1", None),
        ("no load balancer", service("NodePort", "Local"), "n1", None),
    ] {
        assert_eq!(health_check(&s, &slice(&endpoints), node), want, "{name}");
    }
}
