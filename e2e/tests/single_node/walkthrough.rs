//! The tour that everybody takes with a new cluster.

use crate::Test;
use e2e::command::{Background, eventually};
use e2e::lab::NODE_IP;
use e2e::namespace::PATIENCE;
use e2e::{Lab, Namespace};
use std::time::Duration;

pub const TESTS: &[Test] = e2e::tests![
    version_and_cluster_info_answer,
    kubectl_explains_and_lists_resources,
    a_deployment_is_exposed_on_a_node_port_and_a_load_balancer,
    describe_shows_what_upstream_shows,
    events_are_sorted_by_time,
    an_edit_changes_the_object,
    scaling_and_deleting_pods_keeps_the_count,
    a_rolling_update_fails_no_request,
    a_rollout_has_a_history_and_is_undone,
    logs_follow_and_are_cut,
    exec_runs_commands_with_and_without_a_terminal,
    files_are_copied_in_and_out,
    a_port_is_forwarded,
    run_and_attach_talk_to_a_process,
    output_formats_show_the_object,
    server_side_apply_and_diff_know_the_owner,
];

/// Tests that need `default` for themselves.
pub const ALONE: &[Test] = e2e::tests![after_delete_all_the_service_kubernetes_returns];

fn version_and_cluster_info_answer(lab: &Lab) {
    let version = lab.kubectl(&["version"]).ok();
    assert!(version.contains("Server Version: v1.36."), "{version}");
    let info = lab.kubectl(&["cluster-info"]).ok();
    assert!(info.contains("Kubernetes control plane") && info.contains(&format!("https://{NODE_IP}:6443")), "{info}");
    let nodes = lab.kubectl(&["get", "nodes", "-o", "wide"]).ok();
    let header: Vec<_> = nodes.lines().next().unwrap_or_default().split("  ").map(str::trim).filter(|c| !c.is_empty()).collect();
    let columns = [
        "NAME",
        "STATUS",
        "ROLES",
        "AGE",
        "VERSION",
        "INTERNAL-IP",
        "EXTERNAL-IP",
        "OS-IMAGE",
        "KERNEL-VERSION",
        "CONTAINER-RUNTIME",
    ];
    assert_eq!(header, columns);
    assert!(nodes.contains("Ready") && nodes.contains("containerd://"), "{nodes}");
}

fn kubectl_explains_and_lists_resources(lab: &Lab) {
    let resources = lab.kubectl(&["api-resources"]).ok();
    for r in ["po           v1", "deploy       apps/v1", "cj           batch/v1", "sts          apps/v1"] {
        let (short, version) = r.split_once(' ').expect("two words");
        let found = resources.lines().any(|l| {
            let words: Vec<_> = l.split_whitespace().collect();
            words.contains(&short) && words.contains(&version.trim())
        });
        assert!(found, "{r} is in:\n{resources}");
    }
    let text = lab.kubectl(&["explain", "pod.spec.restartPolicy"]).ok();
    assert!(text.contains("FIELD: restartPolicy <string>"), "{text}");
}

fn a_deployment_is_exposed_on_a_node_port_and_a_load_balancer(lab: &Lab) {
    let ns = Namespace::new(lab, "expose");
    let out = ns.kubectl(&["create", "deployment", "web", "--image=skiff.dev/hello:1.0", "--replicas=2", "--port=8080"]).ok();
    assert_eq!(out, "deployment.apps/web created\n");
    ns.rolled_out("deployment/web");
    ns.kubectl(&["expose", "deployment", "web", "--name=np", "--type=NodePort", "--port=80", "--target-port=8080"]).ok();
    ns.kubectl(&["expose", "deployment", "web", "--name=lb", "--type=LoadBalancer", "--port=8081", "--target-port=8080"]).ok();
    ns.becomes("service lb", "{.status.loadBalancer.ingress[0].ip}", NODE_IP);
    let table = ns.kubectl(&["get", "service", "lb"]).ok();
    assert!(table.contains(NODE_IP) && !table.contains("<pending>"), "{table}");
    ns.client();
    let node_port = ns.get("service np", "{.spec.ports[0].nodePort}");
    for url in [format!("http://{NODE_IP}:{node_port}/"), format!("http://{NODE_IP}:8081/")] {
        let answers = |body: &str| body.contains("web-");
        eventually(&format!("{url} from outside"), PATIENCE, || {
            let o = lab.curl_outside(&url);
            if answers(&o.out) { Ok(()) } else { Err(o.err) }
        });
        let here = lab.sh(&format!("curl -sSf -m 5 {url}")).ok();
        assert!(answers(&here), "{here}");
        let inside = ns.exec("client", &["timeout", "10", "wget", "-q", "-O", "-", &url]).ok();
        assert!(answers(&inside), "{inside}");
    }
}

fn describe_shows_what_upstream_shows(lab: &Lab) {
    let ns = Namespace::new(lab, "describe");
    ns.kubectl(&["create", "deployment", "web", "--image=skiff.dev/hello:1.0", "--port=8080"]).ok();
    ns.rolled_out("deployment/web");
    ns.kubectl(&["expose", "deployment", "web", "--port=80", "--target-port=8080"]).ok();
    ns.event("web", "Scaled up replica set web-");
    ns.eventually("an endpoint", || {
        let o = ns.kubectl(&["get", "endpointslices", "-o", "jsonpath={.items[*].endpoints[*].addresses[0]}"]).out;
        if o.is_empty() { Err("none".into()) } else { Ok(()) }
    });
    let sections: [(&str, &[&str]); 2] = [
        (
            "deployment/web",
            &[
                "Name:                   web",
                "Selector:               app=web",
                "Replicas:               1 desired | 1 updated | 1 total | 1 available | 0 unavailable",
                "StrategyType:           RollingUpdate",
                "RollingUpdateStrategy:  25% max unavailable, 25% max surge",
                "Available      True    MinimumReplicasAvailable",
                "Progressing    True    NewReplicaSetAvailable",
                "OldReplicaSets:  <none>",
                "NewReplicaSet:   web-",
                "deployment-controller",
            ],
        ),
        (
            "service/web",
            &[
                "Type:                     ClusterIP",
                "IP Family Policy:         SingleStack",
                "IP Families:              IPv4",
                "Port:                     <unset>  80/TCP",
                "TargetPort:               8080/TCP",
                "Session Affinity:         None",
                ":8080",
            ],
        ),
    ];
    for (what, parts) in sections {
        let text = ns.kubectl(&["describe", what]).ok();
        for p in parts {
            assert!(text.contains(p), "{p:?} is in:\n{text}");
        }
    }
    let pod = ns.get("pods", "{.items[0].metadata.name}");
    for message in ["Successfully assigned describe/", "Container image", "Container created", "Container started"] {
        ns.event(&pod, message);
    }
    let text = ns.kubectl(&["describe", "pod", &pod]).ok();
    for p in [
        "Service Account:  default",
        "Node:             n1/172.31.77.10",
        "Status:           Running",
        "Controlled By:  ReplicaSet/web-",
        "Container ID:   containerd://",
        "/var/run/secrets/kubernetes.io/serviceaccount from kube-api-access-",
        "PodScheduled                True",
        "QoS Class:                   BestEffort",
        "node.kubernetes.io/not-ready:NoExecute op=Exists for 300s",
        "default-scheduler",
    ] {
        assert!(text.contains(p), "{p:?} is in:\n{text}");
    }
}

fn events_are_sorted_by_time(lab: &Lab) {
    let ns = Namespace::new(lab, "events");
    ns.kubectl(&["run", "p", "--image=skiff.dev/hello:1.0"]).ok();
    ns.event("p", "Started");
    let reasons = ns.kubectl(&["get", "events", "--sort-by=.metadata.creationTimestamp"]).ok();
    let header: Vec<_> = reasons.lines().next().unwrap_or_default().split_whitespace().collect();
    assert_eq!(header, ["LAST", "SEEN", "TYPE", "REASON", "OBJECT", "MESSAGE"]);
    let at = |r: &str| reasons.find(r).unwrap_or_else(|| panic!("{r} is in:\n{reasons}"));
    assert!(at("Scheduled") < at("Created"), "{reasons}");
    let events = ns.kubectl(&["events", "--for", "pod/p"]).ok();
    assert!(events.contains("Scheduled"), "{events}");
}

fn an_edit_changes_the_object(lab: &Lab) {
    let ns = Namespace::new(lab, "edit");
    ns.kubectl(&["create", "deployment", "web", "--image=skiff.dev/hello:1.0"]).ok();
    let out = ns.kubectl_env(("KUBE_EDITOR", "sed -i s/replicas:.1/replicas:\\ 2/"), &["edit", "deployment", "web"]).ok();
    assert!(out.contains("deployment.apps/web edited"), "{out}");
    assert_eq!(ns.get("deployment web", "{.spec.replicas}"), "2");
    let out = ns.kubectl_env(("KUBE_EDITOR", "true"), &["edit", "deployment", "web"]);
    assert!(format!("{}{}", out.out, out.err).contains("no changes made"), "{out:?}");
}

fn scaling_and_deleting_pods_keeps_the_count(lab: &Lab) {
    let ns = Namespace::new(lab, "scale");
    ns.kubectl(&["create", "deployment", "web", "--image=skiff.dev/hello:1.0", "--port=8080"]).ok();
    ns.rolled_out("deployment/web");
    assert_eq!(ns.kubectl(&["scale", "deployment", "web", "--replicas=3"]).ok(), "deployment.apps/web scaled\n");
    ns.rolled_out("deployment/web");
    let pods = ns.get("pods -l app=web", "{.items[*].metadata.name}");
    let first = pods.split(' ').next().expect("a pod");
    ns.kubectl(&["delete", "pod", first]).ok();
    ns.becomes("deployment web", "{.status.readyReplicas}", "3");
    assert!(!ns.get("pods -l app=web", "{.items[*].metadata.name}").contains(first));
    ns.kubectl(&["scale", "deployment", "web", "--replicas=1"]).ok();
    ns.eventually("one pod", || {
        let pods = ns.get("pods -l app=web", "{.items[*].metadata.name}");
        if pods.split_whitespace().count() == 1 { Ok(()) } else { Err(pods) }
    });
}

fn a_rolling_update_fails_no_request(lab: &Lab) {
    let ns = Namespace::new(lab, "rolling");
    ns.kubectl(&["create", "deployment", "web", "--image=skiff.dev/hello:1.0", "--replicas=3", "--port=8080"]).ok();
    let probe = r#"{"spec":{"template":{"spec":{"containers":[{"name":"hello","readinessProbe":{"httpGet":{"path":"/healthz","port":8080},"periodSeconds":1}}]}}}}"#;
    ns.kubectl(&["patch", "deployment", "web", "-p", probe]).ok();
    ns.kubectl(&["expose", "deployment", "web", "--type=NodePort", "--port=80", "--target-port=8080"]).ok();
    ns.rolled_out("deployment/web");
    let url = format!("http://{NODE_IP}:{}/", ns.get("service web", "{.spec.ports[0].nodePort}"));
    eventually("a first answer", PATIENCE, || {
        let o = lab.curl_outside(&url);
        if o.code == 0 { Ok(()) } else { Err(o.err) }
    });
    let stop = lab.dir.join("rolling-stop");
    let loop_ = format!("n=0; while [ ! -e {} ]; do curl -sS -f -m 5 {url} || echo FAILED; done", stop.display());
    let start = |n: u8| {
        let mut c = lab.outside("sh");
        c.args(["-c", &loop_]);
        Background::start(c, lab.dir.join(format!("rolling-{n}.log")))
    };
    let clients = [start(1), start(2)];
    ns.kubectl(&["set", "image", "deployment/web", "hello=skiff.dev/hello:2.0"]).ok();
    ns.rolled_out("deployment/web");
    // The old pods end while requests go on.
    ns.eventually("the old pods gone", || {
        let pods = ns.get("pods -l app=web", "{.items[*].metadata.name}");
        if pods.split_whitespace().count() == 3 { Ok(()) } else { Err(pods) }
    });
    clients[0].says("2.0", Duration::from_secs(20));
    std::fs::write(&stop, "").expect("the lab's directory is writable");
    for c in clients {
        let (_, said) = c.end();
        assert!(said.contains("1.0"), "requests began before the update:\n{said}");
        let failed: Vec<_> = said.lines().filter(|l| l.contains("FAILED") || l.contains("curl:")).collect();
        assert!(failed.is_empty(), "{} of {} requests failed: {failed:?}", failed.len(), said.lines().count());
    }
}

fn a_rollout_has_a_history_and_is_undone(lab: &Lab) {
    let ns = Namespace::new(lab, "history");
    ns.kubectl(&["create", "deployment", "web", "--image=skiff.dev/hello:1.0"]).ok();
    ns.rolled_out("deployment/web");
    ns.kubectl(&["set", "image", "deployment/web", "hello=skiff.dev/hello:2.0"]).ok();
    let status = ns.rolled_out("deployment/web");
    assert!(status.contains("deployment \"web\" successfully rolled out"), "{status}");
    let history = ns.kubectl(&["rollout", "history", "deployment/web"]).ok();
    assert!(history.contains("REVISION  CHANGE-CAUSE\n1         <none>\n2         <none>"), "{history}");
    assert_eq!(ns.kubectl(&["rollout", "undo", "deployment/web"]).ok(), "deployment.apps/web rolled back\n");
    ns.rolled_out("deployment/web");
    assert_eq!(ns.get("deployment web", "{.spec.template.spec.containers[0].image}"), "skiff.dev/hello:1.0");
    let history = ns.kubectl(&["rollout", "history", "deployment/web"]).ok();
    assert!(history.contains("\n2         <none>\n3         <none>"), "{history}");
    ns.kubectl(&["rollout", "restart", "deployment/web"]).ok();
    ns.rolled_out("deployment/web");
}

fn logs_follow_and_are_cut(lab: &Lab) {
    let ns = Namespace::new(lab, "logs");
    ns.apply(
        "{apiVersion: v1, kind: Pod, metadata: {name: p}, spec: {terminationGracePeriodSeconds: 0, containers: [{name: c, image: 'busybox:1.36', \
         command: [sh, -c, 'for i in 1 2 3 4 5; do echo line $i; done; until [ -e /go ]; do sleep 0.2; done; echo after; sleep infinity']}]}}",
    );
    ns.wait("condition=Ready", "pod/p");
    ns.eventually("five lines", || {
        let o = ns.kubectl(&["logs", "p"]);
        if o.out == "line 1\nline 2\nline 3\nline 4\nline 5\n" { Ok(()) } else { Err(format!("{}{}", o.out, o.err)) }
    });
    assert_eq!(ns.kubectl(&["logs", "p", "--tail=2"]).ok(), "line 4\nline 5\n");
    assert_eq!(ns.kubectl(&["logs", "p", "--limit-bytes=6"]).ok(), "line 1");
    assert_eq!(ns.kubectl(&["logs", "p", "--since=1h", "--tail=1"]).ok(), "line 5\n");
    let stamped = ns.kubectl(&["logs", "p", "--timestamps", "--tail=1"]).ok();
    assert!(stamped.starts_with("20") && stamped.ends_with("Z line 5\n"), "{stamped}");
    let error = ns.kubectl(&["logs", "p", "--previous"]).fails();
    assert!(error.contains("previous terminated container \"c\" in pod \"p\" not found"), "{error}");
    let follow = ns.background("follow", &["logs", "-f", "p", "--tail=1"]);
    follow.says("line 5", PATIENCE);
    ns.exec("p", &["touch", "/go"]).ok();
    follow.says("after", PATIENCE);
    ns.kubectl(&["delete", "pod", "p", "--grace-period=1"]).ok();
    let (ok, said) = follow.end();
    assert!(ok, "a followed log ends with its container: {said}");
}

fn exec_runs_commands_with_and_without_a_terminal(lab: &Lab) {
    let ns = Namespace::new(lab, "exec");
    ns.client();
    assert_eq!(ns.exec("client", &["echo", "plain"]).ok(), "plain\n");
    let o = ns.exec("client", &["sh", "-c", "echo to-stderr >&2; exit 7"]);
    assert_eq!(o.code, 7, "{o:?}");
    assert!(o.err.contains("to-stderr") && o.err.contains("command terminated with exit code 7"), "{o:?}");
    let o = ns.kubectl_in(&["exec", "-i", "client", "--", "wc", "-c"], "12345").ok();
    assert_eq!(o.trim(), "5");
    let kubectl = lab.kubectl_path().display();
    let script = format!("script -qec '{kubectl} -n exec exec -ti client -- sh -c \"tty; stty size\"' /dev/null </dev/null");
    let o = lab.sh(&script).ok();
    assert!(o.contains("/dev/pts/"), "a terminal: {o}");
    // The terminal's size follows the client's.
    let wait = "until [ \\\"\\$(stty size)\\\" = \\\"41 99\\\" ]; do sleep 0.1; done; stty size";
    let sized = format!(
        "script -qec 'stty rows 41 cols 99; timeout --foreground 30 {kubectl} -n exec exec -ti client -- sh -c \"{wait}\"' /dev/null </dev/null"
    );
    assert!(lab.sh(&sized).ok().contains("41 99"));
    // Input ends while the command still has something to say, and how it ended arrives: over WebSockets, with no falling back.
    let much = "x".repeat(1 << 20);
    let o = ns.kubectl_in(&["exec", "-v=7", "-i", "client", "--", "sh", "-c", "cat; exit 3"], &much);
    assert_eq!((o.code, o.out.len()), (3, much.len()), "{}", o.err);
    assert!(o.err.contains("v5.channel.k8s.io") && !o.err.contains("fallback"), "{}", o.err);
    // A command may leave input unread.
    for _ in 0..5 {
        let o = ns.kubectl_in(&["exec", "-i", "client", "--", "sh", "-c", "head -c 5; exit 4"], &much[..1 << 15]);
        assert_eq!((o.code, o.out.as_str()), (4, "xxxxx"), "{}", o.err);
    }
    let missing = ns.exec("client", &["no-such-program"]).fails();
    assert!(missing.contains("no-such-program") && missing.contains("not found"), "{missing}");
}

fn files_are_copied_in_and_out(lab: &Lab) {
    let ns = Namespace::new(lab, "cp");
    ns.client();
    let (from, back) = (lab.dir.join("cp-in"), lab.dir.join("cp-out"));
    let data: String = (0..20_000).map(|i| format!("row {i}\n")).collect();
    std::fs::write(&from, &data).expect("the lab's directory is writable");
    ns.kubectl(&["cp", &from.display().to_string(), "client:/tmp/file"]).ok();
    ns.kubectl(&["cp", "client:/tmp/file", &back.display().to_string()]).ok();
    assert!(std::fs::read_to_string(&back).is_ok_and(|b| b == data), "the copy of the copy is the same");
}

fn a_port_is_forwarded(lab: &Lab) {
    let ns = Namespace::new(lab, "forward");
    ns.kubectl(&["create", "deployment", "web", "--image=skiff.dev/hello:1.0", "--port=8080"]).ok();
    ns.rolled_out("deployment/web");
    let forward = ns.background("forward", &["port-forward", "deployment/web", "18080:8080"]);
    forward.says("Forwarding from 127.0.0.1:18080 -> 8080", PATIENCE);
    for _ in 0..3 {
        let answer = lab.sh("curl -sSf -m 5 http://127.0.0.1:18080/").ok();
        assert!(answer.contains("web-"), "{answer}");
    }
}

fn run_and_attach_talk_to_a_process(lab: &Lab) {
    let ns = Namespace::new(lab, "run");
    let image = "--image=busybox:1.36";
    let out = ns.kubectl_in(&["run", "echo", image, "-i", "--rm", "--restart=Never", "--quiet", "--", "cat"], "through\n").ok();
    assert!(out.contains("through"), "{out}");
    ns.eventually("the pod removed", || {
        let o = ns.kubectl(&["get", "pod", "echo"]);
        if o.err.contains("not found") { Ok(()) } else { Err(o.out) }
    });
    let loop_ = "while :; do echo beat; sleep 0.2; done";
    ns.kubectl(&["run", "heart", image, "--grace-period=1", "--", "sh", "-c", loop_]).ok();
    ns.wait("condition=Ready", "pod/heart");
    let attach = ns.background("attach", &["attach", "heart"]);
    attach.says("beat\nbeat", PATIENCE);
}

fn output_formats_show_the_object(lab: &Lab) {
    let ns = Namespace::new(lab, "output");
    ns.kubectl(&["create", "configmap", "c", "--from-literal=key=value"]).ok();
    ns.kubectl(&["run", "p", "--image=skiff.dev/hello:1.0", "--labels=a=b"]).ok();
    ns.wait("condition=Ready", "pod/p");
    let wide = ns.kubectl(&["get", "pod", "p", "-o", "wide", "--show-labels"]).ok();
    let header = wide.lines().next().unwrap_or_default().split("  ").map(str::trim).filter(|c| !c.is_empty());
    let columns = ["NAME", "READY", "STATUS", "RESTARTS", "AGE", "IP", "NODE", "NOMINATED NODE", "READINESS GATES", "LABELS"];
    assert_eq!(header.collect::<Vec<_>>(), columns);
    assert!(wide.contains("1/1") && wide.contains("Running") && wide.contains("10.244.") && wide.contains("a=b"), "{wide}");
    let json: serde_json::Value = serde_json::from_str(&ns.kubectl(&["get", "cm", "c", "-o", "json"]).ok()).expect("JSON");
    assert_eq!(json["data"]["key"], "value");
    let yaml = ns.kubectl(&["get", "cm", "c", "-o", "yaml"]).ok();
    assert!(yaml.starts_with("apiVersion: v1\ndata:\n  key: value\nkind: ConfigMap\nmetadata:\n"), "{yaml}");
    assert_eq!(ns.get("cm c", "{.data.key}"), "value");
    assert_eq!(
        ns.kubectl(&["get", "cm", "c", "-o", "custom-columns=N:.metadata.name,V:.data.key"]).ok(),
        "N     V\nc     value\n"
    );
    assert_eq!(ns.kubectl(&["get", "pods", "-l", "a=b", "-o", "name"]).ok(), "pod/p\n");
    assert_eq!(ns.kubectl(&["get", "pods", "-l", "a=c"]).err, "No resources found in output namespace.\n");
    let selected = ns.kubectl(&["get", "pods", "--field-selector=spec.nodeName=n1", "-o", "name"]).ok();
    assert_eq!(selected, "pod/p\n");
    let missing = ns.kubectl(&["get", "pod", "nobody"]).fails();
    assert_eq!(missing, "Error from server (NotFound): pods \"nobody\" not found\n");
}

fn server_side_apply_and_diff_know_the_owner(lab: &Lab) {
    let ns = Namespace::new(lab, "ssa");
    let manifest = |v: &str| format!("{{apiVersion: v1, kind: ConfigMap, metadata: {{name: c}}, data: {{key: {v}}}}}");
    let apply = ["apply", "--server-side", "-f", "-"];
    assert_eq!(ns.kubectl_in(&apply, &manifest("one")).ok(), "configmap/c serverside-applied\n");
    let other = ["apply", "--server-side", "--field-manager=other", "-f", "-"];
    let conflict = ns.kubectl_in(&other, &manifest("two")).fails();
    assert!(conflict.contains("conflict with \"kubectl\"") && conflict.contains(".data.key"), "{conflict}");
    ns.kubectl_in(&["apply", "--server-side", "--force-conflicts", "--field-manager=other", "-f", "-"], &manifest("two")).ok();
    assert_eq!(ns.get("cm c", "{.data.key}"), "two");
    let same = ns.kubectl_in(&["diff", "-f", "-"], &manifest("two"));
    assert_eq!(same.code, 0, "{same:?}");
    let diff = ns.kubectl_in(&["diff", "-f", "-"], &manifest("three"));
    assert_eq!(diff.code, 1, "{diff:?}");
    assert!(diff.out.contains("-  key: two\n+  key: three\n"), "{}", diff.out);
    let dry = ns.kubectl_in(&["apply", "--dry-run=server", "-f", "-"], &manifest("two").replace("name: c}", "name: d}")).ok();
    assert_eq!(dry, "configmap/d created (server dry run)\n");
    assert_eq!(ns.kubectl(&["get", "cm", "d"]).code, 1);
}

fn after_delete_all_the_service_kubernetes_returns(lab: &Lab) {
    let kubectl = |args: &[&str]| lab.kubectl(&[&["-n", "default"], args].concat());
    kubectl(&["create", "deployment", "web", "--image=skiff.dev/hello:1.0"]).ok();
    kubectl(&["rollout", "status", "deployment/web", "--timeout=90s"]).ok();
    kubectl(&["expose", "deployment", "web", "--port=80"]).ok();
    let all = kubectl(&["get", "all"]).ok();
    for what in ["pod/web-", "service/kubernetes", "service/web", "deployment.apps/web", "replicaset.apps/web-"] {
        assert!(all.contains(what), "{what} is in:\n{all}");
    }
    let out = kubectl(&["delete", "all", "--all"]).ok();
    assert!(out.contains("service \"kubernetes\" deleted"), "{out}");
    eventually("only Service kubernetes", PATIENCE, || {
        let all = kubectl(&["get", "all", "-o", "name"]).out;
        if all == "service/kubernetes\n" { Ok(()) } else { Err(all) }
    });
}
