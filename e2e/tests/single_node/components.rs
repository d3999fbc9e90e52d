//! Each component as a process of its own, by links of upstream's names, under the flags and files that kubeadm writes: against a new
//! store, with certificates alone to know each other by. Static pods and renewed certificates are shown there, since they are settings
//! of the kubelet. Labs of their own.

use crate::Test;
use e2e::command::eventually;
use e2e::components::Components;
use e2e::namespace::PATIENCE;
use e2e::{Lab, Namespace, image, run};
use pki::{Authority, Identity, Pair};
use std::time::Duration;

pub const TESTS: &[Test] = e2e::tests![
    components_run_as_processes_of_their_own,
    what_is_not_built_is_named,
    static_pods_live_by_their_files,
    certificates_near_their_end_are_renewed,
];

/// Control plane and node, of which only the kubelet has something to say in the tests.
fn cluster(name: &str, kubelet: impl FnOnce(&Components)) -> Components {
    let c = Components::new(name);
    c.lab.load(&image::busybox());
    c.start_api_server(&format!("--store-file={}", c.path("store").display()));
    c.start_controllers();
    kubelet(&c);
    c.lab.kubectl(&["wait", "--for=create", "node/n1", "--timeout=60s"]).ok();
    c.lab.kubectl(&["wait", "--for=condition=Ready", "node/n1", "--timeout=60s"]).ok();
    c
}

fn components_run_as_processes_of_their_own(_: &Lab) {
    let c = cluster("parts", |c| c.start_kubelet(&c.pki("kubelet.conf"), "--v=2", ""));
    c.start_proxy();
    let ns = Namespace::new(&c.lab, "parts");
    ns.kubectl(&["create", "deployment", "web", "--image=skiff.dev/hello:1.0", "--replicas=2", "--port=8080"]).ok();
    ns.kubectl(&["expose", "deployment", "web", "--type=NodePort", "--port=80", "--target-port=8080"]).ok();
    ns.kubectl(&["rollout", "status", "deployment/web", "--timeout=90s"]).ok();
    let (ip, port) = (ns.get("service web", "{.spec.clusterIP}"), ns.get("service web", "{.spec.ports[0].nodePort}"));
    ns.eventually("the Service answers on the machine", || {
        let o = c.lab.sh(&format!("curl -sS -f -m 3 http://{ip}/"));
        if o.out.contains("Hello from web-") { Ok(()) } else { Err(o.err) }
    });
    ns.eventually("its node port answers outside", || {
        let o = c.lab.curl_outside(&format!("http://{}:{port}/", e2e::lab::NODE_IP));
        if o.out.contains("Hello from web-") { Ok(()) } else { Err(o.err) }
    });
    // The API server shows the kubelet its own certificate; the kubelet's is self-signed, as kubeadm leaves it.
    let logs = ns.kubectl(&["logs", "deployment/web"]).ok();
    assert!(!logs.is_empty(), "logs come through");
    // Each controller has an account of its own.
    let owner = ns.kubectl(&["get", "replicaset", "-o", "name"]).ok();
    assert!(owner.contains("replicaset.apps/web-"), "{owner}");
    let accounts = c.lab.kubectl(&["-n", "kube-system", "get", "serviceaccounts", "-o", "name"]).ok();
    assert!(accounts.contains("serviceaccount/deployment-controller"), "{accounts}");
    for component in ["kube-controller-manager", "kube-scheduler"] {
        let holder = ["-n", "kube-system", "get", "lease", component, "-o", "jsonpath={.spec.holderIdentity}"];
        assert!(c.lab.kubectl(&holder).ok().contains('_'), "{component} holds its lease");
    }
    // A restart of every part: nothing of what runs is touched.
    let life = || ns.get("pods", "{.items[*].status.containerStatuses[*].containerID}");
    let before = life();
    for part in ["kube-apiserver", "kube-controller-manager", "kube-scheduler", "kubelet", "kube-proxy"] {
        c.stop(part);
    }
    c.start_api_server(&format!("--store-file={}", c.path("store").display()));
    c.start_controllers();
    c.start_kubelet(&c.pki("kubelet.conf"), "", "");
    c.start_proxy();
    ns.kubectl(&["scale", "deployment", "web", "--replicas=3"]).ok();
    ns.kubectl(&["rollout", "status", "deployment/web", "--timeout=90s"]).ok();
    let after = life();
    assert!(before.split(' ').all(|id| after.contains(id)), "{before}\n{after}");
}

fn what_is_not_built_is_named(lab: &Lab) {
    let config = lab.dir.join("unbuilt.yaml");
    let write = |text: &str| std::fs::write(&config, text).expect("the lab's directory is writable");
    let file = format!("--config={}", config.display());
    let admin = format!("--kubeconfig={}", lab.data().join("pki/admin.conf").display());
    let ask = |args: &[&str]| run(lab.command(Lab::binary()).args(args), "").fails();
    for (name, args, want) in [
        ("a flag", &["kube-scheduler", "--nonsense=1"][..], "--nonsense"),
        ("another mode", &["kube-proxy", "--proxy-mode=ipvs", &admin], "proxy mode \"ipvs\" is not built"),
        ("a webhook", &["kube-apiserver", "--authorization-mode=Webhook"], "\"Webhook\" is not built"),
        ("a gate", &["kubelet", "--feature-gates=A=true"], "--feature-gates=A=true is not built"),
        ("no kubeconfig", &["kube-controller-manager"], "--kubeconfig is needed"),
    ] {
        let said = ask(args);
        assert!(said.contains(want), "{name}: {said}");
    }
    for (component, text, want) in [
        (
            "kube-scheduler",
            "apiVersion: kubescheduler.config.k8s.io/v1\nkind: KubeSchedulerConfiguration\nextenders: [{urlPrefix: x}]\n",
            "extenders",
        ),
        (
            "kube-proxy",
            "apiVersion: kubeproxy.config.k8s.io/v1alpha1\nkind: KubeProxyConfiguration\nmode: iptables\n",
            "\"iptables\" is not built",
        ),
        (
            "kubelet",
            "apiVersion: kubelet.config.k8s.io/v1beta1\nkind: KubeletConfiguration\ncgroupDriver: systemd\n",
            "use cgroupfs",
        ),
    ] {
        write(text);
        let said = ask(&[component, &file, &admin]);
        assert!(said.contains(want), "{component}: {said}");
    }
    for component in ["kube-apiserver", "kubelet"] {
        assert_eq!(
            run(lab.command(Lab::binary()).args([component, "--version"]), "").ok(),
            "Kubernetes v1.36.3\n",
            "{component}"
        );
    }
}

/// A manifest whose container writes a word and stays.
fn manifest(word: &str) -> String {
    format!(
        "apiVersion: v1\nkind: Pod\nmetadata: {{name: web, namespace: static}}\nspec:\n  terminationGracePeriodSeconds: 0\n  \
         containers: [{{name: c, image: 'busybox:1.36', command: [sh, -c, echo {word}; sleep 3600]}}]\n"
    )
}

fn static_pods_live_by_their_files(_: &Lab) {
    let c = Components::new("static");
    c.lab.load(&image::busybox());
    let dir = c.path("manifests");
    c.write("manifests/web.yaml", &manifest("first"));
    let fields = format!("staticPodPath: {}\n", dir.display());
    let kubeconfig = c.pki("kubelet.conf");
    // No API server yet: one may have to be started this way.
    c.start_kubelet(&kubeconfig, "", &fields);
    let socket = c.lab.data().join("run/containerd.sock");
    let running = format!("ctr -a {} -n k8s.io tasks ls | grep -c RUNNING", socket.display());
    eventually("the pod runs without an API server", PATIENCE, || {
        let o = c.lab.sh(&running);
        if o.out.trim() == "2" { Ok(()) } else { Err(o.out) }
    });
    c.start_api_server(&format!("--store-file={}", c.path("store").display()));
    c.start_controllers();
    // The mirror needs its namespace and the Node.
    let ns = Namespace::new(&c.lab, "static");
    ns.kubectl(&["wait", "--for=create", "pod/web-n1", "--timeout=60s"]).ok();
    ns.wait("condition=Ready", "pod/web-n1");
    let annotation = |name: &str| ns.get("pod web-n1", &format!("{{.metadata.annotations.kubernetes\\.io/config\\.{name}}}"));
    let hash = annotation("hash");
    assert_eq!((hash.len(), annotation("mirror"), annotation("source").as_str()), (32, hash.clone(), "file"));
    assert!(annotation("seen").starts_with("20"));
    let owner = ns.get("pod web-n1", "{.metadata.ownerReferences[0].kind} {.metadata.ownerReferences[0].name} {.spec.nodeName}");
    assert_eq!(owner, "Node n1 n1");
    assert_eq!(ns.kubectl(&["logs", "web-n1"]).ok(), "first\n");
    assert_eq!(ns.kubectl(&["exec", "web-n1", "--", "echo", "in"]).ok(), "in\n");
    let container = || ns.get("pod web-n1", "{.status.containerStatuses[0].containerID}");
    let (uid, id) = (|| ns.get("pod web-n1", "{.metadata.uid}"), container());

    // A deleted mirror comes back; the pod does not notice.
    let former = uid();
    ns.kubectl(&["delete", "pod", "web-n1"]).ok();
    ns.eventually("the mirror is back", || {
        let o = ns.kubectl(&["get", "pod", "web-n1", "-o", "jsonpath={.metadata.uid}"]);
        if o.code == 0 && o.out != former { Ok(()) } else { Err(o.err) }
    });
    ns.wait("condition=Ready", "pod/web-n1");
    assert_eq!(container(), id);

    // A changed file is another pod.
    c.write("manifests/web.yaml", &manifest("second"));
    ns.eventually("the new pod's log", || {
        let o = ns.kubectl(&["logs", "web-n1"]);
        if o.out == "second\n" { Ok(()) } else { Err(o.out + &o.err) }
    });
    ns.wait("condition=Ready", "pod/web-n1");
    assert_ne!(annotation("hash"), hash);
    // One with an object of the API in it is refused, and nothing else happens.
    c.write(
        "manifests/bad.yaml",
        &manifest("x").replace("name: web", "name: bad").replace("spec:\n", "spec:\n  serviceAccountName: a\n"),
    );
    eventually("the refusal", PATIENCE, || {
        let said = c.said("kubelet");
        if said.contains("static pods may not reference serviceaccounts") { Ok(()) } else { Err(said) }
    });
    // It survives a restart of the kubelet, and goes with its file.
    let id = container();
    c.stop("kubelet");
    c.start_kubelet(&kubeconfig, "", &fields);
    ns.wait("condition=Ready", "pod/web-n1");
    assert_eq!(ns.get("pod web-n1", "{.status.containerStatuses[0].containerID}"), id);
    std::fs::remove_file(dir.join("web.yaml")).expect("the manifest is there");
    ns.kubectl(&["wait", "--for=delete", "pod/web-n1", "--timeout=60s"]).ok();
    eventually("its containers are gone", PATIENCE, || {
        let o = c.lab.sh(&running);
        if o.out.trim() == "0" { Ok(()) } else { Err(o.out) }
    });
}

/// A certificate that ends soon: most of its life is over already, as certificates are dated back.
fn short_lived(c: &Components, identity: &Identity) -> Pair {
    let read = |name: &str| std::fs::read_to_string(c.pki(name)).expect("the lab has an authority");
    let ca = Authority::from_pair(Pair { cert: read("ca.crt"), key: read("ca.key") }).expect("an authority");
    ca.issue(identity, Duration::from_secs(30)).expect("a certificate")
}

fn certificates_near_their_end_are_renewed(_: &Lab) {
    let served = |c: &Components| {
        let shown = "openssl s_client -connect 127.0.0.1:10250 </dev/null 2>/dev/null";
        c.lab.sh(&format!("{shown} | openssl x509 -noout -checkend 3600 -ext subjectAltName")).out
    };
    let c = cluster("certs", |c| {
        // What kubeadm grants to nodes, beside upstream's own policy.
        let nodes =
            ["--clusterrole=system:certificates.k8s.io:certificatesigningrequests:selfnodeclient", "--group=system:nodes"];
        c.lab.kubectl(&[&["create", "clusterrolebinding", "rotation"], &nodes[..]].concat()).ok();
        let client = short_lived(c, &Identity::client("system:node:n1", &["system:nodes"]));
        let ca = std::fs::read_to_string(c.pki("ca.crt")).expect("the lab has an authority");
        let kubeconfig = c.path("short.conf");
        let server = format!("https://{}:6443", e2e::lab::NODE_IP);
        pki::kubeconfig::Kubeconfig::new("n1", &server, &ca, &client).write(&kubeconfig).expect("written");
        let ip = e2e::lab::NODE_IP.parse().expect("an address");
        let server = Identity::server("system:node:n1", &["n1".into()], &[ip]).with_organization("system:nodes");
        let pair = short_lived(c, &server);
        let path = c.lab.data().join("kubelet/pki/kubelet-server-current.pem");
        std::fs::create_dir_all(path.parent().expect("a directory")).expect("writable");
        std::fs::write(path, format!("{}{}", pair.cert, pair.key)).expect("writable");
        c.start_kubelet(&kubeconfig.display().to_string(), "", "rotateCertificates: true\nserverTLSBootstrap: true\n");
    });
    eventually("the certificate of the last run is shown", PATIENCE, || {
        let now = served(&c);
        if now.contains("Certificate will expire") { Ok(()) } else { Err(now) }
    });
    let signer = |name: &str| {
        let path =
            "{range .items[*]}{.metadata.name} {.spec.signerName} {.spec.username} {.status.conditions[*].type}{\"\\n\"}{end}";
        let all = c.lab.kubectl(&["get", "csr", "-o", &format!("jsonpath={path}")]).ok();
        all.lines().find(|l| l.contains(name)).map(str::to_owned).ok_or(all)
    };
    // The node asks for itself, and is approved by upstream's policy.
    eventually("the client certificate's request", PATIENCE, || {
        signer("kubernetes.io/kube-apiserver-client-kubelet system:node:n1 Approved")
    });
    let current = c.lab.data().join("kubelet/pki/kubelet-client-current.pem");
    eventually("the renewed client certificate", PATIENCE, || {
        let o = c.lab.sh(&format!("openssl x509 -noout -checkend 3600 -in {}", current.display()));
        if o.code == 0 { Ok(()) } else { Err(o.err) }
    });
    // Serving certificates are approved by whom the cluster's owner says: here, by hand.
    let request =
        eventually("the serving certificate's request", PATIENCE, || signer("kubernetes.io/kubelet-serving system:node:n1"));
    c.lab.kubectl(&["certificate", "approve", request.split(' ').next().expect("a name")]).ok();
    eventually("the new serving certificate is shown", PATIENCE, || {
        let now = served(&c);
        let good = ["Certificate will not expire", "DNS:n1", "172.31.77.10"].iter().all(|part| now.contains(part));
        if good { Ok(()) } else { Err(now) }
    });
    // The first certificate is over by now or soon: the kubelet goes on with the other one.
    let renewed = || c.lab.kubectl(&["-n", "kube-node-lease", "get", "lease", "n1", "-o", "jsonpath={.spec.renewTime}"]).ok();
    let first_ends = c.lab.sh("sleep 31; echo over");
    assert_eq!(first_ends.out, "over\n");
    let before = renewed();
    eventually("the node's lease is renewed", PATIENCE, || {
        let now = renewed();
        if now != before { Ok(()) } else { Err(now) }
    });
    assert!(c.lab.sh(&format!("grep -c 'client certificate renewed' {}", c.path("kubelet.log").display())).code == 0);
}
