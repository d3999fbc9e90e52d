//! Kubelets' client certificates are approved where RBAC says so: a SubjectAccessReview on the virtual subresources `nodeclient` (a
//! node's first certificate) and `selfnodeclient` (its own again) decides (pkg/controller/certificates/approver).

use super::{approve, follow, is_pending, parse};
use crate::manager::forever;
use crate::{Context, Error, Result, synced};
use client::{Client, Object, WorkQueue};
use k8s_openapi::api::certificates::v1::CertificateSigningRequest;
use pki::csr::{KUBE_APISERVER_CLIENT_KUBELET, Request};
use serde_json::{Value, json};

pub async fn run(ctx: Context) {
    let requests = ctx.informers.of::<CertificateSigningRequest>();
    let queue = WorkQueue::new();
    follow(&requests, &queue, |r| is_pending(r) && r.spec.signer_name == KUBE_APISERVER_CLIENT_KUBELET);
    synced!(requests);
    forever(queue.run("csr-approver", 1, move |name: String| {
        let (client, requests) = (ctx.client.clone(), requests.clone());
        async move {
            match requests.get("", &name).filter(|r| is_pending(r)) {
                Some(r) => sync(&client, &r).await,
                None => Ok(()),
            }
        }
    }))
    .await;
}

/// Subresource to ask for and message of the approval, in the order they are tried.
const WAYS: [(&str, &str); 2] = [
    ("selfnodeclient", "Auto approving self kubelet client certificate after SubjectAccessReview."),
    ("nodeclient", "Auto approving kubelet client certificate after SubjectAccessReview."),
];

fn recognized(csr: &CertificateSigningRequest, request: &Request) -> impl Iterator<Item = (&'static str, &'static str)> {
    let usages = csr.spec.usages.clone().unwrap_or_default();
    let is_node = request.refusal(KUBE_APISERVER_CLIENT_KUBELET, &usages).is_none();
    let is_self = csr.spec.username.as_deref() == Some(request.common_name.as_str());
    WAYS.into_iter().filter(move |(way, _)| is_node && (*way == "nodeclient" || is_self))
}

async fn sync(client: &Client, csr: &CertificateSigningRequest) -> Result {
    let request = parse(csr)?;
    let mut tried = Vec::new();
    for (subresource, message) in recognized(csr, &request) {
        tried.push(subresource);
        if allowed(client, csr, subresource).await? {
            return approve(client, csr, message).await;
        }
    }
    if tried.is_empty() {
        return Ok(());
    }
    // Asked again with back-off: the permission may come later.
    let tried = tried.join(" ");
    Err(Error::other(format!("recognized csr {:?} as [{tried}] but subject access review was not approved", csr.name())))
}

async fn allowed(client: &Client, csr: &CertificateSigningRequest, subresource: &str) -> Result<bool> {
    let review = json!({
        "apiVersion": "authorization.k8s.io/v1",
        "kind": "SubjectAccessReview",
        "spec": {
            "user": csr.spec.username,
            "uid": csr.spec.uid,
            "groups": csr.spec.groups,
            "extra": csr.spec.extra,
            "resourceAttributes": {
                "group": "certificates.k8s.io", "version": "*", "resource": "certificatesigningrequests",
                "subresource": subresource, "verb": "create",
            },
        },
    });
    let answer = client.post_path("/apis/authorization.k8s.io/v1/subjectaccessreviews", &review).await?;
    Ok(answer["status"]["allowed"] == Value::Bool(true))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ways() {
        let of = |user: &str, identity: &pki::Identity, usages: &[&str]| {
            let (pem, _) = pki::csr::generate(identity).expect("a request");
            let csr = CertificateSigningRequest {
                spec: k8s_openapi::api::certificates::v1::CertificateSigningRequestSpec {
                    username: Some(user.into()),
                    usages: Some(usages.iter().map(|s| (*s).to_owned()).collect()),
                    ..Default::default()
                },
                ..Default::default()
            };
            let request = Request::parse(pem.as_bytes()).expect("parses");
            recognized(&csr, &request).map(|(w, _)| w).collect::<Vec<_>>()
        };
        let node = pki::Identity::client("system:node:n2", &["system:nodes"]);
        let usages = ["digital signature", "client auth"];
        assert_eq!(of("system:bootstrap:abcdef", &node, &usages), ["nodeclient"], "first");
        assert_eq!(of("system:node:n2", &node, &usages), ["selfnodeclient", "nodeclient"], "renewal");
        assert!(of("system:node:n2", &node, &["client auth", "server auth"]).is_empty(), "usages");
        let other = pki::Identity::client("system:node:n2", &["system:masters"]);
        assert!(of("system:node:n2", &other, &usages).is_empty(), "groups");
    }
}
