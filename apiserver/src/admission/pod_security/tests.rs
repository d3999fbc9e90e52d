//! Tests of `pod_security`.

use super::*;
use machinery::json;

fn check(level: &str, pod: &Value) -> String {
    let labels = json!({"pod-security.kubernetes.io/enforce": level});
    let (policy, errors) = Policy::of(labels.as_object().unwrap());
    assert!(errors.is_empty());
    detail(&violations(&policy.enforce, pod))
}

#[test]
fn levels() {
    let plain = json!({"spec": {"containers": [{"name": "a"}, {"name": "b"}]}});
    let secure = json!({"allowPrivilegeEscalation": false, "capabilities": {"drop": ["ALL"]}, "runAsNonRoot": true,
        "seccompProfile": {"type": "RuntimeDefault"}});
    let good = json!({"spec": {"containers": [{"name": "a", "securityContext": secure}]}});
    let host = json!({"spec": {"hostNetwork": true, "hostPID": true, "containers": [{"name": "a", "ports": [{"hostPort": 80}, {"hostPort": 443}],
        "securityContext": {"privileged": true, "capabilities": {"add": ["SYS_ADMIN"]}}}], "volumes": [{"name": "v", "hostPath": {}}]}});
    let cases = [
        ("plain", "baseline", &plain, ""),
        (
            "plain",
            "restricted",
            &plain,
            "allowPrivilegeEscalation != false (containers \"a\", \"b\" must set securityContext.allowPrivilegeEscalation=false), unrestricted \
             capabilities (containers \"a\", \"b\" must set securityContext.capabilities.drop=[\"ALL\"]), runAsNonRoot != true (pod or containers \
             \"a\", \"b\" must set securityContext.runAsNonRoot=true), seccompProfile (pod or containers \"a\", \"b\" must set \
             securityContext.seccompProfile.type to \"RuntimeDefault\" or \"Localhost\")",
        ),
        ("good", "restricted", &good, ""),
        (
            "host",
            "baseline",
            &host,
            "non-default capabilities (container \"a\" must not include \"SYS_ADMIN\" in securityContext.capabilities.add), host namespaces \
             (hostNetwork=true, hostPID=true), hostPath volumes (volume \"v\"), hostPort (container \"a\" uses hostPorts 443, 80), privileged \
             (container \"a\" must not set securityContext.privileged=true)",
        ),
        ("host", "privileged", &host, ""),
    ];
    for (case, level, pod, want) in cases {
        assert_eq!(check(level, pod), want, "{case} {level}");
    }
}

#[test]
fn labels_are_checked() {
    let labels = json!({"pod-security.kubernetes.io/enforce": "strict", "pod-security.kubernetes.io/warn-version": "v1.x"});
    let (policy, errors) = Policy::of(labels.as_object().unwrap());
    assert_eq!(policy.enforce.level, Level::Restricted, "fails closed");
    let texts: Vec<String> = errors.iter().map(ToString::to_string).collect();
    assert_eq!(
        texts,
        [
            "metadata.labels[pod-security.kubernetes.io/enforce]: Invalid value: \"strict\": must be one of privileged, baseline, restricted",
            "metadata.labels[pod-security.kubernetes.io/warn-version]: Invalid value: \"v1.x\": must be \"latest\" or \"v1.x\"",
        ]
    );
}
