//! The nine manifests that people brought, as they are.

use crate::Test;
use e2e::lab::NODE_IP;
use e2e::{Lab, Namespace};

pub const TESTS: &[Test] = e2e::tests![
    s1_a_deployment_is_exposed_and_answers,
    s2_a_mount_without_volume_is_refused_by_its_field,
    s2b_a_claim_is_bound_and_a_file_outlives_its_pod,
    s3_s4_a_running_pod_is_not_changed_into_another,
    s4_a_pod_has_its_environment_limits_and_probes,
    s5_s6_two_owners_of_one_label_keep_their_own_pods,
    s7_s8_s9_a_node_port_is_allocated_kept_and_released,
];

fn s1_a_deployment_is_exposed_and_answers(lab: &Lab) {
    let ns = Namespace::new(lab, "s1");
    assert_eq!(ns.apply_seed("s1-deployment-hello-world.yaml"), "deployment.apps/hello-world created\n");
    ns.rolled_out("deployment/hello-world");
    let out = ns.kubectl(&["expose", "deployment", "hello-world", "--type=NodePort", "--name=example-service"]).ok();
    assert_eq!(out, "service/example-service exposed\n");
    let port = ns.get("service example-service", "{.spec.ports[0].nodePort}");
    let url = format!("http://{NODE_IP}:{port}/");
    let answer = ns.eventually("an answer from outside", || {
        let o = lab.curl_outside(&url);
        if o.code == 0 { Ok(o.out) } else { Err(o.err) }
    });
    assert!(answer.contains("hello-world-"), "the answer names its pod: {answer}");
    let table = ns.kubectl(&["get", "deployment"]).ok();
    assert!(table.lines().nth(1).is_some_and(|l| l.split_whitespace().take(4).eq(["hello-world", "2/2", "2", "2"])), "{table}");
}

fn s2_a_mount_without_volume_is_refused_by_its_field(lab: &Lab) {
    let ns = Namespace::new(lab, "s2");
    // Upstream validates the template of a StatefulSet with the object: nothing is created that could never run.
    let error = ns.kubectl(&["apply", "-f", &Lab::testdata("s2-statefulset-my-csi-app-set.yaml")]).fails();
    assert!(error.contains("The StatefulSet \"my-csi-app-set\" is invalid"), "{error}");
    assert!(error.contains(r#"spec.template.spec.containers[0].volumeMounts[0].name: Not found: "data""#), "{error}");
    assert_eq!(ns.get("statefulsets,pods", "{.items[*].metadata.name}"), "");
}

fn s2b_a_claim_is_bound_and_a_file_outlives_its_pod(lab: &Lab) {
    let ns = Namespace::new(lab, "s2b");
    ns.apply_seed("s2b-statefulset-corrected.yaml");
    ns.rolled_out("statefulset/my-csi-app-set");
    let claim = "pvc csi-pvc-my-csi-app-set-0";
    assert_eq!(ns.get(claim, "{.status.phase} {.status.capacity.storage}"), "Bound 1Gi");
    ns.exec("my-csi-app-set-0", &["sh", "-c", "echo kept > /data/file"]).ok();
    let uid = ns.get("pod my-csi-app-set-0", "{.metadata.uid}");
    ns.kubectl(&["delete", "pod", "my-csi-app-set-0", "--grace-period=1"]).ok();
    ns.eventually("another pod of the same name", || {
        let now = ns.kubectl(&["get", "pod", "my-csi-app-set-0", "-o", "jsonpath={.metadata.uid}"]).out;
        if !now.is_empty() && now != uid { Ok(()) } else { Err(now) }
    });
    ns.wait("condition=Ready", "pod/my-csi-app-set-0");
    assert_eq!(ns.exec("my-csi-app-set-0", &["cat", "/data/file"]).ok(), "kept\n");
}

fn s3_s4_a_running_pod_is_not_changed_into_another(lab: &Lab) {
    let ns = Namespace::new(lab, "s3");
    ns.apply_seed("s3-pod-nginx-simple.yaml");
    ns.wait("condition=Ready", "pod/nginx");
    let error = ns.kubectl(&["apply", "-f", &Lab::testdata("s4-pod-nginx-full.yaml")]).fails();
    assert!(error.contains(r#"The Pod "nginx" is invalid"#), "{error}");
    let what = "spec: Forbidden: pod updates may not change fields other than `spec.containers[*].image`";
    assert!(error.contains(what), "{error}");
    assert_eq!(ns.get("pod nginx", "{.spec.containers[0].env}"), "");
}

fn s4_a_pod_has_its_environment_limits_and_probes(lab: &Lab) {
    let ns = Namespace::new(lab, "s4");
    ns.apply_seed("s4-pod-nginx-full.yaml");
    ns.wait("condition=Ready", "pod/nginx");
    let env = ns.exec("nginx", &["env"]).ok();
    for e in ["MI_VARIABLE=pelado", "MI_OTRA_VARIABLE=pelade", &format!("DD_AGENT_HOST={NODE_IP}")] {
        assert!(env.lines().any(|l| l == e), "{e} is in:\n{env}");
    }
    assert_eq!(ns.get("pod nginx", "{.status.qosClass} {.status.hostIP}"), format!("Burstable {NODE_IP}"));
    let memory = "cat /sys/fs/cgroup/memory/memory.limit_in_bytes 2>/dev/null || cat /sys/fs/cgroup/memory.max";
    assert_eq!(ns.exec("nginx", &["sh", "-c", memory]).ok().trim(), "134217728");
    let text = ns.kubectl(&["describe", "pod", "nginx"]).ok();
    for part in [
        "Liveness:   tcp-socket :80 delay=15s timeout=1s period=20s #success=1 #failure=3",
        "Readiness:  http-get http://:80/ delay=5s timeout=1s period=10s #success=1 #failure=3",
        "DD_AGENT_HOST:      (v1:status.hostIP)",
    ] {
        assert!(text.contains(part), "{part:?} is in:\n{text}");
    }
}

fn s5_s6_two_owners_of_one_label_keep_their_own_pods(lab: &Lab) {
    let ns = Namespace::new(lab, "s5");
    ns.apply_seed("s5-deployment-nginx.yaml");
    ns.apply_seed("s6-daemonset-nginx.yaml");
    ns.rolled_out("deployment/nginx-deployment");
    ns.rolled_out("daemonset/nginx-daemonset");
    let owners = ns.get("pods -l app=nginx", "{range .items[*]}{.metadata.ownerReferences[0].kind} {end}");
    let count = |kind: &str| owners.split_whitespace().filter(|o| *o == kind).count();
    assert_eq!((count("ReplicaSet"), count("DaemonSet")), (3, 1), "{owners}");
    ns.kubectl(&["delete", "daemonset", "nginx-daemonset", "--grace-period=1"]).ok();
    ns.kubectl(&["wait", "--for=delete", "pod", "-l", "app=nginx,controller-revision-hash", "--timeout=60s"]).ok();
    assert_eq!(ns.get("deployment nginx-deployment", "{.status.readyReplicas}"), "3");
}

fn s7_s8_s9_a_node_port_is_allocated_kept_and_released(lab: &Lab) {
    let ns = Namespace::new(lab, "s7");
    let port = || ns.get("service mi-servicio", "{.spec.ports[0].nodePort}");
    ns.apply_seed("s7-service-lb-9376.yaml");
    let allocated: u16 = port().parse().expect("a port");
    assert!((30000..=32767).contains(&allocated), "{allocated}");
    ns.becomes("service mi-servicio", "{.status.loadBalancer.ingress[0].ip}", NODE_IP);
    ns.apply_seed("s8-service-nodeport-30007.yaml");
    assert_eq!(port(), "30007");
    assert_eq!(ns.get("service mi-servicio", "{.spec.type}"), "NodePort");
    ns.apply_seed("s9-service-lb-80.yaml");
    assert_eq!(ns.get("service mi-servicio", "{.spec.type} {.spec.ports[0].targetPort}"), "LoadBalancer 80");
    let kept: u16 = port().parse().expect("a port");
    let other =
        "{apiVersion: v1, kind: Service, metadata: {name: other}, spec: {type: NodePort, ports: [{port: 80, nodePort: PORT}]}}";
    let error = ns.kubectl_in(&["apply", "-f", "-"], &other.replace("PORT", &kept.to_string())).fails();
    assert!(error.contains("provided port is already allocated"), "{error}");
    ns.kubectl(&["delete", "service", "mi-servicio"]).ok();
    ns.apply(&other.replace("PORT", &kept.to_string()));
}
