//! What every part of the node agent shares.

use crate::admission::{self, Rejection};
use crate::config::Config;
use crate::node::machine::Machine;
use crate::objects::ObjectCache;
use crate::pod::allocation::{Allocations, Deciding};
use crate::probes::Results;
use crate::runtime::Runtime;
use client::{Client, Clock, EventType, Informer, Recorder};
use k8s_openapi::api::core::v1::{ConfigMap, Container, Node, ObjectReference, Pod, Secret, Service};
use std::sync::Arc;

/// The agent's surroundings: configuration, runtime, API, clock. One per process, behind an `Arc`.
pub struct Context {
    pub config: Config,
    pub machine: Machine,
    pub runtime: Arc<dyn Runtime>,
    /// `containerd` or `cri-o`: the scheme of container IDs in statuses.
    pub runtime_name: String,
    pub client: Client,
    pub recorder: Recorder,
    pub clock: Clock,
    pub config_maps: ObjectCache<ConfigMap>,
    pub secrets: ObjectCache<Secret>,
    pub services: Arc<Informer<Service>>,
    pub node: Arc<Informer<Node>>,
    pub probe_results: Results,
    pub cgroups: crate::cgroups::Cgroups,
    pub images: crate::images::Images,
    /// Sysctls that pods may set.
    pub sysctls: crate::admission::sysctl::Allowed,
    /// What each pod was given of the node.
    pub allocations: Allocations,
    pub pods: PodTable,
    /// Pods of the node's own manifests, and what the API shows of them.
    pub static_pods: crate::static_pods::StaticPods,
}

/// The node's pods as their workers may know each other.
pub struct PodTable {
    /// Those that hold resources, as the API has them.
    pub active: Box<dyn Fn() -> Vec<Arc<Pod>> + Send + Sync>,
    /// Wakes the worker of a pod by its UID.
    pub wake: Arc<dyn Fn(&str) + Send + Sync>,
}

impl Context {
    /// Whether the node has what a resized pod asks for.
    pub fn fits(&self, pod: &Pod, given: &Deciding<'_>) -> Result<(), Rejection> {
        let others: Vec<Arc<Pod>> =
            (self.pods.active)().iter().filter(|p| p.metadata.uid != pod.metadata.uid).map(|p| given.of(p)).collect();
        let allocatable = self.machine.allocatable();
        let node = self.node.get("", &self.config.node_name);
        let node = node.unwrap_or_else(|| Arc::new(crate::node::register::unregistered(self)));
        admission::admit(pod, &admission::Place { node: &node, allocatable: &allocatable, others: &others }, &self.sysctls)
    }
    /// Resizes that waited for room are looked at again.
    pub fn room_made(&self) {
        self.allocations.deferred().iter().for_each(|uid| (self.pods.wake)(uid));
    }
    pub fn event(&self, about: &ObjectReference, kind: EventType, reason: &str, message: impl Into<String>) {
        self.recorder.event(about, kind, reason, message);
    }
    pub fn pod_event(&self, pod: &Pod, kind: EventType, reason: &str, message: impl Into<String>) {
        self.event(&client::reference_to(pod), kind, reason, message);
    }
    pub fn container_event(&self, pod: &Pod, c: &Container, kind: EventType, reason: &str, message: impl Into<String>) {
        self.event(&container_reference(pod, c), kind, reason, message);
    }
    pub fn node_reference(&self) -> ObjectReference {
        let name = self.config.node_name.clone();
        // Upstream puts the name in the UID too, as kubectl describe looks events up by both.
        ObjectReference { kind: Some("Node".into()), name: Some(name.clone()), uid: Some(name), ..Default::default() }
    }
    /// The API's container ID: `containerd://…`.
    pub fn container_id(&self, id: &str) -> String {
        format!("{}://{id}", self.runtime_name)
    }
    /// `NAMESPACE_NAME_UID` below the log root.
    pub fn pod_log_dir(&self, pod: &Pod) -> std::path::PathBuf {
        let m = &pod.metadata;
        let part = |v: &Option<String>| v.clone().unwrap_or_default();
        let name = format!("{}_{}_{}", part(&m.namespace), part(&m.name), part(&m.uid));
        std::path::Path::new(&self.config.kubelet.pod_logs_dir).join(name)
    }
}

/// A reference to one container of a pod, for its events.
pub fn container_reference(pod: &Pod, c: &Container) -> ObjectReference {
    let init = crate::pod::spec::init_containers(pod).iter().any(|i| i.name == c.name);
    let list = if init {
        "initContainers"
    } else if crate::pod::spec::containers(pod).iter().any(|i| i.name == c.name) {
        "containers"
    } else {
        "ephemeralContainers"
    };
    ObjectReference { field_path: Some(format!("spec.{list}{{{}}}", c.name)), ..client::reference_to(pod) }
}

/// `name_namespace(uid)`, as upstream prints pods in messages.
pub fn pod_text(pod: &Pod) -> String {
    let m = &pod.metadata;
    let part = |v: &Option<String>| v.clone().unwrap_or_default();
    format!("{}_{}({})", part(&m.name), part(&m.namespace), part(&m.uid))
}
