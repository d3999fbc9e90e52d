//! A pod as the scheduler reads it: everything that plugins ask for per node is parsed once, when the pod is seen.

use crate::resources::{PodRequests, pod_requests};
use crate::selectors::{Labels, NodeMatch, compile, with};
use client::Object;
use k8s_openapi::api::core::v1::{Pod, PodAffinityTerm, PodSpec, Toleration, WeightedPodAffinityTerm};
use machinery::labels::{Operator, Selector};
use std::sync::Arc;

/// A host port in use or wanted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostPort {
    pub ip: String,
    pub protocol: String,
    pub port: i32,
}

impl HostPort {
    /// Same port and protocol, and the same address or one of them all addresses.
    pub fn conflicts(&self, other: &Self) -> bool {
        self.port == other.port
            && self.protocol == other.protocol
            && (self.ip == other.ip || self.ip == "0.0.0.0" || other.ip == "0.0.0.0")
    }
}

/// A compiled pod (anti-)affinity term.
#[derive(Clone, Debug)]
pub struct AffinityTerm {
    pub namespaces: Vec<String>,
    pub namespace_selector: Selector,
    pub selector: Selector,
    pub topology_key: String,
    /// Of preferred terms.
    pub weight: i64,
}

/// A pod with what is derived from it.
#[derive(Debug)]
pub struct PodInfo {
    pub pod: Arc<Pod>,
    pub uid: Arc<str>,
    pub priority: i32,
    pub requests: PodRequests,
    pub ports: Vec<HostPort>,
    pub node_match: NodeMatch,
    pub affinity: Vec<AffinityTerm>,
    pub anti_affinity: Vec<AffinityTerm>,
    pub preferred_affinity: Vec<AffinityTerm>,
    pub preferred_anti_affinity: Vec<AffinityTerm>,
    /// Names of the claims this pod uses, generic ephemeral volumes included; `true` for the latter.
    pub claims: Vec<(String, bool)>,
}

static NO_SPEC: std::sync::LazyLock<PodSpec> = std::sync::LazyLock::new(PodSpec::default);

impl PodInfo {
    pub fn new(pod: Arc<Pod>) -> Arc<Self> {
        let spec = pod.spec.as_ref().unwrap_or(&NO_SPEC);
        let affinity = spec.affinity.as_ref();
        let (pa, paa) = (affinity.and_then(|a| a.pod_affinity.as_ref()), affinity.and_then(|a| a.pod_anti_affinity.as_ref()));
        let required = |terms: Option<&Vec<PodAffinityTerm>>| -> Vec<AffinityTerm> {
            terms.into_iter().flatten().map(|t| AffinityTerm::compile(&pod, t, 0)).collect()
        };
        let preferred = |terms: Option<&Vec<WeightedPodAffinityTerm>>| -> Vec<AffinityTerm> {
            terms.into_iter().flatten().map(|t| AffinityTerm::compile(&pod, &t.pod_affinity_term, t.weight.into())).collect()
        };
        let info = Self {
            uid: pod.uid().into(),
            priority: spec.priority.unwrap_or(0),
            requests: pod_requests(&pod),
            ports: host_ports(spec),
            node_match: NodeMatch::of_pod(&pod),
            affinity: required(pa.and_then(|a| a.required_during_scheduling_ignored_during_execution.as_ref())),
            anti_affinity: required(paa.and_then(|a| a.required_during_scheduling_ignored_during_execution.as_ref())),
            preferred_affinity: preferred(pa.and_then(|a| a.preferred_during_scheduling_ignored_during_execution.as_ref())),
            preferred_anti_affinity: preferred(paa.and_then(|a| a.preferred_during_scheduling_ignored_during_execution.as_ref())),
            claims: claims(&pod, spec),
            pod: pod.clone(),
        };
        Arc::new(info)
    }

    pub fn spec(&self) -> &PodSpec {
        self.pod.spec.as_ref().unwrap_or(&NO_SPEC)
    }
    pub fn namespace(&self) -> &str {
        self.pod.namespace()
    }
    pub fn name(&self) -> &str {
        self.pod.name()
    }
    pub fn labels(&self) -> Option<&Labels> {
        self.pod.metadata.labels.as_ref()
    }
    pub fn tolerations(&self) -> &[Toleration] {
        self.spec().tolerations.as_deref().unwrap_or_default()
    }
    /// The node it is bound to; empty while it is not.
    pub fn node_name(&self) -> &str {
        self.spec().node_name.as_deref().unwrap_or("")
    }
    pub fn nominated_node(&self) -> &str {
        self.pod.status.as_ref().and_then(|s| s.nominated_node_name.as_deref()).unwrap_or("")
    }
    pub fn has_affinity(&self) -> bool {
        !(self.affinity.is_empty() && self.preferred_affinity.is_empty()) || self.has_anti_affinity()
    }
    pub fn has_anti_affinity(&self) -> bool {
        !(self.anti_affinity.is_empty() && self.preferred_anti_affinity.is_empty())
    }
    /// When it started, for the order in which pods are preempted; a pod that has not counts as the latest.
    pub fn start_time(&self) -> Option<jiff::Timestamp> {
        self.pod.status.as_ref().and_then(|s| s.start_time.as_ref()).map(|t| t.0)
    }
    /// Whether its containers are all done: it takes no resources any more.
    pub fn is_terminal(pod: &Pod) -> bool {
        matches!(pod.status.as_ref().and_then(|s| s.phase.as_deref()), Some("Succeeded" | "Failed"))
    }
}

impl AffinityTerm {
    fn compile(pod: &Pod, term: &PodAffinityTerm, weight: i64) -> Self {
        let mut selector = compile(term.label_selector.as_ref());
        // The API server merges these keys into the selector of new pods; older ones carry them apart.
        let labels = pod.metadata.labels.as_ref();
        let add = |selector: &mut Selector, keys: Option<&Vec<String>>, op: Operator| {
            for key in keys.into_iter().flatten() {
                let merged = selector.requirements().iter().any(|r| r.key() == key && r.operator() == op);
                if let Some(v) = labels.and_then(|l| l.get(key)).filter(|_| !merged) {
                    *selector = with(selector, key, op, v);
                }
            }
        };
        add(&mut selector, term.match_label_keys.as_ref(), Operator::In);
        add(&mut selector, term.mismatch_label_keys.as_ref(), Operator::NotIn);
        let mut namespaces = term.namespaces.clone().unwrap_or_default();
        if namespaces.is_empty() && term.namespace_selector.is_none() {
            namespaces.push(pod.namespace().to_owned());
        }
        Self {
            namespaces,
            namespace_selector: compile(term.namespace_selector.as_ref()),
            selector,
            topology_key: term.topology_key.clone(),
            weight,
        }
    }
}

fn host_ports(spec: &PodSpec) -> Vec<HostPort> {
    let sidecars = spec.init_containers.iter().flatten().filter(|c| c.restart_policy.as_deref() == Some("Always"));
    let mut out = Vec::new();
    for p in spec.containers.iter().chain(sidecars).flat_map(|c| c.ports.iter().flatten()) {
        let port = p.host_port.unwrap_or(0);
        if port > 0 {
            let ip = p.host_ip.clone().filter(|i| !i.is_empty()).unwrap_or_else(|| "0.0.0.0".into());
            let protocol = p.protocol.clone().filter(|p| !p.is_empty()).unwrap_or_else(|| "TCP".into());
            out.push(HostPort { ip, protocol, port });
        }
    }
    out
}

fn claims(pod: &Pod, spec: &PodSpec) -> Vec<(String, bool)> {
    let mut out = Vec::new();
    for v in spec.volumes.iter().flatten() {
        if let Some(c) = &v.persistent_volume_claim {
            out.push((c.claim_name.clone(), false));
        } else if v.ephemeral.is_some() {
            out.push((format!("{}-{}", pod.name(), v.name), true));
        }
    }
    out
}
