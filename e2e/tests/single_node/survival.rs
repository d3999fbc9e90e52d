//! Killing Skiff: containers and connections do not notice, and nothing is lost.

use crate::Test;
use e2e::command::{Background, eventually};
use e2e::namespace::PATIENCE;
use e2e::{Lab, Namespace};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

pub const TESTS: &[Test] = e2e::tests![a_killed_server_comes_back_and_no_container_notices];

/// When each container of the namespace started and how often.
fn lives(ns: &Namespace<'_>) -> String {
    let each = "{range .items[*]}{.metadata.name} {.status.containerStatuses[0].state.running.startedAt} \
                {.status.containerStatuses[0].restartCount} {.status.containerStatuses[0].containerID}{\"\\n\"}{end}";
    ns.get("pods", each)
}

fn a_killed_server_comes_back_and_no_container_notices(lab: &Lab) {
    let ns = Namespace::new(lab, "survival");
    // A server that echoes lines, and a client that keeps one connection to it open through the Service.
    ns.apply(
        "
apiVersion: v1
kind: Pod
metadata: {name: echo, labels: {app: echo}}
spec:
  terminationGracePeriodSeconds: 0
  containers: [{name: c, image: 'busybox:1.36', command: [nc, -ll, -p, '7000', -e, cat]}]
---
apiVersion: v1
kind: Service
metadata: {name: echo}
spec: {selector: {app: echo}, ports: [{port: 7000}]}
",
    );
    ns.wait("condition=Ready", "pod/echo");
    let ip = ns.get("service echo", "{.spec.clusterIP}");
    let go = lab.dir.join("survival-go");
    let talk = format!(
        "(echo before; until [ -e {go} ]; do sleep 0.1; done; echo after; sleep 1) | busybox nc {ip} 7000",
        go = go.display()
    );
    let mut command = lab.command("sh");
    command.args(["-c", &format!("until echo | busybox nc -w 1 {ip} 7000; do sleep 0.1; done; {talk}")]);
    let connection = Background::start(command, lab.dir.join("survival.log"));
    connection.says("before", PATIENCE);
    ns.kubectl(&["create", "configmap", "kept", "--from-literal=key=value"]).ok();
    let (before, version) = (lives(&ns), ns.get("configmap kept", "{.metadata.resourceVersion} {.metadata.uid}"));

    for signal in [Signal::SIGKILL, Signal::SIGTERM] {
        let pid = Pid::from_raw(lab.pid("server"));
        kill(pid, signal).expect("the server runs");
        eventually("the server's end", PATIENCE, || if kill(pid, None).is_err() { Ok(()) } else { Err("it runs".into()) });
        lab.up().ok();
        assert_eq!(ns.get("configmap kept", "{.metadata.resourceVersion} {.metadata.uid}"), version);
        // The new kubelet has looked at the pod when the condition follows a new label's event; it must find it as it was.
        ns.wait("condition=Ready", "pod/echo");
        assert_eq!(lives(&ns), before);
    }
    std::fs::write(&go, "").expect("the lab's directory is writable");
    connection.says("after", PATIENCE);
    // The cluster works on.
    ns.kubectl(&["run", "new", "--image=skiff.dev/hello:1.0"]).ok();
    ns.wait("condition=Ready", "pod/new");
    assert!(lives(&ns).starts_with(&before), "{}\n{before}", lives(&ns));
}
