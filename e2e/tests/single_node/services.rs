//! Addresses of Services, as pods and the machine see them.

use crate::Test;
use e2e::lab::NODE_IP;
use e2e::{Lab, Namespace};

pub const TESTS: &[Test] = e2e::tests![
    a_cluster_ip_reaches_every_pod_of_a_service,
    a_service_without_endpoints_refuses_at_once,
    a_service_follows_its_pods,
    a_client_address_sticks_to_one_pod,
    names_of_services_resolve_in_pods,
];

fn fetch(ns: &Namespace<'_>, url: &str) -> Result<String, String> {
    let o = ns.exec("client", &["timeout", "10", "wget", "-q", "-O", "-", url]);
    if o.code == 0 { Ok(o.out) } else { Err(o.err) }
}

/// A deployment of `hello` behind a Service, and a client.
fn web<'a>(lab: &'a Lab, namespace: &str, replicas: u8) -> (Namespace<'a>, String) {
    let ns = Namespace::new(lab, namespace);
    let replicas = format!("--replicas={replicas}");
    ns.kubectl(&["create", "deployment", "web", "--image=skiff.dev/hello:1.0", "--port=8080", &replicas]).ok();
    ns.kubectl(&["expose", "deployment", "web", "--port=80", "--target-port=8080"]).ok();
    ns.client();
    ns.rolled_out("deployment/web");
    let url = format!("http://{}/", ns.get("service web", "{.spec.clusterIP}"));
    (ns, url)
}

fn a_cluster_ip_reaches_every_pod_of_a_service(lab: &Lab) {
    let (ns, url) = web(lab, "clusterip", 3);
    let pods = ns.get("pods -l app=web", "{.items[*].metadata.name}");
    let mut unseen: Vec<_> = pods.split(' ').collect();
    ns.eventually("an answer of each pod", || {
        let answer = fetch(&ns, &url)?;
        unseen.retain(|p| !answer.contains(p));
        if unseen.is_empty() { Ok(()) } else { Err(format!("{unseen:?} did not answer")) }
    });
    let here = lab.sh(&format!("curl -sSf -m 5 {url}")).ok();
    assert!(here.contains("web-"), "{here}");
}

fn a_service_without_endpoints_refuses_at_once(lab: &Lab) {
    let ns = Namespace::new(lab, "noendpoints");
    ns.client();
    ns.kubectl(&["create", "service", "nodeport", "empty", "--tcp=80"]).ok();
    let ip = ns.get("service empty", "{.spec.clusterIP}");
    let port = ns.get("service empty", "{.spec.ports[0].nodePort}");
    ns.eventually("a refusal", || {
        let e = fetch(&ns, &format!("http://{ip}/")).expect_err("nobody answers");
        if e.contains("Connection refused") { Ok(()) } else { Err(e) }
    });
    ns.eventually("a refusal from outside", || {
        let e = lab.curl_outside(&format!("http://{NODE_IP}:{port}/"));
        if e.code == 7 { Ok(()) } else { Err(e.err) }
    });
}

fn a_service_follows_its_pods(lab: &Lab) {
    let (ns, url) = web(lab, "follow", 1);
    ns.eventually("an answer", || fetch(&ns, &url));
    ns.kubectl(&["scale", "deployment", "web", "--replicas=0"]).ok();
    ns.eventually("no answer", || match fetch(&ns, &url) {
        Err(e) if e.contains("refused") => Ok(()),
        other => Err(format!("{other:?}")),
    });
    ns.kubectl(&["scale", "deployment", "web", "--replicas=1"]).ok();
    ns.eventually("an answer again", || fetch(&ns, &url));
}

fn a_client_address_sticks_to_one_pod(lab: &Lab) {
    let (ns, url) = web(lab, "affinity", 3);
    ns.kubectl(&["patch", "service", "web", "-p", r#"{"spec":{"sessionAffinity":"ClientIP"}}"#]).ok();
    // The rules follow the patch in a moment: from then on the same pod answers.
    ns.eventually("ten answers of one pod", || {
        let first = fetch(&ns, &url)?;
        for _ in 0..9 {
            let next = fetch(&ns, &url)?;
            if next != first {
                return Err(format!("{first} then {next}"));
            }
        }
        Ok(())
    });
}

fn names_of_services_resolve_in_pods(lab: &Lab) {
    let (ns, url) = web(lab, "names", 1);
    let ip = url.trim_start_matches("http://").trim_end_matches('/');
    // A static wget cannot resolve names by itself; nslookup asks the way programs do.
    ns.eventually("the name", || {
        let o = ns.exec("client", &["nslookup", "-type=a", "web.names.svc.cluster.local"]);
        if o.code == 0 { Ok(()) } else { Err(o.out) }
    });
    for (name, address) in [("kubernetes.default.svc.cluster.local", "10.96.0.1"), ("web.names.svc.cluster.local", ip)] {
        let out = ns.exec("client", &["nslookup", "-type=a", name]).ok();
        assert!(out.contains(&format!("Address: {address}")), "{name}: {out}");
    }
    let conf = ns.exec("client", &["cat", "/etc/resolv.conf"]).ok();
    assert!(conf.contains("search names.svc.cluster.local svc.cluster.local cluster.local"), "{conf}");
    assert!(conf.contains("nameserver 10.96.0.10") && conf.contains("options ndots:5"), "{conf}");
    let error = ns.exec("client", &["nslookup", "-type=a", "nobody.names.svc.cluster.local"]);
    assert!(error.code != 0 && format!("{}{}", error.out, error.err).contains("NXDOMAIN"), "{error:?}");
}
