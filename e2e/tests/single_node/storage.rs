//! What pods find in their environment and their directories.

use crate::Test;
use e2e::{Lab, Namespace};

pub const TESTS: &[Test] = e2e::tests![
    config_maps_and_secrets_are_environment_and_files,
    a_changed_config_map_changes_the_files,
    containers_of_a_pod_share_an_empty_dir,
    a_pod_knows_itself_by_the_downward_api,
    a_service_account_token_opens_the_api,
    a_claim_binds_when_its_first_pod_comes,
];

fn config_maps_and_secrets_are_environment_and_files(lab: &Lab) {
    let ns = Namespace::new(lab, "config");
    ns.kubectl(&["create", "configmap", "c", "--from-literal=color=blue", "--from-literal=shape=round"]).ok();
    ns.kubectl(&["create", "secret", "generic", "s", "--from-literal=password=swordfish"]).ok();
    ns.apply(
        "
apiVersion: v1
kind: Pod
metadata: {name: p}
spec:
  restartPolicy: Never
  containers:
  - name: c
    image: busybox:1.36
    command: [sh, -c, 'echo $color $PASSWORD; cat /c/shape /s/password /one; stat -L -c %a /s/password']
    envFrom: [{configMapRef: {name: c}}]
    env: [{name: PASSWORD, valueFrom: {secretKeyRef: {name: s, key: password}}}]
    volumeMounts:
    - {name: c, mountPath: /c}
    - {name: s, mountPath: /s}
    - {name: c, mountPath: /one, subPath: color}
  volumes:
  - {name: c, configMap: {name: c}}
  - {name: s, secret: {secretName: s, defaultMode: 0400}}
",
    );
    ns.wait("jsonpath={.status.phase}=Succeeded", "pod/p");
    assert_eq!(ns.kubectl(&["logs", "p"]).ok(), "blue swordfish\nroundswordfishblue400\n");
}

fn a_changed_config_map_changes_the_files(lab: &Lab) {
    let ns = Namespace::new(lab, "live");
    ns.kubectl(&["create", "configmap", "c", "--from-literal=key=before"]).ok();
    ns.apply(
        "
apiVersion: v1
kind: Pod
metadata: {name: p}
spec:
  terminationGracePeriodSeconds: 0
  containers:
  - {name: c, image: 'busybox:1.36', command: [sleep, infinity], volumeMounts: [{name: c, mountPath: /c}]}
  volumes: [{name: c, configMap: {name: c}}]
",
    );
    ns.wait("condition=Ready", "pod/p");
    assert_eq!(ns.exec("p", &["cat", "/c/key"]).ok(), "before");
    ns.kubectl(&["patch", "configmap", "c", "-p", r#"{"data":{"key":"after"}}"#]).ok();
    ns.eventually("the file follows", || {
        let o = ns.exec("p", &["cat", "/c/key"]);
        if o.out == "after" { Ok(()) } else { Err(format!("{o:?}")) }
    });
}

fn containers_of_a_pod_share_an_empty_dir(lab: &Lab) {
    let ns = Namespace::new(lab, "emptydir");
    ns.apply(
        "
apiVersion: v1
kind: Pod
metadata: {name: p}
spec:
  restartPolicy: Never
  containers:
  - {name: w, image: 'busybox:1.36', command: [sh, -c, echo shared > /v/f], volumeMounts: [{name: v, mountPath: /v}]}
  - {name: r, image: 'busybox:1.36', command: [sh, -c, until cat /v/f; do sleep 0.1; done; mount | grep ' /v '], volumeMounts: [{name: v, mountPath: /v, readOnly: true}]}
  volumes: [{name: v, emptyDir: {medium: Memory}}]
",
    );
    ns.wait("jsonpath={.status.phase}=Succeeded", "pod/p");
    let log = ns.kubectl(&["logs", "p", "-c", "r"]).ok();
    assert!(log.contains("shared\n") && log.contains("tmpfs on /v type tmpfs (ro"), "{log}");
}

fn a_pod_knows_itself_by_the_downward_api(lab: &Lab) {
    let ns = Namespace::new(lab, "downward");
    ns.apply(
        "
apiVersion: v1
kind: Pod
metadata: {name: p, labels: {tier: front}}
spec:
  terminationGracePeriodSeconds: 0
  containers:
  - name: c
    image: busybox:1.36
    command: [sh, -c, 'echo $NAME $NS $NODE $IP $MEM; cat /d/labels; sleep infinity']
    resources: {limits: {memory: 32Mi}}
    env:
    - {name: NAME, valueFrom: {fieldRef: {fieldPath: metadata.name}}}
    - {name: NS, valueFrom: {fieldRef: {fieldPath: metadata.namespace}}}
    - {name: NODE, valueFrom: {fieldRef: {fieldPath: spec.nodeName}}}
    - {name: IP, valueFrom: {fieldRef: {fieldPath: status.podIP}}}
    - {name: MEM, valueFrom: {resourceFieldRef: {resource: limits.memory}}}
    volumeMounts: [{name: d, mountPath: /d}]
  volumes: [{name: d, downwardAPI: {items: [{path: labels, fieldRef: {fieldPath: metadata.labels}}]}}]
",
    );
    ns.wait("condition=Ready", "pod/p");
    let ip = ns.get("pod p", "{.status.podIP}");
    ns.eventually("the log", || {
        let log = ns.kubectl(&["logs", "p"]).out;
        if log.starts_with(&format!("p downward n1 {ip} 33554432\n")) { Ok(()) } else { Err(log) }
    });
    assert_eq!(ns.exec("p", &["cat", "/d/labels"]).ok(), "tier=\"front\"");
    ns.kubectl(&["label", "pod", "p", "tier=back", "--overwrite"]).ok();
    ns.eventually("the file follows", || {
        let o = ns.exec("p", &["cat", "/d/labels"]);
        if o.out == "tier=\"back\"" { Ok(()) } else { Err(format!("{o:?}")) }
    });
}

fn a_service_account_token_opens_the_api(lab: &Lab) {
    let ns = Namespace::new(lab, "token");
    ns.client();
    let dir = "/var/run/secrets/kubernetes.io/serviceaccount";
    let token = ns.exec("client", &["cat", &format!("{dir}/token")]).ok();
    assert_eq!(ns.exec("client", &["cat", &format!("{dir}/namespace")]).ok(), "token");
    let ca = ns.exec("client", &["cat", &format!("{dir}/ca.crt")]).ok();
    let file = lab.dir.join("token-ca.crt");
    std::fs::write(&file, ca).expect("the lab's directory is writable");
    let ask = |path: &str| {
        lab.sh(&format!("curl -sS --cacert {} -H 'Authorization: Bearer {token}' https://10.96.0.1{path}", file.display())).ok()
    };
    let forbidden = ask("/api/v1/namespaces/token/pods");
    let message = r#"pods is forbidden: User \"system:serviceaccount:token:default\" cannot list resource \"pods\" in API group \"\" in the namespace \"token\""#;
    assert!(forbidden.contains(message), "{forbidden}");
    ns.kubectl(&["create", "rolebinding", "view", "--clusterrole=view", "--serviceaccount=token:default"]).ok();
    ns.eventually("the binding counts", || {
        let o = ask("/api/v1/namespaces/token/pods");
        if o.contains("\"PodList\"") { Ok(()) } else { Err(o) }
    });
}

fn a_claim_binds_when_its_first_pod_comes(lab: &Lab) {
    let ns = Namespace::new(lab, "claim");
    ns.apply(
        "{apiVersion: v1, kind: PersistentVolumeClaim, metadata: {name: c}, spec: {accessModes: [ReadWriteOnce], \
         resources: {requests: {storage: 5Mi}}}}",
    );
    ns.event("c", "WaitForFirstConsumer");
    assert_eq!(ns.get("pvc c", "{.status.phase}"), "Pending");
    ns.apply(
        "
apiVersion: v1
kind: Pod
metadata: {name: p}
spec:
  restartPolicy: Never
  containers:
  - {name: c, image: 'busybox:1.36', command: [sh, -c, echo data > /v/f], volumeMounts: [{name: v, mountPath: /v}]}
  volumes: [{name: v, persistentVolumeClaim: {claimName: c}}]
",
    );
    ns.wait("jsonpath={.status.phase}=Succeeded", "pod/p");
    assert_eq!(ns.get("pvc c", "{.status.phase}"), "Bound");
    let volume = ns.get("pvc c", "{.spec.volumeName}");
    ns.kubectl(&["delete", "pod/p", "pvc/c"]).ok();
    ns.kubectl(&["wait", "--for=delete", &format!("pv/{volume}"), "--timeout=60s"]).ok();
}
