//! How a machine comes, what is refused, what a killed agent leaves alone, and what going leaves behind.

use crate::{Test, Two};
use e2e::Namespace;
use e2e::command::eventually;
use e2e::namespace::PATIENCE;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

pub const TESTS: &[Test] =
    e2e::tests![both_are_ready, tokens_come_and_go, strangers_are_refused, a_killed_agent_keeps_its_containers];
pub const LAST: &[Test] = e2e::tests![down_leaves_nothing_on_either];

fn both_are_ready(two: &Two) {
    for node in ["node/n1", "node/n2"] {
        two.lab.kubectl(&["wait", "--for=condition=Ready", node, "--timeout=60s"]).ok();
    }
    let (first, second) = (two.lab.skiff(&["status"]).ok(), two.second.skiff(&["status"]).ok());
    for (text, parts) in [(&first, ["server", "node n1", "node n2"]), (&second, ["agent", "node n1", "node n2"])] {
        for part in parts {
            assert!(text.contains(part), "{part:?} is in:\n{text}");
        }
    }
    let again = two.second.skiff(&["join"]).ok();
    assert!(again.contains("agent runs already"), "{again}");
}

fn tokens_come_and_go(two: &Two) {
    let line = two.lab.skiff(&["token", "create", "--ttl", "1h", "--description", "short-lived"]).ok();
    let id = line.split('.').next().expect("an ID").to_owned();
    let list = two.lab.skiff(&["token", "list"]).ok();
    assert!(list.contains(&id) && list.contains("short-lived"), "{list}");
    assert!(!list.contains(line.split(['.', '@']).nth(1).expect("a secret")), "no secrets are shown: {list}");
    two.lab.skiff(&["token", "delete", &id]).ok();
    assert!(!two.lab.skiff(&["token", "list"]).ok().contains(&id));
    assert!(two.lab.skiff(&["token", "delete", &id]).fails().contains("there is no token"));
    assert!(two.second.skiff(&["token", "create"]).fails().contains("tokens are made where the control plane runs"));
}

fn strangers_are_refused(two: &Two) {
    let line = two.lab.skiff(&["token", "create"]).ok();
    let line = line.trim();
    let elsewhere = two.lab.dir.join("elsewhere").display().to_string();
    let join = |invitation: &str, name: &str| {
        two.second.skiff(&["join", invitation, "--node-name", name, "--data-dir", &elsewhere]).fails()
    };
    let (token, rest) = line.split_once('@').expect("a token");
    let (id, _) = token.split_once('.').expect("an ID");
    let (address, _) = rest.split_once('/').expect("a pin");
    for (case, invitation, name, message) in [
        ("a wrong secret", format!("{id}.0000000000000000@{rest}"), "n3", "does not fit the token"),
        ("an unknown token", format!("aaaaaa.0000000000000000@{rest}"), "n3", "knows no token aaaaaa"),
        (
            "another authority",
            format!("{token}@{address}/sha256:{}", "0".repeat(64)),
            "n3",
            "it is not the cluster that the token is of",
        ),
        ("a name that is taken", line.to_owned(), "n1", "has a node n1 already"),
        ("no invitation", "nonsense".to_owned(), "n3", "has the form"),
    ] {
        let said = join(&invitation, name);
        assert!(said.contains(message), "{case}: {said}");
    }
    let _ = std::fs::remove_dir_all(&elsewhere);
}

fn a_killed_agent_keeps_its_containers(two: &Two) {
    let ns = Namespace::new(&two.lab, "killed");
    ns.apply(
        "
apiVersion: v1
kind: Pod
metadata: {name: stays}
spec:
  nodeSelector: {kubernetes.io/hostname: n2}
  terminationGracePeriodSeconds: 0
  containers: [{name: c, image: 'busybox:1.36', command: [sleep, '3600']}]
",
    );
    ns.wait("condition=Ready", "pod/stays");
    let life = || ns.get("pod stays", "{.status.containerStatuses[0].containerID} {.status.containerStatuses[0].restartCount}");
    let before = life();
    let pid = Pid::from_raw(two.second.pid("agent"));
    kill(pid, Signal::SIGKILL).expect("the agent runs");
    eventually("the agent's end", PATIENCE, || if kill(pid, None).is_err() { Ok(()) } else { Err("it runs".into()) });
    // Its certificates are on disk: no token is needed again.
    two.second.skiff(&["join"]).ok();
    ns.wait("condition=Ready", "pod/stays");
    assert_eq!(life(), before);
    assert_eq!(ns.kubectl(&["exec", "stays", "--", "echo", "alive"]).ok(), "alive\n");
}

fn down_leaves_nothing_on_either(two: &Two) {
    let said = two.second.skiff(&["down", "--purge"]).ok();
    assert!(said.contains("kubectl delete node n2"), "{said}");
    two.lab.kubectl(&["delete", "node", "n2"]).ok();
    eventually("the route to the node that left", PATIENCE, || {
        let routes = two.lab.sh("ip route show proto 84").ok();
        if routes.is_empty() { Ok(()) } else { Err(routes) }
    });
    two.lab.skiff(&["down", "--purge"]).ok();
    for (name, sh, data) in [
        ("n1", two.lab.sh("nft list ruleset; ip -o link | cut -d: -f2 | cut -d@ -f1 | xargs; ip route"), two.lab.data()),
        ("n2", two.second.sh("nft list ruleset; ip -o link | cut -d: -f2 | cut -d@ -f1 | xargs; ip route"), two.second.data()),
    ] {
        let text = sh.ok();
        assert!(text.starts_with("lo eth0\n") && !text.contains("10.244.") && !text.contains("10.96."), "{name}:\n{text}");
        assert!(!data.exists(), "{} is gone", data.display());
    }
}
