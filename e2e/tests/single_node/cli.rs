//! The `skiff` program: its commands, bad input, and what it leaves behind.

use crate::Test;
use e2e::command::{Background, eventually, run};
use e2e::lab::NODE_IP;
use e2e::namespace::PATIENCE;
use e2e::{Lab, Namespace};

pub const TESTS: &[Test] = e2e::tests![
    status_names_every_part,
    skiff_kubectl_hands_over_to_kubectl,
    a_second_up_changes_nothing,
    bad_requests_get_the_right_status,
    invalid_objects_are_refused_with_the_field,
];

/// Tests that stop the cluster; the last one removes it.
pub const LAST: &[Test] = e2e::tests![down_keeps_data_and_refusals_lose_nothing, purge_leaves_nothing];

fn status_names_every_part(lab: &Lab) {
    let text = lab.skiff(&["status"]).ok();
    for part in ["containerd", "server", "API server", "v1.36", "node n1", &format!("Ready, {NODE_IP}"), "pods"] {
        assert!(text.contains(part), "{part:?} is in:\n{text}");
    }
}

fn skiff_kubectl_hands_over_to_kubectl(lab: &Lab) {
    let out =
        run(lab.command(Lab::binary()).env_remove("KUBECONFIG").args(["kubectl", "get", "node", "n1", "-o", "name"]), "").ok();
    assert_eq!(out, "node/n1\n");
    let bad = run(lab.command(Lab::binary()).args(["kubectl", "get", "nonsense"]), "").fails();
    assert!(bad.contains("the server doesn't have a resource type \"nonsense\""), "{bad}");
    assert_eq!(lab.kubectl(&["config", "current-context"]).ok(), "skiff\n");
}

fn a_second_up_changes_nothing(lab: &Lab) {
    let pids = (lab.pid("server"), lab.pid("containerd"));
    let text = lab.up().ok();
    assert!(text.contains("server runs already") && text.contains("containerd runs already"), "{text}");
    assert_eq!(pids, (lab.pid("server"), lab.pid("containerd")));
}

fn bad_requests_get_the_right_status(lab: &Lab) {
    let pki = lab.data().join("pki");
    let admin = format!("--cert {0}/admin.crt --key {0}/admin.key", pki.display());
    let url = format!("https://{NODE_IP}:6443/api/v1/namespaces/default/configmaps");
    let curl = |who: &str, body: &str| {
        let file = lab.dir.join("bad-body");
        std::fs::write(&file, body).expect("the lab's directory is writable");
        let json = format!("-H 'Content-Type: application/json' --data-binary @{}", file.display());
        let json = if body.is_empty() { String::new() } else { json };
        let text = lab.sh(&format!("curl -sS --cacert {}/ca.crt {who} {json} {url}", pki.display())).ok();
        let status: serde_json::Value = serde_json::from_str(&text).unwrap_or_else(|e| panic!("{e}: {text}"));
        let text = |k: &str| status[k].as_str().unwrap_or_default().to_owned();
        (status["code"].as_u64().unwrap_or_default(), text("reason"), text("message"))
    };
    let map = |data: &str| format!(r#"{{"apiVersion":"v1","kind":"ConfigMap","metadata":{{"name":"bad"}},"data":{data}}}"#);
    let (deep, big) = (map(&"[".repeat(100_000)), map(&format!(r#"{{"k":"{}"}}"#, "x".repeat(4 << 20))));
    let truncated = map("{\"k\"");
    let cases: [(&str, &str, &str, u64, &str, &str); 7] = [
        ("wrong token", "-H 'Authorization: Bearer nonsense'", "", 401, "Unauthorized", "Unauthorized"),
        ("nobody", "", "", 403, "Forbidden", "User \"system:anonymous\" cannot list resource \"configmaps\""),
        ("no JSON", &admin, "nonsense", 400, "BadRequest", ""),
        ("cut off", &admin, &truncated[..truncated.len() - 1], 400, "BadRequest", ""),
        ("too deep", &admin, &deep, 400, "BadRequest", ""),
        ("too large", &admin, &big, 413, "RequestEntityTooLarge", "Request entity too large: limit is"),
        ("another kind", &admin, r#"{"apiVersion":"v1","kind":"Secret","metadata":{"name":"bad"}}"#, 400, "BadRequest", "Secret"),
    ];
    for (name, who, body, code, reason, message) in cases {
        let (c, r, m) = curl(who, body);
        assert_eq!((c, r.as_str()), (code, reason), "{name}: {m}");
        assert!(m.contains(message), "{name}: {m}");
    }
    // Nothing was written, and the server is well.
    assert_eq!(lab.kubectl(&["-n", "default", "get", "configmap", "bad"]).code, 1);
}

fn invalid_objects_are_refused_with_the_field(lab: &Lab) {
    let ns = Namespace::new(lab, "invalid");
    let apply = |m: &str| ns.kubectl_in(&["apply", "-f", "-"], m).fails();
    let error = apply("{apiVersion: v1, kind: Pod, metadata: {name: p}, spec: {containers: [{name: A_b, image: i}]}}");
    assert!(error.contains("The Pod \"p\" is invalid: spec.containers[0].name: Invalid value: \"A_b\""), "{error}");
    let error = apply("{apiVersion: v1, kind: Pod, metadata: {name: p}, spec: {container: []}}");
    assert!(error.contains("strict decoding error: unknown field \"spec.container\""), "{error}");
    let error = apply("{apiVersion: nowhere/v1, kind: Thing, metadata: {name: t}}");
    assert!(error.contains("no matches for kind \"Thing\" in version \"nowhere/v1\""), "{error}");
}

fn configmap(lab: &Lab) -> String {
    lab.kubectl(&["get", "configmap", "kept", "-o", "jsonpath={.metadata.uid} {.data.key}"]).ok()
}

fn down_keeps_data_and_refusals_lose_nothing(lab: &Lab) {
    lab.kubectl(&["create", "configmap", "kept", "--from-literal=key=value"]).ok();
    lab.kubectl(&["create", "deployment", "web", "--image=skiff.dev/hello:1.0"]).ok();
    lab.kubectl(&["rollout", "status", "deployment/web", "--timeout=90s"]).ok();
    let before = configmap(lab);
    lab.skiff(&["down"]).ok();
    assert_eq!(lab.sh("nft list ruleset").ok(), "", "nftables");
    let status = lab.skiff(&["status"]);
    assert!(status.code != 0 && status.out.contains("`skiff up` starts it"), "{status:?}");

    // A port in use is named, and nothing is left running.
    let mut listener = lab.command("python3");
    let listen = format!("import socket,time; s=socket.create_server(('{NODE_IP}', 6443)); time.sleep(600)");
    listener.args(["-c", &listen]);
    let listener = Background::start(listener, lab.dir.join("listener.log"));
    eventually("the listener", PATIENCE, || {
        let o = lab.sh("ss -ltn");
        if o.out.contains(":6443") { Ok(()) } else { Err(o.out) }
    });
    let error = lab.up().fails();
    assert!(error.contains("port 6443 cannot be used") && error.contains("--https-port"), "{error}");
    drop(listener);
    let status = lab.skiff(&["status"]).out;
    assert_eq!(status.matches("does not run").count(), 2, "nothing was left running: {status}");

    lab.up().ok();
    assert_eq!(configmap(lab), before);
    lab.kubectl(&["rollout", "status", "deployment/web", "--timeout=90s"]).ok();
    let pod = lab.kubectl(&["get", "pods", "-l", "app=web", "-o", "jsonpath={.items[0].status.podIP}"]).ok();
    eventually("the pod answers again", PATIENCE, || {
        let o = lab.sh(&format!("curl -sSf -m 2 http://{pod}:8080/"));
        if o.code == 0 { Ok(()) } else { Err(o.err) }
    });
}

/// Lines of a file or a command's output that name the lab.
fn traces(lab: &Lab, text: &str) -> Vec<String> {
    let data = lab.data().display().to_string();
    text.lines().filter(|l| l.contains(&data)).map(str::to_owned).collect()
}

fn purge_leaves_nothing(lab: &Lab) {
    lab.skiff(&["down", "--purge"]).ok();
    assert_eq!(traces(lab, &lab.sh("cat /proc/self/mountinfo").ok()), Vec::<String>::new(), "mounts");
    assert_eq!(lab.sh("nft list ruleset").ok(), "", "nftables");
    let links = lab.sh("ip -o link | cut -d: -f2").ok();
    let links: Vec<_> = links.split_whitespace().map(|l| l.split('@').next().unwrap_or(l)).collect();
    assert_eq!(links, ["lo", "eth0"], "links");
    assert!(!lab.sh("ip route").ok().contains("10.244."), "routes");
    assert!(!lab.data().exists(), "{} is gone", lab.data().display());
    let cgroups =
        run(std::process::Command::new("find").args(["/sys/fs/cgroup", "-path", &format!("*/{}/*", lab.name), "-type", "d"]), "");
    assert_eq!(cgroups.out, "", "cgroups");
    let processes = lab.sh("cat /proc/[0-9]*/cmdline 2>/dev/null | tr '\\0' ' '").out;
    assert!(!processes.contains(&format!("{}/run", lab.data().display())), "processes");
    let config = std::fs::read_to_string(lab.kubeconfig()).unwrap_or_default();
    assert!(!config.contains("skiff"), "{config}");
    let again = lab.skiff(&["down", "--purge"]).ok();
    assert!(again.contains("no cluster in"), "{again}");
}
