//! Pods of different nodes see each other as they are; Services, DNS and node ports work on every node.

use crate::{Test, Two};
use e2e::command::eventually;
use e2e::lab::NODE_IP;
use e2e::namespace::PATIENCE;
use e2e::{Lab, Namespace, image, run};
use std::process::Command;

pub const TESTS: &[Test] = e2e::tests![
    pods_reach_each_other_untranslated,
    services_names_and_node_ports_work_on_both,
    logs_exec_and_forwarding_reach_the_second_node,
    volumes_on_the_second_node,
    pods_of_nodes_beyond_a_router_reach_each_other,
];

/// A pod on each node that tells its clients their address, and a Service in front of the one on the first.
const PODS: &str = r##"
apiVersion: v1
kind: ConfigMap
metadata: {name: www}
data:
  many: "#!/bin/sh\necho 'Content-type: text/plain'\necho\ndd if=/dev/zero bs=1000 count=300 2>/dev/null\n"
  who: "#!/bin/sh\necho 'Content-type: text/plain'\necho\necho $REMOTE_ADDR\n"
---
apiVersion: v1
kind: Pod
metadata: {name: a, labels: {app: a}}
spec:
  nodeSelector: {kubernetes.io/hostname: n1}
  terminationGracePeriodSeconds: 0
  containers: [{name: c, image: 'busybox:1.36', command: [httpd, -f, -p, '7000', -h, /www], volumeMounts: [{name: v, mountPath: /www/cgi-bin}]}]
  volumes: [{name: v, configMap: {name: www, defaultMode: 0755}}]
---
apiVersion: v1
kind: Pod
metadata: {name: b, labels: {app: b}}
spec:
  nodeSelector: {kubernetes.io/hostname: n2}
  terminationGracePeriodSeconds: 0
  containers: [{name: c, image: 'busybox:1.36', command: [sh, -c, echo hello from b; exec httpd -f -p 7000 -h /www], volumeMounts: [{name: v, mountPath: /www/cgi-bin}]}]
  volumes: [{name: v, configMap: {name: www, defaultMode: 0755}}]
---
apiVersion: v1
kind: Service
metadata: {name: a}
spec: {type: NodePort, selector: {app: a}, ports: [{port: 80, targetPort: 7000}]}
"##;

fn pods<'a>(lab: &'a Lab, name: &str) -> Namespace<'a> {
    let ns = Namespace::new(lab, name);
    ns.apply(PODS);
    for pod in ["pod/a", "pod/b"] {
        ns.wait("condition=Ready", pod);
    }
    ns
}

/// httpd listens on IPv6 and writes `[::ffff:10.244.1.2]`.
fn plain(address: &str) -> String {
    address.trim().trim_start_matches("[::ffff:").trim_end_matches(']').to_owned()
}

/// Which address a server says that a pod has.
fn asked(ns: &Namespace<'_>, pod: &str, host: &str, port: &str) -> String {
    ns.eventually(&format!("{pod} asks {host}:{port}"), || {
        let url = format!("http://{host}:{port}/cgi-bin/who");
        let o = ns.kubectl(&["exec", pod, "--", "wget", "-qO-", &url]);
        if o.code == 0 { Ok(plain(&o.out)) } else { Err(o.err) }
    })
}

/// The same question from a machine.
fn curl(ns: &Namespace<'_>, command: impl Fn() -> Command, host: &str, port: &str) -> String {
    ns.eventually(&format!("a machine asks {host}:{port}"), || {
        let o = run(command().args(["-sS", "-f", "-m", "3", &format!("http://{host}:{port}/cgi-bin/who")]), "");
        if o.code == 0 { Ok(plain(&o.out)) } else { Err(o.err) }
    })
}

fn pods_reach_each_other_untranslated(two: &Two) {
    let ns = pods(&two.lab, "untranslated");
    let (a, b) = (ns.get("pod a", "{.status.podIP}"), ns.get("pod b", "{.status.podIP}"));
    let range = |node: &str| ns.get(&format!("node {node}"), "{.spec.podCIDR}");
    for (pod, node) in [(&a, "n1"), (&b, "n2")] {
        let prefix = range(node).rsplit_once('.').map(|(p, _)| format!("{p}.")).unwrap_or_default();
        assert!(pod.starts_with(&prefix), "{pod} lies in {node}'s {prefix}");
    }
    assert_ne!(range("n1"), range("n2"));
    assert_eq!(asked(&ns, "b", &a, "7000"), b, "a sees b's address");
    assert_eq!(asked(&ns, "a", &b, "7000"), a, "b sees a's address");
    // And the machines are seen as they are by the pods of the other.
    assert_eq!(curl(&ns, || two.lab.command("curl"), &b, "7000"), NODE_IP);
    assert_eq!(curl(&ns, || two.second.command("curl"), &a, "7000"), two.second.ip);
}

fn services_names_and_node_ports_work_on_both(two: &Two) {
    let ns = pods(&two.lab, "names");
    let (ip, b) = (ns.get("service a", "{.spec.clusterIP}"), ns.get("pod b", "{.status.podIP}"));
    assert_eq!(asked(&ns, "b", &ip, "80"), b, "a Service keeps the client's address");
    assert_eq!(asked(&ns, "b", "a.names.svc.cluster.local", "80"), b, "by name");
    assert_eq!(asked(&ns, "b", "a", "80"), b, "by its short name");
    curl(&ns, || two.second.command("curl"), &ip, "80");
    let port = ns.get("service a", "{.spec.ports[0].nodePort}");
    for node in [NODE_IP, two.second.ip.as_str()] {
        curl(&ns, || two.lab.outside("curl"), node, &port);
    }
}

fn logs_exec_and_forwarding_reach_the_second_node(two: &Two) {
    let ns = pods(&two.lab, "through");
    assert_eq!(ns.kubectl(&["logs", "b"]).ok(), "hello from b\n");
    assert_eq!(ns.kubectl(&["exec", "b", "--", "hostname"]).ok(), "b\n");
    // The API server verifies the node's certificate, which the cluster signed on request.
    let issued = ns.get("csr", "{range .items[*]}{.spec.signerName} {.spec.username} {.status.conditions[*].type}{\"\\n\"}{end}");
    for line in
        ["kubernetes.io/kube-apiserver-client-kubelet system:bootstrap:", "kubernetes.io/kubelet-serving system:node:n2 Approved"]
    {
        assert!(issued.contains(line), "{line:?} is in:\n{issued}");
    }
    let (cert, second) = (two.second.data().join("kubelet/pki/kubelet-server-current.pem"), &two.second);
    assert!(second.sh(&format!("openssl x509 -noout -subject -in {}", cert.display())).ok().contains("system:node:n2"));
}

fn volumes_on_the_second_node(two: &Two) {
    let ns = Namespace::new(&two.lab, "volumes");
    ns.apply(
        "
apiVersion: v1
kind: PersistentVolumeClaim
metadata: {name: data}
spec: {accessModes: [ReadWriteOnce], resources: {requests: {storage: 1Mi}}}
---
apiVersion: v1
kind: Pod
metadata: {name: writer}
spec:
  nodeSelector: {kubernetes.io/hostname: n2}
  terminationGracePeriodSeconds: 0
  securityContext: {runAsUser: 1000}
  containers: [{name: c, image: 'busybox:1.36', command: [sh, -c, 'until echo kept >/data/file; do sleep 0.2; done; sleep 3600'], volumeMounts: [{name: v, mountPath: /data}]}]
  volumes: [{name: v, persistentVolumeClaim: {claimName: data}}]
",
    );
    ns.wait("condition=Ready", "pod/writer");
    let root = two.second.data().join("local-path");
    let find = || two.second.sh(&format!("cat {}/pvc-*/file", root.display()));
    ns.eventually("the file on the second machine", || if find().out == "kept\n" { Ok(()) } else { Err(find().err) });
    ns.kubectl(&["delete", "pod/writer", "pvc/data", "--wait"]).ok();
    ns.eventually("the directory is gone", || {
        let left = two.second.sh(&format!("ls -A {}", root.display())).ok();
        if left.is_empty() { Ok(()) } else { Err(left) }
    });
}

/// The tunnel: in a lab of its own, whose second machine is on another wire.
fn pods_of_nodes_beyond_a_router_reach_each_other(_: &Two) {
    let lab = Lab::new("far");
    lab.up().ok();
    let second = lab.machine_beyond_a_router(2);
    second.join(&lab.skiff(&["token", "create"]).ok()).ok();
    let busybox = image::busybox();
    lab.load(&busybox);
    second.load(&busybox);
    {
        let ns = pods(&lab, "far");
        let (a, b) = (ns.get("pod a", "{.status.podIP}"), ns.get("pod b", "{.status.podIP}"));
        assert_eq!(asked(&ns, "b", &a, "7000"), b, "a sees b's address");
        assert_eq!(asked(&ns, "a", &b, "7000"), a, "b sees a's address");
        let ip = ns.get("service a", "{.spec.clusterIP}");
        assert_eq!(asked(&ns, "b", &ip, "80"), b, "a Service keeps the client's address");
        assert_eq!(asked(&ns, "b", "a.far.svc.cluster.local", "80"), b, "by name");
        // Machines reach the pods of each other, and node ports work everywhere.
        curl(&ns, || lab.command("curl"), &b, "7000");
        curl(&ns, || second.command("curl"), &a, "7000");
        let port = ns.get("service a", "{.spec.ports[0].nodePort}");
        for node in [NODE_IP, second.ip.as_str()] {
            curl(&ns, || lab.outside("curl"), node, &port);
        }
        // What is bigger than a packet comes through whole.
        let count = format!("wget -qO- http://{a}:7000/cgi-bin/many | wc -c");
        assert_eq!(ns.kubectl(&["exec", "b", "--", "sh", "-c", &count]).ok().trim(), "300000");
        assert_eq!(ns.kubectl(&["exec", "b", "--", "hostname"]).ok(), "b\n");
    }
    let link = "ip -o link show type vxlan";
    assert!(second.sh(link).ok().contains("skiff-vxlan"));
    second.skiff(&["down", "--purge"]).ok();
    assert_eq!(second.sh(link).ok(), "", "the tunnel goes with the node");
    lab.kubectl(&["delete", "node", "n2"]).ok();
    eventually("the tunnel is closed where nobody is beyond a router", PATIENCE, || {
        let left = lab.sh(link).ok();
        if left.is_empty() { Ok(()) } else { Err(left) }
    });
}
