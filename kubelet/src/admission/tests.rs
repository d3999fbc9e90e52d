//! Reasons and messages of refused pods.

use super::*;
use serde_json::{Value, json};

fn pod(spec: Value) -> Pod {
    serde_json::from_value(json!({"metadata": {"name": "p", "namespace": "d", "uid": "u"}, "spec": spec})).expect("pod")
}

fn with_requests(requests: Value) -> Value {
    json!({"containers": [{"name": "c", "resources": {"requests": requests}}]})
}

#[test]
fn verdicts() {
    let node: Node = serde_json::from_value(json!({
        "metadata": {"name": "n1", "labels": {"disk": "ssd", "rank": "7"}},
        "spec": {"taints": [{"key": "k", "value": "v", "effect": "NoExecute"}, {"key": "s", "effect": "NoSchedule"}]},
    }))
    .expect("node");
    let q = |s: &str| Quantity(s.to_owned());
    let allocatable = BTreeMap::from([("cpu", "2"), ("memory", "1Gi"), ("pods", "3")].map(|(k, v)| (k.to_owned(), q(v))));
    let other = pod(json!({"containers": [{"name": "c", "resources": {"requests": {"cpu": "1500m"}},
        "ports": [{"containerPort": 1, "hostPort": 80, "protocol": "TCP"}]}]}));
    let sysctls = sysctl::Allowed::new("6.1.0-13-amd64", &["kernel.msg*".into(), "net.core.somaxconn".into()]).expect("list");
    let affinity = |requirement: Value| {
        json!({"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution":
            {"nodeSelectorTerms": [{"matchExpressions": [requirement]}]}}})
    };
    let tolerant = |mut spec: Value| {
        spec["tolerations"] = json!([{"key": "k", "operator": "Exists"}]);
        if spec.get("containers").is_none() {
            spec["containers"] = json!([{"name": "c"}]);
        }
        spec
    };
    let sysctl = |name: &str| json!({"securityContext": {"sysctls": [{"name": name, "value": "1"}]}});
    let port =
        |ip: &str, p: i32| json!({"containers": [{"name": "c", "ports": [{"containerPort": 1, "hostPort": p, "hostIP": ip}]}]});
    let mismatch = "Predicate NodeAffinity failed: node(s) didn't match Pod's node affinity/selector";
    let ports = "Predicate NodePorts failed: node(s) didn't have free ports for the requested pod ports";
    let cases = [
        ("fits", tolerant(with_requests(json!({"cpu": "500m", "memory": "1Gi"}))), None),
        (
            "cpu",
            tolerant(with_requests(json!({"cpu": "501m"}))),
            Some(("OutOfcpu", "Node didn't have enough resource: cpu, requested: 501, used: 1500, capacity: 2000")),
        ),
        (
            "memory",
            tolerant(with_requests(json!({"memory": "2Gi"}))),
            Some((
                "OutOfmemory",
                "Node didn't have enough resource: memory, requested: 2147483648, used: 0, capacity: 1073741824",
            )),
        ),
        ("a resource of the cluster", tolerant(with_requests(json!({"example.com/x": "1"}))), None),
        ("selector", tolerant(json!({"nodeSelector": {"disk": "hdd"}})), Some(("NodeAffinity", mismatch))),
        ("greater", tolerant(json!({"affinity": affinity(json!({"key": "rank", "operator": "Gt", "values": ["6"]}))})), None),
        (
            "not in",
            tolerant(json!({"affinity": affinity(json!({"key": "disk", "operator": "NotIn", "values": ["ssd"]}))})),
            Some(("NodeAffinity", mismatch)),
        ),
        (
            "name",
            tolerant(json!({"nodeName": "n2"})),
            Some(("NodeName", "Predicate NodeName failed: node(s) didn't match the requested node name")),
        ),
        ("host port taken", tolerant(port("127.0.0.1", 80)), Some(("NodePorts", ports))),
        ("host port free", tolerant(port("127.0.0.1", 81)), None),
        (
            "taint",
            json!({"containers": [{"name": "c"}]}),
            Some(("TaintToleration", "Predicate TaintToleration failed: node(s) had taints that the pod didn't tolerate")),
        ),
        ("safe sysctl", tolerant(sysctl("kernel.shm_rmid_forced")), None),
        ("allowed by pattern", tolerant(sysctl("kernel.msgmax")), None),
        ("allowed with slashes", tolerant(sysctl("net/core/somaxconn")), None),
        (
            "forbidden sysctl",
            tolerant(sysctl("kernel.shmmax")),
            Some(("SysctlForbidden", "forbidden sysctl: \"kernel.shmmax\" not allowlisted")),
        ),
        (
            "sysctl of the host's namespace",
            tolerant(
                json!({"hostNetwork": true, "securityContext": {"sysctls": [{"name": "net.core.somaxconn", "value": "1"}]}}),
            ),
            Some(("SysctlForbidden", "forbidden sysctl: \"net.core.somaxconn\" not allowed with host Net enabled")),
        ),
        (
            "os",
            tolerant(json!({"os": {"name": "windows"}})),
            Some(("PodOSNotSupported", "Failed to admit pod as the OS field doesn't match node OS")),
        ),
    ];
    let others = [Arc::new(other)];
    let place = Place { node: &node, allocatable: &allocatable, others: &others };
    for (name, spec, want) in cases {
        let got = admit(&pod(spec), &place, &sysctls).err();
        assert_eq!(got, want.map(|(r, m)| Rejection::new(r, m)), "{name}");
    }
    let full = [others[0].clone(), others[0].clone(), others[0].clone()];
    let place = Place { others: &full, ..place };
    let got = admit(&pod(tolerant(json!({}))), &place, &sysctls);
    let want = "Node didn't have enough resource: pods, requested: 1, used: 3, capacity: 3";
    assert_eq!(got, Err(Rejection::new("OutOfpods", want)));
}

#[test]
fn sysctls_outside_namespaces_are_refused() {
    let e = sysctl::Allowed::new("6.1", &["vm.swappiness".into()]).expect_err("not namespaced");
    assert_eq!(e.to_string(), "the sysctls \"vm.swappiness\" are not known to be namespaced");
}
