//! Kubelets' serving certificates. Upstream leaves their approval to others; the policy here: a node asks for itself, under its own
//! identity, and for nothing but the names and addresses that its Node object reports and no other Node does.

use super::{approve, follow, is_pending, parse};
use crate::manager::forever;
use crate::{Context, Error, Result, synced};
use client::{Object, WorkQueue};
use k8s_openapi::api::certificates::v1::CertificateSigningRequest;
use k8s_openapi::api::core::v1::Node;
use pki::csr::{KUBELET_SERVING, Request};
use std::net::IpAddr;
use std::sync::Arc;

pub async fn run(ctx: Context) {
    let requests = ctx.informers.of::<CertificateSigningRequest>();
    let nodes = ctx.informers.of::<Node>();
    let queue = WorkQueue::new();
    follow(&requests, &queue, |r| is_pending(r) && r.spec.signer_name == KUBELET_SERVING);
    synced!(requests, nodes);
    forever(queue.run("kubelet-serving-approver", 1, move |name: String| {
        let (client, requests, nodes) = (ctx.client.clone(), requests.clone(), nodes.clone());
        async move {
            let Some(csr) = requests.get("", &name).filter(|r| is_pending(r)) else { return Result::Ok(()) };
            match judge(&csr, &parse(&csr)?, &nodes.list()) {
                Verdict::Approve => {
                    approve(&client, &csr, "Auto approving kubelet serving certificate of the node that asks.").await
                }
                // A person may still decide.
                Verdict::Leave(why) => {
                    tracing::info!(csr = name, why, "serving certificate not approved");
                    Ok(())
                }
                Verdict::Wait(why) => Err(Error::other(why)),
            }
        }
    }))
    .await;
}

#[derive(Debug, PartialEq)]
enum Verdict {
    Approve,
    Leave(String),
    /// The node's status may catch up.
    Wait(String),
}

fn judge(csr: &CertificateSigningRequest, request: &Request, nodes: &[Arc<Node>]) -> Verdict {
    let spec = &csr.spec;
    if let Some(why) = request.refusal(KUBELET_SERVING, spec.usages.as_deref().unwrap_or_default()) {
        return Verdict::Leave(why);
    }
    let in_group = spec.groups.iter().flatten().any(|g| g == "system:nodes");
    if spec.username.as_deref() != Some(request.common_name.as_str()) || !in_group {
        return Verdict::Leave(format!("{} asks for {}", spec.username.as_deref().unwrap_or_default(), request.common_name));
    }
    let name = request.common_name.trim_start_matches("system:node:");
    for n in nodes.iter().filter(|n| n.name() != name) {
        if let Some(taken) = asked(request).find(|a| reports(n, a)) {
            return Verdict::Leave(format!("{taken} belongs to node {}", n.name()));
        }
    }
    let Some(node) = nodes.iter().find(|n| n.name() == name) else {
        return Verdict::Wait(format!("node {name} is not registered"));
    };
    match asked(request).find(|a| !reports(node, a)) {
        Some(strange) => Verdict::Wait(format!("node {name} does not report the address {strange}")),
        None => Verdict::Approve,
    }
}

fn asked(request: &Request) -> impl Iterator<Item = String> {
    request.ips.iter().map(IpAddr::to_string).chain(request.dns_names.iter().cloned())
}

fn reports(node: &Node, address: &str) -> bool {
    let all = node.status.iter().flat_map(|s| s.addresses.iter().flatten());
    all.into_iter().any(|a| a.address == address)
}

#[cfg(test)]
mod tests {
    use super::*;
    use k8s_openapi::api::certificates::v1::CertificateSigningRequestSpec;
    use serde_json::json;

    #[test]
    fn policy() {
        let node = |name: &str, ip: &str| {
            let n = json!({"metadata": {"name": name}, "status": {"addresses": [
                {"type": "InternalIP", "address": ip}, {"type": "Hostname", "address": name}]}});
            Arc::new(serde_json::from_value::<Node>(n).expect("a node"))
        };
        let nodes = [node("n1", "192.0.2.1"), node("n2", "192.0.2.2")];
        let wait = |s: &str| Verdict::Wait(s.to_owned());
        let leave = |s: &str| Verdict::Leave(s.to_owned());
        for (case, user, common_name, names, ips, want) in [
            ("its own", "system:node:n2", "system:node:n2", &["n2"][..], &["192.0.2.2"][..], Verdict::Approve),
            ("the address alone", "system:node:n2", "system:node:n2", &[], &["192.0.2.2"], Verdict::Approve),
            ("for another", "system:node:n1", "system:node:n2", &["n2"], &[], leave("system:node:n1 asks for system:node:n2")),
            (
                "another's address",
                "system:node:n2",
                "system:node:n2",
                &["n2"],
                &["192.0.2.1"],
                leave("192.0.2.1 belongs to node n1"),
            ),
            (
                "unknown address",
                "system:node:n2",
                "system:node:n2",
                &[],
                &["192.0.2.9"],
                wait("node n2 does not report the address 192.0.2.9"),
            ),
            ("unknown node", "system:node:n3", "system:node:n3", &["n3"], &[], wait("node n3 is not registered")),
            ("nothing asked", "system:node:n2", "system:node:n2", &[], &[], leave("DNS or IP subjectAltName is required")),
        ] {
            let names: Vec<String> = names.iter().map(|s| (*s).to_owned()).collect();
            let ips: Vec<IpAddr> = ips.iter().map(|s| s.parse().expect("an address")).collect();
            let identity = pki::Identity::server(common_name, &names, &ips).with_organization("system:nodes");
            let (pem, _) = pki::csr::generate(&identity).expect("a request");
            let csr = CertificateSigningRequest {
                spec: CertificateSigningRequestSpec {
                    username: Some(user.into()),
                    groups: Some(vec!["system:nodes".into()]),
                    usages: Some(vec!["digital signature".into(), "server auth".into()]),
                    ..Default::default()
                },
                ..Default::default()
            };
            assert_eq!(judge(&csr, &Request::parse(pem.as_bytes()).expect("parses"), &nodes), want, "{case}");
        }
    }
}
