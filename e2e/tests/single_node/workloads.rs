//! Pods that end, fail, wait or repeat, and the kinds that run them.

use crate::Test;
use e2e::{Lab, Namespace};

pub const TESTS: &[Test] = e2e::tests![
    a_job_completes,
    a_cron_job_starts_jobs,
    init_containers_run_one_after_the_other,
    a_container_over_its_memory_limit_is_oom_killed,
    a_crashing_container_backs_off_and_shows_its_previous_log,
    restart_policies_decide_what_ends,
    a_missing_image_says_why_the_pod_waits,
    a_pod_too_big_for_the_node_says_why_it_is_not_scheduled,
    a_failing_liveness_probe_restarts_the_container,
];

const BUSYBOX: &str = "image: 'busybox:1.36'";

fn a_job_completes(lab: &Lab) {
    let ns = Namespace::new(lab, "job");
    ns.kubectl(&["create", "job", "once", "--image=busybox:1.36", "--", "echo", "done"]).ok();
    ns.wait("condition=Complete", "job/once");
    assert_eq!(ns.kubectl(&["logs", "job/once"]).ok(), "done\n");
    assert_eq!(ns.get("job once", "{.status.succeeded}"), "1");
    let table = ns.kubectl(&["get", "pods"]).ok();
    assert!(table.contains("0/1") && table.contains("Completed"), "{table}");
}

fn a_cron_job_starts_jobs(lab: &Lab) {
    let ns = Namespace::new(lab, "cron");
    ns.kubectl(&["create", "cronjob", "tick", "--schedule=*/5 * * * *", "--image=busybox:1.36", "--", "echo", "tick"]).ok();
    let table = ns.kubectl(&["get", "cronjob"]).ok();
    assert!(table.contains("*/5 * * * *") && table.contains("<none>"), "{table}");
    ns.kubectl(&["create", "job", "now", "--from=cronjob/tick"]).ok();
    ns.wait("condition=Complete", "job/now");
    assert_eq!(ns.kubectl(&["logs", "job/now"]).ok(), "tick\n");
}

fn init_containers_run_one_after_the_other(lab: &Lab) {
    let ns = Namespace::new(lab, "init");
    ns.apply(&format!(
        "{{apiVersion: v1, kind: Pod, metadata: {{name: p}}, spec: {{restartPolicy: Never, volumes: [{{name: v, emptyDir: {{}}}}], \
         initContainers: [\
         {{name: one, {BUSYBOX}, command: [sh, -c, echo one >> /v/f], volumeMounts: [{{name: v, mountPath: /v}}]}}, \
         {{name: two, {BUSYBOX}, command: [sh, -c, echo two >> /v/f], volumeMounts: [{{name: v, mountPath: /v}}]}}], \
         containers: [{{name: c, {BUSYBOX}, command: [cat, /v/f], volumeMounts: [{{name: v, mountPath: /v}}]}}]}}}}"
    ));
    ns.wait("jsonpath={.status.phase}=Succeeded", "pod/p");
    assert_eq!(ns.kubectl(&["logs", "p"]).ok(), "one\ntwo\n");
}

fn a_container_over_its_memory_limit_is_oom_killed(lab: &Lab) {
    let ns = Namespace::new(lab, "oom");
    ns.apply(&format!(
        "{{apiVersion: v1, kind: Pod, metadata: {{name: p}}, spec: {{restartPolicy: Never, containers: [{{name: c, {BUSYBOX}, \
         command: [sh, -c, tail /dev/zero], resources: {{limits: {{memory: 16Mi}}}}}}]}}}}"
    ));
    ns.wait("jsonpath={.status.phase}=Failed", "pod/p");
    let state = ns.get(
        "pod p",
        "{.status.containerStatuses[0].state.terminated.reason} {.status.containerStatuses[0].state.terminated.exitCode}",
    );
    assert_eq!(state, "OOMKilled 137");
    let table = ns.kubectl(&["get", "pod", "p"]).ok();
    assert!(table.contains("OOMKilled"), "{table}");
}

fn a_crashing_container_backs_off_and_shows_its_previous_log(lab: &Lab) {
    let ns = Namespace::new(lab, "crash");
    ns.apply(&format!(
        "{{apiVersion: v1, kind: Pod, metadata: {{name: p}}, spec: {{containers: [{{name: c, {BUSYBOX}, \
         command: [sh, -c, echo last words; exit 3]}}]}}}}"
    ));
    ns.becomes("pod p", "{.status.containerStatuses[0].state.waiting.reason}", "CrashLoopBackOff");
    let last = "{.status.containerStatuses[0].lastState.terminated.exitCode}";
    assert_eq!(ns.get("pod p", last), "3");
    assert_eq!(ns.kubectl(&["logs", "p", "--previous"]).ok(), "last words\n");
    let events = ns.event("p", "BackOff");
    assert!(events.contains("Back-off restarting failed container c in pod p_crash("), "{events}");
}

fn restart_policies_decide_what_ends(lab: &Lab) {
    let ns = Namespace::new(lab, "restart");
    for (name, policy, code) in [("never-1", "Never", 1), ("never-0", "Never", 0), ("failure-0", "OnFailure", 0)] {
        ns.apply(&format!(
            "{{apiVersion: v1, kind: Pod, metadata: {{name: {name}}}, spec: {{restartPolicy: {policy}, containers: [{{name: c, {BUSYBOX}, \
             command: [sh, -c, exit {code}]}}]}}}}"
        ));
    }
    ns.wait("jsonpath={.status.phase}=Failed", "pod/never-1");
    ns.wait("jsonpath={.status.phase}=Succeeded", "pod/never-0");
    ns.wait("jsonpath={.status.phase}=Succeeded", "pod/failure-0");
    assert_eq!(ns.get("pods", "{.items[*].status.containerStatuses[0].restartCount}"), "0 0 0");
}

fn a_missing_image_says_why_the_pod_waits(lab: &Lab) {
    let ns = Namespace::new(lab, "noimage");
    ns.kubectl(&["run", "p", "--image=docker.io/library/nowhere:1"]).ok();
    let events = ns.event("p", "ErrImagePull");
    assert!(events.contains(r#"Failed to pull image "docker.io/library/nowhere:1""#), "{events}");
    ns.becomes("pod p", "{.status.containerStatuses[0].state.waiting.reason}", "ImagePullBackOff");
}

fn a_pod_too_big_for_the_node_says_why_it_is_not_scheduled(lab: &Lab) {
    let ns = Namespace::new(lab, "big");
    ns.apply(&format!(
        "{{apiVersion: v1, kind: Pod, metadata: {{name: p}}, spec: {{containers: [{{name: c, {BUSYBOX}, \
         resources: {{requests: {{cpu: '1000'}}}}}}]}}}}"
    ));
    let events = ns.event("p", "FailedScheduling");
    assert!(events.contains("0/1 nodes are available: 1 Insufficient cpu."), "{events}");
    assert_eq!(ns.get("pod p", "{.status.phase}"), "Pending");
}

fn a_failing_liveness_probe_restarts_the_container(lab: &Lab) {
    let ns = Namespace::new(lab, "liveness");
    ns.apply(&format!(
        "{{apiVersion: v1, kind: Pod, metadata: {{name: p}}, spec: {{terminationGracePeriodSeconds: 0, containers: [{{name: c, {BUSYBOX}, \
         command: [sleep, infinity], livenessProbe: {{exec: {{command: [test, -e, /alive]}}, periodSeconds: 1, failureThreshold: 1}}}}]}}}}"
    ));
    let events = ns.event("p", "Killing");
    assert!(events.contains("Container c failed liveness probe, will be restarted"), "{events}");
    assert!(ns.event("p", "Unhealthy").contains("Liveness probe failed"));
    ns.eventually("a restart", || {
        let n = ns.get("pod p", "{.status.containerStatuses[0].restartCount}");
        if n.parse::<u32>().is_ok_and(|n| n > 0) { Ok(()) } else { Err(n) }
    });
}
