//! NodeRestriction: a kubelet changes its own node and its own pods, and nothing else. Upstream: plugin/pkg/admission/noderestriction.

use super::{Attributes, Lister, Operation, Plugin};
use async_trait::async_trait;
use auth::authz;
use machinery::meta::{annotations, at, bool_at, labels, list_at, name, remove, str_at, uid};
use machinery::{GroupResource, Status, Value};
use std::collections::BTreeSet;
use std::sync::Arc;

pub struct NodeRestriction;

const MIRROR: &str = "kubernetes.io/config.mirror";

#[async_trait]
impl Plugin for NodeRestriction {
    fn name(&self) -> &'static str {
        "NodeRestriction"
    }

    fn handles(&self, a: &Attributes) -> bool {
        a.operation != Operation::Connect && a.user.node_name().is_some()
    }

    async fn admit(&self, a: &Attributes, obj: &mut Value, cx: &dyn Lister) -> Result<(), Status> {
        let node = a.user.node_name().unwrap_or_default();
        let refuse = |why: String| Err(a.forbid(obj, why));
        if node.is_empty() {
            return refuse(format!("could not determine node from user {:?}", a.user.name));
        }
        match (a.gvr.group.as_str(), a.gvr.resource.as_str(), a.subresource.as_str()) {
            ("", "pods", "") => pod(node, a, obj, cx).await,
            ("", "pods", "status") => pod_status(node, a, obj),
            ("", "pods", "eviction") => eviction(node, a, obj, cx).await,
            ("", "pods", other) => {
                refuse(format!("unexpected pod subresource {other:?}, only 'status' and 'eviction' are allowed"))
            }
            ("", "nodes", _) => node_object(node, a, obj),
            ("", "persistentvolumeclaims", "status") => claim_status(node, a, obj),
            ("", "persistentvolumeclaims", _) => refuse("may only update PVC status".into()),
            ("", "serviceaccounts", "token") if a.operation == Operation::Create => token(node, a, obj, cx).await,
            ("coordination.k8s.io", "leases", _) => lease(node, a, obj),
            ("storage.k8s.io", "csinodes", _) => csi_node(node, a, obj),
            ("resource.k8s.io", "resourceslices", _) => resource_slice(node, a, obj),
            ("certificates.k8s.io", "certificatesigningrequests", _) => signing_request(a, obj),
            _ => Ok(()),
        }
    }
}

async fn existing_pod(a: &Attributes, name: &str, cx: &dyn Lister) -> Result<Arc<Value>, Status> {
    let found = match cx.get("", "pods", &a.namespace, name) {
        Some(p) => Some(p),
        None => cx.get_live("", "pods", &a.namespace, name).await?,
    };
    found.ok_or_else(|| Status::not_found(&GroupResource::new("", "pods"), name))
}

async fn pod(node: &str, a: &Attributes, obj: &Value, cx: &dyn Lister) -> Result<(), Status> {
    match a.operation {
        Operation::Create => mirror_pod(node, a, obj, cx),
        Operation::Delete => {
            let pod = existing_pod(a, &a.name, cx).await?;
            if str_at(&pod, &["spec", "nodeName"]) == node {
                return Ok(());
            }
            Err(a.forbid(obj, format!("node {node:?} can only delete pods with spec.nodeName set to itself")))
        }
        other => {
            let op = other.as_str();
            Err(a.forbid(obj, format!("unexpected operation {op:?}, node {node:?} can only create and delete mirror pods")))
        }
    }
}

fn mirror_pod(node: &str, a: &Attributes, pod: &Value, cx: &dyn Lister) -> Result<(), Status> {
    let refuse = |why: String| Err(a.forbid(pod, why));
    if !annotations(pod).contains_key(MIRROR) {
        return refuse(format!("pod does not have {MIRROR:?} annotation, node {node:?} can only create mirror pods"));
    }
    if str_at(pod, &["spec", "nodeName"]) != node {
        return refuse(format!("node {node:?} can only create pods with spec.nodeName set to itself"));
    }
    let owner = match machinery::meta::owner_references(pod) {
        [one] => one,
        [] => return refuse(format!("node {node:?} can only create pods with an owner reference set to itself")),
        _ => return refuse(format!("node {node:?} can only create pods with a single owner reference set to itself")),
    };
    if str_at(owner, &["apiVersion"]) != "v1" || str_at(owner, &["kind"]) != "Node" || str_at(owner, &["name"]) != node {
        return refuse(format!("node {node:?} can only create pods with an owner reference set to itself"));
    }
    if !bool_at(owner, &["controller"]) {
        return refuse(format!("node {node:?} can only create pods with a controller owner reference set to itself"));
    }
    if bool_at(owner, &["blockOwnerDeletion"]) {
        return refuse(format!("node {node:?} must not set blockOwnerDeletion on an owner reference"));
    }
    let own = cx.get("", "nodes", "", node).ok_or_else(|| Status::not_found(&GroupResource::new("", "nodes"), node))?;
    let claimed = str_at(owner, &["uid"]);
    if uid(&own) != claimed {
        return refuse(format!("node {node} UID mismatch: expected {claimed} got {}", uid(&own)));
    }
    if let Some(resource) = auth::pod_names::api_object(pod) {
        return refuse(format!("node {node:?} can not create pods that reference {resource}"));
    }
    Ok(())
}

fn pod_status(node: &str, a: &Attributes, pod: &Value) -> Result<(), Status> {
    let refuse = |why: String| Err(a.forbid(pod, why));
    if a.operation != Operation::Update {
        return refuse(format!("unexpected operation {:?}", a.operation.as_str()));
    }
    let old = a.old();
    if str_at(old, &["spec", "nodeName"]) != node {
        return refuse(format!("node {node:?} can only update pod status for pods with spec.nodeName set to itself"));
    }
    if labels(old) != labels(pod) {
        return refuse(format!("node {node:?} cannot update labels through pod status"));
    }
    if list_at(old, &["status", "resourceClaimStatuses"]) != list_at(pod, &["status", "resourceClaimStatuses"]) {
        return refuse(format!("node {node:?} cannot update resource claim statues"));
    }
    if at(old, &["status", "extendedResourceClaimStatus"]) != at(pod, &["status", "extendedResourceClaimStatus"]) {
        return refuse(format!("node {node:?} cannot update extended resource claim status"));
    }
    Ok(())
}

async fn eviction(node: &str, a: &Attributes, obj: &Value, cx: &dyn Lister) -> Result<(), Status> {
    if a.operation != Operation::Create {
        return Err(a.forbid(obj, format!("unexpected operation {}", a.operation.as_str())));
    }
    let target = if a.name.is_empty() { name(obj) } else { &a.name };
    if target.is_empty() {
        return Err(a.forbid(obj, "could not determine pod from request data"));
    }
    let pod = existing_pod(a, target, cx).await?;
    if str_at(&pod, &["spec", "nodeName"]) != node {
        return Err(a.forbid(obj, format!("node {node} can only evict pods with spec.nodeName set to itself")));
    }
    Ok(())
}

fn claim_status(node: &str, a: &Attributes, obj: &Value) -> Result<(), Status> {
    if a.operation != Operation::Update {
        return Err(a.forbid(obj, format!("unexpected operation {:?}", a.operation.as_str())));
    }
    let rest = |v: &Value| {
        let mut v = v.clone();
        for path in [
            &["metadata", "resourceVersion"],
            &["metadata", "managedFields"],
            &["status", "capacity"],
            &["status", "conditions"],
            &["status", "allocatedResources"],
            &["status", "allocatedResourceStatuses"],
        ] {
            remove(&mut v, path);
        }
        v
    };
    if rest(a.old()) != rest(obj) {
        let why = format!("node {node:?} is not allowed to update fields other than status.quantity and status.conditions");
        return Err(a.forbid(obj, why));
    }
    Ok(())
}

fn node_object(node: &str, a: &Attributes, obj: &Value) -> Result<(), Status> {
    let refuse = |why: String| Err(a.forbid(obj, why));
    if a.name != node {
        return refuse(format!("node {node:?} is not allowed to modify node {:?}", a.name));
    }
    let source = at(obj, &["spec", "configSource"]);
    match a.operation {
        Operation::Create => {
            if source.is_some() {
                return refuse(format!("node {node:?} is not allowed to create pods with a non-nil configSource"));
            }
            let bad = forbidden_labels(&Value::Null, obj);
            if !bad.is_empty() {
                return refuse(format!("node {node:?} is not allowed to set the following labels: {bad}"));
            }
        }
        Operation::Update => {
            let old = a.old();
            if source.is_some() && source != at(old, &["spec", "configSource"]) {
                return refuse(format!("node {node:?} is not allowed to update configSource to a new non-nil configSource"));
            }
            if list_at(obj, &["spec", "taints"]) != list_at(old, &["spec", "taints"]) {
                return refuse(format!("node {node:?} is not allowed to modify taints"));
            }
            if list_at(obj, &["metadata", "ownerReferences"]) != list_at(old, &["metadata", "ownerReferences"]) {
                return refuse(format!("node {node:?} is not allowed to modify ownerReferences"));
            }
            let bad = forbidden_labels(old, obj);
            if !bad.is_empty() {
                return refuse(format!("is not allowed to modify labels: {bad}"));
            }
        }
        _ => {}
    }
    Ok(())
}

/// Changed labels that a kubelet may not set, joined.
fn forbidden_labels(old: &Value, new: &Value) -> String {
    let (old, new) = (labels(old), labels(new));
    let changed: BTreeSet<&str> = old
        .keys()
        .chain(new.keys())
        .map(String::as_str)
        .filter(|k| old.get(*k) != new.get(*k))
        .filter(|k| forbidden(k))
        .collect();
    changed.into_iter().collect::<Vec<_>>().join(", ")
}

fn forbidden(label: &str) -> bool {
    let domain = label.split_once('/').map_or("", |(d, _)| d);
    let within = |parent: &str| domain == parent || domain.strip_suffix(parent).is_some_and(|d| d.ends_with('.'));
    within("node-restriction.kubernetes.io") || ((within("kubernetes.io") || within("k8s.io")) && !kubelet_label(label, &within))
}

/// Labels of the kubernetes.io and k8s.io domains that kubelets set (kubelet/pkg/apis/well_known_labels.go).
fn kubelet_label(label: &str, within: &dyn Fn(&str) -> bool) -> bool {
    const OWN: [&str; 12] = [
        "kubernetes.io/hostname",
        "topology.kubernetes.io/zone",
        "topology.kubernetes.io/region",
        "failure-domain.beta.kubernetes.io/zone",
        "failure-domain.beta.kubernetes.io/region",
        "node.kubernetes.io/instance-type",
        "beta.kubernetes.io/instance-type",
        "kubernetes.io/os",
        "kubernetes.io/arch",
        "beta.kubernetes.io/os",
        "beta.kubernetes.io/arch",
        "node.kubernetes.io/windows-build",
    ];
    OWN.contains(&label) || within("kubelet.kubernetes.io") || within("node.kubernetes.io")
}

async fn token(node: &str, a: &Attributes, request: &Value, cx: &dyn Lister) -> Result<(), Status> {
    let refuse = |why: String| Err(a.forbid(request, why));
    let text = |k: &str| str_at(request, &["spec", "boundObjectRef", k]);
    if text("apiVersion") != "v1" || text("kind") != "Pod" || text("name").is_empty() {
        return refuse("node requested token not bound to a pod".into());
    }
    if text("uid").is_empty() {
        return refuse("node requested token with a pod binding without a uid".into());
    }
    let pod = existing_pod(a, text("name"), cx).await?;
    if text("uid") != uid(&pod) {
        let given = text("uid");
        return refuse(format!(
            "the UID in the bound object reference ({given}) does not match the UID in record. The object might have been deleted and then \
             recreated"
        ));
    }
    if str_at(&pod, &["spec", "nodeName"]) != node {
        return refuse("node requested token bound to a pod scheduled on a different node".into());
    }
    let audience = match list_at(request, &["spec", "audiences"]) {
        [] => "",
        [one] => one.as_str().unwrap_or(""),
        _ => return refuse("node may only request 0 or 1 audiences".into()),
    };
    if uses_audience(&pod, &a.namespace, audience, cx) {
        return Ok(());
    }
    let mut ask =
        authz::Attributes::resource(&a.user, "request-serviceaccounts-token-audience", "", audience, &a.namespace, &a.name);
    ask.version = "v1".into();
    if cx.authorizer().authorize(&ask).await.allowed() {
        return Ok(());
    }
    refuse(format!(
        "audience {audience:?} not found in pod spec volume, {} is not authorized to request tokens for this audience",
        a.user.name
    ))
}

/// The pod mounts a token for this audience, itself or through one of its CSI drivers.
fn uses_audience(pod: &Value, namespace: &str, audience: &str, cx: &dyn Lister) -> bool {
    let driver_asks = |driver: &str| {
        let found = cx.get("storage.k8s.io", "csidrivers", "", driver);
        found.is_some_and(|d| list_at(&d, &["spec", "tokenRequests"]).iter().any(|t| str_at(t, &["audience"]) == audience))
    };
    let claim_asks = |claim: &str| {
        let volume = cx.get("", "persistentvolumeclaims", namespace, claim);
        let volume = volume.and_then(|c| cx.get("", "persistentvolumes", "", str_at(&c, &["spec", "volumeName"])));
        volume.is_some_and(|v| driver_asks(str_at(&v, &["spec", "csi", "driver"])))
    };
    list_at(pod, &["spec", "volumes"]).iter().any(|v| {
        let tokens = list_at(v, &["projected", "sources"]).iter().filter_map(|s| at(s, &["serviceAccountToken"]));
        tokens.into_iter().any(|t| str_at(t, &["audience"]) == audience)
            || at(v, &["csi"]).is_some_and(|c| driver_asks(str_at(c, &["driver"])))
            || at(v, &["persistentVolumeClaim"]).is_some_and(|c| claim_asks(str_at(c, &["claimName"])))
            || at(v, &["ephemeral"]).is_some_and(|_| claim_asks(&format!("{}-{}", name(pod), str_at(v, &["name"]))))
    })
}

fn lease(node: &str, a: &Attributes, obj: &Value) -> Result<(), Status> {
    if a.namespace != "kube-node-lease" {
        return Err(a.forbid(obj, "can only access leases in the \"kube-node-lease\" system namespace"));
    }
    let named = if a.operation == Operation::Create { name(obj) } else { &a.name };
    if named != node {
        return Err(a.forbid(obj, "can only access node lease with the same name as the requesting node"));
    }
    Ok(())
}

fn csi_node(node: &str, a: &Attributes, obj: &Value) -> Result<(), Status> {
    let named = if a.operation == Operation::Create { name(obj) } else { &a.name };
    if named != node {
        return Err(a.forbid(obj, "can only access CSINode with the same name as the requesting node"));
    }
    Ok(())
}

fn resource_slice(node: &str, a: &Attributes, obj: &Value) -> Result<(), Status> {
    let (slice, what) = match a.operation {
        Operation::Create => (obj, "create"),
        Operation::Delete => (a.old(), "delete"),
        _ => return Ok(()),
    };
    if str_at(slice, &["spec", "nodeName"]) != node {
        let why = format!("can only {what} ResourceSlice with the same NodeName as the requesting node");
        return Err(a.forbid(obj, why));
    }
    Ok(())
}

/// A node asks for certificates in its own name alone.
fn signing_request(a: &Attributes, obj: &Value) -> Result<(), Status> {
    use base64::Engine;
    let signer = str_at(obj, &["spec", "signerName"]);
    let ours = [pki::csr::KUBELET_SERVING, pki::csr::KUBE_APISERVER_CLIENT_KUBELET];
    if a.operation != Operation::Create || !a.subresource.is_empty() || !ours.contains(&signer) {
        return Ok(());
    }
    let pem = base64::engine::general_purpose::STANDARD.decode(str_at(obj, &["spec", "request"])).unwrap_or_default();
    let request = pki::csr::Request::parse(&pem).map_err(|e| a.forbid(obj, format!("unable to parse csr: {e}")))?;
    if request.common_name != a.user.name {
        return Err(a.forbid(obj, format!("can only create a node CSR with CN={}", a.user.name)));
    }
    Ok(())
}
