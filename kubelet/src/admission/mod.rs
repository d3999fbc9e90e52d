//! Whether this node takes a pod at all: sysctls, resources, host ports, node affinity, NoExecute taints, operating system. A pod it
//! does not take is Failed with upstream's reason and message (upstream pkg/kubelet/lifecycle/predicate.go, pkg/kubelet/sysctl).
//!
//! Resources are not freed for a critical pod by preempting others: it is rejected like any pod.

mod affinity;
pub mod sysctl;
#[cfg(test)]
mod tests;

use crate::pod::resources::pod_total;
use crate::pod::spec;
use k8s_openapi::api::core::v1::{Container, Node, Pod, Taint, Toleration};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// Why a pod is not taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rejection {
    pub reason: String,
    pub message: String,
}

impl Rejection {
    pub(crate) fn new(reason: &str, message: impl Into<String>) -> Self {
        Self { reason: reason.to_owned(), message: message.into() }
    }
    fn predicate(name: &str, why: &str) -> Self {
        Self::new(name, format!("Predicate {name} failed: {why}"))
    }
    fn insufficient(resource: &str, requested: i64, used: i64, capacity: i64) -> Self {
        let numbers = format!("requested: {requested}, used: {used}, capacity: {capacity}");
        Self::new(&format!("OutOf{resource}"), format!("Node didn't have enough resource: {resource}, {numbers}"))
    }
    /// A fresh look at the node's labels may help.
    pub fn is_affinity(&self) -> bool {
        self.reason == "NodeAffinity"
    }
}

/// The node as pods see it.
pub struct Place<'a> {
    pub node: &'a Node,
    pub allocatable: &'a BTreeMap<String, Quantity>,
    /// Pods that were admitted and still hold what they asked for.
    pub others: &'a [Arc<Pod>],
}

/// Upstream's checks in upstream's order; the first failure counts.
pub fn admit(pod: &Pod, place: &Place<'_>, sysctls: &sysctl::Allowed) -> Result<(), Rejection> {
    sysctls.check(pod)?;
    let labels = place.node.metadata.labels.clone().unwrap_or_default();
    let os = |v: &str| v == "linux";
    if pod.metadata.labels.as_ref().and_then(|l| l.get("kubernetes.io/os")).is_some_and(|v| !os(v)) {
        let message = "Failed to admit pod as the `kubernetes.io/os` label doesn't match node label";
        return Err(Rejection::new("PodOSSelectorNodeLabelDoesNotMatch", message));
    }
    if spec::spec(pod).os.as_ref().is_some_and(|o| !os(&o.name)) {
        return Err(Rejection::new("PodOSNotSupported", "Failed to admit pod as the OS field doesn't match node OS"));
    }
    resources(pod, place)?;
    let name = place.node.metadata.name.as_deref().unwrap_or("");
    if !affinity::matches(pod, name, &labels) {
        return Err(Rejection::predicate("NodeAffinity", "node(s) didn't match Pod's node affinity/selector"));
    }
    if spec::spec(pod).node_name.as_deref().is_some_and(|n| !n.is_empty() && n != name) {
        return Err(Rejection::predicate("NodeName", "node(s) didn't match the requested node name"));
    }
    let taken: Vec<HostPort> = place.others.iter().flat_map(|p| host_ports(p)).collect();
    if host_ports(pod).iter().any(|p| taken.iter().any(|t| t.conflicts(p))) {
        return Err(Rejection::predicate("NodePorts", "node(s) didn't have free ports for the requested pod ports"));
    }
    let taints = place.node.spec.as_ref().and_then(|s| s.taints.as_deref()).unwrap_or_default();
    let tolerations = spec::spec(pod).tolerations.as_deref().unwrap_or_default();
    let untolerated = |t: &Taint| t.effect == "NoExecute" && !tolerations.iter().any(|o| tolerates(o, t));
    if !spec::is_static(pod) && taints.iter().any(untolerated) {
        return Err(Rejection::predicate("TaintToleration", "node(s) had taints that the pod didn't tolerate"));
    }
    Ok(())
}

fn resources(pod: &Pod, place: &Place<'_>) -> Result<(), Rejection> {
    let have = |name: &str| -> Option<i64> {
        let q = spec::quantity(place.allocatable.get(name)?);
        Some(if name == "cpu" { q.milli_value() } else { q.value() })
    };
    let count = i64::try_from(place.others.len()).unwrap_or(i64::MAX);
    let room = have("pods").unwrap_or(0);
    if count + 1 > room {
        return Err(Rejection::insufficient("pods", 1, count, room));
    }
    for name in requested(pod) {
        let of = |p: &Pod| {
            let value = |m: &BTreeMap<String, Quantity>| {
                if name == "cpu" { spec::milli_cpu(Some(m)) } else { spec::amount(Some(m), &name) }
            };
            pod_total(p, &name, false, value)
        };
        // A resource the node does not have is one of the cluster's, not of the node's.
        let Some(capacity) = have(&name) else { continue };
        let (wanted, used) = (of(pod), place.others.iter().map(|p| of(p)).sum::<i64>());
        if wanted > 0 && wanted > capacity - used {
            return Err(Rejection::insufficient(&name, wanted, used, capacity));
        }
    }
    Ok(())
}

/// Names of what a pod requests: CPU, memory and storage first, as upstream looks at them.
fn requested(pod: &Pod) -> Vec<String> {
    let s = spec::spec(pod);
    let own = s.resources.as_ref().and_then(|r| r.requests.as_ref());
    let all = spec::containers(pod).iter().chain(spec::init_containers(pod));
    let each = all.filter_map(|c| c.resources.as_ref()?.requests.as_ref());
    let names: BTreeSet<String> = each.chain(own).chain(&s.overhead).flat_map(|m| m.keys().cloned()).collect();
    let first = ["cpu", "memory", "ephemeral-storage"];
    let rest = names.iter().filter(|n| !first.contains(&n.as_str())).cloned();
    first.iter().filter(|n| names.contains(**n)).map(|n| (*n).to_owned()).chain(rest).collect()
}

struct HostPort {
    ip: String,
    protocol: String,
    port: i32,
}

impl HostPort {
    fn conflicts(&self, other: &Self) -> bool {
        const ANY: &str = "0.0.0.0";
        let overlap = self.ip == other.ip || self.ip == ANY || other.ip == ANY;
        self.port == other.port && self.protocol == other.protocol && overlap
    }
}

fn host_ports(pod: &Pod) -> Vec<HostPort> {
    let of = |c: &Container| {
        let ports = c.ports.iter().flatten().filter(|p| p.host_port.is_some_and(|n| n > 0));
        let or = |v: &Option<String>, d: &str| v.clone().filter(|v| !v.is_empty()).unwrap_or_else(|| d.to_owned());
        let port = |p: &k8s_openapi::api::core::v1::ContainerPort| HostPort {
            ip: or(&p.host_ip, "0.0.0.0"),
            protocol: or(&p.protocol, "TCP"),
            port: p.host_port.unwrap_or(0),
        };
        ports.map(port).collect::<Vec<_>>()
    };
    let sidecars = spec::init_containers(pod).iter().filter(|c| spec::is_sidecar(c));
    spec::containers(pod).iter().chain(sidecars).flat_map(of).collect()
}

fn tolerates(o: &Toleration, t: &Taint) -> bool {
    let effect = o.effect.as_deref().unwrap_or("");
    let key = o.key.as_deref().unwrap_or("");
    if (!effect.is_empty() && effect != t.effect) || (!key.is_empty() && key != t.key) {
        return false;
    }
    match o.operator.as_deref().unwrap_or("Equal") {
        "Exists" => true,
        "Equal" | "" => !key.is_empty() && o.value.as_deref().unwrap_or("") == t.value.as_deref().unwrap_or(""),
        _ => false,
    }
}
