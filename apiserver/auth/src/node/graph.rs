//! Which objects belong to which nodes, through the pods bound there: pod -> secrets, config maps, claims (-> volumes -> secrets),
//! service account. The API server feeds it from its watch caches.

use crate::pod_names;
use machinery::Value;
use machinery::meta::{list_at, str_at};
use parking_lot::RwLock;
use std::collections::{HashMap, HashSet};

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Kind {
    Pod,
    Secret,
    ConfigMap,
    ServiceAccount,
    Claim,
    Volume,
    ResourceClaim,
    Attachment,
    ResourceSlice,
}

/// Kind, namespace, name.
type Vertex = (Kind, String, String);

#[derive(Default)]
struct State {
    /// For each object: the nodes it belongs to directly, with the number of pods (or other owners) that make it so.
    nodes: HashMap<Vertex, HashMap<String, u32>>,
    /// What each pod, attachment or slice contributed to `nodes`, to take it back.
    given: HashMap<Vertex, (String, Vec<Vertex>)>,
    /// The claim a volume is bound to, and the secrets it names.
    volumes: HashMap<String, (Vertex, Vec<Vertex>)>,
    /// Secrets named by volumes.
    volume_secrets: HashMap<Vertex, HashSet<String>>,
}

/// The relations between nodes and objects.
#[derive(Default)]
pub struct NodeGraph {
    state: RwLock<State>,
}

impl NodeGraph {
    /// Group and resource of the objects that `apply` wants to hear of.
    pub const RESOURCES: [(&'static str, &'static str); 4] =
        [("", "pods"), ("", "persistentvolumes"), ("storage.k8s.io", "volumeattachments"), ("resource.k8s.io", "resourceslices")];

    /// An object as it is now, or `None` when it was deleted.
    pub fn apply(&self, resource: &str, namespace: &str, name: &str, object: Option<&Value>) {
        let at = |k: Kind| (k, namespace.to_owned(), name.to_owned());
        let mut state = self.state.write();
        match resource {
            "pods" => {
                let node = object.map_or("", |o| str_at(o, &["spec", "nodeName"]));
                // What a pod refers to can grow while it runs (ephemeral containers), so it is always taken anew.
                let refs = object.filter(|_| !node.is_empty()).map(|o| pod_refs(namespace, name, o)).unwrap_or_default();
                state.give(at(Kind::Pod), node, refs);
            }
            "volumeattachments" => {
                let node = object.map_or("", |o| str_at(o, &["spec", "nodeName"]));
                state.give(at(Kind::Attachment), node, Vec::new());
            }
            "resourceslices" => {
                let node = object.map_or("", |o| str_at(o, &["spec", "nodeName"]));
                state.give(at(Kind::ResourceSlice), node, Vec::new());
            }
            "persistentvolumes" => state.volume(name, object),
            _ => {}
        }
    }

    pub(super) fn reaches(&self, kind: Kind, namespace: &str, name: &str, node: &str) -> bool {
        let state = self.state.read();
        let vertex = (kind, namespace.to_owned(), name.to_owned());
        let volume = |pv: &String| state.volumes.get(pv).is_some_and(|(claim, _)| state.direct(claim, node));
        match kind {
            Kind::Volume => volume(&vertex.2),
            Kind::Secret => {
                state.direct(&vertex, node) || state.volume_secrets.get(&vertex).is_some_and(|pvs| pvs.iter().any(volume))
            }
            _ => state.direct(&vertex, node),
        }
    }
}

impl State {
    fn direct(&self, vertex: &Vertex, node: &str) -> bool {
        self.nodes.get(vertex).is_some_and(|n| n.contains_key(node))
    }

    /// Replaces what `owner` contributes: itself and `refs` belong to `node`; nothing if `node` is empty.
    fn give(&mut self, owner: Vertex, node: &str, mut refs: Vec<Vertex>) {
        if let Some((old_node, old_refs)) = self.given.remove(&owner) {
            for v in old_refs {
                if let Some(nodes) = self.nodes.get_mut(&v) {
                    if let Some(count) = nodes.get_mut(&old_node) {
                        *count -= 1;
                        if *count == 0 {
                            nodes.remove(&old_node);
                        }
                    }
                    if nodes.is_empty() {
                        self.nodes.remove(&v);
                    }
                }
            }
        }
        if node.is_empty() {
            return;
        }
        refs.push(owner.clone());
        for v in &refs {
            *self.nodes.entry(v.clone()).or_default().entry(node.to_owned()).or_insert(0) += 1;
        }
        self.given.insert(owner, (node.to_owned(), refs));
    }

    fn volume(&mut self, name: &str, object: Option<&Value>) {
        if let Some((_, secrets)) = self.volumes.remove(name) {
            for s in secrets {
                if let Some(pvs) = self.volume_secrets.get_mut(&s) {
                    pvs.remove(name);
                    if pvs.is_empty() {
                        self.volume_secrets.remove(&s);
                    }
                }
            }
        }
        let Some(o) = object else { return };
        let (namespace, claim) = (str_at(o, &["spec", "claimRef", "namespace"]), str_at(o, &["spec", "claimRef", "name"]));
        if claim.is_empty() {
            return;
        }
        let secrets = volume_secrets(o, namespace);
        for s in &secrets {
            self.volume_secrets.entry(s.clone()).or_default().insert(name.to_owned());
        }
        self.volumes.insert(name.to_owned(), ((Kind::Claim, namespace.to_owned(), claim.to_owned()), secrets));
    }
}

fn pod_refs(namespace: &str, name: &str, pod: &Value) -> Vec<Vertex> {
    // A node could create a mirror pod that names anything.
    if !str_at(pod, &["metadata", "annotations", "kubernetes.io/config.mirror"]).is_empty() {
        return Vec::new();
    }
    let mut refs = HashSet::new();
    let mut add = |kind: Kind, n: &str| {
        if !n.is_empty() {
            refs.insert((kind, namespace.to_owned(), n.to_owned()));
        }
    };
    add(Kind::ServiceAccount, str_at(pod, &["spec", "serviceAccountName"]));
    pod_names::secrets(pod).into_iter().for_each(|n| add(Kind::Secret, n));
    pod_names::config_maps(pod).into_iter().for_each(|n| add(Kind::ConfigMap, n));
    for v in list_at(pod, &["spec", "volumes"]) {
        add(Kind::Claim, str_at(v, &["persistentVolumeClaim", "claimName"]));
        if v.get("ephemeral").is_some_and(|e| !e.is_null()) {
            add(Kind::Claim, &format!("{name}-{}", str_at(v, &["name"])));
        }
    }
    for c in list_at(pod, &["spec", "resourceClaims"]) {
        add(Kind::ResourceClaim, str_at(c, &["resourceClaimName"]));
    }
    for c in list_at(pod, &["status", "resourceClaimStatuses"]) {
        add(Kind::ResourceClaim, str_at(c, &["resourceClaimName"]));
    }
    add(Kind::ResourceClaim, str_at(pod, &["status", "extendedResourceClaimStatus", "resourceClaimName"]));
    refs.into_iter().collect()
}

/// Secrets that a kubelet reads to mount a volume; without a namespace, they are in the claim's.
fn volume_secrets(pv: &Value, claim_namespace: &str) -> Vec<Vertex> {
    let spec = pv.get("spec").unwrap_or(&Value::Null);
    let mut out = Vec::new();
    let mut add = |namespace: &str, name: &str| {
        if !name.is_empty() {
            let ns = if namespace.is_empty() { claim_namespace } else { namespace };
            out.push((Kind::Secret, ns.to_owned(), name.to_owned()));
        }
    };
    add(str_at(spec, &["azureFile", "secretNamespace"]), str_at(spec, &["azureFile", "secretName"]));
    for (source, field) in [
        ("cephfs", "secretRef"),
        ("flexVolume", "secretRef"),
        ("rbd", "secretRef"),
        ("scaleIO", "secretRef"),
        ("iscsi", "secretRef"),
        ("storageos", "secretRef"),
        ("csi", "nodePublishSecretRef"),
        ("csi", "nodeStageSecretRef"),
        ("csi", "nodeExpandSecretRef"),
    ] {
        add(str_at(spec, &[source, field, "namespace"]), str_at(spec, &[source, field, "name"]));
    }
    out
}
