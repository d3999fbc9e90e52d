//! Facts of upstream's pod validation, defaulting and printing tests.

use kinds::{Context, Deletion, strategy_for};
use machinery::{Value, json, meta};

fn pod(change: impl FnOnce(&mut Value)) -> Value {
    let mut p = json!({"metadata": {"name": "p", "namespace": "ns"}, "spec": {"containers": [{"name": "c", "image": "i"}]}});
    change(&mut p);
    strategy_for("", "Pod").default(&mut p);
    p
}

fn errors(p: &Value) -> Vec<String> {
    strategy_for("", "Pod").validate(&Context::default(), p).iter().map(ToString::to_string).collect()
}

#[test]
fn defaults() {
    let p = pod(|p| p["spec"]["containers"][0]["resources"] = json!({"limits": {"cpu": "1"}}));
    assert_eq!(
        p["spec"],
        json!({"containers": [{"name": "c", "image": "i", "imagePullPolicy": "Always", "terminationMessagePath": "/dev/termination-log",
            "terminationMessagePolicy": "File", "resources": {"limits": {"cpu": "1"}, "requests": {"cpu": "1"}}}],
            "dnsPolicy": "ClusterFirst", "restartPolicy": "Always", "securityContext": {}, "terminationGracePeriodSeconds": 30,
            "schedulerName": "default-scheduler", "enableServiceLinks": true})
    );
}

#[test]
fn create() {
    type Change = fn(&mut Value);
    let cases: &[(&str, Change, &[&str])] = &[
        ("minimal", |_| {}, &[]),
        ("no containers", |p| p["spec"]["containers"] = json!([]), &["spec.containers: Required value"]),
        (
            "bad name",
            |p| p["spec"]["containers"][0]["name"] = "a.b".into(),
            &["spec.containers[0].name: Invalid value: \"a.b\": must not contain dots"],
        ),
        (
            "missing volume",
            |p| p["spec"]["containers"][0]["volumeMounts"] = json!([{"name": "v", "mountPath": "/m"}]),
            &["spec.containers[0].volumeMounts[0].name: Not found: \"v\""],
        ),
        (
            "two sources",
            |p| p["spec"]["volumes"] = json!([{"name": "v", "emptyDir": {}, "hostPath": {"path": "/x"}}]),
            &["spec.volumes[0].hostPath: Forbidden: may not specify more than 1 volume type"],
        ),
        (
            "host port",
            |p| {
                p["spec"]["hostNetwork"] = true.into();
                p["spec"]["containers"][0]["ports"] = json!([{"containerPort": 80, "hostPort": 81}]);
            },
            &["spec.containers[0].ports[0].hostPort: Invalid value: 81: must match `containerPort` when `hostNetwork` is true"],
        ),
        (
            "request above limit",
            |p| p["spec"]["containers"][0]["resources"] = json!({"limits": {"cpu": "1"}, "requests": {"cpu": "2"}}),
            &["spec.containers[0].resources.requests: Invalid value: \"2\": must be less than or equal to cpu limit of 1"],
        ),
        (
            "restart policy",
            |p| p["spec"]["restartPolicy"] = "Sometimes".into(),
            &["spec.restartPolicy: Unsupported value: \"Sometimes\": supported values: \"Always\", \"OnFailure\", \"Never\""],
        ),
        (
            "probe without handler",
            |p| p["spec"]["containers"][0]["livenessProbe"] = json!({}),
            &["spec.containers[0].livenessProbe: Required value: must specify a handler type"],
        ),
        (
            "init container probe",
            |p| p["spec"]["initContainers"] = json!([{"name": "i", "image": "i", "livenessProbe": {"exec": {"command": ["x"]}}}]),
            &["spec.initContainers[0].livenessProbe: Forbidden: may not be set for init containers without restartPolicy=Always"],
        ),
        (
            "toleration",
            |p| p["spec"]["tolerations"] = json!([{"operator": "Equal", "value": "v"}]),
            &[
                "spec.tolerations[0].operator: Invalid value: \"Equal\": operator must be Exists when `key` is empty, which means \"match all values and all keys\"",
            ],
        ),
        (
            "ephemeral",
            |p| p["spec"]["ephemeralContainers"] = json!([{"name": "e", "image": "i"}]),
            &["spec.ephemeralContainers: Forbidden: cannot be set on create"],
        ),
        (
            "field ref",
            |p| {
                p["spec"]["containers"][0]["env"] =
                    json!([{"name": "E", "valueFrom": {"fieldRef": {"fieldPath": "metadata.nothing"}}}])
            },
            &[
                "spec.containers[0].env[0].valueFrom.fieldRef.fieldPath: Invalid value: \"metadata.nothing\": error converting fieldPath: field label not supported: metadata.nothing",
            ],
        ),
        (
            "node affinity",
            |p| p["spec"]["affinity"] = json!({"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {}}}),
            &[
                "spec.affinity.nodeAffinity.requiredDuringSchedulingIgnoredDuringExecution.nodeSelectorTerms: Required value: must have at least one node selector term",
            ],
        ),
    ];
    for (name, change, want) in cases {
        assert_eq!(errors(&pod(change)), *want, "{name}");
    }
}

#[test]
fn update() {
    let s = strategy_for("", "Pod");
    let old = pod(|_| {});
    let ok = pod(|p| p["spec"]["containers"][0]["image"] = "j".into());
    // A changed image does not change the pull policy default, which was stored.
    assert!(s.validate_update(&Context::default(), &ok, &old).is_empty());
    let bad = pod(|p| p["spec"]["nodeName"] = "n".into());
    let errs = s.validate_update(&Context::default(), &bad, &old);
    assert_eq!(errs.len(), 1);
    let text = errs[0].to_string();
    assert!(text.starts_with("spec: Forbidden: pod updates may not change fields other than `spec.containers[*].image`,`spec.initContainers[*].image`,`spec.activeDeadlineSeconds`,`spec.tolerations` (only additions to existing tolerations),`spec.terminationGracePeriodSeconds` (allow it to be set to 1 if it was previously negative)\n@@"), "{text}");
    assert!(text.contains("\n+ \"nodeName\": \"n\",\n"), "{text}");
}

#[test]
fn resize() {
    let s = strategy_for("", "Pod");
    let cx = Context { subresource: "resize".into(), ..Context::default() };
    let with = |cpu: &str| pod(|p| p["spec"]["containers"][0]["resources"] = json!({"requests": {"cpu": cpu}}));
    let old = with("1");
    let mut new = with("2");
    new["spec"]["nodeName"] = "elsewhere".into();
    s.prepare_for_update(&cx, &mut new, &old);
    assert_eq!(meta::str_at(&new, &["spec", "nodeName"]), "");
    assert_eq!(s.validate_update(&cx, &new, &old), []);
    let mut gone = pod(|_| {});
    s.prepare_for_update(&cx, &mut gone, &old);
    let errs: Vec<String> = s.validate_update(&cx, &gone, &old).iter().map(ToString::to_string).collect();
    assert!(
        errs.contains(&"spec.containers[0].resources.requests: Forbidden: resource requests cannot be removed".to_owned()),
        "{errs:?}"
    );
}

#[test]
fn quality_of_service() {
    for (name, resources, want) in [
        ("none", json!({}), "BestEffort"),
        ("requests", json!({"requests": {"cpu": "1"}}), "Burstable"),
        ("equal", json!({"limits": {"cpu": "1", "memory": "1Gi"}}), "Guaranteed"),
        ("cpu only", json!({"limits": {"cpu": "1"}}), "Burstable"),
    ] {
        let mut p = pod(|p| p["spec"]["containers"][0]["resources"] = resources);
        strategy_for("", "Pod").prepare_for_create(&Context::default(), &mut p);
        assert_eq!(p["status"], json!({"phase": "Pending", "qosClass": want}), "{name}");
    }
}

#[test]
fn rows() {
    let base = json!({"metadata": {"name": "p", "creationTimestamp": "2026-01-02T03:00:00Z"}, "spec": {"nodeName": "n", "containers": [{"name": "a"}, {"name": "b"}]}});
    let now = 1_767_323_045; // 2026-01-02T03:04:05Z
    for (name, status, want) in [
        (
            "running",
            json!({"phase": "Running", "podIPs": [{"ip": "10.0.0.1"}], "containerStatuses": [{"name": "a", "ready": true, "restartCount": 1, "state": {"running": {}}, "lastState": {"terminated": {"finishedAt": "2026-01-02T03:04:00Z"}}}, {"name": "b", "ready": true, "state": {"running": {}}}]}),
            ["p", "2/2", "Running", "1 (5s ago)", "4m5s", "10.0.0.1", "n", "<none>", "<none>"],
        ),
        (
            "crash",
            json!({"phase": "Running", "containerStatuses": [{"name": "a", "restartCount": 3, "state": {"waiting": {"reason": "CrashLoopBackOff"}}}]}),
            ["p", "0/2", "CrashLoopBackOff", "3", "4m5s", "<none>", "n", "<none>", "<none>"],
        ),
        (
            "init",
            json!({"phase": "Pending", "initContainerStatuses": [{"name": "i", "state": {"terminated": {"exitCode": 2}}}]}),
            ["p", "0/2", "Init:ExitCode:2", "0", "4m5s", "<none>", "n", "<none>", "<none>"],
        ),
    ] {
        let mut p = base.clone();
        p["status"] = status;
        assert_eq!(strategy_for("", "Pod").row(&p, now).0, want.map(Value::from), "{name}");
    }
}

#[test]
fn deletion() {
    let s = strategy_for("", "Pod");
    let p = pod(|p| p["spec"]["nodeName"] = "n".into());
    for (name, obj, asked, want) in [
        ("default", &p, None, 30),
        ("asked", &p, Some(5), 5),
        ("negative", &p, Some(-3), 1),
        ("unscheduled", &pod(|_| {}), Some(5), 0),
    ] {
        assert_eq!(s.deletion(obj, asked), Deletion::Graceful { seconds: want }, "{name}");
    }
}
