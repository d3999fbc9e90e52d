//! Certificates by request, and the tokens by which machines join.

use crate::harness::Cluster;
use client::{Clock, Object};
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::certificates::v1::CertificateSigningRequest as Csr;
use k8s_openapi::api::core::v1::{ConfigMap, Node, Secret};
use pki::Identity;
use pki::bootstrap::Token;
use serde_json::{Value, json};

const REQUESTS: &str = "/apis/certificates.k8s.io/v1/certificatesigningrequests";
const ROLES: &str = include_str!("../../../manifests/cluster/node-bootstrap.yaml");
const BOOTSTRAPPERS: [&str; 2] = ["system:bootstrappers", "system:bootstrappers:kubeadm:default-node-token"];

/// The permissions that a cluster starts with.
async fn permissions(c: &Cluster) {
    for text in ROLES.split("\n---\n") {
        let o: Value = serde_saphyr::from_str(text).expect("a manifest");
        let (rbac, namespace) = ("/apis/rbac.authorization.k8s.io/v1", o["metadata"]["namespace"].as_str().unwrap_or(""));
        let path = match o["kind"].as_str() {
            Some("ClusterRole") => format!("{rbac}/clusterroles"),
            Some("ClusterRoleBinding") => format!("{rbac}/clusterrolebindings"),
            Some("Role") => format!("{rbac}/namespaces/{namespace}/roles"),
            Some("RoleBinding") => format!("{rbac}/namespaces/{namespace}/rolebindings"),
            _ => continue,
        };
        c.apply(&path, o).await;
    }
}

/// Waits until the authorizer has heard of what `client` was given.
async fn may_ask(client: &client::Client) {
    let review = json!({"apiVersion": "authorization.k8s.io/v1", "kind": "SelfSubjectAccessReview", "spec": {"resourceAttributes":
        {"group": "certificates.k8s.io", "resource": "certificatesigningrequests", "verb": "create"}}});
    for _ in 0..1000 {
        let answer: Value =
            client.post_path("/apis/authorization.k8s.io/v1/selfsubjectaccessreviews", &review).await.expect("a review");
        if answer["status"]["allowed"] == true {
            return;
        }
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
    panic!("the permission to ask did not come");
}

fn request(name: &str, signer: &str, identity: &Identity, usages: &[&str], seconds: Option<i32>) -> Value {
    use base64::Engine;
    let (pem, _) = pki::csr::generate(identity).expect("a request");
    let pem = base64::engine::general_purpose::STANDARD.encode(pem);
    json!({"apiVersion": "certificates.k8s.io/v1", "kind": "CertificateSigningRequest", "metadata": {"name": name},
        "spec": {"request": pem, "signerName": signer, "usages": usages, "expirationSeconds": seconds}})
}

fn certificate(r: &Csr) -> Option<String> {
    r.status.as_ref()?.certificate.as_ref().map(|c| String::from_utf8_lossy(&c.0).into_owned())
}

fn condition<'a>(r: &'a Csr, kind: &str) -> Option<&'a str> {
    r.status.as_ref()?.conditions.as_ref()?.iter().find(|c| c.type_ == kind)?.message.as_deref()
}

#[tokio::test]
async fn nodes_get_certificates() {
    let c = Cluster::start().await;
    permissions(&c).await;
    let joiner = c.client_as("system:bootstrap:abcdef", &BOOTSTRAPPERS);
    let node = c.client_as("system:node:node-1", &["system:nodes"]);
    c.apply(
        "/apis/rbac.authorization.k8s.io/v1/clusterrolebindings",
        json!({"metadata": {"name": "nodes"},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "system:node-bootstrapper"},
        "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "Group", "name": "system:nodes"}]}),
    )
    .await;
    let addresses = json!({"status": {"addresses": [{"type": "InternalIP", "address": "192.0.2.1"}]}});
    c.client.patch_status::<Node>("", "node-1", &client::Patch::Merge(addresses)).await.expect("addresses");

    let client_usages = ["digital signature", "client auth"];
    let identity = Identity::client("system:node:node-1", &["system:nodes"]);
    let kubelet = "kubernetes.io/kube-apiserver-client-kubelet";
    may_ask(&joiner).await;
    may_ask(&node).await;
    joiner.post_path(REQUESTS, &request("first", kubelet, &identity, &client_usages, None)).await.expect("a token may ask");
    node.post_path(REQUESTS, &request("again", kubelet, &identity, &client_usages, Some(86_400))).await.expect("a node may ask");
    let ip = "192.0.2.1".parse().expect("an address");
    let serving = Identity::server("system:node:node-1", &[], &[ip]).with_organization("system:nodes");
    let server_usages = ["digital signature", "server auth"];
    node.post_path(REQUESTS, &request("serving", "kubernetes.io/kubelet-serving", &serving, &server_usages, None))
        .await
        .expect("asks");
    for (name, message) in [
        ("first", "Auto approving kubelet client certificate after SubjectAccessReview."),
        ("again", "Auto approving self kubelet client certificate after SubjectAccessReview."),
        ("serving", "Auto approving kubelet serving certificate of the node that asks."),
    ] {
        let r = c.until_one::<Csr>(name, "signed", |r| certificate(r).is_some()).await;
        assert_eq!(condition(&r, "Approved"), Some(message), "{name}");
    }
    let again = c.until_one::<Csr>("again", "signed", |r| certificate(r).is_some()).await;
    let (from, to) = pki::authority::validity(&certificate(&again).expect("signed")).expect("a certificate");
    assert_eq!(to - from, 86_400, "as long as asked for");

    // Others are a person's to approve; a wrong one fails when it is signed.
    let user = Identity::client("jane", &["dev"]);
    for (name, usages) in [("right", &["client auth"][..]), ("wrong", &["client auth", "server auth"])] {
        c.apply(REQUESTS, request(name, "kubernetes.io/kube-apiserver-client", &user, usages, None)).await;
        let mut r: Csr = c.client.get("", name).await.expect("there");
        let approval = json!([{"type": "Approved", "status": "True", "reason": "Test", "message": "by a person"}]);
        r.status.get_or_insert_default().conditions = serde_json::from_value(approval).expect("conditions");
        c.client.update_subresource(&r, "approval").await.expect("an administrator may approve");
    }
    c.until_one::<Csr>("right", "signed", |r| certificate(r).is_some()).await;
    let wrong = c.until_one::<Csr>("wrong", "refused", |r| condition(r, "Failed").is_some()).await;
    assert_eq!(condition(&wrong, "Failed"), Some("invalid usage for client certificate: server auth"));
    c.stop().await;
}

fn token_secret(token: &Token, expires: Option<Timestamp>) -> Value {
    let mut data = json!({"token-id": token.id, "token-secret": token.secret, "usage-bootstrap-signing": "true"});
    if let Some(t) = expires {
        data["expiration"] = t.to_string().into();
    }
    json!({"apiVersion": "v1", "kind": "Secret", "type": "bootstrap.kubernetes.io/token",
        "metadata": {"name": format!("bootstrap-token-{}", token.id)}, "stringData": data})
}

#[tokio::test]
async fn tokens_sign_and_end() {
    let c = Cluster::start_at(Clock::starting_at(Timestamp::now() + SignedDuration::from_hours(1))).await;
    let content = "the cluster";
    let map =
        json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "cluster-info"}, "data": {"kubeconfig": content}});
    c.apply("/api/v1/namespaces/kube-public/configmaps", map).await;
    let (lasting, ended) = (Token::generate(), Token::generate());
    let secrets = "/api/v1/namespaces/kube-system/secrets";
    c.apply(secrets, token_secret(&ended, Some(Timestamp::now() + SignedDuration::from_mins(5)))).await;
    c.apply(secrets, token_secret(&lasting, None)).await;
    let signature = |m: &ConfigMap, t: &Token| m.data.as_ref().and_then(|d| d.get(&format!("jws-kubeconfig-{}", t.id)).cloned());
    let all = c
        .until::<ConfigMap>("signed", |l| l.iter().any(|m| m.name() == "cluster-info" && signature(m, &lasting).is_some()))
        .await;
    let map = all.iter().find(|m| m.name() == "cluster-info").expect("just seen");
    assert!(lasting.verifies(&signature(map, &lasting).expect("signed"), content));
    assert_eq!(signature(map, &ended), None, "by the controllers' clock it has ended");
    let name = format!("bootstrap-token-{}", ended.id);
    c.until::<Secret>("the ended token is gone", |l| !l.iter().any(|s| s.name() == name)).await;
    c.until::<Secret>("the other stays", |l| l.iter().any(|s| s.name().ends_with(&lasting.id))).await;
    c.stop().await;
}
