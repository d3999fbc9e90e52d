//! The Node authorizer: a kubelet reads what its own pods need, and nothing of other nodes. Upstream:
//! plugin/pkg/auth/authorizer/node.

mod graph;
#[cfg(test)]
mod tests;

pub use graph::NodeGraph;

use crate::UserInfo;
use crate::authz::{Attributes, Authorizer, RuleSet, Verdict};
use crate::rbac::Rule;
use async_trait::async_trait;
use graph::Kind;
use std::sync::Arc;

/// Decides requests of users named `system:node:…` in the group `system:nodes`.
pub struct NodeAuthorizer {
    graph: Arc<NodeGraph>,
    rules: Vec<Rule>,
}

impl NodeAuthorizer {
    /// `rules` is what every node may do: `bootstrap::Policy::node_rules`.
    pub fn new(graph: Arc<NodeGraph>, rules: Vec<Rule>) -> Self {
        Self { graph, rules }
    }

    fn decide(&self, node: &str, a: &Attributes) -> Verdict {
        if node.is_empty() {
            return Verdict::no_opinion(format!("unknown node for user {:?}", a.user.name));
        }
        if a.resource_request {
            match (a.group.as_str(), a.resource.as_str()) {
                ("", "secrets") => return self.read_namespaced(node, Kind::Secret, a),
                ("", "configmaps") => return self.read_namespaced(node, Kind::ConfigMap, a),
                ("", "persistentvolumeclaims") if a.subresource == "status" => {
                    return match a.verb.as_str() {
                        "update" | "patch" => self.related(node, Kind::Claim, a),
                        _ => Verdict::no_opinion("can only get/update/patch this type"),
                    };
                }
                ("", "persistentvolumeclaims") => return self.get_only(node, Kind::Claim, a),
                ("", "persistentvolumes") => return self.get_only(node, Kind::Volume, a),
                ("resource.k8s.io", "resourceclaims") => return self.get_only(node, Kind::ResourceClaim, a),
                ("storage.k8s.io", "volumeattachments") => return self.get_only(node, Kind::Attachment, a),
                ("", "serviceaccounts") => return self.service_account(node, a),
                ("coordination.k8s.io", "leases") => return lease(node, a),
                ("storage.k8s.io", "csinodes") => return csi_node(node, a),
                ("resource.k8s.io", "resourceslices") => return self.resource_slice(node, a),
                ("", "nodes") => return own_node(node, a),
                ("", "pods") => return self.pod(node, a),
                ("certificates.k8s.io", "podcertificaterequests") => return Verdict::no_opinion(""),
                _ => {}
            }
        }
        if self.rules.iter().any(|r| r.allows(a)) { Verdict::allow("") } else { Verdict::no_opinion("") }
    }

    fn related(&self, node: &str, kind: Kind, a: &Attributes) -> Verdict {
        if a.name.is_empty() {
            return Verdict::no_opinion("No Object name found");
        }
        self.path(node, kind, a)
    }

    fn path(&self, node: &str, kind: Kind, a: &Attributes) -> Verdict {
        if self.graph.reaches(kind, &a.namespace, &a.name, node) {
            return Verdict::allow("");
        }
        Verdict::no_opinion(format!("no relationship found between node '{node}' and this object"))
    }

    fn get_only(&self, node: &str, kind: Kind, a: &Attributes) -> Verdict {
        if a.verb != "get" {
            return Verdict::no_opinion("can only get individual resources of this type");
        }
        if !a.subresource.is_empty() {
            return Verdict::no_opinion("cannot get subresource");
        }
        self.related(node, kind, a)
    }

    fn read_namespaced(&self, node: &str, kind: Kind, a: &Attributes) -> Verdict {
        if !a.is_read_only() {
            return Verdict::no_opinion("can only read resources of this type");
        }
        if !a.subresource.is_empty() {
            return Verdict::no_opinion("cannot read subresource");
        }
        if a.namespace.is_empty() {
            return Verdict::no_opinion("can only read namespaced object of this type");
        }
        self.related(node, kind, a)
    }

    fn service_account(&self, node: &str, a: &Attributes) -> Verdict {
        if a.verb == "get" && a.subresource.is_empty() {
            return self.read_namespaced(node, Kind::ServiceAccount, a);
        }
        if a.verb != "create" || a.name.is_empty() {
            return Verdict::no_opinion("can only create tokens for individual service accounts");
        }
        if a.subresource != "token" {
            return Verdict::no_opinion("can only create token subresource of serviceaccount");
        }
        self.path(node, Kind::ServiceAccount, a)
    }

    fn resource_slice(&self, node: &str, a: &Attributes) -> Verdict {
        if !a.subresource.is_empty() {
            return Verdict::no_opinion("cannot authorize ResourceSlice subresources");
        }
        match a.verb.as_str() {
            // Admission checks that the new slice names this node.
            "create" => Verdict::allow(""),
            "get" | "update" | "patch" | "delete" => self.related(node, Kind::ResourceSlice, a),
            "watch" | "list" | "deletecollection" if selects(&a.field_selector, "spec.nodeName", node) => Verdict::allow(""),
            "watch" | "list" | "deletecollection" => {
                Verdict::no_opinion("can only list/watch/deletecollection resourceslices with nodeName field selector")
            }
            _ => Verdict::no_opinion(
                "only the following verbs are allowed for a ResourceSlice: get, watch, list, create, update, patch, delete, \
                 deletecollection",
            ),
        }
    }

    fn pod(&self, node: &str, a: &Attributes) -> Verdict {
        match (a.subresource.as_str(), a.verb.as_str()) {
            ("", "get") => self.get_only(node, Kind::Pod, a),
            ("", "list" | "watch") => {
                if selects(&a.field_selector, "spec.nodeName", node) {
                    return Verdict::allow("");
                }
                if !a.name.is_empty() {
                    return self.related(node, Kind::Pod, a);
                }
                Verdict::no_opinion("can only list/watch pods with spec.nodeName field selector")
            }
            // NodeRestriction confines these to the node's own pods.
            ("", "create" | "delete") | ("status", "update" | "patch") | ("eviction", "create") => Verdict::allow(""),
            _ => Verdict::no_opinion(""),
        }
    }
}

fn own_node(node: &str, a: &Attributes) -> Verdict {
    match (a.subresource.as_str(), a.verb.as_str()) {
        // NodeRestriction confines these to the node's own object.
        ("", "create" | "update" | "patch") | ("status", "update" | "patch") => Verdict::allow(""),
        ("", "get" | "list" | "watch") if a.name == node => Verdict::allow(""),
        ("", "get" | "list" | "watch") if a.name.is_empty() => {
            Verdict::no_opinion(format!("node '{node}' cannot read all nodes, only its own Node object"))
        }
        ("", "get" | "list" | "watch") => {
            Verdict::no_opinion(format!("node '{node}' cannot read '{}', only its own Node object", a.name))
        }
        _ => Verdict::no_opinion(""),
    }
}

fn lease(node: &str, a: &Attributes) -> Verdict {
    if !matches!(a.verb.as_str(), "get" | "create" | "update" | "patch" | "delete") {
        return Verdict::no_opinion("can only get, create, update, patch, or delete a node lease");
    }
    if a.namespace != "kube-node-lease" {
        return Verdict::no_opinion("can only access leases in the \"kube-node-lease\" system namespace");
    }
    // The name is unknown when creating; NodeRestriction checks it.
    if a.verb != "create" && a.name != node {
        return Verdict::no_opinion("can only access node lease with the same name as the requesting node");
    }
    Verdict::allow("")
}

fn csi_node(node: &str, a: &Attributes) -> Verdict {
    if !matches!(a.verb.as_str(), "get" | "create" | "update" | "patch" | "delete") {
        return Verdict::no_opinion("can only get, create, update, patch, or delete a CSINode");
    }
    if !a.subresource.is_empty() {
        return Verdict::no_opinion("cannot authorize CSINode subresources");
    }
    if a.verb != "create" && a.name != node {
        return Verdict::no_opinion("can only access CSINode with the same name as the requesting node");
    }
    Verdict::allow("")
}

/// The field selector demands `field = value`.
fn selects(selector: &str, field: &str, value: &str) -> bool {
    selector.split(',').any(|term| match term.split_once('=') {
        Some((f, v)) => f == field && v.strip_prefix('=').unwrap_or(v) == value,
        None => false,
    })
}

#[async_trait]
impl Authorizer for NodeAuthorizer {
    async fn authorize(&self, attrs: &Attributes) -> Verdict {
        match attrs.user.node_name() {
            Some(node) => self.decide(node, attrs),
            None => Verdict::no_opinion(""),
        }
    }

    async fn rules_for(&self, user: &UserInfo, _namespace: &str) -> RuleSet {
        match user.node_name() {
            Some(_) => RuleSet {
                incomplete: true,
                errors: vec!["node authorizer does not support user rule resolution".into()],
                ..RuleSet::default()
            },
            None => RuleSet::default(),
        }
    }
}
